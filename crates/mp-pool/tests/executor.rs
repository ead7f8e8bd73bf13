//! The executor and its futures.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use common::guarded;
use mp_pool::{
    Death, ErrorKind, Future, FutureState, Pool, ProcessPoolExecutor, ReturnWhen, TaskError,
    as_completed, reusable_executor, should_stop, wait,
};
use mp_queue::Queue;
use serde::{Deserialize, Serialize, Serializer, ser};

fn square(x: u64) -> u64 {
    x * x
}

fn even(x: u64) -> u64 {
    assert!(x.is_multiple_of(2), "{x} is odd");
    x
}

fn exit(code: i32) {
    std::process::exit(code)
}

fn pid() -> u32 {
    std::process::id()
}

/// Does not serialize.
#[derive(Debug, Deserialize)]
struct Mute;

impl Serialize for Mute {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("mute"))
    }
}

/// Waits until it is told to go on.
fn stay(go: Queue<u32>) -> u32 {
    go.get().unwrap_or_default()
}

fn executor(workers: usize) -> ProcessPoolExecutor {
    ProcessPoolExecutor::new(workers).unwrap()
}

/// Waits until a worker has begun it.
fn until_running<T>(future: &Future<T>) {
    while !future.is_running() {
        assert!(!future.is_done());
        std::thread::yield_now();
    }
}

#[test]
fn types_are_send_sync_and_debug() {
    fn check<T: Send + Sync + std::fmt::Debug>() {}
    check::<Future<u64>>();
    check::<ProcessPoolExecutor>();
    check::<FutureState>();
}

#[test]
fn fx_01_submit_gives_a_result() {
    guarded(|| {
        let executor = executor(2);
        assert_eq!(executor.submit(square, (12,)).unwrap().result().unwrap(), 144);
        let futures: Vec<_> = (0..100).map(|x| executor.submit(square, (x,)).unwrap()).collect();
        let results: Vec<_> = futures.into_iter().map(|future| future.result().unwrap()).collect();
        assert_eq!(results, (0..100).map(square).collect::<Vec<_>>());
    });
}

#[test]
fn fx_02_04_05_06_map() {
    guarded(|| {
        let executor = executor(2);
        let all: Result<Vec<_>, _> = executor.pool().chunk_size(3).imap(square, 0..10).collect();
        assert_eq!(all.unwrap(), (0..10).map(square).collect::<Vec<_>>());
        let mut errors = executor.map(even, [2, 3, 4]);
        assert_eq!(errors.next().unwrap().unwrap(), 2);
        assert!(matches!(errors.next(), Some(Err(TaskError::Panicked(_)))));
        assert_eq!(errors.next().unwrap().unwrap(), 4);
        for chunk in [6, 50, 40] {
            let all: Result<Vec<_>, _> =
                executor.pool().chunk_size(chunk).imap(square, 0..41).collect();
            assert_eq!(all.unwrap().len(), 41);
        }
        let refused = executor.pool().chunk_size(0).imap(square, 0..3).next();
        assert!(matches!(refused, Some(Err(TaskError::InvalidInput(_)))));
        let refused = executor.pool().buffer_size(0).imap(square, 0..3).next();
        assert!(matches!(refused, Some(Err(TaskError::InvalidInput(_)))));
        let pulled = AtomicUsize::new(0);
        let input = (0..).inspect(|_| {
            pulled.fetch_add(1, Ordering::Relaxed);
        });
        // Several inputs are one of pairs.
        let both = executor.pool().imap(|(a, b): (u64, u64)| a + b, (0..).zip(100..));
        assert_eq!(both.take(3).flatten().collect::<Vec<_>>(), [100, 102, 104]);
        assert_eq!(executor.pool().buffer_size(4).imap(square, []).count(), 0);
        let mut endless = executor.pool().buffer_size(4).imap(square, input);
        assert_eq!(pulled.load(Ordering::Relaxed), 4);
        assert_eq!(endless.next().unwrap().unwrap(), 0);
    });
}

