//! Items that are out: whoever took one on lease says when it is done, or is found to be dead.

use mp_wire::Deadline;

use super::alive::Owner;
use super::heap::Entry;
use super::held::Held;
use super::journal::{By, Change};
use super::layout::{BYTES, ITEMS, LEASED, LOST, OUT, damaged, head};
use super::{GLANCE, Orphans, Shelf};
use crate::ring::{GetError, Target};
use crate::{Error, ErrorKind};

/// The lower half of the word of the place.
const PLACE_MASK: u64 = 0xffff_ffff;

/// How many of the leases of one thread are compared for age.
const COMPARED: usize = 256;

/// An item that was taken and is not done. It is a name and no more: to drop it changes nothing.
///
/// It belongs to the process that took it, and ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    block: u64,
    lo: u64,
    attempt: u32,
}

impl Lease {
    /// How often the item was given out, this time included.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

impl Held<'_> {
    /// Has a block put on the list of what is out, in the hands of the caller.
    pub(super) fn lease(&self, change: &mut Change<'_>, block: u64) -> Result<Lease, Error> {
        let place = self.state(LEASED);
        self.back(OUT, (place + 1).saturating_mul(8))?;
        let attempt = ((self.word(block, head::PLACE)? >> 32) as u32).wrapping_add(1);
        let owner = Owner::me();
        change.block(block, head::OWNER, owner.id)?;
        change.block(block, head::START, owner.start)?;
        change.block(block, head::PLACE, u64::from(attempt) << 32 | place & PLACE_MASK)?;
        change.set(self.out_place(place)?, block)?;
        change.state(LEASED, place + 1)?;
        Ok(Lease { block, lo: self.word(block, head::LO)?, attempt })
    }

    /// Has a block taken off the list of what is out; the last one takes its place.
    fn strike(&self, change: &mut Change<'_>, block: u64) -> Result<(), Error> {
        let place = self.word(block, head::PLACE)? & PLACE_MASK;
        let last = self.state(LEASED).checked_sub(1).ok_or_else(damaged)?;
        if place > last || self.out_at(place)? != block {
            return Err(damaged());
        }
        let mover = self.out_at(last)?;
        if mover != block {
            self.shelf.parts.class_of(mover)?;
            let attempts = self.word(mover, head::PLACE)? & !PLACE_MASK;
            change.set(self.out_place(place)?, mover)?;
            change.block(mover, head::PLACE, attempts | place)?;
        }
        change.state(LEASED, last)
    }

    fn owner(&self, block: u64) -> Result<Owner, Error> {
        self.shelf.parts.class_of(block)?;
        let (id, start) = (self.word(block, head::OWNER)?, self.word(block, head::START)?);
        Ok(Owner { id, start })
    }

    /// Says whether this lease is the caller's process's, and not over.
    fn is_mine(&self, lease: Lease) -> Result<bool, Error> {
        let place = self.word(lease.block, head::PLACE)?;
        let same = place >> 32 == u64::from(lease.attempt)
            && self.word(lease.block, head::LO)? == lease.lo
            && self.owner(lease.block)?.is_process(Owner::me());
        let place = place & PLACE_MASK;
        Ok(same && place < self.state(LEASED) && self.out_at(place)? == lease.block)
    }

    /// How many items are out in the hands of other threads.
    pub(super) fn out_elsewhere(&self) -> Result<u64, Error> {
        let (me, mut count) = (Owner::me(), 0);
        for place in 0..self.state(LEASED) {
            let owner = self.owner(self.out_at(place)?)?;
            count += u64::from(owner != me && owner.id != head::LOST);
        }
        Ok(count)
    }

    /// Ends a lease: the item is done, and gone.
    fn finish(&self, block: u64) -> Result<(), Error> {
        let mut change = Change::new(self.shelf);
        self.strike(&mut change, block)?;
        change.block(block, head::OWNER, 0)?;
        self.free(&mut change, block)?;
        let all_done = self.items() == 0 && self.out() == 1;
        change.commit(if all_done { By::Done } else { By::Nobody })?;
        self.after_lease()?;
        self.give_back(block);
        Ok(())
    }

