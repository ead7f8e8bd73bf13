//! The thread that starts workers and notices their end. It sleeps in `poll` over their pidfds.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mp_process::{Process, StartMethod};
use mp_queue::channel::Channel;
use mp_wire::{Deadline, poll};

use crate::body::{Body, Thread};
use crate::core::{Bell, Phase};
use crate::dispatcher::{Remains, WorkerId};
use crate::links::{Doorbell, RingLink};
use crate::live::PoolCore;
use crate::task::Line;
use crate::trace::{PoolSpan, WorkerSpan};
use crate::worker::{Initializer, Post, initialize, live, work};
use crate::{Backend, Error, ErrorKind, TaskError};

/// Makes workers.
pub(crate) struct Starter {
    method: StartMethod,
    bell: Doorbell,
    recipe: Recipe,
    backend: Backend,
}

/// What all workers of a pool begin and end with.
#[derive(Debug, Default)]
pub(crate) struct Recipe {
    pub(crate) initializers: Vec<Initializer>,
    pub(crate) exit: Option<u64>,
    pub(crate) address_space: Option<u64>,
}

/// A worker that has just been started.
pub(crate) struct Newborn {
    orders: Channel,
    replies: Channel,
    line: Line,
    pub(crate) body: Body,
}

impl Starter {
    pub(crate) fn new(
        method: StartMethod,
        recipe: Recipe,
        slots: usize,
        backend: Backend,
    ) -> Result<Self, Error> {
        let bell = Doorbell::new(slots).map_err(|error| {
            Error::with_source(ErrorKind::Start, "no shared memory for a pool", error)
        })?;
        Ok(Self { method, bell, recipe, backend })
    }

    pub(crate) fn method(&self) -> StartMethod {
        self.method
    }

    pub(crate) fn backend(&self) -> Backend {
        self.backend
    }

    /// Does what workers begin with, here.
    pub(crate) fn initialize(&self) -> Result<(), String> {
        initialize(&self.recipe.initializers)
    }

    pub(crate) fn bell(&self) -> &Doorbell {
        &self.bell
    }

    pub(crate) fn start(&self, slot: usize) -> Result<Newborn, Error> {
        let no_memory = "no shared memory for a worker";
        let channel = || {
            Channel::new().map_err(|error| Error::with_source(ErrorKind::Start, no_memory, error))
        };
        let threads = self.backend == Backend::Threads;
        let line = if threads { Doorbell::own_line() } else { self.bell.line(slot) };
        let line = line.map_err(|error| Error::with_source(ErrorKind::Start, no_memory, error))?;
        line.clear();
        let (orders, replies) = (channel()?, channel()?);
        let post = Post {
            orders: orders.clone(),
            replies: replies.clone(),
            bell: self.bell.clone(),
            slot,
            initializers: self.recipe.initializers.clone(),
            exit: self.recipe.exit,
            address_space: self.recipe.address_space,
        };
        let failed = "no worker can be started";
        let body = if self.backend == Backend::Threads {
            let line = line.clone();
            let thread = Thread::spawn(move || {
                live(post, Some(line));
            });
            let thread =
                thread.map_err(|error| Error::with_source(ErrorKind::Start, failed, error))?;
            Body::Thread(Arc::new(thread))
        } else {
            let process = Process::new(work, (post,)).name("PoolWorker").daemon(true);
            let child = process.start_method(self.method).start();
            let child =
                child.map_err(|error| Error::with_source(ErrorKind::Start, failed, error))?;
            Body::Process(Arc::new(child))
        };
        Ok(Newborn { orders, replies, line, body })
    }
}

/// How many workers may die young, or at rest, before starting others is slowed down.
const BURST: u32 = 64;

/// How many may be started a second then.
const RATE: u32 = 50;

/// How many in a row may die before their initializer has run until the pool gives up, besides two for each slot.
const STILLBORN: u32 = 8;

