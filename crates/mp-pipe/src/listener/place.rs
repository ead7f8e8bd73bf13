//! The socket of a listener, and what is in the file system for it.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use mp_wire::{Deadline, above_streams};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, getsockname,
    listen, setsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};

use crate::client::resolve;
use crate::handshake::Carrier;
use crate::handshake::wire::Wire;
use crate::stream::Stream;
use crate::unix::{Name, connect_to, new_socket};
use crate::{Address, Error, ErrorKind, key};

/// What of the listener's options concerns its socket.
pub(super) struct PlaceOptions {
    pub(super) backlog: u16,
    /// Other users may connect.
    pub(super) others: bool,
    pub(super) replace_dead: bool,
    /// Why connections may not leave the machine.
    pub(super) may_leave: Result<(), &'static str>,
}

#[derive(Debug)]
pub(super) struct Place {
    pub(super) address: Address,
    socket: Socket,
    _files: Option<Files>,
}

#[derive(Debug)]
enum Socket {
    /// Of type `SOCK_SEQPACKET`; the standard library accepts on it all the same.
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// What is to be removed in the end, by the process that made it.
#[derive(Debug)]
struct Files {
    process: u32,
    socket: Option<(PathBuf, u64, u64)>,
    directory: Option<PathBuf>,
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            return;
        }
        if let Some((path, device, inode)) = &self.socket {
            // Somebody may have put another in its place.
            let same = |data: fs::Metadata| data.dev() == *device && data.ino() == *inode;
            if fs::symlink_metadata(path).is_ok_and(same) {
                let _ = fs::remove_file(path);
            }
        }
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir(directory);
        }
    }
}

impl Place {
    /// A socket in a directory of its own.
    pub(super) fn fresh(options: &PlaceOptions) -> Result<Self, Error> {
        let failed = |error| Error::from_io("no private directory can be made", error);
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let base = runtime.filter(|path| path.is_absolute()).unwrap_or_else(std::env::temp_dir);
        let mut directory = make_private(&base);
        if directory.is_err() {
            directory = make_private(&std::env::temp_dir());
        }
        let directory = directory.map_err(failed)?;
        let path = directory.join("socket");
        let mut files =
            Files { process: std::process::id(), socket: None, directory: Some(directory.clone()) };
        if options.others {
            fs::set_permissions(&directory, Permissions::from_mode(0o711)).map_err(failed)?;
        }
        let (socket, id) = bind_path(&path, options)?;
        files.socket = Some(id);
        Ok(Self { address: Address::Unix(path), socket, _files: Some(files) })
    }

    /// A socket at an address, and whether connections to it may leave the machine.
    pub(super) fn bind(address: &Address, options: &PlaceOptions) -> Result<(Self, bool), Error> {
        match address {
            Address::Unix(path) => {
                let (socket, id) = bind_path(path, options)?;
                let files =
                    Files { process: std::process::id(), socket: Some(id), directory: None };
                let address = address.clone();
                Ok((Self { address, socket, _files: Some(files) }, false))
            }
            Address::Abstract(name) => {
                let socket = unix_socket()?;
                if name.is_empty() {
                    // The kernel chooses a name.
                    bind_unix(&socket, &UnixAddr::new_unnamed())?;
                } else {
                    bind_unix(&socket, &Name::of_abstract(name)?.address)?;
                }
                start(&socket, options)?;
                let local = getsockname::<UnixAddr>(socket.as_raw_fd());
                let local = local.map_err(|error| failed(error.into()))?;
                let address = Address::Abstract(local.as_abstract().unwrap_or_default().to_vec());
                Ok((Self { address, socket: Socket::Unix(socket), _files: None }, false))
            }
            Address::Tcp { host, port } => bind_tcp(host, *port, options),
        }
    }

    pub(super) fn carrier(&self) -> Carrier {
        match self.socket {
            Socket::Unix(_) => Carrier::Packets,
            Socket::Tcp(_) => Carrier::Stream,
        }
    }

    /// Accepts a client if there is one.
    pub(super) fn accept(&self) -> Result<Option<Wire>, Error> {
        loop {
            let accepted = match &self.socket {
                Socket::Unix(socket) => {
                    let accepted = socket.accept();
                    accepted.map(|(socket, _)| Wire::Packets(above_streams(socket.into())))
                }
                Socket::Tcp(socket) => socket.accept().and_then(|(socket, _)| {
                    // A client that is gone again is not worth an error.
                    let gone = |error: io::Error| match error.kind() {
                        io::ErrorKind::NotConnected | io::ErrorKind::InvalidInput => {
                            io::ErrorKind::ConnectionAborted.into()
                        }
                        _ => error,
                    };
                    Ok(Wire::Stream(Box::new(Stream::new(socket).map_err(gone)?)))
                }),
            };
            let error = match accepted {
                Ok(wire) => return Ok(Some(wire)),
                Err(error) => error,
            };
            match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                Errno::EAGAIN => return Ok(None),
                // Errors of the client's network: accept(2) says to go on.
                Errno::ECONNABORTED
                | Errno::ENETDOWN
                | Errno::EPROTO
                | Errno::ENOPROTOOPT
                | Errno::EHOSTDOWN
                | Errno::ENONET
                | Errno::EHOSTUNREACH
                | Errno::ENETUNREACH
                | Errno::EINTR => {}
                _ if error.kind() == io::ErrorKind::ConnectionAborted => {}
                _ => return Err(Error::from_io("no client can be accepted", error)),
            }
        }
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Unix(socket) => socket.as_fd(),
            Socket::Tcp(socket) => socket.as_fd(),
        }
    }
}

