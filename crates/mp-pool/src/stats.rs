//! What a pool has done, in numbers and as a table.

use std::fmt;
use std::time::Duration;

/// What a pool has done so far, made by [`Pool::stats`](crate::Pool::stats).
///
/// `Display` gives a table: start-up, waiting and working of each worker, and the slowest tasks.
///
/// # Examples
///
/// ```
/// use mp_pool::Pool;
///
/// let pool = Pool::new(2)?;
/// assert_eq!(pool.map(|x: u64| x * x, 0..1000)?.len(), 1000);
/// let stats = pool.stats();
/// assert_eq!(stats.tasks(), 1000);
/// println!("{stats}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// The workers, those that have ended included, in the order of their start. Of many that have ended, the latest are kept.
    pub workers: Vec<WorkerStats>,
    /// How many workers were started to stand in for one that died or was let go.
    pub restarts: u64,
    /// Chunks that wait for a worker to have room.
    pub pending: usize,
    /// Chunks that workers have, queued or running.
    pub in_flight: usize,
    /// The tasks that took longest, the slowest first; of tasks that were handed over together, the mean counts.
    pub slowest: Vec<Span>,
}

/// What one worker has done.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its process.
    pub pid: u32,
    /// Its number in the pool, see [`worker_id`](crate::worker_id).
    pub slot: usize,
    /// Tasks that it has done.
    pub tasks: u64,
    /// From its start until it was ready to work, its initializer included.
    pub start_up: Duration,
    /// The time that its tasks took; where short ones follow each other, with what lies between them.
    pub working: Duration,
    /// The time in which it was ready and had nothing to do.
    pub waiting: Duration,
    /// It has not ended.
    pub alive: bool,
}

/// When a worker was at work on tasks of a chunk, whose results it handed over together.
///
/// Tasks that take 50 µs or more are handed over one by one, shorter ones together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Span {
    /// The worker's process.
    pub pid: u32,
    /// Its number in the pool, see [`worker_id`](crate::worker_id).
    pub slot: usize,
    /// From the start of the pool to the beginning of the work, about.
    pub begin: Duration,
    /// How long it took.
    pub took: Duration,
    /// How many tasks it was.
    pub tasks: u32,
    /// The place of the chunk in its call, or of the task where tasks travel alone.
    pub chunk: u64,
    /// The place of the first of the tasks in the chunk.
    pub first: u32,
}

impl Stats {
    /// Tasks that were done by all workers.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.workers.iter().map(|worker| worker.tasks).sum()
    }

    /// The part of the workers' time, since they were ready, in which they worked; zero if there was none.
    #[must_use]
    pub fn utilization(&self) -> f64 {
        let working: Duration = self.workers.iter().map(|worker| worker.working).sum();
        let waiting: Duration = self.workers.iter().map(|worker| worker.waiting).sum();
        let all = (working + waiting).as_secs_f64();
        if all > 0.0 { working.as_secs_f64() / all } else { 0.0 }
    }
}

impl Span {
    /// Which tasks it was, for people.
    pub(crate) fn tasks(&self) -> String {
        let Self { chunk, first, tasks, .. } = self;
        match tasks {
            1 => format!("chunk {chunk}, task {first}"),
            _ => format!("chunk {chunk}, tasks {first} to {}", first + tasks.saturating_sub(1)),
        }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1e3);
        writeln!(
            f,
            "{:>8} {:>5} {:>10} {:>12} {:>12} {:>12}",
            "pid", "slot", "tasks", "start-up ms", "waiting ms", "working ms"
        )?;
        for worker in &self.workers {
            writeln!(
                f,
                "{:>8} {:>5} {:>10} {:>12} {:>12} {:>12}",
                worker.pid,
                worker.slot,
                worker.tasks,
                ms(worker.start_up),
                ms(worker.waiting),
                ms(worker.working)
            )?;
        }
        writeln!(
            f,
            "{} tasks, {} restarts, {:.0} % of the time at work",
            self.tasks(),
            self.restarts,
            self.utilization() * 100.0
        )?;
        for span in &self.slowest {
            let each = span.took / span.tasks.max(1);
            writeln!(f, "slow: {:>12} ms, {}, pid {}", ms(each), span.tasks(), span.pid)?;
        }
        Ok(())
    }
}
