//! One point in time that bounds a whole call.

use std::time::Duration;

use crate::sys;

const NANOS: i64 = 1_000_000_000;

/// A point on `CLOCK_MONOTONIC` at which a call gives up, or never.
///
/// A timeout becomes a deadline once, where the call begins, and bounds all that the call does:
/// waiting for a lock, for data, and copying. It is never early.
///
/// # Examples
///
/// ```
/// use mp_wire::Deadline;
/// use std::time::Duration;
///
/// assert!(Deadline::NOW.is_past());
/// assert!(!Deadline::NEVER.is_past());
/// assert!(Deadline::after(Duration::from_secs(60)).remaining().unwrap() > Duration::from_secs(50));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Option<(i64, i64)>);

impl Deadline {
    /// No deadline: the call waits for as long as it takes.
    pub const NEVER: Self = Self(None);

    /// A deadline that is past already: the call does what it can without waiting.
    pub const NOW: Self = Self(Some((0, 0)));

    /// The deadline that is `timeout` from now; one too far to count is [`Deadline::NEVER`], and none is [`Deadline::NOW`].
    #[must_use]
    pub fn after(timeout: Duration) -> Self {
        if timeout.is_zero() {
            return Self::NOW;
        }
        let (seconds, nanos) = sys::now();
        let nanos = nanos + i64::from(timeout.subsec_nanos());
        let whole = i64::try_from(timeout.as_secs()).ok();
        let seconds =
            whole.and_then(|whole| seconds.checked_add(whole)?.checked_add(nanos / NANOS));
        Self(seconds.map(|seconds| (seconds, nanos % NANOS)))
    }

    /// The deadline of a timeout that may be absent; `None` is [`Deadline::NEVER`].
    #[must_use]
    pub fn from_timeout(timeout: Option<Duration>) -> Self {
        timeout.map_or(Self::NEVER, Self::after)
    }

    /// Says whether the deadline has been reached.
    #[must_use]
    pub fn is_past(self) -> bool {
        self.remaining() == Some(Duration::ZERO)
    }

    /// The time that is left: zero when past, `None` for [`Deadline::NEVER`].
    #[must_use]
    pub fn remaining(self) -> Option<Duration> {
        let at = self.0?;
        if at == (0, 0) {
            return Some(Duration::ZERO);
        }
        let now = sys::now();
        let nanos = i128::from(at.0 - now.0) * i128::from(NANOS) + i128::from(at.1 - now.1);
        let Ok(nanos) = u128::try_from(nanos) else { return Some(Duration::ZERO) };
        let seconds = u64::try_from(nanos / NANOS as u128).unwrap_or(u64::MAX);
        Some(Duration::new(seconds, (nanos % NANOS as u128) as u32))
    }

    /// The deadline in seconds and nanoseconds of `CLOCK_MONOTONIC`, as a futex call takes it.
    #[must_use]
    pub fn monotonic(self) -> Option<(i64, i64)> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries_nanoseconds_into_seconds() {
        let deadline = Deadline::after(Duration::from_nanos(999_999_999)).0.unwrap();
        assert!((0..NANOS).contains(&deadline.1));
    }

    #[test]
    fn saturates_to_never() {
        assert_eq!(Deadline::after(Duration::MAX), Deadline::NEVER);
        assert_eq!(Deadline::from_timeout(None), Deadline::NEVER);
        assert_eq!(Deadline::NEVER.remaining(), None);
    }

    #[test]
    fn zero_timeout_is_past_at_once() {
        assert_eq!(Deadline::after(Duration::ZERO), Deadline::NOW);
    }
}
