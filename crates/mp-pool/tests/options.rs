//! Every setting of a pool with every kind of worker: it takes effect, or its documentation says that it has none.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]
#![expect(unsafe_code, reason = "asks the C library what a worker has set")]

mod common;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::guarded;
use mp_pool::{
    Backend, Builder, Death, ErrorKind, Pool, Retry, StartMethod, TaskError, should_stop,
};
use mp_process::{cpu_count, current_process};
use mp_queue::Queue;

const HOUR: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(5);

/// With which workers it takes effect.
#[derive(Clone, Copy, PartialEq)]
enum With {
    All,
    /// Not where there are no workers.
    Workers,
    /// Only if they are processes.
    Processes,
}
use With::{All, Processes, Workers};

impl With {
    fn includes(self, backend: Backend) -> bool {
        match backend {
            Backend::Processes => true,
            Backend::Threads => self != Processes,
            _ => self == All,
        }
    }

    /// What stands in the documentation of the setting.
    fn sentence(self) -> Option<&'static str> {
        match self {
            All => None,
            Workers => Some("Without effect with [`Backend::Inline`]"),
            Processes => Some("Without effect with [`Backend::Threads`] and [`Backend::Inline`]"),
        }
    }
}

/// Waits for what is to come. What is not to come could be waited for for ever, so it is looked for once.
fn see(expected: bool, is_so: impl Fn() -> bool) -> bool {
    while expected && !is_so() {
        sleep(Duration::from_millis(1));
    }
    is_so()
}

/// A task that something is to end, and that ends soon if nothing does.
fn nap(is_ended: bool) {
    sleep(if is_ended { HOUR } else { 2 * MOMENT });
}

/// As much as shows: the kernel counts pages in heaps.
const MUCH: usize = 32 << 20;

fn hoard(is_ended: bool) {
    std::hint::black_box(vec![1_u8; MUCH].leak());
    nap(is_ended);
}

fn burn(is_ended: bool) {
    let begin = Instant::now();
    while is_ended || begin.elapsed() < 2 * MOMENT {}
}

fn one(pool: &Pool) -> u32 {
    pool.apply(|x: u32| x + 1, (0,)).unwrap()
}

thread_local! {
    static SET: Cell<bool> = const { Cell::new(false) };
}

fn put(queue: Queue<u8>) {
    queue.put(&1).unwrap();
}

fn put_and_panic(queue: Queue<u8>) {
    put(queue);
    panic!("as it is to");
}

fn has_handler() -> bool {
    // SAFETY: all zeroes is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: null asks for what is set.
    unsafe { libc::sigaction(libc::SIGUSR1, std::ptr::null(), &mut action) };
    action.sa_sigaction != libc::SIG_DFL
}

fn address_space() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable.
    unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) };
    limit.rlim_cur
}

/// How a worker ended that was let go.
fn end_of(builder: Builder, expected: bool) -> Option<Death> {
    let (sender, receiver) = mpsc::channel();
    let pool = builder.on_worker_down(move |_, death| _ = sender.send(death)).build().unwrap();
    one(&pool);
    pool.close();
    pool.join().unwrap();
    if expected { receiver.recv().ok() } else { receiver.try_recv().ok() }
}

/// Sets a setting, and says whether it took effect, as it is to or not.
type Probe = fn(Builder, bool) -> bool;

/// Sets a setting.
type Set = fn(Builder) -> Builder;

