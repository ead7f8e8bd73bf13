//! Calls on many items whose results come later.

use std::sync::Arc;

use mp_process::Target;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Options, single};
use crate::batch::Batch;
use crate::feed::{Feed, unit};
use crate::job::{Job, Order};
use crate::result::{Slot, gather_all};
use crate::split::Split;
use crate::{AsyncResult, TaskError, entry};

impl Options<'_> {
    /// As [`Pool::map_async`](crate::Pool::map_async).
    ///
    /// # Errors
    ///
    /// As [`Pool::map_async`](crate::Pool::map_async); also [`TaskError::InvalidInput`] for a chunk size of zero.
    pub fn map_async<F, A, I>(
        self,
        function: F,
        items: I,
    ) -> Result<AsyncResult<Vec<F::Output>>, TaskError>
    where
        F: Target<(A,), Output: Serialize + DeserializeOwned + 'static>,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.starmap_async(function, single(items))
    }

    /// As [`Pool::starmap_async`](crate::Pool::starmap_async).
    ///
    /// # Errors
    ///
    /// As [`Options::map_async`].
    pub fn starmap_async<F, Args, I>(
        self,
        function: F,
        items: I,
    ) -> Result<AsyncResult<Vec<F::Output>>, TaskError>
    where
        F: Target<Args, Output: Serialize + DeserializeOwned + 'static>,
        Args: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = Args>,
    {
        let (entry, batches) = self.encode_all(function, items)?;
        let core = self.pool.core();
        core.admits(true)?;
        let meter = &self.meter;
        let job = Arc::new(Job::with_terms(Order::Submitted, self.terms).watched_by(meter));
        meter.expect(Some(batches.iter().map(|batch| batch.items as usize).sum()));
        let units: Vec<_> =
            batches.into_iter().filter_map(|batch| unit(&job, entry, Ok(batch))).collect();
        core.submit(units, true)?;
        if meter.is_on() {
            // That there is something to run at the end has it looked after as if somebody waited.
            let meter = meter.clone();
            core.notify(&job, Box::new(move || meter.finish()));
        }
        core.leave();
        Ok(AsyncResult::new(core.clone(), job, Slot::new(gather_all)))
    }

    /// As [`Pool::starmap_async`](crate::Pool::starmap_async), and calls `callback` once with all results or the first error, as
    /// [`Pool::apply_async_with`](crate::Pool::apply_async_with) does.
    ///
    /// # Errors
    ///
    /// As [`Options::map_async`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let powers = [(2, 10), (3, 4)];
    /// let later = pool.chunk_size(1).starmap_async_with(u64::pow, powers, |all| assert!(all.is_ok()))?;
    /// assert_eq!(later.get()?, [1024, 81]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn starmap_async_with<F, Args, I, C>(
        self,
        function: F,
        items: I,
        callback: C,
    ) -> Result<AsyncResult<Vec<F::Output>>, TaskError>
    where
        F: Target<Args, Output: Serialize + DeserializeOwned + Send + 'static>,
        Args: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = Args>,
        C: FnOnce(Result<&Vec<F::Output>, &TaskError>) + Send + 'static,
    {
        let (entry, batches) = self.encode_all(function, items)?;
        let batches = batches.into_iter().map(Ok).collect();
        self.pool.call_back(entry, (self.terms, self.meter), batches, gather_all, callback)
    }

    /// As [`Pool::map_async`](crate::Pool::map_async), and calls `callback` once with all results or the first error, as
    /// [`Pool::apply_async_with`](crate::Pool::apply_async_with) does.
    ///
    /// # Errors
    ///
    /// As [`Options::map_async`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    /// use std::sync::mpsc::channel;
    ///
    /// let pool = Pool::new(2)?;
    /// let (sender, receiver) = channel();
    /// let later = pool.chunk_size(2).map_async_with(|x: u32| x * x, 0..4, move |all| {
    ///     let _ = sender.send(all.map(Vec::len).ok());
    /// })?;
    /// assert_eq!(later.get()?, [0, 1, 4, 9]);
    /// assert_eq!(receiver.recv()?, Some(4));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map_async_with<F, A, I, C>(
        self,
        function: F,
        items: I,
        callback: C,
    ) -> Result<AsyncResult<Vec<F::Output>>, TaskError>
    where
        F: Target<(A,), Output: Serialize + DeserializeOwned + Send + 'static>,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
        C: FnOnce(Result<&Vec<F::Output>, &TaskError>) + Send + 'static,
    {
        self.starmap_async_with(function, single(items), callback)
    }

    fn encode_all<F, Args, I>(&self, function: F, items: I) -> Result<(u64, Vec<Batch>), TaskError>
    where
        F: Target<Args, Output: Serialize + 'static>,
        Args: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = Args>,
    {
        self.check()?;
        self.pool.core().admits(true)?;
        let entry = entry::name::<F, Args>(function)?;
        let (chunk, items) = self.cut(items);
        let mut feed = Feed::splitting(items, Some(Split::of::<F>()));
        let mut batches = Vec::new();
        while let Some(batch) = feed.next(chunk) {
            batches.push(batch.map_err(TaskError::encode)?);
        }
        if let Some(panic) = feed.take_panic() {
            std::panic::resume_unwind(panic);
        }
        Ok((entry, batches))
    }
}
