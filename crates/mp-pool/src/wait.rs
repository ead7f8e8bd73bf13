//! Waiting for several futures, also of several pools.

use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::time::Duration;

use mp_wire::Deadline;

use crate::sync::{Condvar, Mutex, is_past, sleep};
use crate::{Future, TaskError};

/// When [`wait`] returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReturnWhen {
    /// When one is done.
    #[doc(alias = "FIRST_COMPLETED")]
    FirstCompleted,
    /// When one has failed or was cancelled, or all are done.
    #[doc(alias = "FIRST_EXCEPTION")]
    FirstException,
    /// When all are done.
    #[default]
    #[doc(alias = "ALL_COMPLETED")]
    AllCompleted,
}

/// What [`wait`] gives back: each future is in one of the two, in the order in which it was given.
#[derive(Debug)]
pub struct DoneAndNotDone<T> {
    /// Those that have a result or an error.
    pub done: Vec<Future<T>>,
    /// The others.
    pub not_done: Vec<Future<T>>,
}

/// Which futures have become done, in that order.
#[derive(Default)]
struct Inbox {
    done: Mutex<VecDeque<usize>>,
    arrival: Condvar,
}

impl Inbox {
    fn watch<T>(futures: &[Future<T>]) -> Arc<Self> {
        let inbox = Arc::new(Self::default());
        for (index, future) in futures.iter().enumerate() {
            let inbox = inbox.clone();
            future.0.notify(Box::new(move || {
                inbox.done.lock().push_back(index);
                inbox.arrival.notify_all();
            }));
        }
        inbox
    }

    fn next(&self, deadline: Deadline) -> Option<usize> {
        let mut done = self.done.lock();
        let mut looked = false;
        loop {
            if let Some(index) = done.pop_front() {
                return Some(index);
            }
            if looked && is_past(deadline) {
                return None;
            }
            looked = true;
            sleep(&self.arrival, &mut done, deadline);
        }
    }
}

/// Waits until some or all of these futures are done, or the time is up. Without a time it waits as long as that takes.
///
/// # Examples
///
/// ```
/// use mp_pool::{ProcessPoolExecutor, ReturnWhen, wait};
/// use std::time::Duration;
///
/// fn nap(ms: u64) -> u64 {
///     std::thread::sleep(Duration::from_millis(ms));
///     ms
/// }
///
/// let executor = ProcessPoolExecutor::new(2)?;
/// let futures = vec![executor.submit(nap, (60_000,))?, executor.submit(nap, (1,))?];
/// let waited = wait(futures, None, ReturnWhen::FirstCompleted);
/// assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the futures are in what it gives back"]
pub fn wait<T>(
    futures: impl IntoIterator<Item = Future<T>>,
    timeout: Option<Duration>,
    return_when: ReturnWhen,
) -> DoneAndNotDone<T> {
    let deadline = Deadline::from_timeout(timeout);
    let futures: Vec<_> = futures.into_iter().collect();
    let inbox = Inbox::watch(&futures);
    let mut left = futures.len();
    while left > 0 {
        let Some(index) = inbox.next(deadline) else { break };
        left -= 1;
        let enough = match return_when {
            ReturnWhen::FirstCompleted => true,
            ReturnWhen::FirstException => {
                futures.get(index).is_some_and(|future| future.0.error().is_some())
            }
            ReturnWhen::AllCompleted => false,
        };
        if enough {
            break;
        }
    }
    let (done, not_done) = futures.into_iter().partition(Future::is_done);
    DoneAndNotDone { done, not_done }
}

/// Gives these futures back as they become done.
///
/// # Examples
///
/// ```
/// use mp_pool::{ProcessPoolExecutor, as_completed};
///
/// let executor = ProcessPoolExecutor::new(2)?;
/// let futures: Result<Vec<_>, _> = (0..10).map(|x| executor.submit(u32::pow, (x, 2))).collect();
/// let mut sum = 0;
/// for future in as_completed(futures?) {
///     sum += future.result()?;
/// }
/// assert_eq!(sum, 285);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What each was given is found by the future itself. Its hash is that of what it is, which does not change; `clippy` cannot see that, and
/// may want to be told: `#[allow(clippy::mutable_key_type)]`.
///
/// ```
/// use mp_pool::{ProcessPoolExecutor, as_completed};
/// use std::collections::HashMap;
///
/// let executor = ProcessPoolExecutor::new(2)?;
/// let mut words = HashMap::new();
/// for word in ["one", "three", "seven"] {
///     words.insert(executor.submit(|word: String| word.len(), (word.to_owned(),))?, word);
/// }
/// for future in as_completed(words.keys().cloned()) {
///     let word = words[&future];
///     match future.result() {
///         Ok(length) => assert_eq!(length, word.len()),
///         Err(error) => println!("{word}: {error}"),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn as_completed<T>(futures: impl IntoIterator<Item = Future<T>>) -> AsCompleted<T> {
    let futures: Vec<_> = futures.into_iter().collect();
    let inbox = Inbox::watch(&futures);
    let left = futures.len();
    AsCompleted { futures: futures.into_iter().map(Some).collect(), inbox, left }
}

/// Futures as they become done, made by [`as_completed`].
#[must_use = "iterators are lazy"]
pub struct AsCompleted<T> {
    futures: Vec<Option<Future<T>>>,
    inbox: Arc<Inbox>,
    left: usize,
}

impl<T> AsCompleted<T> {
    /// Gives the next one, if it is done in time; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`TaskError::TimedOut`] if none is done; it can be asked for again.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<Future<T>, TaskError>> {
        self.next_until(Deadline::after(timeout))
    }

    fn next_until(&mut self, deadline: Deadline) -> Option<Result<Future<T>, TaskError>> {
        if self.left == 0 {
            return None;
        }
        let Some(index) = self.inbox.next(deadline) else { return Some(Err(TaskError::TimedOut)) };
        self.left -= 1;
        self.futures.get_mut(index).and_then(Option::take).map(Ok)
    }
}

impl<T> Iterator for AsCompleted<T> {
    type Item = Future<T>;

    fn next(&mut self) -> Option<Future<T>> {
        self.next_until(Deadline::NEVER)?.ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> ExactSizeIterator for AsCompleted<T> {}

impl<T> FusedIterator for AsCompleted<T> {}

impl<T> std::fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsCompleted").field("left", &self.left).finish_non_exhaustive()
    }
}
