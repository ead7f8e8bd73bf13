//! The thread that starts workers and notices their end. It sleeps in `poll` over their pidfds.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mp_process::{Process, StartMethod, Stdio};
use mp_queue::channel::Channel;
use mp_wire::{Deadline, poll};

use crate::body::{Body, Thread};
use crate::core::{Bell, Phase};
use crate::dispatcher::WorkerId;
use crate::hooks::Hooks;
use crate::limiter::Limiter;
use crate::links::{Doorbell, RingLink};
use crate::live::PoolCore;
use crate::recipe::Recipe;
use crate::task::Line;
use crate::trace::{PoolSpan, WorkerSpan};
use crate::worker::{Post, live, watch_panics, work};
use crate::{Backend, Error, ErrorKind, TaskError, loan, place};

/// Makes workers.
pub(crate) struct Starter {
    method: StartMethod,
    bell: Doorbell,
    recipe: Recipe,
    backend: Backend,
}

/// A worker that has just been started.
pub(crate) struct Newborn {
    born: Instant,
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
        if backend != Backend::Processes {
            watch_panics();
        }
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
            recipe: if threads { self.recipe.for_threads() } else { self.recipe.clone() },
        };
        let failed = "no worker can be started";
        let born = Instant::now();
        let body = if threads {
            let line = line.clone();
            let thread = Thread::spawn(move || {
                place::within(post.place(), || live(post, Some(line), None));
            });
            let thread =
                thread.map_err(|error| Error::with_source(ErrorKind::Start, failed, error))?;
            Body::Thread(Arc::new(thread))
        } else {
            // What is typed is for the program, and not for whichever worker reads first.
            let process = Process::new(work, (post,)).stdin(Stdio::null());
            let process = process.name("PoolWorker").daemon(true);
            let child = process.start_method(self.method).start();
            let child =
                child.map_err(|error| Error::with_source(ErrorKind::Start, failed, error))?;
            Body::Process(Arc::new(child))
        };
        Ok(Newborn { born, orders, replies, line, body })
    }
}

/// What is to be done about workers besides starting them.
#[derive(Debug, Default)]
pub(crate) struct Care {
    pub(crate) hooks: Hooks,
    /// How long a worker may take until it is ready.
    pub(crate) initializer_timeout: Option<Duration>,
    /// How many may be lost in what time.
    pub(crate) max_restarts: Option<(u32, Duration)>,
}

/// A worker that has not been seen to end.
#[derive(Clone)]
struct Alive {
    id: WorkerId,
    body: Body,
    span: WorkerSpan,
    /// When it has to be ready, if that was not seen.
    due: Option<Instant>,
}

/// What runs in the thread.
pub(crate) struct Supervisor {
    core: Arc<PoolCore>,
    starter: Starter,
    control: UnixStream,
    alive: Vec<Alive>,
    span: PoolSpan,
    limiter: Limiter,
    care: Care,
    /// Starts that failed in a row.
    failures: u32,
}

impl Supervisor {
    pub(crate) fn new(
        core: Arc<PoolCore>,
        starter: Starter,
        control: UnixStream,
        span: PoolSpan,
        care: Care,
    ) -> Self {
        let limiter = Limiter::new(Instant::now(), care.max_restarts);
        let alive = Vec::new();
        Self { core, starter, control, alive, span, limiter, care, failures: 0 }
    }

    /// Gives a worker to the pool, or ends it if the pool has ended meanwhile.
    pub(crate) fn adopt(&mut self, slot: usize, newborn: Newborn) {
        let Newborn { born, orders, replies, line, body } = newborn;
        let mut state = self.core.lock();
        if state.dispatcher.ended().is_some() || state.phase == Phase::Joined {
            drop(state);
            body.kill();
            body.wait();
            return;
        }
        let signal = self.starter.recipe.soft_signal;
        let link = RingLink::new(orders, replies, line, body.clone(), signal);
        let id = state.dispatcher.add_worker(slot, link);
        state.dispatcher.record_birth(slot, born);
        if let Some(notice) = self.care.hooks.on_up(state.dispatcher.stats_of(id)) {
            self.core.announce(&mut state, notice);
        }
        drop(state);
        // It may have said that it is ready before anybody knew of it.
        self.core.bell.ring();
        let span = self.span.worker(slot, body.pid());
        let due = self.care.initializer_timeout.and_then(|most| Instant::now().checked_add(most));
        self.alive.push(Alive { id, body, span, due });
    }

