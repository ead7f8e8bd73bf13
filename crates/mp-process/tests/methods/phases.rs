//! A parent that is killed at each system call of it and of its descendants, while all of them are held.
//!
//! The helper here traces a family as it starts, works and ends, counts the moments before and after its system calls, and kills
//! the eldest at a chosen one. Whoever else there is then stands at such a moment of its own, and must end by itself.
#![expect(unsafe_code, reason = "ptrace")]

use std::time::{Duration, Instant};

use mp_process::StartMethod;
use mp_wire::Fd;

use crate::helpers::say;
use crate::support::{self, exit_now, hear, idle, pair, process, raw_fork, tell, trials};
use crate::{ALL, Test};

pub(crate) const TESTS: &[Test] =
    &[("nobody_outlives_a_parent_killed_at_any_system_call", killed_at_any_call, ALL)];

// W-42
fn killed_at_any_call(method: StartMethod) {
    let output = support::helper("phases", method).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    print!("{text}");
}

/// What the helper does: for one generation and for two, so many trials, spread over all moments.
pub(crate) fn phases(method: StartMethod) {
    for depth in [1, 2] {
        let (moments, _) = trial(method, depth, None);
        let count = u64::from(trials(8));
        let mut slowest = Duration::ZERO;
        for i in 0..count {
            let mut at = 1 + i * moments / count;
            let took = loop {
                match trial(method, depth, Some(at)) {
                    (_, Some(took)) => break took,
                    // This time it was at its end earlier.
                    _ => at -= at / 8,
                }
            };
            slowest = slowest.max(took);
        }
        say(&format!(
            "{method}, {depth} deep: killed {count} times, at {moments} moments; all gone after {slowest:?}"
        ));
    }
}

/// A life: a child that stays, which has such a life itself, one that is joined, and an end.
fn live(method: StartMethod, depth: u32) {
    let below = |done: Fd, method: StartMethod, depth: u32| {
        if depth > 0 {
            live(method, depth);
        }
        tell(&done, "done");
        idle();
    };
    let (done, theirs) = pair();
    let child = process(method, below, (theirs, method, depth - 1)).start().unwrap();
    assert_eq!(process(method, || 5, ()).start().unwrap().join().unwrap(), 5);
    hear(&done).unwrap();
    child.kill().unwrap();
    child.wait();
}

/// Counts the moments of a family, or kills the eldest at one of them. Gives the count, and how long the others took
/// to end, if it was there to be killed. If one of them does not, this process is ended by its alarm, and with it the family.
fn trial(method: StartMethod, depth: u32, at: Option<u64>) -> (u64, Option<Duration>) {
    support::limit(20);
    let eldest = raw_fork();
    if eldest == 0 {
        trace(libc::PTRACE_TRACEME, 0, 0);
        support::signal(std::process::id(), libc::SIGSTOP);
        live(method, depth);
        exit_now(0);
    }
    let (mut moments, mut killed, mut alive) = (0, None, true);
    loop {
        let mut status = 0;
        // SAFETY: `status` is writable.
        let pid = unsafe { libc::waitpid(-1, &mut status, libc::__WALL) };
        if pid < 0 {
            // Nobody is left.
            break;
        }
        if !libc::WIFSTOPPED(status) {
            alive &= pid != eldest;
            continue;
        }
        let signal = libc::WSTOPSIG(status);
        let mut deliver = 0;
        if signal == libc::SIGTRAP | 0x80 {
            moments += u64::from(alive);
            if alive && killed.is_none() && Some(moments) == at {
                support::signal(eldest as u32, libc::SIGKILL);
                killed = Some(Instant::now());
            }
        } else if pid == eldest && moments == 0 {
            trace(libc::PTRACE_SETOPTIONS, pid, OPTIONS);
        } else if signal != libc::SIGTRAP && signal != libc::SIGSTOP {
            deliver = signal;
        }
        let on = if killed.is_some() { libc::PTRACE_CONT } else { libc::PTRACE_SYSCALL };
        trace(on, pid, deliver);
    }
    support::limit(0);
    (moments, killed.map(|killed| killed.elapsed()))
}

/// Descendants are traced too, and die with the tracer.
const OPTIONS: i32 = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_EXITKILL;

fn trace(request: libc::c_uint, pid: i32, data: i32) {
    // SAFETY: none of the requests here takes a pointer. One for a process that was killed meanwhile fails.
    unsafe { libc::ptrace(request, pid, 0, data) };
}
