//! Putting, getting and closing: scenarios that hold for each kind of channel.

use std::time::Duration;

use mp_tests::step::{Board, End, Kill, LIVENESS, Role, Slot, Stop, Victim, within_liveness};
use mp_tests::sweep::Verdict;

/// A channel whose storage grows.
pub(crate) trait Grows: Channel {
    /// After how many messages the next one goes into other storage.
    fn fill_to_growth() -> usize;
}

/// What a put or a get came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done; a get gives the message's id, or `TORN`.
    Done(u64),
    /// The deadline passed.
    TimedOut,
    /// The channel is closed.
    Closed,
    /// It failed otherwise.
    Failed,
}

/// The id of a message that does not agree with itself.
pub(crate) const TORN: u64 = u64::MAX;

const SOON: Option<Duration> = Some(LIVENESS);
const NOW: Option<Duration> = Some(Duration::ZERO);

/// A channel under test. Its handle works in forked processes.
pub(crate) trait Channel: Sized {
    /// How far the first of two victims comes: after so many of its events, which differ from kind to kind.
    const FIRST_DEATHS: &[u64] = &[2, 3, 4, 5, 7, 9];

    /// Makes one that holds `bound` messages, or any number.
    fn make(bound: Option<usize>) -> Self;
    /// Puts message `id`.
    fn put(&self, id: u64, timeout: Option<Duration>) -> Outcome;
    /// Takes a message.
    fn get(&self, timeout: Option<Duration>) -> Outcome;
    /// The number of messages inside.
    fn len(&self) -> usize;
    /// Closes it for all.
    fn close(&self);
    /// Whether it is closed.
    fn is_closed(&self) -> bool;
    /// How many messages were put before the one that this process took last, if it tells.
    fn sequence(&self) -> Option<u64>;
}

/// Runs each operation once, for what happens only once to have happened.
pub(crate) fn warm_up<C: Channel>() {
    let channel = C::make(Some(4));
    assert_eq!(channel.put(1, NOW), Outcome::Done(1));
    assert_eq!(channel.get(NOW), Outcome::Done(1));
    assert_eq!(channel.get(NOW), Outcome::TimedOut);
    channel.close();
}

fn note(slot: &Slot, outcome: Outcome) {
    if let Outcome::Done(id) = outcome {
        slot.note(id);
    }
    let result = match outcome {
        Outcome::Done(_) => 0,
        Outcome::TimedOut => 1,
        Outcome::Closed => 2,
        Outcome::Failed => 3,
    };
    slot.done(result);
}

pub(crate) fn consumer<C: Channel>(channel: &C, slot: &Slot) -> Role {
    let role = Role::fork(|| {
        slot.ready();
        note(slot, channel.get(None));
    });
    role.await_asleep(slot);
    role
}

pub(crate) fn producer<C: Channel>(channel: &C, slot: &Slot, id: u64) -> Role {
    let role = Role::fork(|| {
        slot.ready();
        note(slot, channel.put(id, None));
    });
    role.await_asleep(slot);
    role
}

/// Runs one operation in a victim.
fn victim<C: Channel>(
    board: &Board,
    kill: Kill,
    operate: impl FnOnce() -> Outcome,
    on_sleep: impl FnMut() -> bool,
) -> Stop {
    let slot = board.slot(7);
    Victim::start(board, warm_up::<C>, |()| note(slot, operate())).run(kill, on_sleep)
}

/// Notes what is torn, lost or doubled in `seen`, given what must be there and what may be.
pub(crate) fn account(verdict: &mut Verdict, seen: &[u64], must: &[u64], may: &[u64]) {
    verdict.torn |= seen.contains(&TORN);
    let count = |id: &u64| seen.iter().filter(|&seen| seen == id).count();
    verdict.lost |= must.iter().any(|id| count(id) == 0);
    let known = |id: &&u64| must.contains(id) || may.contains(id) || **id == TORN;
    verdict.doubled |= seen.iter().any(|id| count(id) > 1) || !seen.iter().all(|id| known(&id));
    if verdict.torn || verdict.lost || verdict.doubled {
        verdict.note.push_str(&format!("seen {seen:?}, must {must:?}, may {may:?}; "));
    }
}

/// Takes all that is inside; each must come at once.
pub(crate) fn drain<C: Channel>(channel: &C, verdict: &mut Verdict) -> Vec<u64> {
    let mut seen = Vec::new();
    let mut take = || loop {
        match channel.get(NOW) {
            Outcome::Done(id) => seen.push(id),
            Outcome::TimedOut | Outcome::Closed => return true,
            Outcome::Failed => return false,
        }
    };
    verdict.progress(within_liveness(&mut take), "who drains");
    seen
}

