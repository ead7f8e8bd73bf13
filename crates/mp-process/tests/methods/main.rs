//! What holds for each start method, written once and run with all three.
//!
//! The program has one thread, so that it may fork. It is also its own helper: `methods --helper NAME METHOD` is
//! the process that a test kills, or whose output it reads.
//!
//! What is a matter of chance is tried a few times. `MP_PROCESS_TRIALS=500` says how often instead.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod contexts;
mod data;
mod ends;
mod helpers;
mod inherit;
mod lives;
#[cfg(feature = "tracing")]
mod logs;
mod options;
mod phases;
mod places;
mod scopes;
mod states;
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use mp_process::StartMethod::{self, Fork, Forkserver, Spawn};

/// A test, and the methods that it holds for.
type Test = (&'static str, fn(StartMethod), &'static [StartMethod]);

const ALL: &[StartMethod] = &[Forkserver, Spawn, Fork];
/// The methods by which a function travels to another image of the program.
const FRESH: &[StartMethod] = &[Forkserver, Spawn];
/// The methods by which this process is the parent in the eyes of the kernel.
const OWN: &[StartMethod] = &[Spawn, Fork];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let [_, flag, name, method, ..] = args.as_slice()
        && flag == "--helper"
    {
        helpers::run(name, method.parse().expect("a start method"));
        return ExitCode::SUCCESS;
    }
    // `--format terse` is how nextest asks for the list.
    let filters: Vec<&String> =
        args.iter().skip(1).filter(|arg| !arg.starts_with('-') && *arg != "terse").collect();
    if args.iter().any(|arg| arg == "--ignored") {
        return ExitCode::SUCCESS;
    }
    let list = args.iter().any(|arg| arg == "--list");
    let exact = args.iter().any(|arg| arg == "--exact");

    let tests = [
        states::TESTS,
        ends::TESTS,
        data::TESTS,
        inherit::TESTS,
        lives::TESTS,
        phases::TESTS,
        options::TESTS,
        contexts::TESTS,
        scopes::TESTS,
        places::TESTS,
        #[cfg(feature = "tracing")]
        logs::TESTS,
    ]
    .concat();
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, test, methods) in tests {
        for &method in methods {
            let name = format!("{method}::{name}");
            let wanted = |filter: &&String| {
                if exact { **filter == name } else { name.contains(filter.as_str()) }
            };
            if !filters.is_empty() && !filters.iter().any(wanted) {
                continue;
            }
            if list {
                println!("{name}: test");
                continue;
            }
            if run(&name, || test(method)) {
                passed += 1;
            } else {
                failed.push(name);
            }
        }
    }
    if !list {
        println!("\ntest result: {passed} passed; {} failed {failed:?}", failed.len());
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one test: it must end in time and leave nothing behind.
fn run(name: &str, test: impl FnOnce()) -> bool {
    support::limit(120);
    let before = support::Traces::here();
    let result = catch_unwind(AssertUnwindSafe(test));
    let clean = catch_unwind(|| before.check());
    support::limit(0);
    let ok = result.is_ok() && clean.is_ok();
    println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
    ok
}
