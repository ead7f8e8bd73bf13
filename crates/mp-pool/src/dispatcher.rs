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
//! the shorter they are, see [`share`]. When that was too many, the next idle worker gets them back.

use here::Here;
use record::{Account, Done, Record};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::job::{Due, Finished, Job, Notice, Outcome};
use crate::meter::Watch;
use crate::parts::Parts;
use crate::sync::now;
use crate::terms::{Failure, Terms};
use crate::transport::{Broken, Link, Parcel, Reply, Unsent};
use crate::{Death, TaskError};

/// A worker that has not replied for so long is taken for slow, whatever it did before.
pub(crate) const SLOW: Duration = Duration::from_millis(1);

/// One or more tasks of a job, encoded.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) job: Arc<Job>,
    /// Its place in the job.
    pub(crate) place: u64,
    pub(crate) parcel: Parcel,
    /// Where its results are put together, if it is not all of its place.
    parts: Option<Arc<Parts>>,
    /// How often it was run and failed.
    attempts: u32,
    /// How often its worker died without a task to blame.
    blameless: u32,
}

impl Unit {
    pub(crate) fn new(job: Arc<Job>, place: u64, parcel: Parcel) -> Self {
        Self { job, place, parcel, parts: None, attempts: 0, blameless: 0 }
    }

    /// A unit of its own with some of its tasks; results are put together again.
    fn section(&mut self, from: u32, end: u32) -> Self {
        let tasks = self.parcel.items();
        let parts = self.parts.get_or_insert_with(|| Arc::new(Parts::new(tasks)));
        let parts = Some(parts.clone());
        let (bytes, fds) = (self.parcel.bytes.clone(), self.parcel.fds.clone());
        let parcel = Parcel { id: 0, from, end, entry: self.parcel.entry, bytes, fds };
        Self { parts, ..Self::new(self.job.clone(), self.place, parcel) }
    }

    /// Its arguments may be needed again: to retry it, or to give what remains of it to another worker.
    fn is_kept(&self) -> bool {
        self.parcel.items() > 1 || self.job.terms.retry.is_some()
    }
}

/// A unit that a worker has. Its arguments are kept only if they may be needed again.
struct Ticket {
    unit: Unit,
    bytes: usize,
    /// The first of its tasks that has no result.
    next: u32,
    /// What was reported of the time that it took.
    nanos: u64,
}

impl Ticket {
    /// Has its results put together from parts.
    fn split(&mut self) {
        let tasks = self.unit.parcel.items();
        self.unit.parts.get_or_insert_with(|| Arc::new(Parts::new(tasks)));
    }

    fn id(&self) -> u64 {
        self.unit.parcel.id
    }

    fn left(&self) -> u32 {
        self.unit.parcel.end - self.next
    }
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
    /// How many of them, the last ones, have not been sent.
    unsent: usize,
    bytes: usize,
    /// Tasks sent to it in its life.
    tasks: u64,
    /// Nanoseconds that a unit takes, smoothed; zero if unknown.
    pace: u64,
    /// When it last replied, or got work while idle.
    since: Instant,
    /// It had no room for a parcel; no use in trying before it replies.
    full: bool,
    /// The unit for whose sake it was ended, and why.
    doomed: Option<(u64, TaskError)>,
    born: Instant,
    account: Account,
    /// The unit that was interrupted, when it is to be again, and how long it goes on after that.
    nudged: Option<(u64, Instant, Duration)>,
    /// Processor time of the worker when the task at hand began, about: seen at this time.
    cpu: Option<(Instant, Duration)>,
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
    /// When to look again without a reply, because of a limit or a retry.
    pub(crate) again: Option<Instant>,
}

