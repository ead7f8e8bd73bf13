#![doc = include_str!("ring/README.md")]

mod builder;
mod error;
mod get;
mod layout;
mod lend;
mod pace;
mod put;
mod record;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytemuck::Pod;
use mp_wire::{Deadline, Fd};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use self::builder::Builder;
pub use self::error::{GetError, PutError, PutManyError};
pub use self::get::Target;
pub(crate) use self::layout::Apart;
use self::layout::{HEADER_AT, Head, Header, Tail, UNIT, arena_size};
pub use self::lend::{Lent, Reservation};
use self::pace::Pace;
use crate::object::hash;
use crate::robust::LockError;
use crate::robust::linked::{Cell, keep};
use crate::segment::{HEADER_LEN, Segment, View};
use crate::wait::{Source, Waitable};
use crate::word::CommitWord;
use crate::{Error, ErrorKind};
use mp_wire::Spin;

const KIND: u32 = u32::from_le_bytes(*b"ring");

/// How long a call that does not wait waits for another one that is in the middle of a put or a get.
const PATIENCE: Duration = Duration::from_millis(100);

/// After how long such a call looks again whether that one has begun to wait itself.
const SOON: Duration = Duration::from_micros(100);

/// Sends byte records between any number of processes, in order, through shared memory.
///
/// Cloning makes another handle on the same ring, and so does sending it in a message. See the [module](self) for
/// how it works.
///
/// # If a process dies
///
/// Killed at any instruction, it leaves the ring with its record put or not put, taken or not taken. Others go on.
///
/// # Examples
///
/// ```
/// use mp_shared::ring::{GetError, PutError, Ring};
/// use mp_wire::Deadline;
///
/// let ring = Ring::bounded(1)?;
/// ring.put(7, &[b"hello, ", b"world"], Deadline::NEVER)?;
/// assert!(matches!(ring.put(8, &[b"!"], Deadline::NOW), Err(PutError::Full)));
///
/// let mut bytes = Vec::new();
/// assert_eq!(ring.get(&mut bytes, Deadline::NEVER)?.tag, 7);
/// assert_eq!(bytes, b"hello, world");
/// ring.close();
/// assert!(matches!(ring.get(&mut bytes, Deadline::NEVER), Err(GetError::Closed)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ring {
    header: View<Header>,
    segment: Segment,
    capacity: u64,
    byte_capacity: u64,
    record_limit: u64,
    last_arena: u32,
    local: Arc<Local>,
}

/// What this process has learned about waiting here.
#[derive(Debug, Default)]
struct Local {
    put: Spin,
    get: Spin,
    pace: Pace,
}

/// What a record carries beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// The number that the producer gave it.
    pub tag: u64,
    /// How many items were put before it.
    pub sequence: u64,
}

/// What a consumer that waits for an item does if it is woken and there is none; see [`Ring::nudge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nudge {
    /// It goes on waiting.
    Ignore,
    /// It returns, as if the deadline had passed.
    Return,
}

/// One of several records that were taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it carries beside its bytes.
    pub item: Item,
    /// Where its bytes end among those of all; they begin where those of the one before end.
    pub end: usize,
}

impl Ring {
    /// Makes a ring that takes items for as long as there is memory.
    ///
    /// # Errors
    ///
    /// See [`Builder::build`].
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Makes a ring that has at most `capacity` items at a time; zero stands for no bound.
    ///
    /// # Errors
    ///
    /// See [`Builder::build`].
    pub fn bounded(capacity: usize) -> Result<Self, Error> {
        Self::builder().capacity(capacity).build()
    }

