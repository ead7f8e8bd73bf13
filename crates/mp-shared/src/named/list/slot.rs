//! How a value lies in a list.
//!
//! ```text
//! list:  count, room of each slot, the slots        (all of eight bytes, or a multiple of them)
//! slot:  state, room bytes, room bytes
//! state: bits 0 to 2 the kind of value, bit 3 which of the two rooms has it, the rest its length in bytes
//! ```
//!
//! Whoever sets a slot has the list's lock. It writes into the room that is not in use, then the state, in one step: if it
//! is killed before, the old value is there, whole; if after, the new one. The rooms are read once, by whoever attaches.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release};

use super::ListItem;
use crate::object::Object;
use crate::{Error, ErrorKind};

/// All that is in a list begins at a multiple of this.
const WORD: usize = 8;

const NONE: u64 = 0;
const BOOL: u64 = 1;
const INT: u64 = 2;
const FLOAT: u64 = 3;
const STR: u64 = 4;
const BYTES: u64 = 5;
const KIND: u64 = 0b111;
const SECOND: u64 = 0b1000;
const LEN_SHIFT: u32 = 4;

/// Where one value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Where the state is, from the beginning of the list.
    at: usize,
    pub(super) room: usize,
}

/// The room that Python gives a value: that of a text grows by eight bytes, with at least one to spare.
pub(super) fn room_of(item: &ListItem) -> usize {
    let len = match item {
        ListItem::Str(text) => text.len(),
        ListItem::Bytes(bytes) => bytes.len(),
        _ => return WORD,
    };
    (len / WORD + 1) * WORD
}

/// Where slots with these rooms lie, and how many bytes the list has; `None` if there are not so many addresses.
pub(super) fn lay(rooms: &[usize]) -> Option<(Vec<Slot>, usize)> {
    let mut end = rooms.len().checked_add(1)?.checked_mul(WORD)?;
    let mut slots = Vec::with_capacity(rooms.len());
    for &room in rooms {
        slots.push(Slot { at: end, room });
        end = room.checked_mul(2)?.checked_add(WORD)?.checked_add(end)?;
    }
    Some((slots, end))
}

fn corrupt() -> Error {
    Error::corrupt("a list in shared memory does not make sense")
}

fn word(object: &Object, at: usize) -> Result<&AtomicU64, Error> {
    object.view(at)
}

/// Writes how many slots there are, and what room each has.
pub(super) fn write_rooms(object: &Object, rooms: &[usize]) -> Result<(), Error> {
    word(object, 0)?.store(rooms.len() as u64, Relaxed);
    for (index, &room) in rooms.iter().enumerate() {
        word(object, (index + 1) * WORD)?.store(room as u64, Relaxed);
    }
    Ok(())
}

/// Finds the slots of a list that somebody else has made; all of them lie in it.
pub(super) fn find(object: &Object) -> Result<Vec<Slot>, Error> {
    let words = object.len() / WORD;
    let read = |at| {
        let value = word(object, at).map_err(|_| corrupt())?.load(Relaxed);
        usize::try_from(value).map_err(|_| corrupt())
    };
    // Also so that no memory is asked for that the list does not have itself.
    let count = if words == 0 { Err(corrupt()) } else { read(0) }?;
    if count >= words {
        return Err(corrupt());
    }
    let rooms: Vec<usize> =
        (1..=count).map(|index| read(index * WORD)).collect::<Result<_, Error>>()?;
    let whole = rooms.iter().all(|room| *room >= WORD && room % WORD == 0);
    match lay(&rooms) {
        Some((slots, end)) if whole && end == object.len() => Ok(slots),
        _ => Err(corrupt()),
    }
}

/// What the state of a slot says.
struct State {
    kind: u64,
    second: bool,
    len: usize,
}