fn failed(error: io::Error) -> Error {
    let what = match error.kind() {
        io::ErrorKind::AddrInUse => "the address is in use",
        io::ErrorKind::PermissionDenied => "this user may not listen at the address",
        io::ErrorKind::NotFound => {
            return no_directory();
        }
        _ => "the listener cannot listen",
    };
    Error::from_io(what, error)
}

fn no_directory() -> Error {
    Error::new(ErrorKind::InvalidAddress, "there is no directory of the socket")
}

fn make_private(base: &Path) -> io::Result<PathBuf> {
    let name = u64::from_ne_bytes(key::random()?);
    let path = base.join(format!("mp-pipe-{name:016x}"));
    // Fails if it exists: nobody can have put it there for us.
    DirBuilder::new().mode(0o700).create(&path)?;
    Ok(path)
}

/// Accepting does not wait: several threads may be told of one client.
fn unix_socket() -> Result<UnixListener, Error> {
    Ok(new_socket(SockFlag::SOCK_NONBLOCK).map_err(failed)?.into())
}

fn bind_unix(socket: &UnixListener, address: &UnixAddr) -> Result<(), Error> {
    bind(socket.as_raw_fd(), address).map_err(|error| failed(error.into()))
}

fn start(socket: &impl AsFd, options: &PlaceOptions) -> Result<(), Error> {
    let backlog = Backlog::new(i32::from(options.backlog)).unwrap_or(Backlog::MAXCONN);
    listen(socket, backlog).map_err(|error| failed(error.into()))
}

/// Makes the socket in the file system, and says what it is there.
fn bind_path(path: &Path, options: &PlaceOptions) -> Result<(Socket, (PathBuf, u64, u64)), Error> {
    let absolute = std::path::absolute(path)
        .map_err(|error| Error::from_io("the path of a socket must end in a name", error))?;
    let name = Name::of_path(&absolute).map_err(|error| match error.kind() {
        ErrorKind::NobodyListens => no_directory(),
        _ => error,
    })?;
    let socket = unix_socket()?;
    // The file gets the mode of the socket, so that there is no moment when others can connect.
    let mode = if options.others { 0o666 } else { 0o600 };
    fchmod(&socket, Mode::from_bits_truncate(mode)).map_err(|error| failed(error.into()))?;
    let _held = if options.replace_dead { Some(remove_dead(&absolute)?) } else { None };
    bind_unix(&socket, &name.address)?;
    let data = fs::symlink_metadata(&absolute).map_err(failed)?;
    let id = (absolute.clone(), data.dev(), data.ino());
    let finish = || {
        if options.others {
            // Whatever the mask of this process is.
            fs::set_permissions(&absolute, Permissions::from_mode(mode)).map_err(failed)?;
        }
        start(&socket, options)
    };
    if let Err(error) = finish() {
        let _ = fs::remove_file(&absolute);
        return Err(error);
    }
    Ok((Socket::Unix(socket), id))
}

/// Removes a socket that nobody listens at. The lock keeps others who do the same out until this one listens.
fn remove_dead(path: &Path) -> Result<Flock<File>, Error> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut directory = File::open(directory).map_err(failed)?;
    let held = loop {
        match Flock::lock(directory, FlockArg::LockExclusive) {
            Ok(held) => break held,
            Err((back, Errno::EINTR)) => directory = back,
            Err((_, error)) => return Err(failed(error.into())),
        }
    };
    let is_socket = fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket());
    if is_socket {
        let nobody = connect_to(&Name::of_path(path)?, Deadline::NOW);
        if nobody.is_err_and(|error| error.kind() == ErrorKind::NobodyListens) {
            fs::remove_file(path).map_err(failed)?;
        }
    }
    Ok(held)
}

fn bind_tcp(host: &str, port: u16, options: &PlaceOptions) -> Result<(Place, bool), Error> {
    let mut last = None;
    for address in resolve(host, port)? {
        let remote = !is_loopback(&address);
        if remote && let Err(why) = options.may_leave {
            return Err(Error::new(ErrorKind::Unencrypted, why));
        }
        match open_tcp(address, options) {
            Ok(socket) => {
                let local = socket.local_addr().map_err(failed)?;
                let address = Address::from((host, local.port()));
                return Ok((Place { address, socket: Socket::Tcp(socket), _files: None }, remote));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::new(ErrorKind::InvalidAddress, "the host has no address")))
}

fn open_tcp(address: SocketAddr, options: &PlaceOptions) -> Result<TcpListener, Error> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let open = || {
        let socket = above_streams(socket(family, SockType::Stream, flags, None)?);
        // Connections of a listener before, which the kernel is still winding up, do not keep the port.
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
        Ok(socket)
    };
    let socket = open().map_err(|error: Errno| failed(error.into()))?;
    start(&socket, options)?;
    Ok(socket.into())
}

/// Says whether what is sent to an address stays on the machine.
pub(crate) fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}
