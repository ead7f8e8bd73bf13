//! The server: one thread that takes in connections, and one for each connection.
//!
//! Each object has a socket of its own. The server keeps one end; every proxy has the other, wherever it is: in a
//! process, in a message that nobody has received yet, in an element of a list. The kernel counts them. When the last
//! is gone, the server's end says so, and the object is dropped. So a process that is killed takes its references
//! with it, and nobody has to count.
//!
//! A connection begins as one end of a socket pair that a client sends through such a socket, or through the one of
//! the server itself.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use mp_wire::{Deadline, Fd, Limits, Message, socket};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use parking_lot::Mutex;

use crate::protocol::{Created, ROOT};
use crate::registry::Registry;
use crate::{Error, ErrorKind};
use object::Object;
use session::Session;

pub(crate) mod cell;
pub(crate) mod items;
pub(crate) mod lock;
pub(crate) mod map;
pub(crate) mod object;
pub(crate) mod queue;
pub(crate) mod session;

/// The event of the socket that wakes the thread which takes in connections, to end it.
const STOP: u64 = u64::MAX;

/// What the threads of a server share.
pub(crate) struct Server {
    registry: Arc<Registry>,
    objects: Mutex<HashMap<u64, Entry>>,
    next: AtomicU64,
    events: Epoll,
    /// Closed to end the server.
    stop: Mutex<Option<OwnedFd>>,
    /// Objects are dropped in a thread of their own: a drop is the user's code and may take its time.
    drops: mpsc::Sender<Arc<dyn Object>>,
}

struct Entry {
    object: Arc<dyn Object>,
    /// The end of the object's socket that says when nobody has the other one any more.
    socket: Arc<OwnedFd>,
}

/// Serves until a client asks for the end.
pub(crate) fn run(root: OwnedFd, registry: Registry) -> Result<(), Error> {
    allow_descriptors();
    let failed = |error: Errno| Error::of_io("the server cannot wait for clients", error.into());
    let events = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed)?;
    let (stop, stopped) =
        socket::pair().map_err(|error| Error::of_io("no socket is left", error))?;
    watch(&events, &root, ROOT).map_err(failed)?;
    watch(&events, &stopped, STOP).map_err(failed)?;
    let (drops, dropped) = mpsc::channel();
    thread::Builder::new()
        .name("drop".into())
        .spawn(move || dropped.into_iter().for_each(drop_object))
        .map_err(|error| Error::of_io("the server cannot start a thread", error))?;

    let server = Arc::new(Server {
        registry: Arc::new(registry),
        objects: Mutex::default(),
        next: AtomicU64::new(ROOT + 1),
        events,
        stop: Mutex::new(Some(stop)),
        drops,
    });
    server.take_in_clients(&root).map_err(failed)
}

impl Server {
    fn take_in_clients(self: &Arc<Self>, root: &OwnedFd) -> Result<(), Errno> {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let count = match self.events.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error),
            };
            for event in events.iter().take(count) {
                match event.data() {
                    STOP => return Ok(()),
                    ROOT => {
                        if self.accept(root.as_fd()) == End::Reached {
                            // The manager was leaked. Its objects are served on.
                            let _ = self.events.delete(root);
                        }
                    }
                    id => self.object_event(id),
                }
            }
        }
    }

    fn object_event(self: &Arc<Self>, id: u64) {
        let socket = self.objects.lock().get(&id).map(|entry| entry.socket.clone());
        let Some(socket) = socket else { return };
        if self.accept(socket.as_fd()) == End::Reached {
            let _ = self.events.delete(&*socket);
            if let Some(entry) = self.objects.lock().remove(&id) {
                // The other thread lives as long as this server.
                let _ = self.drops.send(entry.object);
            }
        }
    }

    /// Takes in the clients that are at a socket.
    fn accept(self: &Arc<Self>, socket: impl AsFd) -> End {
        loop {
            match socket::recv(&socket, Limits::default(), Deadline::NOW) {
                Ok(hello) => {
                    if let Some(connection) = hello.fds.into_iter().next() {
                        Session::start(self, connection);
                    }
                }
                Err(error) => match error.kind() {
                    mp_wire::ErrorKind::Closed => return End::Reached,
                    mp_wire::ErrorKind::TimedOut | mp_wire::ErrorKind::Io => return End::Open,
                    // One client that could not be taken in: its connection is closed with the message.
                    _ => {}
                },
            }
        }
    }

    pub(crate) fn hello(&self) -> Result<Message, Error> {
        self.registry.check()?;
        value(&())
    }

    pub(crate) fn create(&self, constructor: &str, args: &Message) -> Result<Message, Error> {
        let object = self.registry.construct(constructor, args)?;
        let (ours, theirs) = socket::pair()
            .map_err(|error| Error::of_io("no socket is left for the object", error))?;
        let (id, socket) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::new(ours));
        self.objects.lock().insert(id, Entry { object, socket: socket.clone() });
        if let Err(error) = watch(&self.events, &*socket, id) {
            self.objects.lock().remove(&id);
            return Err(Error::of_io("no memory is left for the object", error.into()));
        }
        value(&Created { object: id, socket: Fd::from(theirs) })
    }

    pub(crate) fn object(&self, id: u64) -> Result<Arc<dyn Object>, Error> {
        let object = self.objects.lock().get(&id).map(|entry| entry.object.clone());
        object.ok_or_else(|| Error::new(ErrorKind::NoSuchObject, "the server has no such object"))
    }

    pub(crate) fn count(&self) -> Result<Message, Error> {
        value(&(self.objects.lock().len() as u64))
    }

    pub(crate) fn stop(&self) {
        self.stop.lock().take();
    }
}

#[derive(PartialEq)]
enum End {
    Open,
    Reached,
}

pub(crate) fn value<T: serde::Serialize>(value: &T) -> Result<Message, Error> {
    mp_wire::encode(value).map_err(Error::of_value)
}

fn watch(events: &Epoll, socket: impl AsFd, id: u64) -> Result<(), Errno> {
    events.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, id))
}

/// A drop that panics is reported by the panic hook and concerns nobody else.
fn drop_object(object: Arc<dyn Object>) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(object)));
}

/// The server needs a descriptor for each object and each connection: more than programs usually may have.
fn allow_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
