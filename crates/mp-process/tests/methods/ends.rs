//! The ways in which a process ends, and what its parent learns.

use std::io::Read;

use mp_process::{JoinErrorKind, StartMethod, Stdio};
use mp_wire::Fd;

use crate::support::{
    self, at_exit, exit_now, hear, helper, idle, pair, process, segfault, steal, tell,
};
use crate::{ALL, FRESH, OWN, Test};

pub(crate) const TESTS: &[Test] = &[
    ("signals_end_it", signals_end_it, ALL),
    ("signals_after_the_end_do_nothing", signals_after_the_end_do_nothing, ALL),
    ("exit_codes", exit_codes, ALL),
    ("exit_with_zero_is_no_value", exit_with_zero_is_no_value, ALL),
    ("abort_and_fault", abort_and_fault, ALL),
    ("stack_overflow_is_told_from_other_faults", stack_overflow, ALL),
    ("closed_output_is_a_panic_that_says_so", closed_output, ALL),
    ("running_out_of_memory", out_of_memory, ALL),
    ("panic_comes_back", panic_comes_back, ALL),
    ("panic_is_on_stderr", panic_is_on_stderr, ALL),
    ("panic_with_odd_payload", panic_with_odd_payload, ALL),
    ("at_exit_runs", at_exit_runs, FRESH),
    ("joining_through_interruptions", joining_through_interruptions, ALL),
    ("sigchld_ignored_is_no_hang", sigchld_ignored_is_no_hang, ALL),
    ("stolen_status_is_no_hang", stolen_status_is_no_hang, OWN),
];

// PR-17, PR-18, PR-20
fn signals_end_it(method: StartMethod) {
    for signal in [libc::SIGTERM, libc::SIGKILL, libc::SIGINT] {
        let child = process(method, idle, ()).start().unwrap();
        match signal {
            libc::SIGTERM => child.terminate().unwrap(),
            libc::SIGKILL => child.kill().unwrap(),
            _ => child.interrupt().unwrap(),
        }
        assert_eq!(child.wait().exit_code(), Some(-signal));
        let error = child.join().unwrap_err();
        assert!(matches!(error.kind(), JoinErrorKind::Killed { signal: by } if *by == signal));
        assert!(error.to_string().contains("was killed by signal"), "{error}");
    }
}

fn signals_after_the_end_do_nothing(method: StartMethod) {
    let child = process(method, || 3, ()).start().unwrap();
    assert!(child.wait().success());
    child.terminate().unwrap();
    child.kill().unwrap();
    child.interrupt().unwrap();
    assert_eq!(child.join().unwrap(), 3);
    // Ended, and nobody has asked.
    let child = process(method, || 3, ()).start().unwrap();
    let sentinel = [child.sentinel()];
    mp_wire::poll::readable(&sentinel, mp_wire::Deadline::NEVER).unwrap();
    child.kill().unwrap();
    assert_eq!(child.join().unwrap(), 3);
}

// PR-36, PR-37
fn exit_codes(method: StartMethod) {
    for (code, seen) in [(1, 1), (8, 8), (300, 44), (-1, 255)] {
        let child = process(method, |code: i32| -> () { std::process::exit(code) }, (code,))
            .start()
            .unwrap();
        assert_eq!(child.wait().exit_code(), Some(seen));
        let error = child.join().unwrap_err();
        assert!(matches!(error.kind(), JoinErrorKind::Exited { code } if *code == seen), "{error}");
        assert_eq!(error.exit_status().code(), Some(seen));
    }
    let child = process(method, || -> () { exit_now(256) }, ()).start().unwrap();
    assert_eq!(child.wait().exit_code(), Some(0));
}

fn exit_with_zero_is_no_value(method: StartMethod) {
    let child = process(method, || -> () { std::process::exit(0) }, ()).start().unwrap();
    let error = child.join().unwrap_err();
    assert!(matches!(error.kind(), JoinErrorKind::Exited { code: 0 }), "{error}");
}

// PR-38
fn abort_and_fault(method: StartMethod) {
    let child = process(method, || -> () { std::process::abort() }, ()).start().unwrap();
    assert_eq!(child.wait().exit_code(), Some(-libc::SIGABRT));
    let child = process(method, segfault, ()).start().unwrap();
    assert_eq!(child.wait().exit_code(), Some(-libc::SIGSEGV));
    let error = child.join().unwrap_err();
    assert!(matches!(error.kind(), JoinErrorKind::Killed { signal: libc::SIGSEGV }), "{error}");
    // Sent by somebody, which the handler of faults must not swallow.
    let child = process(method, idle, ()).start().unwrap();
    support::signal(child.pid(), libc::SIGSEGV);
    assert_eq!(child.wait().exit_code(), Some(-libc::SIGSEGV));
}

fn stack_overflow(method: StartMethod) {
    let overflow = |n: u64| -> u64 {
        fn deep(n: u64) -> u64 {
            let big = std::hint::black_box([n; 1000]);
            if n == u64::MAX { 0 } else { deep(n + 1) + big[500] }
        }
        deep(n)
    };
    let plan = process(method, overflow, (0,)).stderr(Stdio::piped());
    let mut child = plan.start().unwrap();
    let mut text = String::new();
    child.take_stderr().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("overflowed its stack"), "{text}");
    let error = child.join().unwrap_err();
    assert!(matches!(error.kind(), JoinErrorKind::StackOverflow), "{error}");
    assert_eq!(error.exit_status().signal(), Some(libc::SIGSEGV));
    // In another thread nobody can tell.
    let thread = move |n: u64| std::thread::spawn(move || overflow(n)).join().unwrap();
    let error = process(method, thread, (0,)).start().unwrap().join().unwrap_err();
    let signal = error.exit_status().signal();
    assert!(matches!(signal, Some(libc::SIGSEGV | libc::SIGABRT)), "{error}");
}

