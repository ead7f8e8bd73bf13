//! A result that is there later.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mp_process::Panic;
use mp_wire::Deadline;
use parking_lot::{Mutex, ReentrantMutex};
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::batch::results;
use crate::job::{Job, Notice};
use crate::live::PoolCore;

/// The result of a task or of a whole map that was started without waiting for it.
///
/// The task runs whether or not anybody asks; dropping this drops the result. When the pool is terminated or
/// dropped first, the result is [`TaskError::Terminated`]: nothing here waits for ever.
///
/// A clone is the same result, which one of them takes; the others have [`TaskError::Taken`] then. They are equal to each other, and
/// to nothing else.
///
/// # Python
///
/// `AsyncResult` and `MapResult`. `successful` before the result is there is `None`, not an exception.
///
/// # Examples
///
/// ```
/// use mp_pool::Pool;
/// use std::time::Duration;
///
/// fn double(x: u32) -> u32 {
///     2 * x
/// }
///
/// let pool = Pool::new(2)?;
/// let first = pool.apply_async(double, (4,))?;
/// let second = pool.map_async(double, 0..3)?;
/// second.wait();
/// assert!(second.is_ready());
/// assert_eq!(first.get()?, 8);
/// assert_eq!(second.get()?, [0, 2, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the task runs anyway, but its result and its error are lost"]
pub struct AsyncResult<T> {
    core: Arc<PoolCore>,
    job: Arc<Job>,
    slot: Arc<Slot<T>>,
    /// Whoever awaits it; `None` until the first time.
    waker: Option<Arc<Mutex<Waker>>>,
}

/// Where the decoded result is kept until it is taken.
pub(crate) struct Slot<T> {
    /// A callback that looks at it may ask a clone of the future that it is called by.
    value: ReentrantMutex<RefCell<Value<T>>>,
    gather: fn(&Job) -> Result<T, TaskError>,
}

enum Value<T> {
    Encoded,
    Decoded(Result<T, TaskError>),
    Taken,
}

fn failed<T>(payload: Box<dyn Any + Send>) -> Result<T, TaskError> {
    let panic = Panic::from_payload(payload);
    Err(TaskError::Callback { message: panic.message().to_owned() })
}

impl<T> Slot<T> {
    pub(crate) fn new(gather: fn(&Job) -> Result<T, TaskError>) -> Arc<Self> {
        Arc::new(Self { value: ReentrantMutex::new(RefCell::new(Value::Encoded)), gather })
    }

    /// Decodes the results of a finished job, if that was not done before. User code runs here, in the thread that asks.
    fn settle(&self, job: &Job) {
        let value = self.value.lock();
        if let Ok(mut value) = value.try_borrow_mut()
            && matches!(*value, Value::Encoded)
        {
            *value = Value::Decoded((self.gather)(job));
        }
    }

    /// Decodes the results of a finished job and shows them to a callback, whose panic takes their place.
    pub(crate) fn settle_with(
        &self,
        job: &Job,
        callback: impl FnOnce(Result<&T, &TaskError>) + Send,
    ) {
        let called = catch_unwind(AssertUnwindSafe(|| {
            let result = (self.gather)(job);
            let called = catch_unwind(AssertUnwindSafe(|| callback(result.as_ref())));
            called.map_or_else(failed, |()| result)
        }));
        self.value.lock().replace(Value::Decoded(called.unwrap_or_else(failed)));
    }

    fn take(&self) -> Result<T, TaskError> {
        let value = self.value.lock();
        let value =
            value.try_borrow_mut().map(|mut value| std::mem::replace(&mut *value, Value::Taken));
        match value {
            Ok(Value::Decoded(result)) => result,
            _ => Err(TaskError::Taken),
        }
    }

    /// Looks at it.
    fn see<O>(&self, look: impl FnOnce(&Value<T>) -> O) -> O {
        let value = self.value.lock();
        // It is being decoded or taken by this thread, which does not have it to show.
        look(value.try_borrow().as_deref().unwrap_or(&Value::Taken))
    }
}

