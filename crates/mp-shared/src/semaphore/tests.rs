//! What users of semaphores rely on; the ids are those of the list of behaviours.

use std::mem::ManuallyDrop;
use std::thread;
use std::time::Instant;

use serde::de::DeserializeOwned;

use super::*;
use crate::testing::{PATIENCE, Trap, die, fork, on_signal, raise};
use crate::{ErrorKind, Event, RawValue};

/// Waits until somebody sleeps, or is just about to, for a permit.
fn until_asleep(permits: &Permits) {
    while !permits.has_leader_asleep() {
        thread::yield_now();
    }
}

#[test]
fn smoke() {
    // LK-10: the values, and that it may grow.
    let permits = Semaphore::new(2).unwrap();
    assert_eq!(permits.value(), 2);
    let first = permits.acquire().unwrap();
    assert_eq!(permits.value(), 1);
    let second = permits.try_acquire().unwrap();
    assert_eq!(permits.value(), 0);
    assert!(permits.is_locked());
    assert_eq!(permits.try_acquire().unwrap_err(), AcquireError::WouldBlock);
    drop(first);
    assert_eq!(permits.value(), 1);
    assert!(!permits.is_locked());
    drop(second);
    assert_eq!(permits.value(), 2);
    permits.release().unwrap();
    permits.release().unwrap();
    assert_eq!(permits.value(), 4);
    let guards: Vec<_> = (0..4).map(|_| permits.try_acquire().unwrap()).collect();
    assert_eq!(permits.try_acquire().unwrap_err(), AcquireError::WouldBlock);
    drop(guards);
    assert_eq!(permits.value(), 4);
}

#[test]
fn bounded() {
    // LK-11.
    let permits = BoundedSemaphore::new(2).unwrap();
    permits.acquire().unwrap().forget();
    permits.acquire().unwrap().forget();
    assert_eq!((permits.value(), permits.is_locked()), (0, true));
    assert_eq!(permits.try_acquire().unwrap_err(), AcquireError::WouldBlock);
    permits.release().unwrap();
    permits.release().unwrap();
    assert_eq!(permits.release(), Err(ReleaseError::TooMany));
    assert_eq!(permits.value(), 2);
    // A permit that will go back by itself cannot be added beside it.
    let guard = permits.acquire_timeout(Duration::ZERO).unwrap();
    assert_eq!(permits.release(), Err(ReleaseError::TooMany));
    drop(guard);
    assert_eq!(permits.value(), 2);
    assert_eq!(Error::from(ReleaseError::TooMany).kind(), ErrorKind::OutOfBounds);
    let none = BoundedSemaphore::new(0).unwrap();
    assert_eq!(none.release(), Err(ReleaseError::TooMany));
}

#[test]
fn bounded_with_sleepers_is_exact() {
    let permits = BoundedSemaphore::new(1).unwrap();
    permits.acquire().unwrap().forget();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| drop(permits.acquire_timeout(PATIENCE).unwrap()));
        }
        until_asleep(&permits.0);
        let releases: Vec<_> = (0..3).map(|_| scope.spawn(|| permits.release())).collect();
        let added = releases.into_iter().map(|thread| thread.join().unwrap());
        assert_eq!(added.filter(Result::is_ok).count(), 1);
    });
    assert_eq!(permits.value(), 1);
}

#[test]
fn timeout() {
    // LK-13: never early, and at once with a timeout of zero.
    let permits = Semaphore::new(0).unwrap();
    let at_once = permits.acquire_timeout(Duration::ZERO);
    assert_eq!(at_once.unwrap_err(), AcquireError::TimedOut);
    for millis in [1, 15] {
        let start = Instant::now();
        let timeout = Duration::from_millis(millis);
        assert_eq!(permits.acquire_timeout(timeout).unwrap_err(), AcquireError::TimedOut);
        assert!(start.elapsed() >= timeout);
    }
    // The same behind another one who waits.
    thread::scope(|scope| {
        scope.spawn(|| drop(permits.acquire_timeout(PATIENCE).unwrap()));
        until_asleep(&permits.0);
        let start = Instant::now();
        let timeout = Duration::from_millis(15);
        assert_eq!(permits.acquire_timeout(timeout).unwrap_err(), AcquireError::TimedOut);
        assert!(start.elapsed() >= timeout);
        permits.release().unwrap();
    });
    drop(permits.acquire_timeout(Duration::ZERO).unwrap());
    drop(permits.acquire_timeout(Duration::MAX).unwrap());
    assert_eq!(Error::from(AcquireError::TimedOut).kind(), ErrorKind::TimedOut);
    assert_eq!(Error::from(AcquireError::WouldBlock).kind(), ErrorKind::WouldBlock);
}

