#![doc = include_str!("rwlock/README.md")]
#![expect(unsafe_code, reason = "guards refer to the value in shared memory")]

mod readers;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytemuck::Pod;
use mp_wire::{Deadline, Spin};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use self::readers::{Reader, Readers};
use crate::Error;
use crate::lock::{Guarded, Held, deadline};
use crate::object::{Shape, Tag};
use crate::poison::{LockError, LockResult, PoisonError};

/// Among the words of the head, of which the lock has the first: the holder of the gate wants to write.
const WRITING: usize = 3;

/// How long a call that does not wait waits for a reader that is just about to register.
const PATIENCE: Duration = Duration::from_millis(100);

/// Whether looking before sleeping has been paying off in this process.
static SPIN: Spin = Spin::new();

/// A value in shared memory that many may read at a time, or one may write.
///
/// Clones are the same value; so is what arrives if it is sent in a message or as an argument of a process. `T` is plain
/// data, as with [`Value`](crate::Value). A writer that waits lets no new readers in, so that it gets its turn.
///
/// It is [`std::sync::RwLock`] between processes. Python has no counterpart.
///
/// # If a process dies
///
/// A reader that is killed is no hindrance to anybody. If a writer is killed or panics while it has its guard, the value may be half
/// changed: it is poisoned, for readers and writers, until [`clear_poison`](Self::clear_poison).
///
/// # Fork
///
/// A forked child does not hold what its parent holds: it must not use its copy of a guard, which does nothing when dropped.
///
/// # Current implementation
///
/// 32 threads can read at a time; more wait.
///
/// # Examples
///
/// ```
/// use mp_shared::RwLock;
///
/// let limits = RwLock::new([0.0f64, 1.0])?;
/// {
///     let (first, second) = (limits.read()?, limits.read()?); // Or in many processes.
///     assert_eq!(first[0] + second[1], 1.0);
///     assert!(limits.try_write().is_err());
/// }
/// limits.write()?[1] = 2.0;
/// assert_eq!(*limits.read()?, [0.0, 2.0]);
/// # Ok::<(), mp_shared::Error>(())
/// ```
pub struct RwLock<T: Pod> {
    readers: Readers,
    /// The value; its lock is the gate, which a writer holds all the time, and a reader to register.
    value: Guarded,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod> RwLock<T> {
    fn of(readers: Readers, value: Guarded) -> Self {
        Self { readers, value, element: PhantomData }
    }

    fn shape() -> Shape {
        Shape::one::<T>(Tag::RwLock)
    }

    /// Makes one with this value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if no memory or no descriptor is left.
    pub fn new(initial: T) -> Result<Self, Error> {
        let value = Guarded::create(Self::shape(), 1)?;
        value.object().store(0, initial)?;
        Ok(Self::of(Readers::create()?, value))
    }

    /// Takes it for reading.
    ///
    /// # Blocking
    ///
    /// While somebody writes or waits to write. A thread that reads already gets another guard at once. Signals do not end it.
    ///
    /// # Errors
    ///
    /// [`LockError::Poisoned`] with the guard in it if somebody died writing; [`LockError::Deadlock`] if this thread is writing.
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.read_until(Deadline::NEVER)
    }

