//! What users of a condition rely on; the ids are those of the list of behaviours.

use std::thread;
use std::time::Instant;

use super::*;
use crate::testing::{PATIENCE, fork};
use crate::{Array, Lock, RLock, RawValue, Value};

fn waiting(condition: &Condition) -> u32 {
    Waiting::unpack(condition.word(WAITING).load(SeqCst)).count
}

/// Waits until so many wait, which they do once they have released the lock.
fn await_waiting(condition: &Condition, lock: &Lock, count: u32) {
    while waiting(condition) != count {
        thread::yield_now();
    }
    // Who has begun holds the lock until it waits.
    drop(lock.lock().unwrap());
}

#[test]
fn notify_one_wakes_one_process_or_thread() {
    // CE-01, CE-04.
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    let gone = RawValue::new(0u32).unwrap();
    let wait = || {
        let guard = condition.wait(lock.lock().unwrap()).unwrap();
        gone.store(gone.load() + 1);
        drop(guard);
        true
    };
    let children = [fork(wait), fork(wait)];
    thread::scope(|scope| {
        let threads = [scope.spawn(wait), scope.spawn(wait)];
        for woken in 0..4 {
            await_waiting(&condition, &lock, 4 - woken);
            assert_eq!(gone.load(), woken);
            condition.notify_one();
            while gone.load() == woken {
                thread::yield_now();
            }
        }
        threads.into_iter().for_each(|thread| assert!(thread.join().unwrap()));
    });
    children.into_iter().for_each(|child| child.succeed());
    assert_eq!((waiting(&condition), condition.has_grant()), (0, false));
}

#[test]
fn all_time_out_and_all_are_woken() {
    // CE-02.
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let guard = lock.lock().unwrap();
                let start = Instant::now();
                let time = Duration::from_millis(20);
                match condition.wait_timeout(guard, time) {
                    Ok((_guard, result)) => assert!(result.timed_out()),
                    Err(error) => assert!(matches!(error, LockError::TimedOut)),
                }
                assert!(start.elapsed() >= time);
            });
        }
    });
    assert_eq!(waiting(&condition), 0);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| drop(condition.wait(lock.lock().unwrap()).unwrap()));
        }
        await_waiting(&condition, &lock, 6);
        condition.notify_all();
    });
    assert_eq!((waiting(&condition), condition.has_grant()), (0, false));
}

#[test]
fn notify_wakes_so_many() {
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    let gone = RawValue::new(0u32).unwrap();
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                let _guard = condition.wait(lock.lock().unwrap()).unwrap();
                gone.store(gone.load() + 1);
            });
        }
        await_waiting(&condition, &lock, 5);
        let guard = lock.lock().unwrap();
        condition.notify(0);
        condition.notify(2);
        condition.notify(1);
        drop(guard);
        while gone.load() < 3 {
            thread::yield_now();
        }
        await_waiting(&condition, &lock, 2);
        assert_eq!((gone.load(), condition.has_grant()), (3, false));
        condition.notify(usize::MAX);
    });
    condition.notify(7);
    assert!(!condition.has_grant(), "nothing is left of a notification that nobody waited for");
}

#[test]
fn timeout() {
    // CE-05.
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    let (guard, result) = condition.wait_timeout(lock.lock().unwrap(), Duration::ZERO).unwrap();
    assert!(result.timed_out() && lock.is_locked());
    drop(guard);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let (_guard, result) = condition.wait_timeout(lock.lock().unwrap(), PATIENCE).unwrap();
            result.timed_out()
        });
        await_waiting(&condition, &lock, 1);
        condition.notify_one();
        assert!(!waiter.join().unwrap());
    });
}

#[test]
fn the_whole_wait_is_bounded() {
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let late = condition.wait_timeout(lock.lock().unwrap(), Duration::from_millis(20));
            matches!(late, Err(LockError::TimedOut))
        });
        // Its time may be up before this thread gets to look.
        while waiting(&condition) == 0 && !waiter.is_finished() {
            thread::yield_now();
        }
        let guard = lock.lock().unwrap();
        let late = waiter.join().unwrap();
        drop(guard);
        // It may have come back before we had the lock.
        assert!(late || !lock.is_locked());
    });
    assert_eq!(waiting(&condition), 0);
}

#[test]
fn wait_for_asks_the_predicate() {
    // CE-06, across processes, and with the guard of the value itself.
    let (value, condition) = (Value::new(0u32).unwrap(), Condition::new().unwrap());
    let child = fork(|| {
        let mut guard = condition.wait_for(value.lock().unwrap(), |value| **value == 4).unwrap();
        *guard += 1;
        condition.notify_all();
        true
    });
    for number in 1..=4 {
        *value.lock().unwrap() = number;
        condition.notify_one();
    }
    let guard = condition.wait_for(value.lock().unwrap(), |value| **value == 5).unwrap();
    drop(guard);
    child.succeed();
    let start = Instant::now();
    let time = Duration::from_millis(10);
    let (guard, holds) =
        condition.wait_for_timeout(value.lock().unwrap(), |value| **value == 9, time).unwrap();
    assert!(!holds && *guard == 5 && start.elapsed() >= time);
    drop(guard);
    let (_, holds) = condition
        .wait_for_timeout(value.lock().unwrap(), |value| **value == 5, Duration::ZERO)
        .unwrap();
    assert!(holds);
}

