//! Operations with a known mistake each, by which the harness proves that it finds one.
#![expect(unsafe_code, reason = "the toys live in a shared mapping and call futex themselves")]

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use mp_tests::step::{Board, Kill, Role, run_victim, within};
use mp_tests::sweep::Verdict;

/// Words in shared memory.
struct Words(&'static [AtomicU32; 8]);

impl Words {
    fn new() -> Self {
        // SAFETY: a fresh anonymous mapping at an address that the kernel chooses touches no other memory.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<[AtomicU32; 8]>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert!(address != libc::MAP_FAILED, "no memory");
        // SAFETY: mapped, aligned, zeroed, and unmapped by nobody but `drop`, after which no reference is used.
        Self(unsafe { &*address.cast() })
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: `new` mapped it with this size.
        unsafe { libc::munmap(ptr::from_ref(self.0).cast_mut().cast(), size_of_val(self.0)) };
    }
}

fn futex_wait(word: &AtomicU32, value: u32) {
    let none = ptr::null::<libc::timespec>();
    // SAFETY: the word stays mapped during the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, none) };
}

fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word stays mapped during the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

fn lock(word: &AtomicU32) {
    while word.compare_exchange(0, 1, SeqCst, SeqCst).is_err() {
        futex_wait(word, 1);
    }
}

fn unlock(word: &AtomicU32) {
    word.store(0, SeqCst);
    futex_wake(word);
}

/// A lock without an owner: whoever dies in it keeps it. Must hang.
pub(crate) fn toy_lock(kill: Kill) -> Verdict {
    let board = Board::new();
    let words = Words::new();
    let word = &words.0[0];
    let stop = run_victim(&board, kill, || (lock(word), unlock(word)).1, || false);
    let survivor = Role::fork(|| {
        lock(word);
        board.slot(0).done(0);
    });
    let mut verdict = Verdict::new(stop);
    let done = within(Duration::from_secs(1), || board.slot(0).is_done());
    verdict.progress(done, "the next owner");
    drop(survivor);
    verdict
}

/// A sequence that is stored before what it announces. Must be torn.
pub(crate) fn toy_publish(kill: Kill) -> Verdict {
    let board = Board::new();
    let words = Words::new();
    let [sequence, first, second, ..] = words.0;
    let publish = || {
        first.store(7, SeqCst);
        sequence.store(1, SeqCst);
        second.store(7, SeqCst);
    };
    let stop = run_victim(&board, kill, publish, || false);
    let mut verdict = Verdict::new(stop);
    let sent = sequence.load(SeqCst) == 1;
    verdict.torn = sent && (first.load(SeqCst), second.load(SeqCst)) != (7, 7);
    verdict
}

/// A message that is taken in two steps, the count first. Must be lost.
pub(crate) fn toy_claim(kill: Kill) -> Verdict {
    let board = Board::new();
    let words = Words::new();
    let [taken, got, ..] = words.0;
    let claim = || {
        taken.store(1, SeqCst);
        got.store(1, SeqCst);
    };
    let stop = run_victim(&board, kill, claim, || false);
    let mut verdict = Verdict::new(stop);
    verdict.lost = taken.load(SeqCst) != got.load(SeqCst);
    verdict
}
