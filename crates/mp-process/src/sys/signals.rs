//! What signals do in a process.
#![expect(unsafe_code, reason = "signal calls")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::check;

/// What the process does on a signal, as far as this crate sets it.
#[derive(Clone, Copy)]
pub(crate) enum On {
    Default,
    Ignore,
}

/// Sets what a signal does.
pub(crate) fn on_signal(signal: i32, on: On) {
    let handler = match on {
        On::Default => libc::SIG_DFL,
        On::Ignore => libc::SIG_IGN,
    };
    // SAFETY: neither of the two runs any code of ours.
    unsafe { libc::signal(signal, handler) };
}

/// Blocks no signal.
pub(crate) fn unblock_signals() {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the call initialises the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set was initialised.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut()) };
}

/// Turns `SIGCHLD` into events of a descriptor.
///
/// Interrupts are blocked as well: one that comes to a child before it has said what it does on them waits for that, where
/// one that is ignored would be lost.
pub(crate) fn child_events() -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the call initialises the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set was initialised.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD) };
    let mut blocked = set;
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: the set was initialised.
        unsafe { libc::sigaddset(blocked.as_mut_ptr(), signal) };
    }
    // SAFETY: the set was initialised.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, blocked.as_ptr(), std::ptr::null_mut()) };
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set was initialised.
    let fd = check(unsafe { libc::signalfd(-1, set.as_ptr(), flags) }.into())?;
    // SAFETY: the call has just opened it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// All signals blocked, until this is dropped.
pub(crate) struct Blocked(libc::sigset_t);

impl Blocked {
    pub(crate) fn new() -> Self {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the call initialises the set.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: the first set was initialised, the second is writable.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
        // SAFETY: zeroes are a valid set, and so is what the call wrote.
        Self(unsafe { before.assume_init() })
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set was initialised.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}

/// Says whether the kernel reaps the children of this process by itself.
pub(crate) fn ignores_children() -> bool {
    // SAFETY: all zeroes is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: null asks for what is set.
    unsafe { libc::sigaction(libc::SIGCHLD, std::ptr::null(), &mut action) };
    action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_NOCLDWAIT != 0
}

/// Sets all signals to what they do in a fresh Rust program.
///
/// A copied handler would act for the parent: write to its pipes, set its flags.
pub(crate) fn fresh_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // Those that the C library keeps for itself, and those that cannot be set, it refuses.
        on_signal(signal, if signal == libc::SIGPIPE { On::Ignore } else { On::Default });
    }
}

/// Leaves the interrupts of a keyboard to the parent, which has them too, and decides what becomes of its children:
/// if they end it, they end with it. An interrupt that somebody sends is meant for this process, and ends it.
pub(crate) fn leave_keyboard_to_parent() {
    handle(libc::SIGINT, interrupted, libc::SA_RESTART);
}

/// A handler that is told about its signal.
pub(crate) type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// Has a function called on a signal. It must call only what may be called there.
pub(crate) fn handle(signal: i32, handler: Handler, flags: i32) {
    // SAFETY: all zeroes is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | flags;
    // SAFETY: `action` is whole, and its function stays for as long as the process.
    unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
}

extern "C" fn interrupted(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    const SI_KERNEL: i32 = 0x80;
    // SAFETY: the kernel passes a description that is valid for as long as the handler runs.
    let code = unsafe { (*info).si_code };
    if code != SI_KERNEL {
        die_of(signal);
    }
}

/// Ends this process by a signal that it handles, once the handler returns.
pub(crate) fn die_of(signal: i32) {
    on_signal(signal, On::Default);
    // SAFETY: takes no pointers. Blocked here, so that it comes on return.
    unsafe { libc::raise(signal) };
}
