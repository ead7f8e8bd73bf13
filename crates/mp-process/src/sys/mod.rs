//! The system calls of this crate, each behind a safe function.
#![expect(unsafe_code, reason = "process, pidfd and signal calls that no safe wrapper offers")]

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use mp_wire::above_streams;

use crate::ExitStatus;

mod overflow;
mod settings;
mod signals;

pub(crate) use overflow::*;
pub(crate) use settings::*;
pub(crate) use signals::*;

/// The number under which a child that was executed finds its socket.
pub(crate) const SOCKET_FD: RawFd = 3;

fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The number of this process.
pub(crate) fn pid() -> u32 {
    std::process::id()
}

/// Opens a descriptor that names a process, whatever happens to its number.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers. The kernel sets close-on-exec on every pidfd.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the call has just opened it, and nobody else knows it.
    Ok(above_streams(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
}

/// Sends a signal; one to a process that is gone is no error.
pub(crate) fn pidfd_signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null pointer for the details asks for those of `kill`.
    let sent =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, info, 0) };
    match check(sent) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
        _ => Ok(()),
    }
}

/// Sends a signal to the main thread of a process (6.9 and later).
pub(crate) fn pidfd_signal_thread(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    const PIDFD_SIGNAL_THREAD: u32 = 1;
    let (info, flags) = (std::ptr::null::<libc::siginfo_t>(), PIDFD_SIGNAL_THREAD);
    let fd = process.as_raw_fd();
    // SAFETY: a null pointer for the details asks for those of `tgkill`.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, flags) };
    check(sent).map(drop)
}

/// Reaps a child of this process if it has ended; `None` while it runs.
pub(crate) fn reap(process: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
    // SAFETY: all zeroes is a valid `siginfo_t`.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = process.as_raw_fd() as libc::id_t;
    loop {
        let flags = libc::WEXITED | libc::WNOHANG;
        // SAFETY: `info` is writable for the whole call.
        let result = unsafe { libc::waitid(libc::P_PIDFD, id, &mut info, flags) };
        match check(result.into()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    // SAFETY: `waitid` has filled the part for children, or left the zeroes.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    Ok((pid != 0).then(|| match info.si_code {
        libc::CLD_EXITED => ExitStatus::from_code(status),
        _ => ExitStatus::from_signal(status),
    }))
}

/// Says which child has ended, and leaves it to be reaped.
pub(crate) fn next_ended() -> Option<u32> {
    // SAFETY: all zeroes is a valid `siginfo_t`.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is writable for the whole call.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, &mut info, flags) };
    // SAFETY: `waitid` has filled the part for children, or left the zeroes.
    let pid = unsafe { info.si_pid() };
    u32::try_from(pid).ok().filter(|&pid| result == 0 && pid != 0)
}

/// Reaps a child that nobody else reaps, if it has ended; gives its status in the form of `waitpid`.
pub(crate) fn reap_number(pid: u32) -> Option<i32> {
    let mut status = 0;
    // SAFETY: `status` is writable for the whole call.
    let reaped = unsafe { libc::waitpid(pid as libc::pid_t, &mut status, libc::WNOHANG) };
    u32::try_from(reaped).is_ok_and(|reaped| reaped == pid).then_some(status)
}

/// Ends a child that was just started and cannot be named by a pidfd, and reaps it.
pub(crate) fn abandon(pid: u32) {
    let pid = pid as libc::pid_t;
    // SAFETY: a null pointer for the status is allowed.
    let still_there = unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) } == 0;
    if still_there {
        // SAFETY: takes no pointers. The number is that of a child which nobody has reaped.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        // SAFETY: a null pointer for the status is allowed.
        while unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } < 0 {
            if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                break;
            }
        }
    }
}

/// `struct pidfd_info` of the kernel, in its first published size.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

const _: () = assert!(size_of::<PidfdInfo>() == 64);

/// Asks the kernel (6.15 and later) how a process that somebody else has reaped came to its end.
pub(crate) fn exit_info(process: BorrowedFd<'_>) -> Option<ExitStatus> {
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    // _IOWR(0xFF, 11, struct pidfd_info)
    const PIDFD_GET_INFO: libc::c_ulong =
        (3 << 30) | ((size_of::<PidfdInfo>() as libc::c_ulong) << 16) | (0xff << 8) | 11;
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: `info` is writable and as large as the request says.
    let result = unsafe { libc::ioctl(process.as_raw_fd(), PIDFD_GET_INFO, &mut info) };
    (result == 0 && info.mask & PIDFD_INFO_EXIT != 0).then(|| ExitStatus::from_wait(info.exit_code))
}

