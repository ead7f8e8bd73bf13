//! One end of a connection, without types: how messages get to the other end.
//!
//! The socket is of type `SOCK_SEQPACKET`. It is never made nonblocking: that would be a property of the open socket,
//! which other processes share. Each call says for itself that it does not wait, and waiting is done in `poll`.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mp_wire::{Deadline, Fd, Limits, Message, Spin, poll, socket};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{RecvError, SendError};

/// Whether looking before sleeping has been paying off in this process.
static SPIN: Spin = Spin::new();

/// The most memory that a thread keeps for the next message.
const KEPT: usize = 1 << 20;

thread_local! {
    /// Messages are encoded here, so that a small one takes no memory of its own.
    static SCRATCH: Cell<Option<Message>> = const { Cell::new(None) };
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Link {
    socket: Fd,
    /// The longest message that this end accepts.
    max: u64,
}

impl Link {
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socket::pair()?;
        Ok((Self::new(a), Self::new(b)))
    }

    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket: Fd::from(socket), max: Limits::default().bytes as u64 }
    }

    pub(crate) fn into_socket(self) -> io::Result<OwnedFd> {
        self.socket.into_owned()
    }

    pub(crate) fn set_max(&mut self, bytes: usize) {
        self.max = bytes as u64;
    }

    pub(crate) fn send<T: Serialize>(
        &self,
        value: &T,
        deadline: Deadline,
    ) -> Result<(), SendError> {
        // Taken, not borrowed: a `Serialize` may send a message itself.
        let mut message = SCRATCH.take().unwrap_or_default();
        let result = mp_wire::encode_into(value, &mut message)
            .and_then(|()| socket::send(&self.socket, &message.bytes, &message.fds, deadline));
        message.fds.clear();
        if message.bytes.capacity() <= KEPT {
            SCRATCH.set(Some(message));
        }
        result.map_err(SendError::from_wire)
    }

    pub(crate) fn send_bytes(&self, bytes: &[u8], deadline: Deadline) -> Result<(), SendError> {
        socket::send(&self.socket, bytes, &[], deadline).map_err(SendError::from_wire)
    }

    pub(crate) fn recv<T: DeserializeOwned>(&self, deadline: Deadline) -> Result<T, RecvError> {
        self.recv_message(deadline)?.decode().map_err(RecvError::from_wire)
    }

    pub(crate) fn recv_bytes(&self, deadline: Deadline) -> Result<Vec<u8>, RecvError> {
        Ok(self.recv_message(deadline)?.bytes)
    }

    pub(crate) fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvError> {
        let bytes = self.recv_bytes(Deadline::NEVER)?;
        match buffer.get_mut(..bytes.len()) {
            Some(place) => place.copy_from_slice(&bytes),
            None => return Err(RecvError::BufferTooShort(bytes)),
        }
        Ok(bytes.len())
    }

    fn recv_message(&self, deadline: Deadline) -> Result<Message, RecvError> {
        let bytes = usize::try_from(self.max).unwrap_or(usize::MAX);
        let limits = Limits { bytes, ..Limits::default() };
        socket::recv_spinning(&self.socket, limits, deadline, &SPIN).map_err(RecvError::from_wire)
    }

    pub(crate) fn poll(&self, deadline: Deadline) -> io::Result<bool> {
        poll::wait_readable(self.socket.as_fd(), deadline)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
