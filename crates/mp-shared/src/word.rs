#![doc = include_str!("word/README.md")]

use std::sync::atomic::{AtomicU32, Ordering};

use mp_wire::{Deadline, Spin};

use crate::sys::{self, Waited, WakeOp, Watch};

const ASLEEP: u32 = 1;
const CLOSED: u32 = 2;
const ONE: u32 = 4;

/// A counting word in shared memory to sleep on.
///
/// All zeroes is a new one. [`CommitWord::commit`] is for a writer that holds the lock of what it commits;
/// [`CommitWord::bump`] may be called by anybody, as with a doorbell.
///
/// # If a process dies
///
/// Killed while it counts, it has counted and woken, or neither. Killed while it sleeps, nobody notices.
///
/// # Examples
///
/// ```
/// use mp_shared::{segment::Segment, word::CommitWord};
/// use mp_wire::{Deadline, Spin};
///
/// let segment = Segment::create(1, 64)?;
/// let doorbell = segment.bind::<CommitWord>(0)?;
/// let seen = doorbell.snapshot();
/// doorbell.bump();
/// let now = doorbell.wait_change(seen, Deadline::NEVER, &Spin::new()).expect("it has changed");
/// assert_eq!(now.count(), 1);
/// assert!(doorbell.wait_change(now, Deadline::NOW, &Spin::new()).is_err());
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct CommitWord(AtomicU32);

/// What a [`CommitWord`] said at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot(u32);

/// The deadline passed before the word changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl Snapshot {
    /// How often the word has counted, modulo 2³⁰.
    #[inline]
    #[must_use]
    pub fn count(self) -> u32 {
        self.0 >> 2
    }

    /// Says whether the word was closed.
    #[inline]
    #[must_use]
    pub fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }
}

impl CommitWord {
    /// Reads the word; what the last count made visible can be read afterwards (acquire).
    #[inline]
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.0.load(Ordering::Acquire) & !ASLEEP)
    }

    /// Says whether somebody may be asleep on the word.
    #[inline]
    #[must_use]
    pub fn has_sleepers(&self) -> bool {
        self.0.load(Ordering::Relaxed) & ASLEEP != 0
    }

    /// Says whether the word is closed.
    #[inline]
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Counts one and wakes all sleepers; only one caller at a time, kept apart from others by a lock.
    ///
    /// What was written before it is visible to whoever sees the count (release).
    #[inline]
    pub fn commit(&self) {
        let mut value = self.0.load(Ordering::Relaxed);
        while value & ASLEEP == 0 {
            let next = value.wrapping_add(ONE);
            match self.0.compare_exchange(value, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => value = now,
            }
        }
        self.commit_and_wake();
    }

    #[cold]
    fn commit_and_wake(&self) {
        if cfg!(mp_bug = "wake_split") {
            self.0.fetch_add(ONE - ASLEEP, Ordering::AcqRel);
            sys::wake(&self.0, i32::MAX);
            return;
        }
        // Bit 0 is set, and only a commit clears it: adding 3 clears it and counts, whatever bit 1 is.
        sys::wake_op(&self.0, i32::MAX, WakeOp::Add(ONE - ASLEEP));
    }

    /// Counts one and leaves sleepers asleep, where that is nothing that they wait for; as [`commit`](Self::commit) otherwise.
    ///
    /// Who is about to lie down sees that the word has changed.
    #[inline]
    pub(crate) fn commit_silently(&self) {
        self.0.fetch_add(ONE, Ordering::AcqRel);
    }

    /// Counts one and wakes all sleepers; anybody may call it at any time.
    ///
    /// What was written before it is visible to whoever sees the count (release).
    pub fn bump(&self) {
        let mut value = self.0.load(Ordering::Relaxed);
        while value & ASLEEP == 0 {
            let next = value.wrapping_add(ONE);
            match self.0.compare_exchange(value, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => value = now,
            }
        }
        // Others may be doing the same, so bit 0 stays: it could be that of a newer sleeper.
        if sys::wake_op(&self.0, i32::MAX, WakeOp::Add(ONE)) == 0 {
            // It was a leftover. Whoever lay down meanwhile is woken in the step that clears it, and lies down anew.
            sys::wake_op(&self.0, i32::MAX, WakeOp::ClearBit(0));
        }
    }

    /// Marks the word as closed for good, and wakes all sleepers.
    pub fn close(&self) {
        sys::wake_op(&self.0, i32::MAX, WakeOp::OrBit(1));
    }

    /// Marks the word as slept on, unless it has changed since `seen`: a sleep on it then ends with the next count.
    pub(crate) fn watch(&self, seen: Snapshot) -> Watch<'_> {
        let asleep = seen.0 | ASLEEP;
        // Fails if the flag is set already, which is as good, or if the word has changed, which the sleep sees.
        let _ = self.0.compare_exchange(seen.0, asleep, Ordering::Relaxed, Ordering::Relaxed);
        Watch::new(&self.0, asleep)
    }

    /// Waits until the word differs from `seen`, and returns what it says then.
    ///
    /// # Blocking
    ///
    /// Looks for a short time, as long as that has been paying off, then sleeps until the deadline.
    ///
    /// # Errors
    ///
    /// The deadline passed; it is never early.
    #[inline]
    pub fn wait_change(
        &self,
        seen: Snapshot,
        deadline: Deadline,
        spin: &Spin,
    ) -> Result<Snapshot, TimedOut> {
        let now = self.snapshot();
        if now != seen {
            return Ok(now);
        }
        if deadline == Deadline::NOW {
            return Err(TimedOut);
        }
        self.wait_longer(seen, deadline, spin)
    }

    fn wait_longer(
        &self,
        seen: Snapshot,
        deadline: Deadline,
        spin: &Spin,
    ) -> Result<Snapshot, TimedOut> {
        spin.until(|| self.snapshot() != seen);
        loop {
            let now = self.snapshot();
            if now != seen {
                return Ok(now);
            }
            let asleep = self.watch(seen).expected();
            if sys::wait(&self.0, asleep, deadline) == Waited::TimedOut {
                let now = self.snapshot();
                return if now == seen { Err(TimedOut) } else { Ok(now) };
            }
        }
    }
}

