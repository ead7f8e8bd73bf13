//! The connections of `mp-pipe`: sending and receiving beside others who share the end.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering::SeqCst;

use mp_pipe::{Receiver, RecvError, SendError, Sender, simplex};
use mp_shared::segment::Segment;
use mp_tests::step::{
    Board, End, Kill, LIVENESS, Role, Slot, Stop, Victim, watch_first, within_liveness,
};
use mp_tests::sweep::Verdict;
use mp_wire::{Deadline, poll};

use crate::channel::{TORN, account};

/// A message that goes as a packet or in the ring.
pub(crate) const SHORT: usize = 16;

/// A message that waits in the ring for its packet.
pub(crate) const LONG: usize = 4100;

/// What lies before the records in the memory of a connection.
pub(crate) const WORDS: usize = 4032;

/// Both ends; every forked process has both, so that nobody sees the end of the stream.
pub(crate) struct Pipe {
    pub(crate) sender: Sender<String>,
    pub(crate) receiver: Receiver<String>,
}

/// The message of an id: the id, many times over.
pub(crate) fn message(id: u64, copies: usize) -> String {
    format!("{id:04}").repeat(copies)
}

fn id(message: &str) -> u64 {
    let id = message.get(..4).and_then(|id| id.parse().ok()).unwrap_or(TORN);
    // Each copy is the one before: in few steps, for a victim does this, too.
    let bytes = message.as_bytes();
    let whole = bytes.len() >= 4 && bytes[4..] == bytes[..bytes.len() - 4];
    if whole && [SHORT * 4, LONG * 4].contains(&message.len()) { id } else { TORN }
}

impl Pipe {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = simplex().expect("a pipe");
        Self { sender, receiver }
    }

    /// One with these messages in it.
    pub(crate) fn with(ids: &[u64], copies: usize) -> Self {
        let pipe = Self::new();
        pipe.skip_what_is_watched();
        for &id in ids {
            pipe.sender.try_send(&message(id, copies)).expect("there is room");
        }
        pipe
    }

    /// What comes next in the ring is so far behind that writing it is not an event for each of its words.
    fn skip_what_is_watched(&self) {
        for id in 1..6 {
            self.sender.try_send(&message(id, LONG)).expect("there is room");
            assert_eq!(self.recv(), Some(id));
        }
    }

    pub(crate) fn send(&self, id: u64) -> bool {
        self.sender.send_timeout(&message(id, SHORT), LIVENESS).is_ok()
    }

    pub(crate) fn recv(&self) -> Option<u64> {
        self.try_recv().ok()
    }

    pub(crate) fn try_recv(&self) -> Result<u64, RecvError> {
        self.receiver.try_recv().map(|message| id(&message))
    }

    fn readable(&self) -> bool {
        poll::wait_readable(self.receiver.as_fd(), Deadline::NOW).expect("a descriptor")
    }

    /// Takes all that is there. The descriptor is readable as long as there is something.
    pub(crate) fn drain(&self, verdict: &mut Verdict) -> Vec<u64> {
        let mut seen = Vec::new();
        let mut take = || loop {
            let readable = self.readable();
            match self.receiver.try_recv() {
                Ok(message) => {
                    seen.push(id(&message));
                    if !readable {
                        verdict.lost = true;
                        verdict.note.push_str("a message that nobody could know of; ");
                    }
                }
                Err(RecvError::Empty) => return true,
                Err(error) => {
                    verdict.torn = true;
                    verdict.note.push_str(&format!("{error:?}; "));
                    return false;
                }
            }
        };
        let ended = within_liveness(&mut take);
        verdict.progress(ended, "who drains");
        if self.readable() {
            verdict.doubled = true;
            verdict.note.push_str("readable for nothing; ");
        }
        seen
    }
}

fn warm_up() {
    let pipe = Pipe::new();
    for copies in [SHORT, SHORT, LONG, LONG] {
        pipe.sender.try_send(&message(1, copies)).expect("there is room");
    }
    while pipe.recv().is_some() {}
}

fn receiver(pipe: &Pipe, slot: &Slot) -> Role {
    let role = Role::fork(|| {
        slot.ready();
        receive(pipe, slot);
    });
    role.await_asleep(slot);
    role
}

