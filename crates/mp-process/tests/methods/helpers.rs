//! What this program does as a helper of its own tests.

use std::io::Write;
use std::time::Duration;

use mp_process::{StartMethod, Stdio};
use mp_wire::Fd;

use crate::support::{hear, idle, pair, process, raw_fork, tell, zygote};
use crate::{contexts, phases, places, scopes};

pub(crate) fn run(name: &str, method: StartMethod) {
    match name {
        "panics" => panics(method),
        "without_streams" => without_streams(method),
        "arguments" => arguments(method),
        "tree" => tree(method, 2),
        "starts" => starts(method),
        "forks" => forks(method),
        "ends" => ends(method),
        "ends_in_child" => ends_in_child(method),
        "chooses" => contexts::chooses(method),
        "chooses_late" => contexts::chooses_late(method),
        "preloads" => contexts::preloads(method),
        "preload_panics" | "preload_threads" | "preload_exits" => {
            contexts::preload_fails(method, name);
        }
        "keyboard" => {
            for _ in 0..2 {
                drop(process(method, keyboard_child, (method,)).start().unwrap());
            }
            idle();
        }
        "keyboard_handled" => keyboard_handled(method),
        #[cfg(feature = "tracing")]
        "logs" => crate::logs::logs(method),
        #[cfg(feature = "tracing")]
        "relays" => crate::logs::relays(method),
        #[cfg(feature = "tracing")]
        "hands_on" => crate::logs::hands_on(method),
        "detaches" => detaches(method),
        "detaches_and_idles" => {
            detaches(method);
            idle();
        }
        "family" | "families" => {
            say("go");
            family(method, if name == "family" { 1 } else { 2 });
        }
        "phases" => phases::phases(method),
        "deleted" => places::program_gone(method, false),
        "replaced" => places::program_gone(method, true),
        "privileged" => places::as_privileged(method),
        "first_process" => places::as_first_process(method),
        "no_proc" => places::no_proc(method),
        "finalizers" => scopes::finalizers(method),
        "zygote" => say(&zygote().to_string()),
        "zygote_then_idle" => {
            say(&zygote().to_string());
            idle();
        }
        _ => panic!("no helper of this name"),
    }
}

pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn panics(method: StartMethod) {
    let child = process(method, || -> () { panic!("on purpose") }, ()).start().unwrap();
    assert!(child.join().is_err());
    // What a parent has in the buffer of its output, and what a child leaves there, is written, and once.
    print!("before, ");
    process(method, || print!("flushed"), ()).start().unwrap().join().unwrap();
}

fn without_streams(method: StartMethod) {
    let open = || crate::support::numbers().into_iter().collect::<Vec<_>>();
    process(method, open, ()).start().unwrap().join().unwrap();
    for number in 0..3 {
        crate::support::close(number);
    }
    let child = process(method, open, ()).start();
    let there = child.map(|child| child.join());
    crate::support::exit_now(match there {
        Ok(Ok(fds)) if fds == [0, 1, 2, 3] => 0,
        Ok(Ok(_)) => 3,
        Ok(Err(_)) => 4,
        Err(_) => 5,
    });
}

fn arguments(method: StartMethod) {
    let args = || std::env::args().collect::<Vec<_>>();
    let there = process(method, args, ()).start().unwrap().join().unwrap();
    assert_eq!(there, args());
    say(&format!("same {}", there.len()));
}

/// Two children, each of which has two; each says who it is.
fn tree(method: StartMethod, depth: u32) {
    let branch = |method: StartMethod, depth: u32| {
        say(&std::process::id().to_string());
        tree(method, depth);
    };
    if depth > 0 {
        for _ in 0..2 {
            drop(process(method, branch, (method, depth - 1)).start().unwrap());
        }
    }
    idle();
}

/// Starts children that stay, as fast as it can.
fn starts(method: StartMethod) {
    let mut children = Vec::new();
    for i in 0..100 {
        children.push(process(method, idle, ()).start().unwrap());
        if i == 0 {
            say("started");
        }
    }
    idle();
}

/// A child, and then a copy of this process that is none of this crate's.
fn forks(method: StartMethod) {
    let here = |socket: Fd| {
        tell(&socket, &std::process::id().to_string());
        idle();
    };
    let (ours, theirs) = pair();
    let child = process(method, here, (theirs,)).start().unwrap();
    hear(&ours).unwrap();
    match raw_fork() {
        0 => idle(),
        stranger => say(&stranger.to_string()),
    }
    say(&child.pid().to_string());
    idle();
}

