//! This process's side of one server: the connections to it, and the objects of it that are known here.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Instant;

use mp_wire::{Deadline, Fd, Limits, Message, Spin, poll, socket};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;
use crate::protocol::{Request, open_answer, seal_request};

/// How many connections are kept for the next calls: more than that are needed only while more threads call at once.
const KEPT: usize = 16;

/// Whether looking for an answer before sleeping has been paying off in this process.
static SPIN: Spin = Spin::new();

/// The servers that this process has handles on.
static LINKS: Mutex<Option<HashMap<u128, Weak<Link>>>> = Mutex::new(None);

/// A server, as seen from this process.
pub(crate) struct Link {
    server: u128,
    idle: Mutex<Idle>,
    handles: Mutex<HashMap<u64, Weak<Handle>>>,
}

/// Connections that no call is using.
struct Idle {
    /// The process that opened them. A forked copy of it must not use them: two would talk at once.
    pid: u32,
    connections: Vec<Connection>,
}

/// One connection: a thread of the server waits for requests at its other end.
pub(crate) struct Connection {
    socket: OwnedFd,
}

/// An object of a server, or the server itself, as seen from this process. The server keeps the object while anyone
/// has one.
pub(crate) struct Handle {
    link: Arc<Link>,
    object: u64,
    socket: Fd,
}

impl Link {
    /// A name for a server that no other has.
    pub(crate) fn new_name() -> u128 {
        let part = || RandomState::new().hash_one((std::process::id(), Instant::now())).into();
        let (high, low): (u128, u128) = (part(), part());
        high << 64 | low
    }

    /// The one link of this process to a server.
    fn of(server: u128) -> Arc<Self> {
        let mut links = LINKS.lock();
        let links = links.get_or_insert_default();
        if let Some(link) = links.get(&server).and_then(Weak::upgrade) {
            return link;
        }
        let idle = Idle { pid: std::process::id(), connections: Vec::new() };
        let link = Arc::new(Self { server, idle: Mutex::new(idle), handles: Mutex::default() });
        links.insert(server, Arc::downgrade(&link));
        link
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        if idle.pid != std::process::id() {
            // This closes the copy's descriptors. The connections live on where they were opened.
            idle.connections.clear();
            idle.pid = std::process::id();
        }
        idle.connections.pop()
    }

    fn put_back(&self, connection: Connection) {
        let mut idle = self.idle.lock();
        if idle.pid == std::process::id() && idle.connections.len() < KEPT {
            idle.connections.push(connection);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let mut links = LINKS.lock();
        if let Some(links) = &mut *links {
            // Another may have taken its place by now.
            if links.get(&self.server).is_some_and(|link| link.strong_count() == 0) {
                links.remove(&self.server);
            }
        }
    }
}

impl Handle {
    /// The one handle of this process on an object.
    pub(crate) fn new(server: u128, object: u64, socket: Fd) -> Arc<Self> {
        let link = Link::of(server);
        let mut handles = link.handles.lock();
        if let Some(handle) = handles.get(&object).and_then(Weak::upgrade) {
            // So receiving an object a thousand times takes one descriptor.
            return handle;
        }
        let handle = Arc::new(Self { link: link.clone(), object, socket });
        handles.insert(object, Arc::downgrade(&handle));
        drop(handles);
        handle
    }

    /// The handle on another object of the same server.
    pub(crate) fn sibling(&self, object: u64, socket: Fd) -> Arc<Self> {
        Self::new(self.link.server, object, socket)
    }

    pub(crate) fn object(&self) -> u64 {
        self.object
    }

    /// A connection that no other call is using.
    pub(crate) fn connect(&self, deadline: Deadline) -> Result<Connection, Error> {
        if let Some(connection) = self.link.take() {
            return Ok(connection);
        }
        let failed =
            |error| Error::of_io("no connection to the manager's server can be made", error);
        let (ours, theirs) = socket::pair().map_err(failed)?;
        socket::send(&self.socket, &[], &[Fd::from(theirs)], deadline).map_err(Error::of_wire)?;
        Ok(Connection { socket: ours })
    }

    /// Gives a connection back, for the next call.
    pub(crate) fn disconnect(&self, connection: Connection) {
        self.link.put_back(connection);
    }

