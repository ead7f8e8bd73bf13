//! The system calls of this crate that carry raw pointers or that no safe crate offers.
#![expect(
    unsafe_code,
    reason = "futex, get_robust_list, mmap and uname take raw pointers, pidfd_open gives a raw descriptor"
)]

#[cfg(any(miri, mp_stand_in))]
mod stand_in;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use mp_wire::{Deadline, above_streams};

/// No `FUTEX_PRIVATE_FLAG`: the words are in memory that other processes map at other addresses.
const SCOPE: i32 = if cfg!(mp_bug = "private_futex") { libc::FUTEX_PRIVATE_FLAG } else { 0 };

/// How a futex wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Woken, interrupted by a signal, or the word had another value already: look again.
    Look,
    /// The deadline passed.
    TimedOut,
}

/// What [`wake_op`] does to the word in the step in which it wakes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WakeOp {
    /// `word := 1 << bit`.
    SetBit(u32),
    /// `word &= !(1 << bit)`.
    ClearBit(u32),
    /// `word |= 1 << bit`.
    OrBit(u32),
    /// `word += n`, for an `n` below 2048.
    Add(u32),
}

/// A word to sleep on, and the value that it has to have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch<'a> {
    word: &'a AtomicU32,
    expected: u32,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(word: &'a AtomicU32, expected: u32) -> Self {
        Self { word, expected }
    }

    /// The value that the word has to have.
    pub(crate) fn expected(&self) -> u32 {
        self.expected
    }

    /// Says whether the word has another value now.
    pub(crate) fn has_changed(&self) -> bool {
        self.word.load(Ordering::Relaxed) != self.expected
    }
}

/// What `futex_waitv` takes (`struct futex_waitv`).
#[repr(C)]
#[derive(Clone, Copy)]
struct Waitv {
    expected: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// How many words the kernel watches at a time.
pub(crate) const WATCHES: usize = 128;

/// `FUTEX2_SIZE_U32`, without the private flag.
const SIZE_U32: u32 = 2;

/// How long a sleep on one word goes on, where the kernel cannot watch all that should be.
const PARTIAL: Duration = Duration::from_millis(10);

/// How long a sleep goes on where the kernel may swallow a death.
const RECHECK: Duration = Duration::from_millis(100);

/// Sleeps while all words have the values expected, until one of them is woken, at most until the deadline.
///
/// Kernels before 5.16 cannot do that, nor can any with more than 128 words: then it looks every 10 ms.
pub(crate) fn wait_any(watches: &[Watch<'_>], deadline: Deadline) -> Waited {
    let Some(first) = watches.first() else { return Waited::Look };
    if watches.len() > WATCHES {
        return wait_a_while(first, deadline, PARTIAL);
    }
    if may_lose_death_notice() && deadline.remaining().is_none_or(|left| left > RECHECK) {
        wait_all(watches, Deadline::after(RECHECK)).unwrap_or_else(|| {
            wait_a_while(first, deadline, PARTIAL);
            Waited::Look
        });
        return Waited::Look;
    }
    wait_all(watches, deadline).unwrap_or_else(|| wait_a_while(first, deadline, PARTIAL))
}

/// Sleeps on one word for some time, which is no timeout unless the deadline passes.
fn wait_a_while(watch: &Watch<'_>, deadline: Deadline, time: Duration) -> Waited {
    if deadline.remaining().is_none_or(|left| left > time) {
        wait(watch.word, watch.expected, Deadline::after(time));
        return Waited::Look;
    }
    wait(watch.word, watch.expected, deadline)
}

/// Sleeps on up to [`WATCHES`] words; `None` if the kernel cannot.
fn wait_all(watches: &[Watch<'_>], deadline: Deadline) -> Option<Waited> {
    let none = Waitv { expected: 0, address: 0, flags: SIZE_U32, reserved: 0 };
    let mut vector = [none; WATCHES];
    for (entry, watch) in vector.iter_mut().zip(watches) {
        entry.expected = u64::from(watch.expected);
        entry.address = watch.word.as_ptr().expose_provenance() as u64;
    }
    let timespec = timespec(deadline);
    let timeout = timespec.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `vector` is live and has that many entries, whose addresses are live words; the timeout is null or points to a
    // live timespec, absolute on the clock named.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            vector.as_ptr(),
            watches.len(),
            0,
            timeout,
            libc::CLOCK_MONOTONIC,
        )
    };
    if result >= 0 {
        return Some(Waited::Look);
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::ETIMEDOUT) => Some(Waited::TimedOut),
        Some(libc::EAGAIN | libc::EINTR) => Some(Waited::Look),
        _ => None,
    }
}

