//! What can go wrong until there is a connection.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::{fmt, io};

/// Says why a listener or a client could not make a connection.
///
/// [`Error::kind`] says what happened in a form to act on; [`std::error::Error::source`] has the cause.
///
/// # Examples
///
/// ```
/// use mp_pipe::{Client, Connection, ErrorKind};
///
/// let nobody = std::env::temp_dir().join("no/such/socket");
/// let result: Result<Connection<u8>, _> = Client::connect(nobody);
/// assert_eq!(result.unwrap_err().kind(), ErrorKind::NobodyListens);
/// ```
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    what: Cow<'static, str>,
    source: Option<io::Error>,
}

/// The situations of making a connection that a caller can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The address has a listener, or for a path a file, already.
    AddressInUse,
    /// The address is malformed, too long, or has a host that does not exist.
    InvalidAddress,
    /// Nobody listens at the address.
    NobodyListens,
    /// The deadline passed first.
    TimedOut,
    /// The other side has another key, or none, or another protocol name.
    Authentication,
    /// The other side closed, died, was silent for too long, or spoke something else, before it had proved the key.
    Handshake,
    /// The other side is a process of a user who is not allowed, or the system does not let us in.
    Denied,
    /// The connection would leave the machine without encryption, or one side alone wants encryption.
    Unencrypted,
    /// No memory, or no descriptor, is left.
    Exhausted,
    /// The system refused the call for another reason; the source has it.
    Io,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, what: what.into(), source: None }
    }

    /// Sorts an error of a system call by what a caller can do about it.
    pub(crate) fn from_io(what: impl Into<Cow<'static, str>>, error: impl Into<io::Error>) -> Self {
        let source = error.into();
        let kind = match source.kind() {
            io::ErrorKind::AddrInUse => ErrorKind::AddressInUse,
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::InvalidInput => {
                ErrorKind::InvalidAddress
            }
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ErrorKind::NobodyListens,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ErrorKind::TimedOut,
            io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
            | io::ErrorKind::BrokenPipe => ErrorKind::Handshake,
            io::ErrorKind::OutOfMemory | io::ErrorKind::StorageFull => ErrorKind::Exhausted,
            _ => match nix::errno::Errno::from_raw(source.raw_os_error().unwrap_or(0)) {
                nix::errno::Errno::EMFILE
                | nix::errno::Errno::ENFILE
                | nix::errno::Errno::ENOBUFS
                | nix::errno::Errno::ENOMEM => ErrorKind::Exhausted,
                _ => ErrorKind::Io,
            },
        };
        Self { kind, what: what.into(), source: Some(source) }
    }

    pub(crate) fn timed_out() -> Self {
        Self::new(ErrorKind::TimedOut, "no connection was made in time")
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Says whether an error of accepting concerns one peer alone, so that the next may well be accepted.
    ///
    /// # Examples
    ///
    /// A server that outlives whoever knocks:
    ///
    /// ```no_run
    /// let listener = mp_pipe::Listener::<String>::builder().key(b"a secret").bind(("127.0.0.1", 7000))?;
    /// for connection in listener.incoming() {
    ///     match connection {
    ///         Ok(connection) => connection.send(&"welcome".to_owned())?,
    ///         Err(error) if error.is_of_one_peer() => eprintln!("turned away: {error}"),
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_of_one_peer(&self) -> bool {
        use ErrorKind::{Authentication, Denied, Handshake, Unencrypted};
        matches!(self.kind, Authentication | Handshake | Denied | Unencrypted)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::AddressInUse => io::ErrorKind::AddrInUse,
            ErrorKind::InvalidAddress => io::ErrorKind::InvalidInput,
            ErrorKind::NobodyListens => io::ErrorKind::ConnectionRefused,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::Authentication | ErrorKind::Denied | ErrorKind::Unencrypted => {
                io::ErrorKind::PermissionDenied
            }
            ErrorKind::Handshake => io::ErrorKind::ConnectionAborted,
            ErrorKind::Exhausted => io::ErrorKind::OutOfMemory,
            ErrorKind::Io => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
