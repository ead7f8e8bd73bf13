//! What people do with pools that nobody has thought of: tasks that spoil their process, numbers beyond all bounds, signals to
//! everybody, pools in odd places. Each costs the task or the call concerned, and says so.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]
#![expect(unsafe_code, reason = "tasks here call the C library, as tasks do")]

mod common;

use std::cell::RefCell;
use std::error::Error as _;
use std::sync::OnceLock;
use std::time::Duration;

use common::guarded;
use mp_pool::{Death, ErrorKind, Imap, Pool, Retry, TaskError, ThreadPool};
use mp_process::Process;
use mp_queue::Queue;
use serde::{Deserialize, Serialize};

const HOUR: u64 = 3_600_000;

fn square(x: u64) -> u64 {
    x * x
}

fn nap(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

fn pid() -> u32 {
    std::process::id()
}

/// Forks; both return. The first waits for the copy, and says whether that ended with code 0.
fn fork_and_return() -> Option<bool> {
    // SAFETY: a worker has one thread, so the copy may do what it likes.
    let copy = unsafe { libc::fork() };
    if copy == 0 {
        return None;
    }
    let mut status = -1;
    // SAFETY: `status` is writable.
    unsafe { libc::waitpid(copy, &mut status, 0) };
    Some(status == 0)
}

/// A copy that comes back from the task would answer for it, and take tasks that are meant for the first.
#[test]
fn a_task_that_forks_has_one_result() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let worker = pool.pids();
        for _ in 0..5 {
            assert_eq!(pool.apply(fork_and_return, ()).unwrap(), Some(true));
            let all = pool.chunk_size(1).map(|_: u32| std::process::id(), 0..20).unwrap();
            assert!(all.iter().all(|pid| worker.contains(pid)));
        }
        // Also out of the middle of a chunk.
        let all = pool.chunk_size(10).map(|_: u32| (nap(1), fork_and_return()), 0..10).unwrap();
        assert_eq!(all, [(1, Some(true)); 10]);
        assert_eq!(pool.pids(), worker);
    });
}

fn close_all() {
    for fd in 3..1000 {
        // SAFETY: takes no pointers. What this process loses by it is what the test is about.
        unsafe { libc::close(fd) };
    }
}

/// What needs a descriptor then fails, and a worker stands in that has its own.
#[test]
fn a_task_that_closes_all_descriptors_costs_one_result_at_most() {
    guarded(|| {
        let large = || vec![1_u8; 8 << 20];
        let pool = Pool::new(1).unwrap();
        for _ in 0..3 {
            pool.apply(close_all, ()).unwrap();
            assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
            let results: Vec<_> = (0..3).map(|_| pool.apply(large, ())).collect();
            assert!(results.iter().filter(|result| result.is_err()).count() <= 1);
            for result in results {
                match result {
                    Ok(bytes) => assert!(bytes == large()),
                    Err(TaskError::Remote { message, .. }) => {
                        assert!(message.starts_with("the result cannot be sent: "), "{message}");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
        // A large argument is taken by the one who stands in.
        pool.apply(close_all, ()).unwrap();
        assert_eq!(pool.apply(|bytes: Vec<u8>| bytes.len(), (large(),)).unwrap(), 8 << 20);
    });
}

fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 1000]);
    if depth == 0 { 0 } else { overflow(depth - 1) + frame[std::hint::black_box(5)] }
}

fn limit(what: libc::__rlimit_resource_t, most: u64) -> i32 {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: `limit` is readable.
    unsafe { libc::setrlimit(what, &limit) }
}

#[test]
fn tasks_that_spoil_their_process_spoil_no_other() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let died = |result: Result<u64, TaskError>| match result {
            Err(TaskError::Died { death, .. }) => death,
            other => panic!("{other:?}"),
        };
        assert_eq!(died(pool.apply(overflow, (u64::MAX,))), Death::Killed(libc::SIGSEGV));
        assert_eq!(pool.apply(limit, (libc::RLIMIT_NOFILE, 3)).unwrap(), 0);
        assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
        assert_eq!(pool.apply(limit, (libc::RLIMIT_AS, 1 << 20)).unwrap(), 0);
        let allocate = || std::hint::black_box(vec![1_u64; 64 << 20]).len() as u64;
        assert_eq!(died(pool.apply(allocate, ())), Death::Killed(libc::SIGABRT));
        // That of a directory stays with the worker, not here.
        let before = std::env::current_dir().unwrap();
        pool.apply(|| std::env::set_current_dir("/").unwrap(), ()).unwrap();
        assert_eq!(std::env::current_dir().unwrap(), before);
        pool.apply(|| std::panic::set_hook(Box::new(|_| ())), ()).unwrap();
        match pool.apply(|| -> u64 { panic!("seen by another hook") }, ()) {
            Err(TaskError::Panicked(panic)) => assert_eq!(panic.message(), "seen by another hook"),
            other => panic!("{other:?}"),
        }
        // A thread of a task that goes on when the task is done holds nothing up.
        pool.apply(|| drop(std::thread::spawn(std::thread::park)), ()).unwrap();
        assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
        pool.close();
        pool.join().unwrap();
    });
}

