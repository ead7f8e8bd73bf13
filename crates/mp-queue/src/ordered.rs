//! Queues in another order than that of arrival.

use std::marker::PhantomData;
use std::time::Duration;

use mp_shared::shelf::{Order, Shelf};
use mp_wire::{Deadline, Fd};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::builder::{Bounds, Build, Builder};
use crate::copied::Copied;
use crate::error::{not_got, not_put};
use crate::handle::{handle, takes, travels};
use crate::{Error, ErrorKind, GetError, PutError};

/// A queue between processes that gives the item of the lowest priority first, and of those that are equal the oldest.
///
/// Clones are handles on the same queue; a handle can be an argument of a process and part of a message. It costs one descriptor
/// per process. An item is anything with serde's traits, but for descriptors: those travel in order of arrival alone, and so through a
/// [`Queue`](crate::Queue) or a [`JoinableQueue`](crate::JoinableQueue).
///
/// # Python
///
/// `queue.PriorityQueue`, which is for threads. The priority is a number beside the item and not a part of it, and those that are
/// equal keep their order.
///
/// # If a process dies
///
/// Killed at any instruction, it has put its item or has not, has taken one or has not. The others go on.
///
/// # Examples
///
/// ```
/// use mp_queue::PriorityQueue;
///
/// let queue = PriorityQueue::new()?;
/// queue.put(10, &"tidy up".to_owned())?;
/// queue.put(-1, &"put the fire out".to_owned())?;
/// queue.put(10, &"go home".to_owned())?;
/// assert_eq!(queue.get_with_priority()?, (-1, "put the fire out".to_owned()));
/// queue.close();
/// assert_eq!(queue.iter().collect::<Vec<_>>(), ["tidy up", "go home"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PriorityQueue<T> {
    shelf: Shelf,
    item: PhantomData<fn(T) -> T>,
}

/// A queue between processes that gives the newest item first.
///
/// Clones are handles on the same queue, as with [`PriorityQueue`], and what is said there of descriptors holds here.
///
/// # Python
///
/// `queue.LifoQueue`, which is for threads.
///
/// # If a process dies
///
/// As with [`PriorityQueue`].
///
/// # Examples
///
/// ```
/// use mp_queue::LifoQueue;
///
/// let queue = LifoQueue::new()?;
/// for number in 0..3 {
///     queue.put(&number)?;
/// }
/// assert_eq!(queue.drain().collect::<Vec<i32>>(), [2, 1, 0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LifoQueue<T> {
    shelf: Shelf,
    item: PhantomData<fn(T) -> T>,
}

handle!([T] PriorityQueue<T>, "PriorityQueue", shelf);
travels!([T] PriorityQueue<T>, shelf);
takes!(PriorityQueue);
handle!([T] LifoQueue<T>, "LifoQueue", shelf);
travels!([T] LifoQueue<T>, shelf);
takes!(LifoQueue);

fn put<T: Serialize>(
    shelf: &Shelf,
    priority: i64,
    item: &T,
    deadline: Deadline,
) -> Result<(), PutError> {
    mp_wire::encode_with(item, |bytes, fds: &[Fd]| {
        if !fds.is_empty() {
            let what = "an item with descriptors travels in order of arrival alone";
            return Err(PutError::Failed(Error::new(ErrorKind::Encode, what)));
        }
        shelf.put(priority, &[bytes], deadline).map_err(not_put)
    })
    .map_err(|error| PutError::Failed(Error::wire("the item cannot be put", error)))?
}

fn get<T: DeserializeOwned>(shelf: &Shelf, deadline: Deadline) -> Result<(i64, T), GetError> {
    let mut copied = Copied::default();
    let priority = shelf.get(&mut copied, deadline).map_err(not_got)?;
    let item = mp_wire::decode(copied.bytes(), &[])
        .map_err(|error| GetError::Failed(Error::wire("the item cannot be decoded", error)))?;
    Ok((priority, item))
}

impl<T: Serialize> PriorityQueue<T> {
    /// Puts an item; waits for room if the queue is bounded and full.
    ///
    /// # Errors
    ///
    /// [`PutError::Closed`], or [`PutError::Failed`] if the item does not serialize, has descriptors, or there is no memory for it.
    /// Nothing was put then, and the queue goes on.
    pub fn put(&self, priority: i64, item: &T) -> Result<(), PutError> {
        put(&self.shelf, priority, item, Deadline::NEVER)
    }