pub(crate) fn receive(pipe: &Pipe, slot: &Slot) {
    let result = pipe.receiver.recv();
    if let Ok(message) = &result {
        slot.note(id(message));
    }
    slot.done(i64::from(result.is_err()));
}

/// Runs a send in a victim.
pub(crate) fn sending(
    board: &Board,
    pipe: &Pipe,
    copies: usize,
    kill: Kill,
    on_sleep: impl FnMut() -> bool,
) -> Stop {
    let message = message(7, copies);
    Victim::start(board, warm_up, |()| pipe.sender.send(&message).expect("it is sent"))
        .run(kill, on_sleep)
}

/// Runs a receive in a victim.
pub(crate) fn receiving(
    board: &Board,
    pipe: &Pipe,
    kill: Kill,
    on_sleep: impl FnMut() -> bool,
) -> Stop {
    Victim::start(board, warm_up, |()| receive(pipe, board.slot(7))).run(kill, on_sleep)
}

/// What holds after a send behind these messages, done or not.
pub(crate) fn after_send(mut verdict: Verdict, pipe: &Pipe, before: &[u64]) -> Verdict {
    let completed = verdict.stop.end == End::Completed;
    let told = pipe.readable();
    verdict.lost |= !told && (completed || !before.is_empty());
    if !told && let Some(id) = pipe.recv() {
        verdict.lost = true;
        verdict.note.push_str(&format!("nobody was told of {id}; "));
    }
    // Twice, for the first one after a death goes another way.
    verdict.hang |= !pipe.send(8) || !pipe.send(9);
    let seen = pipe.drain(&mut verdict);
    let mut must = before.to_vec();
    if completed || seen.contains(&7) {
        must.push(7);
    }
    must.extend([8, 9]);
    account(&mut verdict, &seen, &must, &[]);
    verdict.lost |= seen != must;
    verdict.hang |= !pipe.send(10) || pipe.recv() != Some(10);
    verdict
}

fn send_after(kill: Kill, before: &[u64], copies: usize) -> Verdict {
    let (board, pipe) = (Board::new(), Pipe::with(before, SHORT));
    let stop = sending(&board, &pipe, copies, kill, || false);
    after_send(Verdict::new(stop), &pipe, before)
}

/// The message is a packet.
pub(crate) fn send_alone(kill: Kill) -> Verdict {
    send_after(kill, &[], SHORT)
}

/// The message goes into the ring, for a packet lies in the socket.
pub(crate) fn send_behind_others(kill: Kill) -> Verdict {
    send_after(kill, &[1, 2, 3], SHORT)
}

/// The message waits in the ring for its packet.
pub(crate) fn send_long(kill: Kill) -> Verdict {
    watch_first(WORDS);
    send_after(kill, &[], LONG)
}

/// The message goes into the ring, for somebody says that it looks.
pub(crate) fn send_to_one_who_attends(kill: Kill) -> Verdict {
    const ATTENDING: u64 = 1;
    let (board, pipe) = (Board::new(), Pipe::new());
    // With one core nobody looks for long, so we say it for a receiver: its lock and its invitation.
    let fds = mp_wire::encode(&pipe.receiver).expect("an end travels").fds;
    let kind = u32::from_le_bytes(*b"pipe");
    let segment = fds.into_iter().find_map(|fd| Segment::attach(fd, kind).ok()).expect("a ring");
    let word = segment.atomic_u64(0).expect("the word");
    let lock = segment.atomic_u32(128).expect("the lock");
    lock.store(std::process::id(), SeqCst);
    word.fetch_or(ATTENDING, SeqCst);
    let stop = sending(&board, &pipe, SHORT, kill, || false);
    let mut verdict = Verdict::new(stop);
    // The receiver sees that the word has changed, or goes to sleep.
    let accepted = word.load(SeqCst) & ATTENDING == 0;
    verdict.lost |= verdict.stop.end == End::Completed && !accepted;
    word.fetch_and(!ATTENDING, SeqCst);
    lock.store(0, SeqCst);
    let mut seen = Vec::new();
    if accepted {
        seen.extend(pipe.recv());
        verdict.lost |= seen != [7];
    }
    let mut verdict = after_send_of(verdict, &pipe);
    verdict.doubled |= seen.len() > 1;
    verdict
}