#[test]
fn fx_07_08_zero_is_refused() {
    assert_eq!(ProcessPoolExecutor::new(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    let builder = Pool::builder().workers(1).max_tasks_per_child(0);
    assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// W-20: replacing workers has to go on while there is a backlog, and after the executor takes no more.
#[test]
fn fx_10_11_limits_on_tasks_do_not_stop_a_backlog() {
    guarded(|| {
        let pool = Pool::builder().workers(2).max_tasks_per_child(1).build().unwrap();
        let executor = ProcessPoolExecutor::from(pool);
        let futures: Vec<_> = (0..20).map(|x| executor.submit(square, (x,)).unwrap()).collect();
        executor.close();
        for (x, future) in (0..).zip(futures) {
            assert_eq!(future.result().unwrap(), square(x));
        }
        executor.shutdown().unwrap();
        // Dropped with a backlog, it ends it.
        let pool = Pool::builder().workers(1).max_tasks_per_child(1).build().unwrap();
        let executor = ProcessPoolExecutor::from(pool);
        let first = executor.submit(stay, (Queue::new().unwrap(),)).unwrap();
        let futures: Vec<_> = (0..20).map(|x| executor.submit(square, (x,)).unwrap()).collect();
        drop(executor);
        assert!(matches!(first.result(), Err(TaskError::Terminated)));
        for future in futures {
            assert!(matches!(future.result(), Err(TaskError::Terminated)));
        }
    });
}

/// W-19: where Python breaks the executor for good, one task fails.
#[test]
fn fx_13_14_a_dead_worker_costs_its_task_only() {
    guarded(|| {
        let executor = executor(2);
        let dead = executor.submit(exit, (3,)).unwrap();
        let others: Vec<_> = (0..20).map(|x| executor.submit(square, (x,)).unwrap()).collect();
        let error = dead.exception().unwrap();
        assert!(matches!(error, TaskError::Died { death: Death::Exited(3), .. }));
        assert!(!error.is_broken_pool() && error.to_string().contains("exited with code 3"));
        assert!(others.into_iter().all(|future| future.result().is_ok()));
        assert_eq!(executor.submit(square, (5,)).unwrap().result().unwrap(), 25);
    });
}

#[test]
fn fx_16_workers_come_on_demand() {
    guarded(|| {
        let executor = executor(3);
        let first = executor.submit(pid, ()).unwrap().result().unwrap();
        for _ in 0..3 {
            assert_eq!(executor.submit(pid, ()).unwrap().result().unwrap(), first);
        }
        assert_eq!(executor.pool().workers(), 1);
        let go = Queue::<u32>::new().unwrap();
        let stuck: Vec<_> = (0..9).map(|_| executor.submit(stay, (go.clone(),)).unwrap()).collect();
        assert_eq!(executor.pool().workers(), 3);
        for x in 0..9 {
            go.put(&x).unwrap();
        }
        let sum: u32 = stuck.into_iter().map(|future| future.result().unwrap()).sum();
        assert_eq!(sum, 36);
    });
}

#[test]
fn fx_19_25_what_does_not_serialize_and_what_dies_with_much_data() {
    guarded(|| {
        let executor = executor(2);
        assert!(matches!(executor.submit(|_: Mute| 0, (Mute,)), Err(TaskError::Encode(_))));
        let mute = executor.submit(|| Mute, ()).unwrap();
        assert!(matches!(mute.result(), Err(TaskError::Remote { .. })));
        assert_eq!(executor.submit(square, (2,)).unwrap().result().unwrap(), 4);
        let dead = executor
            .submit(|data: Vec<u8>| std::process::exit(i32::from(data[0])), (vec![7_u8; 4 << 20],))
            .unwrap();
        let fine: Vec<_> = (0..4)
            .map(|_| executor.submit(|data: Vec<u8>| data.len(), (vec![0_u8; 1 << 20],)).unwrap())
            .collect();
        let dead: Result<(), _> = dead.result();
        assert!(matches!(dead, Err(TaskError::Died { death: Death::Exited(7), .. })));
        assert!(fine.into_iter().all(|future| future.result().unwrap() == 1 << 20));
    });
}

#[test]
fn fx_24_a_worker_that_dies_during_shutdown() {
    guarded(|| {
        let executor = executor(1);
        let go = Queue::<u32>::new().unwrap();
        let dead = executor.submit(
            |go: Queue<u32>| -> u32 { std::process::exit(go.get().unwrap() as i32) },
            (go.clone(),),
        );
        let dead = dead.unwrap();
        let after = executor.submit(square, (3,)).unwrap();
        executor.close();
        go.put(&4).unwrap();
        executor.shutdown().unwrap();
        assert!(matches!(dead.result(), Err(TaskError::Died { death: Death::Exited(4), .. })));
        assert_eq!(after.result().unwrap(), 9);
    });
}

#[test]
fn fx_29_a_failing_initializer_breaks_the_executor() {
    guarded(|| {
        let fail = || Err::<(), _>("no licence");
        let pool = Pool::builder().workers(2).initializer(fail, ()).build().unwrap();
        let executor = ProcessPoolExecutor::from(pool);
        let error = loop {
            match executor.submit(square, (1,)) {
                Ok(future) => assert!(future.exception().unwrap().is_broken_pool()),
                Err(error) => break error,
            }
        };
        assert!(error.is_broken_pool() && error.to_string().contains("no licence"));
    });
}

#[test]
fn fx_30_34_35_after_shutdown() {
    guarded(|| {
        let executor = executor(2);
        let future = executor.scope(|executor| executor.submit(square, (4,)).unwrap()).unwrap();
        assert!(future.is_done());
        executor.shutdown().unwrap();
        assert!(matches!(executor.submit(square, (1,)), Err(TaskError::Closed)));
        assert_eq!(future.result().unwrap(), 16);
        assert!(executor.pool().pids().is_empty());
    });
}

#[test]
fn fx_32_cancel_what_is_pending() {
    guarded(|| {
        let executor = executor(1);
        let go = Queue::<u32>::new().unwrap();
        let running = executor.submit(stay, (go.clone(),)).unwrap();
        until_running(&running);
        let futures: Vec<_> = (0..50).map(|x| executor.submit(square, (x,)).unwrap()).collect();
        assert_eq!(executor.cancel_pending(), 50);
        go.put(&1).unwrap();
        executor.shutdown().unwrap();
        assert_eq!(running.result().unwrap(), 1);
        assert!(futures.iter().all(Future::is_cancelled));
    });
}

#[test]
fn fx_36_kill_workers() {
    guarded(|| {
        let executor = executor(1);
        let future = executor.submit(stay, (Queue::new().unwrap(),)).unwrap();
        until_running(&future);
        executor.kill_workers();
        executor.kill_workers();
        assert!(matches!(future.result(), Err(TaskError::Terminated)));
        assert!(executor.submit(square, (1,)).is_err());
        executor.shutdown().unwrap();
        // One that has never had a worker, and one that is broken.
        let unused = self::executor(2);
        unused.kill_workers();
        unused.shutdown().unwrap();
        let fail = || Err::<(), _>("no licence");
        let broken = Pool::builder().workers(1).initializer(fail, ()).build().unwrap();
        let broken = ProcessPoolExecutor::from(broken);
        assert!(broken.pool().apply(square, (1,)).unwrap_err().is_broken_pool());
        broken.kill_workers();
        broken.shutdown().unwrap();
        assert!(broken.submit(square, (1,)).unwrap_err().is_broken_pool());
    });
}

/// What is false or empty is no error, and no error is taken for a result because it says nothing.
#[test]
fn fx_17_errors_without_a_word_are_errors() {
    guarded(|| {
        let executor = executor(1);
        let silent = executor.submit(|| -> u32 { panic!("") }, ()).unwrap();
        assert!(
            matches!(silent.exception(), Some(TaskError::Panicked(p)) if p.message().is_empty())
        );
        let gone = executor.submit(exit, (0,)).unwrap();
        assert!(matches!(gone.result(), Err(TaskError::Died { death: Death::Exited(0), .. })));
        let own = executor.submit(|| Err::<(), ()>(()), ()).unwrap();
        assert!(own.exception().is_none());
        assert_eq!(own.result().unwrap(), Err(()));
        assert!(!executor.submit(|| false, ()).unwrap().result().unwrap());
        assert_eq!(executor.submit(|| None::<u8>, ()).unwrap().result().unwrap(), None);
    });
}

/// The same executor, of the size asked for, as long as it works; another after that.
#[test]
fn a_reusable_executor_is_reused_grows_and_is_replaced() {
    guarded(|| {
        let first = reusable_executor(1).unwrap();
        assert_eq!(first.submit(square, (3,)).unwrap().result().unwrap(), 9);
        let second = reusable_executor(3).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(second.pool().workers(), 3);
        // It does not shrink under those who have it.
        assert_eq!(reusable_executor(2).unwrap().pool().workers(), 3);
        assert_eq!(reusable_executor(0).unwrap_err().kind(), ErrorKind::InvalidInput);
        second.kill_workers();
        let third = reusable_executor(1).unwrap();
        assert!(!Arc::ptr_eq(&second, &third));
        assert_eq!(third.submit(square, (4,)).unwrap().result().unwrap(), 16);
    });
}

#[test]
fn fu_02_06_states() {
    guarded(|| {
        let executor = executor(1);
        let go = Queue::<u32>::new().unwrap();
        let running = executor.submit(stay, (go.clone(),)).unwrap();
        let pending = executor.submit(square, (2,)).unwrap();
        until_running(&running);
        assert_eq!(format!("{running:?}"), "Future { state: Running }");
        assert_eq!(format!("{pending:?}"), "Future { state: Pending }");
        assert!(!running.cancel() && !running.is_cancelled());
        assert!(pending.cancel() && pending.is_done() && !pending.cancel());
        assert_eq!(format!("{pending:?}"), "Future { state: Cancelled }");
        go.put(&9).unwrap();
        assert!(running.exception().is_none());
        assert!(!running.cancel() && !running.kill());
        assert_eq!(format!("{running:?}"), "Future { state: Finished }");
        assert_eq!(running.result().unwrap(), 9);
        assert!(matches!(pending.result(), Err(TaskError::Cancelled)));
        let failed = executor.submit(even, (1,)).unwrap();
        assert!(matches!(failed.exception(), Some(TaskError::Panicked(_))));
        assert_eq!(failed.state(), FutureState::Finished);
    });
}

#[test]
fn fu_03_timeouts() {
    guarded(|| {
        let executor = executor(1);
        let go = Queue::<u32>::new().unwrap();
        let mut future = executor.submit(stay, (go.clone(),)).unwrap();
        assert!(future.exception_timeout(Duration::ZERO).unwrap_err().is_timeout());
        let (start, limit) = (Instant::now(), Duration::from_millis(20));
        assert!(future.result_timeout(limit).unwrap_err().is_timeout());
        assert!(start.elapsed() >= limit);
        go.put(&2).unwrap();
        assert!(future.exception_timeout(Duration::from_secs(60)).unwrap().is_none());
        assert_eq!(future.result_timeout(Duration::ZERO).unwrap(), 2);
        assert!(matches!(future.result_timeout(Duration::ZERO), Err(TaskError::Taken)));
        let mut failed = executor.submit(even, (1,)).unwrap();
        let error = failed.exception_timeout(Duration::from_secs(60)).unwrap().unwrap();
        assert!(error.is_failure() && !error.is_timeout());
        assert!(matches!(failed.result_timeout(Duration::ZERO), Err(TaskError::Panicked(_))));
        let running = executor.submit(stay, (go.clone(),)).unwrap();
        until_running(&running);
        let mut cancelled = executor.submit(square, (1,)).unwrap();
        assert!(cancelled.cancel());
        assert!(cancelled.exception_timeout(Duration::ZERO).unwrap().unwrap().is_cancelled());
        assert!(cancelled.result_timeout(Duration::ZERO).unwrap_err().is_cancelled());
        assert!(matches!(future.result(), Err(TaskError::Taken)));
    });
}

#[test]
fn fu_04_a_waiting_thread_is_woken_by_the_result_and_by_a_cancel() {
    guarded(|| {
        let executor = executor(1);
        let go = Queue::<u32>::new().unwrap();
        let running = executor.submit(stay, (go.clone(),)).unwrap();
        let pending = executor.submit(stay, (go,)).unwrap();
        until_running(&running);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| (pending.exception(), running.exception()));
            assert!(pending.cancel());
            assert!(running.kill());
            let (first, second) = waits.join().unwrap();
            assert!(first.unwrap().is_cancelled() && second.unwrap().is_cancelled());
        });
        let go = Queue::<u32>::new().unwrap();
        let running = executor.submit(stay, (go.clone(),)).unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| running.result());
            go.put(&6).unwrap();
            assert_eq!(waits.join().unwrap().unwrap(), 6);
        });
    });
}

