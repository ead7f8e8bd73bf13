//! How often a large message is copied. A program of its own: it looks at the memory of the whole process.
//!
//! `MP_PIPE_LARGE=1024` makes the largest one so many MiB; it is 64 if that is not said.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use mp_pipe::pipe;

fn largest() -> usize {
    let mib = std::env::var("MP_PIPE_LARGE").ok().and_then(|mib| mib.parse().ok()).unwrap_or(64);
    mib << 20
}

/// Different on each page.
fn fill(bytes: &mut [u8]) {
    for (number, page) in bytes.chunks_mut(4096).enumerate() {
        let mark = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        let len = page.len().min(8);
        page[..len].copy_from_slice(&mark[..len]);
    }
}

/// How much memory of this process is resident, in KiB: its own, and what is shared with others.
fn resident() -> (usize, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
    };
    (of("RssAnon:"), of("RssShmem:"))
}

#[test]
fn a_large_message_is_copied_once() {
    let len = largest();
    let (a, b) = pipe::<()>().unwrap();
    let mut bytes = vec![0; len];
    fill(&mut bytes);
    let before = resident();
    a.send_bytes(&bytes).unwrap();
    let payload = b.recv_payload().unwrap();
    let after = resident();
    // The sender's copy is what the receiver looks at: it has no memory of its own for the message.
    let slack = (16 << 10) + len / 1024 / 8;
    assert!(after.0 < before.0 + slack, "{before:?} {after:?}");
    assert!(after.1 + slack > before.1 + len / 1024, "{before:?} {after:?}");
    assert!(*payload == bytes[..]);

    // Straight into the buffer, and as bytes of our own.
    drop(payload);
    a.send_bytes(&bytes).unwrap();
    let mut buffer = vec![0; len];
    assert_eq!(b.recv_bytes_into(&mut buffer).unwrap(), len);
    assert!(buffer == bytes);
    drop(buffer);
    a.send_bytes(&bytes).unwrap();
    assert!(b.recv_bytes().unwrap() == bytes);
}
