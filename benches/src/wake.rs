//! A futex and nothing around it: the floor of everything that sleeps.

use std::ptr;
use std::sync::atomic::AtomicU32;

/// Sleeps while the word, which other processes may share, has this value.
pub fn futex_wait(word: &AtomicU32, value: u32) {
    // SAFETY: `word` is live; without a timeout there is no other pointer.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            value,
            ptr::null::<libc::timespec>(),
        )
    };
}

/// Wakes all who sleep on the word.
pub fn futex_wake(word: &AtomicU32) {
    // SAFETY: `word` is live; the call only looks for sleepers on its address.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}
