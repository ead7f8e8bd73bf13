//! What can be done with the elements of an array in one call, under its lock.

use std::vec;

use bytemuck::Pod;

use super::Array;
use crate::{AtomicNumber, Error};

impl<T: Pod> Array<T> {
    /// Writes an element, and returns what it was.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is written then.
    pub fn replace(&self, index: usize, value: T) -> Result<T, Error> {
        self.inner.fetch(index, |_| value)
    }

    /// Exchanges two elements.
    ///
    /// # If a process dies
    ///
    /// If it is killed between the two writes, the array is poisoned.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is written then.
    ///
    /// # Examples
    ///
    /// ```
    /// let array = mp_shared::Array::from_slice(&[1, 2, 3])?;
    /// array.swap(0, 2)?;
    /// assert_eq!(array.to_vec()?, [3, 2, 1]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn swap(&self, first: usize, second: usize) -> Result<(), Error> {
        let mut held = self.inner.visit()?;
        let (one, other) = (super::read(&held, first)?, super::read(&held, second)?);
        if first == second {
            return Ok(());
        }
        held.exposed(|object| {
            object.store::<T>(first, other)?;
            object.store::<T>(second, one)
        })
    }

    /// Makes all elements equal to this one.
    ///
    /// # If a process dies
    ///
    /// If it is killed in the middle, the array is poisoned.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is written then.
    ///
    /// # Examples
    ///
    /// ```
    /// let array = mp_shared::Array::from_slice(&[1, 2, 3])?;
    /// array.fill(7)?;
    /// assert_eq!(array.to_vec()?, [7, 7, 7]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn fill(&self, element: T) -> Result<(), Error> {
        if size_of::<T>() == 0 {
            return self.inner.visit().map(drop);
        }
        let fill = |object: &crate::object::Object| {
            (0..object.len()).try_for_each(|index| object.store(index, element))
        };
        self.inner.visit()?.exposed(fill)
    }

    /// Copies elements out, from `start` on, as many as `target` has.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`](crate::ErrorKind::OutOfBounds) if there are not so many, or as with [`get`](Self::get);
    /// nothing is copied then.
    ///
    /// # Examples
    ///
    /// ```
    /// let array = mp_shared::Array::from_slice(&[1, 2, 3, 4])?;
    /// let mut middle = [0; 2];
    /// array.read_at(1, &mut middle)?;
    /// assert_eq!(middle, [2, 3]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn read_at(&self, start: usize, target: &mut [T]) -> Result<(), Error> {
        self.inner.visit()?.object().read(start, target)
    }

    /// Copies elements in, from `start` on.
    ///
    /// # If a process dies
    ///
    /// If it is killed in the middle, the array is poisoned.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`](crate::ErrorKind::OutOfBounds) if they go beyond the last, or as with [`get`](Self::get);
    /// nothing is written then.
    ///
    /// # Examples
    ///
    /// ```
    /// let array = mp_shared::Array::<u8>::new(4)?;
    /// array.write_at(1, &[7, 8])?;
    /// assert_eq!(array.to_vec()?, [0, 7, 8, 0]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn write_at(&self, start: usize, source: &[T]) -> Result<(), Error> {
        self.inner.visit()?.exposed(|object| object.write(start, source))
    }

    /// Copies all elements out.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`](crate::ErrorKind::OutOfBounds) if `target` has not as many elements as the array, or as
    /// with [`get`](Self::get); nothing is copied then.
    pub fn copy_to_slice(&self, target: &mut [T]) -> Result<(), Error> {
        if target.len() != self.len() {
            return Err(self.inner.object().beyond(0, target.len()));
        }
        self.read_at(0, target)
    }

    /// Copies all elements out, and goes over them without the lock.
    ///
    /// What others write meanwhile is not seen. To go over the elements themselves, or to change them, take the guard.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get).
    ///
    /// # Examples
    ///
    /// ```
    /// let array = mp_shared::Array::from_slice(&[1, 2, 3])?;
    /// for (index, element) in array.iter()?.enumerate() {
    ///     array.set(index, 10 * element)?;
    /// }
    /// assert_eq!(array.lock()?.iter().sum::<i32>(), 60);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn iter(&self) -> Result<vec::IntoIter<T>, Error> {
        Ok(self.to_vec()?.into_iter())
    }

    /// Makes another array, whose elements are now equal to those of this one, and which has a lock of its own.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get) and [`new`](Self::new).
    ///
    /// # Examples
    ///
    /// ```
    /// let array = mp_shared::Array::from_slice(&[1, 2])?;
    /// let copy = array.copy()?;
    /// array.set(0, 5)?;
    /// assert_eq!(copy.to_vec()?, [1, 2]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn copy(&self) -> Result<Self, Error> {
        Self::from_slice(&self.to_vec()?)
    }
}

impl<T: AtomicNumber> Array<T> {
    /// Adds to an element, and returns what it was; integers wrap around.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is added then.
    ///
    /// # Examples
    ///
    /// ```
    /// let counts = mp_shared::Array::<u32>::new(10)?;
    /// assert_eq!((counts.fetch_add(3, 2)?, counts.fetch_add(3, 1)?), (0, 2));
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn fetch_add(&self, index: usize, number: T) -> Result<T, Error> {
        self.inner.fetch(index, |element: T| element.plus(number))
    }

    /// Subtracts from an element, and returns what it was; integers wrap around.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is subtracted then.
    pub fn fetch_sub(&self, index: usize, number: T) -> Result<T, Error> {
        self.inner.fetch(index, |element: T| element.minus(number))
    }
}
