//! The condition of `mp-shared`, and what is done once.
//!
//! Consumers take items from a count that a lock protects. A notification that was issued is taken by somebody alive; whoever dies inside
//! the lock leaves the count to the others, as it is.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use mp_shared::{Condition, Lock, LockError, LockGuard, LockResult, Once, OnceState};
use mp_tests::step::{Board, End, Kill, Role, Slot, Victim, within_liveness};
use mp_tests::sweep::Verdict;

/// Long enough for a victim to be stepped as far as its sleep.
const TIMEOUT: Duration = Duration::from_millis(150);

struct Store<'a> {
    lock: Lock,
    condition: Condition,
    items: &'a AtomicU64,
}

/// The guard, whoever died before.
fn any<G>(result: LockResult<G>) -> G {
    result.or_else(LockError::ignore_poison).expect("the lock")
}

impl<'a> Store<'a> {
    fn new(board: &'a Board) -> Self {
        let (lock, condition) =
            (Lock::new().expect("a lock"), Condition::new().expect("a condition"));
        Self { lock, condition, items: &board.slot(6).values[0] }
    }

    fn warm_up(&self) {
        let guard = any(self.lock.lock());
        let _ = self.condition.wait_timeout(guard, Duration::from_millis(1));
        self.condition.notify_one();
    }

