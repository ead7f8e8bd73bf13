//! Changes of a value in one call, under its lock, which take no code of the user.

use bytemuck::Pod;

use crate::{AtomicBits, AtomicNumber, Error, Value};

impl<T: Pod> Value<T> {
    /// Writes the value, and returns what it was.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is written then.
    ///
    /// # Examples
    ///
    /// ```
    /// let best = mp_shared::Value::new([0.5, 1.0])?;
    /// assert_eq!(best.replace([2.0, 3.0])?, [0.5, 1.0]);
    /// assert_eq!(best.get()?, [2.0, 3.0]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[doc(alias = "swap")]
    pub fn replace(&self, value: T) -> Result<T, Error> {
        self.fetch(|_| value)
    }

    /// Makes another value, which is now equal to this one, and has a lock of its own.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get) and [`new`](Self::new).
    ///
    /// # Examples
    ///
    /// ```
    /// let value = mp_shared::Value::new(1)?;
    /// let copy = value.copy()?;
    /// value.set(2)?;
    /// assert_eq!(copy.get()?, 1);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn copy(&self) -> Result<Self, Error> {
        Self::new(self.get()?)
    }
}

impl<T: AtomicNumber> Value<T> {
    /// Adds to the number, and returns what it was; integers wrap around.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is added then.
    ///
    /// # Examples
    ///
    /// ```
    /// let total = mp_shared::Value::new(40u8)?;
    /// assert_eq!(total.fetch_add(2)?, 40);
    /// assert_eq!(total.get()?, 42);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn fetch_add(&self, number: T) -> Result<T, Error> {
        self.fetch(|value| value.plus(number))
    }

    /// Subtracts from the number, and returns what it was; integers wrap around.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is subtracted then.
    pub fn fetch_sub(&self, number: T) -> Result<T, Error> {
        self.fetch(|value| value.minus(number))
    }

    /// Makes the value the smaller of what it was and `number`; returns what it was.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is written then.
    pub fn fetch_min(&self, number: T) -> Result<T, Error> {
        self.fetch(|value| value.least(number))
    }

    /// Makes the value the larger of what it was and `number`; returns what it was.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is written then.
    ///
    /// # Examples
    ///
    /// ```
    /// let peak = mp_shared::Value::new(3.5)?;
    /// assert_eq!(peak.fetch_max(7.0)?, 3.5);
    /// assert_eq!(peak.get()?, 7.0);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn fetch_max(&self, number: T) -> Result<T, Error> {
        self.fetch(|value| value.most(number))
    }
}

impl<T: AtomicBits + Pod> Value<T> {
    /// Clears the bits that are not set in `bits`; returns what the value was.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is cleared then.
    pub fn fetch_and(&self, bits: T) -> Result<T, Error> {
        self.fetch(|value| value.and(bits))
    }

    /// Sets the bits that are set in `bits`; returns what the value was.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is set then.
    ///
    /// # Examples
    ///
    /// ```
    /// let ready = mp_shared::Value::new(0b100u8)?;
    /// assert_eq!(ready.fetch_or(0b001)?, 0b100);
    /// assert_eq!(ready.get()?, 0b101);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn fetch_or(&self, bits: T) -> Result<T, Error> {
        self.fetch(|value| value.or(bits))
    }

    /// Flips the bits that are set in `bits`; returns what the value was.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is flipped then.
    pub fn fetch_xor(&self, bits: T) -> Result<T, Error> {
        self.fetch(|value| value.xor(bits))
    }
}