fn timespec(deadline: Deadline) -> Option<libc::timespec> {
    deadline.monotonic().map(|(seconds, nanos)| libc::timespec {
        tv_sec: seconds as libc::time_t,
        tv_nsec: nanos as libc::c_long,
    })
}

/// Sleeps while `word` has the value `expected`, at most until the deadline.
pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Deadline) -> Waited {
    let timespec = timespec(deadline);
    let timeout = timespec.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `word` is live, `timeout` is null or points to a live timespec (absolute, as FUTEX_WAIT_BITSET takes it).
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET | SCOPE,
            expected,
            timeout,
            ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    if result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ETIMEDOUT) {
        return Waited::TimedOut;
    }
    Waited::Look
}

/// Wakes up to `count` sleepers on `word`; returns how many.
pub(crate) fn wake(word: &AtomicU32, count: i32) -> usize {
    let operation = libc::FUTEX_WAKE | SCOPE;
    // SAFETY: `word` is live; the call only looks for sleepers on its address.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, count) };
    usize::try_from(woken).unwrap_or(0)
}

/// Changes `word` and wakes up to `count` sleepers on it, in one step of the kernel that no kill can split.
///
/// Returns how many were woken. Where the kernel refuses the operation, both are done one after the other.
pub(crate) fn wake_op(word: &AtomicU32, count: i32, operation: WakeOp) -> usize {
    #[cfg(any(miri, mp_stand_in))]
    if true {
        return stand_in::wake_op(word, count, operation);
    }
    let shift = libc::FUTEX_OP_OPARG_SHIFT;
    let (code, argument) = match operation {
        WakeOp::SetBit(bit) => (libc::FUTEX_OP_SET | shift, bit),
        WakeOp::ClearBit(bit) => (libc::FUTEX_OP_ANDN | shift, bit),
        WakeOp::OrBit(bit) => (libc::FUTEX_OP_OR | shift, bit),
        WakeOp::Add(n) => (libc::FUTEX_OP_ADD, n),
    };
    // The comparison decides about a second wake that we do not want: the old value is never all ones.
    let encoded =
        (code as u32) << 28 | (libc::FUTEX_OP_CMP_EQ as u32) << 24 | argument << 12 | 0xfff;
    // SAFETY: both addresses are the live `word`; the fourth argument is a count, not a pointer.
    let woken = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE_OP | SCOPE,
            count,
            0_usize,
            word.as_ptr(),
            encoded,
        )
    };
    if let Ok(woken) = usize::try_from(woken) {
        return woken;
    }
    change(word, operation);
    wake(word, count)
}

fn change(word: &AtomicU32, operation: WakeOp) {
    match operation {
        WakeOp::SetBit(bit) => word.store(1 << bit, Ordering::Release),
        WakeOp::ClearBit(bit) => drop(word.fetch_and(!(1 << bit), Ordering::AcqRel)),
        WakeOp::OrBit(bit) => drop(word.fetch_or(1 << bit, Ordering::AcqRel)),
        WakeOp::Add(n) => drop(word.fetch_add(n, Ordering::AcqRel)),
    }
}

/// The list of robust locks that libc has registered for a thread (`struct robust_list_head`).
///
/// The kernel reads it when the thread dies, so plain program order is all that its fields need.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RobustHead {
    /// The first node of the list, or the head itself.
    pub(crate) list: AtomicUsize,
    /// What to add to the address of a node to get that of its lock word.
    pub(crate) futex_offset: isize,
    /// The node of the lock that is being taken, held unlinked, or released.
    pub(crate) pending: AtomicUsize,
}

/// The robust list of the calling thread; `None` if its libc has not registered one.
pub(crate) fn robust_head() -> Option<NonNull<RobustHead>> {
    #[cfg(any(miri, mp_stand_in))]
    if true {
        return Some(stand_in::robust_head());
    }
    let mut head = ptr::null_mut::<RobustHead>();
    let mut len = 0_usize;
    // SAFETY: both out-pointers are live; thread 0 is the caller.
    let result = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &mut head, &mut len) };
    (result == 0 && len == size_of::<RobustHead>()).then(|| NonNull::new(head)).flatten()
}

/// The kernel's id of the calling thread.
pub(crate) fn thread_id() -> u32 {
    #[cfg(any(miri, mp_stand_in))]
    if true {
        return stand_in::thread_id();
    }
    // SAFETY: takes nothing, cannot fail.
    let id = unsafe { libc::gettid() };
    id as u32
}

/// Says whether a thread with this id lives in this process.
pub(crate) fn is_thread_of_this_process(id: u32) -> bool {
    // SAFETY: takes numbers; signal 0 is none.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, process_id(), id, 0) };
    result == 0
}

