//! Callbacks, and the thread that runs them: the crier.
//!
//! It is started with the first of them. Where it cannot be had, the helper runs what is left.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::job::Order;

impl<L: Link, B: Bell> Core<L, B> {
    /// Takes all units of a job with a callback.
    pub(crate) fn submit_with_callback(
        &self,
        job: &Arc<Job>,
        units: Vec<Unit>,
    ) -> Result<(), TaskError> {
        let mut state = self.lock();
        state.admits(true)?;
        state.callbacks += 1;
        if self.is_inline() {
            self.run_here(&mut state, units);
        } else {
            self.take(&mut state, units);
        }
        state.dispatcher.call_back_if_empty(job);
        self.hand_over(&mut state);
        Ok(())
    }

    /// Starts the thread that runs callbacks, the first time.
    pub(crate) fn prepare_callbacks(self: &Arc<Self>)
    where
        L: 'static,
        B: 'static,
    {
        let mut state = self.lock();
        if state.crier != Crier::Unborn || state.stop {
            return;
        }
        let core = self.clone();
        let thread = thread::Builder::new().name("pool-callbacks".to_owned());
        state.crier = match thread.spawn(move || core.cry()) {
            Ok(thread) => {
                let id = thread.thread().id();
                state.threads.push(thread);
                Crier::Alive(id)
            }
            Err(_) => Crier::Gone,
        };
    }

    /// The life of the thread that runs callbacks.
    fn cry(&self) {
        let mut state = self.lock();
        loop {
            if let Some((job, due)) = state.dispatcher.take_callback() {
                MutexGuard::unlocked(&mut state, || self.call(&job, due));
            } else if state.stop {
                break;
            } else {
                self.crier.wait(&mut state);
            }
        }
        state.crier = Crier::Gone;
        drop(state);
        self.disturb();
    }

    /// Runs what is due of a job, under no lock.
    pub(super) fn call(&self, job: &Arc<Job>, due: Due) {
        match due {
            Due::Callback(callback) => {
                callback(job);
                self.called(job);
            }
            Due::Notices(notices) => {
                for notice in notices {
                    // Whoever panics there is told of nobody; the others are told all the same.
                    let _ = catch_unwind(AssertUnwindSafe(notice));
                }
                self.count_out(&mut self.lock());
            }
            Due::Progress => {
                if let Some(watch) = &job.watch {
                    let show = || watch.show(|| job.tasks_done());
                    let _ = catch_unwind(AssertUnwindSafe(show));
                }
            }
        }
    }

    /// Wakes whoever runs callbacks, if there are any to run.
    pub(super) fn have_called(&self, state: &State<L>) {
        if state.dispatcher.has_callbacks() && !cfg!(mp_bug = "pool_call_unsaid") {
            match state.crier {
                Crier::Alive(_) => {
                    self.crier.notify_one();
                }
                Crier::Unborn | Crier::Gone if state.pump == Pump::Helper => self.bell.ring(),
                Crier::Unborn | Crier::Gone => {
                    self.helper.notify_one();
                }
            }
        }
    }

    /// Says whether this is the thread that runs callbacks.
    pub(crate) fn is_in_callback(&self) -> bool {
        let (state, this) = (self.lock(), thread::current().id());
        state.crier == Crier::Alive(this) || state.helper == Some(this)
    }

    /// Notes that a callback has run, and wakes those who wait for it.
    pub(crate) fn called(&self, job: &Arc<Job>) {
        let mut state = self.lock();
        let notices = job.called();
        if !notices.is_empty() {
            state.dispatcher.notify(job, notices);
        }
        job.turn.notify_all();
        self.count_out(&mut state);
    }

    /// A callback, or the notices of a job, have run: whoever waits for that looks again.
    fn count_out(&self, state: &mut State<L>) {
        state.callbacks = state.callbacks.saturating_sub(1);
        for job in &state.waiting {
            job.turn.notify_all();
        }
        if state.pump != Pump::Nobody && !cfg!(mp_bug = "pool_called_unrung") {
            self.bell.ring();
        }
    }

    /// Has something run in the thread for callbacks, which must have been prepared.
    pub(crate) fn announce(&self, state: &mut State<L>, notice: Notice) {
        state.callbacks += 1;
        state.dispatcher.notify(&Arc::new(Job::new(Order::Finished)), vec![notice]);
        self.have_called(state);
    }

    /// Has something run when a job is done, outside of all locks; here and now if it is.
    pub(crate) fn notify(self: &Arc<Self>, job: &Arc<Job>, notice: Notice)
    where
        L: 'static,
        B: 'static,
    {
        if !job.is_done() {
            self.prepare_callbacks();
        }
        let mut state = self.lock();
        match job.notify(notice) {
            Ok(first) => {
                state.callbacks += usize::from(first);
                self.hand_over(&mut state);
            }
            Err(notice) => {
                drop(state);
                notice();
            }
        }
    }
}
