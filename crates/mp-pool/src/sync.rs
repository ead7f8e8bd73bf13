//! What the hand-over of the pump stands on: a lock, conditions, threads and the time.
//!
//! They are `parking_lot`'s and the system's. Under test there are others with the same names, whose order a model chooses.

#[cfg(not(test))]
mod real {
    use std::time::{Duration, Instant};

    use mp_wire::Deadline;
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::thread;

    pub(crate) fn now() -> Instant {
        Instant::now()
    }

    /// The time until a deadline; zero when it is past, `None` if it never is.
    pub(crate) fn left(deadline: Deadline) -> Option<Duration> {
        deadline.remaining()
    }

    pub(crate) fn after(time: Duration) -> Deadline {
        Deadline::after(time)
    }
}

#[cfg(not(test))]
pub(crate) use real::{Condvar, Mutex, MutexGuard, after, left, now, thread};

#[cfg(test)]
pub(crate) use crate::model::sync::{Condvar, Mutex, MutexGuard, after, left, now, thread};

use mp_wire::Deadline;

/// Says whether a deadline has been reached.
pub(crate) fn is_past(deadline: Deadline) -> bool {
    left(deadline).is_some_and(|left| left.is_zero())
}

/// Sleeps on a condition, until the deadline.
pub(crate) fn sleep<T>(condition: &Condvar, guard: &mut MutexGuard<'_, T>, deadline: Deadline) {
    match left(deadline) {
        None => condition.wait(guard),
        Some(left) => {
            condition.wait_for(guard, left);
        }
    }
}
