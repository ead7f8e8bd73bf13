//! The kill harness turns red for each of the mistakes that the crates can be built with: a test that cannot fail is
//! none.
//!
//! It builds the helper program once per mistake, which takes a minute or two, and so runs on demand:
//!
//! ```text
//! cargo test -p mp-tests --test seeded_bugs -- --ignored --nocapture --test-threads 1
//! ```
#![allow(clippy::unwrap_used, reason = "what goes wrong here must fail the test")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use mp_tests::guard;

/// Builds the helper program with a mistake, and expects that one of the scenarios finds it.
fn finds(bug: &str, scenarios: &[&[&str]]) {
    finds_in(bug, scenarios, &["--no-default-features"]);
}

/// The same for a mistake in what stands above `mp-shared` and `mp-pipe`.
fn finds_in_whole(bug: &str, scenarios: &[&[&str]]) {
    finds_in(bug, scenarios, &[]);
}

fn finds_in(bug: &str, scenarios: &[&[&str]], features: &[&str]) {
    let _guard = guard::limit(Duration::from_secs(1200));
    let program = build(bug, features);
    let mut account = String::new();
    let mut found = false;
    for scenario in scenarios {
        let output = Command::new("timeout")
            .args(["--signal=KILL", "300"])
            .arg(&program)
            .args(*scenario)
            .output()
            .unwrap();
        account.push_str(&String::from_utf8_lossy(&output.stdout));
        account.push_str(&String::from_utf8_lossy(&output.stderr));
        // Exit code 1 is the verdict; any other would be a fault of the harness.
        found |= output.status.code() == Some(1);
    }
    println!("== {bug}\n{account}");
    assert!(found, "{bug} is not found:\n{account}");
}

/// Builds the pool's own tests with a mistake in the hand-over of the pump, and expects that its model says this.
fn finds_in_model(bug: &str, wrong: &str) {
    let _guard = guard::limit(Duration::from_secs(600));
    let built = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["rustc", "--quiet", "-p", "mp-pool", "--lib", "--profile", "test"])
        .arg("--message-format=json-render-diagnostics")
        .arg("--target-dir")
        .arg(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("seeded/model"))
        .args(["--", "--cfg", &format!("mp_bug=\"{bug}\"")])
        .env_remove("CARGO_BUILD_TARGET")
        .output()
        .unwrap();
    let messages = String::from_utf8_lossy(&built.stdout);
    let program =
        messages.split("\"executable\":\"").last().and_then(|rest| rest.split('"').next());
    assert!(built.status.success(), "the tests with {bug} do not build");
    let output = Command::new(program.unwrap()).arg("model::").output().unwrap();
    let account = String::from_utf8_lossy(&output.stdout);
    println!("== {bug}\n{account}");
    assert!(!output.status.success() && account.contains(wrong), "{bug} is not found");
}

fn build(bug: &str, features: &[&str]) -> PathBuf {
    // One directory for all: crates that the flag does not concern are still built again, but only the last is kept.
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("seeded").join(bug);
    let status = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "-p", "mp-tests", "--bin", "crash"])
        .args(features)
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", format!("--cfg\u{1f}mp_bug=\"{bug}\""))
        .env_remove("CARGO_BUILD_TARGET")
        .status()
        .unwrap();
    assert!(status.success(), "the helper program with {bug} does not build");
    target.join("debug/crash")
}

#[test]
#[ignore = "builds the helper program anew"]
fn waiters_not_sticky() {
    finds(
        "waiters_not_sticky",
        &[&["step", "raw_unlock_with_waiters"], &["step", "raw_lock_contended"]],
    );
}

