//! What users of a barrier rely on; the ids are those of the list of behaviours.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Instant;

use super::*;
use crate::testing::{Child, PATIENCE, Trap, die, fork};
use crate::{Event, Value};

/// After so much time, something hangs: whoever waits in a test then gives up.
fn barrier(parties: usize) -> Barrier {
    Barrier::with_timeout(parties, PATIENCE).unwrap()
}

fn until_waiting(barrier: &Barrier, count: usize) {
    while barrier.waiting() < count {
        thread::yield_now();
    }
}

fn until_broken(barrier: &Barrier) {
    while !barrier.is_broken() {
        thread::yield_now();
    }
}

fn until_asleep(barrier: &Barrier) {
    while barrier.0.word().load(SeqCst) & pass::ASLEEP == 0 {
        thread::yield_now();
    }
}

/// Processes that wait once, and what they expect of it.
fn waiters(
    barrier: &Barrier,
    count: usize,
    expected: impl Fn(Result<usize, BarrierError>) -> bool,
) -> Vec<Child> {
    (0..count).map(|_| fork(|| expected(barrier.wait()))).collect()
}

fn succeed(children: Vec<Child>) {
    children.into_iter().for_each(Child::succeed);
}

fn is_broken(result: Result<usize, BarrierError>) -> bool {
    result == Err(BarrierError::Broken)
}

/// The barrier can be passed again, by parties of which this thread is one.
fn passes_after_reset(barrier: &Barrier) {
    barrier.reset().unwrap();
    assert!(!barrier.is_broken());
    assert_eq!(barrier.waiting(), 0);
    let others = waiters(barrier, barrier.parties() - 1, |result| result.is_ok());
    assert!(barrier.wait().is_ok());
    succeed(others);
}

#[test]
fn smoke() {
    // CE-11, CE-12: processes in lockstep for ten passes; each has another number.
    const PARTIES: usize = 5;
    let barrier = barrier(PARTIES);
    let numbers = Value::new([0_u32; 10]).unwrap();
    let run = || {
        (0..10).all(|pass| {
            let Ok(number) = barrier.wait() else { return false };
            let add = |mut numbers: [u32; 10]| {
                numbers[pass] += 1 << (4 * number);
                numbers
            };
            numbers.update(add).unwrap();
            // All of this pass have come, and none is further than the next.
            barrier.wait().is_ok() && numbers.get().unwrap()[pass] == 0x11111
        })
    };
    let children: Vec<_> = (1..PARTIES).map(|_| fork(run)).collect();
    assert!(run());
    succeed(children);
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
}

#[test]
fn a_number_is_the_order_of_arrival() {
    let barrier = barrier(3);
    let first = fork(|| barrier.wait() == Ok(0));
    until_waiting(&barrier, 1);
    let second = fork(|| barrier.wait() == Ok(1));
    until_waiting(&barrier, 2);
    assert_eq!(barrier.wait(), Ok(2));
    first.succeed();
    second.succeed();
}

#[test]
fn the_action_runs_once_before_any_goes_on() {
    // CE-13.
    let barrier = barrier(4);
    let runs = Value::new(0_u32).unwrap();
    let run = || {
        (1..=100).all(|pass| {
            let count = || assert!(runs.update(|runs| runs + 1).is_ok());
            barrier.wait_with(count).is_ok()
                && runs.get().unwrap() == pass
                && barrier.wait().is_ok()
        })
    };
    let children: Vec<_> = (0..3).map(|_| fork(run)).collect();
    assert!(run());
    succeed(children);
    assert_eq!(runs.get().unwrap(), 100);
}

