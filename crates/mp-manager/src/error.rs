//! What can go wrong with a manager and its objects.

use std::error::Error as StdError;
use std::fmt;

use mp_process::Panic;
use serde::{Deserialize, Serialize};

/// An error of a manager, or of one operation on one of its objects.
///
/// [`Error::kind`] says what happened in a form to act on; [`std::error::Error::source`] has the cause.
///
/// # Examples
///
/// ```
/// use mp_manager::{ErrorKind, Manager};
///
/// let manager = Manager::start()?;
/// let list = manager.list::<u32>()?;
/// assert_eq!(list.set(3, &1).unwrap_err().kind(), ErrorKind::OutOfRange);
///
/// manager.shutdown()?;
/// assert_eq!(list.push(&1).unwrap_err().kind(), ErrorKind::Closed);
/// # Ok::<(), mp_manager::Error>(())
/// ```
pub struct Error {
    kind: ErrorKind,
    what: String,
    panic: Option<Box<Panic>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The situations that a caller of this crate can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The server process could not be started, or its set-up failed.
    Start,
    /// The server is gone: it was shut down or killed, or the process that had started it ended.
    Closed,
    /// The method or constructor panicked; [`Error::panic`] has its message. The server and the object live on.
    Panicked,
    /// The constructor or method is not registered, or not for this type.
    Unregistered,
    /// The server has no such object (any more).
    NoSuchObject,
    /// A value does not serialize.
    Encode,
    /// A value does not decode as the type asked for.
    Decode,
    /// There is no element at this index.
    OutOfRange,
    /// There was no room in the queue: not now, or not in time.
    Full,
    /// There was no item in the queue: not now, or not in time.
    Empty,
    /// The lock was not free in time.
    TimedOut,
    /// An argument makes no sense, such as a queue without room for anything.
    InvalidInput,
    /// No memory or no descriptor is left, here or in the server.
    Exhausted,
    /// The system refused a call for another reason; the source has it.
    Io,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), panic: None, source: None }
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        what: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { source: Some(source.into()), ..Self::new(kind, what) }
    }

    pub(crate) fn panicked(what: impl Into<String>, panic: Panic) -> Self {
        Self { panic: Some(Box::new(panic)), ..Self::new(ErrorKind::Panicked, what) }
    }

    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the server of the manager is gone")
    }

    /// An error of a value that was to be encoded or decoded.
    pub(crate) fn of_value(error: mp_wire::Error) -> Self {
        match error.kind() {
            mp_wire::ErrorKind::Encode => {
                Self::with_source(ErrorKind::Encode, "a value cannot be sent", error)
            }
            _ => Self::with_source(ErrorKind::Decode, "a value cannot be decoded", error),
        }
    }

    /// An error of talking to the server.
    pub(crate) fn of_wire(error: mp_wire::Error) -> Self {
        use mp_wire::ErrorKind as Wire;
        let kind = match error.kind() {
            Wire::Closed => return Self::closed(),
            Wire::Exhausted | Wire::DescriptorsLost | Wire::TooLarge => ErrorKind::Exhausted,
            _ => ErrorKind::Io,
        };
        Self::with_source(kind, "the server of the manager cannot be asked", error)
    }

    pub(crate) fn of_io(what: &str, error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::OutOfMemory => ErrorKind::Exhausted,
            _ if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => ErrorKind::Exhausted,
            _ => ErrorKind::Io,
        };
        Self::with_source(kind, what, error)
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The panic of the method, if that is what happened.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        self.panic.as_deref()
    }
}

const EMFILE: i32 = nix::errno::Errno::EMFILE as i32;
const ENFILE: i32 = nix::errno::Errno::ENFILE as i32;

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.kind).field("what", &self.what);
        if let Some(panic) = &self.panic {
            debug.field("panic", panic);
        }
        if let Some(source) = &self.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.panic {
            Some(panic) => write!(f, "{} {panic}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind {
            ErrorKind::Closed => Io::BrokenPipe,
            ErrorKind::NoSuchObject | ErrorKind::Unregistered => Io::NotFound,
            ErrorKind::Encode | ErrorKind::Decode => Io::InvalidData,
            ErrorKind::OutOfRange | ErrorKind::InvalidInput => Io::InvalidInput,
            ErrorKind::Full | ErrorKind::Empty | ErrorKind::TimedOut => Io::TimedOut,
            ErrorKind::Exhausted => Io::OutOfMemory,
            ErrorKind::Start | ErrorKind::Panicked | ErrorKind::Io => Io::Other,
        };
        Self::new(kind, error)
    }
}

/// An error as the server sends it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fault {
    kind: ErrorKind,
    what: String,
    panic: Option<Panic>,
    /// The causes, each as text.
    causes: Vec<String>,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let mut causes = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        Self { kind: error.kind, what: error.what, panic: error.panic.map(|panic| *panic), causes }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let source = (!fault.causes.is_empty()).then(|| fault.causes.join(": ").into());
        Self { kind: fault.kind, what: fault.what, panic: fault.panic.map(Box::new), source }
    }
}
