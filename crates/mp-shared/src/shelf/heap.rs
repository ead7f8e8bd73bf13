//! The heap of what is on the shelf: each entry comes before its four children.

use std::sync::atomic::{AtomicU64, Ordering};

use super::held::Held;
use super::journal::Change;
use super::layout::{HEAP, damaged};
use crate::Error;

const CHILDREN: u64 = 4;

/// How many bytes an entry has.
pub(super) const ENTRY: u64 = 24;

/// An item by its key, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) hi: u64,
    pub(super) lo: u64,
    pub(super) block: u64,
}

impl Held<'_> {
    fn entry_at(&self, index: u64) -> Result<usize, Error> {
        let at = index.checked_mul(ENTRY).filter(|at| at + ENTRY <= self.shelf.parts.size());
        Ok(self.shelf.parts.start(HEAP) + at.ok_or_else(damaged)? as usize)
    }

    pub(super) fn entry(&self, index: u64) -> Result<Entry, Error> {
        let words = self.shelf.segment.view::<[AtomicU64; 3]>(self.entry_at(index)?)?;
        let [hi, lo, block] = words.each_ref().map(|word| word.load(Ordering::Relaxed));
        Ok(Entry { hi, lo, block })
    }

    fn set_entry(&self, change: &mut Change<'_>, index: u64, entry: Entry) -> Result<(), Error> {
        let at = self.entry_at(index)?;
        change.set(at, entry.hi)?;
        change.set(at + 8, entry.lo)?;
        change.set(at + 16, entry.block)
    }

    /// Has one entry added to so many.
    pub(super) fn push(&self, change: &mut Change<'_>, len: u64, new: Entry) -> Result<(), Error> {
        self.back(HEAP, (len + 1).checked_mul(ENTRY).ok_or_else(damaged)?)?;
        let mut hole = len;
        while hole > 0 {
            let parent = (hole - 1) / CHILDREN;
            let above = self.entry(parent)?;
            if above <= new {
                break;
            }
            self.set_entry(change, hole, above)?;
            hole = parent;
        }
        self.set_entry(change, hole, new)
    }

    /// Has the first of so many entries taken off.
    pub(super) fn pop(&self, change: &mut Change<'_>, len: u64) -> Result<(), Error> {
        let left = len.checked_sub(1).ok_or_else(damaged)?;
        if left == 0 {
            return Ok(());
        }
        let last = self.entry(left)?;
        let mut hole = 0;
        loop {
            let first = hole * CHILDREN + 1;
            let mut least = None;
            for child in first..(first + CHILDREN).min(left) {
                let entry = self.entry(child)?;
                if least.is_none_or(|(_, known)| entry < known) {
                    least = Some((child, entry));
                }
            }
            match least.filter(|(_, entry)| *entry < last) {
                Some((child, entry)) => {
                    self.set_entry(change, hole, entry)?;
                    hole = child;
                }
                None => return self.set_entry(change, hole, last),
            }
        }
    }
}
