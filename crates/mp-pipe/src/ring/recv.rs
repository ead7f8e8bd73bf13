//! Receiving: the message with the lowest number, out of the ring or the socket.

use std::hint;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use mp_wire::stamped::{self, Arrived, First};
use mp_wire::{Deadline, Error, ErrorKind, Fd, Limits, Message, Spin, peek, poll};

use super::lane::{Lane, Record, Turn};
use super::word::{ATTENDING, DETACHED, GRABBING, PROMISED, Word, advance};

/// How long to look for a message that a sender is copying.
const PROMISE: Duration = Duration::from_millis(2);

/// How often to look before letting others run. Most answers come earlier.
const YIELD_EVERY: u32 = 64;

const PASSING: u64 = ATTENDING | PROMISED;

impl Lane {
    /// Receives a message into `message`, whose bytes and descriptors it replaces.
    pub(super) fn recv(
        &self,
        socket: &Fd,
        message: &mut Message,
        limits: Limits,
        deadline: Deadline,
        spin: &Spin,
    ) -> Result<(), Error> {
        message.fds.clear();
        let Some(turn) = self.receive_turn(socket, deadline)? else { return Err(empty()) };
        let mut looked = deadline == Deadline::NOW;
        loop {
            let word = self.word();
            let head = self.head();
            let used = self.used(word, head)?;
            if used > 0 {
                if self.recv_before_ring(socket, message, limits, head, used)? {
                    return Ok(());
                }
                continue;
            }
            if !looked && !word.outstanding() {
                looked = true;
                if self.change(word, word.with(ATTENDING)) {
                    self.attend(word.with(ATTENDING), deadline, spin);
                }
                continue;
            }
            // From here on all packets that come before a record are free to be taken.
            if !self.change(word, word.without(PASSING).with(GRABBING).take_all()) {
                continue;
            }
            let arrived = if word.outstanding() || deadline == Deadline::NOW {
                stamped::take(socket, limits, Deadline::NOW)
            } else {
                turn.wait(|| stamped::take(socket, limits, deadline))
            };
            match arrived {
                // The sender may have put something into the ring before it went.
                Err(error) if error.kind() == ErrorKind::Closed && !self.is_empty() => {}
                Err(error) => return Err(error),
                Ok(None) if word.outstanding() && deadline != Deadline::NOW => {}
                Ok(None) => return Err(empty()),
                Ok(Some(arrived)) => {
                    if self.is_new(&arrived) {
                        return self.accept(arrived, message);
                    }
                }
            }
        }
    }

