//! What the examples share with the tests that check them.

pub mod wordcount;

/// The program in the README, which must run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
