//! Workers that die, and pools that end with work outstanding.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::guarded;
use mp_pool::{Death, Pool, TaskError};
use mp_queue::Queue;

fn square(x: u64) -> u64 {
    x * x
}

/// How a task ends its worker: by a signal, an exit code below zero, or not at all.
fn end(how: i32) -> i32 {
    match how {
        0 => how,
        -1 => std::process::abort(),
        1.. => kill(std::process::id(), how),
        code => std::process::exit(-code),
    }
}

#[expect(unsafe_code, reason = "sends a signal")]
fn kill(pid: u32, signal: i32) -> i32 {
    // SAFETY: takes no pointers.
    unsafe { libc::kill(pid as i32, signal) };
    std::thread::sleep(Duration::from_secs(if pid == std::process::id() { 60 } else { 0 }));
    signal
}

fn death<T>(result: Result<T, TaskError>) -> Option<Death> {
    match result {
        Err(TaskError::Died { death, .. }) => Some(death),
        _ => None,
    }
}

/// Says who it is, and stays until it is told to end.
fn stay(here: Queue<u32>, go: Queue<u32>) -> u32 {
    here.put(&std::process::id()).unwrap();
    go.get().unwrap_or_default()
}

#[test]
fn pl_40_a_killed_worker_costs_its_task() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        assert_eq!(death(pool.apply(end, (libc::SIGKILL,))), Some(Death::Killed(libc::SIGKILL)));
        assert_eq!(death(pool.apply(end, (libc::SIGSEGV,))), Some(Death::Killed(libc::SIGSEGV)));
        assert_eq!(death(pool.apply(end, (-1,))), Some(Death::Killed(libc::SIGABRT)));
        assert_eq!(death(pool.apply(end, (-7,))), Some(Death::Exited(7)));
        assert_eq!(pool.apply(end, (0,)).unwrap(), 0);
        assert_eq!(pool.map(square, 0..100).unwrap().len(), 100);
    });
}

/// FX-28, W-03
#[test]
fn exit_with_code_zero_is_no_result() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let exit = |code: i32| -> i32 { std::process::exit(code) };
        assert_eq!(death(pool.apply(exit, (0,))), Some(Death::Exited(0)));
        assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
    });
}

#[test]
fn only_the_victims_fail() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let how = |x: i32| if x % 10 == 3 { libc::SIGKILL } else { 0 };
        let results: Vec<_> = pool.imap(end, (0..100).map(how)).collect();
        for (x, result) in (0..).zip(results) {
            match how(x) {
                0 => assert_eq!(result.unwrap(), 0),
                signal => assert_eq!(death(result), Some(Death::Killed(signal))),
            }
        }
    });
}

#[test]
fn a_worker_killed_from_outside_costs_its_task() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let (here, go) = (Queue::new().unwrap(), Queue::new().unwrap());
        let victim = pool.apply_async(stay, (here.clone(), go.clone())).unwrap();
        let first = here.get().unwrap();
        let other = pool.apply_async(stay, (here.clone(), go.clone())).unwrap();
        here.get().unwrap();
        kill(first, libc::SIGKILL);
        assert_eq!(death(victim.get()), Some(Death::Killed(libc::SIGKILL)));
        go.put(&5).unwrap();
        assert_eq!(other.get().unwrap(), 5);
        assert!(!pool.pids().contains(&first));
        assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
    });
}

#[test]
fn what_was_queued_behind_a_victim_is_done_by_others() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let (here, go) = (Queue::new().unwrap(), Queue::new().unwrap());
        let victim = pool.apply_async(stay, (here.clone(), go)).unwrap();
        let behind: Vec<_> = (0..10).map(|x| pool.apply_async(square, (x,)).unwrap()).collect();
        kill(here.get().unwrap(), libc::SIGKILL);
        assert!(victim.get().is_err());
        for (x, result) in (0..).zip(behind) {
            assert_eq!(result.get().unwrap(), square(x));
        }
    });
}

#[test]
fn workers_killed_at_rest_are_replaced() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        for round in 0..10 {
            pool.chunk_size(1).map(square, 0..10).unwrap();
            let before = pool.pids();
            for &pid in &before {
                kill(pid, libc::SIGKILL);
            }
            // A task may be caught by a worker that is about to be found dead, but only then.
            let results: Vec<_> = pool.imap(square, 0..20).collect();
            assert_eq!(results.len(), 20);
            let lost = results.iter().filter(|result| result.is_err()).count();
            assert!(lost <= before.len(), "{lost} tasks lost in round {round}");
        }
    });
}

#[test]
fn tasks_that_all_kill_their_workers_all_fail() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let results: Vec<_> = pool.imap_unordered(end, vec![-3; 200]).collect();
        assert!(results.into_iter().all(|result| death(result) == Some(Death::Exited(3))));
    });
}