    fn receive_turn(&self, socket: &Fd, deadline: Deadline) -> Result<Option<Turn<'_>>, Error> {
        let cause = || {
            let ready = poll::wait_readable(socket.as_fd(), Deadline::NOW);
            ready.unwrap_or(true) || !self.is_empty()
        };
        let turn = self.receivers.turn(deadline, cause)?;
        if turn.as_ref().is_some_and(|turn| turn.after_death) {
            // The one who attended is no more.
            self.update(|word| word.without(PASSING));
        }
        Ok(turn)
    }

    /// Looks at the word for a while.
    fn attend(&self, seen: Word, deadline: Deadline, spin: &Spin) {
        let mut looks = 0_u32;
        let bounded = deadline != Deadline::NEVER;
        spin.until(|| {
            if self.word() != seen {
                return true;
            }
            looks += 1;
            if !looks.is_multiple_of(YIELD_EVERY) {
                return false;
            }
            // The kernel likes to wake who waits on a socket on the processor of the one who writes to it, which is this
            // one now if a message went out as a packet.
            thread::yield_now();
            bounded && deadline.is_past()
        });
        let mut start = None;
        while self.word().has(PROMISED) && !deadline.is_past() {
            if start.get_or_insert_with(Instant::now).elapsed() > PROMISE {
                return;
            }
            hint::spin_loop();
        }
    }

    /// The ring is not empty: receives its first message, or one from the socket that comes before. `false` if there was
    /// no message, but something else.
    #[inline]
    fn recv_before_ring(
        &self,
        socket: &Fd,
        message: &mut Message,
        limits: Limits,
        head: u32,
        used: u32,
    ) -> Result<bool, Error> {
        let (sequence, len, units) = match self.first(head, used)? {
            Record::Pad(units) => {
                self.set_head(advance(head, units));
                return Ok(false);
            }
            Record::Message { sequence, len, units } => (sequence, len, units),
        };
        if sequence != self.expected.load(Relaxed)
            && let Some(arrived) = self.packet_before(socket, limits, sequence)?
        {
            return self.accept(arrived, message).map(|()| true);
        }
        let result = if len <= limits.bytes {
            self.read(head, len, &mut message.bytes).map_err(|error| {
                Error::from_io("no memory for the message", io::Error::other(error))
            })
        } else {
            let what = format!("a message of {len} bytes is over the limit and was discarded");
            Err(Error::new(ErrorKind::TooLarge, what))
        };
        self.set_head(advance(head, units));
        self.expected.store(sequence.wrapping_add(1), Relaxed);
        self.settle(socket)?;
        result.map(|()| true)
    }

    /// Receives the packet whose message comes before that of the first record, if there is one.
    #[cold]
    fn packet_before(
        &self,
        socket: &Fd,
        limits: Limits,
        sequence: u64,
    ) -> Result<Option<Arrived>, Error> {
        loop {
            let stamp = match stamped::look(socket)? {
                First::Stamped(stamp) => stamp,
                First::Other => return stamped::take(socket, limits, Deadline::NOW),
                First::End | First::Nothing => return Ok(None),
            };
            let new = stamp.sequence >= self.expected.load(Relaxed);
            if new && stamp.sequence >= sequence {
                return Ok(None);
            }
            // It may go if another one stays, so that the descriptor can be read as long as the ring has messages.
            let mut word = self.word();
            let spare = loop {
                if !word.is_spare(stamp.number) && !cfg!(mp_bug = "pipe_bell_taken") {
                    break false;
                }
                if self.change(word, word.take_to(stamp.number)) {
                    break true;
                }
                word = self.word();
            };
            match (new, spare) {
                (true, true) => return stamped::take(socket, limits, Deadline::NOW),
                (true, false) => {
                    let arrived = stamped::copy(socket, limits)?;
                    self.bell.store(stamp.number, Relaxed);
                    return Ok(arrived);
                }
                (false, true) => discard(socket)?,
                // What is behind it comes behind what is in the ring.
                (false, false) => return Ok(None),
            }
        }
    }

    /// If the ring is empty, removes packets that were received already: the descriptor must not be readable for nothing.
    #[inline]
    fn settle(&self, socket: &Fd) -> Result<(), Error> {
        loop {
            let word = self.word();
            if !word.outstanding() || word.tail() != self.head() {
                return Ok(());
            }
            if self.change(word, word.take_all()) {
                return self.clear(socket, word);
            }
        }
    }

    #[cold]
    fn clear(&self, socket: &Fd, word: Word) -> Result<(), Error> {
        let bell = self.bell.swap(0, Relaxed);
        if bell != 0 && word.is_last(bell) {
            return discard(socket);
        }
        while let First::Stamped(stamp) = stamped::look(socket)? {
            if stamp.sequence >= self.expected.load(Relaxed) {
                break;
            }
            discard(socket)?;
        }
        Ok(())
    }

    fn is_new(&self, arrived: &Arrived) -> bool {
        let expected = self.expected.load(Relaxed);
        arrived.0.is_none_or(|stamp| stamp.sequence >= expected)
    }

    /// Takes over what arrived: from here on it has been received.
    fn accept(&self, (stamp, arrived): Arrived, message: &mut Message) -> Result<(), Error> {
        if let Some(stamp) = stamp {
            self.expected.store(stamp.sequence.wrapping_add(1), Relaxed);
        }
        *message = arrived?;
        Ok(())
    }

    /// Says whether there is a message or the end of the stream.
    pub(super) fn poll(&self, socket: &Fd, deadline: Deadline) -> Result<bool, Error> {
        loop {
            if !self.is_empty() {
                return Ok(true);
            }
            let ready = poll::wait_readable(socket.as_fd(), deadline);
            if !ready.map_err(|error| Error::from_io("cannot wait for a message", error))? {
                return Ok(false);
            }
            // Somebody who is receiving leaves nothing behind unless it dies.
            let Some(_turn) = self.receive_turn(socket, Deadline::NOW)? else { return Ok(true) };
            self.settle(socket)?;
            match stamped::look(socket)? {
                First::Stamped(stamp) if stamp.sequence < self.expected.load(Relaxed) => {
                    let word = self.word();
                    if word.tail() != self.head() {
                        return Ok(true);
                    }
                    if self.change(word, word.take_to(stamp.number)) {
                        discard(socket)?;
                    }
                }
                First::Nothing => {}
                First::Stamped(_) | First::Other | First::End => return Ok(true),
            }
        }
    }

    /// Lets no messages into the ring any more, if it is empty.
    pub(super) fn detach(&self, socket: &Fd) -> Result<bool, Error> {
        let Some(_turn) = self.receive_turn(socket, Deadline::NOW)? else { return Ok(false) };
        self.settle(socket)?;
        loop {
            let word = self.word();
            if word.tail() != self.head() {
                return Ok(false);
            }
            if self.change(word, word.without(PASSING).with(DETACHED)) {
                return Ok(true);
            }
        }
    }
}

fn discard(socket: &Fd) -> Result<(), Error> {
    peek::discard(socket).map_err(|error| Error::from_io("cannot discard a packet", error))
}

fn empty() -> Error {
    Error::new(ErrorKind::TimedOut, "no message came in time")
}
