//! An end that sends and receives, for tasks.

use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::AsyncLink;
use crate::{Connection, Payload, RecvError, SendError};

/// A [`Connection`] for tasks of `tokio`; [`Connection::into_async`] makes it.
///
/// Clones are the same end once more; tasks and threads, here and in other processes, may use them at the same time.
///
/// # Cancel safety
///
/// All calls are. A future of `recv` that is dropped has taken no message; a message that was there still is. One of `send` has
/// sent the message whole or not at all. Over TCP, where a message may be half on its way, the rest stays in the
/// connection and goes out with the next call of whatever kind, or with [`flush`](Self::flush).
///
/// # If a process dies
///
/// As with [`Connection`].
///
/// # Examples
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
/// # runtime.block_on(async {
/// let (here, there) = mp_pipe::pipe::<String>()?;
/// let (here, there) = (here.into_async()?, there.into_async()?);
/// let echo = tokio::spawn(async move {
///     while let Ok(text) = there.recv().await {
///         there.send(&text.to_uppercase()).await.expect("somebody receives");
///     }
/// });
/// here.send(&"hello".to_owned()).await?;
/// assert_eq!(here.recv().await?, "HELLO");
/// drop(here);
/// echo.await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AsyncConnection<S, R = S> {
    link: AsyncLink,
    messages: PhantomData<fn(&S) -> R>,
}

impl<S, R> Connection<S, R> {
    /// Makes this end one for tasks of the runtime that the caller is in.
    ///
    /// # Errors
    ///
    /// The system refuses to watch the descriptor.
    ///
    /// # Panics
    ///
    /// The caller is in no runtime, or in one without IO.
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn into_async(self) -> io::Result<AsyncConnection<S, R>> {
        Ok(AsyncConnection { link: AsyncLink::new(self.link)?, messages: PhantomData })
    }
}

impl<S, R> AsyncConnection<S, R> {
    /// Makes this end one for threads again.
    #[must_use]
    pub fn into_sync(self) -> Connection<S, R> {
        Connection::from_link(self.link.into_link())
    }

    /// A handle on this end for what does not wait, such as [`Connection::peer`] and [`Connection::shutdown`].
    #[must_use]
    pub fn as_sync(&self) -> Connection<S, R> {
        Connection::from_link(self.link.link().clone())
    }

    /// Sends bytes as one message.
    ///
    /// # Errors
    ///
    /// As [`Connection::send_bytes`].
    pub async fn send_bytes(&self, bytes: &[u8]) -> Result<(), SendError> {
        self.link.send_bytes(bytes).await
    }

    /// Receives one message as bytes.
    ///
    /// # Errors
    ///
    /// As [`Connection::recv_bytes`].
    pub async fn recv_bytes(&self) -> Result<Vec<u8>, RecvError> {
        self.link.recv_bytes().await
    }

    /// Receives one message as bytes, and does not copy a large one out of the memory that it came in.
    ///
    /// # Errors
    ///
    /// As [`Connection::recv_payload`].
    pub async fn recv_payload(&self) -> Result<Payload, RecvError> {
        self.link.recv_payload().await
    }

    /// Sends the rest of a message that a dropped future began; there is one over TCP alone.
    ///
    /// # Errors
    ///
    /// As [`Connection::flush`].
    pub async fn flush(&self) -> Result<(), SendError> {
        self.link.flush().await
    }

    /// Waits until a message or the end of the stream can be received.
    ///
    /// # Errors
    ///
    /// As [`Connection::poll`].
    pub async fn readable(&self) -> io::Result<()> {
        self.link.readable().await
    }
}

impl<S: Serialize, R> AsyncConnection<S, R> {
    /// Sends a message; it is encoded when this is called.
    ///
    /// # Errors
    ///
    /// As [`Connection::send`].
    pub fn send<'a>(
        &'a self,
        message: &S,
    ) -> impl Future<Output = Result<(), SendError>> + Send + use<'a, S, R> {
        self.link.send(message)
    }
}

impl<S, R: DeserializeOwned> AsyncConnection<S, R> {
    /// Receives a message.
    ///
    /// # Errors
    ///
    /// As [`Connection::recv`].
    pub async fn recv(&self) -> Result<R, RecvError> {
        self.link.recv().await
    }
}

impl<S, R> Clone for AsyncConnection<S, R> {
    fn clone(&self) -> Self {
        Self { link: self.link.clone(), messages: PhantomData }
    }
}

impl<S, R> AsFd for AsyncConnection<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.link().as_fd()
    }
}

impl<S, R> fmt::Debug for AsyncConnection<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fd = self.as_fd().as_raw_fd();
        f.debug_struct("AsyncConnection").field("fd", &fd).finish_non_exhaustive()
    }
}