#[test]
fn done_callbacks_run_in_order_once_and_cannot_hurt() {
    guarded(|| {
        let executor = executor(1);
        let go = Queue::<u32>::new().unwrap();
        let future = executor.submit(stay, (go.clone(),)).unwrap();
        let (sender, receiver) = mpsc::channel();
        for index in 0..3 {
            let sender = sender.clone();
            future.add_done_callback(move |result| {
                assert!(index != 1, "this one panics");
                sender.send((index, result.ok().copied())).unwrap();
            });
        }
        go.put(&5).unwrap();
        assert_eq!(receiver.recv().unwrap(), (0, Some(5)));
        assert_eq!(receiver.recv().unwrap(), (2, Some(5)));
        assert_eq!(future.result().unwrap(), 5);
        // One that is done calls at once.
        let future = executor.submit(square, (3,)).unwrap();
        assert!(future.exception().is_none());
        future.add_done_callback(move |result| {
            sender.send((9, Some(*result.unwrap() as u32))).unwrap()
        });
        assert_eq!(receiver.try_recv().unwrap(), (9, Some(9)));
    });
}

#[test]
fn fu_08_09_10_wait() {
    guarded(|| {
        let executor = executor(2);
        let go = Queue::<u32>::new().unwrap();
        let stuck = executor.submit(|go: Queue<u32>| u64::from(go.get().unwrap()), (go.clone(),));
        let quick = executor.submit(square, (2,)).unwrap();
        let waited = wait([stuck.unwrap(), quick], None, ReturnWhen::FirstCompleted);
        assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));
        let early = wait(waited.not_done, Some(Duration::ZERO), ReturnWhen::AllCompleted);
        assert_eq!((early.done.len(), early.not_done.len()), (0, 1));
        let fails = executor.submit(even, (3,)).unwrap();
        let both = early.not_done.into_iter().chain([fails]);
        let waited = wait(both, None, ReturnWhen::FirstException);
        assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));
        // One that has failed already ends the wait at once; without a failure it is for all.
        let at_once =
            wait(waited.done.into_iter().chain(waited.not_done), None, ReturnWhen::FirstException);
        assert_eq!((at_once.done.len(), at_once.not_done.len()), (1, 1));
        let fine = (0..5).map(|x| executor.submit(square, (x,)).unwrap());
        assert_eq!(wait(fine, None, ReturnWhen::FirstException).done.len(), 5);
        let waited = at_once;
        go.put(&1).unwrap();
        let all =
            wait(waited.not_done.into_iter().chain(waited.done), None, ReturnWhen::AllCompleted);
        assert_eq!((all.done.len(), all.not_done.len()), (2, 0));
        assert!(wait(Vec::<Future<()>>::new(), None, ReturnWhen::FirstCompleted).done.is_empty());
    });
}

