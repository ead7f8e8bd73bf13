//! A vector in the hands of one thread.
#![expect(unsafe_code, reason = "a guard refers to the elements in shared memory")]

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::slice;

use bytemuck::Pod;

use super::{Rows, SharedVec};
use crate::Error;
use crate::lock::Held;

/// A [`SharedVec`] that this thread holds until the guard is dropped.
///
/// It is the slice of all elements, and can grow and shrink.
///
/// # If a process dies
///
/// Whoever is killed with the guard in hand leaves the vector poisoned. Its length is what was made of it by the last
/// method that was done.
///
/// # Examples
///
/// ```
/// let row = mp_shared::SharedVec::from_slice(&[1, 2, 3])?;
/// let mut guard = row.lock()?;
/// let sum = guard.iter().sum();
/// guard.push(sum)?;
/// guard.swap(0, 3);
/// assert_eq!(guard[..], [6, 2, 3, 1]);
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[must_use = "the lock is released when the guard is dropped"]
pub struct SharedVecGuard<'a, T: Pod> {
    held: Held<'a>,
    vector: &'a SharedVec<T>,
    /// What the length was, checked, when the lock was taken, or what it was made since. What others write there is not looked at.
    len: usize,
    elements: PhantomData<&'a mut [T]>,
}

impl<'a, T: Pod> SharedVecGuard<'a, T> {
    /// Reads the length; says whether it made sense. If not, the vector is now empty, and poisoned.
    pub(super) fn new(vector: &'a SharedVec<T>, held: Held<'a>) -> (Self, bool) {
        let rows = vector.rows(held.object());
        let (len, sound) = match rows.len() {
            Ok(len) => (len, true),
            Err(_) => {
                vector.inner.poison();
                (rows.repair(), false)
            }
        };
        (Self { held, vector, len, elements: PhantomData }, sound)
    }

    fn rows(&self) -> Rows<'a, T> {
        self.vector.rows(self.held.object())
    }

    /// Adds an element at the end.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if there is no memory for it, or there are
    /// [`max_len`](SharedVec::max_len) already. Nothing has changed then.
    pub fn push(&mut self, element: T) -> Result<(), Error> {
        self.extend_from_slice(&[element])
    }

    /// Adds elements at the end, all or none of them.
    ///
    /// # Errors
    ///
    /// As with [`push`](Self::push).
    pub fn extend_from_slice(&mut self, elements: &[T]) -> Result<(), Error> {
        self.reserve(elements.len())?;
        self.len = self.rows().append(self.len, elements)?;
        Ok(())
    }

    /// Takes the last element; `None` if there is none.
    pub fn pop(&mut self) -> Option<T> {
        let element = self.last().copied()?;
        self.truncate(self.len - 1);
        Some(element)
    }

    /// Takes an element, and puts the last one in its place; `None` beyond the last.
    ///
    /// # Examples
    ///
    /// ```
    /// let row = mp_shared::SharedVec::from_slice(&[1, 2, 3])?;
    /// let mut guard = row.lock()?;
    /// assert_eq!((guard.swap_remove(0), guard.swap_remove(5)), (Some(1), None));
    /// assert_eq!(guard[..], [3, 2]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn swap_remove(&mut self, index: usize) -> Option<T> {
        let last = self.len.checked_sub(1).filter(|&last| index <= last)?;
        self.swap(index, last);
        self.pop()
    }

    /// Lets go of all elements from the `len`th on; does nothing if there are no more.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.rows().cut(len);
            self.len = len;
        }
    }

    /// Lets go of all elements.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Makes it `len` elements long: lets go of some, or adds copies of `element`.
    ///
    /// # Errors
    ///
    /// As with [`push`](Self::push).
    pub fn resize(&mut self, len: usize, element: T) -> Result<(), Error> {
        self.rows().resize(self.len, len, element)?;
        self.len = len;
        Ok(())
    }

    /// Gets memory for `additional` more elements than there are, so that adding them cannot fail.
    ///
    /// # Errors
    ///
    /// As with [`push`](Self::push).
    pub fn reserve(&mut self, additional: usize) -> Result<(), Error> {
        let rows = self.rows();
        rows.reserve(rows.sum(self.len, additional)?)
    }

    /// Gives back the memory that the elements do not need.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn shrink_to_fit(&mut self) -> Result<(), Error> {
        self.rows().fit(self.len)
    }
}

impl<T: Pod> Deref for SharedVecGuard<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `Rows::len` found that so many elements lie in the mapping, aligned, and are backed; since then only methods
        // of this guard have changed the length. `T: Pod`, so that any bytes are one. The lock is held: of those that share
        // it, nobody else in this or another process writes them while the guard is borrowed.
        unsafe { slice::from_raw_parts(self.held.object().data::<T>(), self.len) }
    }
}

impl<T: Pod> DerefMut for SharedVecGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and nobody else reads them either.
        unsafe { slice::from_raw_parts_mut(self.held.object().data::<T>(), self.len) }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for SharedVecGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
