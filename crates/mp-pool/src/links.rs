//! The transport to a worker on this machine: a ring there and a ring back, and the bell of its pool.

use std::sync::Arc;

use mp_queue::channel::Channel;
use mp_queue::{GetError, PutError};
use mp_shared::ring::Record;
use mp_shared::segment::{Segment, View};
use mp_shared::word::{CommitWord, Snapshot};
use mp_wire::{Deadline, Message, Spin};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::body::Body;
use crate::core::Bell;
use crate::sys;
use crate::task::{LINE, Line};
use crate::transport::{Broken, Link, Parcel, Reply, Unsent, Usage};

/// Length of what stands behind the bytes of an order: four numbers; and of a reply, which has the time before them.
const TAIL: usize = 24;
const REPLY_TAIL: usize = 8 + TAIL;

/// What stands behind the bytes of a parcel.
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) entry: u64,
    pub(crate) from: u32,
    pub(crate) end: u32,
}

impl Order {
    fn of(parcel: &Parcel) -> Self {
        let &Parcel { id, entry, from, end, .. } = parcel;
        Self { id, entry, from, end }
    }

    fn to_bytes(&self) -> [u8; TAIL] {
        join(self.id, self.entry, self.from, self.end)
    }

    /// Cuts it off the end of a message.
    pub(crate) fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let (id, entry, from, end) = cut(bytes)?;
        (from <= end).then_some(Self { id, entry, from, end })
    }
}

const DONE: u32 = 0;
const READY: u32 = 1;
const FAILED: u32 = 2;
const PANICKED: u32 = 3;

/// Beside `DONE` and `PANICKED`: the worker leaves, and takes nothing more.
const LEAVING: u32 = 1 << 8;

/// What stands behind the bytes of a reply.
pub(crate) struct Answer {
    end: u64,
    id: u64,
    nanos: u64,
    kind: u32,
    items: u32,
}

impl Answer {
    /// Some tasks of a unit are done, which took from one time to another.
    pub(crate) fn done(id: u64, (begin, end): (u64, u64), items: u32, panicked: bool) -> Self {
        let kind = if panicked { PANICKED } else { DONE };
        Self { end, id, nanos: end.saturating_sub(begin), kind, items }
    }

    /// Says that the worker leaves after this.
    pub(crate) fn leaving(mut self, leaving: bool) -> Self {
        self.kind |= if leaving { LEAVING } else { 0 };
        self
    }

    pub(crate) fn ready() -> Self {
        Self { end: sys::now(), id: 0, nanos: 0, kind: READY, items: 0 }
    }

    pub(crate) fn failed() -> Self {
        Self { kind: FAILED, ..Self::ready() }
    }

    pub(crate) fn to_bytes(&self) -> [u8; REPLY_TAIL] {
        let mut out = [0; REPLY_TAIL];
        out[..8].copy_from_slice(&self.end.to_ne_bytes());
        out[8..].copy_from_slice(&join(self.id, self.nanos, self.kind, self.items));
        out
    }
}

fn join(first: u64, second: u64, third: u32, fourth: u32) -> [u8; TAIL] {
    let mut out = [0; TAIL];
    out[..8].copy_from_slice(&first.to_ne_bytes());
    out[8..16].copy_from_slice(&second.to_ne_bytes());
    out[16..20].copy_from_slice(&third.to_ne_bytes());
    out[20..].copy_from_slice(&fourth.to_ne_bytes());
    out
}

