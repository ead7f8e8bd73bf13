#![expect(unsafe_code, reason = "pthread mutexes of libc, as neighbours in the robust list")]

use std::ptr;
use std::sync::atomic::AtomicU64;
use std::thread;

use super::*;
use crate::segment::{Segment, View};
use crate::testing::{die, fork};

const COUNTER: usize = 256;
const READY: usize = 320;
const TOLD: usize = 384;

/// What is tested of both kinds of lock.
trait Lock: Sync {
    fn at(segment: &Segment) -> Self;
    fn lock(&self, deadline: Deadline) -> Result<Acquired, LockError>;
    fn unlock(&self) -> Result<(), NotHeld>;
    fn word(&self) -> u32;
}

impl Lock for View<RawLock> {
    fn at(segment: &Segment) -> Self {
        segment.bind(0).unwrap()
    }
    fn lock(&self, deadline: Deadline) -> Result<Acquired, LockError> {
        RawLock::lock(self, deadline)
    }
    fn unlock(&self) -> Result<(), NotHeld> {
        RawLock::unlock(self)
    }
    fn word(&self) -> u32 {
        self.word.load(Ordering::Relaxed)
    }
}

impl Lock for LinkedLock {
    fn at(segment: &Segment) -> Self {
        LinkedLock::new(segment, 64).unwrap()
    }
    fn lock(&self, deadline: Deadline) -> Result<Acquired, LockError> {
        LinkedLock::lock(self, deadline)
    }
    fn unlock(&self) -> Result<(), NotHeld> {
        LinkedLock::unlock(self)
    }
    fn word(&self) -> u32 {
        self.segment().atomic_u32(64).unwrap().load(Ordering::Relaxed)
    }
}

fn segment() -> Segment {
    Segment::create(1, 512).unwrap()
}

/// No deadline: a waiter that is forgotten would take the free lock when the time is up, and look as if all were well. A child
/// that hangs is killed, and its test fails.
fn soon() -> Deadline {
    Deadline::NEVER
}

/// Waits until somebody says that he is about to sleep on the lock.
fn await_waiters(lock: &impl Lock) {
    while lock.word() & WAITERS == 0 {
        thread::yield_now();
    }
}

fn excludes<L: Lock>() {
    const EACH: u64 = 20_000;
    let segment = segment();
    let lock = L::at(&segment);
    let counter: View<AtomicU64> = segment.bind(COUNTER).unwrap();
    let children: Vec<_> = (0..4)
        .map(|_| {
            fork(|| {
                for _ in 0..EACH {
                    assert_eq!(lock.lock(soon()), Ok(Acquired::Clean));
                    // Not an atomic addition: only the lock makes it one.
                    let value = counter.load(Ordering::Relaxed);
                    counter.store(value + 1, Ordering::Relaxed);
                    lock.unlock().unwrap();
                }
                true
            })
        })
        .collect();
    children.into_iter().for_each(|child| child.succeed());
    assert_eq!(counter.load(Ordering::Relaxed), 4 * EACH);
    // Sticky as it is, the flag of waiters goes when they have gone.
    for _ in 0..3 {
        let _ = lock.lock(soon());
        lock.unlock().unwrap();
    }
    assert_eq!(lock.word(), 0);
}

fn hands_over_when_the_owner_is_killed<L: Lock>() {
    let segment = segment();
    let lock = L::at(&segment);
    let (ready, told) = (segment.atomic_u32(READY).unwrap(), segment.atomic_u32(TOLD).unwrap());
    let owner = fork(|| {
        let _ = lock.lock(soon());
        ready.store(1, Ordering::Release);
        // Waits for its end.
        loop {
            sys::wait(ready, 1, Deadline::NEVER);
        }
    });
    while ready.load(Ordering::Acquire) == 0 {
        thread::yield_now();
    }
    let waiters = [(); 3].map(|()| {
        fork(|| {
            let acquired = lock.lock(soon()).unwrap();
            if acquired == Acquired::OwnerDied {
                told.fetch_add(1, Ordering::Relaxed);
            }
            lock.unlock().is_ok()
        })
    });
    await_waiters(&lock);
    owner.kill();
    waiters.into_iter().for_each(|waiter| waiter.succeed());
    assert_eq!(told.load(Ordering::Relaxed), 1, "one waiter is told, once");
    assert_eq!(lock.lock(soon()), Ok(Acquired::Clean));
    lock.unlock().unwrap();
}

