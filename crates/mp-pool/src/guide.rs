//! Chunks that are as large as tasks are short.

use std::time::Duration;

use crate::job::Job;

/// How long a chunk should take at least, so that handing it out costs little; and at most, so that a worker that is behind holds
/// nobody up.
const SHORT: Duration = Duration::from_micros(100);
const LONG: Duration = Duration::from_millis(20);

/// Chooses the sizes of the chunks of a call: small ones until it is known how long a task takes, then a share of what is left.
#[derive(Debug)]
pub(crate) struct Guide {
    left: usize,
    workers: usize,
    /// Chunks given out before it was known how long a task takes.
    blind: usize,
}

impl Guide {
    pub(crate) fn new(items: usize, workers: usize) -> Self {
        Self { left: items, workers, blind: 0 }
    }

    /// Another chunk may be given out.
    pub(crate) fn has_room(&self, job: &Job) -> bool {
        // Where all that was given out has failed, there is no pace, and there may never be.
        self.blind < 2 * self.workers || job.pace() > 0 || job.open() == 0
    }

    pub(crate) fn next(&mut self, job: &Job) -> usize {
        let pace = u128::from(job.pace());
        let share = self.left.div_ceil(4 * self.workers);
        let fits =
            |time: Duration| usize::try_from(time.as_nanos() / pace.max(1)).unwrap_or(usize::MAX);
        let chunk = if pace == 0 {
            self.blind += 1;
            share.min(1 + self.left / (64 * self.workers))
        } else {
            share.max(fits(SHORT)).min(fits(LONG))
        };
        let chunk = chunk.max(1);
        self.left = self.left.saturating_sub(chunk);
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Order;

    #[test]
    fn chunks_follow_the_time_that_tasks_take() {
        let job = Job::new(Order::Submitted);
        job.add();
        let mut guide = Guide::new(100_000, 2);
        while guide.has_room(&job) {
            assert!(guide.next(&job) < 1000, "nothing is known yet");
        }
        job.note_pace(10, 1000);
        assert!(guide.has_room(&job) && guide.next(&job) > 10_000, "a share of short tasks");
        job.note_pace(1, 1_000_000_000);
        job.note_pace(1, 1_000_000_000);
        assert_eq!(guide.next(&job), 1, "long tasks travel alone");
    }
}
