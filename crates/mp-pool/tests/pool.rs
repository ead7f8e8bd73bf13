//! Pools through their public interface. Ids such as PL-01 are those of the list of behaviours that users rely on.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use common::guarded;
use mp_pool::{AsyncResult, ErrorKind, Imap, Options, Pool, Retry, StartMethod, TaskError};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

fn square(x: u64) -> u64 {
    x * x
}

fn add(a: i32, b: i32) -> i32 {
    a + b
}

fn nap(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

fn pid(_: u32) -> u32 {
    std::process::id()
}

fn even(x: i32) -> i32 {
    assert!(x % 2 == 0, "{x} is odd");
    x
}

/// Does not serialize.
#[derive(Debug)]
struct Mute;

impl Serialize for Mute {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("mute"))
    }
}

impl<'de> Deserialize<'de> for Mute {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

/// Serializes, and does not come back.
#[derive(Debug, Serialize)]
struct Lost(u8);

impl<'de> Deserialize<'de> for Lost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Ok(Self(0)),
            _ => Err(de::Error::custom("lost")),
        }
    }
}

fn message<T: Debug>(result: Result<T, TaskError>) -> String {
    match result {
        Err(TaskError::Panicked(panic)) => panic.message().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn types_are_send_sync_and_debug() {
    fn check<T: Send + Sync + Debug>() {}
    check::<Pool>();
    check::<Options<'_>>();
    check::<AsyncResult<Vec<u8>>>();
    check::<TaskError>();
    check::<mp_pool::Error>();
    fn send<T: Send + Debug>() {}
    send::<Imap<std::vec::IntoIter<(u8,)>, u8>>();
}

#[test]
fn pl_01_apply_is_a_call() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        assert_eq!(pool.apply(square, (5,)).unwrap(), 25);
        assert_eq!(pool.apply(add, (2, 3)).unwrap(), 5);
        assert_eq!(pool.apply(|| "nothing".to_owned(), ()).unwrap(), "nothing");
        assert_ne!(pool.apply(pid, (0,)).unwrap(), std::process::id());
    });
}

#[test]
fn map_keeps_the_order() {
    guarded(|| {
        let pool = Pool::new(3).unwrap();
        let expected: Vec<u64> = (0..10_000).map(square).collect();
        assert_eq!(pool.map(square, 0..10_000).unwrap(), expected);
        for chunk in [1, 7, 100, 20_000] {
            assert_eq!(pool.chunk_size(chunk).map(square, 0..10_000).unwrap(), expected);
        }
        let unknown_length = (0..10_000).filter(|_| true);
        assert_eq!(pool.map(square, unknown_length).unwrap(), expected);
        assert_eq!(
            pool.starmap(add, (0..100).map(|x| (x, 1))).unwrap(),
            (1..101).collect::<Vec<_>>()
        );
        assert_eq!(pool.starmap_async(add, [(1, 2)]).unwrap().get().unwrap(), [3]);
    });
}

#[test]
fn pl_03_empty_input_is_an_empty_result() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let none = || std::iter::empty::<u64>();
        assert!(pool.map(square, none()).unwrap().is_empty());
        assert!(pool.chunk_size(3).map(square, none()).unwrap().is_empty());
        assert!(pool.map_async(square, none()).unwrap().get().unwrap().is_empty());
        assert_eq!(pool.imap(square, none()).count(), 0);
        assert_eq!(pool.imap_unordered(square, none()).count(), 0);
        let (sender, receiver) = mpsc::channel();
        let callback =
            move |all: Result<&Vec<u64>, &TaskError>| sender.send(all.unwrap().len()).unwrap();
        let result = pool.chunk_size(1).map_async_with(square, none(), callback).unwrap();
        assert!(result.get().unwrap().is_empty());
        assert_eq!(receiver.recv().unwrap(), 0);
    });
}

#[test]
fn pl_04_callbacks_get_everything_once() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let callback = move |all: Result<&Vec<u64>, &TaskError>| {
            sink.lock().unwrap().push(all.cloned().map_err(|error| error.to_string()));
        };
        pool.chunk_size(2).map_async_with(square, 0..5, callback).unwrap().get().unwrap();
        let sink = seen.clone();
        let callback = move |one: Result<&i32, &TaskError>| {
            let error = one.unwrap_err().to_string();
            sink.lock().unwrap().push(Err(error));
        };
        let failed = pool.apply_async_with(even, (3,), callback).unwrap();
        assert_eq!(message(failed.get()), "3 is odd");
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].as_ref().unwrap(), &[0, 1, 4, 9, 16]);
        assert!(seen[1].as_ref().unwrap_err().contains("3 is odd"));
    });
}

