//! A full memory, no descriptor, no addresses: each in a process of its own, which has the limit.
#![allow(clippy::unwrap_used, reason = "what goes wrong here must fail the test")]

use std::process::Command;

fn live_without(what: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_limits")).arg(what).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", output.status);
}

#[test]
fn full_memory() {
    live_without("memory");
}

#[test]
fn no_descriptors() {
    live_without("descriptors");
}

#[test]
fn few_addresses() {
    live_without("addresses");
}
