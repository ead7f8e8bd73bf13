//! Many processes at every primitive of `mp-shared` together, killed at random, and a ledger that must balance.
//!
//! Whatever counts does so once for each time that a process knows of, and at most once more for each that was killed at it.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use mp_shared::{
    Array, AtomicValue, Barrier, BoundedSemaphore, ChunkedArray, Condition, Error, Event, Lock,
    LockError, LockResult, Once, RLock, RwLock, Semaphore, SharedVec, Value, ValueGuard,
};
use mp_tests::leak::LeakCheck;
use mp_tests::random::Random;
use mp_tests::step::Role;

use crate::crew::{Atomics, Crew, Mapped};

/// Processes at work at a time.
const WORKERS: usize = 8;

/// Processes over all.
const LIVES: usize = 2048;

const PERMITS: u32 = 3;

/// What is counted, each by a primitive of its own.
const KINDS: usize = 9;
const NAMES: [&str; KINDS] = [
    "Lock",
    "RLock",
    "RwLock",
    "Value",
    "Value of three",
    "Array",
    "AtomicValue",
    "ChunkedArray",
    "SharedVec",
];

/// Waits that are not to last: another one may have been killed that would have ended them.
const SHORT: Duration = Duration::from_millis(5);

/// What one process has done, and what it is about to do.
#[repr(C)]
struct Account {
    counted: [AtomicU64; KINDS],
    /// One more than what it is counting with, if anything.
    counting: AtomicU64,
    work: AtomicU64,
}

#[repr(C)]
struct Ledger {
    stop: AtomicBool,
    torn: AtomicU64,
    failed: AtomicU64,
    /// Two counters for the lock and two for the one that is taken twice, kept equal.
    pairs: [[AtomicU64; 2]; 2],
    lives: [Account; LIVES],
}

impl Atomics for Ledger {}

struct All {
    lock: Lock,
    rlock: RLock,
    rwlock: RwLock<[u64; 2]>,
    value: Value<u64>,
    three: Value<[u64; 3]>,
    array: Array<u64>,
    atomic: AtomicValue<u64>,
    chunked: ChunkedArray<u64>,
    vec: SharedVec<u64>,
    semaphore: Semaphore,
    bounded: BoundedSemaphore,
    condition: Condition,
    items: Value<u64>,
    event: Event,
    barrier: Barrier,
    once: Once,
}

impl All {
    fn new() -> Result<Self, Error> {
        Ok(Self {
            lock: Lock::new()?,
            rlock: RLock::new()?,
            rwlock: RwLock::new([0; 2])?,
            value: Value::new(0)?,
            three: Value::new([0; 3])?,
            array: Array::new(4)?,
            atomic: AtomicValue::new(0)?,
            chunked: ChunkedArray::new(8, 4)?,
            vec: SharedVec::new()?,
            semaphore: Semaphore::new(PERMITS)?,
            bounded: BoundedSemaphore::new(1)?,
            condition: Condition::new()?,
            items: Value::new(0)?,
            event: Event::new()?,
            barrier: Barrier::new(2)?,
            once: Once::new()?,
        })
    }
}

/// The guard, and whether somebody died with it.
fn any<G>(result: LockResult<G>) -> (G, bool) {
    match result {
        Ok(guard) => (guard, false),
        Err(LockError::Poisoned(poison)) => (poison.into_inner(), true),
        Err(error) => panic!("{error}"),
    }
}

/// Makes all of them what the greatest is, and one more; says whether they were equal.
fn count_up(words: &mut [u64]) -> bool {
    let greatest = words.iter().copied().max().unwrap_or_default();
    let equal = words.iter().all(|&word| word == greatest);
    words.iter_mut().for_each(|word| *word = greatest + 1);
    equal
}

/// As [`count_up`], for a pair in the ledger.
fn count_pair(pair: &[AtomicU64; 2]) -> bool {
    let (first, second) = (pair[0].load(SeqCst), pair[1].load(SeqCst));
    pair[0].store(first.max(second) + 1, SeqCst);
    pair[1].store(first.max(second) + 1, SeqCst);
    first == second
}

/// Counts with one of them; says whether what it found was whole, or known not to be.
fn count(all: &All, ledger: &Ledger, kind: usize) -> Result<bool, Error> {
    let whole = match kind {
        0 => {
            let (_guard, died) = any(all.lock.lock());
            all.lock.clear_poison();
            count_pair(&ledger.pairs[0]) || died
        }
        1 => {
            let (_guard, died) = any(all.rlock.lock());
            all.rlock.clear_poison();
            let (_again, _) = any(all.rlock.lock());
            count_pair(&ledger.pairs[1]) || died
        }
        2 => {
            let (mut guard, died) = any(all.rwlock.write());
            let equal = count_up(&mut *guard);
            all.rwlock.clear_poison();
            equal || died
        }
        3 => {
            all.value.fetch_add(1)?;
            true
        }
        4 => {
            let (mut guard, died) = any(all.three.lock());
            let equal = count_up(&mut *guard);
            all.three.clear_poison();
            equal || died
        }
        5 => {
            let (mut guard, died) = any(all.array.lock());
            let equal = count_up(&mut guard);
            all.array.clear_poison();
            equal || died
        }
        6 => {
            all.atomic.fetch_add(1);
            true
        }
        7 => {
            let (mut guard, died) = any(all.chunked.lock(4..));
            let equal = count_up(&mut guard);
            all.chunked.clear_poison(4..);
            equal || died
        }
        _ => {
            all.vec.push(1)?;
            true
        }
    };
    Ok(whole)
}

