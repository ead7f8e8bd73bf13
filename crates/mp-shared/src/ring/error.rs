//! What may come of a put and of a get.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;

use crate::Error;

/// Why a record was not put. Nothing has changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum PutError<E = Infallible> {
    /// The ring had as many items as it may have until the deadline, or somebody else was putting for as long.
    Full,
    /// The ring is closed.
    Closed,
    /// The record is larger than the ring takes.
    TooLarge,
    /// The hook failed.
    Hook(E),
    /// No memory is left, or the ring is damaged.
    Failed(Error),
}

/// Why no record was taken. Nothing has changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum GetError<E = Infallible> {
    /// The ring had no items until the deadline, or somebody else was taking one for as long.
    Empty,
    /// The ring is closed, and has no items left.
    Closed,
    /// The hook failed.
    Hook(E),
    /// No memory is left for the copy, or the ring is damaged.
    Failed(Error),
}

/// Why not all records were put.
#[derive(Debug)]
pub struct PutManyError {
    /// How many were put: the first ones.
    pub put: usize,
    /// Why the next one was not.
    pub cause: PutError,
}

impl<E> From<Error> for PutError<E> {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<E> From<Error> for GetError<E> {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<E> fmt::Display for PutError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the ring is full",
            Self::Closed => "the ring is closed",
            Self::TooLarge => "the record is larger than the ring takes",
            Self::Hook(_) => "what goes beside the record could not be sent",
            Self::Failed(_) => "the ring failed",
        })
    }
}

impl<E> fmt::Display for GetError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the ring is empty",
            Self::Closed => "the ring is closed",
            Self::Hook(_) => "what goes beside the record could not be received",
            Self::Failed(_) => "the ring failed",
        })
    }
}

impl fmt::Display for PutManyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "only {} records were put", self.put)
    }
}

impl<E: StdError + 'static> StdError for PutError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Hook(error) => Some(error),
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }
}

impl<E: StdError + 'static> StdError for GetError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Hook(error) => Some(error),
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }
}

impl StdError for PutManyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.cause)
    }
}
