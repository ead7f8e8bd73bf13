//! The socket beside the memory of a queue, on which descriptors travel.
//!
//! Each packet carries a tag that the item in memory repeats; see [`channel`](crate::channel) for the steps.

use std::os::fd::AsFd;
use std::time::Duration;

use mp_shared::ring::{self, Item};
use mp_wire::peek::{self, Tag};
use mp_wire::{Deadline, Fd, poll, socket};

use crate::error::{refused, untaken};
use crate::{Error, ErrorKind, GetError, PutError};

/// How long a producer waits for room on the socket before it looks whether the queue was closed.
const GLANCE: Duration = Duration::from_millis(50);

/// The two ends of the socket.
#[derive(Debug)]
pub(crate) struct Beside {
    /// Producers send here, consumers receive there.
    pub(crate) sender: Fd,
    pub(crate) receiver: Fd,
}

/// What came of the packet of an item that is to be taken.
pub(crate) enum Found {
    /// The item has none.
    Nothing,
    /// Its descriptors; the packet is still there.
    Fds(Vec<Fd>),
    /// It is not wanted; it may still be there.
    Unwanted,
    /// It is not there, or makes no sense.
    Missing,
}

/// What is called with the sequence number of an item, when everything is ready for it.
type Hook<'a> = &'a mut dyn FnMut(u64) -> Result<(), mp_wire::Error>;

impl Beside {
    pub(crate) fn new() -> Result<Self, Error> {
        let (sender, receiver) = socket::pair().map_err(|error| {
            Error::with_source(ErrorKind::Exhausted, "cannot make the socket of a queue", error)
        })?;
        Ok(Self { sender: sender.into(), receiver: receiver.into() })
    }

    /// Puts an item with descriptors by `attempt`, which is given a tag and a hook; again, when there was no room on the socket and
    /// is some now.
    pub(crate) fn put(
        &self,
        fds: &[Fd],
        deadline: Deadline,
        mut attempt: impl FnMut(u64, Hook<'_>) -> Result<(), ring::PutError<mp_wire::Error>>,
    ) -> Result<(), PutError> {
        loop {
            let nonce = nonce();
            let put = attempt(nonce, &mut |sequence| {
                // Whoever waits here would keep all others from putting; so it waits below.
                peek::send(&self.sender, Tag { sequence, nonce }, fds, Deadline::NOW)
            });
            match put {
                Err(ring::PutError::Hook(error))
                    if error.kind() == mp_wire::ErrorKind::TimedOut =>
                {
                    if deadline.is_past() {
                        return Err(PutError::Full);
                    }
                    let glance = Deadline::after(GLANCE);
                    let until = if deadline.remaining().is_some_and(|left| left < GLANCE) {
                        deadline
                    } else {
                        glance
                    };
                    poll::wait_writable(self.sender.as_fd(), until).map_err(|error| {
                        let what = "cannot wait for room for descriptors";
                        PutError::Failed(Error::with_source(ErrorKind::Io, what, error))
                    })?;
                }
                other => {
                    return other.map_err(|error| {
                        refused(error, |error| {
                            let what = "the descriptors of the item cannot be put";
                            PutError::Failed(Error::wire(what, error))
                        })
                    });
                }
            }
        }
    }

    /// Peeks at the packet of an item. An error leaves both where they are.
    #[inline]
    pub(crate) fn look(&self, item: Item, want_fds: bool) -> Result<Found, mp_wire::Error> {
        if item.tag == 0 {
            return Ok(Found::Nothing);
        }
        if !want_fds {
            return Ok(Found::Unwanted);
        }
        let tag = Tag { sequence: item.sequence, nonce: item.tag };
        match peek::peek(&self.receiver, tag) {
            Ok(Some(fds)) => Ok(Found::Fds(fds)),
            Ok(None) => Ok(Found::Missing),
            Err(error) if error.kind() == mp_wire::ErrorKind::Protocol => Ok(Found::Missing),
            Err(error) => Err(error),
        }
    }

    /// Discards the packet of an item that was taken.
    #[inline]
    pub(crate) fn taken(&self, found: &Found) {
        if let Found::Fds(_) = found {
            // What fails to be discarded is stale for the next reader.
            let _ = peek::discard(&self.receiver);
        }
    }
}

impl Found {
    /// The descriptors.
    #[inline]
    pub(crate) fn into_fds(self) -> Result<Vec<Fd>, Error> {
        match self {
            Self::Fds(fds) => Ok(fds),
            Self::Nothing | Self::Unwanted => Ok(Vec::new()),
            Self::Missing => {
                let what = "the descriptors of the item are not there";
                Err(Error::new(ErrorKind::DescriptorsLost, what))
            }
        }
    }
}

/// Why an item was not taken that may have descriptors.
#[cold]
pub(crate) fn not_taken(error: ring::GetError<mp_wire::Error>) -> GetError {
    untaken(error, |error| {
        let what = "the descriptors of the item cannot be received";
        GetError::Failed(Error::wire(what, error))
    })
}

/// A number, never zero, that tells a packet from one that another process, or this one earlier, has left without a
/// message: the time, and the process.
fn nonce() -> u64 {
    let (seconds, nanos) = Deadline::after(Duration::ZERO).monotonic().unwrap_or_default();
    let time = (seconds as u64).wrapping_mul(1_000_000_000).wrapping_add(nanos as u64);
    (time << 22 | u64::from(std::process::id()) & 0x3f_ffff).max(1)
}