#[test]
fn order_of_the_wake_ups_does_not_matter() {
    // Everybody who waits gets one, by permits that are added and by permits that go back.
    let permits = Semaphore::new(2).unwrap();
    let guards = [permits.acquire().unwrap(), permits.acquire().unwrap()];
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| permits.acquire_timeout(PATIENCE).unwrap().forget()))
            .collect();
        until_asleep(&permits.0);
        permits.release().unwrap();
        drop(guards);
        permits.release().unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    assert_eq!(permits.value(), 0);
    assert_eq!(permits.try_acquire().unwrap_err(), AcquireError::WouldBlock);
}

#[test]
fn another_process_takes_and_adds() {
    // LK-08: released by another process than took it. The semaphore came in a message.
    let permits = Semaphore::new(1).unwrap();
    let message = mp_wire::encode(&permits).unwrap();
    permits.acquire().unwrap().forget();
    let child = fork(|| {
        let same: Semaphore = message.decode().unwrap();
        let taken = same.is_locked() && same.try_acquire().is_err();
        same.release().unwrap();
        taken
    });
    drop(permits.acquire_timeout(PATIENCE).unwrap());
    child.succeed();
    let child = fork(|| {
        permits.acquire().unwrap().forget();
        true
    });
    child.succeed();
    assert_eq!(permits.value(), 0);
    permits.release().unwrap();
    assert_eq!(permits.value(), 1);
}

#[test]
fn kill_holder() {
    // Its permits go to those who sleep, though nobody does anything any more.
    let permits = Semaphore::new(2).unwrap();
    let trap = Trap::new();
    let holder = fork(|| {
        let _guards = [permits.acquire().unwrap(), permits.acquire().unwrap()];
        trap.step_in()
    });
    trap.wait();
    assert_eq!(permits.value(), 0);
    let both = std::sync::Barrier::new(2);
    thread::scope(|scope| {
        let wait = || {
            let _guard = permits.acquire_timeout(PATIENCE).unwrap();
            both.wait();
        };
        let threads = [scope.spawn(wait), scope.spawn(wait)];
        until_asleep(&permits.0);
        holder.kill();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    assert_eq!(permits.value(), 2);
}

#[test]
fn kill_waiter() {
    // The leader and those behind it: those who are left get their permits.
    let permits = Semaphore::new(0).unwrap();
    let wait = || {
        drop(permits.acquire());
        false
    };
    let children = [fork(wait), fork(wait), fork(wait)];
    until_asleep(&permits.0);
    let last = fork(|| {
        permits.acquire_timeout(PATIENCE).unwrap().forget();
        true
    });
    for child in children {
        child.kill();
    }
    until_asleep(&permits.0);
    permits.release().unwrap();
    last.succeed();
    assert_eq!(permits.value(), 0);
    permits.release().unwrap();
    drop(permits.try_acquire().unwrap());
}

#[test]
fn a_dead_leader_leaves_nothing_behind() {
    let permits = Semaphore::new(0).unwrap();
    let leader = fork(|| permits.acquire().is_err());
    until_asleep(&permits.0);
    leader.kill();
    permits.release().unwrap();
    assert!(!permits.0.is_marked_asleep());
    assert_eq!(permits.value(), 1);
}

#[test]
fn a_chain_of_killed_holders_strands_nobody() {
    let permits = Semaphore::new(2).unwrap();
    let children: Vec<_> = (0..20)
        .map(|_| {
            fork(|| {
                let _guard = permits.acquire_timeout(PATIENCE).unwrap();
                die()
            })
        })
        .collect();
    for child in children {
        let signal = std::os::unix::process::ExitStatusExt::signal(&child.wait());
        assert_eq!(signal, Some(libc::SIGKILL));
    }
    assert_eq!(permits.value(), 2);
}

#[test]
fn a_thread_that_ends_gives_its_permits_back() {
    let permits = Semaphore::new(1).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let _guard = ManuallyDrop::new(permits.acquire().unwrap());
            assert!(permits.is_locked());
        });
        drop(permits.acquire_timeout(PATIENCE).unwrap());
    });
    let panicking = thread::scope(|scope| {
        let panicking = || {
            let _guard = permits.acquire_timeout(PATIENCE).unwrap();
            panic!("on purpose");
        };
        scope.spawn(panicking).join()
    });
    assert!(panicking.is_err());
    drop(permits.acquire_timeout(PATIENCE).unwrap());
    assert_eq!(permits.value(), 1);
}

