//! The locks of `mp-shared`, as the scenarios take them.

use std::time::Duration;

use mp_shared::robust::{self, Acquired, LinkedLock, RawLock};
use mp_shared::segment::{Segment, View};
use mp_shared::{Lock, LockError, LockGuard, LockResult, RLock, RLockGuard};
use mp_tests::step::Role;
use mp_wire::Deadline;

use crate::lock::Lockable;

const KIND: u32 = 0x7465_7374;

/// The lock under which the library does its own work.
pub(crate) struct Raw(View<RawLock>);

/// The lock that a user holds, and nests.
pub(crate) struct Linked(LinkedLock);

/// Unlocks when dropped.
pub(crate) struct RawGuard<'a>(&'a RawLock);

impl Drop for RawGuard<'_> {
    fn drop(&mut self) {
        self.0.unlock().expect("the lock is held");
    }
}

/// Unlocks when dropped.
pub(crate) struct LinkedGuard<'a>(&'a LinkedLock);

impl Drop for LinkedGuard<'_> {
    fn drop(&mut self) {
        self.0.unlock().expect("the lock is held");
    }
}

impl Lockable for Raw {
    type Guard<'a> = RawGuard<'a>;

    fn make() -> Self {
        let segment = Segment::create(KIND, 64).expect("a segment");
        Self(segment.bind(0).expect("a lock"))
    }

    fn lock(&self) -> (RawGuard<'_>, bool) {
        let acquired = self.0.lock(Deadline::NEVER).expect("the lock");
        (RawGuard(&self.0), acquired == Acquired::OwnerDied)
    }
}

impl Lockable for Linked {
    type Guard<'a> = LinkedGuard<'a>;

    fn make() -> Self {
        let segment = Segment::create(KIND, LinkedLock::SIZE).expect("a segment");
        Self(LinkedLock::new(&segment, 0).expect("a lock"))
    }

    fn lock(&self) -> (LinkedGuard<'_>, bool) {
        let acquired = self.0.lock(Deadline::NEVER).expect("the lock");
        (LinkedGuard(&self.0), acquired == Acquired::OwnerDied)
    }
}

/// A lock that its holder takes twice.
pub(crate) struct Nested(RLock);

/// The lock of users, taken with a timeout that is never reached.
pub(crate) struct Timed(pub(crate) Lock);

/// Says whether the owner before died, and declares that all is well again.
fn told<G>(result: LockResult<G>, clear: impl FnOnce()) -> (G, bool) {
    match result {
        Ok(guard) => (guard, false),
        Err(LockError::Poisoned(poison)) => {
            clear();
            (poison.into_inner(), true)
        }
        Err(error) => panic!("{error}"),
    }
}

impl Lockable for Nested {
    type Guard<'a> = [RLockGuard<'a>; 2];

    fn make() -> Self {
        Self(RLock::new().expect("a lock"))
    }

    fn lock(&self) -> ([RLockGuard<'_>; 2], bool) {
        let (first, died) = told(self.0.lock(), || self.0.clear_poison());
        let (second, _) = told(self.0.lock(), || self.0.clear_poison());
        ([first, second], died)
    }
}

impl Lockable for Timed {
    type Guard<'a> = LockGuard<'a>;

    fn make() -> Self {
        Self(Lock::new().expect("a lock"))
    }

    fn lock(&self) -> (LockGuard<'_>, bool) {
        told(self.0.lock_timeout(Duration::from_secs(60)), || self.0.clear_poison())
    }
}

/// Waits for a lock in vain, so that what happens only at the first wait of a process has happened.
pub(crate) fn wait_once() {
    let lock = Raw::make();
    let mut owner = Role::fork(|| {
        let _guard = lock.lock();
        loop {
            std::thread::park();
        }
    });
    while lock.0.owner().is_none() {
        std::thread::yield_now();
    }
    let result = lock.0.lock(Deadline::after(Duration::from_millis(1)));
    assert_eq!(result, Err(robust::LockError::TimedOut));
    owner.kill();
}
