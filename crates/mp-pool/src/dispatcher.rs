//! Who does what: hands units to workers, takes replies, and knows what a dead worker was doing.
//!
//! A state machine without threads, clocks of its own or system calls, generic over the [`Link`] to a worker; it lives behind
//! the one lock of the pool. A unit is in one place at any time:
//!
//! ```text
//! submit -> pending -> in flight with one worker -> complete (a reply)
//!              ^               |
//!              |               +-> complete (the worker died while running it)
//!              +---------------+   (the worker died, or another is idle, before it was taken)
//! ```
//!
//! What a worker was running when it died is exact: its replies come in the order of its parcels, and those that it had not
//! taken are still in its ring and are taken back. What remains is the one that it had taken and not answered.
//!
//! A worker has one unit to run and some queued, so that it need not wait for us between two: more of them
//! the shorter they are, about [`AHEAD`] worth of time. When that was too many, the next idle worker gets them back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::job::{Callback, Finished, Job, Outcome};
use crate::transport::{Broken, Link, Parcel, Reply, Unsent};
use crate::{Death, TaskError};

/// How much work, in time, is sent ahead to a worker.
const AHEAD: Duration = Duration::from_micros(200);

/// The fewest and the most units that a worker has, the running one included.
const DEPTH: (u64, u64) = (2, 64);

/// The most bytes that are sent ahead to a worker, beyond its second unit.
const AHEAD_BYTES: usize = 1 << 20;

/// What it takes to wake a worker that sleeps, about; and how long one looks for work before it does.
const WAKING: Duration = Duration::from_micros(50);
const AWAKE: Duration = Duration::from_micros(30);

/// What a unit is thought to take before one has been seen: long enough to be worth waking somebody for.
const UNKNOWN: Duration = Duration::from_millis(1);

/// A worker that has not replied for so long is taken for slow, whatever it did before.
pub(crate) const SLOW: Duration = Duration::from_millis(1);

/// One or more tasks of a job, encoded.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) job: Arc<Job>,
    /// Its place in the job.
    pub(crate) place: u64,
    pub(crate) parcel: Parcel,
}

/// What is kept of a unit while a worker has it.
struct Ticket {
    id: u64,
    job: Arc<Job>,
    place: u64,
    items: u32,
    bytes: usize,
}

/// The name of a worker: its slot, and how many stood in it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerId {
    pub(crate) slot: usize,
    pub(crate) generation: u64,
}

struct Worker<L> {
    link: L,
    generation: u64,
    /// Its initializer has run.
    ready: bool,
    /// It gets nothing more: it has had its number of tasks, or the pool ends, or it is broken.
    closing: bool,
    in_flight: VecDeque<Ticket>,
    bytes: usize,
    /// Tasks sent to it in its life.
    tasks: u64,
    /// Nanoseconds that a unit takes, smoothed; zero if unknown.
    pace: u64,
    /// When it last replied, or got work while idle.
    since: Instant,
    /// It had no room for a parcel; no use in trying before it replies.
    full: bool,
}

impl<L> Worker<L> {
    fn depth(&self) -> u64 {
        let ahead = u64::try_from(AHEAD.as_nanos()).unwrap_or(u64::MAX);
        ahead.checked_div(self.pace).map_or(DEPTH.0, |units| units.clamp(DEPTH.0, DEPTH.1))
    }

    fn has_room(&self) -> bool {
        let count = self.in_flight.len() as u64;
        !self.closing
            && !self.full
            && count < self.depth()
            && (count < DEPTH.0 || self.bytes < AHEAD_BYTES)
    }

    /// In how many nanoseconds it would begin another unit, about.
    ///
    /// A worker that has just been at work looks for more before it sleeps. Short units are better queued there than given to one
    /// that has to be woken.
    fn start_in(&self, now: Instant) -> u128 {
        let queued = self.in_flight.len() as u128;
        let pace = if self.pace == 0 { UNKNOWN.as_nanos() } else { self.pace.into() };
        let asleep = queued == 0 && now.duration_since(self.since) > AWAKE;
        let first = match (self.ready, asleep) {
            (false, _) => UNKNOWN.as_nanos(),
            (true, true) => WAKING.as_nanos(),
            (true, false) => 0,
        };
        first + queued * pace
    }

