//! Receiving until the end of the stream.

use serde::de::DeserializeOwned;

use mp_wire::Deadline;

use crate::RecvError;
use crate::link::Link;

/// An iterator over the messages that come, until the other end is closed.
///
/// [`Connection::iter`](crate::Connection::iter) and [`Receiver::iter`](crate::Receiver::iter) make it. A message
/// that cannot be received is an `Err`, and the next one follows. `next` waits for a message.
#[derive(Debug)]
pub struct Messages<'a, T> {
    link: &'a Link,
    ended: bool,
    message: std::marker::PhantomData<fn() -> T>,
}

impl<'a, T> Messages<'a, T> {
    pub(crate) fn new(link: &'a Link) -> Self {
        Self { link, ended: false, message: std::marker::PhantomData }
    }
}

impl<T: DeserializeOwned> Iterator for Messages<'_, T> {
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

impl<T: DeserializeOwned> std::iter::FusedIterator for Messages<'_, T> {}
