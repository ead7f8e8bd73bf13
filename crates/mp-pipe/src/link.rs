//! One end of a connection, without types: how messages get to the other end.
//!
//! A UNIX socket is of type `SOCK_SEQPACKET`. It is never made nonblocking: that would be a property of the open socket,
//! which other processes share. Each call says for itself that it does not wait, and waiting is done in `poll`. Over TCP
//! a [`Stream`] cuts the bytes into messages.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use mp_wire::{Deadline, Delivery, Fd, Limits, Payload, Spin, poll, socket};
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::inbox::Inbox;
use crate::ring::Ring;
use crate::stream::{self, Stream};
use crate::{Peer, RecvError, SendError, peer, registry, sys};

/// Whether looking before sleeping has been paying off in this process.
static SPIN: Spin = Spin::new();

#[derive(Clone, Debug)]
pub(crate) struct Link {
    carrier: Carrier,
    /// The longest message that this end accepts.
    max: u64,
}

/// What messages travel on.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Carrier {
    /// A UNIX socket, each message a packet, with descriptors.
    Packets(Fd),
    /// A UNIX socket, and shared memory beside it.
    Ringed(Fd, Ring),
    /// A TCP socket and what this process has read and written of it.
    #[serde(skip_deserializing, serialize_with = "stream::refuse")]
    Stream(Arc<Stream>),
}

