//! The table of what clients can have the server make and call.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use mp_process::Target;
use mp_wire::Message;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::method::{Method, name_of};
use crate::server::object::{Object, Plain};
use crate::{Error, ErrorKind};

/// Calls one method on an object, which is a `Mutex<T>`.
pub(crate) type Invoke = Box<dyn Fn(&dyn Any, &Message) -> Result<Message, Error> + Send + Sync>;

/// Makes one kind of object.
pub(crate) type Construct =
    Box<dyn Fn(&Arc<Registry>, &Message) -> Result<Arc<dyn Object>, Error> + Send + Sync>;

/// The table of types that a manager can make objects of, and of their methods.
///
/// A function that fills it in is given to [`Builder::register`](crate::Builder::register) and runs in the server
/// process. What is not in the table cannot be called: clients send names, never addresses of code.
///
/// # Python
///
/// `BaseManager.register()`
///
/// # Examples
///
/// ```
/// use mp_manager::{ErrorKind, Manager, Registry};
///
/// struct Counter(i64);
///
/// impl Counter {
///     fn new(start: i64) -> Self {
///         Self(start)
///     }
///     fn add(&mut self, n: i64) -> i64 {
///         self.0 += n;
///         self.0
///     }
///     fn hidden(&mut self) {}
/// }
///
/// fn setup(registry: &mut Registry) {
///     registry.class::<Counter>().constructor(Counter::new).method(Counter::add);
/// }
///
/// let manager = Manager::builder().register(setup).start()?;
/// let counter = manager.create(Counter::new, (5,))?;
/// assert_eq!(counter.call(Counter::add, (3,))?, 8);
/// assert_eq!(counter.call(Counter::hidden, ()).unwrap_err().kind(), ErrorKind::Unregistered);
/// # Ok::<(), mp_manager::Error>(())
/// ```
#[derive(Default)]
pub struct Registry {
    constructors: HashMap<&'static str, Construct>,
    methods: HashMap<TypeId, HashMap<&'static str, Invoke>>,
    /// What is wrong with the table, to be said when the manager starts.
    wrong: Vec<String>,
}

impl Registry {
    /// Opens the entry of a type, to add constructors and methods to it.
    pub fn class<T: Send + 'static>(&mut self) -> Class<'_, T> {
        Class { registry: self, object: PhantomData }
    }

    /// Adds an object with methods of its own, under a name that no function has.
    pub(crate) fn special(&mut self, name: &'static str, construct: Construct) {
        self.constructors.insert(name, construct);
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.wrong.first() {
            Some(what) => Err(Error::new(ErrorKind::Start, what)),
            None => Ok(()),
        }
    }

    pub(crate) fn construct(
        self: &Arc<Self>,
        name: &str,
        args: &Message,
    ) -> Result<Arc<dyn Object>, Error> {
        let construct = self.constructors.get(name).ok_or_else(|| {
            let what = format!("the constructor `{name}` is not registered with the manager");
            Error::new(ErrorKind::Unregistered, what)
        })?;
        construct(self, args)
    }

    pub(crate) fn method(&self, class: TypeId, name: &str) -> Option<&Invoke> {
        self.methods.get(&class)?.get(name)
    }

    /// A name is as good as the function behind it is the only one.
    fn check_name(&mut self, name: &str) {
        if name.contains("{{closure}}") {
            let what =
                format!("`{name}` has no name of its own: register a function, not a closure");
            self.wrong.push(what);
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("constructors", &self.constructors.len())
            .field("classes", &self.methods.len())
            .finish_non_exhaustive()
    }
}

/// The entry of one type in a [`Registry`].
pub struct Class<'a, T> {
    registry: &'a mut Registry,
    object: PhantomData<fn() -> T>,
}

impl<T: Send + 'static> Class<'_, T> {
    /// Adds a function that makes a `T`, for [`Client::create`](crate::Client::create).
    pub fn constructor<F, A>(self, constructor: F) -> Self
    where
        F: Target<A, Output = T> + Sync,
        A: DeserializeOwned,
    {
        let name = name_of::<F>();
        self.registry.check_name(name);
        let construct = move |registry: &Arc<Registry>, args: &Message| {
            let object = constructor.call(args.decode::<A>().map_err(Error::of_value)?);
            let object: Arc<dyn Object> = Arc::new(Plain::new(registry, object));
            Ok(object)
        };
        self.registry.constructors.insert(name, Box::new(construct));
        self
    }

    /// Adds a method, for [`Proxy::call`](crate::Proxy::call).
    pub fn method<F, A, Takes>(self, method: F) -> Self
    where
        F: Method<T, A, Takes>,
        F::Output: Serialize,
        A: DeserializeOwned,
    {
        let name = name_of::<F>();
        self.registry.check_name(name);
        let invoke = move |object: &dyn Any, args: &Message| {
            let Some(object) = object.downcast_ref::<Mutex<T>>() else {
                let what = format!("the object is no `{}`", type_name::<T>());
                return Err(Error::new(ErrorKind::Unregistered, what));
            };
            let args = args.decode::<A>().map_err(Error::of_value)?;
            let value = method.call(&mut object.lock(), args);
            mp_wire::encode(&value).map_err(Error::of_value)
        };
        let methods = self.registry.methods.entry(TypeId::of::<T>()).or_default();
        methods.insert(name, Box::new(invoke));
        self
    }
}

impl<T> fmt::Debug for Class<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Class<{}>", type_name::<T>())
    }
}