const SETTINGS: &[(&str, With, Probe)] = &[
    ("workers", Workers, |builder, _| builder.workers(3).build().unwrap().workers() == 3),
    ("initializer", All, |builder, _| {
        let pool = builder.initializer(|| SET.set(true), ()).build().unwrap();
        pool.apply(|| SET.replace(false), ()).unwrap()
    }),
    ("state", All, |builder, _| {
        let pool = builder.state(|| 7_u8, ()).build().unwrap();
        pool.map_state(|state: &mut u8, x: u8| *state + x, [1]).is_ok_and(|all| all == [8])
    }),
    ("exit", Workers, |builder, _| {
        let queue = Queue::new().unwrap();
        let keep = |queue: Queue<u8>| queue;
        let pool = builder.state(keep, (queue.clone(),)).exit(put).build().unwrap();
        one(&pool);
        pool.close();
        pool.join().unwrap();
        queue.try_get().is_ok()
    }),
    ("start_method", Processes, |builder, _| {
        let pool = builder.start_method(StartMethod::Spawn).build().unwrap();
        pool.apply(|| current_process().start_method() == Some(StartMethod::Spawn), ()).unwrap()
    }),
    ("max_workers", Workers, |builder, _| {
        let pool = builder.max_workers(3).build().unwrap();
        let naps = pool.chunk_size(1).map_async(nap, [false; 3]).unwrap();
        let workers = pool.workers();
        naps.get().unwrap();
        workers == 3
    }),
    ("idle_timeout", Workers, |builder, expected| {
        let pool = builder.workers(2).idle_timeout(Duration::from_millis(1)).build().unwrap();
        one(&pool);
        see(expected, || pool.stats().workers.iter().any(|worker| !worker.alive))
    }),
    ("min_workers", Workers, |builder, expected| {
        let builder = builder.min_workers(0).idle_timeout(Duration::from_millis(1));
        let pool = builder.build().unwrap();
        one(&pool);
        see(expected, || pool.workers() == 0)
    }),
    ("timeline", All, |builder, _| {
        let pool = builder.timeline(10).build().unwrap();
        one(&pool);
        pool.timeline().spans().len() == 1
    }),
    ("cpus", Workers, |builder, _| {
        builder.cpus([0]).build().unwrap().apply(cpu_count, ()).unwrap() == 1
    }),
    ("pin", Workers, |builder, _| {
        builder.pin([[0], [0]]).build().unwrap().apply(cpu_count, ()).unwrap() == 1
    }),
    ("on_worker_up", Workers, |builder, expected| {
        let (sender, receiver) = mpsc::channel();
        let pool = builder.on_worker_up(move |_| _ = sender.send(())).build().unwrap();
        one(&pool);
        if expected { receiver.recv().is_ok() } else { receiver.try_recv().is_ok() }
    }),
    ("on_worker_down", Workers, |builder, expected| end_of(builder, expected).is_some()),
    ("max_tasks_per_child", Workers, |builder, expected| {
        let pool = builder.max_tasks_per_child(1).build().unwrap();
        one(&pool);
        see(expected, || pool.stats().restarts > 0)
    }),
    ("max_memory_per_child", Processes, |builder, expected| {
        let pool = builder.max_memory_per_child(MUCH as u64 / 2).build().unwrap();
        pool.apply(hoard, (false,)).unwrap();
        see(expected, || pool.stats().restarts > 0)
    }),
    ("exit_timeout", Processes, |builder, expected| {
        let builder = builder.state(move || false, ()).exit(nap).exit_timeout(MOMENT);
        let builder = if expected { builder.state(|| true, ()) } else { builder };
        end_of(builder, expected) == Some(Death::Killed(libc::SIGKILL))
    }),
    ("timeout", Workers, |builder, expected| {
        let pool = builder.timeout(MOMENT).build().unwrap();
        matches!(pool.apply(nap, (expected,)), Err(TaskError::TimeLimit))
    }),
    ("soft_timeout", Workers, |builder, expected| {
        let wait = |expected: bool| {
            while expected && !should_stop() {
                sleep(Duration::from_millis(1));
            }
            should_stop()
        };
        builder.soft_timeout(MOMENT).build().unwrap().apply(wait, (expected,)).unwrap()
    }),
    ("soft_signal", Processes, |builder, _| {
        let pool = builder.soft_signal(libc::SIGUSR1).build().unwrap();
        pool.apply(has_handler, ()).unwrap()
    }),
    ("memory_limit", Processes, |builder, expected| {
        let pool = builder.memory_limit(MUCH as u64 / 2).build().unwrap();
        matches!(pool.apply(hoard, (expected,)), Err(TaskError::MemoryLimit { .. }))
    }),
    ("cpu_limit", Processes, |builder, expected| {
        let pool = builder.cpu_limit(Duration::from_millis(1)).build().unwrap();
        matches!(pool.apply(burn, (expected,)), Err(TaskError::CpuLimit))
    }),
    ("retry", Workers, |builder, _| {
        let queue = Queue::new().unwrap();
        let pool = builder.retry(Retry::times(1).on_panic()).build().unwrap();
        assert!(pool.apply(put_and_panic, (queue.clone(),)).is_err());
        std::iter::from_fn(|| queue.try_get().ok()).count() == 2
    }),
    ("address_space", Processes, |builder, _| {
        let pool = builder.address_space(1 << 46).build().unwrap();
        (1 << 46..1 << 47).contains(&pool.apply(address_space, ()).unwrap())
    }),
    ("initializer_timeout", Workers, |builder, expected| {
        let builder = builder.initializer(nap, (expected,)).initializer_timeout(MOMENT);
        let result = builder.build().unwrap().apply(|| (), ());
        matches!(result, Err(TaskError::Initializer { .. }))
    }),
    ("max_restarts", Processes, |builder, expected| {
        let pool = builder.max_restarts(0, HOUR).build().unwrap();
        // Nothing that a task does ends a thread alone.
        let end = |is_lost: bool| {
            if is_lost {
                std::process::exit(1)
            }
        };
        assert_eq!(pool.apply(end, (expected,)).is_err(), expected);
        see(expected, || !pool.is_open())
    }),
    ("max_depth", All, |builder, _| {
        builder.max_depth(0).build().is_err_and(|error| error.kind() == ErrorKind::TooDeep)
    }),
];

