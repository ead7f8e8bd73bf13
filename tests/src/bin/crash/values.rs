//! Values and vectors of `mp-shared`: what is changed is changed as a whole, or known to be in disorder.

use std::sync::atomic::{Ordering::SeqCst, compiler_fence};

use mp_shared::bytemuck::Pod;
use mp_shared::{ChunkedArray, ChunkedGuard, ErrorKind, LockError, SharedVec, Value};
use mp_tests::step::{Board, End, Kill, Role, Slot, Victim, within_liveness};
use mp_tests::sweep::Verdict;

/// What a survivor found.
const OLD: u64 = 1;
const NEW: u64 = 2;
const MIXED: u64 = 3;
const POISONED: u64 = 4;
/// In disorder, and nobody said so.
const UNTOLD: u64 = 5;
/// Added to what was found by one who was told that it is poisoned.
const TOLD: u64 = 100;

type Triple = [u64; 3];

/// What those found who slept before the lock, and one who came later.
struct Found(Vec<u64>);

impl Found {
    fn has(&self, what: u64) -> bool {
        self.0.contains(&what)
    }
}

/// Forks those who `look` at something once the victim, who has the lock, lets go of it, or dies.
fn sleepers(board: &Board, look: &impl Fn() -> u64) -> [Role; 2] {
    [0, 1].map(|index| {
        let slot = board.slot(index);
        let role = Role::fork(|| looker(slot, look));
        role.await_asleep(slot);
        role
    })
}

fn looker(slot: &Slot, look: &impl Fn() -> u64) {
    slot.ready();
    slot.note(look());
    slot.done(0);
}

/// Waits for those who slept, if there were any, and lets one more look.
fn survivors(board: &Board, slept: bool, look: &impl Fn() -> u64, verdict: &mut Verdict) -> Found {
    let slots: Vec<&Slot> = if slept { vec![board.slot(0), board.slot(1)] } else { Vec::new() };
    let all = || slots.iter().all(|slot| slot.is_done());
    verdict.progress(within_liveness(all), "who slept before the lock");
    let last = board.slot(5);
    let _last = Role::fork(|| looker(last, look));
    verdict.progress(within_liveness(|| last.is_done()), "the next one");
    Found(slots.into_iter().chain([last]).flat_map(|slot| slot.noted()).collect())
}

/// Says which of the two the value is.
fn look_at<T: Pod + PartialEq>(value: &Value<T>, old: T, new: T) -> u64 {
    match value.get() {
        Ok(found) if found == old => OLD,
        Ok(found) if found == new => NEW,
        Ok(_) => UNTOLD,
        Err(error) if error.kind() == ErrorKind::Poisoned => {
            let guard = value.lock().or_else(LockError::ignore_poison).expect("the lock");
            if *guard == old || *guard == new { POISONED } else { MIXED }
        }
        Err(_) => UNTOLD,
    }
}

/// The old value or the new one; or poison, if it cannot be written in one step.
fn change<T: Pod + PartialEq>(kill: Kill, old: T, new: T, change: impl Fn(&Value<T>)) -> Verdict {
    let (board, value) = (Board::new(), Value::new(old).expect("a value"));
    let warm_up = || change(&Value::new(old).expect("a value"));
    let stop = Victim::start(&board, warm_up, |()| change(&value)).run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let found = survivors(&board, false, &|| look_at(&value, old, new), &mut verdict);
    let one_step = size_of::<T>() <= 8;
    verdict.torn |= found.has(UNTOLD) || one_step && (found.has(MIXED) || found.has(POISONED));
    verdict.lost |= stop.end == End::Completed && !found.has(NEW);
    verdict
}

/// A word is the old or the new one, never poisoned.
pub(crate) fn update(kill: Kill) -> Verdict {
    change(kill, 7, u64::MAX, |value| drop(value.update(|_| u64::MAX)))
}

/// The same, where no code of the user runs.
pub(crate) fn fetch_add(kill: Kill) -> Verdict {
    change(kill, u64::MAX / 2, u64::MAX, |value| drop(value.fetch_add(u64::MAX / 2 + 1)))
}

/// Three words are the old or the new ones, or poisoned.
pub(crate) fn update_of_three(kill: Kill) -> Verdict {
    let new = [u64::MAX, 8, 9];
    change(kill, [1, 2, 3], new, |value| drop(value.update(|_| new)))
}

