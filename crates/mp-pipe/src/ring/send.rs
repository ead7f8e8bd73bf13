//! Sending: into the ring where the receiver looks or the descriptor can be read anyway, else as a packet.

use std::hint;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use mp_wire::socket::Parcel;
use mp_wire::stamped::Stamp;
use mp_wire::{Deadline, Error, ErrorKind, Fd, poll};

use super::lane::{CAPACITY_UNITS, LARGEST, Lane, SMALL_UNITS, Turn, units};
use super::word::{ATTENDING, DETACHED, PROMISED, Word, advance};
use super::{COPIED_PER_NANO, LONG};
use crate::sys;

/// One message in so many looks whether anybody is there.
const LOOK_EVERY: u64 = 64;

/// Longer messages wait in the ring for their packet, where others are in it.
const HOLD: usize = 16 << 10;

/// A message of more than this that goes as a packet has memory of its own, which costs.
const SPILL: usize = 64 << 10;

/// What being woken takes.
const WAKE: Duration = Duration::from_micros(60);

/// How often to look between two looks at the clock.
const LOOKS: u32 = 64;

/// What became of a message that was to go into the ring.
enum Put {
    Done,
    /// There was no room behind this head.
    NoRoom(u32),
    /// It may not go there, or there is no memory for it.
    Refused,
}

impl Lane {
    pub(super) fn send(
        &self,
        socket: &Fd,
        bytes: &[u8],
        fds: &[Fd],
        deadline: Deadline,
    ) -> Result<(), Error> {
        let room = || poll::wait_writable(socket.as_fd(), Deadline::NOW).unwrap_or(true);
        let Some(turn) = self.senders.turn(deadline, room)? else { return Err(full()) };
        if self.ended.load(Relaxed) != 0 {
            return Err(closed());
        }
        if turn.after_death && !cfg!(mp_bug = "pipe_heir_trusts") {
            // Whether its message is there or not, this number is spent.
            self.next.store(self.next.load(Relaxed).wrapping_add(1), Relaxed);
            self.doubt.store(1, Relaxed);
        }
        let sequence = self.next.load(Relaxed);
        let mut held = false;
        if fds.is_empty() && bytes.len() <= LARGEST && self.doubt.load(Relaxed) == 0 {
            if sequence.is_multiple_of(LOOK_EVERY) && sys::is_hung_up(socket.as_fd()) {
                return Err(closed());
            }
            loop {
                match self.put(sequence, bytes, false)? {
                    Put::Done => {
                        self.next.store(sequence.wrapping_add(1), Relaxed);
                        return Ok(());
                    }
                    Put::NoRoom(head) if self.gets_room(head, bytes.len(), deadline) => {}
                    _ => break,
                }
            }
            held = bytes.len() > HOLD && matches!(self.put(sequence, bytes, true)?, Put::Done);
        }
        if held {
            // Nothing can take it back: should its packet not go out, the next message has another number.
            self.next.store(sequence.wrapping_add(1), Relaxed);
            return self.send_packet(&turn, socket, sequence, &[], &[], deadline, true);
        }
        self.send_packet(&turn, socket, sequence, bytes, fds, deadline, false)
    }

    /// Sends no more messages: those that were sent are followed by the end of the stream.
    pub(super) fn end_sending(&self, socket: &Fd) -> io::Result<()> {
        // Not after the flag: killed in between, nobody would send, and the other end would wait.
        sys::shut(socket.as_fd(), Shutdown::Write)?;
        self.ended.store(1, Relaxed);
        Ok(())
    }

