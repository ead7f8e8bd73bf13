//! Other processes for unit tests: forked, so that they share handles, and watched, so that none outlives its test.
#![expect(unsafe_code, reason = "fork, kill and waitpid")]

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;
use std::{io, panic, process};

use crate::Event;
use mp_wire::Spin;

/// A forked copy of the test, which runs one closure and exits.
pub(crate) struct Child(libc::pid_t);

/// Runs `check` in a forked process, which exits with 0 if it returns true.
///
/// The test has other threads, so the closure should keep to shared memory and system calls.
pub(crate) fn fork(check: impl FnOnce() -> bool) -> Child {
    // What is initialized once is so before: another thread could be at it, and would not go on in the child.
    Spin::new().until(|| false);
    // SAFETY: the child runs one closure and leaves by `_exit`; glibc makes its allocator usable there.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", io::Error::last_os_error());
    if pid > 0 {
        return Child(pid);
    }
    // SAFETY: takes no pointers. Whatever hangs is killed.
    unsafe { libc::alarm(60) };
    let passed = panic::catch_unwind(panic::AssertUnwindSafe(check)).unwrap_or(false);
    // SAFETY: ends the process without running what belongs to the parent.
    unsafe { libc::_exit(i32::from(!passed)) }
}

impl Child {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.0 as u32
    }

    /// Waits for its end.
    pub(crate) fn wait(self) -> ExitStatus {
        let mut status = 0;
        loop {
            // SAFETY: `status` is writable; the child is ours and not yet reaped.
            let result = unsafe { libc::waitpid(self.0, &mut status, 0) };
            if result == self.0 {
                return ExitStatus::from_raw(status);
            }
            let error = io::Error::last_os_error();
            assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        }
    }

    /// Waits for its end and expects that its closure returned true.
    pub(crate) fn succeed(self) {
        let status = self.wait();
        assert!(status.success(), "the child failed: {status}");
    }

    /// Kills it and waits for its end.
    pub(crate) fn kill(self) {
        assert_eq!(self.end_by(libc::SIGKILL), Some(libc::SIGKILL));
    }

    /// Sends it a signal and waits for its end; says which signal ended it.
    pub(crate) fn end_by(self, signal: i32) -> Option<i32> {
        // SAFETY: takes no pointers; the child is ours and not yet reaped.
        unsafe { libc::kill(self.0, signal) };
        self.wait().signal()
    }
}

/// Lets a process go on until a certain point, where it is killed.
pub(crate) struct Trap(Event);

impl Trap {
    pub(crate) fn new() -> Self {
        Self(Event::new().unwrap())
    }

    /// Called in the child: it has come to the point, and never goes on.
    pub(crate) fn step_in(&self) -> ! {
        self.0.set();
        loop {
            // SAFETY: takes nothing; only a signal whose handler returns ends it.
            unsafe { libc::pause() };
        }
    }

    /// Waits until the child has come to the point.
    pub(crate) fn wait(&self) {
        assert!(self.0.wait_timeout(PATIENCE), "the child does not come to the point");
    }
}

/// After this time, something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(50);

/// Makes a signal call this in this process.
pub(crate) fn on_signal(signal: i32, handler: extern "C" fn(i32)) {
    // SAFETY: the handler is a function of the right type, which lives for ever.
    let result = unsafe { libc::signal(signal, handler as *const () as libc::sighandler_t) };
    assert_ne!(result, libc::SIG_ERR);
}

/// Sends a signal to this thread, which has handled it when this returns.
pub(crate) fn raise(signal: i32) {
    // SAFETY: takes no pointers.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

/// Ends this process as a stranger's `SIGKILL` would.
pub(crate) fn die() -> ! {
    // SAFETY: takes no pointers.
    unsafe { libc::kill(process::id().cast_signed(), libc::SIGKILL) };
    unreachable!("a killed process goes no further")
}

/// Limits the size of files of this process.
pub(crate) fn limit_file_sizes(limit: libc::rlimit) {
    // SAFETY: `limit` is readable.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
}
