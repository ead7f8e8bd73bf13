//! What comes of taking a lock: the guard, the guard with a warning, or none.

use std::error::Error as StdError;
use std::fmt;

use crate::{Error, ErrorKind};

/// What taking a lock gives: its guard, or why not.
pub type LockResult<G> = Result<G, LockError<G>>;

/// A lock is poisoned: somebody died while holding it. You hold it now.
///
/// Died means that its process was killed or ended, that its thread ended, or that it panicked. What the lock protects may be
/// half changed. This error has the guard in it, so that you can look, put it right, and call `clear_poison`.
///
/// It is that of [`std::sync::PoisonError`], for locks between processes.
///
/// # Examples
///
/// ```
/// use mp_shared::{LockError, Value};
///
/// let total = Value::new(1u64)?;
/// let clone = total.clone();
/// let thread = std::thread::spawn(move || {
///     let _guard = clone.lock().unwrap();
///     panic!("while holding the lock");
/// });
/// assert!(thread.join().is_err());
///
/// let Err(LockError::Poisoned(poison)) = total.lock() else { unreachable!() };
/// let mut guard = poison.into_inner();
/// *guard = 2;
/// total.clear_poison();
/// drop(guard);
/// assert_eq!(total.get()?, 2);
/// # Ok::<(), mp_shared::Error>(())
/// ```
pub struct PoisonError<G>(G);

impl<G> PoisonError<G> {
    pub(crate) fn new(guard: G) -> Self {
        Self(guard)
    }

    /// Takes the guard, and so what the lock protects as it is.
    #[must_use]
    pub fn into_inner(self) -> G {
        self.0
    }

    /// Looks at the guard.
    #[must_use]
    pub fn get_ref(&self) -> &G {
        &self.0
    }

    /// Looks at the guard, to change what the lock protects.
    #[must_use]
    pub fn get_mut(&mut self) -> &mut G {
        &mut self.0
    }
}

/// Why a lock did not simply give its guard.
///
/// # Examples
///
/// ```
/// use mp_shared::{Lock, LockError};
///
/// let lock = Lock::new()?;
/// let guard = lock.lock()?;
/// assert!(matches!(lock.try_lock(), Err(LockError::WouldBlock)));
/// assert!(matches!(lock.lock(), Err(LockError::Deadlock)));
/// # drop(guard);
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[non_exhaustive]
pub enum LockError<G> {
    /// Somebody died while holding it. You hold it now.
    Poisoned(PoisonError<G>),
    /// It is held, and the call does not wait.
    WouldBlock,
    /// It was held until the time was up.
    TimedOut,
    /// This thread holds it, so that waiting for it would not end.
    Deadlock,
    /// The guard is a copy in a forked process, which holds nothing.
    NotHeld,
    /// This thread holds more locks than the kernel would look after if it died, or one lock too often.
    TooMany,
    /// The C library has registered no robust list for this thread, so that its death would go unnoticed.
    Unsupported,
}

impl<G> LockError<G> {
    /// Takes the guard if the lock is merely poisoned, for those whom that does not concern.
    ///
    /// # Errors
    ///
    /// The same error, if there is no guard in it.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{Lock, LockError};
    ///
    /// let lock = Lock::new()?;
    /// let guard = lock.lock().or_else(LockError::ignore_poison)?;
    /// # drop(guard);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn ignore_poison(self) -> Result<G, Self> {
        match self {
            Self::Poisoned(poison) => Ok(poison.into_inner()),
            other => Err(other),
        }
    }

    /// Puts another guard around the one in it.
    pub(crate) fn map<H>(self, wrap: impl FnOnce(G) -> H) -> LockError<H> {
        match self {
            Self::Poisoned(poison) => LockError::Poisoned(PoisonError(wrap(poison.0))),
            Self::WouldBlock => LockError::WouldBlock,
            Self::TimedOut => LockError::TimedOut,
            Self::Deadlock => LockError::Deadlock,
            Self::NotHeld => LockError::NotHeld,
            Self::TooMany => LockError::TooMany,
            Self::Unsupported => LockError::Unsupported,
        }
    }

    /// For calls that do not wait: not to get it in no time is not to get it at once.
    pub(crate) fn at_once(self) -> Self {
        match self {
            Self::TimedOut | Self::Deadlock => Self::WouldBlock,
            other => other,
        }
    }

    /// The same reason, where there is no guard to go with it.
    pub(crate) fn without_guard<H>(self) -> LockError<H> {
        match self {
            Self::Poisoned(_) | Self::NotHeld => LockError::NotHeld,
            Self::WouldBlock => LockError::WouldBlock,
            Self::TimedOut => LockError::TimedOut,
            Self::Deadlock => LockError::Deadlock,
            Self::TooMany => LockError::TooMany,
            Self::Unsupported => LockError::Unsupported,
        }
    }

    fn text(&self) -> &'static str {
        match self {
            Self::Poisoned(_) => POISONED,
            Self::WouldBlock => "the lock is held",
            Self::TimedOut => "the lock was held until the time was up",
            Self::Deadlock => "this thread holds the lock already",
            Self::NotHeld => "the lock is not held: the guard is a copy in a forked process",
            Self::TooMany => "this thread holds too many locks",
            Self::Unsupported => "the C library registers no robust list for this thread",
        }
    }
}

const POISONED: &str = "the lock is poisoned: somebody died while holding it";

/// Lets go of the guard in it.
impl<G> From<LockError<G>> for Error {
    fn from(error: LockError<G>) -> Self {
        let kind = match error {
            LockError::Poisoned(_) => ErrorKind::Poisoned,
            LockError::WouldBlock => ErrorKind::WouldBlock,
            LockError::TimedOut => ErrorKind::TimedOut,
            LockError::Deadlock => ErrorKind::Deadlock,
            LockError::NotHeld => ErrorKind::InvalidInput,
            LockError::TooMany => ErrorKind::Exhausted,
            LockError::Unsupported => ErrorKind::Unsupported,
        };
        Self::new(kind, error.text())
    }
}

impl<G> From<PoisonError<G>> for LockError<G> {
    fn from(poison: PoisonError<G>) -> Self {
        Self::Poisoned(poison)
    }
}

impl<G> fmt::Debug for PoisonError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoisonError").finish_non_exhaustive()
    }
}

impl<G> fmt::Display for PoisonError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(POISONED)
    }
}

impl<G> StdError for PoisonError<G> {}

impl<G> fmt::Debug for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Poisoned(_) => "Poisoned(..)",
            Self::WouldBlock => "WouldBlock",
            Self::TimedOut => "TimedOut",
            Self::Deadlock => "Deadlock",
            Self::NotHeld => "NotHeld",
            Self::TooMany => "TooMany",
            Self::Unsupported => "Unsupported",
        })
    }
}

impl<G> fmt::Display for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl<G> StdError for LockError<G> {}