    /// How many of its units it cannot be running: they may go to another.
    fn spare(&self) -> usize {
        self.in_flight.len().saturating_sub(usize::from(self.ready))
    }

    /// What it has queued looks long enough to be worth giving to another.
    fn is_behind(&self, now: Instant) -> bool {
        let expected = self.pace.saturating_mul(self.in_flight.len() as u64);
        self.spare() > 0
            && (u128::from(expected) > AHEAD.as_nanos() / 2
                || now.duration_since(self.since) >= SLOW)
    }

    fn note(&mut self, nanos: u64) {
        self.pace = if self.pace == 0 { nanos.max(1) } else { (self.pace * 7 + nanos) / 8 + 1 };
    }
}

/// What a dead worker leaves behind, for whoever starts the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remains {
    /// It ended as it was told to.
    pub(crate) expected: bool,
    /// Its initializer had run.
    pub(crate) ready: bool,
    /// It took a task with it.
    pub(crate) task: bool,
}

/// What a look at the replies brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// At least one reply came.
    pub(crate) any: bool,
    /// A worker is idle while another has units queued: worth another look soon, without a reply.
    pub(crate) uneven: bool,
}

/// The state of a pool.
pub(crate) struct Dispatcher<L> {
    workers: Vec<Option<Worker<L>>>,
    pending: VecDeque<Unit>,
    pending_bytes: usize,
    /// Units that are in flight.
    in_flight: usize,
    next_id: u64,
    generations: u64,
    readied: u64,
    max_tasks: Option<u64>,
    /// Why the pool takes and does nothing any more.
    ended: Option<TaskError>,
    started: Instant,
    /// What is to run when the lock is released.
    callbacks: VecDeque<(Arc<Job>, Callback)>,
}

