//! What may happen to a pool, each under many schedules.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mp_wire::Deadline;
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use super::pool::{DIE, HANG, PANIC, Pool, WORK, outcomes};
use super::schedule::{Bounded, Patient};
use super::sync::{Condvar, Mutex, after, run_out_of_threads, thread::JoinHandle};
use crate::job::Job;
use crate::terms::{Retry, Terms};
use crate::{Death, TaskError};

/// A number that the environment may change.
fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

/// Runs a scenario under schedules of each kind.
fn explore(workers: usize, scenario: fn(&Pool)) {
    let runs = number("MP_MODEL_RUNS", 150);
    explore_with(RandomScheduler::new_from_seed(1, runs), None, workers, scenario);
    explore_with(RandomScheduler::new_from_seed(2, runs), Some(50), workers, scenario);
    explore_with(PctScheduler::new_from_seed(3, 2, runs), None, workers, scenario);
    explore_with(PctScheduler::new_from_seed(4, 5, runs), None, workers, scenario);
}

fn explore_with(
    scheduler: impl Scheduler + 'static,
    early: Option<u64>,
    workers: usize,
    scenario: fn(&Pool),
) -> usize {
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(100_000);
    let runner = Runner::new(Patient::new(scheduler, early), config);
    runner.run(move || Pool::run(workers, scenario))
}

