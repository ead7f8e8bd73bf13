//! User code that fails where one does not expect it: while values are encoded and decoded, in the input, in a program that just
//! ends. And what a pool gives back of what it was given.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::guarded;
use mp_pool::{Death, Pool, ProcessPoolExecutor, TaskError, as_completed};
use mp_process::Process;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

fn square(x: u64) -> u64 {
    x * x
}

fn nap(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

/// What goes wrong.
const FINE: u8 = 0;
const ERROR: u8 = 1;
const PANIC: u8 = 2;
const EXIT: u8 = 3;
const ABORT: u8 = 4;

fn go_wrong(how: u8) -> bool {
    match how {
        PANIC => panic!("a trap"),
        EXIT => std::process::exit(5),
        ABORT => std::process::abort(),
        how => how == ERROR,
    }
}

/// Goes wrong while it is decoded.
#[derive(Serialize)]
struct Trap(u8);

impl<'de> Deserialize<'de> for Trap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let how = u8::deserialize(deserializer)?;
        if go_wrong(how) { Err(de::Error::custom("a trap")) } else { Ok(Self(how)) }
    }
}

/// Goes wrong while it is encoded.
#[derive(Deserialize)]
struct Snag(u8);

impl Serialize for Snag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if go_wrong(self.0) {
            Err(ser::Error::custom("a snag"))
        } else {
            self.0.serialize(serializer)
        }
    }
}

fn check<T>(how: u8, result: Result<T, TaskError>) {
    match (how, result) {
        (FINE, Ok(_))
        | (ERROR, Err(TaskError::Remote { .. }))
        | (PANIC, Err(TaskError::Panicked(_)))
        | (EXIT, Err(TaskError::Died { death: Death::Exited(5), .. }))
        | (ABORT, Err(TaskError::Died { death: Death::Killed(6), .. })) => {}
        (how, result) => panic!("{how}: {:?}", result.err()),
    }
}

/// FX-20: an error, a panic, an exit or a crash while a worker decodes a task is that task's.
#[test]
fn fx_20_arguments_that_go_wrong_in_the_worker() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let all = [FINE, ERROR, PANIC, EXIT, ABORT, FINE];
        for how in all {
            check(how, pool.apply(|trap: Trap| trap.0, (Trap(how),)));
        }
        let results = pool.chunk_size(6).imap(|trap: Trap| trap.0, all.map(Trap));
        // All of a chunk is read as it is run, so what comes before and after is well.
        for (how, result) in all.into_iter().zip(results) {
            check(how, result);
        }
        assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
    });
}

/// FX-22: the same while it encodes a result.
#[test]
fn fx_22_results_that_go_wrong_in_the_worker() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let all = [FINE, ERROR, PANIC, EXIT, ABORT, FINE];
        for how in all {
            check(how, pool.apply(Snag, (how,)));
        }
        for (how, result) in all.into_iter().zip(pool.chunk_size(6).imap(Snag, all)) {
            check(how, result);
        }
        assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
    });
}

/// FX-23: a result that cannot be decoded is an error of its own; if decoding it panics, that is the panic of whoever asks.
#[test]
fn fx_23_results_that_go_wrong_here() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        assert!(matches!(pool.apply(Trap, (ERROR,)), Err(TaskError::Decode(_))));
        let panic = catch_unwind(AssertUnwindSafe(|| pool.apply(Trap, (PANIC,))));
        assert!(panic.is_err());
        let later = pool.apply_async_with(Trap, (PANIC,), |_| ()).unwrap();
        assert!(
            matches!(later.get(), Err(TaskError::Callback { .. })),
            "in the thread for callbacks"
        );
        assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
    });
}

