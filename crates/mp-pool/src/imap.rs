//! Results as an iterator, while the input is still being read.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::iter::FusedIterator;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use mp_wire::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::batch::results;
use crate::feed::{Feed, unit};
use crate::job::{Job, Order};
use crate::live::PoolCore;
use crate::meter::Meter;
use crate::terms::Terms;

mod indexed;

pub use indexed::Indexed;

/// An iterator over the results of [`Pool::imap`](crate::Pool::imap) and
/// [`Pool::imap_unordered`](crate::Pool::imap_unordered).
///
/// It reads its input only a bounded number of items ahead of what has been taken from it, so an endless
/// input is fine. Each result is that of one task; an error does not end the iteration. When the pool is terminated
/// or joined before the input has been read, one error says so and the iteration ends.
///
/// A panic of the input goes on where its item would have come, after the results before it.
///
/// Once it is dropped, nothing more is read. Tasks whose items were read still run, and their results are lost; [`Imap::cancel`] ends
/// them before, with the workers that run them.
///
/// # Examples
///
/// ```
/// use mp_pool::{Pool, TaskError};
///
/// fn root(x: i32) -> i32 {
///     assert!(x >= 0, "{x} has no root");
///     x.isqrt()
/// }
///
/// let pool = Pool::new(2)?;
/// let roots: Vec<Option<i32>> = pool.imap(root, [16, -1, 25]).map(Result::ok).collect();
/// assert_eq!(roots, [Some(4), None, Some(5)]);
///
/// let endless = pool.imap(root, 0..);
/// assert_eq!(endless.take(10).filter_map(Result::ok).last(), Some(3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "its tasks beyond the first few run only as results are taken"]
pub struct Imap<I: Iterator, R> {
    core: Arc<PoolCore>,
    job: Arc<Job>,
    entry: u64,
    feed: Feed<I>,
    chunk: usize,
    /// The most items that are read ahead of what was taken.
    window: usize,
    /// Items that were read and whose results were not taken.
    ahead: usize,
    /// How many items were read in all, and in how many units.
    read: usize,
    units: usize,
    /// The first item of each unit whose results are not here, where that cannot be told from the chunk size: units before it are shorter.
    firsts: HashMap<usize, usize>,
    /// Results that came with one that was taken, and the places of their items.
    ready: VecDeque<(usize, Result<R, TaskError>)>,
    /// The pool took no more; comes out last.
    refused: Option<TaskError>,
    first: bool,
    /// When the iteration ends, done or not.
    deadline: Deadline,
    late: bool,
    meter: Meter,
    taken: u64,
}

/// How an [`Imap`] is to run.
pub(crate) struct Plan {
    pub(crate) entry: Result<u64, TaskError>,
    pub(crate) order: Order,
    pub(crate) chunk: usize,
    pub(crate) window: usize,
    pub(crate) terms: Terms,
    pub(crate) meter: Meter,
}