#[test]
#[ignore = "builds the helper program anew"]
fn no_pending() {
    finds("no_pending", &[&["step", "raw_lock_alone"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn private_futex() {
    finds("private_futex", &[&["step", "raw_unlock_with_waiter"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn publish_before_payload() {
    finds(
        "publish_before_payload",
        &[&["step", "ring_put_alone"], &["step", "ring_put_to_sleepers"]],
    );
}

#[test]
#[ignore = "builds the helper program anew"]
fn wake_split() {
    finds("wake_split", &[&["step", "ring_put_to_sleepers"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn missing_seal() {
    finds("missing_seal", &[&["seal"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn release_split() {
    finds("release_split", &[&["step", "semaphore_release_to_sleepers"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn permit_unwatched() {
    finds(
        "permit_unwatched",
        &[&["step", "semaphore_give_back_to_sleepers"], &["step", "semaphore_acquire_as_leader"]],
    );
}

#[test]
#[ignore = "builds the helper program anew"]
fn trip_split() {
    finds("trip_split", &[&["step", "barrier_wait_last"], &["step", "barrier_abort"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn barrier_unwatched() {
    finds("barrier_unwatched", &[&["step", "barrier_wait_between"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn notify_split() {
    finds("notify_split", &[&["step", "condition_notify_one"], &["step", "condition_notify_all"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn notify_wakes_one() {
    finds("notify_wakes_one", &[&["step", "condition_wait"], &["step", "condition_notify_all"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn raise_split() {
    finds("raise_split", &[&["step", "event_set_with_waiters"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn death_untold() {
    finds("death_untold", &[&["step", "value_guard_with_waiters"], &["step", "value_recovery"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn poison_after() {
    finds("poison_after", &[&["step", "value_recovery"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn length_first() {
    finds("length_first", &[&["step", "vec_push"], &["step", "vec_push_that_grows"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn discard_first() {
    finds("discard_first", &[&["step", "vec_truncate"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn list_flip_first() {
    finds("list_flip_first", &[&["step", "list_set_alone"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn list_in_place() {
    finds("list_in_place", &[&["step", "list_set_alone"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn reader_unwatched() {
    finds(
        "reader_unwatched",
        &[&["step", "rwlock_read_end"], &["step", "rwlock_read_behind_a_writer"]],
    );
}

#[test]
#[ignore = "builds the helper program anew"]
fn pipe_unrung() {
    finds("pipe_unrung", &[&["step", "pipe_send_alone"], &["step", "pipe_send_to_sleepers"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn pipe_bell_taken() {
    finds("pipe_bell_taken", &[&["step", "pipe_recv_of_three"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn pool_loan_reused_early() {
    finds_in_whole("pool_loan_reused_early", &[&["step", "pool_loan"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn pool_bell_first() {
    finds_in_whole("pool_bell_first", &[&["step", "pool_task"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn pipe_commit_first() {
    finds("pipe_commit_first", &[&["step", "pipe_send_behind_others"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn shelf_early() {
    finds("shelf_early", &[&["step", "shelf_lease_of_two"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn pipe_heir_trusts() {
    finds("pipe_heir_trusts", &[&["step", "pipe_send_alone"], &["step", "pipe_send_as_heir"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn pool_queued_forgotten() {
    finds_in_whole("pool_queued_forgotten", &[&["step", "pool_task"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn pipe_held_unmarked() {
    finds("pipe_held_unmarked", &[&["step", "pipe_send_long"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn shelf_no_replay() {
    finds("shelf_no_replay", &[&["step", "shelf_lease_of_two"]]);
}

#[test]
#[ignore = "builds the helper program anew"]
fn shelf_turn_first() {
    finds(
        "shelf_turn_first",
        &[&["step", "shelf_get_as_leader"], &["step", "shelf_put_into_full"]],
    );
}

#[test]
#[ignore = "builds the helper program anew"]
fn pipe_discard_first() {
    finds("pipe_discard_first", &[&["step", "pipe_recv_of_the_last"]]);
}

#[test]
#[ignore = "builds the tests of the pool anew"]
fn pool_pump_kept() {
    finds_in_model("pool_pump_kept", "callers sleep, and nobody pumps");
}

#[test]
#[ignore = "builds the tests of the pool anew"]
fn pool_bell_late() {
    finds_in_model("pool_bell_late", "the pump sleeps, and there are replies");
}

#[test]
#[ignore = "builds the tests of the pool anew"]
fn pool_call_unsaid() {
    finds_in_model("pool_call_unsaid", "a callback is due, and nobody runs it");
}

#[test]
#[ignore = "builds the tests of the pool anew"]
fn pool_called_unrung() {
    finds_in_model("pool_called_unrung", "a caller sleeps, and what it waits for is there");
}

#[test]
#[ignore = "builds the tests of the pool anew"]
fn pool_limit_unrung() {
    finds_in_model("pool_limit_unrung", "it has no end");
}
