//! Many processes at one channel and one lock, killed at random, and a ledger that must balance.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use mp_tests::leak::LeakCheck;
use mp_tests::random::Random;
use mp_tests::step::Role;

use crate::channel::{Channel, Outcome, TORN};
use crate::crew::{Atomics, Crew, Mapped};
use crate::lock::Lockable;

/// Processes at work at a time.
const WORKERS: usize = 6;

/// Processes over all; each that was killed is followed by another.
const LIVES: usize = 1024;

/// Messages that one process may send, so that the ledger is large enough.
const MESSAGES: u64 = 1 << 14;

/// What one process has done, and what it is about to do.
#[repr(C)]
struct Account {
    /// Messages that were put, in order, as far as it knows.
    put: AtomicU64,
    /// The message that is being put, if any.
    putting: AtomicU64,
    /// Whether a message is being taken.
    getting: AtomicBool,
    /// How often it has counted under the lock, as far as it knows.
    counted: AtomicU64,
    /// Whether it is about to count.
    counting: AtomicBool,
    /// Operations of all kinds.
    work: AtomicU64,
    /// How often each of its messages was taken.
    taken: [AtomicU8; MESSAGES as usize],
}

#[repr(C)]
struct Ledger {
    stop: AtomicBool,
    torn: AtomicU64,
    invented: AtomicU64,
    out_of_order: AtomicU64,
    failed: AtomicU64,
    /// Two counters that the lock keeps equal.
    first: AtomicU64,
    second: AtomicU64,
    lives: [Account; LIVES],
}

impl Atomics for Ledger {}

