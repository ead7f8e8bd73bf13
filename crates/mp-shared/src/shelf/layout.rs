//! What of the shelf lies where.
#![expect(unsafe_code, reason = "vouches that the shelf's header is made of atomics alone")]

use std::mem::offset_of;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::journal::Journal;
use crate::Error;
use crate::ring::Apart;
use crate::robust::linked::Cell;
use crate::segment::{HEADER_LEN, Shared};
use crate::word::CommitWord;

/// The file is divided into so many parts of the same size.
pub(super) const PARTS: usize = 32;

/// The part of the heap, and that of the list of what is out; the header lies in the first, and blocks in those that follow.
pub(super) const HEAP: usize = 1;
pub(super) const OUT: usize = 2;
const FIRST_CLASS: usize = 3;

/// The classes of blocks, each of twice the size of the one before.
pub(super) const CLASSES: usize = 25;

/// The smallest block, and what of each its head takes.
pub(super) const SMALLEST: u64 = 128;
pub(super) const BLOCK_HEAD: usize = 64;

/// Blocks from this size on have memory only where it is used.
pub(super) const LARGE: u64 = 64 << 10;

/// Where the header begins among the bytes of the segment.
pub(super) const HEADER_AT: usize = 128 - HEADER_LEN;

/// What must be backed from the beginning.
pub(super) const BACKED: usize = 4096 - HEADER_LEN;

/// The words of the state that the journal changes.
pub(super) const WORDS: usize = 64;
/// How many items are in the heap.
pub(super) const ITEMS: usize = 0;
/// How many items have ever been put.
pub(super) const PUTS: usize = 1;
/// How many are out, with those that are lost.
pub(super) const LEASED: usize = 2;
/// How many of those are lost: whoever had them is dead.
pub(super) const LOST: usize = 3;
/// How many bytes the items in the heap have together.
pub(super) const BYTES: usize = 4;
/// Of each class, how many bytes of its part have been made blocks.
pub(super) const BUMP: usize = 8;
/// Of each class, the first free block, or zero.
pub(super) const FREE: usize = BUMP + CLASSES;

const _: () = assert!(FREE + CLASSES <= WORDS && FIRST_CLASS + CLASSES <= PARTS);

/// The header of a shelf.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Header {
    /// The most items, zero for no bound.
    pub(super) capacity: AtomicU64,
    /// The most bytes of all items together, zero for no bound.
    pub(super) byte_capacity: AtomicU64,
    /// The most bytes of one item.
    pub(super) record_limit: AtomicU64,
    /// In which order items come.
    pub(super) order: AtomicU32,
    /// What becomes of an item whose consumer has died.
    pub(super) orphans: AtomicU32,
    /// How many bits the size of a part has.
    pub(super) part_bits: AtomicU32,
    pub(super) lock: Apart<Cell>,
    pub(super) get_turn: Apart<Cell>,
    pub(super) put_turn: Apart<Cell>,
    pub(super) items: Apart<CommitWord>,
    pub(super) done: Apart<CommitWord>,
    pub(super) journal: Journal,
    pub(super) state: Apart<[AtomicU64; WORDS]>,
    /// How many bytes of each part are backed with memory: not part of the state, as backing them again does no harm.
    pub(super) backed: [AtomicU64; PARTS],
}

const _: () = assert!(HEADER_AT + size_of::<Header>() <= BACKED && HEADER_LEN + HEADER_AT == 128);

// SAFETY: made of atomics alone.
unsafe impl Shared for Header {}

/// Where a word of the state lies in the segment.
pub(super) const fn state_at(word: usize) -> usize {
    HEADER_AT + offset_of!(Header, state) + word * 8
}

/// The words of the head of a block.
pub(super) mod head {
    /// How many bytes the item has.
    pub(in super::super) const LEN: usize = 0;
    /// What its producer said of it.
    pub(in super::super) const TAG: usize = 1;
    /// Its key in the heap: the first half, and the second.
    pub(in super::super) const HI: usize = 2;
    pub(in super::super) const LO: usize = 3;
    /// Who has it, if it is out: process and thread; [`LOST`] if that one is dead and it is not to be given out again.
    pub(in super::super) const OWNER: usize = 4;
    /// When that process was started, in ticks of the kernel.
    pub(in super::super) const START: usize = 5;
    /// Its place in the list of what is out, and, in the upper half, how often it was given out.
    pub(in super::super) const PLACE: usize = 6;
    /// The free block behind this one, if it is free.
    pub(in super::super) const NEXT: usize = 7;

    pub(in super::super) const LOST: u64 = u64::MAX;
}

/// How the file is divided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    bits: u32,
}

impl Parts {
    /// The parts of a segment of so many bytes, if it can be divided like that.
    pub(super) fn of(bits: u32, len: usize) -> Option<Self> {
        let fits = (15..=31).contains(&bits) && PARTS << bits == len + HEADER_LEN;
        fits.then_some(Self { bits })
    }

    pub(super) fn size(self) -> u64 {
        1 << self.bits
    }

    /// Where a part begins in the segment. (All but the first, which begins with the header of the segment.)
    pub(super) fn start(self, part: usize) -> usize {
        (part << self.bits) - HEADER_LEN
    }

    pub(super) fn range(self, part: usize, from: u64, to: u64) -> Range<usize> {
        let start = self.start(part);
        start + from as usize..start + to as usize
    }

    /// The class of the smallest blocks that have room for so many bytes of an item; it may be more than there are.
    pub(super) fn class_for(len: u64) -> usize {
        let size = (len + BLOCK_HEAD as u64).max(SMALLEST).next_power_of_two();
        (size / SMALLEST).ilog2() as usize
    }

    pub(super) fn block_size(class: usize) -> u64 {
        SMALLEST << class
    }

    /// How many classes fit.
    pub(super) fn classes(self) -> usize {
        ((self.size() / SMALLEST).ilog2() as usize + 1).min(CLASSES)
    }

    pub(super) fn part_of(class: usize) -> usize {
        FIRST_CLASS + class
    }

    /// The class of the block at this place of the segment, if there is one.
    pub(super) fn class_of(self, block: u64) -> Result<usize, Error> {
        let at = usize::try_from(block).ok().and_then(|at| at.checked_add(HEADER_LEN));
        let at = at.ok_or_else(damaged)?;
        let class = (at >> self.bits).checked_sub(FIRST_CLASS).ok_or_else(damaged)?;
        let within = at as u64 & (self.size() - 1);
        if class < self.classes() && within.is_multiple_of(Self::block_size(class)) {
            Ok(class)
        } else {
            Err(damaged())
        }
    }

    /// The most bytes that an item can have.
    pub(super) fn record_limit(self) -> u64 {
        Self::block_size(self.classes() - 1) - BLOCK_HEAD as u64
    }
}

#[cold]
pub(super) fn damaged() -> Error {
    Error::corrupt("the shelf in shared memory is damaged")
}
