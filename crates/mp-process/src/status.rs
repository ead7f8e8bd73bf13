//! How a process ended.

use std::fmt;

/// How a process ended: with a code, by a signal, or in a way that nobody can tell any more.
///
/// # Python
///
/// [`ExitStatus::exit_code`] is `Process.exitcode`: the code, or the negated number of the signal.
///
/// # Examples
///
/// ```
/// use mp_process::Process;
///
/// let child = Process::new(|| -> () { std::process::exit(8) }, ()).start()?;
/// let status = child.wait();
/// assert_eq!(status.code(), Some(8));
/// assert_eq!(status.to_string(), "exit code 8");
/// assert!(!status.success());
/// # Ok::<(), mp_process::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExitStatus(End);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    Code(i32),
    Signal(i32),
    Unknown,
}

impl ExitStatus {
    /// Nobody can tell: something else in this program, or a setting of it, took the status away.
    pub(crate) const UNKNOWN: Self = Self(End::Unknown);

    pub(crate) fn from_code(code: i32) -> Self {
        Self(End::Code(code))
    }

    pub(crate) fn from_signal(signal: i32) -> Self {
        Self(End::Signal(signal))
    }

    /// Reads the form that `waitpid` gives.
    pub(crate) fn from_wait(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::from_signal(libc::WTERMSIG(status))
        } else {
            Self::from_code(libc::WEXITSTATUS(status))
        }
    }

    /// Says whether the process ended with code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self.code() == Some(0)
    }

    /// The code that the process ended with, 0 to 255.
    #[must_use]
    pub fn code(self) -> Option<i32> {
        match self.0 {
            End::Code(code) => Some(code),
            _ => None,
        }
    }

    /// The number of the signal that ended the process.
    #[must_use]
    pub fn signal(self) -> Option<i32> {
        match self.0 {
            End::Signal(signal) => Some(signal),
            _ => None,
        }
    }

    /// The code, or the negated number of the signal; `None` if nobody can tell.
    #[must_use]
    #[doc(alias = "exitcode")]
    pub fn exit_code(self) -> Option<i32> {
        self.code().or_else(|| self.signal().map(|signal| -signal))
    }

    /// Says that nobody can tell how the process ended, only that it did.
    ///
    /// It takes something unusual: the program ignores `SIGCHLD` or reaps children that are not its own, or the
    /// process that forks children was killed on a kernel before 6.15.
    #[must_use]
    pub fn is_unknown(self) -> bool {
        self.0 == End::Unknown
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            End::Code(code) => write!(f, "exit code {code}"),
            End::Signal(signal) => match nix::sys::signal::Signal::try_from(signal) {
                Ok(name) => write!(f, "signal {signal} ({name})"),
                Err(_) => write!(f, "signal {signal}"),
            },
            End::Unknown => f.write_str("unknown exit status"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_wait_statuses() {
        assert_eq!(ExitStatus::from_wait(300 % 256 * 256).exit_code(), Some(44));
        assert_eq!(ExitStatus::from_wait(9).exit_code(), Some(-9));
        assert_eq!(ExitStatus::from_wait(6 | 0x80).signal(), Some(6));
        assert_eq!(ExitStatus::UNKNOWN.exit_code(), None);
        assert_eq!(ExitStatus::from_signal(15).to_string(), "signal 15 (SIGTERM)");
        assert_eq!(ExitStatus::from_signal(40).to_string(), "signal 40");
    }
}
