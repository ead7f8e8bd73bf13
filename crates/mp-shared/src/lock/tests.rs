//! What users of a lock rely on; the ids are those of the list of behaviours.

use std::mem::ManuallyDrop;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use super::*;
use crate::testing::{PATIENCE, Trap, die, fork};
use crate::{ErrorKind, Event};

fn poison<G>(result: LockResult<G>) -> PoisonError<G> {
    match result {
        Err(LockError::Poisoned(poison)) => poison,
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("not poisoned"),
    }
}

#[test]
fn smoke() {
    // LK-01. A second release does not compile: there is one guard.
    let lock = Lock::new().unwrap();
    let guard = lock.lock().unwrap();
    assert!(matches!(lock.try_lock(), Err(LockError::WouldBlock)));
    drop(guard);
    let guard = lock.try_lock().unwrap();
    assert!(lock.is_locked());
    drop(guard);
    assert!(!lock.is_locked() && !lock.is_poisoned());
}

#[test]
fn ctrl_c_ends_who_waits_and_leaves_the_lock_alone() {
    // LK-15: without a handler the process ends; one with a handler goes on waiting, as a call of std does.
    let lock = Lock::new().unwrap();
    let guard = lock.lock().unwrap();
    let trap = Event::new().unwrap();
    let child = fork(|| {
        trap.set();
        lock.lock().is_ok()
    });
    trap.wait();
    assert_eq!(child.end_by(libc::SIGINT), Some(libc::SIGINT));
    drop(guard);
    drop(lock.lock().unwrap());
}

#[test]
fn another_process_sees_and_takes_it() {
    // LK-02, and a lock that came in a message.
    let lock = Lock::new().unwrap();
    let message = mp_wire::encode(&lock).unwrap();
    let guard = lock.lock().unwrap();
    let taken = Event::new().unwrap();
    let waiting = Event::new().unwrap();
    let child = fork(|| {
        let same: Lock = message.decode().unwrap();
        let seen = same.is_locked() && matches!(same.try_lock(), Err(LockError::WouldBlock));
        waiting.set();
        let _guard = same.lock_timeout(PATIENCE).unwrap();
        taken.set();
        seen
    });
    waiting.wait();
    assert!(!taken.is_set());
    drop(guard);
    child.succeed();
    assert!(taken.is_set());
    drop(lock.lock().unwrap());
}

#[test]
fn timeout() {
    // LK-03, LK-13: never early, and at once with a timeout of zero.
    let lock = Lock::new().unwrap();
    let guard = lock.lock().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            assert!(matches!(lock.lock_timeout(Duration::ZERO), Err(LockError::TimedOut)));
            for millis in [1, 15] {
                let start = Instant::now();
                let timeout = Duration::from_millis(millis);
                assert!(matches!(lock.lock_timeout(timeout), Err(LockError::TimedOut)));
                assert!(start.elapsed() >= timeout);
            }
        });
    });
    drop(guard);
    drop(lock.lock_timeout(Duration::ZERO).unwrap());
    drop(lock.lock_timeout(Duration::MAX).unwrap());
}

#[test]
fn timeouts_around_a_second_are_not_early() {
    // The parts of a second and the seconds of a deadline are apart, and one is carried into the other.
    let (lock, event) = (Lock::new().unwrap(), Event::new().unwrap());
    let guard = lock.lock().unwrap();
    thread::scope(|scope| {
        for millis in [100, 900, 1500] {
            let timeout = Duration::from_millis(millis);
            let late = move |wait: &dyn Fn() -> bool| {
                let start = Instant::now();
                assert!(!wait());
                assert!(start.elapsed() >= timeout, "{:?} of {timeout:?}", start.elapsed());
            };
            let (lock, event) = (&lock, &event);
            scope.spawn(move || late(&|| lock.lock_timeout(timeout).is_ok()));
            scope.spawn(move || late(&|| event.wait_timeout(timeout)));
        }
    });
    drop(guard);
}

#[test]
fn taking_it_twice_is_an_error() {
    let lock = Lock::new().unwrap();
    let clone = lock.clone();
    let guard = lock.lock().unwrap();
    assert!(matches!(clone.lock(), Err(LockError::Deadlock)));
    assert!(matches!(lock.lock_timeout(PATIENCE), Err(LockError::Deadlock)));
    assert_eq!(Error::from(lock.lock().unwrap_err()).kind(), ErrorKind::Deadlock);
    drop(guard);
    drop(lock.lock().unwrap());
}