/// The victim holds a guard and writes two fields, while two others sleep on the lock.
///
/// Whoever comes next is told of poison if the victim had not let go, and sees both fields written if it had.
pub(crate) fn guard_with_waiters(kill: Kill) -> Verdict {
    let (old, new): (Triple, Triple) = ([1, 2, 3], [7, 2, 9]);
    let (board, value) = (Board::new(), Value::new(old).expect("a value"));
    let take = || {
        drop(Value::new(old).expect("a value").lock());
        value.lock().expect("the lock")
    };
    let victim = Victim::start(&board, take, |mut guard| {
        guard[0] = new[0];
        compiler_fence(SeqCst);
        guard[2] = new[2];
        drop(guard);
    });
    let look = || look_at(&value, old, new);
    let _sleepers = sleepers(&board, &look);
    let stop = victim.run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let found = survivors(&board, true, &look, &mut verdict);
    let told = found.has(MIXED) || found.has(POISONED);
    // It has the guard from the first step on: what is in order then has been left so.
    verdict.torn |= found.has(UNTOLD) || found.has(OLD) || told && found.has(NEW);
    verdict.lost |= stop.end == End::Completed && told;
    verdict
}

/// One dies with the value half written, and the victim is the one who puts it right.
///
/// Until it has let go the value stays poisoned: two deaths do not lose the news of one.
pub(crate) fn recovery(kill: Kill) -> Verdict {
    let (old, new): (Triple, Triple) = ([1, 2, 3], [7, 2, 9]);
    let leave_in_disorder = |value: &Value<Triple>, slot: &Slot| {
        let mut first = Role::fork(|| {
            let mut guard = value.lock().expect("the lock");
            guard[0] = new[0];
            slot.ready();
            loop {
                std::thread::park();
            }
        });
        let (ready, _) = within_liveness(|| slot.state.load(SeqCst) == 1);
        assert!(ready, "the first one does not get the lock");
        first.kill();
    };
    let put_right = |value: &Value<Triple>| {
        let Err(LockError::Poisoned(poison)) = value.lock() else { panic!("it is poisoned") };
        let mut guard = poison.into_inner();
        guard[2] = new[2];
        value.clear_poison();
    };
    let (board, value) = (Board::new(), Value::new(old).expect("a value"));
    leave_in_disorder(&value, board.slot(2));
    let other = Value::new(old).expect("a value");
    leave_in_disorder(&other, board.slot(3));
    let stop =
        Victim::start(&board, || put_right(&other), |()| put_right(&value)).run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let look = || look_at(&value, old, new);
    let found = survivors(&board, false, &look, &mut verdict);
    verdict.torn |= found.has(UNTOLD) || found.has(OLD);
    verdict.lost |= stop.end == End::Completed && !found.has(NEW);
    verdict
}

const CHUNKS_OLD: [u64; 4] = [1, 2, 3, 4];
const CHUNKS_NEW: [u64; 4] = [7, 2, 3, 9];

fn chunks() -> ChunkedArray<u64> {
    ChunkedArray::from_slice(&CHUNKS_OLD, 2).expect("an array")
}

fn write_chunks(mut guard: ChunkedGuard<'_, u64>) {
    guard[0] = CHUNKS_NEW[0];
    compiler_fence(SeqCst);
    guard[3] = CHUNKS_NEW[3];
    drop(guard);
}

/// Says what all elements are, which lie in two chunks, under both locks.
fn look_at_chunks(array: &ChunkedArray<u64>) -> u64 {
    let whole = |found: &[u64]| found == CHUNKS_OLD || found == CHUNKS_NEW;
    match array.lock(..) {
        Ok(guard) if *guard == CHUNKS_OLD => OLD,
        Ok(guard) if *guard == CHUNKS_NEW => NEW,
        Err(LockError::Poisoned(poison)) if whole(poison.get_ref()) => POISONED,
        Err(LockError::Poisoned(_)) => MIXED,
        _ => UNTOLD,
    }
}

/// The victim takes the locks of two chunks, writes into both, and lets go.
pub(crate) fn chunks_alone(kill: Kill) -> Verdict {
    let (board, array) = (Board::new(), chunks());
    let change = |array: &ChunkedArray<u64>| write_chunks(array.lock(..).expect("the locks"));
    let warm_up = || change(&chunks());
    let stop = Victim::start(&board, warm_up, |()| change(&array)).run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let found = survivors(&board, false, &|| look_at_chunks(&array), &mut verdict);
    verdict.torn |= found.has(UNTOLD);
    verdict.lost |= stop.end == End::Completed && !found.has(NEW);
    verdict
}

/// The victim has the locks of two chunks and writes into both, while two others sleep on the first.
pub(crate) fn chunks_with_waiters(kill: Kill) -> Verdict {
    let (board, array) = (Board::new(), chunks());
    let take = || {
        write_chunks(chunks().lock(..).expect("the locks"));
        array.lock(..).expect("the locks")
    };
    let victim = Victim::start(&board, take, write_chunks);
    let look = || look_at_chunks(&array);
    let _sleepers = sleepers(&board, &look);
    let stop = victim.run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let found = survivors(&board, true, &look, &mut verdict);
    let told = found.has(MIXED) || found.has(POISONED);
    verdict.torn |= found.has(UNTOLD) || found.has(OLD) || told && found.has(NEW);
    verdict.lost |= stop.end == End::Completed && told;
    verdict
}

