//! One value that processes share, with its lock.
#![expect(unsafe_code, reason = "a guard refers to the value in shared memory")]

mod arithmetic;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use bytemuck::Pod;
use mp_wire::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;
use crate::home::Home;
use crate::lock::{Guarded, Held, deadline, put};
#[cfg(feature = "named")]
use crate::named::{self, named_object};
use crate::object::{Shape, Tag};
use crate::poison::{LockError, LockResult};

/// A value in shared memory, with a lock.
///
/// Clones are the same value; so is what arrives if it is sent in a message or as an argument of a process.
/// Received as a value of another type, it is an error.
///
/// `T` is plain data ([`bytemuck::Pod`]): numbers, arrays of them, and structs of them that derive it. `bool` and `char`
/// are not, since not every byte is one: use `u8` and `u32`. What points somewhere (`String`, `Vec`, references) cannot be
/// shared:
///
/// ```compile_fail,E0277
/// let text = mp_shared::Value::new(String::new());
/// ```
///
/// A struct derives it with the `bytemuck` of this crate:
///
/// ```
/// use mp_shared::{Value, bytemuck};
///
/// #[repr(C)]
/// #[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
/// #[bytemuck(crate = "mp_shared::bytemuck")]
/// struct Progress {
///     done: u32,
///     failed: u32,
/// }
///
/// let progress = Value::new(Progress { done: 0, failed: 0 })?;
/// progress.lock()?.done += 1;
/// assert_eq!(progress.get()?.done, 1);
/// # Ok::<(), mp_shared::Error>(())
/// ```
///
/// # Python
///
/// `Value`. The type takes the place of the type code, and a number that does not fit does not compile, where Python wraps
/// it. `v.value` is [`get`](Self::get) and [`set`](Self::set); `with v.get_lock(): v.value += 1` is
/// [`update`](Self::update), or [`lock`](Self::lock). Without a lock there is [`RawValue`](crate::RawValue).
///
/// # If a process dies
///
/// If one is killed or panics while it has the guard, the value may be half changed: it is poisoned, as with
/// [`std::sync::Mutex`], until [`clear_poison`](Self::clear_poison). In `get`, `set` and `update` the value stays as it was
/// or is as it shall be, whoever is killed when, and nothing is poisoned; only a `T` of other than 1, 2, 4 or 8 bytes may
/// be half written by them, and is poisoned then.
///
/// # Fork
///
/// A forked child does not hold what its parent holds: it must not use its copy of a guard, which does nothing when dropped.
///
/// # Examples
///
/// ```
/// use mp_shared::Value;
///
/// let total = Value::new(40u64)?;
/// let clone = total.clone(); // Or in another process.
/// clone.update(|total| total + 1)?;
/// *total.lock()? += 1;
/// assert_eq!(total.get()?, 42);
/// # Ok::<(), mp_shared::Error>(())
/// ```
pub struct Value<T: Pod> {
    inner: Guarded,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod> Value<T> {
    fn from_inner(inner: Guarded) -> Self {
        Self { inner, element: PhantomData }
    }

    fn shape() -> Shape {
        Shape::one::<T>(Tag::Value)
    }

    /// Makes a value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if no memory or no descriptor is left.
    pub fn new(initial: T) -> Result<Self, Error> {
        Self::make(Home::Anywhere, initial)
    }

    /// Makes a value under a name, by which any program of the same user can [`open`](Self::open) it.
    ///
    /// Whoever finds it finds it written. The name goes when the last clone of this handle is dropped in this process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) if the name is taken, or as with
    /// [`SharedMemory::create`](crate::SharedMemory::create).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::Value;
    ///
    /// let name = format!("doc-Value-{}", std::process::id());
    /// let total = Value::create_named(&name, 40u64)?;
    /// Value::<u64>::open(&name)?.update(|n| n + 2)?; // In any program.
    /// assert_eq!(total.get()?, 42);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[cfg(feature = "named")]
    pub fn create_named(name: &str, initial: T) -> Result<Self, Error> {
        named::create(name, |home| Self::make(home, initial))
    }

    pub(crate) fn make(home: Home<'_>, initial: T) -> Result<Self, Error> {
        let inner = Guarded::create_at(home, Self::shape(), 1)?;
        inner.object().store(0, initial)?;
        Ok(Self::from_inner(inner))
    }

    /// Takes the lock; the guard is the value.
    ///
    /// # Blocking
    ///
    /// Until whoever holds it releases it or dies. Signals do not end it.
    ///
    /// # Errors
    ///
    /// [`LockError::Poisoned`] with the guard in it if somebody died holding it; [`LockError::Deadlock`] if this thread
    /// holds it.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::Value;
    ///
    /// let point = Value::new([1.0f64, 2.0])?;
    /// let mut guard = point.lock()?;
    /// guard[0] *= 10.0;
    /// guard[1] = guard[0] + 1.0;
    /// drop(guard);
    /// assert_eq!(point.get()?, [10.0, 11.0]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[doc(alias = "get_lock")]
    #[inline]
    pub fn lock(&self) -> LockResult<ValueGuard<'_, T>> {
        wrap(self.inner.lock(Deadline::NEVER))
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`] if somebody holds it, this thread or another; [`LockError::Poisoned`] as with
    /// [`lock`](Self::lock).
    #[inline]
    pub fn try_lock(&self) -> LockResult<ValueGuard<'_, T>> {
        wrap(self.inner.try_lock())
    }

    /// Takes the lock, but waits no longer than this.
    ///
    /// # Blocking
    ///
    /// Gives up when the time is up, never before.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`], or as with [`lock`](Self::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<ValueGuard<'_, T>> {
        wrap(self.inner.lock(deadline(timeout)))
    }

