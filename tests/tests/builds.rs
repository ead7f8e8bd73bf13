//! Children start, panic and overflow in the same way however the program was built.
//!
//! Each build takes a minute or more, so this runs only when it is asked for:
//! `cargo test -p mp-tests --test builds -- --ignored`.
#![allow(clippy::unwrap_used, reason = "what goes wrong here must fail the test")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// What `builds` says for each method.
const EXPECTED: [&str; 4] =
    ["2", "number 7", "at tests/src/bin/builds.rs:7:5", "process `deep` overflowed its stack"];

fn build(name: &str, config: &[&str], flags: &str) {
    // Beside the other builds, so that what they have in common is built once.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("builds");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--release", "-p", "mp-tests", "--bin", "builds"]);
    for text in config {
        command.args(["--config", text]);
    }
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    command.args(["--target", &triple]).arg("--target-dir").arg(&target);
    let built = command.env("RUSTFLAGS", flags).output().unwrap();
    assert!(built.status.success(), "{name}: {built:?}");
    let output = Command::new(target.join(triple).join("release/builds")).output().unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let expected: Vec<String> = ["forkserver", "spawn", "fork"]
        .iter()
        .flat_map(|method| EXPECTED.map(|text| format!("{method}: {text}")))
        .collect();
    assert_eq!(lines, expected, "{name}");
    // Told by the error of the task, or where there is none any more, by the worker itself.
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("a task refuses"), "{name}: {errors}");
}

#[test]
#[ignore = "builds the workspace"]
fn panic_abort_and_stripped() {
    build("abort", &["profile.release.panic='abort'", "profile.release.strip=true"], "");
}

#[test]
#[ignore = "builds the workspace"]
fn link_time_optimisation_and_one_codegen_unit() {
    build("lto", &["profile.release.lto='fat'", "profile.release.codegen-units=1"], "");
}

#[test]
#[ignore = "builds the workspace"]
fn not_optimised_and_many_codegen_units() {
    build("small", &["profile.release.opt-level=0", "profile.release.codegen-units=256"], "");
}

#[test]
#[ignore = "builds the workspace"]
fn static_linking() {
    build("static", &[], "-C target-feature=+crt-static");
}

#[test]
#[ignore = "builds the workspace"]
fn not_to_be_moved_and_without_a_build_id() {
    let flags = "-C relocation-model=static -C link-arg=-Wl,--build-id=none";
    build("fixed", &[], flags);
}

/// The library that `cargo test` builds with all targets of this package; otherwise it is built here.
fn library() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_loads")).parent().unwrap();
    let path = beside.join("examples/liblibrary.so");
    if path.exists() {
        return path;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("builds");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "-p", "mp-tests", "--example", "library"]);
    let built = command.arg("--target-dir").arg(&target).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    target.join("debug/examples/liblibrary.so")
}

#[test]
fn a_function_in_a_shared_library_is_a_clear_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_loads")).arg(library()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("is part of a shared library, not of the program itself"), "{text}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "3\n", "{text}");
}
