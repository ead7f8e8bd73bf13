//! The lives of workers: how many there are, where they stand, when they leave, what is told of them.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use common::guarded;
use mp_pool::{
    Backend, Death, ErrorKind, Pool, Retry, TaskError, ThreadPool, WorkerStats, worker_id,
};
use mp_queue::Queue;
use mp_shared::{Lock, RawArray};

const HOUR: Duration = Duration::from_secs(3600);
const KILLED: Death = Death::Killed(libc::SIGKILL);

#[expect(unsafe_code, reason = "sends a signal")]
fn kill(pid: u32) {
    // SAFETY: takes no pointers.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
}

fn die() -> u32 {
    kill(std::process::id());
    loop {
        std::thread::park();
    }
}

fn hang() {
    std::thread::sleep(HOUR);
}

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

/// The first and the last of them, whatever machine this is.
fn first_and_last() -> [usize; 2] {
    let allowed = allowed();
    let mut ends = allowed.split(['-', ',']);
    let first: usize = ends.next().unwrap().parse().unwrap();
    [first, ends.next_back().map_or(first, |last| last.parse().unwrap())]
}

#[test]
fn workers_run_on_their_processors() {
    guarded(|| {
        let before = allowed();
        let [first, last] = first_and_last();
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

const SMALL: usize = 1 << 10;
const LARGE: usize = 100 << 20;
const BOUND: u64 = 64 << 20;

/// Keeps memory for good, and says which worker did.
fn leak(ran: &mut Queue<u32>, (place, bytes): (u32, usize)) -> (u32, u32) {
    std::hint::black_box(vec![1_u8; bytes].leak());
    ran.put(&place).unwrap();
    // Shorter ones would be looked at together.
    std::thread::sleep(Duration::from_millis(1));
    (place, std::process::id())
}

fn all<T: serde::Serialize + serde::de::DeserializeOwned + 'static>(queue: &Queue<T>) -> Vec<T> {
    std::iter::from_fn(|| queue.try_get().ok()).collect()
}

/// W-15: a worker that has grown leaves between two tasks. Each task is done once and keeps its result, also of a chunk, the
/// exit function runs, and what was queued goes to the next worker.
#[test]
fn a_worker_that_has_grown_leaves_between_two_tasks() {
    guarded(|| {
        for chunk in [1, 4, 40] {
            let (ran, left) = (Queue::<u32>::new().unwrap(), Queue::<u32>::new().unwrap());
            let pool = Pool::builder()
                .workers(1)
                .state(|ran: Queue<u32>, left: Queue<u32>| (ran, left), (ran.clone(), left.clone()))
                .exit(|(_, left): (Queue<u32>, Queue<u32>)| left.put(&std::process::id()).unwrap())
                .max_memory_per_child(BOUND)
                .max_restarts(0, HOUR)
                .build()
                .unwrap();
            let leak = |(ran, _): &mut (Queue<u32>, Queue<u32>), task| leak(ran, task);
            let tasks = (0..40).map(|x| (x, if x % 10 == 5 { LARGE } else { SMALL }));
            let results = pool.chunk_size(chunk).map_state(leak, tasks).unwrap();
            assert!(results.iter().map(|&(place, _)| place).eq(0..40));
            assert_eq!(all(&ran), (0..40).collect::<Vec<_>>(), "each once, in order");
            let mut pids: Vec<_> = results.iter().map(|&(_, pid)| pid).collect();
            for large in [5, 15, 25, 35] {
                assert_ne!(pids[large], pids[large + 1]);
            }
            pids.dedup();
            assert_eq!(pids.len(), 5);
            pool.close();
            pool.join().unwrap();
            assert_eq!(all(&left), pids);
        }
    });
}

#[test]
fn memory_that_is_shared_does_not_make_a_worker_leave() {
    guarded(|| {
        let array = RawArray::<u8>::new(LARGE).unwrap();
        let fill = |array: RawArray<u8>| {
            array.fill(7);
            std::process::id()
        };
        let pool = || Pool::builder().workers(1).max_memory_per_child(BOUND);
        let processes = pool().build().unwrap();
        let pids = processes.chunk_size(1).map(fill, vec![array; 5]).unwrap();
        assert_eq!(pids, [pids[0]; 5]);
        let threads = pool().backend(Backend::Threads).build().unwrap();
        assert_eq!(threads.apply(|| vec![1_u8; LARGE].leak().len(), ()).unwrap(), LARGE);
        assert_eq!(threads.stats().restarts, 0);
        assert_eq!(
            pool().max_memory_per_child(0).build().unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    });
}

/// The worker that finds nothing in this hangs.
fn set_up(first: Queue<()>) {
    if first.try_get().is_err() {
        hang();
    }
}

fn too_slow(result: Result<u32, TaskError>) -> bool {
    matches!(result, Err(TaskError::Initializer { message, .. }) if message.contains("longer than 100ms"))
}

#[test]
fn an_initializer_that_takes_too_long_ends_the_pool() {
    guarded(|| {
        let limit = Duration::from_millis(100);
        for backend in [Backend::Processes, Backend::Threads] {
            let builder = || Pool::builder().workers(2).backend(backend).initializer_timeout(limit);
            let pool = builder().initializer(hang, ()).build().unwrap();
            let later = pool.apply_async(die, ()).unwrap();
            assert!(too_slow(later.get()));
            assert!(too_slow(pool.apply(die, ())) && !pool.is_open());
            pool.join().unwrap();
            // What makes the state counts too.
            let pool = builder().state(hang, ()).build().unwrap();
            assert!(too_slow(pool.apply(die, ())));
        }
        // A worker that stands in has the same time.
        let first = Queue::new().unwrap();
        first.put(&()).unwrap();
        let pool = Pool::builder().workers(1).initializer(set_up, (first,));
        let pool = pool.initializer_timeout(Duration::from_secs(2)).build().unwrap();
        while let Err(error) = pool.apply(die, ()) {
            match error {
                TaskError::Died { .. } => {}
                TaskError::Initializer { .. } => break,
                other => panic!("{other}"),
            }
        }
        assert!(!pool.is_open());
    });
}

/// The state of a worker that hangs when it is let go, and says so before.
fn hangs_at_exit() -> (Queue<u32>, mp_pool::Builder) {
    let leaving = Queue::<u32>::new().unwrap();
    let make = |leaving: Queue<u32>| leaving;
    let exit = |leaving: Queue<u32>| {
        leaving.put(&std::process::id()).unwrap();
        hang();
    };
    let builder = Pool::builder().workers(2).state(make, (leaving.clone(),)).exit(exit);
    (leaving, builder)
}

#[test]
fn an_exit_function_that_hangs_is_ended_with_the_pool_or_by_its_limit() {
    guarded(|| {
        // Without a limit, what ends the pool ends it too.
        for terminate in [true, false] {
            let (leaving, builder) = hangs_at_exit();
            let pool = builder.build().unwrap();
            assert_eq!(pool.map(|x: u32| x, 0..4).unwrap(), [0, 1, 2, 3]);
            pool.shrink(1).unwrap();
            leaving.get().unwrap();
            if terminate {
                pool.terminate();
                pool.join().unwrap();
                assert!(pool.pids().is_empty());
            }
        }
        // With one, `join` has an end, and the pool goes on where a worker is let go in between.
        let (leaving, builder) = hangs_at_exit();
        let (sender, ends) = channel();
        let pool = builder
            .exit_timeout(Duration::from_millis(50))
            .max_tasks_per_child(2)
            .on_worker_down(move |worker, death| _ = sender.send((worker.pid, death)))
            .build()
            .unwrap();
        let pids = pool.chunk_size(1).map(|_: u32| std::process::id(), 0..10).unwrap();
        pool.close();
        pool.join().unwrap();
        drop(pool);
        let ends: Vec<_> = ends.iter().collect();
        let ended = |pid| ends.contains(&(pid, KILLED));
        assert!(pids.into_iter().all(ended) && all(&leaving).into_iter().all(ended));
    });
}

/// What was told of workers: each that came, by its pid; each that went, with how it ended.
type Told = (u32, usize, Option<Death>);

fn told() -> (impl Fn(&WorkerStats, Option<Death>) + Clone + Send + Sync, Receiver<Told>) {
    let (sender, receiver): (Sender<Told>, _) = channel();
    let sender = Arc::new(Mutex::new(sender));
    let tell = move |worker: &WorkerStats, death| {
        let _ = sender.lock().unwrap().send((worker.pid, worker.slot, death));
    };
    (tell, receiver)
}

fn with_hooks(builder: mp_pool::Builder) -> (Pool, Receiver<Told>) {
    let (tell, receiver) = told();
    let up = tell.clone();
    let builder = builder.on_worker_up(move |worker| up(worker, None));
    let builder = builder.on_worker_down(move |worker, death| tell(worker, Some(death)));
    (builder.build().unwrap(), receiver)
}

#[test]
fn hooks_are_told_of_each_worker_when_it_comes_and_goes() {
    guarded(|| {
        for backend in [Backend::Processes, Backend::Threads] {
            let builder = Pool::builder().workers(2).max_tasks_per_child(3).backend(backend);
            let (pool, told) = with_hooks(builder);
            assert_eq!(pool.map(|x: u32| x, 0..20).unwrap().len(), 20);
            pool.close();
            pool.join().unwrap();
            drop(pool);
            let told: Vec<_> = told.iter().collect();
            let ups = told.iter().filter(|(_, _, death)| death.is_none()).count();
            assert!(ups >= 7 && told.len() == 2 * ups, "{told:?}");
            assert!(told.iter().all(|&(_, slot, death)| {
                slot < 2 && death.is_none_or(|death| death == Death::Exited(0))
            }));
            // A worker is in its place alone: who goes is the one that came last.
            for slot in 0..2 {
                let mine: Vec<_> = told.iter().filter(|told| told.1 == slot).collect();
                for pair in mine.chunks(2) {
                    assert!(pair[0].0 == pair[1].0 && pair[0].2.is_none() && pair[1].2.is_some());
                }
            }
        }
        let (pool, told) = with_hooks(Pool::builder().workers(1));
        let (first, _, up) = told.recv().unwrap();
        assert!(up.is_none() && pool.pids() == [first]);
        kill(first);
        assert_eq!(told.recv().unwrap(), (first, 0, Some(KILLED)));
        let (second, ..) = told.recv().unwrap();
        assert!(second != first);
        let exit = pool.apply(|code: i32| std::process::exit(code), (9,));
        let _: Result<(), _> = exit;
        assert_eq!(told.recv().unwrap(), (second, 0, Some(Death::Exited(9))));
        let (third, ..) = told.recv().unwrap();
        pool.terminate();
        drop(pool);
        let rest: Vec<_> = told.iter().collect();
        assert_eq!(rest, [(third, 0, Some(KILLED))]);
    });
}

#[test]
fn a_hook_may_panic_or_use_the_pool() {
    guarded(|| {
        let pool = Arc::new(OnceLock::<Pool>::new());
        let (sender, receiver) = channel();
        let of_hook = pool.clone();
        let built = Pool::builder()
            .workers(1)
            .on_worker_up(|_| panic!("nobody is told of this"))
            .on_worker_down(move |_, death| {
                if let Some(pool) = of_hook.get() {
                    let _ = sender.send((death, pool.apply(|| 7, ()).unwrap()));
                }
                panic!("nor of this");
            })
            .build();
        let pool = pool.get_or_init(|| built.unwrap());
        assert!(matches!(pool.apply(die, ()), Err(TaskError::Died { .. })));
        assert_eq!(receiver.recv().unwrap(), (KILLED, 7));
        assert_eq!(pool.apply(|| 8, ()).unwrap(), 8);
        pool.close();
        pool.join().unwrap();
    });
}

#[test]
fn more_workers_are_not_lost_than_the_user_says() {
    guarded(|| {
        let pool = Pool::builder().workers(2).max_restarts(2, HOUR).build().unwrap();
        for _ in 0..2 {
            assert!(matches!(pool.apply(die, ()), Err(TaskError::Died { .. })));
            assert_eq!(pool.map(|x: u32| x, 0..9).unwrap().len(), 9);
        }
        assert!(pool.apply(die, ()).is_err());
        let error = loop {
            // The other worker may take some before the pool has ended.
            if let Err(error) = pool.apply(|| 1, ()) {
                break error;
            }
        };
        assert!(error.is_broken_pool() && !pool.is_open());
        let why = error.source().unwrap().to_string();
        assert!(why.contains("more than 2 workers"), "{why}");
        // Who is let go or ended for its task's sake is not lost.
        let pool = Pool::builder()
            .workers(2)
            .max_restarts(0, HOUR)
            .max_tasks_per_child(1)
            .build()
            .unwrap();
        for _ in 0..3 {
            let late = pool.timeout(Duration::from_millis(20)).apply(hang, ());
            assert!(matches!(late, Err(TaskError::TimeLimit)));
            assert_eq!(pool.chunk_size(1).map(|x: u32| x, 0..9).unwrap().len(), 9);
        }
        pool.apply_async(hang, ()).unwrap().kill();
        assert_eq!(pool.apply(|| 1, ()).unwrap(), 1);
        pool.shrink(1).unwrap();
        pool.grow(1).unwrap();
        assert!(pool.is_open());
    });
}

/// A task of somebody who asks for everything at once.
fn work(state: &mut Vec<u8>, x: u64) -> (u64, Option<usize>) {
    if x % 50 == 17 {
        *state = vec![1_u8; 32 << 20];
    }
    (x * x, worker_id())
}

#[test]
fn everything_at_once_while_workers_are_killed() {
    guarded(|| {
        let builder = Pool::builder()
            .workers(3)
            .state(Vec::<u8>::new, ())
            .exit(|state: Vec<u8>| drop(state))
            .exit_timeout(Duration::from_secs(60))
            .initializer(|| (), ())
            .initializer_timeout(Duration::from_secs(60))
            .max_tasks_per_child(200)
            .max_memory_per_child(24 << 20)
            .max_restarts(10_000, HOUR)
            .max_depth(2)
            .cpus([first_and_last()[0]])
            .soft_signal(libc::SIGUSR1)
            .soft_timeout(Duration::from_secs(30))
            .timeout(Duration::from_secs(60))
            .retry(Retry::times(1000));
        let (pool, told) = with_hooks(builder);
        let pool = Arc::new(pool);
        let done = Arc::new(AtomicBool::new(false));
        let killer = std::thread::spawn({
            let (pool, done) = (pool.clone(), done.clone());
            move || {
                for victim in 0..40 {
                    let (pids, tasks) = (pool.pids(), pool.stats().tasks());
                    if let Some(&pid) = pids.get(victim % pids.len().max(1)) {
                        kill(pid);
                    }
                    std::thread::sleep(Duration::from_millis(25));
                    // If all were killed before they are ready, the pool would give up.
                    while pool.stats().tasks() == tasks && !done.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            }
        });
        for (round, chunk) in [1, 7, 50].into_iter().enumerate() {
            let later = pool.chunk_size(chunk).map_state(work, 0..600).unwrap();
            for (x, (square, number)) in (0..).zip(later) {
                assert_eq!(square, x * x, "in round {round}");
                assert!(number.is_some_and(|number| number < 3));
            }
        }
        done.store(true, Ordering::Relaxed);
        pool.close();
        killer.join().unwrap();
        pool.join().unwrap();
        drop(pool);
        let told: Vec<_> = told.iter().collect();
        let (ups, downs): (Vec<&Told>, Vec<&Told>) = told.iter().partition(|told| told.2.is_none());
        let pids = |of: Vec<&Told>| of.into_iter().map(|told| told.0).collect::<BTreeSet<_>>();
        assert!(downs.iter().any(|told| told.2 == Some(KILLED)));
        assert!(downs.iter().any(|told| told.2 == Some(Death::Exited(0))));
        assert_eq!(pids(ups), pids(downs));
    });
}
