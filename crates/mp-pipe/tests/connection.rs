//! Connections through the public interface. The ids are those of the acceptance lines.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use mp_pipe::{Connection, Receiver, RecvError, SendError, Sender, pipe, simplex};
use mp_wire::Fd;
use serde::{Deserialize, Serialize, Serializer};

const SHORT: Duration = Duration::from_millis(5);

#[test]
fn smoke() {
    // PI-01
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Empty,
        Named { name: String, tags: Vec<Option<f64>> },
    }
    let (a, b) = pipe::<Shape>().unwrap();
    let named = || Shape::Named { name: "é".into(), tags: vec![None, Some(1.5)] };
    a.send(&named()).unwrap();
    a.send(&Shape::Empty).unwrap();
    b.send(&named()).unwrap();
    assert_eq!(b.recv().unwrap(), named());
    assert_eq!(b.recv().unwrap(), Shape::Empty);
    assert_eq!(a.recv().unwrap(), named());
}

#[test]
fn recv_bytes_into_writes_only_the_message() {
    // PI-02, PI-03: an offset is a slice here.
    let (a, b) = pipe::<()>().unwrap();
    let mut buffer = [b'.'; 20];
    for offset in [0, 12] {
        a.send_bytes(b"message").unwrap();
        assert_eq!(b.recv_bytes_into(&mut buffer[offset..]).unwrap(), 7);
    }
    assert_eq!(&buffer, b"message.....message.");

    a.send_bytes(b"longer than that").unwrap();
    let error = b.recv_bytes_into(&mut buffer[..15]).unwrap_err();
    assert!(matches!(&error, RecvError::BufferTooShort(all) if all == b"longer than that"));
    assert!(error.to_string().contains("16 bytes"), "{error}");
    assert_eq!(&buffer, b"message.....message.");
    a.send_bytes(b"").unwrap();
    assert_eq!(b.recv_bytes_into(&mut []).unwrap(), 0);
}

#[test]
fn poll_tells_and_waits() {
    // PI-04
    let (a, b) = pipe::<u8>().unwrap();
    assert!(!b.poll().unwrap());
    assert!(!b.poll_timeout(Duration::ZERO).unwrap());
    let start = Instant::now();
    assert!(!b.poll_timeout(SHORT).unwrap());
    assert!(start.elapsed() >= SHORT);
    a.send(&1).unwrap();
    assert!(b.poll_timeout(Duration::MAX).unwrap());
}

#[test]
fn the_end_of_the_stream_comes_after_the_messages() {
    // PI-05
    let (a, b) = pipe::<u8>().unwrap();
    a.send(&1).unwrap();
    drop(a);
    assert!(b.poll().unwrap());
    assert_eq!(b.recv().unwrap(), 1);
    assert!(b.poll().unwrap());
    for _ in 0..2 {
        assert!(matches!(b.recv(), Err(RecvError::Closed)));
        assert!(matches!(b.try_recv(), Err(RecvError::Closed)));
        assert!(matches!(b.recv_timeout(SHORT), Err(RecvError::Closed)));
        assert!(matches!(b.recv_bytes(), Err(RecvError::Closed)));
        assert!(matches!(b.recv_bytes_into(&mut [0; 9]), Err(RecvError::Closed)));
        assert!(matches!(b.send(&1), Err(SendError::Closed)));
        assert!(matches!(b.try_send(&1), Err(SendError::Closed)));
        assert!(matches!(b.send_timeout(&1, SHORT), Err(SendError::Closed)));
        assert!(matches!(b.send_bytes(&[1]), Err(SendError::Closed)));
    }
}

#[test]
fn what_the_closed_end_had_unread_hides_nothing() {
    let (a, b) = pipe::<u8>().unwrap();
    b.send(&9).unwrap(); // Never read: the kernel calls that a reset.
    a.send(&1).unwrap();
    a.send(&2).unwrap();
    drop(a);
    assert_eq!(b.recv().unwrap(), 1);
    assert_eq!(b.recv().unwrap(), 2);
    assert!(matches!(b.recv(), Err(RecvError::Closed)));
}

#[test]
fn close_wakes_waiters() {
    // PI-11: what is closed is moved away, see `Connection::close`. PI-12: so is what goes out of scope.
    let (a, b) = pipe::<u8>().unwrap();
    {
        let inner = a;
        inner.send(&1).unwrap();
    }
    assert_eq!(b.recv().unwrap(), 1);
    assert!(matches!(b.recv(), Err(RecvError::Closed)));

    let (a, b) = pipe::<u8>().unwrap();
    let waiter = thread::spawn(move || b.recv());
    a.close();
    assert!(matches!(waiter.join().unwrap(), Err(RecvError::Closed)));

    let (a, b) = simplex::<Vec<u8>>().unwrap();
    let waiter = thread::spawn(move || while a.send(&vec![0; 9000]).is_ok() {});
    thread::sleep(SHORT);
    b.close();
    waiter.join().unwrap();
}

