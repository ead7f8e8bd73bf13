//! Records that are written and read in place.
#![expect(unsafe_code, reason = "makes slices of records that the lock of their side guards")]

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::slice;

use mp_wire::Deadline;

use super::layout::{Head as Position, Tail, UNIT};
use super::put::after;
use super::record::{Head, footprint};
use super::{GetError, Item, Nudge, PutError, Ring};
use crate::robust::linked::Cell;
use crate::{Error, ErrorKind};

/// A guard belongs to the thread that made it: locks are released by who took them.
type ThisThread = PhantomData<*const ()>;

/// Room for a record, to be written in place; see [`Ring::reserve`].
///
/// It holds the lock of the producers. Dropped, it gives the room back, and nothing was put.
#[must_use = "nothing is put before `commit`"]
pub struct Reservation<'a> {
    ring: &'a Ring,
    tail: Tail,
    tag: u64,
    at: usize,
    len: usize,
    thread: ThisThread,
}

/// A record that is read in place; see [`Ring::lend`].
///
/// It holds the lock of the consumers. Dropped, the record is taken.
#[must_use = "the record is taken when this is dropped"]
pub struct Lent<'a> {
    ring: &'a Ring,
    head: Position,
    item: Item,
    at: usize,
    len: usize,
    thread: ThisThread,
}

fn link(cell: &Cell, deadline: Deadline) -> Result<(), crate::robust::LockError> {
    cell.lock(deadline).map(|_| ())
}

impl Ring {
    /// Reserves room for a record of `len` bytes, which is written in place and then committed.
    ///
    /// What is in it at first is anything that was in the ring before. All other producers wait meanwhile.
    ///
    /// # Blocking
    ///
    /// As [`Ring::put`].
    ///
    /// # If a process dies
    ///
    /// Before [`Reservation::commit`] returns, the record is there whole, or not at all. Others go on.
    ///
    /// # Errors
    ///
    /// See [`PutError`]. A thread that has reserved room in this ring already gets [`ErrorKind::Deadlock`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::ring::Ring;
    /// use mp_wire::Deadline;
    ///
    /// let ring = Ring::new()?;
    /// let mut room = ring.reserve(7, 5, Deadline::NEVER)?;
    /// room.copy_from_slice(b"hello");
    /// room.commit()?;
    /// assert_eq!(&*ring.lend(Deadline::NOW)?, b"hello");
    /// assert!(ring.is_empty()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reserve(
        &self,
        tag: u64,
        len: usize,
        deadline: Deadline,
    ) -> Result<Reservation<'_>, PutError> {
        let length = len as u64;
        if length > self.record_limit {
            return Err(PutError::TooLarge);
        }
        let footprint = footprint(length).ok_or(PutError::TooLarge)?;
        let lock = self.header.tail.lock();
        link(lock, deadline)
            .or_else(|error| self.lock_tail_later(error, length, deadline, link))?;
        let placed = self.tail_with_room(length, deadline).and_then(|mut tail| {
            self.make_place(&mut tail, footprint)?;
            let at = tail.place.at(tail.position) + UNIT;
            self.segment.place(at, len)?;
            Ok((tail, at))
        });
        match placed {
            Ok((tail, at)) => {
                Ok(Reservation { ring: self, tail, tag, at, len, thread: PhantomData })
            }
            Err(error) => {
                let _ = lock.unlock();
                Err(error)
            }
        }
    }

    /// Lends the first record in place; it is taken when the guard is dropped.
    ///
    /// All other consumers wait meanwhile.
    ///
    /// # Blocking
    ///
    /// As [`Ring::get`].
    ///
    /// # If a process dies
    ///
    /// As long as the guard lives, the record is still in the ring: the next consumer gets it.
    ///
    /// # Errors
    ///
    /// See [`GetError`]. A thread that has been lent a record of this ring already gets [`ErrorKind::Deadlock`].
    pub fn lend(&self, deadline: Deadline) -> Result<Lent<'_>, GetError> {
        let lock = self.header.head.lock();
        link(lock, deadline).or_else(|error| self.lock_head_later(error, deadline, link))?;
        let found = self.head_with_item(deadline, Nudge::Ignore).and_then(|mut head| {
            let (tag, len) = self.find_item(&mut head)?;
            let (at, len) = (head.place.at(head.position) + UNIT, len as usize);
            self.segment.place(at, len)?;
            Ok((head, Item { tag, sequence: head.items }, at, len))
        });
        match found {
            Ok((head, item, at, len)) => {
                Ok(Lent { ring: self, head, item, at, len, thread: PhantomData })
            }
            Err(error) => {
                let _ = lock.unlock();
                Err(error)
            }
        }
    }
}

impl Reservation<'_> {
    /// Makes the record shorter; a length that it does not have is that which it has.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Puts the record.
    ///
    /// # Errors
    ///
    /// [`PutError::Closed`] if the ring has been closed meanwhile; [`ErrorKind::Deadlock`] in a forked copy of the process that reserved it,
    /// which does not hold the lock. Nothing was put.
    pub fn commit(self) -> Result<(), PutError> {
        let side = &self.ring.header.tail;
        if !side.lock().held_by_me() {
            let what = "the room was reserved by another process";
            return Err(Error::new(ErrorKind::Deadlock, what).into());
        }
        // Who closes does not wait for us for long.
        if side.word().is_closed() {
            return Err(PutError::Closed);
        }
        let head = Head::Item { len: self.len as u64, tag: self.tag };
        head.write(&self.ring.segment, self.at - UNIT)?;
        self.ring.publish(&after(self.tail, self.len as u64));
        Ok(())
    }
}

impl Deref for Reservation<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let Ok(place) = self.ring.segment.place(self.at, self.len) else { return &[] };
        // SAFETY: so many bytes of the mapping, which the ring keeps; any bits are a `u8`. They lie beyond the tail, whose lock
        // is held: of those that share it, nobody else in this or another process uses them while the guard lives.
        unsafe { slice::from_raw_parts(place.as_ptr(), self.len) }
    }
}

impl DerefMut for Reservation<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        let Ok(place) = self.ring.segment.place(self.at, self.len) else { return &mut [] };
        // SAFETY: as in `deref`, and the guard is borrowed for this alone.
        unsafe { slice::from_raw_parts_mut(place.as_ptr(), self.len) }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        // Fails only in a forked copy of the holder, where it is right not to release it.
        let _ = self.ring.header.tail.lock().unlock();
    }
}

impl Lent<'_> {
    /// What the record carries beside its bytes.
    #[must_use]
    pub fn item(&self) -> Item {
        self.item
    }

    /// Leaves the record in the ring, as the first.
    pub fn leave(mut self) {
        self.head.put = self.head.items;
    }
}

impl Deref for Lent<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let Ok(place) = self.ring.segment.place(self.at, self.len) else { return &[] };
        // SAFETY: so many bytes of the mapping, which the ring keeps; any bits are a `u8`. They lie between head and tail, and the
        // lock of the head is held: of those that share it, nobody writes there before the head has moved.
        unsafe { slice::from_raw_parts(place.as_ptr(), self.len) }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let lock = self.ring.header.head.lock();
        // Not in a forked copy of the holder, nor if it is to be left.
        if lock.held_by_me() && self.head.items < self.head.put {
            let _ = self.ring.take_item(&mut self.head, self.len as u64);
        }
        let _ = lock.unlock();
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("len", &self.len).finish_non_exhaustive()
    }
}

impl fmt::Debug for Lent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
