//! What can come of a put and of a get.

use std::error::Error as StdError;
use std::fmt;

use mp_shared::ring;

/// An error of making or using a queue, beyond its being full, empty or closed.
///
/// # Examples
///
/// ```
/// use mp_queue::{ErrorKind, Queue};
///
/// assert_eq!(Queue::<u8>::bounded(0).unwrap_err().kind(), ErrorKind::InvalidInput);
/// ```
pub struct Error {
    kind: ErrorKind,
    what: &'static str,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The situations that a caller of a queue can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A capacity of zero.
    InvalidInput,
    /// The item does not serialize. Nothing was put.
    Encode,
    /// The item is not of the type asked for. It is gone, the queue goes on.
    Decode,
    /// No memory or no descriptor is left. Nothing was put, or the item is still in the queue.
    Exhausted,
    /// The item has more bytes or descriptors than can travel.
    TooLarge,
    /// The descriptors of the item are not there. It is gone, the queue goes on.
    DescriptorsLost,
    /// What another process wrote into the queue's memory makes no sense.
    Corrupt,
    /// The system refused a call for another reason; the source has it.
    Io,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: &'static str) -> Self {
        Self { kind, what, source: None }
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        what: &'static str,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { kind, what, source: Some(source.into()) }
    }

    pub(crate) fn shared(what: &'static str, error: mp_shared::Error) -> Self {
        let kind = match error.kind() {
            mp_shared::ErrorKind::Exhausted => ErrorKind::Exhausted,
            mp_shared::ErrorKind::InvalidInput => ErrorKind::InvalidInput,
            mp_shared::ErrorKind::Corrupt | mp_shared::ErrorKind::OutOfBounds => ErrorKind::Corrupt,
            _ => ErrorKind::Io,
        };
        Self::with_source(kind, what, error)
    }

    pub(crate) fn wire(what: &'static str, error: mp_wire::Error) -> Self {
        let kind = match error.kind() {
            mp_wire::ErrorKind::Encode => ErrorKind::Encode,
            mp_wire::ErrorKind::Decode => ErrorKind::Decode,
            mp_wire::ErrorKind::TooLarge => ErrorKind::TooLarge,
            mp_wire::ErrorKind::Exhausted | mp_wire::ErrorKind::DescriptorsLost => {
                ErrorKind::Exhausted
            }
            mp_wire::ErrorKind::Protocol => ErrorKind::DescriptorsLost,
            _ => ErrorKind::Io,
        };
        Self::with_source(kind, what, error)
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.kind).field("what", &self.what);
        if let Some(source) = &self.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Why an item was not put. Nothing has changed.
///
/// # Examples
///
/// ```
/// use mp_queue::{PutError, Queue};
///
/// let queue = Queue::bounded(1)?;
/// queue.put(&1)?;
/// assert!(matches!(queue.try_put(&2), Err(PutError::Full)));
/// queue.close();
/// assert!(queue.put(&3).unwrap_err().is_closed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub enum PutError {
    /// There was no room in time.
    Full,
    /// The queue is closed: nobody puts anything any more.
    Closed,
    /// There was no room, and nobody is left to make any: all [`Receiver`](crate::Receiver)s are gone.
    Disconnected,
    /// The item does not serialize, or there is no memory for it.
    Failed(Error),
}

/// Why there is no item.
///
/// # Examples
///
/// ```
/// use mp_queue::{GetError, Queue};
///
/// let queue = Queue::<u8>::new()?;
/// assert!(matches!(queue.try_get(), Err(GetError::Empty)));
/// queue.close();
/// assert!(queue.get().unwrap_err().is_closed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub enum GetError {
    /// There was no item in time.
    Empty,
    /// The queue is closed and has no items left: nothing comes any more.
    Closed,
    /// There are no items left, and nobody is left to put any: all [`Sender`](crate::Sender)s are gone.
    Disconnected,
    /// The item is not of this type, or could not be received. The next one can be.
    Failed(Error),
}

macro_rules! predicates {
    ($type:ident, $late:ident) => {
        impl $type {
            /// Says whether waiting longer, or trying again, may help.
            #[must_use]
            pub fn is_timeout(&self) -> bool {
                matches!(self, Self::$late)
            }

            /// Says whether nobody has the other end any more.
            #[must_use]
            pub fn is_disconnected(&self) -> bool {
                matches!(self, Self::Disconnected)
            }

            /// Says whether the queue is closed.
            #[must_use]
            pub fn is_closed(&self) -> bool {
                matches!(self, Self::Closed)
            }
        }

        impl StdError for $type {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                match self {
                    Self::Failed(error) => error.source(),
                    _ => None,
                }
            }
        }
    };
}

predicates!(PutError, Full);
predicates!(GetError, Empty);

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the queue is full"),
            Self::Closed => f.write_str("the queue is closed"),
            Self::Disconnected => f.write_str("the queue is full and nobody reads it any more"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the queue is empty"),
            Self::Closed => f.write_str("the queue is closed and empty"),
            Self::Disconnected => {
                f.write_str("the queue is empty and nobody writes to it any more")
            }
            Self::Failed(error) => error.fmt(f),
        }
    }
}

#[cold]
pub(crate) fn refused<E>(error: ring::PutError<E>, hook: impl FnOnce(E) -> PutError) -> PutError {
    match error {
        ring::PutError::Full => PutError::Full,
        ring::PutError::Closed => PutError::Closed,
        ring::PutError::TooLarge => {
            let what = "the item is larger than a queue takes";
            PutError::Failed(Error::new(ErrorKind::TooLarge, what))
        }
        ring::PutError::Hook(error) => hook(error),
        ring::PutError::Failed(error) => {
            PutError::Failed(Error::shared("the item cannot be put", error))
        }
        _ => PutError::Failed(unknown()),
    }
}

#[cold]
pub(crate) fn untaken<E>(error: ring::GetError<E>, hook: impl FnOnce(E) -> GetError) -> GetError {
    match error {
        ring::GetError::Empty => GetError::Empty,
        ring::GetError::Closed => GetError::Closed,
        ring::GetError::Hook(error) => hook(error),
        ring::GetError::Failed(error) => {
            GetError::Failed(Error::shared("the item cannot be taken", error))
        }
        _ => GetError::Failed(unknown()),
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::Io, "the ring of the queue failed")
}

pub(crate) fn no_memory(error: mp_shared::Error) -> Error {
    Error::shared("cannot make the memory of a queue", error)
}

/// For rings without hooks.
pub(crate) fn not_put(error: ring::PutError) -> PutError {
    refused(error, |never| match never {})
}

/// For rings without hooks.
pub(crate) fn not_got(error: ring::GetError) -> GetError {
    untaken(error, |never| match never {})
}
