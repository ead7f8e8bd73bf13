//! The transport to a worker on this machine: a ring there and a ring back, and the bell of its pool.

use std::sync::Arc;

use mp_process::Child;
use mp_queue::channel::Channel;
use mp_queue::{GetError, PutError};
use mp_shared::segment::{Segment, View};
use mp_shared::word::{CommitWord, Snapshot};
use mp_wire::{Deadline, Message, Spin};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::core::Bell;
use crate::transport::{Broken, Link, Parcel, Reply, Unsent};

/// Length of what stands behind the bytes of a message, in either direction: three numbers.
const TAIL: usize = 20;

/// What stands behind the bytes of a parcel.
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) entry: u64,
    pub(crate) items: u32,
}

impl Order {
    fn to_bytes(&self) -> [u8; TAIL] {
        join(self.id, self.entry, self.items)
    }

    /// Cuts it off the end of a message.
    pub(crate) fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let (id, entry, items) = cut(bytes)?;
        Some(Self { id, entry, items })
    }
}

const DONE: u32 = 0;
const READY: u32 = 1;
const FAILED: u32 = 2;

/// What stands behind the bytes of a reply.
pub(crate) struct Answer {
    id: u64,
    nanos: u64,
    kind: u32,
}

impl Answer {
    pub(crate) fn done(id: u64, nanos: u64) -> Self {
        Self { id, nanos, kind: DONE }
    }

    pub(crate) fn ready() -> Self {
        Self { id: 0, nanos: 0, kind: READY }
    }

    pub(crate) fn failed() -> Self {
        Self { id: 0, nanos: 0, kind: FAILED }
    }

    pub(crate) fn to_bytes(&self) -> [u8; TAIL] {
        join(self.id, self.nanos, self.kind)
    }
}

fn join(first: u64, second: u64, third: u32) -> [u8; TAIL] {
    let mut out = [0; TAIL];
    out[..8].copy_from_slice(&first.to_ne_bytes());
    out[8..16].copy_from_slice(&second.to_ne_bytes());
    out[16..].copy_from_slice(&third.to_ne_bytes());
    out
}

fn cut(bytes: &mut Vec<u8>) -> Option<(u64, u64, u32)> {
    let at = bytes.len().checked_sub(TAIL)?;
    let tail = bytes.get(at..)?;
    let long = |at: usize| Some(u64::from_ne_bytes(tail.get(at..at + 8)?.try_into().ok()?));
    let word = u32::from_ne_bytes(tail.get(16..)?.try_into().ok()?);
    let fields = (long(0)?, long(8)?, word);
    bytes.truncate(at);
    Some(fields)
}

/// The way to one worker.
pub(crate) struct RingLink {
    pub(crate) orders: Channel,
    pub(crate) replies: Channel,
    pub(crate) child: Arc<Child<()>>,
}

impl Link for RingLink {
    fn send(&mut self, parcel: Parcel) -> Result<(), Unsent> {
        let order = Order { id: parcel.id, entry: parcel.entry, items: parcel.items };
        // The ring is never full. Beside it there may be no room for descriptors just now.
        match self.orders.put(&[&parcel.bytes, &order.to_bytes()], &parcel.fds, Deadline::NOW) {
            Ok(()) => Ok(()),
            Err(PutError::Full) => Err(Unsent::Full(parcel)),
            Err(PutError::Failed(error)) if error.kind() != mp_queue::ErrorKind::Corrupt => {
                Err(Unsent::Refused(parcel, Arc::new(error)))
            }
            Err(_) => Err(Unsent::Broken(parcel)),
        }
    }

    fn receive(&mut self) -> Result<Option<Reply>, Broken> {
        let Some(Message { mut bytes, fds }) = take(&self.replies)? else { return Ok(None) };
        let (id, nanos, kind) = cut(&mut bytes).ok_or(Broken)?;
        match kind {
            READY => Ok(Some(Reply::Ready)),
            FAILED => Ok(Some(Reply::Failed(String::from_utf8_lossy(&bytes).into_owned()))),
            DONE => Ok(Some(Reply::Done { id, nanos, result: Message { bytes, fds } })),
            _ => Err(Broken),
        }
    }

    fn take_back(&mut self) -> Result<Option<Parcel>, Broken> {
        let Some(Message { mut bytes, fds }) = take(&self.orders)? else { return Ok(None) };
        let Order { id, entry, items } = Order::take(&mut bytes).ok_or(Broken)?;
        Ok(Some(Parcel { id, items, entry, bytes, fds }))
    }

    fn close(&mut self) {
        self.orders.close();
    }

    fn kill(&self) {
        // It fails only for a worker that has become another user's, and that is beyond us.
        let _ = self.child.kill();
    }

    fn pid(&self) -> u32 {
        self.child.pid()
    }
}

/// Takes the first message out of a channel, if there is one.
fn take(channel: &Channel) -> Result<Option<Message>, Broken> {
    let mut message = Message::default();
    let taken = match channel.get(&mut message, Deadline::NOW) {
        // This process cannot have its descriptors: the tasks that want them fail, and nothing else.
        Err(GetError::Failed(error)) if error.kind() != mp_queue::ErrorKind::Corrupt => {
            channel.get_bytes(&mut message, Deadline::NOW)
        }
        other => other,
    };
    match taken {
        Ok(()) => Ok(Some(message)),
        Err(GetError::Empty | GetError::Closed | GetError::Disconnected) => Ok(None),
        Err(GetError::Failed(_)) => Err(Broken),
    }
}

const KIND: u32 = u32::from_le_bytes(*b"bell");

/// The bell of a pool: a word in shared memory.
#[derive(Debug)]
pub(crate) struct Doorbell {
    word: View<CommitWord>,
    segment: Segment,
    spin: Spin,
    /// Of waits that are in no hurry, and seldom see anything by looking.
    idle_spin: Spin,
}

impl Doorbell {
    pub(crate) fn new() -> Result<Self, mp_shared::Error> {
        Self::bind(Segment::create(KIND, 64)?)
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