    /// Starts to make a ring with other settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn open(segment: Segment) -> Result<Self, Error> {
        let header = segment.bind::<Header>(HEADER_AT)?;
        let last_arena = header.last_arena.load(Ordering::Relaxed);
        let end = (segment.len() + HEADER_LEN) as u64;
        if !(1..32).contains(&last_arena) || 2 * arena_size(last_arena) != end {
            return Err(layout::damaged());
        }
        // An item fits into the last arena but one, together with its head and a jump. So the largest finds place in an
        // empty ring always: if what is left of one of the two is too small, at the beginning of the other.
        let largest = arena_size(last_arena - 1) - 2 * UNIT as u64;
        let byte_capacity = header.byte_capacity.load(Ordering::Relaxed);
        let most = if byte_capacity == 0 { largest } else { largest.min(byte_capacity) };
        Ok(Self {
            capacity: header.capacity.load(Ordering::Relaxed),
            byte_capacity,
            record_limit: header.record_limit.load(Ordering::Relaxed).min(most),
            last_arena,
            header,
            segment,
            local: Arc::default(),
        })
    }

    /// Puts one record, made of several pieces, behind all others.
    ///
    /// # Blocking
    ///
    /// Waits while the ring is full. With [`Deadline::NOW`] it does not; it then waits at most a tenth of a second for
    /// somebody else who is in the middle of a put.
    ///
    /// # If a process dies
    ///
    /// The record is in the ring once this has returned, whatever becomes of the caller.
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    pub fn put(&self, tag: u64, parts: &[&[u8]], deadline: Deadline) -> Result<(), PutError> {
        self.put_one(tag, parts, deadline, |_| Ok::<(), Infallible>(()))
    }

    /// Puts one record, if `hook` succeeds, which is called with its sequence number when everything is ready for it.
    ///
    /// The hook runs under the lock of the producers: it must not wait for anybody, nor use this ring or another lock.
    ///
    /// # If a process dies
    ///
    /// Between the hook and the commit, the hook has run and the record is not there; the next one has its number.
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::ring::{PutError, Ring};
    /// use mp_wire::Deadline;
    ///
    /// let ring = Ring::new()?;
    /// let refused = ring.put_with(0, &[b"with a file"], Deadline::NEVER, |_| Err::<(), _>("no socket"));
    /// assert!(matches!(refused, Err(PutError::Hook("no socket"))));
    /// assert!(ring.is_empty()?);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn put_with<X, E>(
        &self,
        tag: u64,
        parts: &[&[u8]],
        deadline: Deadline,
        hook: impl FnOnce(u64) -> Result<X, E>,
    ) -> Result<X, PutError<E>> {
        self.put_one(tag, parts, deadline, hook)
    }

    /// Puts records, as many at a time as fit; those that are put together become visible together.
    ///
    /// # Errors
    ///
    /// Not all were put: how many, and why not the next one.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::ring::Ring;
    /// use mp_wire::Deadline;
    ///
    /// let ring = Ring::bounded(2)?;
    /// ring.put_many(&[(1, b"one"), (2, b"two")], Deadline::NOW)?;
    /// let error = ring.put_many(&[(3, b"three")], Deadline::NOW).unwrap_err();
    /// assert_eq!((error.put, ring.len()?), (0, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn put_many(
        &self,
        records: &[(u64, &[u8])],
        deadline: Deadline,
    ) -> Result<(), PutManyError> {
        self.put_each(records.iter().copied(), deadline)
    }

    /// As [`Ring::put_many`], of records that are not in a slice.
    ///
    /// # Errors
    ///
    /// Not all were put: how many, and why not the next one.
    pub fn put_each<'a, I>(&self, records: I, deadline: Deadline) -> Result<(), PutManyError>
    where
        I: IntoIterator<Item = (u64, &'a [u8])>,
    {
        let mut records = records.into_iter().peekable();
        let mut put = 0;
        while records.peek().is_some() {
            put += self
                .put_some(&mut records, deadline)
                .map_err(|cause| PutManyError { put, cause })?;
        }
        Ok(())
    }

    /// Takes the first record; its bytes replace what is in `bytes`.
    ///
    /// # Blocking
    ///
    /// Waits while the ring is empty. With [`Deadline::NOW`] it does not; it then waits at most a tenth of a second for
    /// somebody else who is in the middle of a get.
    ///
    /// # If a process dies
    ///
    /// The record is the caller's once this has returned, and is gone with it.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get(&self, bytes: &mut Vec<u8>, deadline: Deadline) -> Result<Item, GetError> {
        let hook = |_| Ok::<(), Infallible>(());
        self.get_one(bytes, deadline, Nudge::Ignore, hook, |()| ()).map(|(item, ())| item)
    }

    /// Takes the first record, if `hook` succeeds, which is called when its bytes have been copied.
    ///
    /// The hook runs under the lock of the consumers: it must not wait for anybody, nor use this ring or another lock.
    ///
    /// # If a process dies
    ///
    /// Between the hook and the commit, the hook has run and the record is still there.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get_with<X, E>(
        &self,
        bytes: &mut Vec<u8>,
        deadline: Deadline,
        hook: impl FnOnce(Item) -> Result<X, E>,
    ) -> Result<(Item, X), GetError<E>> {
        self.get_one(bytes, deadline, Nudge::Ignore, hook, |_| ())
    }

    /// Takes the first record into a target of another kind than a vector.
    ///
    /// # Errors
    ///
    /// See [`GetError`]. What the target refuses is still in the ring.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::ring::Ring;
    /// use mp_wire::Deadline;
    ///
    /// let ring = Ring::new()?;
    /// ring.put(1, &[b"five!"], Deadline::NEVER)?;
    /// let mut bytes = [0; 5];
    /// assert_eq!(ring.get_to(&mut bytes[..], Deadline::NEVER)?.tag, 1);
    /// assert_eq!(&bytes, b"five!");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn get_to<B: Target + ?Sized>(
        &self,
        target: &mut B,
        deadline: Deadline,
    ) -> Result<Item, GetError> {
        let hook = |_| Ok::<(), Infallible>(());
        self.get_one(target, deadline, Nudge::Ignore, hook, |()| ()).map(|(item, ())| item)
    }

    /// As [`Ring::get_with`], and calls `after` when the record is the caller's, before the next one can be taken.
    ///
    /// Both hooks run under the lock of the consumers.
    ///
    /// # If a process dies
    ///
    /// Between the commit and `after`, the record is gone and `after` has not run.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get_around<X, E>(
        &self,
        bytes: &mut (impl Target + ?Sized),
        deadline: Deadline,
        nudge: Nudge,
        before: impl FnOnce(Item) -> Result<X, E>,
        after: impl FnOnce(&X),
    ) -> Result<(Item, X), GetError<E>> {
        self.get_one(bytes, deadline, nudge, before, after)
    }

    /// Takes the first records that are there, at most so many: they leave the ring together. Returns how many.
    ///
    /// Their bytes replace what is in `bytes`, one behind the other; `records` says what ends where. It stops in front of a
    /// record whose tag is not `wanted`, and so takes none if that is the first.
    ///
    /// # Blocking
    ///
    /// Waits while the ring is empty, as [`Ring::get`]; not for more than there are.
    ///
    /// # If a process dies
    ///
    /// The records are all there, or all gone with the caller.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::ring::Ring;
    /// use mp_wire::Deadline;
    ///
    /// let ring = Ring::new()?;
    /// ring.put_many(&[(1, b"one"), (2, b"two"), (9, b"nine")], Deadline::NOW)?;
    /// let (mut bytes, mut records) = (Vec::new(), Vec::new());
    /// let taken = ring.get_many_if(&mut bytes, &mut records, 10, Deadline::NOW, |tag| tag < 9)?;
    /// assert_eq!((taken, &bytes[..], records[0].end), (2, &b"onetwo"[..], 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_many_if(
        &self,
        bytes: &mut Vec<u8>,
        records: &mut Vec<Record>,
        most: usize,
        deadline: Deadline,
        wanted: impl Fn(u64) -> bool,
    ) -> Result<usize, GetError> {
        self.get_many_within(bytes, records, (most, usize::MAX), deadline, wanted)
    }

    /// As [`Ring::get_many_if`], at most so many records and no more bytes than that, unless the first one alone has more.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::ring::Ring;
    /// use mp_wire::Deadline;
    ///
    /// let ring = Ring::new()?;
    /// ring.put_many(&[(0, b"one"), (0, b"two"), (0, b"three")], Deadline::NOW)?;
    /// let (mut bytes, mut records) = (Vec::new(), Vec::new());
    /// let taken = ring.get_many_within(&mut bytes, &mut records, (10, 7), Deadline::NOW, |_| true)?;
    /// assert_eq!((taken, &bytes[..]), (2, &b"onetwo"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_many_within(
        &self,
        bytes: &mut Vec<u8>,
        records: &mut Vec<Record>,
        (most, most_bytes): (usize, usize),
        deadline: Deadline,
        wanted: impl Fn(u64) -> bool,
    ) -> Result<usize, GetError> {
        bytes.clear();
        records.clear();
        let mut room = None;
        let fits = |tag, len| {
            let left = room.map_or(Some((most_bytes as u64).saturating_sub(len)), |room: u64| {
                room.checked_sub(len)
            });
            room = left.or(room);
            left.is_some() && wanted(tag)
        };
        self.get_some(most, deadline, fits, |segment, at, len, item| {
            segment.append_to(at, len, bytes)?;
            records.push(Record { item, end: bytes.len() });
            Ok(())
        })
    }

    /// Takes the first records that are there, at most so many, as [`Ring::get_many_if`], and lets `copy` have each: where in the
    /// segment it begins, and how long it is.
    ///
    /// `copy` runs under the lock of the consumers, before the records are taken: it must not wait for anybody.
    ///
    /// # Errors
    ///
    /// See [`GetError`]; if `copy` fails, those before are taken, and if there are none, the error is that of `copy`.
    pub fn get_each(
        &self,
        most: usize,
        deadline: Deadline,
        mut copy: impl FnMut(&Segment, usize, usize) -> Result<(), Error>,
    ) -> Result<usize, GetError> {
        self.get_some(most, deadline, |_, _| true, |segment, at, len, _| copy(segment, at, len))
    }

    /// Says whether it was made as one of items of this type.
    #[must_use]
    pub fn is_of<T: Pod>(&self) -> bool {
        let limit = self.header.record_limit.load(Ordering::Relaxed);
        self.header.label.load(Ordering::Relaxed) == label::<T>() && limit == size_of::<T>() as u64
    }

    /// How many items are in the ring at some moment during the call.
    ///
    /// # Errors
    ///
    /// The ring is damaged.
    pub fn len(&self) -> Result<usize, Error> {
        let (items, _) = self.backlog()?;
        Ok(usize::try_from(items).unwrap_or(usize::MAX))
    }

    /// How many items there are, and how many bytes they have.
    fn backlog(&self) -> Result<(u64, u64), Error> {
        loop {
            let (before, head) = self.header.head.peek::<Head>(self.last_arena)?;
            let (_, tail) = self.header.tail.peek::<Tail>(self.last_arena)?;
            if self.header.head.word().snapshot().count() == before.count() {
                let items = tail.items.checked_sub(head.items).ok_or_else(layout::damaged)?;
                let bytes = tail.bytes.checked_sub(head.bytes).ok_or_else(layout::damaged)?;
                return Ok((items, bytes));
            }
        }
    }

    /// Says whether the ring has no items.
    ///
    /// # Errors
    ///
    /// The ring is damaged.
    pub fn is_empty(&self) -> Result<bool, Error> {
        self.len().map(|len| len == 0)
    }

    /// Says whether the ring has as many items as it may have.
    ///
    /// # Errors
    ///
    /// The ring is damaged.
    pub fn is_full(&self) -> Result<bool, Error> {
        let Some(capacity) = self.capacity() else { return Ok(false) };
        self.len().map(|len| len >= capacity)
    }

    /// How many bytes the items in the ring have together, at some moment during the call.
    ///
    /// # Errors
    ///
    /// The ring is damaged.
    pub fn bytes(&self) -> Result<usize, Error> {
        let (_, bytes) = self.backlog()?;
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// How many bytes the items in the ring may have together; none if that is not bounded.
    #[must_use]
    pub fn byte_capacity(&self) -> Option<usize> {
        let most = usize::try_from(self.byte_capacity).unwrap_or(usize::MAX);
        Some(most).filter(|&most| most > 0)
    }

    /// How many items the ring may have; none if it is not bounded.
    #[must_use]
    pub fn capacity(&self) -> Option<usize> {
        Some(usize::try_from(self.capacity).unwrap_or(usize::MAX)).filter(|&capacity| capacity > 0)
    }

    /// The most bytes that a record may have.
    #[must_use]
    pub fn record_limit(&self) -> usize {
        usize::try_from(self.record_limit).unwrap_or(usize::MAX)
    }

    /// Wakes who waits for an item, though none comes: of the consumers, those that go by [`Nudge::Return`] find the ring empty.
    ///
    /// It does nothing while somebody is in the middle of a put.
    pub fn nudge(&self) {
        if let Ok(_held) = self.header.tail.lock().lock_briefly(Deadline::NOW)
            && let Ok(tail) = self.header.tail.load::<Tail>(self.last_arena)
        {
            // A commit without an item.
            self.publish(&tail);
        }
    }

    /// The word that counts when items are put, and when the ring is closed.
    #[must_use]
    pub fn puts(&self) -> &CommitWord {
        self.header.tail.word()
    }

    /// The word that counts when items are taken, and when the ring is closed.
    #[must_use]
    pub fn takes(&self) -> &CommitWord {
        self.header.head.word()
    }

    /// Closes the ring for everybody: puts fail from now on, gets take what is left. Whoever waits is woken.
    ///
    /// Closing it again does nothing.
    pub fn close(&self) {
        let (tail, head) = (&self.header.tail, &self.header.head);
        if tail.word().is_closed() {
            return;
        }
        // First the word on which a producer may be asleep, with the lock of the tail in its hands.
        head.word().close();
        // Under the lock, so that no put can commit behind the back of a consumer that has seen the end; not at any price.
        let held = tail.lock().lock_briefly(Deadline::after(PATIENCE));
        tail.word().close();
        drop(held);
    }

    /// Says whether the ring is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.header.tail.word().is_closed()
    }

    /// The memory that the ring lies in.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.segment
    }
}

