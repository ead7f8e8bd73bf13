//! The typed queue.

use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::num::NonZero;
use std::time::Duration;

use mp_shared::ring::Nudge;
use mp_shared::{Source, Waitable};
use mp_wire::Deadline;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::builder::Builder;
use crate::channel::Channel;
use crate::copied::Copied;
use crate::ends::{self, Receiver, Sender};
use crate::{Error, ErrorKind, GetError, PutError};

/// A queue between processes: any number of producers, any number of consumers, first in, first out.
///
/// Clones are handles on the same queue. A handle can be an argument of a process and part of a message, also of a
/// message in a queue. An item is anything with serde's `Serialize` and `Deserialize`, descriptors included.
///
/// When `put` returns, the item is in shared memory. There is no thread that still has to send it: the process may
/// end, and may be waited for, with items of its in the queue.
///
/// # Python
///
/// `multiprocessing.Queue`. `maxsize=0`, which Python takes for no bound, is [`Queue::new`], and
/// [`Queue::bounded`] refuses zero. A value that does not serialize is an error of `put`, not a
/// traceback in a thread. `close` means that nobody puts any more, and readers see the end after the last item; `join_thread` and
/// `cancel_join_thread` have nothing to do here.
///
/// # Blocking
///
/// `put` waits while a bounded queue is full, `get` while a queue is empty. Both look for a moment and then sleep
/// in the kernel. One timeout bounds the whole call, and is never early.
///
/// An item with descriptors also waits for room on a socket, which holds a few hundred such items; bytes alone have
/// no bound but memory.
///
/// # If a process dies
///
/// Killed while it puts, its item is there or is not; killed while it gets, the item is still there or is gone
/// with it. The others go on. An item that was put is lost in no other way.
///
/// # Examples
///
/// ```
/// use mp_queue::Queue;
///
/// let queue = Queue::new()?;
/// queue.put(&("one".to_owned(), 1))?;
/// queue.put(&("two".to_owned(), 2))?;
/// assert_eq!((queue.len(), queue.get()?), (2, ("one".to_owned(), 1)));
/// queue.close();
/// assert_eq!(queue.iter().count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Queue<T> {
    channel: Channel,
    item: PhantomData<fn(T) -> T>,
}

/// Python's name for a queue without extras: it has a [`Queue`]'s, all the same.
///
/// # Python
///
/// `multiprocessing.SimpleQueue`: no thread, and `put` is done when it returns. So it is with each queue here.
///
/// # Examples
///
/// ```
/// use mp_queue::SimpleQueue;
///
/// let queue = SimpleQueue::new()?;
/// queue.put(&"an item".to_owned())?;
/// assert!(!queue.is_empty());
/// assert_eq!(queue.get()?, "an item");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type SimpleQueue<T> = Queue<T>;

impl<T> Queue<T> {
    /// Makes a queue without a bound.
    ///
    /// Its memory follows the backlog up and down.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`] if there is no memory or no descriptor left.
    pub fn new() -> Result<Self, Error> {
        Channel::new().map(Self::over)
    }

    /// Makes a queue that holds this many items at most.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for zero; as [`Queue::new`] otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_queue::Queue;
    ///
    /// let queue = Queue::bounded(2)?;
    /// queue.put(&'a')?;
    /// queue.put(&'b')?;
    /// assert!(queue.is_full() && queue.try_put(&'c').is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "maxsize")]
    pub fn bounded(items: usize) -> Result<Self, Error> {
        Self::builder().capacity(items).build()
    }

