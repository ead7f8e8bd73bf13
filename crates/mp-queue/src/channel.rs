//! The queue below the queue: bytes, and the descriptors that go with them.
//!
//! The bytes of a message go through a ring in shared memory, its descriptors through a socket beside it. The socket comes
//! first on the way in and last on the way out, and each of its packets carries a tag that the record in the ring
//! repeats:
//!
//! ```text
//! put   lock the tail   1 write the record   2 send the packet   3 commit        unlock
//! get   lock the head   4 copy the record    5 peek at the packet   6 commit   7 discard the packet   unlock
//! ```
//!
//! | killed after | what is left | what follows |
//! |---|---|---|
//! | 1 | bytes beyond the tail | the next record is written over them |
//! | 2 | a packet without a record | its tag is not that of the next record: a reader discards it |
//! | 4, 5 | record and packet | the next reader takes both |
//! | 6 | a packet without a record | its number is less than that of the next one: a reader discards it |
//!
//! So nothing that was put is lost, and descriptors never come with another message than their own.

use std::num::NonZero;
use std::sync::Arc;

use mp_shared::ring::{Item, Nudge, Record, Ring, Target};
use mp_wire::{Deadline, Fd, Message};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::beside::{Beside, not_taken};
use crate::error::{no_memory, refused, untaken};
use crate::registry::{Known, Registry};
use crate::{Error, GetError, PutError};

static CHANNELS: Registry<Inner> = Registry::new();

/// A queue of messages that are bytes and descriptors; what they mean is up to its users.
///
/// [`Queue`](crate::Queue) is this with a type. It costs three descriptors per process, however many handles
/// there are; a handle that is received again shares those that are there.
///
/// # If a process dies
///
/// See [`Queue`](crate::Queue), and the page of this module for each step.
///
/// # Examples
///
/// ```
/// use mp_queue::channel::Channel;
/// use mp_wire::{Deadline, Message};
///
/// let channel = Channel::new()?;
/// channel.put(&[b"head ", b"and body"], &[], Deadline::NEVER)?;
/// let mut message = Message::default();
/// channel.get(&mut message, Deadline::NEVER)?;
/// assert_eq!(message.bytes, b"head and body");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Channel(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    ring: Ring,
    beside: Beside,
}

impl Channel {
    /// Makes a channel without a bound.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if there is no memory or no descriptor left.
    pub fn new() -> Result<Self, Error> {
        Self::over(Ring::new())
    }

    /// Makes a channel that holds this many messages at most.
    ///
    /// # Errors
    ///
    /// As [`Channel::new`].
    pub fn bounded(messages: NonZero<usize>) -> Result<Self, Error> {
        Self::over(Ring::bounded(messages.get()))
    }

    pub(crate) fn over(ring: Result<Ring, mp_shared::Error>) -> Result<Self, Error> {
        let ring = ring.map_err(no_memory)?;
        Ok(Self(CHANNELS.insert(Inner { ring, beside: Beside::new()? })))
    }

    /// Puts a message, whose bytes are in several parts, and its descriptors.
    ///
    /// # Blocking
    ///
    /// Waits for room until the deadline: of a bounded channel, and on the socket, which holds the descriptors of a few
    /// hundred messages.
    ///
    /// # Errors
    ///
    /// See [`PutError`]. Nothing was put.
    #[inline]
    pub fn put(&self, parts: &[&[u8]], fds: &[Fd], deadline: Deadline) -> Result<(), PutError> {
        if !fds.is_empty() {
            return self.put_with_fds(parts, fds, deadline);
        }
        self.0.ring.put(0, parts, deadline).map_err(|error| refused(error, |never| match never {}))
    }

    fn put_with_fds(
        &self,
        parts: &[&[u8]],
        fds: &[Fd],
        deadline: Deadline,
    ) -> Result<(), PutError> {
        self.0
            .beside
            .put(fds, deadline, |nonce, hook| self.0.ring.put_with(nonce, parts, deadline, hook))
    }

