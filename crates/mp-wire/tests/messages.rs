//! Messages through the public interface: what travels, what is refused, what is left behind.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use mp_wire::{Deadline, ErrorKind, Fd, Limits, Message, decode, encode, encode_into, socket};
use serde::{Deserialize, Serialize, Serializer};

fn null() -> Fd {
    Fd::from(OwnedFd::from(File::open("/dev/null").unwrap()))
}

fn through(bytes: &[u8], fds: &[Fd]) -> Message {
    let (a, b) = socket::pair().unwrap();
    socket::send(&a, bytes, fds, Deadline::NEVER).unwrap();
    socket::recv(&b, Limits::default(), Deadline::NEVER).unwrap()
}

#[test]
fn every_serde_form_travels() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Empty,
        Circle(f64),
        Named { name: String, tags: Option<Vec<u8>> },
    }
    let value = (
        HashMap::from([(1_i64, Shape::Circle(1.5)), (-2, Shape::Empty)]),
        Shape::Named { name: "é".into(), tags: Some(vec![1, 2]) },
        [u128::MAX, 0],
        'x',
        (),
    );
    assert_eq!(
        encode(&value).unwrap().decode::<(HashMap<_, _>, Shape, [u128; 2], char, ())>().unwrap(),
        value
    );
}

#[test]
fn handles_keep_their_places_and_clones_travel_once() {
    let (a, b) = (null(), null());
    let message = encode(&(&a, [&b, &a], "text", &b)).unwrap();
    assert_eq!(message.fds.len(), 2);
    let (first, [second, third], _, fourth): (Fd, [Fd; 2], String, Fd) = message.decode().unwrap();
    assert!(first.is_same(&third) && second.is_same(&fourth) && !first.is_same(&second));
}

#[test]
fn a_handle_outside_a_message_is_an_error() {
    // The codec itself, without the side channel, stands for any serializer that is not a message.
    assert!(postcard::to_allocvec(&null()).is_err());
    assert_eq!(decode::<Fd>(&[0], &[]).unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn an_encode_within_an_encode_keeps_its_own_descriptors() {
    struct Outer(Fd, Fd);
    impl Serialize for Outer {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            assert_eq!(encode(&self.1).unwrap().fds.len(), 1);
            self.0.serialize(serializer)
        }
    }
    let outer = Outer(null(), null());
    let message = encode(&outer).unwrap();
    assert!(message.fds.len() == 1 && message.fds[0].is_same(&outer.0));
}

#[test]
fn a_value_that_does_not_serialize_is_an_error_and_leaves_nothing() {
    struct Bad(Fd);
    impl Serialize for Bad {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let _ = self.0.serialize(serializer)?;
            Err(serde::ser::Error::custom("not today"))
        }
    }
    let mut message = encode(&1).unwrap();
    let error = encode_into(&Bad(null()), &mut message).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert!(error.to_string().contains("Bad"), "{error}");
    assert!(message.bytes.is_empty() && message.fds.is_empty());
    assert!(encode(&2).is_ok());
}

