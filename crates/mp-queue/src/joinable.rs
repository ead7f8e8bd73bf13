//! A queue whose items are done when somebody says so.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};

use mp_shared::shelf::{Lease, Mode, Order, Shelf};
use mp_wire::{Deadline, Fd};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::beside::{Beside, not_taken};
use crate::builder::{Bounds, Build, Builder};
use crate::copied::Copied;
use crate::error::not_put;
use crate::handle::{handle, takes};
use crate::registry::{Known, Registry};
use crate::{Error, GetError, PutError, Task};

static QUEUES: Registry<Inner> = Registry::new();

/// A queue between processes that knows which of its items are not done: first in, first out.
///
/// Whoever gets an item says [`task_done`](Self::task_done) when it has done what there is to do; [`join`](Self::join) waits until
/// that was said of all. [`take`](Self::take) gives an item as a [`Task`], which says for itself what becomes of it.
///
/// Clones are handles on the same queue; a handle can be an argument of a process and part of a message. It costs three
/// descriptors per process. An item is anything with serde's traits, descriptors included.
///
/// # Python
///
/// `multiprocessing.JoinableQueue`. There, `join` waits for ever if a consumer dies. `task_done` is for an item that this process has got: that
/// of the calling thread, and of several the oldest, as far as 256 are looked at.
///
/// # Blocking
///
/// As [`Queue`](crate::Queue). Who waits in `join`, or for an item while some are not done, looks four times a second whether the processes live
/// that have those.
///
/// # If a process dies
///
/// Killed at any instruction, it has put its item or has not, has got one or has not. What it has got and not done is given out again, where
/// it was in the order, or kept for [`take_lost`](Self::take_lost): as [`Orphans`](crate::Orphans) says in [`Builder::orphans`]. So an item may
/// be worked on twice, if its consumer dies between its work and saying so. An item with descriptors cannot be given out
/// again, for those were the consumer's: that get is an error of kind [`DescriptorsLost`](crate::ErrorKind::DescriptorsLost), and the item is done.
///
/// # Examples
///
/// ```
/// use mp_queue::JoinableQueue;
/// use std::thread;
///
/// let queue = JoinableQueue::new()?;
/// let worker = queue.clone(); // As well an argument of a process.
/// let thread = thread::spawn(move || {
///     for item in worker.iter() {
///         let _: u32 = item; // Something is done with it.
///         worker.task_done().expect("this thread has got it");
///     }
/// });
/// for number in 0..10 {
///     queue.put(&number)?;
/// }
/// queue.join()?;
/// assert_eq!(queue.unfinished(), 0);
/// queue.close();
/// # thread.join().expect("it does not panic");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JoinableQueue<T> {
    inner: Arc<Inner>,
    item: PhantomData<fn(T) -> T>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    shelf: Shelf,
    beside: Beside,
}

impl Known for Inner {
    fn id(&self) -> u128 {
        self.shelf.segment().id()
    }
}

handle!([T] JoinableQueue<T>, "JoinableQueue", inner.shelf);
takes!(JoinableQueue);

/// Why not everything is done.
///
/// # Examples
///
/// ```
/// use mp_queue::{JoinError, JoinableQueue};
/// use std::time::Duration;
///
/// let queue = JoinableQueue::new()?;
/// queue.put(&1)?;
/// let error = queue.join_timeout(Duration::from_millis(1)).unwrap_err();
/// assert!(matches!(error, JoinError::TimedOut));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// Not in time.
    TimedOut,
    /// All else is done, but the consumers of so many items died before they were; see [`JoinableQueue::take_lost`].
    Lost(usize),
    /// What another process wrote into the queue's memory makes no sense.
    Failed(Error),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("not all items were done in time"),
            Self::Lost(count) => write!(f, "{count} items were lost with their consumers"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl error::Error for JoinError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            _ => None,
        }
    }
}

