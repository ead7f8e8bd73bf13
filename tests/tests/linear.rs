//! What several processes do to a ring, a pipe, a shelf or a queue is what a `VecDeque` would have done, in some order that keeps to their
//! times: histories are recorded, half of them with a process that is killed, and each is explained.
//!
//! `MP_HISTORIES=n` makes it that many of each kind.
#![allow(clippy::unwrap_used, reason = "what goes wrong here must fail the test")]

use std::process::Command;
use std::time::Duration;

use mp_tests::guard;
use mp_tests::linear::{Did, Operation, is_linearizable};

fn explain(channel: &str) {
    let count = std::env::var("MP_HISTORIES").unwrap_or_else(|_| "500".to_owned());
    let _guard = guard::limit(Duration::from_secs(600));
    let mut command = Command::new(env!("CARGO_BIN_EXE_crash"));
    let output = command.args(["histories", channel, &count, "1"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn histories_of_a_ring() {
    explain("ring");
}

#[test]
fn histories_of_a_pipe() {
    explain("pipe");
}

#[test]
fn histories_of_a_shelf() {
    explain("shelf");
}

#[test]
fn histories_of_a_queue() {
    explain("queue");
}

#[test]
fn histories_of_a_plain_queue() {
    explain("plain");
}

/// Operations that lie one after the other, unless a time is given.
fn history(of: &[(Did, u64, u64)]) -> Vec<Operation> {
    of.iter().map(|&(did, called, returned)| Operation { did, called, returned }).collect()
}

#[test]
fn what_cannot_have_happened_is_not_explained() {
    use Did::{Empty, Full, Put, Putting, Taking, Took};
    const NEVER: u64 = u64::MAX;
    let right: [&[(Did, u64, u64)]; 7] = [
        &[(Put(1), 1, 2), (Put(2), 3, 4), (Took(1), 5, 6), (Took(2), 7, 8), (Empty, 9, 10)],
        // At the same time: either order.
        &[(Put(1), 1, 4), (Put(2), 2, 3), (Took(2), 5, 6), (Took(1), 7, 8)],
        &[(Took(1), 1, 4), (Put(1), 2, 3)],
        // Cut off: it has happened, or has not.
        &[(Putting(1), 1, NEVER), (Took(1), 5, 6)],
        &[(Putting(1), 1, NEVER), (Empty, 5, 6), (Took(1), 7, 8)],
        &[(Put(1), 1, 2), (Taking, 3, NEVER), (Empty, 5, 6)],
        &[(Put(1), 1, 2), (Put(2), 3, 4), (Full(3), 5, 6)],
    ];
    for one in right {
        assert!(is_linearizable(&history(one), Some(2)), "{one:?}");
    }
    let wrong: [&[(Did, u64, u64)]; 9] = [
        // Lost, doubled, invented, out of order.
        &[(Put(1), 1, 2), (Empty, 3, 4)],
        &[(Put(1), 1, 2), (Took(1), 3, 4), (Took(1), 5, 6)],
        &[(Took(1), 1, 2)],
        &[(Put(1), 1, 2), (Put(2), 3, 4), (Took(2), 5, 6), (Took(1), 7, 8)],
        // Before it was put; cut off and there and not there; two gone with one who was killed.
        &[(Took(1), 1, 2), (Put(1), 3, 4)],
        &[(Putting(1), 1, NEVER), (Took(1), 3, 4), (Took(1), 5, 6)],
        &[(Put(1), 1, 2), (Put(2), 3, 4), (Taking, 5, NEVER), (Empty, 6, 7)],
        &[(Put(1), 1, 2), (Full(2), 3, 4)],
        &[(Put(1), 1, 2), (Put(2), 3, 4), (Put(3), 5, 6)],
    ];
    for one in wrong {
        assert!(!is_linearizable(&history(one), Some(2)), "{one:?}");
    }
}
