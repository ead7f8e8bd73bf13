#![doc = include_str!("README.md")]

use std::ptr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicU32, fence};
use std::time::Duration;

use mp_wire::{Deadline, Spin};

use super::BarrierError;
use crate::robust::{self, LinkedLock};
use crate::slots::{Slot, Slots};
use crate::sys::{self, Waited, WakeOp, Watch};

/// Somebody may be asleep.
pub(super) const ASLEEP: u32 = 1;
const BROKEN: u32 = 2;
/// What the end of a pass adds to the word.
const PASS: u32 = 4;

/// The mark of the pass in which the party has arrived; 0: none.
pub(super) const ARRIVED: usize = 0;
/// Not zero while the owner of the slot takes part.
pub(super) const MEMBER: usize = 1;
/// How the pass ended in which the party had arrived; good once the word has another pass.
const OUTCOME: usize = 2;

const OUTCOME_TRIPPED: u32 = 1;
const OUTCOME_BROKEN: u32 = 2;

/// The number of slots is a multiple of this.
pub(super) const BLOCK: usize = 8;

/// How long to wait for a slot before looking again. Leaving wakes nobody on purpose.
const NAP: Duration = Duration::from_millis(1);

/// Whether looking before sleeping has been paying off in this process.
static SPIN: Spin = Spin::new();

/// How a pass ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All go on.
    Trip,
    /// None goes on, and none can come until there is a reset.
    Break,
    /// None goes on; the barrier is as new.
    Reset,
}

/// What tells the passes apart in a word: never zero.
fn mark(word: u32) -> u32 {
    word & !(ASLEEP | BROKEN) | 1
}

/// Says whether the party of a slot is dead: it takes part, and nobody holds the slot.
///
/// Under the gate that is certain. Elsewhere it may be a party that is just coming.
fn is_dead(slot: &Slot) -> bool {
    let free = slot.owner().is_none();
    // Whoever leaves in good order clears its mark before it lets go, so the mark is read after the owner.
    fence(Acquire);
    free && slot.words()[MEMBER].load(Relaxed) != 0
}

/// A barrier in shared memory. Clones are the same one.
#[derive(Clone)]
pub(super) struct Pass {
    slots: Slots,
    gate: LinkedLock,
    parties: usize,
}

impl Pass {
    pub(super) fn new(slots: Slots, parties: usize) -> Result<Self, crate::Error> {
        let gate = slots.object().lock()?;
        Ok(Self { slots, gate, parties })
    }

    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// All slots, whole blocks at a time: to find one costs more than to look at it.
    fn each(&self) -> impl Iterator<Item = &Slot> {
        let block = |index| {
            let at = index * size_of::<[Slot; BLOCK]>();
            self.slots.object().view::<[Slot; BLOCK]>(at).ok()
        };
        (0..self.slots.len() / BLOCK).map_while(block).flatten()
    }

    pub(super) fn parties(&self) -> usize {
        self.parties
    }

    pub(super) fn word(&self) -> &AtomicU32 {
        &self.slots.object().head().words[0]
    }

    /// How many have arrived in the pass that goes on.
    pub(super) fn waiting(&self) -> usize {
        let word = self.word().load(Acquire);
        if word & BROKEN == 0 { self.arrived(mark(word)) } else { 0 }
    }

    pub(super) fn is_broken(&self) -> bool {
        if self.each().any(is_dead) {
            // Looks again, and breaks it if that is so.
            let _ = self.enter();
        }
        self.says_broken()
    }

    /// What the word says, which may not know yet of somebody's death.
    pub(super) fn says_broken(&self) -> bool {
        self.word().load(Acquire) & BROKEN != 0
    }

    /// The slots of all who take part, and of the dead that were not noticed yet.
    pub(super) fn members(&self) -> impl Iterator<Item = &Slot> {
        self.each().filter(|slot| slot.words()[MEMBER].load(Relaxed) != 0)
    }

