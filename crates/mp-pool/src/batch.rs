//! How the arguments and the results of a unit lie in its bytes.
//!
//! Numbers go as their bytes, and values of other plain types, which cannot fail to encode or decode, as one sequence. All others
//! are framed one by one, so that one that fails concerns no other:
//!
//! ```text
//! whole    sequence | tag 0
//! framed   bytes of each task | for each task: how u8, bytes u64, descriptors u32 | tasks u32 | tag 1
//! raw      the numbers | tag 2
//! lent     bytes u64 | tag 3
//! ```
//!
//! A value that is a vector of numbers is its bytes in its frame, too. Where it is large, they are [lent](crate::loan), and in the frame is
//! how many they are; and where all together is large, that is lent. Of several arguments, each that is a large vector of numbers is lent
//! for itself: in the frame are which ones and how long, and then the arguments with empty vectors in their places.
//!
//! The table comes last so that the bytes of a large value need not be moved to make room for it.

use std::any::TypeId;
use std::ops::Range;
use std::panic::catch_unwind;

use mp_process::Panic;
use mp_wire::{Fd, Message, decode, encode_into};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::job::Finished;
use crate::split::{Parts, Split};
use crate::{TaskError, loan, plain};

const WHOLE: u8 = 0;
const FRAMED: u8 = 1;
const RAW: u8 = 2;
const LENT: u8 = 3;

/// How a task went, in its frame.
const DONE: u8 = 0;
const PANICKED: u8 = 1;
const FAILED: u8 = 2;
const CANCELLED: u8 = 3;
/// It is there, but for the large vectors among the arguments, which are lent.
const SPLIT: u8 = 4;

/// Length of a task's entry in the table, and of what stands behind the table.
const ENTRY: usize = 13;
const FOOT: usize = 5;

/// Room for what is added behind numbers, and the most that is set aside for them before they are there.
const RAW_ROOM: usize = 64;
const RAW_AHEAD: usize = 1 << 20;

/// Arguments or results of one unit.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) items: u32,
    /// At least one of them panicked.
    pub(crate) panicked: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<Fd>,
}

impl Batch {
    /// The arguments of one task alone.
    pub(crate) fn one<T>(value: T, split: Split<T>) -> Result<Self, mp_wire::Error>
    where
        T: Serialize + 'static,
    {
        let mut encoder = Encoder::splitting(Some(split));
        encoder.expect(1);
        encoder.push(value)?;
        encoder.finish()
    }
}

/// Says whether whatever encodes to this type's bytes also decodes, so that nothing has to be framed.
fn is_plain<T: 'static>() -> bool {
    let this = TypeId::of::<T>();
    let is = |others: [TypeId; 2]| others.contains(&this);
    plain::is_number::<T>()
        || is([TypeId::of::<()>(), TypeId::of::<((),)>()])
        || is([TypeId::of::<bool>(), TypeId::of::<(bool,)>()])
        || is([TypeId::of::<String>(), TypeId::of::<(String,)>()])
}

/// Encodes a value in place of what the message held; gives the number of its bytes, wherever they are.
fn encode_one<T: Serialize + 'static>(
    value: T,
    into: &mut Message,
) -> Result<usize, mp_wire::Error> {
    if !plain::is_vector::<T>() {
        encode_into(&value, into)?;
        return Ok(into.bytes.len());
    }
    into.fds.clear();
    if let Some(bytes) = plain::bytes_of(&value)
        && let Some(lent) = loan::lend(bytes)
    {
        into.bytes.clear();
        into.bytes.extend(bytes.len().to_ne_bytes());
        into.fds.extend(lent);
        let len = bytes.len();
        plain::keep(value);
        return Ok(len);
    }
    match plain::take_bytes(value) {
        Ok(bytes) => into.bytes = bytes,
        Err(value) => {
            into.bytes.clear();
            plain::write(&value, &mut into.bytes);
        }
    }
    Ok(into.bytes.len())
}

/// Decodes what [`encode_one`] encoded.
fn decode_one<T: DeserializeOwned + 'static>(bytes: &[u8], fds: &[Fd]) -> Item<T> {
    let value = if plain::is_vector::<T>() && !fds.is_empty() {
        borrowed(bytes, fds)
    } else if plain::is_vector::<T>() {
        plain::read(bytes).map_or_else(|| malformed().and_then(|()| decode(&[], &[])), Ok)
    } else {
        decode(bytes, fds)
    };
    value.map_or_else(Item::Malformed, Item::Value)
}

