//! Contexts, the method of the program, and what is preloaded. What can be set once runs in a helper.

use std::os::fd::AsRawFd;
use std::sync::OnceLock;

use mp_process::{
    ErrorKind, Process, StartMethod, current_process, force_start_method, get_all_start_methods,
    get_context, get_start_method, set_forkserver_preload, set_start_method,
};

use crate::support::{numbers, process, signal, zygote};
use crate::{ALL, Test, support};

pub(crate) const TESTS: &[Test] = &[
    ("contexts_are_of_one_method", contexts, ALL),
    ("the_program_chooses_once", chooses_once, ALL),
    ("preloaded_statics_are_in_each_child", preloaded, &[StartMethod::Forkserver]),
    ("preloading_that_fails_is_an_error_of_the_start", unloadable, &[StartMethod::Forkserver]),
    ("preloading_is_too_late_after_a_start", too_late, &[StartMethod::Forkserver]),
];

fn own_method() -> (Option<StartMethod>, StartMethod) {
    (current_process().start_method(), get_start_method())
}

// SM-01, SM-03
fn contexts(method: StartMethod) {
    let before = get_start_method();
    let context = get_context(method);
    assert_eq!(context.start_method(), method);
    assert_eq!(context, method.into());
    let child = context.process(own_method, ()).start().unwrap();
    assert_eq!(child.join().unwrap(), (Some(method), before));
    assert_eq!(get_start_method(), before);
    assert_eq!(get_context(None).start_method(), before);
}

// SM-02, SM-05, SM-06
fn chooses_once(method: StartMethod) {
    assert!("thread".parse::<StartMethod>().is_err());
    assert_eq!(get_all_start_methods()[0], StartMethod::Forkserver);
    support::succeeds("chooses", method);
    support::succeeds("chooses_late", method);
}

pub(crate) fn chooses(method: StartMethod) {
    // A context fixes nothing.
    get_context(method).process(|| (), ()).start().unwrap().join().unwrap();
    set_start_method(method).unwrap();
    assert_eq!(set_start_method(method).unwrap_err().kind(), ErrorKind::AlreadySet);
    assert_eq!(get_context(None).start_method(), method);
    // Children have the same, and theirs.
    let nested = || {
        let below = Process::new(own_method, ()).start().unwrap().join().unwrap();
        (own_method(), below)
    };
    let (there, below) = Process::new(nested, ()).start().unwrap().join().unwrap();
    assert_eq!((there, below), ((Some(method), method), (Some(method), method)));
    force_start_method(StartMethod::Spawn);
    let child = Process::new(own_method, ()).start().unwrap();
    assert_eq!(child.join().unwrap(), (Some(StartMethod::Spawn), StartMethod::Spawn));
}

pub(crate) fn chooses_late(method: StartMethod) {
    Process::new(|| (), ()).start().unwrap().join().unwrap();
    assert_eq!(set_start_method(method).unwrap_err().kind(), ErrorKind::AlreadySet);
}

static TABLE: OnceLock<(Vec<u32>, std::fs::File)> = OnceLock::new();

fn load() {
    print!("loading, ");
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(TABLE.set(((0..1000).collect(), file)).is_ok(), "loaded twice");
}

fn loaded() -> Option<(u32, bool)> {
    let (table, file) = TABLE.get()?;
    Some((table[999], numbers().contains(&file.as_raw_fd())))
}

// SM-12
fn preloaded(method: StartMethod) {
    let text = support::succeeds("preloads", method);
    assert_eq!(text, "loading, loading, ", "once in each process that forks, and written once");
}

pub(crate) fn preloads(method: StartMethod) {
    set_forkserver_preload(load).unwrap();
    for _ in 0..3 {
        let child = process(method, loaded, ()).start().unwrap();
        assert_eq!(child.join().unwrap(), Some((999, true)));
    }
    assert!(TABLE.get().is_none());
    // Not by another method.
    let child = process(StartMethod::Spawn, || TABLE.get().is_some(), ()).start().unwrap();
    assert!(!child.join().unwrap());
    // The one that takes the place of a dead one loads again.
    let old = zygote();
    signal(old, libc::SIGKILL);
    support::until(|| !support::runs(old));
    let child = process(method, loaded, ()).start().unwrap();
    assert_eq!(child.join().unwrap(), Some((999, true)));
}

fn unloadable(method: StartMethod) {
    support::succeeds("preload_panics", method);
    support::succeeds("preload_threads", method);
    support::succeeds("preload_exits", method);
}

pub(crate) fn preload_fails(method: StartMethod, function: &str) {
    let (result, word) = match function {
        "preload_panics" => (set_forkserver_preload(|| panic!("no table")), "no table"),
        "preload_threads" => {
            let threads = || drop(std::thread::spawn(support::idle));
            (set_forkserver_preload(threads), "2 threads")
        }
        _ => (set_forkserver_preload(|| std::process::exit(0)), "ended"),
    };
    result.unwrap();
    for _ in 0..2 {
        let error = process(method, || (), ()).start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Preload);
        assert!(error.to_string().contains(word), "{error}");
    }
}

fn too_late(method: StartMethod) {
    process(method, || (), ()).start().unwrap().join().unwrap();
    assert_eq!(set_forkserver_preload(load).unwrap_err().kind(), ErrorKind::AlreadySet);
}
