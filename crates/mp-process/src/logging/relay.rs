//! The parent's side of logging: one reader of the records of all its descendants.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use mp_wire::{Deadline, Fd, Limits, poll, socket};
use tracing::field::{FieldSet, Value};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, callsite, dispatcher, metadata};

use super::record::{self, Record};
use super::subscriber::state;
use crate::{Error, ErrorKind, at_exit, sys};

/// Longer records are dropped: nobody wrote them on purpose.
const LIMITS: Limits = Limits { bytes: 16 << 20, fds: 0 };

/// More kinds of events than this share one.
const MOST_KINDS: usize = 1024;

/// Brings what the children of this process log, and theirs, to the `tracing` subscriber of this process.
///
/// Each event arrives whole, whoever is killed meanwhile, and keeps its level and target, so that the filters here decide about it.
/// Its text has its fields; beside it are `process`, the name, and `pid`. Children that start from now on send what the most
/// detailed level of this process lets through at that time. Call it once the subscriber is set.
///
/// # Blocking
///
/// A child that logs waits while the reader here is far behind. When this process ends normally, all that has been sent is
/// handed on first.
///
/// # Errors
///
/// [`ErrorKind::AlreadySet`] if it was called before, also by a parent; [`ErrorKind::Exhausted`] if there is no thread or descriptor
/// left. The thread that reads makes `fork` impossible here; children can still fork.
///
/// # Python
///
/// There is none: its documentation tells to write a `QueueListener`.
pub fn relay_logs() -> Result<(), Error> {
    relay_logs_to(hand_on)
}

/// As [`relay_logs`], to a function.
///
/// # Errors
///
/// As [`relay_logs`].
///
/// # Examples
///
/// ```
/// use mp_process::{Process, logging};
/// use std::sync::mpsc;
/// use tracing::Level;
///
/// fn work() {
///     tracing::warn!(left = 3, "almost done");
/// }
///
/// logging::log_to_stderr(Level::WARN)?;
/// let (sender, records) = mpsc::channel();
/// logging::relay_logs_to(move |record| _ = sender.send(record.clone()))?;
/// Process::new(work, ()).name("worker").start()?.join()?;
/// assert_eq!(records.recv()?.to_string(), "[WARN/worker] almost done left=3");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn relay_logs_to<F>(function: F) -> Result<(), Error>
where
    F: FnMut(&Record) + Send + 'static,
{
    let failed = |error| Error::from_io("no socket for what children log", error);
    let (reader, writer) = socket::pair().map_err(failed)?;
    let (stop, stopped) = socket::pair().map_err(failed)?;
    let (reader, stopped) = (Fd::from(reader), Fd::from(stopped));
    let mut state = state();
    if state.relay.is_some() {
        return Err(Error::new(ErrorKind::AlreadySet, "what children log is relayed already"));
    }
    let number = reader.as_raw_fd();
    let thread = std::thread::Builder::new().name("mp-log-relay".to_owned());
    let thread = thread.spawn(move || read(&reader, &stopped, function)).map_err(failed)?;
    state.relay = Some(writer.into());
    state.reader = Some((sys::pid(), number));
    drop(state);
    // After the children have been joined.
    at_exit(i32::MIN, move || finish(stop.into(), thread));
    Ok(())
}

/// Lets the reader read what is there, and ends it.
fn finish(stop: Fd, thread: JoinHandle<()>) {
    let mut state = state();
    let relay = state.relay.take();
    state.reader = None;
    drop(state);
    drop((relay, stop));
    let _ = thread.join();
}

fn read(reader: &Fd, stopped: &Fd, mut function: impl FnMut(&Record)) {
    loop {
        let ready = poll::readable(&[reader.as_fd(), stopped.as_fd()], Deadline::NEVER);
        let stopping = ready.is_ok_and(|ready| ready.get(1) == Some(&true));
        loop {
            match socket::recv(reader, LIMITS, Deadline::NOW) {
                Ok(message) => {
                    if let Ok(record) = message.decode::<Record>() {
                        function(&record);
                    }
                }
                // Nobody writes any more, and nobody will.
                Err(error) if error.kind() == mp_wire::ErrorKind::Closed => return,
                Err(error) if error.kind() == mp_wire::ErrorKind::TimedOut => break,
                // This one is lost.
                Err(_) => {}
            }
        }
        if stopping {
            return;
        }
    }
}

/// Makes an event of a record for the subscriber of this process.
fn hand_on(record: &Record) {
    let metadata = callsite::Callsite::metadata(Kind::of(record.level(), record.target()));
    dispatcher::get_default(|dispatch| {
        if !dispatch.enabled(metadata) {
            return;
        }
        let fields = metadata.fields();
        let [Some(message), Some(process), Some(pid)] = FIELDS.map(|name| fields.field(name))
        else {
            return;
        };
        let (text, number) = (record.text(), u64::from(record.pid()));
        let text = format_args!("{text}");
        let values = [
            (&message, Some(&text as &dyn Value)),
            (&process, Some(&record.process() as &dyn Value)),
            (&pid, Some(&number as &dyn Value)),
        ];
        dispatch.event(&Event::new(metadata, &fields.value_set(&values)));
    });
}

const FIELDS: [&str; 3] = ["message", "process", "pid"];

/// What `tracing` wants to know of a place in a program where events arise; there is one for each level and target.
struct Kind(OnceLock<Metadata<'static>>);

impl Kind {
    fn of(level: Level, target: &str) -> &'static Self {
        type Kinds = BTreeMap<(u8, String), &'static Kind>;
        static KINDS: Mutex<Kinds> = Mutex::new(BTreeMap::new());
        let mut kinds = KINDS.lock().unwrap_or_else(PoisonError::into_inner);
        let target = if kinds.len() < MOST_KINDS { target } else { "other" };
        let key = (record::number(level), target.to_owned());
        kinds.entry(key).or_insert_with(|| Self::new(level, target))
    }

    fn new(level: Level, target: &str) -> &'static Self {
        let kind: &'static Self = Box::leak(Box::new(Self(OnceLock::new())));
        let target: &'static str = Box::leak(target.to_owned().into_boxed_str());
        let fields = FieldSet::new(&FIELDS, callsite::Identifier(kind));
        let event = metadata::Kind::EVENT;
        let _ =
            kind.0.set(Metadata::new("relayed", target, level, None, None, None, fields, event));
        kind
    }
}

impl callsite::Callsite for Kind {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        match self.0.get() {
            Some(metadata) => metadata,
            None => unreachable!("it is set where this is made"),
        }
    }
}