fn cut(bytes: &mut Vec<u8>) -> Option<(u64, u64, u32, u32)> {
    let at = bytes.len().checked_sub(TAIL)?;
    let tail = bytes.get(at..)?;
    let long = |at: usize| Some(u64::from_ne_bytes(tail.get(at..at + 8)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_ne_bytes(tail.get(at..at + 4)?.try_into().ok()?));
    let fields = (long(0)?, long(8)?, word(16)?, word(20)?);
    bytes.truncate(at);
    Some(fields)
}

/// Cuts the last number off.
fn cut_time(bytes: &mut Vec<u8>) -> Option<u64> {
    let at = bytes.len().checked_sub(8)?;
    let time = u64::from_ne_bytes(bytes.get(at..)?.try_into().ok()?);
    bytes.truncate(at);
    Some(time)
}

/// The way to one worker.
pub(crate) struct RingLink {
    orders: Channel,
    replies: Channel,
    line: Line,
    body: Body,
    /// What interrupts a task that is asked to stop.
    signal: Option<i32>,
    inbox: Inbox,
    outbox: Outbox,
}

impl RingLink {
    /// The way to this worker, which gets this signal when it is asked to stop.
    pub(crate) fn new(
        orders: Channel,
        replies: Channel,
        line: Line,
        body: Body,
        signal: Option<i32>,
    ) -> Self {
        let (inbox, outbox) = (Inbox::default(), Outbox::default());
        Self { orders, replies, line, body, signal, inbox, outbox }
    }
}

/// Replies that were taken together.
#[derive(Default)]
struct Inbox {
    bytes: Vec<u8>,
    records: Vec<Record>,
    /// How many of them were given out.
    given: usize,
}

/// Parcels that are put together.
#[derive(Default)]
struct Outbox {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Outbox {
    fn has_room(&self) -> bool {
        self.ends.len() < TOGETHER.0 && self.bytes.len() <= TOGETHER.1
    }

    fn add(&mut self, parcel: &Parcel) {
        self.bytes.extend_from_slice(&parcel.bytes);
        self.bytes.extend_from_slice(&Order::of(parcel).to_bytes());
        self.ends.push(self.bytes.len());
    }

    /// Puts what there is, and counts how many were put.
    fn put(&mut self, orders: &Channel, sent: &mut usize) -> Result<(), (usize, Unsent)> {
        if self.ends.is_empty() {
            return Ok(());
        }
        let put = orders.put_many(&self.bytes, &self.ends, Deadline::NOW);
        *sent += put.as_ref().map_or_else(|&(put, _)| put, |()| self.ends.len());
        self.bytes.clear();
        self.ends.clear();
        put.map_err(|(_, error)| (*sent, unsent(error)))
    }
}

/// What it means that a parcel was not put. The ring is never full; beside it there may be no room for descriptors just now.
fn unsent(error: PutError) -> Unsent {
    match error {
        PutError::Full => Unsent::Full,
        PutError::Failed(error) if error.kind() != mp_queue::ErrorKind::Corrupt => {
            Unsent::Refused(Arc::new(error))
        }
        _ => Unsent::Broken,
    }
}

/// The most messages that are taken or put together, and their bytes, unless one alone has more.
const TOGETHER: (usize, usize) = (64, 16 << 10);

impl Inbox {
    /// The next reply, out of the ring if there is none here.
    fn next(&mut self, replies: &Channel) -> Result<Option<Message>, Broken> {
        if self.given == self.records.len() {
            self.given = 0;
            let fds = replies.get_many_within(
                &mut self.bytes,
                &mut self.records,
                TOGETHER,
                Deadline::NOW,
            );
            let fds = match fds {
                Ok(fds) => fds,
                Err(error) => {
                    self.records.clear();
                    return take_anyway(replies, error);
                }
            };
            if let [_] = self.records[..] {
                // It need not be copied.
                self.given = 1;
                return Ok(Some(Message { bytes: std::mem::take(&mut self.bytes), fds }));
            }
        }
        let end = self.records.get(self.given).ok_or(Broken)?.end;
        let before = self.given.checked_sub(1).and_then(|at| self.records.get(at));
        let bytes = self.bytes.get(before.map_or(0, |record| record.end)..end).ok_or(Broken)?;
        self.given += 1;
        Ok(Some(Message { bytes: bytes.to_vec(), fds: Vec::new() }))
    }
}

impl Link for RingLink {
    fn send(&mut self, parcel: &Parcel) -> Result<(), Unsent> {
        let parts = [&parcel.bytes, &Order::of(parcel).to_bytes()[..]];
        self.orders.put(&parts, &parcel.fds, Deadline::NOW).map_err(unsent)
    }

    fn send_all<'p>(
        &mut self,
        parcels: impl Iterator<Item = &'p Parcel>,
    ) -> Result<(), (usize, Unsent)> {
        let mut parcels = parcels.peekable();
        let mut sent = 0;
        while let Some(parcel) = parcels.next() {
            let is_small = parcel.fds.is_empty() && parcel.bytes.len() <= TOGETHER.1;
            if !is_small || !self.outbox.has_room() {
                self.outbox.put(&self.orders, &mut sent)?;
            }
            let is_alone = self.outbox.ends.is_empty() && parcels.peek().is_none();
            if is_small && !is_alone {
                self.outbox.add(parcel);
            } else {
                self.send(parcel).map_err(|error| (sent, error))?;
                sent += 1;
            }
        }
        self.outbox.put(&self.orders, &mut sent)
    }

    fn receive(&mut self) -> Result<Option<Reply>, Broken> {
        let Some(Message { mut bytes, fds }) = self.inbox.next(&self.replies)? else {
            return Ok(None);
        };
        let (id, nanos, kind, items) = cut(&mut bytes).ok_or(Broken)?;
        let end = cut_time(&mut bytes).ok_or(Broken)?;
        let (kind, leaving) = (kind & !LEAVING, kind & LEAVING != 0);
        match kind {
            READY => Ok(Some(Reply::Ready { at: end })),
            FAILED => Ok(Some(Reply::Failed(String::from_utf8_lossy(&bytes).into_owned()))),
            DONE | PANICKED => {
                let (panicked, result) = (kind == PANICKED, Message { bytes, fds });
                Ok(Some(Reply::Done { id, items, nanos, end, panicked, leaving, result }))
            }
            _ => Err(Broken),
        }
    }

    fn take_back(&mut self) -> Result<Option<Parcel>, Broken> {
        let Some(Message { mut bytes, fds }) = take(&self.orders)? else { return Ok(None) };
        let Order { id, entry, from, end } = Order::take(&mut bytes).ok_or(Broken)?;
        Ok(Some(Parcel { id, from, end, entry, bytes, fds }))
    }

    fn close(&mut self) {
        self.orders.close();
    }

    fn at(&self) -> (u32, u32) {
        self.line.at()
    }

    fn ask_to_stop(&self, id: u64) {
        self.line.ask_to_stop(id);
        if let Some(signal) = self.signal {
            self.line.signal(id, || self.body.signal(signal));
        }
    }

    fn interrupts(&self) -> bool {
        self.signal.is_some()
    }

    fn usage(&self) -> Usage {
        self.body.usage()
    }

    fn kill(&self) {
        self.body.kill();
        if let Body::Thread(_) = self.body {
            // It ends with what it is at.
            self.orders.close();
        }
    }

    fn pid(&self) -> u32 {
        self.body.pid()
    }
}

/// Takes the first message out of a channel, if there is one.
fn take(channel: &Channel) -> Result<Option<Message>, Broken> {
    let mut message = Message::default();
    match channel.get(&mut message, Deadline::NOW) {
        Ok(()) => Ok(Some(message)),
        Err(error) => take_anyway(channel, error),
    }
}

/// Says what it means that a message could not be taken, and takes it without its descriptors if it was for want of them: the tasks
/// that want them fail, and nothing else.
fn take_anyway(channel: &Channel, error: GetError) -> Result<Option<Message>, Broken> {
    match error {
        GetError::Empty | GetError::Closed | GetError::Disconnected => Ok(None),
        GetError::Failed(error) if error.kind() == mp_queue::ErrorKind::Corrupt => Err(Broken),
        GetError::Failed(_) => {
            let mut message = Message::default();
            match channel.get_bytes(&mut message, Deadline::NOW) {
                Ok(()) => Ok(Some(message)),
                Err(GetError::Failed(_)) => Err(Broken),
                Err(_) => Ok(None),
            }
        }
    }
}

const KIND: u32 = u32::from_le_bytes(*b"bell");

/// The bell of a pool: a word in shared memory, and a line for each worker.
#[derive(Debug)]
pub(crate) struct Doorbell {
    word: View<CommitWord>,
    segment: Segment,
    spin: Spin,
    /// Of waits that are in no hurry, and seldom see anything by looking.
    idle_spin: Spin,
}

impl Doorbell {
    /// Makes a bell with a line for each of so many workers beside it.
    pub(crate) fn new(lines: usize) -> Result<Self, mp_shared::Error> {
        Self::bind(Segment::create(KIND, LINE.saturating_mul(lines.saturating_add(1)))?)
    }

    /// How many workers have a line.
    pub(crate) fn lines(&self) -> usize {
        (self.segment.len() / LINE).saturating_sub(1)
    }

    /// The line of the worker in this slot.
    pub(crate) fn line(&self, slot: usize) -> Result<Line, mp_shared::Error> {
        Line::bind(&self.segment, LINE * (slot + 1))
    }

    /// A line of its own, for a worker that can outlive its place.
    pub(crate) fn own_line() -> Result<Line, mp_shared::Error> {
        Line::bind(&Segment::create(KIND, LINE)?, 0)
    }

    fn bind(segment: Segment) -> Result<Self, mp_shared::Error> {
        let (spin, idle_spin) = (Spin::new(), Spin::new());
        Ok(Self { word: segment.bind(0)?, segment, spin, idle_spin })
    }
}

impl Bell for Doorbell {
    type Seen = Snapshot;

    fn value(&self) -> Snapshot {
        self.word.snapshot()
    }

    fn wait(&self, seen: Snapshot, deadline: Deadline, hurry: bool) {
        let spin = if hurry { &self.spin } else { &self.idle_spin };
        let _ = self.word.wait_change(seen, deadline, spin);
    }

    fn ring(&self) {
        self.word.bump();
    }
}

impl Clone for Doorbell {
    fn clone(&self) -> Self {
        let (word, segment) = (self.word.clone(), self.segment.clone());
        Self { word, segment, spin: Spin::new(), idle_spin: Spin::new() }
    }
}

impl Serialize for Doorbell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.segment.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Doorbell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let segment = Segment::deserialize(deserializer)?;
        if segment.kind() != KIND {
            return Err(de::Error::custom("this memory is not a bell"));
        }
        Self::bind(segment).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use mp_wire::Fd;

    use super::*;
    use crate::body::Thread;

    fn link() -> RingLink {
        let body = Body::Thread(Arc::new(Thread::spawn(|| ()).unwrap()));
        let (orders, replies) = (Channel::new().unwrap(), Channel::new().unwrap());
        RingLink::new(orders, replies, Doorbell::own_line().unwrap(), body, None)
    }

    /// Small and large ones, with descriptors and without.
    fn parcels() -> Vec<Parcel> {
        let fd = || Fd::from(OwnedFd::from(File::open("/dev/null").unwrap()));
        let sizes = [1, 2, 0, TOGETHER.1, TOGETHER.1 + 1, 3, 1, 1].into_iter().cycle().take(200);
        let parcel = |(id, size): (u64, usize)| {
            let fds = if id % 7 == 6 { vec![fd()] } else { Vec::new() };
            Parcel { id, from: 0, end: 1, entry: 9, bytes: vec![id as u8; size], fds }
        };
        (0..).zip(sizes).map(parcel).collect()
    }

    #[test]
    fn parcels_that_are_sent_together_come_one_by_one() {
        let (mut link, parcels) = (link(), parcels());
        link.send_all(parcels.iter()).unwrap();
        for parcel in parcels {
            let taken = link.take_back().unwrap().unwrap();
            assert_eq!((taken.id, taken.entry, taken.bytes), (parcel.id, 9, parcel.bytes));
            assert_eq!(taken.fds.len(), parcel.fds.len());
        }
        assert!(link.take_back().unwrap().is_none());
    }

    #[test]
    fn replies_that_are_taken_together_come_one_by_one() {
        let (mut link, parcels) = (link(), parcels());
        for round in 0..2 {
            for parcel in &parcels {
                let answer = Answer::done(parcel.id, (3, 10), 1, false).to_bytes();
                link.replies.put(&[&parcel.bytes, &answer], &parcel.fds, Deadline::NOW).unwrap();
            }
            for parcel in &parcels {
                let Some(Reply::Done { id, nanos: 7, end: 10, result, .. }) =
                    link.receive().unwrap()
                else {
                    panic!("reply {} of round {round}", parcel.id);
                };
                assert_eq!((id, result.bytes), (parcel.id, parcel.bytes.clone()));
                assert_eq!(result.fds.len(), parcel.fds.len());
            }
            assert!(link.receive().unwrap().is_none());
        }
    }
}