/// PL-04, of maps of tuples too; of a failed one the callback gets the first error in order.
#[test]
fn callbacks_of_maps_get_all_of_it() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let (sender, receiver) = mpsc::channel();
        let there = sender.clone();
        let sums = pool.chunk_size(1).starmap_async_with(add, [(1, 2), (3, 4)], move |all| {
            there.send(all.cloned().map_err(|error| error.to_string())).unwrap();
        });
        assert_eq!(sums.unwrap().get().unwrap(), [3, 7]);
        assert_eq!(receiver.recv().unwrap().unwrap(), [3, 7]);
        let mixed = pool.chunk_size(1).map_async_with(even, 0..6, move |all| {
            sender.send(all.cloned().map_err(|error| error.to_string())).unwrap();
        });
        assert_eq!(message(mixed.unwrap().get()), "1 is odd");
        assert!(receiver.recv().unwrap().unwrap_err().contains("1 is odd"));
        assert!(receiver.recv().is_err(), "once each");
    });
}

#[test]
fn callbacks_run_when_nobody_waits() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let (sender, receiver) = mpsc::channel();
        for number in 0..50 {
            let sender = sender.clone();
            let callback = move |one: Result<&u64, &TaskError>| sender.send(*one.unwrap()).unwrap();
            drop(pool.apply_async_with(square, (number,), callback).unwrap());
        }
        let mut all: Vec<u64> = receiver.iter().take(50).collect();
        all.sort_unstable();
        assert_eq!(all, (0..50).map(square).collect::<Vec<_>>());
    });
}

/// PL-39, W-05, W-07: tasks are handed out and limits kept while a callback takes its time.
#[test]
fn a_callback_that_takes_long_holds_up_no_task() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let (here, there) = std::sync::mpsc::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let slow = pool.apply_async_with(square, (1,), move |_| {
            here.send(()).unwrap();
            wait.recv().unwrap();
        });
        there.recv().unwrap();
        // Nobody waits for these: the pool itself has to see to them, more than its worker can have queued.
        let many: Vec<_> = (0..300).map(|x| pool.apply_async(square, (x,)).unwrap()).collect();
        let limit = std::time::Duration::from_millis(1);
        let late = pool.timeout(limit).apply_async(nap, (3_600_000,)).unwrap();
        let stats = || pool.stats();
        while stats().tasks() < 301 || stats().pending + stats().in_flight > 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        go.send(()).unwrap();
        assert_eq!(slow.unwrap().get().unwrap(), 1);
        assert!(matches!(late.get(), Err(TaskError::TimeLimit)));
        assert!(many.into_iter().all(|result| result.get().is_ok()));
    });
}

#[test]
fn pl_39_a_panicking_callback_is_the_result() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let result = pool.apply_async_with(square, (2,), |_| panic!("no thanks")).unwrap();
        match result.get() {
            Err(TaskError::Callback { message, .. }) => assert_eq!(message, "no thanks"),
            other => panic!("{other:?}"),
        }
        assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
    });
}

#[test]
fn a_callback_may_use_and_end_its_pool() {
    guarded(|| {
        let pool = Arc::new(Pool::new(1).unwrap());
        let (sender, receiver) = mpsc::channel();
        let inner = pool.clone();
        let callback = move |_: Result<&u64, &TaskError>| {
            let value = inner.apply(square, (9,)).unwrap();
            let join = inner.join().unwrap_err().kind();
            inner.terminate();
            sender.send((value, join)).unwrap();
        };
        drop(pool.apply_async_with(square, (1,), callback).unwrap());
        assert_eq!(receiver.recv().unwrap(), (81, ErrorKind::Unsupported));
        pool.join().unwrap();
    });
}