impl Link {
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socket::pair()?;
        // Where there is no memory for it, the sockets do alone.
        match Ring::pair() {
            Ok((first, second)) => Ok((
                Self::on(Carrier::Ringed(Fd::from(a), first)),
                Self::on(Carrier::Ringed(Fd::from(b), second)),
            )),
            Err(_) => Ok((Self::new(a), Self::new(b))),
        }
    }

    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self::on(Carrier::Packets(Fd::from(socket)))
    }

    pub(crate) fn over(stream: Stream) -> Self {
        Self::on(Carrier::Stream(Arc::new(stream)))
    }

    fn on(carrier: Carrier) -> Self {
        Self { carrier, max: Limits::default().bytes as u64 }
    }

    pub(crate) fn into_socket(self) -> io::Result<OwnedFd> {
        match self.carrier {
            Carrier::Packets(socket) => socket.into_owned(),
            Carrier::Ringed(socket, ring) => {
                if !ring.detach(&socket)? {
                    let what = "messages have come that the socket alone does not have: receive them first";
                    return Err(io::Error::new(io::ErrorKind::ResourceBusy, what));
                }
                drop(ring);
                socket.into_owned()
            }
            Carrier::Stream(_) => {
                let what = "the socket of a connection over TCP cannot be taken out of it";
                Err(io::Error::new(io::ErrorKind::Unsupported, what))
            }
        }
    }

    pub(crate) fn peer(&self) -> io::Result<Peer> {
        match &self.carrier {
            Carrier::Packets(socket) | Carrier::Ringed(socket, _) => peer::of_socket(socket),
            Carrier::Stream(stream) => Ok(Peer::Tcp(stream.peer())),
        }
    }

    pub(crate) fn set_max(&mut self, bytes: usize) {
        self.max = bytes as u64;
    }

    pub(crate) fn send<T: Serialize>(
        &self,
        value: &T,
        deadline: Deadline,
    ) -> Result<(), SendError> {
        if let Carrier::Ringed(_, ring) = &self.carrier {
            ring.expect_to_send();
        }
        mp_wire::encode_with(value, |bytes, fds| self.send_parts(bytes, fds, deadline))
            .map_err(SendError::from_wire)?
    }

    #[inline]
    pub(crate) fn send_parts(
        &self,
        bytes: &[u8],
        fds: &[Fd],
        deadline: Deadline,
    ) -> Result<(), SendError> {
        match &self.carrier {
            Carrier::Ringed(socket, ring) => {
                ring.send(socket, bytes, fds, deadline).map_err(SendError::from_wire)
            }
            Carrier::Packets(socket) => {
                socket::send(socket, bytes, fds, deadline).map_err(SendError::from_wire)
            }
            Carrier::Stream(_) if !fds.is_empty() => Err(stream::no_descriptors()),
            Carrier::Stream(stream) => stream.send(bytes, deadline),
        }
    }

    pub(crate) fn send_bytes(&self, bytes: &[u8], deadline: Deadline) -> Result<(), SendError> {
        self.send_parts(bytes, &[], deadline)
    }

    pub(crate) fn flush(&self, deadline: Deadline) -> Result<(), SendError> {
        match &self.carrier {
            Carrier::Packets(_) | Carrier::Ringed(..) => Ok(()),
            Carrier::Stream(stream) => stream.flush(deadline),
        }
    }

    /// Sends what there is room for of the rest of a message that a call began; says whether there is more.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_rest(&self) -> bool {
        // An error of writing is the next sender's.
        matches!(self.flush(Deadline::NOW), Err(SendError::Full))
    }

    pub(crate) fn recv<T: DeserializeOwned>(&self, deadline: Deadline) -> Result<T, RecvError> {
        let mut inbox = Inbox::to_look_at();
        self.recv_message(&mut inbox, deadline)?;
        mp_wire::decode(inbox.bytes(), &inbox.fds).map_err(RecvError::from_wire)
    }

    pub(crate) fn recv_bytes(&self, deadline: Deadline) -> Result<Vec<u8>, RecvError> {
        let mut inbox = Inbox::to_give_away();
        self.recv_message(&mut inbox, deadline)?;
        inbox.into_vec().map_err(RecvError::from_wire)
    }

    pub(crate) fn recv_payload(&self, deadline: Deadline) -> Result<Payload, RecvError> {
        let mut inbox = Inbox::to_give_away();
        self.recv_message(&mut inbox, deadline)?;
        Ok(inbox.into_payload())
    }

    pub(crate) fn recv_bytes_into(
        &self,
        buffer: &mut [u8],
        deadline: Deadline,
    ) -> Result<usize, RecvError> {
        let mut inbox = Inbox::over(buffer);
        self.recv_message(&mut inbox, deadline)?;
        inbox.settle().map_err(|bytes| match bytes {
            Ok(bytes) => RecvError::BufferTooShort(bytes),
            Err(error) => RecvError::from_wire(error),
        })
    }

    fn recv_message(&self, inbox: &mut Inbox<'_>, deadline: Deadline) -> Result<(), RecvError> {
        let bytes = usize::try_from(self.max).unwrap_or(usize::MAX);
        let limits = Limits { bytes, ..Limits::default() };
        match &self.carrier {
            Carrier::Packets(socket) => {
                let received = socket::recv_delivery_spinning(socket, limits, deadline, &SPIN);
                inbox.put(received.map_err(RecvError::from_wire)?);
            }
            Carrier::Ringed(socket, ring) => {
                let received = ring.recv(socket, inbox, limits, deadline);
                received.map_err(RecvError::from_wire)?;
            }
            Carrier::Stream(stream) => {
                let payload = stream.recv(self.max, deadline)?.into();
                inbox.put(Delivery { payload, fds: Vec::new() });
            }
        }
        Ok(())
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match &self.carrier {
            Carrier::Packets(socket) => {
                sys::shut(socket.as_fd(), how)?;
                if how != Shutdown::Write {
                    sys::throw_away(socket.as_fd());
                }
                Ok(())
            }
            Carrier::Ringed(socket, ring) => ring.shutdown(socket, how),
            Carrier::Stream(stream) => stream.shutdown(how),
        }
    }

    pub(crate) fn poll(&self, deadline: Deadline) -> io::Result<bool> {
        match &self.carrier {
            Carrier::Packets(socket) => poll::wait_readable(socket.as_fd(), deadline),
            Carrier::Ringed(socket, ring) => Ok(ring.poll(socket, deadline)?),
            Carrier::Stream(stream) => stream.poll(self.max, deadline),
        }
    }
}

impl Serialize for Link {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.carrier, self.max).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Link {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (carrier, max) = <(Carrier, u64)>::deserialize(deserializer)?;
        let (socket, ring) = match carrier {
            Carrier::Packets(socket) => registry::intern((socket, None)),
            Carrier::Ringed(socket, ring) => registry::intern((socket, Some(ring))),
            Carrier::Stream(_) => return Err(de::Error::custom("a stream does not travel")),
        };
        let carrier = match ring {
            Some(ring) => Carrier::Ringed(socket, ring),
            None => Carrier::Packets(socket),
        };
        Ok(Self { carrier, max })
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.carrier {
            Carrier::Packets(socket) | Carrier::Ringed(socket, _) => socket.as_fd(),
            Carrier::Stream(stream) => stream.as_fd(),
        }
    }
}
