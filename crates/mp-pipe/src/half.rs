//! The two ends of a connection that goes one way.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use mp_wire::Deadline;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::link::Link;
use crate::{Iter, Payload, RecvError, Results, SendError};

/// The end that sends, of a connection that [`simplex`](crate::simplex) made.
///
/// A clone is the same end once more, in this process or another: the stream ends when the last is gone.
///
/// # Examples
///
/// ```
/// use std::thread;
///
/// let (sender, receiver) = mp_pipe::simplex::<u32>()?;
/// let other = sender.clone();
/// thread::spawn(move || other.send(&1));
/// thread::spawn(move || sender.send(&2));
/// assert_eq!(receiver.iter().sum::<u32>(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Sender<T> {
    pub(crate) link: Link,
    messages: PhantomData<fn(&T)>,
}

impl<T> Sender<T> {
    pub(crate) fn from_link(link: Link) -> Self {
        Self { link, messages: PhantomData }
    }

    /// Sends bytes as one message, without encoding them.
    ///
    /// # Errors
    ///
    /// As [`Connection::send_bytes`](crate::Connection::send_bytes).
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), SendError> {
        self.link.send_bytes(bytes, Deadline::NEVER)
    }

    /// Sends bytes as one message if there is room for it now.
    ///
    /// # Errors
    ///
    /// As [`Connection::try_send`](crate::Connection::try_send).
    pub fn try_send_bytes(&self, bytes: &[u8]) -> Result<(), SendError> {
        self.link.send_bytes(bytes, Deadline::NOW)
    }

    /// Sends bytes as one message, and waits for room for so long at most.
    ///
    /// # Errors
    ///
    /// As [`Connection::send_timeout`](crate::Connection::send_timeout).
    pub fn send_bytes_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<(), SendError> {
        self.link.send_bytes(bytes, Deadline::after(timeout))
    }

    /// Closes this handle; the stream ends when the last is closed. Dropping it does the same.
    pub fn close(self) {}
}

impl<T: Serialize> Sender<T> {
    /// Sends a message, and waits while the receiver has too many unread.
    ///
    /// # Errors
    ///
    /// As [`Connection::send`](crate::Connection::send).
    pub fn send(&self, message: &T) -> Result<(), SendError> {
        self.link.send(message, Deadline::NEVER)
    }

    /// Sends a message if there is room for it now.
    ///
    /// # Errors
    ///
    /// As [`Connection::try_send`](crate::Connection::try_send).
    pub fn try_send(&self, message: &T) -> Result<(), SendError> {
        self.link.send(message, Deadline::NOW)
    }

    /// Sends a message, and waits for room for so long at most.
    ///
    /// # Errors
    ///
    /// As [`Connection::send_timeout`](crate::Connection::send_timeout).
    pub fn send_timeout(&self, message: &T, timeout: Duration) -> Result<(), SendError> {
        self.link.send(message, Deadline::after(timeout))
    }
}

/// The end that receives, of a connection that [`simplex`](crate::simplex) made.
///
/// A clone is the same end once more, in this process or another: each message is received by one of them.
///
/// # Examples
///
/// ```
/// let (sender, receiver) = mp_pipe::simplex::<String>()?;
/// sender.send(&"last words".to_owned())?;
/// drop(sender);
/// for message in &receiver {
///     assert_eq!(message, "last words");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Receiver<T> {
    pub(crate) link: Link,
    messages: PhantomData<fn() -> T>,
}

impl<T> Receiver<T> {
    pub(crate) fn from_link(link: Link) -> Self {
        Self { link, messages: PhantomData }
    }