#[test]
fn pl_06_arguments_that_do_not_serialize_are_an_error_of_the_call() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let take = |_: Mute| 0_u8;
        assert!(matches!(pool.apply(take, (Mute,)), Err(TaskError::Encode(_))));
        assert!(matches!(pool.apply_async(take, (Mute,)), Err(TaskError::Encode(_))));
        assert!(matches!(pool.map(take, [Mute, Mute]), Err(TaskError::Encode(_))));
        assert!(matches!(pool.map_async(take, [Mute]), Err(TaskError::Encode(_))));
        let each: Vec<_> = pool.imap(take, [Mute, Mute]).collect();
        assert!(matches!(each[..], [Err(TaskError::Encode(_)), Err(TaskError::Encode(_))]));
        assert_eq!(pool.apply(square, (2,)).unwrap(), 4);
    });
}

#[test]
fn pl_07_results_that_do_not_serialize_cost_no_worker() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let before = pool.pids();
        for _ in 0..20 {
            let error = pool.apply(|| Mute, ()).unwrap_err();
            assert!(error.to_string().contains("Mute` does not serialize"), "{error}");
        }
        assert_eq!(pool.pids(), before);
    });
}

/// FX-23, W-04
#[test]
fn results_that_do_not_decode_are_errors_of_their_tasks() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let results: Vec<_> = pool.chunk_size(4).imap(Lost, 0..4).collect();
        assert!(results[0].is_ok());
        for result in &results[1..] {
            assert!(matches!(result, Err(TaskError::Decode(_))), "{result:?}");
        }
        let arguments: Vec<_> = pool.imap(|lost: Lost| lost.0, [Lost(0), Lost(1)]).collect();
        assert!(arguments[0].is_ok());
        assert!(arguments[1].as_ref().unwrap_err().to_string().contains("Lost"));
    });
}

/// PL-05, PL-29
#[test]
fn panics_are_errors_of_their_tasks_with_message_and_place() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let before = pool.pids();
        match pool.apply(even, (3,)) {
            Err(TaskError::Panicked(panic)) => {
                assert_eq!(panic.message(), "3 is odd");
                assert!(panic.location().unwrap().contains("tests/pool.rs:"));
            }
            other => panic!("{other:?}"),
        }
        let mixed: Vec<_> = pool.chunk_size(3).imap(even, 0..6).map(Result::ok).collect();
        assert_eq!(mixed, [Some(0), None, Some(2), None, Some(4), None]);
        assert_eq!(pool.pids(), before);
    });
}

#[test]
fn pl_09_a_panic_of_the_input_comes_after_the_results_before_it() {
    guarded(|| {
        for chunk in [1, 2, 4] {
            let pool = Pool::new(2).unwrap();
            let input = (0..7).inspect(|&x| assert!(x < 6, "bad input"));
            let mut results = pool.chunk_size(chunk).imap(square, input);
            for expected in 0..6 {
                assert_eq!(results.next().unwrap().unwrap(), square(expected));
            }
            let next = std::panic::AssertUnwindSafe(|| results.next());
            let panic = std::panic::catch_unwind(next).unwrap_err();
            assert_eq!(panic.downcast_ref::<&str>(), Some(&"bad input"));
            assert!(results.next().is_none());
        }
    });
}

#[test]
fn pl_11_12_imap_in_order_and_out_of_it() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        for chunk in [1, 100] {
            let all: Vec<u64> =
                pool.chunk_size(chunk).imap(square, 0..1000).collect::<Result<_, _>>().unwrap();
            assert_eq!(all, (0..1000).map(square).collect::<Vec<_>>());
            let any = pool.chunk_size(chunk).imap_unordered(square, 0..1000);
            let any: BTreeSet<u64> = any.collect::<Result<_, _>>().unwrap();
            assert_eq!(any, (0..1000).map(square).collect());
        }
    });
}

#[test]
fn pl_13_an_error_does_not_end_the_iteration() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let results: Vec<bool> = pool.imap(even, 0..6).map(|result| result.is_ok()).collect();
        assert_eq!(results, [true, false, true, false, true, false]);
    });
}

#[test]
fn imap_unordered_gives_the_first_to_finish_first() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let go = mp_queue::Queue::new().unwrap();
        // The first waits until the second is there.
        let late = |go: Option<mp_queue::Queue<u64>>| go.map_or(1, stay);
        let mut results = pool.imap_unordered(late, [Some(go.clone()), None]);
        assert_eq!(results.next().unwrap().unwrap(), 1);
        go.put(&200).unwrap();
        assert_eq!(results.next().unwrap().unwrap(), 200);
    });
}

