//! The state of a shelf in the hands of whoever has its lock, and the memory that items lie in.

use std::sync::atomic::Ordering;

use super::journal::{By, Change, word};
use super::layout::{
    BUMP, BYTES, CLASSES, FREE, HEAP, ITEMS, LARGE, LEASED, LOST, OUT, PARTS, Parts, damaged, head,
};
use super::{Shelf, Turn};
use crate::robust::linked::Brief;
use crate::{Error, ErrorKind};

/// So much memory is kept when a shelf is empty.
const KEEP: u64 = 16 << 20;

/// Beyond what any word of the state reaches.
const NEVER: u64 = 1 << 62;

/// So much of a part is kept when the rest is given back.
const FIRST: u64 = 64 << 10;

/// The lock, with everything done that those before have begun.
pub(super) struct Held<'a> {
    pub(super) shelf: &'a Shelf,
    pub(super) _lock: Brief<'a>,
    /// Let go of after the lock, as fields are: a thread announces one lock at a time to the kernel.
    pub(super) turn: Option<Turn<'a>>,
}

impl<'a> Held<'a> {
    /// Lets the turn end after the lock.
    pub(super) fn keep_turn(&mut self, turn: Option<Turn<'a>>) {
        // Seeded mistake: the turn ends first, and with it the announcement of the lock.
        if !cfg!(mp_bug = "shelf_turn_first") {
            self.turn = turn;
        }
    }
}