    /// Takes it for reading, unless somebody writes or waits to write.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`] if somebody does; [`LockError::Poisoned`] as with [`read`](Self::read).
    pub fn try_read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.read_until(Deadline::NOW).map_err(LockError::at_once)
    }

    /// Takes it for reading, but waits no longer than this.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`], or as with [`read`](Self::read).
    pub fn read_timeout(&self, timeout: Duration) -> LockResult<RwLockReadGuard<'_, T>> {
        self.read_until(deadline(timeout))
    }

    fn read_until(&self, deadline: Deadline) -> LockResult<RwLockReadGuard<'_, T>> {
        let reader = match self.readers.again()? {
            Some(reader) => reader,
            None => {
                let _gate = self.gate(deadline)?;
                // A writer that died may have left its mark.
                self.value.object().head().words[WRITING].store(0, Relaxed);
                self.readers.register(deadline)?
            }
        };
        let guard = RwLockReadGuard { lock: self, _reader: reader, value: PhantomData };
        if self.is_poisoned() { Err(PoisonError::new(guard).into()) } else { Ok(guard) }
    }

    /// Takes the gate, to read.
    fn gate(&self, deadline: Deadline) -> Result<Held<'_>, LockError<RwLockReadGuard<'_, T>>> {
        let first = self.value.hold(deadline);
        if deadline != Deadline::NOW || !matches!(first, Err(LockError::TimedOut)) {
            return first.map_err(LockError::without_guard);
        }
        // It may be a reader's, who is about to give it back.
        let end = Deadline::after(PATIENCE);
        while self.value.object().head().words[WRITING].load(Relaxed) == 0 && !end.is_past() {
            match self.value.hold(Deadline::after(Duration::from_millis(1))) {
                Err(LockError::TimedOut) => {}
                other => return other.map_err(LockError::without_guard),
            }
        }
        Err(LockError::TimedOut)
    }

    /// Takes it for writing.
    ///
    /// # Blocking
    ///
    /// While others read or write. Signals do not end it.
    ///
    /// # Errors
    ///
    /// [`LockError::Poisoned`] with the guard in it if somebody died writing; [`LockError::Deadlock`] if this thread is reading or
    /// writing.
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.write_until(Deadline::NEVER)
    }

    /// Takes it for writing, if nobody reads or writes.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`] if somebody does; [`LockError::Poisoned`] as with [`write`](Self::write).
    pub fn try_write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.write_until(Deadline::NOW).map_err(LockError::at_once)
    }

    /// Takes it for writing, but waits no longer than this.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`], or as with [`write`](Self::write).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{LockError, RwLock};
    /// use std::{thread, time::Duration};
    ///
    /// let lock = RwLock::new(1u8)?;
    /// let guard = lock.read()?;
    /// thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         let late = lock.write_timeout(Duration::from_millis(1));
    ///         assert!(matches!(late, Err(LockError::TimedOut)));
    ///     });
    /// });
    /// # drop(guard);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn write_timeout(&self, timeout: Duration) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.write_until(deadline(timeout))
    }

    fn write_until(&self, deadline: Deadline) -> LockResult<RwLockWriteGuard<'_, T>> {
        let mut held = self.value.hold(deadline).map_err(LockError::without_guard)?;
        let writing = &self.value.object().head().words[WRITING];
        writing.store(1, Relaxed);
        if let Err(error) = self.readers.wait_for_none(deadline) {
            writing.store(0, Relaxed);
            return Err(error);
        }
        held.expose();
        let guard = RwLockWriteGuard { held, value: PhantomData };
        if self.is_poisoned() { Err(PoisonError::new(guard).into()) } else { Ok(guard) }
    }

    /// Says whether somebody died writing, and nobody has cleared that since.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.value.is_poisoned()
    }

    /// Declares that the value is in order again.
    pub fn clear_poison(&self) {
        self.value.clear_poison();
    }
}

/// An [`RwLock`] that this thread may read until the guard is dropped.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RwLockReadGuard<'a, T: Pod> {
    lock: &'a RwLock<T>,
    /// Ends the reading when it is dropped.
    _reader: Reader<'a>,
    value: PhantomData<&'a T>,
}

/// An [`RwLock`] that this thread alone may use until the guard is dropped.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: Pod> {
    held: Held<'a>,
    value: PhantomData<&'a mut T>,
}

impl<T: Pod> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the object has one element, aligned, and `T: Pod`, so that any bytes are one. This thread has a reader's slot:
        // of those that share the value, nobody in this or another process writes it while the guard is borrowed.
        unsafe { &*self.lock.value.object().data::<T>() }
    }
}

impl<T: Pod> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: as for readers; this thread has the gate, and there are no readers.
        unsafe { &*self.held.object().data::<T>() }
    }
}

impl<T: Pod> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and nobody else reads it either.
        unsafe { &mut *self.held.object().data::<T>() }
    }
}

impl<T: Pod> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        // Nothing, in a forked copy: what is the parent's is not ours to change.
        if self.held.is_mine() {
            self.held.object().head().words[WRITING].store(0, Relaxed);
        }
    }
}

impl<T: Pod> Clone for RwLock<T> {
    fn clone(&self) -> Self {
        Self::of(self.readers.clone(), self.value.clone())
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RwLock");
        match self.try_read().or_else(LockError::ignore_poison) {
            Ok(guard) => debug.field("value", &*guard),
            Err(_) => debug.field("value", &format_args!("<locked>")),
        };
        self.value.debug(&mut debug);
        debug.field("readers", &self.readers.count()).finish()
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Pod> Serialize for RwLock<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.readers, &self.value).serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for RwLock<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (readers, value) = <(Readers, crate::object::Received)>::deserialize(deserializer)?;
        let value = Guarded::received(value, Self::shape()).map_err(de::Error::custom)?;
        Ok(Self::of(readers, value))
    }
}
