//! Many items at a time: one lock and one commit for all.

use std::borrow::Borrow;
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::time::Duration;

use mp_shared::ring::Record;
use mp_wire::{Deadline, Fd, Message, encode_into};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, ErrorKind, GetError, PutError, Queue};

/// How many bytes are gathered before they are put.
const GATHER: usize = 256 << 10;

/// Why not all of many items were put.
///
/// # Examples
///
/// ```
/// use mp_queue::{PutError, Queue};
///
/// let queue = Queue::<i32>::bounded(2)?;
/// let error = queue.try_put_many(&[1, 2, 3]).unwrap_err();
/// assert_eq!(error.put, 2);
/// assert!(matches!(error.cause, PutError::Full));
/// # Ok::<(), mp_queue::Error>(())
/// ```
#[derive(Debug)]
pub struct PutManyError {
    /// How many were put: the first ones.
    pub put: usize,
    /// Why the next one was not.
    pub cause: PutError,
}

impl fmt::Display for PutManyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} items", self.put)
    }
}

impl std::error::Error for PutManyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Items that wait to be put together.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl<T: Serialize> Queue<T> {
    /// Puts items, in this order; waits for room if the queue is bounded and full.
    ///
    /// It is faster than to put them one by one. As many as find room become visible together; others may put theirs between.
    ///
    /// # If a process dies
    ///
    /// A first part of them is in the queue.
    ///
    /// # Errors
    ///
    /// Not all were put: how many, and why not the next one.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_queue::Queue;
    ///
    /// let queue = Queue::new()?;
    /// queue.put_many(0..1000)?;
    /// assert_eq!(queue.get_many(10)?.into_vec()?, (0..10).collect::<Vec<i32>>());
    /// assert_eq!(queue.drain().count(), 990);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn put_many<I>(&self, items: I) -> Result<(), PutManyError>
    where
        I: IntoIterator,
        I::Item: Borrow<T>,
    {
        self.put_many_until(items, Deadline::NEVER)
    }

    /// Puts items as long as there is room.
    ///
    /// # Errors
    ///
    /// As [`put_many`](Self::put_many), with [`PutError::Full`] as the cause if there was none.
    pub fn try_put_many<I>(&self, items: I) -> Result<(), PutManyError>
    where
        I: IntoIterator,
        I::Item: Borrow<T>,
    {
        self.put_many_until(items, Deadline::NOW)
    }

    /// Puts items; waits for room for some time, over all of them.
    ///
    /// # Errors
    ///
    /// As [`put_many`](Self::put_many), with [`PutError::Full`] as the cause if the time was up.
    pub fn put_many_timeout<I>(&self, items: I, timeout: Duration) -> Result<(), PutManyError>
    where
        I: IntoIterator,
        I::Item: Borrow<T>,
    {
        self.put_many_until(items, Deadline::after(timeout))
    }

    fn put_many_until<I>(&self, items: I, deadline: Deadline) -> Result<(), PutManyError>
    where
        I: IntoIterator,
        I::Item: Borrow<T>,
    {
        let (mut gathered, mut message) = (Gathered::default(), Message::default());
        let mut put = 0;
        for item in items {
            if let Err(error) = encode_into(item.borrow(), &mut message) {
                let cause = PutError::Failed(Error::wire("the item cannot be put", error));
                self.flush(&mut gathered, &mut put, deadline)?;
                return Err(PutManyError { put, cause });
            }
            if message.fds.is_empty() {
                gathered.bytes.extend_from_slice(&message.bytes);
                gathered.ends.push(gathered.bytes.len());
                if gathered.bytes.len() >= GATHER {
                    self.flush(&mut gathered, &mut put, deadline)?;
                }
                continue;
            }
            self.flush(&mut gathered, &mut put, deadline)?;
            let alone = self.channel().put(&[&message.bytes], &message.fds, deadline);
            alone.map_err(|cause| PutManyError { put, cause })?;
            put += 1;
        }
        self.flush(&mut gathered, &mut put, deadline)
    }

    fn flush(
        &self,
        gathered: &mut Gathered,
        put: &mut usize,
        deadline: Deadline,
    ) -> Result<(), PutManyError> {
        let done = self.channel().put_many(&gathered.bytes, &gathered.ends, deadline);
        let (count, result) = match done {
            Ok(()) => (gathered.ends.len(), Ok(())),
            Err((count, cause)) => (count, Err(cause)),
        };
        *put += count;
        gathered.bytes.clear();
        gathered.ends.clear();
        result.map_err(|cause| PutManyError { put: *put, cause })
    }
}