    /// Puts a message into the ring, if it may be there and there is room for it. If it is held, it may, but is not
    /// received before its packet.
    #[inline]
    fn put(&self, sequence: u64, bytes: &[u8], held: bool) -> Result<Put, Error> {
        let may_put = |word: Word| if held { !word.has(DETACHED) } else { self.may_put(word) };
        let mut word = self.word();
        if !may_put(word) {
            return Ok(Put::Refused);
        }
        let tail = word.tail();
        let head = self.head();
        let used = self.used(word, head)?;
        let need = units(bytes.len());
        let place = tail % CAPACITY_UNITS;
        let skip = CAPACITY_UNITS - place;
        // Else a ring that is hardly used would touch all of its memory in turn.
        let pads = used == 0 && place >= SMALL_UNITS && skip + need <= CAPACITY_UNITS;
        let pad = if pads { skip } else { 0 };
        let begin = advance(tail, pad);
        if used + pad + need > CAPACITY_UNITS {
            return Ok(Put::NoRoom(head));
        }
        if bytes.len() > LONG {
            // If the word changes meanwhile, that is seen below.
            self.change(word, word.with(PROMISED));
        }
        let write = || {
            self.back(begin, need)?;
            if pads {
                self.back(tail, 1)?;
                self.write_pad(tail)?;
            }
            self.write(begin, sequence, bytes, held && !cfg!(mp_bug = "pipe_held_unmarked"))
        };
        if cfg!(mp_bug = "pipe_commit_first") && !held {
            self.update(|word| word.with_tail(advance(begin, need)));
            return write().map(|()| Put::Done).map_err(|_| full());
        }
        // Without memory for it the message goes as a packet.
        if write().is_err() {
            return Ok(Put::Refused);
        }
        let end = advance(begin, need);
        loop {
            word = self.word();
            if !may_put(word) || word.tail() != tail {
                return Ok(Put::Refused);
            }
            let passing = if held { 0 } else { ATTENDING | PROMISED };
            if self.change(word, word.without(passing).with_tail(end)) {
                return Ok(Put::Done);
            }
        }
    }

    /// Waits for room for a long message as long as the receiver takes others: it has it soon, and memory of its own for a message
    /// costs more than that.
    #[cold]
    fn gets_room(&self, head: u32, len: usize, deadline: Deadline) -> bool {
        if len <= SPILL || deadline == Deadline::NOW || self.stuck.load(Relaxed) == head {
            return false;
        }
        // The receiver may be copying a message as long as this one, and was perhaps asleep.
        let time = Duration::from_nanos(len as u64 / COPIED_PER_NANO) + WAKE;
        let start = Instant::now();
        for looks in 1_u32.. {
            if self.head() != head {
                return true;
            }
            if looks.is_multiple_of(LOOKS) {
                // It may need this processor.
                thread::yield_now();
                if start.elapsed() >= time || deadline.is_past() {
                    break;
                }
            }
            hint::spin_loop();
        }
        // As long as nothing is taken, nobody waits here again.
        self.stuck.store(head, Relaxed);
        false
    }

    /// Says whether a message may go into the ring without a packet: there is a packet, or the receiver looks for it, which
    /// one that has died does not.
    #[inline]
    fn may_put(&self, word: Word) -> bool {
        let attended = || word.has(ATTENDING) && self.receivers.is_taken();
        let found = word.outstanding() || attended() || cfg!(mp_bug = "pipe_unrung");
        found && !word.has(DETACHED)
    }

    #[cold]
    #[expect(clippy::too_many_arguments, reason = "all that a call of send has")]
    fn send_packet(
        &self,
        turn: &Turn<'_>,
        socket: &Fd,
        sequence: u64,
        bytes: &[u8],
        fds: &[Fd],
        deadline: Deadline,
        elsewhere: bool,
    ) -> Result<(), Error> {
        let parcel = Parcel::new(bytes, fds)?;
        loop {
            // First, so that no two packets have the same number, whoever dies.
            let number = self.packets.load(Relaxed).wrapping_add(1);
            self.packets.store(number, Relaxed);
            if parcel.try_send(socket, Some(Stamp { sequence, number, elsewhere }))? {
                self.update(|word| word.count_packet(number));
                self.next.store(sequence.wrapping_add(1), Relaxed);
                self.doubt.store(0, Relaxed);
                return Ok(());
            }
            let ready = turn.wait(|| poll::wait_writable(socket.as_fd(), deadline));
            if !ready.map_err(|error| Error::from_io("cannot wait for room", error))? {
                return Err(full());
            }
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the other end is closed, or this one sends no more")
}

fn full() -> Error {
    Error::new(ErrorKind::TimedOut, "the message was not sent in time")
}