/// FX-26: what does not serialize is told to the caller also when the pool is closed, and holds nothing up.
#[test]
fn fx_26_nothing_that_fails_keeps_a_closed_pool() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let last = pool.apply_async(nap, (20,)).unwrap();
        assert!(matches!(
            pool.apply(|snag: Snag| snag.0, (Snag(ERROR),)),
            Err(TaskError::Encode(_))
        ));
        pool.close();
        assert!(pool.apply(|snag: Snag| snag.0, (Snag(ERROR),)).is_err());
        pool.join().unwrap();
        assert_eq!(last.get().unwrap(), 20);
    });
}

/// PL-10: a panic of the input of `imap_unordered` comes after all that was read before it, each once.
#[test]
fn pl_10_a_panic_of_an_unordered_input() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        for chunk in [1, 3] {
            let input = (0..20_u64).inspect(|&x| assert!(x < 10, "no more"));
            let mut results = pool.chunk_size(chunk).imap_unordered(square, input);
            let mut seen = Vec::new();
            let panic = catch_unwind(AssertUnwindSafe(|| {
                seen.extend(results.by_ref().map(Result::unwrap));
            }));
            assert!(panic.is_err());
            seen.sort_unstable();
            assert_eq!(seen, (0..10).map(square).collect::<Vec<_>>());
        }
    });
}

/// PL-25, PL-41: a pool that was terminated takes nothing, by any call, and says why.
#[test]
fn pl_25_a_pool_that_was_terminated_takes_nothing() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        pool.terminate();
        let terminated = |error| matches!(error, TaskError::Terminated);
        assert!(terminated(pool.apply(square, (1,)).unwrap_err()));
        assert!(terminated(pool.map(square, [1]).unwrap_err()));
        assert!(terminated(pool.map(square, []).unwrap_err()));
        assert!(terminated(pool.apply_async(square, (1,)).unwrap_err()));
        assert!(terminated(pool.map_async(square, [1]).unwrap_err()));
        assert!(terminated(pool.apply_async_with(square, (1,), |_| ()).unwrap_err()));
        assert!(terminated(pool.imap(square, [1]).next().unwrap().unwrap_err()));
        pool.join().unwrap();
        assert!(terminated(pool.apply(square, (1,)).unwrap_err()));
    });
}

fn leave_a_pool_at_work() -> Vec<u32> {
    static POOL: OnceLock<Pool> = OnceLock::new();
    let pool = POOL.get_or_init(|| Pool::new(2).unwrap());
    drop(pool.chunk_size(1).map_async(nap, [3_600_000; 10]).unwrap());
    pool.pids()
}

/// PL-36, FX-31, W-12: a program that ends with a pool at work ends well and at once, and its workers with it.
#[test]
fn pl_36_a_program_may_end_with_a_pool_at_work() {
    guarded(|| {
        let program = Process::new(leave_a_pool_at_work, ()).start().unwrap();
        let pids = program.join().unwrap();
        assert_eq!(pids.len(), 2);
        // As long as it is there, it is a zombie at the most.
        let lives = |pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(") ")
                .next()
                .is_some_and(|fields| !fields.is_empty() && !fields.starts_with('Z'))
        };
        while pids.iter().any(lives) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

/// W-10: a worker has exactly as many tasks as it may, whatever the chunks are.
#[test]
fn the_limit_on_tasks_divides_chunks() {
    guarded(|| {
        for chunk in [1, 5, 7, 50] {
            let pool = Pool::builder().workers(2).max_tasks_per_child(7).build().unwrap();
            let pids = pool.chunk_size(chunk).map(|_: u64| std::process::id(), 0..100).unwrap();
            let mut tasks = BTreeMap::<u32, u32>::new();
            pids.into_iter().for_each(|pid| *tasks.entry(pid).or_default() += 1);
            assert!(tasks.len() >= 15 && tasks.values().all(|&tasks| tasks <= 7), "{tasks:?}");
        }
    });
}

static LIVING: AtomicUsize = AtomicUsize::new(0);

/// Counts those that there are in this process.
#[derive(Serialize)]
struct Counted;

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer)?;
        LIVING.fetch_add(1, Ordering::Relaxed);
        Ok(Self)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        LIVING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs in a worker, which has a count of its own.
fn make(_: u64) -> Counted {
    Counted
}

/// FX-18, FU-14: futures that were given out, and their results, are nobody else's.
#[test]
fn fx_18_fu_14_nothing_is_kept() {
    guarded(|| {
        let executor = ProcessPoolExecutor::new(2).unwrap();
        let futures: Vec<_> = (0..3).map(|x| executor.submit(make, (x,)).unwrap()).collect();
        let mut completed = as_completed(futures);
        for _ in 0..2 {
            let future = completed.next().unwrap();
            assert!(future.exception().is_none());
            assert_eq!(LIVING.load(Ordering::Relaxed), 1, "it was decoded");
            drop(future.result().unwrap());
            assert_eq!(LIVING.load(Ordering::Relaxed), 0);
        }
        assert_eq!(completed.len(), 1);
    });
}

/// What does not serialize but panics.
#[derive(Debug, Deserialize)]
struct Mine;

impl Serialize for Mine {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("a mine")
    }
}