/// Prepares a socket for [`die_with`]. Until that is called, nothing happens.
pub(crate) fn prepare_to_die_with(socket: BorrowedFd<'_>) -> io::Result<()> {
    const F_SETSIG: i32 = 10;
    const F_SETOWN_EX: i32 = 15;
    const F_OWNER_PID: i32 = 1;
    #[repr(C)]
    struct Owner {
        kind: i32,
        pid: i32,
    }
    let fd = socket.as_raw_fd();
    let owner = Owner { kind: F_OWNER_PID, pid: pid() as i32 };
    // SAFETY: takes no pointers.
    check(unsafe { libc::fcntl(fd, F_SETSIG, libc::SIGKILL) }.into())?;
    // SAFETY: `owner` is what the call reads, and lives through it.
    check(unsafe { libc::fcntl(fd, F_SETOWN_EX, &owner) }.into()).map(drop)
}

/// Asks the kernel to kill this process when the other end of a socket is closed, which was prepared for it.
///
/// Also when something arrives there: the other end must have said all that it has to say.
pub(crate) fn die_with(socket: BorrowedFd<'_>) -> io::Result<()> {
    // Sockets of this crate have no other flag.
    // SAFETY: takes no pointers.
    check(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, libc::O_ASYNC) }.into()).map(drop)
}

/// Says whether what [`die_with`] asked for holds: not if the descriptor was closed, nor if another has its number now.
pub(crate) fn dies_with(socket: BorrowedFd<'_>) -> bool {
    // SAFETY: takes no pointers; fails if there is no such descriptor.
    let flags = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_GETFL) };
    flags >= 0 && flags & libc::O_ASYNC != 0
}

/// Takes back what [`die_with`] asked for.
pub(crate) fn live_on(socket: impl AsFd) {
    // SAFETY: takes no pointers.
    unsafe { libc::fcntl(socket.as_fd().as_raw_fd(), libc::F_SETFL, 0) };
}

/// Waits for events on one descriptor, `timeout` milliseconds at most; gives what happened.
pub(crate) fn poll(fd: BorrowedFd<'_>, events: i16, timeout: i32) -> i16 {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: `entry` is one writable entry for the whole call.
    let ready = unsafe { libc::poll(&mut entry, 1, timeout) };
    if ready > 0 { entry.revents } else { 0 }
}

/// Says whether a process has not ended.
pub(crate) fn runs(process: BorrowedFd<'_>) -> bool {
    poll(process, libc::POLLIN, 0) == 0
}

/// Says whether the other end of a socket has been closed.
pub(crate) fn is_hung_up(socket: BorrowedFd<'_>) -> bool {
    poll(socket, 0, 0) & libc::POLLHUP != 0
}

/// The process that made a socket pair.
pub(crate) fn peer_pid(socket: BorrowedFd<'_>) -> io::Result<i32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    let fd = socket.as_raw_fd();
    let out = (&raw mut peer).cast();
    // SAFETY: `peer` and `len` are writable for the whole call, `len` is the size of `peer`.
    let result =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, out, &mut len) };
    check(result.into()).map(|_| peer.pid)
}

/// The parent's number, as the kernel has it now.
pub(crate) fn parent_pid() -> i32 {
    // SAFETY: takes no pointers and cannot fail.
    unsafe { libc::getppid() }
}

/// Says whether the program runs with rights that its caller does not have (set-user-id and the like).
pub(crate) fn is_privileged() -> bool {
    // SAFETY: takes no pointers and cannot fail.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The path that this program was executed by, as the kernel recorded it.
pub(crate) fn executed_path() -> Option<&'static CStr> {
    // SAFETY: takes no pointers and cannot fail.
    let path = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const libc::c_char;
    // SAFETY: the kernel put a string there, which stays for as long as the process.
    (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) })
}

