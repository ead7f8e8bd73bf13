//! What the workers of a pool did when: as a picture, and as a trace for viewers of such.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use crate::Span;

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
/// assert_eq!(timeline.spans().iter().map(|span| span.tasks).sum::<u32>(), 100);
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

    /// Writes a picture: a line for each place in the pool, with the part of the time in which it was at work, and a box for what
    /// was done together.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn write_svg(&self, mut out: impl io::Write) -> io::Result<()> {
        out.write_all(self.svg().as_bytes())
    }

    fn svg(&self) -> String {
        let begin = self.spans.iter().map(|span| span.begin).min().unwrap_or_default();
        let end = self.spans.iter().map(|span| span.begin + span.took).max().unwrap_or_default();
        let length = (end - begin).as_secs_f64().max(1e-9);
        let lines = self.spans.iter().map(|span| span.slot + 1).max().unwrap_or(0);
        let mut busy = vec![Duration::ZERO; lines];
        for span in &self.spans {
            busy[span.slot] += span.took;
        }
        let (width, height) = (LEFT + WIDTH + 60.0, LINE * lines + 30);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        for tick in 0..=TICKS {
            let x = LEFT + WIDTH * f64::from(tick) / f64::from(TICKS);
            let time = length * 1e3 * f64::from(tick) / f64::from(TICKS);
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"2\" x2=\"{x:.1}\" y2=\"{}\" stroke=\"#ccc\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{time:.3} ms</text>",
                LINE * lines + 8,
                LINE * lines + 22
            );
        }
        for (slot, busy) in busy.iter().enumerate() {
            let (y, busy) = (LINE * slot + 17, busy.as_secs_f64() / length * 100.0);
            let _ = writeln!(svg, "<text x=\"4\" y=\"{y}\">worker {slot}: {busy:.0} %</text>");
        }
        for span in &self.spans {
            let x = LEFT + (span.begin - begin).as_secs_f64() / length * WIDTH;
            let width = (span.took.as_secs_f64() / length * WIDTH).max(0.2);
            let hue = (span.chunk * 47 + u64::from(span.first) * 13) % 360;
            let _ = writeln!(
                svg,
                "<rect class=\"span\" x=\"{x:.2}\" y=\"{}\" width=\"{width:.2}\" height=\"18\" fill=\"hsl({hue},60%,60%)\"><title>{}, {:.3} ms, pid {}</title></rect>",
                LINE * span.slot + 4,
                span.tasks(),
                span.took.as_secs_f64() * 1e3,
                span.pid
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// Writes a trace in the JSON format of Chrome, which Perfetto reads: a track for each worker's process.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn write_trace(&self, mut out: impl io::Write) -> io::Result<()> {
        let pool = std::process::id();
        let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
        let workers: BTreeMap<_, _> = self.spans.iter().map(|span| (span.pid, span.slot)).collect();
        let mut events = vec![format!(
            "{{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":{pool},\"args\":{{\"name\":\"pool\"}}}}"
        )];
        events.extend(workers.into_iter().map(|(pid, slot)| {
            format!(
                "{{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":{pool},\"tid\":{pid},\"args\":{{\"name\":\"worker {slot}\"}}}}"
            )
        }));
        events.extend(self.spans.iter().map(|span| {
            format!(
                "{{\"name\":\"{}\",\"cat\":\"task\",\"ph\":\"X\",\"ts\":{:.3},\"dur\":{:.3},\"pid\":{pool},\"tid\":{},\"args\":{{\"chunk\":{},\"first\":{},\"tasks\":{}}}}}",
                span.tasks(),
                micros(span.begin),
                micros(span.took),
                span.pid,
                span.chunk,
                span.first,
                span.tasks
            )
        }));
        let events = events.join(",\n");
        out.write_all(
            format!("{{\"traceEvents\":[\n{events}\n],\"displayTimeUnit\":\"ms\"}}\n").as_bytes(),
        )
    }
}

/// Where the boxes of the picture begin, and how much room they have.
const LEFT: f64 = 110.0;
const WIDTH: f64 = 1000.0;
/// The height of a line, and the number of times under the picture, less one.
const LINE: usize = 26;
const TICKS: u32 = 5;
