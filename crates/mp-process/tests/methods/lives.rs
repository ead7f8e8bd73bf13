//! Who lives how long: parents, children, their children, and the zygote.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Child as Helper;

use std::time::{Duration, Instant};

use mp_process::{JoinErrorKind, StartMethod, active_children};
use mp_wire::Fd;

use crate::support::{
    children, comm, exit_now, hear, helper, idle, on_terminal, pair, process, raw_fork, runs,
    signal, tell, terminal, trials, until, with_variable, zygote,
};
use crate::{ALL, Test};

pub(crate) const TESTS: &[Test] = &[
    ("children_die_with_their_parent", die_with_parent, ALL),
    ("children_die_with_their_parent_while_starting", die_while_starting, ALL),
    ("a_fork_of_the_parent_does_not_keep_children", forks_keep_nothing, ALL),
    ("daemons_are_ended_and_others_joined_at_exit", order_at_exit, ALL),
    ("exit_of_a_child_is_as_that_of_the_main_process", order_at_exit_of_child, ALL),
    ("killed_zygote_leaves_children_running", killed_zygote, &[StartMethod::Forkserver]),
    ("zygote_killed_again_and_again", zygote_killed_often, &[StartMethod::Forkserver]),
    ("ready_child_killed_again_and_again", ready_killed_often, &[StartMethod::Forkserver]),
    ("zygote_goes_with_its_user", zygote_goes, &[StartMethod::Forkserver]),
    ("zygote_ignores_the_keyboard", zygote_ignores_keyboard, &[StartMethod::Forkserver]),
    ("nobody_outlives_a_parent_killed_at_any_moment", killed_at_any_moment, ALL),
    ("detached_children_outlive_their_parent", detached, ALL),
    ("keyboard_ends_the_parent_and_all_quietly", keyboard_ends_all, ALL),
    ("keyboard_is_left_to_the_parent", keyboard_left_to_parent, ALL),
    ("handles_in_a_copy_are_of_no_use", copied_handles, ALL),
    ("many_starts_leave_nothing", many_starts, ALL),
];

/// The numbers that a helper writes, one in a line.
fn pids(helper: &mut Helper, count: usize) -> (Vec<u32>, BufReader<std::process::ChildStdout>) {
    let mut output = BufReader::new(helper.stdout.take().unwrap());
    let mut pids = Vec::new();
    while pids.len() < count {
        let mut line = String::new();
        assert!(output.read_line(&mut line).unwrap() > 0, "the helper ended early: {pids:?}");
        pids.push(line.trim().parse().unwrap());
    }
    (pids, output)
}

// W-42, to the depth of two
fn die_with_parent(method: StartMethod) {
    let mut parent = helper("tree", method).spawn().unwrap();
    let (pids, mut output) = pids(&mut parent, 6);
    assert!(pids.iter().all(|&pid| runs(pid)), "{pids:?}");
    parent.kill().unwrap();
    parent.wait().unwrap();
    // The end of the pipe: nobody of them has it any more.
    output.read_to_string(&mut String::new()).unwrap();
    until(|| !pids.iter().any(|&pid| runs(pid)));
}

