//! A value and an array that processes share without a lock.

use std::fmt;
use std::marker::PhantomData;

use bytemuck::Pod;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;
use crate::home::Home;
#[cfg(feature = "named")]
use crate::named::{self, named_object};
use crate::object::{Object, Shape, Tag};

/// A value in shared memory, without a lock.
///
/// Clones are the same value; so is what arrives if it is sent in a message or as an argument of a process.
/// Received as a value of another type, it is an error. `T` is plain data, as with [`Value`](crate::Value).
///
/// A `T` of 1, 2, 4 or 8 bytes is read and written in one step, by a relaxed atomic access: what is read is what somebody
/// wrote. A larger one, or one of another size, is read and written piece by piece: if somebody writes meanwhile, what is read
/// can be partly old and partly new. Nothing orders it among other accesses. To count, or to change it by what it was,
/// take a [`Value`](crate::Value): between a [`load`](Self::load) and a [`store`](Self::store) others may write.
///
/// # Python
///
/// `RawValue`.
///
/// # If a process dies
///
/// There is nothing that it could hold. Killed in [`store`](Self::store), it leaves the old or the new value; if that takes
/// more than one step, a part of each.
///
/// # Examples
///
/// ```
/// use mp_shared::RawValue;
///
/// let progress = RawValue::new(0.0f64)?;
/// let clone = progress.clone(); // Or in another process.
/// clone.store(0.5);
/// assert_eq!(progress.load(), 0.5);
/// # Ok::<(), mp_shared::Error>(())
/// ```
pub struct RawValue<T: Pod> {
    object: Object,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod> RawValue<T> {
    fn from_object(object: Object) -> Self {
        Self { object, element: PhantomData }
    }

    fn shape() -> Shape {
        Shape::one::<T>(Tag::RawValue)
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
    /// use mp_shared::RawValue;
    ///
    /// let name = format!("doc-RawValue-{}", std::process::id());
    /// let progress = RawValue::create_named(&name, 0.0)?;
    /// RawValue::<f64>::open(&name)?.store(0.5); // In any program.
    /// assert_eq!(progress.load(), 0.5);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[cfg(feature = "named")]
    pub fn create_named(name: &str, initial: T) -> Result<Self, Error> {
        named::create(name, |home| Self::make(home, initial))
    }

    fn make(home: Home<'_>, initial: T) -> Result<Self, Error> {
        let value = Object::create_at(home, Self::shape(), 1).map(Self::from_object)?;
        value.store(initial);
        Ok(value)
    }

    /// Reads the value.
    #[must_use]
    pub fn load(&self) -> T {
        // There is one element: `new` made it, and attaching checks it.
        self.object.load(0).unwrap_or_else(T::zeroed)
    }

    /// Writes the value.
    pub fn store(&self, value: T) {
        // As in `load`.
        let _ = self.object.store(0, value);
    }

    /// Makes another value, which is now equal to this one.
    ///
    /// # Errors
    ///
    /// As with [`new`](Self::new).
    pub fn copy(&self) -> Result<Self, Error> {
        Self::new(self.load())
    }
}

/// An array in shared memory, without a lock.
///
/// Its length is fixed when it is made, and may be zero. Clones are the same array; so is what arrives if it is sent in a
/// message or as an argument of a process. Received as an array of another type, it is an error. `T` is plain data, as with
/// [`Value`](crate::Value).
///
/// An element of 1, 2, 4 or 8 bytes is never torn. If somebody writes meanwhile, what is copied out can have some elements from
/// before and some from after, in any mixture, and elements of other sizes that are partly each. So let each process write
/// elements of its own, and read when all are done, or take an [`Array`](crate::Array).
///
/// # Python
///
/// `RawArray`. Slices are [`read_at`](Self::read_at) and [`write_at`](Self::write_at).
///
/// # If a process dies
///
/// There is nothing that it could hold. Killed while it writes, it leaves some elements written and some not.
///
/// # Examples
///
/// ```
/// use mp_shared::RawArray;
///
/// let squares = RawArray::<u32>::new(4)?;
/// std::thread::scope(|scope| {
///     for index in 0..4 {
///         let squares = &squares; // Or a clone in another process.
///         scope.spawn(move || squares.store(index, (index * index) as u32));
///     }
/// });
/// assert_eq!(squares.to_vec(), [0, 1, 4, 9]);
/// # Ok::<(), mp_shared::Error>(())
/// ```
pub struct RawArray<T: Pod> {
    object: Object,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod> RawArray<T> {
    fn from_object(object: Object) -> Self {
        Self { object, element: PhantomData }
    }

    fn shape() -> Shape {
        Shape::of::<T>(Tag::RawArray)
    }