#[test]
fn fu_12_15_as_completed_gives_each_once() {
    guarded(|| {
        let (one, other) = (executor(2), executor(1));
        let futures = (0..100).map(|x| {
            let executor = if x % 3 == 0 { &other } else { &one };
            executor.submit(square, (x,)).unwrap()
        });
        let futures: Vec<_> = futures.collect();
        let mut results: Vec<_> =
            as_completed(futures).map(|future| future.result().unwrap()).collect();
        results.sort_unstable();
        assert_eq!(results, (0..100).map(square).collect::<Vec<_>>());
        let go = Queue::<u32>::new().unwrap();
        let mut late = as_completed([one.submit(stay, (go.clone(),)).unwrap()]);
        assert!(late.next_timeout(Duration::ZERO).unwrap().unwrap_err().is_timeout());
        go.put(&3).unwrap();
        assert_eq!((late.len(), late.next().unwrap().result().unwrap()), (1, 3));
        assert!(late.next().is_none());
    });
}

/// Runs a future by nothing but a thread that sleeps until it is woken.
fn block_on<F: std::future::Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn futures_can_be_awaited() {
    guarded(|| {
        let executor = executor(2);
        let sum = block_on(async {
            let mut sum = 0;
            for x in 0..20 {
                sum += executor.submit(square, (x,)).unwrap().await.unwrap();
            }
            let all = executor.pool().map_async(square, 0..10).unwrap();
            sum + all.await.unwrap().into_iter().sum::<u64>()
        });
        assert_eq!(sum, 2470 + 285);
        let dead = block_on(executor.submit(exit, (1,)).unwrap());
        assert!(matches!(dead, Err(TaskError::Died { .. })));
        let never = executor.submit(stay, (Queue::new().unwrap(),)).unwrap();
        until_running(&never);
        std::thread::scope(|scope| {
            let awaited = scope.spawn(|| block_on(never));
            executor.kill_workers();
            assert!(matches!(awaited.join().unwrap(), Err(TaskError::Terminated)));
        });
    });
}