    /// Puts an item if there is room.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] if there is none; as [`put`](Self::put) otherwise.
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, priority: i64, item: &T) -> Result<(), PutError> {
        put(&self.shelf, priority, item, Deadline::NOW)
    }

    /// Puts an item; waits for room for some time.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] if there was none in time; as [`put`](Self::put) otherwise.
    pub fn put_timeout(&self, priority: i64, item: &T, timeout: Duration) -> Result<(), PutError> {
        put(&self.shelf, priority, item, Deadline::after(timeout))
    }
}

impl<T: DeserializeOwned> PriorityQueue<T> {
    fn get_until(&self, deadline: Deadline) -> Result<T, GetError> {
        get(&self.shelf, deadline).map(|(_, item)| item)
    }

    /// Takes the first item, with its priority; waits for one if there is none.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn get_with_priority(&self) -> Result<(i64, T), GetError> {
        get(&self.shelf, Deadline::NEVER)
    }

    /// Takes the first item, with its priority, if there is one.
    ///
    /// # Errors
    ///
    /// As [`try_get`](Self::try_get).
    pub fn try_get_with_priority(&self) -> Result<(i64, T), GetError> {
        get(&self.shelf, Deadline::NOW)
    }

    /// Takes the first item, with its priority; waits for one for some time.
    ///
    /// # Errors
    ///
    /// As [`get_timeout`](Self::get_timeout).
    pub fn get_with_priority_timeout(&self, timeout: Duration) -> Result<(i64, T), GetError> {
        get(&self.shelf, Deadline::after(timeout))
    }
}

impl<T: Serialize> LifoQueue<T> {
    /// Puts an item; waits for room if the queue is bounded and full.
    ///
    /// # Errors
    ///
    /// As [`PriorityQueue::put`].
    pub fn put(&self, item: &T) -> Result<(), PutError> {
        put(&self.shelf, 0, item, Deadline::NEVER)
    }

    /// Puts an item if there is room.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] if there is none; as [`put`](Self::put) otherwise.
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, item: &T) -> Result<(), PutError> {
        put(&self.shelf, 0, item, Deadline::NOW)
    }

    /// Puts an item; waits for room for some time.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] if there was none in time; as [`put`](Self::put) otherwise.
    pub fn put_timeout(&self, item: &T, timeout: Duration) -> Result<(), PutError> {
        put(&self.shelf, 0, item, Deadline::after(timeout))
    }
}

impl<T: DeserializeOwned> LifoQueue<T> {
    fn get_until(&self, deadline: Deadline) -> Result<T, GetError> {
        get(&self.shelf, deadline).map(|(_, item)| item)
    }
}

macro_rules! made {
    ($type:ident, $order:expr) => {
        impl<T> $type<T> {
            /// Makes a queue without a bound.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::Exhausted`] if there is no memory or no descriptor left.
            pub fn new() -> Result<Self, Error> {
                Self::builder().build()
            }

            /// Makes a queue that holds this many items at most.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::InvalidInput`] for zero; as [`new`](Self::new) otherwise.
            #[doc(alias = "maxsize")]
            pub fn bounded(items: usize) -> Result<Self, Error> {
                Self::builder().capacity(items).build()
            }

            /// Starts to make a queue with other bounds.
            pub fn builder() -> Builder<Self> {
                Builder::new()
            }

            fn over(shelf: Shelf) -> Self {
                Self { shelf, item: PhantomData }
            }
        }

        impl<T> Build for $type<T> {
            fn build(bounds: Bounds) -> Result<Self, Error> {
                bounds.shelf($order).map(Self::over)
            }
        }

        impl<'de, T> Deserialize<'de> for $type<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let shelf = Shelf::deserialize(deserializer)?;
                if shelf.order() == $order {
                    return Ok(Self::over(shelf));
                }
                Err(de::Error::custom("the queue that was received has another order"))
            }
        }
    };
}

made!(PriorityQueue, Order::Priority);
made!(LifoQueue, Order::Lifo);
