//! Messages over a pair of UNIX sockets: one packet each, all or nothing.
//!
//! The sockets are of type `SOCK_SEQPACKET`: a message is there whole or not at all, whoever is killed while sending
//! it, and several writers never mix. What does not fit in a packet goes beside it: a payload over 64 KiB in a
//! sealed memory file, more than 253 descriptors through a socket pair that travels in their place.

use std::cell::RefCell;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::stamped::{Arrived, Stamp};
use crate::sys::{self, MAX_PACKET_FDS, Packet};
use crate::{
    Deadline, Delivery, Error, ErrorKind, Fd, Message, Payload, Spin, above_streams, poll,
};

/// The longest payload that goes into the packet itself.
const MAX_INLINE: usize = 64 * 1024;

/// A payload in a file is looked at in place from this length on: mapping costs more than copying a shorter one.
const MAPPED: usize = 1 << 20;

/// First word of each packet: the format, so that a stranger's bytes are not mistaken for a message.
const MAGIC: u32 = 0x6d70_7701;

/// The header of a packet: magic, place of the payload, number of descriptors, length of the payload, stamp.
pub(crate) const HEADER: usize = 40;

/// The payload is in the packet behind the header.
const INLINE: u32 = 0;

/// The payload is in a sealed memory file: the first descriptor of the packet.
const IN_FILE: u32 = 1;

/// This bit of the place says that the packet has a stamp.
const STAMPED: u32 = 1 << 31;

/// This bit of the place says that the payload is not here.
const ELSEWHERE: u32 = 1 << 30;

/// What a receiver accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest payload, in bytes.
    pub bytes: usize,
    /// The most descriptors in one message.
    pub fds: usize,
}

impl Default for Limits {
    /// 64 GiB and 4,096 descriptors.
    fn default() -> Self {
        Self { bytes: 1 << 36, fds: 4096 }
    }
}

thread_local! {
    /// A packet is received here before its length is known.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Makes a connected pair of sockets for messages.
///
/// # Errors
///
/// The process has as many descriptors open as it may have.
///
/// # Examples
///
/// ```
/// use mp_wire::{Deadline, Limits, socket};
///
/// let (a, b) = socket::pair()?;
/// socket::send(&a, b"hello", &[], Deadline::NEVER)?;
/// assert_eq!(socket::recv(&b, Limits::default(), Deadline::NEVER)?.bytes, b"hello");
///
/// drop(a);
/// let end = socket::recv(&b, Limits::default(), Deadline::NEVER).unwrap_err();
/// assert_eq!(end.kind(), mp_wire::ErrorKind::Closed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (one, two) = sys::socket_pair()?;
    Ok((above_streams(one), above_streams(two)))
}

/// Gives the number of a socket, which no other one has: descriptors that were received apart are of the same socket if
/// their numbers are equal.
///
/// # Errors
///
/// It is no socket.
///
/// # Examples
///
/// ```
/// use mp_wire::socket;
///
/// let (a, b) = socket::pair()?;
/// assert_eq!(socket::id(&a)?, socket::id(a.try_clone()?)?);
/// assert_ne!(socket::id(&a)?, socket::id(&b)?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn id(socket: impl AsFd) -> io::Result<u64> {
    sys::socket_cookie(socket.as_fd())
}

/// Sends one message, whole or not at all.
///
/// # Blocking
///
/// Waits while the socket has no room, until the deadline.
///
/// # Errors
///
/// [`ErrorKind::Closed`] if the other end is closed, [`ErrorKind::TimedOut`], and [`ErrorKind::Exhausted`] if memory
/// for a large payload or descriptors in flight run out.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[Fd], deadline: Deadline) -> Result<(), Error> {
    let socket = socket.as_fd();
    let parcel = Parcel::new(bytes, fds)?;
    while !parcel.try_send(socket, None)? {
        let room = poll::wait_writable(socket, deadline);
        if !room.map_err(|error| Error::from_io("cannot wait for room", error))? {
            return Err(Error::new(ErrorKind::TimedOut, "the message was not sent in time"));
        }
    }
    Ok(())
}

/// A message that is ready to be sent: what does not fit in a packet is in a file or a socket of its own.
#[derive(Debug)]
pub struct Parcel<'a> {
    bytes: &'a [u8],
    fds: usize,
    file: Option<OwnedFd>,
    /// Keeps the descriptors of `raw` that are not the caller's.
    _more: Option<OwnedFd>,
    raw: Vec<RawFd>,
    owner: PhantomData<&'a [Fd]>,
}