// W-42
fn die_while_starting(method: StartMethod) {
    for round in 0..20 {
        let mut parent = helper("starts", method).spawn().unwrap();
        let mut output = BufReader::new(parent.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        // Somewhere in a start.
        std::thread::sleep(std::time::Duration::from_micros(100 * round));
        parent.kill().unwrap();
        parent.wait().unwrap();
        output.read_to_string(&mut line).unwrap();
    }
}

// W-42, at whatever moment of starts and ends, one and two generations deep
fn killed_at_any_moment(method: StartMethod) {
    let mut slowest = Duration::ZERO;
    for trial in 0..trials(10) {
        let variable = format!("MP_PROCESS_FAMILY={}-{method}-{trial}", std::process::id());
        let (name, value) = variable.split_once('=').unwrap();
        let depth = if trial % 2 == 0 { "family" } else { "families" };
        let mut parent = helper(depth, method).env(name, value).spawn().unwrap();
        let mut output = BufReader::new(parent.stdout.take().unwrap());
        assert_eq!(line(&mut output), "go");
        // Spread over what it takes to start, to run and to end.
        std::thread::sleep(Duration::from_micros(u64::from(trial) * 7919 % 20_000));
        parent.kill().unwrap();
        let killed = Instant::now();
        parent.wait().unwrap();
        until(|| with_variable(&variable).is_empty());
        slowest = slowest.max(killed.elapsed());
    }
    println!("killed at any moment: nobody was left after {slowest:?}");
}

fn detached(method: StartMethod) {
    for how in ["detaches", "detaches_and_idles"] {
        let mut parent = helper(how, method).spawn().unwrap();
        let (pids, _output) = pids(&mut parent, 3);
        if how == "detaches_and_idles" {
            parent.kill().unwrap();
        }
        parent.wait().unwrap();
        let [detached, its_own, other] = pids[..] else { panic!("{pids:?}") };
        until(|| !runs(other));
        assert!(runs(detached) && runs(its_own));
        signal(detached, libc::SIGKILL);
        until(|| !runs(detached) && !runs(its_own));
    }
    let child = process(method, || 5, ()).detached(true).start().unwrap();
    assert_eq!(child.join().unwrap(), 5);
}

fn forks_keep_nothing(method: StartMethod) {
    let mut parent = helper("forks", method).spawn().unwrap();
    let (pids, mut output) = pids(&mut parent, 2);
    let [stranger, child] = pids[..] else { panic!("{pids:?}") };
    parent.kill().unwrap();
    parent.wait().unwrap();
    until(|| !runs(child));
    assert!(runs(stranger));
    signal(stranger, libc::SIGKILL);
    output.read_to_string(&mut String::new()).unwrap();
}

// The order of Python: daemons are ended, then all are joined.
fn order_at_exit(method: StartMethod) {
    let output = helper("ends", method).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: BTreeSet<&str> = text.lines().skip(1).collect();
    assert_eq!(text.lines().next(), Some("end of main"));
    assert_eq!(lines, BTreeSet::from(["daemon was asked", "other is done"]));
}

fn order_at_exit_of_child(method: StartMethod) {
    let output = helper("ends_in_child", method).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let [first, middle @ .., last] = &lines[..] else { panic!("{text}") };
    assert_eq!((*first, *last), ("end of child", "joined"));
    let middle = BTreeSet::from_iter(middle.iter().copied());
    assert_eq!(middle, BTreeSet::from(["daemon was asked", "other is done"]));
}

// SM-09
fn killed_zygote(method: StartMethod) {
    fn wait(socket: Fd, code: i32) {
        tell(&socket, "here");
        hear(&socket);
        exit_now(code);
    }
    for by in [libc::SIGKILL, libc::SIGTERM] {
        let old = zygote();
        let (ours, theirs) = pair();
        let child = process(method, wait, (theirs, 7)).start().unwrap();
        hear(&ours).unwrap();
        let (killed_ours, theirs) = pair();
        let killed = process(method, wait, (theirs, 8)).start().unwrap();
        hear(&killed_ours).unwrap();
        signal(old, by);
        until(|| !runs(old));
        assert!(child.is_alive());
        assert_ne!(zygote(), old);
        assert!(child.is_alive());
        killed.kill().unwrap();
        let status = killed.wait();
        tell(&ours, "go");
        let exact = (child.wait().exit_code(), status.exit_code());
        assert!(matches!(exact, (Some(7) | None, Some(-9) | None)), "{exact:?}");
        if kernel_tells() {
            assert_eq!(exact, (Some(7), Some(-9)));
        }
        let error = child.join().unwrap_err();
        assert!(matches!(error.kind(), JoinErrorKind::Exited { code: 7 } | JoinErrorKind::Unknown));
    }
    // A value arrives though nobody saw its process end.
    let child = process(method, || std::thread::sleep(std::time::Duration::from_millis(20)), ());
    let child = child.start().unwrap();
    signal(zygote(), libc::SIGKILL);
    child.join().unwrap();
}

/// Since 6.15 the kernel tells how a process ended that somebody else has reaped.
fn kernel_tells() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 15)
}

fn zygote_killed_often(method: StartMethod) {
    for i in 0..trials(50) {
        let zygote = zygote();
        signal(zygote, libc::SIGKILL);
        assert_eq!(process(method, |i: u32| i + 1, (i,)).start().unwrap().join().unwrap(), i + 1);
    }
}

