//! The interface of `concurrent.futures` over a pool.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use mp_process::Target;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::imap::Imap;
use crate::options::Single;
use crate::{Error, Future, Pool, TaskError};

/// Runs tasks in worker processes and gives a [`Future`] for each.
///
/// # Python
///
/// `concurrent.futures.ProcessPoolExecutor`. What is different: a worker that dies costs its task and does not break the executor;
/// dropping it ends the workers at once, also after [`ProcessPoolExecutor::close`], and [`ProcessPoolExecutor::scope`] is what Python's `with` does.
///
/// # If a process dies
///
/// As with [`Pool`]: the task that the worker was running fails, all others go on. `BrokenProcessPool` is left for what
/// does break a pool, see [`TaskError::is_broken_pool`].
///
/// # Examples
///
/// ```
/// use mp_pool::ProcessPoolExecutor;
///
/// let executor = ProcessPoolExecutor::new(2)?;
/// let future = executor.submit(u64::pow, (323, 3))?;
/// assert_eq!(future.result()?, 33_698_267);
/// let lengths = executor.map(|word: String| word.len(), ["a", "bc"].map(str::to_owned));
/// assert_eq!(lengths.collect::<Result<Vec<_>, _>>()?, [1, 2]);
/// executor.shutdown()?;
/// assert!(executor.submit(u64::pow, (2, 2)).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ProcessPoolExecutor {
    pool: Pool,
}

impl ProcessPoolExecutor {
    /// Starts an executor with up to this many workers: one now, the others when there is work for them. For more settings,
    /// make one of a [`Pool`].
    ///
    /// # Errors
    ///
    /// As [`Pool::new`].
    pub fn new(workers: usize) -> Result<Self, Error> {
        let builder = Pool::builder().workers(workers.min(1)).max_workers(workers);
        builder.build().map(Self::from)
    }

    /// The pool under it, for calls with settings: `executor.pool().timeout(limit).submit(function, args)`.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Starts a task.
    ///
    /// # Errors
    ///
    /// The arguments do not serialize, or the executor was shut down.
    pub fn submit<F, Args>(&self, function: F, args: Args) -> Result<Future<F::Output>, TaskError>
    where
        F: Target<Args, Output: Serialize + DeserializeOwned + 'static>,
        Args: Serialize + DeserializeOwned + 'static,
    {
        self.pool.submit(function, args)
    }

    /// Runs a function on each item and gives the results in order, as [`Pool::imap`].
    ///
    /// Chunk size, buffer size and limits are settings of [`ProcessPoolExecutor::pool`]; [`Imap::timeout`] bounds the time for
    /// all results.
    pub fn map<F, A, I>(&self, function: F, items: I) -> Imap<Single<I::IntoIter>, F::Output>
    where
        F: Target<(A,), Output: Serialize + DeserializeOwned + 'static>,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.pool.imap(function, items)
    }

    /// Takes no new tasks any more, and does not wait.
    ///
    /// # Python
    ///
    /// `shutdown(wait=False)`, except that dropping the executor then ends what is not done with [`TaskError::Terminated`].
    /// [`ProcessPoolExecutor::shutdown`] waits for it.
    pub fn close(&self) {
        self.pool.close();
    }

    /// Takes no new tasks any more, and waits until all are done and the workers have ended. Twice is allowed.
    ///
    /// # Errors
    ///
    /// As [`Pool::join`].
    pub fn shutdown(&self) -> Result<(), Error> {
        self.pool.close();
        self.pool.join()
    }

    /// Cancels all tasks that no worker has begun, and gives their number: `shutdown` after it is Python's
    /// `shutdown(cancel_futures=True)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::ProcessPoolExecutor;
    ///
    /// let executor = ProcessPoolExecutor::new(1)?;
    /// let futures: Vec<_> = (0..50).map(|x| executor.submit(u64::pow, (x, 2))).collect::<Result<_, _>>()?;
    /// let cancelled = executor.cancel_pending();
    /// executor.shutdown()?;
    /// let failed = futures.into_iter().filter(|future| future.is_cancelled()).count();
    /// assert_eq!(failed, cancelled);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "cancel_futures")]
    pub fn cancel_pending(&self) -> usize {
        self.pool.cancel_pending()
    }

    /// Ends the workers at once; each task without a result ends with [`TaskError::Terminated`].
    ///
    /// # Python
    ///
    /// `terminate_workers` and `kill_workers`.
    #[doc(alias = "terminate_workers")]
    pub fn kill_workers(&self) {
        self.pool.terminate();
    }

    /// Calls a function with the executor, and shuts it down after that, also when the function panics: waits for all tasks, and lets
    /// the panic go on.
    ///
    /// # Errors
    ///
    /// As [`ProcessPoolExecutor::shutdown`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::ProcessPoolExecutor;
    ///
    /// let executor = ProcessPoolExecutor::new(2)?;
    /// let future = executor.scope(|executor| executor.submit(u64::pow, (2, 5)))??;
    /// assert!(future.is_done());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scope<R>(&self, run: impl FnOnce(&Self) -> R) -> Result<R, Error> {
        let result = catch_unwind(AssertUnwindSafe(|| run(self)));
        let ended = self.shutdown();
        match result {
            Ok(result) => ended.map(|()| result),
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl From<Pool> for ProcessPoolExecutor {
    fn from(pool: Pool) -> Self {
        Self { pool }
    }
}

static REUSABLE: Mutex<Option<Arc<ProcessPoolExecutor>>> = Mutex::new(None);

/// Gives the executor of this process, and starts it when there is none that works; with at least this many workers.
///
/// It is for libraries that need one now and then: whoever asks next gets the same one, warm. Its workers end with the process, or when
/// it is shut down, after which a new one is made. One that has too few workers grows.
///
/// # Errors
///
/// As [`Pool::new`].
///
/// # Examples
///
/// ```
/// use mp_pool::reusable_executor;
///
/// let first = reusable_executor(1)?;
/// let again = reusable_executor(1)?;
/// assert!(std::sync::Arc::ptr_eq(&first, &again));
/// first.shutdown()?;
/// let fresh = reusable_executor(1)?;
/// assert_eq!(fresh.submit(u64::pow, (2, 3))?.result()?, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "get_reusable_executor")]
pub fn reusable_executor(workers: usize) -> Result<Arc<ProcessPoolExecutor>, Error> {
    let mut reusable = REUSABLE.lock();
    let open = reusable.as_ref().filter(|executor| workers > 0 && executor.pool.is_open());
    if let Some(executor) = open {
        let missing = workers.saturating_sub(executor.pool.workers());
        if missing > 0 {
            executor.pool.grow(missing)?;
        }
        return Ok(executor.clone());
    }
    let executor = Arc::new(ProcessPoolExecutor::new(workers)?);
    *reusable = Some(executor.clone());
    Ok(executor)
}