/// W-11
#[test]
fn pl_15_16_34_zero_is_refused() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let invalid = |error: &TaskError| matches!(error, TaskError::InvalidInput(_));
        assert!(invalid(&pool.chunk_size(0).map(square, 0..3).unwrap_err()));
        assert!(invalid(&pool.chunk_size(0).map_async(square, 0..3).unwrap_err()));
        let mut iter = pool.chunk_size(0).imap(square, 0..3);
        assert!(invalid(&iter.next().unwrap().unwrap_err()) && iter.next().is_none());
        let mut iter = pool.buffer_size(0).imap_unordered(square, 0..3);
        assert!(invalid(&iter.next().unwrap().unwrap_err()) && iter.next().is_none());
        let error = Pool::builder().workers(1).max_tasks_per_child(0).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn pl_17_imap_reads_only_so_far_ahead() {
    guarded(|| {
        static PULLED: AtomicU32 = AtomicU32::new(0);
        let pulled = || PULLED.load(Ordering::Relaxed);
        let pool = Pool::new(2).unwrap();
        let endless = (0_u64..).inspect(|_| {
            PULLED.fetch_add(1, Ordering::Relaxed);
        });
        let mut results = pool.imap(square, endless);
        assert_eq!(pulled(), 4);
        for taken in 1..=1000 {
            assert_eq!(results.next().unwrap().unwrap(), square(u64::from(taken) - 1));
            assert!(pulled() <= taken + 4, "{} after {taken}", pulled());
        }
    });
}

#[test]
fn pl_18_a_pool_can_be_joined_with_an_iterator_half_way() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let mut results = pool.imap(square, 0..);
        assert_eq!(results.next().unwrap().unwrap(), 0);
        pool.close();
        assert_eq!(results.next().unwrap().unwrap(), 1);
        pool.join().unwrap();
        // What was begun is there, and then an error says that there is no more.
        let rest: Vec<_> = results.collect();
        let (last, begun) = rest.split_last().unwrap();
        assert!(begun.iter().all(Result::is_ok));
        assert!(matches!(last, Err(TaskError::Closed)), "{last:?}");
    });
}

#[test]
fn an_iterator_goes_on_after_close() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let results = pool.imap(square, 0..100);
        pool.close();
        assert_eq!(results.filter(Result::is_ok).count(), 100);
        pool.join().unwrap();
    });
}

#[test]
fn iterators_know_their_length() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let mut results = pool.chunk_size(3).imap(square, 0..10);
        assert_eq!(results.size_hint(), (10, Some(10)));
        results.next();
        assert_eq!(results.size_hint(), (9, Some(9)));
        let items: Vec<u64> = (0..10).collect();
        assert_eq!(pool.imap_unordered(square, items).len(), 10);
    });
}

#[test]
fn pl_19_a_timeout_is_not_early_and_loses_nothing() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let go = mp_queue::Queue::new().unwrap();
        let mut later = pool.apply_async(stay, (go.clone(),)).unwrap();
        let start = Instant::now();
        assert!(matches!(later.get_timeout(Duration::from_millis(30)), Err(TaskError::TimedOut)));
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert!(!later.is_ready());
        assert_eq!(later.is_successful(), None);
        go.put(&300).unwrap();
        later.wait();
        assert_eq!(later.is_successful(), Some(true));
        assert_eq!(later.get_timeout(Duration::ZERO).unwrap(), 300);
        assert!(matches!(later.get_timeout(Duration::ZERO), Err(TaskError::Taken)));
    });
}

/// Waits until it is told to go on.
fn stay(go: mp_queue::Queue<u64>) -> u64 {
    go.get().unwrap()
}

#[test]
fn pl_19_a_wait_can_be_bounded_too() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let go = mp_queue::Queue::new().unwrap();
        let later = pool.apply_async(stay, (go.clone(),)).unwrap();
        assert!(!later.wait_timeout(Duration::ZERO));
        let (start, limit) = (Instant::now(), Duration::from_millis(20));
        assert!(!later.wait_timeout(limit));
        assert!(start.elapsed() >= limit);
        while !later.is_running() {
            std::thread::yield_now();
        }
        assert_eq!(later.tasks_done(), 0);
        go.put(&5).unwrap();
        assert!(later.wait_timeout(Duration::from_secs(3600)) && !later.is_running());
        assert_eq!((later.tasks_done(), later.get().unwrap()), (1, 5));
    });
}

