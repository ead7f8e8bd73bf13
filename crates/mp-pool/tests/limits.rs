//! Limits, cancelling, retries, priorities; size; what workers keep. The numbers are those of the list of what users miss.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::guarded;
use mp_pool::{Death, ErrorKind, Pool, Retry, TaskError, should_stop};
use mp_process::{Process, Resource};
use mp_queue::Queue;

const HOUR: u64 = 3_600_000;

fn square(x: u64) -> u64 {
    x * x
}

fn nap(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

fn abort_at(bad: u64, x: u64) -> u64 {
    if x == bad {
        std::process::abort();
    }
    x
}

fn spin(stop: bool) -> u64 {
    loop {
        if std::hint::black_box(stop) {
            return 0;
        }
    }
}

fn eat(bytes: usize) -> usize {
    let memory = vec![1_u8; bytes];
    std::hint::black_box(&memory);
    std::thread::sleep(Duration::from_millis(if bytes > 1 << 24 { HOUR } else { 0 }));
    bytes
}

/// W-01, W-03: of a chunk too, only the task fails that the worker died with.
#[test]
fn a_worker_that_dies_in_a_chunk_costs_one_task() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        for chunk in [1, 7, 100] {
            let tasks = (0..100).map(|x| (42, x));
            let results = pool.chunk_size(chunk).starmap_async(abort_at, tasks).unwrap();
            while !results.is_ready() {
                results.wait();
            }
            assert_eq!(results.tasks_done(), 100);
            assert!(matches!(results.get(), Err(TaskError::Died { death: Death::Killed(6), .. })));
        }
        let bad_ones = |x: u64| abort_at(x / 10 * 10 + 3, x);
        let all: Vec<_> = pool.chunk_size(25).imap(bad_ones, 0..50).collect();
        for (x, result) in (0..).zip(all) {
            assert_eq!(result.ok(), (x % 10 != 3).then_some(x));
        }
    });
}

#[test]
fn results_handed_over_before_a_death_stand() {
    guarded(|| {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let pool = Pool::new(1).unwrap();
        // Each is long enough for its predecessor's result to be handed over, so that nothing is done twice.
        let run = |ran: Queue<u64>, x: u64| {
            RUNS.fetch_add(1, Ordering::Relaxed);
            ran.put(&x).unwrap();
            nap(2);
            abort_at(5, x)
        };
        let ran = Queue::new().unwrap();
        let tasks = (0..10).map(|x| (ran.clone(), x));
        assert!(pool.chunk_size(10).starmap(run, tasks).is_err());
        let mut all: Vec<_> = std::iter::from_fn(|| ran.try_get().ok()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    });
}

/// W-14
#[test]
fn a_task_beyond_its_time_is_ended_alone() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        // The short ones have the same limit, and have to keep it on a machine that stalls.
        let (start, limit) = (Instant::now(), Duration::from_millis(1500));
        let results: Vec<_> = pool.timeout(limit).imap(nap, [1, HOUR, 2, HOUR, 3]).collect();
        assert!(start.elapsed() >= limit, "never early");
        for (result, ms) in results.into_iter().zip([1, HOUR, 2, HOUR, 3]) {
            match result {
                Ok(napped) => assert_eq!(napped, ms),
                Err(error) => assert!(ms == HOUR && matches!(error, TaskError::TimeLimit)),
            }
        }
        // Nobody waits, and the limit holds all the same.
        let short = Duration::from_millis(20);
        let late = pool.timeout(short).apply_async(nap, (HOUR,)).unwrap();
        while pool.is_open() && !late.is_ready() {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(matches!(late.get(), Err(TaskError::TimeLimit)));
        // In a chunk each task has its own time.
        let all = pool.timeout(Duration::from_secs(20)).chunk_size(5).map(nap, [1; 10]);
        assert_eq!(all.unwrap().len(), 10);
        let pool = Pool::builder().workers(1).timeout(short).build().unwrap();
        assert!(matches!(pool.apply(nap, (HOUR,)), Err(TaskError::TimeLimit)));
        // That of a call is in its place.
        assert_eq!(pool.timeout(Duration::from_secs(60)).apply(nap, (40,)).unwrap(), 40);
    });
}