#[test]
fn kill_holder() {
    // LK-09: the next one gets the lock and the news; so does everyone until it is cleared.
    let lock = Lock::new().unwrap();
    let trap = Trap::new();
    let child = fork(|| {
        let _guard = lock.lock().unwrap();
        trap.step_in()
    });
    trap.wait();
    assert!(lock.is_locked() && !lock.is_poisoned());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| poison(lock.lock_timeout(PATIENCE)).into_inner().0.exposed);
        child.kill();
        assert!(waiter.join().unwrap());
    });
    assert!(lock.is_poisoned() && !lock.is_locked());
    drop(poison(lock.try_lock()));
    assert_eq!(Error::from(lock.lock().unwrap_err()).kind(), ErrorKind::Poisoned);
    lock.clear_poison();
    drop(lock.lock().unwrap());
    assert!(!lock.is_poisoned());
}

#[test]
fn kill_waiter() {
    let lock = Lock::new().unwrap();
    let near = Event::new().unwrap();
    let guard = lock.lock().unwrap();
    let wait = || {
        near.set();
        drop(lock.lock_timeout(PATIENCE));
        false
    };
    let children = [fork(wait), fork(wait), fork(wait)];
    near.wait();
    for child in children {
        child.kill();
    }
    drop(guard);
    drop(lock.lock_timeout(PATIENCE).unwrap());
}

#[test]
fn a_chain_of_killed_holders_strands_nobody() {
    let lock = Lock::new().unwrap();
    let children: Vec<_> = (0..20)
        .map(|_| {
            fork(|| {
                let _guard = lock.lock_timeout(PATIENCE).or_else(LockError::ignore_poison).unwrap();
                die()
            })
        })
        .collect();
    for child in children {
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&child.wait()),
            Some(libc::SIGKILL)
        );
    }
    drop(poison(lock.lock_timeout(PATIENCE)));
}

#[test]
fn a_holder_that_exits_poisons_it() {
    let lock = Lock::new().unwrap();
    let child = fork(|| {
        let _guard = ManuallyDrop::new(lock.lock().unwrap());
        true
    });
    child.succeed();
    drop(poison(lock.lock()));
}

#[test]
fn a_panic_poisons_it() {
    let lock = Lock::new().unwrap();
    let result = thread::scope(|scope| {
        let panicking = || {
            let _guard = lock.lock().unwrap();
            panic!("on purpose");
        };
        scope.spawn(panicking).join()
    });
    assert!(result.is_err());
    assert!(!lock.is_locked());
    drop(poison(lock.lock()));

    // Taken and released in a destructor while a panic is under way: that one did nothing to it.
    lock.clear_poison();
    struct Cleanup<'a>(&'a Lock);
    impl Drop for Cleanup<'_> {
        fn drop(&mut self) {
            drop(self.0.lock().unwrap());
        }
    }
    let result = thread::scope(|scope| {
        let panicking = || {
            let _cleanup = Cleanup(&lock);
            panic!("on purpose");
        };
        scope.spawn(panicking).join()
    });
    assert!(result.is_err());
    assert!(!lock.is_poisoned());
}

#[test]
fn a_forked_guard_releases_nothing() {
    let lock = Lock::new().unwrap();
    let other = Lock::new().unwrap();
    let mut guard = Some(lock.lock().unwrap());
    let child = fork(|| {
        drop(guard.take());
        let held = lock.is_locked() && matches!(lock.try_lock(), Err(LockError::WouldBlock));
        let waits = matches!(lock.lock_timeout(Duration::from_millis(1)), Err(LockError::TimedOut));
        held && waits && other.lock().is_ok()
    });
    child.succeed();
    assert!(lock.is_locked() && !lock.is_poisoned());
    assert!(matches!(lock.lock(), Err(LockError::Deadlock)), "it is still this thread's");
    drop(other.lock().unwrap());
    drop(guard);
    drop(lock.lock().unwrap());
}

#[test]
fn a_forked_guard_that_is_dropped_hides_no_death() {
    let lock = Lock::new().unwrap();
    let child = fork(|| {
        let mut guard = Some(lock.lock().unwrap());
        fork(|| {
            drop(guard.take());
            true
        })
        .succeed();
        die()
    });
    assert!(!child.wait().success());
    drop(poison(lock.lock_timeout(PATIENCE)));
}