const ALL: [Backend; 3] = [Backend::Processes, Backend::Threads, Backend::Inline];

fn builder(backend: Backend) -> Builder {
    Pool::builder().workers(1).backend(backend)
}

#[test]
fn each_setting_takes_effect_or_says_that_it_does_not() {
    guarded(|| {
        for (name, with, probe) in SETTINGS {
            if cpu_count() == 1 && ["cpus", "pin"].contains(name) {
                // It could not be told.
                continue;
            }
            for backend in ALL {
                let expected = with.includes(backend);
                assert_eq!(probe(builder(backend), expected), expected, "{name} with {backend:?}");
            }
        }
    });
}

/// The documentation of each method of the builder, in one line.
fn documentation() -> BTreeMap<&'static str, String> {
    let mut all = BTreeMap::new();
    for source in [include_str!("../src/builder.rs"), include_str!("../src/builder/bounds.rs")] {
        let mut text = String::new();
        for line in source.lines().map(str::trim) {
            if let Some(more) = line.strip_prefix("///") {
                text.push_str(more);
            } else if let Some(name) = line.strip_prefix("pub fn ") {
                let name = name.split(['(', '<']).next().unwrap();
                all.insert(name, std::mem::take(&mut text));
            } else if !line.starts_with("#[") {
                text.clear();
            }
        }
    }
    all
}

#[test]
fn what_has_no_effect_is_documented() {
    let mut documentation = documentation();
    for (name, with, _) in SETTINGS {
        let text =
            documentation.remove(name).unwrap_or_default().replace("(crate::Backend::Inline)", "");
        let text = text.replace("(crate::Backend::Threads)", "");
        let sentence = text.find("Without effect").map(|at| &text[at..]);
        let is_so = match (sentence, with.sentence()) {
            (Some(text), Some(sentence)) => text.starts_with(sentence),
            (found, wanted) => found.is_none() && wanted.is_none(),
        };
        assert!(is_so, "{name}: {text}");
    }
    // No setting is missing here.
    assert_eq!(documentation.into_keys().collect::<Vec<_>>(), ["backend", "build"]);
}

#[test]
fn what_makes_no_sense_is_refused_whatever_the_workers_are() {
    guarded(|| {
        let settings: [(Set, ErrorKind); 7] = [
            (|builder| builder.workers(0), ErrorKind::InvalidInput),
            (|builder| builder.workers(2).max_workers(1), ErrorKind::InvalidInput),
            (|builder| builder.max_tasks_per_child(0), ErrorKind::InvalidInput),
            (|builder| builder.max_memory_per_child(0), ErrorKind::InvalidInput),
            (|builder| builder.soft_signal(libc::SIGKILL), ErrorKind::InvalidInput),
            (|builder| builder.cpus([1 << 20]), ErrorKind::InvalidInput),
            (|builder| builder.start_method(StartMethod::Fork), ErrorKind::Unsupported),
        ];
        for (set, kind) in settings {
            for backend in ALL {
                let refused = set(builder(backend)).build();
                assert!(refused.is_err_and(|error| error.kind() == kind), "{backend:?}");
            }
        }
    });
}
