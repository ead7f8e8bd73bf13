//! Many words that change at once: written down first, valid by the count of one word, and then done.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::Shelf;
use super::layout::{damaged, head, state_at};
use crate::Error;
use crate::segment::Segment;

/// The most words that one change has. The deepest heap moves 14 entries of three words.
const MOST: usize = 96;

/// What is to be written where. It counts as soon as one of the two words has counted further than what was applied.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Journal {
    applied_items: AtomicU32,
    applied_done: AtomicU32,
    len: AtomicU64,
    entries: [[AtomicU64; 2]; MOST],
}

/// By which word a change becomes valid, and so who is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Consumers and producers.
    Items,
    /// Those who wait until everything is done.
    Done,
    /// Nobody.
    Nobody,
}

impl Journal {
    /// Says whether a change is valid and may not have been made in full.
    pub(super) fn is_pending(&self, shelf: &Shelf) -> bool {
        let (items, done) = (&shelf.header.items.0, &shelf.header.done.0);
        self.applied_items.load(Ordering::Acquire) != items.snapshot().count()
            || self.applied_done.load(Ordering::Acquire) != done.snapshot().count()
    }

    /// Makes the change that is valid; the caller has the lock. Doing it again does no harm.
    pub(super) fn apply(&self, shelf: &Shelf) -> Result<(), Error> {
        let len = self.len.load(Ordering::Relaxed);
        let entries = usize::try_from(len).ok().and_then(|len| self.entries.get(..len));
        for [at, value] in entries.ok_or_else(damaged)? {
            let at = usize::try_from(at.load(Ordering::Relaxed)).map_err(|_| damaged())?;
            let word = shelf.segment.atomic_u64(at).map_err(|_| damaged())?;
            word.store(value.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let (items, done) = (&shelf.header.items.0, &shelf.header.done.0);
        self.applied_items.store(items.snapshot().count(), Ordering::Release);
        self.applied_done.store(done.snapshot().count(), Ordering::Release);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn set_len_for_test(&self, len: u64) {
        self.len.store(len, Ordering::Relaxed);
    }

    /// All words that a peer can write.
    #[cfg(test)]
    pub(super) fn words_for_test(&self) -> &[AtomicU64] {
        self.entries.as_flattened()
    }
}

/// A change that is being written down, under the lock. Dropped, it is as if it had not been.
pub(super) struct Change<'a> {
    shelf: &'a Shelf,
    len: usize,
}

impl<'a> Change<'a> {
    pub(super) fn new(shelf: &'a Shelf) -> Self {
        Self { shelf, len: 0 }
    }

    /// Has a word of the segment set.
    pub(super) fn set(&mut self, at: usize, value: u64) -> Result<(), Error> {
        let [place, word] = self.shelf.header.journal.entries.get(self.len).ok_or_else(damaged)?;
        place.store(at as u64, Ordering::Relaxed);
        word.store(value, Ordering::Relaxed);
        self.len += 1;
        Ok(())
    }

    /// Has a word of the state set.
    pub(super) fn state(&mut self, word: usize, value: u64) -> Result<(), Error> {
        self.set(state_at(word), value)
    }

    /// Has a word of the head of a block set.
    pub(super) fn block(&mut self, block: u64, word: usize, value: u64) -> Result<(), Error> {
        self.set(block as usize + word * 8, value)
    }

    /// Makes the change: it is valid in one step, in which those who wait for it are woken.
    pub(super) fn commit(self, by: By) -> Result<(), Error> {
        let (header, journal) = (&self.shelf.header, &self.shelf.header.journal);
        journal.len.store(self.len as u64, Ordering::Relaxed);
        // Seeded mistake: what is written down is done before it is valid.
        if cfg!(mp_bug = "shelf_early") {
            journal.apply(self.shelf)?;
        }
        match by {
            By::Items => header.items.0.commit(),
            By::Done => header.done.0.commit(),
            By::Nobody => header.done.0.commit_silently(),
        }
        journal.apply(self.shelf)
    }
}

/// Reads a word of the head of a block.
pub(super) fn word(segment: &Segment, block: u64, word: usize) -> Result<u64, Error> {
    let at = usize::try_from(block).map_err(|_| damaged())?;
    let words = segment.view::<[AtomicU64; head::NEXT + 1]>(at).map_err(|_| damaged())?;
    Ok(words.get(word).ok_or_else(damaged)?.load(Ordering::Relaxed))
}
