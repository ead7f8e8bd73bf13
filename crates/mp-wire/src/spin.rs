//! How long to look before sleeping.

use std::hint;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The longest that looking goes on: about what being woken by the kernel costs.
const LONGEST: Duration = Duration::from_micros(50);

/// What a trial takes: the other side may be asleep because this one was, and has to be woken first.
const TRIAL: Duration = Duration::from_micros(120);

/// One wait in so many is a trial where looking has not been paying off.
const TRIAL_EVERY: u32 = 32;

/// The score of waits that were all short.
const BEST: u32 = 16;

/// How often to look between two looks at the clock, which costs more.
const LOOKS: u32 = 16;

/// An estimate of whether looking again for a while saves being woken by the kernel.
///
/// Being woken costs tens of microseconds, a hand-over between two processes that both run a tenth of one. So whoever
/// waits looks for about as long as being woken would take, as long as that has been paying off; where it has not, it
/// sleeps at once, and tries again now and then. Where this process may use one processor alone it never looks: it would keep
/// away the one that it waits for.
///
/// One belongs to each place of waiting in a process; it is not shared between processes.
///
/// # Examples
///
/// ```
/// let spin = mp_wire::Spin::new();
/// assert!(spin.until(|| true));
/// assert!(!spin.until(|| false));
/// ```
#[derive(Debug)]
pub struct Spin {
    /// Goes up with each wait that looking ended, and down with each that it did not. Only ever a guess: two threads that
    /// change it at once do no harm.
    score: AtomicU32,
    waits: AtomicU32,
}

impl Spin {
    /// Makes an estimate that has no experience yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { score: AtomicU32::new(BEST / 2), waits: AtomicU32::new(0) }
    }

    /// Looks until `done` says true or the time that is worth it is over; returns whether it became true.
    #[inline]
    pub fn until(&self, mut done: impl FnMut() -> bool) -> bool {
        if done() {
            return true;
        }
        let Some(time) = self.time() else { return false };
        let score = self.score.load(Relaxed);
        let start = Instant::now();
        loop {
            for _ in 0..LOOKS {
                hint::spin_loop();
                if done() {
                    self.score.store((score + 2).min(BEST), Relaxed);
                    return true;
                }
            }
            if start.elapsed() >= time {
                self.score.store(score.saturating_sub(1), Relaxed);
                return false;
            }
        }
    }

    /// How long to look this time.
    fn time(&self) -> Option<Duration> {
        if !has_company() {
            None
        } else if self.score.load(Relaxed) > 0 {
            Some(LONGEST)
        } else {
            let trial = self.waits.fetch_add(1, Relaxed).is_multiple_of(TRIAL_EVERY);
            trial.then_some(TRIAL)
        }
    }
}

impl Default for Spin {
    fn default() -> Self {
        Self::new()
    }
}

/// Says whether there is another processor, on which what we look at could change while we look.
fn has_company() -> bool {
    const UNKNOWN: u8 = 0;
    const ALONE: u8 = 1;
    const COMPANY: u8 = 2;
    // Not a `OnceLock`: a process that is forked while another thread fills one waits for that thread for ever.
    static KNOWN: AtomicU8 = AtomicU8::new(UNKNOWN);
    let mut known = KNOWN.load(Relaxed);
    if known == UNKNOWN {
        let several = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
        known = if several { COMPANY } else { ALONE };
        KNOWN.store(known, Relaxed);
    }
    known == COMPANY
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
        assert_eq!(trials, usize::from(has_company()));
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
            assert_eq!(found, has_company());
        }
    }
}