/// A put wakes one of two sleeping consumers, if it was committed, and the other is still well.
pub(crate) fn put_to_sleepers<C: Channel>(kill: Kill) -> Verdict {
    let (board, channel) = (Board::new(), C::make(None));
    let slots = [board.slot(0), board.slot(1)];
    let _consumers = slots.map(|slot| consumer(&channel, slot));
    let stop = victim::<C>(&board, kill, || channel.put(7, None), || false);
    let mut verdict = Verdict::new(stop);

    let done = || slots.iter().filter(|slot| slot.is_done()).count();
    // Committed or not: what is inside must reach a sleeper without any further traffic.
    verdict.progress(within_liveness(|| channel.len() == 0), "a consumer of what was put");
    let mut sent = vec![];
    if stop.end == End::Completed {
        verdict.progress(within_liveness(|| done() == 1), "a consumer of a completed put");
        sent.push(7);
    }
    // One message for each who still sleeps, and one that is left for us.
    let mut put = |id| {
        sent.push(id);
        verdict.hang |= channel.put(id, SOON) != Outcome::Done(id);
    };
    put(100);
    put(101);
    put(102);
    verdict.progress(within_liveness(|| done() == 2), "a consumer");
    let mut seen: Vec<u64> = slots.iter().flat_map(|slot| slot.noted()).collect();
    seen.extend(drain(&channel, &mut verdict));
    // The number of the last one says whether the victim's was put at all.
    let may: &[u64] = if channel.sequence().is_none() { &[7] } else { &[] };
    if channel.sequence() == Some(3) && !sent.contains(&7) {
        sent.push(7);
    }
    account(&mut verdict, &seen, &sent, may);
    verdict
}

/// A put into an empty channel that nobody waits on.
pub(crate) fn put_alone<C: Channel>(kill: Kill) -> Verdict {
    let (board, channel) = (Board::new(), C::make(None));
    let stop = victim::<C>(&board, kill, || channel.put(7, None), || false);
    after_put(Verdict::new(stop), &channel, &[])
}

/// A put that needs more storage than there is.
pub(crate) fn put_that_grows<C: Grows>(kill: Kill) -> Verdict {
    let (board, channel) = (Board::new(), C::make(None));
    let before: Vec<u64> = (1000..1000 + C::fill_to_growth() as u64).collect();
    for &id in &before {
        assert_eq!(channel.put(id, NOW), Outcome::Done(id));
    }
    let stop = victim::<C>(&board, kill, || channel.put(7, None), || false);
    after_put(Verdict::new(stop), &channel, &before)
}

/// A put by the one who comes after a dead producer; it is killed, too.
pub(crate) fn put_as_heir<C: Channel>(kill: Kill) -> Verdict {
    heirs(kill, |channel: &C| channel.put(6, None), |channel| channel.put(7, None))
}

/// A get by the one who comes after a dead consumer; it is killed, too.
pub(crate) fn get_as_heir<C: Channel>(kill: Kill) -> Verdict {
    heirs(kill, |channel: &C| channel.get(None), |channel| channel.get(None))
}

