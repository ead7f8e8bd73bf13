//! The pool behind its front: one lock, and the rule by which whoever waits does the dispatching.
//!
//! A thread that waits for a result becomes the *pump*: it takes replies, hands out work, and sleeps on the
//! pool's bell in between. There is one pump at a time; others sleep on the condition of their job and are woken when it
//! makes progress, or when the pump leaves and they are next. Where work needs a pump and nobody waits, the *helper* stands in, a
//! thread that sleeps otherwise: at once for callbacks, and after a moment for everything else, so that a caller who comes
//! back every now and then is not disturbed by it.
//!
//! User code never runs under the lock: arguments are encoded and results decoded by their callers, callbacks run in the
//! *crier*, a thread that is started with the first of them. However long one takes, tasks are handed out and limits
//! looked after meanwhile. Where that thread cannot be had, the helper runs them.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mp_shared::fork;
use mp_wire::{Deadline, Message};

use crate::dispatcher::{Cancelled, Dispatcher, SLOW, Unit};
use crate::job::{Due, Job, Notice};
use crate::sync::thread::{self, JoinHandle, ThreadId};
use crate::sync::{Condvar, Mutex, MutexGuard, after, is_past, left, now, sleep};
use crate::task::Run;
use crate::transport::Link;
use crate::{TaskError, entry, loan, place, trace};

/// Wakes the pump: workers ring it after each reply, and everyone who wants the pump to look again.
pub(crate) trait Bell: Send + Sync {
    type Seen: Copy;
    /// What it shows now; to be read before looking at what may have changed.
    fn value(&self) -> Self::Seen;
    /// Waits until it shows something else, or the deadline; may return early. Who is in no hurry sleeps rather than look.
    fn wait(&self, seen: Self::Seen, deadline: Deadline, hurry: bool);
    fn ring(&self);
}

/// How long the helper lets work lie that nobody waits for; the longer, the longer callers have been coming back to it.
const PATIENCE: Duration = SLOW;
const MOST_PATIENCE: Duration = Duration::from_millis(16);

/// How far the pool is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Open,
    /// Calls that were accepted go on, new ones are refused.
    Closed,
    /// Nothing is taken any more.
    Joined,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pump {
    Nobody,
    Caller,
    Helper,
}

pub(crate) struct State<L> {
    pub(crate) dispatcher: Dispatcher<L>,
    pub(crate) phase: Phase,
    pump: Pump,
    /// Counts the times that somebody pumped.
    pumped: u64,
    /// The jobs of those who wait while another pumps, in order of arrival.
    waiting: Vec<Arc<Job>>,
    /// Jobs whose callback has not run yet.
    callbacks: usize,
    /// Calls that have more to submit.
    calls: usize,
    /// The thread that runs a task of a pool without workers.
    turn: Option<ThreadId>,
    /// The helper sleeps until it is told otherwise.
    helper_sleeps: bool,
    /// The helper and the supervisor are to end.
    pub(crate) stop: bool,
    /// The helper has ended, or is about to.
    helper_gone: bool,
    helper: Option<ThreadId>,
    crier: Crier,
    /// The threads, to be joined.
    pub(crate) threads: Vec<JoinHandle<()>>,
}

/// The thread that runs callbacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crier {
    /// Nobody has asked for a callback.
    Unborn,
    /// This one.
    Alive(ThreadId),
    /// It has ended, or is about to, or never began: the helper runs what is left.
    Gone,
}

pub(crate) struct Core<L, B> {
    state: Mutex<State<L>>,
    pub(crate) bell: B,
    helper: Condvar,
    crier: Condvar,
    /// Threads wait here that are to run units, where there are no workers.
    turn: Condvar,
    /// The process that it belongs to. A forked copy has none of its threads, and one of them may have had the lock.
    generation: u64,
    /// A byte here makes the supervisor look.
    control: UnixStream,
    /// Tasks run where they are submitted.
    inline: AtomicBool,
}

impl<L: Link, B: Bell> Core<L, B> {
    pub(crate) fn new(dispatcher: Dispatcher<L>, bell: B, control: UnixStream) -> Self {
        let state = State {
            dispatcher,
            phase: Phase::Open,
            pump: Pump::Nobody,
            pumped: 0,
            waiting: Vec::new(),
            callbacks: 0,
            calls: 0,
            turn: None,
            helper_sleeps: false,
            stop: false,
            helper_gone: false,
            helper: None,
            crier: Crier::Unborn,
            threads: Vec::new(),
        };
        let generation = fork::generation();
        Self {
            state: Mutex::new(state),
            bell,
            helper: Condvar::new(),
            crier: Condvar::new(),
            turn: Condvar::new(),
            generation,
            control,
            inline: AtomicBool::new(false),
        }
    }

    /// Says whether this process is the one that made the pool, not a forked copy of it, where nothing works.
    pub(crate) fn is_ours(&self) -> bool {
        fork::generation() == self.generation
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock()
    }

