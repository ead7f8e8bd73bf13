//! Who this process is, and who started it.

use std::fmt;
use std::os::fd::AsFd;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use mp_wire::{Deadline, Fd};
use serde::{Deserialize, Serialize};

use crate::{StartMethod, context, logging, sys};

/// What a child is told about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) name: String,
    /// The place among the children of the parent, behind the parent's own place: 1, 2 is the second of the first.
    pub(crate) path: Vec<u32>,
    pub(crate) daemon: bool,
    /// It may outlive its parent.
    pub(crate) detached: bool,
    pub(crate) method: StartMethod,
    /// What the program has chosen for all.
    pub(crate) chosen: Option<StartMethod>,
    pub(crate) log: logging::Setup,
    pub(crate) parent: Parent,
}

/// What a child is told about its parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Parent {
    pub(crate) name: String,
    pub(crate) pid: u32,
}

/// What a child knows about itself; nothing in the main process.
pub(crate) struct Current {
    identity: Identity,
    life: Fd,
}

static CURRENT: AtomicPtr<Current> = AtomicPtr::new(ptr::null_mut());

impl Current {
    /// What this process was told when it was started; `None` in the main process.
    pub(crate) fn get() -> Option<&'static Self> {
        shared(CURRENT.load(Ordering::Acquire))
    }

    /// Remembers it, once in the life of a process. The copy of a parent's own stays behind in a forked child.
    pub(crate) fn set(identity: Identity, life: Fd) -> &'static Self {
        context::inherit(identity.chosen);
        let current = Box::leak(Box::new(Self { identity, life }));
        CURRENT.store(current, Ordering::Release);
        logging::inherit(&current.identity.log);
        current
    }

    pub(crate) fn life(&self) -> Option<&Fd> {
        Some(&self.life)
    }
}

#[expect(unsafe_code, reason = "a leaked value behind an atomic pointer")]
fn shared(current: *const Current) -> Option<&'static Current> {
    // SAFETY: null, or what `set` leaked, which nobody changes or frees.
    unsafe { current.as_ref() }
}

/// The identity path of this process: empty in the main process.
pub(crate) fn path() -> Vec<u32> {
    Current::get().map(|current| current.identity.path.clone()).unwrap_or_default()
}

/// Describes the calling process.
///
/// # Examples
///
/// ```
/// use mp_process::{Process, current_process};
///
/// fn who() -> (String, u32) {
///     let me = current_process();
///     (me.name().to_owned(), me.pid())
/// }
///
/// assert_eq!(current_process().name(), "MainProcess");
/// let child = Process::new(who, ()).name("helper").start()?;
/// let pid = child.pid();
/// assert_eq!(child.join()?, ("helper".to_owned(), pid));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn current_process() -> CurrentProcess {
    CurrentProcess(Current::get())
}

/// The calling process, as [`current_process`] describes it.
#[derive(Clone, Copy)]
pub struct CurrentProcess(Option<&'static Current>);

impl CurrentProcess {
    fn identity(self) -> Option<&'static Identity> {
        self.0.map(|current| &current.identity)
    }

    /// The name that the parent gave; `MainProcess` in a process that nobody here started.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.identity().map_or("MainProcess", |identity| &identity.name)
    }

    /// The number of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        sys::pid()
    }

    /// Says whether it was started as a daemon.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.identity().is_some_and(|identity| identity.daemon)
    }

    /// The method that started it; `None` in the main process.
    #[must_use]
    pub fn start_method(&self) -> Option<StartMethod> {
        self.identity().map(|identity| identity.method)
    }

    /// Its place in the tree of processes: `[1, 2]` is the second child of the first; empty in the main process.
    #[must_use]
    pub fn path(&self) -> &'static [u32] {
        self.identity().map_or(&[], |identity| &identity.path)
    }
}

impl fmt::Debug for CurrentProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentProcess")
            .field("name", &self.name())
            .field("pid", &self.pid())
            .field("daemon", &self.is_daemon())
            .finish()
    }
}

/// Describes the process that started the calling one; `None` in the main process.
///
/// # Examples
///
/// ```
/// use mp_process::{Process, parent_process};
///
/// assert!(parent_process().is_none());
/// let child = Process::new(|| parent_process().map(|parent| parent.pid()), ()).start()?;
/// assert_eq!(child.join()?, Some(std::process::id()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn parent_process() -> Option<ParentProcess> {
    Current::get().map(ParentProcess)
}

/// The process that started the calling one, as [`parent_process`] describes it.
///
/// # If a process dies
///
/// The kernel kills a child whose parent is gone, see [`takes_along`](Self::takes_along). So what asks about the parent's death is of use to a process that
/// was forked in another way than by this library, and in the moment between the two.
#[derive(Clone, Copy)]
pub struct ParentProcess(&'static Current);

impl ParentProcess {
    /// The number of the parent.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.identity.parent.pid
    }

    /// The name of the parent.
    #[must_use]
    pub fn name(&self) -> &'static str {
        &self.0.identity.parent.name
    }

    /// Says whether the parent still exists and still holds on to this child.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !sys::is_hung_up(self.0.life.as_fd())
    }

    /// Says whether the kernel will kill this process when the parent is gone.
    ///
    /// It will not if this process is [detached](crate::Process::detached), or has closed descriptors that are not its own, such as all from 3 on:
    /// one of them is what the kernel watches. A worker that finds out so can end itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::{Process, parent_process};
    ///
    /// let child = Process::new(|| parent_process().is_some_and(|parent| parent.takes_along()), ());
    /// assert!(child.start()?.join()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn takes_along(&self) -> bool {
        sys::dies_with(self.0.life.as_fd())
    }

    /// Waits until the parent is gone; `false` if it is still there after `timeout`.
    #[must_use]
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        let deadline = Deadline::after(timeout);
        while self.is_alive() {
            let left = deadline.remaining().unwrap_or(Duration::MAX);
            if left.is_zero() {
                return false;
            }
            // Rounded up, so as not to be early.
            let millis = i32::try_from(left.as_millis().saturating_add(1)).unwrap_or(i32::MAX);
            sys::poll(self.0.life.as_fd(), 0, millis);
        }
        true
    }
}

impl fmt::Debug for ParentProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParentProcess")
            .field("name", &self.name())
            .field("pid", &self.pid())
            .finish()
    }
}

/// The number of processors that this program can use at once; at least 1.
///
/// # Python
///
/// This is `os.process_cpu_count()`, which heeds affinity and the limits of a container, as a pool wants it.
///
/// # Examples
///
/// ```
/// assert!(mp_process::cpu_count() >= 1);
/// ```
#[must_use]
pub fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