/// Keeps a pool whose workers cannot live from starting them without end.
///
/// A worker that dies with a task does not count: the task is used up, so that has an end.
struct Limiter {
    tokens: f64,
    refilled: Instant,
    /// Workers in a row that died before they were ready.
    stillborn: u32,
    /// What the dispatcher had counted as ready when the last one of them died.
    readied: u64,
}

impl Limiter {
    fn new(now: Instant) -> Self {
        Self { tokens: BURST.into(), refilled: now, stillborn: 0, readied: 0 }
    }

    fn note(&mut self, remains: Remains, readied: u64) {
        if remains.expected || remains.task {
            return;
        }
        self.tokens -= 1.0;
        if remains.ready || readied != self.readied {
            self.stillborn = 0;
        }
        self.readied = readied;
        self.stillborn += u32::from(!remains.ready);
    }

    /// How long to wait before the next start.
    fn delay(&mut self, now: Instant) -> Duration {
        let passed = now.duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.tokens = (self.tokens + passed * f64::from(RATE)).min(BURST.into());
        if self.tokens >= 0.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(-self.tokens / f64::from(RATE))
    }

    fn is_hopeless(&self, slots: usize) -> bool {
        self.stillborn as usize > STILLBORN as usize + 2 * slots
    }
}

/// What runs in the thread.
pub(crate) struct Supervisor {
    core: Arc<PoolCore>,
    starter: Starter,
    control: UnixStream,
    alive: Vec<(WorkerId, Body, WorkerSpan)>,
    span: PoolSpan,
    limiter: Limiter,
    /// Starts that failed in a row.
    failures: u32,
}

impl Supervisor {
    pub(crate) fn new(
        core: Arc<PoolCore>,
        starter: Starter,
        control: UnixStream,
        span: PoolSpan,
    ) -> Self {
        let limiter = Limiter::new(Instant::now());
        Self { core, starter, control, alive: Vec::new(), span, limiter, failures: 0 }
    }

    /// Gives a worker to the pool, or ends it if the pool has ended meanwhile.
    pub(crate) fn adopt(&mut self, slot: usize, newborn: Newborn) {
        let Newborn { orders, replies, line, body } = newborn;
        let mut state = self.core.lock();
        if state.dispatcher.ended().is_some() || state.phase == Phase::Joined {
            drop(state);
            body.kill();
            body.wait();
            return;
        }
        let link = RingLink::new(orders, replies, line, body.clone());
        let id = state.dispatcher.add_worker(slot, link);
        drop(state);
        // It may have said that it is ready before anybody knew of it.
        self.core.bell.ring();
        let span = self.span.worker(slot, body.pid());
        self.alive.push((id, body, span));
    }

    pub(crate) fn run(mut self) {
        loop {
            let state = self.core.lock();
            if state.stop && self.alive.is_empty() {
                return;
            }
            drop(state);
            let deadline = self.fill();
            self.watch(deadline);
        }
    }

    /// Starts workers for the empty slots; gives the time at which to try again.
    fn fill(&mut self) -> Deadline {
        loop {
            let (slot, retire, wanted) = {
                let mut state = self.core.lock();
                if state.dispatcher.ended().is_some() || state.phase == Phase::Joined {
                    return Deadline::NEVER;
                }
                let dispatcher = &mut state.dispatcher;
                let retire = dispatcher.retire();
                let wanted = dispatcher.fleet().wanted;
                let missing = dispatcher.working() < wanted;
                (missing.then(|| dispatcher.vacancy()), retire, wanted)
            };
            let Some(slot) = slot else {
                return retire.map_or(Deadline::NEVER, |at| {
                    Deadline::after(at.saturating_duration_since(Instant::now()))
                });
            };
            if self.limiter.is_hopeless(wanted.max(self.alive.len())) {
                let what = "workers die before they are ready to work";
                self.give_up(Error::new(ErrorKind::Start, what));
                return Deadline::NEVER;
            }
            let delay = self.limiter.delay(Instant::now());
            if !delay.is_zero() {
                return Deadline::after(delay);
            }
            match self.starter.start(slot) {
                Ok(newborn) => {
                    self.failures = 0;
                    self.adopt(slot, newborn);
                }
                Err(error) => {
                    self.failures += 1;
                    if self.alive.is_empty() && self.failures > 8 {
                        self.give_up(error);
                        return Deadline::NEVER;
                    }
                    return Deadline::after(Duration::from_millis(2 << self.failures.min(9)));
                }
            }
        }
    }

