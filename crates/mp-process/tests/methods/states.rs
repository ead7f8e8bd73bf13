//! Before, while and after a process runs.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use mp_process::{
    JoinErrorKind, Process, StartMethod, active_children, current_process, parent_process,
};
use mp_wire::{Deadline, Fd, poll};

use crate::support::{Epoll, hear, idle, pair, process, tell};
use crate::{ALL, Test};

pub(crate) const TESTS: &[Test] = &[
    ("smoke", smoke, ALL),
    ("alive_until_it_ends", alive_until_it_ends, ALL),
    ("names_follow_descent", names_follow_descent, ALL),
    ("daemon_is_inherited_unless_said", daemon_is_inherited_unless_said, ALL),
    ("sentinel_is_ready_at_the_end", sentinel_is_ready_at_the_end, ALL),
    ("waiting_repeats", waiting_repeats, ALL),
    ("joining_gives_the_value_once", joining_gives_the_value_once, ALL),
    ("timeouts_are_not_early", timeouts_are_not_early, ALL),
    ("a_hundred_at_once", a_hundred_at_once, ALL),
    ("children_of_children", children_of_children, ALL),
    ("parent_is_known", parent_is_known, ALL),
    ("dropped_handles_are_reaped", dropped_handles_are_reaped, ALL),
    ("odd_names", odd_names, ALL),
    ("debug_says_what_is_known", debug_says_what_is_known, ALL),
];

// PR-02, PR-05
fn smoke(method: StartMethod) {
    fn who(a: u8, text: String) -> (u8, String, u32, String, Option<StartMethod>) {
        let me = current_process();
        (a, text, std::process::id(), me.name().to_owned(), me.start_method())
    }
    let child = process(method, who, (7, "seven".to_owned())).name("clerk").start().unwrap();
    assert_eq!(child.name(), "clerk");
    let pid = child.pid();
    assert_ne!(pid, std::process::id());
    let value = child.join().unwrap();
    assert_eq!(value, (7, "seven".into(), pid, "clerk".into(), Some(method)));
}

// PR-02
fn alive_until_it_ends(method: StartMethod) {
    let (ours, theirs) = pair();
    let wait = |socket: Fd| drop(hear(&socket));
    let child = process(method, wait, (theirs,)).start().unwrap();
    assert!(child.is_alive());
    assert_eq!(child.exit_status(), None);
    assert!(active_children().iter().any(|active| active.pid() == child.pid()));
    tell(&ours, "go");
    let status = child.wait();
    assert!(status.success());
    assert_eq!(child.exit_status(), Some(status));
    assert!(!child.is_alive());
    assert!(active_children().is_empty());
    child.join().unwrap();
}

// PR-04
fn names_follow_descent(method: StartMethod) {
    fn nested(method: StartMethod) -> (String, Vec<String>) {
        let name = || current_process().name().to_owned();
        let grandchild = |_| process(method, || current_process().name().to_owned(), ());
        let children = [0; 2].map(|i: i32| grandchild(i).start().unwrap().join().unwrap());
        (name(), children.to_vec())
    }
    let (name, children) = process(method, nested, (method,)).start().unwrap().join().unwrap();
    let number: u32 = name.strip_prefix("Process-").unwrap().parse().unwrap();
    assert_eq!(children, [format!("Process-{number}:1"), format!("Process-{number}:2")]);

    let next = process(method, || current_process().path().to_vec(), ());
    assert_eq!(next.start().unwrap().join().unwrap(), [number + 1]);
}

// PR-08
fn daemon_is_inherited_unless_said(method: StartMethod) {
    fn flags(method: StartMethod) -> (bool, bool, bool) {
        let flag = || current_process().is_daemon();
        let child = process(method, flag, ()).start().unwrap();
        let other = process(method, flag, ()).daemon(false).start().unwrap();
        (flag(), child.join().unwrap(), other.join().unwrap())
    }
    let run = |daemon: bool| {
        let child = process(method, flags, (method,)).daemon(daemon).start().unwrap();
        assert_eq!(child.is_daemon(), daemon);
        child.join().unwrap()
    };
    assert_eq!(run(true), (true, true, false));
    assert_eq!(run(false), (false, false, false));
    let child = process(method, || (), ()).start().unwrap();
    assert!(!child.is_daemon());
    child.join().unwrap();
}

// PR-14
fn sentinel_is_ready_at_the_end(method: StartMethod) {
    let child = process(method, idle, ()).start().unwrap();
    assert!(!poll::wait_readable(child.sentinel(), Deadline::NOW).unwrap());
    let epoll = Epoll::of(child.sentinel());
    assert!(!epoll.wait(0));
    child.kill().unwrap();
    assert!(epoll.wait(-1));
    assert!(poll::wait_readable(child.as_fd(), Deadline::NEVER).unwrap());
    assert_eq!(child.wait().exit_code(), Some(-9));
    assert!(poll::wait_readable(child.as_fd(), Deadline::NOW).unwrap());
}