/// Reads a vector that is not among the bytes: they tell its length.
fn borrowed<T: DeserializeOwned + 'static>(bytes: &[u8], fds: &[Fd]) -> Result<T, mp_wire::Error> {
    let Ok(len) = bytes.try_into().map(usize::from_ne_bytes) else {
        return malformed().and_then(|()| decode(&[], &[]));
    };
    loan::read(fds, len)
}

/// Collects values into a batch.
pub(crate) struct Encoder<T> {
    values: Vec<T>,
    batch: Batch,
    table: Vec<u8>,
    scratch: Message,
    /// Bytes of the values that are in frames, and lent.
    weight: usize,
    /// By what large arguments are lent each for itself, as long as their types may allow it.
    split: Option<Split<T>>,
}

impl<T: Serialize + 'static> Encoder<T> {
    pub(crate) fn new() -> Self {
        let (batch, scratch) = (Batch::default(), Message::default());
        Self { values: Vec::new(), batch, table: Vec::new(), scratch, weight: 0, split: None }
    }

    /// Makes one that lends large arguments each for itself.
    pub(crate) fn splitting(split: Option<Split<T>>) -> Self {
        Self { split, ..Self::new() }
    }

    /// Sets room aside for so many values, where it is known what they take.
    pub(crate) fn expect(&mut self, values: usize) {
        if plain::is_number::<T>() {
            let numbers = values.saturating_mul(size_of::<T>()).min(RAW_AHEAD);
            // Without room, the values say so.
            let _ = mp_wire::try_reserve(&mut self.batch.bytes, numbers + RAW_ROOM);
        }
    }

    /// It has so many bytes that whatever follows does better in a batch of its own: large values travel by themselves.
    pub(crate) fn is_full(&self) -> bool {
        self.weight >= loan::LARGE
    }

    /// Adds a value. If it does not encode, the batch is as it was before.
    pub(crate) fn push(&mut self, mut value: T) -> Result<(), mp_wire::Error> {
        if self.table.is_empty() && plain::is_number::<T>() {
            plain::push(&value, &mut self.batch.bytes);
        } else if self.table.is_empty() && is_plain::<T>() {
            self.values.push(value);
        } else {
            if self.batch.items == 0 {
                self.split = self.split.filter(|split| split.concerns(&mut value));
            }
            let parts = self.split.map_or_else(Parts::default, |split| split.lend(&mut value));
            self.weight += parts.weight();
            if parts.is_empty() {
                self.weight += encode_one(value, &mut self.scratch)?;
                self.frame(DONE);
            } else {
                parts.encode_with(&value, &mut self.scratch)?;
                self.frame(SPLIT);
            }
        }
        self.batch.items += 1;
        Ok(())
    }

    /// Adds a task that has no value, because it panicked.
    pub(crate) fn push_panic(&mut self, panic: &Panic) {
        self.batch.panicked = true;
        self.push_other(PANICKED, panic);
    }

    /// Adds a task that has no value, because it does not encode or decode.
    pub(crate) fn push_failure(&mut self, message: &str) {
        self.push_other(FAILED, &message);
    }

    /// Adds a task that has no value, because it was cancelled before it began.
    pub(crate) fn push_cancelled(&mut self) {
        self.push_other(CANCELLED, &());
    }

    fn push_other<V: Serialize>(&mut self, how: u8, value: &V) {
        // What was collected for a sequence needs frames now. Plain values and text always encode.
        let mut values = std::mem::take(&mut self.values);
        if self.table.is_empty() && plain::is_number::<T>() {
            let numbers = std::mem::take(&mut self.batch.bytes);
            plain::pull(&numbers, |value| values.push(value));
        }
        for value in values {
            let _ = encode_into(&value, &mut self.scratch);
            self.frame(DONE);
        }
        let _ = encode_into(value, &mut self.scratch);
        self.frame(how);
        self.batch.items += 1;
    }

    fn frame(&mut self, how: u8) {
        let Batch { bytes, fds, .. } = &mut self.batch;
        let count = u32::try_from(self.scratch.fds.len()).unwrap_or(u32::MAX);
        self.table.push(how);
        self.table.extend((self.scratch.bytes.len() as u64).to_ne_bytes());
        self.table.extend(count.to_ne_bytes());
        if bytes.is_empty() {
            std::mem::swap(bytes, &mut self.scratch.bytes);
        } else {
            bytes.extend(&self.scratch.bytes);
        }
        fds.append(&mut self.scratch.fds);
    }

    /// The batch, and an empty encoder again.
    pub(crate) fn finish(&mut self) -> Result<Batch, mp_wire::Error> {
        let mut batch = std::mem::take(&mut self.batch);
        self.weight = 0;
        if self.table.is_empty() && plain::is_number::<T>() {
            batch.bytes.push(RAW);
        } else if self.table.is_empty() {
            encode_into(&self.values, &mut self.scratch)?;
            self.values.clear();
            batch.bytes = std::mem::take(&mut self.scratch.bytes);
            batch.bytes.push(WHOLE);
        } else {
            batch.bytes.append(&mut self.table);
            batch.bytes.extend(batch.items.to_ne_bytes());
            batch.bytes.push(FRAMED);
        }
        if let Some(lent) = loan::lend_encoded(&batch.bytes) {
            let len = batch.bytes.len();
            batch.bytes.clear();
            batch.bytes.extend(len.to_ne_bytes());
            batch.bytes.push(LENT);
            batch.bytes.shrink_to_fit();
            batch.fds.extend(lent);
        }
        Ok(batch)
    }
}