    /// Ends a lease: the item is on the shelf again, where it was.
    fn put_back(&self, block: u64) -> Result<(), Error> {
        let len = self.len_of(block)?;
        let mut change = Change::new(self.shelf);
        self.strike(&mut change, block)?;
        change.block(block, head::OWNER, 0)?;
        let (hi, lo) = (self.word(block, head::HI)?, self.word(block, head::LO)?);
        self.push(&mut change, self.items(), Entry { hi, lo, block })?;
        change.state(ITEMS, self.items() + 1)?;
        change.state(BYTES, self.state(BYTES).saturating_add(len))?;
        change.commit(By::Items)
    }

    /// Ends a lease: the item counts as done, and is kept for whoever asks for what is lost.
    fn lose(&self, block: u64) -> Result<(), Error> {
        let mut change = Change::new(self.shelf);
        change.block(block, head::OWNER, head::LOST)?;
        change.state(LOST, self.state(LOST) + 1)?;
        let all_done = self.items() == 0 && self.out() == 1;
        change.commit(if all_done { By::Done } else { By::Nobody })?;
        self.after_lease()
    }

    /// Wakes consumers of a closed shelf, who wait for what may be given out again.
    ///
    /// Not in the step that ends the lease: if we die between the two, they see it when they look the next time.
    fn after_lease(&self) -> Result<(), Error> {
        if self.shelf.is_closed() && self.out() == 0 {
            return Change::new(self.shelf).commit(By::Items);
        }
        Ok(())
    }
}

impl Shelf {
    /// Says that an item is done: it is gone, and whoever waits for all to be done is woken by the last.
    ///
    /// # If a process dies
    ///
    /// The item is done, or its lease ends with the process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if it is no lease of this process, or over.
    pub fn finish(&self, lease: Lease) -> Result<(), Error> {
        self.with_lease(lease, |held, block| held.finish(block))
    }

    /// Gives an item back, to where it was among the others: the next one gets it.
    ///
    /// # Errors
    ///
    /// As [`Shelf::finish`].
    pub fn put_back(&self, lease: Lease) -> Result<(), Error> {
        self.with_lease(lease, |held, block| held.put_back(block))
    }