#[test]
fn hostile_bytes_are_errors() {
    let kind = |bytes: &[u8]| decode::<Vec<String>>(bytes, &[]).unwrap_err().kind();
    assert_eq!(kind(&[]), ErrorKind::Decode);
    assert_eq!(kind(&[0xff; 9]), ErrorKind::Decode);
    assert_eq!(kind(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), ErrorKind::Decode);
    assert_eq!(kind(&[1, 5, b'a']), ErrorKind::Decode);
    assert_eq!(kind(&[0, 0]), ErrorKind::Decode);
    assert_eq!(decode::<Fd>(&[3], &[null()]).unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn every_length_arrives_whole() {
    for len in [0, 1, 65_535, 65_536, 65_537, 1 << 20, 64 << 20] {
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        assert!(through(&bytes, &[]).bytes == bytes, "{len} bytes");
    }
}

#[test]
fn many_descriptors_arrive_in_order() {
    for count in [1, 252, 253, 254, 600] {
        let fds: Vec<Fd> = (0..count).map(|_| null()).collect();
        for len in [3, 100_000] {
            let message = through(&vec![7; len], &fds);
            assert_eq!((message.fds.len(), message.bytes.len()), (count, len));
        }
    }
}

#[test]
fn received_descriptors_are_closed_on_exec_and_work() {
    let (read, _write) = std::io::pipe().unwrap();
    let message = through(b"", &[Fd::from(OwnedFd::from(read))]);
    let flags =
        std::fs::read_to_string(format!("/proc/self/fdinfo/{}", message.fds[0].as_raw_fd()))
            .unwrap();
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
    assert_ne!(u32::from_str_radix(flags, 8).unwrap() & 0o2_000_000, 0, "O_CLOEXEC in {flags}");
}

#[test]
fn limits_discard_the_message_and_keep_the_stream() {
    let (a, b) = socket::pair().unwrap();
    let limits = Limits { bytes: 10, fds: 1 };
    socket::send(&a, &[0; 11], &[], Deadline::NEVER).unwrap();
    socket::send(&a, &[0; 1 << 20], &[], Deadline::NEVER).unwrap();
    socket::send(&a, &[], &[null(), null()], Deadline::NEVER).unwrap();
    socket::send(&a, b"fits", &[], Deadline::NEVER).unwrap();
    for _ in 0..3 {
        let error = socket::recv(&b, limits, Deadline::NEVER).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
    assert_eq!(socket::recv(&b, limits, Deadline::NEVER).unwrap().bytes, b"fits");
}

#[test]
fn a_strangers_packet_is_discarded() {
    let (a, b) = socket::pair().unwrap();
    let mut stranger = File::from(a.try_clone().unwrap());
    for packet in [&b"x"[..], &[0xff; 24], &[0; 64]] {
        stranger.write_all(packet).unwrap();
        let error = socket::recv(&b, Limits::default(), Deadline::NEVER).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
    }
    socket::send(&a, b"ours", &[], Deadline::NEVER).unwrap();
    assert_eq!(socket::recv(&b, Limits::default(), Deadline::NEVER).unwrap().bytes, b"ours");
}

#[test]
fn end_of_stream_comes_after_the_last_message() {
    let (a, b) = socket::pair().unwrap();
    socket::send(&a, b"last", &[], Deadline::NEVER).unwrap();
    drop(a);
    assert_eq!(socket::recv(&b, Limits::default(), Deadline::NEVER).unwrap().bytes, b"last");
    let error = socket::recv(&b, Limits::default(), Deadline::NEVER).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(socket::send(&b, b"", &[], Deadline::NEVER).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn what_a_closed_end_left_unread_does_not_hide_what_it_sent() {
    let (a, b) = socket::pair().unwrap();
    socket::send(&b, b"never read", &[], Deadline::NEVER).unwrap();
    socket::send(&a, b"last", &[], Deadline::NEVER).unwrap();
    drop(a);
    assert_eq!(socket::recv(&b, Limits::default(), Deadline::NEVER).unwrap().bytes, b"last");
    let error = socket::recv(&b, Limits::default(), Deadline::NEVER).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[test]
fn timeouts_are_never_early_and_bound_both_directions() {
    let (a, b) = socket::pair().unwrap();
    for wait in [Duration::from_millis(1), Duration::from_micros(20_900)] {
        let start = Instant::now();
        let error = socket::recv(&b, Limits::default(), Deadline::after(wait)).unwrap_err();
        assert!(error.kind() == ErrorKind::TimedOut && start.elapsed() >= wait);
    }
    while socket::send(&a, &[0; 60_000], &[], Deadline::NOW).is_ok() {}
    let start = Instant::now();
    let wait = Duration::from_millis(15);
    let error = socket::send(&a, &[0; 60_000], &[], Deadline::after(wait)).unwrap_err();
    assert!(error.kind() == ErrorKind::TimedOut && start.elapsed() >= wait);
    assert_eq!(socket::recv(&b, Limits::default(), Deadline::NOW).unwrap().bytes.len(), 60_000);
}

#[test]
fn nothing_is_left_open() {
    let open = || std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0);
    let _warm = through(&[0; 70_000], &[null()]);
    // Other tests of this process open descriptors at the same time: look at one pair's own traffic only.
    let (a, b) = socket::pair().unwrap();
    let probe = null();
    for _ in 0..2_000 {
        socket::send(&a, &[0; 70_000], std::slice::from_ref(&probe), Deadline::NEVER).unwrap();
        drop(socket::recv(b.as_fd(), Limits::default(), Deadline::NEVER).unwrap());
    }
    assert!(open() < 1_500, "two descriptors a round would be 4,000");
}

#[test]
fn types_cross_threads() {
    fn both<T: Send + Sync + 'static>() {}
    both::<Fd>();
    both::<Message>();
    both::<mp_wire::Error>();
    both::<Deadline>();
}
