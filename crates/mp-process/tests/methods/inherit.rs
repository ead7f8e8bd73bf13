//! What a child has of its parent, and what it has not.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use mp_process::StartMethod;

use crate::support::{
    core_limit, disturb_signal, hear, helper, inheritable, numbers, pair, process, replace_stream,
    signal_state, umask,
};
use crate::{ALL, FRESH, Test};

pub(crate) const TESTS: &[Test] = &[
    ("descriptors_are_the_streams_and_one_socket", exact_descriptors, FRESH),
    ("descriptors_do_not_add_up", descriptors_do_not_add_up, ALL),
    ("inheritable_descriptors_are_not_inherited", closed_descriptors, FRESH),
    ("environment_is_the_parents_now", environment_now, ALL),
    ("directory_and_mask_are_the_parents_now", directory_and_mask_now, ALL),
    ("streams_are_the_parents_now", streams_now, ALL),
    ("closed_streams_are_null", closed_streams, FRESH),
    ("arguments_of_the_program", program_arguments, ALL),
    ("signals_are_those_of_a_fresh_process", fresh_signals, ALL),
    ("no_core_dumps", no_core_dumps, ALL),
];

// PR-41
fn exact_descriptors(method: StartMethod) {
    let (_a, _b) = pair();
    let start = |_| process(method, numbers, ()).start().unwrap();
    let children: Vec<_> = (0..5).map(start).collect();
    for child in children {
        assert_eq!(child.join().unwrap(), BTreeSet::from([0, 1, 2, 3]));
    }
}

// PR-41
fn descriptors_do_not_add_up(method: StartMethod) {
    let count = || numbers().len();
    let children: Vec<_> = (0..5).map(|_| process(method, count, ()).start().unwrap()).collect();
    let counts: BTreeSet<_> = children.into_iter().map(|child| child.join().unwrap()).collect();
    if method != StartMethod::Fork {
        assert_eq!(counts.len(), 1);
    }
    // A fork has a copy of what its parent has; but not of the sockets that keep its siblings alive.
    assert!(counts.iter().all(|&count| count <= numbers().len() + 16), "{counts:?}");
}

// PR-42
fn closed_descriptors(method: StartMethod) {
    let file = OwnedFd::from(File::open("/dev/null").unwrap());
    let copy = inheritable(&file, 200);
    let open = |fd: RawFd| numbers().contains(&fd);
    assert!(open(copy.as_raw_fd()));
    assert!(!process(method, open, (copy.as_raw_fd(),)).start().unwrap().join().unwrap());
}

fn environment_now(method: StartMethod) {
    let var = |name: String| std::env::var(name).ok();
    let ask =
        |name: &str| process(method, var, (name.to_owned(),)).start().unwrap().join().unwrap();
    assert_eq!(ask("MP_PROCESS_TEST"), None);
    set_var(Some("one=1"));
    assert_eq!(ask("MP_PROCESS_TEST").as_deref(), Some("one=1"));
    set_var(None);
    assert_eq!(ask("MP_PROCESS_TEST"), None);
    assert_eq!(ask("PATH"), std::env::var("PATH").ok());
}

#[expect(unsafe_code, reason = "this program has one thread")]
fn set_var(value: Option<&str>) {
    match value {
        // SAFETY: this program has one thread.
        Some(value) => unsafe { std::env::set_var("MP_PROCESS_TEST", value) },
        // SAFETY: as above.
        None => unsafe { std::env::remove_var("MP_PROCESS_TEST") },
    }
}

fn directory_and_mask_now(method: StartMethod) {
    let state = || (std::env::current_dir().unwrap(), umask(0));
    let before = std::env::current_dir().unwrap();
    std::env::set_current_dir("/").unwrap();
    let mask = umask(0o027);
    let there = process(method, state, ()).start().unwrap().join().unwrap();
    std::env::set_current_dir(&before).unwrap();
    umask(mask);
    assert_eq!(there, (PathBuf::from("/"), 0o027));
    assert_eq!(process(method, state, ()).start().unwrap().join().unwrap(), (before, mask));
}

fn streams_now(method: StartMethod) {
    let (read, write) = std::io::pipe().unwrap();
    let write = OwnedFd::from(write);
    let say = || print!("on the pipe, not flushed by the function");
    let before = replace_stream(1, &write);
    let result = process(method, say, ()).start().unwrap().join();
    drop(replace_stream(1, &before));
    drop(write);
    result.unwrap();
    let mut text = String::new();
    File::from(OwnedFd::from(read)).read_to_string(&mut text).unwrap();
    assert_eq!(text, "on the pipe, not flushed by the function");
}

fn closed_streams(method: StartMethod) {
    let output = helper("without_streams", method).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

// SM-14
fn program_arguments(method: StartMethod) {
    let mut command = helper("arguments", method);
    command.args((0..5000).map(|i| format!("argument-{i}")));
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "same 5004\n");
    let args = || std::env::args().collect::<Vec<_>>();
    assert_eq!(process(method, args, ()).start().unwrap().join().unwrap(), args());
}

fn fresh_signals(method: StartMethod) {
    let state = || {
        [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR2, libc::SIGCHLD, libc::SIGPIPE]
            .map(|signal| (signal, signal_state(signal).0.to_owned(), signal_state(signal).1))
    };
    disturb_signal(libc::SIGUSR2, true);
    // And one with a handler of the parent's.
    crate::support::count_signals(libc::SIGTERM);
    let states = process(method, state, ()).start().unwrap().join();
    crate::support::default_signal(libc::SIGTERM);
    disturb_signal(libc::SIGUSR2, false);
    for (signal, what, blocked) in states.unwrap() {
        let expected = match signal {
            libc::SIGPIPE => "ignored",
            // By this crate, which leaves what comes from a keyboard to the parent.
            libc::SIGINT => "handled",
            _ => "default",
        };
        assert_eq!((what.as_str(), blocked), (expected, false), "signal {signal}");
    }
    // The same once more, from a socket that ends: nothing of the child is left.
    let (ours, theirs) = pair();
    process(method, |socket: mp_wire::Fd| drop(socket), (theirs,)).start().unwrap().join().unwrap();
    assert_eq!(hear(&ours), None);
}

fn no_core_dumps(method: StartMethod) {
    assert_eq!(process(method, core_limit, ()).start().unwrap().join().unwrap(), 0);
}
