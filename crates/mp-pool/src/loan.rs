//! Large values, each in memory of its own that is used again.
//!
//! What goes through a ring is copied once more on each side, and a ring gives the memory of what is large back behind it: to get new
//! pages takes far longer than to fill them. So the bytes of a large value lie in a segment that their sender lends, and the
//! message has two descriptors: the segment, and the *ticket*, one end of a pipe of which the sender keeps the other.
//! Whoever may still read the bytes has the ticket. When its last copy is closed (they were read, the message was dropped,
//! its holder was killed), the pipe hangs up, and the sender uses the segment for the next value.
//!
//! | killed | what follows |
//! |---|---|
//! | sender, before the message is there | the kernel takes all back |
//! | sender, later | the bytes are there until their receiver has read them |
//! | receiver, at any time | the pipe hangs up, or the message is taken back with both descriptors and goes to another |
//!
//! A copy of a holder that forks has the ticket, too: the segment then stays lent for as long as that lives.
//!
//! A sender has few loans at a time, so that messages that lie unread do not take all descriptors; what comes beyond
//! that goes through the ring.

use std::any::Any;
use std::io::{PipeReader, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mp_shared::fork;
use mp_shared::segment::Segment;
use mp_wire::{Deadline, Error, ErrorKind, Fd, poll};
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use serde::de::DeserializeOwned;

use crate::entry::chain;
use crate::plain;

const KIND: u32 = u32::from_le_bytes(*b"loan");

/// Below this many bytes, a ring is as fast for a value that need not be encoded: it is copied more often there, but within caches.
pub(crate) const LARGE: usize = 512 << 10;

/// And for what is encoded anyway. What is larger does not fit into an arena of a ring that keeps its memory.
const LARGE_ENCODED: usize = 8 << 20;

/// How many segments may be lent at a time, and how many of others are kept mapped.
const MOST: usize = 4;

/// A segment may be so many times larger than what it is used for.
const SLACK: usize = 4;

/// Segments are made of a multiple of this many bytes, so that values of about one size share them.
const STEP: usize = 1 << 20;
const LEAST: usize = 4 << 10;

/// How long memory is kept that nobody uses.
pub(crate) const KEEP: Duration = Duration::from_secs(1);

/// How much of it is kept at most, by each process.
const ROOM: usize = 256 << 20;

/// How long another thread is waited for; in a forked copy of the process it may not be there.
const PATIENCE: Duration = Duration::from_millis(2);

static LENDER: Mutex<Option<Lender>> = Mutex::new(None);

/// There is something that may be given back. Changes under the lock of the lender.
static HELD: AtomicBool = AtomicBool::new(false);

/// A thread has promised to give it back.
static TENDED: AtomicBool = AtomicBool::new(false);

/// What this process has lent and borrowed.
struct Lender {
    /// The process that it belongs to; a forked copy begins anew.
    generation: u64,
    loans: Vec<Loan>,
    /// Segments of others, so that their next loan of one maps nothing.
    borrowed: Vec<(Segment, Instant)>,
    /// The vector that was copied last.
    spare: Option<(Box<dyn Any + Send>, Instant)>,
}

struct Loan {
    segment: Segment,
    /// The end of the pipe that tells when it is free again; none if it is.
    out: Option<PipeReader>,
    used: Instant,
}

/// The lender, and this moment; none if it cannot be had.
fn lender() -> Option<(MappedMutexGuard<'static, Lender>, Instant)> {
    let mut guard = LENDER.try_lock_for(PATIENCE)?;
    let generation = fork::generation();
    if guard.as_ref().is_none_or(|lender| lender.generation != generation) {
        *guard = Some(Lender { generation, loans: Vec::new(), borrowed: Vec::new(), spare: None });
    }
    let lender = MutexGuard::try_map(guard, Option::as_mut).ok()?;
    Some((lender, Instant::now()))
}

impl Lender {
    /// Notices which segments are free again.
    fn settle(&mut self, now: Instant) {
        let pipes = self.loans.iter().filter_map(|loan| loan.out.as_ref().map(AsFd::as_fd));
        let Ok(ended) = poll::readable(&pipes.collect::<Vec<_>>(), Deadline::NOW) else { return };
        let lent = self.loans.iter_mut().filter(|loan| loan.out.is_some());
        // Seeded mistake: what was handed out counts as read.
        let early = cfg!(mp_bug = "pool_loan_reused_early");
        for (loan, _) in lent.zip(ended).filter(|(_, ended)| *ended || early) {
            (loan.out, loan.used) = (None, now);
        }
    }

    /// Takes a free segment out that has so many bytes. If there is none, and no place for another, one that is free makes room.
    fn take(&mut self, len: usize) -> Taken {
        let fits = |loan: &Loan| (len..=len.saturating_mul(SLACK)).contains(&loan.segment.len());
        let free = || self.loans.iter().enumerate().filter(|(_, loan)| loan.out.is_none());
        let best = free().filter(|(_, loan)| fits(loan)).min_by_key(|(_, loan)| loan.segment.len());
        if let Some((at, _)) = best {
            return Taken::Fits(self.loans.swap_remove(at).segment);
        }
        if self.loans.len() < MOST {
            return Taken::Place(None);
        }
        let oldest = free().min_by_key(|(_, loan)| loan.used).map(|(at, _)| at);
        oldest.map_or(Taken::Nothing, |at| Taken::Place(Some(self.loans.swap_remove(at))))
    }
}

enum Taken {
    Fits(Segment),
    /// There is place for another one, in place of this.
    Place(Option<Loan>),
    Nothing,
}

/// A segment with room for so many bytes, if one more may be lent.
fn segment(len: usize) -> Option<Segment> {
    let taken = {
        let (mut lender, now) = lender()?;
        lender.settle(now);
        lender.take(len)
    };
    match taken {
        Taken::Fits(segment) => Some(segment),
        Taken::Place(other) => {
            // Its memory is given back first, and under no lock: both take a while.
            if let Some(other) = other {
                other.give_back();
            }
            create(len).ok()
        }
        Taken::Nothing => None,
    }
}

fn create(len: usize) -> Result<Segment, mp_shared::Error> {
    let step = if len < LARGE { LEAST } else { STEP };
    Segment::create(KIND, len.max(1).checked_next_multiple_of(step).unwrap_or(len))
}

/// Copies bytes into memory that goes along with a message; none if they are few, or if that cannot be had now.
pub(crate) fn lend(bytes: &[u8]) -> Option<[Fd; 2]> {
    if bytes.len() < LARGE { None } else { lend_from(segment(bytes.len())?, bytes).ok() }
}

/// The same for what was encoded.
pub(crate) fn lend_encoded(bytes: &[u8]) -> Option<[Fd; 2]> {
    if bytes.len() < LARGE_ENCODED { None } else { lend(bytes) }
}

/// Does so in any case, however many loans there are.
pub(crate) fn lend_always(bytes: &[u8]) -> Result<[Fd; 2], mp_shared::Error> {
    let segment = segment(bytes.len()).map_or_else(|| create(bytes.len()), Ok)?;
    lend_from(segment, bytes)
}

fn lend_from(segment: Segment, bytes: &[u8]) -> Result<[Fd; 2], mp_shared::Error> {
    segment.copy_in(0, bytes)?;
    let fd = segment.fd().clone();
    let Ok((reader, ticket)) = pipe() else {
        // There are few descriptors left. It is not used again.
        return Ok([fd.clone(), fd]);
    };
    if let Some((mut lender, used)) = lender() {
        lender.loans.push(Loan { segment, out: Some(reader), used });
        HELD.store(true, Ordering::Relaxed);
    }
    Ok([fd, OwnedFd::from(ticket).into()])
}

/// Copies a vector of numbers, or a tuple of one, out of the memory that came with a message, which must have its descriptors still.
pub(crate) fn read<T: DeserializeOwned + 'static>(fds: &[Fd], len: usize) -> Result<T, Error> {
    let value = plain::copy_out(&borrow(fds)?, len).map_err(unreadable)?;
    // If it is no such thing, the codec says so.
    value.map_or_else(|| mp_wire::decode(&[], &[]), Ok)
}

