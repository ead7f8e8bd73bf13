//! What a process can be told to have, by each method.

use std::io::{Read, Write};
use std::time::Duration;

use mp_process::{ErrorKind, Resource, StartMethod, Stdio, cpu_count};

use crate::support::{
    self, blocked, core_limit, hear, idle, ids, nice, numbers, pair, process, runs, segfault, tell,
    until,
};
use crate::{ALL, Test};

pub(crate) const TESTS: &[Test] = &[
    ("environment_can_be_changed", environment, ALL),
    ("directory_can_be_set", directory, ALL),
    ("streams_can_be_pipes_files_or_nothing", streams, ALL),
    ("limits_hold", limits, ALL),
    ("core_dumps_on_request", core_dumps, ALL),
    ("priority_and_processors", priority_and_processors, ALL),
    ("another_user", another_user, ALL),
    ("groups_and_sessions", groups_and_sessions, ALL),
    ("what_cannot_be_had_fails_the_start", refused, ALL),
    ("terminating_with_grace", grace, ALL),
    ("killing_a_tree", tree, ALL),
    ("killing_orphans_of_a_group", orphans, ALL),
    ("closing_needs_an_end", closing, ALL),
];

fn environment(method: StartMethod) {
    let all = || std::env::vars().collect::<Vec<_>>();
    let child = process(method, all, ()).env("A", "lost").env_clear().env("B", "b=c").env("C", "");
    let mut there = child.env_remove("C").start().unwrap().join().unwrap();
    there.sort();
    assert_eq!(there, [("B".to_owned(), "b=c".to_owned())]);

    let child = process(method, all, ()).envs([("A", "1"), ("PATH", "/nowhere")]);
    let there = child.start().unwrap().join().unwrap();
    assert!(there.contains(&("A".into(), "1".into())));
    let paths: Vec<_> = there.iter().filter(|(name, _)| name == "PATH").collect();
    assert_eq!(paths, [&("PATH".to_owned(), "/nowhere".to_owned())]);
    assert_eq!(std::env::var_os("A"), None);
    // The next one has none of it.
    let next = process(method, all, ()).start().unwrap().join().unwrap();
    assert_eq!(next.len(), std::env::vars().count());

    for name in ["", "a=b", "a\0b"] {
        let error = process(method, all, ()).env(name, "1").start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Setting, "{error}");
    }
}

fn directory(method: StartMethod) {
    let here = || std::env::current_dir().unwrap();
    let before = here();
    let there = process(method, here, ()).current_dir("src").start().unwrap().join().unwrap();
    assert_eq!(there, before.join("src"));
    assert_eq!(here(), before);
}

fn streams(method: StartMethod) {
    let echo = || {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).unwrap();
        println!("{text}");
        eprintln!("to stderr");
    };
    let plan = process(method, echo, ()).stdin(Stdio::piped());
    let mut child = plan.stdout(Stdio::piped()).stderr(Stdio::piped()).start().unwrap();
    let mut input = child.take_stdin().unwrap();
    assert!(child.take_stdin().is_none());
    input.write_all(b"to stdin").unwrap();
    drop(input);
    let mut text = String::new();
    child.take_stdout().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "to stdin\n");
    text.clear();
    child.take_stderr().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "to stderr\n");
    child.join().unwrap();

    // They are there once.
    let plan = process(method, || numbers().len(), ()).stdin(Stdio::null()).stdout(Stdio::null());
    let count = process(method, || numbers().len(), ()).start().unwrap().join().unwrap();
    assert_eq!(plan.start().unwrap().join().unwrap(), count);

    // Both streams in one file, by two handles; and an input that is at its end.
    let (mut read, write) = std::io::pipe().unwrap();
    let both = write.try_clone().unwrap();
    let plan = process(method, echo, ()).stdin(Stdio::null()).stdout(write).stderr(both);
    plan.start().unwrap().join().unwrap();
    let mut text = String::new();
    read.read_to_string(&mut text).unwrap();
    assert_eq!(text, "\nto stderr\n");
}

fn limits(method: StartMethod) {
    let burn = || -> () { while std::hint::black_box(true) {} };
    let child = process(method, burn, ()).limit(Resource::CpuTime, 1).start().unwrap();
    assert_eq!(child.join().unwrap_err().exit_status().signal(), Some(libc::SIGXCPU));

    let allocate = |bytes: usize| Vec::<u8>::try_reserve(&mut Vec::new(), bytes).is_ok();
    let plan = process(method, allocate, (1 << 32,)).limit(Resource::Memory, 1 << 30);
    assert!(!plan.start().unwrap().join().unwrap());
    assert!(process(method, allocate, (1 << 32,)).start().unwrap().join().unwrap());

    let open = || {
        let open = |_| std::fs::File::open("/dev/null");
        (0..100).map(open).collect::<Result<Vec<_>, _>>().is_ok()
    };
    let plan = process(method, open, ()).limit(Resource::Files, 50);
    assert!(!plan.start().unwrap().join().unwrap());
}

fn core_dumps(method: StartMethod) {
    if support::hard_core_limit() < 4096 {
        return;
    }
    let plan = process(method, core_limit, ()).limit(Resource::Core, 4096);
    assert_eq!(plan.start().unwrap().join().unwrap(), 4096);
    // A setting of one is not there for the next.
    assert_eq!(process(method, core_limit, ()).start().unwrap().join().unwrap(), 0);
}