#[test]
fn a_leaked_guard_harms_nobody() {
    let permits = Semaphore::new(1).unwrap();
    let other = crate::Lock::new().unwrap();
    let message = mp_wire::encode(&permits).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let permits = permits;
            let _guard = ManuallyDrop::new(permits.acquire().unwrap());
            drop(other.lock().unwrap());
            assert!(permits.is_locked());
        });
    });
    // The last handle is gone, and the thread too.
    drop(other.lock().unwrap());
    let same: Semaphore = message.decode().unwrap();
    drop(same.acquire_timeout(PATIENCE).unwrap());
    assert_eq!(same.value(), 1);
}

#[test]
fn a_process_that_exits_gives_its_permits_back() {
    let permits = Semaphore::new(1).unwrap();
    let child = fork(|| {
        let _guard = ManuallyDrop::new(permits.acquire().unwrap());
        true
    });
    child.succeed();
    drop(permits.try_acquire().unwrap());
}

#[test]
fn a_forgotten_permit_does_not_come_back() {
    let permits = Semaphore::new(2).unwrap();
    let child = fork(|| {
        permits.acquire().unwrap().forget();
        die()
    });
    assert!(!child.wait().success());
    assert_eq!(permits.value(), 1);
}

#[test]
fn a_forked_guard_gives_nothing_back() {
    let permits = Semaphore::new(2).unwrap();
    let mut guard = Some(permits.acquire().unwrap());
    let mut other = Some(permits.acquire().unwrap());
    let child = fork(|| {
        drop(guard.take());
        if let Some(copy) = other.take() {
            copy.forget();
        }
        permits.is_locked() && permits.try_acquire().is_err()
    });
    child.succeed();
    assert_eq!(permits.value(), 0);
    drop((guard, other));
    assert_eq!(permits.value(), 2);
}

#[test]
fn a_forked_guard_gives_nothing_back_that_the_child_took_since() {
    let permits = Semaphore::new(1).unwrap();
    let released = Event::new().unwrap();
    let mut guard = Some(permits.acquire().unwrap());
    let child = fork(|| {
        let same_slot = permits.acquire_timeout(PATIENCE).unwrap();
        drop(guard.take());
        let held = permits.is_locked();
        drop(same_slot);
        released.set();
        held
    });
    until_asleep(&permits.0);
    drop(guard);
    assert!(released.wait_timeout(PATIENCE));
    child.succeed();
    assert_eq!(permits.value(), 1);
}

#[test]
fn a_thread_with_all_permits_waits_for_another_one() {
    let permits = Semaphore::new(1).unwrap();
    let guard = permits.acquire().unwrap();
    let late = permits.acquire_timeout(Duration::from_millis(1));
    assert_eq!(late.unwrap_err(), AcquireError::TimedOut);
    thread::scope(|scope| {
        scope.spawn(|| {
            until_asleep(&permits.0);
            permits.release().unwrap();
        });
        drop(permits.acquire_timeout(PATIENCE).unwrap());
    });
    drop(guard);
    assert_eq!(permits.value(), 2);
}

#[test]
fn guards_are_dropped_in_any_order() {
    let permits = Semaphore::new(3).unwrap();
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
        let mut guards: Vec<_> = (0..3).map(|_| permits.acquire().ok()).collect();
        assert!(permits.is_locked());
        for (index, left) in order.into_iter().zip(1..) {
            guards[index] = None;
            assert_eq!(permits.value(), left);
        }
    }
}

