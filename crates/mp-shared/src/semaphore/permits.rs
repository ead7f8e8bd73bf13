//! What both semaphores are: permits in use, each of them a robust lock, and how many there may be.
//!
//! The numbers in comments are the steps of the README.

use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, compiler_fence, fence};
use std::time::Duration;

use mp_wire::{Deadline, Spin};
use serde::{Deserializer, Serializer, de};

use super::{AcquireError, ReleaseError, SemaphoreGuard};
use crate::home::Home;
#[cfg(feature = "named")]
use crate::object::Object;
use crate::object::Tag;
use crate::robust::{LinkedLock, LockError};
use crate::slots::{Slot, Slots};
use crate::sys::{self, Waited, WakeOp, Watch};
use crate::{Error, ErrorKind};

/// The most permits that a semaphore can have, with those that are held.
pub(super) const MOST: u32 = 1 << 30;

/// How many permits can be held at the same time, at least and at most.
const LEAST_SLOTS: usize = 16;
const MOST_SLOTS: usize = 4096;

/// How many of them one thread can hold: when it dies, the kernel looks at 2048 locks of it, newest first, and no further.
const MOST_OF_A_THREAD: usize = 1024;

/// The words of the head.
const TOTAL: usize = 0;
const USED: usize = 1;
const BOUND: usize = 2;

/// In the first word: somebody may be asleep.
const ASLEEP: u32 = 1;
/// In the first word: one permit.
const ONE: u32 = 2;

/// How long a call that does not wait waits for another one that is in the middle of taking or adding a permit.
const PATIENCE: Duration = Duration::from_millis(100);

/// Whether looking before sleeping has been paying off in this process.
static SPIN: Spin = Spin::new();

/// The permits of a semaphore. Clones are the same ones.
#[derive(Clone)]
pub(super) struct Permits {
    slots: Slots,
    gate: LinkedLock,
}

impl Permits {
    pub(super) fn create(home: Home<'_>, value: u32, bounded: bool) -> Result<Self, Error> {
        if value > MOST {
            let what = format!("a semaphore has at most {MOST} permits, not {value}");
            return Err(Error::new(ErrorKind::InvalidInput, what));
        }
        let capacity = (value as usize).saturating_mul(2).clamp(LEAST_SLOTS, MOST_SLOTS);
        let this = Self::of(Slots::create_at(home, Tag::Semaphore, 1 + capacity)?)?;
        this.word(TOTAL).store(value * ONE, Relaxed);
        this.word(BOUND).store(if bounded { value + 1 } else { 0 }, Relaxed);
        Ok(this)
    }

    fn of(slots: Slots) -> Result<Self, Error> {
        let gate = slots.object().lock()?;
        Ok(Self { slots, gate })
    }

