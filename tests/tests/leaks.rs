//! Nothing is left behind: descriptors, mappings, processes, threads, names in `/dev/shm`.
#![allow(clippy::unwrap_used, reason = "what goes wrong here must fail the test")]

use std::process::Command;

#[test]
fn nothing_is_left() {
    let output = Command::new(env!("CARGO_BIN_EXE_leaks")).output().unwrap();
    let (said, wrong) = (output.stdout, output.stderr);
    let (said, wrong) = (String::from_utf8_lossy(&said), String::from_utf8_lossy(&wrong));
    println!("{said}");
    assert!(output.status.success(), "{}\n{said}\n{wrong}", output.status);
}