#[test]
fn nobody_goes_on_while_the_action_runs() {
    // CE-13; and whoever comes meanwhile is one of the next pass.
    let barrier = barrier(2);
    let running = Event::new().unwrap();
    let go_on = Event::new().unwrap();
    let runner = fork(|| {
        until_waiting(&barrier, 1);
        let action = || {
            running.set();
            go_on.wait();
        };
        barrier.wait_timeout_with(PATIENCE, action) == Ok(1)
    });
    let first = fork(|| barrier.wait() == Ok(0) && go_on.is_set());
    running.wait();
    assert_eq!(barrier.waiting(), 2);
    let next = fork(|| barrier.wait() == Ok(0) && go_on.is_set());
    until_asleep(&barrier);
    go_on.set();
    runner.succeed();
    first.succeed();
    until_waiting(&barrier, 1);
    assert_eq!(barrier.wait(), Ok(1));
    next.succeed();
}

#[test]
fn abort() {
    // CE-14: all others learn of it, also those who come later.
    let barrier = barrier(5);
    let others = waiters(&barrier, 4, is_broken);
    until_waiting(&barrier, 3);
    barrier.abort().unwrap();
    barrier.abort().unwrap();
    assert!(barrier.is_broken() && barrier.waiting() == 0);
    assert!(is_broken(barrier.wait()));
    succeed(others);
    // CE-16.
    passes_after_reset(&barrier);
}

#[test]
fn reset_ends_waits() {
    let barrier = barrier(3);
    let others = waiters(&barrier, 2, is_broken);
    until_waiting(&barrier, 2);
    barrier.reset().unwrap();
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
    succeed(others);
    passes_after_reset(&barrier);
}

#[test]
fn timeout() {
    // CE-17: who gives up breaks it for all.
    let barrier = barrier(3);
    let other = fork(|| is_broken(barrier.wait()));
    until_waiting(&barrier, 1);
    let start = Instant::now();
    assert_eq!(barrier.wait_timeout(Duration::from_millis(3)), Err(BarrierError::TimedOut));
    assert!(start.elapsed() >= Duration::from_millis(3));
    assert!(barrier.is_broken());
    other.succeed();
    passes_after_reset(&barrier);
    // Zero: only the last one goes on.
    assert_eq!(barrier.wait_timeout(Duration::ZERO), Err(BarrierError::TimedOut));
    barrier.reset().unwrap();
    let others = waiters(&barrier, 2, |result| result.is_ok());
    until_waiting(&barrier, 2);
    assert_eq!(barrier.wait_timeout(Duration::ZERO), Ok(2));
    succeed(others);
}

#[test]
fn timeout_while_the_action_runs() {
    let barrier = barrier(2);
    let other =
        fork(|| barrier.wait_timeout(Duration::from_millis(20)) == Err(BarrierError::TimedOut));
    // Its time may be up before this thread gets to look.
    while barrier.waiting() < 1 && !barrier.is_broken() {
        thread::yield_now();
    }
    assert!(is_broken(barrier.wait_with(|| until_broken(&barrier))));
    other.succeed();
    passes_after_reset(&barrier);
}

#[test]
fn default_timeout() {
    // CE-18.
    let time = Duration::from_millis(5);
    let barrier = Barrier::with_timeout(2, time).unwrap();
    assert_eq!(barrier.timeout(), Some(time));
    let start = Instant::now();
    assert_eq!(barrier.wait(), Err(BarrierError::TimedOut));
    assert!(start.elapsed() >= time);
    barrier.reset().unwrap();
    assert_eq!(barrier.wait_with(|| ()), Err(BarrierError::TimedOut));
    barrier.reset().unwrap();
    assert_eq!(barrier.register().unwrap().wait(), Err(BarrierError::TimedOut));
    assert_eq!(Barrier::new(2).unwrap().timeout(), None);
    let none = Barrier::with_timeout(2, Duration::ZERO).unwrap();
    assert_eq!(none.timeout(), Some(Duration::ZERO));
    assert_eq!(none.wait(), Err(BarrierError::TimedOut));
    assert!(Barrier::with_timeout(2, Duration::MAX).unwrap().timeout() > Some(PATIENCE));
}