#[test]
fn a_running_task_is_asked_to_stop() {
    guarded(|| {
        let executor = executor(1);
        let polite = executor.submit(
            || {
                while !should_stop() {
                    std::thread::yield_now();
                }
                7
            },
            (),
        );
        let polite = polite.unwrap();
        until_running(&polite);
        assert!(!polite.cancel());
        assert_eq!(polite.result().unwrap(), 7);
        assert!(
            !executor.submit(should_stop, ()).unwrap().result().unwrap(),
            "that was another one"
        );
    });
}

#[test]
#[expect(
    clippy::mutable_key_type,
    reason = "the hash is of what a future is, which does not change"
)]
fn a_future_is_equal_to_its_clones_alone() {
    guarded(|| {
        let executor = ProcessPoolExecutor::new(2).unwrap();
        let submit = |x| (executor.submit(square, (x,)).unwrap(), x);
        let given: HashMap<Future<u64>, u64> = (0..50).map(submit).collect();
        assert_eq!(given.len(), 50);
        for future in as_completed(given.keys().cloned()) {
            let x = given[&future];
            assert_eq!(future.result().unwrap(), x * x);
        }
        for future in given.into_keys() {
            assert!(matches!(future.result(), Err(TaskError::Taken)), "a clone has it");
        }
        let later = |x| executor.pool().apply_async(square, (x,)).unwrap();
        let (one, other) = (later(5), later(5));
        assert!(one == one.clone() && one != other);
    });
}

