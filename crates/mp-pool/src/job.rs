//! A job: one call's units of work and what became of them, in order or as they come.
//!
//! Everything here is untyped. The dispatcher completes units, the front takes outcomes out and decodes them.

use std::collections::VecDeque;
use std::fmt;

use mp_wire::Message;
use parking_lot::{Condvar, Mutex};

use crate::TaskError;

/// What became of a unit: the worker's reply, or the reason why there is none.
pub(crate) type Outcome = Result<Message, TaskError>;

/// A unit that is done.
#[derive(Debug)]
pub(crate) struct Finished {
    /// How many tasks the unit had.
    pub(crate) items: u32,
    pub(crate) outcome: Outcome,
}

/// In which order finished units come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// As they were submitted.
    Submitted,
    /// As they finish.
    Finished,
}

/// Runs once after the last unit, outside of all locks.
pub(crate) type Callback = Box<dyn FnOnce(&Job) + Send>;

/// The units of one call.
pub(crate) struct Job {
    order: Order,
    inner: Mutex<Inner>,
    /// Its waiters sleep here, with the lock of the dispatcher.
    pub(crate) turn: Condvar,
}

#[derive(Default)]
struct Inner {
    /// Finished units by their place, from `base` on; in the order `Finished` they are pushed at the end.
    finished: VecDeque<Option<Finished>>,
    base: u64,
    submitted: u64,
    open: u64,
    /// Is to run after the last unit; until it has, the job is not ready.
    callback: Option<Callback>,
    calling: bool,
}

impl Job {
    pub(crate) fn new(order: Order) -> Self {
        Self { order, inner: Mutex::default(), turn: Condvar::new() }
    }

    /// A job with a callback; all of its units must be added before the first can finish.
    pub(crate) fn with_callback(order: Order, callback: Callback) -> Self {
        let inner = Inner { callback: Some(callback), calling: true, ..Inner::default() };
        Self { order, inner: Mutex::new(inner), turn: Condvar::new() }
    }

    /// Counts one more unit, and gives its place.
    pub(crate) fn add(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.open += 1;
        inner.submitted += 1;
        if self.order == Order::Submitted {
            inner.finished.push_back(None);
        }
        inner.submitted - 1
    }

    /// Takes the unit that was added last away again: it was not submitted.
    pub(crate) fn withdraw(&self) {
        let mut inner = self.inner.lock();
        inner.open -= 1;
        inner.submitted -= 1;
        if self.order == Order::Submitted {
            inner.finished.pop_back();
        }
    }

    /// Notes what became of a unit. Returns the callback if that was the last one.
    pub(crate) fn complete(&self, place: u64, finished: Finished) -> Option<Callback> {
        let mut inner = self.inner.lock();
        match self.order {
            Order::Submitted => {
                let slot = place.checked_sub(inner.base).and_then(|at| usize::try_from(at).ok());
                if let Some(slot) = slot.and_then(|at| inner.finished.get_mut(at)) {
                    *slot = Some(finished);
                }
            }
            Order::Finished => inner.finished.push_back(Some(finished)),
        }
        inner.open -= 1;
        if inner.open == 0 { inner.callback.take() } else { None }
    }

    /// Takes the next finished unit out, if it is there.
    pub(crate) fn pop(&self) -> Option<Finished> {
        let mut inner = self.inner.lock();
        inner.finished.front().is_some_and(Option::is_some).then(|| {
            inner.base += 1;
            inner.finished.pop_front().flatten()
        })?
    }

    /// Says whether [`Job::pop`] would give something.
    pub(crate) fn has_next(&self) -> bool {
        self.inner.lock().finished.front().is_some_and(Option::is_some)
    }

    /// Says whether every unit and the callback are done.
    pub(crate) fn is_done(&self) -> bool {
        let inner = self.inner.lock();
        inner.open == 0 && !inner.calling
    }

    /// Notes that the callback has run.
    pub(crate) fn called(&self) {
        self.inner.lock().calling = false;
    }

    /// Takes the callback of a job that had no unit at all.
    pub(crate) fn take_callback_if_empty(&self) -> Option<Callback> {
        let mut inner = self.inner.lock();
        if inner.submitted == 0 { inner.callback.take() } else { None }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.lock();
        f.debug_struct("Job")
            .field("order", &self.order)
            .field("submitted", &inner.submitted)
            .field("open", &inner.open)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(items: u32) -> Finished {
        Finished { items, outcome: Ok(Message::default()) }
    }

    fn pops(job: &Job) -> Vec<u32> {
        std::iter::from_fn(|| job.pop()).map(|finished| finished.items).collect()
    }

    #[test]
    fn gives_units_in_the_order_of_submission() {
        let job = Job::new(Order::Submitted);
        assert_eq!([job.add(), job.add(), job.add()], [0, 1, 2]);
        job.complete(1, done(1));
        assert!(job.pop().is_none() && !job.has_next());
        job.complete(0, done(0));
        assert_eq!(pops(&job), [0, 1]);
        job.complete(2, done(2));
        assert_eq!(pops(&job), [2]);
        assert!(job.is_done());
    }

    #[test]
    fn gives_units_as_they_finish() {
        let job = Job::new(Order::Finished);
        let places = [job.add(), job.add(), job.add()];
        for place in places.into_iter().rev() {
            job.complete(place, done(place as u32));
        }
        assert_eq!(pops(&job), [2, 1, 0]);
    }

    #[test]
    fn hands_the_callback_out_once_at_the_end() {
        let job = Job::with_callback(Order::Submitted, Box::new(|_| ()));
        let places = [job.add(), job.add()];
        assert!(job.complete(places[0], done(1)).is_none());
        assert!(job.complete(places[1], done(1)).is_some());
        assert!(!job.is_done(), "the callback has not run");
        job.called();
        assert!(job.is_done());
    }
}