    pub(super) fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.slots.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
        bounded: bool,
    ) -> Result<Self, D::Error> {
        let slots = Slots::deserialize(deserializer, Tag::Semaphore)?;
        Self::attach(slots, bounded).map_err(de::Error::custom)
    }

    /// Those in a row that somebody else has made.
    pub(super) fn attach(slots: Slots, bounded: bool) -> Result<Self, Error> {
        let this = Self::of(slots)?;
        if (this.word(BOUND).load(Relaxed) != 0) != bounded {
            let what = "the semaphore that was received is of another kind";
            return Err(Error::new(ErrorKind::Incompatible, what));
        }
        Ok(this)
    }

    #[cfg(feature = "named")]
    pub(super) fn object(&self) -> &Object {
        self.slots.object()
    }

    fn word(&self, index: usize) -> &AtomicU32 {
        &self.slots.object().head().words[index]
    }

    /// The slots that have been used so far, of which some are held.
    fn used(&self) -> impl Iterator<Item = &Slot> {
        let used = self.word(USED).load(Relaxed) as usize;
        self.slots.iter().skip(1).take(used)
    }

    fn capacity(&self) -> usize {
        self.slots.len().saturating_sub(1)
    }

    fn held(&self) -> usize {
        self.used().filter(|slot| slot.owner().is_some()).count()
    }

    /// How many permits there are, held ones included.
    fn total(&self) -> usize {
        (self.word(TOTAL).load(Relaxed) / ONE) as usize
    }

    /// The most that there may be.
    pub(super) fn most(&self) -> u32 {
        self.word(BOUND).load(Relaxed).checked_sub(1).unwrap_or(MOST)
    }

    /// Says whether so many held ones are all that can be held now.
    fn is_exhausted(&self, held: usize) -> bool {
        held >= self.total() || held >= self.capacity()
    }

    /// How many permits are free, as somebody sees it who looks while they come and go.
    pub(super) fn glance(&self) -> u32 {
        u32::try_from(self.total().saturating_sub(self.held())).unwrap_or(MOST)
    }

    /// How many permits are free.
    pub(super) fn value(&self) -> u32 {
        // While we have the gate nobody takes a permit, so that none is counted twice or not at all.
        let _gate = self.gate(Deadline::NOW);
        self.glance()
    }

    fn gate(&self, deadline: Deadline) -> Result<Gate<'_>, LockError> {
        let mut result = self.gate.lock_gate(deadline);
        if result == Err(LockError::TimedOut) && deadline == Deadline::NOW {
            // Nobody waits while holding the gate: whoever has it is about to open it.
            result = self.gate.lock_gate(Deadline::after(PATIENCE));
        }
        result.map(|_| Gate(self))
    }

    /// Takes a permit if one is free.
    pub(super) fn try_acquire(&self) -> Result<SemaphoreGuard<'_>, AcquireError> {
        self.acquire(Deadline::NOW).map_err(|error| match error {
            AcquireError::TimedOut => AcquireError::WouldBlock,
            other => other,
        })
    }

    /// Takes a permit.
    pub(super) fn acquire(&self, deadline: Deadline) -> Result<SemaphoreGuard<'_>, AcquireError> {
        if let Some(permit) = self.gate(deadline)?.take()? {
            return Ok(permit);
        }
        if deadline == Deadline::NOW {
            return Err(AcquireError::TimedOut);
        }
        if SPIN.until(|| !self.is_exhausted(self.held()))
            && let Some(permit) = self.gate(deadline)?.take()?
        {
            return Ok(permit);
        }
        self.wait(deadline)
    }

    /// Waits for a permit.
    fn wait(&self, deadline: Deadline) -> Result<SemaphoreGuard<'_>, AcquireError> {
        // 5. One at a time waits for permits; the others wait for the turn, which the kernel hands on.
        let _turn = match Turn::take(self, deadline) {
            Ok(turn) => turn,
            Err(LockError::TimedOut) => {
                let permit = self.gate(Deadline::NOW)?.take()?;
                return permit.ok_or(AcquireError::TimedOut);
            }
            Err(error) => return Err(error.into()),
        };
        let mut watches = Vec::new();
        let mut late = false;
        loop {
            let gate = self.gate(if late { Deadline::NOW } else { deadline })?;
            if let Some(permit) = gate.take()? {
                gate.nobody_sleeps();
                return Ok(permit);
            }
            if late {
                gate.nobody_sleeps();
                return Err(AcquireError::TimedOut);
            }
            let exhausted = gate.watch(&mut watches);
            drop(gate);
            // 7.
            late = exhausted && sys::wait_any(&watches, deadline) == Waited::TimedOut;
        }
    }

    /// Gives back a permit, held by this thread in this slot.
    pub(super) fn give_back(&self, slot: &Slot) {
        // 9.
        let _ = slot.unlock();
        let used = self.word(USED).load(Relaxed) as usize;
        if used >= sys::WATCHES && self.word(TOTAL).load(Relaxed) & ASLEEP != 0 {
            // The one who waits may have had more to watch than it can, and looks now and then: make that now.
            sys::wake(self.word(TOTAL), 1);
        }
    }

    /// Uses up a permit, held by this thread in this slot.
    pub(super) fn use_up(&self, slot: &Slot) {
        let Ok(_gate) = self.gate(Deadline::NEVER) else { return };
        // 11. The slot is freed before the gate is, so that nobody who counts sees more held than there are.
        let word = self.word(TOTAL);
        let value = word.load(Relaxed);
        word.store(value.checked_sub(ONE).unwrap_or(value), Relaxed);
        compiler_fence(SeqCst);
        let _ = slot.unlock();
    }

    /// Adds a permit.
    pub(super) fn release(&self) -> Result<(), ReleaseError> {
        let gate = self.gate(Deadline::NEVER)?;
        let word = self.word(TOTAL);
        let value = word.load(Relaxed);
        if value / ONE >= self.most() {
            return Err(ReleaseError::TooMany);
        }
        // 10. The gate is ours, so nobody else changes the word.
        if value & ASLEEP == 0 {
            word.store(value + ONE, Relaxed);
        } else if cfg!(mp_bug = "release_split") {
            word.store(value + ONE, Relaxed);
            sys::wake(word, i32::MAX);
        } else if sys::wake_op(word, i32::MAX, WakeOp::Add(ONE)) == 0 {
            // Left by one who died, or of one who lies down just now: that one sees that the word has changed.
            gate.nobody_sleeps();
        }
        Ok(())
    }
}

