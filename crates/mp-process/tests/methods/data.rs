//! Arguments and values: large, odd, with descriptors, and those that do not travel.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;

use mp_process::{ErrorKind, JoinErrorKind, Process, StartMethod, active_children};
use mp_wire::{Deadline, Fd, Limits, socket};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::support::{Traces, hear, numbers, pair, process, tell};
use crate::{ALL, FRESH, Test};

pub(crate) const TESTS: &[Test] = &[
    ("arity_none_to_twelve", arity_none_to_twelve, ALL),
    ("large_both_ways", large_both_ways, ALL),
    ("large_value_before_join", large_value_before_join, ALL),
    ("large_arguments_while_the_child_sends_much", crossing, ALL),
    ("descriptors_go_along", descriptors_go_along, ALL),
    ("arguments_that_do_not_serialize", arguments_that_do_not_serialize, FRESH),
    ("arguments_that_do_not_decode", arguments_that_do_not_decode, FRESH),
    ("values_that_do_not_serialize", values_that_do_not_serialize, ALL),
    ("values_that_do_not_decode", values_that_do_not_decode, ALL),
    ("captures_need_a_fork", captures_need_a_fork, ALL),
    ("nothing_is_left_of_failed_starts", nothing_is_left_of_failed_starts, ALL),
];

fn arity_none_to_twelve(method: StartMethod) {
    let run = |process: Process<u32>| process.start_method(method).start().unwrap().join().unwrap();
    assert_eq!(run(Process::new(|| 1, ())), 1);
    assert_eq!(run(Process::new(|a: u32| a, (2,))), 2);
    assert_eq!(run(Process::new(|a: u32, b: u32| a + b, (2, 3))), 5);
    let all = |a: u32,
               b: u32,
               c: u32,
               d: u32,
               e: u32,
               f: u32,
               g: u32,
               h: u32,
               i: u32,
               j: u32,
               k: u32,
               l: u32| { a + b + c + d + e + f + g + h + i + j + k + l };
    assert_eq!(run(Process::new(all, (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12))), 78);
}

fn bytes(len: usize) -> Bytes {
    let pattern: Vec<u8> = (0..251).collect();
    let mut bytes = pattern.repeat(len.div_ceil(pattern.len()));
    bytes.truncate(len);
    Bytes(bytes)
}

/// Bytes that travel in one piece.
#[derive(PartialEq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Take;
        impl de::Visitor<'_> for Take {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Take)
    }
}

/// `MP_PROCESS_LARGE=1024` tries with so many MiB; it takes six times the memory.
fn large() -> usize {
    let said = std::env::var("MP_PROCESS_LARGE").ok().and_then(|text| text.parse().ok());
    said.unwrap_or(64) << 20
}

fn large_both_ways(method: StartMethod) {
    let size = large();
    let turn = |mut bytes: Bytes| {
        bytes.0.push(7);
        bytes
    };
    let mut there = bytes(size);
    let back = process(method, turn, (bytes(size),)).start().unwrap().join().unwrap();
    there.0.push(7);
    assert!(back == there);
}

fn large_value_before_join(method: StartMethod) {
    let size = large() / 4;
    let child = process(method, bytes, (size,)).start().unwrap();
    // It ends though nobody has taken its value.
    assert!(child.wait().success());
    assert!(child.join().unwrap() == bytes(size));
}

/// Neither side reads before it has written all.
fn crossing(method: StartMethod) {
    fn exchange(socket: Fd, bytes: Bytes) -> Bytes {
        for _ in 0..64 {
            socket::send(&socket, &bytes.0[..1 << 20], &[], Deadline::NEVER).unwrap();
        }
        bytes
    }
    let (ours, theirs) = pair();
    let child = process(method, exchange, (theirs, bytes(64 << 20))).start().unwrap();
    // The child may wait for room: its value is far from being sent.
    for _ in 0..64 {
        let message = socket::recv(&ours, Limits::default(), Deadline::NEVER).unwrap();
        assert_eq!(message.bytes.len(), 1 << 20);
    }
    assert!(child.wait().success());
    assert!(child.join().unwrap().0 == bytes(64 << 20).0);
}

