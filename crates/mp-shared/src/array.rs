//! Values of one type in a row, that processes share, with their lock.
#![expect(unsafe_code, reason = "a guard refers to the elements in shared memory")]

mod elements;

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::slice;
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

/// An array in shared memory, with a lock.
///
/// Its length is fixed when it is made, and may be zero. Clones are the same array; so is what arrives if it is sent in a
/// message or as an argument of a process. Received as an array of another type, it is an error.
///
/// `T` is plain data ([`bytemuck::Pod`]), as with [`Value`](crate::Value):
///
/// ```compile_fail,E0277
/// let flags = mp_shared::Array::<bool>::new(8);
/// ```
///
/// # Python
///
/// `Array`. `a[i]` is [`get`](Self::get) and [`set`](Self::set), each under the lock; for slices, loops and changes of
/// several elements take the guard, which is a slice. Without a lock there is [`RawArray`](crate::RawArray).
///
/// # If a process dies
///
/// If one is killed or panics while it has the guard, the elements may be half changed: the array is poisoned, as with
/// [`std::sync::Mutex`], until [`clear_poison`](Self::clear_poison). `get`, `set` and `update` of elements of 1, 2, 4 or
/// 8 bytes poison nothing, since those are written in one step.
///
/// # Fork
///
/// A forked child does not hold what its parent holds: it must not use its copy of a guard, which does nothing when dropped.
///
/// # Examples
///
/// ```
/// use mp_shared::Array;
///
/// let sums = Array::from_slice(&[1u64, 2, 3, 4])?;
/// let clone = sums.clone(); // Or in another process.
/// let mut guard = clone.lock()?;
/// for index in 1..guard.len() {
///     guard[index] += guard[index - 1];
/// }
/// drop(guard);
/// assert_eq!(sums.to_vec()?, [1, 3, 6, 10]);
/// # Ok::<(), mp_shared::Error>(())
/// ```
pub struct Array<T: Pod> {
    inner: Guarded,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod> Array<T> {
    fn from_inner(inner: Guarded) -> Self {
        Self { inner, element: PhantomData }
    }

    fn shape() -> Shape {
        Shape::of::<T>(Tag::Array)
    }

    /// Makes an array of `len` elements, all of whose bytes are zero.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if there is not so much memory, or no descriptor is left.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::Array;
    ///
    /// assert_eq!(Array::<u16>::new(3)?.to_vec()?, [0, 0, 0]);
    /// assert!(Array::<u16>::new(usize::MAX).is_err());
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn new(len: usize) -> Result<Self, Error> {
        Self::make(Home::Anywhere, len)
    }

    /// Makes an array of these elements.
    ///
    /// # Errors
    ///
    /// As with [`new`](Self::new).
    pub fn from_slice(elements: &[T]) -> Result<Self, Error> {
        Self::make_of(Home::Anywhere, elements)
    }

    /// Makes an array of these elements under a name, by which any program of the same user can [`open`](Self::open) it.
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
    /// use mp_shared::Array;
    ///
    /// let name = format!("doc-Array-{}", std::process::id());
    /// let array = Array::create_named(&name, &[1u32, 2, 3])?;
    /// Array::<u32>::open(&name)?.set(0, 10)?; // In any program.
    /// assert_eq!(array.to_vec()?, [10, 2, 3]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[cfg(feature = "named")]
    pub fn create_named(name: &str, elements: &[T]) -> Result<Self, Error> {
        named::create(name, |home| Self::make_of(home, elements))
    }

    /// Makes an array of `len` elements, all of whose bytes are zero, under a name, by which any program of the same user can [`open`](Self::open) it.
    ///
    /// No copy of it is needed in this process. The name goes when the last clone of this handle is dropped in this process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) if the name is taken, or as with
    /// [`SharedMemory::create`](crate::SharedMemory::create).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::Array;
    ///
    /// let name = format!("doc-Array-zeroed-{}", std::process::id());
    /// let array = Array::<u32>::create_named_zeroed(&name, 3)?;
    /// assert_eq!(Array::<u32>::open(&name)?.to_vec()?, [0, 0, 0]); // In any program.
    /// assert!(array.owns_name());
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[cfg(feature = "named")]
    pub fn create_named_zeroed(name: &str, len: usize) -> Result<Self, Error> {
        named::create(name, |home| Self::make(home, len))
    }

    pub(crate) fn make(home: Home<'_>, len: usize) -> Result<Self, Error> {
        Guarded::create_at(home, Self::shape(), len).map(Self::from_inner)
    }

    pub(crate) fn make_of(home: Home<'_>, elements: &[T]) -> Result<Self, Error> {
        let array = Self::make(home, elements.len())?;
        array.inner.object().write(0, elements)?;
        Ok(array)
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.object().len()
    }

    /// Says whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the lock; the guard is the slice of all elements.
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
    /// use mp_shared::Array;
    ///
    /// let array = Array::from_slice(&[3, 1, 2])?;
    /// array.lock()?.sort();
    /// array.lock()?[1..].copy_from_slice(&[8, 9]);
    /// assert_eq!(array.to_vec()?, [1, 8, 9]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[doc(alias = "get_lock")]
    #[inline]
    pub fn lock(&self) -> LockResult<ArrayGuard<'_, T>> {
        wrap(self.inner.lock(Deadline::NEVER))
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`] if somebody holds it, this thread or another; [`LockError::Poisoned`] as with
    /// [`lock`](Self::lock).
    #[inline]
    pub fn try_lock(&self) -> LockResult<ArrayGuard<'_, T>> {
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
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<ArrayGuard<'_, T>> {
        wrap(self.inner.lock(deadline(timeout)))
    }

    /// Reads an element, under the lock.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`](crate::ErrorKind::OutOfBounds) beyond the last;
    /// [`ErrorKind::Poisoned`](crate::ErrorKind::Poisoned) if somebody died holding the lock;
    /// [`ErrorKind::Deadlock`](crate::ErrorKind::Deadlock) if this thread holds it: read through the guard then.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{Array, ErrorKind};
    ///
    /// let array = Array::from_slice(&[5.0, 6.0])?;
    /// assert_eq!(array.get(1)?, 6.0);
    /// assert_eq!(array.get(2).unwrap_err().kind(), ErrorKind::OutOfBounds);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn get(&self, index: usize) -> Result<T, Error> {
        self.inner.get(index)
    }

    /// Writes an element, under the lock.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is written then.
    pub fn set(&self, index: usize, value: T) -> Result<(), Error> {
        self.inner.set(index, value)
    }

    /// Changes an element from what it was to what `change` makes of it, under the lock; returns the new one.
    ///
    /// If `change` panics, or the process is killed in it, the element is what it was, and the lock is free.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); `change` is not called then.
    ///
    /// # Examples
    ///
    /// ```
    /// let counts = mp_shared::Array::<u32>::new(256)?;
    /// for byte in *b"hello" {
    ///     counts.update(byte.into(), |count| count + 1)?;
    /// }
    /// assert_eq!(counts.get(b'l'.into())?, 2);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[inline]
    pub fn update(&self, index: usize, change: impl FnOnce(T) -> T) -> Result<T, Error> {
        let mut held = self.inner.visit()?;
        let value = change(read(&held, index)?);
        put(&mut held, index, value)?;
        Ok(value)
    }

    /// Copies all elements out, under the lock.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get).
    pub fn to_vec(&self) -> Result<Vec<T>, Error> {
        let held = self.inner.visit()?;
        let mut elements = vec![T::zeroed(); self.len()];
        held.object().read(0, &mut elements)?;
        Ok(elements)
    }

    /// Copies elements in, from the first on, under the lock.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`](crate::ErrorKind::OutOfBounds) if their number is not that of the array, or as with
    /// [`get`](Self::get); nothing is written then.
    ///
    /// # Examples
    ///
    /// ```
    /// let array = mp_shared::Array::<i32>::new(3)?;
    /// array.copy_from_slice(&[1, 2, 3])?;
    /// assert_eq!(array.to_vec()?, [1, 2, 3]);
    /// assert!(array.copy_from_slice(&[1, 2]).is_err());
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn copy_from_slice(&self, elements: &[T]) -> Result<(), Error> {
        if elements.len() != self.len() {
            return Err(self.inner.object().beyond(0, elements.len()));
        }
        self.inner.visit()?.exposed(|object| object.write(0, elements))
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

    /// Declares that the elements are in order again.
    pub fn clear_poison(&self) {
        self.inner.clear_poison();
    }
}