/// What holds when the message of the victim has been received, or is not to come.
fn after_send_of(mut verdict: Verdict, pipe: &Pipe) -> Verdict {
    verdict.hang |= !pipe.send(8) || !pipe.send(9);
    let seen = pipe.drain(&mut verdict);
    account(&mut verdict, &seen, &[8, 9], &[]);
    verdict.lost |= seen != [8, 9];
    verdict
}

/// One of two who sleep gets the message.
pub(crate) fn send_to_sleepers(kill: Kill) -> Verdict {
    to_sleepers(kill, SHORT)
}

/// One of two who sleep gets the message, which waits in the ring for its packet.
pub(crate) fn send_long_to_sleepers(kill: Kill) -> Verdict {
    watch_first(WORDS);
    to_sleepers(kill, LONG)
}

fn to_sleepers(kill: Kill, copies: usize) -> Verdict {
    let (board, pipe) = (Board::new(), Pipe::with(&[], SHORT));
    let slots = [board.slot(0), board.slot(1)];
    let _receivers = slots.map(|slot| receiver(&pipe, slot));
    let stop = sending(&board, &pipe, copies, kill, || false);
    let mut verdict = Verdict::new(stop);
    let done = || slots.iter().filter(|slot| slot.is_done()).count();
    let mut must = vec![];
    if stop.end == End::Completed {
        verdict.progress(within_liveness(|| done() == 1), "the receiver of a completed send");
        must.push(7);
    }
    for id in [8, 9, 10] {
        verdict.hang |= !pipe.send(id);
        must.push(id);
    }
    verdict.progress(within_liveness(|| done() == 2), "a receiver");
    let mut seen: Vec<u64> = slots.iter().flat_map(|slot| slot.noted()).collect();
    seen.extend(pipe.drain(&mut verdict));
    account(&mut verdict, &seen, &must, &[7]);
    verdict
}