/// The one result of a job with one task.
pub(crate) fn gather_one<R: DeserializeOwned + 'static>(job: &Job) -> Result<R, TaskError> {
    let mut value = None;
    if let Some(finished) = job.pop() {
        results(finished, |result| value = Some(result));
    }
    value.unwrap_or(Err(TaskError::Taken))
}

/// The results of a job in order, or the first error in order.
pub(crate) fn gather_all<R: DeserializeOwned + 'static>(job: &Job) -> Result<Vec<R>, TaskError> {
    let mut all = Ok(Vec::new());
    while let Some(finished) = job.pop() {
        results(finished, |result| gather_into(&mut all, result));
    }
    all
}

/// Adds one result, unless there is an error already.
pub(crate) fn gather_into<R>(all: &mut Result<Vec<R>, TaskError>, result: Result<R, TaskError>) {
    match (&mut *all, result) {
        (Ok(values), Ok(value)) => values.push(value),
        (Ok(_), Err(error)) => *all = Err(error),
        (Err(_), _) => {}
    }
}

impl<T> AsyncResult<T> {
    pub(crate) fn new(core: Arc<PoolCore>, job: Arc<Job>, slot: Arc<Slot<T>>) -> Self {
        Self { core, job, slot, waker: None }
    }

    /// Waits for the result and takes it.
    ///
    /// # Blocking
    ///
    /// Waits until the task is done, its worker has died, or the pool is terminated.
    ///
    /// # Errors
    ///
    /// What became of the task instead. A map gives the first error in the order of its input, after all
    /// of its tasks are done.
    pub fn get(self) -> Result<T, TaskError> {
        if !self.wait_until(Deadline::NEVER) {
            return Err(TaskError::Foreign);
        }
        self.slot.settle(&self.job);
        self.slot.take()
    }