#[test]
fn simplex_goes_one_way() {
    // PI-06: the wrong direction does not compile; see `simplex`.
    let (sender, receiver) = simplex::<u8>().unwrap();
    sender.try_send(&1).unwrap();
    sender.send_timeout(&2, SHORT).unwrap();
    sender.send_bytes(&[3]).unwrap();
    assert!(receiver.poll().unwrap());
    assert_eq!(receiver.try_recv().unwrap(), 1);
    assert_eq!(receiver.recv_timeout(SHORT).unwrap(), 2);
    assert_eq!(receiver.recv_bytes_into(&mut [0; 4]).unwrap(), 1);
    assert!(!receiver.poll_timeout(SHORT).unwrap());
    receiver.close();
    assert!(matches!(sender.send(&1), Err(SendError::Closed)));
    sender.close();
}

#[test]
fn a_window_is_a_slice() {
    // PI-08
    let (a, b) = pipe::<()>().unwrap();
    let alphabet = b"abcdefghijklmnopqrstuvwxyz";
    for window in [&alphabet[5..], &alphabet[7..15], &alphabet[26..]] {
        a.send_bytes(window).unwrap();
        assert_eq!(b.recv_bytes().unwrap(), window);
    }
}

#[test]
fn a_message_over_the_limit_is_refused_alone() {
    // PI-09, PI-10
    let (a, b) = pipe::<Vec<u8>>().unwrap();
    let b = b.max_message(100);
    for len in [101, 1 << 20] {
        a.send_bytes(&vec![0; len]).unwrap();
        assert!(matches!(b.recv_bytes(), Err(RecvError::TooLarge(_))), "{len}");
    }
    a.send_bytes(&[0; 100]).unwrap();
    assert_eq!(b.recv_bytes().unwrap().len(), 100);

    // The limit goes along with the end.
    let (carrier, other) = pipe::<Connection<Vec<u8>>>().unwrap();
    carrier.send(&b).unwrap();
    let b = other.recv().unwrap();
    a.send_bytes(&[0; 101]).unwrap();
    assert!(matches!(b.recv_bytes(), Err(RecvError::TooLarge(_))));
    b.send(&vec![0; 1000]).unwrap();
    assert_eq!(a.recv().unwrap().len(), 1000);

    let b = b.max_message(0);
    a.send_bytes(&[]).unwrap();
    assert_eq!(b.recv_bytes().unwrap(), []);
}

#[test]
fn messages_never_merge_and_poll_takes_nothing() {
    // PI-14, PI-15
    let (a, b) = pipe::<()>().unwrap();
    for text in ["a", "b", "cd"] {
        a.send_bytes(text.as_bytes()).unwrap();
    }
    for text in ["a", "b", "cd"] {
        assert!(b.poll().unwrap() && b.poll().unwrap());
        assert_eq!(b.recv_bytes().unwrap(), text.as_bytes());
    }
    assert!(!b.poll().unwrap());
}

#[test]
fn a_file_travels() {
    // PI-16
    let mut file = nameless_file();
    let (a, b) = pipe::<(String, Fd)>().unwrap();
    let fd = Fd::from(OwnedFd::from(file.try_clone().unwrap()));
    a.send(&("here".to_owned(), fd)).unwrap();
    let (name, fd) = b.recv().unwrap();
    File::from(fd.into_owned().unwrap()).write_all(name.as_bytes()).unwrap();
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "here");
}

#[test]
fn a_message_whose_descriptors_are_missing_is_refused_alone() {
    // PI-16
    let (a, b) = pipe::<Fd>().unwrap();
    a.send_bytes(&[0]).unwrap();
    a.send(&Fd::from(OwnedFd::from(nameless_file()))).unwrap();
    assert!(matches!(b.recv(), Err(RecvError::Decode(_))));
    b.recv().unwrap();
}

#[test]
fn many_descriptors_travel_at_once() {
    let (a, b) = pipe::<Vec<Fd>>().unwrap();
    let file = nameless_file();
    let fds = |count| (0..count).map(|_| Fd::from(OwnedFd::from(file.try_clone().unwrap())));
    for count in [1, 253, 254, 400] {
        a.send(&fds(count).collect()).unwrap();
        assert_eq!(b.recv().unwrap().len(), count);
    }
}

