//! Nothing is left behind: descriptors, mappings, threads and children are counted before and after. It is alone in its
//! process, so that nobody else's are counted.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::guarded;
use mp_pool::{ErrorKind, Pool};

fn square(x: u64) -> u64 {
    x * x
}

fn die(x: u64) -> u64 {
    std::process::exit(i32::from(x > 0))
}

fn open(path: &str) -> usize {
    fs::read_dir(path).unwrap().count()
}

fn lines(path: &str, what: &str) -> usize {
    fs::read_to_string(path).unwrap().lines().filter(|line| line.contains(what)).count()
}

/// Descriptors, shared mappings, threads, and children that are alive.
fn count() -> [usize; 4] {
    let children = mp_process::active_children().len();
    [open("/proc/self/fd"), lines("/proc/self/maps", "memfd"), open("/proc/self/task"), children]
}

fn use_pool() {
    let pool = Pool::builder().workers(3).max_tasks_per_child(50).build().unwrap();
    assert_eq!(pool.chunk_size(1).map(square, 0..200).unwrap().len(), 200);
    assert_eq!(pool.imap(die, 0..5).filter(Result::is_err).count(), 5);
    let queues: Vec<_> = (0..10).map(|_| mp_queue::Queue::<u8>::new().unwrap()).collect();
    assert_eq!(pool.map(|queue: mp_queue::Queue<u8>| queue.len(), queues).unwrap(), [0; 10]);
    drop(pool.apply_async(square, (1,)).unwrap());
    drop(pool.imap(square, 0..));
    pool.close();
    pool.join().unwrap();
}

fn drop_pool() {
    let pool = Pool::new(2).unwrap();
    let sleep = |seconds: u64| std::thread::sleep(Duration::from_secs(seconds));
    drop(pool.chunk_size(1).map_async(sleep, vec![60; 100]).unwrap());
}

#[expect(unsafe_code, reason = "limits the descriptors of this process")]
fn limit(descriptors: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    let before = std::mem::replace(&mut limit.rlim_cur, descriptors);
    // SAFETY: `limit` is readable.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    before
}

/// PL-35: a worker that cannot be started ends those that were.
fn start_too_many() {
    let before = limit(open("/proc/self/fd") as u64 + 40);
    let error = Pool::new(50).unwrap_err();
    limit(before);
    assert_eq!(error.kind(), ErrorKind::Start);
}

#[test]
fn leak() {
    guarded(|| {
        // The first round starts what lives as long as the process does.
        use_pool();
        drop_pool();
        start_too_many();
        let before = count();
        for _ in 0..5 {
            use_pool();
            drop_pool();
            start_too_many();
        }
        // A thread that was joined, or a process that was killed, is there for a moment.
        let end = Instant::now() + Duration::from_secs(60);
        while count() != before && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(count(), before);
    });
}