#[test]
fn capacity() {
    assert_eq!(Semaphore::new(u32::MAX).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(BoundedSemaphore::new((1 << 30) + 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    let many = Semaphore::new(1 << 30).unwrap();
    assert_eq!(many.value(), 1 << 30);
    assert_eq!(many.release(), Err(ReleaseError::TooMany));
    let most = BoundedSemaphore::new(1 << 30).unwrap();
    assert_eq!(most.release(), Err(ReleaseError::TooMany));
    let guard = many.acquire().unwrap();
    assert_eq!(many.value(), (1 << 30) - 1);
    guard.forget();
    many.release().unwrap();
    assert_eq!(many.value(), 1 << 30);
}

#[test]
fn more_than_can_be_held_wait() {
    let permits = Semaphore::new(1).unwrap();
    for _ in 0..19 {
        permits.release().unwrap();
    }
    let mut guards: Vec<_> = (0..16).map(|_| permits.try_acquire().unwrap()).collect();
    assert_eq!(permits.value(), 4);
    assert_eq!(permits.try_acquire().unwrap_err(), AcquireError::WouldBlock);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| permits.acquire_timeout(PATIENCE).map(drop));
        until_asleep(&permits.0);
        guards.pop();
        assert!(waiter.join().unwrap().is_ok());
    });
    assert_eq!(permits.value(), 5);
}

#[test]
fn more_than_the_kernel_watches_at_a_time() {
    let permits = Semaphore::new(200).unwrap();
    let mut guards: Vec<_> = (0..200).map(|_| permits.try_acquire().unwrap()).collect();
    thread::scope(|scope| {
        let first = scope.spawn(|| permits.acquire_timeout(PATIENCE).unwrap().forget());
        until_asleep(&permits.0);
        permits.release().unwrap();
        first.join().unwrap();
        let second = scope.spawn(|| permits.acquire_timeout(PATIENCE).unwrap().forget());
        until_asleep(&permits.0);
        guards.pop();
        second.join().unwrap();
    });
    drop(guards);
    assert_eq!(permits.value(), 199);
}

#[test]
fn a_signal_handler_is_told_that_it_is_in_a_call() {
    static PERMITS: std::sync::OnceLock<Semaphore> = std::sync::OnceLock::new();
    static SEEN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    use std::sync::atomic::Ordering::Relaxed;
    extern "C" fn handler(_signal: i32) {
        if let Some(permits) = PERMITS.get() {
            let told = permits.release() == Err(ReleaseError::Deadlock)
                && permits.acquire().is_err_and(|error| error == AcquireError::Deadlock);
            SEEN.store(1 + u32::from(told), Relaxed);
        }
    }
    let permits = PERMITS.get_or_init(|| Semaphore::new(1).unwrap());
    let child = fork(|| {
        on_signal(libc::SIGUSR1, handler);
        permits.0.with_gate(|| raise(libc::SIGUSR1));
        SEEN.load(Relaxed) == 2 && permits.value() == 1
    });
    child.succeed();
}

#[test]
fn stress() {
    // Never more inside than permits, and each wake-up that is lost would be a hang.
    const ROUNDS: usize = 300;
    let permits = Semaphore::new(2).unwrap();
    let inside = RawValue::new(0u32).unwrap();
    let gate = crate::Lock::new().unwrap();
    let add = |n: u32| {
        let _guard = gate.lock().unwrap();
        let now = inside.load().wrapping_add(n);
        inside.store(now);
        now
    };
    let work = || {
        (0..ROUNDS).all(|_| {
            let _guard = permits.acquire_timeout(PATIENCE).unwrap();
            let few = add(1) <= 2;
            thread::yield_now();
            add(u32::MAX);
            few
        })
    };
    let children = [fork(work), fork(work), fork(work)];
    thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    });
    for child in children {
        child.succeed();
    }
    assert_eq!((permits.value(), inside.load()), (2, 0));
}

