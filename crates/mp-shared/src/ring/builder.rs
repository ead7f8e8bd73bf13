//! How a ring is made.

use std::sync::atomic::Ordering;

use bytemuck::Pod;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use super::layout::{self, ARENA, BACKED, HEADER_AT, Head, Header, Place, Tail, arena_start};
use super::{KIND, Ring, label};
use crate::segment::{HEADER_LEN, Segment};
use crate::{Error, ErrorKind};

/// Addresses that a ring takes by default. It costs nothing to have them.
const RESERVE: usize = 64 << 30;

/// What part of the addresses a ring may take where they are limited, and what it takes all the same.
const SHARE: u64 = 64;
const ENOUGH: usize = 32 << 20;

/// The least that is tried where the system is short of addresses.
const LEAST_RESERVE: usize = 1 << 20;

/// How a ring is made.
///
/// # Examples
///
/// ```
/// use mp_shared::ring::{PutError, Ring};
/// use mp_wire::Deadline;
///
/// let ring = Ring::builder().capacity(100).record_limit(4).build()?;
/// assert_eq!(ring.capacity(), Some(100));
/// assert!(matches!(ring.put(0, &[b"fives"], Deadline::NEVER), Err(PutError::TooLarge)));
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Builder {
    capacity: u64,
    byte_capacity: u64,
    record_limit: u64,
    label: u64,
    reserve: usize,
}

impl Builder {
    /// Lets the ring have at most so many items at a time; zero stands for no bound.
    pub fn capacity(mut self, items: usize) -> Self {
        self.capacity = items as u64;
        self
    }

    /// Lets the items in the ring have at most so many bytes together; zero stands for no bound.
    ///
    /// A record that is larger than that alone is [`PutError::TooLarge`](super::PutError::TooLarge).
    pub fn byte_capacity(mut self, bytes: usize) -> Self {
        self.byte_capacity = bytes as u64;
        self
    }

    /// Lets a record have at most so many bytes.
    pub fn record_limit(mut self, bytes: usize) -> Self {
        self.record_limit = bytes as u64;
        self
    }

    /// Makes it one of items of this type, which [`Ring::is_of`] tells: each of as many bytes as a `T` has.
    pub fn of<T: Pod>(mut self) -> Self {
        self.label = label::<T>();
        self.record_limit(size_of::<T>())
    }

    /// Lets the ring take at most so many addresses, rounded down to a power of two: four times the largest
    /// record that fits, and a little.
    pub fn reserve(mut self, bytes: usize) -> Self {
        self.reserve = bytes.clamp(LEAST_RESERVE, RESERVE);
        self
    }

    /// Makes the ring.
    ///
    /// # Errors
    ///
    /// There is no memory, no descriptor or no room in the address space for it ([`ErrorKind::Exhausted`]).
    pub fn build(self) -> Result<Ring, Error> {
        let mut reserve = 1 << self.reserve.min(affordable()).ilog2();
        let segment = loop {
            match Segment::create_sparse(KIND, reserve - HEADER_LEN, BACKED) {
                Err(error) if error.kind() == ErrorKind::Exhausted && reserve > LEAST_RESERVE => {
                    reserve /= 2;
                }
                result => break result?,
            }
        };
        let last_arena = layout::last_arena(reserve);
        let first = arena_start(0) as usize;
        segment.commit(first..first + ARENA)?;
        let header = segment.bind::<Header>(HEADER_AT)?;
        header.capacity.store(self.capacity, Ordering::Relaxed);
        header.byte_capacity.store(self.byte_capacity, Ordering::Relaxed);
        header.label.store(self.label, Ordering::Relaxed);
        header.record_limit.store(self.record_limit, Ordering::Relaxed);
        header.last_arena.store(last_arena, Ordering::Relaxed);
        let place = Place { epoch: 0, arena: 0 };
        let size = ARENA as u64;
        let (position, items, bytes) = (0, 0, 0);
        let (backed, limit, taken, taken_bytes) = (size, size, 0, 0);
        let tail = Tail { position, items, place, backed, limit, taken, bytes, taken_bytes };
        header.tail.init(&tail);
        header.head.init(&Head { position, items, place, freed: 0, put: 0, bytes });
        Ring::open(segment)
    }
}

/// How many addresses a ring may take: others need some too, where the process has not as many as it likes (`ulimit -v`).
fn affordable() -> usize {
    match getrlimit(Resource::RLIMIT_AS) {
        Ok((limit, _)) if limit != RLIM_INFINITY => {
            usize::try_from(limit / SHARE).unwrap_or(RESERVE).max(ENOUGH)
        }
        _ => RESERVE,
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self { capacity: 0, byte_capacity: 0, record_limit: u64::MAX, label: 0, reserve: RESERVE }
    }
}
