//! Puts the results of a unit together that came in parts, or from several workers.

use parking_lot::Mutex;

use crate::job::{Finished, Outcome};

/// The parts of a unit that are there, by the first task of each.
#[derive(Debug)]
pub(crate) struct Parts(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    there: Vec<(u32, Finished)>,
    /// Tasks that have no result.
    missing: u32,
}

impl Parts {
    pub(crate) fn new(tasks: u32) -> Self {
        Self(Mutex::new(Inner { there: Vec::new(), missing: tasks }))
    }

    /// Adds what became of some tasks; gives all of them when these were the last.
    pub(crate) fn add(&self, from: u32, items: u32, outcome: Outcome) -> Option<Finished> {
        let mut inner = self.0.lock();
        inner.there.push((from, Finished::new(items, outcome)));
        inner.missing = inner.missing.saturating_sub(items);
        if inner.missing > 0 {
            return None;
        }
        inner.there.sort_by_key(|&(from, _)| from);
        let mut parts = std::mem::take(&mut inner.there).into_iter().map(|(_, part)| part);
        let mut first = parts.next()?;
        first.more = parts.collect();
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mp_wire::Message;

    #[test]
    fn parts_come_out_whole_and_in_order() {
        let parts = Parts::new(6);
        let result = || Ok(Message::default());
        assert!(parts.add(4, 2, result()).is_none());
        assert!(parts.add(0, 3, result()).is_none());
        let whole = parts.add(3, 1, Err(crate::TaskError::Cancelled)).unwrap();
        assert!(whole.items == 3 && whole.outcome.is_ok());
        let more: Vec<_> =
            whole.more.iter().map(|part| (part.items, part.outcome.is_ok())).collect();
        assert_eq!(more, [(1, false), (2, true)]);
    }
}
