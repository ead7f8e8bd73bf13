//! Units that no worker gets, because the threads that submit them run them.

use super::record::Account;
use super::*;

/// The account of those threads, as of one worker.
#[derive(Debug)]
pub(super) struct Here {
    pub(super) born: Instant,
    pub(super) account: Account,
}

impl<L: Link> Dispatcher<L> {
    /// There are to be no workers.
    pub(crate) fn work_here(&mut self) {
        self.here = Some(Here { born: now(), account: Account::ready() });
    }

    /// Where the first unit of a job is among those that wait; `None` if none does.
    pub(crate) fn first_of(&self, job: &Arc<Job>) -> Option<usize> {
        self.pending.iter().position(|unit| Arc::ptr_eq(&unit.job, job))
    }

    /// Takes out a unit that a thread is about to run.
    pub(crate) fn begin_here(&mut self, at: usize) -> Option<Unit> {
        let unit = self.pending.remove(at)?;
        self.pending_bytes -= unit.parcel.bytes.len();
        self.in_flight += 1;
        Some(unit)
    }

    /// Notes what became of a unit that a thread has run. If the pool has ended meanwhile, nobody is to have it.
    pub(crate) fn done_here(&mut self, unit: &Unit, outcome: Outcome, (begin, end): (u64, u64)) {
        let tasks = unit.parcel.items();
        let outcome = match &self.ended {
            Some(error) => Err(error.clone()),
            None => {
                self.in_flight -= 1;
                let (first, nanos) = (unit.parcel.from, end.saturating_sub(begin));
                self.record_here(Done { chunk: unit.place, first, tasks, nanos, end });
                outcome
            }
        };
        self.finish(unit, unit.parcel.from, tasks, outcome);
    }
}
