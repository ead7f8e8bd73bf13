//! What the tests that cross crates share: a guard against hangs, a check for leaks, and the kill harness.
//!
//! Helper programs are in `src/bin`, the tests in `tests`. Helpers fail loudly: a panic here is a failed test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    reason = "for tests alone: what goes wrong here must fail the test"
)]

pub mod captive;
pub mod fuzz;
pub mod guard;
pub mod leak;
pub mod linear;
pub mod model;
pub mod proc;
pub mod random;
pub mod step;
pub mod sweep;
