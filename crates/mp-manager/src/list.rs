//! Sequences in the server.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::blob::Blob;
use crate::client::{blobs, decode_all};
use crate::server::items::Items;
use crate::{Error, ErrorKind, Proxy};

/// A list in the server of a manager, shared by all who have a clone.
///
/// [`Client::list`](crate::Client::list) makes one. Each operation is atomic. The server keeps the elements encoded
/// and knows nothing of their type; they may have handles in them, such as queues, connections, and other shared
/// objects.
///
/// An element is a copy: what is done to a value that came out of the list is not done to the list.
/// [`List::update`] changes an element in place, and an element that is itself a shared object is shared.
///
/// # Python
///
/// `Manager().list()`
///
/// # Examples
///
/// ```
/// let manager = mp_manager::Manager::start()?;
/// let list = manager.list::<String>()?;
/// list.push(&"one".to_owned())?;
/// list.extend(&["two".to_owned(), "three".to_owned()])?;
/// list.update(0, |text| text.push('!'))?;
/// assert_eq!(list.to_vec()?, ["one!", "two", "three"]);
/// assert_eq!(list.position(&"two".to_owned())?, Some(1));
/// assert_eq!(list.range(1..)?, ["two", "three"]);
/// # Ok::<(), mp_manager::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct List<T> {
    proxy: Proxy<Items>,
    elements: PhantomData<fn() -> T>,
}

impl<T> List<T> {
    pub(crate) fn new(proxy: Proxy<Items>) -> Self {
        Self { proxy, elements: PhantomData }
    }

    /// How many elements there are.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`]; every method of this type has this error.
    pub fn len(&self) -> Result<usize, Error> {
        self.proxy.call(Items::len, ()).map(size)
    }

    /// Says whether there are no elements.
    ///
    /// # Errors
    ///
    /// As [`List::len`].
    pub fn is_empty(&self) -> Result<bool, Error> {
        self.len().map(|len| len == 0)
    }

    /// Removes all elements.
    ///
    /// # Errors
    ///
    /// As [`List::len`].
    pub fn clear(&self) -> Result<(), Error> {
        self.proxy.call(Items::clear, ())
    }

    /// Reverses the order of the elements.
    ///
    /// # Errors
    ///
    /// As [`List::len`].
    pub fn reverse(&self) -> Result<(), Error> {
        self.proxy.call(Items::reverse, ())
    }

    /// Removes the elements from `len` on.
    ///
    /// # Errors
    ///
    /// As [`List::len`].
    pub fn truncate(&self, len: usize) -> Result<(), Error> {
        self.proxy.call(Items::truncate, (len as u64,))
    }

    /// Exchanges two elements.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfRange`]
    pub fn swap(&self, a: usize, b: usize) -> Result<(), Error> {
        let result = self.proxy.call(Items::swap, (a as u64, b as u64))?;
        result.map_err(|len| out_of_range(a.max(b), len))
    }
}

impl<T: Serialize> List<T> {
    /// Adds an element at the end.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`]
    #[doc(alias = "append")]
    pub fn push(&self, value: &T) -> Result<(), Error> {
        self.proxy.call(Items::push, (Blob::encode(value)?,))
    }

    /// Adds elements at the end, all in one step.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`]
    pub fn extend(&self, values: &[T]) -> Result<(), Error> {
        self.proxy.call(Items::extend, (blobs(values)?,))
    }

    /// Replaces an element.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfRange`] and [`ErrorKind::Encode`]
    pub fn set(&self, index: usize, value: &T) -> Result<(), Error> {
        let result = self.proxy.call(Items::set, (index as u64, Blob::encode(value)?))?;
        result.map_err(|len| out_of_range(index, len))
    }

    /// Adds an element before another, or at the end.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfRange`] and [`ErrorKind::Encode`]
    pub fn insert(&self, index: usize, value: &T) -> Result<(), Error> {
        let result = self.proxy.call(Items::insert, (index as u64, Blob::encode(value)?))?;
        result.map_err(|len| out_of_range(index, len))
    }

    /// Finds the first element that is equal in its encoded form.
    ///
    /// So what has handles equals nothing, and a hash map equals another only if its order is the same.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`]
    #[doc(alias = "index")]
    pub fn position(&self, value: &T) -> Result<Option<usize>, Error> {
        let place = self.proxy.call(Items::position, (Blob::encode(value)?,))?;
        Ok(place.map(size))
    }

