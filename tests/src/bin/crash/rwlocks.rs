//! The lock of `mp-shared` for readers and writers.
//!
//! Writers write the same number into four words, one after the other. Who reads sees them equal, or is told of poison; whoever
//! waits for a reader or a writer that is killed gets on.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mp_shared::{LockError, LockResult, RwLock, RwLockWriteGuard};
use mp_tests::step::{Board, Kill, Role, Slot, Stop, Victim, within_liveness};
use mp_tests::sweep::Verdict;

/// Long enough for a victim to be stepped as far as its sleep.
const TIMEOUT: Duration = Duration::from_millis(150);

type Words = RwLock<[u64; 4]>;

fn new() -> Words {
    RwLock::new([0; 4]).expect("a lock")
}

/// The guard, whoever died before.
fn any<G>(result: LockResult<G>) -> G {
    result.or_else(LockError::ignore_poison).expect("the lock")
}

fn write(mut guard: RwLockWriteGuard<'_, [u64; 4]>) {
    let next = guard[0] + 1;
    for word in guard.iter_mut() {
        *word = next;
    }
}

fn warm_up() {
    let lock = new();
    drop(lock.read().expect("the lock"));
    write(lock.write().expect("the lock"));
    assert!(lock.write_timeout(Duration::from_millis(1)).is_ok());
}

fn reader<'a>(lock: &'a Words, slot: &'a Slot) -> Role {
    Role::fork(|| {
        slot.ready();
        let torn = match lock.read() {
            Ok(guard) => guard.iter().any(|word| *word != guard[0]),
            Err(error) => !matches!(error, LockError::Poisoned(_)),
        };
        slot.note(u64::from(torn));
        slot.done(0);
    })
}

fn writer<'a>(lock: &'a Words, slot: &'a Slot) -> Role {
    Role::fork(|| {
        slot.ready();
        write(any(lock.write()));
        slot.done(0);
    })
}

/// Who was there gets on without any further traffic, and so does who comes now.
fn finish(stop: Stop, board: &Board, lock: &Words, waiting: &[&Slot]) -> Verdict {
    let mut verdict = Verdict::new(stop);
    let all = || waiting.iter().all(|slot| slot.is_done());
    verdict.progress(within_liveness(all), "who waited");
    let late = [board.slot(4), board.slot(5)];
    let _late = [writer(lock, late[0]), reader(lock, late[1])];
    let all = || late.iter().all(|slot| slot.is_done());
    verdict.progress(within_liveness(all), "who came later");
    verdict.torn |= waiting.iter().chain(&late).flat_map(|slot| slot.noted()).any(|torn| torn != 0);
    verdict
}

/// The victim begins to read behind a writer, who waits for a reader.
pub(crate) fn read_behind_a_writer(kill: Kill) -> Verdict {
    let board = Board::new();
    let lock = new();
    let mut guard = Some(lock.read().expect("the lock"));
    let slot = board.slot(0);
    let writer = writer(&lock, slot);
    writer.await_asleep(slot);
    let stop = Victim::start(&board, warm_up, |()| drop(any(lock.read())))
        .run(kill, || guard.take().is_some());
    drop(guard);
    finish(stop, &board, &lock, &[slot])
}

/// The victim ends its reading, for which a writer waits, and for that one a reader.
pub(crate) fn read_end(kill: Kill) -> Verdict {
    let board = Board::new();
    let lock = new();
    let prepare = || {
        warm_up();
        lock.read().expect("the lock")
    };
    let victim = Victim::start(&board, prepare, drop);
    let slots = [board.slot(0), board.slot(1)];
    let first = writer(&lock, slots[0]);
    first.await_asleep(slots[0]);
    let second = reader(&lock, slots[1]);
    second.await_asleep(slots[1]);
    finish(victim.run(kill, || false), &board, &lock, &slots)
}

