//! A hang is a failure, with an account of who waits where.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::proc;

struct Watch {
    next: u64,
    running: bool,
    tests: BTreeMap<u64, (Instant, String)>,
}

static WATCH: Mutex<Watch> = Mutex::new(Watch { next: 0, running: false, tests: BTreeMap::new() });
static CHANGED: Condvar = Condvar::new();

fn watch() -> MutexGuard<'static, Watch> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running limit; dropping it ends the watch.
#[derive(Debug)]
#[must_use = "the limit holds as long as this value lives"]
pub struct Guard(u64);

/// Aborts the program, with an account of all its processes and threads, unless the guard is dropped in time.
///
/// The descendants are killed, so that a hang leaves nothing behind.
pub fn limit(time: Duration) -> Guard {
    let mut watch = watch();
    watch.next += 1;
    let id = watch.next;
    let name = thread::current().name().unwrap_or("unnamed").to_owned();
    watch.tests.insert(id, (Instant::now() + time, name));
    if !watch.running {
        watch.running = true;
        thread::Builder::new().name("deadline".into()).spawn(run).unwrap();
    }
    CHANGED.notify_all();
    Guard(id)
}

/// The limit of an ordinary test: a minute, which a loaded machine never needs.
pub fn minute() -> Guard {
    limit(Duration::from_secs(60))
}

impl Drop for Guard {
    fn drop(&mut self) {
        watch().tests.remove(&self.0);
        CHANGED.notify_all();
    }
}

fn run() {
    let mut guard = watch();
    loop {
        let now = Instant::now();
        let late = guard.tests.values().find(|(at, _)| *at <= now).map(|(_, name)| name.clone());
        if let Some(name) = late {
            drop(guard);
            give_up(&name);
        }
        let next = guard.tests.values().map(|(at, _)| *at).min();
        let wait = next.map_or(Duration::from_secs(3600), |at| at - now);
        guard = CHANGED.wait_timeout(guard, wait).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn give_up(name: &str) -> ! {
    // Straight to the descriptor: the test harness would keep what `eprintln!` writes.
    let text = format!("\n== {name} hangs\n{}", proc::describe_all());
    let _ = std::io::stderr().write_all(text.as_bytes());
    // Children first seen last: a parent that is gone cannot start another.
    for entry in proc::descendants(std::process::id().cast_signed()) {
        kill(entry.pid);
    }
    std::process::abort()
}

fn kill(pid: i32) {
    #![expect(unsafe_code, reason = "kill has no safe form in std")]
    // SAFETY: no memory is involved; the process is a descendant of this one.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}
