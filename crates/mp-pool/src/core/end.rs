//! How a pool comes to its end: closed, ended, and taken apart.

use super::*;
use crate::job::Order;

impl<L: Link, B: Bell> Core<L, B> {
    /// Takes no new calls any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.phase = state.phase.max(Phase::Closed);
    }

    /// Ends everything that is outstanding with this error.
    pub(crate) fn end(&self, error: TaskError) {
        self.lock().dispatcher.end(error);
        self.disturb();
        self.poke();
    }

    /// Waits until everything that was submitted is done.
    pub(crate) fn finish(&self) {
        self.wait(&nothing(), Deadline::NEVER, State::is_idle);
    }

    /// Lets the workers go, waits for their end, and for that of the threads.
    pub(crate) fn dismiss(&self, deadline: Deadline) {
        {
            let mut state = self.lock();
            state.phase = Phase::Joined;
            state.dispatcher.dismiss();
        }
        self.disturb();
        self.poke();
        let mut gone = self.wait(&nothing(), deadline, |state| state.dispatcher.living() == 0);
        self.stop();
        self.poke();
        // In a callback that drops its pool, nobody waits for the thread that runs it, nor for one that a callback keeps too
        // long.
        let in_callback = self.is_in_callback();
        gone &= !in_callback && self.wait(&nothing(), deadline, State::is_deserted);
        let threads = std::mem::take(&mut self.lock().threads);
        for thread in threads {
            if gone {
                let _ = thread.join();
            }
        }
    }
}

/// A job by which to wait for something else.
fn nothing() -> Arc<Job> {
    Arc::new(Job::new(Order::Finished))
}