/// One timeout is for the next result, which can be asked for again; another is for all of them.
#[test]
fn pl_19_iterators_have_two_timeouts() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let go = mp_queue::Queue::new().unwrap();
        let late = |next| matches!(next, Some(Err(TaskError::TimedOut)));
        let mut each = pool.imap(stay, vec![go.clone(); 3]);
        let (start, limit) = (Instant::now(), Duration::from_millis(20));
        assert!(late(each.next_timeout(limit)) && start.elapsed() >= limit);
        assert!(late(each.next_timeout(Duration::ZERO)));
        go.put(&1).unwrap();
        assert_eq!(each.next_timeout(Duration::from_secs(3600)).unwrap().unwrap(), 1);
        let start = Instant::now();
        let mut each = each.timeout(limit);
        assert!(late(each.next()) && start.elapsed() >= limit);
        assert!(each.next().is_none());
        go.put(&2).unwrap();
        go.put(&3).unwrap();
    });
}

#[test]
fn pl_21_a_pool_has_as_many_workers_as_it_was_told() {
    guarded(|| {
        assert_eq!(Pool::new(0).unwrap_err().kind(), ErrorKind::InvalidInput);
        let pool = Pool::new(3).unwrap();
        assert_eq!((pool.workers(), pool.pids().len()), (3, 3));
        let default = Pool::builder().build().unwrap();
        assert_eq!(default.workers(), std::thread::available_parallelism().unwrap().get());
    });
}

static SET_UP: AtomicU32 = AtomicU32::new(0);

fn set_up(by: u32) {
    SET_UP.fetch_add(by, Ordering::Relaxed);
}

#[test]
fn pl_22_the_initializer_runs_once_in_each_worker() {
    guarded(|| {
        let pool = Pool::builder().workers(2).initializer(set_up, (5,)).build().unwrap();
        let seen = pool.chunk_size(1).map(|_: u32| SET_UP.load(Ordering::Relaxed), 0..50).unwrap();
        assert_eq!(seen, [5; 50]);
        assert_eq!(SET_UP.load(Ordering::Relaxed), 0, "it ran here");
    });
}

#[test]
fn a_failing_initializer_ends_the_pool_with_its_error() {
    guarded(|| {
        let fails = |text: String| -> Result<(), String> { Err(text) };
        let panics = |()| -> () { panic!("cannot start") };
        let args = ("out of order".to_owned(),);
        let failing = Pool::builder().workers(2).initializer(fails, args).build().unwrap();
        let panicking = Pool::builder().workers(2).initializer(panics, ((),)).build().unwrap();
        for (pool, text) in [(failing, "out of order"), (panicking, "cannot start")] {
            match pool.map(square, 0..100) {
                Err(TaskError::Initializer { message, .. }) => assert!(message.contains(text)),
                other => panic!("{other:?}"),
            }
            assert!(matches!(pool.apply(square, (1,)), Err(TaskError::Initializer { .. })));
            pool.join().unwrap();
        }
    });
}

/// FX-12, W-08: where no worker can stand in, what is queued fails, and says so.
#[test]
fn an_initializer_that_kills_its_worker_ends_the_pool() {
    guarded(|| {
        let exits = |code: i32| -> () { std::process::exit(code) };
        let pool = Pool::builder().workers(1).initializer(exits, (3,)).build().unwrap();
        assert!(matches!(pool.apply(square, (1,)), Err(TaskError::Start(_))));
    });
}

#[test]
fn pl_23_terminate_does_not_wait_for_what_is_queued() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        // If it waited for one of them, it would for an hour.
        let result = pool.chunk_size(1).map_async(nap, vec![3_600_000_u64; 10_000]).unwrap();
        pool.terminate();
        pool.join().unwrap();
        assert!(matches!(result.get(), Err(TaskError::Terminated)));
        assert!(matches!(pool.apply(square, (1,)), Err(TaskError::Terminated)));
        pool.terminate();
        pool.join().unwrap();
    });
}

#[test]
fn pl_24_27_close_and_join() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        assert_eq!(pool.join().unwrap_err().kind(), ErrorKind::Open);
        let result = pool.map_async(square, 0..1000).unwrap();
        pool.close();
        pool.close();
        assert!(matches!(pool.map_async(square, 0..3), Err(TaskError::Closed)));
        assert!(matches!(pool.apply(square, (1,)), Err(TaskError::Closed)));
        let mut refused = pool.imap(square, 0..3);
        assert!(matches!(refused.next(), Some(Err(TaskError::Closed))) && refused.next().is_none());
        pool.join().unwrap();
        pool.join().unwrap();
        assert_eq!(result.get().unwrap().len(), 1000);
        assert!(pool.pids().is_empty());
    });
}

