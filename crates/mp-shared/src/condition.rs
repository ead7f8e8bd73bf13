#![doc = include_str!("condition/README.md")]

mod guard;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::time::Duration;

use mp_wire::{Deadline, Spin};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::guard::Guard;
use crate::Error;
use crate::lock::{deadline, plain};
#[cfg(feature = "named")]
use crate::named::{self, named_object};
use crate::object::{Object, Shape, Tag};
use crate::poison::{LockError, LockResult, PoisonError};
use crate::sys::{self, Waited, WakeOp};

const SHAPE: Shape = Shape::plain(Tag::Condition);

/// The words of the head.
const ISSUED: usize = 0;
const WAITING: usize = 1;

/// In the first word: somebody may be asleep.
const ASLEEP: u32 = 1;
/// In the first word: one notification.
const ONE: u32 = 2;

/// The most notifications that the kernel adds in one step.
const MOST_AT_ONCE: u32 = 1000;

/// How long a wait whose time is up goes on to have the lock again.
const GRACE: Duration = Duration::from_millis(10);

/// Whether looking before sleeping has been paying off in this process.
static SPIN: Spin = Spin::new();

/// What threads and processes wait for until another one says that something has changed.
///
/// It goes with a lock that protects what may change, and works with the guards of [`Lock`](crate::Lock),
/// [`RLock`](crate::RLock), [`Value`](crate::Value) and [`Array`](crate::Array): waiting releases the lock, and takes it again before it returns. All who wait for one
/// condition at a time use the same lock. Clones are the same condition; so is what arrives if it is sent in a message or
/// as an argument of a process.
///
/// It is [`std::sync::Condvar`] between processes.
///
/// # Python
///
/// `Condition`. The lock is not part of it: `Condition(lock)` is both side by side, `with condition:` is the guard of the lock. To
/// wait without the lock, an error there, does not compile. `notify` needs no lock here, though without it a waiter may look
/// just before the change, and miss it.
///
/// # If a process dies
///
/// One that is killed while it waits is no hindrance to anybody, and takes no notification with it, unless it had the lock again:
/// then the lock says that its holder died. One that is killed in [`notify_all`](Self::notify_all) has woken all (a thousand at
/// a time), or nobody. After a death in `wait`, a later notification may wake one more than it was for.
///
/// # Examples
///
/// ```
/// use mp_shared::{Condition, Value};
///
/// let (jobs, changed) = (Value::new(0u32)?, Condition::new()?);
/// let (their_jobs, has_changed) = (jobs.clone(), changed.clone()); // Or in another process.
/// let worker = std::thread::spawn(move || -> Result<u32, mp_shared::Error> {
///     let mut jobs = has_changed.wait_for(their_jobs.lock()?, |jobs| **jobs > 0)?;
///     *jobs -= 1;
///     Ok(*jobs)
/// });
/// *jobs.lock()? += 5;
/// changed.notify_one();
/// assert_eq!(worker.join().unwrap()?, 4);
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[derive(Clone)]
pub struct Condition(Object);

/// Whether a wait with a timeout ended by a notification or by the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Says whether the time was up before there was a notification.
    #[must_use]
    pub fn timed_out(self) -> bool {
        self.0
    }
}

impl Condition {
    /// Makes a condition for which nobody waits.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if no memory or no descriptor is left.
    pub fn new() -> Result<Self, Error> {
        Object::create(SHAPE, 0).map(Self)
    }

    /// Makes a condition under a name, by which any program of the same user can [`open`](Self::open) it.
    ///
    /// Its lock has a name of its own. The name goes when the last clone of this handle is dropped in this process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) if the name is taken, or as with [`new`](Self::new) and
    /// [`SharedMemory::create`](crate::SharedMemory::create).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::Condition;
    ///
    /// let name = format!("doc-Condition-{}", std::process::id());
    /// let changed = Condition::create_named(&name)?;
    /// Condition::open(&name)?.notify_all(); // In any program.
    /// assert!(changed.owns_name());
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[cfg(feature = "named")]
    pub fn create_named(name: &str) -> Result<Self, Error> {
        named::create(name, |home| Object::create_at(home, SHAPE, 0).map(Self))
    }

    /// Releases the lock, waits for a notification, and takes the lock again.
    ///
    /// Look in a loop whether what you wait for is so, or use [`wait_for`](Self::wait_for): somebody else may have had the lock first.
    ///
    /// # Blocking
    ///
    /// Until somebody notifies, and then for the lock. Signals do not end it.
    ///
    /// # Errors
    ///
    /// [`LockError::Poisoned`] with the guard in it if the lock is poisoned now; [`LockError::NotHeld`] if the guard is a copy in a
    /// forked process.
    pub fn wait<G: Guard>(&self, guard: G) -> LockResult<G> {
        strip(self.wait_until(guard, Deadline::NEVER))
    }