/// Panics while it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("on the way out");
    }
}

fn panic_with(what: u32) {
    match what {
        0 => std::panic::panic_any(7_u8),
        1 => std::panic::panic_any(Bomb),
        2 => std::panic::panic_any("text".to_owned()),
        _ => drop(std::hint::black_box(Bomb)),
    }
}

/// W-03
#[test]
fn panics_without_a_text_are_panics() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let worker = pool.pids();
        let results: Vec<_> = pool.chunk_size(2).imap(panic_with, 0..4).collect();
        let messages = results.into_iter().map(|result| match result {
            Err(TaskError::Panicked(panic)) => panic.message().to_owned(),
            other => panic!("{other:?}"),
        });
        let strange = "a value that is not text";
        assert_eq!(Vec::from_iter(messages), [strange, strange, "text", "on the way out"]);
        assert_eq!(pool.pids(), worker);
        // Two at once are beyond what Rust does: that ends the process.
        let twice = || {
            let _bomb = Bomb;
            panic!("first");
        };
        let twice: Result<(), _> = pool.apply(twice, ());
        assert!(matches!(twice, Err(TaskError::Died { death: Death::Killed(6), .. })));
    });
}

#[test]
fn numbers_beyond_all_bounds_are_errors_or_no_bound() {
    guarded(|| {
        for workers in [usize::MAX / 64, usize::MAX - 1, usize::MAX] {
            let builder = Pool::builder().workers(1).max_workers(workers);
            assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::Start);
        }
        assert_eq!(Pool::new(usize::MAX).unwrap_err().kind(), ErrorKind::Start);
        let ever = Duration::MAX;
        let builder = Pool::builder().workers(1).max_workers(2).timeout(ever).soft_timeout(ever);
        let builder = builder.cpu_limit(ever).memory_limit(u64::MAX).idle_timeout(ever);
        let pool = builder.timeline(usize::MAX).max_tasks_per_child(u64::MAX).build().unwrap();
        assert_eq!(pool.map(nap, [1; 4]).unwrap(), [1; 4]);
        let retry = Retry::times(u32::MAX).delay(ever).backoff(u32::MAX).on_panic().on_limit();
        assert_eq!(pool.retry(retry).map(square, 0..3).unwrap(), [0, 1, 4]);
        let much = pool.chunk_size(usize::MAX).buffer_size(usize::MAX).priority(i32::MIN);
        assert_eq!(much.imap(square, 0..3).filter(Result::is_ok).count(), 3);
        // What is to be tried again in a thousand years is outstanding, and can be cancelled.
        let late = pool.retry(retry).apply_async(|| -> u32 { panic!("not now") }, ()).unwrap();
        while pool.stats().in_flight > 0 {
            std::thread::yield_now();
        }
        assert!(!late.is_ready());
        assert!(late.cancel());
        let mut later = pool.apply_async(square, (2,)).unwrap();
        assert_eq!(later.get_timeout(ever).unwrap(), 4);
        assert_eq!(pool.grow(usize::MAX).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(pool.shrink(usize::MAX).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

/// A list as deep as it is long.
#[derive(Debug, Serialize, Deserialize)]
struct Deep(Option<Box<Deep>>);

fn deep(levels: u32) -> Deep {
    (0..levels).fold(Deep(None), |inside, _| Deep(Some(Box::new(inside))))
}

/// W-04: what is nested too deeply to be decoded is an error that says so, not the end of who decodes it.
#[test]
fn values_nested_too_deeply_are_errors() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let worker = pool.pids();
        assert!(pool.apply(deep, (50,)).is_ok());
        match pool.apply(deep, (5000,)) {
            Err(TaskError::Decode(error)) => {
                assert!(error.to_string().contains("nested too deeply"))
            }
            other => panic!("{:?}", other.is_ok()),
        }
        let there = pool.apply(|deep: Deep| deep.0.is_some(), (deep(5000),));
        assert!(there.unwrap_err().to_string().contains("nested too deeply"));
        assert_eq!(pool.pids(), worker);
    });
}

#[test]
fn results_may_have_no_bytes() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Nothing;
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        pool.apply(|| (), ()).unwrap();
        assert_eq!(pool.map(|_: ()| Nothing, vec![(); 1000]).unwrap().len(), 1000);
        assert_eq!(pool.chunk_size(7).imap(|(): ()| (), vec![(); 100]).flatten().count(), 100);
        assert_eq!(pool.map(|empty: Vec<u8>| empty, vec![vec![]; 5]).unwrap(), [[0_u8; 0]; 5]);
        assert_eq!(pool.map(|none: Option<()>| none, [None, Some(())]).unwrap(), [None, Some(())]);
    });
}