#[test]
fn a_single_party_never_waits() {
    // CE-19.
    let barrier = barrier(1);
    for _ in 0..3 {
        assert_eq!(barrier.wait(), Ok(0));
        assert_eq!(barrier.wait_timeout(Duration::ZERO), Ok(0));
    }
    let mut runs = 0;
    let mut party = barrier.register().unwrap();
    assert_eq!(party.wait_with(|| runs += 1), Ok(0));
    assert_eq!(party.wait_timeout_with(Duration::ZERO, || runs += 1), Ok(0));
    assert_eq!(runs, 2);
}

#[test]
fn capacity() {
    assert_eq!(Barrier::new(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(Barrier::new(usize::MAX).unwrap_err().kind(), ErrorKind::Exhausted);
    let barrier = barrier(2);
    assert_eq!(barrier.parties(), 2);
    let parties: Vec<_> = (0..slots_of(2).unwrap()).map(|_| barrier.register().unwrap()).collect();
    assert_eq!(barrier.register().unwrap_err(), BarrierError::Full);
    thread::scope(|scope| {
        // It waits for a place, and then for another party.
        let waiter = scope.spawn(|| barrier.wait());
        drop(parties);
        assert!(barrier.wait().is_ok() && waiter.join().unwrap().is_ok());
    });
    let _parties: Vec<_> = (0..slots_of(2).unwrap()).map(|_| barrier.register().unwrap()).collect();
    let start = Instant::now();
    assert_eq!(barrier.wait_timeout(Duration::from_millis(4)), Err(BarrierError::TimedOut));
    assert!(start.elapsed() >= Duration::from_millis(4));
    assert!(barrier.is_broken());
}

#[test]
fn there_is_room_for_twice_as_many() {
    for parties in 1..100 {
        let slots = slots_of(parties).unwrap();
        assert!(slots >= 2 * parties + SPARE && slots.is_multiple_of(BLOCK));
        assert_eq!(slots <= 128, parties <= 61);
    }
}

#[test]
fn many_more_than_there_are_parties() {
    // They go on in groups.
    for _ in 0..20 {
        let barrier = barrier(2);
        let sum = thread::scope(|scope| {
            let threads: Vec<_> = (0..40).map(|_| scope.spawn(|| barrier.wait())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).sum::<usize>()
        });
        assert_eq!(sum, 20);
    }
}

#[test]
fn more_parties_than_can_be_watched() {
    let barrier = barrier(100);
    let trap = Trap::new();
    let child = fork(|| {
        let _party = barrier.register().unwrap();
        trap.step_in()
    });
    trap.wait();
    let others = waiters(&barrier, 3, is_broken);
    until_asleep(&barrier);
    child.kill();
    succeed(others);
}

#[test]
fn stress() {
    // CE-20: a thousand passes of five processes, in strict order. A wake-up that is lost would be a hang.
    const PARTIES: u64 = 5;
    let barrier = barrier(PARTIES as usize);
    let total = Value::new(0_u64).unwrap();
    let run = |mut wait: Box<dyn FnMut() -> Result<usize, BarrierError> + '_>| {
        (0..1000).all(|pass| {
            let before = total.get().unwrap();
            let in_order = (PARTIES * pass..PARTIES * (pass + 1)).contains(&before);
            total.update(|total| total + 1).unwrap();
            in_order && wait().is_ok()
        })
    };
    let children: Vec<_> = (1..PARTIES)
        .map(|index| {
            fork(|| {
                if index % 2 == 0 {
                    return run(Box::new(|| barrier.wait()));
                }
                let mut party = barrier.register().unwrap();
                run(Box::new(move || party.wait()))
            })
        })
        .collect();
    assert!(run(Box::new(|| barrier.wait())));
    succeed(children);
    assert_eq!(total.get().unwrap(), 5000);
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
}

#[test]
fn kill_waiter() {
    // CE-22: the others learn of it without further traffic.
    let barrier = barrier(4);
    let victim = fork(|| barrier.wait().is_ok());
    until_waiting(&barrier, 1);
    let others = waiters(&barrier, 2, is_broken);
    until_waiting(&barrier, 3);
    victim.kill();
    succeed(others);
    assert!(barrier.is_broken());
    passes_after_reset(&barrier);
}

#[test]
fn kill_many_waiters() {
    // All at once, as they are threads of one process, and one after the other.
    for together in [true, false] {
        for _ in 0..20 {
            let barrier = barrier(6);
            let trap = Trap::new();
            let wait = || {
                assert!(is_broken(barrier.wait()));
                trap.step_in()
            };
            let victims: Vec<_> = if together {
                let threads =
                    || thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(wait))));
                vec![fork(|| {
                    threads();
                    true
                })]
            } else {
                (0..4).map(|_| fork(wait)).collect()
            };
            until_waiting(&barrier, 4);
            let other = fork(|| is_broken(barrier.wait()));
            until_waiting(&barrier, 5);
            victims.into_iter().for_each(Child::kill);
            other.succeed();
            passes_after_reset(&barrier);
        }
    }
}

