//! One thing that was logged.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::current_process;

/// Something that a process has logged, whole.
///
/// As text it is `[INFO/Process-1] message field=value`, like Python's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    level: u8,
    target: String,
    message: String,
    fields: Vec<(String, String)>,
    process: String,
    pid: u32,
    time: Duration,
    file: Option<String>,
    line: Option<u32>,
}

impl Record {
    /// How urgent it is.
    #[must_use]
    pub fn level(&self) -> Level {
        level(self.level)
    }

    /// The part of the program that it is from.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The fields beside the text, with their values as text.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The name of the process.
    #[must_use]
    pub fn process(&self) -> &str {
        &self.process
    }

    /// The number of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When it was logged.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.time
    }

    /// The file that it was logged in, and the line.
    #[must_use]
    pub fn location(&self) -> Option<(&str, u32)> {
        Some((self.file.as_deref()?, self.line?))
    }

    /// The text and the fields.
    pub(crate) fn text(&self) -> String {
        let mut text = self.message.clone();
        for (name, value) in &self.fields {
            if !text.is_empty() {
                text.push(' ');
            }
            let _ = write!(text, "{name}={value}");
        }
        text
    }

    /// The record of an event in this process, now.
    pub(crate) fn of(event: &Event<'_>) -> Self {
        let meta = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let me = current_process();
        Self {
            level: number(*meta.level()),
            target: meta.target().to_owned(),
            message: fields.message,
            fields: fields.rest,
            process: me.name().to_owned(),
            pid: me.pid(),
            time: time.unwrap_or_default(),
            file: meta.file().map(str::to_owned),
            line: meta.line(),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}/{}] {}", self.level(), self.process, self.text())
    }
}

/// Collects what an event says.
#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(String, String)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            name => self.rest.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

pub(crate) fn number(level: Level) -> u8 {
    LEVELS.iter().position(|&other| other == level).map_or(0, |place| place as u8)
}

pub(crate) fn level(number: u8) -> Level {
    LEVELS.get(usize::from(number)).copied().unwrap_or(Level::TRACE)
}
