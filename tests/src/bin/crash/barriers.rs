//! The barrier of `mp-shared`.
//!
//! Some wait, the victim does something and is killed. If that concerns the others, they end without any further
//! traffic; if not, they go on waiting, and another party in the place of the victim sets them free. Either all pass, or
//! the barrier is broken for all. After a reset, all pass again.

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use mp_shared::{Barrier, BarrierError, Party};
use mp_tests::step::{Board, End, Kill, LIVENESS, Role, Slot, Victim, within_liveness};
use mp_tests::sweep::Verdict;

/// What a party notes of a wait.
const PASSED: u64 = 1;
const BROKEN: u64 = 2;
const ODD: u64 = 3;
/// It went on, and no action had been run, or more than one.
const NO_ACTION: u64 = 4;

/// The state of a party that has waited again after a reset.
const AGAIN: u32 = 3;

/// Others in the places 0 to 4 of the board, the victim's substitute in 5.
const SUBSTITUTE: usize = 5;
const IDLE: usize = 6;

/// How often the action was run.
fn runs(board: &Board) -> &AtomicU64 {
    &board.slot(7).values[0]
}

type Waited = Result<usize, BarrierError>;

/// A scenario.
struct Stage {
    board: Board,
    barrier: Barrier,
    others: Vec<Role>,
    /// How often each of the others waits.
    passes: usize,
    with_action: bool,
}

impl Stage {
    fn new(parties: usize) -> Self {
        let barrier = Barrier::new(parties).expect("a barrier");
        Self { board: Board::new(), barrier, others: Vec::new(), passes: 1, with_action: false }
    }

    /// With an action, which each party brings.
    fn with_action(parties: usize) -> Self {
        Self { with_action: true, ..Self::new(parties) }
    }

    fn wait(&self, party: Option<&mut Party<'_>>) -> Waited {
        let action = || {
            runs(&self.board).fetch_add(1, SeqCst);
        };
        match (party, self.with_action) {
            (None, false) => self.barrier.wait(),
            (None, true) => self.barrier.wait_with(action),
            (Some(party), false) => party.wait(),
            (Some(party), true) => party.wait_with(action),
        }
    }

    fn wait_and_note(&self, slot: &Slot, party: Option<&mut Party<'_>>) -> bool {
        let result = self.wait(party);
        slot.note(match result {
            Ok(_) if self.with_action && runs(&self.board).load(SeqCst) != 1 => NO_ACTION,
            Ok(_) => PASSED,
            Err(BarrierError::Broken) => BROKEN,
            Err(_) => ODD,
        });
        result.is_ok()
    }

    /// Starts another party, which waits, until it sleeps or is through. The first of two is registered.
    fn start(&mut self) {
        let index = self.others.len();
        let slot = self.board.slot(index);
        let role = Role::fork(|| {
            let mut party =
                index.is_multiple_of(2).then(|| self.barrier.register().expect("a place"));
            slot.ready();
            for _ in 0..self.passes {
                if !self.wait_and_note(slot, party.as_mut()) {
                    break;
                }
            }
            slot.done(0);
            while slot.go.load(SeqCst) == 0 {
                std::thread::sleep(Duration::from_micros(200));
            }
            let again = self.barrier.wait();
            slot.state.store(if again.is_ok() { AGAIN } else { 0 }, SeqCst);
        });
        role.await_asleep(slot);
        self.others.push(role);
    }

    /// Starts a process that is registered, and does not wait.
    fn idle(&self) -> Role {
        let slot = self.board.slot(IDLE);
        let role = Role::fork(|| {
            let _party = self.barrier.register().expect("a place");
            slot.ready();
            loop {
                std::thread::park();
            }
        });
        role.await_asleep(slot);
        role
    }

    fn start_until(&mut self, count: usize) {
        while self.others.len() < count {
            self.start();
        }
    }

    fn all(&self, test: impl Fn(&Slot) -> bool) -> bool {
        (0..self.others.len()).all(|index| test(self.board.slot(index)))
    }

    /// Whether what the victim did concerns the others. Nothing but a look at the barrier.
    fn concerned(&self) -> bool {
        let all = self.others.len();
        self.barrier.registered() != all
            || self.barrier.waiting() != all
            || self.barrier.is_broken()
    }