    /// Makes an array of `len` elements, all of whose bytes are zero.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if there is not so much memory, or no descriptor is left.
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
    /// use mp_shared::RawArray;
    ///
    /// let name = format!("doc-RawArray-{}", std::process::id());
    /// let array = RawArray::create_named(&name, &[1u32, 2, 3])?;
    /// RawArray::<u32>::open(&name)?.store(0, 10)?; // In any program.
    /// assert_eq!(array.to_vec(), [10, 2, 3]);
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
    /// use mp_shared::RawArray;
    ///
    /// let name = format!("doc-RawArray-zeroed-{}", std::process::id());
    /// let array = RawArray::<u32>::create_named_zeroed(&name, 3)?;
    /// assert_eq!(RawArray::<u32>::open(&name)?.to_vec(), [0, 0, 0]); // In any program.
    /// assert!(array.owns_name());
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[cfg(feature = "named")]
    pub fn create_named_zeroed(name: &str, len: usize) -> Result<Self, Error> {
        named::create(name, |home| Self::make(home, len))
    }

    fn make(home: Home<'_>, len: usize) -> Result<Self, Error> {
        Object::create_at(home, Self::shape(), len).map(Self::from_object)
    }

    fn make_of(home: Home<'_>, elements: &[T]) -> Result<Self, Error> {
        let array = Self::make(home, elements.len())?;
        array.write_at(0, elements)?;
        Ok(array)
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.object.len()
    }

    /// Says whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads an element; `None` beyond the last.
    #[must_use]
    pub fn load(&self, index: usize) -> Option<T> {
        self.object.load(index)
    }

    /// Writes an element.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`](crate::ErrorKind::OutOfBounds) beyond the last.
    pub fn store(&self, index: usize, value: T) -> Result<(), Error> {
        self.object.store(index, value)
    }

    /// Copies elements out, from `start` on, as many as `target` has.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`](crate::ErrorKind::OutOfBounds) if there are not so many; nothing is copied then.
    ///
    /// # Examples
    ///
    /// ```
    /// let array = mp_shared::RawArray::from_slice(&[1, 2, 3, 4])?;
    /// let mut middle = [0; 2];
    /// array.read_at(1, &mut middle)?;
    /// assert_eq!(middle, [2, 3]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn read_at(&self, start: usize, target: &mut [T]) -> Result<(), Error> {
        self.object.read(start, target)
    }

    /// Copies elements in, from `start` on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`](crate::ErrorKind::OutOfBounds) if they go beyond the last; nothing is written then.
    ///
    /// # Examples
    ///
    /// ```
    /// let array = mp_shared::RawArray::<u8>::new(4)?;
    /// array.write_at(1, &[7, 8])?;
    /// assert_eq!(array.to_vec(), [0, 7, 8, 0]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn write_at(&self, start: usize, source: &[T]) -> Result<(), Error> {
        self.object.write(start, source)
    }

    /// Copies all elements out.
    #[must_use]
    pub fn to_vec(&self) -> Vec<T> {
        let mut elements = vec![T::zeroed(); self.len()];
        // As many as there are.
        let _ = self.object.read(0, &mut elements);
        elements
    }

    /// Goes over the elements, reading each when it is its turn.
    ///
    /// # Examples
    ///
    /// ```
    /// let array = mp_shared::RawArray::from_slice(&[1, 2, 3])?;
    /// assert_eq!(array.iter().map(|n| 2 * n).collect::<Vec<_>>(), [2, 4, 6]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = T> + ExactSizeIterator + '_ {
        // There are so many.
        (0..self.len()).map(|index| self.object.load(index).unwrap_or_else(T::zeroed))
    }

    /// Makes all elements equal to this one, one after the other.
    pub fn fill(&self, element: T) {
        let len = if size_of::<T>() == 0 { 0 } else { self.len() };
        for index in 0..len {
            // There are so many.
            let _ = self.object.store(index, element);
        }
    }

    /// Makes another array, whose elements are now equal to those of this one.
    ///
    /// # Errors
    ///
    /// As with [`new`](Self::new).
    pub fn copy(&self) -> Result<Self, Error> {
        Self::from_slice(&self.to_vec())
    }
}

#[cfg(feature = "named")]
named_object!(
    [T: Pod] RawValue<T>,
    Self::shape(),
    |object| Ok(Self::from_object(object)),
    |this| &this.object,
    "RawValue::<i32>",
    "RawValue::create_named(&name, 1)",
);

#[cfg(feature = "named")]
named_object!(
    [T: Pod] RawArray<T>,
    Self::shape(),
    |object| Ok(Self::from_object(object)),
    |this| &this.object,
    "RawArray::<i32>",
    "RawArray::create_named(&name, &[1, 2])",
);

impl<T: Pod> Clone for RawValue<T> {
    fn clone(&self) -> Self {
        Self::from_object(self.object.clone())
    }
}

impl<T: Pod> Clone for RawArray<T> {
    fn clone(&self) -> Self {
        Self::from_object(self.object.clone())
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for RawValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawValue").field(&self.load()).finish()
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for RawArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawArray").field(&self.to_vec()).finish()
    }
}

impl<T: Pod> Serialize for RawValue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<T: Pod> Serialize for RawArray<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for RawValue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::deserialize(deserializer, Self::shape()).map(Self::from_object)
    }
}

impl<'de, T: Pod> Deserialize<'de> for RawArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::deserialize(deserializer, Self::shape()).map(Self::from_object)
    }
}
