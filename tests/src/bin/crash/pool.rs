//! A pool whose worker is killed at its work. The worker is a real one, and so is all that must go on after it.
#![expect(unsafe_code, reason = "a worker stops itself")]

use std::sync::OnceLock;
use std::time::Duration;

use mp_tests::captive::Captive;
use mp_tests::proc;
use mp_tests::step::{self, End, Kill, LIVENESS, within_liveness};
use mp_tests::sweep::Verdict;
use multiproc::pool::{AsyncResult, Death, Pool, TaskError};
use multiproc::shared::AtomicValue;
use serde::de::DeserializeOwned;

/// What matters of a ring and of the bell is at the beginning of their mappings.
const WATCHED: usize = 5 * 1024;

/// A pool with one worker. All trials have the same one: each takes its worker away, and another stands in.
struct Bench {
    pool: Pool,
    /// How often each task has run, a byte for each.
    runs: AtomicValue<u64>,
    /// A new worker is to stop before it is ready.
    stop: AtomicValue<bool>,
}

/// The counter, in a worker.
static RUNS: OnceLock<AtomicValue<u64>> = OnceLock::new();

fn set_up(runs: AtomicValue<u64>, stop: AtomicValue<bool>) {
    RUNS.get_or_init(|| runs);
    if stop.load() {
        // SAFETY: stops this process, which the harness expects.
        unsafe { libc::raise(libc::SIGSTOP) };
    }
}

/// Counts that it runs, and gives the square.
fn work(x: u64) -> u64 {
    if let Some(runs) = RUNS.get() {
        runs.fetch_add(1 << (8 * x));
    }
    x * x
}

fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        step::watch_first(WATCHED);
        let (runs, stop) = (AtomicValue::new(0), AtomicValue::new(false));
        let (runs, stop) = (runs.expect("a number"), stop.expect("a flag"));
        let pool = Pool::builder().workers(1).initializer(set_up, (runs.clone(), stop.clone()));
        Bench { pool: pool.build().expect("a pool"), runs, stop }
    })
}

/// One outcome of a task, or none in time.
type Outcome = Option<Result<u64, TaskError>>;

impl Bench {
    /// The worker, when it has nothing to do.
    fn worker(&self) -> u32 {
        let mut first = self.pool.apply_async(work, (0,)).expect("the pool is open");
        while first.get_timeout(Duration::from_millis(20)).is_err_and(|error| error.is_timeout()) {}
        self.runs.store(0);
        self.pool.pids()[0]
    }

    /// Notes what is wrong with the outcomes of tasks 1, 2, ...: each has one, the right one or the death of the worker, and one at
    /// the most has that. Then another worker must stand in, and work.
    fn judge(&self, stop: step::Stop, dead: u32, outcomes: &[Outcome], most: u64) -> Verdict {
        let mut verdict = Verdict::new(stop);
        let runs = self.runs.load().to_le_bytes();
        let mut deaths = 0;
        for (x, outcome) in (1..).zip(outcomes) {
            let ran = u64::from(runs[x as usize]);
            verdict.doubled |= ran > most;
            match outcome {
                Some(Ok(square)) => {
                    verdict.torn |= *square != x * x;
                    verdict.lost |= ran == 0;
                }
                Some(Err(TaskError::Died { death: Death::Killed(libc::SIGKILL), .. })) => {
                    deaths += 1
                }
                Some(Err(_)) => verdict.torn = true,
                None => verdict.hang = true,
            }
        }
        // Who was killed before it did anything, or after it had done all, has taken nothing with it.
        let may = stop.steps > 0 && stop.end != End::Stuck;
        verdict.lost |= deaths > usize::from(may);
        let stands_in = || self.pool.pids().first().is_some_and(|&pid| pid != dead);
        verdict.progress(within_liveness(stands_in), "who stands in");
        let mut next = self.pool.apply_async(work, (0,)).expect("the pool is open");
        verdict.hang |= next.get_timeout(LIVENESS).ok() != Some(0);
        if verdict.hang || verdict.torn || verdict.lost || verdict.doubled {
            verdict.note.push_str(&format!("{outcomes:?}, runs {runs:?}; "));
        }
        verdict
    }
}

