//! Why a wait at a barrier did not end with all going on.

use std::fmt;

use crate::{Error, ErrorKind};

/// Why a wait at a [`Barrier`](crate::Barrier) did not end with all going on.
///
/// # Python
///
/// `threading.BrokenBarrierError` is [`Broken`](Self::Broken) and [`TimedOut`](Self::TimedOut).
///
/// # Examples
///
/// ```
/// use mp_shared::{Barrier, BarrierError};
///
/// let barrier = Barrier::new(2)?;
/// barrier.abort()?;
/// assert_eq!(barrier.wait(), Err(BarrierError::Broken));
/// assert_eq!(BarrierError::Broken.to_string(), "the barrier is broken");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "BrokenBarrierError")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BarrierError {
    /// Another party died, timed out or panicked, or somebody aborted or reset the barrier.
    Broken,
    /// The time was up before all had come: this party has broken the barrier for all.
    TimedOut,
    /// No more threads can [register](crate::Barrier::register): more than twice as many as it waits for take part already.
    Full,
    /// The calling thread does not hold this [`Party`](crate::Party): it is a copy in a forked child.
    Unregistered,
    /// The calling thread holds too many locks.
    TooMany,
    /// This C library lacks what robust locks need.
    Unsupported,
}

impl fmt::Display for BarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken => "the barrier is broken",
            Self::TimedOut => "the time was up before all parties had come",
            Self::Full => "more threads take part than the barrier has room for",
            Self::Unregistered => "the calling thread does not hold this party",
            Self::TooMany => "the calling thread holds too many locks",
            Self::Unsupported => "the C library registers no robust list",
        })
    }
}

impl std::error::Error for BarrierError {}

impl From<BarrierError> for Error {
    fn from(error: BarrierError) -> Self {
        let kind = match error {
            BarrierError::Broken => ErrorKind::Poisoned,
            BarrierError::TimedOut => ErrorKind::TimedOut,
            BarrierError::Full | BarrierError::TooMany => ErrorKind::Exhausted,
            BarrierError::Unregistered => ErrorKind::InvalidInput,
            BarrierError::Unsupported => ErrorKind::Unsupported,
        };
        Self::with_source(kind, "the barrier was not passed", error)
    }
}