/// Two deaths: what was in order before either goes on in order.
fn heirs<C: Channel>(
    kill: Kill,
    first: impl Fn(&C) -> Outcome,
    second: impl Fn(&C) -> Outcome,
) -> Verdict {
    let mut longest: Option<Verdict> = None;
    for &events in C::FIRST_DEATHS {
        let (board, channel) = (Board::new(), C::make(None));
        for id in [1, 2, 3] {
            assert_eq!(channel.put(id, NOW), Outcome::Done(id));
        }
        let die = Kill::AfterEvents(events);
        let _ = victim::<C>(&board, die, || first(&channel), || false);
        let taken = board.slot(7).noted().len();
        let stop = victim::<C>(&board, kill, || second(&channel), || false);
        let mut verdict = Verdict::new(stop);
        verdict.hang |= channel.put(8, SOON) != Outcome::Done(8);
        let seen = drain(&channel, &mut verdict);
        let mut must = vec![3, 8];
        let noted = board.slot(7).noted().split_off(taken);
        if noted == [7] {
            must.push(7);
        }
        account(&mut verdict, &seen, &must, &[1, 2, 6, 7]);
        // A get that was completed has its message, and nobody else does.
        verdict.doubled |= noted.iter().any(|id| *id != 7 && seen.contains(id));
        verdict.lost |= !seen.is_sorted();
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

/// What must hold after a put that may or may not have been committed.
fn after_put<C: Channel>(mut verdict: Verdict, channel: &C, before: &[u64]) -> Verdict {
    let inside = channel.len();
    let mut sent = before.to_vec();
    if inside > before.len() || verdict.stop.end == End::Completed {
        sent.push(7);
    }
    verdict.hang |= channel.put(8, SOON) != Outcome::Done(8);
    sent.push(8);
    let seen = drain(channel, &mut verdict);
    account(&mut verdict, &seen, &sent, &[]);
    verdict.lost |= seen != sent;
    verdict
}

/// A get takes the first message or leaves it; the order stays.
pub(crate) fn get_of_two<C: Channel>(kill: Kill) -> Verdict {
    get_with(kill, C::make(None), &[1, 2])
}

/// A get that follows the messages into other storage and gives the old one back.
pub(crate) fn get_that_shrinks<C: Grows>(kill: Kill) -> Verdict {
    let channel = C::make(None);
    // Two times round: the first growth, back when all is read, and what lies behind the second.
    let fill = C::fill_to_growth() as u64;
    let ids: Vec<u64> = (1..=fill + 2).collect();
    for &id in &ids {
        assert_eq!(channel.put(id, NOW), Outcome::Done(id));
    }
    // The next record to be read is the one that says where the messages go on.
    for &id in &ids[..fill as usize] {
        assert_eq!(channel.get(NOW), Outcome::Done(id));
    }
    get_inside(kill, channel, &ids[fill as usize..])
}

fn get_with<C: Channel>(kill: Kill, channel: C, ids: &[u64]) -> Verdict {
    for &id in ids {
        assert_eq!(channel.put(id, NOW), Outcome::Done(id));
    }
    get_inside(kill, channel, ids)
}

fn get_inside<C: Channel>(kill: Kill, channel: C, ids: &[u64]) -> Verdict {
    let board = Board::new();
    let stop = victim::<C>(&board, kill, || channel.get(None), || false);
    let mut verdict = Verdict::new(stop);
    let left = channel.len();
    let taken = ids.len().saturating_sub(left);
    verdict.lost |= taken > 1 || (stop.end == End::Completed && taken != 1);
    if stop.end == End::Completed {
        verdict.torn |= board.slot(7).noted() != ids[..1];
    }
    let seen = drain(&channel, &mut verdict);
    account(&mut verdict, &seen, &ids[taken..], &[]);
    verdict.lost |= seen != ids[taken..];
    verdict.hang |= channel.put(9, SOON) != Outcome::Done(9);
    verdict.hang |= channel.get(SOON) != Outcome::Done(9);
    verdict
}

/// A consumer that waits behind another dies; the other gets the next message.
pub(crate) fn get_as_follower<C: Channel>(kill: Kill) -> Verdict {
    let (board, channel) = (Board::new(), C::make(None));
    let slot = board.slot(0);
    let _leader = consumer(&channel, slot);
    let stop = victim::<C>(&board, kill, || channel.get(None), || false);
    let mut verdict = Verdict::new(stop);
    verdict.hang |= channel.put(9, SOON) != Outcome::Done(9);
    verdict.progress(within_liveness(|| slot.is_done()), "the leader");
    account(&mut verdict, &slot.noted(), &[9], &[]);
    verdict
}

/// The consumer that waits for a message, with another behind it, dies before, while or after one comes.
pub(crate) fn get_as_leader<C: Channel>(kill: Kill) -> Verdict {
    let (board, channel) = (Board::new(), C::make(None));
    let slot = board.slot(0);
    let mut follower = None;
    let mut put = false;
    let stop = victim::<C>(
        &board,
        kill,
        || channel.get(None),
        || {
            if put {
                return false;
            }
            follower = Some(consumer(&channel, slot));
            put = channel.put(5, SOON) == Outcome::Done(5);
            put
        },
    );
    let mut verdict = Verdict::new(stop);
    let _follower = follower.unwrap_or_else(|| consumer(&channel, slot));
    let mut must = vec![];
    // What the victim did not take must reach the follower without any further traffic.
    verdict.progress(within_liveness(|| channel.len() == 0), "the follower of what was left");
    if !slot.is_done() {
        verdict.hang |= channel.put(9, SOON) != Outcome::Done(9);
        must.push(9);
    }
    verdict.progress(within_liveness(|| slot.is_done()), "the follower");
    let mut seen = slot.noted();
    seen.extend(drain(&channel, &mut verdict));
    if stop.end == End::Completed {
        seen.extend(board.slot(7).noted());
        must.push(5);
    }
    account(&mut verdict, &seen, &must, &[5, 9]);
    verdict
}

/// A get from a full channel makes room for one of two sleeping producers, if it was committed.
pub(crate) fn get_from_full<C: Channel>(kill: Kill) -> Verdict {
    let (board, channel) = (Board::new(), C::make(Some(3)));
    for id in [1, 2, 3] {
        assert_eq!(channel.put(id, NOW), Outcome::Done(id));
    }
    let slots = [board.slot(0), board.slot(1)];
    let _producers = [producer(&channel, slots[0], 50), producer(&channel, slots[1], 51)];
    let stop = victim::<C>(&board, kill, || channel.get(None), || false);
    let mut verdict = Verdict::new(stop);
    let done = || slots.iter().filter(|slot| slot.is_done()).count();
    // Room that was made must be used without any further traffic.
    verdict.progress(within_liveness(|| channel.len() == 3), "a producer that has room");
    if stop.end == End::Completed {
        verdict.progress(within_liveness(|| done() >= 1), "a producer after a completed get");
    }
    // Then each message that is taken lets the next producer in.
    let mut seen = Vec::new();
    let ended = within_liveness(|| {
        if let Outcome::Done(id) = channel.get(NOW) {
            seen.push(id);
        }
        done() == 2
    });
    verdict.progress(ended, "a producer");
    seen.extend(drain(&channel, &mut verdict));
    let first = u64::from(!seen.contains(&1)) + 1;
    let must: Vec<u64> = (first..=3).chain([50, 51]).collect();
    if stop.end == End::Completed {
        verdict.lost |= first != 2 || board.slot(7).noted() != [1];
    }
    account(&mut verdict, &seen, &must, &[]);
    verdict.lost |= !seen.starts_with(&must[..must.len() - 2]);
    verdict
}

/// A producer that waits for room, with another behind it, dies before, while or after room is made.
pub(crate) fn put_into_full<C: Channel>(kill: Kill) -> Verdict {
    let (board, channel) = (Board::new(), C::make(Some(2)));
    for id in [1, 2] {
        assert_eq!(channel.put(id, NOW), Outcome::Done(id));
    }
    let slot = board.slot(0);
    let mut follower = None;
    let mut taken = false;
    let stop = victim::<C>(
        &board,
        kill,
        || channel.put(7, None),
        || {
            if taken {
                return false;
            }
            follower = Some(producer(&channel, slot, 50));
            taken = channel.get(SOON) == Outcome::Done(1);
            taken
        },
    );
    let mut verdict = Verdict::new(stop);
    let _follower = follower.unwrap_or_else(|| producer(&channel, slot, 50));
    // Room that is there must be used without any further traffic.
    verdict.progress(within_liveness(|| channel.len() == 2), "the producer behind");
    let mut seen = Vec::new();
    let ended = within_liveness(|| {
        if let Outcome::Done(id) = channel.get(NOW) {
            seen.push(id);
        }
        slot.is_done()
    });
    verdict.progress(ended, "the producer behind");
    seen.extend(drain(&channel, &mut verdict));
    let mut must = if taken { vec![2, 50] } else { vec![1, 2, 50] };
    if stop.end == End::Completed {
        must.push(7);
    }
    account(&mut verdict, &seen, &must, &[7]);
    verdict
}

/// Closing lets all who sleep go, or, if it did not come to that, can be done again.
pub(crate) fn close_with_sleepers<C: Channel>(kill: Kill) -> Verdict {
    let (board, channel) = (Board::new(), C::make(None));
    let slots = [board.slot(0), board.slot(1)];
    let _consumers = slots.map(|slot| consumer(&channel, slot));
    let stop = victim::<C>(&board, kill, || close(&channel), || false);
    after_close(Verdict::new(stop), &channel, &slots)
}

/// Closing lets producers go that sleep because there is no room.
pub(crate) fn close_with_producers<C: Channel>(kill: Kill) -> Verdict {
    let (board, channel) = (Board::new(), C::make(Some(1)));
    assert_eq!(channel.put(1, NOW), Outcome::Done(1));
    let slots = [board.slot(0), board.slot(1)];
    let _producers = [producer(&channel, slots[0], 50), producer(&channel, slots[1], 51)];
    let stop = victim::<C>(&board, kill, || close(&channel), || false);
    after_close(Verdict::new(stop), &channel, &slots)
}

fn close<C: Channel>(channel: &C) -> Outcome {
    channel.close();
    Outcome::Done(0)
}

fn after_close<C: Channel>(mut verdict: Verdict, channel: &C, slots: &[&Slot]) -> Verdict {
    let closed = channel.is_closed();
    verdict.lost |= verdict.stop.end == End::Completed && !closed;
    if !closed {
        channel.close();
    }
    let done = || slots.iter().all(|slot| slot.is_done());
    let who = if closed { "who slept when it was closed" } else { "who slept at the second close" };
    verdict.progress(within_liveness(done), who);
    // Whoever slept was told that the channel is closed.
    let told = slots.iter().all(|slot| slot.result.load(std::sync::atomic::Ordering::SeqCst) == 2);
    verdict.torn |= done() && !told;
    verdict.torn |= !matches!(channel.put(3, NOW), Outcome::Closed);
    verdict
}
