//! The side of the consumers.

use mp_wire::Deadline;

use super::error::GetError;
use super::layout::{
    FIRST_PUNCHED, Head as Position, Place, STEP, Tail, UNIT, arena_start, damaged,
};
use super::record::{Head, footprint};
use super::{Held, Item, Record, Ring};
use crate::robust::LockError;
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

impl Ring {
    #[inline]
    pub(super) fn get_one<X, E>(
        &self,
        bytes: &mut Vec<u8>,
        deadline: Deadline,
        hook: impl FnOnce(Item) -> Result<X, E>,
        after: impl FnOnce(&X),
    ) -> Result<(Item, X), GetError<E>> {
        bytes.clear();
        let held = self.lock_head(deadline).map_err(plain)?;
        let mut head = self.head_with_item(deadline).map_err(plain)?;
        let (tag, len) = self.find_item(&mut head)?;
        let item = Item { tag, sequence: head.items };
        let at = head.place.at(head.position) + UNIT;
        self.segment.append_to(at, len as usize, bytes)?;
        let beside = hook(item).map_err(GetError::Hook)?;
        head.position += footprint(len).ok_or_else(damaged)?;
        head.items += 1;
        if head.place.arena < FIRST_PUNCHED {
            head.freed = head.position;
        }
        self.take(&head);
        self.give_back(&mut head);
        after(&beside);
        drop(held);
        Ok((item, beside))
    }

    /// Takes the first few records in one commit; returns how many.
    ///
    /// It stops in front of one that is not `wanted`, and, after the first, in front of a jump.
    pub(super) fn get_some(
        &self,
        bytes: &mut Vec<u8>,
        records: &mut Vec<Record>,
        most: usize,
        deadline: Deadline,
        wanted: impl Fn(u64) -> bool,
    ) -> Result<usize, GetError> {
        let held = self.lock_head(deadline)?;
        let mut head = self.head_with_item(deadline)?;
        let mut count = 0;
        let mut result = Ok(());
        while count < most.max(1) {
            let mut next = head;
            match self.copy_next(&mut next, bytes, count > 0, &wanted) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => break,
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

    /// Copies the next record behind `bytes` and moves the head past it; none if it is not to be taken with those before it.
    fn copy_next(
        &self,
        head: &mut Position,
        bytes: &mut Vec<u8>,
        further: bool,
        wanted: impl Fn(u64) -> bool,
    ) -> Result<Option<Record>, Error> {
        if further {
            if head.items == head.put {
                head.put = self.header.tail.peek::<Tail>(self.last_arena)?.1.items;
            }
            let jump = || Head::read(&self.segment, head.place.at(head.position));
            if head.items >= head.put || matches!(jump()?, Head::Jump { .. }) {
                return Ok(None);
            }
        }
        let (tag, len) = self.find_item(head)?;
        if !wanted(tag) {
            return Ok(None);
        }
        self.segment.append_to(head.place.at(head.position) + UNIT, len as usize, bytes)?;
        let item = Item { tag, sequence: head.items };
        head.position += footprint(len).ok_or_else(damaged)?;
        head.items += 1;
        Ok(Some(Record { item, end: bytes.len() }))
    }

    #[inline]
    fn lock_head(&self, deadline: Deadline) -> Result<Held<'_>, GetError> {
        let lock = self.header.head.lock();
        match lock.lock(deadline) {
            Ok(_) => Ok(Held(lock)),
            Err(error) => self.lock_head_later(error, deadline),
        }
    }

    #[cold]
    fn lock_head_later(&self, error: LockError, deadline: Deadline) -> Result<Held<'_>, GetError> {
        let lock = self.header.head.lock();
        let mut result = Err(error);
        if deadline == Deadline::NOW {
            let end = Deadline::after(super::PATIENCE);
            while result == Err(LockError::TimedOut) && !end.is_past() {
                if self.is_empty()? {
                    let closed = self.header.tail.word().is_closed();
                    return Err(if closed { GetError::Closed } else { GetError::Empty });
                }
                // There is an item, so the one before us is about to finish. It may take the last one and then wait for
                // the next, with the lock in its hands: look again soon.
                result = lock.lock(Deadline::after(super::SOON));
            }
        }
        match result {
            Ok(_) => Ok(Held(lock)),
            Err(LockError::TimedOut) => Err(GetError::Empty),
            Err(error) => Err(GetError::Failed(super::lock_failed(error))),
        }
    }

    /// Reads the head; waits until there is an item.
    #[inline]
    fn head_with_item(&self, deadline: Deadline) -> Result<Position, GetError> {
        let mut head: Position = self.header.head.load(self.last_arena)?;
        loop {
            if head.items < head.put {
                return Ok(head);
            }
            let (seen, tail) = self.header.tail.peek::<Tail>(self.last_arena)?;
            if tail.items < head.items {
                return Err(damaged().into());
            }
            head.put = tail.items;
            if head.items < head.put {
                continue;
            }
            if seen.is_closed() {
                return Err(GetError::Closed);
            }
            let waited = self.header.tail.word().wait_change(seen, deadline, &self.local.get);
            waited.map_err(|_| GetError::Empty)?;
        }
    }

    /// Moves the head to the next item, across ends of arenas and jumps; returns its tag and its length.
    #[inline]
    fn find_item(&self, head: &mut Position) -> Result<(u64, u64), Error> {
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