#[test]
fn a_soft_limit_lets_the_task_end_itself_and_a_hard_one_follows() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let polite = || {
            while !should_stop() {
                std::thread::yield_now();
            }
            "enough".to_owned()
        };
        let soft = Duration::from_millis(10);
        let text = pool.soft_timeout(soft).apply(polite, ());
        assert_eq!(text.unwrap(), "enough");
        let rude = pool.soft_timeout(soft).timeout(Duration::from_millis(50)).apply(nap, (HOUR,));
        assert!(matches!(rude, Err(TaskError::TimeLimit)));
        assert!(!pool.apply(should_stop, ()).unwrap() && !should_stop());
    });
}

/// W-15
#[test]
fn memory_and_processor_time_have_limits() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let sizes = [1 << 10, 256 << 20, 1 << 12];
        let results: Vec<_> = pool.memory_limit(128 << 20).imap(eat, sizes).collect();
        assert!(
            matches!(results[..], [Ok(_), Err(TaskError::MemoryLimit { resident, .. }), Ok(_)] if resident > 128 << 20)
        );
        let limit = Duration::from_millis(50);
        let results: Vec<_> = pool.cpu_limit(limit).imap(spin, [true, false, true]).collect();
        assert!(matches!(results[..], [Ok(0), Err(TaskError::CpuLimit), Ok(0)]));
        // Sleeping uses none.
        assert_eq!(pool.cpu_limit(limit).apply(nap, (120,)).unwrap(), 120);
        let pool = Pool::builder().workers(1).address_space(1 << 30).build().unwrap();
        assert!(matches!(pool.apply(eat, (4 << 30,)), Err(TaskError::Died { .. })));
        assert_eq!(pool.apply(eat, (4 << 10,)).unwrap(), 4 << 10);
        // What it begins with does not count: there is room for a large value, a thread and a pool.
        let busy = |large: Vec<u8>| {
            let thread = std::thread::spawn(move || large.len());
            thread.join().unwrap() + Pool::new(2).unwrap().map(square, 0..10).unwrap().len()
        };
        assert_eq!(pool.apply(busy, (vec![1; 10 << 20],)).unwrap(), (10 << 20) + 10);
    });
}

/// A program that may not have many addresses (`ulimit -v`) keeps most of them for itself.
#[test]
fn a_pool_leaves_addresses_to_a_program_that_has_few() {
    guarded(|| {
        for limit in [2 << 30, 20 << 30, 200 << 30] {
            let few = || {
                let pool = Pool::new(4).unwrap();
                let sum: u64 = pool.map(square, 0..1000).unwrap().iter().sum();
                let large = pool.apply(|bytes: Vec<u8>| bytes, (vec![1; 6 << 20],)).unwrap();
                // A vector of text, which is not lent.
                let words = pool.apply(|words: Vec<String>| words, (vec!["a".repeat(99); 50_000],));
                (sum, large.len(), words.unwrap().len(), vec![1_u8; 500 << 20].len())
            };
            let child = Process::new(few, ()).limit(Resource::Memory, limit).start().unwrap();
            assert_eq!(child.join().unwrap(), (332_833_500, 6 << 20, 50_000, 500 << 20));
        }
    });
}

/// A soft limit is that of each task, also of a chunk.
#[test]
fn of_a_chunk_the_task_that_is_late_is_asked_to_stop() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let until_asked = |waits: bool| {
            while waits && !should_stop() {
                std::thread::yield_now();
            }
            should_stop()
        };
        let tasks = [false, false, true, false, true, false];
        let soft = Duration::from_millis(1500);
        let asked = pool.soft_timeout(soft).chunk_size(6).map(until_asked, tasks).unwrap();
        assert_eq!(asked, tasks);
    });
}

