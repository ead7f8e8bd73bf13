//! What can be told of the locks without segments, other processes and a kernel that looks after the dead: Miri runs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use mp_wire::{Deadline, Spin};

use super::linked::Cell;
use super::thread::Thread;
use super::{Acquired, LockError, NotHeld, RawLock};
use crate::word::CommitWord;

/// Few, as Miri is slow.
const ROUNDS: u64 = if cfg!(miri) { 20 } else { 20_000 };

/// What the lock protects: two numbers that are changed one after the other, with no order but that of the lock.
#[derive(Default)]
struct Pair(AtomicU64, AtomicU64);

impl Pair {
    fn step(&self) {
        let value = self.0.load(Ordering::Relaxed);
        assert_eq!(self.1.load(Ordering::Relaxed), value);
        self.0.store(value + 1, Ordering::Relaxed);
        self.1.store(value + 1, Ordering::Relaxed);
    }
}

fn contend<L: Default + Send + Sync + 'static>(pass: fn(&L, &Pair)) {
    let shared = Arc::new((L::default(), Pair::default()));
    let threads = [(); 3].map(|()| {
        let shared = Arc::clone(&shared);
        thread::spawn(move || (0..ROUNDS).for_each(|_| pass(&shared.0, &shared.1)))
    });
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(shared.1.0.load(Ordering::Relaxed), 3 * ROUNDS);
}

#[test]
fn threads_keep_out_of_each_others_way() {
    contend::<RawLock>(|lock, pair| {
        assert_eq!(lock.lock(Deadline::NEVER), Ok(Acquired::Clean));
        pair.step();
        assert_eq!(lock.unlock(), Ok(()));
    });
    contend::<Cell>(|lock, pair| {
        assert_eq!(lock.lock(Deadline::NEVER), Ok(Acquired::Clean));
        pair.step();
        assert_eq!(lock.unlock(), Ok(()));
    });
    contend::<Cell>(|lock, pair| {
        let done = lock.briefly(Deadline::NEVER, |_| pair.step());
        assert_eq!(done, Ok(()));
    });
}

#[test]
fn the_list_has_what_is_held_newest_first() {
    let cells: [Cell; 4] = Default::default();
    let thread = Thread::current().unwrap();
    let head = thread.head().unwrap();
    let held = || {
        let mut nodes = Vec::new();
        let mut node = head.list.load(Ordering::Relaxed);
        while node != head.list.as_ptr().addr() {
            let index = cells.iter().position(|cell| cell.node() == node).unwrap();
            node = cells[index].next.load(Ordering::Relaxed);
            nodes.push(index);
        }
        nodes
    };
    for cell in &cells {
        assert_eq!(cell.try_lock(), Ok(Acquired::Clean));
    }
    assert_eq!(held(), [3, 2, 1, 0]);
    assert_eq!(cells[1].try_lock(), Err(LockError::Deadlock));
    let released = |index: usize| cells[index].unlock() == Ok(());
    assert!(released(2) && held() == [3, 1, 0]);
    assert!(released(3) && held() == [1, 0]);
    assert!(released(0) && held() == [1]);
    assert_eq!(cells[0].unlock(), Err(NotHeld));
    assert!(released(1) && held().is_empty());
    assert_eq!(head.pending.load(Ordering::Relaxed), 0);
}

#[test]
fn what_a_commit_makes_visible_is_seen_by_whom_it_wakes() {
    let shared = Arc::new((CommitWord::default(), AtomicU64::new(0)));
    let seen = shared.0.snapshot();
    let waiter = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let now = shared.0.wait_change(seen, Deadline::NEVER, &Spin::new()).unwrap();
            (now.count(), shared.1.load(Ordering::Relaxed))
        })
    };
    shared.1.store(7, Ordering::Relaxed);
    shared.0.commit();
    assert_eq!(waiter.join().unwrap(), (1, 7));
}
