//! One number that processes change together, without a lock.

mod kinds;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use self::kinds::{Atomic, AtomicBits, AtomicNumber};
use crate::Error;
use crate::home::Home;
#[cfg(feature = "named")]
use crate::named::{self, named_object};
use crate::object::{Object, Shape, Tag};
use crate::segment::View;

/// A number in shared memory that is changed in one step, without a lock.
///
/// It is what [`std::sync::atomic`] has between threads, between processes: `T` is an integer of 8 to 64 bits, `usize`,
/// `isize`, `f32`, `f64` or `bool`. Clones are the same number; so is what arrives if it is sent in a message or as an
/// argument of a process. Received as a number of another type, it is an error.
///
/// All operations are sequentially consistent ([`Ordering::SeqCst`](std::sync::atomic::Ordering::SeqCst)): all processes see
/// all of them in one order, and whoever sees a number sees what its writer had written elsewhere before. None waits. As with
/// std's atomics, integers wrap around on overflow.
///
/// For what has more than one word, or a change that must not be made twice, take a [`Value`](crate::Value).
///
/// ```compile_fail,E0277
/// let wide = mp_shared::AtomicValue::new(1u128);
/// ```
///
/// # Python
///
/// There is none: `with v.get_lock(): v.value += 1` is one [`fetch_add`](Self::fetch_add) here.
///
/// # If a process dies
///
/// It has done its operation, or it has not. There is nothing that it could hold, and nothing to be poisoned.
///
/// # Examples
///
/// ```
/// use mp_shared::AtomicValue;
///
/// let done = AtomicValue::new(0u64)?;
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         let done = done.clone(); // Or in another process.
///         scope.spawn(move || (0..100).for_each(|_| drop(done.fetch_add(1))));
///     }
/// });
/// assert_eq!(done.load(), 400);
/// # Ok::<(), mp_shared::Error>(())
/// ```
pub struct AtomicValue<T: Atomic> {
    object: Object,
    cell: View<T::Cell>,
}

impl<T: Atomic> AtomicValue<T> {
    fn from_object(object: Object) -> Result<Self, Error> {
        let cell = object.bind(0)?;
        Ok(Self { object, cell })
    }

    fn shape() -> Shape {
        Shape::cell::<T>(Tag::Atomic)
    }

    /// Makes a number.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if no memory or no descriptor is left.
    pub fn new(initial: T) -> Result<Self, Error> {
        Self::make(Home::Anywhere, initial)
    }

    /// Makes a number under a name, by which any program of the same user can [`open`](Self::open) it.
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
    /// use mp_shared::AtomicValue;
    ///
    /// let name = format!("doc-AtomicValue-{}", std::process::id());
    /// let visits = AtomicValue::create_named(&name, 40u64)?;
    /// AtomicValue::<u64>::open(&name)?.fetch_add(2); // In any program.
    /// assert_eq!(visits.load(), 42);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[cfg(feature = "named")]
    pub fn create_named(name: &str, initial: T) -> Result<Self, Error> {
        named::create(name, |home| Self::make(home, initial))
    }

    fn make(home: Home<'_>, initial: T) -> Result<Self, Error> {
        let value = Self::from_object(Object::create_at(home, Self::shape(), 1)?)?;
        value.store(initial);
        Ok(value)
    }

    /// Reads it.
    #[inline]
    #[must_use]
    pub fn load(&self) -> T {
        T::load(&self.cell)
    }

    /// Writes it.
    #[inline]
    pub fn store(&self, value: T) {
        T::store(&self.cell, value);
    }

    /// Writes it, and returns what it was.
    ///
    /// # Examples
    ///
    /// ```
    /// let flag = mp_shared::AtomicValue::new(false)?;
    /// assert!(!flag.swap(true), "the first one finds it down");
    /// assert!(flag.swap(true));
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[inline]
    pub fn swap(&self, value: T) -> T {
        T::swap(&self.cell, value)
    }

    /// Writes `new` if it is `current`; returns what it was, as an error if it was something else.
    ///
    /// Floating-point numbers are compared by their bits: a NaN is itself, and 0.0 is not -0.0.
    ///
    /// # Errors
    ///
    /// What it is, if that is not `current`. Nothing is written then.
    ///
    /// # Examples
    ///
    /// ```
    /// let owner = mp_shared::AtomicValue::new(0u32)?;
    /// assert_eq!(owner.compare_exchange(0, 7), Ok(0));
    /// assert_eq!(owner.compare_exchange(0, 8), Err(7));
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[inline]
    pub fn compare_exchange(&self, current: T, new: T) -> Result<T, T> {
        T::compare_exchange(&self.cell, current, new)
    }

