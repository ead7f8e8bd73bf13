//! The guard, the leak check and the kill harness find what they are there to find: a test that cannot fail is none.
#![allow(clippy::unwrap_used, reason = "what goes wrong here must fail the test")]

use std::process::{Command, Output};

fn mishap(what: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mishap")).arg(what).output().unwrap()
}

#[test]
fn a_hang_ends_with_an_account_and_leaves_no_child() {
    let output = mishap("hang");
    assert!(!output.status.success());
    let account = String::from_utf8_lossy(&output.stderr);
    assert!(account.contains("hangs"), "{account}");
    assert!(account.contains("thread"), "{account}");
    assert!(account.contains("sleep"), "{account}");
    let child: i32 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    // Whoever inherits it may not reap it.
    let runs = || mp_tests::proc::state(child).is_some_and(|state| state != 'Z');
    let (gone, _) = mp_tests::step::within_liveness(|| !runs());
    assert!(gone, "the child of the program that hung lives on");
}

#[test]
fn a_leak_is_found() {
    for what in ["descriptor", "mapping", "zombie", "thread"] {
        let output = mishap(what);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        let word = if what == "zombie" { "process" } else { what };
        assert!(said.contains(word), "{what}: {said}");
    }
}

#[test]
fn a_clean_run_passes() {
    assert!(mishap("none").status.success());
}

#[test]
fn a_lock_without_owner_is_seen_to_hang() {
    finds("toy_lock", "hangs");
}

#[test]
fn a_sequence_before_its_payload_is_seen_to_tear() {
    finds("toy_publish", "torn");
}

#[test]
fn a_claim_before_the_copy_is_seen_to_lose() {
    finds("toy_claim", "lost");
}

/// The kill harness reports more than zero trials of this kind.
fn finds(scenario: &str, what: &str) {
    let _guard = mp_tests::guard::minute();
    let output =
        Command::new(env!("CARGO_BIN_EXE_crash")).arg("step").arg(scenario).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains(&format!("{what}=")), "{report}");
    assert!(!report.contains(&format!("{what}=0")), "{report}");
}
