//! Values of one type in a row that grows and shrinks, that processes share, with their lock.

mod extent;
mod guard;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use std::vec;

use bytemuck::Pod;
use mp_wire::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use self::extent::{Extent, Rows};
pub use self::guard::SharedVecGuard;
use crate::lock::{Guarded, Held, deadline, is_word, put};
use crate::object::{Object, Shape, Tag};
use crate::poison::{LockError, LockResult};
use crate::segment::View;
use crate::{Error, ErrorKind};

/// How many bytes are reserved for the elements at first. Addresses cost nothing.
const RESERVE: usize = 64 << 30;

/// The least that is tried where the system is short of addresses.
const LEAST_RESERVE: usize = 1 << 20;

/// A vector in shared memory, with a lock: an array that grows and shrinks.
///
/// Clones are the same vector; so is what arrives if it is sent in a message or as an argument of a process. Received as a
/// vector of another type, it is an error. `T` is plain data ([`bytemuck::Pod`]), as with [`Value`](crate::Value):
///
/// ```compile_fail,E0277
/// let flags = mp_shared::SharedVec::<bool>::new();
/// ```
///
/// The elements never move. Each process maps, once, the addresses for [`max_len`](Self::max_len) elements, of which only those
/// that are used have memory behind them; so what one process adds, the others see without doing anything.
///
/// # Python
///
/// There is none: an `Array` has one size for ever, and a list of a `Manager` is a message to another process per access.
/// `append` is [`push`](Self::push).
///
/// # If a process dies
///
/// If one is killed in [`push`](Self::push), [`extend_from_slice`](Self::extend_from_slice), [`pop`](Self::pop),
/// [`truncate`](Self::truncate), [`resize`](Self::resize) or [`shrink_to_fit`](Self::shrink_to_fit), it has changed the length
/// or it has not; the next one gets the lock, and nothing is poisoned. If it is killed or panics while it has the guard, the
/// elements may be half changed: the vector is poisoned, as an [`Array`](crate::Array) is, until
/// [`clear_poison`](Self::clear_poison); its length is right even then. `get`, `set` and `update` are as with an array.
///
/// # Current implementation
///
/// Room for 64 GiB is reserved, or less where the system refuses. Memory is had for as much again as there is, between 64 KiB
/// and 16 MiB at a time, and given back by itself when four times as much is unused.
///
/// # Examples
///
/// ```
/// use mp_shared::SharedVec;
///
/// let log = SharedVec::<f64>::new()?;
/// let clone = log.clone(); // Or in another process.
/// clone.push(1.5)?;
/// clone.extend_from_slice(&[2.5, 3.5])?;
/// assert_eq!(log.to_vec()?, [1.5, 2.5, 3.5]);
/// log.lock()?.sort_by(|a, b| b.total_cmp(a));
/// assert_eq!(clone.pop()?, Some(1.5));
/// # Ok::<(), mp_shared::Error>(())
/// ```
pub struct SharedVec<T: Pod> {
    inner: Guarded,
    extent: View<Extent>,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod> SharedVec<T> {
    fn from_inner(inner: Guarded) -> Result<Self, Error> {
        let extent = inner.object().bind_front()?;
        Ok(Self { inner, extent, element: PhantomData })
    }

    fn shape() -> Shape {
        Shape::of::<T>(Tag::Vec)
    }

    /// Makes an empty vector.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`] if no memory, no addresses or no descriptor is left.
    pub fn new() -> Result<Self, Error> {
        let mut reserve = RESERVE;
        loop {
            let max = reserve.checked_div(size_of::<T>()).unwrap_or(usize::MAX);
            match Self::with_max_len(max) {
                Err(error) if error.kind() == ErrorKind::Exhausted && reserve > LEAST_RESERVE => {
                    reserve /= 2;
                }
                result => return result,
            }
        }
    }

    /// Makes an empty vector that can grow to `max_len` elements.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`] if there are not so many addresses, or no memory or no descriptor is left.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{ErrorKind, SharedVec};
    ///
    /// let pair = SharedVec::with_max_len(2)?;
    /// pair.extend_from_slice(&[1, 2])?;
    /// assert_eq!(pair.push(3).unwrap_err().kind(), ErrorKind::Exhausted);
    /// assert!(SharedVec::<u64>::with_max_len(usize::MAX).is_err());
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn with_max_len(max_len: usize) -> Result<Self, Error> {
        let object = Object::create_sparse(Self::shape(), max_len)?;
        let vector = Self::from_inner(Guarded::of(object)?)?;
        vector.rows(vector.inner.object()).begin();
        Ok(vector)
    }

    /// Makes a vector of these elements.
    ///
    /// # Errors
    ///
    /// As with [`new`](Self::new).
    pub fn from_slice(elements: &[T]) -> Result<Self, Error> {
        let vector = Self::new()?;
        vector.extend_from_slice(elements)?;
        Ok(vector)
    }

    #[inline]
    fn rows<'a>(&'a self, object: &'a Object) -> Rows<'a, T> {
        Rows::new(object, &self.extent)
    }

    /// The number of elements at this moment.
    ///
    /// It does not take the lock: others may change it before you look at what is returned.
    #[must_use]
    pub fn len(&self) -> usize {
        let len = self.extent.len.load(SeqCst);
        usize::try_from(len).unwrap_or(usize::MAX).min(self.max_len())
    }

    /// Says whether it has no elements at this moment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of elements that there is memory for at this moment.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.rows(self.inner.object()).capacity()
    }