#[test]
fn a_worker_that_never_gets_ready_says_how_it_ended() {
    guarded(|| {
        let exits = |code: i32| -> () { std::process::exit(code) };
        let pool = Pool::builder().workers(2).initializer(exits, (3,)).build().unwrap();
        let error = pool.apply(square, (1,)).unwrap_err();
        assert!(error.is_broken_pool());
        assert!(error.source().unwrap().to_string().ends_with("the last exited with code 3"));
        assert!(matches!(pool.imap(square, 0..3).next(), Some(Err(TaskError::Start(_)))));
    });
}

thread_local! {
    /// Is used once more while its thread ends.
    static LAST: RefCell<Option<Late>> = const { RefCell::new(None) };
}

struct Late(Pool, Queue<u64>);

impl Drop for Late {
    fn drop(&mut self) {
        let Self(pool, done) = self;
        done.put(&pool.apply(square, (5,)).unwrap_or_default()).unwrap();
    }
}

#[test]
fn pools_are_where_they_are_wanted() {
    static POOL: OnceLock<Pool> = OnceLock::new();
    guarded(|| {
        // In a static, made by a thread that is gone.
        let make = || POOL.get_or_init(|| Pool::new(2).unwrap()).pids();
        let pids = std::thread::spawn(make).join().unwrap();
        assert_eq!(POOL.wait().map(square, 0..10).unwrap().len(), 10);
        assert_eq!(POOL.wait().pids(), pids);
        // In a thread-local value, used by its destructor.
        let done = Queue::new().unwrap();
        let there = done.clone();
        let keep = || LAST.set(Some(Late(Pool::new(1).unwrap(), there)));
        std::thread::spawn(keep).join().unwrap();
        assert_eq!(done.get().unwrap(), 25);
        // Many, all at work; and results that outlive them.
        let pools: Vec<_> = (0..20).map(|_| Pool::new(1).unwrap()).collect();
        let all: Vec<_> = pools.iter().map(|pool| pool.map_async(square, 0..50).unwrap()).collect();
        let last: Vec<_> =
            pools.iter().map(|pool| pool.apply_async(nap, (HOUR,)).unwrap()).collect();
        assert!(all.into_iter().all(|all| all.get().unwrap().len() == 50));
        drop(pools);
        assert!(last.into_iter().all(|last| matches!(last.get(), Err(TaskError::Terminated))));
    });
}

/// The ends of an iterator are in several hands: one takes while the pool is dropped by another.
#[test]
fn an_iterator_outlives_its_pool() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let mut results: Imap<_, _> = pool.imap(nap, std::iter::repeat(1));
        assert_eq!(results.next().unwrap().unwrap(), 1);
        std::thread::scope(|scope| {
            scope.spawn(move || drop(pool));
            // It ends, though the input does not.
            assert!(matches!(results.by_ref().last(), Some(Err(TaskError::Terminated))));
        });
        assert!(results.next().is_none());
    });
}

/// A program in a process group of its own, with a pool whose tasks never end.
fn program(said: Queue<u32>) {
    // SAFETY: takes no pointers.
    unsafe { libc::setsid() };
    let pool = Pool::new(2).unwrap();
    let begun = |said: Queue<u32>| {
        said.put(&std::process::id()).unwrap();
        nap(HOUR)
    };
    let naps = pool.chunk_size(1).map_async(begun, vec![said; 2]).unwrap();
    let _ = naps.get();
}

fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// W-42, W-44: whatever ends the program, sent to it alone or to all of its group as a terminal does, once or twice, ends
/// its workers with it.
#[test]
fn signals_to_a_program_or_its_group_end_all_of_it() {
    guarded(|| {
        let signals = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGKILL];
        for (signal, times) in signals.into_iter().flat_map(|signal| [(signal, 1), (signal, 2)]) {
            for group in [false, true] {
                let said = Queue::new().unwrap();
                let child = Process::new(program, (said.clone(),)).start().unwrap();
                let workers = [said.get().unwrap(), said.get().unwrap()];
                let pid = child.pid().cast_signed();
                for _ in 0..times {
                    // SAFETY: takes no pointers. The child is not reaped before the wait below.
                    unsafe { libc::kill(if group { -pid } else { pid }, signal) };
                }
                assert_eq!(child.wait().signal(), Some(signal));
                while workers.into_iter().any(lives) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    });
}

/// Handles Ctrl-C itself: what it has at work goes on.
fn patient(said: Queue<u32>, go: Queue<u32>) -> Vec<u64> {
    extern "C" fn handle(_: libc::c_int) {}
    // SAFETY: takes no pointers.
    unsafe { libc::setsid() };
    // SAFETY: the handler does nothing.
    unsafe { libc::signal(libc::SIGINT, handle as *const () as usize) };
    let pool = Pool::new(2).unwrap();
    let wait = |said: Queue<u32>, go: Queue<u32>| {
        said.put(&std::process::id()).unwrap();
        u64::from(go.get().unwrap())
    };
    let all = pool.chunk_size(1).starmap_async(wait, vec![(said, go); 2]).unwrap();
    all.get().unwrap()
}

/// W-44
#[test]
fn an_interrupt_that_a_program_handles_costs_no_task() {
    guarded(|| {
        let (said, go) = (Queue::new().unwrap(), Queue::new().unwrap());
        let child = Process::new(patient, (said.clone(), go.clone())).start().unwrap();
        let _workers = [said.get().unwrap(), said.get().unwrap()];
        // SAFETY: takes no pointers; the child lives until it is joined.
        unsafe { libc::kill(-child.pid().cast_signed(), libc::SIGINT) };
        go.put(&1).unwrap();
        go.put(&1).unwrap();
        assert_eq!(child.join().unwrap(), [1, 1]);
    });
}

/// A program that has closed what a program usually has.
fn without_standard_streams(said: Queue<u32>) -> usize {
    for fd in 0..3 {
        // SAFETY: takes no pointers; this process uses none of them.
        unsafe { libc::close(fd) };
    }
    let pool = Pool::new(2).unwrap();
    said.put(&pool.apply(pid, ()).unwrap()).unwrap();
    let write = |x: u32| {
        println!("{x}");
        eprintln!("{x}");
        std::io::stdin().lines().count()
    };
    pool.map(write, 0..20).unwrap().len()
}

#[test]
fn closed_standard_streams_change_nothing() {
    guarded(|| {
        let said = Queue::new().unwrap();
        let child = Process::new(without_standard_streams, (said.clone(),)).start().unwrap();
        assert_eq!(child.join().unwrap(), 20);
        assert_ne!(said.get().unwrap(), 0);
    });
}

/// What the program is given to read is not taken by a worker.
#[test]
fn a_task_that_reads_the_input_finds_none() {
    guarded(|| {
        let (reader, _writer) = std::io::pipe().unwrap();
        // SAFETY: takes no pointers. Nobody reads what this process was given until now.
        assert_eq!(unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&reader), 0) }, 0);
        let pool = Pool::new(1).unwrap();
        let read = |_: ()| std::io::read_to_string(std::io::stdin()).ok();
        assert_eq!(pool.apply(read, ((),)).unwrap().as_deref(), Some(""));
    });
}

/// Closes what is not its own, what ties it to the pool included.
fn close_range() -> u32 {
    // SAFETY: takes no pointers. What this process loses by it is what the test is about.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    pid()
}

/// A program that waits to be killed, with a worker that has closed everything.
fn with_a_careless_worker(said: Queue<u32>) {
    let pool = Pool::new(1).unwrap();
    said.put(&pool.apply(close_range, ()).unwrap()).unwrap();
    nap(HOUR);
}

/// The kernel would not tell it of the end of its parent.
#[test]
fn a_worker_that_has_closed_all_descriptors_does_not_outlive_its_pool() {
    guarded(|| {
        let said = Queue::new().unwrap();
        let child = Process::new(with_a_careless_worker, (said.clone(),)).start().unwrap();
        let worker = said.get().unwrap();
        child.kill().unwrap();
        while lives(worker) {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Nor does it wait for that: another stands in.
        let pool = Pool::new(1).unwrap();
        let worker = pool.apply(close_range, ()).unwrap();
        while pool.pids().contains(&worker) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
        // Threads share what they have with the process that they are in, whoever closes it.
        let threads = ThreadPool::new(1).unwrap();
        assert_eq!(threads.map(square, 0..10).unwrap().len(), 10);
    });
}
