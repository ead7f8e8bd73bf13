//! A record: a head of two words, then bytes, padded to the unit.

use std::sync::atomic::{AtomicU64, Ordering};

use super::layout::{UNIT, damaged};
use crate::Error;
use crate::segment::Segment;

const KIND_SHIFT: u32 = 56;
const LEN_MASK: u64 = (1 << KIND_SHIFT) - 1;

/// What stands at a position of an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// An item of so many bytes.
    Item { len: u64, tag: u64 },
    /// Nothing more up to the end of the arena: the next one is at its beginning.
    Wrap,
    /// The next one is at the beginning of another arena.
    Jump { arena: u64 },
}

impl Head {
    fn words(self) -> [u64; 2] {
        match self {
            Self::Item { len, tag } => [1 << KIND_SHIFT | len, tag],
            Self::Wrap => [2 << KIND_SHIFT, 0],
            Self::Jump { arena } => [3 << KIND_SHIFT, arena],
        }
    }

    #[inline]
    pub(super) fn write(self, segment: &Segment, at: usize) -> Result<(), Error> {
        let words = segment.view::<[AtomicU64; 2]>(at)?;
        for (word, value) in words.iter().zip(self.words()) {
            word.store(value, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Reads a head, once; whether its numbers make sense is for the caller to check.
    #[inline]
    pub(super) fn read(segment: &Segment, at: usize) -> Result<Self, Error> {
        let words = segment.view::<[AtomicU64; 2]>(at)?;
        let [first, second] = words.each_ref().map(|word| word.load(Ordering::Relaxed));
        match first >> KIND_SHIFT {
            1 => Ok(Self::Item { len: first & LEN_MASK, tag: second }),
            2 => Ok(Self::Wrap),
            3 => Ok(Self::Jump { arena: second }),
            _ => Err(damaged()),
        }
    }
}

/// How many bytes of an arena an item of `len` bytes takes; none if no arena could have as many.
#[inline]
pub(super) fn footprint(len: u64) -> Option<u64> {
    (len < LEN_MASK / 2).then(|| (len + UNIT as u64).next_multiple_of(UNIT as u64))
}