/// The user and group ids (real, effective, saved) of this process.
pub(crate) fn credentials() -> [u32; 6] {
    let mut ids = [0; 6];
    let [a, b, c, d, e, f] = &mut ids;
    // SAFETY: three writable numbers.
    unsafe { libc::getresuid(a, b, c) };
    // SAFETY: three writable numbers.
    unsafe { libc::getresgid(d, e, f) };
    ids
}

/// Sets the name that `ps` shows; the kernel keeps 15 bytes.
pub(crate) fn set_short_name(name: &str) {
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().take(15).zip(name.bytes().filter(|&byte| byte != 0)) {
        *to = from;
    }
    // SAFETY: 16 bytes that end in a zero.
    unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) };
}

/// Closes every descriptor from 3 on but some.
pub(crate) fn close_all_but(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep.iter().filter_map(|&fd| u32::try_from(fd).ok()).collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1);
        }
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX);
}

/// The numbers of the descriptors of this process, as far as `/proc` tells.
pub(crate) fn open_descriptors() -> Vec<RawFd> {
    let listed: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    // Without the one that the list was read by.
    // SAFETY: takes no pointers.
    listed.into_iter().filter(|&fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0).collect()
}

/// How many threads this process has.
pub(crate) fn count_threads() -> io::Result<usize> {
    // A directory has two links of its own.
    std::fs::metadata("/proc/self/task").map(|tasks| tasks.nlink().saturating_sub(2) as usize)
}

fn close_range(first: u32, last: u32) {
    // SAFETY: called only where a process begins, before anything in it owns a descriptor in this range.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 {
        return;
    }
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable for the whole call.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    for fd in first..=last.min(limit.rlim_cur.min(1 << 20) as u32) {
        close_raw(fd as RawFd);
    }
}

/// Closes a number. For copies of descriptors in a new process, which no value there owns.
pub(crate) fn close_raw(fd: RawFd) {
    // SAFETY: as the function says: the owners are in the process that this one was copied from.
    unsafe { libc::close(fd) };
}

/// Makes one descriptor be another number, too.
pub(crate) fn duplicate_to(fd: BorrowedFd<'_>, number: RawFd, flags: i32) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        return Ok(());
    }
    loop {
        // SAFETY: `number` is a standard stream, or no value in this new process owns it.
        match check(unsafe { libc::dup3(fd.as_raw_fd(), number, flags) }.into()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(drop),
        }
    }
}

/// Takes ownership of a descriptor that this process was started with.
pub(crate) fn inherited(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: takes no pointers; fails if there is no such descriptor.
    let known = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: it is open, and the caller is the first code of this process that knows the number.
    (known == 0).then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// A copy of a standard stream, if it is one that an executed program would inherit.
pub(crate) fn standard_stream(number: RawFd) -> io::Result<Option<OwnedFd>> {
    // SAFETY: takes no pointers.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
        return Ok(None);
    }
    // SAFETY: takes no pointers.
    let copy = check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) }.into())?;
    // SAFETY: the call has just opened it, and nobody else knows it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(copy as RawFd) }))
}

/// Opens `/dev/null` on the standard streams that are closed, as the standard library does before `main`.
pub(crate) fn open_streams() {
    for number in 0..3 {
        // SAFETY: takes no pointers.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
            // The lowest free number is this one.
            open_nothing();
        }
    }
}

/// Makes all three standard streams be `/dev/null`.
pub(crate) fn silence_streams() {
    let nothing = open_nothing();
    for number in 0..3 {
        // SAFETY: the standard streams, which no value owns.
        unsafe { libc::dup2(nothing, number) };
    }
    close_raw(nothing);
}

/// Opens `/dev/null`, or where there is none, an empty file in memory.
fn open_nothing() -> RawFd {
    // SAFETY: a constant path.
    let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
    if fd >= 0 {
        return fd;
    }
    // SAFETY: a constant name.
    unsafe { libc::memfd_create(c"nothing".as_ptr(), 0) }
}

/// A pipe whose ends never block.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: room for two numbers.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), flags) }.into())?;
    // SAFETY: the call has just opened both, and nobody else knows them.
    Ok(ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) }).into())
}

/// A counter that can be waited for.
pub(crate) fn counter() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }.into())?;
    // SAFETY: the call has just opened it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Adds one to a counter.
