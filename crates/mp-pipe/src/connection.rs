//! An end that sends and receives.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use mp_wire::Deadline;
use nix::sys::socket::{SockType, UnixAddr, getpeername, getsockopt, sockopt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::link::Link;
use crate::{Iter, Peer, RecvError, Results, SendError};

/// One end of a connection, which sends messages of type `S` and receives messages of type `R`.
///
/// [`pipe`](crate::pipe) and [`Connection::pair`] make the two ends. An end can be an argument of a process and part
/// of a message. A clone is the same end once more: any number of threads and processes may use clones at the same
/// time, each message is received by one of them, and the end is closed when the last is gone.
///
/// # Python
///
/// `multiprocessing.connection.Connection`. One end may have many users here, and a message that cannot be decoded or
/// is too long does not end the connection.
///
/// # If a process dies
///
/// A message that it was sending arrives whole or not at all. The other end receives what was sent, then the end of the
/// stream.
///
/// # Examples
///
/// ```
/// let (here, there) = mp_pipe::pipe::<Vec<u32>>()?;
/// here.send(&vec![1, 2, 3])?;
/// assert_eq!(there.recv()?, [1, 2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Connection<S, R = S> {
    pub(crate) link: Link,
    messages: PhantomData<fn(&S) -> R>,
}

impl<S, R> Connection<S, R> {
    /// Makes a connection: what one end sends the other receives, `S` one way and `R` the other.
    ///
    /// # Errors
    ///
    /// The process has as many descriptors open as it may have.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pipe::Connection;
    ///
    /// let (client, server) = Connection::<String, usize>::pair()?;
    /// client.send(&"four".to_owned())?;
    /// server.send(&server.recv()?.len())?;
    /// assert_eq!(client.recv()?, 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pair() -> io::Result<(Self, Connection<R, S>)> {
        let (a, b) = Link::pair()?;
        Ok((Self::from_link(a), Connection::from_link(b)))
    }

    pub(crate) fn from_link(link: Link) -> Self {
        Self { link, messages: PhantomData }
    }

    /// Sets the longest message, in bytes of its encoded form, that this end accepts; it goes along when the end
    /// travels.
    ///
    /// A longer one is discarded when it is received, with the error [`RecvError::TooLarge`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pipe::RecvError;
    ///
    /// let (here, there) = mp_pipe::pipe::<String>()?;
    /// let there = there.max_message(100);
    /// here.send(&"x".repeat(1000))?;
    /// here.send(&"short".to_owned())?;
    /// assert!(matches!(there.recv(), Err(RecvError::TooLarge(_))));
    /// assert_eq!(there.recv()?, "short");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.link.set_max(bytes);
        self
    }

    /// Says whether a message or the end of the stream can be received now.
    ///
    /// # Errors
    ///
    /// The system refused the call.
    ///
    /// # Examples
    ///
    /// ```
    /// let (here, there) = mp_pipe::pipe::<u8>()?;
    /// assert!(!there.poll()?);
    /// here.send(&1)?;
    /// assert!(there.poll()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// Sends the rest of a message that [`SendError::Unfinished`] speaks of; there is one over TCP alone.
    ///
    /// # Blocking
    ///
    /// As [`Connection::send`].
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`], [`SendError::Failed`].
    pub fn flush(&self) -> Result<(), SendError> {
        self.link.flush(Deadline::NEVER)
    }

    /// Sends the rest of a message, and waits for room for so long at most.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] if there was no room in time; the rest is kept. Else as [`Connection::flush`].
    pub fn flush_timeout(&self, timeout: Duration) -> Result<(), SendError> {
        self.link.flush(Deadline::after(timeout))
    }

    /// Says who was at the other end when the connection was made.
    ///
    /// # Errors
    ///
    /// The system refused the call.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pipe::Peer;
    ///
    /// let (here, there) = mp_pipe::pipe::<u8>()?;
    /// let Peer::Process { pid, .. } = here.peer()? else { panic!() };
    /// assert_eq!(pid, std::process::id());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "last_accepted")]
    pub fn peer(&self) -> io::Result<Peer> {
        self.link.peer()
    }

    /// Ends one direction, or both, for all handles of this end.
    ///
    /// After [`Shutdown::Write`] nothing more is sent: the other end receives what was sent, then
    /// [`RecvError::Closed`], and can still answer. After [`Shutdown::Read`] what was not received is lost, and whoever sends at the
    /// other end gets [`SendError::Closed`]. Over TCP the rest of a message that a call began is sent before.
    ///
    /// # Errors
    ///
    /// The system refused the call.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pipe::{RecvError, SendError};
    /// use std::net::Shutdown;
    ///
    /// let (here, there) = mp_pipe::pipe::<u32>()?;
    /// here.send(&20)?;
    /// here.send(&22)?;
    /// here.shutdown(Shutdown::Write)?;
    /// assert!(matches!(here.send(&0), Err(SendError::Closed)));
    /// // Adds up all there is, and answers.
    /// there.send(&there.iter().sum())?;
    /// assert_eq!(here.recv()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "half close")]
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.link.shutdown(how)
    }

    /// Closes this handle; the end is closed with its last handle.
    ///
    /// Dropping it does the same. What is closed cannot be used any more:
    ///
    /// ```compile_fail
    /// let (here, there) = mp_pipe::pipe::<u8>()?;
    /// here.close();
    /// here.send(&1)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(self) {}
}