    /// As [`wait`](Self::wait), but for no longer than this; says whether the time was up.
    ///
    /// # Blocking
    ///
    /// Never shorter than the time, unless there is a notification. When the time is up it has 10 ms to take the lock again.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`] if it does not get the lock again: it is not held then. Or as with [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{Condition, Lock};
    /// use std::time::{Duration, Instant};
    ///
    /// let (lock, condition) = (Lock::new()?, Condition::new()?);
    /// let start = Instant::now();
    /// let (guard, result) = condition.wait_timeout(lock.lock()?, Duration::from_millis(2))?;
    /// assert!(result.timed_out() && start.elapsed() >= Duration::from_millis(2));
    /// # drop(guard);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn wait_timeout<G: Guard>(
        &self,
        guard: G,
        timeout: Duration,
    ) -> LockResult<(G, WaitTimeoutResult)> {
        self.wait_until(guard, deadline(timeout))
    }

    /// Waits until `predicate` is true, which is asked under the lock, at first and after each notification.
    ///
    /// # Errors
    ///
    /// As with [`wait`](Self::wait).
    #[doc(alias = "wait_while")]
    pub fn wait_for<G: Guard>(
        &self,
        guard: G,
        predicate: impl FnMut(&mut G) -> bool,
    ) -> LockResult<G> {
        strip(self.wait_for_until(guard, predicate, Deadline::NEVER))
    }

    /// As [`wait_for`](Self::wait_for), but for no longer than this; returns what `predicate` said last.
    ///
    /// # Blocking
    ///
    /// As [`wait_timeout`](Self::wait_timeout), over all waits together.
    ///
    /// # Errors
    ///
    /// As with [`wait_timeout`](Self::wait_timeout).
    pub fn wait_for_timeout<G: Guard>(
        &self,
        guard: G,
        predicate: impl FnMut(&mut G) -> bool,
        timeout: Duration,
    ) -> LockResult<(G, bool)> {
        self.wait_for_until(guard, predicate, deadline(timeout))
    }

    fn wait_for_until<G: Guard>(
        &self,
        mut guard: G,
        mut predicate: impl FnMut(&mut G) -> bool,
        deadline: Deadline,
    ) -> LockResult<(G, bool)> {
        let mut late = false;
        loop {
            if predicate(&mut guard) {
                return Ok((guard, true));
            }
            if late {
                return Ok((guard, false));
            }
            let (next, result) = self.wait_until(guard, deadline).map_err(|error| {
                error.map(|(mut guard, _)| {
                    let holds = predicate(&mut guard);
                    (guard, holds)
                })
            })?;
            guard = next;
            late = result.timed_out();
        }
    }

    /// Wakes one who waits, if anybody does.
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes so many who wait, or all if there are fewer.
    ///
    /// # Examples
    ///
    /// ```
    /// let condition = mp_shared::Condition::new()?;
    /// condition.notify(3); // Nobody waits: nothing happens, and nothing is left of it.
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn notify(&self, count: usize) {
        let mut left = u32::try_from(count).unwrap_or(u32::MAX);
        loop {
            let value = self.word(ISSUED).load(Relaxed);
            let waiting = Waiting::unpack(self.word(WAITING).load(SeqCst));
            // Those who were notified and have not gone on yet are not notified again.
            let some = left.min(waiting.count.saturating_sub(waiting.outstanding(value)));
            if some == 0 {
                return;
            }
            let step = some.min(MOST_AT_ONCE);
            if self.issue(value, step) {
                left -= step;
            }
        }
    }

    /// Wakes all who wait.
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }

    /// Counts notifications and wakes all sleepers, in one step; false if the word has changed before.
    fn issue(&self, value: u32, count: u32) -> bool {
        let word = self.word(ISSUED);
        if value & ASLEEP == 0 {
            let next = value.wrapping_add(count * ONE);
            return word.compare_exchange(value, next, AcqRel, Relaxed).is_ok();
        }
        if cfg!(mp_bug = "notify_split") {
            word.fetch_add(count * ONE, AcqRel);
            sys::wake(word, i32::MAX);
            return true;
        }
        // All, as whoever is woken may be killed before it goes on.
        let sleepers = if cfg!(mp_bug = "notify_wakes_one") { 1 } else { i32::MAX };
        if sys::wake_op(word, sleepers, WakeOp::Add(count * ONE)) == 0 {
            // It was a leftover. Whoever lay down meanwhile is woken in the step that clears it, and looks again.
            sys::wake_op(word, i32::MAX, WakeOp::ClearBit(0));
        }
        true
    }

    fn word(&self, index: usize) -> &AtomicU32 {
        &self.0.head().words[index]
    }

    fn wait_until<G: Guard>(
        &self,
        guard: G,
        deadline: Deadline,
    ) -> LockResult<(G, WaitTimeoutResult)> {
        // Under the lock, so that no notification for what changes from now on is missed.
        let began = self.begin().ok_or(LockError::TooMany)?;
        let mut seen = began;
        let Some(mut suspended) = guard.held().suspend() else {
            self.abandon();
            return Err(LockError::NotHeld);
        };
        loop {
            let late = self.sleep(&mut seen, deadline);
            if !late && !self.has_grant() {
                continue;
            }
            let soon = match deadline.remaining() {
                Some(left) if left < GRACE => Deadline::after(GRACE),
                _ => deadline,
            };
            let poisoned = match guard.held().resume(&suspended, soon) {
                Ok(poisoned) => poisoned,
                Err(error) => {
                    self.abandon();
                    return Err(plain(error));
                }
            };
            // What was outstanding before is for others, or for the dead.
            let issued = self.word(ISSUED).load(Acquire) & !ASLEEP != began;
            let notified = issued && self.take_grant();
            if notified || late {
                if !notified {
                    self.abandon();
                }
                let result = (guard, WaitTimeoutResult(!notified));
                return if poisoned { Err(PoisonError::new(result).into()) } else { Ok(result) };
            }
            // Others were faster.
            let Some(again) = guard.held().suspend() else {
                self.abandon();
                return Err(LockError::NotHeld);
            };
            suspended = again;
        }
    }

    /// Counts one more who waits, for notifications that are yet to come; none if there are too many.
    fn begin(&self) -> Option<u32> {
        loop {
            let issued = self.word(ISSUED).load(SeqCst);
            let word = self.word(WAITING);
            let old = word.load(Relaxed);
            let mut waiting = Waiting::unpack(old);
            if waiting.outstanding(issued) > waiting.count {
                // For those who went away in the very moment.
                waiting.taken = (issued / ONE).wrapping_sub(waiting.count) & MASK;
            }
            waiting.count += 1;
            if waiting.count > MASK {
                return None;
            }
            if word.compare_exchange(old, waiting.pack(), SeqCst, Relaxed).is_ok() {
                return Some(issued & !ASLEEP);
            }
        }
    }

    /// Sleeps until there are other notifications than those seen; says whether the time was up before.
    fn sleep(&self, seen: &mut u32, deadline: Deadline) -> bool {
        let word = self.word(ISSUED);
        let before = *seen;
        let changed = |value: u32| value & !ASLEEP != before;
        if deadline != Deadline::NOW {
            SPIN.until(|| changed(word.load(Relaxed)));
        }
        loop {
            let value = word.load(Acquire);
            if changed(value) {
                *seen = value & !ASLEEP;
                return false;
            }
            if deadline == Deadline::NOW {
                return true;
            }
            let asleep = value | ASLEEP;
            if value != asleep && word.compare_exchange(value, asleep, Relaxed, Relaxed).is_err() {
                continue;
            }
            if sys::wait(word, asleep, deadline) == Waited::TimedOut {
                return !changed(word.load(Acquire));
            }
        }
    }

    /// Says whether a notification is there for whoever takes it.
    fn has_grant(&self) -> bool {
        let waiting = Waiting::unpack(self.word(WAITING).load(Acquire));
        waiting.outstanding(self.word(ISSUED).load(Acquire)) > 0
    }

    /// Takes a notification and goes, if there is one.
    fn take_grant(&self) -> bool {
        self.change(|waiting, outstanding| {
            if outstanding == 0 {
                return false;
            }
            waiting.taken = (waiting.taken + 1) & MASK;
            waiting.count = waiting.count.saturating_sub(1);
            true
        })
    }

    /// Goes without a notification, and leaves none behind that nobody would take.
    fn abandon(&self) {
        self.change(|waiting, outstanding| {
            waiting.count = waiting.count.saturating_sub(1);
            if outstanding > waiting.count {
                waiting.taken = (waiting.taken + 1) & MASK;
            }
            true
        });
    }

    fn change(&self, change: impl Fn(&mut Waiting, u32) -> bool) -> bool {
        let word = self.word(WAITING);
        let mut old = word.load(Relaxed);
        loop {
            let mut waiting = Waiting::unpack(old);
            let outstanding = waiting.outstanding(self.word(ISSUED).load(Acquire));
            if !change(&mut waiting, outstanding) {
                return false;
            }
            match word.compare_exchange(old, waiting.pack(), SeqCst, Relaxed) {
                Ok(_) => return true,
                Err(now) => old = now,
            }
        }
    }
}

