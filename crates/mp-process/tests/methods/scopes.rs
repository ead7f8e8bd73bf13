//! Children that borrow, and what runs at the beginning and at the end of processes.

use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use mp_process::{
    JoinErrorKind, Process, StartMethod, active_children, at_exit, current_process,
    register_after_fork, scope,
};

use crate::helpers::say;
use crate::support::{self, hear, idle, pair, process, raw_fork, tell};
use crate::{ALL, Test};

const FORK: &[StartMethod] = &[StartMethod::Fork];

pub(crate) const TESTS: &[Test] = &[
    ("scoped_children_borrow", borrow, FORK),
    ("scoped_children_are_joined_at_the_end", joined_at_the_end, FORK),
    ("scoped_failures_are_not_lost", failures, FORK),
    ("finalizers_run_in_order", finalizers_in_order, ALL),
    ("finalizers_are_of_one_process", finalizers_of_one_process, FORK),
    ("functions_run_after_a_fork", after_fork, FORK),
    ("active_children_reaps", reaps, ALL),
];

fn borrow(_: StartMethod) {
    let text = String::from("on the stack");
    // Not even `Send`: the thread goes along.
    let shared = Rc::new(text.len());
    let mut numbers = [1, 2, 3];
    let sums = scope(|s| {
        let first = s.spawn(|| text.len() + *shared).unwrap();
        let second = s
            .spawn_named("second", || {
                numbers[0] = 10;
                (current_process().name().to_owned(), numbers.iter().sum::<i32>())
            })
            .unwrap();
        assert_eq!(second.name(), "second");
        assert!(first.pid() != second.pid());
        let (name, sum) = second.join().unwrap();
        (first.join().unwrap(), name, sum)
    });
    assert_eq!(sums.unwrap(), (24, "second".to_owned(), 15));
    assert_eq!(numbers, [1, 2, 3], "the child wrote to its copy");
    // Scopes nest, in the child as well.
    let sum: u64 = scope(|s| {
        let inner =
            || scope(|t| t.spawn(|| numbers.len() as u64).unwrap().join().unwrap()).unwrap() + 1;
        s.spawn(inner).unwrap().join().unwrap()
    })
    .unwrap();
    assert_eq!(sum, 4);
}

fn joined_at_the_end(_: StartMethod) {
    let (ours, theirs) = pair();
    let pid = scope(|s| {
        let child = s.spawn(|| drop(hear(&theirs))).unwrap();
        tell(&ours, "go");
        child.pid()
    });
    assert!(!support::runs(pid.unwrap()));
    // Also if the function panics.
    let caught = std::panic::catch_unwind(|| {
        let pid = AtomicU32::new(0);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = scope(|s| {
                let child = s.spawn(|| 5).unwrap();
                pid.store(child.pid(), Ordering::Relaxed);
                std::panic::resume_unwind(Box::new("mine"));
            });
        }));
        (result.unwrap_err().downcast_ref::<&str>().copied(), pid.into_inner())
    });
    let (payload, pid) = caught.unwrap();
    assert_eq!(payload, Some("mine"));
    assert!(!support::runs(pid));
    assert!(active_children().is_empty());
}

fn failures(_: StartMethod) {
    let error = scope(|s| {
        drop(s.spawn(|| 1).unwrap());
        drop(s.spawn(|| -> () { std::process::exit(3) }).unwrap());
        7
    });
    assert!(matches!(error.unwrap_err().kind(), JoinErrorKind::Exited { code: 3 }));
    let value = scope(|s| {
        let child = s.spawn(idle).unwrap();
        child.kill().unwrap();
        child.join().unwrap_err();
        7
    });
    assert_eq!(value.unwrap(), 7, "a failure that was seen is none of the scope's");
}

// LG-03
fn finalizers_in_order(method: StartMethod) {
    let expected = "d10 d03 late d02 d01 child e";
    let text = support::succeeds("finalizers", method);
    let words: Vec<&str> = text.split_whitespace().collect();
    // First the child's, whose main function has ended, then those of the main process.
    assert_eq!(words.join(" "), format!("b {expected} joined b {expected}"));
}

pub(crate) fn finalizers(method: StartMethod) {
    fn register(method: StartMethod) {
        let b = at_exit(0, || say("b"));
        at_exit(-1, || say("e"));
        at_exit(1, || say("d01"));
        at_exit(1, || say("d02"));
        at_exit(1, || {
            at_exit(1, || say("late"));
            say("d03");
        });
        let c = at_exit(5, || say("c"));
        at_exit(10, || {
            say("d10");
            std::panic::resume_unwind(Box::new("none of the others' business"));
        });
        assert!(b.is_active());
        assert!(b.run());
        assert!(!b.run() && !b.is_active() && !b.cancel());
        assert!(c.cancel() && !c.cancel());
        // It ends after the first group, and is joined before the second.
        let child = || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            say("child");
        };
        drop(process(method, child, ()).start().unwrap());
    }
    process(method, register, (method,)).start().unwrap().join().unwrap();
    say("joined");
    register(method);
}

fn finalizers_of_one_process(_: StartMethod) {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let finalizer = at_exit(0, || _ = RUNS.fetch_add(1, Ordering::Relaxed));
    let child = Process::fork(|| {
        at_exit(0, || say("the child's"));
    });
    child.start().unwrap().join().unwrap();
    let copy = raw_fork();
    if copy == 0 {
        support::exit_now(if finalizer.is_active() || finalizer.run() { 1 } else { 42 });
    }
    support::expect_exit(copy, 42);
    assert!(finalizer.run());
    assert_eq!(RUNS.load(Ordering::Relaxed), 1);
}

// SM-20
fn after_fork(method: StartMethod) {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    register_after_fork(|| _ = RUNS.fetch_add(1, Ordering::Relaxed));
    // Once in each generation.
    fn deep(method: StartMethod, depth: u32) -> u32 {
        match depth {
            0 => RUNS.load(Ordering::Relaxed),
            _ => process(method, deep, (method, depth - 1)).start().unwrap().join().unwrap(),
        }
    }
    assert_eq!(deep(method, 5), 5);
    assert_eq!(RUNS.load(Ordering::Relaxed), 0);
    let fresh = process(StartMethod::Spawn, || RUNS.load(Ordering::Relaxed), ());
    assert_eq!(fresh.start().unwrap().join().unwrap(), 0);
}

fn reaps(method: StartMethod) {
    let (ours, theirs) = pair();
    let say = |socket: mp_wire::Fd| tell(&socket, "end");
    drop(process(method, say, (theirs,)).start().unwrap());
    assert_eq!(hear(&ours).as_deref(), Some("end"));
    support::until(|| active_children().is_empty());
    let zombies = support::children().into_iter().filter(|&pid| support::comm(pid) != "mp-zygote");
    assert_eq!(zombies.count(), 0);
}
