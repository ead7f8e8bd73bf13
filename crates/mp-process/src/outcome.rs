//! What a child tells its parent when its function has ended, and how that travels.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};

use mp_wire::{Deadline, Fd, Limits, Message, socket};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::current::Current;
use crate::error::chain;

/// A panic that ended a function in another process.
///
/// # Examples
///
/// ```
/// use mp_process::Process;
///
/// let child = Process::new(|| -> () { panic!("no {}", "luck") }, ()).start()?;
/// let error = child.join().unwrap_err();
/// let panic = error.panic().expect("it panicked");
/// assert_eq!(panic.message(), "no luck");
/// assert!(panic.location().is_some_and(|place| place.contains(".rs:")));
/// # Ok::<(), mp_process::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panic {
    message: String,
    location: Option<String>,
    backtrace: Option<String>,
}

impl Panic {
    /// The text that the code panicked with.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where it panicked, as `file:line:column`; `None` if the code replaced the panic hook.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// The calls that led there, if `RUST_BACKTRACE` asks for them.
    #[must_use]
    pub fn backtrace(&self) -> Option<&str> {
        self.backtrace.as_deref()
    }

    /// Makes one of what [`panic::catch_unwind`] caught in this thread.
    ///
    /// It has the place of the panic if [`Panic::watch`] was called before.
    #[must_use]
    pub fn from_payload(payload: Box<dyn Any + Send>) -> Self {
        let message = text_of(&*payload);
        // The payload is a value of the user's, whose drop may panic as well.
        Box::leak(payload);
        match LAST.take() {
            Some(last) if last.message == message => last,
            _ => Self { message, location: None, backtrace: None },
        }
    }

    /// Has the panics of this process noted with their place, before the hook that is there now reports them.
    ///
    /// A child that [`Process`](crate::Process) starts does this itself.
    pub fn watch() {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let panic = Self::from_hook(info);
            if cfg!(panic = "abort") {
                // There is no later.
                if let Some(life) = Current::get().and_then(Current::life) {
                    send(life, Outcome::Failed(Failure::Panicked(panic)));
                }
            } else {
                LAST.set(Some(panic));
            }
            before(info);
        }));
    }

    fn from_hook(info: &PanicHookInfo<'_>) -> Self {
        let backtrace = std::backtrace::Backtrace::capture();
        let captured = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
        Self {
            message: text_of(info.payload()),
            location: info.location().map(ToString::to_string),
            backtrace: captured.then(|| backtrace.to_string()),
        }
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(place) => write!(f, "panicked at {place}: {}", self.message),
            None => write!(f, "panicked: {}", self.message),
        }
    }
}

thread_local! {
    /// The last panic in this thread, between the hook and whoever catches it.
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a value that is not text").to_owned()
}

/// What became of the function in the child, as the child tells it.
pub(crate) enum Outcome {
    /// It returned: the value, encoded.
    Returned(Message),
    Failed(Failure),
}

/// Why there is no value.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    Panicked(Panic),
    /// The arguments did not decode; the function did not run.
    Arguments(String),
    /// The value did not serialize, or there was no memory to send it.
    Value(String),
    /// It ran out of stack.
    Overflow,
    /// The child runs another build of the program.
    Stranger,
}

impl Outcome {
    /// Runs the function and encodes its value; what panics in the function, in the encoding, or in a drop is caught.
    pub(crate) fn of<R: Serialize>(function: impl FnOnce() -> R) -> Self {
        let run = || match mp_wire::encode(&function()) {
            Ok(message) => Self::Returned(message),
            Err(error) => Self::Failed(Failure::Value(chain(&error))),
        };
        panic::catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|payload| Self::Failed(Failure::Panicked(Panic::from_payload(payload))))
    }

    /// As [`Outcome::of`], for a function whose arguments have to be decoded first.
    pub(crate) fn of_call<A: DeserializeOwned, R: Serialize>(
        message: Message,
        function: impl FnOnce(A) -> R,
    ) -> Self {
        match panic::catch_unwind(|| message.decode::<A>()) {
            Ok(Ok(args)) => {
                // Its bytes, and its descriptors that are not among the arguments, are of no use any more.
                drop(message);
                Self::of(|| function(args))
            }
            Ok(Err(error)) => Self::Failed(Failure::Arguments(chain(&error))),
            Err(payload) => Self::Failed(Failure::Panicked(Panic::from_payload(payload))),
        }
    }

    /// The code that the process ends with.
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Self::Returned(_) => 0,
            Self::Failed(Failure::Panicked(_)) => 101,
            Self::Failed(_) => 1,
        }
    }
}

const RETURNED: u8 = 0;
const FAILED: u8 = 1;

/// Sends the outcome to the parent, as one message: it is there whole, or not at all.
pub(crate) fn send(life: &Fd, outcome: Outcome) {
    match outcome {
        Outcome::Returned(mut message) => {
            message.bytes.push(RETURNED);
            match socket::send(life, &message.bytes, &message.fds, Deadline::NEVER) {
                Err(error) if error.kind() != mp_wire::ErrorKind::Closed => {
                    send(life, Outcome::Failed(Failure::Value(chain(&error))));
                }
                _ => {}
            }
        }
        Outcome::Failed(failure) => {
            let bytes = failed(&failure);
            // Whoever closed the other end does not want to know.
            let _ = socket::send(life, &bytes, &[], Deadline::NEVER);
        }
    }
}

fn failed(failure: &Failure) -> Vec<u8> {
    let mut message = mp_wire::encode(failure).unwrap_or_default();
    message.bytes.push(FAILED);
    message.bytes
}

/// What a child says that is out of stack.
pub(crate) fn overflow() -> Vec<u8> {
    failed(&Failure::Overflow)
}

/// Takes the outcome out of the socket of a child that has ended; `None` if it ended without one.
pub(crate) fn receive(life: &Fd) -> Result<Option<Outcome>, mp_wire::Error> {
    let mut message = match socket::recv(life, Limits::default(), Deadline::NOW) {
        Ok(message) => message,
        Err(error) => {
            return match error.kind() {
                mp_wire::ErrorKind::Closed | mp_wire::ErrorKind::TimedOut => Ok(None),
                _ => Err(error),
            };
        }
    };
    match message.bytes.pop() {
        Some(RETURNED) => Ok(Some(Outcome::Returned(message))),
        _ => message.decode().map(|failure| Some(Outcome::Failed(failure))),
    }
}