    /// The number of elements that it can grow to; the same for ever.
    #[must_use]
    pub fn max_len(&self) -> usize {
        self.inner.object().len()
    }

    /// Takes the lock; the guard is the slice of all elements, and can grow and shrink.
    ///
    /// # Blocking
    ///
    /// Until whoever holds it releases it or dies. Signals do not end it.
    ///
    /// # Errors
    ///
    /// [`LockError::Poisoned`] with the guard in it if somebody died holding it, or has written a length that cannot be, in
    /// whose place it is empty; [`LockError::Deadlock`] if this thread holds it.
    ///
    /// # Examples
    ///
    /// ```
    /// let row = mp_shared::SharedVec::from_slice(&[3, 1, 2])?;
    /// let mut guard = row.lock()?;
    /// guard.sort();
    /// guard.push(7)?;
    /// guard[0] = 0;
    /// drop(guard);
    /// assert_eq!(row.to_vec()?, [0, 2, 3, 7]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[inline]
    pub fn lock(&self) -> LockResult<SharedVecGuard<'_, T>> {
        self.wrap(self.inner.lock(Deadline::NEVER))
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`] if somebody holds it, this thread or another; [`LockError::Poisoned`] as with
    /// [`lock`](Self::lock).
    #[inline]
    pub fn try_lock(&self) -> LockResult<SharedVecGuard<'_, T>> {
        self.wrap(self.inner.try_lock())
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
    #[inline]
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<SharedVecGuard<'_, T>> {
        self.wrap(self.inner.lock(deadline(timeout)))
    }

    #[inline]
    fn wrap<'a>(&'a self, held: LockResult<Held<'a>>) -> LockResult<SharedVecGuard<'a, T>> {
        let held = held.map_err(|error| error.map(|held| SharedVecGuard::new(self, held).0))?;
        match SharedVecGuard::new(self, held) {
            (guard, true) => Ok(guard),
            (guard, false) => Err(crate::PoisonError::new(guard).into()),
        }
    }

    /// Takes the lock for steps that leave all in order wherever they end.
    fn visit<R>(
        &self,
        step: impl FnOnce(Rows<'_, T>, usize) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let held = self.inner.visit()?;
        let rows = self.rows(held.object());
        let len = rows.len()?;
        step(rows, len)
    }

    /// Reads an element, under the lock.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`] beyond the last; [`ErrorKind::Poisoned`] if somebody died holding the lock;
    /// [`ErrorKind::Deadlock`] if this thread holds it: read through the guard then; [`ErrorKind::Corrupt`] if another
    /// process has written a length that cannot be.
    pub fn get(&self, index: usize) -> Result<T, Error> {
        self.inner.briefly(|object| {
            check(index, self.rows(object).len()?)?;
            object.load(index).ok_or_else(|| object.beyond(index, 1))
        })?
    }

    /// Writes an element, under the lock.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is written then.
    ///
    /// # Examples
    ///
    /// ```
    /// let row = mp_shared::SharedVec::from_slice(&[1u8, 2])?;
    /// row.set(1, 5)?;
    /// assert_eq!((row.get(1)?, row.set(2, 0).is_err()), (5, true));
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn set(&self, index: usize, element: T) -> Result<(), Error> {
        if is_word::<T>() {
            return self.inner.briefly(|object| {
                check(index, self.rows(object).len()?)?;
                object.store(index, element)
            })?;
        }
        let mut held = self.inner.visit()?;
        check(index, self.rows(held.object()).len()?)?;
        put(&mut held, index, element)
    }

    /// Changes an element from what it was to what `change` makes of it, under the lock; returns the new one.
    ///
    /// If `change` panics, or the process is killed in it, the element is what it was, and the lock is free.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); `change` is not called then.
    pub fn update(&self, index: usize, change: impl FnOnce(T) -> T) -> Result<T, Error> {
        let mut held = self.inner.visit()?;
        let object = held.object();
        check(index, self.rows(object).len()?)?;
        let element = change(object.load(index).ok_or_else(|| object.beyond(index, 1))?);
        put(&mut held, index, element)?;
        Ok(element)
    }

    /// Adds an element at the end; returns its index.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`] if there is no memory for it, or there are [`max_len`](Self::max_len) already; or as with
    /// [`get`](Self::get). Nothing has changed then.
    ///
    /// # Examples
    ///
    /// ```
    /// let results = mp_shared::SharedVec::new()?;
    /// assert_eq!((results.push(0.5)?, results.push(0.25)?), (0, 1));
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[doc(alias = "append")]
    #[inline]
    pub fn push(&self, element: T) -> Result<usize, Error> {
        let pushed = self.inner.briefly(|object| -> Result<Option<usize>, Error> {
            let rows = self.rows(object);
            let len = rows.len()?;
            if rows.has_room(rows.sum(len, 1)?) {
                rows.append(len, &[element])?;
                return Ok(Some(len));
            }
            Ok(None)
        })?;
        match pushed? {
            Some(index) => Ok(index),
            // To get memory takes longer.
            None => self.visit(|rows, len| {
                rows.reserve(rows.sum(len, 1)?)?;
                rows.append(len, &[element])?;
                Ok(len)
            }),
        }
    }

    /// Adds elements at the end, all or none of them.
    ///
    /// # Errors
    ///
    /// As with [`push`](Self::push).
    #[doc(alias = "extend")]
    pub fn extend_from_slice(&self, elements: &[T]) -> Result<(), Error> {
        self.visit(|rows, len| {
            rows.reserve(rows.sum(len, elements.len())?)?;
            rows.append(len, elements).map(drop)
        })
    }

    /// Takes the last element; `None` if there is none.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get).
    pub fn pop(&self) -> Result<Option<T>, Error> {
        self.visit(|rows, len| {
            let Some(last) = len.checked_sub(1) else { return Ok(None) };
            let element = self.inner.object().load(last);
            rows.cut(last);
            Ok(element)
        })
    }

    /// Lets go of all elements from the `len`th on; does nothing if there are no more.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get).
    ///
    /// # Examples
    ///
    /// ```
    /// let row = mp_shared::SharedVec::from_slice(&[1, 2, 3])?;
    /// row.truncate(1)?;
    /// assert_eq!(row.to_vec()?, [1]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn truncate(&self, len: usize) -> Result<(), Error> {
        self.visit(|rows, before| {
            if len < before {
                rows.cut(len);
            }
            Ok(())
        })
    }

    /// Lets go of all elements.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get).
    pub fn clear(&self) -> Result<(), Error> {
        self.truncate(0)
    }

    /// Makes it `len` elements long: lets go of some, or adds copies of `element`.
    ///
    /// # Errors
    ///
    /// As with [`push`](Self::push).
    ///
    /// # Examples
    ///
    /// ```
    /// let row = mp_shared::SharedVec::from_slice(&[1, 2, 3])?;
    /// row.resize(5, 7)?;
    /// assert_eq!(row.to_vec()?, [1, 2, 3, 7, 7]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn resize(&self, len: usize, element: T) -> Result<(), Error> {
        self.visit(|rows, before| rows.resize(before, len, element))
    }

    /// Gets memory for `additional` more elements than there are, so that adding them cannot fail.
    ///
    /// # Errors
    ///
    /// As with [`push`](Self::push).
    pub fn reserve(&self, additional: usize) -> Result<(), Error> {
        self.visit(|rows, len| rows.reserve(rows.sum(len, additional)?))
    }

    /// Gives back the memory that the elements do not need.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get), or the system refuses.
    ///
    /// # Examples
    ///
    /// ```
    /// let row = mp_shared::SharedVec::new()?;
    /// row.resize(100_000, 1u64)?;
    /// row.clear()?;
    /// row.shrink_to_fit()?;
    /// assert!(row.capacity() < 1000);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn shrink_to_fit(&self) -> Result<(), Error> {
        self.visit(|rows, len| rows.fit(len))
    }

    /// Copies all elements out, under the lock.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get).
    pub fn to_vec(&self) -> Result<Vec<T>, Error> {
        self.visit(|_, len| {
            let mut elements = vec![T::zeroed(); len];
            self.inner.object().read(0, &mut elements)?;
            Ok(elements)
        })
    }

    /// Copies all elements out, and goes over them without the lock.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get).
    pub fn iter(&self) -> Result<vec::IntoIter<T>, Error> {
        Ok(self.to_vec()?.into_iter())
    }

    /// Makes another vector, whose elements are now equal to those of this one, and which has a lock of its own.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get) and [`new`](Self::new).
    pub fn copy(&self) -> Result<Self, Error> {
        let copy = Self::with_max_len(self.max_len())?;
        copy.extend_from_slice(&self.to_vec()?)?;
        Ok(copy)
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

fn check(index: usize, len: usize) -> Result<(), Error> {
    if index < len {
        return Ok(());
    }
    let what = format!("there is no element {index} in a vector of {len}");
    Err(Error::new(ErrorKind::OutOfBounds, what))
}

impl<T: Pod> Clone for SharedVec<T> {
    fn clone(&self) -> Self {
        let (inner, extent) = (self.inner.clone(), self.extent.clone());
        Self { inner, extent, element: PhantomData }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for SharedVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("SharedVec");
        match self.try_lock().or_else(LockError::ignore_poison) {
            Ok(guard) => debug.field("elements", &&*guard),
            Err(_) => debug.field("elements", &format_args!("<locked>")),
        };
        self.inner.debug(&mut debug);
        debug.finish()
    }
}

impl<T: Pod> Serialize for SharedVec<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for SharedVec<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let inner = Guarded::deserialize(deserializer, Self::shape())?;
        Self::from_inner(inner).map_err(de::Error::custom)
    }
}
