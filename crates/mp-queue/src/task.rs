//! An item that is not done.

use std::fmt;
use std::ops::{Deref, DerefMut};

use mp_shared::shelf::Lease;

use crate::{Error, JoinableQueue};

/// An item of a [`JoinableQueue`], until it is [`done`](Self::done); see [`JoinableQueue::take`].
///
/// Dropped before, as when its consumer panics, it is given back. It may go to another thread, but not to another process; a forked copy
/// of it does nothing.
///
/// # If a process dies
///
/// Its tasks are given out again, or reported: see [`JoinableQueue`].
///
/// # Examples
///
/// ```
/// use mp_queue::JoinableQueue;
///
/// let queue = JoinableQueue::new()?;
/// queue.put(&vec![3, 1, 2])?;
/// let mut task = queue.take()?;
/// task.sort();
/// assert_eq!(task.done()?, [1, 2, 3]);
/// assert_eq!(queue.unfinished(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a task that is dropped is given back"]
pub struct Task<T> {
    item: T,
    open: Open<T>,
}

/// What has to be given back.
struct Open<T> {
    queue: JoinableQueue<T>,
    lease: Option<Lease>,
    attempt: u32,
}

impl<T> Task<T> {
    pub(crate) fn new(item: T, queue: JoinableQueue<T>, lease: Lease) -> Self {
        Self { item, open: Open { queue, attempt: lease.attempt(), lease: Some(lease) } }
    }

    /// Says that it is done, and gives the item.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it was so already, by [`JoinableQueue::task_done`], or in a forked
    /// copy of the process that took it.
    pub fn done(self) -> Result<T, Error> {
        let Self { item, mut open } = self;
        match open.lease.take() {
            Some(lease) => open.queue.finish(lease).map(|()| item),
            None => Ok(item),
        }
    }

    /// Gives it back to the queue, to where it was in the order; as dropping it, but tells whether that went well.
    ///
    /// # Errors
    ///
    /// As [`done`](Self::done).
    pub fn give_back(mut self) -> Result<(), Error> {
        match self.open.lease.take() {
            Some(lease) => self.open.queue.put_back(lease),
            None => Ok(()),
        }
    }

    /// How often the item was given out, this time included: more than once if it was given back, or its consumer died.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.open.attempt
    }
}

impl<T> Drop for Open<T> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            // Fails in a forked copy, where it is right that nothing happens.
            let _ = self.queue.put_back(lease);
        }
    }
}

impl<T> Deref for Task<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T> DerefMut for Task<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.item
    }
}

impl<T: fmt::Debug> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Task");
        debug.field("item", &self.item).field("attempt", &self.attempt()).finish_non_exhaustive()
    }
}
