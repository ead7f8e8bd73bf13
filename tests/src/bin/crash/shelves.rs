//! The shelf of `mp-shared`, as the scenarios take it, and those of its leases.

use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mp_shared::ring::{GetError, PutError};
use mp_shared::shelf::{Lease, Mode, Order, Orphans, Shelf};
use mp_tests::step::{self, Board, End, Kill, LIVENESS, Role, Slot, Victim, within_liveness};
use mp_tests::sweep::Verdict;
use mp_wire::Deadline;

use crate::channel::{self, Channel, Outcome};
use crate::rings::{id, message};

/// Where all words lie that become visible at once: locks, commits, the journal and the state.
const HEADER: usize = 4096;

/// A shelf whose items show whether they are whole, by priority: the lower id first.
pub(crate) type TestShelf = Ordered<true>;

/// The same, first in, first out.
pub(crate) type TestFifo = Ordered<false>;

/// Either.
pub(crate) struct Ordered<const BY_ID: bool> {
    shelf: Shelf,
    bytes: RefCell<Vec<u8>>,
}

fn deadline(timeout: Option<Duration>) -> Deadline {
    match timeout {
        Some(Duration::ZERO) => Deadline::NOW,
        timeout => Deadline::from_timeout(timeout),
    }
}

impl<const BY_ID: bool> Channel for Ordered<BY_ID> {
    /// While the journal is written, and while it is applied.
    const FIRST_DEATHS: &[u64] = &[15, 24];

    fn make(bound: Option<usize>) -> Self {
        step::watch_first(HEADER);
        let order = if BY_ID { Order::Priority } else { Order::Fifo };
        let shelf = Shelf::builder(order).capacity(bound.unwrap_or(0)).build();
        Self { shelf: shelf.expect("a shelf"), bytes: RefCell::default() }
    }

    fn put(&self, id: u64, timeout: Option<Duration>) -> Outcome {
        match self.shelf.put(id as i64, &[&message(id)], deadline(timeout)) {
            Ok(()) => Outcome::Done(id),
            Err(PutError::Full) => Outcome::TimedOut,
            Err(PutError::Closed) => Outcome::Closed,
            Err(_) => Outcome::Failed,
        }
    }

    fn get(&self, timeout: Option<Duration>) -> Outcome {
        let mut bytes = self.bytes.borrow_mut();
        match self.shelf.get(&mut *bytes, deadline(timeout)) {
            Ok(priority) if !BY_ID || priority as u64 == id(&bytes) => Outcome::Done(id(&bytes)),
            Ok(_) => Outcome::Done(channel::TORN),
            Err(GetError::Empty) => Outcome::TimedOut,
            Err(GetError::Closed) => Outcome::Closed,
            Err(_) => Outcome::Failed,
        }
    }

    fn len(&self) -> usize {
        // Of one whose lock nobody lets go of, nobody knows: a hang, and not a fault of the harness.
        self.shelf.len().unwrap_or(usize::MAX)
    }

    fn close(&self) {
        self.shelf.close();
    }

    fn is_closed(&self) -> bool {
        self.shelf.is_closed()
    }

    fn sequence(&self) -> Option<u64> {
        None
    }
}

fn fifo(orphans: Orphans, ids: &[u64]) -> Shelf {
    step::watch_first(HEADER);
    let shelf = Shelf::builder(Order::Fifo).orphans(orphans).build().expect("a shelf");
    for &id in ids {
        shelf.put(0, &[&message(id)], Deadline::NOW).expect("there is room");
    }
    shelf
}

/// Takes an item on lease.
fn lease(shelf: &Shelf, deadline: Deadline) -> Option<(u64, Lease)> {
    let mut bytes = Vec::new();
    let hook = |_| Ok::<(), Infallible>(());
    let taken = shelf.get_around(&mut bytes, deadline, Mode::Lease, hook, |()| ());
    taken.ok().map(|(taken, ())| (id(&bytes), taken.lease.expect("a lease")))
}

fn take(shelf: &Shelf, timeout: Duration) -> Option<u64> {
    let (id, lease) = lease(shelf, Deadline::after(timeout))?;
    shelf.finish(lease).expect("it is ours");
    Some(id)
}