fn killed_waiters_lose_nothing<L: Lock>() {
    for round in 0..20 {
        let segment = segment();
        let lock = L::at(&segment);
        let _ = lock.lock(soon());
        let victims = [(); 2].map(|()| fork(|| lock.lock(soon()).is_ok() && die()));
        let last = fork(|| lock.lock(soon()).is_ok() && lock.unlock().is_ok());
        await_waiters(&lock);
        if round % 2 == 0 {
            lock.unlock().unwrap();
        }
        victims.into_iter().for_each(|victim| victim.kill());
        if round % 2 == 1 {
            lock.unlock().unwrap();
        }
        last.succeed();
    }
}

/// Who takes a lock that others wait for, or releases it, leaves the flag for the next one.
fn waiters_stay_marked<L: Lock>() {
    let segment = segment();
    let lock = L::at(&segment);
    let _ = lock.lock(soon());
    let waiter = fork(|| lock.lock(soon()).is_ok() && lock.unlock().is_ok());
    await_waiters(&lock);
    waiter.kill();
    lock.unlock().unwrap();
    assert_eq!(lock.word(), WAITERS);
    assert_eq!(lock.lock(soon()), Ok(Acquired::Clean));
    assert_eq!(lock.word() & WAITERS, WAITERS);
    lock.unlock().unwrap();
    // Nobody was there to be woken: that was a leftover.
    let _ = lock.lock(soon());
    lock.unlock().unwrap();
    assert_eq!(lock.word(), 0);
}

fn timeout_is_never_early<L: Lock>() {
    let segment = segment();
    let lock = L::at(&segment);
    let _ = lock.lock(soon());
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(lock.lock(Deadline::NOW), Err(LockError::TimedOut));
            let deadline = Deadline::after(Duration::from_millis(20));
            assert_eq!(lock.lock(deadline), Err(LockError::TimedOut));
            assert!(deadline.is_past());
            assert_eq!(lock.unlock(), Err(NotHeld));
        });
    });
    lock.unlock().unwrap();
    assert_eq!(lock.lock(Deadline::NOW), Ok(Acquired::Clean));
    lock.unlock().unwrap();
}

fn twice_is_an_error<L: Lock>() {
    let segment = segment();
    let lock = L::at(&segment);
    let _ = lock.lock(soon());
    assert_eq!(lock.lock(Deadline::NEVER), Err(LockError::Deadlock));
    assert_eq!(lock.lock(Deadline::NOW), Err(LockError::Deadlock));
    lock.unlock().unwrap();
    assert_eq!(lock.unlock(), Err(NotHeld));
}

fn a_forked_copy_holds_nothing<L: Lock>() {
    let segment = segment();
    let lock = L::at(&segment);
    let _ = lock.lock(soon());
    fork(|| lock.unlock() == Err(NotHeld) && lock.lock(Deadline::NOW).is_err()).succeed();
    lock.unlock().unwrap();
    fork(|| lock.lock(soon()) == Ok(Acquired::Clean) && lock.unlock().is_ok()).succeed();
    // It died with the lock, being another thread than its parent.
    let _ = fork(|| lock.lock(soon()).is_ok() && die()).wait();
    assert_eq!(lock.lock(soon()), Ok(Acquired::OwnerDied));
    lock.unlock().unwrap();
}

fn a_thread_that_ends_is_dead<L: Lock>() {
    let segment = segment();
    let lock = L::at(&segment);
    thread::scope(|scope| {
        scope.spawn(|| lock.lock(soon()).map(drop));
    });
    assert_eq!(lock.lock(soon()), Ok(Acquired::OwnerDied));
    lock.unlock().unwrap();
    assert_eq!(lock.lock(soon()), Ok(Acquired::Clean));
    lock.unlock().unwrap();
}

