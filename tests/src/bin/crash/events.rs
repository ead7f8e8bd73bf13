//! The event of `mp-shared`.

use mp_shared::Event;
use mp_tests::step::{Board, End, Kill, Role, Victim, within_liveness};
use mp_tests::sweep::Verdict;

fn waiter(event: &Event, board: &Board, index: usize) -> Role {
    let slot = board.slot(index);
    let role = Role::fork(|| {
        slot.ready();
        event.wait();
        slot.done(0);
    });
    role.await_asleep(slot);
    role
}

/// The event is set and both who wait for it go on, or it is not set.
pub(crate) fn set_with_waiters(kill: Kill) -> Verdict {
    let (board, event) = (Board::new(), Event::new().expect("an event"));
    let _waiters = [waiter(&event, &board, 0), waiter(&event, &board, 1)];
    let warm_up = || Event::new().expect("an event").set();
    let stop = Victim::start(&board, warm_up, |()| event.set()).run(kill, || false);
    let mut verdict = Verdict::new(stop);
    verdict.lost |= stop.end == End::Completed && !event.is_set();
    if !event.is_set() {
        verdict.torn |= board.slot(0).is_done() || board.slot(1).is_done();
        event.set();
    }
    let ended = within_liveness(|| board.slot(0).is_done() && board.slot(1).is_done());
    verdict.progress(ended, "who waits");
    verdict
}

/// One who waits dies, and the other goes on.
pub(crate) fn wait_beside_another(kill: Kill) -> Verdict {
    let (board, event) = (Board::new(), Event::new().expect("an event"));
    let _waiter = waiter(&event, &board, 0);
    let stop = Victim::start(&board, || (), |()| event.wait()).run(kill, || {
        let first = !event.is_set();
        event.set();
        first
    });
    let mut verdict = Verdict::new(stop);
    event.set();
    verdict.progress(within_liveness(|| board.slot(0).is_done()), "the other");
    verdict
}
