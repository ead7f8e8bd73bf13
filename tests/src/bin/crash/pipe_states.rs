//! The connections of `mp-pipe` where records cross the end of the ring, where two processes die, where files travel, and where one
//! direction is closed.

use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::Duration;

use mp_pipe::{Connection, Receiver, RecvError, SendError, Sender, pipe, simplex};
use mp_tests::step::{Board, End, Kill, Role, Stop, Victim, watch_first, within_liveness};
use mp_tests::sweep::Verdict;
use mp_wire::Fd;

use crate::channel::{Channel, Outcome, account};
use crate::pipes::{LONG, Pipe, SHORT, WORDS, after_recv, after_send, message, receiving, sending};

/// So many long records fit before the end of the ring; the next one begins before it and ends behind it.
const BEFORE_THE_END: u64 = 255;

/// One whose next long record crosses the end of the ring, with so many more messages; and what is in it.
fn at_the_end(more: u64) -> (Pipe, Vec<u64>) {
    let pipe = Pipe::new();
    let send = |id| pipe.sender.try_send(&message(id, LONG)).expect("there is room");
    send(1001);
    for id in 1002..=1000 + BEFORE_THE_END {
        // Never empty, for then it would begin anew.
        send(id);
        assert_eq!(pipe.recv(), Some(id - 1));
    }
    let last = 1000 + BEFORE_THE_END;
    for id in 1..=more {
        send(last + id);
    }
    (pipe, (last..=last + more).collect())
}

/// The record crosses the end of the ring.
pub(crate) fn send_wrapped(kill: Kill) -> Verdict {
    watch_first(WORDS);
    let (board, (pipe, before)) = (Board::new(), at_the_end(0));
    let stop = sending(&board, &pipe, LONG, kill, || false);
    after_send(Verdict::new(stop), &pipe, &before)
}

/// The message that is received crosses the end of the ring.
pub(crate) fn recv_wrapped(kill: Kill) -> Verdict {
    watch_first(WORDS);
    let (board, (pipe, inside)) = (Board::new(), at_the_end(2));
    assert_eq!(pipe.recv(), Some(inside[0]));
    let stop = receiving(&board, &pipe, kill, || false);
    after_recv(Verdict::new(stop), &board, &pipe, &inside[1..])
}

