//! What runs at the end of a process, and at the beginning of a copy of it.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use crate::{exit, registry};

/// What is to run at the end of this process.
pub(crate) struct Last {
    pub(crate) priority: i32,
    pub(crate) function: Box<dyn FnOnce() + Send>,
}

/// What is to run at the beginning of a forked copy.
pub(crate) type First = Arc<dyn Fn() + Send + Sync>;

/// Has a function run when this process ends normally: the main process or a child, by any start method.
///
/// The order is Python's: what has a priority of 0 or more, the highest first; then daemons are ended and the other
/// children joined; then what has a negative one. Of two with the same priority the later goes first. What
/// panics keeps none of the others from running.
///
/// It runs once, in the process that asked for it: not in copies of it, and not when a signal or `abort` ends the process.
///
/// # Python
///
/// `multiprocessing.util.Finalize(None, function, exitpriority=priority)`. What belongs to a value goes into its `Drop`.
///
/// # Examples
///
/// ```
/// use mp_process::{Process, at_exit};
///
/// fn work() -> bool {
///     let finalizer = at_exit(0, || println!("the child goes"));
///     // It can also be run earlier, or not at all.
///     finalizer.run() && !finalizer.run() && !finalizer.is_active()
/// }
///
/// assert!(Process::new(work, ()).start()?.join()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "Finalize")]
pub fn at_exit<F>(priority: i32, function: F) -> Finalizer
where
    F: FnOnce() + Send + 'static,
{
    exit::hook();
    Finalizer(registry::add_last(Last { priority, function: Box::new(function) }))
}

/// A function that [`at_exit`] keeps. Dropping this changes nothing.
#[derive(Debug)]
pub struct Finalizer(u64);

impl Finalizer {
    /// Runs the function now; `false` if it has run or was cancelled, or in a copy of the process that asked for it.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn run(&self) -> bool {
        match registry::take_last(self.0) {
            Some(last) => {
                (last.function)();
                true
            }
            None => false,
        }
    }

    /// Makes it never run; `false` if it has, or was cancelled before.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn cancel(&self) -> bool {
        registry::take_last(self.0).is_some()
    }

    /// Says whether it is still to run.
    #[must_use]
    #[doc(alias = "still_active")]
    pub fn is_active(&self) -> bool {
        registry::has_last(self.0)
    }
}

/// Runs what has at least this priority, in order, also what is added meanwhile.
pub(crate) fn run_last(least: i32) {
    while let Some(last) = registry::next_last(least) {
        // The hook has reported it.
        let _ = panic::catch_unwind(AssertUnwindSafe(last.function));
    }
}

/// Has a function run at the beginning of each forked copy of this process, and of copies of that.
///
/// These are children by [`Fork`](crate::StartMethod::Fork). What a
/// [preloaded](crate::set_forkserver_preload) function registers also runs in each child by
/// [`Forkserver`](crate::StartMethod::Forkserver). It runs before the child's own function, in the order in which it was
/// registered; a panic in it is reported as one of the function's.
///
/// # Python
///
/// `multiprocessing.util.register_after_fork(obj, function)`: for what must not be shared by a copy, such as a generator of
/// random numbers.
///
/// # Examples
///
/// ```
/// use mp_process::register_after_fork;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// static SEED: AtomicU64 = AtomicU64::new(0);
///
/// register_after_fork(|| SEED.store(std::process::id().into(), Ordering::Relaxed));
/// ```
pub fn register_after_fork<F>(function: F)
where
    F: Fn() + Send + Sync + 'static,
{
    registry::add_first(Arc::new(function));
}

/// Runs what was registered, in a copy.
pub(crate) fn run_first() {
    for function in registry::firsts() {
        function();
    }
}
