//! What can stop a call of a semaphore.

use std::error::Error as StdError;
use std::fmt;

use crate::robust::LockError;
use crate::{Error, ErrorKind};

/// Why a permit was not taken.
///
/// # Examples
///
/// ```
/// use mp_shared::{AcquireError, Semaphore};
/// use std::time::Duration;
///
/// let none = Semaphore::new(0)?;
/// assert_eq!(none.try_acquire().unwrap_err(), AcquireError::WouldBlock);
/// let late = none.acquire_timeout(Duration::from_millis(1));
/// assert_eq!(late.unwrap_err(), AcquireError::TimedOut);
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcquireError {
    /// No permit was free, and the call does not wait.
    WouldBlock,
    /// No permit became free until the time was up.
    TimedOut,
    /// This thread holds so many that the kernel would not give all of them back if it died.
    TooMany,
    /// This thread is in the middle of another call of the same semaphore, which a signal handler interrupted.
    Deadlock,
    /// The C library has registered no robust list for this thread, so that its death would go unnoticed.
    Unsupported,
}

/// Why a permit was not added.
///
/// # Examples
///
/// ```
/// use mp_shared::{BoundedSemaphore, ReleaseError};
///
/// let permits = BoundedSemaphore::new(2)?;
/// assert_eq!(permits.release(), Err(ReleaseError::TooMany));
/// assert_eq!(permits.value(), 2);
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReleaseError {
    /// There are as many permits as there may be, with those that are held.
    TooMany,
    /// This thread is in the middle of another call of the same semaphore, which a signal handler interrupted.
    Deadlock,
    /// The C library has registered no robust list for this thread, so that its death would go unnoticed.
    Unsupported,
}

const IN_A_CALL: &str = "this thread is in the middle of another call of the semaphore";
const UNSUPPORTED: &str = "the C library registers no robust list for this thread";

impl AcquireError {
    fn text(self) -> &'static str {
        match self {
            Self::WouldBlock => "no permit is free",
            Self::TimedOut => "no permit was free until the time was up",
            Self::TooMany => "this thread holds as many permits as a thread may hold",
            Self::Deadlock => IN_A_CALL,
            Self::Unsupported => UNSUPPORTED,
        }
    }
}

impl ReleaseError {
    fn text(self) -> &'static str {
        match self {
            Self::TooMany => "the semaphore has as many permits as it may have",
            Self::Deadlock => IN_A_CALL,
            Self::Unsupported => UNSUPPORTED,
        }
    }
}

impl From<LockError> for AcquireError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::TimedOut => Self::TimedOut,
            LockError::Deadlock => Self::Deadlock,
            LockError::TooMany => Self::TooMany,
            LockError::Unsupported => Self::Unsupported,
        }
    }
}

impl From<LockError> for ReleaseError {
    fn from(error: LockError) -> Self {
        match error {
            // A release has no deadline.
            LockError::TimedOut | LockError::Deadlock => Self::Deadlock,
            // Nor has its gate a limit.
            LockError::TooMany | LockError::Unsupported => Self::Unsupported,
        }
    }
}

impl From<AcquireError> for Error {
    fn from(error: AcquireError) -> Self {
        let kind = match error {
            AcquireError::WouldBlock => ErrorKind::WouldBlock,
            AcquireError::TimedOut => ErrorKind::TimedOut,
            AcquireError::TooMany => ErrorKind::Exhausted,
            AcquireError::Deadlock => ErrorKind::Deadlock,
            AcquireError::Unsupported => ErrorKind::Unsupported,
        };
        Self::new(kind, error.text())
    }
}

impl From<ReleaseError> for Error {
    fn from(error: ReleaseError) -> Self {
        let kind = match error {
            ReleaseError::TooMany => ErrorKind::OutOfBounds,
            ReleaseError::Deadlock => ErrorKind::Deadlock,
            ReleaseError::Unsupported => ErrorKind::Unsupported,
        };
        Self::new(kind, error.text())
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl StdError for AcquireError {}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl StdError for ReleaseError {}
