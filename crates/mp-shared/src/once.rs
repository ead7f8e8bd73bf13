#![doc = include_str!("once/README.md")]

use std::fmt;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Duration;

use mp_wire::{Deadline, Spin};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;
use crate::lock::{Guarded, Held, deadline};
#[cfg(feature = "named")]
use crate::named::{self, named_object};
use crate::object::{Shape, Tag};
use crate::poison::LockError;
use crate::sys::{self, Waited, WakeOp};

const SHAPE: Shape = Shape::plain(Tag::Once);

/// The word of the head that says whether it is done; the lock uses those before it.
const STATE: usize = 3;

const DONE: u32 = 1;
const ASLEEP: u32 = 2;

/// Whether looking before sleeping has been paying off in this process.
static SPIN: Spin = Spin::new();

/// Something that is done once, by one of the processes that need it.
///
/// Clones are the same; so is what arrives if it is sent in a message or as an argument of a process.
///
/// It is [`std::sync::Once`] between processes. Python has no counterpart.
///
/// # If a process dies
///
/// If one is killed or panics while it does it, it is not done: the next one does it from the beginning, and
/// [`OnceState::is_poisoned`] tells that somebody has tried.
///
/// # Examples
///
/// ```
/// use mp_shared::{Once, RawArray};
///
/// let (once, table) = (Once::new()?, RawArray::<u64>::new(10)?);
/// for _ in 0..3 { // Or in many processes.
///     once.call_once(|_| {
///         for index in 0..table.len() {
///             let _ = table.store(index, index as u64 * 7);
///         }
///     })?;
///     assert_eq!(table.load(9), Some(63));
/// }
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[derive(Clone)]
pub struct Once(Guarded);

/// What is known of those who tried before.
#[derive(Debug)]
pub struct OnceState {
    poisoned: bool,
}

impl OnceState {
    /// Says whether somebody died or panicked while doing it.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }
}

impl Once {
    /// Makes one that is not done.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if no memory or no descriptor is left.
    pub fn new() -> Result<Self, Error> {
        Guarded::create(SHAPE, 0).map(Self)
    }

    /// Makes one under a name, by which any program of the same user can [`open`](Self::open) it.
    ///
    /// It is not done. The name goes when the last clone of this handle is dropped in this process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) if the name is taken, or as with [`new`](Self::new) and
    /// [`SharedMemory::create`](crate::SharedMemory::create).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::Once;
    ///
    /// let name = format!("doc-Once-{}", std::process::id());
    /// let once = Once::create_named(&name)?;
    /// assert!(!Once::open(&name)?.is_completed()); // In any program.
    /// assert!(once.owns_name());
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[cfg(feature = "named")]
    pub fn create_named(name: &str) -> Result<Self, Error> {
        named::create(name, |home| Guarded::create_at(home, SHAPE, 0).map(Self))
    }

    /// Does it, unless it is done. When this returns, it is, and what was written for it is seen.
    ///
    /// # Blocking
    ///
    /// While another one does it. Signals do not end it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Deadlock`](crate::ErrorKind::Deadlock) if this thread is doing it right now.
    #[inline]
    pub fn call_once(&self, action: impl FnOnce(&OnceState)) -> Result<(), Error> {
        if self.is_completed() { Ok(()) } else { self.call(action, Deadline::NEVER) }
    }

    /// As [`call_once`](Self::call_once), but waits for another one no longer than this.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut) if another one was at it for longer, or as with
    /// [`call_once`](Self::call_once).
    pub fn call_once_timeout(
        &self,
        action: impl FnOnce(&OnceState),
        timeout: Duration,
    ) -> Result<(), Error> {
        if self.is_completed() { Ok(()) } else { self.call(action, deadline(timeout)) }
    }

    fn call(&self, action: impl FnOnce(&OnceState), deadline: Deadline) -> Result<(), Error> {
        let (held, poisoned) = match self.0.lock(deadline) {
            Ok(held) => (held, false),
            Err(LockError::Poisoned(poison)) => (poison.into_inner(), true),
            Err(error) => return Err(error.into()),
        };
        // Who dies now poisons it anew.
        self.0.clear_poison();
        if !self.is_completed() {
            action(&OnceState { poisoned });
            self.complete(&held);
        }
        Ok(())
    }

