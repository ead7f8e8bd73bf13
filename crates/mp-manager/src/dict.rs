//! Dictionaries in the server.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::blob::Blob;
use crate::client::decode_all;
use crate::server::map::Map;
use crate::{Error, ErrorKind, Proxy};

/// A dictionary in the server of a manager, shared by all who have a clone.
///
/// [`Client::dict`](crate::Client::dict) makes one. Each operation is atomic. Entries are in the order in which their
/// keys were inserted. The server keeps keys and values encoded; keys are equal if their encoded forms are, and have
/// no handles in them. Values may have.
///
/// A value that came out is a copy; [`Dict::update`] changes one in place.
///
/// # Python
///
/// `Manager().dict()`
///
/// # Examples
///
/// ```
/// let manager = mp_manager::Manager::start()?;
/// let counts = manager.dict::<String, u64>()?;
/// for word in ["to", "be", "or", "not", "to", "be"] {
///     counts.update(&word.to_owned(), |count| Some(count.unwrap_or(0) + 1))?;
/// }
/// assert_eq!(counts.get(&"be".to_owned())?, Some(2));
/// assert_eq!(counts.keys()?, ["to", "be", "or", "not"]);
/// # Ok::<(), mp_manager::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Dict<K, V> {
    proxy: Proxy<Map>,
    entries: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Dict<K, V> {
    pub(crate) fn new(proxy: Proxy<Map>) -> Self {
        Self { proxy, entries: PhantomData }
    }

    /// How many entries there are.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`]; every method of this type has this error.
    pub fn len(&self) -> Result<usize, Error> {
        self.proxy.call(Map::len, ()).map(|len| len as usize)
    }

    /// Says whether there are no entries.
    ///
    /// # Errors
    ///
    /// As [`Dict::len`].
    pub fn is_empty(&self) -> Result<bool, Error> {
        self.len().map(|len| len == 0)
    }

    /// Removes all entries.
    ///
    /// # Errors
    ///
    /// As [`Dict::len`].
    pub fn clear(&self) -> Result<(), Error> {
        self.proxy.call(Map::clear, ())
    }

    /// All keys, as they were at one time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`]
    pub fn keys(&self) -> Result<Vec<K>, Error>
    where
        K: DeserializeOwned,
    {
        decode_all(&self.proxy.call(Map::keys, ())?)
    }

    /// Copies of all values, as they were at one time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`]
    pub fn values(&self) -> Result<Vec<V>, Error>
    where
        V: DeserializeOwned,
    {
        decode_all(&self.proxy.call(Map::values, ())?)
    }

    /// Copies of all entries, as they were at one time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`]
    pub fn items(&self) -> Result<Vec<(K, V)>, Error>
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        let items = self.proxy.call(Map::items, ())?;
        items.iter().map(|(key, value)| Ok((key.decode()?, value.decode()?))).collect()
    }
}

impl<K: Serialize, V> Dict<K, V> {
    /// Says whether there is an entry.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`], and [`ErrorKind::InvalidInput`] if the key has a handle in it.
    pub fn contains_key(&self, key: &K) -> Result<bool, Error> {
        self.proxy.call(Map::contains, (encode_key(key)?,))
    }

    /// A copy of a value; `None` if there is none.
    ///
    /// # Errors
    ///
    /// As [`Dict::contains_key`], and [`ErrorKind::Decode`].
    pub fn get(&self, key: &K) -> Result<Option<V>, Error>
    where
        V: DeserializeOwned,
    {
        let seen = self.proxy.call(Map::get, (encode_key(key)?,))?;
        seen.map(|(_, value)| value.decode()).transpose()
    }

    /// Sets the value of a key, and gives the one that it had.
    ///
    /// # Errors
    ///
    /// As [`Dict::contains_key`]; and [`ErrorKind::Decode`], after which it is set all the same.
    pub fn insert(&self, key: &K, value: &V) -> Result<Option<V>, Error>
    where
        V: Serialize + DeserializeOwned,
    {
        let old = self.proxy.call(Map::insert, (encode_key(key)?, Blob::encode(value)?))?;
        old.map(|old| old.decode()).transpose()
    }

    /// Sets the values of many keys in one step.
    ///
    /// # Errors
    ///
    /// As [`Dict::contains_key`].
    #[doc(alias = "update")]
    pub fn extend<'a>(&self, entries: impl IntoIterator<Item = (&'a K, &'a V)>) -> Result<(), Error>
    where
        K: 'a,
        V: Serialize + 'a,
    {
        let entries = entries.into_iter();
        let entries: Result<Vec<_>, Error> =
            entries.map(|(key, value)| Ok((encode_key(key)?, Blob::encode(value)?))).collect();
        self.proxy.call(Map::extend, (entries?,))
    }

