//! Who has an item, and whether that process lives.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use mp_wire::{Deadline, poll};

use crate::fork::Own;
use crate::robust::thread::Thread;
use crate::sys;

/// A thread of a process, which no later one can be taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// The process in the upper half, the thread in the lower.
    pub(super) id: u64,
    /// When the process was started, in ticks since the machine was; zero if it is not known.
    pub(super) start: u64,
}

/// This process, in the upper half, and its start.
struct Myself {
    process: u64,
    start: AtomicU64,
}

static MYSELF: Own<Myself> = Own::new(|| {
    let process = sys::process_id();
    Myself { process: u64::from(process) << 32, start: AtomicU64::new(start(process).unwrap_or(0)) }
});

impl Owner {
    /// The calling thread.
    pub(super) fn me() -> Self {
        let myself = MYSELF.get();
        let id = myself.process | u64::from(Thread::current_id());
        Self { id, start: myself.start.load(Ordering::Relaxed) }
    }

    /// Says whether both are threads of one process.
    pub(super) fn is_process(self, other: Self) -> bool {
        self.id >> 32 == other.id >> 32 && self.start == other.start
    }

    /// Says whether the process lives. If the system does not tell, it does.
    pub(super) fn is_alive(self) -> bool {
        let process = (self.id >> 32) as u32;
        match sys::pidfd_open(process) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => false,
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => false,
            Err(_) => true,
            Ok(fd) => {
                // It can be read when the last thread has ended, also if nobody has waited for the process yet.
                let ended = poll::wait_readable(fd.as_fd(), Deadline::NOW).unwrap_or(false);
                let same = self.start == 0 || start(process).is_none_or(|it| it == self.start);
                !ended && same
            }
        }
    }
}

/// When a process was started.
fn start(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may have anything in it. The start is the 22nd field, the state behind the name the third.
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fork;

    #[test]
    fn the_dead_and_those_who_follow_them_are_told_apart() {
        let me = Owner::me();
        assert!(me.is_alive() && me.start != 0);
        assert!(!Owner { start: me.start + 1, ..me }.is_alive());
        // Dead, and not waited for: a process that is no more, all the same.
        let child = fork(|| true);
        let owner = Owner { id: u64::from(child.id()) << 32, start: 0 };
        while owner.is_alive() {
            std::thread::yield_now();
        }
        child.succeed();
        assert!(!owner.is_alive());
    }
}
