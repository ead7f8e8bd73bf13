//! The side of the consumers.

use mp_wire::Deadline;

use super::error::GetError;
use super::layout::{FIRST_PUNCHED, Head as Position, Place, STEP, UNIT, arena_start, damaged};
use super::record::{Head, footprint};
use super::{Item, Nudge, Ring};
use crate::robust::LockError;
use crate::robust::linked::{Brief, Cell};
use crate::segment::Segment;
use crate::{Error, sys};

/// Makes a failure that has nothing to do with the hook one of an operation with a hook.
fn plain<E>(error: GetError) -> GetError<E> {
    match error {
        GetError::Empty => GetError::Empty,
        GetError::Closed => GetError::Closed,
        GetError::Hook(never) => match never {},
        GetError::Failed(error) => GetError::Failed(error),
    }
}

/// What a record is copied into.
pub trait Target {
    /// Takes `len` bytes of the segment, from `at` on, in place of what it held.
    ///
    /// It is called under the lock of the consumers: it must not wait for anybody.
    ///
    /// # Errors
    ///
    /// It has no room for them. The record is then still there.
    fn fill(&mut self, segment: &Segment, at: usize, len: usize) -> Result<(), Error>;
}

impl Target for Vec<u8> {
    #[inline]
    fn fill(&mut self, segment: &Segment, at: usize, len: usize) -> Result<(), Error> {
        self.clear();
        segment.append_to(at, len, self)
    }
}

/// As many bytes as the record has to have.
impl Target for [u8] {
    #[inline]
    fn fill(&mut self, segment: &Segment, at: usize, len: usize) -> Result<(), Error> {
        if len == self.len() { segment.copy_out(at, self) } else { Err(damaged()) }
    }
}

impl Ring {
    #[inline]
    pub(super) fn get_one<X, E, B: Target + ?Sized>(
        &self,
        bytes: &mut B,
        deadline: Deadline,
        nudge: Nudge,
        hook: impl FnOnce(Item) -> Result<X, E>,
        after: impl FnOnce(&X),
    ) -> Result<(Item, X), GetError<E>> {
        let (held, deadline) = match nudge {
            Nudge::Ignore => (self.lock_head(deadline).map_err(plain)?, deadline),
            Nudge::Return => self.lock_head_nudged(deadline).map_err(plain)?,
        };
        let mut head = self.head_with_item(deadline, nudge).map_err(plain)?;
        let (tag, len) = self.find_item(&mut head)?;
        let item = Item { tag, sequence: head.items };
        let at = head.place.at(head.position) + UNIT;
        bytes.fill(&self.segment, at, len as usize)?;
        let beside = hook(item).map_err(GetError::Hook)?;
        self.take_item(&mut head, len)?;
        after(&beside);
        drop(held);
        Ok((item, beside))
    }

    /// Takes the item of `len` bytes that the head is at off the ring.
    #[inline]
    pub(super) fn take_item(&self, head: &mut Position, len: u64) -> Result<(), Error> {
        advance(head, len)?;
        if head.place.arena < FIRST_PUNCHED {
            head.freed = head.position;
        }
        self.take(head);
        self.give_back(head);
        Ok(())
    }

    /// Takes the first few records in one commit; returns how many.
    ///
    /// It stops in front of one that is not `wanted`, by its tag and its length, and, after the first, in front of a jump.
    pub(super) fn get_some(
        &self,
        most: usize,
        deadline: Deadline,
        mut wanted: impl FnMut(u64, u64) -> bool,
        mut copy: impl FnMut(&Segment, usize, usize, Item) -> Result<(), Error>,
    ) -> Result<usize, GetError> {
        let held = self.lock_head(deadline)?;
        let mut head = self.head_with_item(deadline, Nudge::Ignore)?;
        let mut count = 0;
        let mut result = Ok(());
        while count < most.max(1) {
            let mut next = head;
            match self.copy_next(&mut next, count > 0, &mut wanted, &mut copy) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            head = next;
            count += 1;
        }
        if count > 0 {
            if head.place.arena < FIRST_PUNCHED {
                head.freed = head.position;
            }
            self.take(&head);
            self.give_back(&mut head);
            // The next call meets the error again, if it is one that stays.
            result = Ok(());
        }
        drop(held);
        result.map(|()| count).map_err(GetError::from)
    }

    /// Copies the next record and moves the head past it; not if it is not to be taken with those before it.
    fn copy_next(
        &self,
        head: &mut Position,
        further: bool,
        wanted: impl FnOnce(u64, u64) -> bool,
        copy: impl FnOnce(&Segment, usize, usize, Item) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        if further {
            if head.items == head.put {
                head.put = self.header.tail.peek_items()?.1;
            }
            let jump = || Head::read(&self.segment, head.place.at(head.position));
            if head.items >= head.put || matches!(jump()?, Head::Jump { .. }) {
                return Ok(false);
            }
        }
        let (tag, len) = self.find_item(head)?;
        if !wanted(tag, len) {
            return Ok(false);
        }
        let item = Item { tag, sequence: head.items };
        copy(&self.segment, head.place.at(head.position) + UNIT, len as usize, item)?;
        advance(head, len)?;
        Ok(true)
    }

