//! Starting and ending the server process.

use std::fmt;
use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use mp_process::{Child, ExitStatus, Process, StartMethod};
use mp_wire::{Deadline, Fd, Message, socket};
use nix::sys::signal::{SigSet, Signal};

use crate::link::{Handle, Link, Remote};
use crate::protocol::{ROOT, Request, seal_request};
use crate::registry::Registry;
use crate::server::cell::Cell;
use crate::server::items::Items;
use crate::server::map::Map;
use crate::server::{self, lock, queue};
use crate::{Client, Error, ErrorKind};

/// How long the server has to end, without being told otherwise, before it is terminated.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// A server process that keeps objects for many processes.
///
/// It makes objects by the methods of [`Client`], which it dereferences to. Proxies to them can be arguments of
/// processes and travel in messages. The server ignores Ctrl-C, so that others can finish their work with it.
///
/// # Dropping
///
/// The server ends when the manager is dropped, as by [`Manager::shutdown`]; proxies then give [`ErrorKind::Closed`].
///
/// # Python
///
/// `multiprocessing.Manager()`
///
/// # If a process dies
///
/// If the process that has the manager ends, in whatever way, the server is ended too. If the server dies, every call
/// to it gives [`ErrorKind::Closed`], also those that wait. A client that dies takes with it its references, its
/// place in lines, and the locks that it holds, which the next in line get with the news.
///
/// # Examples
///
/// ```
/// use mp_manager::{Dict, Manager};
/// use mp_process::Process;
///
/// fn work(number: u64, squares: Dict<u64, u64>) {
///     squares.insert(&number, &(number * number)).expect("the server is there");
/// }
///
/// let manager = Manager::start()?;
/// let squares = manager.dict()?;
/// let children = [2, 3].map(|number| Process::new(work, (number, squares.clone())).start());
/// for child in children {
///     child?.join()?;
/// }
/// assert_eq!((squares.get(&2)?, squares.get(&3)?), (Some(4), Some(9)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Manager {
    client: Client,
    server: Option<Child<Served>>,
    shutdown_timeout: Duration,
    /// The process that has the server: a forked copy of it does not end it.
    pid: u32,
}

/// What the server process returns.
type Served = Result<(), String>;

impl Manager {
    /// Starts a server for lists, dictionaries, and the other types of this crate.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Start`] and [`ErrorKind::Exhausted`]
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// Begins to describe a manager, to register types of the user's own.
    pub fn builder() -> Builder {
        Builder {
            setup: Nothing,
            method: mp_process::get_start_method(),
            name: "Manager".to_owned(),
            shutdown_timeout: SHUTDOWN_TIMEOUT,
        }
    }

    /// A handle by which other processes can make objects.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The number of the server process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.as_ref().map_or(0, Child::pid)
    }

    /// Says whether the server has not ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.server.as_ref().is_some_and(Child::is_alive)
    }

    /// A descriptor (a pidfd) that can be read once the server has ended.
    #[must_use]
    pub fn sentinel(&self) -> Option<BorrowedFd<'_>> {
        self.server.as_ref().map(Child::sentinel)
    }

    /// Ends the server, and says how it ended.
    ///
    /// It is asked to end; if it has not in time it is terminated, and if that does not help in the same time,
    /// killed. The time is that of [`Builder::shutdown_timeout`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] in a forked copy of the process that started it: the server is not the copy's to
    /// end.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let builder = mp_manager::Manager::builder().shutdown_timeout(Duration::from_secs(60));
    /// assert!(builder.start()?.shutdown()?.success());
    /// # Ok::<(), mp_manager::Error>(())
    /// ```
    pub fn shutdown(mut self) -> Result<ExitStatus, Error> {
        let what = "the server belongs to the process that started it, not to its forked copy";
        self.end().ok_or_else(|| Error::new(ErrorKind::InvalidInput, what))
    }

    fn end(&mut self) -> Option<ExitStatus> {
        let server = self.server.take()?;
        if self.pid != std::process::id() {
            return None;
        }
        let deadline = Deadline::after(self.shutdown_timeout);
        // Whatever comes of the request, what counts is whether the process ends.
        let _ = self.ask_to_end(deadline);
        let mut status = server.wait_timeout(deadline.remaining().unwrap_or(Duration::MAX));
        if status.is_none() {
            let _ = server.terminate();
            status = server.wait_timeout(self.shutdown_timeout);
        }
        Some(status.unwrap_or_else(|| {
            let _ = server.kill();
            server.wait()
        }))
    }

    fn ask_to_end(&self, deadline: Deadline) -> Result<(), Error> {
        let mut message = Message::default();
        seal_request(&mut message, &Request::Shutdown)?;
        let connection = self.client.remote.0.connect(deadline)?;
        connection.exchange_within(&message, deadline).map(drop)
    }
}