/// The victim writes, while a reader and a writer sleep.
pub(crate) fn write_with_sleepers(kill: Kill) -> Verdict {
    let board = Board::new();
    let lock = new();
    let prepare = || {
        warm_up();
        lock.write().expect("the lock")
    };
    let victim = Victim::start(&board, prepare, write);
    let slots = [board.slot(0), board.slot(1)];
    let roles = [reader(&lock, slots[0]), writer(&lock, slots[1])];
    roles.iter().zip(slots).for_each(|(role, slot)| role.await_asleep(slot));
    finish(victim.run(kill, || false), &board, &lock, &slots)
}

/// The victim waits for a reader to end; behind it sleep another writer and another reader.
pub(crate) fn write_behind_a_reader(kill: Kill) -> Verdict {
    let board = Board::new();
    let lock = new();
    let guard = lock.read().expect("the lock");
    let slots = [board.slot(0), board.slot(1)];
    let mut guard = Some(guard);
    let mut behind = Vec::new();
    let stop = Victim::start(&board, warm_up, |()| write(any(lock.write()))).run(kill, || {
        if behind.is_empty() {
            behind = vec![writer(&lock, slots[0]), reader(&lock, slots[1])];
            behind.iter().zip(slots).for_each(|(role, slot)| role.await_asleep(slot));
        }
        guard.take().is_some()
    });
    drop(guard);
    let waiting = if behind.is_empty() { &slots[..0] } else { &slots[..] };
    finish(stop, &board, &lock, waiting)
}

/// The victim waits for a reader until its time is up; behind it sleeps another writer.
pub(crate) fn write_timeout(kill: Kill) -> Verdict {
    let board = Board::new();
    let lock = new();
    let guard = lock.read().expect("the lock");
    let slot = board.slot(0);
    let mut behind = Vec::new();
    let timed_out = &board.slot(6).values[0];
    let operate = |()| {
        let late = matches!(lock.write_timeout(TIMEOUT), Err(LockError::TimedOut));
        timed_out.store(u64::from(late) + 1, SeqCst);
    };
    let stop = Victim::start(&board, warm_up, operate).run(kill, || {
        if behind.is_empty() {
            behind.push(writer(&lock, slot));
        }
        true
    });
    drop(guard);
    let waiting: &[&Slot] = if behind.is_empty() { &[] } else { &[slot] };
    let mut verdict = finish(stop, &board, &lock, waiting);
    verdict.doubled |= timed_out.load(SeqCst) == 1;
    verdict
}

/// One is killed while it writes, and the victim is the next writer, behind whom another writer and a reader sleep: two deaths.
pub(crate) fn write_heir(kill: Kill) -> Verdict {
    let board = Board::new();
    let lock = new();
    let half = board.slot(2);
    let mut first = Role::fork(|| {
        let mut guard = lock.write().expect("the lock");
        guard[0] += 1;
        half.ready();
        loop {
            std::thread::park();
        }
    });
    let (ready, _) = within_liveness(|| half.state.load(SeqCst) == 1);
    assert!(ready, "the first one does not get the lock");
    let put_right = |()| {
        let mut guard = any(lock.write());
        let next = guard[0] + 1;
        guard.iter_mut().for_each(|word| *word = next);
        lock.clear_poison();
        drop(guard);
    };
    let slots = [board.slot(0), board.slot(1)];
    let mut behind = Vec::new();
    let stop = Victim::start(&board, warm_up, put_right).run(kill, || {
        // The victim sleeps first, so that it is the one that the death wakes.
        if behind.is_empty() {
            behind = vec![writer(&lock, slots[0]), reader(&lock, slots[1])];
            behind.iter().zip(slots).for_each(|(role, slot)| role.await_asleep(slot));
        }
        first.kill();
        true
    });
    first.kill();
    let waiting = if behind.is_empty() { &slots[..0] } else { &slots[..] };
    finish(stop, &board, &lock, waiting)
}
