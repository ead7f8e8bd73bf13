//! What can become of a pool, and of a task.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use mp_process::Panic;

/// An error of making or ending a pool.
///
/// What becomes of a task is a [`TaskError`].
///
/// # Examples
///
/// ```
/// let error = mp_pool::Pool::new(0).unwrap_err();
/// assert_eq!(error.kind(), mp_pool::ErrorKind::InvalidInput);
/// ```
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    what: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The situations that a caller of a pool can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A size or a count that makes no sense, such as zero workers.
    InvalidInput,
    /// What was asked for cannot be had for a pool, such as the start method `fork`.
    Unsupported,
    /// The initializer's arguments do not serialize.
    Encode,
    /// A worker, its shared memory or a thread of the pool cannot be made.
    Start,
    /// The pool is still open: it cannot be joined before `close` or `terminate`.
    Open,
    /// The pool belongs to the process that this one was forked from.
    Foreign,
    /// The pool would be nested deeper than allowed, see [`Builder::max_depth`](crate::Builder::max_depth).
    TooDeep,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), source: None }
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        what: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Self { kind, what: what.into(), source: Some(Arc::new(source)) }
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

/// How a worker ended while it had a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Death {
    /// It exited with this code, for example by `std::process::exit` inside the task.
    Exited(i32),
    /// This signal killed it.
    Killed(i32),
    /// It is gone, and how cannot be told.
    Unknown,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Killed(signal) => write!(f, "was killed by signal {signal}"),
            Self::Unknown => f.write_str("is gone"),
        }
    }
}

/// Why a task has no result.
///
/// Only the task concerned fails, except where the variant says that the pool ended.
///
/// # Examples
///
/// ```
/// use mp_pool::{Pool, TaskError};
///
/// fn halve(x: u32) -> u32 {
///     assert!(x % 2 == 0, "{x} is odd");
///     x / 2
/// }
///
/// let pool = Pool::new(1)?;
/// assert_eq!(pool.apply(halve, (8,))?, 4);
/// match pool.apply(halve, (7,)) {
///     Err(TaskError::Panicked(panic)) => assert_eq!(panic.message(), "7 is odd"),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TaskError {
    /// The task panicked; the worker lives on.
    Panicked(Panic),
    /// The worker died with the task: a signal, an abort, an exit. Another worker stands in for it.
    #[non_exhaustive]
    Died {
        /// How it ended.
        death: Death,
    },
    /// The arguments or the result do not serialize, or no memory is left for them.
    Encode(Arc<mp_wire::Error>),
    /// The arguments did not decode in the worker, or the result did not decode here.
    Decode(Arc<mp_wire::Error>),
    /// The same as [`TaskError::Encode`] or [`TaskError::Decode`], in the worker: all that travels back is its text.
    #[non_exhaustive]
    Remote {
        /// What the worker could not do.
        message: String,
    },
    /// The function lies in a shared library, and so is not known to be in the same place in a worker.
    Function(Arc<dyn StdError + Send + Sync>),
    /// The message could not be handed to a worker: no memory or no descriptor is left.
    Transport(Arc<dyn StdError + Send + Sync>),
    /// The task was cancelled; if it was running, its worker was ended.
    Cancelled,
    /// The task took longer than its limit, and its worker was ended.
    TimeLimit,
    /// The memory of the task's worker went beyond its limit, and the worker was ended.
    #[non_exhaustive]
    MemoryLimit {
        /// How much was resident, in bytes.
        resident: u64,
    },
    /// The task used more processor time than its limit, and its worker was ended.
    CpuLimit,
    /// The callback of this result panicked.
    #[non_exhaustive]
    Callback {
        /// The message of the panic.
        message: String,
    },
    /// The initializer of a worker failed, which ended the pool.
    #[non_exhaustive]
    Initializer {
        /// Its error, or the message of its panic.
        message: String,
    },
    /// No worker could be started any more, which ended the pool.
    Start(Error),
    /// The pool was terminated or dropped before the task was done.
    Terminated,
    /// The pool is closed: it takes no new tasks.
    Closed,
    /// The result is not there yet. It can be asked for again.
    TimedOut,
    /// The result was taken out before.
    Taken,
    /// An argument of the call makes no sense, such as a chunk size of zero.
    InvalidInput(&'static str),
    /// The pool belongs to the process that this one was forked from.
    Foreign,
}

impl TaskError {
    /// Says whether the result was merely not there in time.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut)
    }

    /// Says whether the pool itself is broken: its initializer failed, or no worker can be started. Nothing else breaks one.
    #[must_use]
    #[doc(alias = "BrokenProcessPool")]
    pub fn is_broken_pool(&self) -> bool {
        matches!(self, Self::Initializer { .. } | Self::Start(_))
    }

    /// Says whether the task was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// Says whether the task itself failed, and not the pool around it: it panicked, its worker died with it, or it went
    /// beyond a limit.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::Panicked(_)
                | Self::Died { .. }
                | Self::TimeLimit
                | Self::MemoryLimit { .. }
                | Self::CpuLimit
        )
    }
}

impl TaskError {
    pub(crate) fn encode(error: mp_wire::Error) -> Self {
        Self::Encode(Arc::new(error))
    }

    pub(crate) fn decode(error: mp_wire::Error) -> Self {
        Self::Decode(Arc::new(error))
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panic) => write!(f, "the task {panic}"),
            Self::Died { death } => write!(f, "the worker that ran the task {death}"),
            Self::Encode(_) => f.write_str("the task or its result cannot be encoded"),
            Self::Decode(_) => f.write_str("the result of the task cannot be decoded"),
            Self::Remote { message } => write!(f, "the worker reports: {message}"),
            Self::Function(_) => f.write_str("the function cannot be run in a worker"),
            Self::Transport(_) => f.write_str("the task cannot be handed to a worker"),
            Self::Cancelled => f.write_str("the task was cancelled"),
            Self::TimeLimit => f.write_str("the task took longer than its limit"),
            Self::MemoryLimit { resident } => {
                write!(f, "the task went beyond its memory limit: {resident} bytes are resident")
            }
            Self::CpuLimit => f.write_str("the task used more processor time than its limit"),
            Self::Callback { message } => write!(f, "the callback panicked: {message}"),
            Self::Initializer { message } => write!(f, "the initializer failed: {message}"),
            Self::Start(_) => f.write_str("no worker can be started any more"),
            Self::Terminated => f.write_str("the pool was terminated before the task was done"),
            Self::Closed => f.write_str("the pool is closed and takes no new tasks"),
            Self::TimedOut => f.write_str("the result is not there yet"),
            Self::Taken => f.write_str("the result was taken out before"),
            Self::InvalidInput(what) => f.write_str(what),
            Self::Foreign => f.write_str("the pool belongs to another process"),
        }
    }
}

impl StdError for TaskError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Encode(error) | Self::Decode(error) => Some(error.as_ref()),
            Self::Function(error) | Self::Transport(error) => Some(error.as_ref()),
            Self::Start(error) => Some(error),
            _ => None,
        }
    }
}
