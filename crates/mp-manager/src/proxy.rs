//! Objects of the user's own types.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::link::{Handle, Remote};
use crate::method::{Method, name_of};

/// An object of type `T` in the server of a manager.
///
/// [`Client::create`](crate::Client::create) makes one. It can be cloned, be an argument of a process, and travel in
/// messages and in other shared objects. The server drops the object when nobody has a proxy to it any more, whether
/// they were dropped or their processes died; also a proxy in a message that nobody has received counts. Objects that
/// have proxies to each other in a circle live until the server ends.
///
/// Methods run one at a time, each whole: what a method does to the object is atomic for everyone.
///
/// # Python
///
/// `BaseProxy`. The method is named by itself, so arguments and value have its types.
///
/// # If a process dies
///
/// A call that the server has begun is done, even if its client dies. When the server is gone, every call gives
/// [`ErrorKind::Closed`](crate::ErrorKind::Closed), also one that is waiting.
///
/// # Examples
///
/// See [`Registry`](crate::Registry).
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Proxy<T> {
    remote: Remote,
    object: PhantomData<fn() -> T>,
}

impl<T> Proxy<T> {
    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        Self { remote: Remote(handle), object: PhantomData }
    }

    /// Calls a method of the object, with a tuple of arguments.
    ///
    /// # Blocking
    ///
    /// Waits until the method returns, and before that until those called earlier have.
    ///
    /// # Panics
    ///
    /// Not here: a method that panics is an error of this call. The object stays as the method left it and is not
    /// poisoned.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unregistered`](crate::ErrorKind::Unregistered) if the method is not in the
    /// [`Registry`](crate::Registry), [`ErrorKind::Panicked`](crate::ErrorKind::Panicked),
    /// [`ErrorKind::Encode`](crate::ErrorKind::Encode), [`ErrorKind::Decode`](crate::ErrorKind::Decode),
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted), and [`ErrorKind::Closed`](crate::ErrorKind::Closed). An
    /// error that the method returns is its value.
    ///
    /// # Examples
    ///
    /// See [`Registry`](crate::Registry).
    pub fn call<F, A, Takes>(&self, method: F, args: A) -> Result<F::Output, Error>
    where
        F: Method<T, A, Takes>,
        F::Output: DeserializeOwned,
        A: Serialize,
    {
        let _ = method;
        self.remote.0.call(name_of::<F>(), &args)
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.remote.0
    }

    /// Says whether both are proxies to the same object.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.remote.0, &other.remote.0)
    }
}

impl<T> Clone for Proxy<T> {
    fn clone(&self) -> Self {
        Self::new(self.remote.0.clone())
    }
}

impl<T> fmt::Debug for Proxy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy<{}>({:?})", type_name::<T>(), self.remote)
    }
}