    /// Says whether an element is equal in its encoded form.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`]
    pub fn contains(&self, value: &T) -> Result<bool, Error> {
        self.position(value).map(|place| place.is_some())
    }

    /// Counts the elements that are equal in their encoded form.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`]
    pub fn count(&self, value: &T) -> Result<usize, Error> {
        self.proxy.call(Items::count, (Blob::encode(value)?,)).map(size)
    }
}

impl<T: DeserializeOwned> List<T> {
    /// A copy of an element; `None` beyond the end.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`]
    pub fn get(&self, index: usize) -> Result<Option<T>, Error> {
        let seen = self.proxy.call(Items::get, (index as u64,))?;
        seen.map(|(_, value)| value.decode()).transpose()
    }

    /// Removes an element, and gives it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfRange`]; and [`ErrorKind::Decode`], after which it is removed all the same.
    pub fn remove(&self, index: usize) -> Result<T, Error> {
        let result = self.proxy.call(Items::remove, (index as u64,))?;
        result.map_err(|len| out_of_range(index, len))?.decode()
    }

    /// Removes the last element, and gives it; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`], after which it is removed all the same.
    pub fn pop(&self) -> Result<Option<T>, Error> {
        self.proxy.call(Items::pop, ())?.map(|value| value.decode()).transpose()
    }

    /// Copies of the elements of a range, as far as they exist, all as they were at one time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`]
    pub fn range(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>, Error> {
        let (start, end) = bounds(&range);
        decode_all(&self.proxy.call(Items::range, (start, end))?)
    }

    /// Copies of all elements, all as they were at one time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`]
    pub fn to_vec(&self) -> Result<Vec<T>, Error> {
        self.range(..)
    }

    /// Goes through the elements, each as it is when it is its turn, until there is no next one.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = mp_manager::Manager::start()?;
    /// let list = manager.list_from(&[1, 2])?;
    /// let mut iter = list.iter();
    /// assert_eq!(iter.next().transpose()?, Some(1));
    /// list.push(&3)?;
    /// assert_eq!(iter.collect::<Result<Vec<_>, _>>()?, [2, 3]);
    /// # Ok::<(), mp_manager::Error>(())
    /// ```
    #[must_use]
    pub fn iter(&self) -> ListIter<'_, T> {
        ListIter { list: self, next: Some(0) }
    }
}

impl<T: Serialize + DeserializeOwned> List<T> {
    /// Changes an element in place, and gives what the function returns.
    ///
    /// The function works on a copy here. If somebody else has changed the element meanwhile it is called again, with
    /// the new copy. So no update is lost, and the function should have no other effects.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfRange`], [`ErrorKind::Encode`] and [`ErrorKind::Decode`]
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = mp_manager::Manager::start()?;
    /// let list = manager.list_from(&[10])?;
    /// let half = list.update(0, |n| {
    ///     *n += 1;
    ///     *n / 2
    /// })?;
    /// assert_eq!((list.get(0)?, half), (Some(11), 5));
    /// # Ok::<(), mp_manager::Error>(())
    /// ```
    pub fn update<R>(&self, index: usize, change: impl FnMut(&mut T) -> R) -> Result<R, Error> {
        update(&self.proxy, index, change)
    }
}

/// Changes an element if nobody else has, and tries again otherwise.
fn update<T: Serialize + DeserializeOwned, R>(
    proxy: &Proxy<Items>,
    index: usize,
    mut change: impl FnMut(&mut T) -> R,
) -> Result<R, Error> {
    let mut present = proxy.call(Items::get, (index as u64,))?;
    while let Some((seen, value)) = present {
        let mut value: T = value.decode()?;
        let result = change(&mut value);
        match proxy.call(Items::exchange, (index as u64, seen, Blob::encode(&value)?))? {
            Ok(()) => return Ok(result),
            Err(other) => present = other,
        }
    }
    Err(out_of_range(index, proxy.call(Items::len, ())?))
}

/// Goes through a [`List`]; made by [`List::iter`].
#[derive(Debug)]
pub struct ListIter<'a, T> {
    list: &'a List<T>,
    /// `None` after the end: what is added later comes too late.
    next: Option<usize>,
}

