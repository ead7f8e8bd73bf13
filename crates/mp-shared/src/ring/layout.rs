//! What of the ring lies where, and what of it can be believed.
#![expect(unsafe_code, reason = "vouches that the ring's header is made of atomics alone")]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::Error;
use crate::robust::linked::Cell;
use crate::segment::{HEADER_LEN, Shared};
use crate::word::{CommitWord, Snapshot};

/// The smallest arena; arena `k` is `2^k` times as large, and begins at as many bytes of the file as it has.
pub(super) const ARENA: usize = 32 << 10;

/// Arenas from this one on give memory back while they are in use.
pub(super) const FIRST_PUNCHED: u32 = 10;

/// How often producers go round in an arena before it that has become too large, before they leave it: backing a page and giving it
/// back costs as much as some dozen small records.
pub(super) const ROUNDS: u64 = 8;

/// What those are backed and given back by.
pub(super) const STEP: u64 = 256 << 10;

/// How many epochs the path remembers; more than there are arenas.
const EPOCHS: usize = 32;

/// The words of a position, which fill a line.
const FIELDS: usize = 8;

/// Beyond what any counter reaches, and far enough from the end that sums of what is below it do not overflow.
const NEVER: u64 = 1 << 62;

/// Every record begins at a multiple of this, and its head takes as much.
pub(super) const UNIT: usize = 16;

/// Where the header begins among the bytes of the segment: at a multiple of its alignment in the file.
pub(super) const HEADER_AT: usize = 128 - HEADER_LEN;

/// What must be backed from the beginning: the header, and arena 0.
pub(super) const BACKED: usize = 4096 - HEADER_LEN;

/// Words that processes change are kept on lines of their own, in pairs as processors fetch them.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

/// The ring's header. Line by line: what never changes, the side of the producers, that of the consumers, the path.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Header {
    /// The most items, zero for no bound.
    pub(super) capacity: AtomicU64,
    /// The most bytes of all items together, zero for no bound.
    pub(super) byte_capacity: AtomicU64,
    /// What the items are, if that is to be the same for all.
    pub(super) label: AtomicU64,
    /// The most bytes of one record.
    pub(super) record_limit: AtomicU64,
    /// The number of the last arena.
    pub(super) last_arena: AtomicU32,
    pub(super) tail: Side,
    pub(super) head: Side,
    path: Apart<[AtomicU32; EPOCHS]>,
}

/// One side: its lock, its commit word, and its position in two slots, of which the word says which one counts.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Side {
    lock: Apart<Cell>,
    word: Apart<Word>,
    slots: Apart<[Slot; 2]>,
}

/// A commit word, and on its line what the other side asks for most: the items of each slot.
#[derive(Debug)]
#[repr(C)]
struct Word {
    commits: CommitWord,
    items: [AtomicU64; 2],
}

#[derive(Debug)]
#[repr(C, align(64))]
struct Slot([AtomicU64; FIELDS]);

const _: () = assert!(size_of::<Header>() == 1024 && HEADER_AT + HEADER_LEN == 128);
const _: () = assert!(HEADER_AT + size_of::<Header>() <= BACKED);

// SAFETY: made of atomics alone.
unsafe impl Shared for Header {}

/// An arena, and how many jumps led to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) epoch: u64,
    pub(super) arena: u32,
}

impl Place {
    #[inline]
    fn pack(self) -> u64 {
        self.epoch << 8 | u64::from(self.arena)
    }

    #[inline]
    fn unpack(packed: u64) -> Self {
        Self { epoch: packed >> 8, arena: packed as u32 & 0xff }
    }

    /// Bytes of the arena.
    #[inline]
    pub(super) fn size(self) -> u64 {
        arena_size(self.arena)
    }

    /// Where a position of this epoch lies in the arena.
    #[inline]
    pub(super) fn offset(self, position: u64) -> u64 {
        position & (self.size() - 1)
    }

    /// Where a position of this epoch lies in the segment.
    #[inline]
    pub(super) fn at(self, position: u64) -> usize {
        (arena_start(self.arena) + self.offset(position)) as usize
    }
}

