//! What can go wrong when a process is started or signalled.

use std::error::Error as StdError;
use std::{fmt, io};

/// An error of starting, signalling or naming a process.
///
/// [`Error::kind`] says what happened in a form to act on; [`std::error::Error::source`] has the cause. What became
/// of a process that did start is a [`JoinError`](crate::JoinError).
///
/// # Examples
///
/// ```
/// use mp_process::{ErrorKind, Process, StartMethod};
///
/// // A closure that captures cannot go to another program image.
/// let text = String::from("captured");
/// let process = Process::fork(move || text.len()).start_method(StartMethod::Spawn);
/// assert_eq!(process.start().unwrap_err().kind(), ErrorKind::Captures);
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
    /// The arguments do not serialize. Nothing was started.
    Encode,
    /// The target is not part of the program itself but of a shared library.
    NotInProgram,
    /// A closure made for `fork` was to be started by another method.
    Captures,
    /// This process has more than one thread, so that a copy of it could hang.
    Threads,
    /// The program cannot be executed once more: it is not to be found, or may not be, or is another one by now.
    Program,
    /// The child cannot have what it was to have: a user, a directory, a limit. The function did not run.
    Setting,
    /// It can be set once, or before the first process only.
    AlreadySet,
    /// The function to preload panicked, ended its process, or left threads running.
    Preload,
    /// No process, descriptor or memory is left.
    Exhausted,
    /// The text is not the name of a start method.
    UnknownMethod,
    /// The system refused a call for another reason; the source has it.
    Io,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
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
    pub(crate) fn from_io(what: impl Into<String>, error: io::Error) -> Self {
        let kind = match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::ENOSPC) => {
                ErrorKind::Exhausted
            }
            _ => ErrorKind::Io,
        };
        Self::with_source(kind, what, error)
    }

    pub(crate) fn from_wire(what: impl Into<String>, error: mp_wire::Error) -> Self {
        let kind = match error.kind() {
            mp_wire::ErrorKind::Encode => ErrorKind::Encode,
            mp_wire::ErrorKind::Exhausted | mp_wire::ErrorKind::DescriptorsLost => {
                ErrorKind::Exhausted
            }
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
            ErrorKind::Encode | ErrorKind::UnknownMethod | ErrorKind::Setting => {
                io::ErrorKind::InvalidData
            }
            ErrorKind::NotInProgram | ErrorKind::Captures | ErrorKind::Threads => {
                io::ErrorKind::Unsupported
            }
            ErrorKind::Program => io::ErrorKind::NotFound,
            ErrorKind::AlreadySet => io::ErrorKind::AlreadyExists,
            ErrorKind::Exhausted => io::ErrorKind::OutOfMemory,
            ErrorKind::Preload | ErrorKind::Io => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// An error and its causes in one line, for where they become text.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
