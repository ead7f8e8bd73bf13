//! Processes at one channel and one lock, or at every primitive of shared memory, are killed at random; the others go on, the ledger balances, nothing is left.
//!
//! Each takes two seconds; `MP_SOAK_SECONDS=n` makes it more. The seed is printed, and `MP_SOAK_SEED=n` repeats it.
#![allow(clippy::unwrap_used, reason = "what goes wrong here must fail the test")]

use std::process::Command;
use std::time::Duration;

use mp_tests::guard;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn soak(channel: &str) {
    let (seconds, seed) = (number("MP_SOAK_SECONDS", 2), number("MP_SOAK_SEED", 1));
    let _guard = guard::limit(Duration::from_secs(seconds + 60));
    let (time, seed) = (seconds.to_string(), seed.to_string());
    let mut command = Command::new(env!("CARGO_BIN_EXE_crash"));
    let output = command.args(["soak", channel, &time, &seed]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("seed {seed}: {said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn shared() {
    soak("shared");
}

#[test]
fn ring() {
    soak("ring");
}

#[test]
fn bounded_ring() {
    soak("bounded_ring");
}

#[test]
fn queue() {
    soak("queue");
}

#[test]
fn bounded_queue() {
    soak("bounded_queue");
}