    /// Sets the longest message that this end accepts; see
    /// [`Connection::max_message`](crate::Connection::max_message).
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.link.set_max(bytes);
        self
    }

    /// Receives one message as bytes, whatever they mean.
    ///
    /// # Errors
    ///
    /// As [`Connection::recv_bytes`](crate::Connection::recv_bytes).
    pub fn recv_bytes(&self) -> Result<Vec<u8>, RecvError> {
        self.link.recv_bytes(Deadline::NEVER)
    }

    /// Receives one message as bytes if there is one now.
    ///
    /// # Errors
    ///
    /// As [`Connection::try_recv`](crate::Connection::try_recv), but for decoding.
    pub fn try_recv_bytes(&self) -> Result<Vec<u8>, RecvError> {
        self.link.recv_bytes(Deadline::NOW)
    }

    /// Receives one message as bytes, and waits for it for so long at most.
    ///
    /// # Errors
    ///
    /// As [`Connection::recv_timeout`](crate::Connection::recv_timeout), but for decoding.
    pub fn recv_bytes_timeout(&self, timeout: Duration) -> Result<Vec<u8>, RecvError> {
        self.link.recv_bytes(Deadline::after(timeout))
    }

    /// Receives one message as bytes, and does not copy a large one out of the memory that it came in.
    ///
    /// # Errors
    ///
    /// As [`Connection::recv_payload`](crate::Connection::recv_payload).
    pub fn recv_payload(&self) -> Result<Payload, RecvError> {
        self.link.recv_payload(Deadline::NEVER)
    }

    /// Receives as [`recv_payload`](Self::recv_payload), and waits for so long at most.
    ///
    /// # Errors
    ///
    /// As [`Connection::recv_payload_timeout`](crate::Connection::recv_payload_timeout).
    pub fn recv_payload_timeout(&self, timeout: Duration) -> Result<Payload, RecvError> {
        self.link.recv_payload(Deadline::after(timeout))
    }

    /// Receives one message as bytes into a buffer, and gives its length.
    ///
    /// # Errors
    ///
    /// As [`Connection::recv_bytes_into`](crate::Connection::recv_bytes_into).
    pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvError> {
        self.link.recv_bytes_into(buffer, Deadline::NEVER)
    }

    /// Receives one message as bytes into a buffer, and waits for it for so long at most.
    ///
    /// # Errors
    ///
    /// As [`Connection::recv_bytes_into_timeout`](crate::Connection::recv_bytes_into_timeout).
    pub fn recv_bytes_into_timeout(
        &self,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, RecvError> {
        self.link.recv_bytes_into(buffer, Deadline::after(timeout))
    }

    /// Says whether a message or the end of the stream can be received now.
    ///
    /// # Errors
    ///
    /// The system refused the call.
    pub fn poll(&self) -> io::Result<bool> {
        self.link.poll(Deadline::NOW)
    }

    /// Waits until a message or the end of the stream can be received; `false` when the time was over first.
    ///
    /// # Errors
    ///
    /// The system refused the call.
    pub fn poll_timeout(&self, timeout: Duration) -> io::Result<bool> {
        self.link.poll(Deadline::after(timeout))
    }

    /// Closes this handle; senders see it when the last is closed. Dropping it does the same.
    pub fn close(self) {}
}

impl<T: DeserializeOwned> Receiver<T> {
    /// Receives a message, and waits until there is one or all senders are gone.
    ///
    /// # Errors
    ///
    /// As [`Connection::recv`](crate::Connection::recv).
    pub fn recv(&self) -> Result<T, RecvError> {
        self.link.recv(Deadline::NEVER)
    }

    /// Receives a message if there is one now.
    ///
    /// # Errors
    ///
    /// As [`Connection::try_recv`](crate::Connection::try_recv).
    pub fn try_recv(&self) -> Result<T, RecvError> {
        self.link.recv(Deadline::NOW)
    }

    /// Receives a message, and waits for it for so long at most.
    ///
    /// # Errors
    ///
    /// As [`Connection::recv_timeout`](crate::Connection::recv_timeout).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        self.link.recv(Deadline::after(timeout))
    }

    /// Receives until all senders are gone.
    ///
    /// A message that cannot be received ends the iteration too, as if it were the end; where that can happen, use
    /// [`Receiver::results`].
    pub fn iter(&self) -> Iter<'_, T> {
        Iter::new(&self.link)
    }

    /// Receives until the other end is closed. An error is that of one message, and the iteration goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = mp_pipe::simplex::<char>()?;
    /// sender.send(&'a')?;
    /// drop(sender);
    /// assert_eq!(receiver.results().collect::<Result<String, _>>()?, "a");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn results(&self) -> Results<'_, T> {
        Results::new(&self.link)
    }
}

impl<'a, T: DeserializeOwned> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

macro_rules! handle {
    ($name:ident) => {
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                Self::from_link(self.link.clone())
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("fd", &self.link.as_fd().as_raw_fd())
                    .finish_non_exhaustive()
            }
        }

        impl<T> AsFd for $name<T> {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.link.as_fd()
            }
        }
    };
}

handle!(Sender);
handle!(Receiver);