impl<L: Link> Dispatcher<L> {
    pub(crate) fn new(slots: usize, max_tasks: Option<u64>) -> Self {
        Self {
            workers: (0..slots).map(|_| None).collect(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            in_flight: 0,
            next_id: 0,
            generations: 0,
            readied: 0,
            max_tasks,
            ended: None,
            started: Instant::now(),
            callbacks: VecDeque::new(),
        }
    }

    /// Puts a worker into an empty slot, and gives it work.
    pub(crate) fn add_worker(&mut self, slot: usize, link: L) -> WorkerId {
        self.generations += 1;
        let generation = self.generations;
        self.workers[slot] = Some(Worker {
            link,
            generation,
            ready: false,
            closing: false,
            in_flight: VecDeque::new(),
            bytes: 0,
            tasks: 0,
            pace: 0,
            since: Instant::now(),
            full: false,
        });
        self.dispatch();
        WorkerId { slot, generation }
    }

    /// Takes a unit, or completes it with the reason why the pool has ended.
    pub(crate) fn submit(&mut self, mut unit: Unit) {
        if let Some(error) = self.ended.clone() {
            return self.finish(&unit.job, unit.place, unit.parcel.items, Err(error));
        }
        unit.parcel.id = self.next_id;
        self.next_id += 1;
        self.pending_bytes += unit.parcel.bytes.len();
        self.pending.push_back(unit);
        self.dispatch();
    }

    /// Takes all replies that are there and hands out work in their place.
    pub(crate) fn collect(&mut self) -> Progress {
        let mut progress = Progress::default();
        for slot in 0..self.workers.len() {
            progress.any |= self.collect_from(slot);
        }
        self.dispatch();
        if self.pending.is_empty() {
            progress.uneven = self.level();
        }
        progress
    }

    fn collect_from(&mut self, slot: usize) -> bool {
        let mut any = false;
        loop {
            let Some(worker) = &mut self.workers[slot] else { return any };
            if worker.in_flight.is_empty() && worker.ready {
                return any;
            }
            match worker.link.receive() {
                Ok(None) => return any,
                Ok(Some(Reply::Ready)) => {
                    worker.ready = true;
                    self.readied += 1;
                }
                Ok(Some(Reply::Failed(message))) => {
                    self.end(TaskError::Initializer { message });
                }
                Ok(Some(Reply::Done { id, nanos, result })) => {
                    worker.since = Instant::now();
                    worker.full = false;
                    worker.note(nanos);
                    let at = worker.in_flight.iter().position(|ticket| ticket.id == id);
                    let Some(ticket) = at.and_then(|at| worker.in_flight.remove(at)) else {
                        // A reply to what was never asked: nothing that it says can be trusted.
                        worker.abandon();
                        return any;
                    };
                    worker.bytes -= ticket.bytes;
                    self.in_flight -= 1;
                    self.finish(&ticket.job, ticket.place, ticket.items, Ok(result));
                }
                Err(Broken) => {
                    worker.abandon();
                    return any;
                }
            }
            any = true;
        }
    }

    /// Sends what is pending to whoever has room.
    fn dispatch(&mut self) {
        while !self.pending.is_empty() {
            let Some(slot) = self.roomiest() else { return };
            let Some(unit) = self.pending.pop_front() else { return };
            self.pending_bytes -= unit.parcel.bytes.len();
            self.send(slot, unit);
        }
    }

    /// The worker that would begin a unit first, a ready one and then the one that was active last where they tie.
    fn roomiest(&self) -> Option<usize> {
        let now = if self.workers.len() > 1 { Instant::now() } else { self.started };
        let with_room = self.workers.iter().enumerate().filter_map(|(slot, worker)| {
            worker.as_ref().filter(|worker| worker.has_room()).map(|worker| (slot, worker))
        });
        let least = with_room.min_by_key(|(_, worker)| {
            (worker.start_in(now), !worker.ready, std::cmp::Reverse(worker.since))
        });
        least.map(|(slot, _)| slot)
    }

    fn send(&mut self, slot: usize, unit: Unit) {
        let Unit { job, place, parcel } = unit;
        let Some(worker) = &mut self.workers[slot] else { return };
        let (id, items, bytes) = (parcel.id, parcel.items, parcel.bytes.len());
        match worker.link.send(parcel) {
            Ok(()) => {
                if worker.in_flight.is_empty() {
                    worker.since = Instant::now();
                }
                worker.tasks += u64::from(items);
                worker.bytes += bytes;
                worker.in_flight.push_back(Ticket { id, job, place, items, bytes });
                if self.max_tasks.is_some_and(|most| worker.tasks >= most) {
                    worker.closing = true;
                    worker.link.close();
                }
                self.in_flight += 1;
            }
            Err(Unsent::Full(parcel)) => {
                worker.full = true;
                self.put_back(Unit { job, place, parcel });
            }
            Err(Unsent::Broken(parcel)) => {
                worker.abandon();
                self.put_back(Unit { job, place, parcel });
            }
            Err(Unsent::Refused(parcel, error)) => {
                self.finish(&job, place, parcel.items, Err(TaskError::Transport(error)));
            }
        }
    }

    fn put_back(&mut self, unit: Unit) {
        self.pending_bytes += unit.parcel.bytes.len();
        self.pending.push_front(unit);
    }

    /// Gives idle workers what others have queued. Says whether there is something to look at again soon.
    fn level(&mut self) -> bool {
        loop {
            let idle = self.workers.iter().position(|worker| {
                let worker = worker.as_ref().filter(|worker| worker.ready);
                worker.is_some_and(|worker| worker.in_flight.is_empty() && worker.has_room())
            });
            let Some(idle) = idle else { return false };
            let busiest =
                self.workers.iter().enumerate().filter_map(|(slot, worker)| {
                    worker.as_ref().map(|worker| (worker.spare(), slot))
                });
            let Some((1.., busiest)) = busiest.max() else { return false };
            let Some(worker) = &mut self.workers[busiest] else { return false };
            if !worker.is_behind(Instant::now()) {
                return true;
            }
            match self.take_back(busiest) {
                Some(unit) => self.send(idle, unit),
                None => return true,
            }
            if !self.pending.is_empty() {
                return true;
            }
        }
    }

    /// Takes a unit back that a worker, alive or dead, had not taken.
    fn take_back(&mut self, slot: usize) -> Option<Unit> {
        let worker = self.workers.get_mut(slot)?.as_mut()?;
        let parcel = match worker.link.take_back() {
            Ok(parcel) => parcel?,
            Err(Broken) => {
                worker.abandon();
                return None;
            }
        };
        let at = worker.in_flight.iter().position(|ticket| ticket.id == parcel.id);
        let Some(ticket) = at.and_then(|at| worker.in_flight.remove(at)) else {
            worker.abandon();
            return None;
        };
        worker.bytes -= ticket.bytes;
        worker.tasks -= u64::from(ticket.items);
        self.in_flight -= 1;
        Some(Unit { job: ticket.job, place: ticket.place, parcel })
    }

    /// A worker is dead: counts what it had answered, fails what it was running, gives the rest to others.
    ///
    /// `None` if it is not known, or was seen to be dead before.
    pub(crate) fn bury(&mut self, id: WorkerId, death: Death) -> Option<Remains> {
        self.workers[id.slot].as_ref().filter(|worker| worker.generation == id.generation)?;
        // The dead may have answered before it said that it was ready to; look at all of it.
        self.collect_from(id.slot);
        let mut untouched = Vec::new();
        while let Some(unit) = self.take_back(id.slot) {
            untouched.push(unit);
        }
        let worker = self.workers[id.slot].take()?;
        let task = !worker.in_flight.is_empty();
        for ticket in worker.in_flight {
            self.in_flight -= 1;
            let died = Err(TaskError::Died { death });
            self.finish(&ticket.job, ticket.place, ticket.items, died);
        }
        for unit in untouched.into_iter().rev() {
            self.put_back(unit);
        }
        self.dispatch();
        let expected = worker.closing && death == Death::Exited(0) && !task;
        Some(Remains { expected, ready: worker.ready, task })
    }

    /// Ends the pool: every unit that has no result gets this error, and so does every later one.
    pub(crate) fn end(&mut self, error: TaskError) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(error.clone());
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        for unit in pending {
            self.finish(&unit.job, unit.place, unit.parcel.items, Err(error.clone()));
        }
        for slot in 0..self.workers.len() {
            let Some(worker) = &mut self.workers[slot] else { continue };
            worker.abandon();
            let tickets = std::mem::take(&mut worker.in_flight);
            for ticket in tickets {
                self.finish(&ticket.job, ticket.place, ticket.items, Err(error.clone()));
            }
        }
        self.in_flight = 0;
    }