/// The memory that came with a message. It may be read as long as the message has its descriptors.
fn borrow(fds: &[Fd]) -> Result<Segment, Error> {
    let [fd, _] = fds else {
        return Err(Error::new(
            ErrorKind::Decode,
            "the memory of a large value did not come along",
        ));
    };
    let segment = Segment::attach(fd.clone(), KIND).map_err(unreadable)?;
    if let Some((mut lender, now)) = lender() {
        let borrowed = &mut lender.borrowed;
        borrowed.retain(|(other, _)| other.id() != segment.id());
        if borrowed.len() >= MOST {
            borrowed.remove(0);
        }
        borrowed.push((segment.clone(), now));
        HELD.store(true, Ordering::Relaxed);
    }
    Ok(segment)
}

/// What is the matter with memory that was borrowed.
fn unreadable(error: mp_shared::Error) -> Error {
    Error::new(ErrorKind::Decode, format!("a large value cannot be read: {}", chain(&error)))
}

/// Keeps an empty vector with its room, which is full of pages that are there, for the next large value of its type.
pub(crate) fn spare<T: Send + 'static>(vector: Vec<T>) {
    if let Some((mut lender, now)) = lender() {
        let before = lender.spare.replace((Box::new(vector), now));
        HELD.store(true, Ordering::Relaxed);
        drop(lender);
        drop(before);
    }
}