#[test]
fn a_stopped_worker_holds_up_nobody_else() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let (here, go) = (Queue::new().unwrap(), Queue::<u32>::new().unwrap());
        let stopped = pool.apply_async(stay, (here.clone(), go)).unwrap();
        let pid = here.get().unwrap();
        kill(pid, libc::SIGSTOP);
        assert_eq!(pool.imap(square, 0..100).filter(Result::is_ok).count(), 100);
        pool.terminate();
        assert!(matches!(stopped.get(), Err(TaskError::Terminated)));
        pool.join().unwrap();
    });
}

#[test]
fn interrupts_are_for_the_parent() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let before = pool.pids();
        pool.apply(square, (1,)).unwrap();
        kill(before[0], libc::SIGINT);
        assert_eq!(pool.apply(square, (2,)).unwrap(), 4);
        assert_eq!(pool.pids(), before);
    });
}

/// W-06
#[test]
fn pl_41_results_of_a_dropped_pool_are_errors() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let (here, go) = (Queue::new().unwrap(), Queue::<u32>::new().unwrap());
        let result = pool.apply_async(stay, (here.clone(), go)).unwrap();
        let map = pool.chunk_size(1).map_async(end, vec![0; 1000]).unwrap();
        let mut iter = pool.imap(square, 0..);
        here.get().unwrap();
        // It would wait for ever if it waited for the task.
        drop(pool);
        assert!(matches!(result.get(), Err(TaskError::Terminated)));
        // It may have been done before.
        assert!(matches!(map.get(), Ok(_) | Err(TaskError::Terminated)));
        let last = iter.by_ref().last();
        assert!(matches!(last, Some(Err(TaskError::Terminated))), "{last:?}");
    });
}

#[test]
fn dropping_a_pool_does_not_wait_for_ever_for_a_callback() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let (here, there) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let callback = move |_: Result<&u64, &TaskError>| {
            here.send(()).unwrap();
            let _ = ended.recv();
        };
        drop(pool.apply_async_with(square, (1,), callback).unwrap());
        there.recv().unwrap();
        drop(pool);
        drop(end);
    });
}

#[test]
fn a_waiting_thread_is_told_of_the_end() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let (here, go) = (Queue::new().unwrap(), Queue::<u32>::new().unwrap());
        std::thread::scope(|scope| {
            let waiters: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| pool.apply(stay, (here.clone(), go.clone()))))
                .collect();
            here.get().unwrap();
            pool.terminate();
            for waiter in waiters {
                assert!(matches!(waiter.join().unwrap(), Err(TaskError::Terminated)));
            }
        });
    });
}

#[test]
fn results_given_before_death_count() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let done = pool.apply_async(square, (4,)).unwrap();
        let fatal = pool.apply_async(end, (libc::SIGKILL,)).unwrap();
        let after = pool.apply_async(square, (5,)).unwrap();
        assert_eq!(done.get().unwrap(), 16);
        assert!(fatal.get().is_err());
        assert_eq!(after.get().unwrap(), 25);
    });
}

/// W-22
#[test]
#[expect(unsafe_code, reason = "forks a process with threads, whose child does almost nothing")]
fn a_forked_copy_has_no_pool() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let later = pool.apply_async(square, (2,)).unwrap();
        let mut iter = pool.imap(square, 0..);
        // SAFETY: the child calls what takes no lock that another thread could hold, and ends at once.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let foreign = matches!(pool.apply(square, (1,)), Err(TaskError::Foreign));
            let join = pool.join().is_err() && pool.workers() == 0 && pool.pids().is_empty();
            // One that is begun here says so, too.
            let mut new = pool.imap_unordered(square, 0..);
            let foreign = foreign
                && matches!(new.next(), Some(Err(TaskError::Foreign)))
                && new.next().is_none();
            drop(pool);
            let foreign = foreign
                && matches!(later.get(), Err(TaskError::Foreign))
                && matches!(iter.next(), Some(Err(TaskError::Foreign)))
                && iter.next().is_none();
            // SAFETY: ends the process and returns nothing.
            unsafe { libc::_exit(i32::from(!(foreign && join))) };
        }
        let mut status = 0;
        // SAFETY: `status` is writable.
        unsafe { libc::waitpid(pid, &mut status, 0) };
        assert_eq!(status, 0);
        assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
        assert_eq!((later.get().unwrap(), iter.next().unwrap().unwrap()), (4, 0));
    });
}

#[test]
fn others_stand_in_for_the_dead() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let mut seen = BTreeSet::new();
        for round in 1..=5 {
            while pool.pids().len() < 2 {
                std::thread::yield_now();
            }
            seen.extend(pool.pids());
            assert!(seen.len() > round, "{seen:?}");
            assert!(pool.apply(end, (libc::SIGKILL,)).is_err());
        }
    });
}