#[test]
fn kill_at_any_time() {
    // Parties pass again and again until some are killed; the others learn of it, wherever they are.
    for round in 0..60 {
        let barrier = barrier(4);
        let trap = Trap::new();
        let run = || {
            let mut party = barrier.register().unwrap();
            while party.wait_with(thread::yield_now).is_ok() {}
            party.wait() == Err(BarrierError::Broken)
        };
        let doomed = || {
            run();
            trap.step_in()
        };
        let killed = 1 + round % 3;
        let victims: Vec<_> = (0..killed).map(|_| fork(doomed)).collect();
        let others: Vec<_> = (killed..4).map(|_| fork(run)).collect();
        while barrier.registered() < 4 {
            thread::yield_now();
        }
        // Nothing hangs on when exactly they are killed.
        thread::sleep(Duration::from_micros(100 * round));
        victims.into_iter().for_each(Child::kill);
        succeed(others);
        passes_after_reset(&barrier);
    }
}

#[test]
fn kill_in_the_action() {
    let barrier = barrier(3);
    let others = waiters(&barrier, 2, is_broken);
    until_waiting(&barrier, 2);
    let victim = fork(|| barrier.wait_with(|| die()).is_ok());
    succeed(others);
    assert!(!victim.wait().success());
    passes_after_reset(&barrier);
}

#[test]
fn kill_between_passes() {
    let barrier = barrier(3);
    let trap = Trap::new();
    let victim = fork(|| {
        let mut party = barrier.register().unwrap();
        party.wait().unwrap();
        trap.step_in()
    });
    let first = waiters(&barrier, 2, |result| result.is_ok());
    succeed(first);
    trap.wait();
    let others = waiters(&barrier, 2, is_broken);
    until_waiting(&barrier, 2);
    victim.kill();
    succeed(others);
    passes_after_reset(&barrier);
}

#[test]
fn kill_before_others_come() {
    let barrier = barrier(2);
    let victim = fork(|| {
        let _party = barrier.register().unwrap();
        die()
    });
    assert!(!victim.wait().success());
    assert!(is_broken(barrier.wait()));
    passes_after_reset(&barrier);
    let victim = fork(|| {
        let _party = barrier.register().unwrap();
        die()
    });
    assert!(!victim.wait().success());
    assert!(barrier.is_broken());
    passes_after_reset(&barrier);
}

#[test]
fn a_thread_that_ends_is_dead() {
    let barrier = barrier(2);
    thread::scope(|scope| {
        let other = scope.spawn(|| barrier.wait());
        until_waiting(&barrier, 1);
        scope.spawn(|| std::mem::ManuallyDrop::new(barrier.register().unwrap()).slot().owner());
        assert!(is_broken(other.join().unwrap()));
    });
    passes_after_reset(&barrier);
}

