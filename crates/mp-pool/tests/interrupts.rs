//! The signal that a task gets when it is asked to stop.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::io::{ErrorKind as Io, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::guarded;
use mp_pool::{Backend, Builder, ErrorKind, Pool, should_stop};

const SOFT: Duration = Duration::from_millis(20);

fn interrupting() -> Builder {
    Pool::builder().workers(1).soft_signal(libc::SIGUSR1)
}

/// Waits in a system call for what never comes, until it is interrupted and asked to stop.
fn wait() -> (u32, bool) {
    let (mut reader, _writer) = std::io::pipe().unwrap();
    loop {
        match reader.read(&mut [0]) {
            Err(error) if error.kind() == Io::Interrupted => {
                if should_stop() {
                    return (std::process::id(), true);
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

/// W-14
#[test]
fn a_task_that_waits_in_the_kernel_is_interrupted_and_its_worker_lives() {
    guarded(|| {
        let pool = interrupting().build().unwrap();
        let (pid, asked) = pool.soft_timeout(SOFT).apply(wait, ()).unwrap();
        assert!(asked && pool.pids() == [pid]);
        // Of a chunk, each task is asked in its own time.
        let all = pool.soft_timeout(SOFT).chunk_size(3).map(|(): ()| wait(), [(); 3]);
        assert_eq!(all.unwrap(), [(pid, true); 3]);
        // Whoever cancels asks once; what has not begun to wait then can be asked again.
        let later = pool.apply_async(wait, ()).unwrap();
        while !later.is_ready() {
            // Before it has begun, it would be cancelled for good.
            if later.is_running() {
                later.cancel();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(later.get().unwrap(), (pid, true));
        assert_eq!(pool.stats().restarts, 0);
    });
}

#[test]
fn signals_that_cannot_be_handled_are_refused() {
    guarded(|| {
        let refused = [0, -1, 65, 32, libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGABRT];
        for signal in refused {
            let error = Pool::builder().soft_signal(signal).build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{signal}");
        }
        for signal in [libc::SIGUSR2, libc::SIGALRM, libc::SIGTERM, libc::SIGRTMIN()] {
            let pool = Pool::builder().workers(1).soft_signal(signal).build().unwrap();
            assert!(pool.soft_timeout(SOFT).apply(wait, ()).unwrap().1);
        }
    });
}

/// How often the signal came to this process.
static HITS: AtomicU64 = AtomicU64::new(0);

/// Says that of each signal by a handler of the user's own.
#[expect(unsafe_code, reason = "sets what a signal does")]
fn count_hits() {
    extern "C" fn hit(_: libc::c_int) {
        HITS.fetch_add(1, Ordering::SeqCst);
    }
    // SAFETY: the handler does nothing but an atomic addition.
    unsafe { libc::signal(libc::SIGUSR1, hit as *const () as libc::sighandler_t) };
}

fn until_hit() -> u64 {
    while HITS.load(Ordering::SeqCst) == 0 {
        std::hint::spin_loop();
    }
    HITS.swap(0, Ordering::SeqCst)
}

#[test]
fn the_users_own_handler_runs() {
    guarded(|| {
        let pool = interrupting().initializer(count_hits, ()).build().unwrap();
        assert!(pool.soft_timeout(SOFT).apply(until_hit, ()).unwrap() >= 1);
        // Without a soft limit, nothing comes. The first task may have been asked again at its end.
        let hits = || {
            HITS.store(0, Ordering::SeqCst);
            std::thread::sleep(2 * SOFT);
            HITS.load(Ordering::SeqCst)
        };
        assert_eq!(pool.apply(hits, ()).unwrap(), 0);
    });
}

/// Ends about when it is asked to stop.
fn about(micros: u64) {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_micros(micros) {
        std::hint::spin_loop();
    }
    HITS.store(0, Ordering::SeqCst);
}

/// Says how many signals came to it that were not meant for it, and whether it was told to stop.
fn bystander(micros: u64) -> (u64, bool) {
    let before = HITS.load(Ordering::SeqCst);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_micros(micros) {
        std::hint::spin_loop();
    }
    (HITS.load(Ordering::SeqCst) - before, should_stop())
}

/// A signal comes to the task that it is meant for or not at all, however close that is to its end.
#[test]
fn the_task_after_it_is_left_in_peace() {
    guarded(|| {
        let pool = interrupting().initializer(count_hits, ()).build().unwrap();
        let soft = Duration::from_micros(100);
        for round in 0..2000_u64 {
            let first = pool.soft_timeout(soft).apply_async(about, (50 + round % 150,)).unwrap();
            let others = pool.chunk_size(1).map_async(bystander, [20; 4]).unwrap();
            // Asked to stop in the midst of it all.
            first.cancel();
            for (hits, asked) in others.get().unwrap() {
                assert!(hits == 0 && !asked, "in round {round}: {hits}, {asked}");
            }
            first.wait();
        }
        assert_eq!(pool.stats().restarts, 0);
    });
}

#[test]
fn threads_get_no_signals() {
    guarded(|| {
        for backend in [Backend::Threads, Backend::Inline] {
            // Here nothing handles it: it would end this process.
            let pool = interrupting().backend(backend).soft_timeout(SOFT).build().unwrap();
            let asked = || {
                let begin = Instant::now();
                while !should_stop() && begin.elapsed() < 10 * SOFT {
                    std::thread::yield_now();
                }
            };
            pool.apply(asked, ()).unwrap();
        }
    });
}
