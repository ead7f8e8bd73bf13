//! The ring of `mp-shared`, as the scenarios take it.

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;
use std::time::Duration;

use mp_shared::ring::{GetError, PutError, Ring};
use mp_shared::segment::Segment;
use mp_tests::step::{Board, End, Kill, LIVENESS, Victim, within_liveness};
use mp_tests::sweep::Verdict;
use mp_wire::Deadline;

use crate::channel::{self, Channel, Grows, Outcome, TORN};

/// A message is its id, nine times over: 72 bytes.
const COPIES: usize = 9;

/// A message takes 16 bytes for its head, and a multiple of 16 altogether.
const FOOTPRINT: usize = 16 + 80;

/// The smallest storage.
const ARENA: usize = 32 * 1024;

/// A ring whose messages show whether they are whole.
pub(crate) struct TestRing {
    ring: Ring,
    bytes: RefCell<Vec<u8>>,
    sequence: Cell<u64>,
}

/// The message of an id.
pub(crate) fn message(id: u64) -> Vec<u8> {
    id.to_ne_bytes().repeat(COPIES)
}

/// The id of a message.
pub(crate) fn id(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    match words {
        [first, others @ ..] if others.len() == COPIES - 1 && rest.is_empty() => {
            let whole = others.iter().all(|word| word == first);
            if whole { u64::from_ne_bytes(*first) } else { TORN }
        }
        _ => TORN,
    }
}

fn deadline(timeout: Option<Duration>) -> Deadline {
    match timeout {
        Some(Duration::ZERO) => Deadline::NOW,
        timeout => Deadline::from_timeout(timeout),
    }
}

impl Channel for TestRing {
    fn make(bound: Option<usize>) -> Self {
        let ring = Ring::bounded(bound.unwrap_or(0)).expect("a ring");
        Self { ring, bytes: RefCell::default(), sequence: Cell::default() }
    }

    fn put(&self, id: u64, timeout: Option<Duration>) -> Outcome {
        match self.ring.put(id, &[&message(id)], deadline(timeout)) {
            Ok(()) => Outcome::Done(id),
            Err(PutError::Full) => Outcome::TimedOut,
            Err(PutError::Closed) => Outcome::Closed,
            Err(_) => Outcome::Failed,
        }
    }

    fn get(&self, timeout: Option<Duration>) -> Outcome {
        let mut bytes = self.bytes.borrow_mut();
        match self.ring.get(&mut bytes, deadline(timeout)) {
            Ok(item) => {
                self.sequence.set(item.sequence);
                let id = id(&bytes);
                Outcome::Done(if item.tag == id { id } else { TORN })
            }
            Err(GetError::Empty) => Outcome::TimedOut,
            Err(GetError::Closed) => Outcome::Closed,
            Err(_) => Outcome::Failed,
        }
    }

    fn len(&self) -> usize {
        self.ring.len().expect("a ring that is whole")
    }

    fn close(&self) {
        self.ring.close();
    }

    fn is_closed(&self) -> bool {
        self.ring.is_closed()
    }

    fn sequence(&self) -> Option<u64> {
        Some(self.sequence.get())
    }
}

impl Grows for TestRing {
    fn fill_to_growth() -> usize {
        // A jump needs 16 bytes behind the last message.
        (ARENA - 16) / FOOTPRINT
    }
}

/// The same, written and read in place.
pub(crate) struct InPlace(TestRing);

impl Channel for InPlace {
    fn make(bound: Option<usize>) -> Self {
        Self(TestRing::make(bound))
    }

    fn put(&self, id: u64, timeout: Option<Duration>) -> Outcome {
        let put = self.0.ring.reserve(id, 1000, deadline(timeout)).and_then(|mut room| {
            for copy in room.as_chunks_mut().0.iter_mut().take(COPIES) {
                *copy = id.to_ne_bytes();
            }
            room.truncate(8 * COPIES);
            room.commit()
        });
        match put {
            Ok(()) => Outcome::Done(id),
            Err(PutError::Full) => Outcome::TimedOut,
            Err(PutError::Closed) => Outcome::Closed,
            Err(_) => Outcome::Failed,
        }
    }

