//! How queues with other bounds than the usual ones are made.

use std::fmt;
use std::marker::PhantomData;

use mp_shared::ring::{self, Ring};
use mp_shared::shelf::{Order, Orphans, Shelf};

use crate::channel::Channel;
use crate::error::no_memory;
use crate::{BytesQueue, Error, ErrorKind, JoinableQueue, PlainQueue, Queue};

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
    bounds: Bounds,
    /// A bound was zero.
    refused: bool,
    queue: PhantomData<fn() -> Q>,
}

/// How large a queue may become, and what it does with what the dead had.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    items: usize,
    bytes: usize,
    orphans: Orphans,
}

impl Bounds {
    fn ring(self) -> ring::Builder {
        Ring::builder().capacity(self.items).byte_capacity(self.bytes)
    }

    pub(crate) fn shelf(self, order: Order) -> Result<Shelf, Error> {
        let shelf = Shelf::builder(order).capacity(self.items).byte_capacity(self.bytes);
        shelf.orphans(self.orphans).build().map_err(no_memory)
    }
}

/// What can be built.
pub(crate) trait Build: Sized {
    fn build(bounds: Bounds) -> Result<Self, Error>;
}

impl<T> Build for Queue<T> {
    fn build(bounds: Bounds) -> Result<Self, Error> {
        Channel::over(bounds.ring().build()).map(Self::over)
    }
}

impl Build for BytesQueue {
    fn build(bounds: Bounds) -> Result<Self, Error> {
        bounds.ring().build().map(Self::over).map_err(no_memory)
    }
}

impl<T: mp_shared::bytemuck::Pod> Build for PlainQueue<T> {
    fn build(bounds: Bounds) -> Result<Self, Error> {
        bounds.ring().of::<T>().build().map(Self::over).map_err(no_memory)
    }
}

impl<Q> Builder<Q> {
    pub(crate) fn new() -> Self {
        Self { bounds: Bounds::default(), refused: false, queue: PhantomData }
    }

    /// Lets the queue hold this many items at most.
    #[doc(alias = "maxsize")]
    pub fn capacity(mut self, items: usize) -> Self {
        self.bounds.items = items;
        self.refused |= items == 0;
        self
    }

    /// Lets the items in the queue have this many bytes together at most, as they are encoded.
    ///
    /// An item that has more alone is never put: [`ErrorKind::TooLarge`].
    pub fn byte_capacity(mut self, bytes: usize) -> Self {
        self.bounds.bytes = bytes;
        self.refused |= bytes == 0;
        self
    }
}

impl<T> Builder<JoinableQueue<T>> {
    /// Says what becomes of an item whose consumer died before it was done: by default it is given out again.
    pub fn orphans(mut self, orphans: Orphans) -> Self {
        self.bounds.orphans = orphans;
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
        Q::build(self.bounds)
    }
}

impl<Q> Clone for Builder<Q> {
    fn clone(&self) -> Self {
        Self { bounds: self.bounds, refused: self.refused, queue: PhantomData }
    }
}

impl<Q> fmt::Debug for Builder<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}