fn descriptors_go_along(method: StartMethod) {
    fn note(file: Fd) -> Fd {
        let mut file = File::from(file.into_owned().unwrap());
        file.write_all(b"child").unwrap();
        let (ours, theirs) = pair();
        tell(&ours, "from a socket that the child made");
        drop(file);
        theirs
    }
    let path = std::env::temp_dir().join(format!("mp-process-{}-{method}", std::process::id()));
    let mut file =
        File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let copy = Fd::from(OwnedFd::from(file.try_clone().unwrap()));
    let socket = process(method, note, (copy,)).start().unwrap().join().unwrap();
    assert_eq!(hear(&socket).as_deref(), Some("from a socket that the child made"));
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "child");
}

/// Does not serialize in the process that made it, or does not decode, as it says.
#[derive(Clone, Copy, Debug)]
enum Odd {
    Refuses,
    Panics,
    Lies,
}

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Refuses => Err(ser::Error::custom("this one stays here")),
            Self::Panics => panic!("serialize panics"),
            Self::Lies => serializer.serialize_u8(1),
        }
    }
}

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer)?;
        Err(de::Error::custom("never"))
    }
}

fn arguments_that_do_not_serialize(method: StartMethod) {
    let before = numbers();
    let error = process(method, |_: Odd| (), (Odd::Refuses,)).start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
    let error = mp_process_chain(&error);
    assert!(error.contains("do not serialize"), "{error}");
    assert_eq!(numbers(), before);
    assert!(active_children().is_empty());
}

fn mp_process_chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(mp_process_chain).unwrap_or_default();
    format!("{error}: {cause}")
}

fn arguments_that_do_not_decode(method: StartMethod) {
    let child = process(method, |_: Odd| 5, (Odd::Lies,)).start().unwrap();
    let error = child.join().unwrap_err();
    assert!(matches!(error.kind(), JoinErrorKind::Arguments(_)), "{error:?}");
    assert_eq!(error.exit_status().code(), Some(1));
}

fn values_that_do_not_serialize(method: StartMethod) {
    let error = process(method, || Odd::Refuses, ()).start().unwrap().join().unwrap_err();
    assert!(matches!(error.kind(), JoinErrorKind::Encode(_)), "{error:?}");
    let error = process(method, || Odd::Panics, ()).start().unwrap().join().unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "serialize panics");
}

fn values_that_do_not_decode(method: StartMethod) {
    let error = process(method, || Odd::Lies, ()).start().unwrap().join().unwrap_err();
    assert!(matches!(error.kind(), JoinErrorKind::Decode(_)), "{error:?}");
    assert!(error.exit_status().success());
    assert!(std::error::Error::source(&error).is_some());
}

fn captures_need_a_fork(method: StartMethod) {
    let words = Vec::from([1, 2, 3]);
    let mut sum = 0;
    let closure = move || {
        sum += words.iter().sum::<i32>();
        sum
    };
    let result = Process::fork(closure).start_method(method).start();
    if method == StartMethod::Fork {
        assert_eq!(result.unwrap().join().unwrap(), 6);
    } else {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Captures);
    }
}

fn nothing_is_left_of_failed_starts(method: StartMethod) {
    let traces = Traces::here();
    for _ in 0..20 {
        let refused = process(method, |_: Odd| (), (Odd::Refuses,)).start();
        assert_eq!(refused.is_err(), method != StartMethod::Fork);
    }
    // A process without a descriptor left says so, and works again when there are some.
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    for free in 0..12 {
        match process(method, || 5, ()).start() {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Exhausted, "{free}: {error:?}"),
            Ok(child) => drop(child.join()),
        }
        hoard.pop();
    }
    drop(hoard);
    assert_eq!(process(method, || 5, ()).start().unwrap().join().unwrap(), 5);
    traces.check();
}
