//! A permit in somebody's hands.

use std::fmt;
use std::marker::PhantomData;
use std::sync::MutexGuard;

use super::permits::Permits;
use crate::fork;
use crate::slots::Slot;

/// A permit of a [`Semaphore`](super::Semaphore) or [`BoundedSemaphore`](super::BoundedSemaphore), which goes back when the
/// guard is dropped.
///
/// It belongs to the thread that took it, and cannot be sent to another one; to give a permit back elsewhere,
/// [`forget`](Self::forget) the guard here, and [`release`](super::Semaphore::release) there:
///
/// ```compile_fail,E0277
/// let permits = mp_shared::Semaphore::new(1).unwrap();
/// let guard = permits.acquire().unwrap();
/// std::thread::scope(|scope| { scope.spawn(move || drop(guard)); });
/// ```
///
/// # If a process dies
///
/// The permit goes back when its thread ends, for whatever reason, and the next who waits gets it.
#[must_use = "the permit goes back when the guard is dropped"]
pub struct SemaphoreGuard<'a> {
    permits: &'a Permits,
    slot: &'a Slot,
    /// In a forked child the guard is a copy, and the permit the parent's.
    generation: u64,
    /// A guard that other threads may look at, but not release.
    not_send: PhantomData<MutexGuard<'a, ()>>,
}

impl<'a> SemaphoreGuard<'a> {
    /// The guard of a permit that this thread has just taken.
    pub(super) fn new(permits: &'a Permits, slot: &'a Slot) -> Self {
        Self { permits, slot, generation: fork::generation(), not_send: PhantomData }
    }

    /// Uses the permit up: it does not go back, and there is one less, until somebody adds one by `release`.
    ///
    /// # Python
    ///
    /// After it, the permit is what it is after `acquire` in Python: anybody may give it back, in any process, and nobody does if
    /// whoever was to do it dies.
    ///
    /// # If a process dies
    ///
    /// Killed in it, it has used the permit up, or the permit goes back.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::Semaphore;
    ///
    /// let permits = Semaphore::new(1)?;
    /// permits.acquire()?.forget();
    /// assert_eq!(permits.value(), 0);
    /// permits.release()?;
    /// assert_eq!(permits.value(), 1);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn forget(self) {
        if !self.is_copy() {
            self.permits.use_up(self.slot);
        }
    }

    fn is_copy(&self) -> bool {
        self.generation != fork::generation() || !self.slot.held_by_me()
    }
}

impl Drop for SemaphoreGuard<'_> {
    fn drop(&mut self) {
        if !self.is_copy() {
            self.permits.give_back(self.slot);
        }
    }
}

impl fmt::Debug for SemaphoreGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemaphoreGuard").field("value", &self.permits.glance()).finish()
    }
}
