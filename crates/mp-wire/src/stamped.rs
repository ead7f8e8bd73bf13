//! Messages on a socket of which some go another way, so that each says which one it is.
//!
//! A [`Stamp`] goes with the packet. The receiver looks at that of the first packet, and then takes the packet, reads
//! it and leaves it where it is, or throws it away: [`look`], [`take`], [`copy`], [`peek::discard`](crate::peek::discard).

use std::io;
use std::os::fd::AsFd;

use crate::socket::{self, HEADER, Header};
use crate::{Deadline, Delivery, Error, Limits, poll, sys};

/// Says which message a packet has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The number of the message among all messages.
    pub sequence: u64,
    /// The number of the packet among all packets.
    pub number: u64,
    /// The bytes of the message go another way; the packet has none.
    pub elsewhere: bool,
}

/// What is first on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// A packet with this stamp.
    Stamped(Stamp),
    /// A packet without one, or what is no message at all.
    Other,
    /// The end of the stream.
    End,
    /// Nothing, at this moment.
    Nothing,
}

/// A packet that was read: its stamp, if it has one, and the message, if it is one that is accepted.
pub type Arrived = (Option<Stamp>, Result<Delivery, Error>);

/// Looks at the first packet, and leaves it where it is.
///
/// # Errors
///
/// What `recv(2)` refuses.
///
/// # Examples
///
/// ```
/// use mp_wire::socket::{self, Parcel};
/// use mp_wire::stamped::{self, First, Stamp};
/// use mp_wire::Limits;
///
/// let (a, b) = socket::pair()?;
/// assert_eq!(stamped::look(&b)?, First::Nothing);
/// let stamp = Stamp { sequence: 7, number: 3, elsewhere: false };
/// assert!(Parcel::new(b"seven", &[])?.try_send(&a, Some(stamp))?);
/// assert_eq!(stamped::look(&b)?, First::Stamped(stamp));
/// for _ in 0..2 {
///     let (found, message) = stamped::copy(&b, Limits::default())?.ok_or("nothing")?;
///     assert_eq!((found, &message?.payload[..]), (Some(stamp), &b"seven"[..]));
/// }
/// mp_wire::peek::discard(&b)?;
/// drop(a);
/// assert_eq!(stamped::look(&b)?, First::End);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn look(socket: impl AsFd) -> Result<First, Error> {
    loop {
        let mut header = [0; HEADER];
        match sys::peek_bytes(socket.as_fd(), &mut header) {
            Ok(0) => return Ok(First::End),
            Ok(HEADER) => {
                let stamp = Header::from_bytes(&header).and_then(|header| header.stamp);
                return Ok(stamp.map_or(First::Other, First::Stamped));
            }
            Ok(_) => return Ok(First::Other),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionReset => {}
                io::ErrorKind::WouldBlock => return Ok(First::Nothing),
                _ => return Err(Error::from_io("cannot look at a message", error)),
            },
        }
    }
}

/// Takes the first packet; `None` if there was none before the deadline.
///
/// # Blocking
///
/// Waits until the deadline.
///
/// # Errors
///
/// [`ErrorKind::Closed`](crate::ErrorKind::Closed) at the end of the stream, and what the system refuses. What is wrong with
/// one message is in what arrived.
pub fn take(
    socket: impl AsFd,
    limits: Limits,
    deadline: Deadline,
) -> Result<Option<Arrived>, Error> {
    let socket = socket.as_fd();
    // Where there is no deadline, one call that waits is quicker than two. If the socket does not wait, `poll` does.
    let waits = deadline == Deadline::NEVER;
    let mut flags = if waits { 0 } else { libc::MSG_DONTWAIT };
    loop {
        if let Some(arrived) = socket::recv_flagged(socket, limits, flags)? {
            return Ok(Some(arrived));
        }
        flags = libc::MSG_DONTWAIT;
        let ready = poll::wait_readable(socket, deadline);
        if !ready.map_err(|error| Error::from_io("cannot wait for a message", error))? {
            return Ok(None);
        }
    }
}

/// Reads the first packet, and leaves it where it is; `None` if there is none. Its descriptors are duplicates.
///
/// # Errors
///
/// As [`take`]. Of a message with more descriptors than fit in a packet, only the first copy has them.
pub fn copy(socket: impl AsFd, limits: Limits) -> Result<Option<Arrived>, Error> {
    socket::recv_flagged(socket.as_fd(), limits, libc::MSG_DONTWAIT | libc::MSG_PEEK)
}
