#![doc = include_str!("robust/README.md")]

#[cfg(test)]
mod alone;
pub(crate) mod linked;
pub(crate) mod thread;

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mp_wire::Deadline;

pub use self::linked::LinkedLock;
use self::thread::Thread;
use crate::sys::{self, Waited, WakeOp};
use mp_wire::Spin;

pub(crate) const OWNER: u32 = 0x3fff_ffff;
pub(crate) const OWNER_DIED: u32 = 1 << 30;
pub(crate) const WAITERS: u32 = 1 << 31;
const WAITERS_BIT: u32 = 31;

/// How long a wait goes on before looking again, on kernels that may swallow an owner's death.
const RECHECK: Duration = Duration::from_millis(100);

/// Whether spinning for locks has been paying off in this process.
static SPIN: Spin = Spin::new();

/// What became of the owner before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "if the owner died, what the lock protects may be half changed"]
pub enum Acquired {
    /// It released the lock.
    Clean,
    /// It died while it held the lock.
    OwnerDied,
}

/// Why a lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockError {
    /// Another thread held it until the deadline.
    TimedOut,
    /// The calling thread holds it already, and would wait for itself.
    Deadlock,
    /// The calling thread holds as many locks as the kernel would look after if it died, about 1500.
    TooMany,
    /// The C library has registered no robust list for this thread, so an owner's death would go unnoticed.
    Unsupported,
}

/// The lock was not released, because the calling thread does not hold it.
///
/// In a forked child that is so for every lock that its parent held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHeld;

/// A robust lock in shared memory for short sections of our own code.
///
/// All zeroes is a free one. It is taken with [`RawLock::lock`] and released with [`RawLock::unlock`] by the same
/// thread. A thread holds one such lock at a time, takes no other lock that lives in shared memory under it, and runs no
/// user's code: the kernel is told of one lock per thread in this way. For locks that nest there is [`LinkedLock`].
///
/// # If a process dies
///
/// The kernel marks the word and wakes a sleeper; the next owner is told [`Acquired::OwnerDied`].
///
/// # Examples
///
/// ```
/// use mp_shared::{robust::{Acquired, RawLock}, segment::Segment};
/// use mp_wire::Deadline;
///
/// let segment = Segment::create(1, 64)?;
/// let lock = segment.bind::<RawLock>(0)?;
/// assert_eq!(lock.lock(Deadline::NEVER), Ok(Acquired::Clean));
/// assert!(lock.held_by_me());
/// assert!(lock.unlock().is_ok());
/// assert!(lock.unlock().is_err());
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[derive(Debug, Default)]
#[repr(C)]
pub struct RawLock {
    /// The owner's thread id, [`OWNER_DIED`], [`WAITERS`]. Free if the id is zero.
    word: AtomicU32,
    /// Set if the last wake found nobody asleep, so that [`WAITERS`] may be a leftover.
    clean: AtomicU32,
}

