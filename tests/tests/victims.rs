//! Ten thousand tasks of a pool, while a worker chosen at random is killed every 20 ms: each has exactly one outcome.
//!
//! `MP_SEED=n` chooses others; the seed is printed.
#![allow(clippy::unwrap_used, reason = "what goes wrong here must fail the test")]
#![expect(unsafe_code, reason = "sends signals to workers")]

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mp_tests::guard;
use mp_tests::random::Random;
use multiproc::Queue;
use multiproc::pool::{Death, Pool, Retry, TaskError};

const TASKS: u64 = 10_000;

/// Every other task is tried again when its worker dies.
fn is_retried(x: u64) -> bool {
    x % 2 == 1
}

/// Where tasks say that they begin, in a worker.
static BEGUN: OnceLock<Queue<u64>> = OnceLock::new();

fn set_up(begun: Queue<u64>) {
    BEGUN.get_or_init(|| begun);
}

/// Says that it begins, and works for about half a millisecond.
fn work(x: u64) -> u64 {
    if let Some(begun) = BEGUN.get() {
        begun.put(&x).unwrap();
    }
    let start = Instant::now();
    while start.elapsed() < Duration::from_micros(500) {
        std::hint::spin_loop();
    }
    x * x
}

/// Tasks a second, while nobody is killed.
fn rate(pool: &Pool) -> f64 {
    let start = Instant::now();
    assert_eq!(pool.chunk_size(1).map(work, 0..2000).unwrap().len(), 2000);
    2000.0 / start.elapsed().as_secs_f64()
}

/// Kills one worker after the other, as long as tasks get done, until it is told to stop; gives the number of kills.
fn kill_at_random(pool: &Pool, stop: &AtomicBool, done: &AtomicU64, seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let mut kills = 0;
    while !stop.load(Relaxed) {
        let before = done.load(Relaxed);
        let pids = pool.pids();
        if !pids.is_empty() {
            let victim = pids[random.below(pids.len() as u64) as usize];
            // SAFETY: takes no pointers. It is a worker of ours, or was a moment ago.
            kills += u64::from(unsafe { libc::kill(victim.cast_signed(), libc::SIGKILL) } == 0);
        }
        std::thread::sleep(Duration::from_millis(20));
        // If all were killed before they are ready, the pool would give up.
        while done.load(Relaxed) == before && !stop.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    kills
}

/// W-01, W-19
#[test]
fn each_task_has_one_outcome_whoever_is_killed() {
    let _guard = guard::limit(Duration::from_secs(120));
    let seed = std::env::var("MP_SEED").map_or(1, |text| text.parse().unwrap());
    let begun = Queue::new().unwrap();
    let pool = Pool::builder().workers(4).initializer(set_up, (begun.clone(),)).build().unwrap();
    let before = rate(&pool);
    while begun.try_get().is_ok() {}

    let called: Arc<Vec<AtomicU32>> = Arc::new((0..TASKS).map(|_| AtomicU32::new(0)).collect());
    let (stop, done) = (AtomicBool::new(false), Arc::new(AtomicU64::new(0)));
    let (outcomes, kills, took) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| kill_at_random(&pool, &stop, &done, seed));
        let start = Instant::now();
        let tasks: Vec<_> = (0..TASKS)
            .map(|x| {
                let (called, done) = (called.clone(), done.clone());
                let count = move |result: Result<&u64, &TaskError>| {
                    called[x as usize].fetch_add(1, Relaxed);
                    done.fetch_add(u64::from(result.is_ok()), Relaxed);
                };
                let retry = if is_retried(x) { Retry::times(1000) } else { Retry::times(0) };
                pool.retry(retry).apply_async_with(work, (x,), count).unwrap()
            })
            .collect();
        let outcomes: Vec<_> = tasks.into_iter().map(|task| task.get()).collect();
        stop.store(true, Relaxed);
        (outcomes, killer.join().unwrap(), start.elapsed())
    });

    let mut runs = vec![0_u64; TASKS as usize];
    while let Ok(x) = begun.try_get() {
        runs[x as usize] += 1;
    }
    let mut lost = 0;
    for (x, outcome) in (0..).zip(&outcomes) {
        match outcome {
            Ok(square) => {
                assert_eq!(*square, x * x, "the result of another");
                assert!(runs[x as usize] > 0, "task {x} has a result and has not begun");
            }
            Err(TaskError::Died { death: Death::Killed(libc::SIGKILL), .. }) if !is_retried(x) => {
                lost += 1;
            }
            Err(error) => panic!("task {x}: {error}"),
        }
    }
    assert!(called.iter().all(|calls| calls.load(Relaxed) == 1), "one outcome each");
    let again: u64 = runs.iter().map(|runs| runs.saturating_sub(1)).sum();
    assert!(lost + again <= kills, "{lost} lost and {again} run again by {kills} kills");

    let after = rate(&pool);
    println!(
        "seed {seed}: {TASKS} tasks, {kills} kills, {lost} lost, {again} run again; {before:.0} tasks/s before, \
         {:.0} meanwhile, {after:.0} after",
        TASKS as f64 / took.as_secs_f64()
    );
}
