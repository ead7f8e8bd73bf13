//! Making objects.

use std::fmt;

use mp_process::Target;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::blob::Blob;
use crate::link::Remote;
use crate::method::name_of;
use crate::protocol::{Created, Request};
use crate::server::cell::Cell;
use crate::server::items::Items;
use crate::server::map::Map;
use crate::server::{lock, queue};
use crate::{Array, Dict, Error, List, Lock, Namespace, Proxy, Queue, Value};

/// A handle on the server of a manager, to make objects in it.
///
/// A [`Manager`](crate::Manager) has one and has its methods. It can be cloned, be an argument of a process and
/// travel in messages, so that other processes can make objects too. It does not keep the server alive.
///
/// # Examples
///
/// ```
/// use mp_manager::{Client, List, Manager};
/// use mp_process::Process;
///
/// fn make(client: Client) -> List<u32> {
///     let list = client.list().expect("the server is there");
///     list.push(&1).expect("the server is there");
///     list
/// }
///
/// let manager = Manager::start()?;
/// let list = Process::new(make, (manager.client(),)).start()?.join()?;
/// assert_eq!(list.to_vec()?, [1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct Client {
    pub(crate) remote: Remote,
}

impl Client {
    /// Makes an object of the user's own type, with a registered constructor and a tuple of its arguments.
    ///
    /// # Errors
    ///
    /// As [`Proxy::call`].
    ///
    /// # Examples
    ///
    /// See [`Registry`](crate::Registry).
    pub fn create<F, A>(&self, constructor: F, args: A) -> Result<Proxy<F::Output>, Error>
    where
        F: Target<A>,
        A: Serialize,
    {
        let _ = constructor;
        self.make(name_of::<F>(), &args)
    }

    fn make<T, A: Serialize>(&self, constructor: &str, args: &A) -> Result<Proxy<T>, Error> {
        let request = Request::Create { constructor: constructor.into() };
        let created: Created = self.remote.0.ask(&request, args)?;
        Ok(Proxy::new(self.remote.0.sibling(created.object, created.socket)))
    }

    /// Makes an empty list.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed) or [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted).
    pub fn list<T>(&self) -> Result<List<T>, Error> {
        self.create(Items::new, (Vec::new(),)).map(List::new)
    }

    /// Makes a list of what is in a slice.
    ///
    /// # Errors
    ///
    /// As [`Client::list`], and [`ErrorKind::Encode`](crate::ErrorKind::Encode).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = mp_manager::Manager::start()?;
    /// let list = manager.list_from(&[3, 1, 2])?;
    /// assert_eq!(list.pop()?, Some(2));
    /// # Ok::<(), mp_manager::Error>(())
    /// ```
    pub fn list_from<T: Serialize>(&self, values: &[T]) -> Result<List<T>, Error> {
        self.create(Items::new, (blobs(values)?,)).map(List::new)
    }

    /// Makes an empty dictionary.
    ///
    /// # Errors
    ///
    /// As [`Client::list`].
    pub fn dict<K, V>(&self) -> Result<Dict<K, V>, Error> {
        self.create(Map::new, ()).map(Dict::new)
    }

    /// Makes a namespace without names.
    ///
    /// # Errors
    ///
    /// As [`Client::list`].
    pub fn namespace(&self) -> Result<Namespace, Error> {
        self.create(Map::new, ()).map(Namespace::new)
    }

    /// Makes a single value.
    ///
    /// # Errors
    ///
    /// As [`Client::list_from`].
    pub fn value<T: Serialize>(&self, value: &T) -> Result<Value<T>, Error> {
        self.create(Cell::new, (Blob::encode(value)?,)).map(Value::new)
    }

    /// Makes an array of what is in a slice; it keeps its length.
    ///
    /// # Errors
    ///
    /// As [`Client::list_from`].
    pub fn array<T: Serialize>(&self, values: &[T]) -> Result<Array<T>, Error> {
        self.create(Items::new, (blobs(values)?,)).map(Array::new)
    }

    /// Makes a lock.
    ///
    /// # Errors
    ///
    /// As [`Client::list`].
    pub fn lock(&self) -> Result<Lock, Error> {
        self.make(lock::NEW, &()).map(Lock::new)
    }

    /// Makes a queue that takes any number of items.
    ///
    /// # Errors
    ///
    /// As [`Client::list`].
    pub fn queue<T>(&self) -> Result<Queue<T>, Error> {
        self.make(queue::NEW, &None::<u64>).map(Queue::new)
    }

    /// Makes a queue that takes so many items at most.
    ///
    /// # Errors
    ///
    /// As [`Client::list`], and [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it is none.
    pub fn queue_bounded<T>(&self, items: usize) -> Result<Queue<T>, Error> {
        self.make(queue::NEW, &Some(items as u64)).map(Queue::new)
    }

    /// Counts the objects in the server.
    ///
    /// An object goes a moment after its last proxy.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    #[doc(alias = "_number_of_objects")]
    pub fn object_count(&self) -> Result<usize, Error> {
        self.remote.0.ask(&Request::Count, &()).map(|count: u64| count as usize)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Encodes each value of a slice.
pub(crate) fn blobs<T: Serialize>(values: &[T]) -> Result<Vec<Blob>, Error> {
    values.iter().map(Blob::encode).collect()
}

/// Decodes each value.
pub(crate) fn decode_all<T: DeserializeOwned>(values: &[Blob]) -> Result<Vec<T>, Error> {
    values.iter().map(Blob::decode).collect()
}