    /// Looks after the others, all of whom have been started.
    fn conclude(&self, verdict: &mut Verdict) {
        let ended = || self.all(Slot::is_done);
        let unconcerned = || !self.concerned();
        verdict.progress(within_liveness(|| ended() || unconcerned()), "who waits");
        let mut noted = Vec::new();
        let mut substitute = None;
        if !ended() && unconcerned() {
            let slot = self.board.slot(SUBSTITUTE);
            substitute = Some(Role::fork(|| {
                self.wait_and_note(slot, None);
                slot.done(0);
            }));
            verdict.progress(within_liveness(|| slot.is_done()), "the substitute");
            verdict.progress(within_liveness(ended), "who waits with the substitute");
            // What concerned nobody breaks nothing.
            verdict.lost |= slot.noted() != [PASSED];
            noted.push(slot.noted());
        }
        noted.extend((0..self.others.len()).map(|index| self.board.slot(index).noted()));
        verdict.torn |= noted.iter().any(|all| all != &noted[0]);
        let all = noted.concat();
        verdict.torn |= all.contains(&NO_ACTION) || all.contains(&ODD);
        verdict.doubled |= runs(&self.board).load(SeqCst) > 1;
        drop(substitute);
        if !verdict.hang {
            self.again(verdict);
        }
        if verdict.torn || verdict.hang || verdict.lost {
            verdict.note.push_str(&format!("{noted:?}, {:?}; ", self.barrier));
        }
    }

    /// After a reset, they and this process pass.
    fn again(&self, verdict: &mut Verdict) {
        self.barrier.reset().expect("a reset");
        // This process takes the place of the victim; others may be missing.
        let missing = self.others.len() + 1..self.barrier.parties();
        let _more: Vec<_> = missing
            .map(|_| {
                Role::fork(|| {
                    let _ = self.barrier.wait_timeout(LIVENESS);
                })
            })
            .collect();
        for index in 0..self.others.len() {
            self.board.slot(index).go.store(1, SeqCst);
        }
        let passed = self.barrier.wait_timeout(LIVENESS);
        verdict.lost |= passed.is_err();
        let all = || self.all(|slot| slot.state.load(SeqCst) == AGAIN);
        verdict.progress(within_liveness(all), "who passes after a reset");
    }
}

fn warm_up() {
    let barrier = Barrier::new(1).expect("a barrier");
    barrier.wait_with(|| ()).expect("to pass");
    barrier.register().expect("a place").wait().expect("to pass");
}

/// The victim waits, with so many others before it and so many after it.
fn wait(kill: Kill, mut stage: Stage, before: usize, after: usize, registered: bool) -> Verdict {
    stage.start_until(before);
    let board = Board::new();
    let stop = {
        let barrier = stage.barrier.clone();
        let prepare = || {
            warm_up();
            registered.then(|| barrier.register().expect("a place"))
        };
        let (action, board_of_runs) = (stage.with_action, &stage.board);
        let act = || {
            runs(board_of_runs).fetch_add(1, SeqCst);
        };
        let waiting = barrier.clone();
        let operate = |mut party: Option<Party<'_>>| {
            let result = match (party.as_mut(), action) {
                (None, false) => waiting.wait(),
                (None, true) => waiting.wait_with(act),
                (Some(party), false) => party.wait(),
                (Some(party), true) => party.wait_with(act),
            };
            assert!(result.is_ok());
            // Stays registered until it is killed.
            let _ = ManuallyDrop::new(party);
        };
        let victim = Victim::start(&board, prepare, operate);
        victim.run(kill, || {
            let some = stage.others.len() < before + after;
            stage.start_until(before + after);
            some
        })
    };
    let mut verdict = Verdict::new(stop);
    if stage.concerned() {
        // Before anybody else comes and looks.
        verdict.progress(within_liveness(|| stage.all(Slot::is_done)), "who came before");
    }
    stage.start_until(before + after);
    stage.conclude(&mut verdict);
    // All passed if the victim did, which was the last.
    let passed = stage.all(|slot| slot.noted() == [PASSED]);
    verdict.lost |= stop.end == End::Completed && after == 0 && !passed;
    verdict
}

/// Nobody else is there yet.
pub(crate) fn wait_first(kill: Kill) -> Verdict {
    wait(kill, Stage::new(3), 0, 2, false)
}

/// One sleeps, one comes later.
pub(crate) fn wait_between(kill: Kill) -> Verdict {
    wait(kill, Stage::new(3), 1, 1, false)
}

/// All others sleep.
pub(crate) fn wait_last(kill: Kill) -> Verdict {
    wait(kill, Stage::new(3), 2, 0, false)
}

/// As above, and the victim is registered before.
pub(crate) fn party_between(kill: Kill) -> Verdict {
    wait(kill, Stage::new(3), 1, 1, true)
}

