//! Says whether what several processes did to a queue, each for itself, could have happened one after the other.
//!
//! A history is accepted if there is an order of its operations that keeps to their times (an operation that had returned before
//! another was called comes first) in which a [`VecDeque`] would have answered each as the queue did. An operation that never
//! returned, because its process was killed, may have happened at any time after its call, or not at all.

use std::collections::{HashSet, VecDeque};

/// What was asked for, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// Put this item.
    Put(u64),
    /// Tried to put this item, and there was no room.
    Full(u64),
    /// Took this item.
    Took(u64),
    /// Tried to take an item, and there was none.
    Empty,
    /// Was about to put this item, and was killed.
    Putting(u64),
    /// Was about to take an item, and was killed.
    Taking,
}

/// An operation, and when it was called and returned, by a clock that all share.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// What it did.
    pub did: Did,
    /// When it was called.
    pub called: u64,
    /// When it returned; the end of time if it did not.
    pub returned: u64,
}

struct Search<'a> {
    history: &'a [Operation],
    bound: usize,
    /// Those that were tried: which have happened, and what the queue held then.
    seen: HashSet<(u64, Vec<u64>)>,
}

/// Says whether the history can be explained; the queue is empty at first and holds at most `bound` items.
///
/// # Panics
///
/// It has more than 64 operations.
#[must_use]
pub fn is_linearizable(history: &[Operation], bound: Option<usize>) -> bool {
    assert!(history.len() <= 64, "a history of {} operations", history.len());
    let bound = bound.unwrap_or(usize::MAX);
    Search { history, bound, seen: HashSet::new() }.from(0, &VecDeque::new())
}

impl Search<'_> {
    fn from(&mut self, happened: u64, queue: &VecDeque<u64>) -> bool {
        let left =
            || self.history.iter().enumerate().filter(move |(at, _)| happened >> at & 1 == 0);
        // What has to come before whatever is called after it.
        let Some(first) = left().map(|(_, it)| it.returned).filter(|&at| at < u64::MAX).min()
        else {
            return true;
        };
        if !self.seen.insert((happened, queue.iter().copied().collect())) {
            return false;
        }
        let next: Vec<_> = left().filter(|(_, it)| it.called < first).map(|(at, _)| at).collect();
        next.into_iter().any(|at| {
            let mut queue = queue.clone();
            let fits = match self.history[at].did {
                Did::Put(_) | Did::Putting(_) if queue.len() >= self.bound => false,
                Did::Put(id) | Did::Putting(id) => {
                    queue.push_back(id);
                    true
                }
                Did::Full(_) => queue.len() >= self.bound,
                Did::Took(id) => queue.pop_front() == Some(id),
                Did::Taking => queue.pop_front().is_some(),
                Did::Empty => queue.is_empty(),
            };
            fits && self.from(happened | 1 << at, &queue)
        })
    }
}