impl<T: DeserializeOwned> Queue<T> {
    /// Takes the items that are there, at most so many; waits for one if there is none.
    ///
    /// It is faster than to get them one by one. They are decoded as the batch is iterated; what is left of it when it is dropped is
    /// gone. An item with descriptors comes alone.
    ///
    /// # If a process dies
    ///
    /// The items are all in the queue still, or all gone with it.
    ///
    /// # Errors
    ///
    /// [`GetError::Closed`] when the queue is closed and empty.
    pub fn get_many(&self, most: usize) -> Result<Batch<T>, GetError> {
        self.get_many_until(most, Deadline::NEVER)
    }

    /// Takes the items that are there, at most so many.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] if there is none; as [`get_many`](Self::get_many) otherwise.
    pub fn try_get_many(&self, most: usize) -> Result<Batch<T>, GetError> {
        self.get_many_until(most, Deadline::NOW)
    }

    /// Takes the items that are there, at most so many; waits for one for some time.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] if none came in time; as [`get_many`](Self::get_many) otherwise.
    pub fn get_many_timeout(&self, most: usize, timeout: Duration) -> Result<Batch<T>, GetError> {
        self.get_many_until(most, Deadline::after(timeout))
    }

    fn get_many_until(&self, most: usize, deadline: Deadline) -> Result<Batch<T>, GetError> {
        let mut batch = Batch::default();
        batch.fds =
            self.channel().get_many(&mut batch.bytes, &mut batch.records, most, deadline)?;
        Ok(batch)
    }

    /// Takes items as long as there are any.
    ///
    /// An item that does not decode is an error of its own, and the next one follows. It ends where the queue was empty, or failed.
    pub fn drain(&self) -> Drain<'_, T> {
        Drain { queue: self, over: false }
    }
}

/// Items that were taken together; see [`Queue::get_many`].
#[must_use = "items that are not used are gone"]
pub struct Batch<T> {
    bytes: Vec<u8>,
    records: Vec<Record>,
    next: usize,
    start: usize,
    /// Of the only item, if it has any.
    fds: Vec<Fd>,
    item: PhantomData<fn() -> T>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        let (bytes, records, fds) = (Vec::new(), Vec::new(), Vec::new());
        Self { bytes, records, next: 0, start: 0, fds, item: PhantomData }
    }
}

impl<T: DeserializeOwned> Batch<T> {
    /// Decodes all that are left.
    ///
    /// # Errors
    ///
    /// The first that is not a `T`. Iterate where the others count.
    pub fn into_vec(self) -> Result<Vec<T>, Error> {
        self.collect()
    }
}

impl<T: DeserializeOwned> Iterator for Batch<T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = self.records.get(self.next)?.end;
        let bytes = self.bytes.get(self.start..end).unwrap_or_default();
        let item = mp_wire::decode(bytes, &self.fds);
        self.next += 1;
        self.start = end;
        Some(item.map_err(|error| Error::wire("the item cannot be decoded", error)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.records.len() - self.next;
        (left, Some(left))
    }
}

impl<T: DeserializeOwned> ExactSizeIterator for Batch<T> {}
impl<T: DeserializeOwned> FusedIterator for Batch<T> {}

impl<T> fmt::Debug for Batch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.records.len() - self.next;
        f.debug_struct("Batch").field("len", &left).finish_non_exhaustive()
    }
}

/// The items of a queue, as long as there are any; see [`Queue::drain`].
#[derive(Debug)]
#[must_use = "items are taken as the iterator is used"]
pub struct Drain<'q, T> {
    queue: &'q Queue<T>,
    over: bool,
}

impl<T: DeserializeOwned> Iterator for Drain<'_, T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        match self.queue.try_get() {
            Ok(item) => Some(Ok(item)),
            Err(GetError::Failed(error)) => {
                // The others leave the item where it is.
                self.over = !matches!(error.kind(), ErrorKind::Decode | ErrorKind::DescriptorsLost);
                Some(Err(error))
            }
            Err(GetError::Empty | GetError::Closed | GetError::Disconnected) => {
                self.over = true;
                None
            }
        }
    }
}

impl<T: DeserializeOwned> FusedIterator for Drain<'_, T> {}