/// Runs each operation once.
fn warm_up() {
    let shelf = fifo(Orphans::GiveOutAgain, &[1, 2]);
    let (_, first) = lease(&shelf, Deadline::NOW).expect("an item");
    shelf.put_back(first).expect("it is ours");
    assert_eq!(take(&shelf, LIVENESS), Some(1));
    assert_eq!(take(&shelf, LIVENESS), Some(2));
    assert!(shelf.lost().is_ok_and(|lost| lost == 0));
}

/// Takes all that must come, without any further traffic.
fn take_all(shelf: &Shelf, must: &[u64], verdict: &mut Verdict) {
    let mut seen = Vec::new();
    for _ in must {
        match take(shelf, LIVENESS) {
            Some(id) => seen.push(id),
            None => verdict.hang = true,
        }
    }
    seen.extend(std::iter::from_fn(|| take(shelf, Duration::ZERO)));
    // Those of the dead come when that is noticed, and so not always before others.
    channel::account(verdict, &seen, must, &[]);
}

/// What is taken on lease is there for the next one, in order, wherever the one who takes it dies.
pub(crate) fn lease_of_two(kill: Kill) -> Verdict {
    let (board, shelf) = (Board::new(), fifo(Orphans::GiveOutAgain, &[1, 2]));
    let stop = Victim::start(&board, warm_up, |()| {
        let taken = lease(&shelf, Deadline::NOW);
        assert!(matches!(taken, Some((1, _))), "the first item");
    })
    .run(kill, || false);
    let mut verdict = Verdict::new(stop);
    take_all(&shelf, &[1, 2], &mut verdict);
    verdict
}

/// Somebody who waits until everything is done.
fn joiner(shelf: &Shelf, slot: &Slot) -> Role {
    let role = Role::fork(|| {
        slot.ready();
        slot.done(i64::from(!shelf.join(Deadline::NEVER).unwrap_or(false)));
    });
    role.await_asleep(slot);
    role
}

/// The last item is done, or it comes again; either way whoever waits for that gets on.
pub(crate) fn finish_with_joiners(kill: Kill) -> Verdict {
    let (board, shelf) = (Board::new(), fifo(Orphans::GiveOutAgain, &[1]));
    let slots = [board.slot(0), board.slot(1)];
    let mut joiners = Vec::new();
    let prepare = || {
        warm_up();
        lease(&shelf, Deadline::NOW).expect("an item").1
    };
    let victim = Victim::start(&board, prepare, |lease| {
        shelf.finish(lease).expect("it is ours");
    });
    joiners.extend(slots.map(|slot| joiner(&shelf, slot)));
    let stop = victim.run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let done = || slots.iter().all(|slot| slot.is_done());
    // If it was not done, it comes again.
    let mut again = None;
    let over = within_liveness(|| {
        again = again.or_else(|| take(&shelf, Duration::ZERO));
        done()
    });
    verdict.progress(over, "who waits until all is done");
    verdict.lost |= slots.iter().any(|slot| slot.result.load(SeqCst) != 0);
    verdict.torn |= again.is_some_and(|id| id != 1);
    verdict.doubled |= again.is_some() && stop.end == End::Completed;
    verdict.lost |= shelf.unfinished().ok() != Some(0);
    take_all(&shelf, &[], &mut verdict);
    verdict
}

/// An item that is given back, or whose consumer dies before, reaches one who sleeps.
pub(crate) fn put_back_to_sleepers(kill: Kill) -> Verdict {
    let (board, shelf) = (Board::new(), fifo(Orphans::GiveOutAgain, &[1]));
    let slot = board.slot(0);
    let prepare = || {
        warm_up();
        lease(&shelf, Deadline::NOW).expect("an item").1
    };
    let victim = Victim::start(&board, prepare, |lease| {
        shelf.put_back(lease).expect("it is ours");
    });
    let consumer = Role::fork(|| {
        slot.ready();
        let taken = lease(&shelf, Deadline::NEVER).expect("an item");
        slot.note(taken.0);
        slot.done(i64::from(shelf.finish(taken.1).is_err()));
    });
    consumer.await_asleep(slot);
    let stop = victim.run(kill, || false);
    let mut verdict = Verdict::new(stop);
    verdict.progress(within_liveness(|| slot.is_done()), "the consumer");
    channel::account(&mut verdict, &slot.noted(), &[1], &[]);
    verdict.lost |= !shelf.join(Deadline::NOW).unwrap_or(false);
    verdict
}