    fn with_lease(
        &self,
        lease: Lease,
        end: impl FnOnce(&Held<'_>, u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let held = self.lock(Deadline::NEVER).map_err(super::lock_failed)?;
        if !held.is_mine(lease)? {
            return Err(Error::new(ErrorKind::InvalidInput, "this process does not have the item"));
        }
        end(&held, lease.block)
    }

    /// Says that one item is done which this process has taken: one of the calling thread if there is one, and of those the oldest.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if it has none that is not done.
    pub fn finish_any(&self) -> Result<(), Error> {
        let held = self.lock(Deadline::NEVER).map_err(super::lock_failed)?;
        let me = Owner::me();
        let (mut oldest, mut other, mut compared) = (None, None, 0);
        for place in 0..held.state(LEASED) {
            let block = held.out_at(place)?;
            let owner = held.owner(block)?;
            if owner == me {
                let lo = held.word(block, head::LO)?;
                if oldest.is_none_or(|(known, _)| lo < known) {
                    oldest = Some((lo, block));
                }
                compared += 1;
                if compared == COMPARED {
                    break;
                }
            } else if owner.is_process(me) && other.is_none() {
                other = Some(block);
            }
        }
        match oldest.map(|(_, block)| block).or(other) {
            Some(block) => held.finish(block),
            None => {
                let what = "this process has taken no item that is not done";
                Err(Error::new(ErrorKind::InvalidInput, what))
            }
        }
    }

    /// How many items are not done: those on the shelf, and those that are out and not lost.
    ///
    /// # Errors
    ///
    /// The shelf is damaged.
    pub fn unfinished(&self) -> Result<usize, Error> {
        let held = self.lock(Deadline::NOW).map_err(super::lock_failed)?;
        Ok(usize::try_from(held.items() + held.out()).unwrap_or(usize::MAX))
    }

    /// Waits until all items that were put are done; says whether they are.
    ///
    /// # If a process dies
    ///
    /// What it had taken is given out again, or is lost and counts as done: see [`Orphans`]. It is looked for four times a second.
    ///
    /// # Errors
    ///
    /// The shelf is damaged.
    pub fn join(&self, deadline: Deadline) -> Result<bool, Error> {
        loop {
            let Ok(held) = self.lock(deadline) else { return Ok(false) };
            if held.items() == 0 && held.out() == 0 {
                return Ok(true);
            }
            let (seen, out) = (self.header.done.0.snapshot(), held.out() > 0);
            drop(held);
            if out && self.look_for_the_dead()? {
                continue;
            }
            if deadline.is_past() {
                return Ok(false);
            }
            let until = self.glance(deadline);
            let _ = self.header.done.0.wait_change(seen, until, &self.local.join);
        }
    }

    /// Takes the first item whose consumer has died; with [`Orphans::Report`] only there are any.
    ///
    /// # Errors
    ///
    /// [`GetError::Empty`] if there is none.
    pub fn take_lost(&self, target: &mut impl Target) -> Result<(), GetError> {
        self.look_for_the_dead()?;
        let held = self.lock(Deadline::NOW).map_err(super::untaken)?;
        let mut found = None;
        for place in 0..held.state(LEASED) {
            let block = held.out_at(place)?;
            if held.owner(block)?.id == head::LOST {
                let lo = held.word(block, head::LO)?;
                if found.is_none_or(|(known, _)| lo < known) {
                    found = Some((lo, block));
                }
            }
        }
        let Some((_, block)) = found else { return Err(GetError::Empty) };
        let len = held.len_of(block)?;
        target.fill(&self.segment, block as usize + super::layout::BLOCK_HEAD, len as usize)?;
        let mut change = Change::new(self);
        held.strike(&mut change, block)?;
        change.state(LOST, held.state(LOST).saturating_sub(1))?;
        change.block(block, head::OWNER, 0)?;
        held.free(&mut change, block)?;
        change.commit(By::Nobody)?;
        held.give_back(block);
        Ok(())
    }

    /// How many items are lost: taken by processes that died, and not asked for since.
    ///
    /// # Errors
    ///
    /// The shelf is damaged.
    pub fn lost(&self) -> Result<usize, Error> {
        self.look_for_the_dead()?;
        let held = self.lock(Deadline::NOW).map_err(super::lock_failed)?;
        Ok(usize::try_from(held.state(LOST)).unwrap_or(usize::MAX))
    }

    /// Ends the leases of processes that are dead; says whether there were any.
    pub(super) fn look_for_the_dead(&self) -> Result<bool, Error> {
        let mut owners = Vec::new();
        let held = self.lock(Deadline::NOW).map_err(super::lock_failed)?;
        let me = Owner::me();
        for place in 0..held.state(LEASED) {
            let owner = held.owner(held.out_at(place)?)?;
            let known = |known: &Owner| known.is_process(owner);
            if owner.id != head::LOST && !owner.is_process(me) && !owners.iter().any(known) {
                owners.push(owner);
            }
        }
        drop(held);
        owners.retain(|owner| !owner.is_alive());
        if owners.is_empty() {
            return Ok(false);
        }
        let held = self.lock(Deadline::NOW).map_err(super::lock_failed)?;
        let (mut place, mut any) = (0, false);
        while place < held.state(LEASED) {
            let block = held.out_at(place)?;
            let owner = held.owner(block)?;
            if owner.id == head::LOST || !owners.iter().any(|dead| dead.is_process(owner)) {
                place += 1;
                continue;
            }
            any = true;
            match self.orphans {
                Orphans::GiveOutAgain => held.put_back(block)?,
                Orphans::Report => held.lose(block)?,
            }
        }
        Ok(any)
    }

    /// A part of the time until a deadline, after which it is looked for the dead.
    pub(super) fn glance(&self, deadline: Deadline) -> Deadline {
        if deadline.remaining().is_some_and(|left| left <= GLANCE) {
            deadline
        } else {
            Deadline::after(GLANCE)
        }
    }
}
