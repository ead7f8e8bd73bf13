//! One who takes part in a barrier.

use std::fmt;
use std::marker::PhantomData;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mp_wire::Deadline;

use super::pass::{Gate, MEMBER};
use super::{Barrier, BarrierError, NO_ACTION};
use crate::lock::deadline;
use crate::slots::Slot;

/// A thread that takes part in a [`Barrier`] until this is dropped.
///
/// Its death at any moment breaks the barrier. Dropped, it leaves quietly: the others go on waiting.
///
/// # Fork
///
/// A forked child is no party. Its copy of this does nothing when dropped, and its waits are [`BarrierError::Unregistered`].
///
/// It cannot be sent to another thread:
///
/// ```compile_fail,E0277
/// let barrier = mp_shared::Barrier::new(1).unwrap();
/// let party = barrier.register().unwrap();
/// std::thread::scope(|scope| { scope.spawn(move || drop(party)); });
/// ```
///
/// # Examples
///
/// ```
/// let barrier = mp_shared::Barrier::new(1)?;
/// let mut party = barrier.register()?;
/// assert_eq!(party.wait(), Ok(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the thread takes part until this is dropped"]
pub struct Party<'a> {
    barrier: &'a Barrier,
    slot: &'a Slot,
    /// The slot belongs to this thread.
    not_send: PhantomData<MutexGuard<'a, ()>>,
}

impl<'a> Party<'a> {
    pub(super) fn new(barrier: &'a Barrier, gate: &Gate<'a>) -> Result<Self, BarrierError> {
        Ok(Self { barrier, slot: gate.register()?, not_send: PhantomData })
    }

    pub(super) fn slot(&self) -> &'a Slot {
        self.slot
    }

    /// Waits until all have come, as [`Barrier::wait`] does.
    ///
    /// # Errors
    ///
    /// See [`BarrierError`].
    ///
    /// # Examples
    ///
    /// ```
    /// let barrier = mp_shared::Barrier::new(1)?;
    /// let mut party = barrier.register()?;
    /// assert_eq!((party.wait()?, party.wait()?), (0, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait(&mut self) -> Result<usize, BarrierError> {
        self.wait_until(self.barrier.deadline(), NO_ACTION)
    }

    /// Waits until all have come, but no longer than this, as [`Barrier::wait_timeout`] does.
    ///
    /// # Errors
    ///
    /// See [`BarrierError`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{Barrier, BarrierError};
    /// use std::time::Duration;
    ///
    /// let barrier = Barrier::new(2)?;
    /// let late = barrier.register()?.wait_timeout(Duration::from_millis(1));
    /// assert_eq!(late, Err(BarrierError::TimedOut));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<usize, BarrierError> {
        self.wait_until(deadline(timeout), NO_ACTION)
    }

    /// Waits until all have come; the last one runs the action, as with [`Barrier::wait_with`].
    ///
    /// # Errors
    ///
    /// See [`BarrierError`].
    ///
    /// # Examples
    ///
    /// ```
    /// let barrier = mp_shared::Barrier::new(1)?;
    /// let mut runs = 0;
    /// barrier.register()?.wait_with(|| runs += 1)?;
    /// assert_eq!(runs, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_with(&mut self, action: impl FnOnce()) -> Result<usize, BarrierError> {
        self.wait_until(self.barrier.deadline(), Some(action))
    }

    /// Waits until all have come, but no longer than this, as [`Barrier::wait_timeout_with`] does.
    ///
    /// # Errors
    ///
    /// See [`BarrierError`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let barrier = mp_shared::Barrier::new(1)?;
    /// let mut runs = 0;
    /// barrier.register()?.wait_timeout_with(Duration::ZERO, || runs += 1)?;
    /// assert_eq!(runs, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_timeout_with(
        &mut self,
        timeout: Duration,
        action: impl FnOnce(),
    ) -> Result<usize, BarrierError> {
        self.wait_until(deadline(timeout), Some(action))
    }

    fn wait_until(
        &mut self,
        deadline: Deadline,
        action: Option<impl FnOnce()>,
    ) -> Result<usize, BarrierError> {
        if !self.slot.held_by_me() {
            return Err(BarrierError::Unregistered);
        }
        let pass = &self.barrier.0;
        pass.wait(pass.enter()?, self.slot, deadline, action)
    }
}

impl Drop for Party<'_> {
    fn drop(&mut self) {
        // In a forked child this is a copy, and the slot is the parent's.
        if self.slot.held_by_me() {
            self.slot.words()[MEMBER].store(0, Relaxed);
            // It is ours, as was just seen.
            let _ = self.slot.unlock();
        }
    }
}

impl fmt::Debug for Party<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Party").field("barrier", self.barrier).finish_non_exhaustive()
    }
}