/// The kernel's id of this process.
pub(crate) fn process_id() -> u32 {
    // SAFETY: takes nothing, cannot fail. (`std::process::id` is the same call.)
    let id = unsafe { libc::getpid() };
    id as u32
}

/// A descriptor of a process, which can be read when it has ended.
pub(crate) fn pidfd_open(process: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers; gives a new descriptor, closed on exec, or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(above_streams(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
}

/// Maps one page that the kernel zeroes in a forked child; `None` where it cannot.
pub(crate) fn wipe_on_fork_page() -> Option<NonNull<AtomicU64>> {
    if cfg!(any(miri, mp_stand_in)) {
        return None;
    }
    const LEN: usize = 4096;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice.
    let page = unsafe { libc::mmap(ptr::null_mut(), LEN, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the mapping is ours and as long as that.
    let result = unsafe { libc::madvise(page, LEN, libc::MADV_WIPEONFORK) };
    if result != 0 {
        // SAFETY: as above, and nobody has a pointer into it yet.
        unsafe { libc::munmap(page, LEN) };
        return None;
    }
    NonNull::new(page.cast())
}

/// Keeps a range of this process's memory out of core dumps; a refusal does no harm.
pub(crate) fn keep_out_of_core(start: *mut u8, len: usize) {
    // SAFETY: advice on a mapping of ours, which changes nothing of its content.
    let _ = unsafe { libc::madvise(start.cast(), len, libc::MADV_DONTDUMP) };
}

/// Fills `bytes` with random bytes from the kernel.
pub(crate) fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        // SAFETY: `rest` is live and writable for its length.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(got) {
            Ok(got) => done += got,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// The largest file that this process may make (`RLIMIT_FSIZE`); going over it would raise a signal.
pub(crate) fn file_size_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is live and writable.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) };
    if result == 0 { limit.rlim_cur } else { u64::MAX }
}

/// The size of a page of memory.
pub(crate) fn page_size() -> usize {
    // SAFETY: takes a number, returns a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// Says whether the kernel may swallow the notice of an owner's death when the thread that it woke dies too.
///
/// Linux 6.2 resends it. Some older stable kernels do too; there, looking again now and then costs little.
pub(crate) fn may_lose_death_notice() -> bool {
    if cfg!(any(miri, mp_stand_in)) {
        return false;
    }
    static ANSWER: AtomicU8 = AtomicU8::new(0);
    match ANSWER.load(Ordering::Relaxed) {
        0 => {
            let answer = kernel_version().is_none_or(|version| version < (6, 2));
            ANSWER.store(1 + u8::from(answer), Ordering::Relaxed);
            answer
        }
        known => known == 2,
    }
}

fn kernel_version() -> Option<(u32, u32)> {
    let mut name = MaybeUninit::<libc::utsname>::uninit();
    // SAFETY: `name` is writable and as large as the call expects.
    let result = unsafe { libc::uname(name.as_mut_ptr()) };
    if result != 0 {
        return None;
    }
    // SAFETY: the call succeeded, so it has filled `name`.
    let name = unsafe { name.assume_init() };
    let text: String = name.release.iter().map(|&byte| char::from(byte as u8)).collect();
    parse_version(&text)
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_parse() {
        assert_eq!(parse_version("6.18.44-generic"), Some((6, 18)));
        assert_eq!(parse_version("5.15\0\0"), Some((5, 15)));
        assert_eq!(parse_version("unknown"), None);
        assert!(kernel_version().is_some());
    }

    #[test]
    fn wake_op_changes_the_word_without_sleepers() {
        let word = AtomicU32::new(1);
        assert_eq!(wake_op(&word, 1, WakeOp::Add(3)), 0);
        assert_eq!(word.load(Ordering::Relaxed), 4);
        wake_op(&word, 1, WakeOp::OrBit(1));
        assert_eq!(word.load(Ordering::Relaxed), 6);
        wake_op(&word, 1, WakeOp::ClearBit(2));
        assert_eq!(word.load(Ordering::Relaxed), 2);
        wake_op(&word, 1, WakeOp::SetBit(31));
        assert_eq!(word.load(Ordering::Relaxed), 1 << 31);
    }

    #[test]
    fn wait_is_never_early() {
        let word = AtomicU32::new(7);
        assert_eq!(wait(&word, 8, Deadline::NEVER), Waited::Look);
        let deadline = Deadline::after(std::time::Duration::from_millis(5));
        while wait(&word, 7, deadline) == Waited::Look {}
        assert!(deadline.is_past());
    }
}
