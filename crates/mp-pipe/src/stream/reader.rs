//! The half that reads.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use mp_wire::{Error, ErrorKind};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use super::frame::{self, END, HEADER, Kind};
use crate::cipher::Cipher;

/// Memory for so much of a message is taken before the first byte of it has come; then as much again as did come.
const FIRST: usize = 64 * 1024;

/// What has been read of the frame that is coming.
#[derive(Debug, Default)]
pub(super) struct Reader {
    header: [u8; HEADER],
    in_header: usize,
    /// Of a frame whose header has come: its payload and the byte at its end. Only the first `filled` bytes are its.
    body: Vec<u8>,
    filled: usize,
    /// Bytes of a refused message that are still to come.
    skip: u64,
    /// Nothing more can be received.
    ended: bool,
    /// An error that `poll` has met, for the call that receives.
    kept: Option<Error>,
    cipher: Option<(Cipher, u64)>,
}

pub(super) enum Progress {
    Frame(Vec<u8>),
    /// All that is there has been read, and it is not a whole frame.
    Waits,
    /// Only the last byte is missing, and was not to be read.
    LastByte,
    Ended,
}

/// What one read gave.
enum Read {
    Some(usize),
    Nothing,
    End,
}

impl Reader {
    pub(super) fn encrypt(&mut self, cipher: Cipher, number: u64) {
        self.cipher = Some((cipher, number));
    }

    /// Keeps an error for the next call.
    pub(super) fn keep(&mut self, error: Error) {
        self.kept = Some(error);
    }

    /// Reads what is there, to the end of the frame at most, and not the last byte of it if that is to be left.
    pub(super) fn advance(
        &mut self,
        socket: &TcpStream,
        kind: Kind,
        max: u64,
        leave_last: bool,
    ) -> Result<Progress, Error> {
        if let Some(error) = self.kept.take() {
            return Err(error);
        }
        if self.ended {
            return Ok(Progress::Ended);
        }
        loop {
            if self.skip > 0 {
                let mut waste = [0; 16 * 1024];
                let want = usize::try_from(self.skip).unwrap_or(usize::MAX).min(waste.len());
                match read(socket, &mut waste[..want])? {
                    Read::Some(count) => self.skip -= count as u64,
                    Read::Nothing => return Ok(Progress::Waits),
                    Read::End => return Ok(self.end()),
                }
                continue;
            }
            if self.in_header < HEADER {
                match read(socket, &mut self.header[self.in_header..])? {
                    Read::Some(count) => self.in_header += count,
                    Read::Nothing => return Ok(Progress::Waits),
                    Read::End => return Ok(self.end()),
                }
                if self.in_header == HEADER {
                    self.check(kind, max)?;
                }
                continue;
            }
            let whole = self.body_len()?;
            let left = whole - self.filled;
            if left == 0 {
                return self.finish().map(Progress::Frame);
            }
            if leave_last && left == 1 {
                return Ok(Progress::LastByte);
            }
            if self.filled == self.body.len() {
                self.grow(whole)?;
            }
            let until = if leave_last { whole - 1 } else { whole }.min(self.body.len());
            match read(socket, &mut self.body[self.filled..until])? {
                Read::Some(count) => self.filled += count,
                Read::Nothing => return Ok(Progress::Waits),
                Read::End => return Ok(self.end()),
            }
        }
    }

    /// Checks a header that has just become whole.
    fn check(&mut self, kind: Kind, max: u64) -> Result<(), Error> {
        let Some((found, length)) = frame::parse(self.header) else {
            return Err(self.broken("the stream does not have messages of this library"));
        };
        if found != kind {
            return Err(self.broken(match found {
                Kind::Handshake => "the other side wants a key, or refuses this one",
                Kind::Message => "a message came before the key was proved",
            }));
        }
        // What encryption adds is not the message's.
        let extra = if self.cipher.is_some() { 32 + length / 2048 } else { 0 };
        if length.saturating_sub(extra) > max || usize::try_from(length).is_err() {
            if kind == Kind::Handshake || self.cipher.is_some() {
                // What is skipped cannot be checked.
                self.ended = true;
            }
            self.in_header = 0;
            self.skip = length + 1;
            let what = format!("a message of {length} bytes is over the limit and was discarded");
            return Err(Error::new(ErrorKind::TooLarge, what));
        }
        Ok(())
    }

    /// The length of the payload with the byte at its end.
    fn body_len(&self) -> Result<usize, Error> {
        let length = frame::parse(self.header).and_then(|(_, length)| usize::try_from(length).ok());
        let too_large = || Error::new(ErrorKind::Protocol, "the length of a message is wrong");
        length.and_then(|length| length.checked_add(1)).ok_or_else(too_large)
    }

    /// Makes room for as many bytes again as have come: a length that lies costs nothing.
    fn grow(&mut self, whole: usize) -> Result<(), Error> {
        let more = (whole - self.filled).min(self.filled.max(FIRST));
        if self.body.try_reserve_exact(more).is_err() {
            self.skip = (whole - self.filled) as u64;
            self.in_header = 0;
            self.body = Vec::new();
            self.filled = 0;
            // A message that is left out would make the next one's numbers wrong.
            self.ended |= self.cipher.is_some();
            return Err(Error::new(ErrorKind::Exhausted, "no memory for the message"));
        }
        self.body.resize(self.filled + more, 0);
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<u8>, Error> {
        let mut body = std::mem::take(&mut self.body);
        body.truncate(self.filled);
        self.in_header = 0;
        self.filled = 0;
        if body.pop() != Some(END) {
            return Err(self.broken("a message does not end where it says"));
        }
        let Some((cipher, number)) = &mut self.cipher else { return Ok(body) };
        match cipher.open(number, &body) {
            Ok(message) => Ok(message),
            Err(_) => Err(self.broken("a message was changed on its way")),
        }
    }

    fn broken(&mut self, what: &str) -> Error {
        self.ended = true;
        Error::new(ErrorKind::Protocol, what)
    }

    fn end(&mut self) -> Progress {
        self.ended = true;
        self.body = Vec::new();
        Progress::Ended
    }
}

/// Reads what is there now, without waiting.
fn read(socket: &TcpStream, buffer: &mut [u8]) -> Result<Read, Error> {
    loop {
        match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Ok(Read::End),
            Ok(count) => return Ok(Read::Some(count)),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(Read::Nothing),
            // The other side is gone, or does not answer any more.
            Err(Errno::ECONNRESET | Errno::EPIPE | Errno::ETIMEDOUT | Errno::EHOSTUNREACH) => {
                return Ok(Read::End);
            }
            Err(error) => {
                let error = io::Error::from(error);
                return Err(Error::from_io("no message can be received", error));
            }
        }
    }
}