impl<S: Serialize, R> Connection<S, R> {
    /// Sends a message.
    ///
    /// # Blocking
    ///
    /// Returns when the message is in shared memory or with the kernel, and waits while the other side has too many
    /// unread. If nobody receives them it waits until the other end is closed; in particular if both ends only send: then
    /// both wait for ever, whatever the length of the messages. A form with a timeout does not.
    ///
    /// # If a process dies
    ///
    /// If it was the last that had the other end, the error is [`SendError::Closed`], also while waiting. If it left
    /// messages unread, up to 64 more may be accepted before that is noticed.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`], [`SendError::Encode`], [`SendError::Failed`]. In all cases nothing was sent.
    pub fn send(&self, message: &S) -> Result<(), SendError> {
        self.link.send(message, Deadline::NEVER)
    }

    /// Sends a message if there is room for it now.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] if not; else as [`Connection::send`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pipe::SendError;
    ///
    /// let (here, _there) = mp_pipe::pipe::<u8>()?;
    /// while here.try_send(&1).is_ok() {}
    /// assert!(matches!(here.try_send(&2), Err(SendError::Full)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_send(&self, message: &S) -> Result<(), SendError> {
        self.link.send(message, Deadline::NOW)
    }

    /// Sends a message, and waits for room for so long at most.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] if there was no room in time; else as [`Connection::send`].
    pub fn send_timeout(&self, message: &S, timeout: Duration) -> Result<(), SendError> {
        self.link.send(message, Deadline::after(timeout))
    }
}

impl<S, R: DeserializeOwned> Connection<S, R> {
    /// Receives a message.
    ///
    /// # Blocking
    ///
    /// Waits until there is one, or until the other end is closed.
    ///
    /// # If a process dies
    ///
    /// If it was the last that had the other end, messages that it sent are received first, then the error is
    /// [`RecvError::Closed`].
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`]; [`RecvError::Decode`], [`RecvError::TooLarge`] and [`RecvError::Failed`] concern one
    /// message, and the next can be received.
    pub fn recv(&self) -> Result<R, RecvError> {
        self.link.recv(Deadline::NEVER)
    }

    /// Receives a message if there is one now.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`] if not; else as [`Connection::recv`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pipe::RecvError;
    ///
    /// let (here, there) = mp_pipe::pipe::<u8>()?;
    /// assert!(matches!(there.try_recv(), Err(RecvError::Empty)));
    /// here.send(&1)?;
    /// assert_eq!(there.try_recv()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_recv(&self) -> Result<R, RecvError> {
        self.link.recv(Deadline::NOW)
    }

    /// Receives a message, and waits for it for so long at most.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`] if none came in time; else as [`Connection::recv`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pipe::RecvError;
    /// use std::time::Duration;
    ///
    /// let (_here, there) = mp_pipe::pipe::<u8>()?;
    /// let result = there.recv_timeout(Duration::from_millis(1));
    /// assert!(matches!(result, Err(RecvError::Empty)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn recv_timeout(&self, timeout: Duration) -> Result<R, RecvError> {
        self.link.recv(Deadline::after(timeout))
    }

    /// Receives until the other end is closed.
    ///
    /// A message that cannot be received ends the iteration too, as if it were the end; where that can happen, use
    /// [`Connection::results`].
    ///
    /// # Examples
    ///
    /// ```
    /// let (here, there) = mp_pipe::pipe::<u32>()?;
    /// for number in 1..=3 {
    ///     here.send(&number)?;
    /// }
    /// drop(here);
    /// assert_eq!(there.iter().sum::<u32>(), 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&self) -> Iter<'_, R> {
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
    pub fn results(&self) -> Results<'_, R> {
        Results::new(&self.link)
    }
}

impl<'a, S, R: DeserializeOwned> IntoIterator for &'a Connection<S, R> {
    type Item = R;
    type IntoIter = Iter<'a, R>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<S, R> Clone for Connection<S, R> {
    fn clone(&self) -> Self {
        Self::from_link(self.link.clone())
    }
}

impl<S, R> fmt::Debug for Connection<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("fd", &self.link.as_fd().as_raw_fd())
            .finish_non_exhaustive()
    }
}

impl<S, R> AsFd for Connection<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

/// Takes a connected UNIX socket of type `SOCK_SEQPACKET` for a connection; anything else is an error.
impl<S, R> TryFrom<OwnedFd> for Connection<S, R> {
    type Error = io::Error;

    fn try_from(fd: OwnedFd) -> io::Result<Self> {
        if getsockopt(&fd, sockopt::SockType)? != SockType::SeqPacket {
            let what = "the socket is not of type SOCK_SEQPACKET";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        getpeername::<UnixAddr>(fd.as_raw_fd())?;
        Ok(Self::from_link(Link::new(fd)))
    }
}

/// Takes the socket out; duplicates it if clones share it. An error if messages have come that are in shared memory alone.
impl<S, R> TryFrom<Connection<S, R>> for OwnedFd {
    type Error = io::Error;

    fn try_from(connection: Connection<S, R>) -> io::Result<Self> {
        connection.link.into_socket()
    }
}
