//! Queues in the server.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use mp_wire::Deadline;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::blob::Blob;
use crate::lock::Kind;
use crate::server::queue::{GET, Got, LEN, PUT, Put, TRY_GET, TRY_PUT};
use crate::{Error, ErrorKind, Proxy};

/// A queue in the server of a manager, first in, first out, shared by all who have a clone.
///
/// [`Client::queue`](crate::Client::queue) and [`Client::queue_bounded`](crate::Client::queue_bounded) make one. Who
/// waits is served in the order of asking. A queue in shared memory is much faster; this one is for where a manager
/// is there anyway.
///
/// # Python
///
/// `Manager().Queue()`
///
/// # If a process dies
///
/// What it has put stays. What it was about to get stays too, unless the item was on its way to it already. It leaves
/// the line if it waited.
///
/// # Examples
///
/// ```
/// use mp_manager::ErrorKind;
///
/// let manager = mp_manager::Manager::start()?;
/// let queue = manager.queue_bounded::<String>(1)?;
/// queue.put(&"first".to_owned())?;
/// assert_eq!(queue.try_put(&"second".to_owned()).unwrap_err().kind(), ErrorKind::Full);
/// assert_eq!(queue.get()?, "first");
/// assert_eq!(queue.try_get().unwrap_err().kind(), ErrorKind::Empty);
/// # Ok::<(), mp_manager::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Queue<T> {
    proxy: Proxy<Kind>,
    items: PhantomData<fn() -> T>,
}

impl<T> Queue<T> {
    pub(crate) fn new(proxy: Proxy<Kind>) -> Self {
        Self { proxy, items: PhantomData }
    }

    /// How many items there are.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`]; every method of this type has this error, also while it waits.
    #[doc(alias = "qsize")]
    pub fn len(&self) -> Result<usize, Error> {
        self.size().map(|(len, _)| len as usize)
    }

    /// Says whether there are no items.
    ///
    /// # Errors
    ///
    /// As [`Queue::len`].
    pub fn is_empty(&self) -> Result<bool, Error> {
        self.size().map(|(len, _)| len == 0)
    }

    /// Says whether there is no room.
    ///
    /// # Errors
    ///
    /// As [`Queue::len`].
    pub fn is_full(&self) -> Result<bool, Error> {
        self.size().map(|(_, full)| full)
    }

    fn size(&self) -> Result<(u64, bool), Error> {
        self.proxy.handle().call(LEN, &())
    }
}

impl<T: Serialize> Queue<T> {
    /// Puts an item at the end.
    ///
    /// # Blocking
    ///
    /// Waits until there is room.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`]
    pub fn put(&self, item: &T) -> Result<(), Error> {
        self.put_until(PUT, item, Deadline::NEVER)
    }

    /// Puts an item at the end if there is room now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Full`] and [`ErrorKind::Encode`]
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, item: &T) -> Result<(), Error> {
        self.put_until(TRY_PUT, item, Deadline::NEVER)
    }

    /// Puts an item at the end, and waits for room for so long at most.
    ///
    /// # Blocking
    ///
    /// For the time given, and that of asking the server.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Full`] and [`ErrorKind::Encode`]
    pub fn put_timeout(&self, item: &T, timeout: Duration) -> Result<(), Error> {
        self.put_until(PUT, item, Deadline::after(timeout))
    }

    fn put_until(&self, method: &str, item: &T, deadline: Deadline) -> Result<(), Error> {
        let put: Put = self.proxy.handle().call_until(method, &Blob::encode(item)?, deadline)?;
        let full = || Error::new(ErrorKind::Full, "the queue has no room for the item");
        put.then_some(()).ok_or_else(full)
    }
}

impl<T: DeserializeOwned> Queue<T> {
    /// Takes the first item.
    ///
    /// # Blocking
    ///
    /// Waits until there is one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] if the item is not of this type; it is taken all the same.
    pub fn get(&self) -> Result<T, Error> {
        self.get_until(GET, Deadline::NEVER)
    }

    /// Takes the first item if there is one now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Empty`], and as [`Queue::get`].
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<T, Error> {
        self.get_until(TRY_GET, Deadline::NEVER)
    }

    /// Takes the first item, and waits for it for so long at most.
    ///
    /// # Blocking
    ///
    /// For the time given, and that of asking the server.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Empty`], and as [`Queue::get`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, Error> {
        self.get_until(GET, Deadline::after(timeout))
    }

    fn get_until(&self, method: &str, deadline: Deadline) -> Result<T, Error> {
        let got: Got = self.proxy.handle().call_until(method, &(), deadline)?;
        let empty = || Error::new(ErrorKind::Empty, "the queue has no item");
        got.ok_or_else(empty)?.decode()
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self::new(self.proxy.clone())
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Queue").field(&self.proxy).finish()
    }
}