    fn take(&self, wait: impl Fn(LockGuard<'_>) -> LockResult<LockGuard<'_>>) {
        let mut guard = any(self.lock.lock());
        while self.items.load(SeqCst) == 0 {
            guard = any(wait(guard));
        }
        self.items.fetch_sub(1, SeqCst);
        drop(guard);
    }

    fn put(&self, count: u64) {
        let guard = any(self.lock.lock());
        self.items.fetch_add(count, SeqCst);
        drop(guard);
    }

    fn consumer(&self, slot: &Slot) -> Role {
        let role = Role::fork(|| {
            slot.ready();
            self.take(|guard| self.condition.wait(guard));
            slot.done(0);
        });
        role.await_asleep(slot);
        role
    }

    /// Says whether some notification was issued that nobody has taken.
    fn is_outstanding(&self) -> bool {
        !format!("{:?}", self.condition).contains("notified: 0")
    }

    /// Everybody gets on if there are items for all.
    fn finish(&self, verdict: &mut Verdict, consumers: &[&Slot]) {
        self.put(consumers.len() as u64);
        self.condition.notify_all();
        let all = || consumers.iter().all(|slot| slot.is_done());
        verdict.progress(within_liveness(all), "who waits for items");
    }
}

/// The victim notifies, while two others sleep and there is an item for each.
fn notify(kill: Kill, count: usize) -> Verdict {
    let board = Board::new();
    let store = Store::new(&board);
    let slots = [board.slot(0), board.slot(1)];
    let _consumers = slots.map(|slot| store.consumer(slot));
    store.put(2);
    let operate = |()| store.condition.notify(count);
    let stop = Victim::start(&board, || Store::new(&board).warm_up(), operate).run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let taken = within_liveness(|| !store.is_outstanding());
    verdict.progress(taken, "who was notified");
    let gone = || slots.iter().filter(|slot| slot.is_done()).count();
    if stop.end == End::Completed {
        verdict.progress(within_liveness(|| gone() >= count.min(2)), "who should have gone on");
    }
    verdict.doubled |= count == 1 && gone() > 1;
    store.finish(&mut verdict, &slots);
    verdict
}

pub(crate) fn notify_one(kill: Kill) -> Verdict {
    notify(kill, 1)
}

pub(crate) fn notify_all(kill: Kill) -> Verdict {
    notify(kill, usize::MAX)
}

/// The victim waits beside another one, and there is one item: if the victim does not take it, the other one does.
pub(crate) fn wait(kill: Kill) -> Verdict {
    let board = Board::new();
    let store = Store::new(&board);
    let other = board.slot(0);
    let _other = store.consumer(other);
    let mut put = 0;
    let operate = |()| store.take(|guard| store.condition.wait(guard));
    let stop = Victim::start(&board, || Store::new(&board).warm_up(), operate).run(kill, || {
        // The other one may be faster, and then the victim sleeps again.
        put += 1;
        store.put(1);
        store.condition.notify_one();
        put < 10
    });
    let mut verdict = Verdict::new(stop);
    if put > 0 {
        // Taken, or left by one who died with the lock, or nobody else waits.
        let died_inside = || matches!(store.lock.try_lock(), Err(LockError::Poisoned(_)));
        let settled = || store.items.load(SeqCst) == 0 || other.is_done() || died_inside();
        verdict.progress(within_liveness(settled), "who waits beside the dead");
    }
    store.finish(&mut verdict, &[other]);
    verdict
}

/// The victim waits until its time is up, beside another one.
pub(crate) fn timeout(kill: Kill) -> Verdict {
    let board = Board::new();
    let store = Store::new(&board);
    let other = board.slot(0);
    let _other = store.consumer(other);
    let operate = |()| {
        let guard = any(store.lock.lock());
        drop(store.condition.wait_timeout(guard, TIMEOUT));
    };
    let stop = Victim::start(&board, || Store::new(&board).warm_up(), operate).run(kill, || true);
    let mut verdict = Verdict::new(stop);
    store.finish(&mut verdict, &[other]);
    verdict
}

/// Whoever notifies is killed with the lock: the victim, or the other one who waits, is the next to have it. Two deaths.
pub(crate) fn heir(kill: Kill) -> Verdict {
    let board = Board::new();
    let store = Store::new(&board);
    let other = board.slot(0);
    let take = || {
        store.take(|guard| {
            let result = store.condition.wait(guard);
            // Whoever has the lock has put right what there was.
            store.lock.clear_poison();
            result
        });
    };
    let consumer = Role::fork(|| {
        other.ready();
        take();
        other.done(0);
    });
    consumer.await_asleep(other);
    let mut deaths = 0;
    let stop =
        Victim::start(&board, || Store::new(&board).warm_up(), |()| take()).run(kill, || {
            deaths += 1;
            let slot = board.slot(deaths);
            let mut first = Role::fork(|| {
                let _guard = any(store.lock.lock());
                store.items.fetch_add(1, SeqCst);
                store.condition.notify_one();
                slot.ready();
                loop {
                    std::thread::park();
                }
            });
            let (ready, _) = within_liveness(|| slot.state.load(SeqCst) == 1);
            assert!(ready, "who notifies does not get the lock");
            first.kill();
            deaths < 5
        });
    let mut verdict = Verdict::new(stop);
    if deaths > 0 {
        // Taken, or left by one who died with the lock.
        let settled =
            || store.items.load(SeqCst) == 0 || other.is_done() || store.lock.is_poisoned();
        verdict.progress(within_liveness(settled), "who waits beside the dead");
    }
    store.finish(&mut verdict, &[other]);
    verdict
}

/// The victim does it, while one sleeps to do it and another one until it is done.
pub(crate) fn once(kill: Kill) -> Verdict {
    let board = Board::new();
    let once = Once::new().expect("an once");
    let steps = &board.slot(6).values;
    let action = || {
        steps[0].store(1, SeqCst);
        steps[1].store(1, SeqCst);
    };
    let slots = [board.slot(0), board.slot(1)];
    let mut roles = Vec::new();
    let warm_up = || {
        let other = Once::new().expect("an once");
        other.call_once(|_| ()).expect("nobody else");
    };
    let operate = |()| once.call_once(|_| action()).expect("no deadlock");
    let victim = Victim::start(&board, warm_up, operate);
    roles.push(Role::fork(|| {
        slots[0].ready();
        once.wait();
        slots[0].note(steps[1].load(SeqCst));
        slots[0].done(0);
    }));
    roles[0].await_asleep(slots[0]);
    let stop = victim.run(kill, || false);
    roles.push(Role::fork(|| {
        once.call_once(|_| action()).expect("no deadlock");
        slots[1].note(steps[1].load(SeqCst));
        slots[1].done(0);
    }));
    let mut verdict = Verdict::new(stop);
    verdict.lost |= stop.end == End::Completed && !once.is_completed();
    let all = || slots.iter().all(|slot| slot.is_done());
    verdict.progress(within_liveness(all), "who needs it done");
    verdict.torn |= slots.iter().flat_map(|slot| slot.noted()).any(|step| step != 1);
    verdict
}

/// One is killed while it does it, and the victim is the next one, before whom another one sleeps: two deaths.
pub(crate) fn once_heir(kill: Kill) -> Verdict {
    let board = Board::new();
    let once = Once::new().expect("an once");
    let (tried, done) = (&board.slot(6).values[0], &board.slot(6).values[1]);
    let mut first = Role::fork(|| {
        let action = |_: &_| {
            board.slot(2).ready();
            loop {
                std::thread::park();
            }
        };
        once.call_once(action).expect("no deadlock");
    });
    let (ready, _) = within_liveness(|| board.slot(2).state.load(SeqCst) == 1);
    assert!(ready, "the first one does not begin");
    let call = |once: &Once| {
        let action = |state: &OnceState| {
            tried.fetch_add(u64::from(!state.is_poisoned()), SeqCst);
            done.store(1, SeqCst);
        };
        once.call_once(action).expect("no deadlock");
    };
    let warm_up = || Once::new().expect("an once").call_once(|_| ()).expect("nobody else");
    let other = board.slot(0);
    let mut roles = Vec::new();
    let stop = Victim::start(&board, warm_up, |()| call(&once)).run(kill, || {
        // The victim sleeps first, so that it is the one that the death wakes.
        if roles.is_empty() {
            roles.push(Role::fork(|| {
                other.ready();
                call(&once);
                other.done(0);
            }));
            roles[0].await_asleep(other);
        }
        first.kill();
        true
    });
    first.kill();
    let mut verdict = Verdict::new(stop);
    if !roles.is_empty() {
        verdict.progress(within_liveness(|| other.is_done()), "who needs it done");
    }
    let late = board.slot(1);
    let _late = Role::fork(|| {
        late.ready();
        call(&once);
        late.done(0);
    });
    verdict.progress(within_liveness(|| late.is_done()), "who came later");
    verdict.lost |= !once.is_completed() || done.load(SeqCst) != 1;
    // Somebody has died at it: whoever does it has to be told.
    verdict.lost |= tried.load(SeqCst) != 0;
    verdict
}
