//! Telling a stack overflow from other faults.
//!
//! Both end a process by `SIGSEGV`. A fault beside the stack pointer is an overflow; the handler, which runs on
//! a stack of its own, says so to the parent, and lets the fault end the process.
#![expect(unsafe_code, reason = "a signal handler on a stack of its own")]

use std::cell::UnsafeCell;
use std::sync::OnceLock;

use mp_wire::{Deadline, socket};

use super::signals::{On, handle, on_signal};
use crate::current::Current;

/// Enough for the handler, and for what the kernel saves of the registers.
const STACK: usize = 64 * 1024;

/// How far from the stack pointer a fault is still one of the stack: functions touch their frames page by page.
const NEAR: usize = 64 * 1024;

/// The stack of the handler. Not from the heap: in a process that has just been forked each page of that would be copied.
struct HandlersStack(UnsafeCell<[u8; STACK]>);

// SAFETY: only its address is taken, for the kernel.
unsafe impl Sync for HandlersStack {}

static HANDLERS: HandlersStack = HandlersStack(UnsafeCell::new([0; STACK]));

/// What the parent is told, ready to be sent.
static MESSAGE: OnceLock<Vec<u8>> = OnceLock::new();

/// Has the parent told if this thread, the only one of a child, runs out of stack.
pub(crate) fn report_overflow(message: impl FnOnce() -> Vec<u8>) {
    keep_overflow_message(message);
    let stack = libc::stack_t { ss_sp: HANDLERS.0.get().cast(), ss_flags: 0, ss_size: STACK };
    // SAFETY: the memory is as large as it says, and nobody else's: a child calls this once, before it has threads.
    if unsafe { libc::sigaltstack(&stack, std::ptr::null_mut()) } == 0 {
        handle(libc::SIGSEGV, fault, libc::SA_ONSTACK);
        handle(libc::SIGBUS, fault, libc::SA_ONSTACK);
    }
}

/// Makes the message before it is needed.
pub(crate) fn keep_overflow_message(message: impl FnOnce() -> Vec<u8>) {
    MESSAGE.get_or_init(message);
}

extern "C" fn fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // The fault comes again on return, and ends the process.
    on_signal(signal, On::Default);
    // SAFETY: the kernel passes a description that is valid for as long as the handler runs.
    let info = unsafe { &*info };
    if info.si_code <= 0 {
        // Sent by somebody. It does not come again by itself.
        super::die_of(signal);
        return;
    }
    // SAFETY: the signal is one of those that have an address.
    let address = unsafe { info.si_addr() } as usize;
    // SAFETY: the kernel passes the registers, valid as long.
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    if stack_pointer(context).is_none_or(|pointer| pointer.abs_diff(address) > NEAR) {
        return;
    }
    let current = Current::get();
    if let (Some(life), Some(message)) = (current.and_then(Current::life), MESSAGE.get()) {
        // A packet of a few bytes: no memory is asked for, and nothing is waited for.
        let _ = socket::send(life, message, &[], Deadline::NOW);
    }
    let text = b"\na process has overflowed its stack\n";
    // SAFETY: the bytes are readable for their whole length.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
}

#[cfg(target_arch = "x86_64")]
fn stack_pointer(context: &libc::ucontext_t) -> Option<usize> {
    let at = usize::try_from(libc::REG_RSP).ok()?;
    context.uc_mcontext.gregs.get(at).map(|&pointer| pointer as usize)
}

#[cfg(target_arch = "aarch64")]
fn stack_pointer(context: &libc::ucontext_t) -> Option<usize> {
    Some(context.uc_mcontext.sp as usize)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn stack_pointer(_: &libc::ucontext_t) -> Option<usize> {
    None
}
