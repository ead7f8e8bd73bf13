//! What becomes of a message that is not simply sent or received.

use std::error::Error;
use std::{fmt, io};

use mp_wire::ErrorKind;

/// Says why a message was not sent. Nothing of it was, but for [`SendError::Unfinished`].
///
/// # Examples
///
/// ```
/// use mp_pipe::{SendError, simplex};
///
/// let (sender, receiver) = simplex::<u8>()?;
/// drop(receiver);
/// assert!(matches!(sender.send(&1), Err(SendError::Closed)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// The other end is closed, or the last process that had it is dead.
    Closed,
    /// There was no room: not now for `try_send`, not in time for `send_timeout`.
    Full,
    /// Over TCP: a part of the message is with the kernel when the time is over. Do not send it again: the rest is kept,
    /// and goes out in [`Connection::flush`](crate::Connection::flush), and before anything else when this end sends,
    /// or while it waits to receive.
    Unfinished,
    /// The value does not serialize, or has a handle, and the connection is over TCP.
    Encode(mp_wire::Error),
    /// Memory or descriptors ran out, or the system refused; [`mp_wire::Error::kind`] tells them apart.
    Failed(mp_wire::Error),
}

impl SendError {
    pub(crate) fn from_wire(error: mp_wire::Error) -> Self {
        match error.kind() {
            ErrorKind::Closed => Self::Closed,
            ErrorKind::TimedOut => Self::Full,
            ErrorKind::Encode => Self::Encode(error),
            _ => Self::Failed(error),
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the other end of the connection is closed",
            Self::Full => "the connection has no room for the message",
            Self::Unfinished => "the connection has no room yet for the rest of the message",
            Self::Encode(_) => "the message cannot be encoded",
            Self::Failed(_) => "the message cannot be sent",
        })
    }
}

impl Error for SendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Closed | Self::Full | Self::Unfinished => None,
            Self::Encode(error) | Self::Failed(error) => Some(error),
        }
    }
}

impl From<SendError> for io::Error {
    fn from(error: SendError) -> Self {
        let kind = match &error {
            SendError::Closed => io::ErrorKind::BrokenPipe,
            SendError::Full | SendError::Unfinished => io::ErrorKind::TimedOut,
            SendError::Encode(_) => io::ErrorKind::InvalidData,
            SendError::Failed(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Says why no message was received.
///
/// # Examples
///
/// ```
/// use mp_pipe::{RecvError, simplex};
///
/// let (sender, receiver) = simplex::<u8>()?;
/// assert!(matches!(receiver.try_recv(), Err(RecvError::Empty)));
///
/// sender.send_bytes(b"not a number")?;
/// sender.send(&7)?;
/// drop(sender);
/// assert!(matches!(receiver.recv(), Err(RecvError::Decode(_))));
/// assert_eq!(receiver.recv()?, 7);
/// assert!(matches!(receiver.recv(), Err(RecvError::Closed)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum RecvError {
    /// The other end is closed, or the last process that had it is dead, and all messages have been received.
    Closed,
    /// There was no message: not now for `try_recv`, not in time for `recv_timeout`.
    Empty,
    /// A message came that is not of this connection's type. It is gone; the next one can be received.
    Decode(mp_wire::Error),
    /// A message came that is longer than this end accepts. It is gone; the next one can be received.
    TooLarge(mp_wire::Error),
    /// A message came that is longer than the buffer. Here it is.
    BufferTooShort(Vec<u8>),
    /// A message was lost because memory or descriptors ran out, or the system refused; [`mp_wire::Error::kind`] tells
    /// them apart.
    Failed(mp_wire::Error),
}

impl RecvError {
    pub(crate) fn from_wire(error: mp_wire::Error) -> Self {
        match error.kind() {
            ErrorKind::Closed => Self::Closed,
            ErrorKind::TimedOut => Self::Empty,
            ErrorKind::Decode | ErrorKind::Protocol => Self::Decode(error),
            ErrorKind::TooLarge => Self::TooLarge(error),
            _ => Self::Failed(error),
        }
    }

    /// Says whether more messages may come all the same.
    pub(crate) fn is_of_one_message(&self) -> bool {
        match self {
            Self::Closed => false,
            Self::Failed(error) => !matches!(error.kind(), ErrorKind::Io | ErrorKind::Corrupt),
            _ => true,
        }
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the other end of the connection is closed"),
            Self::Empty => f.write_str("the connection has no message"),
            Self::Decode(_) => f.write_str("a message cannot be decoded"),
            Self::TooLarge(_) => f.write_str("a message is longer than this end accepts"),
            Self::BufferTooShort(message) => {
                write!(f, "a message of {} bytes is longer than the buffer", message.len())
            }
            Self::Failed(_) => f.write_str("a message cannot be received"),
        }
    }
}

impl Error for RecvError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Closed | Self::Empty | Self::BufferTooShort(_) => None,
            Self::Decode(error) | Self::TooLarge(error) | Self::Failed(error) => Some(error),
        }
    }
}

impl From<RecvError> for io::Error {
    fn from(error: RecvError) -> Self {
        let kind = match &error {
            RecvError::Closed => io::ErrorKind::UnexpectedEof,
            RecvError::Empty => io::ErrorKind::TimedOut,
            RecvError::Decode(_) => io::ErrorKind::InvalidData,
            RecvError::TooLarge(_) => io::ErrorKind::FileTooLarge,
            RecvError::BufferTooShort(_) => io::ErrorKind::InvalidInput,
            RecvError::Failed(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
