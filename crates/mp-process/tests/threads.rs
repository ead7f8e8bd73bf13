//! Starting children in a program that has threads, here those of the test harness.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![expect(unsafe_code, reason = "a fork with threads, on purpose")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mp_process::code::Code;
use mp_process::{
    ActiveChild, Child, CurrentProcess, Error, ErrorKind, ExitStatus, JoinError, JoinErrorKind,
    Panic, ParentProcess, Process, StartMethod, active_children, cpu_count, current_process,
};

const FRESH: [StartMethod; 2] = [StartMethod::Forkserver, StartMethod::Spawn];

fn open_descriptors() -> BTreeSet<i32> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let listed: Vec<i32> =
        entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).collect();
    // SAFETY: takes no pointers.
    listed.into_iter().filter(|&fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0).collect()
}

#[test]
fn public_types_go_between_threads() {
    fn check<T: Send + Sync + std::fmt::Debug>() {}
    check::<Child<std::cell::Cell<u8>>>();
    check::<ActiveChild>();
    check::<CurrentProcess>();
    check::<ParentProcess>();
    check::<Error>();
    check::<JoinError>();
    check::<ExitStatus>();
    check::<Panic>();
    check::<StartMethod>();
    check::<Code<fn()>>();
    check::<mp_process::Context>();
    check::<mp_process::Finalizer>();
    check::<mp_process::Resource>();
    check::<mp_process::Stdio>();
    fn movable<T: Send + std::fmt::Debug>() {}
    movable::<Process<u8>>();
}

#[test]
fn fork_is_refused_with_the_count_of_threads() {
    let error = Process::fork(|| 1).start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Threads);
    assert!(error.to_string().contains(" threads: "), "{error}");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    thread::park_timeout(std::time::Duration::from_millis(1));
                }
            });
        }
        let error = Process::fork(|| 1).start().unwrap_err().to_string();
        let count = error.split(' ').find_map(|word| word.parse::<usize>().ok());
        stop.store(true, Ordering::Relaxed);
        // These, this one, and that of the harness, whose other tests have some of their own.
        assert!(count.is_some_and(|count| count >= 11), "{error}");
    });
    let error = Process::new(cpu_count, ()).start_method(StartMethod::Fork).start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Threads);
}

#[test]
fn fork_with_threads_is_there_for_those_who_know() {
    let text = String::from("captured");
    let process = Process::fork(move || text.len());
    // SAFETY: the function only reads a length.
    let child = unsafe { process.fork_with_threads() }.start().unwrap();
    assert_eq!(child.join().unwrap(), 8);
}

#[test]
fn unknown_methods_are_refused() {
    for method in StartMethod::ALL {
        assert_eq!(method.to_string().parse::<StartMethod>().unwrap(), method);
    }
    let error = "thread".parse::<StartMethod>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownMethod);
    assert!(error.to_string().contains("`thread`"));
}

// PR-41, with starts at the same time
#[test]
fn threads_start_children_at_once() {
    thread::scope(|scope| {
        for id in 0..8_u32 {
            scope.spawn(move || {
                for round in 0..25_u32 {
                    let method = FRESH[usize::from(round % 5 == 0)];
                    let look = |id: u32, round: u32| (id, round, open_descriptors());
                    let child = Process::new(look, (id, round)).start_method(method).start();
                    let value = child.unwrap().join().unwrap();
                    assert_eq!(value, (id, round, BTreeSet::from([0, 1, 2, 3])));
                }
            });
        }
    });
}

#[test]
fn threads_that_allocate_and_print_do_not_disturb() {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let text = format!("{:?}", vec![0_u8; 4096].len());
                    eprint!("{}", &text[..0]);
                }
            });
        }
        for method in FRESH {
            for i in 0..50_usize {
                let allocate = |i: usize| {
                    print!("");
                    vec![i; 1000].len() + i
                };
                let child = Process::new(allocate, (i,)).start_method(method).start().unwrap();
                assert_eq!(child.join().unwrap(), 1000 + i);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// LG-04
#[test]
fn finalizers_are_added_and_cancelled_by_many_threads() {
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for i in 0..200 {
                    let finalizer = mp_process::at_exit(i % 3 - 1, || panic!("cancelled"));
                    assert!(finalizer.is_active());
                    assert!(finalizer.cancel() && !finalizer.run());
                }
            });
        }
    });
}

/// W-40. `MP_PROCESS_TRIALS` says how often.
#[test]
fn busy_threads_do_not_hang_starts() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let trials = std::env::var("MP_PROCESS_TRIALS").ok().and_then(|text| text.parse().ok());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            // Locks of the allocator, of standard output, of the environment.
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let text = std::hint::black_box(vec![7_u8; 1 << 16]);
                    drop((std::io::stdout().lock(), std::env::var("PATH"), text));
                }
            });
        }
        for i in 0..trials.unwrap_or(100_u32) {
            let method = if i % 8 == 0 { StartMethod::Spawn } else { StartMethod::Forkserver };
            let child = Process::new(|i: u32| i + 1, (i,)).start_method(method).start().unwrap();
            assert_eq!(child.join().unwrap(), i + 1);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn several_threads_wait_for_one_child() {
    for method in FRESH {
        let nap = || thread::sleep(std::time::Duration::from_millis(20));
        let child = Process::new(nap, ()).start_method(method).start().unwrap();
        thread::scope(|scope| {
            let waits: Vec<_> = (0..4).map(|_| scope.spawn(|| child.wait())).collect();
            for wait in waits {
                assert!(wait.join().unwrap().success());
            }
        });
        child.join().unwrap();
    }
}

// PR-01, PR-44
#[test]
fn the_main_process() {
    let me = current_process();
    assert_eq!((me.name(), me.pid(), me.is_daemon()), ("MainProcess", std::process::id(), false));
    assert_eq!((me.start_method(), me.path()), (None, &[][..]));
    assert!(cpu_count() >= 1);
}

// A child may use threads, and a panic in one that it does not join is not its end.
#[test]
fn threads_in_a_child() {
    fn work() -> i32 {
        let threads: Vec<_> = (0..4).map(|i| thread::spawn(move || i * 10)).collect();
        let sum = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        let _ = thread::spawn(|| panic!("of no consequence")).join();
        sum
    }
    for method in FRESH {
        let child = Process::new(work, ()).start_method(method).start().unwrap();
        assert_eq!(child.join().unwrap(), 60);
    }
}

#[test]
fn a_child_that_nobody_holds_is_listed() {
    let idle = || -> () {
        loop {
            thread::park();
        }
    };
    let child = Process::new(idle, ()).name("left alone").start().unwrap();
    let pid = child.pid();
    drop(child);
    let active = active_children().into_iter().find(|child| child.pid() == pid).unwrap();
    assert_eq!((active.name(), active.is_daemon(), active.is_alive()), ("left alone", false, true));
    active.interrupt().unwrap();
    assert_eq!(active.wait().signal(), Some(libc::SIGINT));
    assert!(!active_children().iter().any(|child| child.pid() == pid));
}

#[test]
fn errors_say_what_happened() {
    let child =
        Process::new(|| -> () { std::process::abort() }, ()).name("doomed").start().unwrap();
    let error = child.join().unwrap_err();
    assert_eq!(error.name(), "doomed");
    assert_eq!(error.to_string(), "process `doomed` was killed by signal 6 (SIGABRT)");
    assert!(matches!(error.kind(), JoinErrorKind::Killed { signal: 6 }));
    assert!(error.panic().is_none());
    let error: std::io::Error = "x".parse::<StartMethod>().unwrap_err().into();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}
