//! The two ends of a connection that goes one way, for tasks.

use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::AsyncLink;
use crate::{Payload, Receiver, RecvError, SendError, Sender};

/// A [`Sender`] for tasks of `tokio`; [`Sender::into_async`] makes it.
///
/// # Cancel safety
///
/// A future that is dropped has sent its message whole or not at all.
///
/// # Examples
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
/// # runtime.block_on(async {
/// let (sender, receiver) = mp_pipe::simplex::<u32>()?;
/// let (sender, receiver) = (sender.into_async()?, receiver.into_async()?);
/// tokio::spawn(async move {
///     for number in 0..1000 {
///         sender.send(&number).await.expect("somebody receives");
///     }
/// });
/// let mut sum = 0;
/// while let Ok(number) = receiver.recv().await {
///     sum += number;
/// }
/// assert_eq!(sum, 499_500);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AsyncSender<T> {
    link: AsyncLink,
    messages: PhantomData<fn(&T)>,
}

/// A [`Receiver`] for tasks of `tokio`; [`Receiver::into_async`] makes it.
///
/// # Cancel safety
///
/// A future that is dropped has taken no message.
pub struct AsyncReceiver<T> {
    link: AsyncLink,
    messages: PhantomData<fn() -> T>,
}

impl<T> AsyncSender<T> {
    /// Sends bytes as one message.
    ///
    /// # Errors
    ///
    /// As [`Sender::send_bytes`].
    pub async fn send_bytes(&self, bytes: &[u8]) -> Result<(), SendError> {
        self.link.send_bytes(bytes).await
    }
}

impl<T: Serialize> AsyncSender<T> {
    /// Sends a message; it is encoded when this is called.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub fn send<'a>(
        &'a self,
        message: &T,
    ) -> impl Future<Output = Result<(), SendError>> + Send + use<'a, T> {
        self.link.send(message)
    }
}

impl<T> AsyncReceiver<T> {
    /// Receives one message as bytes.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv_bytes`].
    pub async fn recv_bytes(&self) -> Result<Vec<u8>, RecvError> {
        self.link.recv_bytes().await
    }

    /// Receives one message as bytes, and does not copy a large one out of the memory that it came in.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv_payload`].
    pub async fn recv_payload(&self) -> Result<Payload, RecvError> {
        self.link.recv_payload().await
    }

    /// Waits until a message or the end of the stream can be received.
    ///
    /// # Errors
    ///
    /// As [`Receiver::poll`].
    pub async fn readable(&self) -> io::Result<()> {
        self.link.readable().await
    }
}

impl<T: DeserializeOwned> AsyncReceiver<T> {
    /// Receives a message.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv`].
    pub async fn recv(&self) -> Result<T, RecvError> {
        self.link.recv().await
    }
}

macro_rules! handle {
    ($name:ident, $sync:ident) => {
        impl<T> $sync<T> {
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
            pub fn into_async(self) -> io::Result<$name<T>> {
                Ok($name { link: AsyncLink::new(self.link)?, messages: PhantomData })
            }
        }

        impl<T> $name<T> {
            /// Makes this end one for threads again.
            #[must_use]
            pub fn into_sync(self) -> $sync<T> {
                $sync::from_link(self.link.into_link())
            }
        }

        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                Self { link: self.link.clone(), messages: PhantomData }
            }
        }

        impl<T> AsFd for $name<T> {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.link.link().as_fd()
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let fd = self.as_fd().as_raw_fd();
                f.debug_struct(stringify!($name)).field("fd", &fd).finish_non_exhaustive()
            }
        }
    };
}

handle!(AsyncSender, Sender);
handle!(AsyncReceiver, Receiver);