/// One that is still at work when its parent ends.
fn other(end: Fd) {
    hear(&end);
    std::thread::sleep(Duration::from_millis(100));
    say("other is done");
}

/// One that ends when it is asked to, and one that has to be killed.
fn daemon(method: StartMethod) {
    let polite = |socket: Fd| {
        let term = crate::support::blocked(libc::SIGTERM);
        tell(&socket, "ready");
        term();
        say("daemon was asked");
    };
    let stubborn = |socket: Fd| {
        let _ = crate::support::blocked(libc::SIGTERM);
        tell(&socket, "ready");
        idle();
    };
    let (ours, theirs) = pair();
    drop(process(method, polite, (theirs.clone(),)).daemon(true).start().unwrap());
    drop(process(method, stubborn, (theirs,)).daemon(true).start().unwrap());
    hear(&ours).unwrap();
    hear(&ours).unwrap();
}

fn ends(method: StartMethod) {
    let (ours, theirs) = pair();
    drop(process(method, other, (theirs,)).start().unwrap());
    daemon(method);
    say("end of main");
    tell(&ours, "end");
}

fn ends_in_child(method: StartMethod) {
    let ends = |method: StartMethod| {
        let (ours, theirs) = pair();
        drop(process(method, other, (theirs,)).start().unwrap());
        daemon(method);
        say("end of child");
        tell(&ours, "end");
    };
    process(method, ends, (method,)).start().unwrap().join().unwrap();
    say("joined");
}

/// One that has a child of its own.
fn keyboard_child(method: StartMethod) {
    let below = || {
        say(&std::process::id().to_string());
        idle();
    };
    say(&std::process::id().to_string());
    drop(process(method, below, ()).start().unwrap());
    idle();
}

fn keyboard_handled(method: StartMethod) {
    let work = |socket: Fd| {
        tell(&socket, "ready");
        hear(&socket).unwrap();
        5
    };
    crate::support::count_signals(libc::SIGINT);
    let (ours, theirs) = pair();
    let child = process(method, work, (theirs,)).start().unwrap();
    hear(&ours).unwrap();
    let wait = |socket: Fd| {
        tell(&socket, "ready");
        idle();
    };
    let (other_ours, theirs) = pair();
    let other = process(method, wait, (theirs,)).start().unwrap();
    // Two interrupts that both come before a process looks are one.
    hear(&other_ours).unwrap();
    say("ready");
    crate::support::until(|| crate::support::counted() > 0);
    say("decided: finish");
    tell(&ours, "finish");
    say(&format!("joined {}", child.join().unwrap()));
    other.interrupt().unwrap();
    say(&format!("interrupted {}", other.wait().exit_code().unwrap()));
}

/// A detached child with a child of its own, and another one that is neither.
fn detaches(method: StartMethod) {
    let own = |socket: Fd, method: StartMethod| {
        tell(&socket, &std::process::id().to_string());
        let below = |socket: Fd| {
            tell(&socket, &std::process::id().to_string());
            idle();
        };
        drop(process(method, below, (socket,)).start().unwrap());
        idle();
    };
    let (ours, theirs) = pair();
    let plan = process(method, own, (theirs, method)).detached(true);
    drop(plan.stdout(Stdio::null()).start().unwrap());
    say(&hear(&ours).unwrap());
    say(&hear(&ours).unwrap());
    let other = process(method, idle, ()).daemon(true).start().unwrap();
    say(&other.pid().to_string());
}

/// Starts children without an end: some end by themselves, some are killed, and most have such a family of their own.
fn family(method: StartMethod, depth: u32) {
    let branch = |method: StartMethod, depth: u32| match depth {
        0 => idle(),
        _ => family(method, depth),
    };
    let mut living = std::collections::VecDeque::new();
    loop {
        process(method, || (), ()).start().unwrap().join().unwrap();
        living.push_back(process(method, branch, (method, depth - 1)).start().unwrap());
        if living.len() > 3
            && let Some(oldest) = living.pop_front()
        {
            oldest.kill().unwrap();
            oldest.wait();
        }
    }
}
