//! One child: what its parent knows about it, and how it learns of its end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use mp_wire::{Deadline, poll};

use crate::logging::event;
use crate::start::Plan;
use crate::{Error, ExitStatus, sys};

/// How often to look for a word of the zygote that is on its way, before sleeping for it.
const LOOKS: u32 = 100;

/// How often, and how long apart, to look whether an interrupt of the keyboard is still on its way.
const PAUSES: u32 = 100;
const PAUSE: Duration = Duration::from_micros(500);

/// Who learns how the child ended.
#[derive(Debug)]
pub(crate) enum Reaper {
    /// This process is its parent.
    Here,
    /// The zygote is, and writes the status to this pipe.
    Zygote(OwnedFd),
}

/// How a child ended, in the form of `waitpid`, as the zygote writes it to the child's pipe.
pub(crate) struct Note(pub(crate) i32);

impl Note {
    pub(crate) fn write(self, pipe: BorrowedFd<'_>) {
        sys::write(pipe, &self.0.to_ne_bytes());
    }

    /// Reads it; `Ok(None)` if it is not there yet, an error if it will never be.
    fn read(pipe: BorrowedFd<'_>) -> Result<Option<Self>, ()> {
        let mut bytes = [0; size_of::<i32>()];
        match sys::read(pipe, &mut bytes) {
            Ok(None) => Ok(None),
            Ok(Some(len)) if len == bytes.len() => Ok(Some(Self(i32::from_ne_bytes(bytes)))),
            _ => Err(()),
        }
    }
}

/// A child that was started.
#[derive(Debug)]
pub(crate) struct Record {
    serial: u64,
    name: String,
    daemon: bool,
    detached: bool,
    pid: u32,
    process: OwnedFd,
    reaper: Reaper,
    status: OnceLock<ExitStatus>,
    /// Held while the status is asked for, so that one thread does not take it away from another.
    asking: Mutex<()>,
    /// The process that started it; copies of that one must not take its status.
    owner: u32,
    /// This process has sent it `SIGKILL`.
    killed: AtomicBool,
}