#[inline]
pub(super) fn arena_size(arena: u32) -> u64 {
    (ARENA as u64) << arena
}

/// The beginning of an arena among the bytes of the segment.
#[inline]
pub(super) fn arena_start(arena: u32) -> u64 {
    arena_size(arena) - HEADER_LEN as u64
}

/// The last arena of a ring that has `reserved` bytes of file.
pub(super) fn last_arena(reserved: usize) -> u32 {
    (reserved / (2 * ARENA)).max(1).ilog2()
}

/// Where the producers are. Positions count the bytes since the beginning of the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) position: u64,
    pub(super) items: u64,
    pub(super) place: Place,
    /// Up to where the arena is backed with memory.
    pub(super) backed: u64,
    /// Up to where consumers had made room when somebody last looked.
    pub(super) limit: u64,
    /// How many items had been taken when somebody last looked.
    pub(super) taken: u64,
    /// How many bytes all items had together.
    pub(super) bytes: u64,
    /// How many of those had been taken when somebody last looked.
    pub(super) taken_bytes: u64,
}

/// Where the consumers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) position: u64,
    pub(super) items: u64,
    pub(super) place: Place,
    /// Up to where producers may write again, one size of the arena on.
    pub(super) freed: u64,
    /// How many items had been put when somebody last looked.
    pub(super) put: u64,
    /// How many bytes the items taken had together.
    pub(super) bytes: u64,
}

/// A position as it lies in a slot.
pub(super) trait Position: Sized {
    fn to_fields(&self) -> [u64; FIELDS];
    fn items(&self) -> u64;
    /// Takes what another process may have written; nothing, if it makes no sense.
    fn from_fields(fields: [u64; FIELDS], last_arena: u32) -> Option<Self>;
}

impl Position for Tail {
    #[inline]
    fn items(&self) -> u64 {
        self.items
    }

    #[inline]
    fn to_fields(&self) -> [u64; FIELDS] {
        let (position, items, place) = (self.position, self.items, self.place.pack());
        let (backed, limit, taken) = (self.backed, self.limit, self.taken);
        [position, items, place, backed, limit, taken, self.bytes, self.taken_bytes]
    }

    #[inline]
    fn from_fields(fields: [u64; FIELDS], last_arena: u32) -> Option<Self> {
        let [position, items, place, backed, limit, taken, bytes, taken_bytes] = fields;
        let place = Place::unpack(place);
        let sound = place.arena <= last_arena
            && place.epoch < NEVER >> 8
            && position % UNIT as u64 == 0
            && position < NEVER
            && items < NEVER
            && limit.checked_sub(position).is_some_and(|room| room <= place.size())
            && backed <= limit.max(place.size())
            && taken <= items
            && bytes < NEVER
            && taken_bytes <= bytes;
        let position = Self { position, items, place, backed, limit, taken, bytes, taken_bytes };
        sound.then_some(position)
    }
}

impl Position for Head {
    #[inline]
    fn items(&self) -> u64 {
        self.items
    }

    #[inline]
    fn to_fields(&self) -> [u64; FIELDS] {
        [self.position, self.items, self.place.pack(), self.freed, self.put, self.bytes, 0, 0]
    }

    #[inline]
    fn from_fields(fields: [u64; FIELDS], last_arena: u32) -> Option<Self> {
        let [position, items, place, freed, put, bytes, ..] = fields;
        let place = Place::unpack(place);
        let sound = place.arena <= last_arena
            && place.epoch < NEVER >> 8
            && position % UNIT as u64 == 0
            && position < NEVER
            && put < NEVER
            && position.checked_sub(freed).is_some_and(|behind| behind <= place.size())
            && items <= put
            && bytes < NEVER;
        sound.then_some(Self { position, items, place, freed, put, bytes })
    }
}

impl Side {
    #[inline]
    pub(super) fn lock(&self) -> &Cell {
        &self.lock.0
    }

