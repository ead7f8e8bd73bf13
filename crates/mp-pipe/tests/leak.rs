//! What is left open. A program of its own: it counts the descriptors of the whole process.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use mp_pipe::{Connection, RecvError, pipe, simplex};

fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn leak() {
    let (carrier, other) = pipe::<(Connection<u8>, Vec<u8>)>().unwrap();
    let round = || {
        let (a, b) = pipe::<u8>().unwrap();
        // Received, received as mere bytes, beside a message that does not decode, and never received.
        carrier.send(&(a, vec![0; 100_000])).unwrap();
        let (a, _) = other.recv().unwrap();
        carrier.send(&(a.clone(), Vec::new())).unwrap();
        other.recv_bytes().unwrap();
        let (sender, receiver) = simplex::<(u8, Connection<u8>)>().unwrap();
        sender.send(&(1, b)).unwrap();
        sender.send_bytes(b"no message").unwrap();
        drop(sender);
        assert_eq!(receiver.recv().unwrap().0, 1);
        assert!(matches!(receiver.recv(), Err(RecvError::Decode(_))));
        assert!(matches!(receiver.recv(), Err(RecvError::Closed)));
        let (sender, _receiver) = simplex::<Connection<u8>>().unwrap();
        sender.send(&a).unwrap();
    };
    round();
    let before = open();
    for _ in 0..200 {
        round();
    }
    assert_eq!(open(), before);
}