#[test]
fn connections_travel_through_connections() {
    // PI-17
    type Ends = (Sender<u8>, Receiver<u8>, Connection<String>);
    let (carrier, other) = pipe::<Ends>().unwrap();
    let (sender, kept_receiver) = simplex().unwrap();
    let (kept_sender, receiver) = simplex().unwrap();
    let (kept, given) = pipe().unwrap();
    let ends: Ends = (sender, receiver, given);
    carrier.send(&ends).unwrap();
    drop(ends);
    let (sender, receiver, given) = other.recv().unwrap();
    sender.send(&1).unwrap();
    assert_eq!(kept_receiver.recv().unwrap(), 1_u8);
    kept_sender.send(&2_u8).unwrap();
    assert_eq!(receiver.recv().unwrap(), 2);
    kept.send(&"round".to_owned()).unwrap();
    given.send(&given.recv().unwrap()).unwrap();
    assert_eq!(kept.recv().unwrap(), "round");

    // Each end went for good, so the others see the end of the stream.
    drop((sender, given));
    assert!(matches!(kept_receiver.recv(), Err(RecvError::Closed)));
    assert!(matches!(kept.recv(), Err(RecvError::Closed)));
}

#[test]
fn an_end_within_its_own_stream_is_not_lost() {
    #[derive(Serialize, Deserialize)]
    struct Envelope(Sender<Envelope>);
    let (sender, receiver) = simplex::<Envelope>().unwrap();
    sender.send(&Envelope(sender.clone())).unwrap();
    drop(sender);
    let Envelope(sender) = receiver.recv().unwrap();
    assert!(matches!(receiver.try_recv(), Err(RecvError::Empty)));
    drop(sender);
    assert!(matches!(receiver.recv(), Err(RecvError::Closed)));
}

#[test]
fn a_bad_handle_is_an_error() {
    // PI-20, PI-21
    let try_from = |fd: OwnedFd| Connection::<u8>::try_from(fd);
    assert!(try_from(nameless_file().into()).is_err());
    let (stream, _peer) = UnixStream::pair().unwrap();
    assert!(try_from(stream.into()).unwrap_err().to_string().contains("SEQPACKET"));

    let (a, b) = pipe::<u8>().unwrap();
    let a = try_from(a.try_into().unwrap()).unwrap();
    a.send(&1).unwrap();
    assert_eq!(b.recv().unwrap(), 1);
    // A clone keeps the end open.
    let fd: OwnedFd = a.clone().try_into().unwrap();
    drop(a);
    assert!(!b.poll().unwrap());
    drop(fd);
    assert!(b.poll().unwrap());
}

#[test]
fn timeouts_are_not_early() {
    let (a, b) = pipe::<Vec<u8>>().unwrap();
    let message = vec![0; 60_000];
    for wait in [Duration::ZERO, Duration::from_micros(300), SHORT] {
        let start = Instant::now();
        assert!(matches!(b.recv_timeout(wait), Err(RecvError::Empty)));
        assert!(start.elapsed() >= wait);
    }
    while a.try_send(&message).is_ok() {}
    let start = Instant::now();
    assert!(matches!(a.send_timeout(&message, SHORT), Err(SendError::Full)));
    assert!(start.elapsed() >= SHORT);
    // A full connection still receives, and what was accepted is there.
    b.send(&vec![1]).unwrap();
    assert_eq!(a.recv().unwrap(), [1]);
    assert_eq!(b.recv().unwrap().len(), 60_000);
}

#[test]
fn a_message_that_does_not_decode_costs_only_itself() {
    // W-24
    let (a, b) = Connection::<String, String>::pair().unwrap();
    for bytes in [&b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"[..], b"", b"\x02abc", &[0xff; 70_000]] {
        a.send_bytes(bytes).unwrap();
        a.send(&"next".into()).unwrap();
        assert!(matches!(b.recv(), Err(RecvError::Decode(_))));
        assert_eq!(b.recv().unwrap(), "next");
    }
}

#[test]
fn a_message_that_does_not_encode_is_not_sent() {
    // W-24
    struct Bad;
    impl Serialize for Bad {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }
    let (a, b) = Connection::<Result<u8, Bad>, ()>::pair().unwrap();
    let error = a.send(&Err(Bad)).unwrap_err();
    assert!(matches!(error, SendError::Encode(_)));
    assert!(!b.poll().unwrap());
    a.send(&Ok(1)).unwrap();
    assert_eq!(b.recv_bytes().unwrap(), [0, 1]);
}

#[test]
fn a_serialize_that_sends_works() {
    struct Nested(Sender<u8>);
    impl Serialize for Nested {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.send(&7).map_err(serde::ser::Error::custom)?;
            8_u8.serialize(serializer)
        }
    }
    let (inner, received) = simplex::<u8>().unwrap();
    let (outer, end) = Connection::<Nested, ()>::pair().unwrap();
    outer.send(&Nested(inner)).unwrap();
    assert_eq!(received.recv().unwrap(), 7);
    assert_eq!(end.recv_bytes().unwrap(), [8]);
}