    #[inline]
    pub(super) fn word(&self) -> &CommitWord {
        &self.word.0.commits
    }

    #[inline]
    fn slot(&self, count: u32) -> &[AtomicU64; FIELDS] {
        let [even, odd] = &self.slots.0;
        if count.is_multiple_of(2) { &even.0 } else { &odd.0 }
    }

    /// Writes the first position, before anybody else has the memory.
    pub(super) fn init<P: Position>(&self, position: &P) {
        for (field, value) in self.slot(0).iter().zip(position.to_fields()) {
            field.store(value, Ordering::Relaxed);
        }
        self.items(0).store(position.items(), Ordering::Relaxed);
    }

    /// Reads the position; the caller holds the lock of this side, so nobody changes it.
    #[inline]
    pub(super) fn load<P: Position>(&self, last_arena: u32) -> Result<P, Error> {
        let fields = read(self.slot(self.word().snapshot().count()));
        P::from_fields(fields, last_arena).ok_or_else(damaged)
    }

    /// Reads the position without the lock, and what the word said then.
    #[inline]
    pub(super) fn peek<P: Position>(&self, last_arena: u32) -> Result<(Snapshot, P), Error> {
        let mut before = self.word().snapshot();
        loop {
            let fields = read(self.slot(before.count()));
            // The fields are read before the word is read again.
            fence(Ordering::Acquire);
            let after = self.word().snapshot();
            if before.count() == after.count() {
                return P::from_fields(fields, last_arena)
                    .map(|it| (before, it))
                    .ok_or_else(damaged);
            }
            before = after;
        }
    }

    /// Reads how many items there were without the lock, and what the word said then.
    #[inline]
    pub(super) fn peek_items(&self) -> Result<(Snapshot, u64), Error> {
        let mut before = self.word().snapshot();
        loop {
            let items = self.items(before.count()).load(Ordering::Relaxed);
            // As in `peek`.
            fence(Ordering::Acquire);
            let after = self.word().snapshot();
            if before.count() == after.count() {
                return if items < NEVER { Ok((before, items)) } else { Err(damaged()) };
            }
            before = after;
        }
    }

    #[inline]
    fn items(&self, count: u32) -> &AtomicU64 {
        let [even, odd] = &self.word.0.items;
        if count.is_multiple_of(2) { even } else { odd }
    }

    /// Writes the position into the slot that does not count yet; the caller holds the lock.
    #[inline]
    pub(super) fn store<P: Position>(&self, position: &P) {
        // Whoever sees a field of what follows sees the commit before it, too, and so that it has read a mixture.
        fence(Ordering::Release);
        let next = self.word().snapshot().count().wrapping_add(1);
        self.items(next).store(position.items(), Ordering::Relaxed);
        let slot = self.slot(next);
        for (field, value) in slot.iter().zip(position.to_fields()) {
            field.store(value, Ordering::Relaxed);
        }
    }
}

#[inline]
fn read(slot: &[AtomicU64; FIELDS]) -> [u64; FIELDS] {
    slot.each_ref().map(|field| field.load(Ordering::Relaxed))
}

impl Header {
    /// The arena of an epoch that has not been left by the consumers.
    pub(super) fn path(&self, epoch: u64) -> &AtomicU32 {
        &self.path.0[epoch as usize % EPOCHS]
    }

    /// The arenas between the consumers and the producers, as bits.
    pub(super) fn used(&self, head: Place, tail: Place) -> Result<u64, Error> {
        let jumps = tail.epoch.checked_sub(head.epoch).filter(|&jumps| jumps < EPOCHS as u64);
        let jumps = jumps.ok_or_else(damaged)?;
        let mut used = 1_u64 << head.arena | 1 << tail.arena;
        for jump in 1..jumps {
            used |= 1 << (self.path(head.epoch + jump).load(Ordering::Relaxed) & 63);
        }
        Ok(used)
    }
}

#[cold]
pub(super) fn damaged() -> Error {
    Error::corrupt("the ring in shared memory is damaged")
}
