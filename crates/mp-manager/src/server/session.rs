//! One connection of a client: the requests that come on it, one after the other, and their answers.

use std::os::fd::AsRawFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

use mp_process::Panic;
use mp_wire::{Deadline, Fd, Limits, Message, Spin, socket};
use nix::sys::socket::{Shutdown, shutdown};
use parking_lot::Mutex;

use crate::protocol::{self, Request};
use crate::server::Server;
use crate::server::object::Object;
use crate::{Error, ErrorKind};

pub(crate) struct Session {
    id: u64,
    socket: Fd,
    /// The object on which a request waits that has not been answered.
    waits: Mutex<Option<Weak<dyn Object>>>,
    /// The objects that this client holds (locks); `None` once the client is gone.
    held: Mutex<Option<Vec<Arc<dyn Object>>>>,
}

/// The right to answer one request, now or later, from any thread.
pub(crate) struct Reply {
    session: Arc<Session>,
}

impl Session {
    /// Serves a connection in a thread of its own, until the client closes it.
    pub(crate) fn start(server: &Arc<Server>, socket: Fd) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(Self {
            id,
            socket,
            waits: Mutex::new(None),
            held: Mutex::new(Some(Vec::new())),
        });
        let (server, served) = (server.clone(), session.clone());
        let thread = thread::Builder::new().name("client".into());
        if let Err(error) = thread.spawn(move || served.serve(&server)) {
            let error = Error::of_io("the server cannot start a thread for the client", error);
            session.send(Err(error));
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    fn serve(self: &Arc<Self>, server: &Arc<Server>) {
        // Of this client alone: another may ask more often.
        let spin = Spin::new();
        loop {
            let limits = Limits::default();
            match socket::recv_spinning(&self.socket, limits, Deadline::NEVER, &spin) {
                Ok(message) => {
                    if !self.request(server, message) {
                        break;
                    }
                }
                Err(error) => match error.kind() {
                    mp_wire::ErrorKind::Closed | mp_wire::ErrorKind::Io => break,
                    // That request is lost, for want of memory or descriptors.
                    _ => {
                        let what = "the server could not take in the request";
                        self.send(Err(Error::with_source(ErrorKind::Exhausted, what, error)));
                    }
                },
            }
        }
        self.end();
    }

    /// Does what a request asks for; `false` if the connection ends with it.
    fn request(self: &Arc<Self>, server: &Arc<Server>, mut message: Message) -> bool {
        let Some(request) = protocol::open_request(&mut message) else {
            self.send(Err(Error::new(
                ErrorKind::Decode,
                "the server did not understand the request",
            )));
            return true;
        };
        match request {
            Request::Hello => self.send(server.hello()),
            Request::Create { constructor } => {
                let made = guarded(&constructor, || server.create(&constructor, &message));
                self.send(made);
            }
            Request::Call { object, method } => match server.object(object) {
                Ok(object) => {
                    let reply = Reply { session: self.clone() };
                    object.call(&method, message, reply);
                }
                Err(error) => self.send(Err(error)),
            },
            Request::Cancel => {
                let waits = self.waits.lock().take();
                if let Some(object) = waits.and_then(|object| object.upgrade()) {
                    object.cancel(self.id);
                }
            }
            Request::Count => self.send(server.count()),
            Request::Shutdown => {
                self.send(server.hello());
                server.stop();
                return false;
            }
        }
        true
    }

    /// Ends what the client had begun and holds.
    fn end(&self) {
        // Nothing can be given to it from here on.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
        let waits = self.waits.lock().take().and_then(|object| object.upgrade());
        let held = self.held.lock().take();
        for object in waits.into_iter().chain(held.into_iter().flatten()) {
            object.gone(self.id);
        }
    }

    fn send(&self, answer: Result<Message, Error>) {
        self.try_send(answer);
    }

    /// Sends an answer; says whether the client can get it. Does not wait: a client that reads nothing is cut off.
    fn try_send(&self, answer: Result<Message, Error>) -> bool {
        let mut answer = protocol::seal_answer(answer);
        loop {
            let Err(error) = socket::send(&self.socket, &answer.bytes, &answer.fds, Deadline::NOW)
            else {
                return true;
            };
            match error.kind() {
                mp_wire::ErrorKind::Exhausted | mp_wire::ErrorKind::TooLarge
                    if !answer.fds.is_empty() || answer.bytes.len() > 1 << 10 =>
                {
                    let what = "the server could not send the answer";
                    let error = Error::with_source(ErrorKind::Exhausted, what, error);
                    answer = protocol::seal_answer(Err(error));
                }
                _ => {
                    let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
                    return false;
                }
            }
        }
    }
}

impl Reply {
    /// The number of the connection.
    pub(crate) fn client(&self) -> u64 {
        self.session.id()
    }

    /// Answers; says whether the client can get the answer.
    pub(crate) fn send(&self, answer: Result<Message, Error>) -> bool {
        self.session.try_send(answer)
    }

    pub(crate) fn send_value<T: serde::Serialize>(&self, value: &T) -> bool {
        self.send(super::value(value))
    }

    /// Notes that the request waits on an object, which is told if the client does not want to wait any longer or is
    /// gone.
    pub(crate) fn wait_on(&self, object: &Arc<dyn Object>) {
        *self.session.waits.lock() = Some(Arc::downgrade(object));
    }

    /// Notes that the client holds an object, which is told when the client is gone; `false` if it is gone already.
    pub(crate) fn hold(&self, object: Arc<dyn Object>) -> bool {
        match &mut *self.session.held.lock() {
            Some(held) => {
                held.push(object);
                true
            }
            None => false,
        }
    }

    /// Notes that the client no longer holds an object.
    pub(crate) fn let_go(&self, object: &Arc<dyn Object>) {
        if let Some(held) = &mut *self.session.held.lock() {
            held.retain(|known| !Arc::ptr_eq(known, object));
        }
    }
}

/// Runs what may be the user's code; a panic becomes an error.
pub(crate) fn guarded<T>(name: &str, run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        Err(Error::panicked(
            format!("`{name}` in the server of the manager"),
            Panic::from_payload(payload),
        ))
    })
}