    /// Starts to make a queue with other bounds.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_queue::Queue;
    ///
    /// let queue = Queue::builder().capacity(100).byte_capacity(1000).build()?;
    /// queue.put(&vec![0_u8; 900])?;
    /// assert!(queue.try_put(&vec![0_u8; 200]).unwrap_err().is_timeout());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> Builder<Self> {
        Builder::new()
    }

    pub(crate) fn over(channel: Channel) -> Self {
        Self { channel, item: PhantomData }
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The number of items, at one moment; others may change it in the next.
    #[must_use]
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.channel.len()
    }

    /// Says whether there was no item, at one moment.
    #[must_use]
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says whether there was no room, at one moment; never for a queue without a bound.
    #[must_use]
    #[doc(alias = "full")]
    pub fn is_full(&self) -> bool {
        self.channel.ring().is_full().unwrap_or(false)
    }

    /// The most items that it holds; `None` without a bound.
    #[must_use]
    pub fn capacity(&self) -> Option<usize> {
        self.channel.capacity().map(NonZero::get)
    }

    /// The most bytes that its items have together, as they are encoded; `None` without a bound.
    #[must_use]
    pub fn byte_capacity(&self) -> Option<usize> {
        self.channel.byte_capacity().map(NonZero::get)
    }

    /// How many bytes of memory the queue takes at this moment. They follow the backlog up and down.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] if the system refuses to tell.
    pub fn resident(&self) -> Result<u64, Error> {
        let what = "cannot ask about the memory of the queue";
        let resident = self.channel.ring().segment().resident();
        resident.map_err(|error| Error::shared(what, error))
    }

    /// Closes the queue, for everyone and for good: nothing is put any more.
    ///
    /// Whoever waits to put gets [`PutError::Closed`]. Whoever gets still gets what is there, and then
    /// [`GetError::Closed`]. To close it again changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_queue::Queue;
    ///
    /// let queue = Queue::new()?;
    /// queue.put(&1)?;
    /// queue.close();
    /// assert!(queue.put(&2).is_err());
    /// assert_eq!(queue.get()?, 1);
    /// assert!(queue.get().unwrap_err().is_closed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(&self) {
        self.channel.close();
    }

    /// Checks that the queue is closed; there is no thread to wait for.
    ///
    /// # Python
    ///
    /// `Queue.join_thread`, which waits until a background thread has sent what was put. Here that is so when `put` returns, so
    /// a process may always end, and be joined, with items of its in the queue. `cancel_join_thread`, which lets a process end without
    /// sending them, has nothing to do.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] before [`close`](Self::close), as in Python.
    pub fn join_thread(&self) -> Result<(), Error> {
        if self.is_closed() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::InvalidInput, "the queue is not closed"))
    }

    /// Does nothing: no process waits for others to read what it has put.
    pub fn cancel_join_thread(&self) {}

    /// Makes two ends, one to put and one to get, that notice when nobody has the other any more.
    ///
    /// Only ends count: a process with another handle on the queue may put without being noticed. So drop those.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`] if there is no descriptor left.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_queue::{GetError, Queue};
    ///
    /// let (sender, receiver) = Queue::new()?.split()?;
    /// sender.put(&1)?;
    /// drop(sender);
    /// assert_eq!(receiver.get()?, 1);
    /// assert!(matches!(receiver.get(), Err(GetError::Disconnected)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn split(self) -> Result<(Sender<T>, Receiver<T>), Error> {
        ends::split(self)
    }

    /// Says whether the queue is closed; there may be items left.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.channel.is_closed()
    }
}

impl<T: Serialize> Queue<T> {
    /// Puts an item; waits for room if the queue is bounded and full.
    ///
    /// # Errors
    ///
    /// [`PutError::Closed`], or [`PutError::Failed`] if the item does not serialize or there is no memory for it.
    /// Nothing was put then, and the queue goes on.
    pub fn put(&self, item: &T) -> Result<(), PutError> {
        self.put_until(item, Deadline::NEVER)
    }

    /// Puts an item if there is room.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] if there is none; as [`Queue::put`] otherwise.
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, item: &T) -> Result<(), PutError> {
        self.put_until(item, Deadline::NOW)
    }

    /// Puts an item; waits for room for some time.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] if there was none in time; as [`Queue::put`] otherwise.
    pub fn put_timeout(&self, item: &T, timeout: Duration) -> Result<(), PutError> {
        self.put_until(item, Deadline::after(timeout))
    }

    fn put_until(&self, item: &T, deadline: Deadline) -> Result<(), PutError> {
        mp_wire::encode_with(item, |bytes, fds| self.channel.put(&[bytes], fds, deadline))
            .map_err(|error| PutError::Failed(Error::wire("the item cannot be put", error)))?
    }
}

impl<T: DeserializeOwned> Queue<T> {
    /// Takes the first item; waits for one if there is none.
    ///
    /// # Errors
    ///
    /// [`GetError::Closed`] when the queue is closed and empty, or [`GetError::Failed`] if the item is not a `T`: that
    /// item is gone, and the next one can be taken.
    pub fn get(&self) -> Result<T, GetError> {
        self.get_until(Deadline::NEVER)
    }

