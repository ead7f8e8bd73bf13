//! On what terms the tasks of a call run: limits, retries, priority.

use std::time::Duration;

use crate::TaskError;

/// The terms of a job. Those of the pool stand where a call says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Terms {
    /// After so long a task is asked to stop.
    pub(crate) soft: Option<Duration>,
    /// After so long it is ended.
    pub(crate) hard: Option<Duration>,
    /// The most resident memory of its worker.
    pub(crate) memory: Option<u64>,
    /// The most processor time.
    pub(crate) cpu: Option<Duration>,
    pub(crate) retry: Option<Retry>,
    /// Higher ones go first.
    pub(crate) priority: i32,
}

impl Terms {
    /// Somebody has to look after its tasks while they run.
    pub(crate) fn are_limited(&self) -> bool {
        self.soft.is_some() || self.hard.is_some() || self.memory.is_some() || self.cpu.is_some()
    }

    /// How many tasks may travel together, of so many that the call says. They travel alone unless it says otherwise: each has its
    /// own limits and attempts.
    pub(crate) fn chunk(&self, wanted: Option<usize>) -> Option<usize> {
        if self.retry.is_some_and(|retry| retry.is_for_panics()) {
            return Some(1);
        }
        wanted.or((self.are_limited() || self.retry.is_some()).then_some(1))
    }
}

/// When and how often a task that failed is run again.
///
/// By default after the death of its worker only; a task whose worker died may have done part of its work, so it should be
/// one that can be repeated.
///
/// # Examples
///
/// ```
/// use mp_pool::{Pool, Retry};
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// static CALLS: AtomicU32 = AtomicU32::new(0);
///
/// fn works_at_the_third_call() -> u32 {
///     let call = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
///     assert!(call >= 3);
///     call
/// }
///
/// let pool = Pool::new(1)?;
/// let retry = Retry::times(5).on_panic();
/// assert_eq!(pool.retry(retry).apply(works_at_the_third_call, ())?, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "it does nothing until a pool or a call is given it"]
pub struct Retry {
    times: u32,
    delay: Duration,
    backoff: u32,
    panics: bool,
    limits: bool,
}

impl Retry {
    /// Runs a task again up to this many times when its worker dies.
    pub fn times(times: u32) -> Self {
        Self { times, delay: Duration::ZERO, backoff: 1, panics: false, limits: false }
    }

    /// Runs it again when it panicked, too. Such tasks travel one by one, whatever the chunk size.
    pub fn on_panic(mut self) -> Self {
        self.panics = true;
        self
    }

    /// Runs it again when it was ended at a limit of time, memory or processor time, too.
    pub fn on_limit(mut self) -> Self {
        self.limits = true;
        self
    }

    /// Waits so long before it is run again.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Multiplies the delay by this from each time to the next.
    pub fn backoff(mut self, factor: u32) -> Self {
        self.backoff = factor;
        self
    }

    /// Panics are to be told apart task by task.
    pub(crate) fn is_for_panics(&self) -> bool {
        self.panics
    }

    /// After what delay to run it again that failed so at this attempt, counted from zero; `None` if not at all.
    pub(crate) fn after(&self, attempt: u32, failure: Failure<'_>) -> Option<Duration> {
        let wanted = match failure {
            Failure::Panic => self.panics,
            Failure::Error(TaskError::Died { .. }) => true,
            Failure::Error(
                TaskError::TimeLimit | TaskError::MemoryLimit { .. } | TaskError::CpuLimit,
            ) => self.limits,
            Failure::Error(_) => false,
        };
        let factor = self.backoff.saturating_pow(attempt);
        (wanted && attempt < self.times).then(|| self.delay.saturating_mul(factor))
    }
}

/// How a task failed, as far as the dispatcher can see.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure<'e> {
    /// The worker says so; what it says is not decoded.
    Panic,
    Error(&'e TaskError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Death;

    #[test]
    fn retries_end_and_wait_longer_each_time() {
        let retry = Retry::times(3).delay(Duration::from_millis(5)).backoff(2);
        let died = TaskError::Died { death: Death::Unknown };
        let delays: Vec<_> =
            (0..5).map(|attempt| retry.after(attempt, Failure::Error(&died))).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(delays, [ms(5), ms(10), ms(20), None, None]);
        assert!(retry.after(0, Failure::Panic).is_none());
        assert!(retry.on_panic().after(0, Failure::Panic).is_some());
        assert!(retry.on_panic().after(0, Failure::Error(&TaskError::TimeLimit)).is_none());
        assert!(retry.on_limit().after(0, Failure::Error(&TaskError::TimeLimit)).is_some());
        assert!(retry.after(0, Failure::Error(&TaskError::Cancelled)).is_none());
    }
}
