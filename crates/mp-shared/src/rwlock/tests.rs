use std::thread;
use std::time::Instant;

use super::*;
use crate::testing::{PATIENCE, Trap, die, fork};
use crate::{ErrorKind, Event, Value};

/// Waits until a writer has the gate and is about to wait for readers.
fn await_writer<T: Pod>(lock: &RwLock<T>) {
    while lock.value.object().head().words[WRITING].load(Relaxed) == 0 {
        thread::yield_now();
    }
}

#[test]
fn smoke() {
    let lock = RwLock::new(7u32).unwrap();
    let readers = (lock.read().unwrap(), lock.try_read().unwrap());
    assert_eq!((*readers.0, *readers.1), (7, 7));
    fork(|| lock.read().is_ok_and(|value| *value == 7) && lock.try_write().is_err()).succeed();
    assert!(matches!(lock.write(), Err(LockError::Deadlock)));
    drop(readers);
    let mut writer = lock.write().unwrap();
    *writer = 8;
    assert!(matches!(lock.try_read(), Err(LockError::WouldBlock)));
    assert!(matches!(lock.read(), Err(LockError::Deadlock)));
    drop(writer);
    assert_eq!(*lock.read().unwrap(), 8);
}

#[test]
fn excludes() {
    const EACH: u64 = 3000;
    let lock = RwLock::new([0u64; 2]).unwrap();
    let writers = [(); 2].map(|()| {
        fork(|| {
            for _ in 0..EACH {
                let mut pair = lock.write().unwrap();
                pair[0] += 1;
                pair[1] += 1;
            }
            true
        })
    });
    let readers = [(); 2].map(|()| {
        fork(|| {
            (0..EACH).all(|_| {
                let pair = lock.read().unwrap();
                pair[0] == pair[1]
            })
        })
    });
    writers.into_iter().chain(readers).for_each(|child| child.succeed());
    assert_eq!(*lock.read().unwrap(), [2 * EACH; 2]);
}

#[test]
fn a_writer_that_waits_gets_its_turn() {
    let lock = RwLock::new(0u8).unwrap();
    let first = lock.read().unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| *lock.write().unwrap() += 1);
        await_writer(&lock);
        thread::scope(|scope| {
            scope.spawn(|| assert!(matches!(lock.try_read(), Err(LockError::WouldBlock))));
        });
        // Who reads already does not wait for who waits for it.
        let again = lock.read().unwrap();
        assert_eq!((*first, *again), (0, 0));
        drop(first);
        drop(again);
        writer.join().unwrap();
    });
    assert_eq!(*lock.read().unwrap(), 1);
}

#[test]
fn more_readers_than_slots() {
    let lock = RwLock::new(1u8).unwrap();
    let (count, go) = (Value::new(0u32).unwrap(), Event::new().unwrap());
    thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let _guard = lock.read().unwrap();
                count.update(|count| count + 1).unwrap();
                go.wait();
            });
        }
        while count.get().unwrap() < 32 {
            thread::yield_now();
        }
        assert!(matches!(lock.write_timeout(Duration::from_millis(1)), Err(LockError::TimedOut)));
        go.set();
    });
    assert_eq!(count.get().unwrap(), 40);
    drop(lock.write().unwrap());
}

#[test]
fn timeout() {
    let lock = RwLock::new(0u8).unwrap();
    let time = Duration::from_millis(20);
    let late = |try_it: &(dyn Fn() -> bool + Sync)| {
        thread::scope(|scope| {
            scope.spawn(|| {
                let start = Instant::now();
                assert!(try_it() && start.elapsed() >= time);
            });
        });
    };
    let reader = lock.read().unwrap();
    late(&|| matches!(lock.write_timeout(time), Err(LockError::TimedOut)));
    drop(reader);
    let writer = lock.write().unwrap();
    late(&|| matches!(lock.read_timeout(time), Err(LockError::TimedOut)));
    late(&|| matches!(lock.write_timeout(time), Err(LockError::TimedOut)));
    drop(writer);
    assert!(
        lock.read_timeout(Duration::ZERO).is_ok() && lock.write_timeout(Duration::ZERO).is_ok()
    );
}

