//! One end of a connection over TCP: messages cut out of a stream of bytes.
//!
//! No call holds a lock while it waits, and what a call has read or written of a message when its time is over stays in
//! this object: the next call goes on there. Nothing is read beyond a message, so that the socket can be read exactly
//! when there is something to receive.

mod frame;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mp_wire::{Deadline, ErrorKind, above_streams, poll};
use nix::sys::socket::{setsockopt, sockopt};
use serde::ser::{Error as _, Serializer};

use crate::cipher::Cipher;
use crate::{RecvError, SendError};
pub(crate) use frame::Kind;
use reader::{Progress, Reader};
use writer::{Ticket, Writer};

/// After so long without a sign of the other side, the kernel asks whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Stream {
    socket: TcpStream,
    peer: SocketAddr,
    reader: Mutex<Reader>,
    writer: Mutex<Writer>,
}

impl Stream {
    pub(crate) fn new(socket: TcpStream) -> io::Result<Self> {
        let socket = TcpStream::from(above_streams(socket.into()));
        // First, for it says clearly when the other side is gone already.
        let peer = socket.peer_addr()?;
        socket.set_nodelay(true)?;
        setsockopt(&socket, sockopt::KeepAlive, &true)?;
        setsockopt(&socket, sockopt::TcpKeepIdle, &(KEEPALIVE.as_secs() as u32))?;
        Ok(Self {
            socket,
            peer,
            reader: Mutex::new(Reader::default()),
            writer: Mutex::new(Writer::default()),
        })
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Encrypts from here on.
    pub(crate) fn encrypt(&mut self, cipher: &Cipher) {
        let (send, receive) = cipher.first();
        get_mut(&mut self.writer).encrypt(cipher.clone(), send);
        get_mut(&mut self.reader).encrypt(cipher.clone(), receive);
    }

    /// Sends a message.
    pub(crate) fn send(&self, payload: &[u8], deadline: Deadline) -> Result<(), SendError> {
        self.send_frame(Kind::Message, payload, deadline)
    }

    pub(crate) fn send_frame(
        &self,
        kind: Kind,
        payload: &[u8],
        deadline: Deadline,
    ) -> Result<(), SendError> {
        let mut ticket = None;
        loop {
            match lock(&self.writer).advance(&self.socket, kind, payload, &mut ticket)? {
                Ticket::Done => return Ok(()),
                Ticket::Waits => {}
            }
            if !self.wait_writable(deadline)? {
                // Begun, it cannot be taken back, and the rest waits here.
                return Err(if ticket.is_some() { SendError::Unfinished } else { SendError::Full });
            }
        }
    }

    /// Sends the rest of a message that a call began.
    pub(crate) fn flush(&self, deadline: Deadline) -> Result<(), SendError> {
        while !lock(&self.writer).flush(&self.socket)? {
            if !self.wait_writable(deadline)? {
                return Err(SendError::Full);
            }
        }
        Ok(())
    }

    /// Ends one direction, or both; before it sends no more it sends the rest of what a call began.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Read {
            match self.flush(Deadline::NEVER) {
                Ok(()) | Err(SendError::Closed) => {}
                Err(error) => return Err(error.into()),
            }
        }
        crate::sys::shut(self.socket.as_fd(), how)
    }

    fn wait_writable(&self, deadline: Deadline) -> Result<bool, SendError> {
        let ready = poll::wait_writable(self.socket.as_fd(), deadline);
        ready.map_err(|error| {
            SendError::from_wire(mp_wire::Error::from_io("cannot wait for room", error))
        })
    }

    /// Receives a message.
    pub(crate) fn recv(&self, max: u64, deadline: Deadline) -> Result<Vec<u8>, RecvError> {
        loop {
            if let Some(payload) = self.try_frame(Kind::Message, max)? {
                return Ok(payload);
            }
            if !self.wait_message(deadline).map_err(cannot_wait)? {
                return Err(RecvError::Empty);
            }
        }
    }

    /// Receives a frame if the rest of it is there.
    pub(crate) fn try_frame(&self, kind: Kind, max: u64) -> Result<Option<Vec<u8>>, RecvError> {
        let progress = lock(&self.reader).advance(&self.socket, kind, max, false);
        match progress.map_err(RecvError::from_wire)? {
            Progress::Frame(payload) => Ok(Some(payload)),
            Progress::Waits | Progress::LastByte => Ok(None),
            Progress::Ended => Err(RecvError::Closed),
        }
    }

    /// Says whether a whole message, or the end, or an error, can be received before the deadline.
    pub(crate) fn poll(&self, max: u64, deadline: Deadline) -> io::Result<bool> {
        loop {
            // All but the last byte is read: so the socket stays readable for whoever else looks at it.
            let progress = lock(&self.reader).advance(&self.socket, Kind::Message, max, true);
            match progress {
                Ok(Progress::LastByte) => {
                    if poll::wait_readable(self.socket.as_fd(), Deadline::NOW)? {
                        return Ok(true);
                    }
                }
                Ok(Progress::Frame(_) | Progress::Ended) => return Ok(true),
                Ok(Progress::Waits) => {}
                Err(error) => {
                    lock(&self.reader).keep(error);
                    return Ok(true);
                }
            }
            if !self.wait_message(deadline)? {
                return Ok(false);
            }
        }
    }

    /// Waits for bytes, and meanwhile sends the rest of a message that a call began: the other side may be waiting for it
    /// before it answers.
    fn wait_message(&self, deadline: Deadline) -> io::Result<bool> {
        loop {
            // An error of writing is the next sender's.
            let flushed = lock(&self.writer).flush(&self.socket).unwrap_or(true);
            if flushed {
                return poll::wait_readable(self.socket.as_fd(), deadline);
            }
            match crate::sys::wait_either(self.socket.as_fd(), deadline)? {
                None => return Ok(false),
                Some(readable) if readable => return Ok(true),
                Some(_) => {}
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn cannot_wait(error: io::Error) -> RecvError {
    RecvError::from_wire(mp_wire::Error::from_io("cannot wait for a message", error))
}

/// Nothing that is locked here is left half changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn get_mut<T>(mutex: &mut Mutex<T>) -> &mut T {
    mutex.get_mut().unwrap_or_else(PoisonError::into_inner)
}

/// What is read already, and the keys, are this process's: the descriptor alone would be torn out of them.
pub(crate) fn refuse<T, S: Serializer>(_: &T, _: S) -> Result<S::Ok, S::Error> {
    Err(S::Error::custom("a connection over TCP cannot be sent to another process"))
}

/// The error of descriptors in a message.
pub(crate) fn no_descriptors() -> SendError {
    let what = "a handle cannot be sent over TCP: descriptors travel over UNIX sockets alone";
    SendError::Encode(mp_wire::Error::new(ErrorKind::Encode, what))
}
