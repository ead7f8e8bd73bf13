//! The lives of workers: how many there are, where they stand, when they leave, what is told of them.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use common::guarded;
use mp_pool::{Backend, ErrorKind, Pool, TaskError, ThreadPool, worker_id};
use mp_shared::Lock;

/// A worker that has had its tasks counts until it has ended, so that the pool never does more at once than it may.
#[test]
fn a_stand_in_does_not_begin_before_the_other_has_ended() {
    guarded(|| {
        let alone = |lock: Lock| {
            let alone = lock.try_lock().is_ok_and(|guard| {
                std::thread::sleep(Duration::from_millis(2));
                drop(guard);
                true
            });
            (std::process::id(), alone)
        };
        let lock = Lock::new().unwrap();
        let pool = Pool::builder().workers(1).max_tasks_per_child(1).build().unwrap();
        let results = pool.chunk_size(1).map(alone, vec![lock; 20]).unwrap();
        assert!(results.iter().all(|&(_, alone)| alone));
        let pids: BTreeSet<_> = results.iter().map(|&(pid, _)| pid).collect();
        assert_eq!(pids.len(), 20);
    });
}

static AT_FIRST: OnceLock<Option<usize>> = OnceLock::new();

/// What the initializer, the state, the task and a thread of it take for their worker's number.
fn numbers(state: &mut Option<usize>, die: bool) -> [Option<usize>; 4] {
    if die {
        std::process::abort();
    }
    let of_thread = std::thread::spawn(worker_id).join().unwrap();
    [AT_FIRST.get().copied().flatten(), *state, worker_id(), of_thread]
}

#[test]
fn a_worker_has_the_number_of_the_one_before_it() {
    guarded(|| {
        let pool = Pool::builder()
            .workers(2)
            .initializer(|| _ = AT_FIRST.get_or_init(worker_id), ())
            .state(worker_id, ())
            .max_tasks_per_child(3)
            .build()
            .unwrap();
        let dies = (0..60).map(|x| x % 7 == 3);
        let calls = pool.chunk_size(1).map_state(numbers, dies.clone());
        assert!(matches!(calls, Err(TaskError::Died { .. })));
        let mut seen = BTreeSet::new();
        for _ in 0..10 {
            for numbers in pool.chunk_size(1).map_state(numbers, [false; 6]).unwrap() {
                assert_eq!(numbers, [numbers[0]; 4]);
                seen.insert(numbers[0]);
            }
        }
        assert!(seen.is_subset(&BTreeSet::from([Some(0), Some(1)])), "{seen:?}");
        assert!(pool.stats().workers.iter().all(|worker| worker.slot < 2));
        assert_eq!(worker_id(), None);
    });
}

#[test]
fn threads_and_calls_in_place_have_numbers_too() {
    guarded(|| {
        let pool = ThreadPool::new(3).unwrap();
        let numbers = pool.chunk_size(1).map(|_: u32| worker_id(), 0..30).unwrap();
        assert!(numbers.iter().all(|number| number.is_some_and(|number| number < 3)));
        let inline = || Pool::builder().backend(Backend::Inline).build().unwrap();
        assert_eq!(inline().apply(worker_id, ()).unwrap(), Some(0));
        assert_eq!(worker_id(), None);
        // A pool in a worker has numbers of its own, and then the worker has its number again.
        let within = |(): ()| {
            let inline = Pool::builder().backend(Backend::Inline).build().unwrap();
            let before = worker_id();
            (before, inline.apply(worker_id, ()).unwrap(), worker_id() == before)
        };
        let pool = Pool::new(2).unwrap();
        for (outer, inner, again) in pool.chunk_size(1).map(within, [(); 10]).unwrap() {
            assert!(outer.is_some_and(|number| number < 2) && inner == Some(0) && again);
        }
    });
}

fn nest(backend: Backend) -> u32 {
    match Pool::builder().workers(1).backend(backend).max_depth(4).build() {
        Ok(pool) => 1 + pool.apply(nest_again, (backend == Backend::Threads,)).unwrap(),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::TooDeep);
            0
        }
    }
}

fn nest_again(threads: bool) -> u32 {
    nest(if threads { Backend::Threads } else { Backend::Processes })
}

#[test]
fn pools_nest_so_deep_and_no_deeper() {
    guarded(|| {
        assert_eq!(nest(Backend::Processes), 4);
        assert_eq!(nest(Backend::Threads), 4);
        let error = Pool::builder().max_depth(0).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooDeep);
    });
}

/// The processors that this thread may run on, as the kernel writes them.
fn allowed() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.unwrap().trim().to_owned()
}

#[test]
fn workers_run_on_their_processors() {
    guarded(|| {
        let before = allowed();
        // Whatever machine this is: the first and the last processor that this process has.
        let first: usize = before.split(['-', ',']).next().unwrap().parse().unwrap();
        let last: usize = before.split(['-', ',']).next_back().unwrap().parse().unwrap();
        for backend in [Backend::Processes, Backend::Threads] {
            let pinned = || Pool::builder().workers(2).backend(backend);
            let pool = pinned().cpus([last]).build().unwrap();
            assert_eq!(pool.apply(allowed, ()).unwrap(), last.to_string());
            let pool = pinned().pin([[first], [last]]).build().unwrap();
            pool.grow(2).unwrap();
            let calls = pool.chunk_size(1).map(|(): ()| (worker_id(), allowed()), [(); 40]);
            for (number, allowed) in calls.unwrap() {
                let its = if number.unwrap() % 2 == 0 { first } else { last };
                assert_eq!(allowed, its.to_string());
            }
        }
        assert_eq!(allowed(), before, "this process runs where it did");
        let bad: [&[usize]; 4] = [&[1 << 20], &[first, 1023], &[], &[usize::MAX]];
        for cpus in bad {
            let error = Pool::builder().workers(2).cpus(cpus.to_vec()).build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
        let error = Pool::builder().pin([vec![first], vec![4242]]).build().unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("4242"));
    });
}
