//! A queue of bytes, which are written and read in place.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use mp_shared::ring::{self, Ring};
use mp_wire::Deadline;
use serde::{Deserialize, Deserializer};

use crate::builder::Builder;
use crate::error::{not_got, not_put};
use crate::handle::{handle, travels};
use crate::{Error, GetError, PutError};

/// A queue of byte messages, between any number of producers and consumers, that need not be copied.
///
/// [`put`](Self::put) and [`get`](Self::get) copy. [`reserve`](Self::reserve) gives room in the queue itself, to be filled and then
/// committed; [`get_ref`](Self::get_ref) lends a message where it lies. Meanwhile the others on the same side wait: it is for large
/// messages, or for one producer and one consumer.
///
/// Clones are handles on the same queue; a handle can be an argument of a process and part of a message. It costs one descriptor
/// per process.
///
/// # If a process dies
///
/// Killed before a commit is done, the message is there whole or not at all. Killed while it is lent a message, it has not taken it:
/// the next one gets it.
///
/// # Examples
///
/// ```
/// use mp_queue::BytesQueue;
///
/// let queue = BytesQueue::new()?;
/// let mut frame = queue.reserve(1 << 20)?;
/// frame.fill(7); // In the memory that the reader sees.
/// frame.commit()?;
///
/// let frame = queue.get_ref()?;
/// assert_eq!((frame.len(), frame[1000]), (1 << 20, 7));
/// drop(frame); // Now it is taken.
/// assert!(queue.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BytesQueue {
    ring: Ring,
}

handle!([] BytesQueue, "BytesQueue", ring);
travels!([] BytesQueue, ring);

impl BytesQueue {
    /// Makes a queue without a bound.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if there is no memory or no descriptor left.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Makes a queue that holds this many messages at most.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    #[doc(alias = "maxsize")]
    pub fn bounded(messages: usize) -> Result<Self, Error> {
        Self::builder().capacity(messages).build()
    }

    /// Starts to make a queue with other bounds.
    pub fn builder() -> Builder<Self> {
        Builder::new()
    }

    pub(crate) fn over(ring: Ring) -> Self {
        Self { ring }
    }

    /// Puts a message; waits for room if the queue is bounded and full.
    ///
    /// # Errors
    ///
    /// See [`PutError`]. Nothing was put.
    pub fn put(&self, message: &[u8]) -> Result<(), PutError> {
        self.put_until(message, Deadline::NEVER)
    }