#[test]
fn stress_with_kills() {
    // Wherever in taking and giving back they are killed, all permits are there in the end, and never more.
    let permits = Semaphore::new(2).unwrap();
    let start = |index: u64| {
        let (permits, started) = (&permits, Event::new().unwrap());
        let work = || {
            started.set();
            loop {
                let patience = Duration::from_micros(50 * (index % 4));
                drop((permits.acquire_timeout(patience), permits.try_acquire()));
            }
        };
        let child = fork(work);
        assert!(started.wait_timeout(PATIENCE));
        child
    };
    let mut children: std::collections::VecDeque<_> = (0..4).map(start).collect();
    for index in 4..150 {
        children.push_back(start(index));
        if let Some(child) = children.pop_front() {
            child.kill();
        }
        let guard = permits.acquire_timeout(PATIENCE).unwrap();
        assert!(permits.value() <= 1);
        drop(guard);
    }
    for child in children {
        child.kill();
    }
    assert_eq!(permits.value(), 2);
    let guards = [permits.try_acquire().unwrap(), permits.try_acquire().unwrap()];
    assert!(permits.try_acquire().is_err());
    drop(guards);
}

#[test]
fn stress_of_producers_and_consumers() {
    // The permits are what has been produced: taken in one process, added in another.
    const ROUNDS: usize = 1000;
    let (full, empty) = (Semaphore::new(0).unwrap(), BoundedSemaphore::new(3).unwrap());
    let consume = || {
        for _ in 0..ROUNDS {
            full.acquire_timeout(PATIENCE).unwrap().forget();
            empty.release().unwrap();
        }
        true
    };
    let children = [fork(consume), fork(consume)];
    for _ in 0..2 * ROUNDS {
        empty.acquire_timeout(PATIENCE).unwrap().forget();
        full.release().unwrap();
    }
    for child in children {
        child.succeed();
    }
    assert_eq!((full.value(), empty.value()), (0, 3));
}

#[test]
fn serializes_inside_messages_only() {
    // LK-14.
    let permits = Semaphore::new(3).unwrap();
    let bounded = BoundedSemaphore::new(3).unwrap();
    assert!(postcard::to_allocvec(&permits).is_err());
    assert!(postcard::to_allocvec(&bounded).is_err());
    let message = mp_wire::encode(&(permits.clone(), permits.clone(), bounded.clone())).unwrap();
    assert!(message.fds.len() <= 2, "one for each segment");
    let (first, second, third): (Semaphore, Semaphore, BoundedSemaphore) =
        message.decode().unwrap();
    let _guards = [first.acquire().unwrap(), third.acquire().unwrap()];
    assert_eq!((permits.value(), second.value(), bounded.value()), (2, 2, 2));
    assert!(mp_wire::encode(&permits).unwrap().decode::<BoundedSemaphore>().is_err());
    assert!(mp_wire::encode(&bounded).unwrap().decode::<Semaphore>().is_err());
    assert!(mp_wire::encode(&permits).unwrap().decode::<crate::Lock>().is_err());
}

#[test]
fn debug_and_markers() {
    fn shared<T: Send + Sync + Clone + Serialize + DeserializeOwned + fmt::Debug>() {}
    shared::<Semaphore>();
    shared::<BoundedSemaphore>();
    fn guard<T: Sync + fmt::Debug>() {}
    guard::<SemaphoreGuard<'_>>();
    let permits = Semaphore::new(2).unwrap();
    let guard = permits.acquire().unwrap();
    assert_eq!(
        format!("{permits:?} {guard:?}"),
        "Semaphore { value: 1 } SemaphoreGuard { value: 1 }"
    );
    let bounded = BoundedSemaphore::new(2).unwrap();
    assert_eq!(format!("{bounded:?}"), "BoundedSemaphore { value: 2, most: 2 }");
    assert_eq!(AcquireError::WouldBlock.to_string(), "no permit is free");
}

#[test]
fn a_thread_holds_no_more_than_the_kernel_gives_back() {
    let permits = Semaphore::new(1500).unwrap();
    let child = fork(|| {
        let guards: Vec<_> = (0..1024).map(|_| permits.try_acquire().unwrap()).collect();
        let told = permits.acquire().is_err_and(|error| error == AcquireError::TooMany);
        if told && guards.len() == 1024 {
            die()
        }
        false
    });
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait()), Some(libc::SIGKILL));
    assert_eq!(permits.value(), 1500);
    for _ in 0..1500 {
        permits.try_acquire().unwrap().forget();
    }
    assert_eq!(permits.value(), 0);
}
