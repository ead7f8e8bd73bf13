//! The lock that a thread may take again.

use std::fmt;
use std::time::Duration;

use mp_wire::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;
use crate::lock::{Guarded, Held, deadline};
#[cfg(feature = "named")]
use crate::named::{self, named_object};
use crate::object::{Shape, Tag};
use crate::poison::{LockError, LockResult};

const SHAPE: Shape = Shape::plain(Tag::RLock);

/// A lock between processes and threads that its holder may take again; released as often as it was taken.
///
/// It is a [`Lock`](crate::Lock) in all else. Its owner is a thread of a process. Guards may be dropped in any order; the last one
/// releases it.
///
/// # Python
///
/// `RLock`. A release by somebody else than the owner, an error there, does not compile: guards stay in their thread.
///
/// # If a process dies
///
/// As with [`Lock`](crate::Lock): the next one gets it at once, and is told. How often the dead one had it does not matter.
///
/// # Fork
///
/// A forked child does not hold what its parent holds; dropping its copy of a guard does nothing.
///
/// # Examples
///
/// ```
/// use mp_shared::RLock;
///
/// fn deeper(lock: &RLock, levels: u32) -> Result<u32, mp_shared::Error> {
///     let _guard = lock.lock()?;
///     if levels == 0 { Ok(lock.count()) } else { deeper(lock, levels - 1) }
/// }
///
/// let lock = RLock::new()?;
/// assert_eq!(deeper(&lock, 2)?, 3);
/// assert!(!lock.is_locked());
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[derive(Clone)]
pub struct RLock(Guarded);

impl RLock {
    /// Makes a lock that nobody holds.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if no memory or no descriptor is left.
    pub fn new() -> Result<Self, Error> {
        Guarded::create(SHAPE, 0).map(Self)
    }

    /// Makes a lock under a name, by which any program of the same user can [`open`](Self::open) it.
    ///
    /// Nobody holds it. The name goes when the last clone of this handle is dropped in this process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) if the name is taken, or as with
    /// [`SharedMemory::create`](crate::SharedMemory::create).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::RLock;
    ///
    /// let name = format!("doc-RLock-{}", std::process::id());
    /// let lock = RLock::create_named(&name)?;
    /// let same = RLock::open(&name)?; // In any program.
    /// let guard = lock.lock()?;
    /// assert!(same.is_locked());
    /// # drop(guard);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[cfg(feature = "named")]
    pub fn create_named(name: &str) -> Result<Self, Error> {
        named::create(name, |home| Guarded::create_at(home, SHAPE, 0).map(Self))
    }

    /// Takes the lock, once more if this thread has it.
    ///
    /// # Blocking
    ///
    /// Until whoever holds it releases it or dies. Signals do not end it.
    ///
    /// # Errors
    ///
    /// [`LockError::Poisoned`] with the guard in it if somebody died holding it; [`LockError::TooMany`] if this thread holds it
    /// 2³² - 1 times.
    pub fn lock(&self) -> LockResult<RLockGuard<'_>> {
        wrap(self.0.lock_again(Deadline::NEVER))
    }

    /// Takes the lock if it is free or this thread's.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`] if another thread holds it, or as with [`lock`](Self::lock).
    pub fn try_lock(&self) -> LockResult<RLockGuard<'_>> {
        wrap(self.0.lock_again(Deadline::NOW)).map_err(|error| match error {
            LockError::TimedOut => LockError::WouldBlock,
            other => other,
        })
    }

    /// Takes the lock, but waits no longer than this.
    ///
    /// # Blocking
    ///
    /// Gives up when the time is up, never before.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`], or as with [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{LockError, RLock};
    /// use std::{thread, time::Duration};
    ///
    /// let lock = RLock::new()?;
    /// let guard = lock.lock()?;
    /// thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         let late = lock.lock_timeout(Duration::from_millis(1));
    ///         assert!(matches!(late, Err(LockError::TimedOut)));
    ///     });
    /// });
    /// # drop(guard);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<RLockGuard<'_>> {
        wrap(self.0.lock_again(deadline(timeout)))
    }

    /// Says whether any thread of any process holds it.
    #[doc(alias = "locked")]
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.0.is_locked()
    }

    /// How often its holder has taken it; zero if nobody holds it.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.count()
    }

    /// Says whether somebody died holding it, and nobody has cleared that since.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.0.is_poisoned()
    }

    /// Declares that what the lock protects is in order again.
    pub fn clear_poison(&self) {
        self.0.clear_poison();
    }
}

fn wrap(held: LockResult<Held<'_>>) -> LockResult<RLockGuard<'_>> {
    held.map(RLockGuard).map_err(|error| error.map(RLockGuard))
}

/// An [`RLock`] that this thread holds until its last guard is dropped.
///
/// It cannot be sent to another thread:
///
/// ```compile_fail,E0277
/// let lock = mp_shared::RLock::new().unwrap();
/// let guard = lock.lock().unwrap();
/// std::thread::scope(|scope| { scope.spawn(move || drop(guard)); });
/// ```
#[must_use = "the lock is released when the guard is dropped"]
pub struct RLockGuard<'a>(pub(crate) Held<'a>);