    /// Reads the value, under the lock.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Poisoned`](crate::ErrorKind::Poisoned) if somebody died holding the lock,
    /// [`ErrorKind::Deadlock`](crate::ErrorKind::Deadlock) if this thread holds it: read through the guard then.
    #[doc(alias = "value")]
    pub fn get(&self) -> Result<T, Error> {
        self.inner.get(0)
    }

    /// Writes the value, under the lock.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is written then.
    pub fn set(&self, value: T) -> Result<(), Error> {
        self.inner.set(0, value)
    }

    /// Changes the value from what it was to what `change` makes of it, under the lock; returns the new one.
    ///
    /// If `change` panics, or the process is killed in it, the value is what it was, and the lock is free.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); `change` is not called then.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::Value;
    ///
    /// let counter = Value::new(0u32)?;
    /// std::thread::scope(|scope| {
    ///     for _ in 0..4 {
    ///         scope.spawn(|| {
    ///             for _ in 0..100 {
    ///                 counter.update(|n| n + 1).unwrap();
    ///             }
    ///         });
    ///     }
    /// });
    /// assert_eq!(counter.update(|n| n + 1)?, 401);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[inline]
    pub fn update(&self, change: impl FnOnce(T) -> T) -> Result<T, Error> {
        let mut held = self.inner.visit()?;
        let value = change(read(&held));
        put(&mut held, 0, value)?;
        Ok(value)
    }

    /// Changes the value under the lock, by what cannot panic and takes no lock; returns what it was.
    #[inline]
    fn fetch(&self, change: impl FnOnce(T) -> T) -> Result<T, Error> {
        self.inner.fetch(0, change)
    }

    /// Says whether any thread of any process holds the lock.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.inner.is_locked()
    }

    /// Says whether somebody died holding the lock, and nobody has cleared that since.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.inner.is_poisoned()
    }

    /// Declares that the value is in order again.
    pub fn clear_poison(&self) {
        self.inner.clear_poison();
    }
}

fn read<T: Pod>(held: &Held<'_>) -> T {
    // There is one element: `new` made it, and attaching checks it.
    held.object().load(0).unwrap_or_else(T::zeroed)
}

#[inline]
fn wrap<'a, T: Pod>(held: LockResult<Held<'a>>) -> LockResult<ValueGuard<'a, T>> {
    held.map(ValueGuard::new).map_err(|error| error.map(ValueGuard::new))
}

/// A [`Value`] that this thread holds until the guard is dropped.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ValueGuard<'a, T: Pod> {
    pub(crate) held: Held<'a>,
    value: PhantomData<&'a mut T>,
}

impl<'a, T: Pod> ValueGuard<'a, T> {
    fn new(held: Held<'a>) -> Self {
        Self { held, value: PhantomData }
    }
}

impl<T: Pod> Deref for ValueGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the object has one element, aligned, and `T: Pod`, so that any bytes are one. The lock is held: of those
        // that share it, nobody else in this or another process writes it while the guard is borrowed.
        unsafe { &*self.held.object().data::<T>() }
    }
}

impl<T: Pod> DerefMut for ValueGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and nobody else reads it either.
        unsafe { &mut *self.held.object().data::<T>() }
    }
}

#[cfg(feature = "named")]
named_object!(
    [T: Pod] Value<T>,
    Self::shape(),
    |object| Guarded::of(object).map(Self::from_inner),
    |this| this.inner.object(),
    "Value::<i32>",
    "Value::create_named(&name, 1)",
);

impl<T: Pod> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self::from_inner(self.inner.clone())
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Value");
        match self.try_lock().or_else(LockError::ignore_poison) {
            Ok(guard) => debug.field("value", &*guard),
            Err(_) => debug.field("value", &format_args!("<locked>")),
        };
        // The guard is dropped by now: the owner is somebody else, if anybody.
        self.inner.debug(&mut debug);
        debug.finish()
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for ValueGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Pod + fmt::Display> fmt::Display for ValueGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Pod> Serialize for Value<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Guarded::deserialize(deserializer, Self::shape()).map(Self::from_inner)
    }
}
