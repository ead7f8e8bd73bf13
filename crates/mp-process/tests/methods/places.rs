//! Where and how the program runs: deleted, replaced, as the first process, without `/proc`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mp_process::{ErrorKind, JoinErrorKind, StartMethod};

use crate::helpers::say;
use crate::support::{
    children, comm, exit_now, hear, pair, process, runs, signal, tell, until, zygote,
};
use crate::{ALL, Test};

pub(crate) const TESTS: &[Test] = &[
    ("a_deleted_or_replaced_program_goes_on", deleted, ALL),
    ("the_first_process_of_a_container", first_process, ALL),
    ("without_proc", without_proc, ALL),
    ("a_program_with_the_rights_of_another_user", privileged, ALL),
];

/// A copy of this program, for itself alone.
struct Copy(PathBuf);

impl Copy {
    fn new() -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("mp-process-program-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
        Self(path)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn deleted(method: StartMethod) {
    for name in ["deleted", "replaced"] {
        let copy = Copy::new();
        let mut command = Command::new(&copy.0);
        let output = command.args(["--helper", name, method.as_str()]).output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
    }
}

pub(crate) fn program_gone(method: StartMethod, replaced: bool) {
    let path = std::env::current_exe().unwrap();
    std::fs::remove_file(&path).unwrap();
    if replaced {
        std::fs::copy("/bin/sh", &path).unwrap();
    }
    let nested = |method: StartMethod| process(method, || 6, ()).start().unwrap().join().unwrap();
    assert_eq!(process(method, nested, (method,)).start().unwrap().join().unwrap(), 6);
}

/// Runs a helper in a namespace of its own, if this user may; nothing otherwise.
fn contained(before: &str, name: &str, method: StartMethod) -> Option<Output> {
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--mount", "--fork", "--mount-proc", "sh", "-c", script]);
        command.output().ok()
    };
    if !unshare(before).is_some_and(|output| output.status.success()) {
        println!("skipped: `{name}` needs `unshare --pid --mount`, which is not permitted here");
        return None;
    }
    let program = std::env::current_exe().unwrap();
    let program: &Path = &program;
    let script = format!("{before} && exec {} --helper {name} {method}", program.display());
    Some(unshare(&script).unwrap())
}

fn privileged(method: StartMethod) {
    use std::os::unix::fs::{PermissionsExt, chown};
    let copy = Copy::new();
    if chown(&copy.0, Some(65534), None).is_err() {
        println!("skipped: a program with the rights of another user takes those of root to make");
        return;
    }
    std::fs::set_permissions(&copy.0, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let mut command = Command::new(&copy.0);
    let output = command.args(["--helper", "privileged", method.as_str()]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Whoever has more rights than its caller must not execute what its caller may have put in its way.
pub(crate) fn as_privileged(method: StartMethod) {
    if crate::support::ids().0 != 65534 {
        // Mounted without such rights.
        return;
    }
    let started = process(method, || 5, ()).start();
    match method {
        StartMethod::Fork => assert_eq!(started.unwrap().join().unwrap(), 5),
        _ => assert_eq!(started.unwrap_err().kind(), ErrorKind::Program),
    }
}

fn first_process(method: StartMethod) {
    if let Some(output) = contained("true", "first_process", method) {
        assert!(output.status.success(), "{output:?}");
    }
}

pub(crate) fn as_first_process(method: StartMethod) {
    assert_eq!(std::process::id(), 1);
    let wait = |socket: mp_wire::Fd, code: i32| -> () {
        tell(&socket, "here");
        hear(&socket);
        exit_now(code);
    };
    let (ours, theirs) = pair();
    let child = process(method, wait, (theirs, 7)).start().unwrap();
    hear(&ours).unwrap();
    // An orphan that the kernel gives to this process, which is none of its children.
    let orphan = || {
        let shell = Command::new("sh").args(["-c", "true & true"]).status();
        shell.unwrap().success()
    };
    assert!(process(method, orphan, ()).start().unwrap().join().unwrap());
    if method == StartMethod::Forkserver {
        let old = zygote();
        signal(old, libc::SIGKILL);
        until(|| !runs(old));
        zygote();
    }
    tell(&ours, "go");
    // Its status is exact, and it is no zombie, though its parent is gone and this process is the new one.
    assert_eq!(child.wait().code(), Some(7));
    assert!(!children().contains(&child.pid()), "{}", comm(child.pid()));
    let killed = process(method, crate::support::idle, ()).start().unwrap();
    killed.terminate().unwrap();
    let error = killed.join().unwrap_err();
    assert!(matches!(error.kind(), JoinErrorKind::Killed { signal: libc::SIGTERM }), "{error}");
    say("done");
}

fn without_proc(method: StartMethod) {
    // The one of the namespace, and the one that it hides.
    if let Some(output) = contained("umount -l /proc && umount -l /proc", "no_proc", method) {
        assert!(output.status.success(), "{output:?}");
    }
}

pub(crate) fn no_proc(method: StartMethod) {
    assert!(!Path::new("/proc/self").exists());
    let start = || process(method, |n: u32| n + 1, (4,)).start();
    if method == StartMethod::Fork {
        // Who cannot count the threads cannot know that there is one.
        let error = start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Threads);
        assert!(error.to_string().contains("count the threads"), "{error}");
        return;
    }
    assert_eq!(start().unwrap().join().unwrap(), 5);
    let child = process(method, crate::support::idle, ()).start().unwrap();
    child.kill_tree().unwrap();
    assert_eq!(child.wait().signal(), Some(libc::SIGKILL));
}