macro_rules! for_both {
    ($($test:ident)*) => {
        mod raw {
            $(#[test] fn $test() { super::$test::<super::View<super::RawLock>>(); })*
        }
        mod linked {
            $(#[test] fn $test() { super::$test::<super::LinkedLock>(); })*
        }
    };
}

for_both! {
    excludes
    hands_over_when_the_owner_is_killed
    killed_waiters_lose_nothing
    waiters_stay_marked
    timeout_is_never_early
    twice_is_an_error
    a_forked_copy_holds_nothing
    a_thread_that_ends_is_dead
}

/// The nodes of this thread's robust list, as the kernel would find them.
fn list() -> Vec<usize> {
    let thread = Thread::current().unwrap();
    let head = thread.head().unwrap();
    assert_eq!(head.pending.load(Ordering::Relaxed), 0);
    let mut nodes = Vec::new();
    let mut node = head.list.load(Ordering::Relaxed);
    while node != head.list.as_ptr().addr() {
        nodes.push(node);
        assert!(nodes.len() < 100, "the list does not end");
        // SAFETY: a node of this thread's list, which links to the next one.
        node = unsafe { *ptr::with_exposed_provenance::<usize>(node) };
    }
    nodes
}

#[test]
fn linked_locks_are_released_in_any_order() {
    let segment = Segment::create(1, 4 * LinkedLock::SIZE).unwrap();
    let locks: Vec<_> =
        (0..4).map(|index| LinkedLock::new(&segment, index * LinkedLock::SIZE).unwrap()).collect();
    let before = list();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
        for lock in &locks {
            assert_eq!(lock.lock(soon()), Ok(Acquired::Clean));
        }
        for (released, index) in order.into_iter().enumerate() {
            assert_eq!(list().len(), before.len() + 4 - released);
            assert!(locks[index].held_by_me());
            locks[index].unlock().unwrap();
        }
        assert_eq!(list(), before);
    }
}

#[test]
fn every_linked_lock_of_a_dead_owner_is_handed_over() {
    let segment = Segment::create(1, 4 * LinkedLock::SIZE).unwrap();
    let locks: Vec<_> =
        (0..4).map(|index| LinkedLock::new(&segment, index * LinkedLock::SIZE).unwrap()).collect();
    let child = fork(|| {
        for lock in &locks {
            let _ = lock.lock(soon());
        }
        let _ = locks[1].unlock();
        die()
    });
    child.wait();
    for (index, lock) in locks.iter().enumerate() {
        let expected = if index == 1 { Acquired::Clean } else { Acquired::OwnerDied };
        assert_eq!(lock.lock(soon()), Ok(expected));
        lock.unlock().unwrap();
    }
}

/// A robust mutex of libc's own, in shared memory.
struct Mutex(*mut libc::pthread_mutex_t);

impl Mutex {
    fn new(segment: &Segment, offset: usize) -> Self {
        let place = segment.place(offset, size_of::<libc::pthread_mutex_t>()).unwrap();
        let mutex = place.as_ptr().cast::<libc::pthread_mutex_t>();
        let mut attributes = std::mem::MaybeUninit::uninit();
        // SAFETY: the attributes are writable.
        unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) };
        // SAFETY: the attributes were initialized.
        unsafe { libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), 1) };
        // SAFETY: as above.
        unsafe { libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), 1) };
        // SAFETY: memory of its size and alignment, which nobody uses.
        unsafe { libc::pthread_mutex_init(mutex, attributes.as_ptr()) };
        Self(mutex)
    }

    fn lock(&self) -> i32 {
        // SAFETY: an initialized mutex.
        unsafe { libc::pthread_mutex_lock(self.0) }
    }

    fn unlock(&self) -> i32 {
        // SAFETY: an initialized mutex.
        unsafe { libc::pthread_mutex_unlock(self.0) }
    }
}

