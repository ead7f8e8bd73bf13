//! What carries the records of a handshake, and becomes the connection after it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mp_wire::{Deadline, poll};

use super::{Carrier, Handshake, MAX_RECORD, Step};
use crate::cipher::Cipher;
use crate::link::Link;
use crate::stream::{Kind, Stream};
use crate::{Error, ErrorKind, Peer, RecvError, peer, sys};

/// A socket that is connected.
#[derive(Debug)]
pub(crate) enum Wire {
    Packets(OwnedFd),
    Stream(Box<Stream>),
}

impl Wire {
    pub(crate) fn carrier(&self) -> Carrier {
        match self {
            Self::Packets(_) => Carrier::Packets,
            Self::Stream(_) => Carrier::Stream,
        }
    }

    pub(crate) fn peer(&self) -> io::Result<Peer> {
        match self {
            Self::Packets(socket) => peer::of_socket(socket),
            Self::Stream(stream) => Ok(Peer::Tcp(stream.peer())),
        }
    }

    pub(crate) fn into_link(self) -> Link {
        match self {
            Self::Packets(socket) => Link::new(socket),
            Self::Stream(stream) => Link::over(*stream),
        }
    }

    /// Sends a record. A new socket has room for the few there are: one without is not worth waiting for.
    pub(crate) fn send(&self, record: &[u8]) -> Result<(), Error> {
        let sent = match self {
            Self::Packets(socket) => sys::send_packet(socket.as_fd(), record),
            Self::Stream(stream) => {
                let sent = stream.send_frame(Kind::Handshake, record, Deadline::NOW);
                sent.map_err(io::Error::from)
            }
        };
        sent.map_err(|_| closed())
    }

    /// Receives a record if there is one.
    pub(crate) fn try_recv(&self) -> Result<Option<Vec<u8>>, Error> {
        match self {
            Self::Packets(socket) => {
                // One byte more, so that a longer packet is told from a full one.
                let mut buffer = [0; MAX_RECORD + 1];
                match sys::recv_packet(socket.as_fd(), &mut buffer) {
                    Ok(0) => Err(closed()),
                    Ok(count) => Ok(Some(buffer[..count].to_vec())),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                    Err(_) => Err(closed()),
                }
            }
            Self::Stream(stream) => match stream.try_frame(Kind::Handshake, MAX_RECORD as u64) {
                Ok(record) => Ok(record),
                Err(RecvError::Closed) => Err(closed()),
                Err(_) => {
                    let what = "the other side spoke something else than this protocol";
                    Err(Error::new(ErrorKind::Handshake, what))
                }
            },
        }
    }

    /// Encrypts from here on, if the handshake left keys.
    pub(crate) fn finish(&mut self, cipher: Option<&Cipher>) {
        if let (Self::Stream(stream), Some(cipher)) = (self, cipher) {
            stream.encrypt(cipher);
        }
    }

    /// Takes as many steps as there are records; `true` when the other side has proved itself.
    pub(crate) fn advance(&mut self, handshake: &mut Handshake) -> Result<bool, Error> {
        while let Some(record) = self.try_recv()? {
            match handshake.step(&record) {
                Ok(Step::Send(record)) => {
                    if let Err(error) = self.send(&record) {
                        return Err(self.last_words(handshake).unwrap_or(error));
                    }
                }
                Ok(Step::Done(record, cipher)) => {
                    if let Some(record) = record {
                        self.send(&record)?;
                    }
                    self.finish(cipher.as_ref());
                    return Ok(true);
                }
                Err(refusal) => {
                    if let Some(reply) = refusal.reply {
                        let _ = self.send(&reply);
                    }
                    return Err(refusal.error);
                }
            }
        }
        Ok(false)
    }

    /// Why the other side has closed already, if it said so.
    fn last_words(&self, handshake: &mut Handshake) -> Option<Error> {
        let record = self.try_recv().ok().flatten()?;
        handshake.step(&record).err().map(|refusal| refusal.error)
    }

    /// Does the whole client's side.
    pub(crate) fn prove(
        &mut self,
        mut handshake: Handshake,
        first: &[u8],
        deadline: Deadline,
    ) -> Result<(), Error> {
        if let Err(error) = self.send(first) {
            return Err(self.last_words(&mut handshake).unwrap_or(error));
        }
        while !self.advance(&mut handshake)? {
            let ready = poll::wait_readable(self.as_fd(), deadline);
            if !ready.map_err(|error| Error::from_io("cannot wait for the listener", error))? {
                let what = "the listener did not prove its key in time";
                return Err(Error::new(ErrorKind::TimedOut, what));
            }
        }
        Ok(())
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Packets(socket) => socket.as_fd(),
            Self::Stream(stream) => stream.as_fd(),
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Handshake, "the other side closed before it had proved its key")
}