#[test]
fn a_callback_may_ask_its_future() {
    guarded(|| {
        let executor = ProcessPoolExecutor::new(1).unwrap();
        let (go, (sender, receiver)) = (Queue::new().unwrap(), mpsc::channel());
        let future = executor.submit(stay, (go.clone(),)).unwrap();
        let its = future.clone();
        future.add_done_callback(move |_| {
            let (state, error) = (its.state(), its.exception());
            sender.send((state, error.is_none(), its.result().is_err())).unwrap();
        });
        go.put(&7).unwrap();
        assert_eq!(receiver.recv().unwrap(), (FutureState::Finished, true, true));
        assert_eq!(future.result().unwrap(), 7);
    });
}

#[test]
fn a_scope_shuts_down_after_a_panic_too() {
    guarded(|| {
        let executor = ProcessPoolExecutor::new(1).unwrap();
        let mut future = None;
        let run = |executor: &ProcessPoolExecutor| -> () {
            future = Some(executor.submit(square, (3,)).unwrap());
            panic!("out of it");
        };
        assert!(catch_unwind(AssertUnwindSafe(|| executor.scope(run))).is_err());
        assert!(future.unwrap().is_done());
        assert!(matches!(executor.submit(square, (3,)), Err(TaskError::Closed)));
    });
}
