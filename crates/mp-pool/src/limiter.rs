//! How often workers may die until others are not started any more, or not at once.

use std::time::{Duration, Instant};

use crate::dispatcher::Remains;

/// How many workers may die young, or at rest, before starting others is slowed down.
const BURST: u32 = 64;

/// How many may be started a second then.
const RATE: u32 = 50;

/// How many in a row may die before their initializer has run until the pool gives up, besides two for each slot.
const STILLBORN: u32 = 8;

/// Keeps a pool whose workers cannot live from starting them without end.
///
/// A worker that dies with a task does not count: the task is used up, so that has an end.
pub(crate) struct Limiter {
    tokens: f64,
    refilled: Instant,
    /// Workers in a row that died before they were ready.
    stillborn: u32,
    /// What the dispatcher had counted as ready when the last one of them died.
    readied: u64,
}

impl Limiter {
    pub(crate) fn new(now: Instant) -> Self {
        Self { tokens: BURST.into(), refilled: now, stillborn: 0, readied: 0 }
    }

    pub(crate) fn note(&mut self, remains: Remains, readied: u64) {
        if remains.expected || remains.task {
            return;
        }
        self.tokens -= 1.0;
        if remains.ready || readied != self.readied {
            self.stillborn = 0;
        }
        self.readied = readied;
        self.stillborn += u32::from(!remains.ready);
    }

    /// How long to wait before the next start.
    pub(crate) fn delay(&mut self, now: Instant) -> Duration {
        let passed = now.duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.tokens = (self.tokens + passed * f64::from(RATE)).min(BURST.into());
        if self.tokens >= 0.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(-self.tokens / f64::from(RATE))
    }

    pub(crate) fn is_hopeless(&self, slots: usize) -> bool {
        self.stillborn as usize > STILLBORN as usize + 2 * slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESTED: Remains = Remains { expected: false, ready: true, task: false };

    #[test]
    fn workers_that_die_with_their_tasks_are_replaced_at_once() {
        let now = Instant::now();
        let mut limiter = Limiter::new(now);
        for _ in 0..10_000 {
            limiter.note(Remains { task: true, ..RESTED }, 0);
            limiter.note(Remains { expected: true, ..RESTED }, 0);
        }
        assert!(limiter.delay(now).is_zero() && !limiter.is_hopeless(1));
    }

    #[test]
    fn workers_that_die_at_rest_are_replaced_more_and_more_slowly() {
        let now = Instant::now();
        let mut limiter = Limiter::new(now);
        for _ in 0..BURST {
            limiter.note(RESTED, 0);
        }
        assert!(limiter.delay(now).is_zero());
        limiter.note(RESTED, 0);
        assert!(!limiter.delay(now).is_zero());
        assert!(limiter.delay(now + Duration::from_secs(1)).is_zero());
        assert!(!limiter.is_hopeless(1));
    }

    #[test]
    fn workers_that_never_get_ready_are_given_up() {
        let mut limiter = Limiter::new(Instant::now());
        let stillborn = Remains { ready: false, ..RESTED };
        for _ in 0..=STILLBORN + 2 {
            assert!(!limiter.is_hopeless(1));
            limiter.note(stillborn, 0);
        }
        assert!(limiter.is_hopeless(1));
        limiter.note(stillborn, 1); // Another one was ready meanwhile.
        assert!(!limiter.is_hopeless(1));
    }
}
