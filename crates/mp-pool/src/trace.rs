//! What a pool does as `tracing` spans, with the feature `tracing`; without it, nothing.
//!
//! ```text
//! pool       info    from its start to its end; when it ends: tasks, restarts
//!   worker   info    one for each worker's life; when it ends: how, tasks, times
//! map        info    a call, in the thread that makes it
//! tasks      debug   what a worker runs in one go, in the worker, around what the tasks themselves log
//! ```
//!
//! No span is made, entered or recorded under the lock of a pool: subscribers are user code.

use crate::stats::WorkerStats;
use crate::{Death, Stats};

#[cfg(feature = "tracing")]
use tracing::field::Empty;

/// The life of a pool.
#[derive(Clone, Debug)]
pub(crate) struct PoolSpan {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

/// The life of a worker.
#[derive(Clone, Debug)]
pub(crate) struct WorkerSpan {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

impl PoolSpan {
    pub(crate) fn begin(_workers: usize) -> Self {
        Self {
            #[cfg(feature = "tracing")]
            span: tracing::info_span!(target: "mp_pool", "pool", workers = _workers, tasks = Empty, restarts = Empty),
        }
    }

    pub(crate) fn worker(&self, _slot: usize, _pid: u32) -> WorkerSpan {
        WorkerSpan {
            #[cfg(feature = "tracing")]
            span: tracing::info_span!(
                target: "mp_pool", parent: &self.span, "worker",
                slot = _slot, pid = _pid, end = Empty, tasks = Empty,
                start_up_us = Empty, working_us = Empty, waiting_us = Empty
            ),
        }
    }

    pub(crate) fn end(&self, _stats: &Stats) {
        #[cfg(feature = "tracing")]
        self.span.record("tasks", _stats.tasks()).record("restarts", _stats.restarts);
    }
}

impl WorkerSpan {
    /// It has ended; `lost` if nobody told it to.
    pub(crate) fn end(&self, _death: Death, _lost: bool, _stats: Option<&WorkerStats>) {
        #[cfg(feature = "tracing")]
        {
            let end = _death.to_string();
            self.span.record("end", end.as_str());
            if let Some(stats) = _stats {
                let micros =
                    |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
                self.span
                    .record("tasks", stats.tasks)
                    .record("start_up_us", micros(stats.start_up))
                    .record("working_us", micros(stats.working))
                    .record("waiting_us", micros(stats.waiting));
            }
            if _lost {
                tracing::warn!(target: "mp_pool", parent: &self.span, end, "a worker was lost");
            }
        }
    }
}

/// Runs a call in its span.
pub(crate) fn call<T>(_name: &'static str, _tasks: usize, run: impl FnOnce() -> T) -> T {
    #[cfg(feature = "tracing")]
    return tracing::info_span!(target: "mp_pool", "map", call = _name, tasks = _tasks)
        .in_scope(run);
    #[cfg(not(feature = "tracing"))]
    run()
}

/// Runs some tasks of a unit in their span.
pub(crate) fn tasks<T>(
    _slot: usize,
    _unit: u64,
    (_first, _end): (u32, u32),
    run: impl FnOnce() -> T,
) -> T {
    #[cfg(feature = "tracing")]
    return tracing::debug_span!(
        target: "mp_pool", "tasks",
        slot = _slot, unit = _unit, first = _first, tasks = _end - _first
    )
    .in_scope(run);
    #[cfg(not(feature = "tracing"))]
    run()
}