    /// Gives the value of a key, after it has set it if there was none.
    ///
    /// # Errors
    ///
    /// As [`Dict::get`].
    #[doc(alias = "setdefault")]
    pub fn get_or_insert(&self, key: &K, value: V) -> Result<V, Error>
    where
        V: Serialize + DeserializeOwned,
    {
        let args = (encode_key(key)?, Blob::encode(&value)?);
        self.proxy.call(Map::insert_new, args)?.map_or(Ok(value), |present| present.decode())
    }

    /// Removes an entry, and gives its value.
    ///
    /// # Errors
    ///
    /// As [`Dict::contains_key`]; and [`ErrorKind::Decode`], after which it is removed all the same.
    #[doc(alias = "pop")]
    pub fn remove(&self, key: &K) -> Result<Option<V>, Error>
    where
        V: DeserializeOwned,
    {
        let old = self.proxy.call(Map::remove, (encode_key(key)?,))?;
        old.map(|old| old.decode()).transpose()
    }

    /// Makes something new of the value of a key, where `None` stands for no entry; gives the new one.
    ///
    /// The function works on a copy here. If somebody else has changed the entry meanwhile it is called again, with
    /// the new copy. So no update is lost, and the function should have no other effects.
    ///
    /// # Errors
    ///
    /// As [`Dict::get`].
    pub fn update(
        &self,
        key: &K,
        mut change: impl FnMut(Option<V>) -> Option<V>,
    ) -> Result<Option<V>, Error>
    where
        V: Serialize + DeserializeOwned,
    {
        let key = encode_key(key)?;
        let mut present = self.proxy.call(Map::get, (key.clone(),))?;
        loop {
            let seen = present.as_ref().map(|(seen, _)| *seen);
            let new = change(present.map(|(_, value)| value.decode()).transpose()?);
            let value = new.as_ref().map(Blob::encode).transpose()?;
            match self.proxy.call(Map::exchange, (key.clone(), seen, value))? {
                Ok(()) => return Ok(new),
                Err(other) => present = other,
            }
        }
    }
}

impl<K, V> Clone for Dict<K, V> {
    fn clone(&self) -> Self {
        Self::new(self.proxy.clone())
    }
}

impl<K, V> fmt::Debug for Dict<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dict").field(&self.proxy).finish()
    }
}

/// Named values of any types in the server of a manager, shared by all who have a clone.
///
/// [`Client::namespace`](crate::Client::namespace) makes one.
///
/// # Python
///
/// `Manager().Namespace()`. An attribute is a name and a value, and has the type that is asked for.
///
/// # Examples
///
/// ```
/// use mp_manager::ErrorKind;
///
/// let manager = mp_manager::Manager::start()?;
/// let settings = manager.namespace()?;
/// settings.set("depth", &3u32)?;
/// settings.set("title", "a title")?;
/// assert_eq!(settings.get("depth")?, Some(3u32));
/// assert_eq!(settings.get::<String>("title")?.as_deref(), Some("a title"));
/// assert_eq!(settings.get::<String>("name")?, None);
/// assert_eq!(settings.names()?, ["depth", "title"]);
/// # Ok::<(), mp_manager::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct Namespace {
    proxy: Proxy<Map>,
}

impl Namespace {
    pub(crate) fn new(proxy: Proxy<Map>) -> Self {
        Self { proxy }
    }

    /// Sets a value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`], and [`ErrorKind::Closed`].
    pub fn set<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), Error> {
        let args = (Blob::encode(name)?, Blob::encode(value)?);
        self.proxy.call(Map::insert, args).map(drop)
    }

    /// A copy of a value; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] if it does not decode as this type, and [`ErrorKind::Closed`].
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let seen = self.proxy.call(Map::get, (Blob::encode(name)?,))?;
        seen.map(|(_, value)| value.decode()).transpose()
    }

    /// Removes a value; says whether there was one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`]
    pub fn remove(&self, name: &str) -> Result<bool, Error> {
        self.proxy.call(Map::remove, (Blob::encode(name)?,)).map(|old| old.is_some())
    }

    /// All names, sorted.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`]
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let mut names = decode_all(&self.proxy.call(Map::keys, ())?)?;
        names.sort_unstable();
        Ok(names)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Namespace").field(&self.proxy).finish()
    }
}

fn encode_key<K: Serialize>(key: &K) -> Result<Blob, Error> {
    let key = Blob::encode(key)?;
    if key.has_handles() {
        let what = "a key with a handle in it would never be found again";
        return Err(Error::new(ErrorKind::InvalidInput, what));
    }
    Ok(key)
}