    pub(crate) fn run(mut self) {
        loop {
            let state = self.core.lock();
            let over = state.stop && self.alive.is_empty();
            drop(state);
            if over {
                loan::release();
                return;
            }
            let trim = loan::trim().map(|after| Instant::now() + after);
            let again = [self.fill(), self.hurry(), trim].into_iter().flatten().min();
            self.watch(again.map_or(Deadline::NEVER, |at| {
                Deadline::after(at.saturating_duration_since(Instant::now()))
            }));
        }
    }

    /// Starts workers for the empty slots; gives the time at which to try again.
    fn fill(&mut self) -> Option<Instant> {
        loop {
            let (slot, retire, wanted) = {
                let mut state = self.core.lock();
                if state.dispatcher.ended().is_some() || state.phase == Phase::Joined {
                    return None;
                }
                let dispatcher = &mut state.dispatcher;
                let retire = dispatcher.retire();
                let wanted = dispatcher.fleet().wanted;
                // Who is let go has its place until it has ended: no more tasks run at once than were asked for.
                let missing = dispatcher.living() < wanted;
                (missing.then(|| dispatcher.vacancy()), retire, wanted)
            };
            let Some(slot) = slot else { return retire };
            if let Some(why) = self.limiter.verdict(wanted.max(self.alive.len())) {
                self.give_up(TaskError::Start(Error::new(ErrorKind::Start, why)));
                return None;
            }
            let now = Instant::now();
            let delay = self.limiter.delay(now);
            if !delay.is_zero() {
                return Some(now + delay);
            }
            match self.starter.start(slot) {
                Ok(newborn) => {
                    self.failures = 0;
                    self.adopt(slot, newborn);
                }
                Err(error) => {
                    self.failures += 1;
                    if self.alive.is_empty() && self.failures > 8 {
                        self.give_up(TaskError::Start(error));
                        return None;
                    }
                    return Some(now + Duration::from_millis(2 << self.failures.min(9)));
                }
            }
        }
    }

    /// Ends the pool if an initializer takes too long; gives the time at which to look again.
    fn hurry(&mut self) -> Option<Instant> {
        let (now, most) = (Instant::now(), self.care.initializer_timeout?);
        if self.alive.iter().any(|worker| worker.due.is_some_and(|due| due <= now)) {
            let mut state = self.core.lock();
            // It may have said that it is ready, and nobody has listened.
            state.dispatcher.collect();
            let mut late = false;
            for worker in self.alive.iter_mut().filter(|worker| worker.due.is_some()) {
                let is_starting = state.dispatcher.is_starting(worker.id);
                late |= is_starting && worker.due.is_some_and(|due| due <= now);
                worker.due = worker.due.filter(|_| is_starting);
            }
            drop(state);
            self.core.disturb();
            if late {
                let message = format!("it takes longer than {most:?}");
                self.give_up(TaskError::Initializer { message });
                return None;
            }
        }
        self.alive.iter().filter_map(|worker| worker.due).min()
    }

    fn give_up(&mut self, error: TaskError) {
        self.core.lock().dispatcher.end(error);
        self.core.disturb();
    }

    /// Waits until a worker has died or somebody pokes, and buries the dead.
    fn watch(&mut self, deadline: Deadline) {
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.control.as_fd()];
        fds.extend(self.alive.iter().map(|worker| worker.body.sentinel()));
        let Ok(ready) = poll::readable(&fds, deadline) else {
            // Too many descriptors for a call, or no memory: look at each instead, now and then.
            std::thread::sleep(Duration::from_millis(10));
            let dead: Vec<bool> = self.alive.iter().map(|worker| !worker.body.is_alive()).collect();
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
        for Alive { id, body, span, .. } in buried {
            let death = body.wait();
            let mut state = self.core.lock();
            let remains = state.dispatcher.bury(id, death);
            let readied = state.dispatcher.readied();
            let did = state.dispatcher.last_ended().filter(|_| remains.is_some());
            let ended = state.dispatcher.ended().is_some();
            if let Some(notice) = self.care.hooks.on_down(did.clone(), death) {
                self.core.announce(&mut state, notice);
            }
            drop(state);
            let lost = !ended && remains.is_some_and(|remains| !remains.expected);
            span.end(death, lost, did.as_ref());
            if let Some(remains) = remains {
                if !remains.ready {
                    self.limiter.last_stillborn = death;
                }
                self.limiter.note(remains, readied, Instant::now());
            }
        }
        self.core.disturb();
    }
}
