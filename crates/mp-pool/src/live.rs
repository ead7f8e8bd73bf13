//! A pool with its processes and threads: starting them, ending them, and noticing their end.

use std::sync::Arc;
use std::time::Duration;

use mp_process::StartMethod;
use mp_wire::Deadline;

use crate::body::stream_pair;
use crate::core::{Core, Phase};
use crate::dispatcher::{Dispatcher, Fleet};
use crate::links::{Doorbell, RingLink};
use crate::supervisor::{Care, Newborn, Starter, Supervisor};
use crate::sync::thread::{self, JoinHandle};
use crate::terms::Terms;
use crate::trace::PoolSpan;
use crate::{Backend, Error, ErrorKind, Stats, TaskError, Timeline};

pub(crate) type PoolCore = Core<RingLink, Doorbell>;

/// How long dropping waits for workers that were killed: until the kernel has cleared them away.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Live {
    core: Arc<PoolCore>,
    method: StartMethod,
    terms: Terms,
    max_tasks: Option<u64>,
    span: PoolSpan,
}

impl Live {
    /// Starts the workers and the two threads; if one fails, ends those that were started.
    pub(crate) fn start(
        fleet: Fleet,
        starter: Starter,
        max_tasks: Option<u64>,
        terms: Terms,
        care: Care,
    ) -> Result<Self, Error> {
        let failed =
            |what, error: std::io::Error| Error::with_source(ErrorKind::Start, what, error);
        let method = starter.method();
        let bell = starter.bell().clone();
        let (control, watched) =
            stream_pair().map_err(|error| failed("no socket for a pool", error))?;
        let core = Arc::new(Core::new(Dispatcher::new(fleet, max_tasks), bell, control));
        if starter.backend() == Backend::Inline {
            core.be_inline();
            if let Err(message) = starter.initialize() {
                core.lock().dispatcher.end(TaskError::Initializer { message });
            }
        }

        if care.hooks.are_set() {
            core.prepare_callbacks();
        }
        let span = PoolSpan::begin(fleet.wanted);
        let mut newborn = Vec::new();
        for slot in 0..fleet.wanted {
            match starter.start(slot) {
                Ok(worker) => newborn.push((slot, worker)),
                Err(error) => {
                    discard(newborn);
                    return Err(error);
                }
            }
        }
        let threads = spawn("pool-helper", {
            let core = core.clone();
            move || core.help()
        })
        .and_then(|helper| {
            let mut supervisor =
                Supervisor::new(core.clone(), starter, watched, span.clone(), care);
            for (slot, worker) in newborn.drain(..) {
                supervisor.adopt(slot, worker);
            }
            let supervisor = spawn("pool-supervisor", move || supervisor.run());
            supervisor.map(|supervisor| [helper, supervisor])
        });
        match threads {
            Ok(threads) => {
                core.lock().threads.extend(threads);
                Ok(Self { core, method, terms, max_tasks, span })
            }
            Err(error) => {
                core.lock().dispatcher.end(TaskError::Terminated);
                core.stop();
                discard(newborn);
                Err(failed("no thread for a pool", error))
            }
        }
    }

    pub(crate) fn core(&self) -> &Arc<PoolCore> {
        &self.core
    }

    pub(crate) fn terms(&self) -> Terms {
        self.terms
    }

    /// How many tasks a worker may have in its life.
    pub(crate) fn most_tasks(&self) -> usize {
        self.max_tasks.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
    }

    pub(crate) fn workers(&self) -> usize {
        match self.is_ours() {
            true if self.core.is_inline() => 1,
            true => self.core.lock().dispatcher.fleet().wanted,
            false => 0,
        }
    }

    /// For how many workers work should be cut.
    pub(crate) fn most_workers(&self) -> usize {
        if self.is_ours() { self.core.lock().dispatcher.fleet().most.max(1) } else { 1 }
    }

    pub(crate) fn resize(&self, size: impl FnOnce(usize) -> usize) -> Result<(), Error> {
        if !self.is_ours() {
            return Err(Error::new(ErrorKind::Foreign, "the pool belongs to another process"));
        }
        let mut state = self.core.lock();
        let workers = size(state.dispatcher.fleet().wanted);
        if self.core.is_inline() {
            return Err(Error::new(ErrorKind::Unsupported, "there are no workers"));
        }
        if workers == 0 || workers > self.core.bell.lines() {
            let most = self.core.bell.lines();
            let what = format!("a pool cannot have {workers} workers, but 1 to {most}");
            return Err(Error::new(ErrorKind::InvalidInput, what));
        }
        state.dispatcher.resize(workers);
        drop(state);
        self.core.poke();
        Ok(())
    }

    pub(crate) fn start_method(&self) -> StartMethod {
        self.method
    }

    fn is_ours(&self) -> bool {
        self.core.is_ours()
    }

    /// Refuses to work in a process that was forked from the pool's.
    pub(crate) fn check(&self) -> Result<(), TaskError> {
        if self.is_ours() { Ok(()) } else { Err(TaskError::Foreign) }
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        if self.is_ours() { self.core.lock().dispatcher.pids() } else { Vec::new() }
    }

    pub(crate) fn state(&self) -> &'static str {
        if !self.is_ours() {
            return "foreign";
        }
        let state = self.core.lock();
        match (state.dispatcher.ended(), state.phase) {
            (Some(_), _) => "ended",
            (None, Phase::Open) => "open",
            (None, Phase::Closed) => "closed",
            (None, Phase::Joined) => "joined",
        }
    }

    pub(crate) fn cancel_pending(&self) -> usize {
        if self.is_ours() { self.core.cancel_pending() } else { 0 }
    }

    pub(crate) fn stats(&self) -> Stats {
        if !self.is_ours() {
            return Stats::default();
        }
        // Where nobody waits, nobody has seen which workers are ready.
        self.core.look();
        self.core.lock().dispatcher.stats()
    }

    pub(crate) fn timeline(&self) -> Timeline {
        if self.is_ours() { self.core.lock().dispatcher.timeline() } else { Timeline::default() }
    }

    pub(crate) fn keep_timeline(&self, units: usize) {
        self.core.lock().dispatcher.keep_timeline(units);
    }

    pub(crate) fn close(&self) {
        if self.is_ours() {
            self.core.close();
        }
    }

    pub(crate) fn terminate(&self) {
        if self.is_ours() {
            self.core.end(TaskError::Terminated);
        }
    }

    pub(crate) fn join(&self) -> Result<(), Error> {
        if !self.is_ours() {
            return Err(Error::new(ErrorKind::Foreign, "the pool belongs to another process"));
        }
        if self.core.is_in_callback() {
            let what = "a callback cannot wait for the end of its pool";
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        if self.core.is_in_task() {
            let what = "a task that runs in the calling thread cannot wait for the end of its pool";
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        {
            let state = self.core.lock();
            if state.phase == Phase::Open && state.dispatcher.ended().is_none() {
                let what = "the pool is still open: close or terminate it before joining it";
                return Err(Error::new(ErrorKind::Open, what));
            }
        }
        self.core.finish();
        self.core.dismiss(Deadline::NEVER);
        Ok(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.is_ours() {
            self.terminate();
            self.core.dismiss(Deadline::after(PATIENCE));
            self.span.end(&self.stats());
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// Ends workers that no pool will have.
fn discard(newborn: Vec<(usize, Newborn)>) {
    for (_, worker) in &newborn {
        worker.body.kill();
    }
    for (_, worker) in newborn {
        let _ = worker.body.wait();
    }
}