/// Leaves items in the hands of a dead process: the first `count`.
fn orphan(shelf: &Shelf, count: usize) {
    let mut role = Role::fork(|| {
        for _ in 0..count {
            lease(shelf, Deadline::NOW).expect("an item");
        }
    });
    role.reap();
}

/// Two dead, and a third who dies while it takes what they had.
pub(crate) fn get_what_the_dead_had(kill: Kill) -> Verdict {
    let (board, shelf) = (Board::new(), fifo(Orphans::GiveOutAgain, &[1, 2, 3]));
    orphan(&shelf, 2);
    orphan(&shelf, 1);
    let stop = Victim::start(&board, warm_up, |()| {
        assert_eq!(lease(&shelf, Deadline::NOW).map(|(id, _)| id), Some(1));
    })
    .run(kill, || false);
    let mut verdict = Verdict::new(stop);
    take_all(&shelf, &[1, 2, 3], &mut verdict);
    verdict
}

/// The same, of a shelf that reports: what is reported is so once, and all else is done.
pub(crate) fn report_what_the_dead_had(kill: Kill) -> Verdict {
    let (board, shelf) = (Board::new(), fifo(Orphans::Report, &[1, 2]));
    let slot = board.slot(0);
    let _joiner = joiner(&shelf, slot);
    orphan(&shelf, 1);
    orphan(&shelf, 1);
    let mut bytes = Vec::new();
    let stop = Victim::start(&board, warm_up, |()| {
        shelf.take_lost(&mut bytes).expect("a lost item");
        board.slot(7).note(id(&bytes));
    })
    .run(kill, || false);
    let mut verdict = Verdict::new(stop);
    verdict.progress(within_liveness(|| slot.is_done()), "who waits until all is done");
    let mut bytes = Vec::new();
    let mut seen = Vec::new();
    while shelf.take_lost(&mut bytes).is_ok() {
        seen.push(id(&bytes));
    }
    let taken = board.slot(7).noted();
    // The first may have gone with the victim; the second is there, once.
    verdict.torn |= seen.contains(&channel::TORN) || (!taken.is_empty() && taken != [1]);
    verdict.lost |= seen != [1, 2] && seen != [2];
    verdict.doubled |= stop.end == End::Completed && seen.contains(&1);
    verdict.lost |= shelf.lost().ok() != Some(0) || shelf.unfinished().ok() != Some(0);
    verdict
}

/// A get of the last item of many, after which their memory is given back.
pub(crate) fn get_that_gives_back(kill: Kill) -> Verdict {
    let board = Board::new();
    step::watch_first(HEADER);
    let shelf = Shelf::builder(Order::Fifo).keep(1 << 20).build().expect("a shelf");
    let filler = [7; 1000];
    for _ in 0..700 {
        shelf.put(0, &[&filler], Deadline::NOW).expect("there is room");
    }
    let mut bytes = Vec::new();
    for _ in 1..700 {
        shelf.get(&mut bytes, Deadline::NOW).expect("an item");
    }
    let resident = || shelf.segment().resident().expect("a size");
    let before = resident();
    assert!(before > 1 << 20, "too little to give back");
    let stop = Victim::start(&board, warm_up, |()| {
        let mut bytes = Vec::with_capacity(filler.len());
        shelf.get(&mut bytes, Deadline::NOW).expect("an item");
    })
    .run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let left = shelf.len().expect("a shelf that is whole");
    verdict.lost |= left > 1 || (stop.end == End::Completed && left == 1);
    assert!(stop.end != End::Completed || resident() < before / 2, "no memory was given back");
    if left == 1 {
        verdict.torn |= shelf.get(&mut bytes, Deadline::NOW).is_err() || bytes != filler;
    }
    // What is put now lies where that was.
    for id in 0..700 {
        shelf.put(0, &[&message(id), &filler], Deadline::NOW).expect("there is room");
    }
    for number in 0..700 {
        let got = shelf.get(&mut bytes, Deadline::NOW).is_ok();
        verdict.torn |= !got || id(&bytes[..message(0).len()]) != number;
    }
    verdict.doubled |= !shelf.is_empty().unwrap_or(false);
    verdict
}