/// Waits for others with what does not count.
fn meet(all: &All, what: u64) -> Result<bool, Error> {
    match what {
        0 => drop(all.semaphore.acquire_timeout(SHORT)),
        1 => drop(all.bounded.acquire_timeout(SHORT)),
        2 => {
            let ready = |items: &mut ValueGuard<'_, u64>| **items > 0;
            let (guard, _) = any(all.items.lock());
            all.items.clear_poison();
            let result = all.condition.wait_for_timeout(guard, ready, SHORT);
            // Somebody may have had the lock until the time was up.
            if !matches!(result, Err(LockError::TimedOut)) {
                let (mut guard, met) = any(result).0;
                all.items.clear_poison();
                if met {
                    *guard = guard.saturating_sub(1);
                }
            }
        }
        3 => {
            let (mut guard, _) = any(all.items.lock());
            all.items.clear_poison();
            *guard += 1;
            all.condition.notify_one();
        }
        4 => drop(all.event.wait_timeout(SHORT)),
        5 => all.event.set(),
        6 => all.event.clear(),
        7 => {
            if all.barrier.wait_timeout(SHORT).is_err() {
                let _ = all.barrier.reset();
            }
        }
        8 => all.once.call_once(|_| ())?,
        _ => {
            let (guard, died) = any(all.rwlock.read());
            return Ok(guard[0] == guard[1] || died);
        }
    }
    Ok(true)
}

fn work(all: &All, ledger: &Ledger, life: usize, seed: u64) {
    let mut random = Random::new(seed ^ (life as u64 + 1) << 20);
    let account = &ledger.lives[life];
    while !ledger.stop.load(SeqCst) {
        let draw = random.below(20);
        let whole = if draw < KINDS as u64 {
            account.counting.store(draw + 1, SeqCst);
            let whole = count(all, ledger, draw as usize);
            account.counted[draw as usize].fetch_add(1, SeqCst);
            account.counting.store(0, SeqCst);
            whole
        } else {
            meet(all, draw - KINDS as u64)
        };
        match whole {
            Ok(true) => {}
            Ok(false) => drop(ledger.torn.fetch_add(1, SeqCst)),
            Err(_) => drop(ledger.failed.fetch_add(1, SeqCst)),
        }
        account.work.fetch_add(1, SeqCst);
    }
}

/// Runs for `time`, and says whether the ledger balances.
pub(crate) fn soak(time: Duration, seed: u64) -> ExitCode {
    // What is made once and stays.
    drop(All::new());
    let check = LeakCheck::new();
    let end = Instant::now() + time;
    let (mut faults, mut round) = (Vec::new(), seed);
    while faults.is_empty() && Instant::now() < end {
        let (all, ledger) = (All::new().expect("the primitives"), Mapped::<Ledger>::new());
        faults = run(&all, &ledger, end, round);
        round += 1;
    }
    let leaks = check.leaks(Duration::from_secs(5));
    for fault in faults.iter().chain(&leaks) {
        println!("  {fault}");
    }
    if faults.is_empty() && leaks.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(all: &All, ledger: &Ledger, end: Instant, seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let start = |life| Role::fork(|| work(all, ledger, life, seed));
    let progress = |life: usize| ledger.lives[life].work.load(SeqCst);
    let mut crew = Crew::new(WORKERS, &start, &progress);
    let (mut kills, mut at_it) = (0, [0_u64; KINDS]);
    let mut faults = Vec::new();
    while Instant::now() < end && kills < LIVES - WORKERS && faults.is_empty() {
        std::thread::sleep(Duration::from_micros(random.below(4000)));
        let life = crew.kill_one(&mut random);
        kills += 1;
        let counting = ledger.lives[life].counting.load(SeqCst) as usize;
        if counting > 0 {
            at_it[counting - 1] += 1;
        }
        faults.extend(crew.idle());
    }
    ledger.stop.store(true, SeqCst);
    let lives = crew.lives();
    faults.extend(crew.finish());
    balance(all, ledger, lives, &at_it, &mut faults);
    let work: u64 = (0..lives).map(progress).sum();
    println!("soak: {kills} kills, {work} operations, {} faults", faults.len());
    faults
}

fn balance(all: &All, ledger: &Ledger, lives: usize, at_it: &[u64], faults: &mut Vec<String>) {
    let pair = |index: usize| {
        let [first, second] = &ledger.pairs[index];
        first.load(SeqCst).max(second.load(SeqCst))
    };
    let greatest = |words: &[u64]| words.iter().copied().max().unwrap_or_default();
    let totals = [
        pair(0),
        pair(1),
        greatest(&*any(all.rwlock.read()).0),
        all.value.get().unwrap_or_default(),
        greatest(&*any(all.three.lock()).0),
        greatest(&any(all.array.lock()).0),
        all.atomic.load(),
        greatest(&any(all.chunked.lock(4..)).0),
        all.vec.len() as u64,
    ];
    for kind in 0..KINDS {
        let known = ledger.lives[..lives].iter().map(|life| life.counted[kind].load(SeqCst));
        let (known, total, killed) = (known.sum::<u64>(), totals[kind], at_it[kind]);
        if total < known || total > known + killed {
            faults.push(format!("{}: {total}, known {known}, {killed} died at it", NAMES[kind]));
        }
    }
    for (what, number) in [("torn", &ledger.torn), ("failed", &ledger.failed)] {
        let number = number.load(SeqCst);
        if number > 0 {
            faults.push(format!("{what}: {number}"));
        }
    }
    let permits = (all.semaphore.value(), all.bounded.value());
    if permits != (PERMITS, 1) {
        faults.push(format!("permits: {permits:?}"));
    }
}
