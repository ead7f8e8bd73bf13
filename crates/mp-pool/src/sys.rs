//! What a worker asks of the system for itself.
#![expect(unsafe_code, reason = "signal dispositions and limits are set through the C library")]

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