#[test]
fn locks_nest_and_are_released_in_any_order() {
    let locks: Vec<_> = (0..4).map(|_| Lock::new().unwrap()).collect();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
        let mut guards: Vec<_> = locks.iter().map(|lock| Some(lock.lock().unwrap())).collect();
        for index in order {
            guards[index] = None;
            assert!(!locks[index].is_locked());
        }
    }
    // All that a killed process held are handed over.
    let child = fork(|| {
        let _guards: Vec<_> = locks.iter().map(|lock| lock.lock().unwrap()).collect();
        die()
    });
    assert!(!child.wait().success());
    for lock in &locks {
        drop(poison(lock.lock_timeout(PATIENCE)));
    }
}

#[test]
fn a_forgotten_guard_harms_nobody() {
    let lock = Lock::new().unwrap();
    let other = Lock::new().unwrap();
    let message = mp_wire::encode(&lock).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let lock = lock;
            let _guard = ManuallyDrop::new(lock.lock().unwrap());
            drop(other.lock().unwrap());
            assert!(lock.is_locked());
        });
    });
    // The last handle is gone, and the thread too.
    drop(other.lock().unwrap());
    let same: Lock = message.decode().unwrap();
    drop(poison(same.lock_timeout(PATIENCE)));
}

#[test]
fn fairness_aside_everybody_gets_it() {
    const ROUNDS: usize = 500;
    let lock = Lock::new().unwrap();
    let count = crate::RawValue::new(0u64).unwrap();
    let work = || {
        for _ in 0..ROUNDS {
            let _guard = lock.lock().unwrap();
            count.store(count.load() + 1);
        }
        true
    };
    let children = [fork(work), fork(work)];
    let start = Barrier::new(2);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                start.wait();
                work()
            });
        }
    });
    for child in children {
        child.succeed();
    }
    assert_eq!(count.load(), 4 * ROUNDS as u64);
}

#[test]
fn serializes_inside_messages_only() {
    // LK-14.
    let lock = Lock::new().unwrap();
    assert!(postcard::to_allocvec(&lock).is_err());
    let message = mp_wire::encode(&(lock.clone(), lock.clone())).unwrap();
    assert_eq!(message.fds.len(), 1);
    let (first, second): (Lock, Lock) = message.decode().unwrap();
    let _guard = first.lock().unwrap();
    assert!(lock.is_locked() && second.is_locked());
    assert!(
        mp_wire::decode::<Event>(&mp_wire::encode(&lock).unwrap().bytes, &message.fds).is_err()
    );
}

#[test]
fn debug_says_who_holds_it() {
    // LK-07, in other words.
    let lock = Lock::new().unwrap();
    assert_eq!(format!("{lock:?}"), "Lock { owner: None, poisoned: false }");
    let guard = lock.lock().unwrap();
    let owner = format!("owner: Some(Owner {{ pid: Some({}), tid: ", std::process::id());
    assert!(format!("{lock:?}").starts_with(&format!("Lock {{ {owner}")), "{lock:?}");
    assert!(format!("{guard:?}").starts_with(&format!("LockGuard {{ {owner}")), "{guard:?}");
    assert_eq!(format!("{:?}", lock.lock()), "Err(Deadlock)");
    assert_eq!(format!("{:?}", lock.try_lock().unwrap_err().to_string()), "\"the lock is held\"");
}

#[test]
fn markers() {
    fn shared<T: Send + Sync + Clone + Serialize + de::DeserializeOwned + fmt::Debug>() {}
    shared::<Lock>();
    fn guard<T: Sync + fmt::Debug>() {}
    guard::<LockGuard<'_>>();
}

#[test]
fn the_place_of_a_leaked_guard_is_not_used_again() {
    let lock = Lock::new().unwrap();
    let _ = ManuallyDrop::new(lock.lock().unwrap());
    drop(lock);
    // Were one of these at its place, its lock would be held, or the list of this thread would be broken.
    let others: Vec<Lock> = (0..100).map(|_| Lock::new().unwrap()).collect();
    let guards: Vec<_> = others.iter().map(|other| other.lock().unwrap()).collect();
    drop(guards);
    assert!(others.iter().all(|other| !other.is_locked()));
}
