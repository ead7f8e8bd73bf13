//! How queues with other bounds than the usual ones are made.

use std::fmt;
use std::marker::PhantomData;

use mp_shared::ring::{self, Ring};

use crate::channel::Channel;
use crate::{BytesQueue, Error, ErrorKind, PlainQueue, Queue};

/// How a queue is made; see [`Queue::builder`], [`BytesQueue::builder`] and [`PlainQueue::builder`].
///
/// # Examples
///
/// ```
/// use mp_queue::{ErrorKind, Queue};
///
/// let queue = Queue::<String>::builder().byte_capacity(1 << 20).build()?;
/// assert_eq!((queue.capacity(), queue.byte_capacity()), (None, Some(1 << 20)));
/// let error = Queue::<u8>::builder().byte_capacity(0).build().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidInput);
/// # Ok::<(), mp_queue::Error>(())
/// ```
#[must_use = "`build` makes the queue"]
pub struct Builder<Q> {
    ring: ring::Builder,
    /// A bound was zero.
    refused: bool,
    queue: PhantomData<fn() -> Q>,
}

/// What can be built.
pub(crate) trait Build: Sized {
    fn settings(ring: ring::Builder) -> ring::Builder {
        ring
    }
    fn over(ring: Result<Ring, mp_shared::Error>) -> Result<Self, Error>;
}

impl<T> Build for Queue<T> {
    fn over(ring: Result<Ring, mp_shared::Error>) -> Result<Self, Error> {
        Channel::over(ring).map(Self::over)
    }
}

impl Build for BytesQueue {
    fn over(ring: Result<Ring, mp_shared::Error>) -> Result<Self, Error> {
        ring.map(Self::over).map_err(crate::error::no_memory)
    }
}

impl<T: mp_shared::bytemuck::Pod> Build for PlainQueue<T> {
    fn settings(ring: ring::Builder) -> ring::Builder {
        ring.of::<T>()
    }

    fn over(ring: Result<Ring, mp_shared::Error>) -> Result<Self, Error> {
        ring.map(Self::over).map_err(crate::error::no_memory)
    }
}

impl<Q> Builder<Q> {
    pub(crate) fn new() -> Self {
        Self { ring: Ring::builder(), refused: false, queue: PhantomData }
    }

    /// Lets the queue hold this many items at most.
    #[doc(alias = "maxsize")]
    pub fn capacity(mut self, items: usize) -> Self {
        self.ring = self.ring.capacity(items);
        self.refused |= items == 0;
        self
    }

    /// Lets the items in the queue have this many bytes together at most, as they are encoded.
    ///
    /// An item that has more alone is never put: [`ErrorKind::TooLarge`].
    pub fn byte_capacity(mut self, bytes: usize) -> Self {
        self.ring = self.ring.byte_capacity(bytes);
        self.refused |= bytes == 0;
        self
    }
}

#[expect(private_bounds, reason = "only queues of this crate are built")]
impl<Q: Build> Builder<Q> {
    /// Makes the queue.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if a bound is zero; [`ErrorKind::Exhausted`] if there is no memory or no descriptor left.
    pub fn build(self) -> Result<Q, Error> {
        if self.refused {
            let what = "a queue without room for an item is of no use; `Queue::new` has no bound";
            return Err(Error::new(ErrorKind::InvalidInput, what));
        }
        Q::over(Q::settings(self.ring).build())
    }
}

impl<Q> Clone for Builder<Q> {
    fn clone(&self) -> Self {
        Self { ring: self.ring, refused: self.refused, queue: PhantomData }
    }
}

impl<Q> fmt::Debug for Builder<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("ring", &self.ring).finish_non_exhaustive()
    }
}
