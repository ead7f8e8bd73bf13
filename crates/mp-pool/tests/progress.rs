//! The bar of progress of a call that nobody waits for.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::time::Duration;

use common::guarded;
use indicatif::ProgressBar;
use mp_pool::{Backend, Options, Pool};
use mp_queue::Queue;

/// Waits until the bar shows so much; what guards the test sees to it that this has an end.
fn reaches(bar: &ProgressBar, tasks: u64) {
    while bar.position() < tasks {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(bar.position(), tasks);
}

fn pass(gate: Queue<()>, x: u64) -> u64 {
    if x == 4 {
        gate.get().unwrap();
    }
    x
}

type Call = fn(Options<'_>, Vec<(Queue<()>, u64)>) -> Box<dyn std::any::Any>;

#[test]
fn a_bar_moves_on_though_nobody_waits() {
    let calls: [Call; 2] = [
        |options, tasks| Box::new(options.starmap_async(pass, tasks).unwrap()),
        |options, tasks| Box::new(options.starmap_async_with(pass, tasks, |_| ()).unwrap()),
    ];
    guarded(move || {
        for backend in [Backend::Processes, Backend::Threads] {
            for call in calls {
                let gate = Queue::new().unwrap();
                let pool = Pool::builder().workers(1).backend(backend).build().unwrap();
                let bar = ProgressBar::hidden();
                let tasks = (0..10).map(|x| (gate.clone(), x)).collect();
                let later = call(pool.chunk_size(1).progress_bar(bar.clone()), tasks);
                assert_eq!(bar.length(), Some(10));
                reaches(&bar, 4);
                assert!(!bar.is_finished());
                gate.put(&()).unwrap();
                reaches(&bar, 10);
                while !bar.is_finished() {
                    std::thread::yield_now();
                }
                drop(later);
            }
        }
    });
}

#[test]
fn a_bar_ends_with_calls_that_fail_or_are_empty() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let (failing, empty) = (ProgressBar::hidden(), ProgressBar::hidden());
        let later = pool.progress().progress_bar(failing.clone());
        let later = later.map_async(|x: u64| assert_ne!(x, 3), 0..10).unwrap();
        let none = pool.progress().progress_bar(empty.clone());
        let none = none.map_async(|x: u64| x, std::iter::empty()).unwrap();
        while !failing.is_finished() || !empty.is_finished() {
            std::thread::yield_now();
        }
        assert!(later.get().is_err() && none.get().unwrap().is_empty());
        let last = pool.progress().progress_bar(ProgressBar::hidden());
        assert_eq!(last.map_async_with(|x: u64| x, 0..3, |_| ()).unwrap().get().unwrap().len(), 3);
        // What is left when the pool ends ends, too.
        let bar = ProgressBar::hidden();
        let nap = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
        let _never = pool.progress().progress_bar(bar.clone()).map_async(nap, [3_600_000; 4]);
        drop(pool);
        assert!(bar.is_finished());
    });
}