    fn give_up(&mut self, error: Error) {
        self.core.lock().dispatcher.end(TaskError::Start(error));
        self.core.disturb();
    }

    /// Waits until a worker has died or somebody pokes, and buries the dead.
    fn watch(&mut self, deadline: Deadline) {
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.control.as_fd()];
        fds.extend(self.alive.iter().map(|(_, body, _)| body.sentinel()));
        let Ok(ready) = poll::readable(&fds, deadline) else {
            // Too many descriptors for a call, or no memory: look at each instead, now and then.
            std::thread::sleep(Duration::from_millis(10));
            let dead: Vec<bool> = self.alive.iter().map(|(_, body, _)| !body.is_alive()).collect();
            return self.bury(&dead);
        };
        if ready.first().is_some_and(|&poked| poked) {
            // Never blocks: there is at least one byte, or the pool is gone.
            let _ = self.control.read(&mut [0; 64]);
        }
        self.bury(ready.get(1..).unwrap_or_default());
    }

    fn bury(&mut self, dead: &[bool]) {
        if !dead.contains(&true) {
            return;
        }
        let mut index = 0;
        let mut buried = Vec::new();
        self.alive.retain(|worker| {
            let is_dead = dead.get(index).is_some_and(|&dead| dead);
            index += 1;
            if is_dead {
                buried.push(worker.clone());
            }
            !is_dead
        });
        for (id, body, span) in buried {
            let death = body.wait();
            let mut state = self.core.lock();
            let remains = state.dispatcher.bury(id, death);
            let readied = state.dispatcher.readied();
            let (did, ended) = (state.dispatcher.last_ended(), state.dispatcher.ended().is_some());
            drop(state);
            let lost = !ended && remains.is_some_and(|remains| !remains.expected);
            span.end(death, lost, did.as_ref().filter(|_| remains.is_some()));
            if let Some(remains) = remains {
                self.limiter.note(remains, readied);
            }
        }
        self.core.disturb();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESTED: Remains = Remains { expected: false, ready: true, task: false };

    #[test]
    fn workers_that_die_with_their_tasks_are_replaced_at_once() {
        let now = Instant::now();
        let mut limiter = Limiter::new(now);
        for _ in 0..10_000 {
            limiter.note(Remains { task: true, ..RESTED }, 0);
            limiter.note(Remains { expected: true, ..RESTED }, 0);
        }
        assert!(limiter.delay(now).is_zero() && !limiter.is_hopeless(1));
    }

    #[test]
    fn workers_that_die_at_rest_are_replaced_more_and_more_slowly() {
        let now = Instant::now();
        let mut limiter = Limiter::new(now);
        for _ in 0..BURST {
            limiter.note(RESTED, 0);
        }
        assert!(limiter.delay(now).is_zero());
        limiter.note(RESTED, 0);
        assert!(!limiter.delay(now).is_zero());
        assert!(limiter.delay(now + Duration::from_secs(1)).is_zero());
        assert!(!limiter.is_hopeless(1));
    }

    #[test]
    fn workers_that_never_get_ready_are_given_up() {
        let mut limiter = Limiter::new(Instant::now());
        let stillborn = Remains { ready: false, ..RESTED };
        for _ in 0..=STILLBORN + 2 {
            assert!(!limiter.is_hopeless(1));
            limiter.note(stillborn, 0);
        }
        assert!(limiter.is_hopeless(1));
        limiter.note(stillborn, 1); // Another one was ready meanwhile.
        assert!(!limiter.is_hopeless(1));
    }
}
