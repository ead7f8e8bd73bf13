//! The process that forks children: the parent's side.
//!
//! It is executed on first use, from the same program, and has one thread, so that forking it is safe whatever the
//! parent's threads do. It has a child ready before there is a job for it, so that a start takes that one, and no time to
//! fork. When the zygote is killed, its children live on, and the next start makes another one.

mod preload;
mod server;

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mp_wire::{Deadline, Fd, Limits, above_streams, poll, socket};

pub use preload::set_forkserver_preload;
pub(crate) use server::serve;

use crate::execute::{self, Executed};
use crate::image::Image;
use crate::logging::event;
use crate::record::Reaper;
use crate::registry::{self, Pair};
use crate::wire::{self, Answer, Around, First};
use crate::{Error, ErrorKind, sys};

/// A zygote that was executed. Dropped, it ends, and is reaped.
#[derive(Debug)]
pub(crate) struct Zygote {
    /// Closing it ends the zygote.
    control: Option<Fd>,
    /// Counts how many children it is to make. A word on the socket would wake it on the processor of whoever sends it,
    /// which has a child to wake at the same time.
    wanted: Fd,
    process: Executed,
    environment: Vec<u8>,
    credentials: [u32; 6],
    /// What the kernel says about this process; without `/proc`, nothing.
    status: Option<File>,
}

impl Zygote {
    /// Closes its descriptors by their numbers, in a copy of the parent.
    pub(crate) fn close_raw(&self) {
        let control = self.control.as_ref().map(AsRawFd::as_raw_fd);
        let status = self.status.as_ref().map(AsRawFd::as_raw_fd);
        let others = [self.wanted.as_raw_fd(), self.process.process.as_raw_fd()];
        control.into_iter().chain(status).chain(others).for_each(sys::close_raw);
    }

    fn execute() -> Result<(Self, Pair), Error> {
        execute::check()?;
        let failed = |error| Error::from_io("no socket for the process that forks", error);
        let (pair, control, theirs) = Pair::new().map_err(failed)?;
        let wanted = Fd::from(sys::counter().map_err(failed)?);
        let environment = execute::environment();
        let process = execute::execute(&theirs, &environment)?;
        drop(theirs);
        pair.sent();
        let preload = preload::function();
        let program = Image::get().program().to_vec();
        let first = First::Zygote { program, preload, wanted: wanted.clone() };
        // If it is dead, whoever needs it will find out.
        let _ = wire::send(&control, &first);
        let credentials = sys::credentials();
        let status = File::open("/proc/self/status");
        let status = status.ok().map(|file| File::from(above_streams(file.into())));
        let control = Some(control);
        let zygote = Self { control, wanted, process, environment, credentials, status };
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

/// A child that waits for its job.
#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) pid: u32,
    pub(crate) process: OwnedFd,
    pub(crate) reaper: Reaper,
    pub(crate) pair: Pair,
    pub(crate) life: Fd,
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

/// The zygote, which is executed if there is none, or if the one that is there is dead, or may do what this process may not.
pub(crate) fn get() -> Result<Arc<Zygote>, Error> {
    static LAUNCH: Mutex<()> = Mutex::new(());
    let usable = |zygote: &Arc<Zygote>| {
        zygote.credentials == sys::credentials() && sys::runs(zygote.process.process.as_fd())
    };
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

impl Zygote {
    /// Waits for an answer. Of a child, its socket comes apart.
    fn answer(&self) -> Result<(Answer, Option<(Pair, Fd)>), Refusal> {
        let control = self.control.as_ref().ok_or(Refusal::Dead)?;
        let receive = || {
            let message = socket::recv(control, Limits::default(), Deadline::NOW)?;
            let mut answer = message.decode()?;
            let life = match &mut answer {
                Answer::Ready(ready) => ready.life.take(),
                Answer::NotForked(_) => None,
            };
            Ok((answer, life))
        };
        loop {
            // Now or not at all, and so that a fork meanwhile does not copy the socket.
            match Pair::adopt(receive) {
                Err(error) if error.kind() == mp_wire::ErrorKind::TimedOut => {}
                Err(error) if error.kind() == mp_wire::ErrorKind::Closed => {
                    return Err(Refusal::Dead);
                }
                Err(error) => {
                    let what = "no descriptors for a new process";
                    return Err(Error::from_wire(what, error).into());
                }
                Ok(answer) => return Ok(answer),
            }
            // Whoever cannot wait looks again.
            let _ = poll::wait_readable(control.as_fd(), Deadline::NEVER);
        }
    }

    /// Has another child made, once an answer was taken.
    pub(crate) fn more(&self) {
        sys::add_count(self.wanted.as_fd());
    }

    /// Takes a child that waits for its job. When it has that, [`more`](Self::more) is to be called.
    pub(crate) fn take(&self) -> Result<Born, Refusal> {
        // The first answer may be an old one: that there was no memory, or a child that has been killed since.
        match self.try_take() {
            Err(Refusal::Failed(_)) => self.more(),
            other => return other,
        }
        self.try_take().inspect_err(|_| self.more())
    }

    fn try_take(&self) -> Result<Born, Refusal> {
        let (ready, pair, life) = match self.answer()? {
            (Answer::Ready(ready), Some((pair, life))) => (ready, pair, life),
            (Answer::NotForked(errno), _) => {
                let error = std::io::Error::from_raw_os_error(errno);
                return Err(Error::from_io("no process can be forked", error).into());
            }
            (Answer::Ready(_), None) => return Err(Refusal::Dead),
        };
        if ready.program != Image::get().program() {
            let what = "the program that was executed is another build than this one";
            return Err(Error::new(ErrorKind::Program, what).into());
        }
        let failed = |error| Error::from_io("no descriptors for a new process", error);
        let process = ready.process.into_owned().map_err(failed)?;
        let notes = ready.notes.into_owned().map_err(failed)?;
        if !sys::runs(process.as_fd()) {
            let what = "a new process was killed before it was told what to run";
            return Err(Error::new(ErrorKind::Program, what).into());
        }
        Ok(Born { pid: ready.pid, process, reaper: Reaper::Zygote(notes), pair, life })
    }

    /// What surrounds this process now, for a child.
    pub(crate) fn around(&self, environment: Vec<u8>) -> Result<Around, Error> {
        let mut streams = [const { None }; 3];
        for (number, stream) in streams.iter_mut().enumerate() {
            let copy = sys::standard_stream(number as i32);
            let copy =
                copy.map_err(|error| Error::from_io("a standard stream is not there", error))?;
            *stream = copy.map(Fd::from);
        }
        let mut directory = std::fs::OpenOptions::new();
        directory.read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY);
        let directory = directory.open(".").ok().map(|file: File| Fd::from(OwnedFd::from(file)));
        let environment = (environment != self.environment).then_some(environment);
        Ok(Around { streams, directory, umask: self.umask(), environment })
    }

    /// The mask of permissions for new files, which can be asked for without a change only there.
    fn umask(&self) -> Option<u32> {
        // It is in the second line.
        let mut start = [0; 128];
        let len = self.status.as_ref()?.read_at(&mut start, 0).ok()?;
        let text = String::from_utf8_lossy(start.get(..len)?);
        let line = text.lines().find_map(|line| line.strip_prefix("Umask:"))?;
        u32::from_str_radix(line.trim(), 8).ok()
    }
}
