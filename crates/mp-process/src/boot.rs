//! The beginning of a process that this crate started: what comes before the user's function, and after.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::OsStringExt;

use mp_wire::{Deadline, Fd, Limits, Message, socket};

use crate::code::Code;
use crate::current::{Current, Identity};
use crate::image::Image;
use crate::logging::event;
use crate::outcome::{self, Failure, Outcome, Panic};
use crate::process::Entry;
use crate::settings::{Settings, Settled};
use crate::sys::{self, On};
use crate::wire::{self, Around, First, Job};
use crate::{exit, finalize, zygote};

/// Takes over a process that was executed with the marker, before `main`. Never returns.
pub(crate) fn take_over() -> ! {
    let Some(socket) = parents_socket() else {
        let text = "this program is executed with such a first argument only by itself\n";
        let _ = std::io::stderr().write_all(text.as_bytes());
        sys::exit_now(125);
    };
    sys::close_all_but(&[socket.as_raw_fd()]);
    sys::open_streams();
    // What the standard library does before `main`.
    sys::on_signal(libc::SIGPIPE, On::Ignore);
    sys::leave_keyboard_to_parent();
    sys::unblock_signals();
    // For this process, and for those that it forks.
    sys::no_core_dumps();
    match wire::recv::<First>(&socket) {
        Ok(First::Zygote { program, preload, wanted }) if program == Image::get().program() => {
            zygote::serve(socket, wanted, preload)
        }
        Ok(First::Child(job)) => {
            if sys::prepare_to_die_with(socket.as_fd()).is_err() {
                sys::exit_now(125);
            }
            watch();
            run(socket, *job)
        }
        // Another build, or the parent is gone.
        _ => sys::exit_now(125),
    }
}

/// The socket that a parent gave: made by the process that is the parent still. A stranger who executes the program
/// with the marker, or a program with more rights than its caller, gets none.
fn parents_socket() -> Option<Fd> {
    if sys::is_privileged() {
        return None;
    }
    let socket = sys::inherited(sys::SOCKET_FD)?;
    let peer = sys::peer_pid(socket.as_fd()).ok()?;
    let is_parents = peer == sys::parent_pid();
    if !is_parents && sys::is_hung_up(socket.as_fd()) {
        // The parent has been killed just now, which is nobody's mistake.
        sys::exit_now(125);
    }
    is_parents.then(|| Fd::from(socket))
}

/// The beginning of a child that the zygote has forked: it does what can be done early, and waits for its job.
pub(crate) fn stand_by(life: &Fd, kept: &[RawFd]) -> ! {
    // The zygote's values stay where they are, and never drop: this function does not return to them.
    if sys::duplicate_to(life.as_fd(), sys::SOCKET_FD, libc::O_CLOEXEC).is_err() {
        sys::exit_now(125);
    }
    let Some(life) = sys::inherited(sys::SOCKET_FD) else { sys::exit_now(125) };
    let open: Vec<RawFd> = kept.iter().copied().chain([life.as_raw_fd()]).collect();
    sys::close_all_but(&open);
    sys::unblock_signals();
    sys::set_short_name("mp-ready");
    let life = Fd::from(life);
    if sys::prepare_to_die_with(life.as_fd()).is_err() {
        sys::exit_now(125);
    }
    // What the end of this process will touch, it had better touch now.
    let _ = std::io::stdout().flush();
    sys::flush_c_streams();
    match wire::recv::<First>(&life) {
        Ok(First::Child(job)) => {
            sys::leave_keyboard_to_parent();
            sys::on_signal(libc::SIGQUIT, On::Default);
            run(life, *job)
        }
        // Nobody needs it any more.
        _ => sys::exit_now(0),
    }
}

/// Takes on what an executed child would have of its parent by itself.
fn surround(around: Around) {
    for (number, stream) in around.streams.iter().enumerate() {
        if let Some(stream) = stream {
            let _ = sys::duplicate_to(stream.as_fd(), number as i32, 0);
        }
    }
    if let Some(directory) = &around.directory {
        let _ = sys::change_directory(directory.as_fd());
    }
    if let Some(mask) = around.umask {
        sys::set_umask(mask);
    }
    if let Some(block) = around.environment {
        set_environment(&block);
    }
}