impl std::fmt::Display for TimedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the deadline passed")
    }
}

impl std::error::Error for TimedOut {}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_commit_with_a_sleeper_clears_the_flag() {
        let word = CommitWord::default();
        word.0.store(ASLEEP, Ordering::Relaxed);
        word.commit();
        assert_eq!(word.0.load(Ordering::Relaxed), ONE);
        word.0.store(ASLEEP | CLOSED, Ordering::Relaxed);
        word.commit();
        assert_eq!(word.0.load(Ordering::Relaxed), ONE | CLOSED);
    }

    #[test]
    fn a_bump_without_sleepers_clears_a_leftover_flag() {
        let word = CommitWord::default();
        word.0.store(ASLEEP, Ordering::Relaxed);
        word.bump();
        assert_eq!(word.0.load(Ordering::Relaxed), ONE);
        word.bump();
        assert_eq!(word.snapshot().count(), 2);
    }

    #[test]
    fn timeout_is_never_early() {
        let word = CommitWord::default();
        let deadline = Deadline::after(Duration::from_millis(20));
        assert_eq!(word.wait_change(word.snapshot(), deadline, &Spin::new()), Err(TimedOut));
        assert!(deadline.is_past());
    }

    #[test]
    fn bumps_of_many_wake_many() {
        let word = Arc::new(CommitWord::default());
        let threads: Vec<_> = (0..4)
            .map(|index| {
                let word = Arc::clone(&word);
                std::thread::spawn(move || {
                    let spin = Spin::new();
                    for _ in 0..500 {
                        if index % 2 == 0 {
                            word.bump();
                        }
                    }
                    let mut now = word.snapshot();
                    while now.count() < 1000 {
                        now = word.wait_change(now, Deadline::NEVER, &spin).unwrap();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(word.snapshot().count(), 1000);
    }

    #[test]
    fn close_wakes_waiters() {
        let word = Arc::new(CommitWord::default());
        let waiter = {
            let word = Arc::clone(&word);
            let seen = word.snapshot();
            std::thread::spawn(move || word.wait_change(seen, Deadline::NEVER, &Spin::new()))
        };
        while !word.has_sleepers() {
            std::thread::yield_now();
        }
        word.close();
        assert!(waiter.join().unwrap().unwrap().is_closed());
    }
}