impl<T: DeserializeOwned> Iterator for ListIter<'_, T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.next?;
        let item = self.list.get(index).transpose();
        let more = match &item {
            None => false,
            Some(Ok(_)) => true,
            Some(Err(error)) => error.kind() == ErrorKind::Decode,
        };
        self.next = more.then_some(index + 1);
        item
    }
}

impl<T: DeserializeOwned> std::iter::FusedIterator for ListIter<'_, T> {}

impl<'a, T: DeserializeOwned> IntoIterator for &'a List<T> {
    type Item = Result<T, Error>;
    type IntoIter = ListIter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// An array in the server of a manager: a list that keeps its length.
///
/// [`Client::array`](crate::Client::array) makes one.
///
/// # Python
///
/// `Manager().Array()`. Its elements are of any type here.
///
/// # Examples
///
/// ```
/// let manager = mp_manager::Manager::start()?;
/// let array = manager.array(&[0.5, 1.5])?;
/// array.set(1, &2.5)?;
/// array.update(0, |x| *x *= 2.0)?;
/// assert_eq!(array.to_vec()?, [1.0, 2.5]);
/// assert_eq!(array.len()?, 2);
/// # Ok::<(), mp_manager::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Array<T> {
    list: List<T>,
}

impl<T> Array<T> {
    pub(crate) fn new(proxy: Proxy<Items>) -> Self {
        Self { list: List::new(proxy) }
    }

    /// How many elements there are.
    ///
    /// # Errors
    ///
    /// As [`List::len`].
    pub fn len(&self) -> Result<usize, Error> {
        self.list.len()
    }

    /// Says whether there are no elements.
    ///
    /// # Errors
    ///
    /// As [`List::len`].
    pub fn is_empty(&self) -> Result<bool, Error> {
        self.list.is_empty()
    }

    /// A copy of an element; `None` beyond the end.
    ///
    /// # Errors
    ///
    /// As [`List::get`].
    pub fn get(&self, index: usize) -> Result<Option<T>, Error>
    where
        T: DeserializeOwned,
    {
        self.list.get(index)
    }

    /// Replaces an element.
    ///
    /// # Errors
    ///
    /// As [`List::set`].
    pub fn set(&self, index: usize, value: &T) -> Result<(), Error>
    where
        T: Serialize,
    {
        self.list.set(index, value)
    }

    /// Changes an element in place; see [`List::update`].
    ///
    /// # Errors
    ///
    /// As [`List::update`].
    pub fn update<R>(&self, index: usize, change: impl FnMut(&mut T) -> R) -> Result<R, Error>
    where
        T: Serialize + DeserializeOwned,
    {
        self.list.update(index, change)
    }

    /// Exchanges two elements.
    ///
    /// # Errors
    ///
    /// As [`List::swap`].
    pub fn swap(&self, a: usize, b: usize) -> Result<(), Error> {
        self.list.swap(a, b)
    }

    /// Copies of the elements of a range, as far as they exist, all as they were at one time.
    ///
    /// # Errors
    ///
    /// As [`List::range`].
    pub fn range(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>, Error>
    where
        T: DeserializeOwned,
    {
        self.list.range(range)
    }

    /// Copies of all elements, all as they were at one time.
    ///
    /// # Errors
    ///
    /// As [`List::to_vec`].
    pub fn to_vec(&self) -> Result<Vec<T>, Error>
    where
        T: DeserializeOwned,
    {
        self.list.to_vec()
    }
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        Self::new(self.proxy.clone())
    }
}

impl<T> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("List").field(&self.proxy).finish()
    }
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self { list: self.list.clone() }
    }
}

impl<T> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Array").field(&self.list.proxy).finish()
    }
}

fn bounds(range: &impl RangeBounds<usize>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(&start) => start as u64,
        Bound::Excluded(&start) => (start as u64).saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&end) => (end as u64).saturating_add(1),
        Bound::Excluded(&end) => end as u64,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

fn size(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

fn out_of_range(index: usize, len: u64) -> Error {
    let what = format!("there is no element {index} among {len}");
    Error::new(ErrorKind::OutOfRange, what)
}
