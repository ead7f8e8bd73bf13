//! Receiving until the end of the stream.

use std::iter::FusedIterator;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use mp_wire::Deadline;

use crate::RecvError;
use crate::link::Link;

/// The messages that come, until the other end is closed.
///
/// [`Connection::iter`](crate::Connection::iter) and [`Receiver::iter`](crate::Receiver::iter) make it.
#[derive(Debug)]
#[must_use = "messages are received as the iterator is used"]
pub struct Iter<'a, T> {
    results: Results<'a, T>,
}

/// The messages that come and their errors, until the other end is closed.
///
/// [`Connection::results`](crate::Connection::results) and [`Receiver::results`](crate::Receiver::results) make it.
#[derive(Debug)]
#[must_use = "messages are received as the iterator is used"]
pub struct Results<'a, T> {
    link: &'a Link,
    ended: bool,
    message: PhantomData<fn() -> T>,
}

impl<'a, T> Iter<'a, T> {
    pub(crate) fn new(link: &'a Link) -> Self {
        Self { results: Results::new(link) }
    }
}

impl<'a, T> Results<'a, T> {
    pub(crate) fn new(link: &'a Link) -> Self {
        Self { link, ended: false, message: PhantomData }
    }
}

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let message = self.results.next()?.ok();
        self.results.ended |= message.is_none();
        message
    }
}

impl<T: DeserializeOwned> Iterator for Results<'_, T> {
    type Item = Result<T, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let result = self.link.recv(Deadline::NEVER);
        self.ended = result.as_ref().is_err_and(|error| !error.is_of_one_message());
        match result {
            Err(RecvError::Closed) => None,
            other => Some(other),
        }
    }
}

impl<T: DeserializeOwned> FusedIterator for Iter<'_, T> {}
impl<T: DeserializeOwned> FusedIterator for Results<'_, T> {}