/// What has not begun does not begin any more, also of a chunk that has.
#[test]
fn of_a_chunk_that_is_cancelled_only_the_task_runs_that_has_begun() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let ran = Queue::<u64>::new().unwrap();
        let until_asked = |ran: Queue<u64>, x: u64| {
            ran.put(&x).unwrap();
            while !should_stop() {
                std::thread::yield_now();
            }
        };
        let tasks = (0..100).map(|x| (ran.clone(), x));
        let all = pool.chunk_size(100).starmap_async(until_asked, tasks).unwrap();
        assert_eq!(ran.get().unwrap(), 0);
        all.cancel();
        assert!(all.get().unwrap_err().is_cancelled());
        assert_eq!((ran.len(), pool.stats().restarts), (0, 0));
    });
}

/// W-14
#[test]
fn running_tasks_can_be_cancelled() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let (here, go) = (Queue::<u64>::new().unwrap(), Queue::<u64>::new().unwrap());
        let stay = |here: Queue<u64>, go: Queue<u64>| {
            here.put(&1).unwrap();
            go.get().unwrap()
        };
        let one = pool.apply_async(stay, (here.clone(), go.clone())).unwrap();
        let other = pool.apply_async(stay, (here.clone(), go.clone())).unwrap();
        let queued = pool.map_async(square, 0..100).unwrap();
        here.get().unwrap();
        here.get().unwrap();
        assert!(one.kill());
        assert!(matches!(one.get(), Err(TaskError::Cancelled)));
        go.put(&5).unwrap();
        assert_eq!(other.get().unwrap(), 5);
        assert_eq!(queued.get().unwrap().len(), 100);
        let many = pool.chunk_size(10).map_async(nap, vec![HOUR; 1000]).unwrap();
        assert!(many.kill() && many.get().unwrap_err().is_cancelled());
        let mut naps = pool
            .chunk_size(2)
            .imap_unordered(nap, std::iter::once(1).chain(std::iter::repeat(HOUR)));
        naps.cancel();
        // The first may be done by then.
        assert!(naps.all(|nap| nap.map_or_else(|error| error.is_cancelled(), |ms| ms == 1)));
        assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
    });
}

#[test]
fn tasks_are_retried_by_policy() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let tries = Queue::<u64>::new().unwrap();
        let third_time = |tries: Queue<u64>, how: u64| {
            tries.put(&how).unwrap();
            match (tries.len() % 3, how) {
                (0, _) => how,
                (_, 0) => std::process::exit(9),
                _ => panic!("not yet"),
            }
        };
        let retry = Retry::times(2).delay(Duration::from_millis(1)).backoff(2);
        assert_eq!(pool.retry(retry).apply(third_time, (tries.clone(), 0)).unwrap(), 0);
        assert_eq!(pool.retry(retry.on_panic()).apply(third_time, (tries.clone(), 1)).unwrap(), 1);
        assert_eq!(tries.len(), 6);
        let panicked = pool.retry(retry).apply(third_time, (tries.clone(), 1));
        assert!(matches!(panicked, Err(TaskError::Panicked(_))), "panics are not in this policy");
        let retry = Retry::times(1).on_limit();
        let late = pool.timeout(Duration::from_millis(20)).retry(retry).apply(nap, (HOUR,));
        assert!(matches!(late, Err(TaskError::TimeLimit)));
    });
}

