#![doc = include_str!("semaphore/README.md")]

mod bounded;
mod error;
mod guard;
mod permits;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use mp_wire::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::bounded::BoundedSemaphore;
pub use self::error::{AcquireError, ReleaseError};
pub use self::guard::SemaphoreGuard;
use self::permits::Permits;
use crate::Error;
use crate::home::Home;
use crate::lock::deadline;
#[cfg(feature = "named")]
use crate::named::{self, named_object};
#[cfg(feature = "named")]
use crate::object::Tag;
#[cfg(feature = "named")]
use crate::slots::Slots;

/// A number of permits that threads and processes take, hold and give back.
///
/// Clones are the same semaphore; so is what arrives if it is sent in a message or as an argument of a process.
/// The guard gives the permit back, in the thread that took it. A thread may hold any number of permits.
///
/// # Python
///
/// `Semaphore`. `with semaphore:` is `let guard = semaphore.acquire()?;`. A Python semaphore does not know who has its
/// permits, so that those of a killed process are lost; here they go back. Where one process acquires and another releases,
/// [`forget`](SemaphoreGuard::forget) the guard in the one and [`release`](Self::release) in the other.
///
/// # If a process dies
///
/// If one that holds permits is killed, ends or panics, they go back, and those who wait get them at once. One that is
/// killed while it waits is no hindrance. One that is killed in [`release`](Self::release) has added a permit and woken
/// whoever waits for it, or has done nothing.
///
/// # Fork
///
/// A forked child does not hold what its parent holds; dropping its copy of a guard does nothing.
///
/// # Current implementation
///
/// A semaphore that begins with `n` permits has room for `2 * n` that are held at the same time, though for 16 at least and for
/// 4096 at most. While all that room is taken, those who want another one wait as if no permit were free. One thread can hold 1024
/// of them: of more, the kernel would not give all back if it died. Forgotten permits do not count. Taking a permit looks at all
/// places that have been in use at the same time, a few nanoseconds each. With more than 127 permits held, those of
/// a process that dies are found within 10 ms; before Linux 5.16, so are all that go back.
///
/// # Examples
///
/// ```
/// use mp_shared::{AcquireError, Semaphore};
///
/// let permits = Semaphore::new(2)?;
/// let first = permits.acquire()?;
/// let second = permits.acquire()?;
/// assert_eq!(permits.try_acquire().unwrap_err(), AcquireError::WouldBlock);
/// drop(first);
/// assert_eq!(permits.value(), 1);
/// # drop(second);
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[derive(Clone)]
pub struct Semaphore(Permits);

impl Semaphore {
    /// Makes a semaphore with so many permits, all free.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for more than 2³⁰ permits,
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if no memory or no descriptor is left.
    pub fn new(value: u32) -> Result<Self, Error> {
        Permits::create(Home::Anywhere, value, false).map(Self)
    }

    /// Makes a semaphore under a name, by which any program of the same user can [`open`](Self::open) it.
    ///
    /// Its permits are all free. The name goes when the last clone of this handle is dropped in this process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) if the name is taken, or as with [`new`](Self::new) and
    /// [`SharedMemory::create`](crate::SharedMemory::create).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::Semaphore;
    ///
    /// let name = format!("doc-Semaphore-{}", std::process::id());
    /// let permits = Semaphore::create_named(&name, 2)?;
    /// let guard = permits.acquire()?;
    /// assert_eq!(Semaphore::open(&name)?.value(), 1);
    /// # drop(guard);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[cfg(feature = "named")]
    pub fn create_named(name: &str, value: u32) -> Result<Self, Error> {
        named::create(name, |home| Permits::create(home, value, false).map(Self))
    }

    /// Takes a permit.
    ///
    /// # Blocking
    ///
    /// Until one is free. It looks for some microseconds, then sleeps. Signals do not end it. Permits that this thread holds itself
    /// count as any others: if it holds them all, it waits until somebody else adds one.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TooMany`] if this thread holds 1024 permits of it; [`AcquireError::Deadlock`] in a signal handler that
    /// interrupted a call of the same semaphore; [`AcquireError::Unsupported`] without robust lists.
    pub fn acquire(&self) -> Result<SemaphoreGuard<'_>, AcquireError> {
        self.0.acquire(Deadline::NEVER)
    }

    /// Takes a permit if one is free.
    ///
    /// # Errors
    ///
    /// [`AcquireError::WouldBlock`] if none is; or as with [`acquire`](Self::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{AcquireError, Semaphore};
    ///
    /// let permits = Semaphore::new(1)?;
    /// let guard = permits.try_acquire()?;
    /// assert_eq!(permits.try_acquire().unwrap_err(), AcquireError::WouldBlock);
    /// # drop(guard);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn try_acquire(&self) -> Result<SemaphoreGuard<'_>, AcquireError> {
        self.0.try_acquire()
    }

    /// Takes a permit, but waits no longer than this for one.
    ///
    /// # Blocking
    ///
    /// Gives up when the time is up, never before.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], or as with [`acquire`](Self::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{AcquireError, Semaphore};
    /// use std::time::{Duration, Instant};
    ///
    /// let permits = Semaphore::new(0)?;
    /// let start = Instant::now();
    /// let late = permits.acquire_timeout(Duration::from_millis(2));
    /// assert_eq!(late.unwrap_err(), AcquireError::TimedOut);
    /// assert!(start.elapsed() >= Duration::from_millis(2));
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<SemaphoreGuard<'_>, AcquireError> {
        self.0.acquire(deadline(timeout))
    }

    /// Adds a permit, and wakes one who waits.
    ///
    /// It is one more than before, whoever calls this; a guard gives its permit back by itself.
    ///
    /// # Errors
    ///
    /// [`ReleaseError::TooMany`] if there are 2³⁰ permits already, with those that are held.
    ///
    /// # Examples
    ///
    /// ```
    /// let permits = mp_shared::Semaphore::new(0)?;
    /// permits.release()?;
    /// permits.release()?;
    /// assert_eq!(permits.value(), 2);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn release(&self) -> Result<(), ReleaseError> {
        self.0.release()
    }

    /// Counts the permits that are free.
    ///
    /// Others may take or give some back before the caller can act on the number.
    #[doc(alias = "get_value")]
    #[must_use]
    pub fn value(&self) -> u32 {
        self.0.value()
    }

    /// Says whether no permit is free.
    ///
    /// # Examples
    ///
    /// ```
    /// let permits = mp_shared::Semaphore::new(1)?;
    /// assert!(!permits.is_locked());
    /// let guard = permits.acquire()?;
    /// assert!(permits.is_locked());
    /// # drop(guard);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[doc(alias = "locked")]
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.0.value() == 0
    }
}

#[cfg(feature = "named")]
named_object!(
    [] Semaphore,
    Slots::shape(Tag::Semaphore),
    |object| Permits::attach(Slots::of(object), false).map(Self),
    |this| this.0.object(),
    "Semaphore",
    "Semaphore::create_named(&name, 2)",
);

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("value", &self.0.glance()).finish()
    }
}

impl Serialize for Semaphore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Semaphore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Permits::deserialize(deserializer, false).map(Self)
    }
}
