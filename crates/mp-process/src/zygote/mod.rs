//! The process that forks children: the parent's side.
//!
//! It is executed on first use, from the same program, and has one thread, so that forking it is safe whatever the
//! parent's threads do. When it is killed, its children live on, and the next start makes another one.

mod preload;
mod server;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mp_wire::{Deadline, Fd, poll, socket};

pub use preload::set_forkserver_preload;
pub(crate) use server::serve;

use crate::execute::{self, Executed};
use crate::image::Image;
use crate::logging::event;
use crate::record::{Note, Reaper};
use crate::registry::{self, Pair};
use crate::wire::{self, First, Hello, Request};
use crate::{Error, ErrorKind, ExitStatus, sys};

/// A zygote that was executed. Dropped, it ends, and is reaped.
#[derive(Debug)]
pub(crate) struct Zygote {
    /// Closing it ends the zygote.
    control: Option<Fd>,
    process: Executed,
    environment: Vec<u8>,
    credentials: [u32; 6],
}

impl Zygote {
    /// Closes the socket by its number, in a copy of the parent.
    pub(crate) fn close_raw(&self) {
        if let Some(control) = &self.control {
            sys::close_raw(control.as_raw_fd());
        }
    }

    fn execute() -> Result<(Self, Pair), Error> {
        execute::check()?;
        let failed = |error| Error::from_io("no socket for the process that forks", error);
        let (pair, control, theirs) = Pair::new().map_err(failed)?;
        let environment = execute::environment();
        let process = execute::execute(&theirs, &environment)?;
        drop(theirs);
        pair.sent();
        let preload = preload::function();
        let first = First::Zygote { program: Image::get().program().to_vec(), preload };
        // If it is dead, whoever needs it will find out.
        let _ = wire::send(&control, &first);
        let credentials = sys::credentials();
        let zygote = Self { control: Some(control), process, environment, credentials };
        if let (Some(_), Some(control)) = (preload, &zygote.control) {
            preload::wait(control)?;
        }
        Ok((zygote, pair))
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        self.control = None;
        let deadline = Deadline::after(Duration::from_secs(1));
        let process = self.process.process.as_fd();
        if !poll::wait_readable(process, deadline).unwrap_or_default() {
            let _ = sys::pidfd_signal(process, libc::SIGKILL);
            let _ = poll::wait_readable(process, Deadline::NEVER);
        }
        let _ = sys::reap(process);
    }
}

/// Lets the zygote go, when this process ends.
pub(crate) fn close() {
    drop(registry::set_zygote(None));
}

/// A child that says that it is there.
#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) pid: u32,
    pub(crate) process: OwnedFd,
    pub(crate) reaper: Reaper,
}

/// Why there is no child.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The zygote is dead, and nothing ran: another one may do.
    Dead,
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The zygote, which is executed if there is none, or if the one that is there may do what this process may not.
pub(crate) fn get() -> Result<Arc<Zygote>, Error> {
    static LAUNCH: Mutex<()> = Mutex::new(());
    let usable = |zygote: &Arc<Zygote>| zygote.credentials == sys::credentials();
    if let Some(zygote) = registry::zygote().filter(usable) {
        return Ok(zygote);
    }
    let _launch = LAUNCH.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(zygote) = registry::zygote().filter(usable) {
        return Ok(zygote);
    }
    let (zygote, pair) = Zygote::execute()?;
    let zygote = Arc::new(zygote);
    let before = registry::set_zygote(Some(Arc::clone(&zygote)));
    drop(pair);
    drop(before);
    event!(DEBUG, child_pid = zygote.process.pid, "the process that forks children is there");
    Ok(zygote)
}

/// Makes way for another zygote, if nobody else has.
pub(crate) fn bury(dead: &Arc<Zygote>) {
    drop(registry::remove_zygote(dead));
    event!(WARN, child_pid = dead.process.pid, "the process that forks children is gone");
}

/// Asks a zygote for a child, which gets `theirs`; the job for it is on the way already.
pub(crate) fn fork(
    zygote: &Zygote,
    pair: &Pair,
    ours: &Fd,
    theirs: Fd,
    environment: Vec<u8>,
) -> Result<Born, Refusal> {
    let failed = |error| Error::from_io("no descriptors for a new process", error);
    let (notes, zygotes) = sys::pipe().map_err(failed)?;
    let message = mp_wire::encode(&request(zygote, theirs, zygotes.into(), environment)?);
    let message = message.map_err(|error| Error::from_wire("no request to the zygote", error))?;
    let Some(control) = &zygote.control else { return Err(Refusal::Dead) };
    match socket::send(control, &message.bytes, &message.fds, Deadline::NEVER) {
        Ok(()) => {}
        Err(error) if error.kind() == mp_wire::ErrorKind::Closed => return Err(Refusal::Dead),
        Err(error) => {
            return Err(Error::from_wire("the process that forks cannot be asked", error).into());
        }
    }
    // From here on the end of the socket means that no child has it.
    drop(message);
    pair.sent();
    match wire::recv::<Hello>(ours) {
        Ok(hello) if hello.program != Image::get().program() => {
            let _ = sys::pidfd_signal(hello.process.as_fd(), libc::SIGKILL);
            let what = "the program that was executed is another build than this one";
            Err(Error::new(ErrorKind::Program, what).into())
        }
        Ok(hello) => {
            let process = hello.process.into_owned().map_err(failed)?;
            Ok(Born { pid: hello.pid, process, reaper: Reaper::Zygote(notes) })
        }
        Err(error) if error.kind() == mp_wire::ErrorKind::Closed => Err(refusal(notes.as_fd())),
        Err(error) => Err(Error::from_wire("the new process does not answer", error).into()),
    }
}

/// Why no child said hello. Nothing ran.
fn refusal(notes: BorrowedFd<'_>) -> Refusal {
    // The zygote says why, or is dead.
    let _ = poll::wait_readable(notes, Deadline::NEVER);
    match Note::read(notes) {
        Ok(Some(Note::NotForked(errno))) => {
            let error = std::io::Error::from_raw_os_error(errno);
            Error::from_io("no process can be forked", error).into()
        }
        Ok(Some(Note::Ended(status))) => {
            let status = ExitStatus::from_wait(status);
            let what = format!("the new process ended before it began: {status}");
            Error::new(ErrorKind::Program, what).into()
        }
        _ => Refusal::Dead,
    }
}

fn request(zygote: &Zygote, life: Fd, notes: Fd, environment: Vec<u8>) -> Result<Request, Error> {
    let mut streams = [const { None }; 3];
    for (number, stream) in streams.iter_mut().enumerate() {
        let copy = sys::standard_stream(number as i32);
        let copy = copy.map_err(|error| Error::from_io("a standard stream is not there", error))?;
        *stream = copy.map(Fd::from);
    }
    let mut directory = std::fs::OpenOptions::new();
    directory.read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY);
    let directory = directory.open(".").ok().map(|file: File| Fd::from(OwnedFd::from(file)));
    let environment = (environment != zygote.environment).then_some(environment);
    Ok(Request { life, notes, streams, directory, umask: umask(), environment })
}

/// The mask of permissions for new files, which can be asked for without a change only here.
fn umask() -> Option<u32> {
    // It is in the second line.
    let mut start = [0; 256];
    let len = File::open("/proc/self/status").and_then(|mut file| file.read(&mut start)).ok()?;
    let text = String::from_utf8_lossy(start.get(..len)?);
    let line = text.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}