/// A vector for so many values: the one that was kept, if it is right for them.
pub(crate) fn vector<T: 'static>(len: usize) -> Vec<T> {
    let fits = |vector: &Vec<T>| (len..=len.saturating_mul(SLACK)).contains(&vector.capacity());
    let spare = take_spare().and_then(|spare| spare.downcast::<Vec<T>>().ok());
    spare.filter(|vector| fits(vector)).map_or_else(Vec::new, |vector| *vector)
}

/// Gives the vector back that was kept. A task has its limit of memory for itself.
#[inline]
pub(crate) fn drop_spare() {
    if HELD.load(Ordering::Relaxed) {
        drop(take_spare());
    }
}

fn take_spare() -> Option<Box<dyn Any + Send>> {
    let (mut lender, _) = lender()?;
    lender.spare.take().map(|(spare, _)| spare)
}

/// Says whether there is memory that nobody has promised to give back; from then on the caller has, by [`trim`].
pub(crate) fn is_untended() -> bool {
    HELD.load(Ordering::Relaxed)
        && !TENDED.load(Ordering::Relaxed)
        && !TENDED.swap(true, Ordering::Relaxed)
}

/// Gives back what has not been used for a while. Says after what time to look again, if there is more.
pub(crate) fn trim() -> Option<Duration> {
    if !HELD.load(Ordering::Relaxed) {
        return None;
    }
    give_back(KEEP)
}

/// Gives back all that is not in use, by who has tended it and does so no longer.
pub(crate) fn release() {
    give_back(Duration::ZERO);
    TENDED.store(false, Ordering::Relaxed);
}

fn give_back(unused_for: Duration) -> Option<Duration> {
    let (mut lender, now) = lender()?;
    lender.settle(now);
    let Lender { loans, borrowed, spare, .. } = &mut *lender;
    let old = |used: Instant| now.saturating_duration_since(used) >= unused_for;
    let mut room = ROOM;
    let mut too_much = |segment: &Segment| {
        let fits = room.checked_sub(segment.len());
        room = fits.unwrap_or(room);
        fits.is_none()
    };
    let unused =
        |loan: &mut Loan| loan.out.is_none() && (old(loan.used) || too_much(&loan.segment));
    let free = loans.extract_if(.., unused).collect::<Vec<_>>();
    let others = borrowed.extract_if(.., |(_, used)| old(*used)).collect::<Vec<_>>();
    let vector = spare.take_if(|(_, used)| old(*used));
    let some = !loans.is_empty() || !borrowed.is_empty() || spare.is_some();
    HELD.store(some, Ordering::Relaxed);
    TENDED.fetch_and(some, Ordering::Relaxed);
    // To give memory back takes a while.
    drop(lender);
    free.into_iter().for_each(Loan::give_back);
    drop((others, vector));
    some.then_some(KEEP)
}

