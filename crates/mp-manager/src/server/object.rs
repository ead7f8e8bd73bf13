//! What a server keeps.

use std::any::{Any, TypeId, type_name};
use std::sync::Arc;

use mp_wire::Message;
use parking_lot::Mutex;

use crate::registry::Registry;
use crate::server::session::{Reply, guarded};
use crate::{Error, ErrorKind};

/// An object, whatever its type.
///
/// Every call is answered once: before `call` returns, or later by another call that lets it go on.
pub(crate) trait Object: Send + Sync {
    fn call(self: Arc<Self>, method: &str, args: Message, reply: Reply);

    /// The client does not want to wait for its answer any longer; it gets one now, if it has not had it.
    fn cancel(self: Arc<Self>, _client: u64) {}

    /// The client is gone, with whatever it waited for or held here.
    fn gone(self: Arc<Self>, _client: u64) {}
}

/// An object whose methods are in the registry, and run one at a time.
pub(crate) struct Plain {
    class: TypeId,
    name: &'static str,
    /// A `Mutex<T>` of the class.
    value: Box<dyn Any + Send + Sync>,
    registry: Arc<Registry>,
}

impl Plain {
    pub(crate) fn new<T: Send + 'static>(registry: &Arc<Registry>, value: T) -> Self {
        Self {
            class: TypeId::of::<T>(),
            name: type_name::<T>(),
            value: Box::new(Mutex::new(value)),
            registry: registry.clone(),
        }
    }

    fn run(&self, method: &str, args: &Message) -> Result<Message, Error> {
        let invoke =
            self.registry.method(self.class, method).ok_or_else(|| unknown(method, self.name))?;
        guarded(method, || invoke(&*self.value, args))
    }
}

impl Object for Plain {
    fn call(self: Arc<Self>, method: &str, args: Message, reply: Reply) {
        let answer = self.run(method, &args);
        reply.send(answer);
    }
}

/// The error of a method that is not there.
pub(crate) fn unknown(method: &str, class: &str) -> Error {
    let what = format!("the method `{method}` is not registered with the manager for `{class}`");
    Error::new(ErrorKind::Unregistered, what)
}
