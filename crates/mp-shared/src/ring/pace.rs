//! Letting items gather before looking for them.

use std::hint;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// How often to pause for items to gather: some hundred nanoseconds.
const PAUSES: u32 = 12;

/// So many items at once are worth the pause.
const WORTH: u64 = 3;

/// After how many looks to try again, at first and at the most.
const TRIAL_EVERY: (u32, u32) = (8, 1024);

/// An estimate of whether it is better to look for the next items a moment later.
///
/// Where consumers are a little faster than producers they catch up with every item, and fetch the line of the producers' word for
/// each, while those write there: each waits for the other's cache. If they pause instead, some items gather, and one look finds them all.
/// Where an item comes only after an answer to the one before, a pause finds no more than that one: so it is tried now
/// and then, and kept up as long as it pays off.
///
/// One belongs to each ring in a process. Only ever a guess: two threads that change it at once do no harm.
#[derive(Debug)]
pub(super) struct Pace {
    /// How many looks without a pause come before the next one with it.
    left: AtomicU32,
    every: AtomicU32,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { left: AtomicU32::new(TRIAL_EVERY.0), every: AtomicU32::new(TRIAL_EVERY.0) }
    }

    /// Pauses, if that is worth while; says whether it has.
    #[inline]
    pub(super) fn pause(&self) -> bool {
        let left = self.left.load(Relaxed);
        if left > 0 {
            self.left.store(left - 1, Relaxed);
            return false;
        }
        for _ in 0..PAUSES {
            hint::spin_loop();
        }
        true
    }

    /// Learns how many items there were after a pause.
    #[inline]
    pub(super) fn learn(&self, items: u64) {
        if items >= WORTH {
            self.every.store(TRIAL_EVERY.0, Relaxed);
        } else {
            let every = self.every.load(Relaxed);
            self.left.store(every, Relaxed);
            self.every.store((every * 2).min(TRIAL_EVERY.1), Relaxed);
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}
