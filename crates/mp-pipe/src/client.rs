//! Connecting to a listener.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use mp_wire::Deadline;

use crate::handshake::wire::Wire;
use crate::handshake::{Handshake, Secret};
use crate::listener::{is_loopback, may_leave};
use crate::stream::Stream;
use crate::unix::{Name, connect_to};
use crate::{Address, Connection, Error, ErrorKind, Key, Users};

/// A listener that has not proved its key after so long does not.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Connects to a [`Listener`](crate::Listener), of this program or another.
///
/// # Python
///
/// `multiprocessing.connection.Client`, which is a function. Here connecting can be given a time.
///
/// # Examples
///
/// ```
/// use mp_pipe::{Client, Connection, Listener};
///
/// let listener = Listener::<usize, String>::bind(("127.0.0.1", 0))?;
/// let client: Connection<String, usize> = Client::connect(listener.address())?;
/// client.send(&"four".to_owned())?;
///
/// let server = listener.accept()?;
/// server.send(&server.recv()?.len())?;
/// assert_eq!(client.recv()?, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Client;

impl Client {
    /// Connects to a listener that has no key.
    ///
    /// # Blocking
    ///
    /// A connection exists when the listener's kernel has it, before it is accepted. Waits while as many wait already as
    /// the listener's backlog allows.
    ///
    /// # Errors
    ///
    /// [`NobodyListens`](ErrorKind::NobodyListens), [`InvalidAddress`](ErrorKind::InvalidAddress),
    /// [`Denied`](ErrorKind::Denied) if the listener is another user's or the system does not let us,
    /// [`TimedOut`](ErrorKind::TimedOut), [`Unencrypted`](ErrorKind::Unencrypted) for TCP beyond the machine.
    pub fn connect<S, R>(address: impl Into<Address>) -> Result<Connection<S, R>, Error> {
        Self::builder().connect(address)
    }

    /// Begins a connection with a key or other options.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }
}

/// The options of connecting; [`Client::builder`] makes it. It can be used for several connections.
///
/// # Examples
///
/// ```
/// use mp_pipe::{Client, Connection, ErrorKind, Listener};
/// use std::time::Duration;
///
/// let listener = Listener::<u32>::builder().key(b"right").listen()?;
/// let address = listener.address().clone();
/// let client = std::thread::spawn(move || {
///     let client = Client::builder().key(b"wrong").timeout(Duration::from_secs(60));
///     let result: Result<Connection<u32>, _> = client.connect(address);
///     result.unwrap_err().kind()
/// });
/// assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::Authentication);
/// assert_eq!(client.join().unwrap(), ErrorKind::Authentication);
/// # Ok::<(), mp_pipe::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "it connects when it is told to"]
pub struct ClientBuilder {
    key: Option<Key>,
    protocol: String,
    encrypt: bool,
    users: Users,
    timeout: Option<Duration>,
    max_message: Option<usize>,
}

impl ClientBuilder {
    /// Proves to the listener that the client knows this key, and demands that the listener does.
    #[doc(alias = "authkey")]
    pub fn key(mut self, key: impl Into<Key>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Names what the connection speaks; see [`ListenerBuilder::protocol`](crate::ListenerBuilder::protocol).
    pub fn protocol(mut self, name: impl Into<String>) -> Self {
        self.protocol = name.into();
        self
    }

    /// Encrypts over TCP also on the machine itself, as a listener wants that listens to others too.
    #[cfg(feature = "noise")]
    #[cfg_attr(docsrs, doc(cfg(feature = "noise")))]
    pub fn encrypt(mut self) -> Self {
        self.encrypt = true;
        self
    }

    /// Chooses the users whose processes may listen at a UNIX socket: the user of this process alone if not said.
    pub fn users(mut self, users: Users) -> Self {
        self.users = users;
        self
    }

    /// Bounds the time of the whole: looking the host up apart, which the system does in its own time.
    ///
    /// Without, it waits for the network for as long as the system does, and then 10 seconds for the listener's proof.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the longest message that the connection accepts; see [`Connection::max_message`].
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = Some(bytes);
        self
    }

    /// Connects, and returns once the listener has proved the key, if there is one.
    ///
    /// # Blocking
    ///
    /// As [`Client::connect`]; with a key, until the listener accepts.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`]; with a key also [`Authentication`](ErrorKind::Authentication) and
    /// [`Handshake`](ErrorKind::Handshake).
    pub fn connect<S, R>(&self, address: impl Into<Address>) -> Result<Connection<S, R>, Error> {
        let deadline = Deadline::from_timeout(self.timeout);
        let (mut wire, remote) = match &address.into() {
            Address::Unix(path) => (self.unix(&Name::of_path(path)?, deadline)?, false),
            Address::Abstract(name) => (self.unix(&Name::of_abstract(name)?, deadline)?, false),
            Address::Tcp { host, port } => self.tcp(host, *port, deadline)?,
        };
        let carrier = wire.carrier();
        let encrypt = matches!(wire, Wire::Stream(_)) && (remote || self.encrypt);
        if let Some(key) = self.key.clone() {
            let secret = Secret { key, protocol: self.protocol.clone(), carrier, encrypt };
            let (handshake, first) = Handshake::client(secret).map_err(|refusal| refusal.error)?;
            let patience = self.timeout.map_or_else(|| Deadline::after(HANDSHAKE), |_| deadline);
            wire.prove(handshake, &first, patience)?;
        } else if encrypt {
            return Err(Error::new(ErrorKind::Unencrypted, "encryption wants a key"));
        }
        let mut link = wire.into_link();
        if let Some(bytes) = self.max_message {
            link.set_max(bytes);
        }
        Ok(Connection::from_link(link))
    }

    fn unix(&self, name: &Name, deadline: Deadline) -> Result<Wire, Error> {
        let wire = Wire::Packets(connect_to(name, deadline)?);
        let peer = wire.peer().map_err(|error| Error::from_io("the listener went away", error))?;
        if !self.users.allow(peer) {
            return Err(Error::new(ErrorKind::Denied, format!("{peer} listens at the address")));
        }
        Ok(wire)
    }

    fn tcp(&self, host: &str, port: u16, deadline: Deadline) -> Result<(Wire, bool), Error> {
        let mut last = None;
        for address in resolve(host, port)? {
            let remote = !is_loopback(&address);
            if remote && let Err(why) = may_leave(self.key.is_some()) {
                return Err(Error::new(ErrorKind::Unencrypted, why));
            }
            let connected = match deadline.remaining() {
                None => TcpStream::connect(address),
                // The standard library takes no time of zero.
                Some(left) => {
                    TcpStream::connect_timeout(&address, left.max(Duration::from_nanos(1)))
                }
            };
            match connected.and_then(Stream::new) {
                Ok(stream) => return Ok((Wire::Stream(Box::new(stream)), remote)),
                Err(error) => last = Some(error),
            }
        }
        Err(match last {
            Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Error::from_io("nobody listens at the address", error)
            }
            Some(error) if error.kind() == io::ErrorKind::TimedOut => Error::timed_out(),
            Some(error) => Error::from_io("the client cannot connect", error),
            None => Error::new(ErrorKind::InvalidAddress, "the host has no address"),
        })
    }
}

/// Looks up the addresses of a host.
pub(crate) fn resolve(host: &str, port: u16) -> Result<impl Iterator<Item = SocketAddr>, Error> {
    (host, port).to_socket_addrs().map_err(|error| {
        let what = format!("the host {host} cannot be found: {error}");
        Error::new(ErrorKind::InvalidAddress, what)
    })
}