impl<'a> Parcel<'a> {
    /// Makes a message ready.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`] if memory for a large payload or descriptors run out.
    pub fn new(bytes: &'a [u8], fds: &'a [Fd]) -> Result<Self, Error> {
        let file = if bytes.len() > MAX_INLINE { Some(memory_file(bytes)?) } else { None };
        let room = MAX_PACKET_FDS - usize::from(file.is_some());
        let more = if fds.len() > room { Some(nest(fds)?) } else { None };
        let mut raw: Vec<RawFd> = file.iter().map(AsRawFd::as_raw_fd).collect();
        match &more {
            Some(socket) => raw.push(socket.as_raw_fd()),
            None => raw.extend(fds.iter().map(AsRawFd::as_raw_fd)),
        }
        Ok(Self { bytes, fds: fds.len(), file, _more: more, raw, owner: PhantomData })
    }

    /// Sends the message if the socket has room now; `false` if not. With a stamp, [`stamped`](crate::stamped) can tell
    /// which message it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`], [`ErrorKind::Exhausted`].
    pub fn try_send(&self, socket: impl AsFd, stamp: Option<Stamp>) -> Result<bool, Error> {
        let place = if self.file.is_some() { IN_FILE } else { INLINE };
        let bytes = self.bytes.len() as u64;
        let header = Header { place, fds: self.fds as u64, bytes, stamp }.to_bytes();
        let body = if self.file.is_some() { &[] } else { self.bytes };
        loop {
            let flags = libc::MSG_DONTWAIT;
            match sys::send_packet(socket.as_fd(), &header, body, &self.raw, flags) {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(Error::from_io("the message cannot be sent", error)),
            }
        }
    }
}

/// Receives one message; its descriptors are close-on-exec from birth.
///
/// A message that is refused is discarded whole, and the next one can be received.
///
/// # Blocking
///
/// Waits for a message until the deadline.
///
/// # Errors
///
/// [`ErrorKind::Closed`] after the last message if the other end is closed or its process died,
/// [`ErrorKind::TimedOut`], [`ErrorKind::TooLarge`], [`ErrorKind::DescriptorsLost`] if this process may not open as
/// many descriptors as came, and [`ErrorKind::Protocol`] for what is not a message.
pub fn recv(socket: impl AsFd, limits: Limits, deadline: Deadline) -> Result<Message, Error> {
    recv_with(socket.as_fd(), limits, deadline, None)?.into_message()
}

/// Receives one message as [`recv`] does; the bytes of a large one are not copied.
///
/// # Errors
///
/// As [`recv`].
pub fn recv_delivery(
    socket: impl AsFd,
    limits: Limits,
    deadline: Deadline,
) -> Result<Delivery, Error> {
    recv_with(socket.as_fd(), limits, deadline, None)
}

/// Receives one message as [`recv`] does, but looks for a while before it sleeps, as long as that has been paying off.
///
/// # Errors
///
/// As [`recv`].
pub fn recv_spinning(
    socket: impl AsFd,
    limits: Limits,
    deadline: Deadline,
    spin: &Spin,
) -> Result<Message, Error> {
    recv_delivery_spinning(socket, limits, deadline, spin)?.into_message()
}

/// Receives one message as [`recv_spinning`] does; the bytes of a large one are not copied.
///
/// # Errors
///
/// As [`recv`].
pub fn recv_delivery_spinning(
    socket: impl AsFd,
    limits: Limits,
    deadline: Deadline,
    spin: &Spin,
) -> Result<Delivery, Error> {
    let spin = Some(spin).filter(|_| deadline != Deadline::NOW);
    recv_with(socket.as_fd(), limits, deadline, spin)
}

fn recv_with(
    socket: BorrowedFd<'_>,
    limits: Limits,
    deadline: Deadline,
    spin: Option<&Spin>,
) -> Result<Delivery, Error> {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.resize(MAX_INLINE, 0);
        let mut header = [0; HEADER];
        let mut seen = None;
        if let Some(spin) = spin {
            spin.until(|| {
                seen = try_packet(socket, &mut header, scratch).transpose();
                seen.is_some() || deadline.is_past()
            });
        }
        let packet = match seen {
            Some(packet) => packet?,
            None => recv_packet(socket, &mut header, scratch, deadline)?,
        };
        open(&header, scratch, packet, limits).1
    })
}

