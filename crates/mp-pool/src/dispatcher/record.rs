//! Keeps account of what workers do.

use super::*;
use crate::stats::{Span, Stats, Timeline, WorkerStats};

/// Of how many workers that have ended the account is kept.
const ENDED: usize = 256;

/// How many of the slowest units are kept.
const SLOWEST: usize = 5;

/// The account of a pool.
#[derive(Debug, Default)]
pub(super) struct Record {
    ended: VecDeque<WorkerStats>,
    restarts: u64,
    slowest: Vec<Span>,
    /// The latest units, and how many are kept.
    timeline: VecDeque<Span>,
    keep: usize,
}

/// The account of a worker.
#[derive(Debug, Default)]
pub(super) struct Account {
    start_up: Option<Duration>,
    working: Duration,
    tasks: u64,
}

impl<L: Link> Dispatcher<L> {
    /// Keeps what the latest units were.
    pub(crate) fn keep_timeline(&mut self, units: usize) {
        self.record.keep = units;
    }

    /// Notes that a worker is ready.
    pub(super) fn record_ready(&mut self, slot: usize) {
        if let Some(worker) = &mut self.workers[slot] {
            worker.account.start_up = Some(worker.born.elapsed());
        }
    }

    /// Notes a unit that is done.
    pub(super) fn record_unit(&mut self, slot: usize, ticket: &Ticket) {
        let begin_of_pool = self.started;
        let Some(worker) = &mut self.workers[slot] else { return };
        let took = Duration::from_nanos(ticket.nanos);
        let tasks = ticket.unit.parcel.items();
        worker.account.working += took;
        worker.account.tasks += u64::from(tasks);
        let slowest = &mut self.record.slowest;
        let each = took / tasks.max(1);
        let is_slow = slowest.len() < SLOWEST
            || slowest.last().is_some_and(|last| last.took / last.tasks.max(1) < each);
        if !is_slow && self.record.keep == 0 {
            return;
        }
        let begin = worker.since.duration_since(begin_of_pool).saturating_sub(took);
        let (pid, chunk) = (worker.link.pid(), ticket.unit.place);
        let span = Span { pid, slot, begin, took, tasks, chunk };
        if is_slow {
            let at = slowest.partition_point(|other| other.took / other.tasks.max(1) >= each);
            slowest.insert(at, span);
            slowest.truncate(SLOWEST);
        }
        if self.record.keep > 0 {
            if self.record.timeline.len() >= self.record.keep {
                self.record.timeline.pop_front();
            }
            self.record.timeline.push_back(span);
        }
    }

    /// Notes the end of a worker, which another will stand in for.
    pub(super) fn record_end(&mut self, slot: usize, worker: &Worker<L>) {
        if self.record.ended.len() >= ENDED {
            self.record.ended.pop_front();
        }
        self.record.restarts += 1;
        self.record.ended.push_back(worker.stats(slot, false));
    }

    pub(crate) fn stats(&self) -> Stats {
        let living =
            self.workers.iter().enumerate().filter_map(|(slot, worker)| {
                worker.as_ref().map(|worker| worker.stats(slot, true))
            });
        Stats {
            workers: self.record.ended.iter().cloned().chain(living).collect(),
            restarts: self.record.restarts,
            pending: self.pending.len() + self.delayed.len(),
            in_flight: self.in_flight,
            slowest: self.record.slowest.clone(),
        }
    }

    pub(crate) fn timeline(&self) -> Timeline {
        Timeline { spans: self.record.timeline.iter().copied().collect() }
    }
}

impl<L: Link> Worker<L> {
    fn stats(&self, slot: usize, alive: bool) -> WorkerStats {
        let Account { start_up, working, tasks } = self.account;
        let age = self.born.elapsed();
        let ready = start_up.map_or(Duration::ZERO, |start_up| age.saturating_sub(start_up));
        WorkerStats {
            pid: self.link.pid(),
            slot,
            tasks,
            start_up: start_up.unwrap_or(age),
            working,
            waiting: ready.saturating_sub(working),
            alive,
        }
    }
}
