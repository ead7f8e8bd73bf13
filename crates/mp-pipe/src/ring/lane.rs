//! One direction: its word, its two locks, and the records of its ring.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use mp_shared::robust::{Acquired, LockError, RawLock};
use mp_shared::segment::{Segment, View};
use mp_wire::{Deadline, Error, ErrorKind};

use super::word::{UNIT, Word, advance, distance};

/// How many bytes of records there is room for. Their pages are backed with memory as they are first used.
pub(super) const CAPACITY: usize = 4 << 20;

pub(super) const CAPACITY_UNITS: u32 = (CAPACITY / UNIT) as u32;

/// A ring that is empty behind this begins anew, so that little memory is used as long as little is needed.
pub(super) const SMALL_UNITS: u32 = (64 << 10) / UNIT as u32;

/// The longest message that goes into a ring.
pub(super) const LARGEST: usize = CAPACITY / 2 - UNIT;

/// What a lane takes in front of the records, of which each has a line for its word, its senders, and its receivers.
const CONTROL: usize = 256;

/// Where the records of the first lane begin; they are behind the header of the segment, and begin a page.
const RECORDS: usize = 4096 - 64;

/// The size of the memory of both lanes.
pub(super) const SIZE: usize = RECORDS + 2 * CAPACITY;

/// What is backed from the beginning.
pub(super) const BACKED: usize = RECORDS;

/// Memory is backed in steps of this.
const STEP: u64 = 64 << 10;

/// How long a call that does not wait waits for another one that is in the middle of its work.
const PATIENCE: Duration = Duration::from_millis(100);

/// After how long such a call looks again whether that one has begun to wait itself.
const SOON: Duration = Duration::from_micros(100);

/// A record has no message; the next one is at the beginning of the ring.
const PAD: u32 = u32::MAX;

/// A record has the bytes of a message whose packet says when it is there.
const HELD: u32 = 1 << 31;

/// Those who send, or those who receive, one at a time.
pub(super) struct Side {
    lock: View<RawLock>,
    /// Not zero while the owner waits for the other side, and not for a moment alone.
    waiting: View<AtomicU32>,
}

pub(super) struct Lane {
    segment: Segment,
    records: usize,
    word: View<AtomicU64>,
    pub(super) senders: Side,
    /// The number of the next message.
    pub(super) next: View<AtomicU64>,
    /// The number of the last packet.
    pub(super) packets: View<AtomicU64>,
    /// So many bytes of the ring are backed with memory.
    backed: View<AtomicU64>,
    /// Not zero if nothing is to be sent any more.
    pub(super) ended: View<AtomicU32>,
    /// A sender died, and whether it left a packet that is not counted is not known.
    pub(super) doubt: View<AtomicU32>,
    pub(super) receivers: Side,
    /// The number of the message that is to be received next, at least.
    pub(super) expected: View<AtomicU64>,
    /// Where the first record begins.
    head: View<AtomicU32>,
    /// The packet that was received and left for others to see.
    pub(super) bell: View<AtomicU64>,
    /// A head that a sender of this process has waited at in vain.
    pub(super) stuck: AtomicU32,
    /// A receiver died, and whether packets lie in the socket that count as taken is not known.
    pub(super) unsure: View<AtomicU32>,
}

/// What is first in a ring.
pub(super) enum Record {
    /// Nothing: go on behind so many units.
    Pad(u32),
    /// A message. If it is held, it is there when its packet is.
    Message(Place),
}

/// Where a message is.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) sequence: u64,
    pub(super) head: u32,
    pub(super) len: usize,
    pub(super) units: u32,
    pub(super) held: bool,
}

impl Lane {
    pub(super) fn new(segment: &Segment, index: usize) -> Result<Self, mp_shared::Error> {
        let base = index * CONTROL;
        let side = |at| {
            Ok::<_, mp_shared::Error>(Side {
                lock: segment.bind(base + at)?,
                waiting: segment.bind(base + at + 8)?,
            })
        };
        Ok(Self {
            word: segment.bind(base)?,
            senders: side(64)?,
            doubt: segment.bind(base + 64 + 12)?,
            next: segment.bind(base + 64 + 16)?,
            packets: segment.bind(base + 64 + 24)?,
            backed: segment.bind(base + 64 + 32)?,
            ended: segment.bind(base + 64 + 40)?,
            receivers: side(128)?,
            head: segment.bind(base + 128 + 12)?,
            expected: segment.bind(base + 128 + 16)?,
            bell: segment.bind(base + 128 + 24)?,
            unsure: segment.bind(base + 128 + 32)?,
            stuck: AtomicU32::new(u32::MAX),
            records: RECORDS + index * CAPACITY,
            segment: segment.clone(),
        })
    }

