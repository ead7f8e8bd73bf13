//! Many short histories of several processes at one channel, some of which are killed, and whether a queue explains each.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use mp_tests::linear::{Did, Operation, is_linearizable};
use mp_tests::random::Random;
use mp_tests::step::{self, Board, End, Kill, Role, Victim};

use crate::channel::{Channel, Outcome};
use crate::crew::{Atomics, Mapped};

/// Processes of a history, and what each does at most.
const CREW: usize = 3;
const EACH: usize = 6;

/// A victim executes that many instructions at the most, about as many as some operations have.
const LONGEST: u64 = 1200;

/// How long it waits for another, in turns of a loop.
const SOON: usize = 5000;

/// How long a process waits between two operations, at the most, in turns of a loop; and beside one that is stepped, which is slow.
const PAUSE: u64 = 20;
const LONG_PAUSE: u64 = 20_000;

/// An operation as its process notes it: before, and after.
#[repr(C)]
struct Note {
    /// The item to put; zero to take one.
    asked: AtomicU64,
    called: AtomicU64,
    /// Zero if it has not returned.
    returned: AtomicU64,
    /// What came of it: 1 for done, 2 for full or empty; and the item.
    outcome: AtomicU32,
    item: AtomicU64,
}

#[repr(C)]
struct Notes {
    clock: AtomicU64,
    go: AtomicU32,
    ready: AtomicU32,
    /// How many have come to each operation.
    come: [AtomicU32; EACH],
    all: [[Note; EACH]; CREW],
}

impl Atomics for Notes {}

const NOW: Option<Duration> = Some(Duration::ZERO);

fn tick(notes: &Notes) -> u64 {
    notes.clock.fetch_add(1, SeqCst) + 1
}

fn work<C: Channel>(channel: &C, notes: &Notes, place: usize, mut random: Random, pause: u64) {
    notes.ready.fetch_add(1, SeqCst);
    while notes.go.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    for (number, note) in notes.all[place].iter().enumerate() {
        let id = if random.below(2) == 0 { (place * EACH + number + 1) as u64 } else { 0 };
        for _ in 0..random.below(pause) {
            std::hint::spin_loop();
        }
        // Two begin together, if the other one comes soon.
        notes.come[number].fetch_add(1, SeqCst);
        for _ in 0..SOON {
            if pause == 1 || notes.come[number].load(SeqCst) > 1 {
                break;
            }
            std::hint::spin_loop();
        }
        note.asked.store(id, SeqCst);
        note.called.store(tick(notes), SeqCst);
        let outcome = if id == 0 { channel.get(NOW) } else { channel.put(id, NOW) };
        let (outcome, item) = match outcome {
            Outcome::Done(item) => (1, item),
            Outcome::TimedOut => (2, 0),
            Outcome::Closed | Outcome::Failed => (3, 0),
        };
        note.item.store(item, SeqCst);
        note.outcome.store(outcome, SeqCst);
        note.returned.store(tick(notes), SeqCst);
    }
}

/// What was done, if every answer makes sense.
fn history(notes: &Notes) -> Option<Vec<Operation>> {
    let mut history = Vec::new();
    for note in notes.all.iter().flatten() {
        let (asked, called) = (note.asked.load(SeqCst), note.called.load(SeqCst));
        if called == 0 {
            continue;
        }
        let returned = note.returned.load(SeqCst);
        let did = match (asked, note.outcome.load(SeqCst)) {
            _ if returned == 0 && asked == 0 => Did::Taking,
            _ if returned == 0 => Did::Putting(asked),
            (0, 1) => Did::Took(note.item.load(SeqCst)),
            (0, 2) => Did::Empty,
            (_, 1) => Did::Put(asked),
            (_, 2) => Did::Full(asked),
            _ => return None,
        };
        let returned = if returned == 0 { u64::MAX } else { returned };
        history.push(Operation { did, called, returned });
    }
    Some(history)
}

/// Records so many histories, every other one with a process that is killed, and checks each.
pub(crate) fn check<C: Channel>(count: u64, seed: u64, bounds: &[Option<usize>]) -> ExitCode {
    // Asked before this process keeps to one.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    step::go_to_core(0);
    let mut random = Random::new(seed);
    let (mut killed_inside, mut concurrent) = (0_u64, 0_u64);
    for round in 0..count {
        let bound = bounds[round as usize / 2 % bounds.len()];
        let (channel, notes) = (C::make(bound), Mapped::<Notes>::new());
        let kills = round % 2 == 1;
        let pause = if kills { LONG_PAUSE } else { PAUSE };
        let mut fork = |place| {
            let random = Random::new(random.draw());
            Role::fork(|| {
                step::go_to_core(place % cores);
                work(&channel, &notes, place, random, pause);
            })
        };
        let mut crew: Vec<_> = (usize::from(kills)..CREW).map(&mut fork).collect();
        if kills {
            // The first is stepped, and killed between two instructions; meanwhile the others do what they do.
            let (board, moment) = (Board::new(), Kill::AfterSteps(random.below(LONGEST)));
            let random = Random::new(random.draw());
            let victim = Victim::start(&board, || (), |()| work(&channel, &notes, 0, random, 1));
            notes.go.store(1, SeqCst);
            let stop = victim.run(moment, || true);
            if !matches!(stop.end, End::Killed | End::KilledAsleep | End::Completed) {
                println!("the victim of history {round} of seed {seed} ended as {stop:?}");
                return ExitCode::FAILURE;
            }
        } else {
            while notes.ready.load(SeqCst) < CREW as u32 {
                std::thread::yield_now();
            }
            notes.go.store(1, SeqCst);
        }
        for role in &mut crew {
            role.reap();
        }
        let Some(mut history) = history(&notes) else {
            println!("history {round} of seed {seed} has an operation that failed");
            return ExitCode::FAILURE;
        };
        killed_inside += u64::from(history.iter().any(|it| it.returned == u64::MAX));
        concurrent += u64::from(history.iter().any(|one| {
            history.iter().any(|two| one.called < two.called && two.called < one.returned)
        }));
        // What is left says what has happened.
        loop {
            let called = tick(&notes);
            let did = match channel.get(NOW) {
                Outcome::Done(item) => Did::Took(item),
                _ => Did::Empty,
            };
            history.push(Operation { did, called, returned: tick(&notes) });
            if did == Did::Empty {
                break;
            }
        }
        if !is_linearizable(&history, bound) {
            history.sort_by_key(|it| it.called);
            println!("history {round} of seed {seed} cannot be explained, bound {bound:?}:");
            history.iter().for_each(|it| println!("  {it:?}"));
            return ExitCode::FAILURE;
        }
    }
    println!(
        "{count} histories, {concurrent} with operations at the same time, {killed_inside} with one cut off"
    );
    ExitCode::SUCCESS
}
