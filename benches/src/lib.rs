//! The floors of the machine that our primitives are measured against: the bare system calls.
#![expect(unsafe_code, reason = "the floors are bare system calls")]

use std::ffi::{CStr, CString};
use std::ptr;

mod wake;

pub use wake::{futex_wait, futex_wake};

/// What the clock says that all processes share.
#[must_use]
pub fn monotonic_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable. The call cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Forks a process that ends at once, and waits for it.
///
/// # Panics
///
/// The system refuses to fork.
pub fn fork_exit_wait() {
    // SAFETY: the child calls only `_exit`, which any child of a threaded process may.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork is refused");
    if pid == 0 {
        // SAFETY: ends this process.
        unsafe { libc::_exit(0) };
    }
    wait(pid);
}

/// Starts a program with one argument by `posix_spawn`, and waits for its end.
///
/// # Panics
///
/// The program does not start.
pub fn spawn_wait(program: &CStr, argument: &str) {
    let mut pid = 0;
    let argument = CString::new(argument).unwrap_or_default();
    let argv = [program.as_ptr().cast_mut(), argument.as_ptr().cast_mut(), ptr::null_mut()];
    let envp = [ptr::null_mut()];
    // SAFETY: all pointers are to live, null-terminated data; no file actions and no attributes are given.
    let error = unsafe {
        libc::posix_spawn(
            &mut pid,
            program.as_ptr(),
            ptr::null(),
            ptr::null(),
            argv.as_ptr(),
            envp.as_ptr(),
        )
    };
    assert_eq!(error, 0, "{program:?} does not start");
    wait(pid);
}

fn wait(pid: libc::pid_t) {
    // SAFETY: our own child, and no status is asked for.
    let waited = unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
    assert_eq!(waited, pid, "the child is gone");
}