impl Record {
    pub(crate) fn new(
        serial: u64,
        plan: &Plan,
        pid: u32,
        process: OwnedFd,
        reaper: Reaper,
    ) -> Self {
        Self {
            serial,
            name: plan.name(),
            daemon: plan.is_daemon(),
            detached: plan.detached,
            pid,
            process,
            reaper,
            status: OnceLock::new(),
            asking: Mutex::new(()),
            owner: sys::pid(),
            killed: AtomicBool::new(false),
        }
    }

    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_daemon(&self) -> bool {
        self.daemon
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.detached
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The pidfd.
    pub(crate) fn sentinel(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }

    /// Says whether this process started it, and is not a copy of the one that did.
    pub(crate) fn is_ours(&self) -> bool {
        self.owner == sys::pid()
    }

    pub(crate) fn signal(&self, signal: i32) -> Result<(), Error> {
        if self.status.get().is_some() {
            return Ok(());
        }
        if signal == libc::SIGKILL {
            self.killed.store(true, Ordering::Relaxed);
        }
        sys::pidfd_signal(self.sentinel(), signal).map_err(|error| {
            Error::from_io(format!("process `{}` cannot be signalled", self.name), error)
        })
    }

    /// Interrupts it, as somebody who means this process.
    ///
    /// Of two interrupts of which none has been looked at, the kernel keeps the first. If that is one of the keyboard, the
    /// process would leave it to this one, and know nothing of ours: so it gets time to look.
    pub(crate) fn interrupt(&self) -> Result<(), Error> {
        for _ in 0..PAUSES {
            if !self.has_pending_interrupt() {
                return self.signal(libc::SIGINT);
            }
            std::thread::sleep(PAUSE);
        }
        // It is stopped, or blocks the signal. To its main thread it can still be sent.
        if self.status.get().is_none()
            && sys::pidfd_signal_thread(self.sentinel(), libc::SIGINT).is_ok()
        {
            return Ok(());
        }
        self.signal(libc::SIGINT)
    }

    fn has_pending_interrupt(&self) -> bool {
        let path = format!("/proc/{}/status", self.pid);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let pending = text.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
        let pending = pending.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        pending.is_some_and(|mask| mask & 1 << (libc::SIGINT - 1) != 0)
    }

    pub(crate) fn was_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    /// Asks it to end, and kills it if it has not done so in time.
    pub(crate) fn terminate_within(&self, grace: Duration) -> Result<ExitStatus, Error> {
        self.signal(libc::SIGTERM)?;
        if let Some(status) = self.wait(Deadline::after(grace)) {
            return Ok(status);
        }
        self.signal(libc::SIGKILL)?;
        Ok(self.wait(Deadline::NEVER).unwrap_or(ExitStatus::UNKNOWN))
    }

    /// How it ended; `None` if it has not, or if whoever knows has not said so yet.
    pub(crate) fn try_status(&self) -> Option<ExitStatus> {
        if let Some(status) = self.status.get() {
            return Some(*status);
        }
        let asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = self.status.get() {
            return Some(*status);
        }
        let status = self.ask()?;
        let status = *self.status.get_or_init(|| status);
        drop(asking);
        event!(DEBUG, child = self.name(), child_pid = self.pid, %status, "process ended");
        Some(status)
    }

    fn ask(&self) -> Option<ExitStatus> {
        match &self.reaper {
            _ if !self.is_ours() => self.ask_kernel(),
            Reaper::Here => match sys::reap(self.sentinel()) {
                Ok(status) => status,
                // Somebody else has reaped it, or the program ignores SIGCHLD.
                Err(_) => self.ask_kernel(),
            },
            Reaper::Zygote(pipe) => match Note::read(pipe.as_fd()) {
                Ok(None) => None,
                Ok(Some(Note(status))) => Some(ExitStatus::from_wait(status)),
                // The zygote is dead. Its children live on, and have another parent now.
                Err(()) => self.ask_kernel(),
            },
        }
    }

    /// Asks for the end of a process that is not a child of this one.
    fn ask_kernel(&self) -> Option<ExitStatus> {
        if sys::runs(self.sentinel()) {
            return None;
        }
        // Its new parent may be this one, as the first process of a container.
        if self.is_ours()
            && let Ok(Some(status)) = sys::reap(self.sentinel())
        {
            return Some(status);
        }
        // The kernel tells once its new parent has reaped it, which may be about to happen, or never.
        for pause in [0, 1, 5, 20, 100, 300] {
            if let Some(status) = sys::exit_info(self.sentinel()) {
                return Some(status);
            }
            if let Some(status) = self.zombie_status() {
                return Some(status);
            }
            if sys::poll(self.sentinel(), 0, pause) & libc::POLLHUP != 0 {
                return Some(sys::exit_info(self.sentinel()).unwrap_or(ExitStatus::UNKNOWN));
            }
        }
        Some(ExitStatus::UNKNOWN)
    }

    /// What `/proc` says about a process that has ended and that nobody has reaped.
    fn zombie_status(&self) -> Option<ExitStatus> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The number may be another's by now, unless the process is still there.
        if sys::poll(self.sentinel(), 0, 0) & libc::POLLHUP != 0 {
            return None;
        }
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        (fields.next()? == "Z").then_some(())?;
        fields.last()?.parse().ok().map(ExitStatus::from_wait)
    }

    /// Waits for its end; `None` if the deadline came first.
    pub(crate) fn wait(&self, deadline: Deadline) -> Option<ExitStatus> {
        loop {
            if let Some(status) = self.try_status() {
                return Some(status);
            }
            if deadline.is_past() {
                return None;
            }
            let waited = match &self.reaper {
                Reaper::Zygote(pipe) if self.is_ours() => self.wait_note(pipe.as_fd(), deadline),
                _ => poll::wait_readable(self.sentinel(), deadline).map(drop),
            };
            if waited.is_err() {
                // No memory for the wait itself: look again in a while.
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Waits for the word of the zygote.
    fn wait_note(&self, pipe: BorrowedFd<'_>, deadline: Deadline) -> std::io::Result<()> {
        // The end of the process wakes the zygote and this one at once, so that the word is there in a moment.
        if !poll::wait_readable(self.sentinel(), deadline)? {
            return Ok(());
        }
        for _ in 0..LOOKS {
            if sys::poll(pipe, libc::POLLIN, 0) != 0 {
                return Ok(());
            }
            std::thread::yield_now();
        }
        poll::wait_readable(pipe, deadline).map(drop)
    }
}