impl<I, R> Imap<I, R>
where
    I: Iterator<Item: Serialize + 'static>,
    R: DeserializeOwned + 'static,
{
    pub(crate) fn new(core: Arc<PoolCore>, plan: Plan, input: I) -> Self {
        let (entry, refused) = match plan.entry {
            Ok(entry) => (entry, core.admits(true).err()),
            Err(error) => (0, Some(error)),
        };
        let mut imap = Self {
            core,
            job: Arc::new(Job::with_terms(plan.order, plan.terms)),
            entry,
            feed: Feed::new(input),
            chunk: plan.chunk.min(plan.window),
            window: plan.window,
            ahead: 0,
            read: 0,
            units: 0,
            firsts: HashMap::new(),
            ready: VecDeque::new(),
            refused,
            first: true,
            deadline: Deadline::NEVER,
            late: false,
            meter: plan.meter,
            taken: 0,
        };
        imap.meter.expect(imap.feed.size_hint().1);
        if imap.refused.is_some() {
            imap.feed.stop();
        }
        imap.fill();
        imap
    }

    /// Bounds the time for all results together: when it is over and the next one is not there,
    /// [`TaskError::TimedOut`] is the last.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::{Pool, TaskError};
    /// use std::time::Duration;
    ///
    /// let nap = |seconds: u64| std::thread::sleep(Duration::from_secs(seconds));
    /// let pool = Pool::new(1)?;
    /// let naps: Vec<_> = pool.imap(nap, [0, 3600, 3600]).timeout(Duration::from_secs(2)).collect();
    /// assert!(matches!(naps[..], [Ok(()), Err(TaskError::TimedOut)]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.deadline = Deadline::after(timeout);
        self
    }

    /// Cancels what has not been given out, and ends what is running; the iteration ends after the errors of those.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let mut found = pool.imap_unordered(|x: u64| (x == 7).then_some(x), 0..);
    /// let first = found.find_map(|result| result.ok().flatten());
    /// assert_eq!(first, Some(7));
    /// found.cancel();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(&mut self) {
        self.feed.stop();
        if self.core.is_ours() {
            self.core.cancel(&self.job, true);
        }
    }

    /// Gives each result with the place of its item in the input, counted from zero.
    ///
    /// An error says what happened, the place says to which item. An error that is not that of one item, because the pool takes no
    /// more or the time is up, has the place of the next item that would have been read.
    ///
    /// # Python
    ///
    /// Python's `imap_unordered` has no such thing: the function is made to return its argument as well, which is of no use when
    /// it fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// fn root(x: i32) -> i32 {
    ///     assert!(x >= 0, "{x} has no root");
    ///     x.isqrt()
    /// }
    ///
    /// let pool = Pool::new(2)?;
    /// let numbers = [16, -1, 25, -2];
    /// let results = pool.imap_unordered(root, numbers).indexed();
    /// let mut rootless: Vec<i32> = results.filter(|(_, root)| root.is_err()).map(|(at, _)| numbers[at]).collect();
    /// rootless.sort();
    /// assert_eq!(rootless, [-2, -1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "enumerate")]
    pub fn indexed(self) -> Indexed<I, R> {
        Indexed(self)
    }

    /// Reads input until the window is full.
    fn fill(&mut self) {
        while self.feed.has_more() && self.ahead + self.chunk <= self.window {
            let Some(batch) = self.feed.next(self.chunk) else { return };
            let items = batch.as_ref().map_or(1, |batch| batch.items as usize);
            let submitted = match unit(&self.job, self.entry, batch) {
                Some(unit) => {
                    let first = std::mem::take(&mut self.first);
                    self.core.submit([unit], first)
                }
                // It is finished already.
                None => Ok(()),
            };
            match submitted {
                Ok(()) => {
                    if self.read != self.units * self.chunk {
                        self.firsts.insert(self.units, self.read);
                    }
                    self.units += 1;
                    self.read += items;
                    self.ahead += items;
                }
                Err(error) => {
                    self.job.withdraw(1);
                    self.feed.stop();
                    self.refused = Some(error);
                }
            }
        }
    }

    /// Takes the next result, if it is there in time; `None` at the end.
    ///
    /// A [`TaskError::TimedOut`] costs nothing: the result can be asked for again.
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
    /// let mut results = pool.imap(|numbers: Queue<u64>| numbers.get().ok(), [numbers.clone()]);
    /// let early = results.next_timeout(Duration::from_millis(1));
    /// assert!(early.is_some_and(|result| result.is_err_and(|error| error.is_timeout())));
    /// numbers.put(&40)?;
    /// assert_eq!(results.next().transpose()?, Some(Some(40)));
    /// assert!(results.next().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<R, TaskError>> {
        self.next_until(Deadline::after(timeout)).map(|(_, result)| result)
    }

    fn next_until(&mut self, deadline: Deadline) -> Option<(usize, Result<R, TaskError>)> {
        if !self.core.is_ours() {
            self.feed.stop();
            let began = std::mem::take(&mut self.ahead) > 0;
            let any = began || self.refused.take().is_some();
            return any.then_some((self.read, Err(TaskError::Foreign)));
        }
        loop {
            if let Some(result) = self.ready.pop_front() {
                self.ahead -= 1;
                self.taken += 1;
                self.meter.show(self.taken);
                self.fill();
                return Some(result);
            }
            if let Some(finished) = self.job.pop() {
                let mut at = self.first_of(finished.place as usize);
                results(finished, |result| {
                    self.ready.push_back((at, result));
                    at += 1;
                });
                continue;
            }
            self.fill();
            if self.ahead == 0 {
                self.meter.finish();
                if let Some(panic) = self.feed.take_panic() {
                    resume_unwind(panic);
                }
                return self.refused.take().map(|error| (self.read, Err(error)));
            }
            let job = &self.job;
            if !job.has_next() && !self.core.wait(job, deadline, |_| job.has_next()) {
                return Some((self.read, Err(TaskError::TimedOut)));
            }
        }
    }

    /// The first item of a unit that is done.
    fn first_of(&mut self, unit: usize) -> usize {
        // Most often there are none, and it is not worth the while to search.
        let shifted = if self.firsts.is_empty() { None } else { self.firsts.remove(&unit) };
        shifted.unwrap_or(unit * self.chunk)
    }

    fn advance(&mut self) -> Option<(usize, Result<R, TaskError>)> {
        if self.late {
            return None;
        }
        let next = self.next_until(self.deadline);
        self.late = matches!(&next, Some((_, Err(TaskError::TimedOut))));
        next
    }
}

impl<I, R> Iterator for Imap<I, R>
where
    I: Iterator<Item: Serialize + 'static>,
    R: DeserializeOwned + 'static,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().map(|(_, result)| result)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let ahead = self.ahead + usize::from(self.refused.is_some());
        let (low, high) = self.feed.size_hint();
        (low.saturating_add(ahead), high.and_then(|high| high.checked_add(ahead)))
    }
}

impl<I, R> ExactSizeIterator for Imap<I, R>
where
    I: ExactSizeIterator<Item: Serialize + 'static>,
    R: DeserializeOwned + 'static,
{
}

impl<I, R> FusedIterator for Imap<I, R>
where
    I: FusedIterator<Item: Serialize + 'static>,
    R: DeserializeOwned + 'static,
{
}

impl<I: Iterator, R> fmt::Debug for Imap<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap")
            .field("chunk_size", &self.chunk)
            .field("buffer_size", &self.window)
            .field("ahead", &self.ahead)
            .finish_non_exhaustive()
    }
}
