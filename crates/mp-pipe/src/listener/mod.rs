//! Waiting for others to connect.

mod builder;
mod gate;
mod place;

use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mp_wire::{Deadline, poll};

pub use builder::ListenerBuilder;
pub(crate) use builder::may_leave;
use gate::Gate;
use place::Place;
pub(crate) use place::is_loopback;

use crate::link::Link;
use crate::{Address, Connection, Error, handshake::wire::Wire};

/// Where other programs connect, for connections that send messages of type `S` and receive messages of type `R`.
///
/// On the machine it is a UNIX socket, whose messages carry handles as those of a pipe do, and for which the kernel says
/// whose process connects: that of another user is turned away. Over TCP bytes travel alone, and a key proves who is who.
/// Beyond the machine itself they are encrypted.
///
/// Threads may accept at the same time, and so may forked copies of the process. It closes when it is dropped;
/// connections that it accepted live on.
///
/// # Python
///
/// `multiprocessing.connection.Listener`. What waits for a peer that is silent waits for nobody else: accepting goes on
/// meanwhile, and can be given a time. What arrives is decoded as `R` and never runs code.
///
/// # If a process dies
///
/// A peer that dies before it is accepted is an error of one `accept`, or a connection whose messages can be received
/// before its end. When the listening process dies, clients that are not accepted find the connection closed. A socket in
/// the file system stays there: see [`ListenerBuilder::replace_dead`].
///
/// # Examples
///
/// ```
/// use mp_pipe::{Client, Connection, Listener};
/// use std::thread;
///
/// let listener = Listener::<String>::new()?;
/// let address = listener.address().clone();
/// let client = thread::spawn(move || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///     let connection: Connection<String> = Client::connect(address)?;
///     Ok(connection.send(&"hello".to_owned())?)
/// });
/// let connection = listener.accept()?;
/// assert_eq!(connection.recv()?, "hello");
/// client.join().unwrap().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Listener<S, R = S> {
    place: Place,
    gate: Mutex<Gate>,
    /// What the process that made this polls, if there are handshakes.
    epoll: Option<gate::Shared>,
    max_message: Option<usize>,
    messages: PhantomData<fn(&S) -> R>,
}

impl<S, R> Listener<S, R> {
    /// Listens on a fresh UNIX socket, in a directory that only this user can enter.
    ///
    /// Socket and directory are removed when the listener is dropped by the process that made it.
    ///
    /// # Errors
    ///
    /// The directory or the socket cannot be made.
    pub fn new() -> Result<Self, Error> {
        Self::builder().listen()
    }

    /// Listens at an address, without a key.
    ///
    /// # Errors
    ///
    /// As [`ListenerBuilder::bind`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pipe::{Address, ErrorKind, Listener};
    ///
    /// let listener = Listener::<u32>::bind(("127.0.0.1", 0))?;
    /// let Address::Tcp { port, .. } = *listener.address() else { panic!() };
    /// assert_ne!(port, 0);
    ///
    /// let second = Listener::<u32>::bind(listener.address()).unwrap_err();
    /// assert_eq!(second.kind(), ErrorKind::AddressInUse);
    /// # Ok::<(), mp_pipe::Error>(())
    /// ```
    pub fn bind(address: impl Into<Address>) -> Result<Self, Error> {
        Self::builder().bind(address)
    }

    /// Begins a listener with a key or other options.
    pub fn builder() -> ListenerBuilder<S, R> {
        ListenerBuilder::new()
    }

    fn open(place: Place, gate: Gate, max_message: Option<usize>) -> Self {
        let epoll = gate.shared();
        Self { place, gate: Mutex::new(gate), epoll, max_message, messages: PhantomData }
    }