/// W-16: one that is tried again does not overtake what is more urgent.
#[test]
fn what_is_tried_again_keeps_its_priority() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let (here, go) = (Queue::<u64>::new().unwrap(), Queue::<u64>::new().unwrap());
        let order = Queue::<u64>::new().unwrap();
        let second_time = |here: Queue<u64>, go: Queue<u64>, order: Queue<u64>| {
            let first = order.is_empty();
            order.put(&100).unwrap();
            here.put(&0).unwrap();
            go.get().unwrap();
            assert!(!first, "not yet");
        };
        let retry = Retry::times(1).on_panic();
        let args = (here.clone(), go.clone(), order.clone());
        let idle = pool.retry(retry).priority(-1).apply_async(second_time, args).unwrap();
        here.get().unwrap();
        let note = |order: Queue<u64>, x: u64| order.put(&x).unwrap();
        let note = |x| pool.apply_async(note, (order.clone(), x)).unwrap();
        let later: Vec<_> = (0..20).map(note).collect();
        go.put(&0).unwrap();
        go.put(&0).unwrap();
        idle.get().unwrap();
        later.into_iter().for_each(|later| later.get().unwrap());
        let order: Vec<_> = std::iter::from_fn(|| order.try_get().ok()).collect();
        assert_eq!(order, [100].into_iter().chain(0..20).chain([100]).collect::<Vec<_>>());
    });
}

/// Limits of a pool hold for each call that has none of its own.
#[test]
fn limits_of_a_pool_hold_for_every_call() {
    guarded(|| {
        let polite = |_: u32| {
            until_asked_to_stop();
            7_u64
        };
        let limit = Duration::from_millis(10);
        let pool = Pool::builder().workers(1).soft_timeout(limit).build().unwrap();
        assert_eq!(pool.apply(polite, (0,)).unwrap(), 7);
        assert_eq!(pool.submit(polite, (0,)).unwrap().result().unwrap(), 7);
        assert_eq!(pool.chunk_size(1).map(polite, 0..3).unwrap(), [7; 3]);
        // That of a call is in its place.
        let ms = |ms: u64| (nap(ms), should_stop());
        assert_eq!(
            pool.soft_timeout(Duration::from_secs(3600)).apply(ms, (40,)).unwrap(),
            (40, false)
        );

        let pool = Pool::builder().workers(1).cpu_limit(Duration::from_millis(50)).build().unwrap();
        let before = pool.pids();
        assert!(matches!(pool.apply(spin, (false,)), Err(TaskError::CpuLimit)));
        assert_eq!(pool.apply(spin, (true,)).unwrap(), 0);
        assert_ne!(pool.pids(), before, "another worker stands in");
        // Each task has as much for itself, and sleeping uses none.
        assert_eq!(pool.map(nap, [60; 3]).unwrap(), [60; 3]);

        let pool = Pool::builder().workers(1).memory_limit(128 << 20).build().unwrap();
        assert!(matches!(pool.apply(eat, (256 << 20,)), Err(TaskError::MemoryLimit { .. })));
        assert_eq!(pool.apply(eat, (1 << 10,)).unwrap(), 1 << 10);
        let pool = Pool::builder().workers(1).retry(Retry::times(2)).build().unwrap();
        let tries = Queue::<u64>::new().unwrap();
        let third_time = |tries: Queue<u64>| {
            tries.put(&0).unwrap();
            if tries.len() < 3 { std::process::exit(1) } else { tries.len() }
        };
        assert_eq!(pool.apply(third_time, (tries,)).unwrap(), 3);
    });
}

fn until_asked_to_stop() {
    while !should_stop() {
        std::thread::yield_now();
    }
}

/// W-16
#[test]
fn urgent_tasks_go_first() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let (here, go) = (Queue::<u64>::new().unwrap(), Queue::<u64>::new().unwrap());
        let order = Queue::<u64>::new().unwrap();
        let wait = |here: Queue<u64>, go: Queue<u64>| {
            here.put(&0).unwrap();
            go.get().unwrap()
        };
        let first = pool.apply_async(wait, (here.clone(), go.clone())).unwrap();
        here.get().unwrap();
        let note = |order: Queue<u64>, x: u64| order.put(&x).unwrap();
        let priorities = [0, 0, 3, -1, 1, 3];
        let later: Vec<_> = (0..)
            .zip(priorities)
            .map(|(x, priority)| {
                pool.priority(priority).apply_async(note, (order.clone(), x)).unwrap()
            })
            .collect();
        go.put(&0).unwrap();
        first.get().unwrap();
        later.into_iter().for_each(|later| later.get().unwrap());
        let order: Vec<_> = std::iter::from_fn(|| order.try_get().ok()).collect();
        assert_eq!(order, [2, 5, 4, 0, 1, 3]);
    });
}

