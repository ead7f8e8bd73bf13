//! What a worker asks of the system for itself, and the pool for it.
#![expect(unsafe_code, reason = "signal dispositions and limits are set through the C library")]

use std::os::fd::{AsRawFd, BorrowedFd};
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
///
/// By a handler: what is ignored stays so in the programs that a task starts, and those are to end as they would without us.
pub(crate) fn ignore_interrupts() {
    do_nothing_on(libc::SIGINT, libc::SA_RESTART);
}

/// Writes no core file when the worker crashes: until it is written, the kernel keeps the dead worker's locks.
pub(crate) fn no_core_file() {
    lower(libc::RLIMIT_CORE, |limit| limit.rlim_cur = 0);
}

/// Lowers a limit of this process, which is always allowed.
fn lower(resource: libc::__rlimit_resource_t, change: impl FnOnce(&mut libc::rlimit)) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable.
    if unsafe { libc::getrlimit(resource, &mut limit) } == 0 {
        change(&mut limit);
        // SAFETY: `limit` is readable.
        unsafe { libc::setrlimit(resource, &limit) };
    }
}

/// Lets this process map no more memory than this beyond what it has mapped, most of which nothing stands behind.
pub(crate) fn limit_address_space(bytes: u64) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let most = bytes.saturating_add(sizes(&statm).next().unwrap_or(0));
    lower(libc::RLIMIT_AS, |limit| {
        limit.rlim_max = limit.rlim_max.min(most);
        limit.rlim_cur = limit.rlim_max;
    });
}

/// Says whether a worker can be sent this signal and live: one that the kernel leaves to the process, and that is no report of a
/// fault, which would come again and again.
pub(crate) fn can_be_handled(signal: i32) -> bool {
    let faults =
        [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];
    let ours = [libc::SIGKILL, libc::SIGSTOP, libc::SIGABRT, libc::SIGCHLD];
    // Between the standard ones and `SIGRTMIN` are those of the C library.
    let is_known =
        (1..32).contains(&signal) || (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&signal);
    is_known && !faults.contains(&signal) && !ours.contains(&signal)
}

/// Has a signal interrupt system calls and do nothing else, unless there is a handler for it.
pub(crate) fn be_interrupted_by(signal: i32) {
    // SAFETY: all zeroes is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: `action` is writable.
    let found = unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) } == 0;
    if found && [libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction) {
        do_nothing_on(signal, 0);
    }
}

/// Handles a signal by doing nothing.
fn do_nothing_on(signal: i32, flags: libc::c_int) {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: all zeroes is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_flags = flags;
    action.sa_sigaction = nothing as *const () as usize;
    // SAFETY: the handler does nothing, which is safe at any time.
    unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
}

/// Sends a signal to the process behind a pidfd; nothing happens if it has ended.
pub(crate) fn send_signal(process: BorrowedFd<'_>, signal: i32) {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open, and the kernel fills in what the null pointer leaves out.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, none, 0) };
}

/// Has the kernel kill this process after this time.
pub(crate) fn die_after(time: Duration) {
    // SAFETY: all zeroes is a valid `sigevent`.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = libc::SIGKILL;
    let mut timer = std::ptr::null_mut();
    // SAFETY: `event` is readable and `timer` is writable.
    if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) } != 0 {
        return;
    }
    // Nothing at all would be never.
    let time = time.max(Duration::from_nanos(1));
    let seconds = libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX);
    let value = libc::timespec { tv_sec: seconds, tv_nsec: time.subsec_nanos().into() };
    let once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let times = libc::itimerspec { it_interval: once, it_value: value };
    // SAFETY: the call above has made `timer`; `times` is readable.
    unsafe { libc::timer_settime(timer, 0, &times, std::ptr::null_mut()) };
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
    own_memory(&std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?)
}

/// Bytes that are resident and not shared with others, neither those of the program nor arrays in shared memory, by what the kernel
/// counts of a process in `statm`.
pub(crate) fn own_memory(statm: &str) -> Option<u64> {
    let mut sizes = sizes(statm).skip(1);
    let (resident, shared) = (sizes.next()?, sizes.next()?);
    Some(resident.saturating_sub(shared))
}

/// What `statm` says in pages, in bytes: of the address space, of what is resident, of what is shared of that, and so on.
fn sizes(statm: &str) -> impl Iterator<Item = u64> {
    // SAFETY: takes no pointers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = u64::try_from(page).unwrap_or(4096);
    let pages = statm.split_ascii_whitespace().map_while(|pages| pages.parse::<u64>().ok());
    pages.map(move |pages| pages.saturating_mul(page))
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