    /// Takes the first message, in place of what `message` held.
    ///
    /// # Blocking
    ///
    /// Waits for a message until the deadline.
    ///
    /// # Errors
    ///
    /// See [`GetError`]. With [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted), if this process may not open the message's descriptors, the
    /// message is still there.
    #[inline]
    pub fn get(&self, message: &mut Message, deadline: Deadline) -> Result<(), GetError> {
        self.get_and(message, deadline, true)
    }

    /// Takes the bytes of the first message and closes its descriptors, where they cannot be had or are not wanted.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get_bytes(&self, message: &mut Message, deadline: Deadline) -> Result<(), GetError> {
        self.get_and(message, deadline, false)
    }

    fn get_and(
        &self,
        message: &mut Message,
        deadline: Deadline,
        want_fds: bool,
    ) -> Result<(), GetError> {
        message.fds.clear();
        message.fds = self.get_to(&mut message.bytes, deadline, Nudge::Ignore, want_fds)?;
        Ok(())
    }

    /// Takes the first message into a target, and gives its descriptors.
    #[inline]
    pub(crate) fn get_to(
        &self,
        target: &mut impl Target,
        deadline: Deadline,
        nudge: Nudge,
        want_fds: bool,
    ) -> Result<Vec<Fd>, GetError> {
        let beside = &self.0.beside;
        let taken = self.0.ring.get_around(
            target,
            deadline,
            nudge,
            |item| beside.look(item, want_fds),
            |found| beside.taken(found),
        );
        match taken {
            Ok((_, found)) => found.into_fds().map_err(GetError::Failed),
            Err(error) => Err(not_taken(error)),
        }
    }

    /// Puts messages without descriptors, which lie one behind the other and end where `ends` says.
    ///
    /// # Errors
    ///
    /// How many were put, and why not the next one.
    pub fn put_many(
        &self,
        bytes: &[u8],
        ends: &[usize],
        deadline: Deadline,
    ) -> Result<(), (usize, PutError)> {
        let mut start = 0;
        let records = ends.iter().map(|&end| {
            (0, bytes.get(std::mem::replace(&mut start, end)..end).unwrap_or_default())
        });
        self.0
            .ring
            .put_each(records, deadline)
            .map_err(|error| (error.put, refused(error.cause, |never| match never {})))
    }

    /// Takes the first messages that are there, at most so many, and at least one; one with descriptors comes alone.
    ///
    /// Their bytes replace what `bytes` held, and `records` says what ends where. Returns the descriptors.
    ///
    /// # Blocking
    ///
    /// Waits for the first message until the deadline.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get_many(
        &self,
        bytes: &mut Vec<u8>,
        records: &mut Vec<Record>,
        most: usize,
        deadline: Deadline,
    ) -> Result<Vec<Fd>, GetError> {
        self.get_many_within(bytes, records, (most, usize::MAX), deadline)
    }

    /// As [`Channel::get_many`], at most so many messages and no more bytes than that, unless the first one alone has more.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get_many_within(
        &self,
        bytes: &mut Vec<u8>,
        records: &mut Vec<Record>,
        most: (usize, usize),
        deadline: Deadline,
    ) -> Result<Vec<Fd>, GetError> {
        records.clear();
        let together = self.0.ring.get_many_within(bytes, records, most, deadline, |tag| tag == 0);
        match together {
            Ok(0) => {}
            Ok(_) => return Ok(Vec::new()),
            Err(error) => return Err(untaken(error, |never| match never {})),
        }
        let mut message = Message { bytes: std::mem::take(bytes), fds: Vec::new() };
        let taken = self.get(&mut message, deadline);
        *bytes = message.bytes;
        taken?;
        records.push(Record { item: Item { tag: 1, sequence: 0 }, end: bytes.len() });
        Ok(message.fds)
    }

    /// The number of messages, at one moment; zero if the memory makes no sense.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.ring.len().unwrap_or(0)
    }

    /// Says whether there was no message, at one moment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most bytes that its messages have together; `None` without a bound.
    #[must_use]
    pub fn byte_capacity(&self) -> Option<NonZero<usize>> {
        self.0.ring.byte_capacity().and_then(NonZero::new)
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.0.ring
    }

    /// The most messages that it holds; `None` without a bound.
    #[must_use]
    pub fn capacity(&self) -> Option<NonZero<usize>> {
        self.0.ring.capacity().and_then(NonZero::new)
    }

    /// Closes the channel, for everyone and for good: no message is put any more, those that are there can be taken.
    pub fn close(&self) {
        self.0.ring.close();
    }

    /// Says whether the channel is closed; there may be messages left.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.ring.is_closed()
    }
}

