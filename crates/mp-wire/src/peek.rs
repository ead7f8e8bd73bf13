//! Descriptors that travel on a socket beside messages in shared memory, and can be looked at before they are taken.
//!
//! Whoever puts a message into shared memory first sends its descriptors here, as a packet with a [`Tag`], and then
//! makes the message visible, from which the same tag can be told. Whoever takes it out peeks at the packet, which
//! duplicates the descriptors, then takes the message, then [`discard`]s the packet. Killed between two of these
//! steps, either leaves at most a packet that belongs to no message. The next reader sees by its tag that it is stale, and
//! throws it away.
//!
//! Senders exclude each other from a packet to its message, and so do readers.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use crate::sys::{self, MAX_PACKET_FDS};
use crate::{Deadline, Error, ErrorKind, Fd, poll, socket};

/// First word of each packet.
const MAGIC: u32 = 0x6d70_7066;

/// Magic, number of descriptors, tag.
const HEADER: usize = 24;

/// Says which message a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The number of the message. The packet of a sender that died may have the number of the message after it.
    pub sequence: u64,
    /// What tells those two apart.
    pub nonce: u64,
}

/// The most descriptors that go with one message: a packet full of sockets with a full packet each.
pub const MAX_FDS: usize = MAX_PACKET_FDS * MAX_PACKET_FDS;

/// Sends the descriptors of one message.
///
/// # Blocking
///
/// Waits while the socket has no room, until the deadline. It has room for a few hundred packets.
///
/// # Errors
///
/// [`ErrorKind::TimedOut`], [`ErrorKind::TooLarge`] for more than [`MAX_FDS`], [`ErrorKind::Closed`] if nobody has the
/// other end any more, [`ErrorKind::Exhausted`].
///
/// # Examples
///
/// ```
/// use mp_wire::peek::{self, Tag};
/// use mp_wire::{Deadline, Fd, socket};
///
/// let (a, b) = socket::pair()?;
/// let fd = Fd::from(std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null")?));
/// let tag = Tag { sequence: 7, nonce: 2 };
/// // One sender is killed after this, without a message, and another one goes on.
/// peek::send(&a, Tag { sequence: 7, nonce: 1 }, &[fd.clone()], Deadline::NEVER)?;
/// peek::send(&a, tag, &[fd.clone(), fd], Deadline::NEVER)?;
///
/// assert_eq!(peek::peek(&b, tag)?.map(|fds| fds.len()), Some(2));
/// assert_eq!(peek::peek(&b, tag)?.map(|fds| fds.len()), Some(2)); // It is still there.
/// peek::discard(&b)?;
/// assert!(peek::peek(&b, tag)?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn send(socket: impl AsFd, tag: Tag, fds: &[Fd], deadline: Deadline) -> Result<(), Error> {
    if fds.len() > MAX_FDS {
        let what = format!("{} descriptors do not fit beside one message", fds.len());
        return Err(Error::new(ErrorKind::TooLarge, what));
    }
    let header = header(tag, fds.len());
    if fds.len() <= MAX_PACKET_FDS {
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        return send_packet(socket.as_fd(), &header, &raw, deadline);
    }
    // Each group waits in a socket of its own, where it can be peeked at in turn.
    let mut groups = Vec::new();
    for group in fds.chunks(MAX_PACKET_FDS) {
        let pair = socket::pair().map_err(|error| Error::from_io("no socket pair", error))?;
        let raw: Vec<RawFd> = group.iter().map(AsRawFd::as_raw_fd).collect();
        send_packet(pair.0.as_fd(), &self::header(tag, group.len()), &raw, deadline)?;
        groups.push(pair.1);
    }
    let raw: Vec<RawFd> = groups.iter().map(AsRawFd::as_raw_fd).collect();
    send_packet(socket.as_fd(), &header, &raw, deadline)
}

/// Duplicates the descriptors of the message with this tag, and leaves the packet where it is.
///
/// Discards packets that are stale. `None` if the packet of this tag is not there.
///
/// # Errors
///
/// [`ErrorKind::DescriptorsLost`] if this process may not open as many descriptors; the packet stays.
/// [`ErrorKind::Protocol`] for what is no such packet, which is discarded.
pub fn peek(socket: impl AsFd, tag: Tag) -> Result<Option<Vec<Fd>>, Error> {
    let socket = socket.as_fd();
    loop {
        let Some((found, count, fds, truncated)) = peek_packet(socket)? else { return Ok(None) };
        if found.sequence > tag.sequence {
            return Ok(None);
        }
        if found != tag {
            drop(fds);
            discard(socket).map_err(|error| Error::from_io("cannot discard a packet", error))?;
            continue;
        }
        if truncated {
            return Err(lost());
        }
        if count <= MAX_PACKET_FDS {
            return if fds.len() == count { Ok(Some(fds)) } else { Err(malformed()) };
        }
        let mut all = Vec::new();
        for group in fds {
            let Some((_, count, fds, truncated)) = peek_packet(group.as_fd())? else {
                return Err(malformed());
            };
            if truncated || fds.len() != count {
                return Err(lost());
            }
            all.extend(fds);
        }
        return if all.len() == count { Ok(Some(all)) } else { Err(malformed()) };
    }
}