#[test]
fn whoever_leaves_breaks_nothing() {
    let barrier = barrier(2);
    let other = fork(|| barrier.wait() == Ok(0));
    until_waiting(&barrier, 1);
    drop(barrier.register().unwrap());
    let child = fork(|| barrier.register().is_ok());
    child.succeed();
    assert!(!barrier.is_broken());
    assert_eq!(barrier.wait(), Ok(1));
    other.succeed();
}

#[test]
fn a_panic_in_the_action_breaks_it() {
    let barrier = barrier(2);
    let other = fork(|| is_broken(barrier.wait()));
    until_waiting(&barrier, 1);
    let runner =
        thread::scope(|scope| scope.spawn(|| barrier.wait_with(|| panic!("in the action"))).join());
    assert!(runner.is_err());
    other.succeed();
    passes_after_reset(&barrier);
}

#[test]
fn forked_copies_do_nothing() {
    let barrier = barrier(2);
    let mut party = Some(barrier.register().unwrap());
    let child = fork(|| {
        let refused = party.as_mut().unwrap().wait() == Err(BarrierError::Unregistered);
        // The copy of it that this process has.
        drop(party.take());
        refused
    });
    child.succeed();
    let mut party = party.unwrap();
    assert!(party.slot().held_by_me() && !barrier.is_broken());
    let other = fork(|| barrier.wait() == Ok(0));
    until_waiting(&barrier, 1);
    assert_eq!(party.wait(), Ok(1));
    other.succeed();
}

#[test]
fn messages() {
    let barrier = Barrier::with_timeout(2, PATIENCE).unwrap();
    let message = mp_wire::encode(&barrier).unwrap();
    let child = fork(|| {
        let same: Barrier = message.decode().unwrap();
        (same.parties(), same.timeout()) == (2, Some(PATIENCE)) && same.wait().is_ok()
    });
    assert!(barrier.clone().wait().is_ok());
    child.succeed();
    let head = barrier.0.slots().object().head();
    for wrong in [0, 1, 6, u32::MAX] {
        head.words[PARTIES].store(wrong, Relaxed);
        assert!(mp_wire::encode(&barrier).unwrap().decode::<Barrier>().is_err());
    }
    let event = mp_wire::encode(&Event::new().unwrap()).unwrap();
    assert!(event.decode::<Barrier>().is_err());
}

#[test]
fn the_count_of_passes_may_overflow() {
    let barrier = barrier(2);
    barrier.0.word().store(!3, Relaxed);
    for _ in 0..3 {
        let other = fork(|| barrier.wait().is_ok());
        until_asleep(&barrier);
        assert!(barrier.wait().is_ok());
        other.succeed();
    }
    assert_eq!(barrier.0.word().load(Relaxed), 2 << 2);
}

#[test]
fn what_was_done_before_is_seen_after() {
    static CELL: AtomicUsize = AtomicUsize::new(0);
    let barrier = barrier(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            for pass in 1..=500 {
                CELL.store(pass, Relaxed);
                barrier.wait().unwrap();
                barrier.wait().unwrap();
            }
        });
        for pass in 1..=500 {
            barrier.wait().unwrap();
            assert_eq!(CELL.load(Relaxed), pass);
            barrier.wait().unwrap();
        }
    });
}

#[test]
fn debug_and_markers() {
    fn check<T: Send + Sync + Clone + Serialize + serde::de::DeserializeOwned>() {}
    check::<Barrier>();
    let barrier = Barrier::new(2).unwrap();
    let text = "Barrier { parties: 2, registered: 0, waiting: 0, broken: false }";
    assert_eq!(format!("{barrier:?}"), text);
    let party = barrier.register().unwrap();
    let text =
        "Party { barrier: Barrier { parties: 2, registered: 1, waiting: 0, broken: false }, .. }";
    assert_eq!(format!("{party:?}"), text);
    assert!(postcard::to_allocvec(&barrier).is_err());
    assert_eq!(Error::from(BarrierError::Broken).kind(), ErrorKind::Poisoned);
}
