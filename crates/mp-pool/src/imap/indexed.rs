//! Results with the places of their items.

use std::iter::FusedIterator;
use std::time::Duration;

use mp_wire::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Imap;
use crate::TaskError;

/// An iterator over results and the places of their items in the input, made by [`Imap::indexed`].
#[derive(Debug)]
#[must_use = "its tasks beyond the first few run only as results are taken"]
pub struct Indexed<I: Iterator, R>(pub(super) Imap<I, R>);

impl<I, R> Indexed<I, R>
where
    I: Iterator<Item: Serialize + 'static>,
    R: DeserializeOwned + 'static,
{
    /// Takes the next one, if it is there in time, as [`Imap::next_timeout`].
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<(usize, Result<R, TaskError>)> {
        self.0.next_until(Deadline::after(timeout))
    }

    /// Cancels what has not been given out, and ends what is running, as [`Imap::cancel`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let mut results = pool.imap_unordered(|x: u64| assert_ne!(x, 7), 0..).indexed();
    /// let bad = results.find(|(_, result)| result.is_err()).map(|(at, _)| at);
    /// assert_eq!(bad, Some(7));
    /// results.cancel();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(&mut self) {
        self.0.cancel();
    }
}

impl<I, R> Iterator for Indexed<I, R>
where
    I: Iterator<Item: Serialize + 'static>,
    R: DeserializeOwned + 'static,
{
    type Item = (usize, Result<R, TaskError>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.advance()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<I, R> ExactSizeIterator for Indexed<I, R>
where
    I: ExactSizeIterator<Item: Serialize + 'static>,
    R: DeserializeOwned + 'static,
{
}

impl<I, R> FusedIterator for Indexed<I, R>
where
    I: FusedIterator<Item: Serialize + 'static>,
    R: DeserializeOwned + 'static,
{
}
