//! The normal end of a process that has children.

use std::sync::Once;
use std::time::Duration;

use mp_wire::Deadline;

use crate::{finalize, memory, registry, sys, zygote};

/// How long daemons have between being asked to end and being killed.
const GRACE: Duration = Duration::from_secs(1);

/// Has [`finish`] called when this process exits.
pub(crate) fn hook() {
    HOOK.call_once(|| {
        memory::note();
        sys::at_exit(at_exit);
    });
}

static HOOK: Once = Once::new();

extern "C" fn at_exit() {
    finish();
}

/// Runs what is to run at the end, ends the daemons, waits for the other children, runs the rest, and lets the
/// zygote go.
pub(crate) fn finish() {
    if !HOOK.is_completed() {
        // It has never started any.
        return;
    }
    finalize::run_last(0);
    let mut children = registry::alive();
    children.retain(|child| !child.is_detached());
    for child in children.iter().filter(|child| child.is_daemon()) {
        let _ = child.signal(libc::SIGTERM);
    }
    let deadline = Deadline::after(GRACE);
    for child in children.iter().filter(|child| child.is_daemon()) {
        if child.wait(deadline).is_none() {
            let _ = child.signal(libc::SIGKILL);
        }
    }
    for child in &children {
        child.wait(Deadline::NEVER);
    }
    finalize::run_last(i32::MIN);
    zygote::close();
}