/// The child that waits for the next start is nobody's yet: another one is taken.
fn ready_killed_often(method: StartMethod) {
    let ready = |zygote: u32| {
        let list = std::fs::read_to_string(format!("/proc/{zygote}/task/{zygote}/children"));
        let list = list.unwrap_or_default();
        list.split_whitespace().map(|pid| pid.parse().unwrap()).find(|&pid| comm(pid) == "mp-ready")
    };
    let zygote = zygote();
    for i in 0..trials(20) {
        until(|| ready(zygote).is_some());
        let waiting = ready(zygote).unwrap();
        signal(waiting, libc::SIGKILL);
        until(|| !runs(waiting));
        let child = process(method, |i: u32| (i, std::process::id()), (i,)).start().unwrap();
        let (value, pid) = child.join().unwrap();
        assert_eq!(value, i);
        assert_ne!(pid, waiting);
    }
}

fn zygote_goes(method: StartMethod) {
    let mut user = helper("zygote", method).spawn().unwrap();
    let (pids, _output) = pids(&mut user, 1);
    user.wait().unwrap();
    assert!(!runs(pids[0]), "it was there after a normal end");
    let mut user = helper("zygote_then_idle", method).spawn().unwrap();
    let (pids, _output) = self::pids(&mut user, 1);
    assert!(runs(pids[0]));
    user.kill().unwrap();
    user.wait().unwrap();
    until(|| !runs(pids[0]));
}

// W-44
fn zygote_ignores_keyboard(method: StartMethod) {
    let old = zygote();
    signal(old, libc::SIGINT);
    signal(old, libc::SIGQUIT);
    assert_eq!(process(method, || 5, ()).start().unwrap().join().unwrap(), 5);
    assert_eq!(zygote(), old);
}

/// A helper on a terminal, what it says, and the keyboard.
fn on_keyboard(name: &str, method: StartMethod) -> (Helper, File, BufReader<PipeReader>) {
    let (keyboard, program) = terminal();
    let (output, writer) = std::io::pipe().unwrap();
    let mut command = helper(name, method);
    command.stdin(program).stderr(writer.try_clone().unwrap()).stdout(writer);
    on_terminal(&mut command);
    let helper = command.spawn().unwrap();
    (helper, keyboard, BufReader::new(output))
}

fn line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.trim().to_owned()
}

// W-44
fn keyboard_ends_all(method: StartMethod) {
    let (mut parent, mut keyboard, mut output) = on_keyboard("keyboard", method);
    let pids: Vec<u32> = (0..4).map(|_| line(&mut output).parse().unwrap()).collect();
    keyboard.write_all(b"\x03").unwrap();
    assert_eq!(parent.wait().unwrap().signal(), Some(libc::SIGINT));
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "not a word");
    until(|| !pids.iter().any(|&pid| runs(pid)));
}

// W-44
fn keyboard_left_to_parent(method: StartMethod) {
    let (mut parent, mut keyboard, mut output) = on_keyboard("keyboard_handled", method);
    assert_eq!(line(&mut output), "ready");
    keyboard.write_all(b"\x03").unwrap();
    assert_eq!(line(&mut output), "decided: finish");
    assert_eq!(line(&mut output), "joined 5");
    assert_eq!(line(&mut output), "interrupted -2");
    assert!(parent.wait().unwrap().success());
}

fn copied_handles(method: StartMethod) {
    let child = process(method, idle, ()).start().unwrap();
    let copy = raw_fork();
    if copy == 0 {
        let none = active_children().is_empty();
        let alive = child.is_alive();
        child.kill().unwrap();
        child.wait();
        let refused = matches!(child.join().unwrap_err().kind(), JoinErrorKind::NotParent);
        // It is a process of its own, with children of its own.
        let own = process(method, || 5, ()).start().unwrap().join().unwrap();
        exit_now(if (none, alive, refused, own) == (true, true, true, 5) { 42 } else { 1 });
    }
    assert_eq!(child.wait().exit_code(), Some(-9));
    assert!(child.join().is_err());
    crate::support::expect_exit(copy, 42);
}

fn many_starts(method: StartMethod) {
    for i in 0..300_u32 {
        assert_eq!(process(method, |i: u32| i, (i,)).start().unwrap().join().unwrap(), i);
    }
    let zombies: Vec<_> = children().into_iter().filter(|&pid| comm(pid) != "mp-zygote").collect();
    assert_eq!(zombies, []);
}