/// A sender that waits for room, with another behind it, dies before, while or after there is some.
pub(crate) fn send_into_full(kill: Kill) -> Verdict {
    let (board, pipe) = (Board::new(), Pipe::new());
    let mut full = 0;
    loop {
        match pipe.sender.try_send(&message(1000 + full % 1000, LONG)) {
            Ok(()) => full += 1,
            Err(SendError::Full) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    let slot = board.slot(0);
    let mut taken = 0;
    let mut follower = None;
    let follow = |follower: &mut Option<Role>| {
        let role = Role::fork(|| {
            slot.ready();
            let sent = pipe.sender.send(&message(50, SHORT));
            slot.done(i64::from(sent.is_err()));
        });
        *follower = Some(role);
    };
    let stop = sending(&board, &pipe, LONG, kill, || {
        if follower.is_some() {
            return false;
        }
        follow(&mut follower);
        // Half of it, for the socket says that there is room when most of it is free.
        while taken < full && pipe.recv() == Some(1000 + taken % 1000) {
            taken += 1;
        }
        true
    });
    let mut verdict = Verdict::new(stop);
    if follower.is_none() {
        follow(&mut follower);
    }
    let mut seen = Vec::new();
    let ended = within_liveness(|| {
        seen.extend(pipe.recv());
        slot.is_done()
    });
    verdict.progress(ended, "the sender behind");
    seen.extend(pipe.drain(&mut verdict));
    let before: Vec<u64> = (taken..full).map(|number| 1000 + number % 1000).collect();
    let mut must = before;
    if stop.end == End::Completed || seen.contains(&7) {
        must.push(7);
    }
    must.push(50);
    verdict.lost |= seen != must && seen.len() < must.len();
    verdict.torn |= seen.contains(&TORN);
    verdict.doubled |= seen.len() > must.len();
    if seen != must {
        verdict.lost = true;
        verdict.note.push_str(&format!("seen {} of {}", seen.len(), must.len()));
    }
    verdict
}

/// What holds after a receive, done or not, of the first of these messages.
pub(crate) fn after_recv(mut verdict: Verdict, board: &Board, pipe: &Pipe, ids: &[u64]) -> Verdict {
    let got = board.slot(7).noted();
    // Before anybody has received anything: whoever only looks at the descriptor must be told of the next message.
    verdict.hang |= !pipe.send(19);
    if !pipe.readable() {
        verdict.lost = true;
        verdict.note.push_str("a message after a death that nobody is told of; ");
    }
    let mut seen = pipe.drain(&mut verdict);
    verdict.lost |= seen.pop() != Some(19);
    // Killed, it has taken one message or none.
    let left = &ids[1..];
    if verdict.stop.end == End::Completed {
        verdict.lost |= got != ids[..1] || seen != left;
    } else {
        verdict.lost |= seen != ids && seen != left;
    }
    account(&mut verdict, &seen, left, &ids[..1]);
    for id in [20, 21, 22] {
        verdict.hang |= !pipe.send(id);
    }
    let seen = pipe.drain(&mut verdict);
    verdict.lost |= seen != [20, 21, 22];
    verdict
}

fn recv_of(kill: Kill, before: usize, ids: &[u64], copies: usize) -> Verdict {
    let (board, pipe) = (Board::new(), Pipe::with(ids, copies));
    for &id in &ids[..before] {
        assert_eq!(pipe.recv(), Some(id));
    }
    let stop = receiving(&board, &pipe, kill, || false);
    after_recv(Verdict::new(stop), &board, &pipe, &ids[before..])
}

/// The message is a packet.
pub(crate) fn recv_of_one(kill: Kill) -> Verdict {
    recv_of(kill, 0, &[1], SHORT)
}

/// The message is a packet that stays, for there are others in the ring.
pub(crate) fn recv_of_three(kill: Kill) -> Verdict {
    recv_of(kill, 0, &[1, 2, 3], SHORT)
}

/// The message is in the ring, and is not the last.
pub(crate) fn recv_from_the_ring(kill: Kill) -> Verdict {
    recv_of(kill, 1, &[1, 2, 3], SHORT)
}

/// The message is the last of the ring, and the packet that stayed goes with it.
pub(crate) fn recv_of_the_last(kill: Kill) -> Verdict {
    recv_of(kill, 2, &[1, 2, 3], SHORT)
}

/// The message waits in the ring, and its packet is there.
pub(crate) fn recv_long(kill: Kill) -> Verdict {
    recv_of(kill, 0, &[1, 2], LONG)
}

/// One who waits, with another behind it, dies before, while or after a message comes.
pub(crate) fn recv_as_leader(kill: Kill) -> Verdict {
    let (board, pipe) = (Board::new(), Pipe::new());
    let slot = board.slot(0);
    let mut follower = None;
    let stop = receiving(&board, &pipe, kill, || {
        if follower.is_some() {
            return false;
        }
        follower = Some(receiver(&pipe, slot));
        pipe.send(5)
    });
    let mut verdict = Verdict::new(stop);
    let sent = follower.is_some();
    let _follower = follower.unwrap_or_else(|| receiver(&pipe, slot));
    verdict.hang |= !pipe.send(9);
    verdict.progress(within_liveness(|| slot.is_done()), "the one behind");
    let mut seen = slot.noted();
    seen.extend(pipe.drain(&mut verdict));
    seen.extend(board.slot(7).noted());
    let must: &[u64] = if sent && stop.end == End::Completed { &[5, 9] } else { &[9] };
    account(&mut verdict, &seen, must, &[5]);
    verdict
}

/// One who waits behind another dies; the other gets the next message.
pub(crate) fn recv_as_follower(kill: Kill) -> Verdict {
    let (board, pipe) = (Board::new(), Pipe::new());
    let slot = board.slot(0);
    let _leader = receiver(&pipe, slot);
    let stop = receiving(&board, &pipe, kill, || false);
    let mut verdict = Verdict::new(stop);
    verdict.hang |= !pipe.send(9);
    verdict.progress(within_liveness(|| slot.is_done()), "the leader");
    account(&mut verdict, &slot.noted(), &[9], &[]);
    verdict
}