fn read<T: Pod>(held: &Held<'_>, index: usize) -> Result<T, Error> {
    held.object().load(index).ok_or_else(|| held.object().beyond(index, 1))
}

#[inline]
fn wrap<'a, T: Pod>(held: LockResult<Held<'a>>) -> LockResult<ArrayGuard<'a, T>> {
    held.map(ArrayGuard::new).map_err(|error| error.map(ArrayGuard::new))
}

/// An [`Array`] that this thread holds until the guard is dropped.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ArrayGuard<'a, T: Pod> {
    pub(crate) held: Held<'a>,
    elements: PhantomData<&'a mut [T]>,
}

impl<'a, T: Pod> ArrayGuard<'a, T> {
    fn new(held: Held<'a>) -> Self {
        Self { held, elements: PhantomData }
    }
}

impl<T: Pod> Deref for ArrayGuard<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let object = self.held.object();
        // SAFETY: the object has so many elements, aligned, and `T: Pod`, so that any bytes are one. The lock is held: of
        // those that share it, nobody else in this or another process writes them while the guard is borrowed.
        unsafe { slice::from_raw_parts(object.data::<T>(), object.len()) }
    }
}

impl<T: Pod> DerefMut for ArrayGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let object = self.held.object();
        // SAFETY: as in `deref`, and nobody else reads them either.
        unsafe { slice::from_raw_parts_mut(object.data::<T>(), object.len()) }
    }
}

#[cfg(feature = "named")]
named_object!(
    [T: Pod] Array<T>,
    Self::shape(),
    |object| Guarded::of(object).map(Self::from_inner),
    |this| this.inner.object(),
    "Array::<i32>",
    "Array::create_named(&name, &[1, 2])",
);

impl<T: Pod> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self::from_inner(self.inner.clone())
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Array");
        match self.try_lock().or_else(LockError::ignore_poison) {
            Ok(guard) => debug.field("elements", &&*guard),
            Err(_) => debug.field("elements", &format_args!("<locked>")),
        };
        self.inner.debug(&mut debug);
        debug.finish()
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for ArrayGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Pod> Serialize for Array<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Guarded::deserialize(deserializer, Self::shape()).map(Self::from_inner)
    }
}