/// Has the panics of this process told to its parent, and an overflow of its stack.
pub(crate) fn watch() {
    Panic::watch();
    sys::report_overflow(outcome::overflow);
}

#[expect(unsafe_code, reason = "changes the environment where there is one thread")]
pub(crate) fn set_environment(block: &[u8]) {
    for (name, _) in std::env::vars_os() {
        // SAFETY: a process that has just been forked by one of one thread.
        unsafe { std::env::remove_var(name) };
    }
    for variable in block.split(|&byte| byte == 0) {
        // The first byte may be a `=` that belongs to the name.
        let Some(at) = variable.iter().skip(1).position(|&byte| byte == b'=') else { continue };
        let (name, value) = (variable[..=at].to_vec(), variable[at + 2..].to_vec());
        // SAFETY: as above.
        unsafe { std::env::set_var(OsString::from_vec(name), OsString::from_vec(value)) };
    }
}

/// Ties this process to its parent, unless it is to go its own way.
pub(crate) fn belong(identity: &Identity, life: &Fd) {
    if identity.detached {
        sys::on_signal(libc::SIGINT, On::Default);
    } else {
        live_with_parent(life);
    }
}

/// Ties the life of this process to that of its parent, by a socket that was prepared for it.
pub(crate) fn live_with_parent(life: &Fd) {
    // If the parent went between the two calls, the second sees it.
    if sys::die_with(life.as_fd()).is_err() || sys::is_hung_up(life.as_fd()) {
        sys::exit_now(125);
    }
}

/// Takes on what the parent said, and tells it.
pub(crate) fn settle(settings: &Settings, life: &Fd) {
    if settings.is_empty() {
        return;
    }
    let settled = settings.apply();
    let _ = wire::send(life, &settled);
    if settled.is_some() {
        sys::exit_now(125);
    }
}

/// Runs a function that was sent, tells what became of it, and ends the process.
fn run(life: Fd, job: Job) -> ! {
    let outcome = if job.program == Image::get().program() {
        let args = match job.args {
            Some(args) => Ok(args.into_message()),
            None => socket::recv(&life, Limits::default(), Deadline::NEVER),
        };
        if let Some(around) = job.around {
            surround(around);
        }
        belong(&job.identity, &life);
        settle(&job.settings, &life);
        // What became its streams is not to be there twice.
        drop(job.settings);
        sys::set_short_name(&job.identity.name);
        let life = life.clone();
        Current::set(job.identity, life);
        event!(INFO, "child process calling its function");
        begin().unwrap_or_else(|| call(job.entry, args))
    } else {
        if !job.settings.is_empty() {
            // The parent waits for a word about them first.
            let _ = wire::send(&life, &Settled::None);
        }
        Outcome::Failed(Failure::Stranger)
    };
    let code = outcome.exit_code();
    outcome::send(&life, outcome);
    drop(life);
    exit::finish();
    event!(INFO, "process exiting with exit code {code}");
    std::process::exit(code)
}

/// Runs what was registered for copies; gives the outcome if that is the end already.
pub(crate) fn begin() -> Option<Outcome> {
    match Outcome::of(finalize::run_first) {
        Outcome::Returned(_) => None,
        failed @ Outcome::Failed(_) => Some(failed),
    }
}

#[expect(unsafe_code, reason = "calls a function that the parent sent")]
fn call(entry: u64, args: Result<Message, mp_wire::Error>) -> Outcome {
    let args = match args {
        Ok(args) => args,
        Err(error) => return Outcome::Failed(Failure::Arguments(crate::error::chain(&error))),
    };
    let Some(entry) = Code::<Entry>::from_offset(entry) else {
        return Outcome::Failed(Failure::Stranger);
    };
    // SAFETY: it came over the socket that only the parent holds, which runs the same build, as compared above, and
    // which makes it of an `Entry`.
    let entry = unsafe { entry.get() };
    entry(args)
}
