//! Those who read: a slot for each, so that a dead one is no hindrance.

use std::marker::PhantomData;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::fence;

use mp_wire::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::SPIN;
use crate::Error;
use crate::lock::plain;
use crate::object::Tag;
use crate::poison::LockError;
use crate::slots::{Slot, Slots};
use crate::sys::{self, Waited, Watch};

/// How many threads can read at a time.
const READERS: usize = 32;

/// The words of a slot: how many guards its owner has, and the number of this session of reading.
const COUNT: usize = 0;
const SESSION: usize = 1;

/// The slots of the readers. Clones are the same ones.
#[derive(Clone, Debug)]
pub(super) struct Readers(Slots);

impl Readers {
    pub(super) fn create() -> Result<Self, Error> {
        Slots::create(Tag::RwLock, READERS).map(Self)
    }

    /// How many read.
    pub(super) fn count(&self) -> usize {
        self.0.iter().filter(|slot| slot.owner().is_some()).count()
    }

    /// One more guard for a thread that reads already. It needs no gate, so that it does not wait for a writer that waits for it.
    pub(super) fn again<G>(&self) -> Result<Option<Reader<'_>>, LockError<G>> {
        let Some(slot) = self.0.iter().find(|slot| slot.held_by_me()) else { return Ok(None) };
        let count = &slot.words()[COUNT];
        let more = count.load(Relaxed).checked_add(1).ok_or(LockError::TooMany)?;
        count.store(more, Relaxed);
        Ok(Some(Reader::of(slot)))
    }

    /// Takes a slot, under the gate; waits for one if all are taken.
    pub(super) fn register<G>(&self, deadline: Deadline) -> Result<Reader<'_>, LockError<G>> {
        loop {
            for slot in self.0.iter().filter(|slot| slot.owner().is_none()) {
                match slot.try_lock() {
                    Ok(_) => {
                        let words = slot.words();
                        words[COUNT].store(1, Relaxed);
                        words[SESSION].store(words[SESSION].load(Relaxed).wrapping_add(1), Relaxed);
                        return Ok(Reader::of(slot));
                    }
                    Err(crate::robust::LockError::TimedOut) => {}
                    Err(error) => return Err(plain(error)),
                }
            }
            let watches: Vec<Watch<'_>> = self.0.iter().filter_map(Slot::watch).collect();
            let full = watches.len() == self.0.len();
            if full && sys::wait_any(&watches, deadline) == Waited::TimedOut {
                return Err(LockError::TimedOut);
            }
        }
    }

    /// Waits until nobody reads, under the gate, so that nobody begins to.
    pub(super) fn wait_for_none<G>(&self, deadline: Deadline) -> Result<(), LockError<G>> {
        for slot in self.0.iter() {
            if slot.held_by_me() {
                return Err(LockError::Deadlock);
            }
            if deadline != Deadline::NOW && slot.owner().is_some() {
                SPIN.until(|| slot.owner().is_none());
            }
            while let Some(watch) = slot.watch() {
                if cfg!(mp_bug = "reader_unwatched") {
                    let value = slot.words()[3].load(Relaxed);
                    sys::wait_any(&[Watch::new(&slot.words()[3], value)], deadline);
                    continue;
                }
                if deadline == Deadline::NOW
                    || sys::wait_any(&[watch], deadline) == Waited::TimedOut
                        && slot.owner().is_some()
                {
                    return Err(LockError::TimedOut);
                }
            }
        }
        // What readers have read, they have read before what is written now.
        fence(Acquire);
        Ok(())
    }
}

/// One guard of a thread that reads.
pub(super) struct Reader<'a> {
    slot: &'a Slot,
    session: u32,
    not_send: PhantomData<MutexGuard<'a, ()>>,
}

impl<'a> Reader<'a> {
    fn of(slot: &'a Slot) -> Self {
        let session = slot.words()[SESSION].load(Relaxed);
        Self { slot, session, not_send: PhantomData }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let words = self.slot.words();
        // In a forked child this is a copy, and the slot is the parent's, or the child's own by now.
        if words[SESSION].load(Relaxed) != self.session || !self.slot.held_by_me() {
            return;
        }
        match words[COUNT].load(Relaxed) {
            0 | 1 => drop(self.slot.unlock()),
            count => words[COUNT].store(count - 1, Relaxed),
        }
    }
}

impl Serialize for Readers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Readers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Slots::deserialize(deserializer, Tag::RwLock).map(Self)
    }
}