    /// Waits for the result for some time, and takes it if it is there.
    ///
    /// # Errors
    ///
    /// [`TaskError::TimedOut`] if it is not; it can be asked for again. [`TaskError::Taken`] if it was taken before.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    /// use mp_queue::Queue;
    /// use std::time::Duration;
    ///
    /// let pool = Pool::new(1)?;
    /// let numbers = Queue::<u64>::new()?;
    /// let mut later = pool.apply_async(|numbers: Queue<u64>| numbers.get().ok(), (numbers.clone(),))?;
    /// assert!(later.get_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
    /// numbers.put(&50)?;
    /// assert_eq!(later.get()?, Some(50));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_timeout(&mut self, timeout: Duration) -> Result<T, TaskError> {
        if !self.wait_until(Deadline::after(timeout)) {
            return Err(if self.core.is_ours() { TaskError::TimedOut } else { TaskError::Foreign });
        }
        self.slot.settle(&self.job);
        self.slot.take()
    }

    /// Waits until the task is done, one way or another.
    pub fn wait(&self) {
        self.wait_until(Deadline::NEVER);
    }

    /// Waits until the task is done, for some time; says whether it is.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Deadline::after(timeout))
    }

    /// Says whether the task is done, one way or another.
    #[must_use]
    #[doc(alias = "ready")]
    pub fn is_ready(&self) -> bool {
        if self.core.is_ours() && !self.job.is_done() {
            self.core.look();
        }
        self.core.is_ours() && self.job.is_done()
    }

    /// Cancels what has not begun of it; says whether anything was cancelled.
    ///
    /// What is running goes on, and is asked to stop; see [`should_stop`](crate::should_stop). Of a chunk that a worker has begun, the tasks after the
    /// one at hand do not begin; that is not known yet, and not among what this says. A map of which tasks were cancelled
    /// has [`TaskError::Cancelled`] as its result.
    pub fn cancel(&self) -> bool {
        self.core.is_ours() && self.core.cancel(&self.job, false).ended > 0
    }

    /// Cancels it, also what is running: the workers concerned are ended, and others stand in. Says whether it had no
    /// result yet.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::{Pool, TaskError};
    /// use std::time::Duration;
    ///
    /// let pool = Pool::new(2)?;
    /// let naps = pool.map_async(|ms: u64| std::thread::sleep(Duration::from_millis(ms)), [3_600_000; 10])?;
    /// assert!(naps.kill());
    /// assert!(matches!(naps.get(), Err(TaskError::Cancelled)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "terminate_job")]
    pub fn kill(&self) -> bool {
        self.core.is_ours() && self.core.cancel(&self.job, true).ended > 0
    }

    /// How many of its tasks are done, one way or another; also while those that travel with them are not.
    #[must_use]
    pub fn tasks_done(&self) -> u64 {
        if self.core.is_ours() && !self.job.is_done() {
            self.core.look();
        }
        self.job.tasks_done()
    }

    /// Says whether a worker has begun it and it is not done.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.core.is_ours() && self.core.lock().dispatcher.is_running(&self.job)
    }

    /// Why there is no result, if the task is done and there is none.
    pub(crate) fn error(&self) -> Option<TaskError> {
        if !self.core.is_ours() {
            return Some(TaskError::Foreign);
        }
        if !self.job.is_done() {
            return None;
        }
        self.slot.settle(&self.job);
        self.slot.see(|value| match value {
            Value::Decoded(Err(error)) => Some(error.clone()),
            _ => None,
        })
    }

    /// Has something run when it is done; at once if it is, or never will be in this process.
    pub(crate) fn notify(&self, notice: Notice) {
        if self.core.is_ours() {
            self.core.notify(&self.job, notice);
        } else {
            notice();
        }
    }

    /// Calls a function with the result when it is there.
    pub(crate) fn when_done(&self, callback: impl FnOnce(Result<&T, &TaskError>) + Send + 'static)
    where
        T: Send + 'static,
    {
        let (job, slot) = (self.job.clone(), self.slot.clone());
        self.notify(Box::new(move || {
            if job.is_done() {
                slot.settle(&job);
            }
            slot.see(|value| match value {
                Value::Decoded(result) => callback(result.as_ref()),
                Value::Encoded => callback(Err(&TaskError::Foreign)),
                Value::Taken => callback(Err(&TaskError::Taken)),
            });
        }));
    }

    fn wait_until(&self, deadline: Deadline) -> bool {
        let done = || self.job.is_done();
        self.core.is_ours() && (done() || self.core.wait(&self.job, deadline, |_| done()))
    }

    /// Says whether the task is done and has a result that was not taken yet; `None` while it is not done.
    #[must_use]
    #[doc(alias = "successful")]
    pub fn is_successful(&self) -> Option<bool> {
        self.is_ready().then(|| {
            self.slot.settle(&self.job);
            self.slot.see(|value| matches!(value, Value::Decoded(Ok(_))))
        })
    }
}

/// Can be awaited on any runtime; a thread of the pool does the waiting.
impl<T> Future for AsyncResult<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.core.is_ours() {
            return Poll::Ready(Err(TaskError::Foreign));
        }
        if !self.job.is_done() {
            match &self.waker {
                Some(waker) => waker.lock().clone_from(context.waker()),
                None => {
                    let waker = Arc::new(Mutex::new(context.waker().clone()));
                    self.waker = Some(waker.clone());
                    self.notify(Box::new(move || {
                        let waker = waker.lock().clone();
                        waker.wake();
                    }));
                }
            }
            if !self.job.is_done() {
                return Poll::Pending;
            }
        }
        self.slot.settle(&self.job);
        Poll::Ready(self.slot.take())
    }
}

impl<T> Clone for AsyncResult<T> {
    fn clone(&self) -> Self {
        Self::new(self.core.clone(), self.job.clone(), self.slot.clone())
    }
}

impl<T> PartialEq for AsyncResult<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.job, &other.job)
    }
}

impl<T> Eq for AsyncResult<T> {}

impl<T> Hash for AsyncResult<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.job).hash(state);
    }
}

impl<T> fmt::Debug for AsyncResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult").field("done", &self.job.is_done()).finish_non_exhaustive()
    }
}