/// The first message of a connection that is full, with a sender asleep behind it.
pub(crate) fn recv_from_full(kill: Kill) -> Verdict {
    watch_first(WORDS);
    let (board, pipe) = (Board::new(), Pipe::new());
    let mut ids = Vec::new();
    loop {
        let id = 1000 + ids.len() as u64;
        match pipe.sender.try_send(&message(id, LONG)) {
            Ok(()) => ids.push(id),
            Err(SendError::Full) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    let slot = board.slot(0);
    let sender = Role::fork(|| {
        slot.ready();
        slot.done(i64::from(pipe.sender.send(&message(50, LONG)).is_err()));
    });
    sender.await_asleep(slot);
    let stop = receiving(&board, &pipe, kill, || false);
    let mut verdict = Verdict::new(stop);
    let got = board.slot(7).noted();
    let mut seen = Vec::new();
    let ended = within_liveness(|| {
        seen.extend(pipe.recv());
        slot.is_done()
    });
    verdict.progress(ended, "the sender behind");
    seen.extend(pipe.drain(&mut verdict));
    ids.push(50);
    let completed = stop.end == End::Completed;
    let whole = seen == ids[1..] || (!completed && seen == ids);
    if !whole || (completed && got != ids[..1]) {
        verdict.lost = true;
        verdict.note.push_str(&format!("seen {} of {}, got {got:?}", seen.len(), ids.len()));
    }
    verdict
}

/// After so many events of its own the first of two dies.
const FIRST_DEATHS: [u64; 4] = [2, 4, 6, 9];

fn send_in_victim(board: &Board, pipe: &Pipe, id: u64, kill: Kill) -> Stop {
    let message = message(id, SHORT);
    let send = |()| pipe.sender.send(&message).expect("it is sent");
    Victim::start(board, || (), send).run(kill, || false)
}

/// Two deaths: a sender that comes after a dead one is killed, too. What was there goes on in order.
fn send_heirs(kill: Kill, before: &[u64]) -> Verdict {
    let mut longest: Option<Verdict> = None;
    for events in FIRST_DEATHS {
        let (board, pipe) = (Board::new(), Pipe::with(before, SHORT));
        let first = send_in_victim(&board, &pipe, 6, Kill::AfterEvents(events));
        let stop = send_in_victim(&board, &pipe, 7, kill);
        let mut verdict = Verdict::new(stop);
        verdict.hang |= !pipe.send(8) || !pipe.send(9);
        let seen = pipe.drain(&mut verdict);
        let mut must = before.to_vec();
        for (id, stop) in [(6, first), (7, stop)] {
            if stop.end == End::Completed || seen.contains(&id) {
                must.push(id);
            }
        }
        must.extend([8, 9]);
        account(&mut verdict, &seen, &must, &[]);
        verdict.lost |= seen != must;
        if verdict.hang || verdict.torn || verdict.lost || verdict.doubled {
            verdict.note.push_str(&format!("the first died after {events} events; "));
            return verdict;
        }
        if longest.as_ref().is_none_or(|known| known.stop.steps < stop.steps) {
            longest = Some(verdict);
        }
    }
    longest.expect("a trial")
}

/// Into an empty connection, after a sender died there.
pub(crate) fn send_as_heir(kill: Kill) -> Verdict {
    send_heirs(kill, &[])
}

/// Behind others, after a sender died there.
pub(crate) fn send_behind_others_as_heir(kill: Kill) -> Verdict {
    send_heirs(kill, &[1, 2, 3])
}

/// Two deaths: a receiver that comes after a dead one is killed, too. Each has taken the next message or none.
pub(crate) fn recv_as_heir(kill: Kill) -> Verdict {
    let mut longest: Option<Verdict> = None;
    for events in FIRST_DEATHS {
        let (board, pipe) = (Board::new(), Pipe::with(&[1, 2, 3, 4], SHORT));
        let _ = receiving(&board, &pipe, Kill::AfterEvents(events), || false);
        let stop = receiving(&board, &pipe, kill, || false);
        let mut verdict = Verdict::new(stop);
        let seen = pipe.drain(&mut verdict);
        account(&mut verdict, &seen, &[3, 4], &[1, 2]);
        let in_order = seen.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        verdict.lost |= !in_order || !seen.ends_with(&[3, 4]);
        verdict.doubled |= board.slot(7).noted().iter().any(|id| seen.contains(id));
        verdict.hang |= !pipe.send(8) || !pipe.send(9);
        verdict.lost |= pipe.drain(&mut verdict) != [8, 9];
        if verdict.hang || verdict.torn || verdict.lost || verdict.doubled {
            verdict.note.push_str(&format!("the first died after {events} events; "));
            return verdict;
        }
        if longest.as_ref().is_none_or(|known| known.stop.steps < stop.steps) {
            longest = Some(verdict);
        }
    }
    longest.expect("a trial")
}

type Filed = (u64, Option<Fd>);

/// A message, of which each second one has a file.
fn filed(id: u64) -> Filed {
    let file = || {
        Fd::from(
            std::fs::File::open("/dev/null")
                .expect("a file")
                .as_fd()
                .try_clone_to_owned()
                .expect("a descriptor"),
        )
    };
    (id, id.is_multiple_of(2).then(file))
}

/// Takes all there is; each has its file.
fn drain_filed(receiver: &Receiver<Filed>, verdict: &mut Verdict) -> Vec<u64> {
    let mut seen = Vec::new();
    loop {
        match receiver.try_recv() {
            Ok((id, file)) => {
                verdict.torn |= file.is_some() != id.is_multiple_of(2);
                seen.push(id);
            }
            Err(RecvError::Empty) => return seen,
            Err(error) => {
                verdict.torn = true;
                verdict.note.push_str(&format!("{error:?}; "));
                return seen;
            }
        }
    }
}

fn filed_with(ids: &[u64]) -> (Sender<Filed>, Receiver<Filed>) {
    let (sender, receiver) = simplex().expect("a pipe");
    for &id in ids {
        sender.try_send(&filed(id)).expect("there is room");
    }
    (sender, receiver)
}

/// A message with a file goes as a packet, though others are in the ring.
pub(crate) fn send_with_file(kill: Kill) -> Verdict {
    let (board, before) = (Board::new(), [1, 3, 5]);
    let (sender, receiver) = filed_with(&before);
    let message = filed(6);
    let send = |()| sender.send(&message).expect("it is sent");
    let stop = Victim::start(&board, || (), send).run(kill, || false);
    let mut verdict = Verdict::new(stop);
    for id in [7, 8, 9] {
        verdict.hang |= sender.try_send(&filed(id)).is_err();
    }
    let seen = drain_filed(&receiver, &mut verdict);
    let mut must = before.to_vec();
    if stop.end == End::Completed || seen.contains(&6) {
        must.push(6);
    }
    must.extend([7, 8, 9]);
    verdict.lost |= seen != must;
    verdict
}

/// The packet of a message with a file is received between two records.
pub(crate) fn recv_with_file(kill: Kill) -> Verdict {
    let (board, ids) = (Board::new(), [1, 2, 3]);
    let (sender, receiver) = filed_with(&ids);
    let (first, _) = receiver.recv().expect("a message");
    assert_eq!(first, 1);
    let slot = board.slot(7);
    let recv = |()| {
        let (id, file) = receiver.recv().expect("a message");
        slot.note(if file.is_some() { id } else { 99 });
    };
    let stop = Victim::start(&board, || (), recv).run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let seen = drain_filed(&receiver, &mut verdict);
    let completed = stop.end == End::Completed;
    verdict.lost |= !(seen == [3] || (!completed && seen == [2, 3]));
    verdict.torn |= completed && slot.noted() != [2];
    for id in [4, 5, 6] {
        verdict.hang |= sender.try_send(&filed(id)).is_err();
    }
    verdict.lost |= drain_filed(&receiver, &mut verdict) != [4, 5, 6];
    verdict
}

/// One direction is closed while somebody waits for its messages; or is not, and then another one can.
pub(crate) fn shutdown_with_sleeper(kill: Kill) -> Verdict {
    let board = Board::new();
    let (a, b): (Connection<u64>, Connection<u64>) = pipe().expect("a pipe");
    let slot = board.slot(0);
    let receiver = Role::fork(|| {
        slot.ready();
        slot.done(i64::from(!matches!(b.recv(), Err(RecvError::Closed))));
    });
    receiver.await_asleep(slot);
    let close = |()| a.shutdown(Shutdown::Write).expect("it is closed");
    let stop = Victim::start(&board, || (), close).run(kill, || false);
    let mut verdict = Verdict::new(stop);
    if stop.end != End::Completed {
        a.shutdown(Shutdown::Write).expect("it is closed");
    }
    verdict.progress(within_liveness(|| slot.is_done()), "the receiver");
    verdict.lost |= !matches!(a.send(&1), Err(SendError::Closed));
    verdict.lost |= !matches!(b.recv(), Err(RecvError::Closed));
    // The other direction is as it was.
    verdict.hang |= b.try_send(&2).is_err() || !matches!(a.try_recv(), Ok(2));
    verdict
}

/// A connection as a channel without a bound, for histories; each fifth message waits in the ring for its packet.
pub(crate) struct TestPipe(Pipe);

impl Channel for TestPipe {
    fn make(_: Option<usize>) -> Self {
        Self(Pipe::new())
    }

    fn put(&self, id: u64, _: Option<Duration>) -> Outcome {
        let copies = if id.is_multiple_of(5) { LONG } else { SHORT };
        match self.0.sender.try_send(&message(id, copies)) {
            Ok(()) => Outcome::Done(id),
            Err(SendError::Full) => Outcome::TimedOut,
            Err(_) => Outcome::Failed,
        }
    }

    fn get(&self, _: Option<Duration>) -> Outcome {
        match self.0.try_recv() {
            Ok(id) => Outcome::Done(id),
            Err(RecvError::Empty) => Outcome::TimedOut,
            Err(_) => Outcome::Failed,
        }
    }

    fn len(&self) -> usize {
        unreachable!("a connection does not count its messages")
    }

    fn close(&self) {
        unreachable!("all have both ends")
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn sequence(&self) -> Option<u64> {
        None
    }
}
