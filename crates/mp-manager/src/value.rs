//! Single values in the server.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::blob::Blob;
use crate::server::cell::Cell;
use crate::{Error, Proxy};

/// A value in the server of a manager, shared by all who have a clone.
///
/// [`Client::value`](crate::Client::value) makes one. Each operation is atomic.
///
/// # Python
///
/// `Manager().Value()`. Its type is any type here.
///
/// # Examples
///
/// ```
/// let manager = mp_manager::Manager::start()?;
/// let value = manager.value(&vec!["one".to_owned()])?;
/// let len = value.update(|list| {
///     list.push("two".to_owned());
///     list.len()
/// })?;
/// assert_eq!((len, value.get()?), (2, vec!["one".to_owned(), "two".to_owned()]));
/// # Ok::<(), mp_manager::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Value<T> {
    proxy: Proxy<Cell>,
    value: PhantomData<fn() -> T>,
}

impl<T> Value<T> {
    pub(crate) fn new(proxy: Proxy<Cell>) -> Self {
        Self { proxy, value: PhantomData }
    }

    /// A copy of the value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode); and [`ErrorKind::Closed`](crate::ErrorKind::Closed), which
    /// every method of this type has.
    pub fn get(&self) -> Result<T, Error>
    where
        T: DeserializeOwned,
    {
        self.proxy.call(Cell::get, ())?.1.decode()
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`](crate::ErrorKind::Encode)
    pub fn set(&self, value: &T) -> Result<(), Error>
    where
        T: Serialize,
    {
        self.proxy.call(Cell::set, (Blob::encode(value)?,))
    }

    /// Sets the value, and gives the one that was there.
    ///
    /// # Errors
    ///
    /// As [`Value::set`]; and [`ErrorKind::Decode`](crate::ErrorKind::Decode), after which it is set all the same.
    pub fn replace(&self, value: &T) -> Result<T, Error>
    where
        T: Serialize + DeserializeOwned,
    {
        self.proxy.call(Cell::replace, (Blob::encode(value)?,))?.decode()
    }

    /// Sets the value if it equals `current` in its encoded form; otherwise gives the one that is there, as inner
    /// `Err`.
    ///
    /// # Errors
    ///
    /// As [`Value::replace`].
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = mp_manager::Manager::start()?;
    /// let value = manager.value(&1)?;
    /// assert_eq!(value.compare_exchange(&1, &2)?, Ok(()));
    /// assert_eq!(value.compare_exchange(&1, &3)?, Err(2));
    /// # Ok::<(), mp_manager::Error>(())
    /// ```
    pub fn compare_exchange(&self, current: &T, new: &T) -> Result<Result<(), T>, Error>
    where
        T: Serialize + DeserializeOwned,
    {
        let args = (Blob::encode(current)?, Blob::encode(new)?);
        match self.proxy.call(Cell::compare_exchange, args)? {
            Ok(()) => Ok(Ok(())),
            Err(present) => present.decode().map(Err),
        }
    }

    /// Changes the value in place, and gives what the function returns.
    ///
    /// The function works on a copy here. If somebody else has changed the value meanwhile it is called again, with
    /// the new copy. So no update is lost, and the function should have no other effects.
    ///
    /// # Errors
    ///
    /// As [`Value::replace`].
    pub fn update<R>(&self, mut change: impl FnMut(&mut T) -> R) -> Result<R, Error>
    where
        T: Serialize + DeserializeOwned,
    {
        let (mut seen, mut present) = self.proxy.call(Cell::get, ())?;
        loop {
            let mut value = present.decode()?;
            let result = change(&mut value);
            match self.proxy.call(Cell::exchange, (seen, Blob::encode(&value)?))? {
                Ok(()) => return Ok(result),
                Err(other) => (seen, present) = other,
            }
        }
    }
}

impl<T> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self::new(self.proxy.clone())
    }
}

impl<T> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Value").field(&self.proxy).finish()
    }
}
