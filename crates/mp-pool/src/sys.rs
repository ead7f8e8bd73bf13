//! What a worker asks of the system for itself.
#![expect(unsafe_code, reason = "signal dispositions and limits are set through the C library")]

use std::time::Duration;

use crate::transport::Usage;

/// The time, in nanoseconds, by a clock that all processes of the machine share.
pub(crate) fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Lets Ctrl-C, which the terminal sends to all processes of the job, be the parent's to decide about.
pub(crate) fn ignore_interrupts() {
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
}

/// Writes no core file when the worker crashes: until it is written, the kernel keeps the dead worker's locks.
pub(crate) fn no_core_file() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable.
    if unsafe { libc::getrlimit(libc::RLIMIT_CORE, &mut limit) } == 0 {
        limit.rlim_cur = 0;
        // SAFETY: `limit` is readable; a lower soft limit is always allowed.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &limit) };
    }
}

/// Lets this process map no more memory than this.
pub(crate) fn limit_address_space(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: `limit` is readable.
    unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) };
}

/// Ends this process with code 0 and nothing else: no destructor, no buffer, no function that runs at exit.
pub(crate) fn end_at_once() -> ! {
    // SAFETY: ends the process, and so returns nothing to anybody.
    unsafe { libc::_exit(0) }
}

/// What a process uses of memory and processor time.
pub(crate) fn usage(pid: u32) -> Usage {
    Usage { resident: resident(pid), cpu: cpu(pid) }
}

fn resident(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    // SAFETY: takes no pointers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * u64::try_from(page).ok()?)
}

fn cpu(pid: u32) -> Option<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `clock` is writable.
    if unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &mut clock) } != 0 {
        return None;
    }
    // SAFETY: `time` is writable.
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return None;
    }
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}
