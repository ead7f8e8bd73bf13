//! A queue of plain data, which is not encoded.

use std::marker::PhantomData;
use std::time::Duration;

use mp_shared::bytemuck::{self, Pod};
use mp_shared::ring::{Ring, Target};
use mp_wire::Deadline;
use serde::{Deserialize, Deserializer, de};

use crate::builder::Builder;
use crate::error::{not_got, not_put};
use crate::handle::{handle, travels};
use crate::{Error, GetError, PutError, PutManyError};

/// A queue of items of fixed size that are plain data, between any number of producers and consumers.
///
/// The bytes of an item are copied as they are: no codec, no allocation. What is plain data, [`Pod`] says: numbers, arrays of
/// them, and `#[repr(C)]` structs of those that derive it. All processes see the same bytes, so no pointer or descriptor belongs there.
///
/// Clones are handles on the same queue; a handle can be an argument of a process and part of a message. Received as a queue of
/// another type, it is an error. It costs one descriptor per process.
///
/// # If a process dies
///
/// As with [`Queue`](crate::Queue): each item is in the queue, or is not.
///
/// # Examples
///
/// ```
/// use mp_queue::PlainQueue;
///
/// let queue = PlainQueue::new()?;
/// queue.put(&[1.0, 2.0])?;
/// queue.put_many(&[[3.0, 4.0], [5.0, 6.0]])?;
/// assert_eq!(queue.get()?, [1.0, 2.0]);
/// assert_eq!(queue.get_many(10)?, [[3.0, 4.0], [5.0, 6.0]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PlainQueue<T> {
    ring: Ring,
    item: PhantomData<fn(T) -> T>,
}

handle!([T] PlainQueue<T>, "PlainQueue", ring);
travels!([T] PlainQueue<T>, ring);

impl<T> PlainQueue<T> {
    pub(crate) fn over(ring: Ring) -> Self {
        Self { ring, item: PhantomData }
    }
}

impl<T: Pod> PlainQueue<T> {
    /// Makes a queue without a bound.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if there is no memory or no descriptor left.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Makes a queue that holds this many items at most.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    #[doc(alias = "maxsize")]
    pub fn bounded(items: usize) -> Result<Self, Error> {
        Self::builder().capacity(items).build()
    }

    /// Starts to make a queue with other bounds.
    pub fn builder() -> Builder<Self> {
        Builder::new()
    }

    /// Puts an item; waits for room if the queue is bounded and full.
    ///
    /// # Errors
    ///
    /// See [`PutError`]. Nothing was put.
    #[inline]
    pub fn put(&self, item: &T) -> Result<(), PutError> {
        self.put_until(item, Deadline::NEVER)
    }

    /// Puts an item if there is room.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] if there is none; as [`put`](Self::put) otherwise.
    #[doc(alias = "put_nowait")]
    #[inline]
    pub fn try_put(&self, item: &T) -> Result<(), PutError> {
        self.put_until(item, Deadline::NOW)
    }

    /// Puts an item; waits for room for some time.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] if there was none in time; as [`put`](Self::put) otherwise.
    pub fn put_timeout(&self, item: &T, timeout: Duration) -> Result<(), PutError> {
        self.put_until(item, Deadline::after(timeout))
    }

    #[inline]
    fn put_until(&self, item: &T, deadline: Deadline) -> Result<(), PutError> {
        self.ring.put(0, &[bytemuck::bytes_of(item)], deadline).map_err(not_put)
    }

    /// Takes the first item; waits for one if there is none.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline]
    pub fn get(&self) -> Result<T, GetError> {
        self.get_until(Deadline::NEVER)
    }