/// One task of a batch that could be read at all.
pub(crate) enum Item<T> {
    Value(T),
    Panicked(Panic),
    Failed(String),
    Cancelled,
    /// The bytes are not a value of this type.
    Malformed(mp_wire::Error),
}

/// Hands out the items of a batch one by one. Fails where the batch itself makes no sense; what came before stands.
pub(crate) fn read<T: DeserializeOwned + 'static>(
    bytes: &[u8],
    fds: &[Fd],
    each: impl FnMut(Item<T>),
) -> Result<(), mp_wire::Error> {
    read_with(bytes, fds, 0..usize::MAX, |_, bytes, fds| decode_one(bytes, fds), each)
}

/// The same for some of them, where a panic while a value is decoded is that item's. The others are not decoded: that may be what a
/// worker died of before.
pub(crate) fn read_caught<T: DeserializeOwned + 'static>(
    bytes: &[u8],
    fds: &[Fd],
    wanted: Range<usize>,
    split: Option<Split<T>>,
    each: impl FnMut(Item<T>),
) -> Result<(), mp_wire::Error> {
    let one = |how, bytes: &[u8], fds: &[Fd]| match split {
        Some(split) if how == SPLIT => {
            split.decode(bytes, fds).map_or_else(Item::Malformed, Item::Value)
        }
        _ => decode_one(bytes, fds),
    };
    let caught = |how, bytes: &[u8], fds: &[Fd]| {
        catch_unwind(|| one(how, bytes, fds))
            .unwrap_or_else(|payload| Item::Panicked(Panic::from_payload(payload)))
    };
    read_with(bytes, fds, wanted, caught, each)
}

fn read_with<T: DeserializeOwned + 'static>(
    bytes: &[u8],
    fds: &[Fd],
    wanted: Range<usize>,
    one: impl Fn(u8, &[u8], &[Fd]) -> Item<T>,
    mut each: impl FnMut(Item<T>),
) -> Result<(), mp_wire::Error> {
    let mut hand_out = |values: Vec<T>| {
        let values = values.into_iter().take(wanted.end).skip(wanted.start);
        values.for_each(|value| each(Item::Value(value)));
    };
    match bytes.split_last() {
        Some((&LENT, len)) => {
            let (fds, lent) = fds.split_at(fds.len().saturating_sub(2));
            let bytes = borrowed::<Vec<u8>>(len, lent)?;
            if bytes.last() == Some(&LENT) {
                return malformed();
            }
            read_with(&bytes, fds, wanted, one, each)
        }
        Some((&RAW, numbers)) => {
            let at = |place: usize| place.saturating_mul(size_of::<T>()).min(numbers.len());
            let numbers = numbers.get(at(wanted.start)..at(wanted.end)).unwrap_or_default();
            plain::pull(numbers, |number| each(Item::Value(number))).map_or_else(malformed, Ok)
        }
        Some((&WHOLE, sequence)) => {
            hand_out(decode::<Vec<T>>(sequence, fds)?);
            Ok(())
        }
        Some((&FRAMED, _)) => match frames(bytes, fds, wanted, one, &mut each) {
            Some(()) => Ok(()),
            None => malformed(),
        },
        _ => malformed(),
    }
}

