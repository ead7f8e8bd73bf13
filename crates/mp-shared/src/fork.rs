//! Notices that this process is a forked copy, at the price of one load.
//!
//! A number that belongs to this process alone lies in a page that the kernel zeroes in a forked child
//! (`MADV_WIPEONFORK`). What is cached per process or per thread (a thread id, the address of a robust list, a
//! registry) is kept together with that number, and is stale once it has changed.
#![expect(unsafe_code, reason = "reads the page that the kernel zeroes in a forked child")]

mod count;
mod own;

pub(crate) use self::count::Forks;
pub(crate) use self::own::Own;

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::sys;

/// The page; null until the first call, and for ever where the kernel cannot do it.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// The last generation given out. Ordinary memory: a forked child goes on counting from here.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Returns a number, never zero, that differs from that of every process which this one is a forked copy of.
///
/// # Examples
///
/// ```
/// let generation = mp_shared::fork::generation();
/// assert_ne!(generation, 0);
/// assert_eq!(generation, mp_shared::fork::generation());
/// ```
#[inline]
#[must_use]
pub fn generation() -> u64 {
    let page = PAGE.load(Ordering::Acquire);
    if !page.is_null() {
        // SAFETY: not null, so it is the page that `first` mapped, which is never unmapped.
        let generation = unsafe { &*page }.load(Ordering::Relaxed);
        if generation != 0 {
            return generation;
        }
    }
    first(page)
}

/// The first call of this process, or of this forked copy.
#[cold]
fn first(mut page: *mut AtomicU64) -> u64 {
    if page.is_null() {
        let Some(mapped) = sys::wipe_on_fork_page() else {
            // Without the page a process is told apart by its id: a system call each time, and right.
            return 1 << 63 | u64::from(sys::process_id());
        };
        page = mapped.as_ptr();
        let installed =
            PAGE.compare_exchange(ptr::null_mut(), page, Ordering::AcqRel, Ordering::Acquire);
        // A thread that loses this race leaves one page unused.
        page = installed.err().unwrap_or(page);
    }
    let fresh = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    // SAFETY: as in `generation`.
    let word = unsafe { &*page };
    word.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed).err().unwrap_or(fresh)
}