#[test]
fn pl_28_map_waits_for_all_tasks_before_it_fails() {
    guarded(|| {
        static DONE: AtomicU32 = AtomicU32::new(0);
        fn fail_large(x: u32) -> u32 {
            DONE.fetch_add(1, Ordering::Relaxed);
            if x == 0 {
                panic!("{}", "x".repeat(1 << 20));
            }
            DONE.load(Ordering::Relaxed)
        }
        let pool = Pool::new(1).unwrap();
        assert_eq!(message(pool.chunk_size(1).map(fail_large, 0..20)).len(), 1 << 20);
        assert_eq!(pool.apply(fail_large, (1,)).unwrap(), 21);
        pool.close();
        pool.join().unwrap();
    });
}

#[test]
fn the_first_error_in_order_is_that_of_the_map() {
    guarded(|| {
        fn late(x: u64) -> u64 {
            std::thread::sleep(Duration::from_millis(if x == 1 { 100 } else { 0 }));
            panic!("task {x}")
        }
        let pool = Pool::new(2).unwrap();
        assert_eq!(message(pool.chunk_size(1).map(late, 1..4)), "task 1");
        assert_eq!(message(pool.chunk_size(1).map_async(late, 1..4).unwrap().get()), "task 1");
    });
}

#[test]
fn pl_33_every_task_in_a_worker_of_its_own() {
    guarded(|| {
        let pool = Pool::builder().workers(2).max_tasks_per_child(1).build().unwrap();
        let result = pool.chunk_size(1).map_async(pid, 0..10).unwrap();
        pool.close();
        pool.join().unwrap();
        let pids: BTreeSet<u32> = result.get().unwrap().into_iter().collect();
        assert_eq!(pids.len(), 10);
    });
}

#[test]
fn the_limit_on_tasks_counts_tasks() {
    guarded(|| {
        let pool = Pool::builder().workers(1).max_tasks_per_child(10).build().unwrap();
        let pids: BTreeSet<u32> = pool.chunk_size(5).map(pid, 0..40).unwrap().into_iter().collect();
        assert_eq!(pids.len(), 4);
    });
}

/// Two hundred workers have more descriptors than some systems let a program open at first.
#[expect(unsafe_code, reason = "raises the limit on descriptors of this process")]
fn may_open_many_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur = limit.rlim_max.min(65_536);
    // SAFETY: `limit` is readable.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
}

#[test]
fn pl_37_a_large_pool() {
    guarded(|| {
        may_open_many_files();
        let pool = Pool::new(200).unwrap();
        assert_eq!(pool.pids().len(), 200);
        let sum: u64 = pool.map(square, 0..1000).unwrap().iter().sum();
        assert_eq!(sum, (0..1000).map(square).sum());
        pool.close();
        pool.join().unwrap();
    });
}

#[test]
fn large_arguments_and_results_at_once() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let text = "0123456789".repeat(1 << 20);
        let there = pool.chunk_size(1).map(|text: String| text, vec![text.clone(); 8]).unwrap();
        assert!(there.len() == 8 && there.iter().all(|back| *back == text));
    });
}

#[test]
fn handles_go_in_and_out() {
    guarded(|| {
        fn double(queue: mp_queue::Queue<u32>) -> mp_queue::Queue<u32> {
            let item = queue.get().unwrap();
            queue.put(&(2 * item)).unwrap();
            queue
        }
        let pool = Pool::new(2).unwrap();
        let queues: Vec<_> = (0..20).map(|_| mp_queue::Queue::new().unwrap()).collect();
        for (number, queue) in (0..).zip(&queues) {
            queue.put(&number).unwrap();
        }
        let back = pool.chunk_size(3).map(double, queues).unwrap();
        for (number, queue) in (0..).zip(&back) {
            assert_eq!(queue.get().unwrap(), 2 * number);
        }
    });
}

