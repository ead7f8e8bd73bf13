//! A point where processes wait until all have come. The protocol is in `barrier/README.md`.

mod error;
mod party;
mod pass;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mp_wire::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use self::error::BarrierError;
pub use self::party::Party;
use self::pass::{BLOCK, End, Pass};
use crate::home::Home;
use crate::lock::deadline;
#[cfg(feature = "named")]
use crate::named::{self, named_object};
use crate::object::Tag;
use crate::slots::Slots;
use crate::{Error, ErrorKind};

/// Words of the head, behind the one of the protocol: the parties, and the default timeout.
const PARTIES: usize = 1;
const TIMEOUT: [usize; 2] = [2, 3];

/// How many slots there are at least beyond two for each party.
const SPARE: usize = 6;

/// A passed barrier needs no closure.
const NO_ACTION: Option<fn()> = None;

/// A point where threads and processes wait for each other: all go on when as many have come as it has parties.
///
/// It can be passed again and again. Clones are the same barrier; so is what arrives if it is sent in a message or as an
/// argument of a process. Whoever calls [`wait`](Self::wait) is a party for the time of that call. Those who
/// [register](Self::register) stay one in between.
///
/// A party that gives up breaks the barrier: all others get [`BarrierError::Broken`] at once, and so does everybody who
/// comes later, until [`reset`](Self::reset).
///
/// # Python
///
/// `Barrier`. `action=` is a closure that each party brings to [`wait_with`](Self::wait_with), since closures do not travel
/// between processes; that of one party is called. While it runs, others that time out break the barrier; in Python they
/// wait for its end.
///
/// # If a process dies
///
/// A party that is killed, or whose thread ends, while it waits or runs the action breaks the barrier for all others at
/// once; in Python they wait for ever. A [`Party`] that is killed between two passes does so too. With more than 61
/// parties the others may learn of it 10 ms later.
///
/// # Examples
///
/// ```
/// use mp_shared::Barrier;
/// use std::thread;
///
/// let barrier = Barrier::new(3)?;
/// let mut order: Vec<usize> = thread::scope(|scope| {
///     let threads = [(); 3].map(|()| scope.spawn(|| barrier.wait()));
///     threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Result<_, _>>()
/// })?;
/// order.sort();
/// assert_eq!(order, [0, 1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Barrier(Pass);

