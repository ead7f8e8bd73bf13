//! The semaphores of `mp-shared`.
//!
//! After each death there are as many permits as before, but for one that the dead one was adding or using up, and all that nobody
//! alive holds can be taken: by those who slept for them, without further traffic, and at once by those who come later.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mp_shared::{Semaphore, SemaphoreGuard};
use mp_tests::step::{Board, End, Kill, Role, Slot, Stop, Victim, within_liveness};
use mp_tests::sweep::Verdict;

/// Long enough for a victim to be stepped as far as its sleep, and for the one who steps it to see that it sleeps; without
/// `--release` it is late by then, and the kernel lets it go at once.
const TIMEOUT: Duration = Duration::from_millis(150);

fn make(value: u32) -> Semaphore {
    Semaphore::new(value).expect("a semaphore")
}

fn acquire(permits: &Semaphore) -> SemaphoreGuard<'_> {
    permits.acquire().expect("a permit")
}

/// What happens only at the first time in a process has happened.
fn warm_up() {
    let permits = make(1);
    drop(acquire(&permits));
    let _ = permits.acquire_timeout(Duration::ZERO).map(SemaphoreGuard::forget);
    permits.release().expect("room for a permit");
    drop(format!("{:?}", std::time::Instant::now()));
}

/// One who takes a permit, says so, and holds it until it is told to let go.
struct Taker<'a> {
    role: Role,
    slot: &'a Slot,
}

impl<'a> Taker<'a> {
    fn start(permits: &Semaphore, board: &'a Board, index: usize) -> Self {
        let slot = board.slot(index);
        let role = Role::fork(|| {
            slot.ready();
            let guard = acquire(permits);
            slot.done(0);
            while slot.go.load(SeqCst) == 0 {
                std::thread::sleep(Duration::from_micros(20));
            }
            drop(guard);
            slot.note(0);
        });
        Self { role, slot }
    }

    /// One who has a permit.
    fn holding(permits: &Semaphore, board: &'a Board, index: usize) -> Self {
        let taker = Self::start(permits, board, index);
        assert!(within_liveness(|| taker.holds()).0, "a holder does not get its permit");
        taker
    }

    /// One who sleeps for a permit.
    fn asleep(permits: &Semaphore, board: &'a Board, index: usize) -> Self {
        let taker = Self::start(permits, board, index);
        taker.role.await_asleep(taker.slot);
        taker
    }

    fn holds(&self) -> bool {
        self.slot.is_done()
    }

    fn let_go(&self) {
        self.slot.go.store(1, SeqCst);
    }

    fn has_let_go(&self) -> bool {
        self.slot.count.load(SeqCst) > 0
    }
}

