//! Where the events of a process go that uses this crate's own logging: to its standard error, or to its parent.

use std::io::Write;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mp_wire::{Deadline, Fd, socket};
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber, dispatcher};

use super::record::{self, Record};
use crate::{Error, ErrorKind, sys};

/// What a child is told about logging; nothing unless this process has asked for something.
pub(crate) type Setup = Option<Inherited>;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Inherited {
    level: u8,
    relay: Option<Fd>,
}

/// Where events go.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// To the standard error, if not to a relay.
    pub(crate) stderr: bool,
    /// To whoever reads the other end.
    pub(crate) relay: Option<Fd>,
    /// The other end, if this process reads it, or is a copy of the one that does.
    pub(crate) reader: Option<(u32, i32)>,
}

impl State {
    /// The relay, unless it is this process that reads it.
    fn target(&self) -> Option<Fd> {
        self.relay.clone().filter(|_| self.reader.is_none())
    }
}

static STATE: Mutex<State> = Mutex::new(State { stderr: false, relay: None, reader: None });

/// The most detailed level that [`Ours`] lets through.
static LEVEL: AtomicU8 = AtomicU8::new(0);

pub(crate) fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Logs what this process and its children say, up to a level, to the standard error: a line for each event, written at once.
///
/// The lines begin with the level and the name of the process, as in Python: `[INFO/Process-1] message`. The children of this
/// process do the same, at the same level, and theirs. It takes the place of the global `tracing` subscriber.
///
/// Lines longer than 4 KiB of several processes may mix in a pipe. [`relay_logs`](crate::logging::relay_logs) brings them to the
/// parent instead, whole.
///
/// # Python
///
/// `multiprocessing.log_to_stderr(level)`. What `get_logger()` gives there are the macros of `tracing` here.
///
/// # Errors
///
/// [`ErrorKind::AlreadySet`] if the program has a global subscriber: use that.
///
/// # Examples
///
/// ```
/// use mp_process::{Process, logging};
/// use tracing::Level;
///
/// fn work() {
///     tracing::info!(items = 3, "at work");
/// }
///
/// logging::log_to_stderr(Level::INFO)?;
/// Process::new(work, ()).start()?.join()?; // [INFO/Process-1] at work items=3
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn log_to_stderr(level: Level) -> Result<(), Error> {
    LEVEL.store(record::number(level), Ordering::Relaxed);
    install()?;
    state().stderr = true;
    Ok(())
}

fn install() -> Result<(), Error> {
    tracing::subscriber::set_global_default(Ours::default()).map_err(|_| {
        Error::new(ErrorKind::AlreadySet, "there is a global `tracing` subscriber already")
    })
}

/// What a child is to do, as things stand.
pub(crate) fn setup() -> Setup {
    let state = state();
    let level = match (&state.relay, LevelFilter::current().into_level()) {
        (Some(_), Some(level)) => record::number(level),
        _ if state.stderr => LEVEL.load(Ordering::Relaxed),
        _ => return None,
    };
    Some(Inherited { level, relay: state.relay.clone() })
}

/// Does what the parent said, at the beginning of a child.
pub(crate) fn inherit(setup: &Setup) {
    let mut state = state();
    if let Some((pid, reader)) = state.reader
        && pid != sys::pid()
    {
        // The copy of a parent's own. Nobody reads it here.
        sys::close_raw(reader);
        state.reader = None;
    }
    let Some(Inherited { level, relay }) = setup else { return };
    LEVEL.store(*level, Ordering::Relaxed);
    let was_ours = state.stderr;
    state.stderr = relay.is_none();
    state.relay = relay.clone();
    drop(state);
    if was_ours {
        tracing::callsite::rebuild_interest_cache();
    } else if install().is_err() {
        // A forked copy has the subscriber of its parent. This thread can still have another one, for good.
        Box::leak(Box::new(dispatcher::set_default(&dispatcher::Dispatch::new(Ours::default()))));
    }
}

/// The subscriber: it lets events through by their level, and does nothing with spans.
#[derive(Debug, Default)]
struct Ours {
    spans: AtomicU64,
}

impl Ours {
    fn level() -> Level {
        record::level(LEVEL.load(Ordering::Relaxed))
    }
}

impl Subscriber for Ours {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Self::level()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(Self::level().into())
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let record = Record::of(event);
        let relay = state().target();
        let sent = relay.is_some_and(|relay| send(&relay, &record));
        if !sent {
            let line = format!("{record}\n");
            // Nobody to tell if that is closed.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }
}

fn send(relay: &Fd, record: &Record) -> bool {
    let Ok(message) = mp_wire::encode(record) else { return false };
    socket::send(relay, &message.bytes, &[], Deadline::NEVER).is_ok()
}