#[cfg(test)]
impl Permits {
    pub(super) fn is_marked_asleep(&self) -> bool {
        self.word(TOTAL).load(Relaxed) & ASLEEP != 0
    }

    /// Says whether somebody has the turn and sleeps, or is just about to.
    pub(super) fn has_leader_asleep(&self) -> bool {
        self.is_marked_asleep() && self.slots.get(0).is_some_and(|turn| turn.owner().is_some())
    }

    pub(super) fn with_gate(&self, step: impl FnOnce()) {
        let _gate = self.gate(Deadline::NEVER).unwrap();
        step();
    }
}

/// The gate, held: who takes permits, or changes how many there are, is alone.
struct Gate<'a>(&'a Permits);

impl<'a> Gate<'a> {
    /// Takes the lowest free slot, if a permit is free.
    fn take(&self) -> Result<Option<SemaphoreGuard<'a>>, AcquireError> {
        let permits = self.0;
        let (mut used, mut held, mut free) = (0, 0, None);
        for slot in permits.used() {
            used += 1;
            if slot.owner().is_some() {
                held += 1;
            } else if free.is_none() {
                free = Some(slot);
            }
        }
        let mine = || permits.used().filter(|slot| slot.held_by_me()).count();
        if held >= MOST_OF_A_THREAD && mine() >= MOST_OF_A_THREAD {
            return Err(AcquireError::TooMany);
        }
        if permits.is_exhausted(held) {
            return Ok(None);
        }
        // Who gave a permit back did so in its slot, which need not be the one that we take.
        fence(Acquire);
        // 2. Whoever counts must look at a slot before it can be held.
        let slot = match free.or_else(|| permits.slots.get(1 + used)) {
            Some(slot) => slot,
            None => return Ok(None),
        };
        if free.is_none() {
            permits.word(USED).store(used as u32 + 1, Relaxed);
            compiler_fence(SeqCst);
        }
        // 3.
        match slot.try_lock() {
            Ok(_) => Ok(Some(SemaphoreGuard::new(permits, slot))),
            Err(LockError::Unsupported) => Err(AcquireError::Unsupported),
            Err(LockError::TooMany) => Err(AcquireError::TooMany),
            // Not free after all, which nobody can do who keeps to the protocol.
            Err(_) => Ok(None),
        }
    }

    /// Collects what the next permit can come from; false if one has come already.
    fn watch(&self, watches: &mut Vec<Watch<'a>>) -> bool {
        let permits = self.0;
        // 6.
        let word = permits.word(TOTAL);
        let value = word.load(Relaxed) | ASLEEP;
        word.store(value, Relaxed);
        watches.clear();
        watches.push(Watch::new(word, value));
        watches.extend(permits.used().filter_map(Slot::watch));
        let exhausted = permits.is_exhausted(watches.len() - 1);
        if cfg!(mp_bug = "permit_unwatched") {
            watches.truncate(1);
        }
        exhausted
    }

    /// Takes the mark off that somebody sleeps.
    fn nobody_sleeps(&self) {
        let word = self.0.word(TOTAL);
        word.store(word.load(Relaxed) & !ASLEEP, Relaxed);
    }
}

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        let _ = self.0.gate.unlock();
    }
}

/// The turn to wait for permits, held.
struct Turn<'a>(&'a Slot);

impl<'a> Turn<'a> {
    fn take(permits: &'a Permits, deadline: Deadline) -> Result<Self, LockError> {
        // There is always a first slot, but this memory is not ours alone.
        let slot = permits.slots.get(0).ok_or(LockError::TimedOut)?;
        slot.lock(deadline).map(|_| Self(slot))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}