/// Receives a packet with the flags, and makes the message of it; `None` if there was none, or a signal came.
pub(crate) fn recv_flagged(
    socket: BorrowedFd<'_>,
    limits: Limits,
    flags: i32,
) -> Result<Option<Arrived>, Error> {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.resize(MAX_INLINE, 0);
        let mut header = [0; HEADER];
        match sys::recv_packet(socket, &mut header, scratch, flags) {
            Ok(packet) if packet.len == 0 && packet.fds.is_empty() => Err(ended()),
            Ok(packet) => Ok(Some(open(&header, scratch, packet, limits))),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::WouldBlock => Ok(None),
                _ => Err(Error::from_io("no message can be received", error)),
            },
        }
    })
}

pub(crate) fn ended() -> Error {
    Error::new(ErrorKind::Closed, "the other end is closed")
}

fn recv_packet(
    socket: BorrowedFd<'_>,
    header: &mut [u8],
    body: &mut [u8],
    deadline: Deadline,
) -> Result<Packet, Error> {
    loop {
        if let Some(packet) = try_packet(socket, header, body)? {
            return Ok(packet);
        }
        let ready = poll::wait_readable(socket, deadline);
        if !ready.map_err(|error| Error::from_io("cannot wait for a message", error))? {
            return Err(Error::new(ErrorKind::TimedOut, "no message came in time"));
        }
    }
}

/// Receives a packet if there is one.
fn try_packet(
    socket: BorrowedFd<'_>,
    header: &mut [u8],
    body: &mut [u8],
) -> Result<Option<Packet>, Error> {
    loop {
        match sys::recv_packet(socket, header, body, libc::MSG_DONTWAIT) {
            Ok(packet) if packet.len == 0 && packet.fds.is_empty() => {
                return Err(ended());
            }
            Ok(packet) => return Ok(Some(packet)),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                // Said once, when the other end was closed with messages unread there. What came from it is still here.
                io::ErrorKind::ConnectionReset => {}
                io::ErrorKind::WouldBlock => return Ok(None),
                _ => return Err(Error::from_io("no message can be received", error)),
            },
        }
    }
}

/// Checks a packet against its header and the limits, and makes the message of it.
fn open(header: &[u8; HEADER], body: &[u8], packet: Packet, limits: Limits) -> Arrived {
    let header = (packet.len >= HEADER).then(|| Header::from_bytes(header)).flatten();
    (header.as_ref().and_then(|header| header.stamp), open_body(header, body, packet, limits))
}

fn open_body(
    header: Option<Header>,
    body: &[u8],
    packet: Packet,
    limits: Limits,
) -> Result<Delivery, Error> {
    let Some(header) = header else {
        return Err(Error::new(
            ErrorKind::Protocol,
            "a packet that is not a message was discarded",
        ));
    };
    if packet.truncated {
        return Err(Error::new(
            ErrorKind::DescriptorsLost,
            "descriptors of the message were lost: this process has too many open",
        ));
    }
    let len = usize::try_from(header.bytes).ok().filter(|&len| len <= limits.bytes);
    let count = usize::try_from(header.fds).ok().filter(|&count| count <= limits.fds);
    let (Some(len), Some(count)) = (len, count) else {
        let what = format!(
            "a message of {} bytes and {} descriptors is over the limit and was discarded",
            header.bytes, header.fds
        );
        return Err(Error::new(ErrorKind::TooLarge, what));
    };

    let mut fds = packet.fds.into_iter();
    let payload = match header.place {
        IN_FILE => read_file(fds.next(), len)?,
        _ => {
            let inline = packet.len - HEADER;
            if inline != len {
                return Err(Error::new(ErrorKind::Protocol, "the length of a message is wrong"));
            }
            body.get(..len).unwrap_or_default().to_vec().into()
        }
    };
    let room = MAX_PACKET_FDS - usize::from(header.place == IN_FILE);
    let fds = if count > room { unnest(fds.next(), count)? } else { fds.map(Fd::from).collect() };
    if fds.len() != count {
        return Err(Error::new(ErrorKind::Protocol, "descriptors of a message are missing"));
    }
    Ok(Delivery { payload, fds })
}

pub(crate) struct Header {
    place: u32,
    fds: u64,
    bytes: u64,
    pub(crate) stamp: Option<Stamp>,
}