/// Throws the first packet away, if there is one, with its descriptors.
///
/// # Errors
///
/// What `recv(2)` refuses, such as a descriptor that is no socket.
pub fn discard(socket: impl AsFd) -> io::Result<()> {
    loop {
        match sys::discard_packet(socket.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            other => return other,
        }
    }
}

fn header(tag: Tag, count: usize) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..4].copy_from_slice(&MAGIC.to_ne_bytes());
    out[4..8].copy_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_ne_bytes());
    out[8..16].copy_from_slice(&tag.sequence.to_ne_bytes());
    out[16..].copy_from_slice(&tag.nonce.to_ne_bytes());
    out
}

fn send_packet(
    socket: BorrowedFd<'_>,
    header: &[u8],
    fds: &[RawFd],
    deadline: Deadline,
) -> Result<(), Error> {
    loop {
        match sys::send_packet(socket, header, &[], fds, libc::MSG_DONTWAIT) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let room = poll::wait_writable(socket, deadline);
                if !room.map_err(|error| Error::from_io("cannot wait for room", error))? {
                    let what = "there was no room for descriptors in time";
                    return Err(Error::new(ErrorKind::TimedOut, what));
                }
            }
            Err(error) => return Err(Error::from_io("descriptors cannot be sent", error)),
        }
    }
}

type Peeked = (Tag, usize, Vec<Fd>, bool);

fn peek_packet(socket: BorrowedFd<'_>) -> Result<Option<Peeked>, Error> {
    loop {
        let mut header = [0; HEADER];
        let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
        match sys::recv_packet(socket, &mut header, &mut [], flags) {
            Ok(packet) if packet.len == 0 && packet.fds.is_empty() => return Ok(None),
            Ok(packet) => {
                let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|i| header[at + i]));
                if packet.len != HEADER || word(0) != MAGIC {
                    let _ = discard(socket);
                    return Err(malformed());
                }
                let long = |at: usize| {
                    u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| header[at + i]))
                };
                let tag = Tag { sequence: long(8), nonce: long(16) };
                let fds = packet.fds.into_iter().map(Fd::from).collect();
                return Ok(Some((tag, word(4) as usize, fds, packet.truncated)));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(Error::from_io("cannot look at descriptors", error)),
        }
    }
}

fn malformed() -> Error {
    Error::new(ErrorKind::Protocol, "the descriptors of a message do not belong to it")
}

fn lost() -> Error {
    let what = "descriptors of the message do not fit: this process has too many open";
    Error::new(ErrorKind::DescriptorsLost, what)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use super::*;

    fn fd() -> Fd {
        Fd::from(OwnedFd::from(File::open("/dev/null").unwrap()))
    }

    fn tag(sequence: u64) -> Tag {
        Tag { sequence, nonce: 9 }
    }

    #[test]
    fn a_packet_of_a_later_message_is_left_alone() {
        let (a, b) = socket::pair().unwrap();
        send(&a, tag(5), &[fd()], Deadline::NEVER).unwrap();
        assert!(peek(&b, tag(4)).unwrap().is_none());
        assert_eq!(peek(&b, tag(5)).unwrap().unwrap().len(), 1);
    }

    #[test]
    fn many_descriptors_can_be_peeked_at_twice() {
        let (a, b) = socket::pair().unwrap();
        let many = vec![fd(); 300];
        send(&a, tag(1), &many, Deadline::NEVER).unwrap();
        for _ in 0..2 {
            assert_eq!(peek(&b, tag(1)).unwrap().unwrap().len(), 300);
        }
        discard(&b).unwrap();
        assert!(peek(&b, tag(1)).unwrap().is_none());
    }

    #[test]
    fn a_full_socket_times_out_and_nothing_is_sent() {
        let (a, b) = socket::pair().unwrap();
        let mut sent = 0;
        let full = loop {
            match send(&a, tag(sent + 1), &[fd()], Deadline::NOW) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), ErrorKind::TimedOut);
        assert!(sent > 100, "room for {sent} only");
        assert_eq!(peek(&b, tag(sent)).unwrap().unwrap().len(), 1);
        assert!(peek(&b, tag(sent + 1)).unwrap().is_none());
    }
}