fn priority_and_processors(method: StartMethod) {
    let before = nice();
    let there = process(method, nice, ()).nice(3).start().unwrap().join().unwrap();
    assert_eq!(there, (before + 3).min(19));
    assert_eq!(nice(), before);
    let child = process(method, cpu_count, ()).cpus([0]).start().unwrap();
    assert_eq!(child.join().unwrap(), 1);
    assert_eq!(process(method, cpu_count, ()).start().unwrap().join().unwrap(), cpu_count());
}

fn another_user(method: StartMethod) {
    if ids().0 != 0 {
        return;
    }
    let nobody = process(method, ids, ()).uid(65534).gid(65533).start().unwrap();
    assert_eq!(nobody.join().unwrap(), (65534, 65533, vec![]));
    let plan = process(method, ids, ()).uid(65534).gid(65533).groups([7, 8]);
    assert_eq!(plan.start().unwrap().join().unwrap(), (65534, 65533, vec![7, 8]));
    // Their parent can still end them, and the kernel, when it is gone.
    let child = process(method, idle, ()).uid(65534).start().unwrap();
    child.terminate().unwrap();
    assert_eq!(child.wait().signal(), Some(libc::SIGTERM));
}

fn groups_and_sessions(method: StartMethod) {
    let here = || (std::process::id(), support::group(), support::session());
    let (pid, group, session) = process(method, here, ()).start().unwrap().join().unwrap();
    assert_ne!(pid, group);
    assert_eq!((group, session), (support::group(), support::session()));
    let plan = process(method, here, ()).process_group();
    let (pid, group, there) = plan.start().unwrap().join().unwrap();
    assert_eq!((pid, session), (group, there));
    let (pid, group, there) = process(method, here, ()).session().start().unwrap().join().unwrap();
    assert_eq!((pid, pid), (group, there));
}

fn refused(method: StartMethod) {
    let never = || -> () { exit_loudly() };
    let error = process(method, never, ()).current_dir("/no/such/place").start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Setting);
    assert!(error.to_string().contains("directory"), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("No such file"), "{source}");
    let error = process(method, never, ()).cpus([]).start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Setting);
    let error = process(method, never, ()).cpus([1 << 20]).start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Setting);
}

fn exit_loudly() -> ! {
    segfault();
    std::process::abort()
}

fn grace(method: StartMethod) {
    let child = process(method, idle, ()).start().unwrap();
    assert_eq!(child.terminate_within(Duration::MAX).unwrap().signal(), Some(libc::SIGTERM));

    let stubborn = |socket: mp_wire::Fd| {
        let _ = blocked(libc::SIGTERM);
        tell(&socket, "ready");
        idle();
    };
    let (ours, theirs) = pair();
    let child = process(method, stubborn, (theirs,)).start().unwrap();
    hear(&ours).unwrap();
    let status = child.terminate_within(Duration::from_millis(20)).unwrap();
    assert_eq!(status.signal(), Some(libc::SIGKILL));
}

// W-43
fn tree(method: StartMethod) {
    // A child, its child, and what each starts by other means.
    #[expect(clippy::zombie_processes, reason = "they are killed with the tree")]
    fn branch(socket: mp_wire::Fd, method: StartMethod, depth: u32) {
        let stranger = std::process::Command::new("sleep").arg("3600").spawn().unwrap();
        tell(&socket, &stranger.id().to_string());
        tell(&socket, &std::process::id().to_string());
        if depth > 0 {
            drop(process(method, branch, (socket, method, depth - 1)).start().unwrap());
        }
        idle();
    }
    let (ours, theirs) = pair();
    let child = process(method, branch, (theirs, method, 2)).start().unwrap();
    let pids: Vec<u32> = (0..6).map(|_| hear(&ours).unwrap().parse().unwrap()).collect();
    assert!(pids.iter().all(|&pid| runs(pid)), "{pids:?}");
    child.kill_tree().unwrap();
    assert_eq!(child.wait().signal(), Some(libc::SIGKILL));
    until(|| !pids.iter().any(|&pid| runs(pid)));
    // Once more is nothing.
    child.kill_tree().unwrap();
}

fn orphans(method: StartMethod) {
    let orphan = |socket: mp_wire::Fd| {
        let shell = std::process::Command::new("sh")
            .args(["-c", "sleep 3600 >/dev/null 2>&1 & echo $!"])
            .output()
            .unwrap();
        tell(&socket, String::from_utf8(shell.stdout).unwrap().trim());
        idle();
    };
    let (ours, theirs) = pair();
    let child = process(method, orphan, (theirs,)).process_group().start().unwrap();
    let pid: u32 = hear(&ours).unwrap().parse().unwrap();
    assert!(runs(pid));
    child.kill_tree().unwrap();
    child.wait();
    until(|| !runs(pid));
}

// PR-22, PR-23
fn closing(method: StartMethod) {
    let child = process(method, idle, ()).start().unwrap();
    let child = child.close().unwrap_err();
    child.kill().unwrap();
    child.wait();
    child.close().unwrap();
}
