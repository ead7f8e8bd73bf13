//! Locking and unlocking: scenarios that hold for each kind of lock.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use mp_tests::step::{Board, Kill, Role, Slot, Stop, Victim, within_liveness};
use mp_tests::sweep::Verdict;

use crate::locks::Timed;

/// A lock under test. Its handle works in forked processes.
pub(crate) trait Lockable: Sized {
    /// Dropping it unlocks.
    type Guard<'a>
    where
        Self: 'a;
    /// Makes one.
    fn make() -> Self;
    /// Locks, and says whether the owner before died.
    fn lock(&self) -> (Self::Guard<'_>, bool);
}

/// Noted by an owner that came after a dead one.
const AFTER_DEATH: u64 = 1;

/// Noted by an owner that was not alone.
const NOT_ALONE: u64 = 2;

/// Noted by an owner that found the mark of a dead one and was not told of its death.
const UNTOLD: u64 = 3;

/// Who is inside: only an owner writes it.
fn inside(board: &Board) -> &AtomicU64 {
    &board.slot(6).values[0]
}

const VICTIM: u64 = 99;

/// Locks, looks whether it is alone, unlocks.
fn pass<L: Lockable>(lock: &L, board: &Board, slot: &Slot, id: u64) {
    let (guard, died) = lock.lock();
    // A dead owner has left its mark; a living one wipes it.
    let before = inside(board).swap(id, SeqCst);
    std::thread::yield_now();
    let after = inside(board).swap(0, SeqCst);
    drop(guard);
    if died {
        slot.note(AFTER_DEATH);
    }
    if before == VICTIM && !died {
        slot.note(UNTOLD);
    }
    if after != id || !(before == 0 || before == VICTIM) {
        slot.note(NOT_ALONE);
    }
    slot.done(0);
}

/// Holds the lock until it is told to let go.
fn holder<L: Lockable>(lock: &L, board: &Board, slot: &Slot) -> Role {
    let role = Role::fork(|| {
        let (guard, _) = lock.lock();
        slot.ready();
        while slot.go.load(SeqCst) == 0 {
            std::thread::sleep(std::time::Duration::from_micros(20));
        }
        let _ = board;
        drop(guard);
        slot.done(0);
    });
    let (ready, _) = within_liveness(|| slot.state.load(SeqCst) == 1);
    assert!(ready, "a holder does not get the lock");
    role
}

fn waiter<L: Lockable>(lock: &L, board: &Board, slot: &Slot, id: u64) -> Role {
    let role = Role::fork(|| {
        slot.ready();
        pass(lock, board, slot, id);
    });
    role.await_asleep(slot);
    role
}

/// The operation of a victim: the mark is there exactly while it is the owner, or dead.
fn pass_as_victim<L: Lockable>(lock: &L, board: &Board) {
    let (guard, _) = lock.lock();
    inside(board).store(VICTIM, SeqCst);
    inside(board).store(0, SeqCst);
    drop(guard);
}

fn warm_up<L: Lockable>() {
    let lock = L::make();
    drop(lock.lock());
}

/// After the death, `waiters` and one more come through, alone, and learn of a death inside.
fn after_death<L: Lockable>(stop: Stop, lock: &L, board: &Board, waiters: &[&Slot]) -> Verdict {
    let mut verdict = Verdict::new(stop);
    let all = || waiters.iter().all(|slot| slot.is_done());
    verdict.progress(within_liveness(all), "who slept before the lock");
    let last = board.slot(5);
    let _last = Role::fork(|| pass(lock, board, last, 5));
    verdict.progress(within_liveness(|| last.is_done()), "the next owner");
    let noted: Vec<u64> = waiters.iter().chain([&last]).flat_map(|slot| slot.noted()).collect();
    verdict.torn |= noted.contains(&NOT_ALONE);
    verdict.lost |= noted.contains(&UNTOLD);
    verdict.doubled |= noted.iter().filter(|&&note| note == AFTER_DEATH).count() > 1;
    verdict
}

/// Nobody else is there.
pub(crate) fn alone<L: Lockable>(kill: Kill) -> Verdict {
    let (board, lock) = (Board::new(), L::make());
    let operate = |()| pass_as_victim(&lock, &board);
    let stop = Victim::start(&board, warm_up::<L>, operate).run(kill, || false);
    after_death(stop, &lock, &board, &[])
}

/// The owner dies in the unlock, while others sleep.
fn unlock_with<L: Lockable>(kill: Kill, count: usize) -> Verdict {
    let (board, lock) = (Board::new(), L::make());
    let take = || {
        warm_up::<L>();
        lock.lock().0
    };
    let victim = Victim::start(&board, take, drop);
    let slots: Vec<&Slot> = (0..count).map(|index| board.slot(index)).collect();
    let _waiters: Vec<Role> = slots.iter().map(|slot| waiter(&lock, &board, slot, 10)).collect();
    let stop = victim.run(kill, || false);
    after_death(stop, &lock, &board, &slots)
}

/// One other sleeps.
pub(crate) fn unlock_with_waiter<L: Lockable>(kill: Kill) -> Verdict {
    unlock_with::<L>(kill, 1)
}

/// Two others sleep: the second must not be forgotten with the first.
pub(crate) fn unlock_with_waiters<L: Lockable>(kill: Kill) -> Verdict {
    unlock_with::<L>(kill, 2)
}

/// The victim waits for the lock, behind one who sleeps already and before another.
pub(crate) fn contended<L: Lockable>(kill: Kill) -> Verdict {
    let (board, lock) = (Board::new(), L::make());
    let owner = board.slot(0);
    let _owner = holder(&lock, &board, owner);
    let mut slots = vec![owner, board.slot(1)];
    let _first = waiter(&lock, &board, board.slot(1), 11);
    let mut second = None;
    let operate = |()| pass_as_victim(&lock, &board);
    let stop = Victim::start(&board, warm_up::<L>, operate).run(kill, || {
        if second.is_none() {
            second = Some(waiter(&lock, &board, board.slot(2), 12));
        }
        owner.go.store(1, SeqCst);
        true
    });
    if second.is_some() {
        slots.push(board.slot(2));
    }
    owner.go.store(1, SeqCst);
    after_death(stop, &lock, &board, &slots)
}

/// The victim is the only one who waits, and is killed on its way from the wake-up to the lock.
pub(crate) fn handed_over<L: Lockable>(kill: Kill) -> Verdict {
    let (board, lock) = (Board::new(), L::make());
    let owner = board.slot(0);
    let _owner = holder(&lock, &board, owner);
    let mut second = None;
    let operate = |()| pass_as_victim(&lock, &board);
    let stop = Victim::start(&board, warm_up::<L>, operate).run(kill, || {
        // The victim sleeps first, so that it is the one that the unlock wakes.
        if second.is_none() {
            second = Some(waiter(&lock, &board, board.slot(2), 12));
        }
        owner.go.store(1, SeqCst);
        true
    });
    owner.go.store(1, SeqCst);
    let mut slots = vec![owner];
    if second.is_some() {
        slots.push(board.slot(2));
    }
    after_death(stop, &lock, &board, &slots)
}

/// The owner is killed while the victim and another one sleep, and the victim is the one whom the kernel wakes: two deaths.
pub(crate) fn heir<L: Lockable>(kill: Kill) -> Verdict {
    let (board, lock) = (Board::new(), L::make());
    let owner = board.slot(0);
    let mut first = holder(&lock, &board, owner);
    let mut second = None;
    let operate = |()| pass_as_victim(&lock, &board);
    let stop = Victim::start(&board, warm_up::<L>, operate).run(kill, || {
        // The victim sleeps first, so that it is the one that the death wakes.
        if second.is_none() {
            second = Some(waiter(&lock, &board, board.slot(2), 12));
            first.kill();
        }
        true
    });
    first.kill();
    let slots = if second.is_some() { vec![board.slot(2)] } else { vec![] };
    let verdict = after_death(stop, &lock, &board, &slots);
    // Killed asleep or before, it cannot have had the news.
    let told = [2, 5].iter().any(|&index| board.slot(index).noted().contains(&AFTER_DEATH));
    Verdict { lost: verdict.lost || second.is_none() && !told, ..verdict }
}

/// Long enough for a victim to be stepped as far as its sleep.
const TIMEOUT: std::time::Duration = std::time::Duration::from_millis(150);

/// The victim waits until its time is up, behind one who sleeps already.
pub(crate) fn timeout(kill: Kill) -> Verdict {
    let (board, lock) = (Board::new(), Timed::make());
    let owner = board.slot(0);
    let _owner = holder(&lock, &board, owner);
    let _first = waiter(&lock, &board, board.slot(1), 11);
    let operate = |()| drop(lock.0.lock_timeout(TIMEOUT));
    let stop = Victim::start(&board, warm_up::<Timed>, operate).run(kill, || true);
    owner.go.store(1, SeqCst);
    after_death(stop, &lock, &board, &[owner, board.slot(1)])
}
