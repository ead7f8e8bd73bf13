//! What processes log.

use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use mp_process::{ErrorKind, Process, StartMethod, at_exit, logging};
use tracing::Level;

use crate::helpers::say;
use crate::support::{helper, process, succeeds, until};
use crate::{ALL, FRESH, Test};

pub(crate) const TESTS: &[Test] = &[
    ("children_log_to_stderr_at_the_same_level", to_stderr, ALL),
    ("what_children_log_is_relayed_whole", relayed, FRESH),
    ("relayed_events_keep_level_and_target", handed_on, FRESH),
];

// LG-01
fn to_stderr(method: StartMethod) {
    let output = helper("logs", method).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.contains("rocess ")).collect();
    lines.sort_unstable();
    let expected = [
        "[INFO/MainProcess] main n=1",
        "[INFO/child] at work n=3 text=words",
        "[WARN/Process-1:1] below",
    ];
    let expected = expected.map(str::to_owned);
    assert_eq!(lines.iter().map(|&line| rename(line)).collect::<Vec<_>>(), expected, "{text}");
    assert!(text.contains("[INFO/child] process exiting with exit code 0"), "{text}");
}

/// The child of `child` has a number that does not matter.
fn rename(line: &str) -> String {
    match line.split_once("Process-") {
        Some((before, after)) => {
            format!("{before}Process-1:1{}", &after[after.find(']').unwrap()..])
        }
        None => line.to_owned(),
    }
}

pub(crate) fn logs(method: StartMethod) {
    logging::log_to_stderr(Level::INFO).unwrap();
    assert_eq!(logging::log_to_stderr(Level::INFO).unwrap_err().kind(), ErrorKind::AlreadySet);
    let child = |method: StartMethod| {
        tracing::info!(n = 3, text = "words", "at work");
        tracing::debug!("not this");
        let below = || tracing::warn!("below");
        process(method, below, ()).start().unwrap().join().unwrap();
    };
    tracing::info!(n = 1, "main");
    process(method, child, (method,)).name("child").start().unwrap().join().unwrap();
}

fn relayed(method: StartMethod) {
    let text = succeeds("relays", method);
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.pop(), Some("end"), "all of it is there before the end");
    // Eight writers, of whom one was killed: no line is torn, none of the others' is missing.
    for name in 0..8 {
        let own = format!("[INFO/worker-{name}] ");
        let of: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(&own)).collect();
        for (i, line) in of.iter().enumerate() {
            assert_eq!(*line, format!("{i} {}", "x".repeat(5000)));
        }
        assert!(of.len() == 50 || (name == 7 && !of.is_empty()), "{name}: {}", of.len());
        lines.retain(|line| !line.starts_with(&own));
    }
    // And one of a child's child.
    assert_eq!(lines, ["[WARN/below] from below"]);
}

pub(crate) fn relays(method: StartMethod) {
    /// Something of the one that is killed was relayed.
    static ENDLESS: AtomicBool = AtomicBool::new(false);
    fn work(count: u32) {
        for i in 0..count {
            tracing::info!("{i} {}", "x".repeat(5000));
        }
    }
    logging::log_to_stderr(Level::INFO).unwrap();
    at_exit(i32::MIN, || say("end"));
    let sink = |record: &logging::Record| {
        if record.target() != "mp_process" {
            assert!(record.pid() != std::process::id() && record.location().is_some());
            assert_eq!(record.level() == Level::WARN, record.process() == "below");
            let mut out = std::io::stdout().lock();
            writeln!(out, "{record}").unwrap();
            if record.process() == "worker-7" {
                ENDLESS.store(true, Ordering::Relaxed);
            }
        }
    };
    logging::relay_logs_to(sink).unwrap();
    assert_eq!(logging::relay_logs_to(|_| ()).unwrap_err().kind(), ErrorKind::AlreadySet);
    for name in 0..7 {
        drop(process(method, work, (50,)).name(format!("worker-{name}")).start().unwrap());
    }
    let endless = process(method, work, (u32::MAX,)).name("worker-7").start().unwrap();
    let nested = |method: StartMethod| {
        let below = || tracing::warn!("from below");
        process(method, below, ()).name("below").start().unwrap().join().unwrap();
    };
    process(method, nested, (method,)).start().unwrap().join().unwrap();
    until(|| ENDLESS.load(Ordering::Relaxed));
    endless.kill().unwrap();
    endless.wait();
}

fn handed_on(method: StartMethod) {
    let output = helper("hands_on", method).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    let line = text.lines().find(|line| line.contains("at work")).unwrap();
    let (start, pid) = line.rsplit_once('=').unwrap();
    assert_eq!(start, "[WARN/MainProcess] at work n=3 process=child pid");
    assert_ne!(pid.parse::<u32>().unwrap(), 0);
}

pub(crate) fn hands_on(method: StartMethod) {
    logging::log_to_stderr(Level::WARN).unwrap();
    logging::relay_logs().unwrap();
    let child = || {
        tracing::warn!(n = 3, "at work");
        tracing::info!("not this");
    };
    drop(Process::new(child, ()).name("child").start_method(method).start().unwrap());
}