impl Deref for Manager {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("pid", &self.pid()).finish_non_exhaustive()
    }
}

/// A manager to be: what it registers, and how its process is started. [`Manager::builder`] makes one.
#[derive(Clone, Debug)]
#[must_use = "nothing is started before `start`"]
pub struct Builder<S = Nothing> {
    setup: S,
    method: StartMethod,
    name: String,
    shutdown_timeout: Duration,
}

impl<S: Setup> Builder<S> {
    /// Registers types and methods: the function runs in the server process when it starts.
    ///
    /// It is a function, or a closure that captures nothing. Called more than once, all of them run, in turn.
    ///
    /// # Examples
    ///
    /// See [`Registry`].
    pub fn register<F>(self, setup: F) -> Builder<Both<S, F>>
    where
        F: Fn(&mut Registry) + Copy + Send + 'static,
    {
        let Self { setup: before, method, name, shutdown_timeout } = self;
        Builder { setup: Both(before, setup), method, name, shutdown_timeout }
    }

    /// Chooses how the server process is started.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = method;
        self
    }

    /// Gives the server process a name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how long the server has to end before it is terminated, and then before it is killed; otherwise one second.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// Starts the server.
    ///
    /// # Blocking
    ///
    /// Returns when the server is ready, and what it registers is in order.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Start`] if the process cannot be started, or if a function that registers panics or registers
    /// what has no name; [`ErrorKind::Exhausted`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_manager::{ErrorKind, Manager};
    ///
    /// let error = Manager::builder().register(|_| panic!("no luck")).start().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Start);
    /// ```
    pub fn start(self) -> Result<Manager, Error> {
        let Self { setup, method, name, shutdown_timeout } = self;
        let (ours, theirs) = socket::pair()
            .map_err(|error| Error::of_io("no socket is left for the manager", error))?;
        let server = Process::new(move |root: Fd| serve(root, setup), (Fd::from(theirs),))
            .name(name)
            .daemon(true)
            .start_method(method)
            .start()
            .map_err(cannot_start)?;
        let handle = Handle::new(Link::new_name(), ROOT, Fd::from(ours));
        let client = Client { remote: Remote(handle) };
        let hello = client.remote.0.ask(&Request::Hello, &());
        let mut manager =
            Manager { client, server: Some(server), shutdown_timeout, pid: std::process::id() };
        match hello {
            Ok(()) => Ok(manager),
            Err(error) if error.kind() == ErrorKind::Closed => Err(manager.why_closed(error)),
            Err(error) => Err(error),
        }
    }
}

impl Manager {
    /// The error of a server that ended before it was ready.
    fn why_closed(&mut self, closed: Error) -> Error {
        let Some(server) = self.server.take() else { return closed };
        match server.join() {
            Err(error) => cannot_start(error),
            Ok(Err(why)) => cannot_start(why),
            Ok(Ok(())) => closed,
        }
    }
}

fn cannot_start(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::with_source(ErrorKind::Start, "the server of the manager cannot be started", source)
}

/// What runs in the server process.
fn serve<S: Setup>(root: Fd, setup: S) -> Served {
    // The threads to come inherit this: Ctrl-C, which the terminal sends to all, is not for the server.
    let _ = SigSet::from(Signal::SIGINT).thread_block();
    let mut registry = Registry::default();
    register_all(&mut registry, setup);
    let root = root.into_owned().map_err(|error| error.to_string())?;
    server::run(root, registry).map_err(|error| error.to_string())
}

pub(crate) fn register_all<S: Setup>(registry: &mut Registry, setup: S) {
    Items::register(registry);
    Map::register(registry);
    Cell::register(registry);
    lock::register(registry);
    queue::register(registry);
    setup.set_up(registry);
}

/// What a [`Builder`] registers. It travels to the server process as its type.
pub trait Setup: sealed::Sealed + Copy + Send + 'static {
    /// Fills in the registry.
    fn set_up(self, registry: &mut Registry);
}

/// Registers nothing.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

/// Registers what two do, in turn.
#[derive(Clone, Copy)]
pub struct Both<S, F>(S, F);

impl Setup for Nothing {
    fn set_up(self, _: &mut Registry) {}
}

impl<S, F> Setup for Both<S, F>
where
    S: Setup,
    F: Fn(&mut Registry) + Copy + Send + 'static,
{
    fn set_up(self, registry: &mut Registry) {
        self.0.set_up(registry);
        (self.1)(registry);
    }
}

impl<S: fmt::Debug, F> fmt::Debug for Both<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Both").field(&self.0).finish_non_exhaustive()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Nothing {}
    impl<S, F> Sealed for super::Both<S, F> {}
}
