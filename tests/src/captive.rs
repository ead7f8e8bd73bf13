//! Processes that the library itself has started, stepped one instruction at a time and killed, like the victims of
//! [`step`](crate::step).
//!
//! The others are as they are in a real program: here they have threads, and go on at full speed meanwhile.
#![expect(unsafe_code, reason = "ptrace of a process that is not a child")]

use std::ptr;

use crate::proc;
use crate::step::{End, Kill, Regions, Stop, within_liveness};

/// A process that is stopped, and goes on step by step until it is killed.
///
/// Only the thread that seized it can step it: the first one of this process, which gets the timer's signals. It is killed when
/// dropped.
#[derive(Debug)]
pub struct Captive {
    pid: i32,
    /// Where its list of robust locks is.
    head: usize,
    gone: bool,
    /// A step takes it to the beginning or the end of a system call.
    by_calls: bool,
}

/// How a step ended.
enum Stepped {
    Done,
    Asleep,
    Gone,
}

impl Captive {
    /// Stops a process, which sleeps in the kernel or has stopped itself.
    #[must_use]
    pub fn seize(pid: u32) -> Self {
        crate::step::tick();
        let pid = i32::try_from(pid).unwrap();
        let (asleep, _) = within_liveness(|| matches!(proc::state(pid), Some('S' | 'T')));
        assert!(asleep, "it does not come to rest: {}", proc::describe(pid));
        // SAFETY: attaches to another process; no memory of this one is involved.
        let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) };
        assert_eq!(seized, 0, "it cannot be seized: {}", std::io::Error::last_os_error());
        let captive = Self { pid, head: robust_head(pid), gone: false, by_calls: false };
        if proc::state(pid) == Some('T') {
            // SAFETY: lets it leave the stop that it made itself; the next one is ours.
            unsafe { libc::kill(pid, libc::SIGCONT) };
        }
        // SAFETY: asks a process that we trace to stop.
        unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0) };
        let mut captive = captive;
        while !captive.has_stopped(0) {}
        captive
    }

    /// Lets it run from one system call to the next, where instructions between them are too many to be stepped through.
    #[must_use]
    pub fn by_calls(mut self) -> Self {
        self.by_calls = true;
        self
    }

    /// Steps it to the boundary and kills it there, or when it sleeps and `over` says that it has nothing left to do.
    pub fn run(mut self, kill: Kill, mut over: impl FnMut() -> bool) -> Stop {
        let mut regions = Regions::find();
        let mut held = self.held();
        let counted = matches!(kill, Kill::AfterEvents(_));
        let mut stop = Stop { end: End::Killed, steps: 0, events: 0 };
        loop {
            let boundary = match kill {
                Kill::AfterEvents(events) => stop.events >= events,
                Kill::AfterSteps(steps) => stop.steps >= steps,
            };
            if boundary {
                break;
            }
            let call = counted && (self.by_calls || self.is_at_call());
            match self.step() {
                Stepped::Done => {}
                Stepped::Gone => {
                    stop.end = End::Failed;
                    break;
                }
                Stepped::Asleep => {
                    stop.events += 1;
                    if kill == Kill::AfterEvents(stop.events) {
                        stop.end = End::KilledAsleep;
                        break;
                    }
                    // Somebody has the lock that it waits for, or it waits for work that will not come.
                    let mut stopped = false;
                    let (woken, _) = within_liveness(|| {
                        stopped |= self.has_stopped(libc::WNOHANG);
                        stopped || over()
                    });
                    if !stopped {
                        stop.end = if woken { End::Stuck } else { End::NotWoken };
                        break;
                    }
                }
            }
            stop.steps += 1;
            if !counted {
                continue;
            }
            let now = self.held();
            let other = now != held;
            held = now;
            stop.events += u64::from(regions.changed() || other || call);
        }
        stop
    }

    fn step(&mut self) -> Stepped {
        let how = if self.by_calls { libc::PTRACE_SYSCALL } else { libc::PTRACE_SINGLESTEP };
        // SAFETY: it is stopped under our trace; address and data are not used.
        let result = unsafe { libc::ptrace(how, self.pid, 0, 0) };
        assert_eq!(result, 0, "it cannot be stepped: {}", std::io::Error::last_os_error());
        let mut asleep = 0;
        loop {
            if self.has_stopped(0) {
                return Stepped::Done;
            }
            if self.gone {
                return Stepped::Gone;
            }
            // The timer has interrupted the wait. A call that is only slow is not asleep twice in a row.
            asleep = if proc::state(self.pid) == Some('S') { asleep + 1 } else { 0 };
            if asleep == 2 {
                return Stepped::Asleep;
            }
        }
    }

    /// Waits until it has stopped, or is gone, or the timer interrupts; says whether it has stopped, once for each stop.
    fn has_stopped(&mut self, flags: i32) -> bool {
        if self.gone {
            return false;
        }
        let mut status = 0;
        // SAFETY: `status` is writable.
        let got = unsafe { libc::waitpid(self.pid, &raw mut status, flags | libc::__WALL) };
        if got != self.pid {
            return false;
        }
        self.gone = !libc::WIFSTOPPED(status);
        !self.gone
    }

    fn held(&self) -> [usize; 3] {
        crate::step::read_held(self.pid, self.head)
    }

    /// Whether its next instruction is a system call.
    fn is_at_call(&self) -> bool {
        let offset = std::mem::offset_of!(libc::user_regs_struct, rip);
        // SAFETY: reads one register of a process that is stopped under our trace.
        let rip = unsafe { libc::ptrace(libc::PTRACE_PEEKUSER, self.pid, offset, 0) };
        // SAFETY: reads a word of its memory; an address that is not mapped gives an error.
        let code = unsafe { libc::ptrace(libc::PTRACE_PEEKTEXT, self.pid, rip, 0) };
        code.to_ne_bytes().starts_with(&[0x0f, 0x05])
    }
}

impl Drop for Captive {
    fn drop(&mut self) {
        // SAFETY: no memory is involved; the process is ours until we have waited for its end.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        // Until we have, its parent does not learn of its end.
        while !self.gone {
            self.has_stopped(0);
        }
    }
}

/// Address of the list of robust locks of a process.
fn robust_head(pid: i32) -> usize {
    let (mut head, mut len) = (0_usize, 0_usize);
    // SAFETY: both places are writable and of the size that the call writes.
    let result =
        unsafe { libc::syscall(libc::SYS_get_robust_list, pid, &raw mut head, &raw mut len) };
    assert_eq!(result, 0, "no list of robust locks");
    assert_ne!(ptr::with_exposed_provenance::<u8>(head), ptr::null(), "no list of robust locks");
    head
}
