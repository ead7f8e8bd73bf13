//! A pool without workers that several threads use at once: it is a pool of one worker, which is the thread that calls.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::guarded;
use mp_pool::{Backend, Builder, ErrorKind, Pool, TaskError};

fn inline() -> Builder {
    Pool::builder().backend(Backend::Inline)
}

/// Says where a task is, and keeps it there until it may go on. Each test has one of its own, for they share a process.
struct Gate {
    begun: AtomicU32,
    open: AtomicBool,
    ended: AtomicU32,
}

impl Gate {
    const fn new() -> Self {
        Self { begun: AtomicU32::new(0), open: AtomicBool::new(false), ended: AtomicU32::new(0) }
    }

    fn pass(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        until(|| self.open.load(Ordering::SeqCst));
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    /// Opens it when whoever is about to wait for a task has had time to do it wrong.
    fn open_later(&'static self) -> JoinHandle<()> {
        thread::spawn(|| {
            thread::sleep(Duration::from_millis(50));
            self.open();
        })
    }

    fn wait_for_first(&self) {
        until(|| self.begun.load(Ordering::SeqCst) > 0);
    }

    fn ended(&self) -> u32 {
        self.ended.load(Ordering::SeqCst)
    }
}

fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn join_waits_for_a_map_of_another_thread() {
    static GATE: Gate = Gate::new();
    guarded(|| {
        let pool = Arc::new(inline().build().unwrap());
        let map = thread::spawn({
            let pool = pool.clone();
            // The items come one by one, so that nothing is under way between two.
            move || pool.chunk_size(1).map(|_: u32| GATE.pass(), (0..5).filter(|_| true))
        });
        GATE.wait_for_first();
        pool.close();
        let opener = GATE.open_later();
        pool.join().unwrap();
        assert_eq!(GATE.ended(), 5);
        assert_eq!(map.join().unwrap().unwrap().len(), 5);
        opener.join().unwrap();
    });
}

#[test]
fn terminate_ends_what_has_not_begun_and_join_waits_for_the_rest() {
    static GATE: Gate = Gate::new();
    guarded(|| {
        let pool = Arc::new(inline().build().unwrap());
        let map = thread::spawn({
            let pool = pool.clone();
            move || pool.chunk_size(1).map_async(|_: u32| GATE.pass(), 0..5)?.get()
        });
        GATE.wait_for_first();
        pool.terminate();
        let opener = GATE.open_later();
        pool.join().unwrap();
        assert_eq!(GATE.ended(), 1);
        assert!(matches!(map.join().unwrap(), Err(TaskError::Terminated)));
        let refused = pool.apply(|| 1, ());
        assert!(matches!(refused, Err(TaskError::Terminated | TaskError::Closed)), "{refused:?}");
        opener.join().unwrap();
    });
}

#[test]
fn what_waits_is_counted_and_can_be_cancelled() {
    static GATE: Gate = Gate::new();
    guarded(|| {
        let pool = Arc::new(inline().timeline(10).build().unwrap());
        let map = thread::spawn({
            let pool = pool.clone();
            move || pool.chunk_size(1).map_async(|_: u32| GATE.pass(), 0..5)?.get()
        });
        GATE.wait_for_first();
        let stats = pool.stats();
        assert_eq!((stats.pending, stats.in_flight, stats.tasks()), (4, 1, 0));
        assert_eq!(pool.cancel_pending(), 4);
        GATE.open();
        assert!(matches!(map.join().unwrap(), Err(TaskError::Cancelled)));
        assert_eq!(pool.map(|x: u32| x, 0..3).unwrap(), [0, 1, 2]);
        let stats = pool.stats();
        assert_eq!((stats.pending, stats.in_flight, stats.tasks()), (0, 0, 4));
        assert_eq!(stats.workers.len(), 1);
        assert_eq!(stats.workers[0].pid, std::process::id());
        assert_eq!(pool.timeline().spans().iter().map(|span| span.tasks).sum::<u32>(), 4);
    });
}

#[test]
fn tasks_of_several_threads_run_one_at_a_time() {
    static BUSY: AtomicBool = AtomicBool::new(false);
    guarded(|| {
        let pool = inline().build().unwrap();
        let alone = |_: u32| {
            let others = BUSY.swap(true, Ordering::SeqCst);
            thread::yield_now();
            BUSY.store(false, Ordering::SeqCst);
            (!others).then(|| thread::current().id())
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let here = format!("{:?}", thread::current().id());
                    let alone = move |x: u32| alone(x).map(|id| format!("{id:?}"));
                    let all = pool.chunk_size(1).map(alone, 0..100).unwrap();
                    assert!(all.iter().all(|there| there.as_ref() == Some(&here)));
                });
            }
        });
    });
}

#[test]
fn threads_take_turns_by_priority_and_then_as_they_came() {
    static GATE: Gate = Gate::new();
    static ORDER: Mutex<Vec<i32>> = Mutex::new(Vec::new());
    guarded(|| {
        let pool = inline().build().unwrap();
        let pool = &pool;
        thread::scope(|scope| {
            scope.spawn(|| pool.apply(|| GATE.pass(), ()).unwrap());
            GATE.wait_for_first();
            for (waiting, priority) in (1..).zip([0, -1, 2, 0, 1, 2]) {
                scope.spawn(move || {
                    let note = |priority: i32| ORDER.lock().unwrap().push(priority);
                    pool.priority(priority).apply(note, (priority,)).unwrap();
                });
                until(|| pool.stats().pending == waiting);
            }
            GATE.open();
        });
        assert_eq!(*ORDER.lock().unwrap(), [2, 2, 1, 0, 0, -1]);
    });
}

#[test]
fn a_task_may_use_its_own_pool_but_not_wait_for_its_end() {
    static POOL: OnceLock<Pool> = OnceLock::new();
    guarded(|| {
        let pool = POOL.get_or_init(|| inline().build().unwrap());
        let nested = |n: u32| {
            let pool = POOL.wait();
            pool.chunk_size(1).map(|x: u32| x, (0..n).filter(|_| true)).unwrap().len()
        };
        // While many others wait.
        let all = pool.chunk_size(1).map_async(nested, vec![100; 100]).unwrap();
        assert_eq!(all.get().unwrap(), [100; 100]);
        let wait = || {
            POOL.wait().close();
            POOL.wait().join().unwrap_err().kind() == ErrorKind::Unsupported
        };
        assert!(pool.apply(wait, ()).unwrap());
        pool.join().unwrap();
    });
}

/// What a task panics with panics once more when it is dropped: it costs the task alone.
#[test]
fn a_panic_that_panics_leaves_the_turn_to_others() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("once more");
        }
    }
    guarded(|| {
        let pool = inline().build().unwrap();
        let explode = || -> u32 { std::panic::panic_any(Bomb) };
        assert!(matches!(pool.apply(explode, ()), Err(TaskError::Panicked(_))));
        thread::scope(|scope| {
            assert_eq!(scope.spawn(|| pool.apply(|| 1, ())).join().unwrap().unwrap(), 1);
        });
        pool.close();
        pool.join().unwrap();
    });
}
