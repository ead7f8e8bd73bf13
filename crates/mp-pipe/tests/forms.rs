//! The forms of sending and receiving that do not wait for ever, ends that are closed one way, ends received again.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use mp_pipe::{Client, Connection, Listener, RecvError, SendError, Sender, pipe, simplex};

const SHORT: Duration = Duration::from_millis(5);

#[test]
fn bytes_have_every_form() {
    let (a, b) = pipe::<()>().unwrap();
    let mut buffer = [0; 4];
    assert!(matches!(b.try_recv_bytes(), Err(RecvError::Empty)));
    let start = Instant::now();
    assert!(matches!(b.recv_bytes_timeout(SHORT), Err(RecvError::Empty)));
    assert!(matches!(b.recv_payload_timeout(SHORT), Err(RecvError::Empty)));
    let late = b.recv_bytes_into_timeout(&mut buffer, SHORT);
    assert!(matches!(late, Err(RecvError::Empty)) && start.elapsed() >= 3 * SHORT);

    for text in ["1", "2", "3", "four", "five!"] {
        a.try_send_bytes(text.as_bytes()).unwrap();
    }
    assert_eq!(b.try_recv_bytes().unwrap(), b"1");
    assert_eq!(b.recv_bytes_timeout(SHORT).unwrap(), b"2");
    assert_eq!(&*b.recv_payload_timeout(SHORT).unwrap(), b"3");
    assert_eq!(b.recv_bytes_into_timeout(&mut buffer, SHORT).unwrap(), 4);
    assert_eq!(&buffer, b"four");
    let long = b.recv_bytes_into_timeout(&mut buffer, SHORT);
    assert!(matches!(long, Err(RecvError::BufferTooShort(all)) if all == b"five!"));

    let block = vec![0; 300_000];
    while a.try_send_bytes(&block).is_ok() {}
    let start = Instant::now();
    assert!(matches!(a.send_bytes_timeout(&block, SHORT), Err(SendError::Full)));
    assert!(start.elapsed() >= SHORT);
    assert_eq!(b.recv_bytes().unwrap().len(), block.len());
}

#[test]
fn ends_have_the_forms_of_connections() {
    let (sender, receiver) = simplex::<()>().unwrap();
    sender.try_send_bytes(b"a").unwrap();
    sender.send_bytes_timeout(b"b", SHORT).unwrap();
    sender.send_bytes(b"c").unwrap();
    sender.send_bytes(b"d").unwrap();
    sender.send_bytes(b"e").unwrap();
    assert_eq!(receiver.try_recv_bytes().unwrap(), b"a");
    assert_eq!(receiver.recv_bytes_timeout(SHORT).unwrap(), b"b");
    assert_eq!(receiver.recv_bytes_into_timeout(&mut [0; 3], SHORT).unwrap(), 1);
    assert_eq!(&*receiver.recv_payload().unwrap(), b"d");
    assert_eq!(&*receiver.recv_payload_timeout(SHORT).unwrap(), b"e");
    assert!(matches!(receiver.try_recv_bytes(), Err(RecvError::Empty)));
}

/// Connections of each kind: with memory beside the socket, without, and over TCP.
fn of_each_kind() -> Vec<(Connection<u32>, Connection<u32>)> {
    let (a, b) = pipe().unwrap();
    let mut all = vec![(a, b)];
    for listener in [
        Listener::<u32>::builder().listen().unwrap(),
        Listener::builder().bind(("127.0.0.1", 0)).unwrap(),
    ] {
        let client: Connection<u32> = Client::connect(listener.address().clone()).unwrap();
        all.push((client, listener.accept().unwrap()));
    }
    all
}