#[test]
fn a_lock_taken_often_is_released_wholly() {
    let (lock, condition) = (RLock::new().unwrap(), Condition::new().unwrap());
    let child = fork(|| {
        let outer = lock.lock().unwrap();
        let inner = condition.wait(lock.lock().unwrap()).unwrap();
        let count = lock.count();
        drop(outer);
        let held = lock.is_locked();
        drop(inner);
        count == 2 && held && !lock.is_locked()
    });
    while waiting(&condition) == 0 {
        thread::yield_now();
    }
    let guards = (lock.lock().unwrap(), lock.lock().unwrap(), lock.lock().unwrap());
    condition.notify_one();
    drop(guards);
    child.succeed();
}

#[test]
fn guards_of_arrays_wait_too() {
    let (array, condition) = (Array::<u8>::new(3).unwrap(), Condition::new().unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            let guard = condition.wait_for(array.lock().unwrap(), |array| array[2] == 7).unwrap();
            assert_eq!(guard[..], [0, 0, 7]);
        });
        array.set(2, 7).unwrap();
        // Under the lock, so that the waiter has not just looked.
        let guard = array.lock().unwrap();
        condition.notify_all();
        drop(guard);
    });
}

#[test]
fn poison_comes_back_with_the_lock() {
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| match condition.wait(lock.lock().unwrap()) {
            Err(LockError::Poisoned(_guard)) => lock.is_locked(),
            _ => false,
        });
        await_waiting(&condition, &lock, 1);
        let killed = fork(|| {
            let _guard = lock.lock();
            condition.notify_one();
            crate::testing::die()
        });
        let _ = killed.wait();
        assert!(waiter.join().unwrap());
    });
    assert!(!lock.is_locked() && lock.is_poisoned());
}

#[test]
fn killed_waiters_take_nothing_with_them() {
    // CE-22.
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    for round in 1..=20 {
        let victims = [(); 2].map(|()| fork(|| condition.wait(lock.lock().unwrap()).is_ok()));
        let survivor = fork(|| condition.wait(lock.lock().unwrap()).is_ok());
        await_waiting(&condition, &lock, round * 2 + 1);
        victims.into_iter().for_each(|victim| victim.kill());
        condition.notify_one();
        survivor.succeed();
        assert_eq!(waiting(&condition), round * 2, "the dead are still counted");
    }
    condition.notify_all();
    // What was issued for the dead wakes nobody who comes later.
    let late = condition.wait_timeout(lock.lock().unwrap(), Duration::from_millis(1)).unwrap();
    assert!(late.1.timed_out());
    drop(late);
    let child = fork(|| condition.wait(lock.lock().unwrap()).is_ok());
    await_waiting(&condition, &lock, 41);
    condition.notify_one();
    child.succeed();
}

#[test]
fn a_copy_of_a_guard_cannot_wait() {
    // CE-07: without the lock a wait does not compile, since it takes the guard; a guard of somebody else is an error. To notify
    // needs no lock.
    let (lock, condition) = (Lock::new().unwrap(), Condition::new().unwrap());
    let guard = lock.lock().unwrap();
    let same = &condition;
    fork(move || matches!(same.wait(guard), Err(LockError::NotHeld))).succeed();
    assert_eq!(waiting(&condition), 0);
}

#[test]
fn stress() {
    // A queue of numbers, by hand: what one puts, exactly one takes.
    const EACH: u32 = 3000;
    let (state, condition) = (Value::new([0u32; 2]).unwrap(), Condition::new().unwrap());
    let takers = [(); 3].map(|()| {
        fork(|| {
            for _ in 0..EACH {
                let ready = |state: &mut crate::ValueGuard<'_, [u32; 2]>| state[0] > 0;
                let mut guard = condition.wait_for(state.lock().unwrap(), ready).unwrap();
                guard[0] -= 1;
                guard[1] += 1;
            }
            true
        })
    });
    for number in 0..3 * EACH {
        state.lock().unwrap()[0] += 1;
        if number % 3 == 0 { condition.notify_one() } else { condition.notify(2) }
    }
    // The last ones may have been notified before they waited.
    condition.notify_all();
    takers.into_iter().for_each(|taker| taker.succeed());
    assert_eq!(state.get().unwrap(), [0, 3 * EACH]);
    assert_eq!(waiting(&condition), 0);
}

#[test]
fn travels() {
    let condition = Condition::new().unwrap();
    let same: Condition = mp_wire::encode(&condition).unwrap().decode().unwrap();
    let lock = Lock::new().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| drop(same.wait(lock.lock().unwrap()).unwrap()));
        await_waiting(&condition, &lock, 1);
        assert_eq!(format!("{condition:?}"), "Condition { waiting: 1, notified: 0 }");
        condition.notify_one();
    });
    assert!(mp_wire::encode(&condition).unwrap().decode::<crate::Event>().is_err());
}