impl Held<'_> {
    /// Reads a word of the state, which another process may have made anything, but not so large that sums overflow.
    pub(super) fn state(&self, word: usize) -> u64 {
        let word = self.shelf.header.state.0.get(word);
        word.map_or(0, |word| word.load(Ordering::Relaxed).min(NEVER))
    }

    pub(super) fn items(&self) -> u64 {
        self.state(ITEMS)
    }

    /// How many items are out and not lost.
    pub(super) fn out(&self) -> u64 {
        self.state(LEASED).saturating_sub(self.state(LOST))
    }

    pub(super) fn word(&self, block: u64, which: usize) -> Result<u64, Error> {
        word(&self.shelf.segment, block, which)
    }

    /// How many bytes the item in a block has, which is one of ours.
    pub(super) fn len_of(&self, block: u64) -> Result<u64, Error> {
        let class = self.shelf.parts.class_of(block)?;
        let len = self.word(block, head::LEN)?;
        let room = Parts::block_size(class) - super::layout::BLOCK_HEAD as u64;
        if len <= room { Ok(len) } else { Err(damaged()) }
    }

    /// Says whether the bounds allow for an item of so many bytes more.
    pub(super) fn has_room(&self, len: u64) -> bool {
        let shelf = self.shelf;
        (shelf.capacity == 0 || self.items() < shelf.capacity)
            && (shelf.byte_capacity == 0
                || self.state(BYTES).saturating_add(len) <= shelf.byte_capacity)
    }

    /// Backs a part with memory up to `end`; in growing steps, so that few calls are needed.
    pub(super) fn back(&self, part: usize, end: u64) -> Result<(), Error> {
        let parts = self.shelf.parts;
        let word = self.shelf.header.backed.get(part).ok_or_else(damaged)?;
        let backed = word.load(Ordering::Relaxed);
        if end <= backed {
            return Ok(());
        }
        if end > parts.size() {
            let what = "the shelf has used up its addresses";
            return Err(Error::new(ErrorKind::Exhausted, what));
        }
        let to = end.max(backed + (backed / 2).min(1 << 20));
        let to = to.next_multiple_of(4096).min(parts.size());
        // What lies before is backed already, or was never used.
        self.shelf.segment.commit(parts.range(part, backed.min(to), to))?;
        word.store(to, Ordering::Relaxed);
        Ok(())
    }

    /// Finds a block for an item of so many bytes, backed with memory; it is free until the change is made.
    pub(super) fn allocate(&self, change: &mut Change<'_>, len: u64) -> Result<u64, Error> {
        let parts = self.shelf.parts;
        let mut result =
            Err(Error::new(ErrorKind::Exhausted, "the shelf has used up its addresses"));
        // Where the addresses of one class are used up, there are those of larger blocks.
        for class in Parts::class_for(len)..parts.classes() {
            let size = Parts::block_size(class);
            let free = self.state(FREE + class);
            let bump = self.state(BUMP + class);
            if free == 0 && bump.checked_add(size).is_none_or(|end| end > parts.size()) {
                continue;
            }
            let part = Parts::part_of(class);
            let block = if free == 0 { (parts.start(part) as u64) + bump } else { free };
            if parts.class_of(block)? != class {
                return Err(damaged());
            }
            let backed = if size < LARGE {
                self.back(part, block + size - parts.start(part) as u64)
            } else {
                let used = super::layout::BLOCK_HEAD as u64 + len;
                self.shelf.segment.commit(block as usize..(block + used) as usize)
            };
            result = backed.map(|()| block);
            if result.is_ok() {
                if free == 0 {
                    change.state(BUMP + class, bump + size)?;
                } else {
                    change.state(FREE + class, self.word(block, head::NEXT)?)?;
                }
            }
            break;
        }
        result
    }

    /// Has a block freed.
    pub(super) fn free(&self, change: &mut Change<'_>, block: u64) -> Result<(), Error> {
        let class = self.shelf.parts.class_of(block)?;
        change.block(block, head::NEXT, self.state(FREE + class))?;
        change.state(FREE + class, block)
    }

    /// Gives back memory that nobody uses, after a block was freed.
    pub(super) fn give_back(&self, block: u64) {
        let parts = self.shelf.parts;
        let Ok(class) = parts.class_of(block) else { return };
        let size = Parts::block_size(class);
        if size >= LARGE {
            // All but its first page, where its head is.
            let range = block as usize + super::layout::BLOCK_HEAD..(block + size) as usize;
            let _ = self.shelf.segment.discard(range);
        }
        if self.items() == 0 && self.state(LEASED) == 0 {
            let backed = self.shelf.header.backed.iter();
            let backed =
                backed.fold(0_u64, |sum, word| sum.saturating_add(word.load(Ordering::Relaxed)));
            if backed > KEEP {
                // What fails here is tried again when it is empty the next time.
                let _ = self.begin_anew();
            }
        }
    }

    /// Forgets all blocks of an empty shelf, and gives back what they lay in.
    fn begin_anew(&self) -> Result<(), Error> {
        let (shelf, parts) = (self.shelf, self.shelf.parts);
        let mut used = [0; PARTS];
        let mut change = Change::new(shelf);
        for class in 0..CLASSES {
            if let Some(used) = used.get_mut(Parts::part_of(class)) {
                *used = self.state(BUMP + class).min(parts.size());
            }
            change.state(BUMP + class, 0)?;
            change.state(FREE + class, 0)?;
        }
        change.commit(By::Nobody)?;
        for (part, (word, used)) in shelf.header.backed.iter().zip(used).enumerate().skip(HEAP) {
            let backed = word.load(Ordering::Relaxed).min(parts.size());
            let end = backed.max(used);
            if end > FIRST {
                // First the word: what has no memory must not be taken for backed.
                word.store(backed.min(FIRST), Ordering::Relaxed);
                let _ = shelf.segment.discard(parts.range(part, FIRST, end));
            }
        }
        Ok(())
    }

    /// The block at a place of the list of what is out.
    pub(super) fn out_at(&self, place: u64) -> Result<u64, Error> {
        let word = self.shelf.segment.atomic_u64(self.out_place(place)?)?;
        Ok(word.load(Ordering::Relaxed))
    }

    pub(super) fn out_place(&self, place: u64) -> Result<usize, Error> {
        let at = place.checked_mul(8).filter(|at| at + 8 <= self.shelf.parts.size());
        Ok(self.shelf.parts.start(OUT) + at.ok_or_else(damaged)? as usize)
    }
}
