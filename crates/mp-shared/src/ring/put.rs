//! The side of the producers.

use std::iter::Peekable;

use mp_wire::Deadline;

use super::Ring;
use super::layout::{
    FIRST_PUNCHED, Head as HeadPosition, Place, ROUNDS, STEP, Tail, UNIT, arena_size, arena_start,
    damaged,
};
use super::record::{Head, footprint};
use crate::robust::LockError;
use crate::robust::linked::{Brief, Cell};
use crate::{Error, ErrorKind};

use super::error::PutError;

/// What every record leaves free behind it, backed, so that a jump can always be written.
const JUMP: u64 = UNIT as u64;

/// How far ahead of a record the lines for later ones are fetched. What lies there was read by a consumer, one time round the arena
/// ago, and is in the cache of its processor: to fetch it takes longer than to put a small record.
const AHEAD: u64 = 512;
const LINE: u64 = 64;

/// Makes a failure that has nothing to do with the hook one of an operation with a hook.
fn plain<E>(error: PutError) -> PutError<E> {
    match error {
        PutError::Full => PutError::Full,
        PutError::Closed => PutError::Closed,
        PutError::TooLarge => PutError::TooLarge,
        PutError::Hook(never) => match never {},
        PutError::Failed(error) => PutError::Failed(error),
    }
}

impl Ring {
    #[inline]
    pub(super) fn put_one<X, E>(
        &self,
        tag: u64,
        parts: &[&[u8]],
        deadline: Deadline,
        hook: impl FnOnce(u64) -> Result<X, E>,
    ) -> Result<X, PutError<E>> {
        let len = self.total(parts).map_err(plain)?;
        let held = self.lock_tail(len, deadline).map_err(plain)?;
        let mut tail = self.tail_with_room(len, deadline).map_err(plain)?;
        self.make_place(&mut tail, footprint(len).ok_or(PutError::TooLarge)?).map_err(plain)?;
        let sequence = tail.items;
        // Seeded mistake: the payload comes too late.
        let early = cfg!(mp_bug = "publish_before_payload");
        if early {
            self.publish(&after(tail, len));
        }
        self.write(&tail, tag, len, parts)?;
        let beside = hook(sequence).map_err(PutError::Hook)?;
        if !early {
            self.publish(&after(tail, len));
        }
        drop(held);
        Ok(beside)
    }

    /// Puts the first few records, at least one, in one commit; returns how many.
    pub(super) fn put_some<'a>(
        &self,
        records: &mut Peekable<impl Iterator<Item = (u64, &'a [u8])>>,
        deadline: Deadline,
    ) -> Result<usize, PutError> {
        let first = self.total(&[records.peek().map_or(&[], |(_, bytes)| bytes)])?;
        let held = self.lock_tail(first, deadline)?;
        let mut tail = self.tail_with_room(first, deadline)?;
        let mut room = match self.capacity {
            0 => u64::MAX,
            capacity => capacity.saturating_sub(tail.items - tail.taken),
        };
        let mut done = 0;
        let mut result = Ok(());
        while let Some(&(tag, bytes)) = records.peek().filter(|_| room > 0) {
            if done > 0 && !self.has_byte_room(&tail, bytes.len() as u64) {
                break;
            }
            let mut next = tail;
            result = self.append(&mut next, tag, bytes);
            if result.is_err() {
                break;
            }
            records.next();
            tail = next;
            room -= 1;
            done += 1;
        }
        if done > 0 {
            self.publish(&tail);
            result = Ok(());
        }
        drop(held);
        result.map(|()| done)
    }

    fn append(&self, tail: &mut Tail, tag: u64, bytes: &[u8]) -> Result<(), PutError> {
        let len = self.total(&[bytes])?;
        self.make_place(tail, footprint(len).ok_or(PutError::TooLarge)?)?;
        self.write(tail, tag, len, &[bytes])?;
        *tail = after(*tail, len);
        Ok(())
    }

    #[inline]
    pub(super) fn total(&self, parts: &[&[u8]]) -> Result<u64, PutError> {
        let mut total = 0_u64;
        for part in parts {
            total = total.saturating_add(part.len() as u64);
        }
        if total <= self.record_limit { Ok(total) } else { Err(PutError::TooLarge) }
    }