pub(crate) fn add_count(counter: BorrowedFd<'_>) {
    write(counter, &1_u64.to_ne_bytes());
}

/// Takes all from a counter.
pub(crate) fn take_count(counter: BorrowedFd<'_>) -> u64 {
    let mut count = [0; size_of::<u64>()];
    match read(counter, &mut count) {
        Ok(Some(_)) => u64::from_ne_bytes(count),
        _ => 0,
    }
}

/// Reads what is there; `None` if nothing is yet.
pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        let (start, len) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: the buffer is writable for its whole length.
        match check(unsafe { libc::read(fd.as_raw_fd(), start, len) } as i64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            other => return other.map(|len| Some(len as usize)),
        }
    }
}

/// Writes a few bytes to a pipe. Nobody reads it any more: so be it.
pub(crate) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) {
    // SAFETY: the bytes are readable for their whole length.
    unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
}

/// The two sides of a fork.
pub(crate) enum Forked {
    Parent(u32),
    Child,
}

/// Copies this process, through the C library, so that its own locks and lists stay right.
///
/// The child has one thread. What other threads held stays held: the callers make sure that there are none, or hand
/// on the obligation in an `unsafe fn` of theirs.
pub(crate) fn fork() -> io::Result<Forked> {
    // SAFETY: as above.
    let pid = check(unsafe { libc::fork() }.into())?;
    Ok(if pid == 0 { Forked::Child } else { Forked::Parent(pid as u32) })
}

unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> libc::c_int;
}

/// Has functions called around each fork of this process, whoever forks.
pub(crate) fn at_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) {
    // SAFETY: functions of this program, which stay for as long as the process.
    unsafe { pthread_atfork(Some(prepare), Some(parent), Some(child)) };
}

/// Has a function called when this process exits normally.
pub(crate) fn at_exit(function: extern "C" fn()) {
    // SAFETY: a function of this program, which stays for as long as the process.
    unsafe { libc::atexit(function) };
}

/// Ends this process now: nothing is flushed, no function of `atexit` runs.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: takes no pointers.
    unsafe { libc::_exit(code) }
}

/// Flushes the streams of the C library.
pub(crate) fn flush_c_streams() {
    // SAFETY: null asks for all streams.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// The functions that the loader calls before `main`, each with the arguments of `main`.
pub(crate) type Early =
    extern "C" fn(libc::c_int, *mut *mut libc::c_char, *const *const libc::c_char);

/// The entry of this crate in the list of those functions.
#[used]
#[unsafe(link_section = ".init_array")]
static EARLY: Early = early;

static MARKED: AtomicUsize = AtomicUsize::new(0);

/// The first argument of a process that this crate executed.
pub(crate) const MARKER: &CStr = c"(mp-process)";

/// Says whether the entry before `main` is part of this program; asking makes it so.
pub(crate) fn has_early_entry() -> bool {
    // SAFETY: a static of this crate. Volatile, so that the linker has to keep it.
    let entry = unsafe { std::ptr::read_volatile(&raw const EARLY) };
    std::ptr::fn_addr_eq(entry, early as Early)
}

/// Says whether this process was executed by this crate.
pub(crate) fn is_marked() -> bool {
    MARKED.load(Ordering::Relaxed) != 0
}

extern "C" fn early(
    count: libc::c_int,
    arguments: *mut *mut libc::c_char,
    _: *const *const libc::c_char,
) {
    if count < 1 || arguments.is_null() {
        return;
    }
    // SAFETY: the loader passes the arguments of `main`: `count` pointers and a null.
    let first = unsafe { *arguments };
    if first.is_null() {
        return;
    }
    // SAFETY: an argument of the program, which ends in a zero.
    if unsafe { CStr::from_ptr(first) } != MARKER {
        return;
    }
    MARKED.store(1, Ordering::Relaxed);
    // The program's own arguments come after the marker: move them to where the program looks for them. Whoever
    // has taken a copy of `count` stops at the null, which is now one earlier.
    // SAFETY: the arguments after the first, and the null behind the last: `count` pointers from the second on.
    let rest = unsafe { arguments.add(1) };
    // SAFETY: as many pointers fit from the first one on. No other thread is there to look at them.
    unsafe { std::ptr::copy(rest, arguments, count as usize) };
    crate::boot::take_over();
}