    /// Puts a message if there is room.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] if there is none; as [`put`](Self::put) otherwise.
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, message: &[u8]) -> Result<(), PutError> {
        self.put_until(message, Deadline::NOW)
    }

    /// Puts a message; waits for room for some time.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] if there was none in time; as [`put`](Self::put) otherwise.
    pub fn put_timeout(&self, message: &[u8], timeout: Duration) -> Result<(), PutError> {
        self.put_until(message, Deadline::after(timeout))
    }

    fn put_until(&self, message: &[u8], deadline: Deadline) -> Result<(), PutError> {
        self.ring.put(0, &[message], deadline).map_err(not_put)
    }

    /// Takes the first message; waits for one if there is none.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get(&self) -> Result<Vec<u8>, GetError> {
        self.get_until(Deadline::NEVER)
    }

    /// Takes the first message if there is one.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] if there is none; as [`get`](Self::get) otherwise.
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<Vec<u8>, GetError> {
        self.get_until(Deadline::NOW)
    }

    /// Takes the first message; waits for one for some time.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] if none came in time; as [`get`](Self::get) otherwise.
    pub fn get_timeout(&self, timeout: Duration) -> Result<Vec<u8>, GetError> {
        self.get_until(Deadline::after(timeout))
    }

    fn get_until(&self, deadline: Deadline) -> Result<Vec<u8>, GetError> {
        let mut message = Vec::new();
        self.ring.get_to(&mut message, deadline).map_err(not_got)?;
        Ok(message)
    }

    /// Takes the first message in place of what `message` held, whose memory is used again; waits for one if there is none.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn get_into(&self, message: &mut Vec<u8>) -> Result<(), GetError> {
        self.ring.get_to(message, Deadline::NEVER).map(|_| ()).map_err(not_got)
    }

    /// Reserves room for a message of `len` bytes, to be filled in place; waits for it if the queue is bounded and full.
    ///
    /// At first it holds anything that was in the queue before. All other producers wait until it is committed or dropped.
    ///
    /// # Errors
    ///
    /// See [`PutError`]. A thread that has reserved already gets [`PutError::Failed`] instead of waiting for itself.
    pub fn reserve(&self, len: usize) -> Result<Reservation<'_>, PutError> {
        self.reserve_until(len, Deadline::NEVER)
    }

    /// Reserves room if there is any.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] if there is none; as [`reserve`](Self::reserve) otherwise.
    pub fn try_reserve(&self, len: usize) -> Result<Reservation<'_>, PutError> {
        self.reserve_until(len, Deadline::NOW)
    }

    /// Reserves room; waits for it for some time.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] if there was none in time; as [`reserve`](Self::reserve) otherwise.
    pub fn reserve_timeout(
        &self,
        len: usize,
        timeout: Duration,
    ) -> Result<Reservation<'_>, PutError> {
        self.reserve_until(len, Deadline::after(timeout))
    }

    fn reserve_until(&self, len: usize, deadline: Deadline) -> Result<Reservation<'_>, PutError> {
        self.ring.reserve(0, len, deadline).map(Reservation).map_err(not_put)
    }

    /// Lends the first message in place; waits for one if there is none.
    ///
    /// It is taken when the reference is dropped. All other consumers wait until then.
    ///
    /// # Errors
    ///
    /// See [`GetError`]. A thread that has been lent one already gets [`GetError::Failed`] instead of waiting for itself.
    pub fn get_ref(&self) -> Result<BytesRef<'_>, GetError> {
        self.get_ref_until(Deadline::NEVER)
    }

    /// Lends the first message in place if there is one.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] if there is none; as [`get_ref`](Self::get_ref) otherwise.
    pub fn try_get_ref(&self) -> Result<BytesRef<'_>, GetError> {
        self.get_ref_until(Deadline::NOW)
    }

    /// Lends the first message in place; waits for one for some time.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] if none came in time; as [`get_ref`](Self::get_ref) otherwise.
    pub fn get_ref_timeout(&self, timeout: Duration) -> Result<BytesRef<'_>, GetError> {
        self.get_ref_until(Deadline::after(timeout))
    }

    fn get_ref_until(&self, deadline: Deadline) -> Result<BytesRef<'_>, GetError> {
        self.ring.lend(deadline).map(BytesRef).map_err(not_got)
    }
}

impl<'de> Deserialize<'de> for BytesQueue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ring::deserialize(deserializer).map(Self::over)
    }
}

/// Room for a message in a [`BytesQueue`], to be filled in place.
///
/// Dropped without [`commit`](Self::commit), nothing was put, and the room is free again. It stays with the thread that reserved it;
/// a forked copy of it does nothing.
#[derive(Debug)]
#[must_use = "nothing is put before `commit`"]
pub struct Reservation<'q>(ring::Reservation<'q>);

impl Reservation<'_> {
    /// Makes the message shorter; does nothing if it is not longer.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Puts the message.
    ///
    /// # Errors
    ///
    /// [`PutError::Closed`] if the queue has been closed meanwhile. Nothing was put.
    pub fn commit(self) -> Result<(), PutError> {
        self.0.commit().map_err(not_put)
    }
}

impl Deref for Reservation<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Reservation<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// A message of a [`BytesQueue`] where it lies, which is taken when this is dropped.
///
/// It stays with the thread that got it; a forked copy of it does nothing.
#[must_use = "the message is gone when this is dropped"]
pub struct BytesRef<'q>(ring::Lent<'q>);

impl BytesRef<'_> {
    /// Leaves the message in the queue, as the first.
    pub fn leave(self) {
        self.0.leave();
    }
}

impl Deref for BytesRef<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for BytesRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BytesRef").field("len", &self.len()).finish_non_exhaustive()
    }
}