// PR-16
fn waiting_repeats(method: StartMethod) {
    let mut child = process(method, || 5, ()).start().unwrap();
    let status = child.wait();
    assert_eq!(child.wait(), status);
    assert_eq!(child.wait_timeout(Duration::ZERO), Some(status));
    assert_eq!(child.join_timeout(Duration::ZERO).unwrap().unwrap(), 5);
    assert_eq!(child.wait(), status);
}

fn joining_gives_the_value_once(method: StartMethod) {
    let mut child = process(method, || 5, ()).start().unwrap();
    child.wait();
    assert_eq!(child.join_timeout(Duration::ZERO).unwrap().unwrap(), 5);
    let error = child.join().unwrap_err();
    assert!(matches!(error.kind(), JoinErrorKind::AlreadyJoined), "{error}");
}

fn timeouts_are_not_early(method: StartMethod) {
    let mut child = process(method, idle, ()).start().unwrap();
    for timeout in [Duration::ZERO, Duration::from_millis(30)] {
        let start = Instant::now();
        assert!(child.join_timeout(timeout).is_none());
        assert_eq!(child.wait_timeout(timeout), None);
        assert!(start.elapsed() >= 2 * timeout);
    }
    child.kill().unwrap();
    let error = child.join_timeout(Duration::MAX).unwrap().unwrap_err();
    assert!(matches!(error.kind(), JoinErrorKind::Killed { signal: libc::SIGKILL }));
}

// PR-26
fn a_hundred_at_once(method: StartMethod) {
    let children: Vec<_> =
        (0..100).map(|i: u32| process(method, |i: u32| i * 2, (i,)).start().unwrap()).collect();
    for (i, child) in children.into_iter().enumerate() {
        assert_eq!(child.join().unwrap() as usize, 2 * i);
    }
    let children: Vec<_> = (0..100).map(|_| process(method, idle, ()).start().unwrap()).collect();
    assert_eq!(active_children().len(), 100);
    for child in &children {
        child.terminate().unwrap();
    }
    for child in &children {
        assert_eq!(child.wait().exit_code(), Some(-libc::SIGTERM));
    }
}

// PR-28, SM-08
fn children_of_children(method: StartMethod) {
    fn sum(method: StartMethod, depth: u32, socket: Fd) -> u32 {
        tell(&socket, "here");
        if depth == 0 {
            return 1;
        }
        let child = |_| process(method, sum, (method, depth - 1, socket.clone())).start().unwrap();
        let children = [0; 2].map(|i: i32| child(i));
        children.into_iter().map(|child| child.join().unwrap()).sum()
    }
    let (ours, theirs) = pair();
    let child = process(method, sum, (method, 2, theirs)).start().unwrap();
    assert_eq!(child.join().unwrap(), 4);
    let mut heard = 0;
    while hear(&ours).is_some() {
        heard += 1;
    }
    assert_eq!(heard, 7);
}

// PR-29
fn parent_is_known(method: StartMethod) {
    assert!(parent_process().is_none());
    fn parent(method: StartMethod) -> (u32, String, u32, String, bool) {
        let of_child = || {
            let parent = parent_process().unwrap();
            (parent.pid(), parent.name().to_owned(), parent.join_timeout(Duration::from_millis(5)))
        };
        let me = of_child();
        let (pid, name, gone) = process(method, of_child, ()).start().unwrap().join().unwrap();
        assert_eq!(pid, std::process::id());
        (me.0, me.1, pid, name, gone || me.2 || !parent_process().unwrap().is_alive())
    }
    let child = process(method, parent, (method,)).name("middle").start().unwrap();
    let pid = child.pid();
    let expected = (std::process::id(), "MainProcess".into(), pid, "middle".into(), false);
    assert_eq!(child.join().unwrap(), expected);
}

fn dropped_handles_are_reaped(method: StartMethod) {
    let (ours, theirs) = pair();
    let wait = |socket: Fd| drop(hear(&socket));
    let child = process(method, wait, (theirs,)).start().unwrap();
    let active = active_children().into_iter().find(|active| active.pid() == child.pid()).unwrap();
    drop(child);
    assert!(active.is_alive());
    tell(&ours, "go");
    assert!(active.wait().success());
    assert!(active_children().is_empty());
}

fn odd_names(method: StartMethod) {
    let me = || current_process().name().to_owned();
    for name in ["", "with\0nul", "ünïcödé and a good deal longer than fifteen bytes"] {
        assert_eq!(process(method, me, ()).name(name).start().unwrap().join().unwrap(), name);
    }
    let long = "x".repeat(1 << 20);
    assert_eq!(process(method, me, ()).name(&long).start().unwrap().join().unwrap(), long);
}

// PR-47
fn debug_says_what_is_known(method: StartMethod) {
    let process: Process<()> = process(method, idle, ()).name("clerk");
    assert!(format!("{process:?}").contains("clerk"));
    let child = process.start().unwrap();
    assert!(format!("{child:?}").contains("exit_status: None"), "{child:?}");
    child.kill().unwrap();
    child.wait();
    assert!(format!("{child:?}").contains("Signal(9)"), "{child:?}");
}