    #[inline]
    fn lock_tail(&self, len: u64, deadline: Deadline) -> Result<Brief<'_>, PutError> {
        match self.header.tail.lock().lock_briefly(deadline) {
            Ok(held) => Ok(held),
            Err(error) => self.lock_tail_later(error, len, deadline, Cell::lock_briefly),
        }
    }

    /// The lock of the producers was held.
    #[cold]
    pub(super) fn lock_tail_later<'a, L>(
        &'a self,
        error: LockError,
        len: u64,
        deadline: Deadline,
        take: impl Fn(&'a Cell, Deadline) -> Result<L, LockError>,
    ) -> Result<L, PutError> {
        let lock = self.header.tail.lock();
        let mut result = Err(error);
        if deadline == Deadline::NOW {
            let end = Deadline::after(super::PATIENCE);
            while matches!(result, Err(LockError::TimedOut)) && !end.is_past() {
                if self.header.tail.word().is_closed() {
                    return Err(PutError::Closed);
                }
                if self.is_full()? || self.is_full_for(len)? {
                    return Err(PutError::Full);
                }
                // There is room, so the one before us is about to finish. It may fill the ring and then wait for room,
                // with the lock in its hands: look again soon.
                result = take(lock, Deadline::after(super::SOON));
            }
        }
        match result {
            Ok(held) => Ok(held),
            Err(LockError::TimedOut) => Err(PutError::Full),
            Err(error) => Err(PutError::Failed(super::lock_failed(error))),
        }
    }

    /// Says whether the bound on bytes leaves no room for a record of so many.
    fn is_full_for(&self, len: u64) -> Result<bool, Error> {
        Ok(self.byte_capacity > 0 && self.backlog()?.1.saturating_add(len) > self.byte_capacity)
    }

    /// Says whether the bound on bytes allows for so many more, as far as is known.
    #[inline]
    fn has_byte_room(&self, tail: &Tail, len: u64) -> bool {
        self.byte_capacity == 0 || tail.bytes - tail.taken_bytes + len <= self.byte_capacity
    }

    /// Says whether the bounds allow for one more item of so many bytes, as far as is known.
    #[inline]
    fn has_room(&self, tail: &Tail, len: u64) -> bool {
        (self.capacity == 0 || tail.items - tail.taken < self.capacity)
            && self.has_byte_room(tail, len)
    }

    /// Reads the tail; waits until the bounds allow for one more item of so many bytes.
    #[inline]
    pub(super) fn tail_with_room(&self, len: u64, deadline: Deadline) -> Result<Tail, PutError> {
        let side = &self.header.tail;
        let tail: Tail = side.load(self.last_arena)?;
        if self.capacity | self.byte_capacity == 0 && !side.word().is_closed() {
            return Ok(tail);
        }
        self.bounded_tail(tail, len, deadline)
    }

    fn bounded_tail(&self, mut tail: Tail, len: u64, deadline: Deadline) -> Result<Tail, PutError> {
        let side = &self.header.tail;
        loop {
            if side.word().is_closed() {
                return Err(PutError::Closed);
            }
            if self.has_room(&tail, len) {
                return Ok(tail);
            }
            let (seen, head) = self.header.head.peek::<HeadPosition>(self.last_arena)?;
            if head.items > tail.items || head.bytes > tail.bytes {
                return Err(damaged().into());
            }
            tail.taken = head.items;
            tail.taken_bytes = head.bytes;
            if self.has_room(&tail, len) {
                continue;
            }
            if seen.is_closed() {
                // Whoever was closing died between the two words.
                side.word().close();
                return Err(PutError::Closed);
            }
            let waited = self.header.head.word().wait_change(seen, deadline, &self.local.put);
            waited.map_err(|_| PutError::Full)?;
        }
    }

    /// Moves the tail to where a record of `len` bytes can be written: behind what is there, if need be at the
    /// beginning of the arena, or of another one.
    #[inline]
    pub(super) fn make_place(&self, tail: &mut Tail, len: u64) -> Result<(), PutError> {
        let to_end = tail.place.size() - tail.place.offset(tail.position);
        let end = tail.position.saturating_add(len + JUMP);
        if len <= to_end && end <= tail.limit && is_backed(tail, end) {
            return Ok(());
        }
        self.find_place(tail, len)
    }

    #[cold]
    fn find_place(&self, tail: &mut Tail, len: u64) -> Result<(), PutError> {
        if len + JUMP > arena_size(self.last_arena) {
            return Err(PutError::TooLarge);
        }
        let (_, head) = self.header.head.peek::<HeadPosition>(self.last_arena)?;
        let size = tail.place.size();
        let together = head.place == tail.place;
        let freed = if together { head.freed } else { 0 };
        if tail.position.checked_sub(freed).is_none_or(|used| used > size) {
            return Err(damaged().into());
        }
        tail.limit = freed.saturating_add(size);

        // As good a moment as any to go back to a small arena, now that little is on its way.
        let stayed = tail.place.arena >= FIRST_PUNCHED || tail.position >= ROUNDS * size;
        if together && stayed && tail.place.arena > 0 {
            let needed = (tail.position.saturating_sub(head.position) + len).saturating_mul(2);
            let small = (0..tail.place.arena).find(|&arena| arena_size(arena) >= needed);
            if let Some(arena) = small {
                return self.jump(tail, arena, len);
            }
        }
        let offset = tail.place.offset(tail.position);
        let to_end = size - offset;
        let skip = if len <= to_end { 0 } else { to_end };
        let end = tail.position.saturating_add(skip + len + JUMP);
        if len + JUMP <= size && end <= tail.limit {
            self.back(tail, end)?;
            if skip > 0 {
                Head::Wrap.write(&self.segment, tail.place.at(tail.position))?;
                tail.position += skip;
            }
            return Ok(());
        }
        let used = self.header.used(head.place, tail.place)?;
        let fits = |&arena: &u32| used & 1 << arena == 0 && len + JUMP <= arena_size(arena);
        let larger = (tail.place.arena + 1..=self.last_arena).find(fits);
        match larger.or_else(|| (0..tail.place.arena).rev().find(fits)) {
            Some(arena) => self.jump(tail, arena, len),
            None => {
                Err(Error::new(ErrorKind::Exhausted, "the ring has used up its addresses").into())
            }
        }
    }

    /// Backs the arena with memory up to `end`, which is not beyond the limit.
    fn back(&self, tail: &mut Tail, end: u64) -> Result<(), Error> {
        if is_backed(tail, end) {
            return Ok(());
        }
        let size = tail.place.size();
        let to = if tail.place.arena < FIRST_PUNCHED {
            end.next_multiple_of(size.min(STEP)).min(size)
        } else {
            end.next_multiple_of(STEP).min(tail.limit)
        };
        let from = tail.backed.max(tail.position);
        self.each_piece(tail.place, from, to, |piece| {
            self.segment.commit(piece.clone()).inspect_err(|_| {
                // What was had of it is nobody's: nothing has been written there.
                let _ = self.segment.discard(piece);
            })
        })?;
        tail.backed = to;
        Ok(())
    }

    /// Continues in another arena, which nobody uses, at its beginning.
    fn jump(&self, tail: &mut Tail, arena: u32, len: u64) -> Result<(), PutError> {
        let place = Place { epoch: tail.place.epoch + 1, arena };
        let size = place.size();
        let backed = if arena == 0 { size } else { 0 };
        let mut next = Tail { position: 0, place, backed, limit: size, ..*tail };
        self.back(&mut next, len + JUMP)?;
        self.header.path(place.epoch).store(arena, std::sync::atomic::Ordering::Relaxed);
        let jump = Head::Jump { arena: u64::from(arena) };
        jump.write(&self.segment, tail.place.at(tail.position))?;
        *tail = next;
        Ok(())
    }

    #[inline]
    fn write(&self, tail: &Tail, tag: u64, len: u64, parts: &[&[u8]]) -> Result<(), Error> {
        let mut at = tail.place.at(tail.position);
        Head::Item { len, tag }.write(&self.segment, at)?;
        self.segment.prefetch_for_writing(tail.place.at(tail.position + AHEAD));
        self.segment.prefetch_for_writing(tail.place.at(tail.position + AHEAD + LINE));
        at += UNIT;
        for part in parts {
            self.segment.copy_in(at, part)?;
            at += part.len();
        }
        Ok(())
    }

    /// Makes everything up to this tail visible.
    #[inline]
    pub(super) fn publish(&self, tail: &Tail) {
        self.header.tail.store(tail);
        self.header.tail.word().commit();
    }

    /// Calls for the one or two pieces of the segment that a range of positions covers.
    pub(super) fn each_piece(
        &self,
        place: Place,
        from: u64,
        to: u64,
        mut call: impl FnMut(std::ops::Range<usize>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let start = arena_start(place.arena);
        let first = place.offset(from);
        let len = to.saturating_sub(from).min(place.size());
        let straight = len.min(place.size() - first);
        call((start + first) as usize..(start + first + straight) as usize)?;
        if len > straight {
            call(start as usize..(start + len - straight) as usize)?;
        }
        Ok(())
    }
}

/// The tail behind an item of `len` bytes.
#[inline]
pub(super) fn after(tail: Tail, len: u64) -> Tail {
    let position = tail.position + footprint(len).unwrap_or(0);
    Tail { position, items: tail.items + 1, bytes: tail.bytes + len, ..tail }
}

/// Says whether the arena is backed with memory up to `end`.
#[inline]
fn is_backed(tail: &Tail, end: u64) -> bool {
    let whole = tail.place.arena < FIRST_PUNCHED && tail.backed >= tail.place.size();
    end <= tail.backed || whole
}
