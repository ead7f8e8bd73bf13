//! Starting a child as a copy of this process.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use mp_wire::{Deadline, Fd, Limits, socket};

use crate::current::{Current, Identity};
use crate::logging::event;
use crate::outcome::{self, Outcome};
use crate::settings;
use crate::start::Plan;
use crate::sys::{self, Forked};
use crate::{Error, ErrorKind, boot, exit};

/// A copy that is about to run its function.
#[derive(Debug)]
pub(crate) struct Copied {
    pub(crate) pid: u32,
    pub(crate) process: OwnedFd,
    pub(crate) life: Fd,
}

/// Refuses unless this process has one thread.
pub(crate) fn check_threads() -> Result<(), Error> {
    let count = sys::count_threads().map_err(|error| {
        let what = "`fork` needs to count the threads of this process, and cannot";
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
                Error::with_source(ErrorKind::Threads, what, error)
            }
            _ => Error::from_io(what, error),
        }
    })?;
    if count == 1 {
        return Ok(());
    }
    let what = format!(
        "this process has {count} threads: in a copy of it, what they hold would stay held for ever; \
         use the start method `forkserver` or `spawn`"
    );
    Err(Error::new(ErrorKind::Threads, what))
}

/// Copies this process; the copy runs the function and never returns from here.
pub(crate) fn fork(
    plan: &Plan,
    environment: Option<Vec<u8>>,
    function: Box<dyn FnOnce() -> Outcome + '_>,
) -> Result<Copied, Error> {
    // Two at once would copy each other's sockets.
    static FORKING: Mutex<()> = Mutex::new(());
    let forking = FORKING.lock().unwrap_or_else(PoisonError::into_inner);
    let identity = plan.identity();
    let failed = |error| Error::from_io("no process can be forked", error);
    let (ours, theirs) = socket::pair().map_err(failed)?;
    let (ours, theirs) = (Fd::from(ours), Fd::from(theirs));
    // Held across the fork, so that in the copy no thread that is not there holds them. And flushed: what is in the
    // buffers would be written twice.
    let mut out = io::stdout().lock();
    let err = io::stderr().lock();
    let _ = out.flush();
    sys::flush_c_streams();
    sys::keep_overflow_message(outcome::overflow);
    // Room for the descriptor of the child, without which there must not be one.
    let room = ours.as_fd().try_clone_to_owned().map_err(failed)?;
    // A handler of the parent's must not run in the copy.
    let blocked = sys::Blocked::new();
    let waits = plan.any_threads || sys::ignores_children();
    match sys::fork().map_err(failed)? {
        Forked::Child => {
            sys::fresh_signals();
            sys::leave_keyboard_to_parent();
            sys::unblock_signals();
            drop((out, err, forking));
            drop((ours, room));
            if waits && socket::recv(&theirs, Limits::default(), Deadline::NEVER).is_err() {
                sys::exit_now(125);
            }
            run(identity, theirs, plan, environment, function)
        }
        Forked::Parent(pid) => {
            drop((out, err, theirs, room));
            // The number is the child's for as long as nobody reaps it. Nobody can: there is no other thread, no handler
            // runs now, and the kernel does not do it. Otherwise the child waits for a word, and is not gone yet.
            let process = sys::pidfd_open(pid).map_err(|error| {
                sys::abandon(pid);
                failed(error)
            })?;
            drop(blocked);
            if waits {
                let _ = socket::send(&ours, &[], &[], Deadline::NEVER);
            }
            Ok(Copied { pid, process, life: ours })
        }
    }
}

fn run(
    identity: Identity,
    life: Fd,
    plan: &Plan,
    environment: Option<Vec<u8>>,
    function: Box<dyn FnOnce() -> Outcome + '_>,
) -> ! {
    if sys::prepare_to_die_with(life.as_fd()).is_err() {
        sys::exit_now(125);
    }
    boot::belong(&identity, &life);
    // The frames that own them are the parent's, and never return here.
    plan.pipes.close_raw();
    sys::no_core_dumps();
    if let Some(block) = environment {
        settings::take_environment(&block);
    }
    boot::settle(&plan.settings, &life);
    plan.settings.close_raw();
    sys::set_short_name(&identity.name);
    Current::set(identity, life.clone());
    boot::watch();
    event!(INFO, "child process calling its function");
    let outcome = boot::begin().unwrap_or_else(function);
    let code = outcome.exit_code();
    outcome::send(&life, outcome);
    exit::finish();
    event!(INFO, "process exiting with exit code {code}");
    let _ = io::stdout().flush();
    sys::flush_c_streams();
    // Not `exit`: the functions that the parent registered for its own end are the parent's.
    sys::exit_now(code)
}
