//! Signals interrupt every blocking call, and change nothing.
#![allow(clippy::unwrap_used, reason = "what goes wrong here must fail the test")]

use std::process::Command;

#[test]
fn a_storm_of_signals_changes_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_storm")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", output.status);
}