impl Known for Inner {
    fn id(&self) -> u128 {
        self.ring.segment().id()
    }
}

impl Serialize for Channel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.0.ring, &self.0.beside.sender, &self.0.beside.receiver).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Channel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (ring, sender, receiver) = Deserialize::deserialize(deserializer)?;
        Ok(Self(CHANNELS.insert(Inner { ring, beside: Beside { sender, receiver } })))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use mp_wire::peek::{self, Tag};

    use super::*;
    use crate::ErrorKind;
    use crate::beside::Found;

    fn fd() -> Fd {
        Fd::from(OwnedFd::from(File::open("/dev/null").unwrap()))
    }

    fn get(channel: &Channel) -> (Vec<u8>, usize) {
        let mut message = Message::default();
        channel.get(&mut message, Deadline::NOW).unwrap();
        (message.bytes, message.fds.len())
    }

    #[test]
    fn packets_of_producers_that_were_killed_are_discarded() {
        let channel = Channel::new().unwrap();
        for sequence in 0..3 {
            // Killed between step 2 and step 3, twice.
            for nonce in 1..3 {
                let tag = Tag { sequence, nonce };
                peek::send(&channel.0.beside.sender, tag, &[fd(), fd()], Deadline::NOW).unwrap();
            }
            let fds = if sequence == 1 { vec![] } else { vec![fd()] };
            channel.put(&[&[sequence as u8]], &fds, Deadline::NOW).unwrap();
        }
        assert_eq!(
            [get(&channel), get(&channel), get(&channel)],
            [(vec![0], 1), (vec![1], 0), (vec![2], 1)]
        );
    }

    #[test]
    fn packets_of_consumers_that_were_killed_are_discarded() {
        let channel = Channel::new().unwrap();
        for number in 0..3 {
            channel.put(&[&[number]], &[fd()], Deadline::NOW).unwrap();
        }
        // Killed between step 5 and step 6: nothing has changed.
        let mut bytes = Vec::new();
        let killed = channel.0.ring.get_with(&mut bytes, Deadline::NOW, |item| {
            assert!(matches!(channel.0.beside.look(item, true), Ok(Found::Fds(_))));
            Err::<(), _>(())
        });
        assert!(killed.is_err());
        assert_eq!(get(&channel), (vec![0], 1));
        // Killed between step 6 and step 7: the item is gone, its packet is there.
        let look = |item| channel.0.beside.look(item, true);
        channel.0.ring.get_with(&mut bytes, Deadline::NOW, look).unwrap();
        assert_eq!(get(&channel), (vec![2], 1));
    }

    #[test]
    fn descriptors_that_are_not_there_are_an_error_of_one_item() {
        let channel = Channel::new().unwrap();
        for number in 0..3 {
            channel.put(&[&[number]], &[fd()], Deadline::NOW).unwrap();
        }
        // Only somebody hostile does that.
        peek::discard(&channel.0.beside.receiver).unwrap();
        let mut message = Message::default();
        match channel.get(&mut message, Deadline::NOW) {
            Err(GetError::Failed(error)) => assert_eq!(error.kind(), ErrorKind::DescriptorsLost),
            other => panic!("{other:?}"),
        }
        assert_eq!([get(&channel), get(&channel)], [(vec![1], 1), (vec![2], 1)]);
    }

    #[test]
    fn foreign_memory_is_not_a_channel() {
        let segment = mp_shared::segment::Segment::create(1, 64).unwrap();
        let message = mp_wire::encode(&(&segment, fd(), fd())).unwrap();
        assert!(message.decode::<Channel>().is_err());
    }
}