/// Runs a small scenario under every schedule that differs in a few places from a plain one.
fn exhaust(scenario: fn(&Pool)) {
    let places = number("MP_MODEL_PLACES", 2);
    let runs = explore_with(Bounded::new(places), None, 1, scenario);
    println!("{runs} schedules");
    assert!(runs > 1000, "{runs} schedules are too few");
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

fn hard() -> Terms {
    Terms { hard: Some(Duration::from_millis(50)), ..Terms::default() }
}

fn results(job: &Job) -> Vec<Option<u8>> {
    outcomes(job).into_iter().map(Result::ok).collect()
}

/// Submits tasks, waits for them, and looks at what became of them.
fn call(pool: &Pool, terms: Terms, tasks: &'static [u8]) -> Vec<Result<u8, TaskError>> {
    let job = pool.submit(terms, tasks).unwrap();
    assert!(pool.wait_done(&job, Deadline::NEVER));
    outcomes(&job)
}

/// A thread that submits tasks that all succeed, and waits for them.
fn caller(pool: &Pool, tasks: &'static [u8]) -> JoinHandle<()> {
    pool.spawn(move |pool| assert!(call(pool, Terms::default(), tasks).iter().all(Result::is_ok)))
}

#[test]
fn each_caller_gets_its_results() {
    explore(2, |pool| {
        join([&[WORK][..], &[WORK, WORK], &[WORK]].map(|tasks| caller(pool, tasks)));
        pool.close_and_join();
    });
}

#[test]
fn several_may_wait_for_one_job() {
    explore(1, |pool| {
        let job = pool.submit(Terms::default(), &[WORK, WORK]).unwrap();
        let waiters = [(); 2].map(|()| {
            let job = job.clone();
            pool.spawn(move |pool| assert!(pool.wait_done(&job, Deadline::NEVER)))
        });
        let other = caller(pool, &[WORK]);
        join(waiters);
        assert_eq!(results(&job), [Some(WORK); 2]);
        join([other]);
        pool.close_and_join();
    });
}

#[test]
fn who_has_no_more_time_returns_and_the_others_go_on() {
    explore(2, |pool| {
        let long = pool.submit(Terms::default(), &[HANG]).unwrap();
        let waiters = [Deadline::NOW, after(Duration::from_millis(200))].map(|deadline| {
            let long = long.clone();
            pool.spawn(move |pool| assert!(!pool.wait_done(&long, deadline)))
        });
        let other = caller(pool, &[WORK, WORK]);
        join(waiters);
        join([other]);
        assert_eq!(pool.core.cancel(&long, true).ended, 1);
        assert!(pool.wait_done(&long, Deadline::NEVER));
        assert!(matches!(outcomes(&long)[..], [Err(TaskError::Cancelled)]));
        pool.close_and_join();
    });
}

#[test]
fn the_helper_does_what_nobody_waits_for() {
    explore(1, |pool| {
        let jobs = [(); 2].map(|()| {
            let job = pool.submit(Terms::default(), &[WORK, WORK]).unwrap();
            pool.core.leave();
            job
        });
        join([caller(pool, &[WORK])]);
        pool.core.look();
        pool.close_and_join();
        for job in jobs {
            assert_eq!(results(&job), [Some(WORK); 2]);
        }
    });
}

/// Callbacks of several kinds, each of which runs once.
fn callbacks(pool: &Pool) {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = |by: usize| {
        let calls = calls.clone();
        move || {
            calls.fetch_add(by, Ordering::Relaxed);
        }
    };
    let (first, second, third, fourth) = (count(1), count(10), count(100), count(1000));
    let empty = pool.submit_with(&[], move |_, _| first()).unwrap();
    let nested = pool
        .submit_with(&[WORK, WORK], move |pool, job| {
            assert_eq!(job.open(), 0);
            // Unless the pool is closed by now.
            if let Ok(job) = pool.submit(Terms::default(), &[WORK]) {
                assert!(pool.wait_done(&job, Deadline::NEVER));
            }
            second();
        })
        .unwrap();
    pool.notify(&nested, move |_| third());
    let waiter = pool.spawn({
        let nested = nested.clone();
        move |pool| assert!(pool.wait_done(&nested, Deadline::NEVER))
    });
    let plain = pool.submit(Terms::default(), &[WORK]).unwrap();
    pool.notify(&plain, move |_| fourth());
    pool.close_and_join();
    join([waiter]);
    assert!(empty.is_done() && nested.is_done() && plain.is_done());
    assert_eq!(calls.load(Ordering::Relaxed), 1111, "each callback runs once");
}

#[test]
fn each_callback_runs_once() {
    explore(1, callbacks);
}

#[test]
fn the_helper_calls_back_where_no_thread_can_be_had() {
    explore(1, |pool| {
        run_out_of_threads();
        callbacks(pool);
    });
}

#[test]
fn the_helper_calls_back_while_it_pumps() {
    explore(1, |pool| {
        run_out_of_threads();
        let long = pool.submit(Terms::default(), &[HANG, HANG]).unwrap();
        pool.core.leave();
        let called = Arc::new((Mutex::new(false), Condvar::new()));
        let call = called.clone();
        pool.submit_with(&[], move |_, _| {
            *call.0.lock() = true;
            call.1.notify_all();
        })
        .unwrap();
        let mut has = called.0.lock();
        while !*has {
            called.1.wait(&mut has);
        }
        drop(has);
        pool.core.cancel(&long, true);
        pool.close_and_join();
    });
}

#[test]
fn what_is_cancelled_ends_once() {
    explore(1, |pool| {
        let job = pool.submit(Terms::default(), &[WORK, WORK, WORK]).unwrap();
        let cancels = [false, true].map(|running| {
            let job = job.clone();
            pool.spawn(move |pool| {
                pool.core.cancel(&job, running);
            })
        });
        let other = caller(pool, &[WORK]);
        assert!(pool.wait_done(&job, Deadline::NEVER));
        for outcome in outcomes(&job) {
            assert!(matches!(outcome, Ok(WORK) | Err(TaskError::Cancelled)));
        }
        join(cancels);
        join([other]);
        pool.close_and_join();
    });
}

#[test]
fn a_dead_worker_costs_at_most_its_task() {
    explore(2, |pool| {
        let killer = pool.spawn(Pool::kill_one);
        let callers = [(); 2].map(|()| {
            pool.spawn(|pool| {
                let outcomes = call(pool, Terms::default(), &[WORK, WORK]);
                let lost = outcomes.iter().filter(|outcome| outcome.is_err()).count();
                assert!(lost <= 1);
                assert!(outcomes.iter().all(|outcome| {
                    matches!(outcome, Ok(WORK) | Err(TaskError::Died { death: Death::Killed(9) }))
                }));
            })
        });
        join(callers);
        join([killer]);
        pool.close_and_join();
    });
}

#[test]
fn what_failed_is_run_again() {
    explore(1, |pool| {
        let retry = Retry::times(1).on_panic();
        let terms = Terms { retry: Some(retry), ..Terms::default() };
        let late =
            Terms { retry: Some(retry.delay(Duration::from_millis(20))), ..Terms::default() };
        let callers = [terms, late].map(|terms| {
            pool.spawn(move |pool| {
                let outcomes = call(pool, terms, &[WORK, PANIC, DIE]);
                assert!(matches!(outcomes[..], [Ok(WORK), Ok(PANIC), Err(TaskError::Died { .. })]));
            })
        });
        join(callers);
        pool.close_and_join();
    });
}

#[test]
fn a_limit_holds_whoever_pumps() {
    explore(2, |pool| {
        let long = pool.submit(Terms::default(), &[HANG]).unwrap();
        let waiter = pool.spawn({
            let long = long.clone();
            move |pool| assert!(pool.wait_done(&long, Deadline::NEVER))
        });
        let late = pool.submit(hard(), &[HANG]).unwrap();
        assert!(pool.wait_done(&late, Deadline::NEVER));
        assert!(matches!(outcomes(&late)[..], [Err(TaskError::TimeLimit)]));
        pool.core.cancel(&long, true);
        join([waiter]);
        pool.close_and_join();
    });
}

#[test]
fn the_end_reaches_everyone() {
    explore(1, |pool| {
        let callers = [&[WORK][..], &[HANG, WORK]].map(|tasks| {
            pool.spawn(move |pool| {
                let Ok(job) = pool.submit(Terms::default(), tasks) else { return };
                assert!(pool.wait_done(&job, Deadline::NEVER));
                for outcome in outcomes(&job) {
                    assert!(matches!(outcome, Ok(WORK) | Err(TaskError::Terminated)));
                }
            })
        });
        let calls = Arc::new(AtomicUsize::new(0));
        let called = pool.spawn({
            let calls = calls.clone();
            move |pool| {
                let counted = calls.clone();
                let job = pool.submit_with(&[WORK], move |_, _| {
                    counted.fetch_add(1, Ordering::Relaxed);
                });
                if let Ok(job) = job {
                    assert!(pool.wait_done(&job, Deadline::NEVER));
                    assert_eq!(calls.load(Ordering::Relaxed), 1);
                }
            }
        });
        pool.core.end(TaskError::Terminated);
        join(callers);
        join([called]);
        pool.close_and_join();
        assert!(pool.submit(Terms::default(), &[WORK]).is_err());
    });
}

#[test]
fn a_dropped_pool_leaves_nobody_behind() {
    explore(2, |pool| {
        let job = pool.submit(Terms::default(), &[WORK, HANG, WORK]).unwrap();
        let waiter = pool.spawn({
            let job = job.clone();
            move |pool| assert!(pool.wait_done(&job, Deadline::NEVER))
        });
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let called = pool.submit_with(&[WORK], move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        pool.drop_it();
        join([waiter]);
        assert_eq!(outcomes(&job).len(), 3);
        // It does not wait longer for a callback than five seconds, which may run out at any moment here.
        assert!(pool.wait_done(&called.unwrap(), Deadline::NEVER));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_callback_may_drop_its_pool() {
    explore(1, |pool| {
        let other = pool.submit(Terms::default(), &[WORK]).unwrap();
        let job = pool.submit_with(&[WORK], |pool, _| pool.drop_it()).unwrap();
        assert!(pool.wait_done(&job, Deadline::NEVER));
        assert!(pool.wait_done(&other, Deadline::NEVER));
    });
}

#[test]
fn two_may_join() {
    explore(1, |pool| {
        let job = pool.submit_with(&[WORK, WORK], |_, _| ()).unwrap();
        pool.core.leave();
        let joins = [(); 2].map(|()| pool.spawn(Pool::close_and_join));
        join(joins);
        assert!(job.is_done());
    });
}

#[test]
fn a_pool_that_changes_its_size_loses_nothing() {
    explore(2, |pool| {
        let other = caller(pool, &[WORK, WORK, WORK]);
        pool.core.lock().dispatcher.resize(1);
        pool.core.lock().dispatcher.resize(2);
        join([other]);
        pool.close_and_join();
    });
}

#[test]
fn every_schedule_of_two_callers() {
    exhaust(|pool| {
        join([&[WORK], &[WORK]].map(|tasks| caller(pool, tasks)));
        pool.close_and_join();
    });
}

#[test]
fn every_schedule_of_a_callback_and_the_end() {
    exhaust(|pool| {
        let job = pool.submit_with(&[WORK], |_, _| ()).unwrap();
        pool.close_and_join();
        assert!(job.is_done());
    });
}

#[test]
fn every_schedule_of_a_cancel_and_a_death() {
    exhaust(|pool| {
        let job = pool.submit(Terms::default(), &[WORK]).unwrap();
        let other = pool.spawn({
            let job = job.clone();
            move |pool| {
                pool.core.cancel(&job, true);
                pool.kill_one();
            }
        });
        assert!(pool.wait_done(&job, Deadline::NEVER));
        join([other]);
        pool.drop_it();
    });
}

/// What a caller does in a run of everything; says whether it goes on.
fn step_of_everything(pool: &Pool, calls: &Arc<AtomicUsize>) -> Result<(), TaskError> {
    let retry = Terms { retry: Some(Retry::times(1).on_panic()), ..Terms::default() };
    let counted = calls.clone();
    let count = move || {
        counted.fetch_sub(1, Ordering::Relaxed);
    };
    let jobs = match thread_rng().gen_range(0..9) {
        0 => vec![pool.submit(Terms::default(), &[WORK, WORK])?],
        1 => vec![pool.submit(retry, &[PANIC, DIE])?],
        2 => vec![pool.submit(hard(), &[HANG])?],
        3 => {
            let job = pool.submit(Terms::default(), &[WORK, HANG, WORK])?;
            pool.wait_done(&job, after(Duration::from_millis(20)));
            pool.core.cancel(&job, false);
            pool.core.cancel(&job, true);
            vec![job]
        }
        4 => {
            let job = pool.submit_with(&[WORK], move |pool, _| {
                count();
                if let Ok(job) = pool.submit(Terms::default(), &[WORK]) {
                    assert!(pool.wait_done(&job, Deadline::NEVER));
                }
            })?;
            calls.fetch_add(1, Ordering::Relaxed);
            vec![job]
        }
        5 => {
            let job = pool.submit(Terms::default(), &[WORK])?;
            calls.fetch_add(1, Ordering::Relaxed);
            pool.notify(&job, move |_| count());
            vec![job]
        }
        6 => {
            pool.kill_one();
            Vec::new()
        }
        7 => {
            let _ = pool.submit(Terms::default(), &[WORK])?;
            pool.core.leave();
            pool.core.look();
            Vec::new()
        }
        _ => {
            pool.core.cancel_pending();
            pool.core.lock().dispatcher.resize(thread_rng().gen_range(1..3));
            Vec::new()
        }
    };
    for job in jobs {
        assert!(pool.wait_done(&job, Deadline::NEVER));
        outcomes(&job);
    }
    Ok(())
}

#[test]
fn everything() {
    explore(2, |pool| {
        if thread_rng().gen_ratio(1, 4) {
            run_out_of_threads();
        }
        let calls = Arc::new(AtomicUsize::new(0));
        let callers = [(); 3].map(|()| {
            let calls = calls.clone();
            pool.spawn(move |pool| {
                for _ in 0..3 {
                    if step_of_everything(pool, &calls).is_err() {
                        return;
                    }
                }
            })
        });
        match thread_rng().gen_range(0..3) {
            0 => {
                join(callers);
                pool.close_and_join();
            }
            1 => {
                pool.close_and_join();
                join(callers);
            }
            _ => {
                pool.drop_it();
                join(callers);
            }
        }
        assert_eq!(calls.load(Ordering::Relaxed), 0, "each callback runs once");
    });
}
