//! How often workers may die until others are not started any more, or not at once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::Death;
use crate::dispatcher::Remains;

/// How many workers may die young, or at rest, before starting others is slowed down.
const BURST: u32 = 64;

/// How many may be started a second then.
const RATE: u32 = 50;

/// How many in a row may die before their initializer has run until the pool gives up, besides two for each slot.
const STILLBORN: u32 = 8;

/// Keeps a pool whose workers cannot live from starting them without end.
///
/// A worker that dies with a task does not count: the task is used up, so that has an end. Where the user says how many may be
/// lost in what time, each does, and the pool ends with the first one beyond; nothing is slowed down before that.
pub(crate) struct Limiter {
    tokens: f64,
    refilled: Instant,
    /// Workers in a row that died before they were ready.
    stillborn: u32,
    /// How the last of them ended.
    pub(crate) last_stillborn: Death,
    /// What the dispatcher had counted as ready when the last one of them died.
    readied: u64,
    /// How many may be lost in what time, if the user says so.
    most: Option<(u32, Duration)>,
    /// When they were, within that time.
    lost: VecDeque<Instant>,
}

impl Limiter {
    pub(crate) fn new(now: Instant, most: Option<(u32, Duration)>) -> Self {
        Self {
            tokens: BURST.into(),
            refilled: now,
            stillborn: 0,
            last_stillborn: Death::Unknown,
            readied: 0,
            most,
            lost: VecDeque::new(),
        }
    }

    /// A worker has died.
    pub(crate) fn note(&mut self, remains: Remains, readied: u64, now: Instant) {
        if remains.expected {
            return;
        }
        if let Some((_, within)) = self.most {
            self.lost.push_back(now);
            while self.lost.front().is_some_and(|&at| now.duration_since(at) > within) {
                self.lost.pop_front();
            }
        }
        if remains.task {
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
        if self.tokens >= 0.0 || self.most.is_some() {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(-self.tokens / f64::from(RATE))
    }

    /// Why no more workers should be started, if so.
    pub(crate) fn verdict(&self, slots: usize) -> Option<String> {
        if self.stillborn as usize > STILLBORN as usize + 2 * slots {
            let last = self.last_stillborn;
            return Some(format!("workers die before they are ready to work: the last {last}"));
        }
        let (most, within) = self.most.filter(|&(most, _)| self.lost.len() > most as usize)?;
        Some(format!("more than {most} workers were lost within {within:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESTED: Remains = Remains { expected: false, ready: true, task: false };

    #[test]
    fn workers_that_die_with_their_tasks_are_replaced_at_once() {
        let now = Instant::now();
        let mut limiter = Limiter::new(now, None);
        for _ in 0..10_000 {
            limiter.note(Remains { task: true, ..RESTED }, 0, now);
            limiter.note(Remains { expected: true, ..RESTED }, 0, now);
        }
        assert!(limiter.delay(now).is_zero() && limiter.verdict(1).is_none());
    }

    #[test]
    fn workers_that_die_at_rest_are_replaced_more_and_more_slowly() {
        let now = Instant::now();
        let mut limiter = Limiter::new(now, None);
        for _ in 0..BURST {
            limiter.note(RESTED, 0, now);
        }
        assert!(limiter.delay(now).is_zero());
        limiter.note(RESTED, 0, now);
        assert!(!limiter.delay(now).is_zero());
        assert!(limiter.delay(now + Duration::from_secs(1)).is_zero());
        assert!(limiter.verdict(1).is_none());
    }

    #[test]
    fn workers_that_never_get_ready_are_given_up() {
        let now = Instant::now();
        let mut limiter = Limiter::new(now, None);
        let stillborn = Remains { ready: false, ..RESTED };
        for _ in 0..=STILLBORN + 2 {
            assert!(limiter.verdict(1).is_none());
            limiter.note(stillborn, 0, now);
        }
        assert!(limiter.verdict(1).is_some());
        limiter.note(stillborn, 1, now); // Another one was ready meanwhile.
        assert!(limiter.verdict(1).is_none());
    }

    #[test]
    fn no_more_are_lost_in_a_time_than_the_user_says() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut limiter = Limiter::new(now, Some((2, 10 * second)));
        for after in [0, 6, 12, 18, 24] {
            limiter.note(Remains { task: true, ..RESTED }, 0, now + after * second);
            limiter.note(Remains { expected: true, ..RESTED }, 0, now + after * second);
            assert!(limiter.verdict(1).is_none());
        }
        limiter.note(RESTED, 0, now + 28 * second);
        assert!(limiter.verdict(1).is_some_and(|why| why.contains("more than 2 workers")));
        let mut limiter = Limiter::new(now, Some((1000, second)));
        for _ in 0..1000 {
            limiter.note(RESTED, 0, now);
        }
        assert!(limiter.delay(now).is_zero() && limiter.verdict(1).is_none());
    }
}
