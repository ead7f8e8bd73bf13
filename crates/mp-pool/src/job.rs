//! A job: one call's units of work and what became of them, in order or as they come.
//!
//! Everything here is untyped. The dispatcher completes units, the front takes outcomes out and decodes them.

use std::collections::VecDeque;
use std::fmt;

use std::sync::atomic::{AtomicU64, Ordering};

use mp_wire::Message;
use parking_lot::Mutex;

use crate::TaskError;
use crate::meter::{Meter, Watch};
use crate::sync::Condvar;
use crate::terms::Terms;

/// What became of a unit: the worker's reply, or the reason why there is none.
pub(crate) type Outcome = Result<Message, TaskError>;

/// A unit that is done.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The place of the unit in its job, once it is all there.
    pub(crate) place: u64,
    /// How many tasks this is about.
    pub(crate) items: u32,
    pub(crate) outcome: Outcome,
    /// What became of the tasks after them, if they did not come all together.
    pub(crate) more: Vec<Finished>,
}

impl Finished {
    pub(crate) fn new(items: u32, outcome: Outcome) -> Self {
        Self { place: 0, items, outcome, more: Vec::new() }
    }
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

/// Runs once when the job is done, outside of all locks.
pub(crate) type Notice = Box<dyn FnOnce() + Send>;

/// What is to run because a job has got so far.
pub(crate) enum Due {
    /// Before the job is done.
    Callback(Callback),
    /// Now that it is.
    Notices(Vec<Notice>),
    /// More of its tasks are done, and somebody looks at that.
    Progress,
}

/// The units of one call.
pub(crate) struct Job {
    order: Order,
    pub(crate) terms: Terms,
    /// Tasks that have a result or an error, also while the unit that they travel in has not.
    done: AtomicU64,
    /// Where it is shown how far it is, if nobody waits who would do it.
    pub(crate) watch: Option<Watch>,
    /// Nanoseconds that one of its tasks takes, smoothed; zero if unknown.
    pace: AtomicU64,
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
    notices: Vec<Notice>,
}

impl Job {
    pub(crate) fn new(order: Order) -> Self {
        Self::with_terms(order, Terms::default())
    }

    pub(crate) fn with_terms(order: Order, terms: Terms) -> Self {
        let done = AtomicU64::new(0);
        let pace = AtomicU64::new(0);
        let (inner, turn) = (Mutex::default(), Condvar::new());
        Self { order, terms, done, watch: None, pace, inner, turn }
    }

    /// Has this meter show how far it is.
    pub(crate) fn watched_by(self, meter: &Meter) -> Self {
        Self { watch: Watch::new(meter), ..self }
    }

    /// A job with a callback; all of its units must be added before the first can finish.
    pub(crate) fn with_callback(order: Order, terms: Terms, callback: Callback) -> Self {
        let inner = Inner { callback: Some(callback), calling: true, ..Inner::default() };
        Self { inner: Mutex::new(inner), ..Self::with_terms(order, terms) }
    }

    /// Counts tasks that are done.
    pub(crate) fn count(&self, tasks: u32) {
        self.done.fetch_add(tasks.into(), Ordering::Relaxed);
    }

    /// How many units have no result.
    pub(crate) fn open(&self) -> u64 {
        self.inner.lock().open
    }

    /// Notes how long some of its tasks took. One thread at a time does that.
    pub(crate) fn note_pace(&self, tasks: u32, nanos: u64) {
        let each = nanos / u64::from(tasks.max(1));
        let before = self.pace();
        let pace = if before == 0 { each } else { before / 2 + each / 2 };
        self.pace.store(pace.max(1), Ordering::Relaxed);
    }

    pub(crate) fn pace(&self) -> u64 {
        self.pace.load(Ordering::Relaxed)
    }

    /// How many tasks are done.
    pub(crate) fn tasks_done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Has something run when the job is done; gives it back if it is. Says whether it is the first.
    pub(crate) fn notify(&self, notice: Notice) -> Result<bool, Notice> {
        let mut inner = self.inner.lock();
        if inner.open == 0 && !inner.calling {
            return Err(notice);
        }
        inner.notices.push(notice);
        Ok(inner.notices.len() == 1)
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

    /// Takes the units that were added last away again: they were not submitted.
    pub(crate) fn withdraw(&self, units: usize) {
        let mut inner = self.inner.lock();
        inner.open -= units as u64;
        inner.submitted -= units as u64;
        if self.order == Order::Submitted {
            let left = inner.finished.len().saturating_sub(units);
            inner.finished.truncate(left);
        }
    }

    /// Notes what became of a unit. Returns what is to run if that was the last one.
    pub(crate) fn complete(&self, place: u64, finished: Finished) -> Option<Due> {
        let finished = Finished { place, ..finished };
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
        if inner.open > 0 {
            return None;
        }
        match inner.callback.take() {
            Some(callback) => Some(Due::Callback(callback)),
            None if inner.notices.is_empty() || inner.calling => None,
            None => Some(Due::Notices(std::mem::take(&mut inner.notices))),
        }
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

    /// Notes that the callback has run, and gives out what is to run now that the job is done.
    pub(crate) fn called(&self) -> Vec<Notice> {
        let mut inner = self.inner.lock();
        inner.calling = false;
        std::mem::take(&mut inner.notices)
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
        Finished::new(items, Ok(Message::default()))
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
        let job = Job::with_callback(Order::Submitted, Terms::default(), Box::new(|_| ()));
        let places = [job.add(), job.add()];
        assert!(job.complete(places[0], done(1)).is_none());
        assert!(job.complete(places[1], done(1)).is_some());
        assert!(!job.is_done(), "the callback has not run");
        job.called();
        assert!(job.is_done());
    }
}