/// What a vector is made of before: enough that the next push needs memory.
fn full() -> SharedVec<Triple> {
    let vector = SharedVec::with_max_len(1 << 20).expect("a vector");
    vector.shrink_to_fit().expect("less memory");
    for index in 0..vector.capacity() as u64 {
        vector.push([index; 3]).expect("room");
    }
    assert_eq!(vector.len(), vector.capacity(), "the next push grows");
    vector
}

const PUSHED: Triple = [u64::MAX, 5, u64::MAX];

/// Says whether the vector is that of before, or the one that the victim makes of it, and works.
///
/// All of it under the lock, and adds [`TOLD`] if that was poisoned, which it is not any more.
fn look_at_vector(vector: &SharedVec<Triple>, old: usize, new: usize) -> u64 {
    let (mut guard, told) = match vector.lock() {
        Ok(guard) => (guard, 0),
        Err(LockError::Poisoned(poison)) => (poison.into_inner(), TOLD),
        Err(_) => return UNTOLD,
    };
    vector.clear_poison();
    let (len, kept) = (guard.len(), old.min(new));
    let element = |index: usize| if index < kept || new < old { [index as u64; 3] } else { PUSHED };
    let sound = guard.iter().enumerate().all(|(index, &found)| found == element(index));
    // Whoever comes next can add, and take away again.
    let works = guard.push([0; 3]).is_ok() && guard.len() == len + 1 && guard.pop() == Some([0; 3]);
    let found = match len {
        _ if !sound || !works => UNTOLD,
        len if len == old => OLD,
        len if len == new => NEW,
        _ => MIXED,
    };
    told + found
}

/// The victim makes the vector longer or shorter, from `old` to `new` elements.
fn resize(
    kill: Kill,
    vector: &SharedVec<Triple>,
    new: usize,
    change: impl Fn(&SharedVec<Triple>),
) -> Verdict {
    let (board, old) = (Board::new(), vector.len());
    let warm_up = || change(&full());
    let stop = Victim::start(&board, warm_up, |()| change(vector)).run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let look = || look_at_vector(vector, old, new);
    let found = survivors(&board, false, &look, &mut verdict);
    judge(&found, &mut verdict);
    verdict
}

fn judge(found: &Found, verdict: &mut Verdict) {
    let strange = found.0.iter().any(|found| ![OLD, NEW].contains(found));
    verdict.torn |= strange || found.has(OLD) && found.has(NEW);
    verdict.lost |= verdict.stop.end == End::Completed && !found.has(NEW);
}

/// There is memory for one more.
pub(crate) fn push(kill: Kill) -> Verdict {
    let vector = full();
    let last = vector.pop().expect("the lock");
    assert!(last.is_some(), "there was one");
    resize(kill, &vector, vector.len() + 1, |vector| drop(vector.push(PUSHED)))
}

/// The vector gets shorter, and gives memory back.
pub(crate) fn truncate(kill: Kill) -> Verdict {
    // So many that the memory which is given back has had elements in it.
    let elements: Vec<Triple> = (0..20_000).map(|index| [index; 3]).collect();
    let vector = SharedVec::with_max_len(1 << 20).expect("a vector");
    vector.extend_from_slice(&elements).expect("memory");
    let before = vector.capacity();
    let verdict = resize(kill, &vector, 5, |vector| drop(vector.truncate(5)));
    let completed = verdict.stop.end == End::Completed;
    assert!(!completed || vector.capacity() < before / 2, "memory is given back");
    verdict
}

/// The victim has the guard and adds an element, for which there is no memory yet, while two others sleep on the lock.
///
/// It is poisoned then, unless the victim has let go, but its length is the old or the new one.
pub(crate) fn push_that_grows_with_waiters(kill: Kill) -> Verdict {
    let (board, vector) = (Board::new(), full());
    let (old, new) = (vector.len(), vector.len() + 1);
    let take = || {
        let other = full();
        drop(other.lock().expect("the lock").push(PUSHED));
        vector.lock().expect("the lock")
    };
    let victim = Victim::start(&board, take, |mut guard| {
        let pushed = guard.push(PUSHED);
        drop(guard);
        assert!(pushed.is_ok(), "there is memory");
    });
    let look = || look_at_vector(&vector, old, new);
    let _sleepers = sleepers(&board, &look);
    let stop = victim.run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let mut found = survivors(&board, true, &look, &mut verdict);
    // The first to come after the dead one is told, and says that all is well again.
    let told = found.0.iter().filter(|&&found| found > TOLD).count();
    found.0.iter_mut().for_each(|found| *found %= TOLD);
    verdict.doubled |= told > 1;
    verdict.lost |= told == 1 && stop.end == End::Completed;
    verdict.lost |= told == 0 && found.has(OLD);
    judge(&found, &mut verdict);
    verdict
}

/// There is no memory for one more yet.
pub(crate) fn push_that_grows(kill: Kill) -> Verdict {
    let vector = full();
    resize(kill, &vector, vector.len() + 1, |vector| drop(vector.push(PUSHED)))
}
