//! A lock that this thread holds, and what becomes of it when the guard goes.

use std::marker::PhantomData;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::compiler_fence;
use std::{fmt, thread};

use mp_wire::Deadline;

use super::{COUNT, Guarded, SESSION};
use crate::object::Object;
use crate::robust;

/// What is put back when a lock that was released for a while is taken again.
pub(crate) struct Suspended {
    session: u32,
    count: u32,
}

/// The lock, held by this thread until this is dropped.
pub struct Held<'a> {
    owner: &'a Guarded,
    session: u32,
    /// What the lock protects may be half changed if this thread dies now.
    pub(super) exposed: bool,
    /// The thread was panicking already when it took the lock.
    panicking: bool,
    /// There may be more guards of this session.
    counted: bool,
    /// A guard that other threads may look at, but not release.
    not_send: PhantomData<MutexGuard<'a, ()>>,
}

impl<'a> Held<'a> {
    // Built where its owner keeps it: to copy it costs as much as an atomic access.
    #[inline(always)]
    pub(super) fn new(owner: &'a Guarded, session: u32, exposed: bool, counted: bool) -> Self {
        let panicking = thread::panicking();
        Self { owner, session, exposed, panicking, counted, not_send: PhantomData }
    }

    #[inline]
    pub(crate) fn object(&self) -> &'a Object {
        self.owner.object()
    }

    /// Makes it the first of several guards.
    pub(super) fn counted(mut self) -> Self {
        self.object().head().words[COUNT].store(1, Relaxed);
        self.counted = true;
        self
    }

    /// Adds who holds the lock, and whether it is poisoned.
    pub(crate) fn debug(&self, debug: &mut fmt::DebugStruct<'_, '_>) {
        self.owner.debug(debug);
    }

    /// Gives up one of several guards of a session; false if this is the last one, or no guard of this thread.
    #[cold]
    fn one_of_many(&self, panicked: bool) -> bool {
        let head = self.object().head();
        let count = head.words[COUNT].load(Relaxed);
        let many = count > 1 && self.owner.lock.held_by_me();
        if many {
            if panicked {
                head.poisoned.store(1, Relaxed);
            }
            head.words[COUNT].store(count - 1, Relaxed);
        }
        many
    }

    /// Releases the lock, with all guards of this session, for a while; nothing if this thread does not hold it.
    pub(crate) fn suspend(&self) -> Option<Suspended> {
        let head = self.object().head();
        let mut suspended = None;
        if head.words[SESSION].load(Relaxed) == self.session {
            let _ = self.owner.lock.unlock_after(|| {
                let count = head.words[COUNT].load(Relaxed);
                suspended = Some(Suspended { session: self.session, count });
                if self.exposed {
                    compiler_fence(SeqCst);
                    head.exposed.store(0, Relaxed);
                }
            });
        }
        suspended
    }

    /// Takes the lock again as it was; says whether it is poisoned.
    ///
    /// If that fails, the guards of the session have nothing to release any more.
    pub(crate) fn resume(
        &self,
        suspended: &Suspended,
        deadline: Deadline,
    ) -> Result<bool, robust::LockError> {
        let acquired = self.owner.lock.lock(deadline)?;
        self.owner.take_over(acquired);
        let words = &self.object().head().words;
        words[SESSION].store(suspended.session, Relaxed);
        words[COUNT].store(suspended.count, Relaxed);
        if self.exposed {
            self.owner.expose();
        }
        Ok(self.owner.is_poisoned())
    }

    /// Does what would leave a mess if this process died in the middle of it.
    pub(crate) fn exposed<R>(&mut self, step: impl FnOnce(&Object) -> R) -> R {
        self.expose();
        let result = step(self.object());
        self.cover();
        result
    }

    /// Gets hold of what the lock protects.
    pub(crate) fn expose(&mut self) {
        self.owner.expose();
        self.exposed = true;
    }

    /// Says whether the lock is held by this guard, which is no copy in a forked process.
    pub(crate) fn is_mine(&self) -> bool {
        let session = self.object().head().words[SESSION].load(Relaxed);
        session == self.session && self.owner.lock.held_by_me()
    }

    fn cover(&mut self) {
        compiler_fence(SeqCst);
        self.object().head().exposed.store(0, Relaxed);
        self.exposed = false;
    }
}

impl fmt::Debug for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Held");
        self.debug(&mut debug);
        debug.finish()
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        let head = self.object().head();
        if head.words[SESSION].load(Relaxed) != self.session {
            return;
        }
        let exposed = self.exposed;
        let panicked = exposed && thread::panicking() && !self.panicking;
        if self.counted && self.one_of_many(panicked) {
            return;
        }
        // In a forked child this is a copy, and the lock is the parent's: then it is not ours, and nothing happens.
        let _ = self.owner.lock.unlock_after(|| {
            if panicked {
                head.poisoned.store(1, Relaxed);
            }
            if exposed {
                compiler_fence(SeqCst);
                head.exposed.store(0, Relaxed);
            }
        });
    }
}
