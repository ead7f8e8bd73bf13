//! The calling thread as the kernel knows it: its id and its list of robust locks.
#![expect(unsafe_code, reason = "reaches the robust list that libc registered for this thread")]

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, compiler_fence};

use crate::fork;
use crate::robust::LockError;
use crate::sys::{self, RobustHead};

/// The calling thread. A copy is good until the call that asked for it returns: not across a fork.
#[derive(Clone, Copy)]
pub(crate) struct Thread {
    generation: u64,
    id: u32,
    head: Option<NonNull<RobustHead>>,
}

/// How many locks a thread holds at most, not counting those that it needs to give others back.
pub(crate) const MOST_LINKED: u32 = 1536;

thread_local! {
    static CURRENT: Cell<Thread> = const { Cell::new(Thread { generation: 0, id: 0, head: None }) };

    /// How many locks of ours are in the list of this thread.
    static LINKED: Cell<u32> = const { Cell::new(0) };
}

impl Thread {
    /// The calling thread, with a robust list.
    #[inline]
    pub(crate) fn current() -> Result<Self, LockError> {
        let thread = Self::cached();
        if thread.head.is_some() { Ok(thread) } else { Err(LockError::Unsupported) }
    }

    /// The id of the calling thread.
    #[inline]
    pub(crate) fn current_id() -> u32 {
        Self::cached().id
    }

    #[inline]
    fn cached() -> Self {
        let generation = fork::generation();
        let thread = CURRENT.get();
        if thread.generation == generation { thread } else { Self::refresh(generation) }
    }

    /// The first call of a thread, or of the only thread of a forked copy, which has a new id.
    #[cold]
    fn refresh(generation: u64) -> Self {
        let thread = Self { generation, id: sys::thread_id(), head: sys::robust_head() };
        CURRENT.set(thread);
        LINKED.set(0);
        thread
    }

    /// Says whether the kernel would come to one more lock in the list of this thread.
    ///
    /// It gives up after 2048 entries (`ROBUST_LIST_LIMIT`), of which we leave some to the robust mutexes of others.
    #[inline]
    pub(crate) fn has_room(self) -> bool {
        LINKED.get() < MOST_LINKED
    }

    /// Counts a lock that was put into the list.
    #[inline]
    pub(crate) fn linked(self) {
        LINKED.set(LINKED.get() + 1);
    }

    /// Counts a lock that was taken out of it.
    #[inline]
    pub(crate) fn unlinked(self) {
        LINKED.set(LINKED.get().saturating_sub(1));
    }

    #[inline]
    pub(crate) fn id(self) -> u32 {
        self.id
    }

    /// The robust list itself; its fields are atomics, of which this thread is the only user.
    #[inline]
    pub(crate) fn head(&self) -> Option<&RobustHead> {
        // SAFETY: `current` found it registered for the calling thread, whose memory it stays until the thread ends.
        // A forked child gets another generation, and so asks anew.
        self.head.map(|head| unsafe { head.as_ref() })
    }

    /// Tells the kernel which word this thread is about to take or release.
    ///
    /// Should the thread die before [`Thread::clear_pending`], the kernel looks at the word: if the thread is its
    /// owner, it is marked and a sleeper is woken; if it is free, a sleeper is woken in case the dead one was to.
    #[inline]
    pub(crate) fn set_pending(self, word: &AtomicU32) {
        if cfg!(mp_bug = "no_pending") {
            return;
        }
        if let Some(head) = self.head() {
            let node = word.as_ptr().addr().wrapping_sub(head.futex_offset as usize);
            head.pending.store(node, Ordering::Relaxed);
        }
        // The kernel reads the field in this very thread, so the compiler alone must keep the order.
        compiler_fence(Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn clear_pending(self) {
        compiler_fence(Ordering::SeqCst);
        if let Some(head) = self.head() {
            head.pending.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_has_its_own_id_and_list() {
        let here = Thread::current().unwrap();
        let there = std::thread::spawn(|| Thread::current().unwrap().id()).join().unwrap();
        assert_eq!(here.id(), sys::thread_id());
        assert_ne!(here.id(), there);
    }
}
