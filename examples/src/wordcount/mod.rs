//! Counts the words of all text files under a folder, in a pool of processes and, for comparison, in one.

mod files;
mod job;
mod tally;

pub use files::walk;
pub use job::{Job, Report, Summary, sequential};
pub use tally::{LETTERS, Tally};