/// The second word: who waits, and how many notifications were taken, each modulo 2¹⁶.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    count: u32,
    taken: u32,
}

const MASK: u32 = 0xffff;

impl Waiting {
    fn unpack(word: u32) -> Self {
        Self { count: word >> 16, taken: word & MASK }
    }

    fn pack(self) -> u32 {
        self.count << 16 | self.taken
    }

    /// How many notifications nobody has taken yet.
    fn outstanding(self, issued: u32) -> u32 {
        (issued / ONE).wrapping_sub(self.taken) & MASK
    }
}

fn strip<G, R>(result: LockResult<(G, R)>) -> LockResult<G> {
    result.map(|(guard, _)| guard).map_err(|error| error.map(|(guard, _)| guard))
}

#[cfg(feature = "named")]
named_object!(
    [] Condition,
    SHAPE,
    |object| Ok(Self(object)),
    |this| &this.0,
    "Condition",
    "Condition::create_named(&name)",
);

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = Waiting::unpack(self.word(WAITING).load(Relaxed));
        let notified = waiting.outstanding(self.word(ISSUED).load(Relaxed));
        f.debug_struct("Condition")
            .field("waiting", &waiting.count)
            .field("notified", &notified)
            .finish()
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::deserialize(deserializer, SHAPE).map(Self)
    }
}