impl<T> JoinableQueue<T> {
    /// Makes a queue without a bound.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if there is no memory or no descriptor left.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Makes a queue that holds this many items at most. Those that were got and are not done do not count.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for zero; as [`new`](Self::new) otherwise.
    #[doc(alias = "maxsize")]
    pub fn bounded(items: usize) -> Result<Self, Error> {
        Self::builder().capacity(items).build()
    }

    /// Starts to make a queue with other bounds, or that reports the items of consumers that died.
    pub fn builder() -> Builder<Self> {
        Builder::new()
    }

    fn over(inner: Inner) -> Self {
        Self { inner: QUEUES.insert(inner), item: PhantomData }
    }

    /// Says that an item is done that this process has got: one of the calling thread if there is one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if this process has got none that is not done.
    pub fn task_done(&self) -> Result<(), Error> {
        let none = "task_done was called more often than an item was got";
        self.inner.shelf.finish_any().map_err(|error| Error::shared(none, error))
    }

    /// How many items are not done: in the queue, or got.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.inner.shelf.unfinished().unwrap_or(0)
    }

    /// Waits until all items that were put are done.
    ///
    /// # Errors
    ///
    /// [`JoinError::Lost`] if that is so but for those that died with their consumers, where these are reported and not given
    /// out again.
    pub fn join(&self) -> Result<(), JoinError> {
        self.join_until(Deadline::NEVER)
    }

    /// Waits for some time until all items are done; a time of zero only looks.
    ///
    /// # Errors
    ///
    /// [`JoinError::TimedOut`] if they were not in time; as [`join`](Self::join) otherwise.
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), JoinError> {
        self.join_until(Deadline::after(timeout))
    }

    fn join_until(&self, deadline: Deadline) -> Result<(), JoinError> {
        let failed = |error| JoinError::Failed(Error::shared("cannot wait for the items", error));
        if !self.inner.shelf.join(deadline).map_err(failed)? {
            return Err(JoinError::TimedOut);
        }
        match self.inner.shelf.lost().map_err(failed)? {
            0 => Ok(()),
            count => Err(JoinError::Lost(count)),
        }
    }

    pub(crate) fn finish(&self, lease: Lease) -> Result<(), Error> {
        let over = "the item is another's by now";
        self.inner.shelf.finish(lease).map_err(|error| Error::shared(over, error))
    }

    pub(crate) fn put_back(&self, lease: Lease) -> Result<(), Error> {
        let over = "the item is another's by now";
        self.inner.shelf.put_back(lease).map_err(|error| Error::shared(over, error))
    }
}

impl<T: Serialize> JoinableQueue<T> {
    /// Puts an item; waits for room if the queue is bounded and full.
    ///
    /// # Errors
    ///
    /// As [`Queue::put`](crate::Queue::put).
    pub fn put(&self, item: &T) -> Result<(), PutError> {
        self.put_until(item, Deadline::NEVER)
    }

    /// Puts an item if there is room.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] if there is none; as [`put`](Self::put) otherwise.
    #[doc(alias = "put_nowait")]
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

    fn put_until(&self, item: &T, deadline: Deadline) -> Result<(), PutError> {
        let Inner { shelf, beside } = &*self.inner;
        mp_wire::encode_with(item, |bytes, fds: &[Fd]| {
            if fds.is_empty() {
                return shelf.put(0, &[bytes], deadline).map_err(not_put);
            }
            beside.put(fds, deadline, |nonce, hook| {
                shelf.put_with(0, nonce, &[bytes], deadline, hook)
            })
        })
        .map_err(|error| PutError::Failed(Error::wire("the item cannot be put", error)))?
    }
}

impl<T: DeserializeOwned> JoinableQueue<T> {
    fn get_until(&self, deadline: Deadline) -> Result<T, GetError> {
        self.lease(deadline, Mode::Lease).map(|(item, _)| item)
    }

