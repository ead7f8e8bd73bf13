//! The same calls over processes, threads, and none of them.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::sync::mpsc;
use std::time::Duration;

use common::guarded;
use mp_pool::{
    Backend, Pool, ProcessPoolExecutor, TaskError, ThreadPool, as_completed, should_stop,
};
use mp_queue::Queue;

fn square(x: u64) -> u64 {
    x * x
}

fn even(x: u64) -> u64 {
    assert!(x.is_multiple_of(2), "{x} is odd");
    x
}

fn add(sum: &mut u64, x: u64) -> u64 {
    *sum += x;
    *sum
}

fn pool(backend: Backend) -> Pool {
    Pool::builder().workers(2).backend(backend).state(|| 0_u64, ()).build().unwrap()
}

const ALL: [Backend; 3] = [Backend::Processes, Backend::Threads, Backend::Inline];

/// PL-30: over threads, too, an error is the task's own.
#[test]
fn every_call_works_over_every_backend() {
    guarded(|| {
        for backend in ALL {
            let pool = pool(backend);
            assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
            assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
            assert_eq!(pool.guided().map(square, 0..1000).unwrap().len(), 1000);
            assert_eq!(pool.starmap(u64::pow, [(2, 3)]).unwrap(), [8]);
            assert_eq!(pool.map_async(square, 0..10).unwrap().get().unwrap().len(), 10);
            assert_eq!(pool.imap(square, 0..).take(20).flatten().count(), 20);
            assert_eq!(pool.imap_unordered(square, 0..20).flatten().sum::<u64>(), 2470);
            assert_eq!(pool.map_with(&5_u64, |by: &u64, x: u64| by * x, [1, 2]).unwrap(), [5, 10]);
            assert!(pool.map_state(add, 0..10).is_ok());
            let (sender, receiver) = mpsc::channel();
            let later = pool.apply_async_with(square, (4,), move |result| {
                sender.send(result.ok().copied()).unwrap();
            });
            assert_eq!(receiver.recv().unwrap(), Some(16));
            assert_eq!(later.unwrap().get().unwrap(), 16);
            let mixed: Vec<_> = pool.imap(even, 0..4).map(|result| result.is_ok()).collect();
            assert_eq!(mixed, [true, false, true, false]);
            assert!(matches!(pool.map(even, 0..4), Err(TaskError::Panicked(_))));
            let executor = ProcessPoolExecutor::from(pool);
            let futures: Vec<_> = (0..10).map(|x| executor.submit(square, (x,)).unwrap()).collect();
            assert_eq!(as_completed(futures).count(), 10);
            executor.shutdown().unwrap();
            assert!(executor.submit(square, (1,)).is_err());
        }
    });
}

#[test]
fn a_failing_initializer_ends_a_pool_of_any_kind() {
    guarded(|| {
        for backend in ALL {
            let fail = || Err::<(), _>("no licence");
            let builder = Pool::builder().workers(2).backend(backend);
            let pool = builder.initializer(fail, ()).build().unwrap();
            let error = pool.apply(square, (1,)).unwrap_err();
            assert!(
                matches!(&error, TaskError::Initializer { message, .. } if message == "no licence")
            );
        }
    });
}

#[test]
fn threads_see_this_process_and_are_given_up_at_limits() {
    guarded(|| {
        let pool = ThreadPool::new(2).unwrap();
        assert_eq!(pool.apply(std::process::id, ()).unwrap(), std::process::id());
        let polite = |_: u32| {
            while !should_stop() {
                std::thread::yield_now();
            }
        };
        assert!(pool.soft_timeout(Duration::from_millis(5)).map(polite, [1, 2]).is_ok());
        // It cannot be ended, and so it is told to stop first, lest it run on.
        let limits =
            pool.soft_timeout(Duration::from_millis(20)).timeout(Duration::from_millis(10));
        let go = Queue::<()>::new().unwrap();
        let stuck = limits.apply(|go: Queue<()>| go.get().unwrap(), (go.clone(),));
        assert!(matches!(stuck, Err(TaskError::TimeLimit)));
        assert_eq!(pool.map(square, 0..100).unwrap().len(), 100);
        pool.grow(1).unwrap();
        pool.shrink(2).unwrap();
        assert_eq!(pool.map(square, 0..100).unwrap().len(), 100);
        go.put(&()).unwrap();
        pool.close();
        pool.join().unwrap();
    });
}

#[test]
fn inline_tasks_run_before_the_call_returns() {
    guarded(|| {
        let pool = Pool::builder().backend(Backend::Inline).build().unwrap();
        let here = std::thread::current().id();
        let there = pool.apply_async(|| format!("{:?}", std::thread::current().id()), ()).unwrap();
        assert!(there.is_ready());
        assert_eq!(there.get().unwrap(), format!("{here:?}"));
        assert_eq!((pool.workers(), pool.pids().len()), (1, 0));
        // A task that uses the pool's own kind does not wait for itself.
        let nested = |n: u64| {
            let pool = Pool::builder().backend(Backend::Inline).build().unwrap();
            pool.map(square, 0..n).unwrap().len()
        };
        assert_eq!(pool.map(nested, [2, 3]).unwrap(), [2, 3]);
    });
}

#[test]
fn a_panic_has_its_place_over_every_backend() {
    guarded(|| {
        for backend in ALL {
            let Err(TaskError::Panicked(panic)) = pool(backend).apply(even, (3,)) else {
                panic!("{backend:?}");
            };
            assert_eq!(panic.message(), "3 is odd");
            assert!(panic.location().is_some_and(|place| place.contains("backends.rs")));
        }
    });
}
