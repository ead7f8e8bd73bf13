//! A task that was submitted, as `concurrent.futures` has it.

use std::fmt;
use std::future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::{AsyncResult, TaskError};

/// A task that was submitted, made by [`ProcessPoolExecutor::submit`](crate::ProcessPoolExecutor::submit).
///
/// It can be waited for, asked, cancelled, or awaited on any runtime. It always ends: with the result, with what became of the task
/// instead, or with the end of its pool. Dropping it lets the task run.
///
/// A clone is the same future: equal to this one, and to no other. So futures can be keys of a map, see
/// [`as_completed`](crate::as_completed). The result goes to one of them, the others have [`TaskError::Taken`] then.
///
/// # Python
///
/// `concurrent.futures.Future`. `set_result` and its like are the pool's alone. A result is taken, not
/// copied, so it can be had once.
///
/// # Examples
///
/// ```
/// use mp_pool::ProcessPoolExecutor;
///
/// fn double(x: u32) -> u32 {
///     2 * x
/// }
///
/// let executor = ProcessPoolExecutor::new(2)?;
/// let future = executor.submit(double, (4,))?;
/// assert!(future.exception().is_none());
/// assert!(future.is_done() && !future.is_cancelled());
/// assert_eq!(format!("{future:?}"), "Future { state: Finished }");
/// assert_eq!(future.result()?, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the task runs anyway, but its result and its error are lost"]
pub struct Future<T>(pub(crate) AsyncResult<T>);

/// How far a [`Future`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FutureState {
    /// No worker has begun it.
    Pending,
    /// A worker runs it.
    Running,
    /// It was cancelled.
    Cancelled,
    /// It has a result or an error.
    Finished,
}

impl<T> Future<T> {
    /// Waits for the result and takes it.
    ///
    /// # Errors
    ///
    /// What became of the task instead.
    pub fn result(self) -> Result<T, TaskError> {
        self.0.get()
    }

    /// Waits for the result for some time, and takes it if it is there.
    ///
    /// # Errors
    ///
    /// [`TaskError::TimedOut`] if it is not; it can be asked for again. [`TaskError::Taken`] if it was taken before.
    pub fn result_timeout(&mut self, timeout: Duration) -> Result<T, TaskError> {
        self.0.get_timeout(timeout)
    }

    /// Waits for the task, and says why it has no result, if so.
    #[must_use]
    pub fn exception(&self) -> Option<TaskError> {
        self.0.wait();
        self.0.error()
    }

    /// Waits for the task for some time, and says why it has no result, if so.
    ///
    /// # Errors
    ///
    /// [`TaskError::TimedOut`] if it is not done.
    pub fn exception_timeout(&self, timeout: Duration) -> Result<Option<TaskError>, TaskError> {
        if self.0.wait_timeout(timeout) { Ok(self.0.error()) } else { Err(TaskError::TimedOut) }
    }

    /// Cancels the task if it has not begun; says whether it is cancelled.
    ///
    /// One that is running goes on, and is asked to stop; see [`should_stop`](crate::should_stop). [`Future::kill`] ends it.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::{ProcessPoolExecutor, TaskError, should_stop};
    ///
    /// fn until_told() -> bool {
    ///     while !should_stop() {
    ///         std::thread::yield_now();
    ///     }
    ///     true
    /// }
    ///
    /// let executor = ProcessPoolExecutor::new(1)?;
    /// let running = executor.submit(until_told, ())?;
    /// let pending = executor.submit(until_told, ())?;
    /// while !running.is_running() {
    ///     std::thread::yield_now();
    /// }
    /// assert!(pending.cancel());
    /// assert!(!running.cancel(), "it goes on");
    /// assert!(running.result()?, "until it is done, which is soon because it listens");
    /// assert!(matches!(pending.result(), Err(TaskError::Cancelled)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(&self) -> bool {
        self.0.cancel() && self.is_cancelled()
    }

    /// Cancels the task, also if it is running: its worker is ended then, and another stands in. Says whether it had no result yet.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::{ProcessPoolExecutor, TaskError};
    /// use std::time::Duration;
    ///
    /// let executor = ProcessPoolExecutor::new(1)?;
    /// let forever = executor.submit(|| std::thread::sleep(Duration::from_secs(3600)), ())?;
    /// assert!(forever.kill());
    /// assert!(matches!(forever.result(), Err(TaskError::Cancelled)));
    /// assert_eq!(executor.submit(u64::pow, (3, 2))?.result()?, 9);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kill(&self) -> bool {
        self.0.kill()
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> FutureState {
        if self.0.is_ready() {
            match self.0.error() {
                Some(TaskError::Cancelled) => FutureState::Cancelled,
                _ => FutureState::Finished,
            }
        } else if self.0.is_running() {
            FutureState::Running
        } else {
            FutureState::Pending
        }
    }

    /// Says whether it was cancelled.
    #[must_use]
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        self.state() == FutureState::Cancelled
    }

    /// Says whether a worker runs it.
    #[must_use]
    #[doc(alias = "running")]
    pub fn is_running(&self) -> bool {
        self.state() == FutureState::Running
    }

    /// Says whether it has a result or an error, or was cancelled.
    #[must_use]
    #[doc(alias = "done")]
    pub fn is_done(&self) -> bool {
        self.0.is_ready()
    }

    /// Has a function called when the task is done, with its result or its error; at once if it is.
    ///
    /// It runs in a thread of the pool that runs callbacks, in the order in which they were added, or here if the task is done. If it
    /// panics there, nothing comes of it. If the result was taken before, it is given [`TaskError::Taken`]. It may ask a clone of the
    /// future, but not take the result, which is [`TaskError::Taken`] to it.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::ProcessPoolExecutor;
    /// use std::sync::mpsc::channel;
    ///
    /// let executor = ProcessPoolExecutor::new(1)?;
    /// let (sender, receiver) = channel();
    /// let future = executor.submit(u64::pow, (2, 10))?;
    /// future.add_done_callback(move |result| {
    ///     let _ = sender.send(result.ok().copied());
    /// });
    /// assert_eq!(receiver.recv()?, Some(1024));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_done_callback(&self, callback: impl FnOnce(Result<&T, &TaskError>) + Send + 'static)
    where
        T: Send + 'static,
    {
        self.0.when_done(callback);
    }
}

impl<T> future::Future for Future<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> From<AsyncResult<T>> for Future<T> {
    fn from(result: AsyncResult<T>) -> Self {
        Self(result)
    }
}

impl<T> Clone for Future<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> PartialEq for Future<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Future<T> {}

impl<T> Hash for Future<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<T> fmt::Debug for Future<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Future").field("state", &self.state()).finish()
    }
}