/// The state of a pool.
pub(crate) struct Dispatcher<L> {
    workers: Vec<Option<Worker<L>>>,
    fleet: Fleet,
    /// Where the threads that submit do the work.
    here: Option<Here>,
    pending: VecDeque<Unit>,
    pending_bytes: usize,
    /// What is to be run again, not before this time.
    delayed: Vec<(Instant, Unit)>,
    /// Units in flight whose tasks have limits.
    limited: usize,
    /// Units that are in flight.
    in_flight: usize,
    next_id: u64,
    generations: u64,
    readied: u64,
    max_tasks: Option<u64>,
    /// Why the pool takes and does nothing any more.
    ended: Option<TaskError>,
    /// When it began, by the clock of the replies.
    epoch: u64,
    record: Record,
    /// What is to run when the lock is released.
    callbacks: VecDeque<(Arc<Job>, Due)>,
}

impl<L: Link> Dispatcher<L> {
    pub(crate) fn new(fleet: Fleet, max_tasks: Option<u64>) -> Self {
        Self {
            workers: (0..fleet.wanted).map(|_| None).collect(),
            fleet,
            here: None,
            pending: VecDeque::new(),
            pending_bytes: 0,
            delayed: Vec::new(),
            limited: 0,
            in_flight: 0,
            next_id: 0,
            generations: 0,
            readied: 0,
            max_tasks,
            ended: None,
            epoch: crate::sys::now(),
            record: Record::default(),
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
            unsent: 0,
            bytes: 0,
            tasks: 0,
            pace: 0,
            since: now(),
            full: false,
            doomed: None,
            born: now(),
            account: Account::default(),
            nudged: None,
            cpu: None,
        });
        self.dispatch();
        WorkerId { slot, generation }
    }

    /// Takes a unit, or completes it with the reason why the pool has ended.
    pub(crate) fn submit(&mut self, mut unit: Unit) {
        if let Some(error) = self.ended.clone() {
            let items = unit.parcel.items();
            return self.finish(&unit, unit.parcel.from, items, Err(error));
        }
        unit.parcel.id = self.next_id;
        self.next_id += 1;
        if unit.job.terms.priority > 0 {
            self.recall();
        }
        self.put(unit, false);
        self.dispatch();
    }

    /// Puts a unit where its priority says, among its equals in front or behind.
    fn put(&mut self, unit: Unit, front: bool) {
        self.pending_bytes += unit.parcel.bytes.len();
        let priority = unit.job.terms.priority;
        let goes_before = |other: &Unit| {
            let other = other.job.terms.priority;
            if front { other > priority } else { other >= priority }
        };
        if !front && self.pending.back().is_none_or(goes_before) {
            self.pending.push_back(unit);
        } else {
            let at = self.pending.partition_point(goes_before);
            self.pending.insert(at, unit);
        }
    }

    /// Takes all replies that are there and hands out work in their place.
    pub(crate) fn collect(&mut self) -> Progress {
        let mut progress = Progress::default();
        progress.any |= self.revive();
        for slot in 0..self.workers.len() {
            progress.any |= self.collect_from(slot);
        }
        self.dispatch();
        if self.pending.is_empty() {
            progress.uneven = self.level();
        }
        progress.again = self.check_limits();
        progress
    }

    fn collect_from(&mut self, slot: usize) -> bool {
        let any = self.take_replies(slot);
        if any && let Some(worker) = &mut self.workers[slot] {
            // One look at the clock for all of them, after the last: its next task has begun by then.
            worker.since = now();
        }
        any
    }

    fn take_replies(&mut self, slot: usize) -> bool {
        let mut any = false;
        loop {
            let Some(worker) = &mut self.workers[slot] else { return any };
            if worker.in_flight.is_empty() && worker.ready {
                return any;
            }
            match worker.link.receive() {
                Ok(None) => return any,
                Ok(Some(Reply::Ready { at })) => {
                    worker.ready = true;
                    self.readied += 1;
                    self.record_ready(slot, at);
                }
                Ok(Some(Reply::Failed(message))) => {
                    self.end(TaskError::Initializer { message });
                }
                Ok(Some(Reply::Done { id, items, nanos, end, panicked, leaving, result })) => {
                    worker.full = false;
                    let at = worker.in_flight.iter().position(|ticket| ticket.id() == id);
                    let ticket = at.and_then(|at| worker.in_flight.get_mut(at));
                    let Some(ticket) = ticket.filter(|ticket| items <= ticket.left()) else {
                        // A reply to what was never asked: nothing that it says can be trusted.
                        worker.abandon();
                        return any;
                    };
                    ticket.nanos = ticket.nanos.saturating_add(nanos);
                    let (place, from) = (ticket.unit.place, ticket.next);
                    ticket.next += items;
                    let done = Done { chunk: place, first: from, tasks: items, nanos, end };
                    if ticket.left() > 0 {
                        ticket.split();
                        let parts = ticket.unit.parts.clone();
                        let job = ticket.unit.job.clone();
                        self.record_done(slot, done);
                        self.finish_at(&job, place, parts.as_deref(), (from, items), Ok(result));
                    } else if let Some(mut ticket) = at.and_then(|at| worker.in_flight.remove(at)) {
                        worker.note(ticket.nanos);
                        ticket.unit.job.note_pace(ticket.unit.parcel.items(), ticket.nanos);
                        self.release(slot, &ticket);
                        self.record_done(slot, done);
                        if panicked && let Some(delay) = ticket.unit.retry(Failure::Panic) {
                            self.delay(ticket.unit, delay);
                        } else {
                            self.finish(&ticket.unit, from, items, Ok(result));
                        }
                    }
                    if leaving {
                        self.part(slot);
                    }
                }
                Err(Broken) => {
                    worker.abandon();
                    return any;
                }
            }
            any = true;
        }
    }

    /// Counts a unit out that a worker had.
    fn release(&mut self, slot: usize, ticket: &Ticket) {
        if let Some(worker) = &mut self.workers[slot] {
            worker.bytes -= ticket.bytes;
        }
        self.in_flight -= 1;
        self.limited -= usize::from(ticket.unit.job.terms.are_limited());
    }

    /// A worker is dead: counts what it had answered, fails the task that it was running, gives the rest to others.
    ///
    /// `None` if it is not known, or was seen to be dead before.
    pub(crate) fn bury(&mut self, id: WorkerId, death: Death) -> Option<Remains> {
        self.workers[id.slot].as_ref().filter(|worker| worker.generation == id.generation)?;
        // The dead may have answered before it said that it was ready to; look at all of it.
        self.collect_from(id.slot);
        let untouched = match cfg!(mp_bug = "pool_queued_forgotten") {
            true => Vec::new(),
            false => self.take_all_back(id.slot),
        };
        let running = match &mut self.workers[id.slot] {
            Some(worker) => std::mem::take(&mut worker.in_flight),
            None => VecDeque::new(),
        };
        let task = !running.is_empty();
        let at = self.workers[id.slot].as_ref().map(|worker| worker.link.at());
        for ticket in &running {
            self.release(id.slot, ticket);
        }
        let worker = self.workers[id.slot].take()?;
        self.record_end(id.slot, &worker);
        for unit in untouched.into_iter().rev() {
            self.put(unit, true);
        }
        for ticket in running.into_iter().rev() {
            let doomed = worker.doomed.as_ref().filter(|(unit, _)| *unit == ticket.id());
            let error = doomed.map_or(TaskError::Died { death }, |(_, error)| error.clone());
            self.blame(ticket, at, &error);
        }
        self.dispatch();
        let told = worker.closing && death == Death::Exited(0) && !task;
        let expected = told || worker.doomed.is_some();
        Some(Remains { expected, ready: worker.ready, task })
    }

    /// Ends the pool: every unit that has no result gets this error, and so does every later one.
    pub(crate) fn end(&mut self, error: TaskError) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(error.clone());
        let pending = std::mem::take(&mut self.pending);
        let delayed = std::mem::take(&mut self.delayed).into_iter().map(|(_, unit)| unit);
        self.pending_bytes = 0;
        for unit in pending.into_iter().chain(delayed) {
            self.finish(&unit, unit.parcel.from, unit.parcel.items(), Err(error.clone()));
        }
        for slot in 0..self.workers.len() {
            let Some(worker) = &mut self.workers[slot] else { continue };
            worker.abandon();
            worker.bytes = 0;
            let tickets = std::mem::take(&mut worker.in_flight);
            for ticket in tickets {
                self.finish(&ticket.unit, ticket.next, ticket.left(), Err(error.clone()));
            }
        }
        self.in_flight = 0;
        self.limited = 0;
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

    /// Notes what became of some tasks of a unit, the last that had no result.
    fn finish(&mut self, unit: &Unit, from: u32, items: u32, outcome: Outcome) {
        self.finish_at(&unit.job, unit.place, unit.parts.as_deref(), (from, items), outcome);
    }

    fn finish_at(
        &mut self,
        job: &Arc<Job>,
        place: u64,
        parts: Option<&Parts>,
        (from, items): (u32, u32),
        outcome: Outcome,
    ) {
        job.count(items);
        if job.watch.as_ref().is_some_and(Watch::ask) {
            self.callbacks.push_back((job.clone(), Due::Progress));
        }
        let finished = match parts {
            Some(parts) => parts.add(from, items, outcome),
            None => Some(Finished::new(items, outcome)),
        };
        if let Some(finished) = finished {
            let due = job.complete(place, finished);
            self.callbacks.extend(due.map(|due| (job.clone(), due)));
        }
        job.turn.notify_all();
    }

    /// Why the pool has ended, if it has.
    pub(crate) fn ended(&self) -> Option<&TaskError> {
        self.ended.as_ref()
    }

    /// Units that have no result yet.
    pub(crate) fn outstanding(&self) -> usize {
        self.pending.len() + self.in_flight + self.delayed.len()
    }

    /// Units that wait for a worker to have room: somebody has to hand them out.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Says whether a worker has a unit queued that another could have.
    pub(crate) fn has_queued(&self) -> bool {
        self.workers.iter().flatten().any(|worker| worker.spare() > 0)
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

    pub(crate) fn take_callback(&mut self) -> Option<(Arc<Job>, Due)> {
        self.callbacks.pop_front()
    }

    /// Has the callback of a job run that has no units at all.
    pub(crate) fn call_back_if_empty(&mut self, job: &Arc<Job>) {
        let callback = job.take_callback_if_empty();
        self.callbacks.extend(callback.map(|callback| (job.clone(), Due::Callback(callback))));
    }

    /// Has notices of a job run.
    pub(crate) fn notify(&mut self, job: &Arc<Job>, notices: Vec<Notice>) {
        self.callbacks.push_back((job.clone(), Due::Notices(notices)));
    }

    pub(crate) fn has_callbacks(&self) -> bool {
        !self.callbacks.is_empty()
    }
}

impl<L: Link> Worker<L> {
    fn note(&mut self, nanos: u64) {
        self.pace = if self.pace == 0 { nanos.max(1) } else { (self.pace * 7 + nanos) / 8 + 1 };
    }

    /// Ends a worker that is not to be talked to any more; its death is noticed like any other.
    fn abandon(&mut self) {
        self.closing = true;
        self.link.kill();
    }
}

/// The end of a span of time, and where the clock does not reach so far, a time that is not lived to see.
fn after(start: Instant, time: Duration) -> Instant {
    const AGES: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    start + time.min(AGES)
}

mod fleet;
mod here;
mod limits;
mod record;
mod share;

pub(crate) use fleet::Fleet;
pub(crate) use limits::Cancelled;

#[cfg(test)]
mod search;
#[cfg(test)]
mod tests;