impl Header {
    fn to_bytes(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..4].copy_from_slice(&MAGIC.to_ne_bytes());
        let stamp = self.stamp.unwrap_or_default();
        let stamped = if self.stamp.is_some() { STAMPED } else { 0 };
        let elsewhere = if stamp.elsewhere { ELSEWHERE } else { 0 };
        out[4..8].copy_from_slice(&(self.place | stamped | elsewhere).to_ne_bytes());
        out[8..16].copy_from_slice(&self.fds.to_ne_bytes());
        out[16..24].copy_from_slice(&self.bytes.to_ne_bytes());
        out[24..32].copy_from_slice(&stamp.sequence.to_ne_bytes());
        out[32..].copy_from_slice(&stamp.number.to_ne_bytes());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8; HEADER]) -> Option<Self> {
        let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
        let long = |at: usize| u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| bytes[at + i]));
        let elsewhere = word(4) & ELSEWHERE != 0;
        let stamp = Stamp { sequence: long(24), number: long(32), elsewhere };
        let stamp = (word(4) & STAMPED != 0).then_some(stamp);
        let place = word(4) & !(STAMPED | ELSEWHERE);
        let header = Self { place, fds: long(8), bytes: long(16), stamp };
        (word(0) == MAGIC && header.place <= IN_FILE).then_some(header)
    }
}

/// Puts a large payload into a memory file that nobody can change afterwards.
fn memory_file(bytes: &[u8]) -> Result<OwnedFd, Error> {
    let make = || {
        let file = sys::memory_file()?;
        sys::reserve(file.as_fd(), bytes.len() as u64)?;
        let file = std::fs::File::from(file);
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0)?;
        sys::seal(file.as_fd())?;
        Ok(OwnedFd::from(file))
    };
    make().map_err(|error| Error::from_io("no memory for the message", error))
}

/// Opens a payload in its memory file, once nobody can change it and its bytes really are there.
fn read_file(file: Option<OwnedFd>, len: usize) -> Result<Payload, Error> {
    use std::os::unix::fs::{FileExt, MetadataExt};

    let wrong =
        || Error::new(ErrorKind::Protocol, "the memory file of a message is not as it must be");
    let file = std::fs::File::from(file.ok_or_else(wrong)?);
    let data = file.metadata().map_err(|error| Error::from_io("no payload", error))?;
    // A sparse file claims bytes that its sender never paid for.
    let backed = data.blocks().saturating_mul(512) >= len as u64;
    if !sys::is_sealed(file.as_fd()) || data.len() != len as u64 || !backed {
        return Err(wrong());
    }
    // Memory of other kinds is mapped and given back by other rules.
    if len >= MAPPED
        && sys::is_tmpfs(file.as_fd())
        && let Ok(payload) = Payload::map(file.as_fd(), len)
    {
        return Ok(payload);
    }
    let mut bytes = Vec::new();
    let room = bytes.try_reserve_exact(len);
    room.map_err(|error| {
        Error::with_source(ErrorKind::Exhausted, "no memory for the message", error)
    })?;
    bytes.resize(len, 0);
    file.read_exact_at(&mut bytes, 0).map_err(|error| Error::from_io("no payload", error))?;
    Ok(bytes.into())
}

/// Queues more descriptors than fit in a packet in a socket pair, and gives the end to read them from.
fn nest(fds: &[Fd]) -> Result<OwnedFd, Error> {
    let queue = || {
        let (write, read) = sys::socket_pair()?;
        for chunk in fds.chunks(MAX_PACKET_FDS) {
            let raw: Vec<RawFd> = chunk.iter().map(AsRawFd::as_raw_fd).collect();
            sys::send_packet(write.as_fd(), &[0], &[], &raw, libc::MSG_DONTWAIT)?;
        }
        Ok(read)
    };
    queue().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            Error::with_source(ErrorKind::TooLarge, "too many descriptors for one message", error)
        }
        _ => Error::from_io("the descriptors of the message cannot be sent", error),
    })
}

/// Takes the descriptors out of the socket that [`nest`] put them in.
fn unnest(socket: Option<OwnedFd>, count: usize) -> Result<Vec<Fd>, Error> {
    let missing = || Error::new(ErrorKind::Protocol, "descriptors of a message are missing");
    let socket = socket.ok_or_else(missing)?;
    let mut fds = Vec::new();
    while fds.len() < count {
        let flags = libc::MSG_DONTWAIT;
        let packet =
            sys::recv_packet(socket.as_fd(), &mut [0], &mut [], flags).map_err(|error| {
                Error::from_io("the descriptors of a message cannot be received", error)
            })?;
        if packet.truncated {
            let what = "descriptors of the message were lost: this process has too many open";
            return Err(Error::new(ErrorKind::DescriptorsLost, what));
        }
        if packet.fds.is_empty() {
            return Err(missing());
        }
        fds.extend(packet.fds.into_iter().map(Fd::from));
    }
    Ok(fds)
}
