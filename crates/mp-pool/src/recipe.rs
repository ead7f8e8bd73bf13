//! What all workers of a pool begin and end with; it travels to each of them.

use std::time::Duration;

use mp_wire::Fd;
use serde::{Deserialize, Serialize};

use crate::worker::in_task;
use crate::{entry, pin, sys};

/// What all workers of a pool begin and end with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Recipe {
    /// What runs before the first task, in this order.
    pub(crate) initializers: Vec<Initializer>,
    /// What runs when a worker is let go.
    pub(crate) exit: Option<u64>,
    /// How long a worker that is let go may take to end.
    pub(crate) exit_timeout: Option<Duration>,
    pub(crate) address_space: Option<u64>,
    /// What interrupts a task that is asked to stop.
    pub(crate) soft_signal: Option<i32>,
    /// With how much memory of its own a worker leaves.
    pub(crate) max_memory: Option<u64>,
    /// On which processors they run, one list for each, over and over; none if they may choose.
    pub(crate) cpus: Vec<Vec<usize>>,
    /// In how many pools they are, one inside the other.
    pub(crate) depth: usize,
}

/// A function to run before the first task, and its arguments.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Initializer {
    pub(crate) entry: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<Fd>,
}

impl Recipe {
    /// The same for workers that share a process, which has one memory, and cannot be ended or interrupted.
    pub(crate) fn for_threads(&self) -> Self {
        Self { exit_timeout: None, max_memory: None, soft_signal: None, ..self.clone() }
    }

    /// Does what comes before the first task of this worker.
    pub(crate) fn begin(&self, number: usize) -> Result<(), String> {
        if let Some(cpus) = self.cpus.get(number.checked_rem(self.cpus.len()).unwrap_or_default()) {
            pin::pin(cpus)?;
        }
        self.initialize()
    }

    /// Runs the initializers.
    pub(crate) fn initialize(&self) -> Result<(), String> {
        for Initializer { entry, bytes, fds } in &self.initializers {
            let initialize = entry::initializer(*entry).map_err(|error| entry::chain(&error))?;
            in_task(|| initialize(bytes, fds))?;
        }
        Ok(())
    }

    /// Does what comes after the last one. Nobody waits for what becomes of it: if it panics, the report of that is all.
    pub(crate) fn finish(&self) {
        if let Some(limit) = self.exit_timeout {
            sys::die_after(limit);
        }
        if let Some(exit) = self.exit.and_then(|exit| entry::initializer(exit).ok()) {
            let _ = exit(&[], &[]);
        }
    }
}