impl RawLock {
    /// Takes the lock.
    ///
    /// # Errors
    ///
    /// See [`LockError`].
    #[inline]
    pub fn lock(&self, deadline: Deadline) -> Result<Acquired, LockError> {
        let thread = Thread::current()?;
        thread.set_pending(&self.word);
        if self.take_free(thread.id()) {
            return Ok(Acquired::Clean);
        }
        let result = self.take(thread.id(), deadline);
        // Held already, it stays announced.
        if result.is_err_and(|error| error != LockError::Deadlock) {
            thread.clear_pending();
        }
        result
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    ///
    /// See [`LockError`]; a lock that is held counts as timed out at once.
    #[inline]
    pub fn try_lock(&self) -> Result<Acquired, LockError> {
        self.lock(Deadline::NOW)
    }

    /// Releases the lock and wakes one sleeper, in one step.
    ///
    /// # Errors
    ///
    /// The calling thread does not hold it. Nothing has changed.
    #[inline]
    pub fn unlock(&self) -> Result<(), NotHeld> {
        let Ok(thread) = Thread::current() else { return Err(NotHeld) };
        if self.owner_id() != thread.id() {
            return Err(NotHeld);
        }
        self.release(thread.id());
        thread.clear_pending();
        Ok(())
    }

    /// The thread that holds the lock.
    #[must_use]
    pub fn owner(&self) -> Option<u32> {
        Some(self.owner_id()).filter(|&id| id != 0)
    }

    /// Says whether the calling thread holds the lock.
    #[inline]
    #[must_use]
    pub fn held_by_me(&self) -> bool {
        self.owner_id() == Thread::current_id()
    }

    #[inline]
    fn owner_id(&self) -> u32 {
        self.word.load(Ordering::Relaxed) & OWNER
    }

    /// Step 2 of the protocol; the caller has announced the word to the kernel.
    #[inline]
    fn take_free(&self, me: u32) -> bool {
        self.word.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Step 3: the lock was not plainly free.
    #[cold]
    fn take(&self, me: u32, deadline: Deadline) -> Result<Acquired, LockError> {
        if deadline != Deadline::NOW && self.owner_id() != me {
            SPIN.until(|| self.owner_id() == 0);
        }
        let mut value = self.word.load(Ordering::Relaxed);
        loop {
            if value & OWNER == 0 {
                // WAITERS stays: whoever sleeps is woken by our unlock, even if the one woken for us dies.
                let keep = if cfg!(mp_bug = "waiters_not_sticky") { 0 } else { WAITERS };
                let mine = me | (value & keep);
                match self.word.compare_exchange(value, mine, Ordering::Acquire, Ordering::Relaxed)
                {
                    Ok(_) if value & OWNER_DIED != 0 => return Ok(Acquired::OwnerDied),
                    Ok(_) => return Ok(Acquired::Clean),
                    Err(now) => value = now,
                }
                continue;
            }
            if value & OWNER == me {
                return Err(LockError::Deadlock);
            }
            if deadline == Deadline::NOW {
                return Err(LockError::TimedOut);
            }
            if value & WAITERS == 0 {
                let marked = value | WAITERS;
                match self.word.compare_exchange(
                    value,
                    marked,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => value = marked,
                    Err(now) => {
                        value = now;
                        continue;
                    }
                }
            }
            let waited = self.sleep(value, deadline);
            value = self.word.load(Ordering::Relaxed);
            // A lock that has just become free is taken even if the time is up.
            if waited == Waited::TimedOut && value & OWNER != 0 {
                return Err(LockError::TimedOut);
            }
        }
    }

    fn sleep(&self, value: u32, deadline: Deadline) -> Waited {
        if !sys::may_lose_death_notice() {
            return sys::wait(&self.word, value, deadline);
        }
        let soon = Deadline::after(RECHECK);
        if deadline.remaining().is_none_or(|left| left > RECHECK) {
            sys::wait(&self.word, value, soon);
            return Waited::Look;
        }
        sys::wait(&self.word, value, deadline)
    }

    /// Steps 5 to 8; the caller holds the lock and has announced the word to the kernel.
    #[inline]
    fn release(&self, me: u32) {
        if self.word.compare_exchange(me, 0, Ordering::Release, Ordering::Relaxed).is_err() {
            self.release_and_wake(me);
        }
    }

    #[cold]
    fn release_and_wake(&self, me: u32) {
        if cfg!(mp_bug = "waiters_not_sticky") {
            self.word.store(0, Ordering::Release);
            sys::wake(&self.word, 1);
            return;
        }
        if self.clean.load(Ordering::Relaxed) != 0 {
            // Perhaps nobody sleeps any more. Still the owner: clear the flag and wake all, then release plainly.
            self.clean.store(0, Ordering::Relaxed);
            sys::wake_op(&self.word, i32::MAX, WakeOp::ClearBit(WAITERS_BIT));
            if self.word.compare_exchange(me, 0, Ordering::Release, Ordering::Relaxed).is_ok() {
                return;
            }
        }
        if sys::wake_op(&self.word, 1, WakeOp::SetBit(WAITERS_BIT)) == 0 {
            self.clean.store(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "the lock was held until the deadline",
            Self::Deadlock => "the calling thread holds the lock already",
            Self::TooMany => "the calling thread holds too many locks",
            Self::Unsupported => "the C library registers no robust list",
        })
    }
}

impl std::error::Error for LockError {}

impl fmt::Display for NotHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the calling thread does not hold the lock")
    }
}

impl std::error::Error for NotHeld {}

#[cfg(test)]
mod tests;