    /// Lets the workers go: each ends when it has done what it has.
    pub(crate) fn dismiss(&mut self) {
        for worker in self.workers.iter_mut().flatten() {
            if !worker.closing {
                worker.closing = true;
                worker.link.close();
            }
        }
    }

    fn finish(&mut self, job: &Arc<Job>, place: u64, items: u32, outcome: Outcome) {
        if let Some(callback) = job.complete(place, Finished { items, outcome }) {
            self.callbacks.push_back((job.clone(), callback));
        }
        job.turn.notify_all();
    }

    /// Why the pool has ended, if it has.
    pub(crate) fn ended(&self) -> Option<&TaskError> {
        self.ended.as_ref()
    }

    /// Units that have no result yet.
    pub(crate) fn outstanding(&self) -> usize {
        self.pending.len() + self.in_flight
    }

    /// Units that wait for a worker to have room: somebody has to hand them out.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Says whether a worker has a unit queued that another could have.
    pub(crate) fn has_queued(&self) -> bool {
        self.workers.iter().flatten().any(|worker| worker.spare() > 0)
    }

    /// Says whether a feeder should wait before it submits more.
    pub(crate) fn is_fed(&self) -> bool {
        let workers = self.workers.len();
        self.pending.len() >= 64.max(workers)
            || (self.pending.len() >= workers && self.pending_bytes > 4 * AHEAD_BYTES)
    }

    /// The slots that have a worker.
    pub(crate) fn living(&self) -> usize {
        self.workers.iter().flatten().count()
    }

    /// How many initializers have run.
    pub(crate) fn readied(&self) -> u64 {
        self.readied
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.workers.iter().flatten().map(|worker| worker.link.pid()).collect()
    }

    pub(crate) fn take_callback(&mut self) -> Option<(Arc<Job>, Callback)> {
        self.callbacks.pop_front()
    }

    /// Has the callback of a job run that has no units at all.
    pub(crate) fn call_back_if_empty(&mut self, job: &Arc<Job>) {
        let callback = job.take_callback_if_empty();
        self.callbacks.extend(callback.map(|callback| (job.clone(), callback)));
    }

    pub(crate) fn has_callbacks(&self) -> bool {
        !self.callbacks.is_empty()
    }
}

impl<L: Link> Worker<L> {
    /// Ends a worker that is not to be talked to any more; its death is noticed like any other.
    fn abandon(&mut self) {
        self.closing = true;
        self.link.kill();
    }
}

#[cfg(test)]
mod tests;
