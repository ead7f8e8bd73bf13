//! The semaphore that cannot have more permits than at first.

use std::fmt;
use std::time::Duration;

use mp_wire::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AcquireError, Permits, ReleaseError, SemaphoreGuard};
use crate::Error;
use crate::home::Home;
use crate::lock::deadline;
#[cfg(feature = "named")]
use crate::named::{self, named_object};
#[cfg(feature = "named")]
use crate::object::Tag;
#[cfg(feature = "named")]
use crate::slots::Slots;

/// A [`Semaphore`](super::Semaphore) that never has more permits than it had at first.
///
/// To add one too many is an error, which finds the mistake of giving back what was not taken. All else is as with
/// [`Semaphore`](super::Semaphore).
///
/// # Python
///
/// `BoundedSemaphore`. A permit whose guard is still there counts as one that will go back: to [`release`](Self::release) it, too, is
/// an error at once.
///
/// # If a process dies
///
/// As with [`Semaphore`](super::Semaphore): the permits that it held go back.
///
/// # Examples
///
/// ```
/// use mp_shared::{BoundedSemaphore, ReleaseError};
///
/// let permits = BoundedSemaphore::new(1)?;
/// permits.acquire()?.forget();
/// permits.release()?;
/// assert_eq!(permits.release(), Err(ReleaseError::TooMany));
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[derive(Clone)]
pub struct BoundedSemaphore(pub(super) Permits);

impl BoundedSemaphore {
    /// Makes a semaphore with so many permits, all free.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for more than 2³⁰ permits,
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if no memory or no descriptor is left.
    pub fn new(value: u32) -> Result<Self, Error> {
        Permits::create(Home::Anywhere, value, true).map(Self)
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
    /// use mp_shared::BoundedSemaphore;
    ///
    /// let name = format!("doc-BoundedSemaphore-{}", std::process::id());
    /// let permits = BoundedSemaphore::create_named(&name, 2)?;
    /// let guard = permits.acquire()?;
    /// assert_eq!(BoundedSemaphore::open(&name)?.value(), 1);
    /// # drop(guard);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[cfg(feature = "named")]
    pub fn create_named(name: &str, value: u32) -> Result<Self, Error> {
        named::create(name, |home| Permits::create(home, value, true).map(Self))
    }

    /// Takes a permit.
    ///
    /// # Blocking
    ///
    /// Until one is free, as with [`Semaphore::acquire`](super::Semaphore::acquire).
    ///
    /// # Errors
    ///
    /// As with [`Semaphore::acquire`](super::Semaphore::acquire).
    pub fn acquire(&self) -> Result<SemaphoreGuard<'_>, AcquireError> {
        self.0.acquire(Deadline::NEVER)
    }

    /// Takes a permit if one is free.
    ///
    /// # Errors
    ///
    /// [`AcquireError::WouldBlock`] if none is; or as with [`acquire`](Self::acquire).
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
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<SemaphoreGuard<'_>, AcquireError> {
        self.0.acquire(deadline(timeout))
    }

    /// Adds a permit in place of one that was [forgotten](SemaphoreGuard::forget), and wakes one who waits.
    ///
    /// # Errors
    ///
    /// [`ReleaseError::TooMany`] if there are as many as at first, with those that are held; nothing has changed.
    pub fn release(&self) -> Result<(), ReleaseError> {
        self.0.release()
    }

    /// Counts the permits that are free.
    #[doc(alias = "get_value")]
    #[must_use]
    pub fn value(&self) -> u32 {
        self.0.value()
    }

    /// Says whether no permit is free.
    #[doc(alias = "locked")]
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.0.value() == 0
    }
}

#[cfg(feature = "named")]
named_object!(
    [] BoundedSemaphore,
    Slots::shape(Tag::Semaphore),
    |object| Permits::attach(Slots::of(object), true).map(Self),
    |this| this.0.object(),
    "BoundedSemaphore",
    "BoundedSemaphore::create_named(&name, 2)",
);

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("BoundedSemaphore");
        debug.field("value", &self.0.glance()).field("most", &self.0.most()).finish()
    }
}

impl Serialize for BoundedSemaphore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BoundedSemaphore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Permits::deserialize(deserializer, true).map(Self)
    }
}
