//! From a caller's input to units: pulls items, encodes them, cuts them into chunks.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::Serialize;

use crate::TaskError;
use crate::batch::{Batch, Encoder};
use crate::dispatcher::Unit;
use crate::job::{Finished, Job};
use crate::split::Split;
use crate::transport::Parcel;

/// The input of one call. User code (the iterator, `Serialize`) runs in here, under no lock.
pub(crate) struct Feed<I: Iterator> {
    input: I,
    encoder: Encoder<I::Item>,
    /// An item that does not encode, met after items that do.
    failed: Option<mp_wire::Error>,
    /// The input panicked. Its panic goes on when everything before it has been given out.
    panic: Option<Box<dyn Any + Send>>,
    over: bool,
    /// What was pulled last was large.
    is_heavy: bool,
}

impl<I: Iterator<Item: Serialize + 'static>> Feed<I> {
    pub(crate) fn new(input: I) -> Self {
        Self::splitting(input, None)
    }

    /// The input of a function whose large arguments are lent each for itself.
    pub(crate) fn splitting(input: I, split: Option<Split<I::Item>>) -> Self {
        let encoder = Encoder::splitting(split);
        Self { input, encoder, failed: None, panic: None, over: false, is_heavy: false }
    }

    /// Pulls up to `most` items and makes one unit of them, fewer if they are large. `None` at the end of the input.
    ///
    /// An item that does not encode ends the chunk before it and becomes a chunk of its own, which has failed.
    pub(crate) fn next(&mut self, most: usize) -> Option<Result<Batch, mp_wire::Error>> {
        let mut count = 0;
        self.encoder.expect(self.input.size_hint().0.min(most));
        while count < most && !self.encoder.is_full() && self.failed.is_none() && !self.over {
            match catch_unwind(AssertUnwindSafe(|| {
                self.input.next().map(|item| self.encoder.push(item))
            })) {
                Ok(Some(Ok(()))) => count += 1,
                Ok(Some(Err(error))) => self.failed = Some(error),
                Ok(None) => self.over = true,
                Err(panic) => {
                    self.over = true;
                    self.panic = Some(panic);
                }
            }
        }
        self.is_heavy = self.encoder.is_full();
        if count > 0 { Some(self.encoder.finish()) } else { self.failed.take().map(Err) }
    }

    /// Says whether what was pulled last was large: more of it is better not made before somebody has room for it.
    pub(crate) fn is_heavy(&self) -> bool {
        self.is_heavy
    }

    /// Says whether the input may have more.
    pub(crate) fn has_more(&self) -> bool {
        !self.over || self.failed.is_some()
    }

    /// Pulls nothing any more.
    pub(crate) fn stop(&mut self) {
        self.over = true;
        self.failed = None;
    }

    /// The panic of the input, once.
    pub(crate) fn take_panic(&mut self) -> Option<Box<dyn Any + Send>> {
        self.panic.take()
    }

    /// How many items are left to be pulled.
    pub(crate) fn size_hint(&self) -> (usize, Option<usize>) {
        let failed = usize::from(self.failed.is_some());
        if self.over {
            return (failed, Some(failed));
        }
        let (low, high) = self.input.size_hint();
        (low.saturating_add(failed), high.and_then(|high| high.checked_add(failed)))
    }
}

/// How many units are submitted together at most, and how long they may take, in nanoseconds: what the input keeps us from submitting
/// is no more work than that.
const TOGETHER: u64 = 32;
const TOGETHER_TIME: u64 = 100_000;

/// How many units of so many tasks may be submitted together: several if they are short, by what is known of their job.
pub(crate) fn together(job: &Job, chunk: usize) -> usize {
    let unit = job.pace().saturating_mul(chunk as u64);
    let units = TOGETHER_TIME.checked_div(unit).unwrap_or(1);
    units.clamp(1, TOGETHER) as usize
}

/// Makes a unit of a batch and adds it to its job; one that failed to encode is finished at once.
pub(crate) fn unit(
    job: &Arc<Job>,
    entry: u64,
    batch: Result<Batch, mp_wire::Error>,
) -> Option<Unit> {
    let place = job.add();
    match batch {
        Ok(Batch { items, bytes, fds, .. }) => {
            let watched = job.terms.are_limited();
            let parcel = Parcel { id: 0, from: 0, end: items, entry, watched, bytes, fds };
            Some(Unit::new(job.clone(), place, parcel))
        }
        Err(error) => {
            let outcome = Err(TaskError::encode(error));
            job.complete(place, Finished::new(1, outcome));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes<T: Serialize + 'static>(items: Vec<T>) -> Vec<u32> {
        let mut feed = Feed::new(items.into_iter());
        std::iter::from_fn(|| feed.next(5)).map(|batch| batch.unwrap().items).collect()
    }

    #[test]
    fn large_items_travel_alone() {
        assert_eq!(sizes(vec![0_u8; 10]), [5, 5]);
        assert_eq!(sizes(vec![(vec![0_u8; 1 << 20],); 3]), [1, 1, 1]);
        assert_eq!(sizes(vec![(vec![0_u8; 256 << 10],); 5]), [2, 2, 1]);
        assert_eq!(sizes(vec![(1, "a".repeat(400 << 10)); 3]), [2, 1]);
    }
}