    /// Changes it from what it was to what `change` makes of it; returns what it was.
    ///
    /// `change` is called again if somebody else has changed it meanwhile.
    ///
    /// # Errors
    ///
    /// What it is, if `change` returns `None` for that. Nothing is written then.
    ///
    /// # Examples
    ///
    /// ```
    /// let tickets = mp_shared::AtomicValue::new(1u8)?;
    /// let take = || tickets.fetch_update(|left| left.checked_sub(1));
    /// assert_eq!((take(), take()), (Ok(1), Err(0)));
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn fetch_update(&self, change: impl FnMut(T) -> Option<T>) -> Result<T, T> {
        T::fetch_update(&self.cell, change)
    }
}

impl<T: AtomicNumber> AtomicValue<T> {
    /// Adds to it, and returns what it was; integers wrap around.
    ///
    /// # Examples
    ///
    /// ```
    /// let count = mp_shared::AtomicValue::new(250u8)?;
    /// assert_eq!(count.fetch_add(10), 250);
    /// assert_eq!(count.load(), 4);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[inline]
    pub fn fetch_add(&self, number: T) -> T {
        T::fetch_add(&self.cell, number)
    }

    /// Subtracts from it, and returns what it was; integers wrap around.
    #[inline]
    pub fn fetch_sub(&self, number: T) -> T {
        T::fetch_sub(&self.cell, number)
    }

    /// Makes it the smaller of what it was and `number`; returns what it was.
    ///
    /// Of a NaN and a number it is the number, as with [`f64::min`].
    #[inline]
    pub fn fetch_min(&self, number: T) -> T {
        T::fetch_min(&self.cell, number)
    }

    /// Makes it the larger of what it was and `number`; returns what it was.
    ///
    /// Of a NaN and a number it is the number, as with [`f64::max`].
    ///
    /// # Examples
    ///
    /// ```
    /// let peak = mp_shared::AtomicValue::new(0.5f64)?;
    /// assert_eq!(peak.fetch_max(0.75), 0.5);
    /// assert_eq!(peak.fetch_max(0.25), 0.75);
    /// assert_eq!(peak.load(), 0.75);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[inline]
    pub fn fetch_max(&self, number: T) -> T {
        T::fetch_max(&self.cell, number)
    }
}

impl<T: AtomicBits> AtomicValue<T> {
    /// Clears the bits that are not set in `bits`; returns what it was.
    #[inline]
    pub fn fetch_and(&self, bits: T) -> T {
        T::fetch_and(&self.cell, bits)
    }

    /// Sets the bits that are set in `bits`; returns what it was.
    ///
    /// # Examples
    ///
    /// ```
    /// let ready = mp_shared::AtomicValue::new(0b01u8)?;
    /// assert_eq!(ready.fetch_or(0b10), 0b01);
    /// assert_eq!(ready.load(), 0b11);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[inline]
    pub fn fetch_or(&self, bits: T) -> T {
        T::fetch_or(&self.cell, bits)
    }

    /// Flips the bits that are set in `bits`; returns what it was.
    #[inline]
    pub fn fetch_xor(&self, bits: T) -> T {
        T::fetch_xor(&self.cell, bits)
    }
}

#[cfg(feature = "named")]
named_object!(
    [T: Atomic] AtomicValue<T>,
    Self::shape(),
    Self::from_object,
    |this| &this.object,
    "AtomicValue::<i32>",
    "AtomicValue::create_named(&name, 1)",
);

impl<T: Atomic> Clone for AtomicValue<T> {
    fn clone(&self) -> Self {
        Self { object: self.object.clone(), cell: self.cell.clone() }
    }
}

impl<T: Atomic + fmt::Debug> fmt::Debug for AtomicValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AtomicValue").field(&self.load()).finish()
    }
}

impl<T: Atomic> Serialize for AtomicValue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de, T: Atomic> Deserialize<'de> for AtomicValue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Object::deserialize(deserializer, Self::shape())?;
        Self::from_object(object).map_err(de::Error::custom)
    }
}