#[test]
fn an_end_that_sends_no_more_still_receives() {
    for (a, b) in of_each_kind() {
        // With messages in the ring, and without.
        let clone = a.clone();
        for number in 0..5 {
            a.send(&number).unwrap();
        }
        a.shutdown(Shutdown::Write).unwrap();
        a.shutdown(Shutdown::Write).unwrap();
        for end in [&a, &clone] {
            assert!(matches!(end.send(&9), Err(SendError::Closed)));
            assert!(matches!(end.try_send_bytes(&[9]), Err(SendError::Closed)));
        }
        assert_eq!(b.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert!(matches!(b.recv(), Err(RecvError::Closed)) && b.poll().unwrap());
        for number in 0..100 {
            b.send(&number).unwrap();
            assert_eq!(a.recv().unwrap(), number);
        }
        assert!(!a.poll().unwrap());
        b.shutdown(Shutdown::Both).unwrap();
        assert!(matches!(a.recv(), Err(RecvError::Closed)));
    }
}

#[test]
fn an_end_that_receives_no_more_still_sends() {
    // Over TCP the other side is not told.
    for (a, b) in of_each_kind().into_iter().take(2) {
        for number in 0..5 {
            b.send(&number).unwrap();
        }
        a.shutdown(Shutdown::Read).unwrap();
        for _ in 0..3 {
            assert!(matches!(b.send(&1), Err(SendError::Closed)));
        }
        assert!(matches!(a.recv(), Err(RecvError::Closed)));
        for number in 0..5 {
            a.send(&number).unwrap();
            assert_eq!(b.recv().unwrap(), number);
        }
    }
}

#[test]
fn shutdown_wakes_who_waits() {
    for (a, b) in of_each_kind() {
        let waits = thread::spawn(move || b.recv());
        a.shutdown(Shutdown::Write).unwrap();
        assert!(matches!(waits.join().unwrap(), Err(RecvError::Closed)));
    }
    for (a, b) in of_each_kind().into_iter().take(2) {
        let block = vec![0; 50_000];
        while a.try_send_bytes(&block).is_ok() {}
        let waits = thread::spawn(move || a.send_bytes(&block));
        thread::sleep(SHORT);
        b.shutdown(Shutdown::Read).unwrap();
        assert!(matches!(waits.join().unwrap(), Err(SendError::Closed)));
    }
}

#[test]
fn both_ends_fill_the_connection_and_get_on() {
    const MESSAGES: usize = 40;
    // Records, packets, and memory of their own.
    for len in [60_000, 1 << 20, 5 << 20] {
        let (a, b) = pipe::<()>().unwrap();
        let work = move |end: Connection<()>, may_wait: bool| {
            let block = vec![3; len];
            let (mut sent, mut received) = (0, 0);
            while sent < MESSAGES || received < MESSAGES {
                if sent < MESSAGES {
                    let result = if may_wait {
                        end.send_bytes_timeout(&block, SHORT / 5)
                    } else {
                        end.try_send_bytes(&block)
                    };
                    match result {
                        Ok(()) => sent += 1,
                        Err(SendError::Full) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
                // Receives only when it must, so that both are full.
                if sent == MESSAGES || sent.is_multiple_of(7) {
                    match end.recv_bytes_timeout(SHORT / 5) {
                        Ok(bytes) => {
                            assert_eq!(bytes.len(), len);
                            received += 1;
                        }
                        Err(RecvError::Empty) => {}
                        // The other one is done before us.
                        Err(RecvError::Closed) if received == MESSAGES => {}
                        Err(error) => panic!("{error:?}"),
                    }
                } else if !end.poll().unwrap() {
                    thread::yield_now();
                } else if end.try_recv_bytes().is_ok() {
                    received += 1;
                }
            }
            end
        };
        let other = thread::spawn(move || work(b, true));
        let a = work(a, false);
        drop((a, other.join().unwrap()));
    }
}

/// How many descriptors this process has open of sockets and memory; others are none of this test's.
fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn an_end_that_is_received_again_is_the_same() {
    // In `ipc-channel` ten thousand of one end are ten thousand descriptors. Other tests of this program open some meanwhile.
    let (carrier, other) = pipe::<Sender<u32>>().unwrap();
    let (sender, receiver) = simplex::<u32>().unwrap();
    let before = open();
    let all: Vec<Sender<u32>> = (0..10_000)
        .map(|_| {
            carrier.send(&sender).unwrap();
            other.recv().unwrap()
        })
        .collect();
    assert!(open() < before + 2000, "{before} {}", open());
    all[9999].send(&1).unwrap();
    all[0].send(&2).unwrap();
    assert_eq!((receiver.recv().unwrap(), receiver.recv().unwrap()), (1, 2));
    // It is closed with the last of them.
    drop(sender);
    let mut all = all.into_iter();
    let last = all.next();
    drop(all);
    assert!(!receiver.poll().unwrap());
    drop(last);
    assert!(matches!(receiver.recv(), Err(RecvError::Closed)));
    // And one that was closed is not given out again.
    let (sender, receiver) = simplex::<u32>().unwrap();
    carrier.send(&sender).unwrap();
    drop(sender);
    other.recv().unwrap().send(&3).unwrap();
    assert_eq!(receiver.recv().unwrap(), 3);
    assert!(matches!(receiver.recv(), Err(RecvError::Closed)));
}

#[test]
fn the_longest_message_belongs_to_the_handle() {
    let (carrier, other) = pipe::<Connection<()>>().unwrap();
    let (a, b) = pipe::<()>().unwrap();
    let narrow = b.clone().max_message(10);
    carrier.send(&narrow).unwrap();
    carrier.send(&b).unwrap();
    let (narrow, wide) = (other.recv().unwrap(), other.recv().unwrap());
    for _ in 0..2 {
        a.send_bytes(&[0; 11]).unwrap();
    }
    assert!(matches!(narrow.recv_bytes(), Err(RecvError::TooLarge(_))));
    assert_eq!(wide.recv_bytes().unwrap().len(), 11);
}
