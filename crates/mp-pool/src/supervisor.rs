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
use crate::dispatcher::WorkerId;
use crate::limiter::Limiter;
use crate::links::{Doorbell, RingLink};
use crate::live::PoolCore;
use crate::recipe::Recipe;
use crate::task::Line;
use crate::trace::{PoolSpan, WorkerSpan};
use crate::worker::{Post, live, work};
use crate::{Backend, Error, ErrorKind, TaskError, place};

/// Makes workers.
pub(crate) struct Starter {
    method: StartMethod,
    bell: Doorbell,
    recipe: Recipe,
    backend: Backend,
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
        place::inline(|| self.recipe.initialize())
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
            recipe: self.recipe.clone(),
        };
        let failed = "no worker can be started";
        let body = if self.backend == Backend::Threads {
            let line = line.clone();
            let thread = Thread::spawn(move || {
                place::within(post.place(), || live(post, Some(line)));
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
        let link = RingLink { orders, replies, line, body: body.clone() };
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
                // Who is let go has its place until it has ended: no more tasks run at once than were asked for.
                let missing = dispatcher.living() < wanted;
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