fn closed_output(method: StartMethod) {
    let (socket, theirs) = pair();
    let speak = |socket: Fd| {
        hear(&socket);
        println!("is anybody there?");
    };
    let mut child = process(method, speak, (theirs,)).stdout(Stdio::piped()).start().unwrap();
    drop(child.take_stdout());
    tell(&socket, "closed");
    let error = child.join().unwrap_err();
    let panic = error.panic().unwrap_or_else(|| panic!("{error}"));
    assert!(panic.message().contains("Broken pipe"), "{panic}");
}

fn out_of_memory(method: StartMethod) {
    // Beyond its own limit the allocation fails, and the program aborts. The kernel's own way of it is SIGKILL.
    let plan = process(method, || vec![1_u8; 1 << 32].len(), ());
    let plan = plan.limit(mp_process::Resource::Memory, 1 << 30).stderr(Stdio::piped());
    let mut child = plan.start().unwrap();
    let mut text = String::new();
    child.take_stderr().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("memory allocation of 4294967296 bytes failed"), "{text}");
    let error = child.join().unwrap_err();
    assert!(matches!(error.kind(), JoinErrorKind::Killed { signal: libc::SIGABRT }), "{error}");
    let child = process(method, idle, ()).start().unwrap();
    child.kill().unwrap();
    assert!(!child.join().unwrap_err().is_out_of_memory(), "it was killed from here");
}

// PR-34
fn panic_comes_back(method: StartMethod) {
    let line = line!() + 1;
    let child = process(method, |n: u32| -> u8 { panic!("number {n}") }, (7,)).start().unwrap();
    let error = child.join().unwrap_err();
    let panic = error.panic().unwrap();
    assert_eq!(panic.message(), "number 7");
    let place = panic.location().unwrap();
    assert!(place.starts_with(&format!("{}:{line}:", file!())), "{place}");
    assert_eq!(panic.backtrace().is_some(), backtraces());
    assert_eq!(error.exit_status().code(), Some(101));
    assert!(error.to_string().ends_with(": number 7"), "{error}");
}

fn backtraces() -> bool {
    let on = |name| std::env::var(name).ok().map(|value| value != "0");
    on("RUST_LIB_BACKTRACE").or_else(|| on("RUST_BACKTRACE")).unwrap_or(false)
}

// PR-34
fn panic_is_on_stderr(method: StartMethod) {
    let output = helper("panics", method).stderr(std::process::Stdio::piped()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("panicked at") && text.contains("on purpose"), "{text}");
    assert!(output.status.success(), "{text}");
    let text = String::from_utf8(output.stdout).unwrap();
    let times = |word| text.matches(word).count();
    assert_eq!((times("before, "), times("flushed")), (1, 1), "{text}");
}

fn panic_with_odd_payload(method: StartMethod) {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("and again");
        }
    }
    let throw = || -> () { std::panic::panic_any(Bomb) };
    let error = process(method, throw, ()).start().unwrap().join().unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "a value that is not text");
    // Caught inside: no business of the parent's. Thrown on from another thread: the text is.
    let caught = || std::panic::catch_unwind(|| panic!("inner")).is_err();
    assert!(process(method, caught, ()).start().unwrap().join().unwrap());
    let through = || -> () {
        std::thread::spawn(|| panic!("in a thread")).join().unwrap_or_else(|payload| {
            std::panic::resume_unwind(payload);
        });
    };
    let error = process(method, through, ()).start().unwrap().join().unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "in a thread");
}

// PR-40
fn at_exit_runs(method: StartMethod) {
    use std::sync::OnceLock;
    static SOCKET: OnceLock<Fd> = OnceLock::new();
    extern "C" fn last_words() {
        tell(SOCKET.get().unwrap(), "bye");
    }
    fn register(socket: Fd) {
        SOCKET.set(socket).unwrap();
        at_exit(last_words);
    }
    let (ours, theirs) = pair();
    process(method, register, (theirs,)).start().unwrap().join().unwrap();
    assert_eq!(hear(&ours).as_deref(), Some("bye"));
    assert_eq!(hear(&ours), None);
}

// PR-43
fn joining_through_interruptions(method: StartMethod) {
    support::interrupted(|| {
        let sleep = || std::thread::sleep(std::time::Duration::from_millis(20));
        let before = support::counted();
        // Ten, and more if there was no signal meanwhile.
        for round in 0.. {
            if round >= 10 && support::counted() > before {
                break;
            }
            process(method, sleep, ()).start().unwrap().join().unwrap();
        }
    });
}

fn sigchld_ignored_is_no_hang(method: StartMethod) {
    support::without_sigchld(|| {
        for _ in 0..5 {
            assert_eq!(process(method, || 5, ()).start().unwrap().join().unwrap(), 5);
            let child = process(method, || -> () { exit_now(7) }, ()).start().unwrap();
            let status = child.wait();
            assert!(status.is_unknown() || status.code() == Some(7), "{status}");
        }
    });
}

fn stolen_status_is_no_hang(method: StartMethod) {
    let child = process(method, || 5, ()).start().unwrap();
    steal(child.pid());
    let status = child.wait();
    assert!(status.is_unknown() || status.success(), "{status}");
    assert_eq!(child.join().unwrap(), 5);

    let child = process(method, || -> () { exit_now(9) }, ()).start().unwrap();
    steal(child.pid());
    let error = child.join().unwrap_err();
    let kind = error.kind();
    let known = matches!(kind, JoinErrorKind::Exited { code: 9 } | JoinErrorKind::Unknown);
    assert!(known, "{error}");
}
