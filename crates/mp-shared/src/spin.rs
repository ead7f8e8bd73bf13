//! How long to look before sleeping.

use std::hint;
use std::num::NonZero;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The longest that looking goes on: about what being woken by the kernel costs.
const LONGEST: Duration = Duration::from_micros(40);

/// What is tried even where looking has not paid off of late, as a share of the longest.
const SHORTEST_SHARE: u32 = 32;

/// A budget of looks at a word before sleeping on it, which adapts to whether looking has been paying off.
///
/// It is zero where this process may use one processor only: who spins there keeps away the one that it waits for.
/// One belongs to each place of waiting in a process; it is not shared between processes.
///
/// # Examples
///
/// ```
/// use mp_shared::spin::Spin;
///
/// let spin = Spin::new();
/// assert!(spin.until(|| true));
/// assert!(!spin.until(|| false));
/// ```
#[derive(Debug)]
pub struct Spin {
    /// Looks allowed; `UNKNOWN` before the first use.
    budget: AtomicU32,
}

const UNKNOWN: u32 = u32::MAX;

impl Spin {
    /// Makes a budget that has no experience yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { budget: AtomicU32::new(UNKNOWN) }
    }

    /// Looks until `done` says true or the budget is used up; returns whether it became true.
    #[inline]
    pub fn until(&self, mut done: impl FnMut() -> bool) -> bool {
        if done() {
            return true;
        }
        let longest = longest();
        let budget = self.budget.load(Ordering::Relaxed).min(longest);
        for _ in 0..budget {
            hint::spin_loop();
            if done() {
                // It paid off: allow more.
                self.budget.store((budget.saturating_mul(2)).min(longest), Ordering::Relaxed);
                return true;
            }
        }
        self.budget.store((budget / 2).max(longest / SHORTEST_SHARE), Ordering::Relaxed);
        false
    }
}

impl Default for Spin {
    fn default() -> Self {
        Self::new()
    }
}

/// How many looks fit into the longest time, on this processor; zero if there is one only.
fn longest() -> u32 {
    // Not a `OnceLock`: a fork while another thread initializes it would leave it locked in the child.
    static LOOKS: AtomicU32 = AtomicU32::new(UNKNOWN);
    let known = LOOKS.load(Ordering::Relaxed);
    if known != UNKNOWN {
        return known;
    }
    let several =
        std::thread::available_parallelism().is_ok_and(|count| count > NonZero::<usize>::MIN);
    let looks = if several { calibrate() } else { 0 };
    LOOKS.store(looks, Ordering::Relaxed);
    looks
}

/// Measures the pause instruction, which takes from 5 to 150 ns depending on the processor.
fn calibrate() -> u32 {
    const SAMPLE: u32 = 128;
    let start = Instant::now();
    for _ in 0..SAMPLE {
        hint::spin_loop();
    }
    let sample = start.elapsed().as_nanos().max(1);
    let looks = LONGEST.as_nanos() * u128::from(SAMPLE) / sample;
    u32::try_from(looks).unwrap_or(u32::MAX).clamp(64, 16384)
}
