//! One operation, killed at boundary after boundary, and the account of what the survivors saw.

use std::fmt;
use std::time::{Duration, Instant};

use crate::step::{End, Kill, Stop};

/// What the survivors of one kill saw.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// How the victim ended.
    pub stop: Stop,
    /// Somebody did not get on.
    pub hang: bool,
    /// Somebody got a message that nobody sent whole.
    pub torn: bool,
    /// A message that was sent did not come.
    pub lost: bool,
    /// A message came twice, or one that was never sent.
    pub doubled: bool,
    /// How long the last survivor took.
    pub latency: Duration,
    /// What was seen, for the one who looks into a failure.
    pub note: String,
}

impl Verdict {
    /// A verdict with nothing wrong in it so far.
    #[must_use]
    pub fn new(stop: Stop) -> Self {
        let latency = Duration::ZERO;
        let note = String::new();
        Self { stop, hang: false, torn: false, lost: false, doubled: false, latency, note }
    }

    /// Adds the outcome of a wait: whether it ended, and when.
    pub fn progress(&mut self, (ended, latency): (bool, Duration), who: &str) {
        self.latency = self.latency.max(latency);
        if !ended {
            self.hang = true;
            self.note.push_str(who);
            self.note.push_str(" hangs; ");
        }
    }

    fn is_bad(&self) -> bool {
        let failed = matches!(self.stop.end, End::Failed | End::NotWoken);
        self.hang || self.torn || self.lost || self.doubled || failed
    }
}

/// The account of a sweep.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The name of the scenario.
    pub name: String,
    /// Instructions of the whole operation.
    pub steps: u64,
    /// Events of the whole operation.
    pub events: u64,
    /// Boundaries at which a victim was killed.
    pub kills: u64,
    /// Those among them at which it was asleep.
    pub asleep: u64,
    /// The distance between two boundaries in the second pass.
    pub stride: u64,
    /// Trials after which somebody did not get on.
    pub hangs: u64,
    /// Trials with a torn message.
    pub torn: u64,
    /// Trials with a lost message.
    pub lost: u64,
    /// Trials with a doubled message.
    pub doubled: u64,
    /// Trials in which the operation itself failed.
    pub failed: u64,
    /// The longest that a survivor took.
    pub latency: Duration,
    /// How long all of it took.
    pub time: Duration,
    /// What was seen in the first bad trials.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether all survivors of all kills were well.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.hangs + self.torn + self.lost + self.doubled + self.failed == 0
    }

    fn add(&mut self, kill: Kill, verdict: Verdict) -> End {
        let stop = verdict.stop;
        self.kills += u64::from(matches!(stop.end, End::Killed | End::KilledAsleep | End::Stuck));
        self.asleep += u64::from(matches!(stop.end, End::KilledAsleep | End::Stuck));
        self.hangs += u64::from(verdict.hang);
        self.torn += u64::from(verdict.torn);
        self.lost += u64::from(verdict.lost);
        self.doubled += u64::from(verdict.doubled);
        self.failed += u64::from(stop.end == End::Failed);
        self.hangs += u64::from(stop.end == End::NotWoken);
        self.latency = self.latency.max(verdict.latency);
        self.steps = self.steps.max(stop.steps);
        self.events = self.events.max(stop.events);
        if verdict.is_bad() && self.notes.len() < 20 {
            self.notes.push(format!("{kill:?}: {verdict:?}"));
        }
        stop.end
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} instructions, {} events, stride {}, {} kills ({} asleep): hangs={} torn={} lost={} \
             doubled={} failed={}; slowest survivor {} us; {:.1} s",
            self.name,
            self.steps,
            self.events,
            self.stride,
            self.kills,
            self.asleep,
            self.hangs,
            self.torn,
            self.lost,
            self.doubled,
            self.failed,
            self.latency.as_micros(),
            self.time.as_secs_f64()
        )?;
        for note in &self.notes {
            write!(f, "\n  {note}")?;
        }
        Ok(())
    }
}

/// After so many bad trials a sweep has shown what it can.
const ENOUGH: u64 = 3;

/// Kills an operation after each of its events, then at each boundary of a stride, until it completes.
///
/// With no stride given, the second pass makes eight kills, spread over the operation.
pub fn sweep(name: &str, stride: Option<u64>, mut trial: impl FnMut(Kill) -> Verdict) -> Report {
    let start = Instant::now();
    let mut report = Report { name: name.to_owned(), ..Report::default() };
    let mut run = |report: &mut Report, kill| {
        let verdict = trial(kill);
        let end = report.add(kill, verdict);
        let bad = report.hangs + report.torn + report.lost + report.doubled + report.failed;
        matches!(end, End::Killed | End::KilledAsleep) && bad < ENOUGH
    };
    let mut at = 0;
    while run(&mut report, Kill::AfterEvents(at)) {
        at += 1;
    }
    let stride = stride.unwrap_or(report.steps / 8).max(1);
    report.stride = stride;
    let mut at = stride;
    while run(&mut report, Kill::AfterSteps(at)) {
        at += stride;
    }
    report.time = start.elapsed();
    report
}