#[cfg(feature = "named")]
named_object!(
    [] RLock,
    SHAPE,
    |object| Guarded::of(object).map(Self),
    |this| this.0.object(),
    "RLock",
    "RLock::create_named(&name)",
);

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RLock");
        self.0.debug(&mut debug);
        debug.field("count", &self.count());
        debug.finish()
    }
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RLockGuard");
        self.0.debug(&mut debug);
        debug.finish()
    }
}

impl Serialize for RLock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RLock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Guarded::deserialize(deserializer, SHAPE).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PATIENCE, Trap, fork};
    use crate::{ErrorKind, Event};

    #[test]
    fn smoke() {
        // LK-04: three times in, three times out; a fourth release does not compile.
        let lock = RLock::new().unwrap();
        let mut guards: Vec<_> = (0..3).map(|_| lock.lock().unwrap()).collect();
        assert_eq!(lock.count(), 3);
        // In any order.
        drop(guards.remove(1));
        drop(guards.remove(0));
        assert!(lock.is_locked() && lock.count() == 1);
        fork(|| matches!(lock.try_lock(), Err(LockError::WouldBlock))).succeed();
        drop(guards);
        assert!(!lock.is_locked() && lock.count() == 0);
        drop(lock.try_lock().unwrap());
    }

    #[test]
    fn another_thread_waits_for_the_last_guard() {
        let lock = RLock::new().unwrap();
        let (first, second) = (lock.lock().unwrap(), lock.lock().unwrap());
        let taken = Event::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                drop(lock.lock().unwrap());
                taken.set();
            });
            drop(first);
            assert!(!taken.is_set());
            drop(second);
            assert!(taken.wait_timeout(PATIENCE));
        });
    }

    #[test]
    fn a_copy_of_a_guard_does_nothing() {
        // LK-05: a forked child owns nothing, even if it takes the lock itself.
        let lock = RLock::new().unwrap();
        let guards = [lock.lock().unwrap(), lock.lock().unwrap()];
        let same = &lock;
        // The closure has the guards: in the parent they are dropped when it has forked.
        let child = fork(move || {
            let mine = same.lock().unwrap();
            drop(guards);
            let still_mine = same.count() == 1;
            drop(mine);
            still_mine && !same.is_locked()
        });
        child.succeed();
    }

    #[test]
    fn kill_holder() {
        let lock = RLock::new().unwrap();
        let trap = Trap::new();
        let owner = fork(|| {
            let _guards = [lock.lock(), lock.lock(), lock.lock()];
            trap.step_in()
        });
        trap.wait();
        assert_eq!(lock.count(), 3);
        owner.kill();
        let Err(LockError::Poisoned(poison)) = lock.lock() else { panic!("not poisoned") };
        assert_eq!(lock.count(), 1, "how often the dead one had it does not matter");
        lock.clear_poison();
        drop(poison);
        assert!(!lock.is_locked());
        drop(lock.lock().unwrap());
    }

    #[test]
    fn panic_poisons() {
        let lock = RLock::new().unwrap();
        let outer = lock.lock().unwrap();
        let result = std::panic::catch_unwind(|| {
            let _inner = lock.lock().unwrap();
            panic!("while holding it");
        });
        assert!(result.is_err() && lock.is_poisoned());
        assert_eq!(lock.count(), 1);
        drop(outer);
        assert_eq!(Error::from(lock.lock().unwrap_err()).kind(), ErrorKind::Poisoned);
    }

    #[test]
    fn debug_says_who_holds_it_how_often() {
        // LK-07.
        let lock = RLock::new().unwrap();
        assert_eq!(format!("{lock:?}"), "RLock { owner: None, poisoned: false, count: 0 }");
        let _guards = (lock.lock(), lock.lock());
        let text = format!("{lock:?}");
        assert!(text.contains(&format!("pid: Some({})", std::process::id())), "{text}");
        assert!(text.ends_with("count: 2 }"), "{text}");
    }

    #[test]
    fn travels() {
        let lock = RLock::new().unwrap();
        let same: RLock = mp_wire::encode(&lock).unwrap().decode().unwrap();
        let guards = (lock.lock().unwrap(), same.lock().unwrap());
        assert_eq!(lock.count(), 2);
        drop(guards);
        assert!(!same.is_locked());
        assert!(mp_wire::encode(&lock).unwrap().decode::<crate::Lock>().is_err());
    }

    #[test]
    fn handles_are_send_and_sync() {
        fn check<T: Send + Sync + Clone>() {}
        check::<RLock>();
    }
}