#[test]
fn mutexes_of_libc_may_be_neighbours() {
    let segment = Segment::create(1, 512).unwrap();
    let first = LinkedLock::new(&segment, 0).unwrap();
    let second = LinkedLock::new(&segment, 128).unwrap();
    let (middle, end) = (Mutex::new(&segment, 64), Mutex::new(&segment, 192));
    let before = list();
    // What is taken, and the order of release of the four.
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 1, 0], [1, 3, 0, 2]] {
        let _ = first.lock(soon());
        assert_eq!(middle.lock(), 0);
        let _ = second.lock(soon());
        assert_eq!(end.lock(), 0);
        assert_eq!(list().len(), before.len() + 4);
        for index in order {
            match index {
                0 => first.unlock().unwrap(),
                1 => assert_eq!(middle.unlock(), 0),
                2 => second.unlock().unwrap(),
                _ => assert_eq!(end.unlock(), 0),
            }
            list();
        }
        assert_eq!(list(), before);
    }
    // And the kernel finds its way through all of them.
    let child = fork(|| {
        let _ = (first.lock(soon()), middle.lock(), second.lock(soon()), end.lock());
        die()
    });
    child.wait();
    assert_eq!(first.lock(soon()), Ok(Acquired::OwnerDied));
    assert_eq!(middle.lock(), libc::EOWNERDEAD);
    assert_eq!(second.lock(soon()), Ok(Acquired::OwnerDied));
    assert_eq!(end.lock(), libc::EOWNERDEAD);
    let _ = (first.unlock(), middle.unlock(), second.unlock(), end.unlock());
    assert_eq!(list(), before);
}

#[test]
fn memory_stays_mapped_while_a_lock_in_it_is_held() {
    let before = list();
    let segment = Segment::create(1, 64).unwrap();
    let lock = LinkedLock::new(&segment, 0).unwrap();
    let message = mp_wire::encode(&segment).unwrap();
    let _ = lock.lock(soon());
    drop((lock, segment));
    // The node is still there to be walked over, and to be a neighbour.
    assert_eq!(list().len(), before.len() + 1);
    let other = Segment::create(1, 64).unwrap();
    let neighbour = LinkedLock::new(&other, 0).unwrap();
    let _ = neighbour.lock(soon());
    neighbour.unlock().unwrap();
    // Another process sees that it is held.
    let again: Segment = message.decode().unwrap();
    let again = LinkedLock::new(&again, 0).unwrap();
    assert!(again.held_by_me());
}

#[test]
fn the_notice_of_a_raw_lock_is_withdrawn() {
    let segment = segment();
    let lock: View<RawLock> = segment.bind(0).unwrap();
    list();
    let _ = lock.lock(soon());
    assert_eq!(lock.try_lock(), Err(LockError::Deadlock));
    assert_ne!(Thread::current().unwrap().head().unwrap().pending.load(Ordering::Relaxed), 0);
    lock.unlock().unwrap();
    list();
    thread::scope(|scope| {
        let _ = lock.lock(soon());
        scope.spawn(|| {
            assert_eq!(lock.try_lock(), Err(LockError::TimedOut));
            list();
        });
    });
    lock.unlock().unwrap();
}

#[test]
fn the_kernel_comes_to_as_many_locks_as_a_thread_may_hold() {
    let count = crate::robust::thread::MOST_LINKED as usize;
    let segment = Segment::create(1, (count + 1) * LinkedLock::SIZE).unwrap();
    let locks: Vec<_> = (0..=count)
        .map(|index| LinkedLock::new(&segment, index * LinkedLock::SIZE).unwrap())
        .collect();
    let (last, others) = locks.split_last().unwrap();
    let status = fork(|| {
        let taken = others.iter().all(|lock| lock.lock(Deadline::NOW) == Ok(Acquired::Clean));
        assert!(taken);
        assert_eq!(last.lock(Deadline::NOW), Err(LockError::TooMany));
        assert_eq!(others[0].lock(Deadline::NOW), Err(LockError::Deadlock));
        others[0].unlock().unwrap();
        assert_eq!(last.lock(Deadline::NOW), Ok(Acquired::Clean));
        die()
    })
    .wait();
    assert!(!status.success() && status.code().is_none(), "{status}");
    assert_eq!(others[0].lock(Deadline::NOW), Ok(Acquired::Clean));
    others[0].unlock().unwrap();
    for lock in &locks[1..] {
        assert_eq!(lock.lock(Deadline::NOW), Ok(Acquired::OwnerDied));
        lock.unlock().unwrap();
    }
}