    #[inline]
    fn lock_head(&self, deadline: Deadline) -> Result<Brief<'_>, GetError> {
        match self.header.head.lock().lock_briefly(deadline) {
            Ok(held) => Ok(held),
            Err(error) => self.lock_head_later(error, deadline, Cell::lock_briefly),
        }
    }

    /// Takes the lock; who had to wait for it may have missed a nudge, and so waits for nothing more.
    fn lock_head_nudged(&self, deadline: Deadline) -> Result<(Brief<'_>, Deadline), GetError> {
        match self.header.head.lock().lock_briefly(Deadline::NOW) {
            Ok(held) => Ok((held, deadline)),
            Err(_) => Ok((self.lock_head(deadline)?, Deadline::NOW)),
        }
    }

    /// The lock of the consumers was held.
    #[cold]
    pub(super) fn lock_head_later<'a, L>(
        &'a self,
        error: LockError,
        deadline: Deadline,
        take: impl Fn(&'a Cell, Deadline) -> Result<L, LockError>,
    ) -> Result<L, GetError> {
        let lock = self.header.head.lock();
        let mut result = Err(error);
        if deadline == Deadline::NOW {
            let end = Deadline::after(super::PATIENCE);
            while matches!(result, Err(LockError::TimedOut)) && !end.is_past() {
                if self.is_empty()? {
                    let closed = self.header.tail.word().is_closed();
                    return Err(if closed { GetError::Closed } else { GetError::Empty });
                }
                // There is an item, so the one before us is about to finish. It may take the last one and then wait for
                // the next, with the lock in its hands: look again soon.
                result = take(lock, Deadline::after(super::SOON));
            }
        }
        match result {
            Ok(held) => Ok(held),
            Err(LockError::TimedOut) => Err(GetError::Empty),
            Err(error) => Err(GetError::Failed(super::lock_failed(error))),
        }
    }

    /// Reads the head; waits until there is an item.
    #[inline]
    pub(super) fn head_with_item(
        &self,
        deadline: Deadline,
        nudge: Nudge,
    ) -> Result<Position, GetError> {
        let mut head: Position = self.header.head.load(self.last_arena)?;
        let mut deadline = deadline;
        loop {
            if head.items < head.put {
                return Ok(head);
            }
            let paused = deadline != Deadline::NOW && self.local.pace.pause();
            let (seen, put) = self.header.tail.peek_items()?;
            if put < head.items {
                return Err(damaged().into());
            }
            head.put = put;
            if paused {
                self.local.pace.learn(put - head.items);
            }
            if head.items < head.put {
                continue;
            }
            if seen.is_closed() {
                return Err(GetError::Closed);
            }
            let waited = self.header.tail.word().wait_change(seen, deadline, &self.local.get);
            waited.map_err(|_| GetError::Empty)?;
            if nudge == Nudge::Return {
                // Once more, without waiting.
                deadline = Deadline::NOW;
            }
        }
    }

    /// Moves the head to the next item, across ends of arenas and jumps; returns its tag and its length.
    #[inline]
    pub(super) fn find_item(&self, head: &mut Position) -> Result<(u64, u64), Error> {
        // Each arena on the path is left once; a damaged path might lead around for ever.
        for _ in 0..=2 * self.last_arena + 2 {
            let record = Head::read(&self.segment, head.place.at(head.position))?;
            let offset = head.place.offset(head.position);
            match record {
                Head::Item { len, tag } => {
                    let room = head.place.size() - offset - UNIT as u64;
                    if len > room || len > self.record_limit {
                        return Err(damaged());
                    }
                    return Ok((tag, len));
                }
                Head::Wrap if offset != 0 => head.position += head.place.size() - offset,
                Head::Wrap => return Err(damaged()),
                Head::Jump { arena } => self.follow(head, arena)?,
            }
        }
        Err(damaged())
    }

    /// Leaves an arena for the one that a jump names, and gives back the memory of the one left.
    #[cold]
    fn follow(&self, head: &mut Position, arena: u64) -> Result<(), Error> {
        let epoch = head.place.epoch + 1;
        let expected = self.header.path(epoch).load(std::sync::atomic::Ordering::Relaxed);
        let arena = u32::try_from(arena).ok().filter(|&arena| arena == expected);
        let arena = arena.filter(|&arena| arena <= self.last_arena).ok_or_else(damaged)?;
        if head.place.arena > 0 {
            // Before the commit, while no producer may come here; but not the jump itself, which is read again if we die.
            let start = arena_start(head.place.arena) as usize;
            let page = sys::page_size();
            let jump = (head.place.at(head.position) - start) / page * page;
            let _ = self.segment.discard(start..start + jump);
            let _ = self.segment.discard(
                (start + jump + page).min(start + head.place.size() as usize)
                    ..start + head.place.size() as usize,
            );
        }
        *head = Position { position: 0, place: Place { epoch, arena }, freed: 0, ..*head };
        // A commit of its own, without an item.
        self.take(head);
        Ok(())
    }

    /// In a large arena, gives back the memory behind the head, and then lets producers write there.
    #[inline]
    fn give_back(&self, head: &mut Position) {
        let behind = head.position - head.position % STEP;
        if head.place.arena >= FIRST_PUNCHED && behind > head.freed {
            let discard = |piece| self.segment.discard(piece);
            let _ = self.each_piece(head.place, head.freed, behind, discard);
            head.freed = behind;
            self.take(head);
        }
    }

    /// Takes everything up to this head off the ring.
    #[inline]
    fn take(&self, head: &Position) {
        self.header.head.store(head);
        self.header.head.word().commit();
    }
}

/// Moves the head behind an item of `len` bytes.
#[inline]
fn advance(head: &mut Position, len: u64) -> Result<(), Error> {
    head.position += footprint(len).ok_or_else(damaged)?;
    head.items += 1;
    head.bytes += len;
    Ok(())
}