impl Slot {
    fn state(self, object: &Object) -> Result<State, Error> {
        let state = word(object, self.at)?.load(Relaxed);
        let len = usize::try_from(state >> LEN_SHIFT).map_err(|_| corrupt())?;
        let (kind, second) = (state & KIND, state & SECOND != 0);
        let fits = match kind {
            NONE => len == 0,
            BOOL => len <= 1,
            INT | FLOAT => len == WORD,
            STR | BYTES => len <= self.room,
            _ => false,
        };
        if fits { Ok(State { kind, second, len }) } else { Err(corrupt()) }
    }

    /// Where the bytes are, or shall be.
    fn bytes(self, second: bool) -> usize {
        self.at + WORD + if second { self.room } else { 0 }
    }

    /// Copies the value out. Nobody sets the slot meanwhile.
    pub(super) fn read(self, object: &Object) -> Result<Raw, Error> {
        let State { kind, second, len } = self.state(object)?;
        let at = self.bytes(second);
        let mut number = [0; WORD];
        let mut bytes = Vec::new();
        match kind {
            INT | FLOAT => object.read(at, &mut number)?,
            STR | BYTES => {
                bytes = vec![0; len];
                object.read(at, &mut bytes)?;
            }
            _ => {}
        }
        Ok(Raw { kind, len, number, bytes })
    }

    /// Writes a value. The caller has the lock; whoever is killed here leaves the old or the new one.
    pub(super) fn write(self, object: &Object, item: &ListItem) -> Result<(), Error> {
        let number;
        let (kind, len, bytes): (u64, usize, &[u8]) = match item {
            ListItem::None => (NONE, 0, &[]),
            ListItem::Bool(value) => (BOOL, usize::from(*value), &[]),
            ListItem::Int(value) => {
                number = value.to_ne_bytes();
                (INT, WORD, &number)
            }
            ListItem::Float(value) => {
                number = value.to_ne_bytes();
                (FLOAT, WORD, &number)
            }
            ListItem::Str(text) => (STR, text.len(), text.as_bytes()),
            ListItem::Bytes(bytes) => (BYTES, bytes.len(), bytes),
        };
        if bytes.len() > self.room {
            let (len, room) = (bytes.len(), self.room);
            let what = format!("{len} bytes do not fit in a slot that has room for {room}");
            return Err(Error::new(ErrorKind::TooLong, what));
        }
        let word = word(object, self.at)?;
        // Whatever it is, one of the two rooms is not the one that it says.
        let second = (word.load(Relaxed) & SECOND == 0) != cfg!(mp_bug = "list_in_place");
        let state = kind | (len as u64) << LEN_SHIFT | if second { SECOND } else { 0 };
        if cfg!(mp_bug = "list_flip_first") {
            word.store(state, Release);
        }
        object.write(self.bytes(second), bytes)?;
        // After the bytes, in the order in which the kernel could stop this thread, and for all who look.
        word.store(state, Release);
        Ok(())
    }

    /// What Python's `struct` calls what is stored.
    pub(super) fn format(self, object: &Object) -> Result<String, Error> {
        Ok(match self.state(object)?.kind {
            NONE => "xxxxxx?x".to_owned(),
            BOOL => "xxxxxxx?".to_owned(),
            INT => "q".to_owned(),
            FLOAT => "d".to_owned(),
            _ => format!("{}s", self.room),
        })
    }
}

/// A value as it was copied out.
pub(super) struct Raw {
    kind: u64,
    len: usize,
    number: [u8; WORD],
    bytes: Vec<u8>,
}

impl Raw {
    /// Makes sense of it.
    pub(super) fn into_item(self) -> Result<ListItem, Error> {
        Ok(match self.kind {
            NONE => ListItem::None,
            BOOL => ListItem::Bool(self.len != 0),
            INT => ListItem::Int(i64::from_ne_bytes(self.number)),
            FLOAT => ListItem::Float(f64::from_ne_bytes(self.number)),
            STR => ListItem::Str(String::from_utf8(self.bytes).map_err(|_| corrupt())?),
            _ => ListItem::Bytes(self.bytes),
        })
    }
}
