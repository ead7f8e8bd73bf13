//! What can go wrong with a message.

use std::error::Error as StdError;
use std::{fmt, io};

/// An error of encoding, decoding, sending or receiving a message.
///
/// [`Error::kind`] says what happened in a form to act on; [`std::error::Error::source`] has the cause.
///
/// # Examples
///
/// ```
/// let error = mp_wire::decode::<String>(&[5, b'a'], &[]).unwrap_err();
/// assert_eq!(error.kind(), mp_wire::ErrorKind::Decode);
/// ```
pub struct Error {
    kind: ErrorKind,
    what: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The situations that a caller of this crate can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The value does not serialize.
    Encode,
    /// The bytes are not a value of the type asked for; only that message is concerned.
    Decode,
    /// The other side has closed its end or is dead: nothing more comes, nothing can be sent.
    Closed,
    /// The deadline passed first.
    TimedOut,
    /// The message has more bytes or descriptors than the limits allow. It was discarded.
    TooLarge,
    /// Descriptors were lost on the way, because this process has as many open as it may have.
    DescriptorsLost,
    /// What arrived is not a message of this library. It was discarded.
    Protocol,
    /// What another process wrote into memory that messages go through does not make sense.
    Corrupt,
    /// No memory, or no descriptor, is left for the message.
    Exhausted,
    /// The system refused the call for another reason; the source has it.
    Io,
}

impl Error {
    /// Makes an error, for transports of messages that are not of this crate.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), source: None }
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        what: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { kind, what: what.into(), source: Some(source.into()) }
    }

    /// Sorts an error of a system call by what a caller can do about it.
    #[must_use]
    pub fn from_io(what: &str, error: io::Error) -> Self {
        let kind = match error.raw_os_error() {
            Some(libc::EPIPE | libc::ECONNRESET | libc::ENOTCONN) => ErrorKind::Closed,
            Some(libc::ENOMEM | libc::ENOSPC | libc::EMFILE | libc::ENFILE) => ErrorKind::Exhausted,
            Some(libc::ENOBUFS | libc::ETOOMANYREFS | libc::EFBIG) => ErrorKind::Exhausted,
            _ => ErrorKind::Io,
        };
        Self::with_source(kind, what, error)
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.kind).field("what", &self.what);
        if let Some(source) = &self.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::Encode | ErrorKind::Decode | ErrorKind::Protocol | ErrorKind::Corrupt => {
                io::ErrorKind::InvalidData
            }
            ErrorKind::Closed => io::ErrorKind::BrokenPipe,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::TooLarge => io::ErrorKind::FileTooLarge,
            ErrorKind::Exhausted => io::ErrorKind::OutOfMemory,
            ErrorKind::DescriptorsLost | ErrorKind::Io => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
