//! Keeps account of what workers do.

use super::*;
use crate::Timeline;
use crate::stats::{Span, Stats, WorkerStats};

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

impl Account {
    /// That of a worker that is there already.
    pub(super) fn ready() -> Self {
        Self { start_up: Some(Duration::ZERO), ..Self::default() }
    }

    fn add(&mut self, done: Done) {
        self.working += Duration::from_nanos(done.nanos);
        self.tasks += u64::from(done.tasks);
    }

    fn stats(&self, pid: u32, slot: usize, age: Duration, alive: bool) -> WorkerStats {
        let &Self { start_up, working, tasks } = self;
        let ready = start_up.map_or(Duration::ZERO, |start_up| age.saturating_sub(start_up));
        WorkerStats {
            pid,
            slot,
            tasks,
            start_up: start_up.unwrap_or(age),
            working,
            waiting: ready.saturating_sub(working),
            alive,
        }
    }
}

impl Record {
    /// Keeps what a worker did, if it took long or all is kept.
    fn add(&mut self, epoch: u64, (slot, pid): (usize, impl FnOnce() -> u32), done: Done) {
        let Done { chunk, first, tasks, nanos, end } = done;
        let took = Duration::from_nanos(nanos);
        let slowest = &mut self.slowest;
        let each = took / tasks.max(1);
        let is_slow = slowest.len() < SLOWEST
            || slowest.last().is_some_and(|last| last.took / last.tasks.max(1) < each);
        if !is_slow && self.keep == 0 {
            return;
        }
        let begin = Duration::from_nanos(end.saturating_sub(epoch).saturating_sub(nanos));
        let span = Span { pid: pid(), slot, begin, took, tasks, chunk, first };
        if is_slow {
            let at = slowest.partition_point(|other| other.took / other.tasks.max(1) >= each);
            slowest.insert(at, span);
            slowest.truncate(SLOWEST);
        }
        if self.keep > 0 {
            if self.timeline.len() >= self.keep {
                self.timeline.pop_front();
            }
            self.timeline.push_back(span);
        }
    }
}

/// Tasks of a unit that are done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) chunk: u64,
    pub(super) first: u32,
    pub(super) tasks: u32,
    pub(super) nanos: u64,
    pub(super) end: u64,
}

impl<L: Link> Dispatcher<L> {
    /// Keeps what the latest units were.
    pub(crate) fn keep_timeline(&mut self, units: usize) {
        self.record.keep = units;
    }

    /// Notes when a worker was started, which is before it was added.
    pub(crate) fn record_birth(&mut self, slot: usize, born: Instant) {
        if let Some(worker) = &mut self.workers[slot] {
            worker.born = born;
        }
    }

    /// Notes that a worker is ready, since this time by the clock of the replies. It may be long ago that it said so.
    pub(super) fn record_ready(&mut self, slot: usize, at: u64) {
        if let Some(worker) = &mut self.workers[slot] {
            let age = worker.born.elapsed();
            let since = Duration::from_nanos(crate::sys::now().saturating_sub(at));
            worker.account.start_up = Some(age.saturating_sub(since));
        }
    }

    /// Notes tasks that are done, which came in one reply.
    pub(super) fn record_done(&mut self, slot: usize, done: Done) {
        let Some(worker) = &mut self.workers[slot] else { return };
        worker.account.add(done);
        self.record.add(self.epoch, (slot, || worker.link.pid()), done);
    }

    /// Notes tasks that a thread of this process has done, where there are no workers.
    pub(super) fn record_here(&mut self, done: Done) {
        if let Some(here) = &mut self.here {
            here.account.add(done);
        }
        self.record.add(self.epoch, (0, std::process::id), done);
    }

    /// Notes the end of a worker, which another will stand in for.
    pub(super) fn record_end(&mut self, slot: usize, worker: &Worker<L>) {
        if self.record.ended.len() >= ENDED {
            self.record.ended.pop_front();
        }
        self.record.restarts += 1;
        self.record.ended.push_back(worker.stats(slot, false));
    }

    /// What the worker has done that ended last.
    pub(crate) fn last_ended(&self) -> Option<WorkerStats> {
        self.record.ended.back().cloned()
    }

    /// What this worker has done so far, if it is there.
    pub(crate) fn stats_of(&self, id: WorkerId) -> Option<WorkerStats> {
        Some(self.worker(id)?.stats(id.slot, true))
    }

    pub(crate) fn stats(&self) -> Stats {
        let living =
            self.workers.iter().enumerate().filter_map(|(slot, worker)| {
                worker.as_ref().map(|worker| worker.stats(slot, true))
            });
        let here = self.here.as_ref().map(|here| {
            here.account.stats(std::process::id(), 0, here.born.elapsed(), self.ended.is_none())
        });
        Stats {
            workers: self.record.ended.iter().cloned().chain(living).chain(here).collect(),
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
        self.account.stats(self.link.pid(), slot, self.born.elapsed(), alive)
    }
}