#[test]
fn a_panic_while_an_argument_serializes_goes_on_in_the_caller() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let panics = |call: &dyn Fn()| {
            let payload = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
            assert_eq!(payload.downcast_ref(), Some(&"a mine"));
        };
        let take = |_: Mine| ();
        panics(&|| drop(pool.apply(take, (Mine,))));
        panics(&|| drop(pool.apply_async(take, (Mine,))));
        panics(&|| drop(pool.submit(take, (Mine,))));
        panics(&|| drop(pool.apply_async_with(take, (Mine,), |_| ())));
        panics(&|| drop(pool.map(take, [Mine])));
        panics(&|| drop(pool.map_async(take, [Mine])));
        panics(&|| drop(pool.imap(take, [Mine]).collect::<Vec<_>>()));
        assert_eq!(pool.apply(|x: u64| x, (5,)).unwrap(), 5);
    });
}

/// A program that a task starts is ended by Ctrl-C as it would be without a pool around it.
#[test]
fn what_a_task_starts_does_not_ignore_interrupts() {
    fn is_ignored() -> bool {
        let status = std::process::Command::new("cat").arg("/proc/self/status").output().unwrap();
        let status = String::from_utf8(status.stdout).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() & 1 << (libc::SIGINT - 1) != 0
    }
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        assert!(!pool.apply(is_ignored, ()).unwrap());
        // The worker itself lives on, also when the whole group is sent one.
        let pid = nix::unistd::Pid::from_raw(pool.pids()[0].cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        assert_eq!(pool.apply(std::process::id, ()).unwrap(), pid.as_raw().cast_unsigned());
    });
}

/// A bar counts tasks, not chunks, and is full at the end.
#[cfg(feature = "progress")]
#[test]
fn a_bar_shows_each_task() {
    use indicatif::ProgressBar;
    use mp_queue::Queue;
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let is_full = |bar: &ProgressBar| bar.is_finished() && bar.position() == 60;
        let bar = ProgressBar::hidden();
        let with_bar = pool.chunk_size(20).progress_bar(bar.clone());
        // One of the first chunk waits, and so the bar stands within that, when the others are done.
        let go = Queue::<()>::new().unwrap();
        let pass = |go: Queue<()>, x: u64| {
            nap(1);
            if x == 7 {
                go.get().unwrap();
            }
        };
        std::thread::scope(|scope| {
            let tasks = (0..60).map(|x| (go.clone(), x));
            let all = scope.spawn(|| with_bar.starmap(pass, tasks).unwrap());
            while bar.position() < 47 {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!((bar.position(), all.is_finished()), (47, false));
            go.put(&()).unwrap();
            assert_eq!(all.join().unwrap().len(), 60);
        });
        assert!(is_full(&bar) && bar.length() == Some(60));
        let bar = ProgressBar::hidden();
        assert_eq!(pool.guided().progress_bar(bar.clone()).imap(nap, [0; 60]).count(), 60);
        assert!(is_full(&bar));
    });
}
