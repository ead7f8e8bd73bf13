//! How long to look before sleeping.

use std::num::NonZero;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The longest that looking goes on: about what being woken by the kernel costs.
const LONGEST: Duration = Duration::from_micros(50);

/// What a trial takes: the other side may be asleep because this one was, and has to be woken first.
const TRIAL: Duration = Duration::from_micros(120);

/// One wait in so many is a trial where looking has not been paying off.
const TRIAL_EVERY: u32 = 32;

/// The score of waits that were all short.
const BEST: u32 = 16;

/// An estimate, for all connections of this process, of whether looking for a while saves being woken.
///
/// It is never more than a guess about time: two threads that change it at once do no harm.
pub(crate) struct Spin {
    /// Goes up with each wait that looking ended, and down with each that it did not.
    score: AtomicU32,
    waits: AtomicU32,
}

impl Spin {
    pub(crate) const fn new() -> Self {
        Self { score: AtomicU32::new(BEST / 2), waits: AtomicU32::new(0) }
    }

    /// Looks until `done` says true or the time that is worth it is over; returns whether it became true.
    pub(crate) fn until(&self, mut done: impl FnMut() -> bool) -> bool {
        if done() {
            return true;
        }
        if !has_processors() {
            return false;
        }
        let score = self.score.load(Ordering::Relaxed);
        let time = if score > 0 {
            LONGEST
        } else if self.waits.fetch_add(1, Ordering::Relaxed).is_multiple_of(TRIAL_EVERY) {
            TRIAL
        } else {
            return false;
        };
        let start = Instant::now();
        while start.elapsed() < time {
            if done() {
                self.score.store((score + 2).min(BEST), Ordering::Relaxed);
                return true;
            }
        }
        self.score.store(score.saturating_sub(1), Ordering::Relaxed);
        false
    }
}

/// Says whether there are two processors: on one, who looks keeps away the one that it waits for.
fn has_processors() -> bool {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    *SEVERAL.get_or_init(|| {
        std::thread::available_parallelism().is_ok_and(|count| count > NonZero::<usize>::MIN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_up_where_it_does_not_pay_off_and_tries_again_now_and_then() {
        let spin = Spin::new();
        for _ in 0..BEST {
            assert!(!spin.until(|| false));
        }
        let looks = |spin: &Spin| {
            let mut looks = 0_u32;
            spin.until(|| {
                looks += 1;
                false
            });
            looks
        };
        let trials = (0..TRIAL_EVERY).filter(|_| looks(&spin) > 1).count();
        assert_eq!(trials, usize::from(has_processors()));
    }

    #[test]
    fn keeps_on_where_it_pays_off() {
        let spin = Spin::new();
        for _ in 0..100 {
            let mut looks = 0;
            let found = spin.until(|| {
                looks += 1;
                looks == 2
            });
            assert_eq!(found, has_processors());
        }
    }
}
