//! The options of a listener.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::gate::Gate;
use super::place::{Place, PlaceOptions};
use crate::handshake::{Carrier, Secret};
use crate::{Address, Error, ErrorKind, Key, Listener, Users};

/// So long may a client take to prove its key.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// So many clients may be about to prove their key.
const PENDING: usize = 128;

/// The options of a [`Listener`]; [`Listener::builder`] makes it.
///
/// # Examples
///
/// ```
/// use mp_pipe::Listener;
/// use std::time::Duration;
///
/// let listener = Listener::<String, u64>::builder()
///     .key(b"from a file that only we can read")
///     .protocol("word count 1")
///     .handshake_timeout(Duration::from_secs(2))
///     .max_message(1 << 20)
///     .bind(("localhost", 0))?;
/// # Ok::<(), mp_pipe::Error>(())
/// ```
#[must_use = "a listener listens once it is bound"]
pub struct ListenerBuilder<S, R = S> {
    key: Option<Key>,
    protocol: String,
    encrypt: bool,
    users: Users,
    backlog: u16,
    handshake: Duration,
    pending: usize,
    max_message: Option<usize>,
    replace_dead: bool,
    messages: PhantomData<fn(&S) -> R>,
}

impl<S, R> ListenerBuilder<S, R> {
    pub(crate) fn new() -> Self {
        Self {
            key: None,
            protocol: String::new(),
            encrypt: false,
            users: Users::default(),
            backlog: 128,
            handshake: HANDSHAKE,
            pending: PENDING,
            max_message: None,
            replace_dead: false,
            messages: PhantomData,
        }
    }

    /// Demands that clients know this key, and proves to them that the listener does.
    ///
    /// # Python
    ///
    /// `authkey`
    #[doc(alias = "authkey")]
    pub fn key(mut self, key: impl Into<Key>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Names what the connections speak, with its version. Listener and client must have the same name: it is a part of
    /// the proof of the key, and says nothing without one.
    pub fn protocol(mut self, name: impl Into<String>) -> Self {
        self.protocol = name.into();
        self
    }

    /// Encrypts connections over TCP also where they do not leave the machine. Beyond it they always are.
    #[cfg(feature = "noise")]
    #[cfg_attr(docsrs, doc(cfg(feature = "noise")))]
    pub fn encrypt(mut self) -> Self {
        self.encrypt = true;
        self
    }

    /// Chooses the users whose processes may connect to a UNIX socket: the user of this process alone if not said.
    ///
    /// For others the socket must be where they can reach it.
    pub fn users(mut self, users: Users) -> Self {
        self.users = users;
        self
    }

    /// Sets how many clients may be connected and not accepted: 128 if not said. More wait in their `connect`.
    pub fn backlog(mut self, clients: u16) -> Self {
        self.backlog = clients;
        self
    }

    /// Sets how long a client may take to prove its key: 10 seconds if not said.
    ///
    /// A tenth of it when there are as many as [`ListenerBuilder::max_pending`] at once.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake = timeout;
        self
    }

    /// Sets how many clients may be about to prove their key at once: 128 if not said. More are not accepted meanwhile.
    pub fn max_pending(mut self, clients: usize) -> Self {
        self.pending = clients.max(1);
        self
    }

    /// Sets the longest message that the connections accept; see [`Connection::max_message`](crate::Connection::max_message).
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = Some(bytes);
        self
    }

    /// Takes the place of a socket in the file system whose listener is dead.
    ///
    /// Otherwise its path is in use until somebody removes it. A socket that has a listener, or a file that is no
    /// socket, stays what it is.
    pub fn replace_dead(mut self) -> Self {
        self.replace_dead = true;
        self
    }

    /// Listens on a fresh UNIX socket, in a directory that only this user can enter.
    ///
    /// # Errors
    ///
    /// As [`Listener::new`].
    pub fn listen(self) -> Result<Listener<S, R>, Error> {
        let place = Place::fresh(&self.place_options())?;
        self.open(place, false)
    }

    /// Listens at an address.
    ///
    /// # Errors
    ///
    /// [`AddressInUse`](ErrorKind::AddressInUse), [`InvalidAddress`](ErrorKind::InvalidAddress),
    /// [`Denied`](ErrorKind::Denied) if the system does not let this user, and [`Unencrypted`](ErrorKind::Unencrypted) for
    /// TCP beyond the machine itself without a key or without the feature `noise`.
    pub fn bind(self, address: impl Into<Address>) -> Result<Listener<S, R>, Error> {
        let (place, remote) = Place::bind(&address.into(), &self.place_options())?;
        self.open(place, remote)
    }

    fn place_options(&self) -> PlaceOptions {
        PlaceOptions {
            backlog: self.backlog,
            others: self.users != Users::Same,
            replace_dead: self.replace_dead,
            may_leave: may_leave(self.key.is_some()),
        }
    }

    fn open(self, place: Place, remote: bool) -> Result<Listener<S, R>, Error> {
        let carrier = place.carrier();
        let encrypt = carrier == Carrier::Stream && (remote || self.encrypt);
        if encrypt && self.key.is_none() {
            return Err(Error::new(ErrorKind::Unencrypted, "encryption wants a key"));
        }
        let protocol = self.protocol;
        let secret = self.key.map(|key| Secret { key, protocol, carrier, encrypt });
        let gate = Gate::new(&place, secret, self.users, self.handshake, self.pending)?;
        Ok(Listener::open(place, gate, self.max_message))
    }
}

/// Says whether connections may leave the machine, or why not.
pub(crate) fn may_leave(has_key: bool) -> Result<(), &'static str> {
    if !cfg!(feature = "noise") {
        return Err(
            "TCP beyond this machine wants encryption, the feature noise, which this program is built without",
        );
    }
    if !has_key {
        return Err("TCP beyond this machine wants encryption, and that wants a key");
    }
    Ok(())
}

impl<S, R> fmt::Debug for ListenerBuilder<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerBuilder")
            .field("key", &self.key)
            .field("protocol", &self.protocol)
            .field("encrypt", &self.encrypt)
            .field("users", &self.users)
            .field("backlog", &self.backlog)
            .field("handshake_timeout", &self.handshake)
            .field("max_pending", &self.pending)
            .field("max_message", &self.max_message)
            .field("replace_dead", &self.replace_dead)
            .finish()
    }
}