    /// Takes the first item if there is one.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] if there is none; as [`get`](Self::get) otherwise.
    #[doc(alias = "get_nowait")]
    #[inline]
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_until(Deadline::NOW)
    }

    /// Takes the first item; waits for one for some time.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] if none came in time; as [`get`](Self::get) otherwise.
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_until(Deadline::after(timeout))
    }

    #[inline]
    fn get_until(&self, deadline: Deadline) -> Result<T, GetError> {
        let mut item = T::zeroed();
        self.ring.get_to(bytemuck::bytes_of_mut(&mut item), deadline).map_err(not_got)?;
        Ok(item)
    }

    /// Puts items, in this order; waits for room if the queue is bounded and full.
    ///
    /// As many as find room become visible together; others may put theirs between.
    ///
    /// # If a process dies
    ///
    /// A first part of them is in the queue.
    ///
    /// # Errors
    ///
    /// Not all were put: how many, and why not the next one.
    pub fn put_many(&self, items: &[T]) -> Result<(), PutManyError> {
        self.put_many_until(items, Deadline::NEVER)
    }

    /// Puts items as long as there is room.
    ///
    /// # Errors
    ///
    /// As [`put_many`](Self::put_many), with [`PutError::Full`] as the cause if there was none.
    pub fn try_put_many(&self, items: &[T]) -> Result<(), PutManyError> {
        self.put_many_until(items, Deadline::NOW)
    }

    /// Puts items; waits for room for some time, over all of them.
    ///
    /// # Errors
    ///
    /// As [`put_many`](Self::put_many), with [`PutError::Full`] as the cause if the time was up.
    pub fn put_many_timeout(&self, items: &[T], timeout: Duration) -> Result<(), PutManyError> {
        self.put_many_until(items, Deadline::after(timeout))
    }

    fn put_many_until(&self, items: &[T], deadline: Deadline) -> Result<(), PutManyError> {
        let records = items.iter().map(|item| (0, bytemuck::bytes_of(item)));
        self.ring
            .put_each(records, deadline)
            .map_err(|error| PutManyError { put: error.put, cause: not_put(error.cause) })
    }

    /// Takes the items that are there, at most so many; waits for one if there is none.
    ///
    /// # If a process dies
    ///
    /// The items are all in the queue still, or all gone with it.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get_many(&self, most: usize) -> Result<Vec<T>, GetError> {
        self.get_many_until(most, Deadline::NEVER)
    }

    /// Takes the items that are there, at most so many.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] if there is none; as [`get_many`](Self::get_many) otherwise.
    pub fn try_get_many(&self, most: usize) -> Result<Vec<T>, GetError> {
        self.get_many_until(most, Deadline::NOW)
    }

    /// Takes the items that are there, at most so many; waits for one for some time.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] if none came in time; as [`get_many`](Self::get_many) otherwise.
    pub fn get_many_timeout(&self, most: usize, timeout: Duration) -> Result<Vec<T>, GetError> {
        self.get_many_until(most, Deadline::after(timeout))
    }

    fn get_many_until(&self, most: usize, deadline: Deadline) -> Result<Vec<T>, GetError> {
        let mut items = Vec::new();
        self.get_many_onto(&mut items, most, deadline)?;
        Ok(items)
    }

    /// Takes the items that are there, at most so many, behind those that `items` has, whose memory is used; waits for one if there is
    /// none. Returns how many.
    ///
    /// # Errors
    ///
    /// As [`get_many`](Self::get_many).
    pub fn get_many_into(&self, items: &mut Vec<T>, most: usize) -> Result<usize, GetError> {
        self.get_many_onto(items, most, Deadline::NEVER)
    }

    fn get_many_onto(
        &self,
        items: &mut Vec<T>,
        most: usize,
        deadline: Deadline,
    ) -> Result<usize, GetError> {
        let copy = |segment: &_, at, len| {
            let mut item = T::zeroed();
            Target::fill(bytemuck::bytes_of_mut(&mut item), segment, at, len)?;
            items.push(item);
            Ok(())
        };
        self.ring.get_each(most, deadline, copy).map_err(not_got)
    }
}

impl<'de, T: Pod> Deserialize<'de> for PlainQueue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ring = Ring::deserialize(deserializer)?;
        if !ring.is_of::<T>() {
            return Err(de::Error::custom("the queue that was received is one of another type"));
        }
        Ok(Self::over(ring))
    }
}
