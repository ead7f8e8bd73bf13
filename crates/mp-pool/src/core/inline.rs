//! A pool without workers: whoever submits runs the units, one at a time.
//!
//! It is a pool of one worker, which is the thread that has the turn. Units wait in the dispatcher as they do for other workers, so
//! that they are counted, can be cancelled, and run in their order; each thread takes its own out when they have come to the front.
//! A task that uses its own pool has the turn already, and goes before all that wait.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mp_process::Panic;

use super::*;
use crate::job::Outcome;
use crate::sys;

impl<L: Link, B: Bell> Core<L, B> {
    pub(crate) fn be_inline(&self) {
        self.inline.store(true, Ordering::Relaxed);
        self.lock().dispatcher.work_here();
    }

    pub(crate) fn is_inline(&self) -> bool {
        self.inline.load(Ordering::Relaxed)
    }

    /// Says whether this is a thread that runs a task of a pool without workers.
    pub(crate) fn is_in_task(&self) -> bool {
        self.lock().turn == Some(thread::current().id())
    }

    /// Runs units of a job in this thread, without the lock.
    pub(super) fn run_here(
        &self,
        state: &mut MutexGuard<'_, State<L>>,
        units: impl IntoIterator<Item = Unit>,
    ) {
        let mut units = units.into_iter().peekable();
        let Some(job) = units.peek().map(|unit| unit.job.clone()) else { return };
        for unit in units {
            state.dispatcher.submit(unit);
        }
        let this = thread::current().id();
        // What is not there any more was cancelled, or the pool has ended.
        while let Some(at) = state.dispatcher.first_of(&job) {
            let before = state.turn;
            if before.map_or(at > 0, |other| other != this) {
                self.turn.wait(state);
                continue;
            }
            let Some(unit) = state.dispatcher.begin_here(at) else { break };
            state.turn = Some(this);
            let begin = sys::now();
            // Nothing of a unit panics out of it, unless what it panicked with does once more when it is dropped.
            let ran = MutexGuard::unlocked(state, || {
                catch_unwind(AssertUnwindSafe(|| run(&unit)))
                    .unwrap_or_else(|panic| Err(TaskError::Panicked(Panic::from_payload(panic))))
            });
            state.turn = before;
            state.dispatcher.done_here(&unit, ran, (begin, sys::now()));
            self.turn.notify_all();
            self.have_called(state);
            if state.pump != Pump::Nobody {
                // Whoever pumps waits for the end of all, and no worker wakes it.
                self.bell.ring();
            }
        }
    }
}

fn run(unit: &Unit) -> Outcome {
    let thunk = entry::thunk(unit.parcel.entry).map_err(TaskError::encode)?;
    let range = (unit.parcel.from, unit.parcel.end);
    let mut run = Run::whole(range);
    let batch = trace::tasks(0, unit.place, range, || {
        place::inline(|| thunk(&unit.parcel.bytes, &unit.parcel.fds, &mut run))
    });
    Ok(Message { bytes: batch.bytes, fds: batch.fds })
}