/// Ready when there is an item, or the ring is closed.
impl Waitable for Ring {
    fn source(&self) -> Source<'_> {
        Source::word(self.header.tail.word())
    }

    fn is_ready(&self) -> bool {
        // Of a ring that makes no sense, a get tells.
        self.is_closed() || !self.is_empty().unwrap_or(false)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        for side in [&self.header.tail, &self.header.head] {
            // A guard that was leaked: its lock is in the list of a thread of this process.
            let offset =
                std::ptr::from_ref(side.lock()).addr() - std::ptr::from_ref(&*self.header).addr();
            if side.lock().may_outlive_its_handle()
                && let Ok(cell) = self.segment.bind::<Cell>(HEADER_AT + offset)
            {
                keep(cell);
            }
        }
    }
}

fn label<T: Pod>() -> u64 {
    hash(std::any::type_name::<T>()).max(1)
}

fn lock_failed(error: LockError) -> Error {
    let kind = match error {
        LockError::Deadlock => ErrorKind::Deadlock,
        LockError::TooMany => ErrorKind::Exhausted,
        _ => ErrorKind::Unsupported,
    };
    Error::with_source(kind, "cannot take the lock of the ring", error)
}

impl Serialize for Ring {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.segment.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Ring {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fd = Fd::deserialize(deserializer)?;
        Segment::attach(fd, KIND).and_then(Self::open).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
