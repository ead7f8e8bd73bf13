#![doc = include_str!("README.md")]

mod lane;
mod recv;
mod send;
#[cfg(test)]
mod tests;
mod word;

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use mp_shared::segment::Segment;
use mp_wire::{Deadline, Error, Fd, Limits, Spin};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use self::lane::{BACKED, Lane, SIZE};
use crate::inbox::Inbox;

const KIND: u32 = u32::from_le_bytes(*b"pipe");

/// The memory beside a pair of sockets, as one end sees it.
#[derive(Clone)]
pub(crate) struct Ring(Arc<Inner>);

/// A ring, if there is still a handle on it.
pub(crate) struct WeakRing(Weak<Inner>);

impl WeakRing {
    pub(crate) fn upgrade(&self) -> Option<Ring> {
        self.0.upgrade().map(Ring)
    }
}

struct Inner {
    /// Which end this is: 0 or 1.
    end: u8,
    send: Lane,
    recv: Lane,
    /// Whether looking before sleeping has been paying off.
    spin: Spin,
    /// The length of the last message, if that is more than a moment's work.
    long: AtomicUsize,
}

/// What processes copy in a nanosecond, when they are slow at it.
const COPIED_PER_NANO: u64 = 4;

/// Shorter messages are a moment's work.
const LONG: usize = 8 << 10;

impl Inner {
    #[inline]
    fn note(&self, len: usize) {
        let len = if len > LONG { len } else { 0 };
        if self.long.load(Relaxed) != len {
            self.long.store(len, Relaxed);
        }
    }
}

impl Ring {
    /// Makes the memory for two ends.
    pub(crate) fn pair() -> Result<(Self, Self), mp_shared::Error> {
        let segment = Segment::create_sparse(KIND, SIZE, BACKED)?;
        Ok((Self::open(&segment, 0)?, Self::open(&segment, 1)?))
    }

    fn open(segment: &Segment, end: u8) -> Result<Self, mp_shared::Error> {
        let send = Lane::new(segment, usize::from(end != 0))?;
        let recv = Lane::new(segment, usize::from(end == 0))?;
        Ok(Self(Arc::new(Inner { end, send, recv, spin: Spin::new(), long: AtomicUsize::new(0) })))
    }

    #[inline]
    pub(crate) fn send(
        &self,
        socket: &Fd,
        bytes: &[u8],
        fds: &[Fd],
        deadline: Deadline,
    ) -> Result<(), Error> {
        self.0.note(bytes.len());
        self.0.send.send(socket, bytes, fds, deadline)
    }

    /// Has what the receiver wrote brought to this processor while a message is still being encoded.
    #[inline]
    pub(crate) fn expect_to_send(&self) {
        let _ = (self.0.send.word(), self.0.send.head());
    }

    #[inline]
    pub(crate) fn recv(
        &self,
        socket: &Fd,
        inbox: &mut Inbox<'_>,
        limits: Limits,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let Inner { recv, spin, long, .. } = &*self.0;
        recv.recv(socket, inbox, limits, deadline, spin, long)?;
        self.0.note(inbox.bytes().len());
        Ok(())
    }

    pub(crate) fn poll(&self, socket: &Fd, deadline: Deadline) -> Result<bool, Error> {
        self.0.recv.poll(socket, deadline)
    }

    /// Ends the messages of one direction, or of both.
    pub(crate) fn shutdown(&self, socket: &Fd, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Read {
            self.0.send.end_sending(socket)?;
        }
        if how != Shutdown::Write {
            self.0.recv.end_receiving(socket)?;
        }
        Ok(())
    }

    /// A handle that does not keep the memory.
    pub(crate) fn downgrade(&self) -> WeakRing {
        WeakRing(Arc::downgrade(&self.0))
    }

    /// Makes the socket alone the connection; `false` if messages are in the memory.
    pub(crate) fn detach(&self, socket: &Fd) -> Result<bool, Error> {
        self.0.recv.detach(socket)
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("end", &self.0.end).finish_non_exhaustive()
    }
}

impl Serialize for Ring {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0.send.segment(), self.0.end).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Ring {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (segment, end) = <(Segment, u8)>::deserialize(deserializer)?;
        if segment.kind() != KIND || segment.len() != SIZE || end > 1 {
            return Err(de::Error::custom(
                "the memory that was received is not that of a connection",
            ));
        }
        Self::open(&segment, end).map_err(de::Error::custom)
    }
}
