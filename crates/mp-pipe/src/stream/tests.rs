//! Streams against a peer that writes bytes as it likes.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use proptest::prelude::*;

use super::*;

const MAX: u64 = 1 << 20;

fn pair() -> (Stream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    (Stream::new(near).unwrap(), far)
}

fn frame_of(payload: &[u8]) -> Vec<u8> {
    [&frame::header(Kind::Message, payload.len())[..], payload, &[frame::END]].concat()
}

#[test]
fn headers_are_parsed_as_they_are_written() {
    for length in [0, 1, 255, 256, 0xdead_beef, 1 << 48] {
        for kind in [Kind::Message, Kind::Handshake] {
            assert_eq!(frame::parse(frame::header(kind, length)), Some((kind, length as u64)));
        }
    }
    assert_eq!(frame::header(Kind::Message, 3), [0xa5, 3, 0, 0, 0, 0, 0, 0]);
    assert_eq!(frame::parse([0xa5, 1, 0, 0, 0, 0, 0, 1]), None);
    assert_eq!(frame::parse(*b"GET / HT"), None);
}

#[test]
fn a_slow_reader_gets_everything() {
    let (stream, mut peer) = pair();
    let message: Vec<u8> = (0..5 << 20).map(|i: u32| (i % 255) as u8).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3 {
                stream.send(&message, Deadline::NEVER).unwrap();
            }
        });
        let right = frame_of(&message);
        let mut got: Vec<u8> = Vec::new();
        let mut piece = vec![0; 100_003];
        while got.len() < 3 * right.len() {
            let count = peer.read(&mut piece).unwrap();
            got.extend(&piece[..count]);
        }
        assert!(got.chunks(right.len()).all(|frame| frame == right));
    });
}

#[test]
fn a_peer_that_is_gone_is_told_to_senders() {
    let (stream, peer) = pair();
    drop(peer);
    // The first may still find room.
    let error = loop {
        match stream.send(&[1; 1000], Deadline::NEVER) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SendError::Closed), "{error:?}");
    assert!(matches!(stream.send(b"", Deadline::NEVER), Err(SendError::Closed)));
    assert!(matches!(stream.recv(MAX, Deadline::NEVER), Err(RecvError::Closed)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn messages_do_not_depend_on_how_the_bytes_come(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..10),
        pieces in prop::collection::vec(1..50_usize, 1..20),
        polls: bool,
    ) {
        let (stream, mut peer) = pair();
        let bytes: Vec<u8> = messages.iter().flat_map(|message| frame_of(message)).collect();
        let mut got = Vec::new();
        let mut rest = &bytes[..];
        for piece in pieces.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*piece));
            peer.write_all(now).unwrap();
            rest = later;
            if polls {
                let _ = stream.poll(MAX, Deadline::NOW).unwrap();
            }
            match stream.recv(MAX, Deadline::NOW) {
                Ok(message) => got.push(message),
                Err(error) => prop_assert!(matches!(error, RecvError::Empty)),
            }
            if rest.is_empty() {
                break;
            }
        }
        while got.len() < messages.len() {
            got.push(stream.recv(MAX, Deadline::NEVER).unwrap());
        }
        prop_assert_eq!(got, messages);
        prop_assert!(!stream.poll(MAX, Deadline::NOW).unwrap());
    }

    #[test]
    fn random_bytes_end_in_an_error_or_the_end(
        honest in prop::collection::vec(any::<u8>(), 0..50),
        noise in prop::collection::vec(any::<u8>(), 0..300),
        lie in prop::option::of(any::<u64>()),
        cut in 0..100_usize,
        polls: bool,
    ) {
        let (stream, mut peer) = pair();
        let mut bytes = frame_of(&honest);
        if let Some(lie) = lie {
            // A header that may claim anything.
            bytes.push(0xa5);
            bytes.extend(&lie.to_le_bytes()[..7]);
        }
        bytes.extend(noise);
        bytes.truncate(bytes.len().saturating_sub(cut));
        peer.write_all(&bytes).unwrap();
        drop(peer);
        let mut turns = 0;
        loop {
            if polls {
                prop_assert!(stream.poll(100, Deadline::NEVER).unwrap());
            }
            match stream.recv(100, Deadline::NEVER) {
                Err(RecvError::Closed) => break,
                Err(RecvError::Empty) => prop_assert!(false, "nothing more comes"),
                _ => turns += 1,
            }
            prop_assert!(turns < 400);
        }
    }
}