    pub(super) fn segment(&self) -> &Segment {
        &self.segment
    }

    #[inline]
    pub(super) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Changes the word if it is still as it was.
    #[inline]
    pub(super) fn change(&self, old: Word, new: Word) -> bool {
        self.word.compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Changes the word, whatever it is.
    pub(super) fn update(&self, mut next: impl FnMut(Word) -> Word) {
        loop {
            let old = self.word();
            if self.change(old, next(old)) {
                return;
            }
        }
    }

    #[inline]
    pub(super) fn head(&self) -> u32 {
        self.head.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn set_head(&self, head: u32) {
        self.head.store(head, Ordering::Release);
    }

    /// How many units are in use.
    #[inline]
    pub(super) fn used(&self, word: Word, head: u32) -> Result<u32, Error> {
        let used = distance(head, word.tail());
        if used <= CAPACITY_UNITS { Ok(used) } else { Err(corrupt()) }
    }

    /// Says whether the ring has no messages, but for one that waits for its packet. One that is damaged is not empty, so
    /// that somebody looks.
    pub(super) fn is_empty(&self) -> bool {
        let (word, head) = (self.word(), self.head());
        match self.used(word, head) {
            Ok(0) => true,
            Ok(used) => self.has_held_alone(head, used),
            Err(_) => false,
        }
    }

    fn has_held_alone(&self, head: u32, used: u32) -> bool {
        match self.first(head, used) {
            Ok(Record::Message(place)) => place.held && place.units == used,
            Ok(Record::Pad(units)) if units < used => {
                self.has_held_alone(advance(head, units), used - units)
            }
            _ => false,
        }
    }

    /// Where in the segment the record at a position begins, and how many bytes are left behind that.
    #[inline]
    fn place(&self, position: u32) -> (usize, usize) {
        let at = (position % CAPACITY_UNITS) as usize * UNIT;
        (self.records + at, CAPACITY - at)
    }

    /// Backs the bytes of records with memory that were never used.
    pub(super) fn back(&self, position: u32, units: u32) -> Result<(), mp_shared::Error> {
        let at = u64::from(position % CAPACITY_UNITS) * UNIT as u64;
        let end = (at + u64::from(units) * UNIT as u64).min(CAPACITY as u64);
        // A value that lies does no harm but to whoever is short of memory.
        let backed = self.backed.load(Ordering::Relaxed);
        if end <= backed {
            return Ok(());
        }
        let end = end.next_multiple_of(STEP);
        let start = backed.min(end);
        self.segment.commit(self.records + start as usize..self.records + end as usize)?;
        self.backed.store(end, Ordering::Relaxed);
        Ok(())
    }

    /// Writes a record that has no message.
    pub(super) fn write_pad(&self, position: u32) -> Result<(), mp_shared::Error> {
        self.write_head(position, 0, PAD)
    }

    fn write_head(&self, position: u32, sequence: u64, len: u32) -> Result<(), mp_shared::Error> {
        let mut head = [0; UNIT];
        head[..8].copy_from_slice(&sequence.to_ne_bytes());
        head[8..12].copy_from_slice(&len.to_ne_bytes());
        self.segment.copy_in(self.place(position).0, &head)
    }

    /// Writes a message; it is not there until the word says so.
    #[inline]
    pub(super) fn write(
        &self,
        position: u32,
        sequence: u64,
        bytes: &[u8],
        held: bool,
    ) -> Result<(), mp_shared::Error> {
        let held = if held { HELD } else { 0 };
        self.write_head(position, sequence, bytes.len() as u32 | held)?;
        let (at, left) = self.place(position.wrapping_add(1));
        let (first, rest) = bytes.split_at(bytes.len().min(left));
        self.segment.copy_in(at, first)?;
        if rest.is_empty() { Ok(()) } else { self.segment.copy_in(self.records, rest) }
    }

    /// Reads the head of the first record, which must lie within what is used.
    #[inline]
    pub(super) fn first(&self, head: u32, used: u32) -> Result<Record, Error> {
        let mut bytes = [0; UNIT];
        self.segment.copy_out(self.place(head).0, &mut bytes).map_err(|_| corrupt())?;
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = bytes;
        let sequence = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
        let len = u32::from_ne_bytes([i, j, k, l]);
        if len == PAD {
            let units = CAPACITY_UNITS - head % CAPACITY_UNITS;
            return if units <= used { Ok(Record::Pad(units)) } else { Err(corrupt()) };
        }
        let held = len & HELD != 0;
        let len = (len & !HELD) as usize;
        let units = units(len);
        if len > LARGEST || units > used {
            return Err(corrupt());
        }
        Ok(Record::Message(Place { sequence, head, len, units, held }))
    }

    /// Copies the bytes of the record at a position, which [`first`](Self::first) has checked, into an empty vector.
    #[inline]
    pub(super) fn read(&self, place: &Place, bytes: &mut Vec<u8>) -> Result<(), mp_shared::Error> {
        let len = place.len;
        let (at, left) = self.place(place.head.wrapping_add(1));
        let first = len.min(left);
        bytes.clear();
        self.segment.append_to(at, first, bytes)?;
        if first == len {
            return Ok(());
        }
        self.segment.append_to(self.records, len - first, bytes)
    }

    /// Copies the bytes of such a record into a buffer, which is as long as it.
    #[inline]
    pub(super) fn read_into(
        &self,
        place: &Place,
        buffer: &mut [u8],
    ) -> Result<(), mp_shared::Error> {
        let (at, left) = self.place(place.head.wrapping_add(1));
        let (first, rest) = buffer.split_at_mut(place.len.min(left));
        self.segment.copy_out(at, first)?;
        if rest.is_empty() { Ok(()) } else { self.segment.copy_out(self.records, rest) }
    }
}

/// How many units a message of so many bytes takes.
#[inline]
pub(super) fn units(len: usize) -> u32 {
    1 + len.div_ceil(UNIT) as u32
}

#[cold]
pub(super) fn corrupt() -> Error {
    let what = "what another process wrote into the memory of the connection makes no sense";
    Error::new(ErrorKind::Corrupt, what)
}

/// Held until it is dropped.
pub(super) struct Turn<'a> {
    side: &'a Side,
    /// The one before died in its turn.
    pub(super) after_death: bool,
}

impl Side {
    /// Takes its turn; `None` if others did not let it in time.
    ///
    /// A call that does not wait waits for who is in the middle of something, but not for who waits itself, as long as
    /// there is no `cause` for that one to go on.
    #[inline]
    pub(super) fn turn(
        &self,
        deadline: Deadline,
        cause: impl Fn() -> bool,
    ) -> Result<Option<Turn<'_>>, Error> {
        let acquired = match self.lock.lock(deadline) {
            Err(LockError::TimedOut) if deadline == Deadline::NOW => self.insist(cause),
            other => other,
        };
        match acquired {
            Ok(acquired) => {
                let after_death = acquired == Acquired::OwnerDied;
                if after_death {
                    self.set_waiting(false);
                }
                Ok(Some(Turn { side: self, after_death }))
            }
            Err(LockError::TimedOut) => Ok(None),
            Err(error) => {
                Err(Error::from_io("the connection is locked", std::io::Error::other(error)))
            }
        }
    }

    #[cold]
    fn insist(&self, cause: impl Fn() -> bool) -> Result<Acquired, LockError> {
        let patience = Deadline::after(PATIENCE);
        loop {
            if patience.is_past() || (self.waiting.load(Ordering::Relaxed) != 0 && !cause()) {
                return Err(LockError::TimedOut);
            }
            match self.lock.lock(Deadline::after(SOON)) {
                Err(LockError::TimedOut) => {}
                other => return other,
            }
        }
    }

    /// Says whether somebody alive has its turn.
    #[inline]
    pub(super) fn is_taken(&self) -> bool {
        self.lock.owner().is_some()
    }

    fn set_waiting(&self, waiting: bool) {
        self.waiting.store(waiting.into(), Ordering::Relaxed);
    }
}

impl Turn<'_> {
    /// Does what may take long.
    pub(super) fn wait<R>(&self, wait: impl FnOnce() -> R) -> R {
        self.side.set_waiting(true);
        let result = wait();
        self.side.set_waiting(false);
        result
    }
}

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        // A forked child that drops what its parent held does not hold it.
        let _ = self.side.lock.unlock();
    }
}
