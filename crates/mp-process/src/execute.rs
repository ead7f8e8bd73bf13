//! Executing the program once more, as a zygote or as a child.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use mp_wire::Fd;
use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};

use crate::{Error, ErrorKind, sys};

/// A process that was executed.
#[derive(Debug)]
pub(crate) struct Executed {
    pub(crate) pid: u32,
    pub(crate) process: OwnedFd,
}

/// Makes sure that executing this program would start a child, and not the program from its beginning.
pub(crate) fn check() -> Result<(), Error> {
    if sys::is_privileged() {
        let what = "a program that runs with another user's rights is not executed once more";
        return Err(Error::new(ErrorKind::Program, what));
    }
    if !sys::has_early_entry() {
        let what = "the entry before `main` is not part of this program";
        return Err(Error::new(ErrorKind::Program, what));
    }
    let first = std::env::args_os().next();
    if !sys::is_marked() && first.is_some_and(|first| first.as_bytes() == sys::MARKER.to_bytes()) {
        let what = "this process was to be a child, but the entry before `main` did not run";
        return Err(Error::new(ErrorKind::Program, what));
    }
    Ok(())
}

/// Executes this program with one end of a socket pair, and nothing else but the standard streams.
pub(crate) fn execute(socket: &Fd, environment: &[u8]) -> Result<Executed, Error> {
    let environment: Vec<CString> = environment
        .split_inclusive(|&byte| byte == 0)
        .filter_map(|variable| CString::from_vec_with_nul(variable.to_vec()).ok())
        .collect();
    let arguments = std::env::args_os().filter_map(|text| CString::new(text.into_vec()).ok());
    let mut arguments: Vec<CString> =
        std::iter::once(sys::MARKER.to_owned()).chain(arguments).collect();
    let pid = match try_execute(socket, &arguments, &environment) {
        Err(Errno::E2BIG) => {
            // One argument more than the program itself got is too much: do without them.
            arguments.truncate(2);
            try_execute(socket, &arguments, &environment)
        }
        other => other,
    };
    let pid = pid.map_err(|errno| match errno {
        Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE => {
            Error::from_io("the program cannot be executed once more", errno.into())
        }
        _ => Error::with_source(
            ErrorKind::Program,
            "the program cannot be executed once more",
            io::Error::from(errno),
        ),
    })?;
    let process = sys::pidfd_open(pid).map_err(|error| {
        sys::abandon(pid);
        Error::from_io("no descriptor for a new process", error)
    })?;
    Ok(Executed { pid, process })
}

fn try_execute(socket: &Fd, args: &[CString], environment: &[CString]) -> nix::Result<u32> {
    let mut actions = PosixSpawnFileActions::init()?;
    actions.add_dup2(socket.as_raw_fd(), sys::SOCKET_FD)?;
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
    )?;
    attributes.set_sigdefault(&SigSet::all())?;
    // Until the child can tell whose it is.
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGINT);
    attributes.set_sigmask(&mask)?;
    let run = |path: &std::ffi::CStr| posix_spawn(path, &actions, &attributes, args, environment);
    // The link stays right when the file is renamed, replaced or removed.
    let pid = match run(c"/proc/self/exe") {
        Err(Errno::ENOENT | Errno::ENOTDIR) => match sys::executed_path() {
            Some(path) => run(path)?,
            None => return Err(Errno::ENOENT),
        },
        other => other?,
    };
    u32::try_from(pid.as_raw()).map_err(|_| Errno::ESRCH)
}

/// All variables of the environment, `name=value` with a zero behind each.
pub(crate) fn environment() -> Vec<u8> {
    let mut block = Vec::with_capacity(4096);
    for (name, value) in std::env::vars_os() {
        block.extend_from_slice(name.as_bytes());
        block.push(b'=');
        block.extend_from_slice(value.as_bytes());
        block.push(0);
    }
    block
}
