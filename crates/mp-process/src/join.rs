//! Why joining a process gives no value.

use std::error::Error as StdError;
use std::fmt;

use crate::{ExitStatus, Panic};

/// Says why a process has no value to give: it panicked, exited, was killed, or the value did not travel.
///
/// # Examples
///
/// ```
/// use mp_process::{JoinErrorKind, Process};
///
/// fn check(number: u32) -> u32 {
///     match number {
///         0 => panic!("zero"),
///         1 => std::process::exit(3),
///         other => other,
///     }
/// }
///
/// let join = |number: u32| Process::new(check, (number,)).start().expect("it starts").join();
/// assert!(matches!(join(0).unwrap_err().kind(), JoinErrorKind::Panicked(panic) if panic.message() == "zero"));
/// assert!(matches!(join(1).unwrap_err().kind(), JoinErrorKind::Exited { code: 3 }));
/// assert_eq!(join(2)?, 2);
/// # Ok::<(), mp_process::JoinError>(())
/// ```
#[derive(Debug)]
pub struct JoinError {
    name: String,
    kind: JoinErrorKind,
    status: ExitStatus,
    memory: bool,
}

/// The ways in which a process ends without a value.
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinErrorKind {
    /// The function panicked.
    Panicked(Panic),
    /// The process ended before the function returned, by `std::process::exit` or the like, also with code 0.
    Exited {
        /// The code that it ended with.
        code: i32,
    },
    /// A signal ended the process.
    Killed {
        /// The number of the signal.
        signal: i32,
    },
    /// The function called too deep, in the thread that it began in. The signal that ended the process is `SIGSEGV`.
    ///
    /// In another thread it is [`Killed`](Self::Killed) by that signal.
    StackOverflow,
    /// The function did not run: its arguments did not decode in the child.
    Arguments(String),
    /// The function returned, but its value did not serialize, or there was no memory to send it.
    Encode(String),
    /// The function returned, but its value did not decode here.
    Decode(mp_wire::Error),
    /// The child ran another build of the program, and so refused the function.
    Stranger,
    /// The process ended without a value, and nobody can tell how.
    Unknown,
    /// The value was given by an earlier call.
    AlreadyJoined,
    /// This process is not the one that started the child, but a forked copy of it.
    NotParent,
}

impl JoinError {
    pub(crate) fn new(name: &str, kind: JoinErrorKind, status: ExitStatus) -> Self {
        Self { name: name.to_owned(), kind, status, memory: false }
    }

    /// The error of a process that ended without a word.
    pub(crate) fn silent(name: &str, status: ExitStatus, memory: bool) -> Self {
        let kind = match (status.code(), status.signal()) {
            (Some(code), _) => JoinErrorKind::Exited { code },
            (_, Some(signal)) => JoinErrorKind::Killed { signal },
            _ => JoinErrorKind::Unknown,
        };
        Self { memory, ..Self::new(name, kind, status) }
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &JoinErrorKind {
        &self.kind
    }

    /// The panic, if it was one.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        match &self.kind {
            JoinErrorKind::Panicked(panic) => Some(panic),
            _ => None,
        }
    }

    /// Says whether the process seems to have been killed because memory ran out.
    ///
    /// The kernel, or a container's limit, does so by `SIGKILL`, as does whoever kills a process by hand. It is said of one
    /// that this process did not kill, where the kernel counts such kills since.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        self.memory
    }

    /// How the process ended.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        self.status
    }

    /// The name of the process.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.kind {
            JoinErrorKind::Panicked(panic) => write!(f, "process `{name}` {panic}"),
            JoinErrorKind::Exited { code } => {
                write!(f, "process `{name}` exited with code {code} before its function returned")
            }
            JoinErrorKind::Killed { .. } => {
                write!(f, "process `{name}` was killed by {}", self.status)?;
                f.write_str(if self.memory { ", as it seems for want of memory" } else { "" })
            }
            JoinErrorKind::StackOverflow => write!(f, "process `{name}` overflowed its stack"),
            JoinErrorKind::Arguments(why) => {
                write!(f, "the arguments of process `{name}` did not decode there: {why}")
            }
            JoinErrorKind::Encode(why) => {
                write!(f, "the value of process `{name}` could not be sent: {why}")
            }
            JoinErrorKind::Decode(_) => write!(f, "the value of process `{name}` does not decode"),
            JoinErrorKind::Stranger => {
                write!(f, "process `{name}` ran another build of the program")
            }
            JoinErrorKind::Unknown => {
                write!(f, "process `{name}` ended without a value, nobody can tell how")
            }
            JoinErrorKind::AlreadyJoined => {
                write!(f, "the value of process `{name}` was given already")
            }
            JoinErrorKind::NotParent => {
                write!(f, "process `{name}` was started by another process than this one")
            }
        }
    }
}

impl StdError for JoinError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.kind {
            JoinErrorKind::Decode(error) => Some(error),
            _ => None,
        }
    }
}
