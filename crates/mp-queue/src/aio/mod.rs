//! Putting and getting in tasks.
//!
//! An item is put or taken in one step, in a poll of the future; in between the future has nothing but the item that it is to put,
//! in its encoded form. So one that is dropped has done all of its work or nothing of it.

mod sleeper;

use std::future::Future;
use std::time::Duration;

use mp_shared::Waitable;
use mp_wire::{Deadline, Message};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task;

use self::sleeper::{Changed, Side};
use crate::{Error, GetError, PutError, Queue, Receiver, Sender};

/// After so long whoever waits looks for what no word tells: that the other side was killed, that a lock was held for long.
const GLANCE: Duration = Duration::from_millis(250);

/// After so long one who has descriptors to put looks for room for them.
const ROOM: Duration = Duration::from_millis(5);

impl<T: Serialize> Queue<T> {
    /// Puts an item, in a task; it is encoded when this is called.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped has put its item or has not.
    ///
    /// # Errors
    ///
    /// As [`Queue::put`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let queue = mp_queue::Queue::bounded(1)?;
    /// let producer = queue.clone();
    /// tokio::spawn(async move {
    ///     for number in 0..100 {
    ///         producer.put_async(&number).await.expect("the queue is open");
    ///     }
    ///     producer.close();
    /// });
    /// let mut sum = 0;
    /// while let Ok(number) = queue.get_async().await {
    ///     sum += number;
    /// }
    /// assert_eq!(sum, 4950);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn put_async<'a>(
        &'a self,
        item: &T,
    ) -> impl Future<Output = Result<(), PutError>> + Send + use<'a, T> {
        let message = encode(item);
        async move { put(self, &message?, || false).await }
    }
}

impl<T: DeserializeOwned> Queue<T> {
    /// Takes the first item, in a task.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped has taken no item.
    ///
    /// # Errors
    ///
    /// As [`Queue::get`].
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub async fn get_async(&self) -> Result<T, GetError> {
        get(self, || self.try_get()).await
    }
}

impl<T: Serialize> Sender<T> {
    /// Puts an item, in a task; as [`Queue::put_async`].
    ///
    /// # Errors
    ///
    /// As [`Sender::put`].
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn put_async<'a>(
        &'a self,
        item: &T,
    ) -> impl Future<Output = Result<(), PutError>> + Send + use<'a, T> {
        let message = encode(item);
        async move { put(self.queue(), &message?, || self.is_disconnected()).await }
    }
}

impl<T: DeserializeOwned> Receiver<T> {
    /// Takes the first item, in a task; as [`Queue::get_async`].
    ///
    /// # Errors
    ///
    /// As [`Receiver::get`].
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub async fn get_async(&self) -> Result<T, GetError> {
        get(self.queue(), || self.try_get()).await
    }
}

fn encode<T: Serialize>(item: &T) -> Result<Message, PutError> {
    let message = mp_wire::encode(item);
    message.map_err(|error| PutError::Failed(Error::wire("the item cannot be put", error)))
}

async fn put<T>(
    queue: &Queue<T>,
    message: &Message,
    is_alone: impl Fn() -> bool,
) -> Result<(), PutError> {
    // One that never has to wait lets others run all the same.
    task::consume_budget().await;
    let glance = if message.fds.is_empty() { GLANCE } else { ROOM };
    loop {
        // First, so that no item that goes is missed.
        let changed = Changed::since(queue.channel().ring(), Side::Takes, glance);
        match queue.channel().put(&[&message.bytes], &message.fds, Deadline::NOW) {
            Err(PutError::Full) if is_alone() => return Err(PutError::Disconnected),
            Err(PutError::Full) => {}
            other => return other,
        }
        changed.await;
    }
}

async fn get<T>(
    queue: &Queue<T>,
    try_get: impl Fn() -> Result<T, GetError>,
) -> Result<T, GetError> {
    task::consume_budget().await;
    loop {
        let changed = Changed::since(queue.channel().ring(), Side::Puts, GLANCE);
        match try_get() {
            Err(GetError::Empty) => {}
            other => return other,
        }
        if queue.is_ready() {
            // Somebody else is about to take it, or not.
            task::yield_now().await;
        } else {
            changed.await;
        }
    }
}
