//! Waiting for many at once. The ids are those of the acceptance lines.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use mp_pipe::{Connection, Receiver, RecvError, pipe, simplex, wait};

#[test]
fn collects_from_many_until_all_are_closed() {
    // LC-01
    let mut readers: Vec<Receiver<(usize, usize)>> = Vec::new();
    for writer in 0..4 {
        let (sender, receiver) = simplex().unwrap();
        readers.push(receiver);
        thread::spawn(move || {
            for number in 0..10 {
                sender.send(&(writer, number)).unwrap();
                if writer % 2 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
    }
    let mut all = Vec::new();
    while !readers.is_empty() {
        for index in wait(&readers, None).unwrap().into_iter().rev() {
            match readers[index].recv() {
                Ok(message) => all.push(message),
                Err(RecvError::Closed) => drop(readers.swap_remove(index)),
                Err(error) => panic!("{error}"),
            }
        }
    }
    all.sort_unstable();
    let expected: Vec<_> =
        (0..4).flat_map(|writer| (0..10).map(move |number| (writer, number))).collect();
    assert_eq!(all, expected);
}

#[test]
fn takes_sockets_and_connections_together() {
    // LC-01, LC-03: a process's sentinel is one more thing with a descriptor.
    let (connection, peer) = pipe::<u8>().unwrap();
    let (mut socket, mut other) = UnixStream::pair().unwrap();
    let ready = |connection: &Connection<u8>, socket: &UnixStream, timeout| {
        let objects: [&dyn AsFd; 2] = [connection, socket];
        wait(&objects, timeout).unwrap()
    };
    assert_eq!(ready(&connection, &socket, Some(Duration::ZERO)), []);
    other.write_all(b"x").unwrap();
    assert_eq!(ready(&connection, &socket, None), [1]);
    peer.send(&1).unwrap();
    assert_eq!(ready(&connection, &socket, None), [0, 1]);
    socket.read_exact(&mut [0]).unwrap();
    assert_eq!(connection.recv().unwrap(), 1);
    assert_eq!(ready(&connection, &socket, Some(Duration::ZERO)), []);
    drop((peer, other));
    assert_eq!(ready(&connection, &socket, None), [0, 1]);
}

#[test]
fn a_zero_timeout_does_not_wait() {
    // LC-04
    let (a, _b) = pipe::<u8>().unwrap();
    assert_eq!(wait(&[&a], Some(Duration::ZERO)).unwrap(), []);
}

#[test]
fn nothing_to_wait_for() {
    // LC-05
    let time = Duration::from_millis(20);
    let start = Instant::now();
    assert_eq!(wait::<Connection<u8>>(&[], Some(time)).unwrap(), []);
    assert!(start.elapsed() >= time);
    let error = wait::<Connection<u8>>(&[], None).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn a_duplicate_is_reported_twice() {
    // LC-06: an error in Python.
    let (a, b) = pipe::<u8>().unwrap();
    b.send(&1).unwrap();
    assert_eq!(wait(&[&a, &b, &a], None).unwrap(), [0, 2]);
}