    /// The address to connect to: what was asked for, with the port or the path that was chosen.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.place.address
    }

    /// Waits for a client, and gives the connection to it once it has proved the key, if there is one.
    ///
    /// # Blocking
    ///
    /// Waits for as long as it takes. Clients are dealt with side by side: one that is slow or silent delays no other. What
    /// there is to do for them is done in this call: while no thread accepts, no client's proof is looked at.
    ///
    /// # If a process dies
    ///
    /// See [`Listener`].
    ///
    /// # Errors
    ///
    /// Those of one peer ([`Error::is_of_one_peer`]): [`Authentication`](crate::ErrorKind::Authentication),
    /// [`Handshake`](crate::ErrorKind::Handshake), [`Denied`](crate::ErrorKind::Denied),
    /// [`Unencrypted`](crate::ErrorKind::Unencrypted). The peer is gone, and the next call accepts others. Else
    /// [`Exhausted`](crate::ErrorKind::Exhausted) or [`Io`](crate::ErrorKind::Io).
    pub fn accept(&self) -> Result<Connection<S, R>, Error> {
        self.accept_until(Deadline::NEVER)
    }

    /// Gives the connection to a client if there is one now.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](crate::ErrorKind::TimedOut) if not; else as [`Listener::accept`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pipe::{Client, Connection, ErrorKind, Listener};
    ///
    /// let listener = Listener::<u32>::new()?;
    /// assert_eq!(listener.try_accept().unwrap_err().kind(), ErrorKind::TimedOut);
    ///
    /// let client: Connection<u32> = Client::connect(listener.address())?;
    /// listener.try_accept()?.send(&1)?;
    /// assert_eq!(client.recv()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_accept(&self) -> Result<Connection<S, R>, Error> {
        self.accept_until(Deadline::NOW)
    }

    /// Waits for a client for so long at most.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](crate::ErrorKind::TimedOut) if there was none in time; else as [`Listener::accept`].
    pub fn accept_timeout(&self, timeout: Duration) -> Result<Connection<S, R>, Error> {
        self.accept_until(Deadline::after(timeout))
    }

    fn accept_until(&self, deadline: Deadline) -> Result<Connection<S, R>, Error> {
        loop {
            let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            let accepted = gate.step(&self.place)?;
            // Its own after a fork.
            let epoll = gate.shared();
            drop(gate);
            if let Some(wire) = accepted {
                return Ok(self.connection(wire));
            }
            let fd = epoll.as_ref().map_or_else(|| self.place.as_fd(), AsFd::as_fd);
            let ready = poll::wait_readable(fd, deadline);
            if !ready.map_err(|error| Error::from_io("cannot wait for a client", error))? {
                return Err(Error::timed_out());
            }
        }
    }

    fn connection(&self, wire: Wire) -> Connection<S, R> {
        let mut link: Link = wire.into_link();
        if let Some(bytes) = self.max_message {
            link.set_max(bytes);
        }
        Connection::from_link(link)
    }

    /// Accepts one client after another, without end.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pipe::{Client, Connection, Listener};
    ///
    /// let listener = Listener::<u32>::new()?;
    /// let clients: Vec<Connection<u32>> =
    ///     (0..3).map(|_| Client::connect(listener.address())).collect::<Result<_, _>>()?;
    /// for (client, number) in clients.iter().zip(1..) {
    ///     client.send(&number)?;
    /// }
    /// let mut sum = 0;
    /// for connection in listener.incoming().take(3) {
    ///     sum += connection?.recv()?;
    /// }
    /// assert_eq!(sum, 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn incoming(&self) -> Incoming<'_, S, R> {
        Incoming { listener: self }
    }

    /// Stops listening; clients that are not accepted are turned away. Dropping it does the same.
    pub fn close(self) {}
}

/// Can be read when a client can be accepted. With a key also when there is a step to take with one, or one to give up:
/// then [`Listener::try_accept`] does it, and may find nobody to give yet. In a forked copy of a listener with a key it
/// tells of new clients alone, until the copy waits in `accept`.
impl<S, R> AsFd for Listener<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_ref().map_or_else(|| self.place.as_fd(), AsFd::as_fd)
    }
}

impl<S, R> fmt::Debug for Listener<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", &self.place.address).finish_non_exhaustive()
    }
}

impl<'a, S, R> IntoIterator for &'a Listener<S, R> {
    type Item = Result<Connection<S, R>, Error>;
    type IntoIter = Incoming<'a, S, R>;

    fn into_iter(self) -> Self::IntoIter {
        self.incoming()
    }
}

/// The clients that connect, one after another; [`Listener::incoming`] makes it.
#[derive(Debug)]
#[must_use = "clients are accepted as the iterator is used"]
pub struct Incoming<'a, S, R> {
    listener: &'a Listener<S, R>,
}

impl<S, R> Iterator for Incoming<'_, S, R> {
    type Item = Result<Connection<S, R>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept())
    }
}

impl<S, R> FusedIterator for Incoming<'_, S, R> {}