    /// Has the supervisor look at what is wanted.
    pub(crate) fn poke(&self) {
        // A full socket has woken it already.
        let _ = (&self.control).write(&[0]);
    }

    /// Says whether units may be submitted, by a call that begins or by one that goes on.
    pub(crate) fn admits(&self, first: bool) -> Result<(), TaskError> {
        self.lock().admits(first)
    }

    /// Takes units of a job. A `first` call is refused once the pool is closed, a call that goes on only after `join`.
    ///
    /// Nobody else has to be told: the workers get what they have room for here and now.
    pub(crate) fn submit(
        &self,
        units: impl IntoIterator<Item = Unit>,
        first: bool,
    ) -> Result<(), TaskError> {
        let mut state = self.lock();
        state.admits(first)?;
        if self.is_inline() {
            self.run_here(&mut state, units);
        } else {
            self.take(&mut state, units);
        }
        Ok(())
    }

    /// Begins a call that submits several times: until it is over, the pool is not idle.
    pub(crate) fn begin_call(&self) -> Call<'_, L, B> {
        self.lock().calls += 1;
        Call(self)
    }

    /// Takes units, which go to the workers that have room for them.
    fn take(&self, state: &mut State<L>, units: impl IntoIterator<Item = Unit>) {
        for unit in units {
            state.dispatcher.submit(unit);
        }
        // Whoever pumps may sleep for longer than a task may take that has just been handed out.
        let is_timed = state.dispatcher.is_timed() && !cfg!(mp_bug = "pool_limit_unrung");
        if is_timed && state.pump != Pump::Nobody {
            self.bell.ring();
        }
        if state.dispatcher.demand() || loan::is_untended() {
            self.poke();
        }
    }

    /// Cancels a job.
    pub(crate) fn cancel(&self, job: &Arc<Job>, running: bool) -> Cancelled {
        let cancelled = self.lock().dispatcher.cancel(job, running);
        // Whoever pumps sleeps on the bell, and does not know of it.
        self.disturb();
        cancelled
    }

    /// Cancels all that has not begun.
    pub(crate) fn cancel_pending(&self) -> usize {
        let cancelled = self.lock().dispatcher.cancel_pending();
        self.disturb();
        cancelled
    }

    /// Lets the helper look after what was submitted without anyone waiting for it.
    pub(crate) fn leave(&self) {
        self.hand_over(&mut self.lock());
    }

    /// Takes what replies there are, without waiting.
    pub(crate) fn look(&self) {
        let mut state = self.lock();
        if state.pump == Pump::Nobody {
            state.dispatcher.collect();
            self.hand_over(&mut state);
        }
    }

    /// Waits until `ready`, and pumps meanwhile if nobody else does. `false` when the deadline passed first.
    ///
    /// `ready` is asked under the lock of the pool, and must not take it.
    pub(crate) fn wait(
        &self,
        job: &Arc<Job>,
        deadline: Deadline,
        ready: impl Fn(&State<L>) -> bool,
    ) -> bool {
        let mut state = self.lock();
        let mut looked = false;
        let result = loop {
            if ready(&state) {
                break true;
            }
            if looked && is_past(deadline) {
                break false;
            }
            looked = true;
            if state.pump == Pump::Nobody {
                self.pump(&mut state, Pump::Caller, deadline, &ready);
                continue;
            }
            state.waiting.push(job.clone());
            if state.pump == Pump::Helper {
                self.bell.ring();
            }
            sleep(&job.turn, &mut state, deadline);
            if let Some(at) = state.waiting.iter().position(|other| Arc::ptr_eq(other, job)) {
                state.waiting.remove(at);
            }
        };
        if !cfg!(mp_bug = "pool_pump_kept") {
            self.hand_over(&mut state);
        }
        result
    }

    fn pump(
        &self,
        state: &mut MutexGuard<'_, State<L>>,
        who: Pump,
        deadline: Deadline,
        done: impl Fn(&State<L>) -> bool,
    ) {
        state.pump = who;
        loop {
            let seen = self.bell.value();
            let progress = state.dispatcher.collect();
            let seen = if cfg!(mp_bug = "pool_bell_late") { self.bell.value() } else { seen };
            state.pumped += 1;
            self.have_called(state);
            if done(state) || is_past(deadline) {
                break;
            }
            if progress.any {
                continue;
            }
            let mut until = deadline;
            let mut soon = progress.again.map(|at| at.saturating_duration_since(now()));
            if progress.uneven {
                soon = Some(soon.map_or(SLOW, |soon| soon.min(SLOW)));
            }
            if let Some(soon) = soon
                && left(deadline).is_none_or(|left| left > soon)
            {
                until = after(soon);
            }
            let hurry = who == Pump::Caller;
            MutexGuard::unlocked(state, || self.bell.wait(seen, until, hurry));
        }
        state.pump = Pump::Nobody;
    }

    /// Passes the pump on to who needs it, when nobody has it.
    fn hand_over(&self, state: &mut MutexGuard<'_, State<L>>) {
        self.have_called(state);
        if state.pump != Pump::Nobody {
            return;
        }
        if let Some(job) = state.waiting.first() {
            job.turn.notify_one();
        } else if state.needs_pump() {
            self.wake_helper(state);
        }
    }

    fn wake_helper(&self, state: &mut State<L>) {
        if state.helper_sleeps {
            state.helper_sleeps = false;
            self.helper.notify_one();
        }
    }

    /// Makes everyone who waits look again: the pool has ended, or changed under them.
    pub(crate) fn disturb(&self) {
        let mut state = self.lock();
        for job in &state.waiting {
            job.turn.notify_all();
        }
        self.wake_helper(&mut state);
        self.have_called(&state);
        self.turn.notify_all();
        self.bell.ring();
    }

    /// Tells the helper to end.
    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.disturb();
        self.helper.notify_all();
        self.crier.notify_all();
    }

    /// The helper's life.
    pub(crate) fn help(&self) {
        let mut state = self.lock();
        state.helper = Some(thread::current().id());
        let mut seen = state.pumped;
        let mut patience = PATIENCE;
        while !state.stop || state.has_callbacks_for_helper() {
            if state.has_callbacks_for_helper()
                && let Some((job, due)) = state.dispatcher.take_callback()
            {
                MutexGuard::unlocked(&mut state, || self.call(&job, due));
                continue;
            }
            if !state.needs_pump() {
                state.helper_sleeps = true;
                self.helper.wait(&mut state);
                state.helper_sleeps = false;
                (seen, patience) = (state.pumped, PATIENCE);
                if state.callbacks > 0 || state.stop {
                    continue;
                }
            } else if state.is_left_alone(seen) {
                self.pump(&mut state, Pump::Helper, Deadline::NEVER, |state| {
                    state.stop
                        || !state.waiting.is_empty()
                        || state.has_callbacks_for_helper()
                        || !state.needs_pump()
                });
                self.hand_over(&mut state);
                (seen, patience) = (state.pumped, PATIENCE);
                if state.waiting.is_empty() {
                    continue;
                }
            } else {
                seen = state.pumped;
                patience = (2 * patience).min(MOST_PATIENCE);
            }
            self.helper.wait_for(&mut state, patience);
        }
        state.helper_gone = true;
        drop(state);
        self.disturb();
    }
}

