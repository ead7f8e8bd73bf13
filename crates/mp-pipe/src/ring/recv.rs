//! Receiving: the message with the lowest number, out of the ring or the socket.

use std::hint;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use mp_wire::stamped::{self, Arrived, First};
use mp_wire::{Deadline, Error, ErrorKind, Fd, Limits, Spin, peek, poll};

use super::COPIED_PER_NANO;
use super::lane::{Lane, Place, Record, Turn, corrupt};
use super::word::{ATTENDING, DETACHED, GRABBING, PROMISED, Word, advance};
use crate::inbox::{Inbox, Target};
use crate::sys;

/// How long to look for a message that a sender is copying.
const PROMISE: Duration = Duration::from_millis(2);

/// How often to look before letting others run. Most answers come earlier.
const YIELD_EVERY: u32 = 64;

/// What came of looking at the ring.
enum Step {
    Received,
    Again,
    /// The first message waits for its packet.
    NotYet,
}

const PASSING: u64 = ATTENDING | PROMISED;

impl Lane {
    /// Receives a message into `inbox`, which has none yet.
    pub(super) fn recv(
        &self,
        socket: &Fd,
        inbox: &mut Inbox<'_>,
        limits: Limits,
        deadline: Deadline,
        spin: &Spin,
        long: &AtomicUsize,
    ) -> Result<(), Error> {
        let Some(turn) = self.receive_turn(socket, deadline)? else { return Err(empty()) };
        let mut looked = deadline == Deadline::NOW;
        loop {
            let word = self.word();
            let head = self.head();
            let used = self.used(word, head)?;
            if used > 0 {
                match self.recv_ring(socket, inbox, limits, head, used)? {
                    Step::Received => return Ok(()),
                    Step::Again => continue,
                    Step::NotYet => {}
                }
            }
            if !looked && !word.outstanding() && self.unsure.load(Relaxed) == 0 {
                looked = true;
                if self.change(word, word.with(ATTENDING)) {
                    self.attend(deadline, spin, long);
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
            self.let_go(word, &arrived);
            match arrived {
                // The sender may have put something into the ring before it went.
                Err(error) if error.kind() == ErrorKind::Closed && !self.is_empty() => {}
                Err(error) => return Err(error),
                Ok(None) if word.outstanding() && deadline != Deadline::NOW => {}
                Ok(None) => return Err(empty()),
                Ok(Some(arrived)) => {
                    if self.is_new(&arrived) && self.accept(arrived, limits, inbox)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Takes no more packets unseen: those that are in the socket count again, so that whoever comes next knows of them.
    fn let_go(&self, before: Word, arrived: &Result<Option<Arrived>, Error>) {
        let last = match arrived {
            Ok(Some((Some(stamp), _))) => stamp.number,
            // A stranger's packet says nothing of others.
            Ok(Some((None, _))) => return self.unsure.store(1, Relaxed),
            // There was nothing, so what was counted before is gone; and what was taken before it was counted.
            Ok(None) | Err(_) => before.take_all().taken(),
        };
        self.update(|word| word.without(GRABBING).with_taken(last));
        self.unsure.store(0, Relaxed);
    }

    fn receive_turn(&self, socket: &Fd, deadline: Deadline) -> Result<Option<Turn<'_>>, Error> {
        let cause = || {
            let ready = poll::wait_readable(socket.as_fd(), Deadline::NOW);
            ready.unwrap_or(true) || !self.is_empty()
        };
        let turn = self.receivers.turn(deadline, cause)?;
        if turn.as_ref().is_some_and(|turn| turn.after_death) {
            // The one who attended, or grabbed, is no more.
            self.unsure.store(1, Relaxed);
            self.update(|word| word.without(PASSING | GRABBING));
        }
        Ok(turn)
    }

    /// Looks at the word for a while.
    fn attend(&self, deadline: Deadline, spin: &Spin, long: &AtomicUsize) {
        let came = || {
            let word = self.word();
            !word.has(ATTENDING) || word.has(PROMISED)
        };
        let mut looks = 0_u32;
        let bounded = deadline != Deadline::NEVER;
        spin.until(|| {
            if came() {
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
        if !self.word().has(PASSING) {
            return;
        }
        let start = Instant::now();
        // The other side may be copying what we sent, or what it sends.
        let time = Duration::from_nanos(long.load(Relaxed) as u64 / COPIED_PER_NANO);
        while !came() && start.elapsed() < time && !deadline.is_past() {
            hint::spin_loop();
        }
        while self.word().has(PROMISED) && start.elapsed() < PROMISE && !deadline.is_past() {
            hint::spin_loop();
        }
        // Whoever sends from here on must ring. The invitation that was accepted is gone already.
        loop {
            let word = self.word();
            if !word.has(PASSING) || self.change(word, word.without(PASSING)) {
                return;
            }
        }
    }

    /// The ring is not empty: receives its first message, or one from the socket that comes before.
    #[inline]
    fn recv_ring(
        &self,
        socket: &Fd,
        inbox: &mut Inbox<'_>,
        limits: Limits,
        head: u32,
        used: u32,
    ) -> Result<Step, Error> {
        // A message behind a gap can be one that is held, so the gap stays until that is received.
        let (place, used) = match self.first(head, used)? {
            Record::Message(place) => (place, used),
            Record::Pad(units) if units == used => return Err(corrupt()),
            Record::Pad(units) => match self.first(advance(head, units), used - units)? {
                Record::Message(place) => (place, used - units),
                Record::Pad(_) => return Err(corrupt()),
            },
        };
        if place.held {
            return self.recv_held(socket, inbox, limits, place, used);
        }
        if place.sequence != self.expected.load(Relaxed)
            && let Some(arrived) = self.packet_up_to(socket, limits, place.sequence)?
        {
            let received = self.accept(arrived, limits, inbox)?;
            return Ok(if received { Step::Received } else { Step::Again });
        }
        let result = self.take_record(place, limits, inbox);
        self.settle(socket)?;
        result.map(|()| Step::Received)
    }

    /// The first message of the ring is there if its packet is.
    #[cold]
    fn recv_held(
        &self,
        socket: &Fd,
        inbox: &mut Inbox<'_>,
        limits: Limits,
        place: Place,
        used: u32,
    ) -> Result<Step, Error> {
        if let Some(arrived) = self.packet_up_to(socket, limits, place.sequence)? {
            let result = self.accept(arrived, limits, inbox);
            self.settle(socket)?;
            return result.map(|received| if received { Step::Received } else { Step::Again });
        }
        let passed = match stamped::look(socket)? {
            First::Stamped(stamp) => stamp.sequence > place.sequence,
            _ => false,
        };
        // What was behind it before we looked for its packet was put there later than that was sent.
        if passed || used > place.units || place.sequence < self.expected.load(Relaxed) {
            // Its sender died before it could send the packet, or its receiver when it had taken it.
            self.set_head(advance(place.head, place.units));
            return Ok(Step::Again);
        }
        Ok(Step::NotYet)
    }

    /// Takes a message out of the ring: it is the caller's, or too long.
    #[inline]
    fn take_record(
        &self,
        place: Place,
        limits: Limits,
        inbox: &mut Inbox<'_>,
    ) -> Result<(), Error> {
        let result = if place.len <= limits.bytes {
            let read = inbox.fill(place.len, |target| match target {
                Target::Slice(slice) => self.read_into(&place, slice),
                Target::Vector(vector) => self.read(&place, vector),
            });
            read.map_err(|error| {
                Error::from_io("no memory for the message", io::Error::other(error))
            })
        } else {
            let len = place.len;
            let what = format!("a message of {len} bytes is over the limit and was discarded");
            Err(Error::new(ErrorKind::TooLarge, what))
        };
        self.set_head(advance(place.head, place.units));
        self.expected.store(place.sequence.wrapping_add(1), Relaxed);
        result
    }

    /// Receives the packet whose message comes before that of the first record, or is that one, if there is one.
    #[cold]
    fn packet_up_to(
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
            if new && stamp.sequence > sequence {
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
            if cfg!(mp_bug = "pipe_discard_first") {
                self.clear(socket, word)?;
                self.update(Word::take_all);
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
                self.update(|word| word.with_taken(stamp.number.wrapping_sub(1)));
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

    /// Takes over what arrived: from here on it has been received. `false` if it had been before.
    fn accept(
        &self,
        (stamp, arrived): Arrived,
        limits: Limits,
        inbox: &mut Inbox<'_>,
    ) -> Result<bool, Error> {
        if let Some(stamp) = stamp {
            if stamp.elsewhere {
                return self.accept_held(stamp.sequence, limits, inbox);
            }
            self.expected.store(stamp.sequence.wrapping_add(1), Relaxed);
        }
        inbox.put(arrived?);
        Ok(true)
    }

    /// The packet of a message in the ring has come: takes it. What is in front of it never became a message.
    fn accept_held(
        &self,
        sequence: u64,
        limits: Limits,
        inbox: &mut Inbox<'_>,
    ) -> Result<bool, Error> {
        loop {
            let head = self.head();
            let used = self.used(self.word(), head)?;
            match if used > 0 { Some(self.first(head, used)?) } else { None } {
                Some(Record::Pad(units)) => self.set_head(advance(head, units)),
                Some(Record::Message(place)) if place.held && place.sequence == sequence => {
                    return self.take_record(place, limits, inbox).map(|()| true);
                }
                Some(Record::Message(place)) if place.held && place.sequence < sequence => {
                    self.set_head(advance(place.head, place.units));
                }
                _ => {
                    // Whoever took it died before it could say so.
                    self.expected.store(sequence.wrapping_add(1), Relaxed);
                    return Ok(false);
                }
            }
        }
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
                    if self.is_empty() && self.change(word, word.take_to(stamp.number)) {
                        discard(socket)?;
                    }
                }
                First::Nothing => {}
                First::Stamped(_) | First::Other | First::End => return Ok(true),
            }
        }
    }

    /// Takes no more messages: what has come is thrown away, and who sends is told.
    pub(super) fn end_receiving(&self, socket: &Fd) -> io::Result<()> {
        // From here on each message is a packet, which the socket refuses.
        self.update(|word| word.without(PASSING).with(DETACHED));
        sys::shut(socket.as_fd(), Shutdown::Read)?;
        // Who waits for room is woken by packets that go. A receiver that is at work takes them itself.
        if let Ok(Some(_turn)) = self.receive_turn(socket, Deadline::NOW) {
            sys::throw_away(socket.as_fd());
            let word = self.word();
            self.set_head(word.tail());
            self.update(Word::take_all);
        }
        Ok(())
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