/// W-17
#[test]
fn a_pool_grows_and_shrinks() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let pids = |pool: &Pool| {
            let naps = pool.chunk_size(1).map(|_: u64| (nap(1), std::process::id()).1, 0..40);
            naps.unwrap().into_iter().collect::<BTreeSet<_>>()
        };
        pool.grow(3).unwrap();
        assert_eq!(pool.workers(), 4);
        while pids(&pool).len() < 4 {}
        pool.shrink(3).unwrap();
        while pool.pids().len() > 1 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(pids(&pool).len(), 1);
        assert_eq!(pool.shrink(1).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(pool.grow(100_000).unwrap_err().kind(), ErrorKind::InvalidInput);
        pool.close();
        pool.join().unwrap();
    });
}

/// W-17
#[test]
fn idle_workers_go_and_come_back() {
    guarded(|| {
        let builder = Pool::builder().workers(1).max_workers(3).min_workers(0);
        let pool = builder.idle_timeout(Duration::from_millis(30)).build().unwrap();
        let stay = |here: Queue<u64>, go: Queue<u64>| {
            here.put(&0).unwrap();
            go.get().unwrap()
        };
        for _ in 0..3 {
            let (here, go) = (Queue::new().unwrap(), Queue::new().unwrap());
            let args = vec![(here.clone(), go.clone()); 12];
            let all = pool.chunk_size(1).starmap_async(stay, args).unwrap();
            // Three are at it at the same time.
            (0..3).for_each(|_| _ = here.get().unwrap());
            assert_eq!(pool.workers(), 3);
            (0..12).for_each(|_| go.put(&0).unwrap());
            assert_eq!(all.get().unwrap().len(), 12);
            while !pool.pids().is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(pool.workers(), 0);
        }
        let later = pool.apply_async(square, (4,)).unwrap();
        assert_eq!(later.get().unwrap(), 16);
        pool.close();
        pool.join().unwrap();
    });
}

/// W-13
#[test]
fn pools_nest() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let inner =
            |n: u64| Pool::new(2).unwrap().map(square, 0..n).unwrap().into_iter().sum::<u64>();
        assert_eq!(pool.map(inner, [3, 4]).unwrap(), [5, 14]);
    });
}

/// W-18
#[test]
fn shared_data_goes_to_each_worker_once() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Table {
        rows: Vec<u64>,
        seen: Queue<u32>,
    }
    fn look_up(table: &Table, row: usize) -> u64 {
        table.seen.put(&std::process::id()).unwrap();
        table.rows[row]
    }
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let seen = Queue::new().unwrap();
        for round in 0..6 {
            let table = Table { rows: (round..round + 1000).collect(), seen: seen.clone() };
            let rows = pool.chunk_size(7).map_with(&table, look_up, 0..1000).unwrap();
            assert_eq!(rows, table.rows);
            let failed = pool.map_with(&table, look_up, [1000]);
            assert!(matches!(failed, Err(TaskError::Panicked(_))));
        }
        assert!(!seen.is_empty());
    });
}

#[derive(Default)]
struct Count(u64);

