#![doc = include_str!("event/README.md")]

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::time::Duration;

use mp_wire::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;
use crate::home::Home;
#[cfg(feature = "named")]
use crate::named::{self, named_object};
use crate::object::{Object, Shape, Tag};
use crate::sys::{self, Waited, WakeOp};
use mp_wire::Spin;

const SET: u32 = 1;
const ASLEEP: u32 = 2;
const COUNT: u32 = 4;

const SHAPE: Shape = Shape::plain(Tag::Event);

/// Whether looking before sleeping has been paying off in this process.
static SPIN: Spin = Spin::new();

/// A flag, at first down, that threads and processes raise, take down, and wait for.
///
/// Clones are the same flag; so is what arrives if it is sent in a message or as an argument of a process.
///
/// # Python
///
/// `Event`. A wait that a `set` has ended says so, even if a `clear` comes right after it.
///
/// # If a process dies
///
/// One that waited is no hindrance to anybody. One that is killed in [`set`](Self::set) has raised the flag and woken all, or
/// has done nothing.
///
/// # Examples
///
/// ```
/// use mp_shared::Event;
/// use std::time::Duration;
///
/// let ready = Event::new()?;
/// assert!(!ready.wait_timeout(Duration::from_millis(1)));
/// let clone = ready.clone();
/// let thread = std::thread::spawn(move || clone.wait());
/// ready.set();
/// thread.join().unwrap();
/// assert!(ready.is_set());
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[derive(Clone)]
pub struct Event(Object);

impl Event {
    /// Makes an event; its flag is down.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if no memory or no descriptor is left.
    pub fn new() -> Result<Self, Error> {
        Self::make(Home::Anywhere)
    }

    /// Makes an event under a name, by which any program of the same user can [`open`](Self::open) it.
    ///
    /// Its flag is down. The name goes when the last clone of this handle is dropped in this process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) if the name is taken, or as with
    /// [`SharedMemory::create`](crate::SharedMemory::create).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::Event;
    ///
    /// let name = format!("doc-Event-{}", std::process::id());
    /// let ready = Event::create_named(&name)?;
    /// Event::open(&name)?.set(); // In any program.
    /// assert!(ready.is_set());
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[cfg(feature = "named")]
    pub fn create_named(name: &str) -> Result<Self, Error> {
        named::create(name, Self::make)
    }

    fn make(home: Home<'_>) -> Result<Self, Error> {
        Object::create_at(home, SHAPE, 0).map(Self)
    }

    /// Raises the flag and wakes all that wait for it.
    ///
    /// What was done before it is seen by those who see the flag. It takes no lock and no memory, so that a
    /// signal handler may call it.
    ///
    /// # Examples
    ///
    /// ```
    /// let event = mp_shared::Event::new()?;
    /// event.set();
    /// event.set(); // No more than once.
    /// assert!(event.is_set());
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn set(&self) {
        let word = &self.0.head().words[0];
        let mut value = word.load(Relaxed);
        loop {
            if value & (SET | ASLEEP) == ASLEEP {
                if cfg!(mp_bug = "raise_split") {
                    word.fetch_or(SET, AcqRel);
                    sys::wake(word, i32::MAX);
                    return;
                }
                sys::wake_op(word, i32::MAX, WakeOp::OrBit(0));
                return;
            }
            // Also if the flag is up: what was done before this call must be seen with it.
            match word.compare_exchange(value, value | SET, AcqRel, Relaxed) {
                Ok(_) => return,
                Err(now) => value = now,
            }
        }
    }

    /// Takes the flag down.
    ///
    /// # Examples
    ///
    /// ```
    /// let event = mp_shared::Event::new()?;
    /// event.set();
    /// event.clear();
    /// assert!(!event.is_set());
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn clear(&self) {
        let word = &self.0.head().words[0];
        let mut value = word.load(Relaxed);
        while value & SET != 0 {
            // All that slept were woken when the flag was raised.
            let next = (value & !(SET | ASLEEP)).wrapping_add(COUNT);
            match word.compare_exchange(value, next, AcqRel, Relaxed) {
                Ok(_) => return,
                Err(now) => value = now,
            }
        }
    }

    /// Says whether the flag is up.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.head().words[0].load(Acquire) & SET != 0
    }

    /// Waits until the flag is raised; returns at once if it is up.
    ///
    /// # Blocking
    ///
    /// For as long as it takes. It looks for some microseconds, then sleeps. A signal does not end it.
    pub fn wait(&self) {
        self.wait_until(Deadline::NEVER);
    }

    /// Waits until the flag is raised, but no longer than this; says whether it was.
    ///
    /// # Blocking
    ///
    /// Never returns false before the time is up. With a timeout of zero it does not wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let event = mp_shared::Event::new()?;
    /// let start = Instant::now();
    /// assert!(!event.wait_timeout(Duration::from_millis(2)));
    /// assert!(start.elapsed() >= Duration::from_millis(2));
    /// event.set();
    /// assert!(event.wait_timeout(Duration::ZERO));
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[must_use = "it says whether the flag was raised"]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(if timeout.is_zero() { Deadline::NOW } else { Deadline::after(timeout) })
    }

    fn wait_until(&self, deadline: Deadline) -> bool {
        let word = &self.0.head().words[0];
        let first = word.load(Acquire);
        // Raised since, though perhaps taken down again: then the count has changed.
        let raised = |value: u32| value & SET != 0 || (value ^ first) & !(SET | ASLEEP) != 0;
        if raised(first) {
            return true;
        }
        if deadline == Deadline::NOW {
            return false;
        }
        SPIN.until(|| raised(word.load(Relaxed)));
        loop {
            let value = word.load(Acquire);
            if raised(value) {
                return true;
            }
            let asleep = value | ASLEEP;
            if value != asleep && word.compare_exchange(value, asleep, Relaxed, Relaxed).is_err() {
                continue;
            }
            if sys::wait(word, asleep, deadline) == Waited::TimedOut {
                return raised(word.load(Acquire));
            }
        }
    }
}

#[cfg(feature = "named")]
named_object!(
    [] Event,
    SHAPE,
    |object| Ok(Self(object)),
    |this| &this.0,
    "Event",
    "Event::create_named(&name)",
);

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("is_set", &self.is_set()).finish()
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::deserialize(deserializer, SHAPE).map(Self)
    }
}