#[test]
fn pl_31_arguments_and_results_are_released() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let (mut read, write) = std::io::pipe().unwrap();
        let write = mp_wire::Fd::from(std::os::fd::OwnedFd::from(write));
        let back = pool.apply(|fd: mp_wire::Fd| fd, (write.clone(),)).unwrap();
        assert_eq!(pool.map(|_: mp_wire::Fd| 0_u8, vec![write, back]).unwrap(), [0, 0]);
        // The end comes when nobody has the other end any more, neither a worker nor a message on its way.
        assert_eq!(std::io::Read::read(&mut read, &mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_pool_in_a_task_of_a_pool() {
    guarded(|| {
        fn inner(count: u64) -> u64 {
            let pool = Pool::new(2).unwrap();
            pool.map(square, 0..count).unwrap().iter().sum()
        }
        let pool = Pool::new(2).unwrap();
        assert_eq!(pool.chunk_size(1).map(inner, [3, 4]).unwrap(), [5, 14]);
    });
}

#[test]
fn a_pool_for_several_threads() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..6 {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..20 {
                        let number = 100 * thread + round;
                        assert_eq!(pool.apply(square, (number,)).unwrap(), number * number);
                        let all = pool.map(square, number..number + 10).unwrap();
                        assert_eq!(all[9], square(number + 9));
                        let later = pool.apply_async(square, (number,)).unwrap();
                        assert_eq!(pool.imap_unordered(square, 0..10).count(), 10);
                        assert_eq!(later.get().unwrap(), number * number);
                    }
                });
            }
        });
    });
}

/// FX-08, W-22
#[test]
fn every_start_method_but_fork() {
    guarded(|| {
        for method in [StartMethod::Forkserver, StartMethod::Spawn] {
            let pool = Pool::builder().workers(2).start_method(method).build().unwrap();
            assert_eq!(pool.start_method(), method);
            assert_eq!(pool.map(square, 0..10).unwrap()[9], 81);
        }
        let error = Pool::builder().start_method(StartMethod::Fork).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    });
}

/// Does not serialize if it ends in three.
#[derive(Debug, Deserialize)]
struct Picky(usize);

impl Serialize for Picky {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 10 {
            3 => Err(ser::Error::custom("picky")),
            _ => self.0.serialize(serializer),
        }
    }
}

/// Some take long enough for their results to be handed over alone, some panic, some die.
fn pick(Picky(x): Picky) -> usize {
    nap(u64::from(x % 4 == 0));
    assert!(x % 7 != 0, "{x} is odd, too");
    if x % 25 == 5 {
        std::process::exit(1);
    }
    x
}

#[test]
fn each_result_is_found_with_the_place_of_its_item() {
    const ITEMS: usize = 60;
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        for (chunk, ordered) in [(1, true), (1, false), (4, true), (4, false), (100, false)] {
            let options = pool.retry(Retry::times(1)).chunk_size(chunk).buffer_size(2 * chunk);
            let items = (0..ITEMS).map(Picky);
            let results = match ordered {
                true => options.imap(pick, items).indexed(),
                false => options.imap_unordered(pick, items).indexed(),
            };
            assert_eq!(results.len(), ITEMS);
            let mut places = Vec::new();
            for (at, result) in results {
                places.push(at);
                match result {
                    Ok(x) => assert_eq!(x, at),
                    Err(TaskError::Encode(_)) => assert_eq!(at % 10, 3),
                    Err(TaskError::Panicked(panic)) => {
                        assert_eq!(panic.message(), format!("{at} is odd, too"));
                    }
                    Err(TaskError::Died { .. }) => assert_eq!(at % 25, 5),
                    Err(error) => panic!("{at}: {error}"),
                }
            }
            if !ordered {
                places.sort_unstable();
            }
            assert_eq!(places, Vec::from_iter(0..ITEMS), "{chunk} {ordered}");
        }
    });
}

#[test]
fn an_error_of_no_item_has_the_place_of_the_next() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let mut results = pool.buffer_size(3).imap_unordered(square, 0..).indexed();
        assert!(matches!(results.next(), Some((0, Ok(0)))));
        pool.close();
        pool.join().unwrap();
        // The first was taken, and so a fourth read.
        let rest: Vec<_> = results.collect();
        assert!(matches!(
            rest[..],
            [(1, Ok(1)), (2, Ok(4)), (3, Ok(9)), (4, Err(TaskError::Closed))]
        ));
        let refused: Vec<_> = pool.imap(square, 0..3).indexed().collect();
        assert!(matches!(refused[..], [(0, Err(TaskError::Closed))]));
    });
}
