//! UNIX sockets that have a name.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use mp_wire::{Deadline, above_streams};

use crate::address::{MAX_NAME, is_bad_path};
use crate::{Error, ErrorKind, sys};

/// An address in the kernel's form, with what must stay open while it is used.
pub(crate) struct Name {
    pub(crate) address: UnixAddr,
    _parent: Option<File>,
}

impl Name {
    /// The name of a path. One that is too long for the kernel's form is reached through its directory.
    pub(crate) fn of_path(path: &Path) -> Result<Self, Error> {
        if is_bad_path(path) {
            return Err(Error::new(
                ErrorKind::InvalidAddress,
                "the path of a socket must end in a name",
            ));
        }
        let wrong = |error| Error::from_io("the path is no socket's", io::Error::from(error));
        if path.as_os_str().as_bytes().len() <= MAX_NAME {
            return Ok(Self { address: UnixAddr::new(path).map_err(wrong)?, _parent: None });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::new(
                ErrorKind::InvalidAddress,
                "the path of a socket must end in a name",
            ));
        };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let flags = (OFlag::O_PATH | OFlag::O_DIRECTORY).bits();
        let parent = OpenOptions::new().read(true).custom_flags(flags).open(parent);
        let parent =
            parent.map_err(|error| Error::from_io("there is no directory of the socket", error))?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name);
        if short.as_os_str().as_bytes().len() > MAX_NAME {
            return Err(Error::new(
                ErrorKind::InvalidAddress,
                "the name of the socket is too long",
            ));
        }
        Ok(Self { address: UnixAddr::new(&short).map_err(wrong)?, _parent: Some(parent) })
    }

    pub(crate) fn of_abstract(name: &[u8]) -> Result<Self, Error> {
        let address = UnixAddr::new_abstract(name);
        let what = "the name of an abstract socket is longer than 107 bytes";
        let address = address.map_err(|_| Error::new(ErrorKind::InvalidAddress, what))?;
        Ok(Self { address, _parent: None })
    }
}

pub(crate) fn new_socket(flags: SockFlag) -> io::Result<OwnedFd> {
    let flags = flags | SockFlag::SOCK_CLOEXEC;
    Ok(above_streams(socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?))
}

/// Connects, waiting while the listener has too many who wait.
pub(crate) fn connect_to(name: &Name, deadline: Deadline) -> Result<OwnedFd, Error> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Error::from_io("nobody listens at the address", error)
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::timed_out(),
        _ => Error::from_io("the client cannot connect", error),
    };
    // A socket that does not wait has no way to tell when there is room: the kernel is to wait, and to know how long.
    let now = if deadline == Deadline::NOW { SockFlag::SOCK_NONBLOCK } else { SockFlag::empty() };
    let socket = new_socket(now).map_err(failed)?;
    loop {
        if deadline != Deadline::NOW
            && let Some(left) = deadline.remaining()
        {
            if left.is_zero() {
                return Err(Error::timed_out());
            }
            let micros = i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1);
            set_timeout(&socket, micros).map_err(failed)?;
        }
        match connect(socket.as_raw_fd(), &name.address) {
            Ok(()) => break,
            Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::EAGAIN) if !deadline.is_past() => {}
            Err(error) => return Err(failed(error.into())),
        }
    }
    if now.is_empty() {
        set_timeout(&socket, 0).map_err(failed)?;
    } else {
        sys::retry(|| {
            let flags = nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_GETFL)?;
            let flags = OFlag::from_bits_retain(flags) - OFlag::O_NONBLOCK;
            nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_SETFL(flags))
        })
        .map_err(failed)?;
    }
    Ok(socket)
}

fn set_timeout(socket: &OwnedFd, micros: i64) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::SendTimeout, &TimeVal::microseconds(micros))?)
}