/// Runs for `time`, and says whether the ledger balances.
pub(crate) fn soak<C: Channel, L: Lockable>(
    bound: Option<usize>,
    time: Duration,
    seed: u64,
) -> ExitCode {
    // What is made once and stays.
    drop((C::make(bound), L::make()));
    let check = LeakCheck::new();
    let end = Instant::now() + time;
    let mut faults = Vec::new();
    let mut round = seed;
    // Each round has a ledger of its own, as long as that has room.
    while faults.is_empty() && Instant::now() < end {
        let (channel, lock, ledger) = (C::make(bound), L::make(), Mapped::<Ledger>::new());
        faults = run(&channel, &lock, &ledger, end, round);
        round += 1;
    }
    let leaks = check.leaks(Duration::from_secs(5));
    for fault in faults.iter().chain(&leaks) {
        println!("  {fault}");
    }
    if faults.is_empty() && leaks.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run<C: Channel, L: Lockable>(
    channel: &C,
    lock: &L,
    ledger: &Ledger,
    end: Instant,
    seed: u64,
) -> Vec<String> {
    let mut random = Random::new(seed);
    let start = |life| Role::fork(|| work(channel, lock, ledger, life, seed));
    let progress = |life: usize| ledger.lives[life].work.load(SeqCst);
    let mut crew = Crew::new(WORKERS, &start, &progress);
    let (mut kills, mut in_get, mut in_count) = (0_u64, 0_u64, 0_u64);
    let mut faults = Vec::new();

    while Instant::now() < end && kills < (LIVES - WORKERS) as u64 && faults.is_empty() {
        std::thread::sleep(Duration::from_micros(random.below(4000)));
        let account = &ledger.lives[crew.kill_one(&mut random)];
        kills += 1;
        in_get += u64::from(account.getting.load(SeqCst));
        in_count += u64::from(account.counting.load(SeqCst));
        faults.extend(crew.idle());
    }

    ledger.stop.store(true, SeqCst);
    let lives = crew.lives();
    faults.extend(crew.finish());
    let mut taker = Taker::new();
    loop {
        match channel.get(Some(Duration::ZERO)) {
            Outcome::Done(id) => taker.take(ledger, id),
            Outcome::TimedOut | Outcome::Closed => break,
            Outcome::Failed => {
                faults.push("the rest cannot be taken".into());
                break;
            }
        }
    }
    balance(ledger, lives, in_get, in_count, &mut faults);
    let put: u64 = ledger.lives[..lives].iter().map(|life| life.put.load(SeqCst)).sum();
    println!(
        "soak: {kills} kills ({in_get} in get, {in_count} in the lock), {put} messages, {} counts, {} faults",
        ledger.first.load(SeqCst),
        faults.len()
    );
    faults
}

fn balance(ledger: &Ledger, lives: usize, in_get: u64, in_count: u64, faults: &mut Vec<String>) {
    let (mut missing, mut doubled, mut counted) = (0, 0, 0);
    for life in &ledger.lives[..lives] {
        counted += life.counted.load(SeqCst);
        let put = life.put.load(SeqCst);
        for (index, taken) in life.taken.iter().enumerate() {
            let taken = taken.load(SeqCst);
            let number = index as u64 + 1;
            missing += u64::from(number <= put && taken == 0);
            doubled += u64::from(taken > 1);
            // One that was being put when its sender died may have come.
            let known = number <= put || number == life.putting.load(SeqCst);
            if taken > 0 && !known {
                faults.push(format!("message {number} of {put} was taken"));
            }
        }
    }
    let mut expect = |what: &str, good: bool, numbers: String| {
        if !good {
            faults.push(format!("{what}: {numbers}"));
        }
    };
    // A consumer that died on its way from the channel to the ledger takes its message with it.
    expect("messages lost", missing <= in_get, format!("{missing}, {in_get} died taking one"));
    expect("messages doubled", doubled == 0, doubled.to_string());
    for (what, number) in [
        ("torn", &ledger.torn),
        ("invented", &ledger.invented),
        ("out of order", &ledger.out_of_order),
        ("failed", &ledger.failed),
    ] {
        let number = number.load(SeqCst);
        expect(what, number == 0, number.to_string());
    }
    let first = ledger.first.load(SeqCst);
    let good = counted <= first && first <= counted + in_count;
    expect("counts", good, format!("{first}, known {counted}, {in_count} died counting"));
}

/// Notes what it takes, and in which order.
struct Taker(Vec<u64>);

impl Taker {
    fn new() -> Self {
        Self(vec![0; LIVES])
    }

    fn take(&mut self, ledger: &Ledger, id: u64) {
        let (life, number) = ((id >> 32) as usize, id & 0xffff_ffff);
        if id == TORN {
            ledger.torn.fetch_add(1, SeqCst);
        } else if life >= LIVES || number == 0 || number > MESSAGES {
            ledger.invented.fetch_add(1, SeqCst);
        } else {
            ledger.lives[life].taken[number as usize - 1].fetch_add(1, SeqCst);
            if self.0[life] >= number {
                ledger.out_of_order.fetch_add(1, SeqCst);
            }
            self.0[life] = number;
        }
    }
}

fn work<C: Channel, L: Lockable>(channel: &C, lock: &L, ledger: &Ledger, life: usize, seed: u64) {
    let mut random = Random::new(seed ^ (life as u64 + 1) << 20);
    let account = &ledger.lives[life];
    let mut taker = Taker::new();
    let short = Some(Duration::from_millis(5));
    while !ledger.stop.load(SeqCst) {
        match random.below(200) {
            0..=104 => {
                let number = account.put.load(SeqCst) + 1;
                if number > MESSAGES || channel.len() > 2000 {
                    account.work.fetch_add(1, SeqCst);
                    continue;
                }
                account.putting.store(number, SeqCst);
                match channel.put((life as u64) << 32 | number, short) {
                    Outcome::Done(_) => account.put.store(number, SeqCst),
                    Outcome::TimedOut => {}
                    _ => drop(ledger.failed.fetch_add(1, SeqCst)),
                }
            }
            105..=198 => {
                account.getting.store(true, SeqCst);
                match channel.get(short) {
                    Outcome::Done(id) => taker.take(ledger, id),
                    Outcome::TimedOut => {}
                    _ => drop(ledger.failed.fetch_add(1, SeqCst)),
                }
                account.getting.store(false, SeqCst);
            }
            _ => {
                account.counting.store(true, SeqCst);
                let (guard, died) = lock.lock();
                let (first, second) = (ledger.first.load(SeqCst), ledger.second.load(SeqCst));
                if first != second && !died {
                    ledger.torn.fetch_add(1, SeqCst);
                }
                ledger.first.store(first + 1, SeqCst);
                std::thread::yield_now();
                ledger.second.store(first + 1, SeqCst);
                drop(guard);
                account.counted.fetch_add(1, SeqCst);
                account.counting.store(false, SeqCst);
            }
        }
        account.work.fetch_add(1, SeqCst);
    }
}
