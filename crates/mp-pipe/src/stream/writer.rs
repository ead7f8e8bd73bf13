//! The half that writes.

use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};

use mp_wire::{Deadline, Error, ErrorKind, poll};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, sendmsg};

use super::frame::{self, END, HEADER, Kind};
use crate::SendError;
use crate::cipher::Cipher;

/// What is still to be written of the last frame that was begun.
#[derive(Debug, Default)]
pub(super) struct Writer {
    rest: Vec<u8>,
    written: usize,
    /// How many frames did not fit at once. The rest is that of the last.
    begun: u64,
    /// The stream cannot be written to any more.
    broken: bool,
    cipher: Option<(Cipher, u64)>,
}

/// What has become of a frame.
pub(super) enum Ticket {
    Done,
    Waits,
}

impl Writer {
    pub(super) fn encrypt(&mut self, cipher: Cipher, number: u64) {
        self.cipher = Some((cipher, number));
    }

    /// Writes what there is room for of the frame before, then of this one; `ticket` is its number once it is begun.
    pub(super) fn advance(
        &mut self,
        socket: &TcpStream,
        kind: Kind,
        payload: &[u8],
        ticket: &mut Option<u64>,
    ) -> Result<Ticket, SendError> {
        let free = self.flush(socket)?;
        if let Some(mine) = *ticket {
            return Ok(if free || self.begun != mine { Ticket::Done } else { Ticket::Waits });
        }
        if !free {
            return Ok(Ticket::Waits);
        }
        let Some((cipher, number)) = &mut self.cipher else {
            return self.begin(socket, kind, payload, false, ticket);
        };
        // What is encrypted has its number, and must be sent: first see that a part of it can be.
        let room = poll::wait_writable(socket.as_fd(), Deadline::NOW);
        if !room
            .map_err(|error| SendError::from_wire(Error::from_io("cannot look for room", error)))?
        {
            return Ok(Ticket::Waits);
        }
        if Cipher::sealed_len(payload.len()).is_none() {
            let what = "the message is too long to be encrypted";
            return Err(SendError::Failed(Error::new(ErrorKind::TooLarge, what)));
        }
        let sealed = cipher.seal(number, payload).map_err(|_| {
            self.broken = true;
            SendError::Failed(Error::new(ErrorKind::Io, "the message cannot be encrypted"))
        })?;
        self.begin(socket, kind, &sealed, true, ticket)
    }

    fn begin(
        &mut self,
        socket: &TcpStream,
        kind: Kind,
        payload: &[u8],
        must: bool,
        ticket: &mut Option<u64>,
    ) -> Result<Ticket, SendError> {
        let header = frame::header(kind, payload.len());
        let parts = [IoSlice::new(&header), IoSlice::new(payload), IoSlice::new(&[END])];
        let written = self.write(socket, &parts)?;
        if written == HEADER + payload.len() + 1 {
            return Ok(Ticket::Done);
        }
        if written == 0 && !must {
            return Ok(Ticket::Waits);
        }
        self.begun += 1;
        *ticket = Some(self.begun);
        self.written = 0;
        self.rest.clear();
        self.rest.extend(header.get(written..).unwrap_or_default());
        self.rest.extend(payload.get(written.saturating_sub(HEADER)..).unwrap_or_default());
        self.rest.push(END);
        Ok(Ticket::Waits)
    }

    /// Writes what there is room for of the frame that was begun; says whether all of it is written.
    pub(super) fn flush(&mut self, socket: &TcpStream) -> Result<bool, SendError> {
        while self.written < self.rest.len() {
            let rest = std::mem::take(&mut self.rest);
            let written = self.write(socket, &[IoSlice::new(&rest[self.written..])]);
            self.rest = rest;
            match written? {
                0 => return Ok(false),
                count => self.written += count,
            }
        }
        // A large message's memory is given back.
        self.rest = Vec::new();
        self.written = 0;
        Ok(true)
    }

    /// Writes without waiting; 0 is no room.
    fn write(&mut self, socket: &TcpStream, parts: &[IoSlice<'_>]) -> Result<usize, SendError> {
        if self.broken {
            return Err(SendError::Closed);
        }
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            match sendmsg::<()>(socket.as_raw_fd(), parts, &[], flags, None) {
                Ok(count) => return Ok(count),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(0),
                // Memory of the kernel may be free again later, when no part has been written.
                Err(error @ (Errno::ENOBUFS | Errno::ENOMEM)) => {
                    return Err(SendError::from_wire(from_errno(error)));
                }
                Err(Errno::ETIMEDOUT | Errno::EHOSTUNREACH) => {
                    self.broken = true;
                    return Err(SendError::Closed);
                }
                Err(error) => {
                    self.broken = true;
                    return Err(SendError::from_wire(from_errno(error)));
                }
            }
        }
    }
}

fn from_errno(error: Errno) -> Error {
    Error::from_io("the message cannot be sent", io::Error::from(error))
}
