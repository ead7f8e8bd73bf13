//! How the arguments and the results of a unit lie in its bytes.
//!
//! Values of plain types, which cannot fail to encode or decode, go as one sequence. All others are framed one by one, so
//! that one that fails concerns no other:
//!
//! ```text
//! whole    sequence | tag 0
//! framed   bytes of each task | for each task: how u8, bytes u64, descriptors u32 | tasks u32 | tag 1
//! ```
//!
//! The table comes last so that the bytes of a large value need not be moved to make room for it.

use std::any::TypeId;

use mp_process::Panic;
use mp_wire::{Fd, Message, decode, encode_into};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::job::Finished;

const WHOLE: u8 = 0;
const FRAMED: u8 = 1;

/// How a task went, in its frame.
const DONE: u8 = 0;
const PANICKED: u8 = 1;
const FAILED: u8 = 2;

/// Length of a task's entry in the table, and of what stands behind the table.
const ENTRY: usize = 13;
const FOOT: usize = 5;

/// Arguments or results of one unit.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) items: u32,
    /// At least one of them panicked.
    pub(crate) panicked: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<Fd>,
}

macro_rules! is_one_of {
    ($type:ty: $($plain:ty)*) => {{
        let this = TypeId::of::<$type>();
        false $(|| this == TypeId::of::<$plain>() || this == TypeId::of::<($plain,)>())*
    }};
}

/// Says whether whatever encodes to this type's bytes also decodes, so that nothing has to be framed.
fn is_plain<T: 'static>() -> bool {
    is_one_of!(T: () bool u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 String)
}

/// Collects values into a batch.
pub(crate) struct Encoder<T> {
    values: Vec<T>,
    batch: Batch,
    table: Vec<u8>,
    scratch: Message,
}

impl<T: Serialize + 'static> Encoder<T> {
    pub(crate) fn new() -> Self {
        let (batch, scratch) = (Batch::default(), Message::default());
        Self { values: Vec::new(), batch, table: Vec::new(), scratch }
    }

    /// Adds a value. If it does not encode, the batch is as it was before.
    pub(crate) fn push(&mut self, value: T) -> Result<(), mp_wire::Error> {
        if is_plain::<T>() && self.table.is_empty() {
            self.values.push(value);
        } else {
            encode_into(&value, &mut self.scratch)?;
            self.frame(DONE);
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

    fn push_other<V: Serialize>(&mut self, how: u8, value: &V) {
        // What was collected for a sequence needs frames now. Plain values and text always encode.
        for value in std::mem::take(&mut self.values) {
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
        if self.table.is_empty() {
            encode_into(&self.values, &mut self.scratch)?;
            self.values.clear();
            batch.bytes = std::mem::take(&mut self.scratch.bytes);
            batch.bytes.push(WHOLE);
        } else {
            batch.bytes.append(&mut self.table);
            batch.bytes.extend(batch.items.to_ne_bytes());
            batch.bytes.push(FRAMED);
        }
        Ok(batch)
    }
}

/// One task of a batch that could be read at all.
pub(crate) enum Item<T> {
    Value(T),
    Panicked(Panic),
    Failed(String),
    /// The bytes are not a value of this type.
    Malformed(mp_wire::Error),
}

/// Hands out the items of a batch one by one. Fails where the batch itself makes no sense; what came before stands.
pub(crate) fn read<T: DeserializeOwned + 'static>(
    bytes: &[u8],
    fds: &[Fd],
    mut each: impl FnMut(Item<T>),
) -> Result<(), mp_wire::Error> {
    match bytes.split_last() {
        Some((&WHOLE, sequence)) => {
            for value in decode::<Vec<T>>(sequence, fds)? {
                each(Item::Value(value));
            }
            Ok(())
        }
        Some((&FRAMED, _)) => match frames(bytes, fds, &mut each) {
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
    each: &mut impl FnMut(Item<T>),
) -> Option<()> {
    let (body, foot) = bytes.split_at_checked(bytes.len().checked_sub(FOOT)?)?;
    let tasks = u32::from_ne_bytes(foot.get(..4)?.try_into().ok()?) as usize;
    let (mut body, table) = body.split_at_checked(body.len().checked_sub(tasks * ENTRY)?)?;
    let mut fds = fds;
    for entry in table.chunks_exact(ENTRY) {
        let length = u64::from_ne_bytes(entry.get(1..9)?.try_into().ok()?);
        let count = u32::from_ne_bytes(entry.get(9..)?.try_into().ok()?);
        let (bytes, rest) = body.split_at_checked(usize::try_from(length).ok()?)?;
        let (mine, others) = fds.split_at_checked(count as usize)?;
        (body, fds) = (rest, others);
        each(match entry.first() {
            Some(&DONE) => decode(bytes, mine).map_or_else(Item::Malformed, Item::Value),
            Some(&PANICKED) => decode(bytes, mine).map_or_else(Item::Malformed, Item::Panicked),
            _ => decode(bytes, mine).map_or_else(Item::Malformed, Item::Failed),
        });
    }
    Some(())
}

/// Says of bytes that are no batch what the codec says of bytes that end too soon.
fn malformed() -> Result<(), mp_wire::Error> {
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