fn outcome<R: DeserializeOwned + 'static>(
    mut later: AsyncResult<R>,
) -> Option<Result<R, TaskError>> {
    match later.get_timeout(LIVENESS) {
        Err(error) if error.is_timeout() => None,
        outcome => Some(outcome),
    }
}

/// One task: it is done, or not done twice and its caller told.
pub(crate) fn task(kill: Kill) -> Verdict {
    let bench = bench();
    let pid = bench.worker();
    let victim = Captive::seize(pid);
    let later = bench.pool.apply_async(work, (1,)).expect("the pool is open");
    // Somebody sleeps until the worker says something.
    let stop = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| later.wait_timeout(4 * LIVENESS));
        victim.run(kill, || waiter.is_finished())
    });
    bench.judge(stop, pid, &[outcome(later)], 1)
}

/// So many numbers are large enough that their memory is lent.
const MANY: usize = 64 << 10;

/// What stands for numbers that are not all the same.
const MIXED: u64 = u64::MAX;

fn all(numbers: &[u64]) -> u64 {
    let first = numbers.first().copied().unwrap_or(MIXED);
    if numbers.len() == MANY && numbers.iter().all(|&number| number == first) {
        first
    } else {
        MIXED
    }
}

/// As [`work`], with a number that comes and goes many times over.
fn carry(numbers: Vec<u64>) -> Vec<u64> {
    let x = all(&numbers);
    vec![if x < 8 { work(x) } else { MIXED }; MANY]
}

/// Tasks whose arguments and results lie in memory that is lent: whoever dies with it, what is lent next has nothing of it.
pub(crate) fn loan(kill: Kill) -> Verdict {
    let bench = bench();
    let lend = |x: u64| bench.pool.apply_async(carry, (vec![x; MANY],)).expect("the pool is open");
    let square = |later| outcome(later).map(|result| result.map(|numbers: Vec<u64>| all(&numbers)));
    let pid = bench.worker();
    let victim = Captive::seize(pid).by_calls();
    let laters = [lend(1), lend(2)];
    let stop = std::thread::scope(|scope| {
        let waiter =
            scope.spawn(|| laters.iter().for_each(|later| _ = later.wait_timeout(4 * LIVENESS)));
        victim.run(kill, || waiter.is_finished())
    });
    let outcomes = laters.map(square);
    let mut verdict = bench.judge(stop, pid, &outcomes, 1);
    for (x, later) in [3, 4].map(|x| (x, lend(x))) {
        let outcome = square(later);
        verdict.hang |= outcome.is_none();
        verdict.torn |= outcome.is_some_and(|result| result.ok() != Some(x * x));
    }
    verdict
}

/// A chunk of tasks: one of them is lost with the worker at the most, and those whose results were not handed over are done again.
pub(crate) fn chunk(kill: Kill) -> Verdict {
    let bench = bench();
    let pid = bench.worker();
    let victim = Captive::seize(pid);
    let mut results = bench.pool.chunk_size(3).imap(work, 1..4);
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut take = |timeout| match results.next_timeout(timeout) {
        Some(Err(error)) if error.is_timeout() => false,
        Some(result) => {
            outcomes.push(Some(result));
            false
        }
        None => true,
    };
    let stop = victim.run(kill, || take(Duration::ZERO));
    within_liveness(|| take(Duration::from_millis(1)));
    outcomes.resize_with(outcomes.len().max(3), || None);
    let mut verdict = bench.judge(stop, pid, &outcomes[..3], 2);
    verdict.doubled |= outcomes.len() > 3;
    verdict
}

/// A worker that begins: it says that it is ready, and finds work that it was given before that.
pub(crate) fn start(kill: Kill) -> Verdict {
    let bench = bench();
    let before = bench.worker();
    bench.stop.store(true);
    drop(Captive::seize(before));
    let later = bench.pool.apply_async(work, (1,)).expect("the pool is open");
    let new = || bench.pool.pids().first().copied().filter(|&pid| pid != before);
    let stopped = || new().is_some_and(|pid| proc::state(pid.cast_signed()) == Some('T'));
    assert!(within_liveness(stopped).0, "no worker stands in");
    bench.stop.store(false);
    let pid = new().expect("a worker");
    let stop = Captive::seize(pid).run(kill, || later.is_ready());
    bench.judge(stop, pid, &[outcome(later)], 1)
}