    /// Makes a request and waits for its answer.
    pub(crate) fn ask<A: Serialize + ?Sized, R: DeserializeOwned>(
        &self,
        request: &Request<'_>,
        args: &A,
    ) -> Result<R, Error> {
        self.ask_until(request, args, Deadline::NEVER)
    }

    /// Makes a request that waits in the server, until the deadline; then the answer says that it was not waited for.
    pub(crate) fn ask_until<A: Serialize + ?Sized, R: DeserializeOwned>(
        &self,
        request: &Request<'_>,
        args: &A,
        deadline: Deadline,
    ) -> Result<R, Error> {
        let mut message = mp_wire::encode(args).map_err(Error::of_value)?;
        seal_request(&mut message, request)?;
        let connection = self.connect(Deadline::NEVER)?;
        let answer = connection.exchange(&message, deadline);
        // After an error of the connection itself nobody knows what comes next on it: it is closed.
        let answer = answer?;
        self.disconnect(connection);
        open_answer(answer)?.decode().map_err(Error::of_value)
    }

    /// Calls a method of the object by its name.
    pub(crate) fn call<A: Serialize + ?Sized, R: DeserializeOwned>(
        &self,
        method: &str,
        args: &A,
    ) -> Result<R, Error> {
        self.call_until(method, args, Deadline::NEVER)
    }

    pub(crate) fn call_until<A: Serialize + ?Sized, R: DeserializeOwned>(
        &self,
        method: &str,
        args: &A,
        deadline: Deadline,
    ) -> Result<R, Error> {
        let request = Request::Call { object: self.object, method: method.into() };
        self.ask_until(&request, args, deadline)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut handles = self.link.handles.lock();
        if handles.get(&self.object).is_some_and(|handle| handle.strong_count() == 0) {
            handles.remove(&self.object);
        }
    }
}

impl Connection {
    /// Sends a request and receives its answer. At the deadline the request is withdrawn, which is answered too.
    pub(crate) fn exchange(&self, message: &Message, deadline: Deadline) -> Result<Message, Error> {
        self.send(message, Deadline::NEVER)?;
        let failed = |error| Error::of_io("cannot wait for the manager's server", error);
        if deadline != Deadline::NEVER
            && !poll::wait_readable(self.socket.as_fd(), deadline).map_err(failed)?
        {
            let mut cancel = Message::default();
            seal_request(&mut cancel, &Request::Cancel)?;
            self.send(&cancel, Deadline::NEVER)?;
        }
        self.recv(Deadline::NEVER)
    }

    /// As [`Connection::exchange`], but gives up on the whole connection at the deadline.
    pub(crate) fn exchange_within(
        &self,
        message: &Message,
        deadline: Deadline,
    ) -> Result<Message, Error> {
        self.send(message, deadline)?;
        self.recv(deadline)
    }

    fn send(&self, message: &Message, deadline: Deadline) -> Result<(), Error> {
        match socket::send(&self.socket, &message.bytes, &message.fds, deadline) {
            // A server that could not serve the connection has said why before it closed it.
            Err(error) if error.kind() == mp_wire::ErrorKind::Closed => Ok(()),
            other => other.map_err(Error::of_wire),
        }
    }

    fn recv(&self, deadline: Deadline) -> Result<Message, Error> {
        socket::recv_spinning(&self.socket, Limits::default(), deadline, &SPIN)
            .map_err(Error::of_wire)
    }

    /// As [`Handle::call`], on this very connection.
    pub(crate) fn call<A: Serialize + ?Sized, R: DeserializeOwned>(
        &self,
        object: u64,
        method: &str,
        args: &A,
        deadline: Deadline,
    ) -> Result<R, Error> {
        let mut message = mp_wire::encode(args).map_err(Error::of_value)?;
        seal_request(&mut message, &Request::Call { object, method: method.into() })?;
        open_answer(self.exchange(&message, deadline)?)?.decode().map_err(Error::of_value)
    }
}

/// A handle as it travels: one descriptor and two numbers.
#[derive(Clone)]
pub(crate) struct Remote(pub(crate) Arc<Handle>);

impl Serialize for Remote {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0.link.server, self.0.object, &self.0.socket).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Remote {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (server, object, socket) = <(u128, u64, Fd)>::deserialize(deserializer)?;
        Ok(Self(Handle::new(server, object, socket)))
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}", self.0.object)
    }
}
