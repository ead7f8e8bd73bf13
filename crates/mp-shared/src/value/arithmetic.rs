//! Changes of a number in one call, under its lock.

use crate::{Error, Value};

impl Value<u64> {
    /// Adds to the number, and returns what it was; wraps around.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is added then.
    pub fn fetch_add(&self, number: u64) -> Result<u64, Error> {
        self.fetch(|value| value.wrapping_add(number))
    }
}