    /// Takes the gate, and finds those who have died.
    ///
    /// It is never held for long, so no deadline applies. A holder that died has left nothing to repair.
    pub(super) fn enter(&self) -> Result<Gate<'_>, BarrierError> {
        let _ = self.gate.lock_gate(Deadline::NEVER).map_err(|_| BarrierError::Unsupported)?;
        let gate = Gate(self);
        gate.look();
        Ok(gate)
    }

    fn arrived(&self, mark: u32) -> usize {
        self.members().filter(|slot| slot.words()[ARRIVED].load(Relaxed) == mark).count()
    }

    /// Takes part in a pass: arrives, and waits for its end. The caller holds `me`.
    pub(super) fn wait<'a>(
        &'a self,
        mut gate: Gate<'a>,
        me: &Slot,
        deadline: Deadline,
        action: Option<impl FnOnce()>,
    ) -> Result<usize, BarrierError> {
        let (mark, index) = loop {
            let word = self.word().load(Relaxed);
            if word & BROKEN != 0 {
                return Err(BarrierError::Broken);
            }
            let (mark, arrived) = (mark(word), self.arrived(mark(word)));
            if arrived < self.parties {
                break (mark, arrived);
            }
            // All are there, and the action is running. This party is one of the next pass.
            drop(gate);
            self.await_end(me, mark, deadline)?;
            gate = self.enter()?;
        };
        me.words()[ARRIVED].store(mark, Relaxed);
        let arrived = Arrived { pass: self, me, mark };
        if index + 1 < self.parties {
            drop(gate);
            self.await_end(me, mark, deadline)?;
        } else if let Some(action) = action {
            drop(gate);
            action();
            // The action may have forked: then the copy returns from it, too.
            if !me.held_by_me() {
                return Err(BarrierError::Unregistered);
            }
            let gate = self.enter()?;
            if gate.goes_on(mark) {
                gate.end(End::Trip);
            }
        } else {
            gate.end(End::Trip);
        }
        arrived.outcome().map(|()| index)
    }

    /// Waits a moment for somebody to leave, since no slot is free; breaks the barrier if the time is up.
    pub(super) fn nap(&self, deadline: Deadline) -> Result<(), BarrierError> {
        let word = self.word();
        let value = word.load(Relaxed);
        if deadline.remaining().is_none_or(|left| left > NAP) {
            sys::wait(word, value, Deadline::after(NAP));
        } else if sys::wait(word, value, deadline) == Waited::TimedOut {
            let gate = self.enter()?;
            if !self.says_broken() {
                gate.end(End::Break);
            }
            return Err(BarrierError::TimedOut);
        }
        Ok(())
    }

    /// Waits until a pass has ended; breaks the barrier if the time is up before.
    fn await_end(&self, me: &Slot, mark: u32, deadline: Deadline) -> Result<(), BarrierError> {
        let word = self.word();
        let goes_on = |value: u32| self::mark(value) == mark;
        if deadline != Deadline::NOW {
            SPIN.until(|| !goes_on(word.load(Relaxed)));
        }
        let mut watches = Vec::new();
        loop {
            let value = word.load(Acquire);
            if !goes_on(value) {
                // This thread may have been woken for a death as well, and somebody else may sleep in the next pass already.
                if !watches.is_empty() && self.each().any(is_dead) {
                    drop(self.enter()?);
                }
                return Ok(());
            }
            let asleep = value | ASLEEP;
            if value != asleep && word.compare_exchange(value, asleep, Relaxed, Relaxed).is_err() {
                continue;
            }
            watches.clear();
            watches.push(Watch::new(word, asleep));
            let mut dead = false;
            for slot in self.each().filter(|&slot| !ptr::eq(slot, me)) {
                if !cfg!(mp_bug = "barrier_unwatched") {
                    watches.push(slot.watch_always());
                }
                // Whoever dies from here on changes the word that was just read.
                dead |= is_dead(slot);
            }
            if dead {
                drop(self.enter()?);
                continue;
            }
            if sys::wait_any(&watches, deadline) == Waited::TimedOut {
                let gate = self.enter()?;
                if !gate.goes_on(mark) {
                    return Ok(());
                }
                gate.end(End::Break);
                return Err(BarrierError::TimedOut);
            }
        }
    }
}