    fn lease(&self, deadline: Deadline, mode: Mode) -> Result<(T, Lease), GetError> {
        let Inner { shelf, beside } = &*self.inner;
        let mut copied = Copied::default();
        let look = |item| beside.look(item, true);
        let taken =
            shelf.get_around(&mut copied, deadline, mode, look, |found| beside.taken(found));
        let (taken, found) = taken.map_err(not_taken)?;
        let missing = || Error::new(crate::ErrorKind::Io, "the item was taken without a lease");
        let lease = taken.lease.ok_or_else(missing).map_err(GetError::Failed)?;
        let item = found.into_fds().and_then(|fds| {
            let item = mp_wire::decode(copied.bytes(), &fds);
            item.map_err(|error| Error::wire("the item cannot be decoded", error))
        });
        item.map(|item| (item, lease)).map_err(|error| {
            // Nobody could make anything of it: it is done.
            let _ = self.finish(lease);
            GetError::Failed(error)
        })
    }

    /// Takes the first item as a task, which is given back if it is dropped without being done; waits for one if there is none.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); of a closed queue it is [`GetError::Closed`] only when no other thread or process has an item that it might
    /// give back, or die with.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_queue::JoinableQueue;
    ///
    /// let queue = JoinableQueue::new()?;
    /// queue.put(&"a job".to_owned())?;
    /// let task = queue.take()?;
    /// drop(task); // Or the process that has it dies.
    /// let task = queue.take()?;
    /// assert_eq!((task.len(), task.attempt()), (5, 2));
    /// task.done()?;
    /// queue.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take(&self) -> Result<Task<T>, GetError> {
        self.take_until(Deadline::NEVER)
    }

    /// Takes the first item as a task if there is one.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] if there is none; as [`take`](Self::take) otherwise.
    pub fn try_take(&self) -> Result<Task<T>, GetError> {
        self.take_until(Deadline::NOW)
    }

    /// Takes the first item as a task; waits for one for some time.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] if none came in time; as [`take`](Self::take) otherwise.
    pub fn take_timeout(&self, timeout: Duration) -> Result<Task<T>, GetError> {
        self.take_until(Deadline::after(timeout))
    }

    fn take_until(&self, deadline: Deadline) -> Result<Task<T>, GetError> {
        let (item, lease) = self.lease(deadline, Mode::LeaseOfAll)?;
        Ok(Task::new(item, self.clone(), lease))
    }

    /// Takes the first item whose consumer died before it was done, where these are reported and not given out again.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] if there is none; [`GetError::Failed`] if it is not a `T`, or had descriptors, which died with the
    /// consumer: it is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_queue::{JoinableQueue, Orphans};
    ///
    /// let queue = JoinableQueue::<u8>::builder().orphans(Orphans::Report).build()?;
    /// assert!(queue.take_lost().unwrap_err().is_timeout()); // Nobody has died.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_lost(&self) -> Result<T, GetError> {
        let mut copied = Copied::default();
        self.inner.shelf.take_lost(&mut copied).map_err(crate::error::not_got)?;
        mp_wire::decode(copied.bytes(), &[])
            .map_err(|error| GetError::Failed(Error::wire("the item cannot be decoded", error)))
    }
}

impl<T> Build for JoinableQueue<T> {
    fn build(bounds: Bounds) -> Result<Self, Error> {
        let shelf = bounds.shelf(Order::Fifo)?;
        Ok(Self::over(Inner { shelf, beside: Beside::new()? }))
    }
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), item: PhantomData }
    }
}

impl<T> Serialize for JoinableQueue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Inner { shelf, beside } = &*self.inner;
        (shelf, &beside.sender, &beside.receiver).serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for JoinableQueue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (shelf, sender, receiver) = <(Shelf, Fd, Fd)>::deserialize(deserializer)?;
        if shelf.order() != Order::Fifo {
            return Err(de::Error::custom("the queue that was received has another order"));
        }
        Ok(Self::over(Inner { shelf, beside: Beside { sender, receiver } }))
    }
}