#[test]
fn a_stranger_on_the_socket_does_no_harm() {
    let (a, b) = pipe::<u8>().unwrap();
    let mut stranger = File::from(a.as_fd().try_clone_to_owned().unwrap());
    stranger.write_all(b"hello there, this is not a message").unwrap();
    a.send(&1).unwrap();
    assert!(matches!(b.recv(), Err(RecvError::Decode(_))));
    assert_eq!(b.recv().unwrap(), 1);
}

#[test]
fn large_messages_go_both_ways_at_once() {
    let (a, b) = pipe::<()>().unwrap();
    let bytes: Vec<u8> = (0..64 << 20).map(|i: u32| (i % 251) as u8).collect();
    // Both have sent before either receives.
    a.send_bytes(&bytes).unwrap();
    b.send_bytes(&bytes).unwrap();
    assert!(a.recv_bytes().unwrap() == bytes);
    assert!(b.recv_bytes().unwrap() == bytes);
}

#[test]
fn iteration_ends_with_the_stream() {
    let (sender, receiver) = simplex::<u16>().unwrap();
    sender.send(&1).unwrap();
    sender.send_bytes(b"").unwrap();
    sender.send(&2).unwrap();
    drop(sender);
    let mut all = receiver.results();
    assert_eq!(all.next().unwrap().unwrap(), 1);
    assert!(matches!(all.next(), Some(Err(RecvError::Decode(_)))));
    assert_eq!(all.next().unwrap().unwrap(), 2);
    assert!(all.next().is_none() && all.next().is_none());
}

#[test]
fn plain_iteration_ends_with_a_message_that_does_not_decode() {
    let (sender, receiver) = simplex::<u16>().unwrap();
    sender.send(&1).unwrap();
    sender.send_bytes(b"").unwrap();
    sender.send(&2).unwrap();
    drop(sender);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [1]);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [2]);
}

#[test]
fn many_writers_and_readers_do_not_mix() {
    // PI-23, W-49: without any lock.
    const WRITERS: usize = 5;
    const MESSAGES: usize = 1000;
    let len_of = |writer: usize, number: usize| (writer * 7919 + number * 104_729) % 3000;
    let (sender, receiver) = simplex::<(usize, usize, Vec<u8>)>().unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let sender = sender.clone();
            thread::spawn(move || {
                for number in 0..MESSAGES {
                    let bytes = vec![writer as u8; len_of(writer, number)];
                    sender.send(&(writer, number, bytes)).unwrap();
                }
            })
        })
        .collect();
    drop(sender);
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let receiver = receiver.clone();
            thread::spawn(move || {
                let mut next = [0; WRITERS];
                let mut count = 0;
                for message in &receiver {
                    let (writer, number, bytes) = message;
                    assert!(number >= next[writer], "out of order");
                    next[writer] = number + 1;
                    assert_eq!(bytes.len(), len_of(writer, number));
                    assert!(bytes.iter().all(|&byte| byte == writer as u8));
                    count += 1;
                }
                count
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let total: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
    assert_eq!(total, WRITERS * MESSAGES);
}

#[test]
fn handles_are_close_on_exec_and_sockets_block() {
    let (a, b) = pipe::<Connection<u8>>().unwrap();
    a.send(&pipe().unwrap().0).unwrap();
    let c = b.recv().unwrap();
    for fd in [a.as_fd(), b.as_fd(), c.as_fd()] {
        let info = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
        let info = std::fs::read_to_string(info).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        let flags = u32::from_str_radix(flags, 8).unwrap();
        assert_ne!(flags & 0o2_000_000, 0, "O_CLOEXEC");
        assert_eq!(flags & 0o4000, 0, "O_NONBLOCK is shared with other processes");
    }
}

#[test]
fn types_cross_threads() {
    fn both<T: Send + Sync + 'static>() {}
    type Local = std::rc::Rc<u8>;
    both::<Connection<Local>>();
    both::<Sender<Local>>();
    both::<Receiver<Local>>();
    both::<SendError>();
    both::<RecvError>();
}

#[test]
fn errors_say_what_happened() {
    let (a, b) = pipe::<u8>().unwrap();
    let io = std::io::Error::from(b.try_recv().unwrap_err());
    assert_eq!(io.kind(), std::io::ErrorKind::TimedOut);
    drop(a);
    let io = std::io::Error::from(b.recv().unwrap_err());
    assert_eq!(io.kind(), std::io::ErrorKind::UnexpectedEof);
    let io = std::io::Error::from(b.send(&1).unwrap_err());
    assert_eq!(io.kind(), std::io::ErrorKind::BrokenPipe);
    assert!(format!("{b:?}").starts_with("Connection { fd: "));
}

/// An open file without a name.
fn nameless_file() -> File {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_TMPFILE);
    options.open(std::env::temp_dir()).unwrap()
}