impl Barrier {
    /// Makes a barrier for so many parties.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if that is none; [`ErrorKind::Exhausted`] if no memory or no descriptor is left.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{Barrier, ErrorKind};
    ///
    /// assert_eq!(Barrier::new(3)?.parties(), 3);
    /// assert_eq!(Barrier::new(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(parties: usize) -> Result<Self, Error> {
        Self::create(Home::Anywhere, parties, None)
    }

    /// Makes a barrier under a name, by which any program of the same user can [`open`](Self::open) it.
    ///
    /// There is no default timeout. The name goes when the last clone of this handle is dropped in this process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) if the name is taken, or as with [`new`](Self::new) and
    /// [`SharedMemory::create`](crate::SharedMemory::create).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::Barrier;
    ///
    /// let name = format!("doc-Barrier-{}", std::process::id());
    /// let barrier = Barrier::create_named(&name, 3)?;
    /// assert_eq!(Barrier::open(&name)?.parties(), 3); // In any program.
    /// assert!(barrier.owns_name());
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[cfg(feature = "named")]
    pub fn create_named(name: &str, parties: usize) -> Result<Self, Error> {
        named::create(name, |home| Self::create(home, parties, None))
    }

    /// Makes a barrier whose waits give up after this time, unless they name another one.
    ///
    /// # Python
    ///
    /// `Barrier(parties, timeout=t)`.
    ///
    /// # Errors
    ///
    /// As with [`new`](Self::new).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{Barrier, BarrierError};
    /// use std::time::Duration;
    ///
    /// let barrier = Barrier::with_timeout(2, Duration::from_millis(1))?;
    /// assert_eq!(barrier.wait(), Err(BarrierError::TimedOut));
    /// assert!(barrier.is_broken());
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn with_timeout(parties: usize, timeout: Duration) -> Result<Self, Error> {
        Self::create(Home::Anywhere, parties, Some(timeout))
    }

    fn create(home: Home<'_>, parties: usize, timeout: Option<Duration>) -> Result<Self, Error> {
        if parties == 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "a barrier has at least one party"));
        }
        let too_many = || Error::new(ErrorKind::Exhausted, "no memory holds so many parties");
        let word = u32::try_from(parties).map_err(|_| too_many())?;
        let slots = Slots::create_at(home, Tag::Barrier, slots_of(parties).ok_or_else(too_many)?)?;
        // Zero is none, so that no timeout at all is one.
        let nanos = timeout.map_or(0, |timeout| {
            u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
        });
        let words = &slots.object().head().words;
        words[PARTIES].store(word, Relaxed);
        words[TIMEOUT[0]].store(nanos as u32, Relaxed);
        words[TIMEOUT[1]].store((nanos >> 32) as u32, Relaxed);
        Pass::new(slots, parties).map(Self)
    }

    /// The barrier that somebody else has made of this row.
    fn attach(slots: Slots) -> Result<Self, Error> {
        let parties = slots.object().head().words[PARTIES].load(Relaxed) as usize;
        if parties == 0 || slots_of(parties) != Some(slots.len()) {
            return Err(Error::corrupt("a barrier has a wrong number of parties"));
        }
        Pass::new(slots, parties).map(Self)
    }

    /// Waits until all have come, and returns how many of them had come before this one.
    ///
    /// Each party gets another number, from zero to one less than there are. What was done before it by any party is seen by all
    /// after it.
    ///
    /// # Blocking
    ///
    /// Until the last one comes or the barrier breaks, or until the time is up that was named [when it was
    /// made](Self::with_timeout). It looks for some microseconds, then sleeps. A signal does not end it.
    ///
    /// # Errors
    ///
    /// See [`BarrierError`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::Barrier;
    /// use std::thread;
    ///
    /// let barrier = Barrier::new(2)?;
    /// let other = barrier.clone();
    /// let thread = thread::spawn(move || other.wait());
    /// let mine = barrier.wait()?;
    /// assert_eq!(mine + thread.join().unwrap()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait(&self) -> Result<usize, BarrierError> {
        self.wait_once(self.deadline(), NO_ACTION)
    }

    /// Waits until all have come, but no longer than this.
    ///
    /// # Blocking
    ///
    /// Gives up when the time is up, never before. With a timeout of zero only the last one to come goes on.
    ///
    /// # Errors
    ///
    /// See [`BarrierError`]. If the time is up, the barrier is broken for all.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{Barrier, BarrierError};
    /// use std::time::Duration;
    ///
    /// let barrier = Barrier::new(2)?;
    /// assert_eq!(barrier.wait_timeout(Duration::from_millis(1)), Err(BarrierError::TimedOut));
    /// assert_eq!(barrier.wait(), Err(BarrierError::Broken));
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize, BarrierError> {
        self.wait_once(deadline(timeout), NO_ACTION)
    }

    /// Waits until all have come; the last one runs the action before any goes on.
    ///
    /// The action of the others is dropped. If the last one came by [`wait`](Self::wait), none is run.
    ///
    /// # Blocking
    ///
    /// As with [`wait`](Self::wait), and until the action has ended.
    ///
    /// # If a process dies
    ///
    /// If the one that runs the action is killed, or the action panics, the barrier is broken for all.
    ///
    /// # Errors
    ///
    /// See [`BarrierError`]. If the barrier is broken while the action runs, the one that ran it learns of it afterwards.
    ///
    /// # Examples
    ///
    /// ```
    /// let barrier = mp_shared::Barrier::new(1)?;
    /// let mut runs = 0;
    /// barrier.wait_with(|| runs += 1)?;
    /// assert_eq!(runs, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "action")]
    pub fn wait_with(&self, action: impl FnOnce()) -> Result<usize, BarrierError> {
        self.wait_once(self.deadline(), Some(action))
    }

    /// Waits until all have come, but no longer than this; the last one runs the action before any goes on.
    ///
    /// # Blocking
    ///
    /// As with [`wait_timeout`](Self::wait_timeout). The time of the one that runs the action does not count while it runs; that
    /// of the others does.
    ///
    /// # Errors
    ///
    /// See [`BarrierError`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let barrier = mp_shared::Barrier::new(2)?;
    /// let mut runs = 0;
    /// assert!(barrier.wait_timeout_with(Duration::from_millis(1), || runs += 1).is_err());
    /// assert_eq!(runs, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_timeout_with(
        &self,
        timeout: Duration,
        action: impl FnOnce(),
    ) -> Result<usize, BarrierError> {
        self.wait_once(deadline(timeout), Some(action))
    }

    fn wait_once(
        &self,
        deadline: Deadline,
        action: Option<impl FnOnce()>,
    ) -> Result<usize, BarrierError> {
        let (gate, party) = loop {
            let gate = self.0.enter()?;
            if self.0.says_broken() {
                return Err(BarrierError::Broken);
            }
            match Party::new(self, &gate) {
                // Most of them are leaving.
                Err(BarrierError::Full) => drop(gate),
                party => break (gate, party?),
            }
            self.0.nap(deadline)?;
        };
        self.0.wait(gate, party.slot(), deadline, action)
    }

    /// Makes this thread a party until what is returned is dropped.
    ///
    /// While it lives, the death of this thread breaks the barrier, at whatever moment, so that nobody waits for it in vain. To
    /// be registered is not to wait.
    ///
    /// # Python
    ///
    /// There is none.
    ///
    /// # Errors
    ///
    /// [`BarrierError::Full`] if more than twice as many threads as it waits for take part already.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::Barrier;
    /// use std::thread;
    ///
    /// let barrier = Barrier::new(2)?;
    /// thread::scope(|scope| {
    ///     for _ in 0..2 {
    ///         scope.spawn(|| {
    ///             let mut party = barrier.register().unwrap();
    ///             for _ in 0..10 {
    ///                 party.wait().unwrap();
    ///             }
    ///         });
    ///     }
    /// });
    /// assert!(!barrier.is_broken());
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn register(&self) -> Result<Party<'_>, BarrierError> {
        Party::new(self, &self.0.enter()?)
    }

    /// Breaks the barrier: all who wait, and all who come, get [`BarrierError::Broken`] until there is a [`reset`](Self::reset).
    ///
    /// # If a process dies
    ///
    /// Killed in this call, it has broken the barrier and woken all, or has done nothing.
    ///
    /// # Errors
    ///
    /// [`BarrierError::Unsupported`] with a C library that lacks robust lists.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{Barrier, BarrierError};
    ///
    /// let barrier = Barrier::new(1)?;
    /// barrier.abort()?;
    /// assert_eq!(barrier.wait(), Err(BarrierError::Broken));
    /// barrier.reset()?;
    /// assert_eq!(barrier.wait(), Ok(0));
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn abort(&self) -> Result<(), BarrierError> {
        let gate = self.0.enter()?;
        if !self.0.says_broken() {
            gate.end(End::Break);
        }
        Ok(())
    }

    /// Makes the barrier as new: nobody waits, and it is not broken.
    ///
    /// Those who wait get [`BarrierError::Broken`]. Parties stay registered; those that died are forgotten.
    ///
    /// # If a process dies
    ///
    /// Killed in this call, it has reset the barrier and woken all, or has done nothing.
    ///
    /// # Errors
    ///
    /// As with [`abort`](Self::abort).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{Barrier, BarrierError};
    /// use std::time::Duration;
    ///
    /// let barrier = Barrier::new(2)?;
    /// assert_eq!(barrier.wait_timeout(Duration::ZERO), Err(BarrierError::TimedOut));
    /// assert!(barrier.is_broken());
    /// barrier.reset()?;
    /// assert!(!barrier.is_broken());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reset(&self) -> Result<(), BarrierError> {
        self.0.enter()?.end(End::Reset);
        Ok(())
    }

    /// How many it waits for.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(mp_shared::Barrier::new(2)?.parties(), 2);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[must_use]
    pub fn parties(&self) -> usize {
        self.0.parties()
    }

    /// How many wait now.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(mp_shared::Barrier::new(2)?.waiting(), 0);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[doc(alias = "n_waiting")]
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting()
    }

    /// How many threads take part now: those that have [registered](Self::register), and those that wait without.
    ///
    /// A dead one counts until it is noticed.
    ///
    /// # Examples
    ///
    /// ```
    /// let barrier = mp_shared::Barrier::new(2)?;
    /// let party = barrier.register()?;
    /// assert_eq!((barrier.registered(), barrier.waiting()), (1, 0));
    /// # drop(party);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn registered(&self) -> usize {
        self.0.members().count()
    }

    /// Says whether the barrier is broken.
    ///
    /// It is if a party has died, also one for which nobody has waited yet.
    ///
    /// # Examples
    ///
    /// ```
    /// let barrier = mp_shared::Barrier::new(2)?;
    /// assert!(!barrier.is_broken());
    /// barrier.abort()?;
    /// assert!(barrier.is_broken());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "broken")]
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.is_broken()
    }

    /// How long a wait lasts that names no timeout; `None` if for as long as it takes.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::Barrier;
    /// use std::time::Duration;
    ///
    /// let time = Duration::from_secs(5);
    /// assert_eq!(Barrier::with_timeout(2, time)?.timeout(), Some(time));
    /// assert_eq!(Barrier::new(2)?.timeout(), None);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        let words = &self.0.slots().object().head().words;
        let [low, high] = TIMEOUT.map(|index| u64::from(words[index].load(Relaxed)));
        (high << 32 | low).checked_sub(1).map(Duration::from_nanos)
    }

    fn deadline(&self) -> Deadline {
        self.timeout().map_or(Deadline::NEVER, deadline)
    }
}

/// How many slots a barrier has. More threads than parties may come, as they leave one after the other.
fn slots_of(parties: usize) -> Option<usize> {
    parties.checked_mul(2)?.checked_add(SPARE)?.checked_next_multiple_of(BLOCK)
}

#[cfg(feature = "named")]
named_object!(
    [] Barrier,
    Slots::shape(Tag::Barrier),
    |object| Self::attach(Slots::of(object)),
    |this| this.0.slots().object(),
    "Barrier",
    "Barrier::create_named(&name, 2)",
);

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("registered", &self.registered())
            .field("waiting", &self.waiting())
            .field("broken", &self.0.says_broken())
            .finish()
    }
}

impl Serialize for Barrier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.slots().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Barrier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::attach(Slots::deserialize(deserializer, Tag::Barrier)?).map_err(de::Error::custom)
    }
}