    /// Marks it as done and wakes all who wait, in one step.
    fn complete(&self, _held: &Held<'_>) {
        sys::wake_op(self.word(), i32::MAX, WakeOp::OrBit(0));
    }

    fn word(&self) -> &AtomicU32 {
        &self.0.object().head().words[STATE]
    }

    /// Says whether it is done.
    #[inline]
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.word().load(Acquire) & DONE != 0
    }

    /// Waits until somebody has done it.
    ///
    /// # Blocking
    ///
    /// For as long as it takes, also if nobody has begun.
    pub fn wait(&self) {
        self.wait_until(Deadline::NEVER);
    }

    /// Waits until somebody has done it, but no longer than this; says whether it is done.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let once = mp_shared::Once::new()?;
    /// assert!(!once.wait_timeout(Duration::from_millis(1)));
    /// once.call_once(|state| assert!(!state.is_poisoned()))?;
    /// assert!(once.wait_timeout(Duration::ZERO));
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[must_use = "it says whether it is done"]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(deadline(timeout))
    }

    fn wait_until(&self, deadline: Deadline) -> bool {
        let word = self.word();
        if deadline != Deadline::NOW {
            SPIN.until(|| self.is_completed());
        }
        loop {
            let value = word.load(Acquire);
            if value & DONE != 0 || deadline == Deadline::NOW {
                return value & DONE != 0;
            }
            let asleep = value | ASLEEP;
            if value != asleep && word.compare_exchange(value, asleep, Relaxed, Relaxed).is_err() {
                continue;
            }
            if sys::wait(word, asleep, deadline) == Waited::TimedOut {
                return self.is_completed();
            }
        }
    }
}

#[cfg(feature = "named")]
named_object!(
    [] Once,
    SHAPE,
    |object| Guarded::of(object).map(Self),
    |this| this.0.object(),
    "Once",
    "Once::create_named(&name)",
);

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("is_completed", &self.is_completed()).finish()
    }
}

impl Serialize for Once {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Guarded::deserialize(deserializer, SHAPE).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::testing::{PATIENCE, Trap, fork};
    use crate::{ErrorKind, RawValue};

    #[test]
    fn smoke() {
        let (once, count) = (Once::new().unwrap(), RawValue::new(0u32).unwrap());
        let children = [(); 4].map(|()| {
            fork(|| {
                once.call_once(|_| count.store(count.load() + 1)).unwrap();
                count.load() == 1
            })
        });
        children.into_iter().for_each(|child| child.succeed());
        assert!(once.is_completed());
    }

    #[test]
    fn done_wakes_waiters() {
        let once = Once::new().unwrap();
        let same: Once = mp_wire::encode(&once).unwrap().decode().unwrap();
        let child = fork(|| same.wait_timeout(PATIENCE));
        once.call_once(|_| ()).unwrap();
        child.succeed();
        assert_eq!(format!("{same:?}"), "Once { is_completed: true }");
    }

    #[test]
    fn kill_holder() {
        let (once, trap) = (Once::new().unwrap(), Trap::new());
        let runner = fork(|| once.call_once(|_| trap.step_in()).is_ok());
        trap.wait();
        let late = once.call_once_timeout(|_| (), Duration::from_millis(1)).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        let next = fork(|| {
            let mut told = false;
            once.call_once(|state| told = state.is_poisoned()).unwrap();
            told
        });
        runner.kill();
        next.succeed();
        once.call_once(|_| unreachable!("it is done")).unwrap();
    }

    #[test]
    fn a_panic_leaves_it_to_the_next() {
        let once = Once::new().unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(|| once.call_once(|_| panic!("half done"))));
        assert!(panicked.is_err() && !once.is_completed());
        let mut told = false;
        once.call_once(|state| told = state.is_poisoned()).unwrap();
        assert!(told && once.is_completed());
    }

    #[test]
    fn twice_at_a_time_is_an_error() {
        let once = Once::new().unwrap();
        let mut kind = None;
        once.call_once(|_| kind = once.call_once(|_| ()).err().map(|error| error.kind())).unwrap();
        assert_eq!(kind, Some(ErrorKind::Deadlock));
    }
}