#[test]
fn kill_reader() {
    let lock = RwLock::new(0u8).unwrap();
    let (trap, done) = (Trap::new(), Event::new().unwrap());
    let reader = fork(|| {
        let _guards = (lock.read(), lock.read());
        trap.step_in()
    });
    trap.wait();
    let writer = fork(|| {
        *lock.write().unwrap() = 5;
        done.set();
        true
    });
    await_writer(&lock);
    assert!(!done.is_set());
    reader.kill();
    writer.succeed();
    assert_eq!(*lock.read().unwrap(), 5);
}

#[test]
fn kill_writer() {
    let lock = RwLock::new([0u8; 2]).unwrap();
    let trap = Trap::new();
    let writer = fork(|| {
        lock.write().unwrap()[0] = 1;
        let mut guard = lock.write().unwrap();
        guard[0] = 2;
        trap.step_in()
    });
    trap.wait();
    let reader = fork(|| match lock.read() {
        Err(LockError::Poisoned(guard)) => *guard.get_ref().deref() == [2, 0],
        _ => false,
    });
    writer.kill();
    reader.succeed();
    let Err(LockError::Poisoned(guard)) = lock.write() else { panic!("not poisoned") };
    let mut guard = guard.into_inner();
    guard[1] = 2;
    lock.clear_poison();
    drop(guard);
    assert_eq!(*lock.read().unwrap(), [2, 2]);
    // One who dies waiting to write has written nothing.
    let reader = lock.read().unwrap();
    let waiting = fork(|| lock.write().is_ok());
    await_writer(&lock);
    waiting.kill();
    drop(reader);
    assert!(!lock.is_poisoned() && lock.try_write().is_ok());
}

#[test]
fn a_thread_that_ends_reads_no_more() {
    let lock = RwLock::new(0u8).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = std::mem::ManuallyDrop::new(lock.read().unwrap());
        });
    });
    drop(lock.write().unwrap());
    let _ = fork(|| lock.read().is_ok() && die()).wait();
    drop(lock.write().unwrap());
}

#[test]
fn copies_of_guards_do_nothing() {
    let lock = RwLock::new(0u8).unwrap();
    let same = &lock;
    let readers = [lock.read().unwrap(), lock.read().unwrap()];
    fork(move || {
        let mine = same.read().unwrap();
        drop(readers);
        let blocked = matches!(same.try_write(), Err(LockError::WouldBlock));
        drop(mine);
        // Its own guards the parent drops when it likes.
        blocked && same.write_timeout(PATIENCE).is_ok()
    })
    .succeed();
    let writer = lock.write().unwrap();
    fork(move || {
        let mine = same.write().unwrap();
        drop(writer);
        let blocked = matches!(same.try_read(), Err(LockError::WouldBlock));
        drop(mine);
        blocked && same.try_read().is_ok()
    })
    .succeed();
}

#[test]
fn panic_poisons_writers_only() {
    let lock = RwLock::new(0u8).unwrap();
    let panic_in = |write: bool| {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let _guards = (!write).then(|| lock.read().unwrap());
                let _guard = write.then(|| lock.write().unwrap());
                panic!("with a guard");
            });
            assert!(thread.join().is_err());
        });
    };
    panic_in(false);
    assert!(!lock.is_poisoned());
    panic_in(true);
    assert!(lock.is_poisoned());
    assert_eq!(Error::from(lock.read().unwrap_err()).kind(), ErrorKind::Poisoned);
}

#[test]
fn travels() {
    let lock = RwLock::new(1u32).unwrap();
    let message = mp_wire::encode(&lock).unwrap();
    let same: RwLock<u32> = message.decode().unwrap();
    let guard = same.read().unwrap();
    fork(|| lock.write_timeout(Duration::ZERO).is_err()).succeed();
    drop(guard);
    *same.write().unwrap() = 9;
    assert_eq!(format!("{lock:?}").split(", owner").next(), Some("RwLock { value: 9"));
    assert!(message.decode::<RwLock<i32>>().is_err());
    assert!(lock.read_timeout(PATIENCE).is_ok());
}

#[test]
fn handles_are_send_and_sync() {
    fn check<T: Send + Sync + Clone>() {}
    check::<RwLock<u8>>();
}