/// All others sleep, and the victim runs the action.
pub(crate) fn action(kill: Kill) -> Verdict {
    wait(kill, Stage::with_action(3), 2, 0, false)
}

/// As above, and the victim is registered before.
pub(crate) fn party_action(kill: Kill) -> Verdict {
    wait(kill, Stage::with_action(3), 2, 0, true)
}

/// The victim is registered and passes twice, as the two others do.
pub(crate) fn party_twice(kill: Kill) -> Verdict {
    let mut stage = Stage { passes: 2, ..Stage::new(3) };
    let barrier = stage.barrier.clone();
    let board = Board::new();
    let prepare = || {
        warm_up();
        barrier.register().expect("a place")
    };
    let operate = |mut party: Party<'_>| {
        let passed = party.wait().is_ok() && party.wait().is_ok();
        assert!(passed);
        let _ = ManuallyDrop::new(party);
    };
    stage.start_until(2);
    // Asleep in the second pass, it is woken by the others, which come by themselves.
    let stop = Victim::start(&board, prepare, operate).run(kill, || true);
    let mut verdict = Verdict::new(stop);
    stage.conclude(&mut verdict);
    verdict
}

/// The victim does something else while two others sleep.
fn beside<T>(
    kill: Kill,
    mut stage: Stage,
    prepare: impl FnOnce() -> T,
    operate: impl FnOnce(T),
    then: u64,
) -> Verdict {
    stage.start_until(2);
    let board = Board::new();
    let prepare = || {
        warm_up();
        prepare()
    };
    let stop = Victim::start(&board, prepare, operate).run(kill, || false);
    let mut verdict = Verdict::new(stop);
    stage.conclude(&mut verdict);
    // What it has done, it has done.
    let so = stage.all(|slot| slot.noted() == [then]);
    verdict.lost |= stop.end == End::Completed && !so;
    verdict
}

/// The victim registers.
pub(crate) fn register(kill: Kill) -> Verdict {
    let stage = Stage::new(3);
    let barrier = stage.barrier.clone();
    let operate = |()| {
        let _ = ManuallyDrop::new(barrier.register().expect("a place"));
    };
    beside(kill, stage, || (), operate, BROKEN)
}

/// The victim is registered, and leaves.
pub(crate) fn leave(kill: Kill) -> Verdict {
    let stage = Stage::new(3);
    let barrier = stage.barrier.clone();
    beside(kill, stage, || barrier.register().expect("a place"), drop, PASSED)
}

/// The victim breaks the barrier.
pub(crate) fn abort(kill: Kill) -> Verdict {
    let stage = Stage::new(3);
    let barrier = stage.barrier.clone();
    beside(kill, stage, || (), |()| barrier.abort().expect("to abort"), BROKEN)
}

/// The victim resets the barrier.
pub(crate) fn reset(kill: Kill) -> Verdict {
    let stage = Stage::new(3);
    let barrier = stage.barrier.clone();
    beside(kill, stage, || (), |()| barrier.reset().expect("a reset"), BROKEN)
}

/// The victim is the one whom another's death wakes, and is killed on its way to tell the others.
pub(crate) fn heir(kill: Kill) -> Verdict {
    let mut stage = Stage::new(4);
    let barrier = stage.barrier.clone();
    let board = Board::new();
    let mut dead = stage.idle();
    // Asleep before the others, it is the one that is woken.
    let operate = |()| assert_eq!(barrier.wait(), Err(BarrierError::Broken));
    let stop = Victim::start(&board, warm_up, operate).run(kill, || {
        let some = stage.others.is_empty();
        stage.start_until(2);
        dead.kill();
        some
    });
    let mut verdict = Verdict::new(stop);
    stage.start_until(2);
    dead.kill();
    verdict.progress(within_liveness(|| stage.all(Slot::is_done)), "who waits");
    verdict.lost |= !stage.all(|slot| slot.noted() == [BROKEN]);
    if !verdict.hang {
        stage.again(&mut verdict);
    }
    verdict
}

/// The victim resets a barrier that a death has broken.
pub(crate) fn mend(kill: Kill) -> Verdict {
    let mut stage = Stage::new(3);
    let barrier = stage.barrier.clone();
    let board = Board::new();
    stage.idle().kill();
    let operate = |()| barrier.reset().expect("a reset");
    let stop = Victim::start(&board, warm_up, operate).run(kill, || false);
    let mut verdict = Verdict::new(stop);
    stage.start_until(2);
    stage.conclude(&mut verdict);
    let passed = stage.all(|slot| slot.noted() == [PASSED]);
    verdict.lost |= stop.end == End::Completed && !passed;
    verdict
}