/// Walks through the frames; `None` where one is not there.
fn frames<T: DeserializeOwned>(
    bytes: &[u8],
    fds: &[Fd],
    wanted: Range<usize>,
    one: impl Fn(u8, &[u8], &[Fd]) -> Item<T>,
    each: &mut impl FnMut(Item<T>),
) -> Option<()> {
    let (body, foot) = bytes.split_at_checked(bytes.len().checked_sub(FOOT)?)?;
    let tasks = u32::from_ne_bytes(foot.get(..4)?.try_into().ok()?) as usize;
    let (mut body, table) = body.split_at_checked(body.len().checked_sub(tasks * ENTRY)?)?;
    let mut fds = fds;
    for (place, entry) in table.chunks_exact(ENTRY).enumerate() {
        let length = u64::from_ne_bytes(entry.get(1..9)?.try_into().ok()?);
        let count = u32::from_ne_bytes(entry.get(9..)?.try_into().ok()?);
        let (bytes, rest) = body.split_at_checked(usize::try_from(length).ok()?)?;
        let (mine, others) = fds.split_at_checked(count as usize)?;
        (body, fds) = (rest, others);
        if !wanted.contains(&place) {
            continue;
        }
        each(match entry.first() {
            Some(&how @ (DONE | SPLIT)) => one(how, bytes, mine),
            Some(&CANCELLED) => Item::Cancelled,
            Some(&PANICKED) => decode(bytes, mine).map_or_else(Item::Malformed, Item::Panicked),
            _ => decode(bytes, mine).map_or_else(Item::Malformed, Item::Failed),
        });
    }
    Some(())
}

/// Says of bytes that are no batch what the codec says of bytes that end too soon.
pub(crate) fn malformed() -> Result<(), mp_wire::Error> {
    decode::<(u8, u8)>(&[], &[]).map(drop)
}

/// The results of a unit, one for each of its tasks, whatever became of it.
pub(crate) fn results<R: DeserializeOwned + 'static>(
    mut finished: Finished,
    mut each: impl FnMut(Result<R, TaskError>),
) {
    let more = std::mem::take(&mut finished.more);
    part(finished, &mut each);
    for finished in more {
        part(finished, &mut each);
    }
}

fn part<R: DeserializeOwned + 'static>(
    finished: Finished,
    each: &mut impl FnMut(Result<R, TaskError>),
) {
    let mut left = finished.items;
    let error = match finished.outcome {
        Ok(message) => {
            let read = read::<R>(&message.bytes, &message.fds, |item| {
                if left > 0 {
                    left -= 1;
                    each(match item {
                        Item::Value(value) => Ok(value),
                        Item::Panicked(panic) => Err(TaskError::Panicked(panic)),
                        Item::Failed(message) => Err(TaskError::Remote { message }),
                        Item::Cancelled => Err(TaskError::Cancelled),
                        Item::Malformed(error) => Err(TaskError::decode(error)),
                    });
                }
            });
            read.map_or_else(TaskError::decode, |()| TaskError::Remote {
                message: "a result is missing".to_owned(),
            })
        }
        Err(error) => error,
    };
    for _ in 0..left {
        each(Err(error.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Serialize + DeserializeOwned + 'static>(values: Vec<T>) -> Vec<T> {
        let mut encoder = Encoder::new();
        for value in values {
            encoder.push(value).unwrap();
        }
        let batch = encoder.finish().unwrap();
        let mut out = Vec::new();
        let message = Message { bytes: batch.bytes, fds: batch.fds };
        results(Finished::new(batch.items, Ok(message)), |r| out.push(r.unwrap()));
        out
    }

    #[test]
    fn values_come_back_in_order() {
        assert_eq!(round_trip(vec![1_u64, 300, 2]), [1, 300, 2]);
        assert_eq!(round_trip(vec![(1_u64,), (300,)]), [(1,), (300,)]);
        let pairs = vec![(1_u8, "one".to_owned()), (2, String::new())];
        assert_eq!(round_trip(pairs.clone()), pairs);
        assert_eq!(round_trip(vec![(), ()]).len(), 2);
        assert_eq!(round_trip(Vec::<u8>::new()).len(), 0);
    }

    #[test]
    fn a_panic_leaves_the_values_before_it_and_after_it() {
        let mut encoder = Encoder::new();
        encoder.push(7_u64).unwrap();
        encoder.push_panic(&Panic::from_payload(Box::new("no")));
        encoder.push(8).unwrap();
        let finish = encoder.finish().unwrap();
        let mut seen = Vec::new();
        let message = Message { bytes: finish.bytes, fds: finish.fds };
        results::<u64>(Finished::new(3, Ok(message)), |r| seen.push(r.ok()));
        assert_eq!(seen, [Some(7), None, Some(8)]);
    }

    #[test]
    fn what_is_missing_or_malformed_is_an_error_of_each_task() {
        let long = [vec![0; 3], vec![255; 8], vec![0; 4], vec![1, 0, 0, 0], vec![FRAMED]].concat();
        for bytes in [vec![], vec![9, 9, WHOLE], vec![FRAMED], vec![255, 255, 255, 255, 1], long] {
            let mut errors = 0;
            let outcome = Ok(Message { bytes, fds: Vec::new() });
            results::<u64>(Finished::new(3, outcome), |r| errors += usize::from(r.is_err()));
            assert_eq!(errors, 3);
        }
    }
}
