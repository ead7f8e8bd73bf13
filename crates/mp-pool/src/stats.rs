//! What a pool has done, in numbers, as a table, and as a picture.

use std::fmt::{self, Write as _};
use std::io;
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
    /// The chunks that took longest for each of their tasks, the slowest first.
    pub slowest: Vec<Span>,
}

/// What one worker has done.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its process.
    pub pid: u32,
    /// Its place in the pool.
    pub slot: usize,
    /// Tasks that it has done.
    pub tasks: u64,
    /// From its start until it was ready to work, its initializer included.
    pub start_up: Duration,
    /// The time that its tasks took.
    pub working: Duration,
    /// The time in which it was ready and had nothing to do.
    pub waiting: Duration,
    /// It has not ended.
    pub alive: bool,
}

/// When a worker was at work on a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Span {
    /// The worker's process.
    pub pid: u32,
    /// Its place in the pool.
    pub slot: usize,
    /// From the start of the pool to the beginning of the work, about.
    pub begin: Duration,
    /// How long it took.
    pub took: Duration,
    /// How many tasks it was.
    pub tasks: u32,
    /// The place of the chunk in its call.
    pub chunk: u64,
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
            writeln!(
                f,
                "slow: {} ms a task, chunk {} of {} tasks, pid {}",
                ms(each),
                span.chunk,
                span.tasks,
                span.pid
            )?;
        }
        Ok(())
    }
}

/// What the workers of a pool did when, made by [`Pool::timeline`](crate::Pool::timeline).
///
/// # Examples
///
/// ```
/// use mp_pool::Pool;
///
/// let pool = Pool::builder().workers(2).timeline(10_000).build()?;
/// assert_eq!(pool.chunk_size(10).map(|x: u64| x * x, 0..100)?.len(), 100);
/// let timeline = pool.timeline();
/// assert_eq!(timeline.spans().len(), 10);
/// let (mut picture, mut trace) = (Vec::new(), Vec::new());
/// timeline.write_svg(&mut picture)?;
/// timeline.write_trace(&mut trace)?; // For Perfetto and chrome://tracing.
/// assert!(picture.starts_with(b"<svg") && trace.starts_with(b"{\"traceEvents\":["));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    pub(crate) spans: Vec<Span>,
}

impl Timeline {
    /// What was done, in the order in which it ended.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Writes a picture: a line for each place in the pool, a box for each chunk.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn write_svg(&self, mut out: impl io::Write) -> io::Result<()> {
        const WIDTH: f64 = 1000.0;
        const LINE: usize = 24;
        let first = self.spans.iter().map(|span| span.begin).min().unwrap_or_default();
        let last = self.spans.iter().map(|span| span.begin + span.took).max().unwrap_or_default();
        let length = (last - first).as_secs_f64().max(1e-9);
        let lines = self.spans.iter().map(|span| span.slot + 1).max().unwrap_or(0);
        let height = LINE * (lines + 1);
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n",
            WIDTH as u64 + 60
        );
        for slot in 0..lines {
            let y = LINE * slot + 16;
            let _ = writeln!(text, "<text x=\"2\" y=\"{y}\">{slot}</text>");
        }
        for span in &self.spans {
            let x = 40.0 + (span.begin - first).as_secs_f64() / length * WIDTH;
            let width = (span.took.as_secs_f64() / length * WIDTH).max(0.2);
            let _ = writeln!(
                text,
                "<rect x=\"{x:.2}\" y=\"{}\" width=\"{width:.2}\" height=\"18\" fill=\"hsl({},60%,60%)\"><title>chunk {}, {} tasks, {:.3} ms, pid {}</title></rect>",
                LINE * span.slot + 3,
                span.chunk * 47 % 360,
                span.chunk,
                span.tasks,
                span.took.as_secs_f64() * 1e3,
                span.pid
            );
        }
        let _ = writeln!(text, "<text x=\"40\" y=\"{}\">{:.3} ms</text>", height - 6, length * 1e3);
        text.push_str("</svg>\n");
        out.write_all(text.as_bytes())
    }

    /// Writes a trace in the JSON format of Chrome, which Perfetto reads.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn write_trace(&self, mut out: impl io::Write) -> io::Result<()> {
        let mut text = "{\"traceEvents\":[".to_owned();
        for (index, span) in self.spans.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
            let _ = write!(
                text,
                "{comma}\n{{\"name\":\"chunk {}\",\"ph\":\"X\",\"ts\":{:.3},\"dur\":{:.3},\"pid\":{},\"tid\":{},\"args\":{{\"tasks\":{}}}}}",
                span.chunk,
                micros(span.begin),
                micros(span.took),
                std::process::id(),
                span.pid,
                span.tasks
            );
        }
        text.push_str("\n]}\n");
        out.write_all(text.as_bytes())
    }
}