/// Everybody gets a permit in the end, and then `total` of them can be taken at once.
fn after_death(
    stop: Stop,
    permits: &Semaphore,
    board: &Board,
    takers: &[Taker<'_>],
    total: u64,
) -> Verdict {
    let mut verdict = Verdict::new(stop);
    finish(&mut verdict, permits, board, takers, total);
    verdict
}

fn finish(
    verdict: &mut Verdict,
    permits: &Semaphore,
    board: &Board,
    takers: &[Taker<'_>],
    total: u64,
) {
    takers.iter().for_each(Taker::let_go);
    verdict.progress(within_liveness(|| takers.iter().all(Taker::has_let_go)), "who waited");
    let slot = board.slot(7);
    let _role = Role::fork(|| {
        let guards: Vec<_> = (0..8).map_while(|_| permits.try_acquire().ok()).collect();
        slot.note(guards.len() as u64);
        slot.done(0);
    });
    verdict.progress(within_liveness(|| slot.is_done()), "who comes later");
    let count = slot.noted().first().copied().unwrap_or(total);
    verdict.lost |= count < total;
    verdict.doubled |= count > total;
    if count != total {
        verdict.note.push_str(&format!("{count} permits, not {total}; "));
    }
}

/// Waits until no permit is free, or nobody waits any more, and counts those who have one.
fn settle(verdict: &mut Verdict, permits: &Semaphore, takers: &[Taker<'_>]) -> usize {
    let count = || takers.iter().filter(|taker| taker.holds()).count();
    let settled = within_liveness(|| count() == takers.len() || permits.value() == 0);
    verdict.progress(settled, "who waits beside a free permit");
    // Who has taken the last one has yet to say so.
    for taker in takers {
        taker.role.await_asleep(taker.slot);
    }
    count()
}

/// Adds permits until all who wait have one.
fn feed(verdict: &mut Verdict, permits: &Semaphore, takers: &[Taker<'_>]) {
    while settle(verdict, permits, takers) < takers.len() && !verdict.hang {
        verdict.lost |= permits.release().is_err();
    }
}

/// Permits are free, and nobody else is there.
pub(crate) fn acquire_alone(kill: Kill) -> Verdict {
    let (board, permits) = (Board::new(), make(2));
    let operate = |()| drop((acquire(&permits), acquire(&permits)));
    let stop = Victim::start(&board, warm_up, operate).run(kill, || false);
    after_death(stop, &permits, &board, &[], 2)
}

/// No permit is free, and the call does not wait.
pub(crate) fn try_acquire_in_vain(kill: Kill) -> Verdict {
    let (board, permits) = (Board::new(), make(1));
    let takers = [Taker::holding(&permits, &board, 0)];
    let operate = |()| assert!(permits.try_acquire().is_err(), "there is a permit");
    let stop = Victim::start(&board, warm_up, operate).run(kill, || false);
    after_death(stop, &permits, &board, &takers, 1)
}

/// The victim waits as the first; another one comes behind it before a permit goes back.
pub(crate) fn acquire_as_leader(kill: Kill) -> Verdict {
    let (board, permits) = (Board::new(), make(1));
    let mut takers = vec![Taker::holding(&permits, &board, 0)];
    let operate = |()| drop(acquire(&permits));
    let stop = Victim::start(&board, warm_up, operate).run(kill, || {
        if takers.len() == 1 {
            takers.push(Taker::asleep(&permits, &board, 1));
        }
        takers[0].let_go();
        true
    });
    after_death(stop, &permits, &board, &takers, 1)
}

/// The victim waits behind another one, then as the first; a third one comes behind it.
pub(crate) fn acquire_as_follower(kill: Kill) -> Verdict {
    let (board, permits) = (Board::new(), make(1));
    let mut takers = vec![Taker::holding(&permits, &board, 0), Taker::asleep(&permits, &board, 1)];
    let operate = |()| drop(acquire(&permits));
    let stop = Victim::start(&board, warm_up, operate).run(kill, || {
        if takers.len() == 2 {
            takers.push(Taker::asleep(&permits, &board, 2));
            takers[0].let_go();
        } else {
            takers[1].let_go();
        }
        true
    });
    after_death(stop, &permits, &board, &takers, 1)
}

/// The victim waits as the first for a permit whose holder is killed; the one behind it is killed, too, when it is its turn.
pub(crate) fn acquire_among_deaths(kill: Kill) -> Verdict {
    let (board, permits) = (Board::new(), make(1));
    let mut owner = Some(Taker::holding(&permits, &board, 0));
    let mut others = None;
    let operate = |()| drop(acquire(&permits));
    let stop = Victim::start(&board, warm_up, operate).run(kill, || {
        others.get_or_insert_with(|| {
            [Taker::asleep(&permits, &board, 1), Taker::asleep(&permits, &board, 2)]
        });
        owner = None;
        true
    });
    owner.take();
    let mut takers = Vec::new();
    if let Some([second, third]) = others {
        drop(second);
        takers.push(third);
    }
    after_death(stop, &permits, &board, &takers, 1)
}

/// The victim waits as the first until its time is up; another one comes behind it.
pub(crate) fn timeout_as_leader(kill: Kill) -> Verdict {
    let (board, permits) = (Board::new(), make(1));
    let mut takers = vec![Taker::holding(&permits, &board, 0)];
    let operate = |()| drop(permits.acquire_timeout(TIMEOUT));
    let stop = Victim::start(&board, warm_up, operate).run(kill, || {
        if takers.len() == 1 {
            takers.push(Taker::asleep(&permits, &board, 1));
        }
        true
    });
    after_death(stop, &permits, &board, &takers, 1)
}

/// The victim waits behind another one until its time is up.
pub(crate) fn timeout_as_follower(kill: Kill) -> Verdict {
    let (board, permits) = (Board::new(), make(1));
    let takers = [Taker::holding(&permits, &board, 0), Taker::asleep(&permits, &board, 1)];
    let operate = |()| drop(permits.acquire_timeout(TIMEOUT));
    let stop = Victim::start(&board, warm_up, operate).run(kill, || true);
    after_death(stop, &permits, &board, &takers, 1)
}

/// The victim gives two permits back, for which two others sleep: both get theirs, whether it does or dies.
pub(crate) fn give_back_to_sleepers(kill: Kill) -> Verdict {
    let (board, permits) = (Board::new(), make(2));
    let take = || {
        warm_up();
        [acquire(&permits), acquire(&permits)]
    };
    let victim = Victim::start(&board, take, drop);
    let takers = [Taker::asleep(&permits, &board, 0), Taker::asleep(&permits, &board, 1)];
    let stop = victim.run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let both = || takers.iter().all(Taker::holds);
    verdict.progress(within_liveness(both), "who slept for a permit of the dead");
    finish(&mut verdict, &permits, &board, &takers, 2);
    verdict
}

/// The victim gives one permit back while two others sleep, and another one is held.
pub(crate) fn give_one_back(kill: Kill) -> Verdict {
    let (board, permits) = (Board::new(), make(2));
    let take = || {
        warm_up();
        acquire(&permits)
    };
    let victim = Victim::start(&board, take, drop);
    let takers = [
        Taker::holding(&permits, &board, 0),
        Taker::asleep(&permits, &board, 1),
        Taker::asleep(&permits, &board, 2),
    ];
    let stop = victim.run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let count = settle(&mut verdict, &permits, &takers);
    verdict.lost |= count < 2;
    verdict.doubled |= count > 2;
    finish(&mut verdict, &permits, &board, &takers, 2);
    verdict
}

/// The victim gives one permit back, for which another one sleeps, beside more than the kernel watches at a time.
pub(crate) fn give_back_among_many(kill: Kill) -> Verdict {
    const OTHERS: u32 = 130;
    let (board, permits) = (Board::new(), make(OTHERS + 1));
    let others: Vec<_> = (0..OTHERS).map(|_| acquire(&permits)).collect();
    let take = || {
        warm_up();
        acquire(&permits)
    };
    let victim = Victim::start(&board, take, drop);
    let takers = [Taker::asleep(&permits, &board, 0)];
    let stop = victim.run(kill, || false);
    let mut verdict = Verdict::new(stop);
    verdict.progress(within_liveness(|| takers[0].holds()), "who slept for the permit of the dead");
    finish(&mut verdict, &permits, &board, &takers, 1);
    drop(others);
    verdict.lost |= permits.value() != OTHERS + 1;
    verdict
}

/// The victim adds a permit, for which two others sleep: one of them gets it, or there is none.
pub(crate) fn release_to_sleepers(kill: Kill) -> Verdict {
    let (board, permits) = (Board::new(), make(0));
    let takers = [Taker::asleep(&permits, &board, 0), Taker::asleep(&permits, &board, 1)];
    let operate = |()| permits.release().expect("room for a permit");
    let stop = Victim::start(&board, warm_up, operate).run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let count = settle(&mut verdict, &permits, &takers);
    verdict.lost |= stop.end == End::Completed && count < 1;
    verdict.doubled |= count > 1;
    feed(&mut verdict, &permits, &takers);
    finish(&mut verdict, &permits, &board, &takers, 2);
    verdict
}

/// The victim adds a permit, after one who slept for it has been killed; another one comes later.
pub(crate) fn release_after_a_death(kill: Kill) -> Verdict {
    let (board, permits) = (Board::new(), make(0));
    drop(Taker::asleep(&permits, &board, 0));
    let operate = |()| permits.release().expect("room for a permit");
    let stop = Victim::start(&board, warm_up, operate).run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let takers = [Taker::start(&permits, &board, 1)];
    let count = settle(&mut verdict, &permits, &takers);
    verdict.lost |= stop.end == End::Completed && count < 1;
    feed(&mut verdict, &permits, &takers);
    finish(&mut verdict, &permits, &board, &takers, 1);
    verdict
}

/// The victim uses its permit up: nobody gets it, or it goes back, and one of two who sleep gets it.
pub(crate) fn forget_beside_sleepers(kill: Kill) -> Verdict {
    let (board, permits) = (Board::new(), make(1));
    let take = || {
        warm_up();
        acquire(&permits)
    };
    let victim = Victim::start(&board, take, SemaphoreGuard::forget);
    let takers = [Taker::asleep(&permits, &board, 0), Taker::asleep(&permits, &board, 1)];
    let stop = victim.run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let count = settle(&mut verdict, &permits, &takers);
    verdict.doubled |= count > usize::from(stop.end != End::Completed);
    feed(&mut verdict, &permits, &takers);
    finish(&mut verdict, &permits, &board, &takers, 2);
    verdict
}
