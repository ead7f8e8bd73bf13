//! The ring of `mp-shared`, as the scenarios take it.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use mp_shared::ring::{GetError, PutError, Ring};
use mp_wire::Deadline;

use crate::channel::{Channel, Grows, Outcome, TORN};

/// A message is its id, nine times over: 72 bytes.
const COPIES: usize = 9;

/// A message takes 16 bytes for its head, and a multiple of 16 altogether.
const FOOTPRINT: usize = 16 + 80;

/// The smallest storage.
const ARENA: usize = 32 * 1024;

/// A ring whose messages show whether they are whole.
pub(crate) struct TestRing {
    ring: Ring,
    bytes: RefCell<Vec<u8>>,
    sequence: Cell<u64>,
}

/// The message of an id.
pub(crate) fn message(id: u64) -> Vec<u8> {
    id.to_ne_bytes().repeat(COPIES)
}

/// The id of a message.
pub(crate) fn id(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    match words {
        [first, others @ ..] if others.len() == COPIES - 1 && rest.is_empty() => {
            let whole = others.iter().all(|word| word == first);
            if whole { u64::from_ne_bytes(*first) } else { TORN }
        }
        _ => TORN,
    }
}

fn deadline(timeout: Option<Duration>) -> Deadline {
    match timeout {
        Some(Duration::ZERO) => Deadline::NOW,
        timeout => Deadline::from_timeout(timeout),
    }
}

impl Channel for TestRing {
    fn make(bound: Option<usize>) -> Self {
        let ring = Ring::bounded(bound.unwrap_or(0)).expect("a ring");
        Self { ring, bytes: RefCell::default(), sequence: Cell::default() }
    }

    fn put(&self, id: u64, timeout: Option<Duration>) -> Outcome {
        match self.ring.put(id, &[&message(id)], deadline(timeout)) {
            Ok(()) => Outcome::Done(id),
            Err(PutError::Full) => Outcome::TimedOut,
            Err(PutError::Closed) => Outcome::Closed,
            Err(_) => Outcome::Failed,
        }
    }

    fn get(&self, timeout: Option<Duration>) -> Outcome {
        let mut bytes = self.bytes.borrow_mut();
        match self.ring.get(&mut bytes, deadline(timeout)) {
            Ok(item) => {
                self.sequence.set(item.sequence);
                let id = id(&bytes);
                Outcome::Done(if item.tag == id { id } else { TORN })
            }
            Err(GetError::Empty) => Outcome::TimedOut,
            Err(GetError::Closed) => Outcome::Closed,
            Err(_) => Outcome::Failed,
        }
    }

    fn len(&self) -> usize {
        self.ring.len().expect("a ring that is whole")
    }

    fn close(&self) {
        self.ring.close();
    }

    fn is_closed(&self) -> bool {
        self.ring.is_closed()
    }

    fn sequence(&self) -> Option<u64> {
        Some(self.sequence.get())
    }
}

impl Grows for TestRing {
    fn fill_to_growth() -> usize {
        // A jump needs 16 bytes behind the last message.
        (ARENA - 16) / FOOTPRINT
    }
}