impl Loan {
    /// Gives the memory back, also where who had it last keeps it mapped. Nobody reads it any more.
    fn give_back(self) {
        let _ = self.segment.discard(0..self.segment.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lender is one for the process.
    static ALONE: Mutex<()> = Mutex::new(());

    fn read([segment, ticket]: [Fd; 2], len: usize) -> (u128, Vec<u8>) {
        let segment = borrow(&[segment, ticket]).unwrap();
        let mut bytes = Vec::new();
        segment.append_to(0, len, &mut bytes).unwrap();
        (segment.id(), bytes)
    }

    fn empty() {
        release();
        assert!(!HELD.load(Ordering::Relaxed), "something is lent");
    }

    #[test]
    fn memory_is_lent_again_once_its_tickets_are_gone() {
        let _alone = ALONE.lock();
        let bytes = vec![1; LARGE];
        let lent = lend(&bytes).unwrap();
        let copy = lent.clone();
        let (id, copied) = read(lent, LARGE);
        assert_eq!(copied, bytes);
        let (other, _) = read(lend(&bytes).unwrap(), LARGE);
        assert_ne!(id, other, "somebody still has the ticket");
        drop(copy);
        let ids = [lend(&bytes).unwrap(), lend(&bytes).unwrap()].map(|lent| read(lent, LARGE).0);
        assert!(ids.contains(&id) && ids.contains(&other));
        empty();
    }

    #[test]
    fn few_loans_are_out_at_a_time() {
        let _alone = ALONE.lock();
        let bytes = vec![2; LARGE];
        let mut lent: Vec<_> = (0..MOST).map(|_| lend(&bytes).unwrap()).collect();
        assert!(lend(&bytes).is_none());
        assert_eq!(read(lend_always(&bytes).unwrap(), LARGE).1, bytes);
        lent.pop();
        // One that is too small makes room.
        let more = vec![3; LARGE + STEP];
        assert_eq!(read(lend(&more).unwrap(), more.len()).1, more);
        drop(lent);
        empty();
    }

    #[test]
    fn small_values_are_not_lent() {
        assert!(lend(&vec![0; LARGE - 1]).is_none());
        let _alone = ALONE.lock();
        assert_eq!(read(lend_always(b"few").unwrap(), 3).1, b"few");
        assert!(lend_always(&[]).is_ok());
        empty();
    }

    #[test]
    fn what_is_not_lent_cannot_be_borrowed() {
        assert!(borrow(&[]).is_err());
        let file = std::fs::File::open("/dev/null").unwrap();
        let fd = Fd::from(OwnedFd::from(file));
        assert_eq!(borrow(&[fd.clone(), fd]).unwrap_err().kind(), ErrorKind::Decode);
    }

    #[test]
    fn the_room_of_a_vector_is_used_for_the_next_of_its_type() {
        let _alone = ALONE.lock();
        let old = Vec::<u32>::with_capacity(LARGE);
        let place = old.as_ptr();
        spare(old);
        let again = vector::<u32>(LARGE);
        assert_eq!(again.as_ptr(), place);
        spare(Vec::<u32>::with_capacity(LARGE));
        assert_eq!(vector::<u8>(LARGE).capacity(), 0, "of another type");
        spare(Vec::<u32>::with_capacity(LARGE));
        assert_eq!(vector::<u32>(LARGE / SLACK - 1).capacity(), 0, "far too large");
        spare(Vec::<u32>::with_capacity(LARGE));
        drop_spare();
        assert_eq!(vector::<u32>(LARGE).capacity(), 0);
        empty();
    }

    #[test]
    fn one_tends_what_is_kept() {
        let _alone = ALONE.lock();
        assert!(!is_untended() && trim().is_none());
        let begin = Instant::now();
        drop(lend(&vec![4; LARGE]).unwrap());
        assert!(is_untended() && !is_untended());
        let again = trim();
        assert!(again == Some(KEEP) || begin.elapsed() >= KEEP, "it was used just now");
        release();
        assert!(!is_untended() && trim().is_none());
    }
}