    /// Takes the first item if there is one.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] if there is none; as [`Queue::get`] otherwise.
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_until(Deadline::NOW)
    }

    /// Takes the first item; waits for one for some time.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] if none came in time; as [`Queue::get`] otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_queue::Queue;
    /// use std::time::Duration;
    ///
    /// let queue = Queue::<u8>::new()?;
    /// assert!(queue.get_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
    /// # Ok::<(), mp_queue::Error>(())
    /// ```
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_until(Deadline::after(timeout))
    }

    fn get_until(&self, deadline: Deadline) -> Result<T, GetError> {
        self.get_nudged(deadline, Nudge::Ignore)
    }

    pub(crate) fn get_nudged(&self, deadline: Deadline, nudge: Nudge) -> Result<T, GetError> {
        let mut copied = Copied::default();
        let fds = self.channel.get_to(&mut copied, deadline, nudge, true)?;
        mp_wire::decode(copied.bytes(), &fds)
            .map_err(|error| GetError::Failed(Error::wire("the item cannot be decoded", error)))
    }

    /// Takes items until the queue is closed and empty.
    ///
    /// An item that does not decode ends the iteration too, as if it were the end; where that can happen, use
    /// [`Queue::results`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_queue::Queue;
    ///
    /// let queue = Queue::new()?;
    /// for number in 0..3 {
    ///     queue.put(&number)?;
    /// }
    /// queue.close();
    /// assert_eq!(queue.iter().collect::<Vec<i32>>(), [0, 1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { results: self.results() }
    }

    /// Takes items until the queue is closed and empty. An error is that of one item, and the iteration goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_queue::Queue;
    ///
    /// let queue = Queue::new()?;
    /// queue.put(&'a')?;
    /// queue.close();
    /// assert_eq!(queue.results().collect::<Result<String, _>>()?, "a");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn results(&self) -> Results<'_, T> {
        Results { queue: self, over: false }
    }
}

/// The items of a [`Queue`], until it is closed and empty; see [`Queue::iter`].
#[derive(Debug)]
#[must_use = "items are taken as the iterator is used"]
pub struct Iter<'q, T> {
    results: Results<'q, T>,
}

/// The items of a [`Queue`] and their errors, until it is closed and empty; see [`Queue::results`].
#[derive(Debug)]
#[must_use = "items are taken as the iterator is used"]
pub struct Results<'q, T> {
    queue: &'q Queue<T>,
    over: bool,
}

/// The items of a [`Queue`], until it is closed and empty, with the handle; as [`Queue::iter`].
#[derive(Debug)]
#[must_use = "items are taken as the iterator is used"]
pub struct IntoIter<T> {
    queue: Queue<T>,
    over: bool,
}

impl<T: DeserializeOwned> Iterator for Results<'_, T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over {
            match self.queue.get() {
                Ok(item) => return Some(Ok(item)),
                Err(GetError::Closed | GetError::Disconnected) => self.over = true,
                Err(GetError::Failed(error)) => {
                    // Of damaged memory there is no next item.
                    self.over = error.kind() == ErrorKind::Corrupt;
                    return Some(Err(error));
                }
                // There is no deadline.
                Err(GetError::Empty) => {}
            }
        }
        None
    }
}

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let item = self.results.next()?.ok();
        self.results.over |= item.is_none();
        item
    }
}

impl<T: DeserializeOwned> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.over {
            return None;
        }
        let item = self.queue.iter().next();
        self.over = item.is_none();
        item
    }
}

impl<T: DeserializeOwned> FusedIterator for Results<'_, T> {}
impl<T: DeserializeOwned> FusedIterator for Iter<'_, T> {}
impl<T: DeserializeOwned> FusedIterator for IntoIter<T> {}

impl<'q, T: DeserializeOwned> IntoIterator for &'q Queue<T> {
    type Item = T;
    type IntoIter = Iter<'q, T>;

    fn into_iter(self) -> Iter<'q, T> {
        self.iter()
    }
}

impl<T: DeserializeOwned> IntoIterator for Queue<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { queue: self, over: false }
    }
}

/// Ready when there is an item, or the queue is closed.
impl<T> Waitable for Queue<T> {
    fn source(&self) -> Source<'_> {
        self.channel.ring().source()
    }

    fn is_ready(&self) -> bool {
        self.channel.ring().is_ready()
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self::over(self.channel.clone())
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
