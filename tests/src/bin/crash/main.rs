//! Kills one operation at instruction boundaries and says what became of the others.
//!
//! `stepper SCENARIO [STRIDE]`; without arguments it lists the scenarios. Exits with 1 if a survivor was not well.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper program fails loudly")]

mod toy;

use std::process::ExitCode;

use mp_tests::step::Kill;
use mp_tests::sweep::{Verdict, sweep};

type Trial = fn(Kill) -> Verdict;

const SCENARIOS: &[(&str, Trial)] = &[
    ("toy_lock", toy::toy_lock),
    ("toy_publish", toy::toy_publish),
    ("toy_claim", toy::toy_claim),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        for (name, _) in SCENARIOS {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    };
    let stride = arguments.next().map(|stride| stride.parse().expect("the stride is a number"));
    let Some((_, trial)) = SCENARIOS.iter().find(|(known, _)| *known == name) else {
        eprintln!("no scenario is called {name}");
        return ExitCode::from(2);
    };
    let report = sweep(&name, stride, trial);
    println!("{report}");
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