/// A party that has arrived in a pass.
struct Arrived<'a> {
    pass: &'a Pass,
    me: &'a Slot,
    mark: u32,
}

impl Arrived<'_> {
    /// How the pass ended, which it has.
    fn outcome(&self) -> Result<(), BarrierError> {
        // The word was read since, or written by this thread.
        fence(Acquire);
        match self.me.words()[OUTCOME].load(Relaxed) {
            OUTCOME_TRIPPED => Ok(()),
            _ => Err(BarrierError::Broken),
        }
    }
}

impl Drop for Arrived<'_> {
    fn drop(&mut self) {
        // In a forked copy the slot is the parent's.
        if !self.me.held_by_me() {
            return;
        }
        // The action panicked, or the gate cannot be had: nobody else would end this pass.
        if mark(self.pass.word().load(Relaxed)) == self.mark
            && let Ok(gate) = self.pass.enter()
            && gate.goes_on(self.mark)
        {
            gate.end(End::Break);
        }
        self.me.words()[ARRIVED].store(0, Relaxed);
    }
}

/// The right to change the barrier, until this is dropped.
pub(super) struct Gate<'a>(&'a Pass);

impl<'a> Gate<'a> {
    /// Breaks the barrier if a party has died.
    fn look(&self) {
        let dead = || self.0.each().filter(|&slot| is_dead(slot));
        if dead().next().is_none() {
            return;
        }
        if !self.0.says_broken() {
            self.end(End::Break);
        }
        // Only now that all know of it is it forgotten.
        for slot in dead() {
            slot.words()[ARRIVED].store(0, Relaxed);
            slot.words()[MEMBER].store(0, Relaxed);
        }
    }

    /// Says whether a pass has not ended yet.
    fn goes_on(&self, mark: u32) -> bool {
        self::mark(self.0.word().load(Relaxed)) == mark
    }

    /// Takes a free slot for the calling thread.
    pub(super) fn register(&self) -> Result<&'a Slot, BarrierError> {
        for slot in self.0.each() {
            if slot.owner().is_some() {
                continue;
            }
            match slot.try_lock() {
                Ok(_) => {
                    slot.words()[ARRIVED].store(0, Relaxed);
                    slot.words()[MEMBER].store(1, Relaxed);
                    return Ok(slot);
                }
                Err(robust::LockError::Unsupported) => return Err(BarrierError::Unsupported),
                Err(robust::LockError::TooMany) => return Err(BarrierError::TooMany),
                Err(_) => {}
            }
        }
        Err(BarrierError::Full)
    }

    /// Ends the pass that goes on, and wakes all who sleep, in one step.
    pub(super) fn end(&self, end: End) {
        let word = self.0.word();
        let mut value = word.load(Relaxed);
        let outcome = if end == End::Trip { OUTCOME_TRIPPED } else { OUTCOME_BROKEN };
        for slot in self.0.each() {
            if slot.words()[ARRIVED].load(Relaxed) == mark(value) {
                slot.words()[OUTCOME].store(outcome, Relaxed);
            }
        }
        let broken = if end == End::Break { BROKEN } else { 0 };
        while value & ASLEEP == 0 {
            let next = (value & !BROKEN).wrapping_add(PASS) | broken;
            match word.compare_exchange(value, next, AcqRel, Relaxed) {
                Ok(_) => return,
                Err(now) => value = now,
            }
        }
        // Nobody sleeps before a broken barrier, so that bit is not set; only this clears the other one.
        let sum = PASS + broken - ASLEEP;
        if cfg!(mp_bug = "trip_split") {
            word.fetch_add(sum, AcqRel);
            sys::wake(word, i32::MAX);
            return;
        }
        sys::wake_op(word, i32::MAX, WakeOp::Add(sum));
    }
}

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        // Refused in a forked copy, which is right.
        let _ = self.0.gate.unlock();
    }
}