#[test]
fn workers_have_state_with_a_beginning_and_an_end() {
    fn count(state: &mut Count, x: u64) -> u64 {
        state.0 += 1;
        assert!(x != 50, "this one panics");
        state.0
    }
    struct Ledger(u64, Queue<u64>);
    guarded(|| {
        let pool = Pool::builder().workers(1).state(Count::default, ()).build().unwrap();
        assert_eq!(pool.map_state(count, 0..5).unwrap(), [1, 2, 3, 4, 5]);
        assert!(pool.map_state(count, [50]).is_err());
        assert_eq!(pool.map_state(count, [0]).unwrap(), [7]);
        let other = pool.map_state(|text: &mut String, x: u64| text.len() as u64 + x, [1]);
        assert!(matches!(other, Err(TaskError::Remote { .. })));

        let ends = Queue::<u64>::new().unwrap();
        let pool = Pool::builder()
            .workers(2)
            .state(|ends: Queue<u64>| Ledger(0, ends), (ends.clone(),))
            .exit(|ledger: Ledger| ledger.1.put(&ledger.0).unwrap())
            .build()
            .unwrap();
        pool.map_state(|ledger: &mut Ledger, x: u64| ledger.0 += x, 0..100).unwrap();
        pool.close();
        pool.join().unwrap();
        assert_eq!(ends.get().unwrap() + ends.get().unwrap(), 4950);
        let broken = Pool::builder().workers(1).state(|| panic!("no state"), ()).build().unwrap();
        assert!(matches!(broken.apply(square, (1,)), Err(TaskError::Initializer { .. })));
    });
}

/// W-10
#[test]
fn guided_chunks_are_right_for_any_length_and_pace() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        for length in [0, 1, 3, 100, 50_000] {
            let all = pool.guided().map(square, 0..length).unwrap();
            assert_eq!(all, (0..length).map(square).collect::<Vec<_>>());
        }
        let uneven = pool.guided().map(|x: u64| nap(x / 60), 0..100).unwrap();
        assert_eq!(uneven.len(), 100);
    });
}

/// W-02
#[test]
fn a_worker_that_is_killed_at_rest_is_replaced() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
        for _ in 0..5 {
            let pids = pool.pids();
            for &pid in &pids {
                kill(pid);
            }
            // W-02: whoever dies holds nothing that others need.
            assert_eq!(pool.chunk_size(1).map(square, 0..50).unwrap().len(), 50);
        }
    });
}

#[expect(unsafe_code, reason = "sends a signal")]
fn kill(pid: u32) {
    // SAFETY: takes no pointers.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
}

/// W-09
#[test]
fn endless_input_is_read_a_bounded_number_of_items_ahead() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let pulled = AtomicU64::new(0);
        let input = (0..).inspect(|_| {
            pulled.fetch_add(1, Ordering::Relaxed);
        });
        let mut results = pool.imap(square, input);
        for x in 0..100 {
            assert_eq!(results.next().unwrap().unwrap(), square(x));
            assert!(pulled.load(Ordering::Relaxed) <= x + 1 + 4);
        }
    });
}

/// W-12, W-21
#[test]
fn dropping_a_busy_pool_takes_no_time() {
    guarded(|| {
        let start = Instant::now();
        let pool = Pool::new(2).unwrap();
        let naps = pool.chunk_size(1).map_async(nap, vec![HOUR; 100]).unwrap();
        drop(pool);
        assert!(matches!(naps.get(), Err(TaskError::Terminated)));
        assert!(start.elapsed() < Duration::from_secs(60));
    });
}

/// Whoever waits does the dispatching: also for the limits of calls that came later.
#[test]
fn a_limit_holds_while_a_call_without_one_waits() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let long = pool.submit(nap, (HOUR,)).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| long.exception());
            for _ in 0..5 {
                let late = pool.timeout(Duration::from_millis(20)).apply(nap, (HOUR,));
                assert!(matches!(late, Err(TaskError::TimeLimit)));
            }
            assert!(long.kill());
            assert!(matches!(waiter.join().unwrap(), Some(TaskError::Cancelled)));
        });
    });
}

fn fill(array: mp_shared::Array<u8>) -> u8 {
    let mut bytes = array.lock().unwrap();
    bytes.fill(1);
    // For longer than it takes until somebody looks.
    std::thread::sleep(Duration::from_millis(100));
    bytes[0]
}

/// What a worker shares with others is not its own.
#[test]
fn shared_memory_does_not_count_against_the_limit() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let array = mp_shared::Array::new(96 << 20).unwrap();
        assert_eq!(pool.memory_limit(48 << 20).apply(fill, (array,)).unwrap(), 1);
    });
}