impl<L: Link> State<L> {
    fn admits(&self, first: bool) -> Result<(), TaskError> {
        match self.dispatcher.ended() {
            Some(error) => Err(error.clone()),
            None if self.phase == Phase::Joined || (first && self.phase > Phase::Open) => {
                Err(TaskError::Closed)
            }
            None => Ok(()),
        }
    }

    /// Callers wait while nobody pumps.
    #[cfg(test)]
    pub(crate) fn is_stranded(&self) -> bool {
        self.pump == Pump::Nobody && !self.waiting.is_empty()
    }

    /// Somebody pumps.
    #[cfg(test)]
    pub(crate) fn is_pumped(&self) -> bool {
        self.pump != Pump::Nobody
    }

    /// There are callbacks, and no other thread that runs them.
    fn has_callbacks_for_helper(&self) -> bool {
        self.dispatcher.has_callbacks() && !matches!(self.crier, Crier::Alive(_))
    }

    /// The helper and the thread for callbacks have ended, or are about to.
    pub(crate) fn is_deserted(&self) -> bool {
        self.helper_gone && !matches!(self.crier, Crier::Alive(_))
    }

    /// Everything that was submitted is done, callbacks included, and all that is yet to be by calls that have begun, unless the pool
    /// has ended. No code of a task runs in a thread of this process that a pool without workers has for one.
    pub(crate) fn is_idle(&self) -> bool {
        let is_called = self.calls > 0 && self.dispatcher.ended().is_none();
        let is_at_work = self.dispatcher.outstanding() > 0 || self.turn.is_some();
        !is_called && !is_at_work && self.callbacks == 0
    }

    /// Nobody pumps or waits, nor has since `seen` was read; or there are callbacks to wait for, which nobody else does.
    fn is_left_alone(&self, seen: u64) -> bool {
        self.pump == Pump::Nobody
            && self.waiting.is_empty()
            && (self.callbacks > 0 || self.pumped == seen)
    }

    /// There is work that goes on only if somebody pumps.
    fn needs_pump(&self) -> bool {
        self.callbacks > 0
            || self.dispatcher.pending() > 0
            || self.dispatcher.has_queued()
            || self.dispatcher.is_timed()
    }
}

/// A call that goes on submitting.
pub(crate) struct Call<'c, L: Link, B: Bell>(&'c Core<L, B>);

impl<L: Link, B: Bell> Drop for Call<'_, L, B> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.calls -= 1;
        if state.calls == 0 && state.pump != Pump::Nobody {
            // It may wait for the end of all.
            self.0.bell.ring();
        }
        self.0.hand_over(&mut state);
    }
}

mod callbacks;
mod end;
mod inline;
