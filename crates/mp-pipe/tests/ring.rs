//! Connections whose messages go partly through shared memory: order, truth of the descriptor, ends with many users.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

use mp_pipe::{Connection, Receiver, RecvError, SendError, pipe, simplex};
use mp_wire::{Deadline, Fd, poll};

const SHORT: Duration = Duration::from_millis(5);

/// What somebody sees who knows the descriptor alone.
fn readable(end: impl AsFd) -> bool {
    poll::wait_readable(end.as_fd(), Deadline::NOW).unwrap()
}

/// Lengths on both sides of each limit: of packets, of waiting in the ring, and of the ring.
const LENGTHS: [usize; 9] =
    [0, 1, 64, 5000, 64 << 10, (64 << 10) + 1, 1 << 20, (2 << 20) - 16, 3 << 20];

fn message(number: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![number as u8; len];
    for (byte, mark) in bytes.iter_mut().zip(number.to_le_bytes()) {
        *byte = mark;
    }
    bytes
}

#[test]
fn the_descriptor_is_readable_as_long_as_there_are_messages() {
    let (a, b) = pipe::<()>().unwrap();
    for round in 0..200 {
        // The first is a packet, the others lie in the ring, or behind it.
        for number in 0..=round % 9 {
            assert_eq!(readable(&b), number > 0);
            a.send_bytes(&message(number, LENGTHS[(round + number) % 5])).unwrap();
        }
        for number in 0..=round % 9 {
            assert!(readable(&b), "{number} of {round}");
            assert_eq!(b.recv_bytes().unwrap(), message(number, LENGTHS[(round + number) % 5]));
        }
        assert!(!readable(&b) && !b.poll().unwrap(), "{round}");
        assert!(matches!(b.recv_timeout(Duration::ZERO), Err(RecvError::Empty)));
    }
}

#[test]
fn lengths_of_all_kinds_keep_their_order() {
    let (a, b) = pipe::<()>().unwrap();
    for first in 0..LENGTHS.len() {
        for second in 0..LENGTHS.len() {
            let lengths = [first, second, 1, second, first].map(|at| LENGTHS[at]);
            for (number, len) in lengths.into_iter().enumerate() {
                a.send_bytes(&message(number, len)).unwrap();
            }
            for (number, len) in lengths.into_iter().enumerate() {
                assert!(readable(&b));
                assert!(b.recv_bytes().unwrap() == message(number, len), "{first} {second}");
            }
            assert!(!readable(&b), "{first} {second}");
        }
    }
}

#[test]
fn descriptors_keep_their_place_among_other_messages() {
    let (a, b) = Connection::<(u32, Option<Fd>), (u32, Option<Fd>)>::pair().unwrap();
    let file = Fd::from(OwnedFd::from(File::open("/dev/null").unwrap()));
    for round in 0..50 {
        for number in 0..20 {
            let with = (number + round) % 3 == 0;
            a.send(&(number, with.then(|| file.clone()))).unwrap();
        }
        for number in 0..20 {
            let (got, file) = b.recv().unwrap();
            assert_eq!((got, file.is_some()), (number, (number + round) % 3 == 0));
        }
        assert!(!readable(&b));
    }
}

#[test]
fn a_full_connection_loses_nothing() {
    let (a, b) = pipe::<(usize, String)>().unwrap();
    for len in [500, 3000, 100_000, 1 << 20] {
        let mut sent = 0;
        while a.try_send(&(sent, "x".repeat(len))).is_ok() {
            sent += 1;
        }
        assert!(sent > 3, "{sent} of {len}");
        for number in 0..sent {
            let (got, text) = b.recv().unwrap();
            assert_eq!((got, text.len()), (number, len));
        }
        assert!(!readable(&b));
    }
}

#[test]
fn both_ends_are_shared_by_threads_that_wait_in_every_way() {
    const SENDERS: usize = 3;
    const MESSAGES: usize = 400;
    let (sender, receiver) = simplex::<(usize, usize, Vec<u8>)>().unwrap();
    let len_of = |who: usize, number: usize| match (who * 31 + number * 17) % 97 {
        0 => 70_000,
        1 => 300_000,
        len => len * 20,
    };
    let senders: Vec<_> = (0..SENDERS)
        .map(|who| {
            let sender = sender.clone();
            thread::spawn(move || {
                for number in 0..MESSAGES {
                    let message = (who, number, vec![who as u8; len_of(who, number)]);
                    match number % 3 {
                        0 => sender.send(&message).unwrap(),
                        1 => while matches!(sender.try_send(&message), Err(SendError::Full)) {},
                        _ => {
                            while matches!(
                                sender.send_timeout(&message, SHORT),
                                Err(SendError::Full)
                            ) {}
                        }
                    }
                }
            })
        })
        .collect();
    drop(sender);
    let take = |receiver: &Receiver<_>, way| match way {
        0 => receiver.recv(),
        1 => receiver.try_recv(),
        2 => receiver.recv_timeout(SHORT),
        _ => match receiver.poll_timeout(SHORT) {
            Ok(true) => receiver.try_recv(),
            _ => Err(RecvError::Empty),
        },
    };
    let receivers: Vec<_> = (0..4)
        .map(|way| {
            let receiver = receiver.clone();
            thread::spawn(move || {
                let (mut next, mut count) = ([0; SENDERS], 0);
                loop {
                    let (who, number, bytes): (usize, usize, Vec<u8>) = match take(&receiver, way) {
                        Ok(message) => message,
                        Err(RecvError::Empty) => continue,
                        Err(RecvError::Closed) => return count,
                        Err(error) => panic!("{error:?}"),
                    };
                    assert!(number >= next[who], "out of order");
                    next[who] = number + 1;
                    assert!(bytes.len() == len_of(who, number));
                    assert!(bytes.iter().all(|&byte| byte == who as u8));
                    count += 1;
                }
            })
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let counts: Vec<usize> = receivers.into_iter().map(|it| it.join().unwrap()).collect();
    assert_eq!(counts.iter().sum::<usize>(), SENDERS * MESSAGES, "{counts:?}");
}

#[test]
fn hot_messages_go_both_ways() {
    let (a, b) = pipe::<u64>().unwrap();
    let echo = thread::spawn(move || {
        for message in &b {
            b.send(&(message + 1)).unwrap();
        }
    });
    for number in 0..5000 {
        a.send(&number).unwrap();
        assert_eq!(a.recv().unwrap(), number + 1);
        assert!(!readable(&a));
    }
    drop(a);
    echo.join().unwrap();
}