    fn get(&self, timeout: Option<Duration>) -> Outcome {
        match self.0.ring.lend(deadline(timeout)) {
            Ok(lent) => {
                self.0.sequence.set(lent.item().sequence);
                let id = id(&lent);
                Outcome::Done(if lent.item().tag == id { id } else { TORN })
            }
            Err(GetError::Empty) => Outcome::TimedOut,
            Err(GetError::Closed) => Outcome::Closed,
            Err(_) => Outcome::Failed,
        }
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn close(&self) {
        self.0.close();
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn sequence(&self) -> Option<u64> {
        self.0.sequence()
    }
}

/// Two of three records that are taken together are gone together, or still there.
pub(crate) fn get_many(kill: Kill) -> Verdict {
    let (board, channel) = (Board::new(), TestRing::make(Some(3)));
    for id in [1, 2, 3] {
        assert_eq!(channel.put(id, None), Outcome::Done(id));
    }
    let slots = [board.slot(0), board.slot(1)];
    let _producers =
        [channel::producer(&channel, slots[0], 50), channel::producer(&channel, slots[1], 51)];
    let slot = board.slot(7);
    let stop = Victim::start(&board, channel::warm_up::<TestRing>, |()| {
        let mut taken = [0; 2];
        let mut ids = taken.iter_mut();
        let copy = |segment: &Segment, at, len| {
            let mut bytes = [0; 8 * COPIES];
            assert_eq!(len, bytes.len());
            segment.copy_out(at, &mut bytes)?;
            *ids.next().expect("at most two") = id(&bytes);
            Ok(())
        };
        let count = channel.ring.get_each(2, Deadline::NEVER, copy).expect("there are three");
        assert_eq!(count, 2);
        taken.into_iter().for_each(|id| slot.note(id));
        slot.done(0);
    })
    .run(kill, || false);
    let mut verdict = Verdict::new(stop);
    // Room that was made must be used without any further traffic.
    verdict.progress(within_liveness(|| channel.len() == 3), "producers that have room");
    if stop.end == End::Completed {
        verdict.torn |= slot.noted() != [1, 2];
        let ended = within_liveness(|| slots.iter().all(|slot| slot.is_done()));
        verdict.progress(ended, "the producers");
    }
    let mut seen = channel::drain(&channel, &mut verdict);
    let ended = within_liveness(|| slots.iter().all(|slot| slot.is_done()));
    verdict.progress(ended, "the producers");
    seen.extend(channel::drain(&channel, &mut verdict));
    // Both, or none.
    let must: &[u64] = if seen.first() == Some(&1) { &[1, 2, 3, 50, 51] } else { &[3, 50, 51] };
    channel::account(&mut verdict, &seen, must, &[]);
    verdict
}

impl Grows for InPlace {
    fn fill_to_growth() -> usize {
        // The room that is reserved is larger than the message in the end.
        let room = 1000_usize.next_multiple_of(16) + 16;
        (ARENA - 16 - room) / FOOTPRINT + 1
    }
}

/// Three records that are put together are there together, or not at all.
pub(crate) fn put_many(kill: Kill) -> Verdict {
    let (board, channel) = (Board::new(), TestRing::make(None));
    let slots = [board.slot(0), board.slot(1)];
    let _consumers = slots.map(|slot| channel::consumer(&channel, slot));
    let messages = [7, 8, 9].map(message);
    let stop = Victim::start(&board, channel::warm_up::<TestRing>, |()| {
        let records = [7, 8, 9].map(|id| (id, &messages[id as usize - 7][..]));
        channel.ring.put_many(&records, Deadline::NEVER).expect("there is room");
    })
    .run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let ended = within_liveness(|| channel.len() != 3 && channel.len() != 2);
    verdict.progress(ended, "a consumer of what was put");
    let all = channel.len() == 1 || slots.iter().any(|slot| slot.is_done());
    let mut must = if all || stop.end == End::Completed { vec![7, 8, 9] } else { vec![] };
    for id in [100, 101] {
        must.push(id);
        verdict.hang |= channel.put(id, Some(LIVENESS)) != Outcome::Done(id);
    }
    let ended = within_liveness(|| slots.iter().all(|slot| slot.is_done()));
    verdict.progress(ended, "a consumer");
    let mut seen: Vec<u64> = slots.iter().flat_map(|slot| slot.noted()).collect();
    seen.extend(channel::drain(&channel, &mut verdict));
    channel::account(&mut verdict, &seen, &must, &[]);
    verdict
}

/// The bytes of a record that takes 2,048 of them, so that 128 make a step of memory that is given back.
fn filler(id: u64) -> Vec<u8> {
    id.to_ne_bytes().repeat((2048 - 16) / 8)
}

/// So many that some are given back, and that those that follow come to where that was.
const FILLERS: u64 = 4800;

/// A record that takes them to an arena that gives memory back while it is in use.
const LARGE: usize = 16 << 20;

fn backlog() -> Ring {
    let ring = Ring::new().expect("a ring");
    let room = ring.reserve(0, LARGE, Deadline::NOW).expect("there is room");
    room.commit().expect("it is open");
    for id in 0..FILLERS {
        ring.put(id, &[&filler(id)], Deadline::NOW).expect("there is room");
    }
    drop(ring.lend(Deadline::NOW).expect("the large one"));
    ring
}

fn take(ring: &Ring, id: u64) -> bool {
    let mut bytes = Vec::new();
    let item = ring.get(&mut bytes, Deadline::NOW);
    item.is_ok_and(|item| item.tag == id && item.sequence == id + 1) && bytes == filler(id)
}

/// After how many records the next one gives back memory of the largest arena in use.
fn fill_to_punch() -> u64 {
    static FOUND: OnceLock<u64> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let ring = backlog();
        let resident = || ring.segment().resident().expect("a size");
        let mut last = None;
        let mut before = resident();
        for id in 0..FILLERS - 10 {
            assert!(take(&ring, id));
            if resident() < before {
                last = Some(id);
            }
            before = resident();
        }
        last.expect("memory is given back")
    })
}

/// A get that gives back memory behind the head, in an arena that it stays in.
pub(crate) fn get_that_punches(kill: Kill) -> Verdict {
    let (board, before) = (Board::new(), fill_to_punch());
    let ring = backlog();
    for id in 0..before {
        assert!(take(&ring, id));
    }
    let resident = || ring.segment().resident().expect("a size");
    let whole = resident();
    let stop = Victim::start(&board, channel::warm_up::<TestRing>, |()| {
        assert!(take(&ring, before), "a torn record");
    })
    .run(kill, || false);
    let mut verdict = Verdict::new(stop);
    // Else this would not be the scenario that it says it is.
    assert!(stop.end != End::Completed || resident() < whole, "no memory was given back");
    let left = ring.len().expect("a ring that is whole") as u64;
    let first = FILLERS - left;
    verdict.lost |= first != before && first != before + 1;
    verdict.lost |= stop.end == End::Completed && first == before;
    // More comes behind, where memory was given back, and nothing is missing or torn.
    let end = FILLERS + 3000;
    for id in FILLERS..end {
        verdict.hang |= ring.put(id, &[&filler(id)], Deadline::after(LIVENESS)).is_err();
    }
    verdict.torn |= !(first..end).all(|id| take(&ring, id));
    verdict.doubled |= !ring.is_empty().expect("a ring that is whole");
    verdict
}
