//! What can go wrong with shared memory.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::{fmt, io};

/// An error of making, attaching or using shared memory.
///
/// [`Error::kind`] says what happened in a form to act on; [`std::error::Error::source`] has the cause.
///
/// # Examples
///
/// ```
/// use mp_shared::{ErrorKind, segment::Segment};
///
/// let segment = Segment::create(1, 64)?;
/// assert_eq!(segment.atomic_u32(64).unwrap_err().kind(), ErrorKind::OutOfBounds);
/// # Ok::<(), mp_shared::Error>(())
/// ```
pub struct Error(Box<Inner>);

/// Kept elsewhere, so that a result with an error in it is small: most have none.
struct Inner {
    kind: ErrorKind,
    what: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The situations that a caller of this crate can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No memory, address space or descriptor is left. Nothing has changed.
    Exhausted,
    /// What another process wrote in the shared memory does not make sense.
    Corrupt,
    /// The memory is of another kind or version, not sealed, or belongs to another PID namespace.
    Incompatible,
    /// A range lies outside of the memory, or is not aligned as its type wants it.
    OutOfBounds,
    /// A text, or bytes, longer than the room that there is for it. Nothing has changed.
    TooLong,
    /// An argument that no memory could satisfy.
    InvalidInput,
    /// This C library or kernel lacks what robust locks need.
    Unsupported,
    /// There is no memory of this name.
    NotFound,
    /// There is memory of this name already.
    AlreadyExists,
    /// A lock is poisoned: somebody died while holding it.
    Poisoned,
    /// A lock is held, and the call does not wait.
    WouldBlock,
    /// A lock was held until the time was up.
    TimedOut,
    /// The calling thread holds the lock already, and would wait for itself.
    Deadlock,
    /// The system refused the call for another reason; the source has it.
    Io,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { kind, what: what.into(), source: None }))
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        what: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Box::new(Inner { kind, what: what.into(), source: Some(source.into()) }))
    }

    /// Sorts an error of a system call by what a caller can do about it.
    pub(crate) fn from_io(what: &'static str, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let kind = match error.raw_os_error() {
            Some(libc::ENOMEM | libc::ENOSPC | libc::EMFILE | libc::ENFILE | libc::EDQUOT) => {
                ErrorKind::Exhausted
            }
            Some(libc::EFBIG) => ErrorKind::Exhausted,
            Some(libc::ENOENT) => ErrorKind::NotFound,
            Some(libc::EEXIST) => ErrorKind::AlreadyExists,
            _ => ErrorKind::Io,
        };
        Self::with_source(kind, what, error)
    }

    pub(crate) fn corrupt(what: &'static str) -> Self {
        Self::new(ErrorKind::Corrupt, what)
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.0.kind).field("what", &self.0.what);
        if let Some(source) = &self.0.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Exhausted => io::ErrorKind::OutOfMemory,
            ErrorKind::Corrupt | ErrorKind::Incompatible => io::ErrorKind::InvalidData,
            ErrorKind::OutOfBounds | ErrorKind::TooLong | ErrorKind::InvalidInput => {
                io::ErrorKind::InvalidInput
            }
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::AlreadyExists => io::ErrorKind::AlreadyExists,
            ErrorKind::WouldBlock => io::ErrorKind::WouldBlock,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::Poisoned | ErrorKind::Deadlock | ErrorKind::Io => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
