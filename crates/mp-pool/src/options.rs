//! Calls on many items: `map` and its relatives, with their settings.

use std::sync::Arc;
use std::time::Duration;

use mp_process::Target;
use mp_wire::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::batch::{Batch, results};
use crate::core::State;
use crate::feed::{Feed, together, unit};
use crate::guide::Guide;
use crate::imap::{Imap, Plan};
use crate::job::{Job, Order};
use crate::meter::Meter;
use crate::result::{Slot, gather_into, gather_one};
use crate::split::Split;
use crate::state::{self, Broadcast};
use crate::terms::Terms;
use crate::{AsyncResult, Future, Pool, Retry, TaskError, entry, trace};

mod later;

/// The input of a function with one argument, as tuples of arguments.
pub(crate) type Single<I> =
    std::iter::Map<I, fn(<I as Iterator>::Item) -> (<I as Iterator>::Item,)>;

/// A [`Pool`] with settings for one call, made by [`Pool::chunk_size`], [`Pool::timeout`] and their like.
///
/// A call takes them; for several calls they can be cloned. A bar of progress is the same for all clones.
///
/// # Examples
///
/// ```
/// use mp_pool::{Pool, Retry};
/// use std::time::Duration;
///
/// let pool = Pool::new(2)?;
/// let careful = pool.timeout(Duration::from_secs(60)).retry(Retry::times(2));
/// assert_eq!(careful.clone().map(|x: u64| x * x, 0..4)?, [0, 1, 4, 9]);
/// assert_eq!(careful.apply(u64::pow, (2, 10))?, 1024);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until a call is made with them"]
pub struct Options<'p> {
    pool: &'p Pool,
    chunk: Option<usize>,
    window: Option<usize>,
    pub(crate) terms: Terms,
    guided: bool,
    meter: Meter,
}

impl<'p> Options<'p> {
    pub(crate) fn new(pool: &'p Pool) -> Self {
        Self {
            pool,
            chunk: None,
            window: None,
            terms: pool.terms(),
            guided: false,
            meter: Meter::default(),
        }
    }

    /// Sets how many items travel together, as [`Pool::chunk_size`].
    pub fn chunk_size(mut self, items: usize) -> Self {
        self.chunk = Some(items);
        self
    }

    /// Sets the chunk size by how long tasks take, as [`Pool::guided`].
    pub fn guided(mut self) -> Self {
        self.guided = true;
        self
    }

    /// Shows a bar on the terminal while the call runs, as [`Pool::progress`].
    #[cfg(feature = "progress")]
    pub fn progress(self) -> Self {
        self.progress_bar(indicatif::ProgressBar::new(0))
    }

    /// Shows the progress of the call on this bar, whose length is set if it is known.
    #[cfg(feature = "progress")]
    pub fn progress_bar(mut self, bar: indicatif::ProgressBar) -> Self {
        self.meter = Meter::with_bar(bar);
        self
    }

    /// Sets how many items `imap` reads ahead, as [`Pool::buffer_size`].
    pub fn buffer_size(mut self, items: usize) -> Self {
        self.window = Some(items);
        self
    }

    /// Sets a limit of time for each task, as [`Pool::timeout`].
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.terms.hard = Some(limit);
        self
    }

    /// Sets when each task is asked to stop, as [`Pool::soft_timeout`].
    pub fn soft_timeout(mut self, limit: Duration) -> Self {
        self.terms.soft = Some(limit);
        self
    }

    /// Sets a limit of resident memory for each task, as [`Pool::memory_limit`].
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.terms.memory = Some(bytes);
        self
    }

    /// Sets a limit of processor time for each task, as [`Pool::cpu_limit`].
    pub fn cpu_limit(mut self, limit: Duration) -> Self {
        self.terms.cpu = Some(limit);
        self
    }

    /// Sets what is run again, as [`Pool::retry`].
    pub fn retry(mut self, retry: Retry) -> Self {
        self.terms.retry = Some(retry);
        self
    }

    /// Sets how urgent the tasks are, as [`Pool::priority`].
    pub fn priority(mut self, priority: i32) -> Self {
        self.terms.priority = priority;
        self
    }

    /// As [`Pool::apply`].
    ///
    /// # Errors
    ///
    /// As [`Pool::apply`].
    pub fn apply<F, Args>(self, function: F, args: Args) -> Result<F::Output, TaskError>
    where
        F: Target<Args, Output: Serialize + DeserializeOwned + 'static>,
        Args: Serialize + DeserializeOwned + 'static,
    {
        let job = self.one(function, args)?;
        self.pool.core().wait(&job, Deadline::NEVER, |_| job.has_next());
        gather_one(&job)
    }

    /// As [`Pool::apply_async`].
    ///
    /// # Errors
    ///
    /// As [`Pool::apply_async`].
    pub fn apply_async<F, Args>(
        self,
        function: F,
        args: Args,
    ) -> Result<AsyncResult<F::Output>, TaskError>
    where
        F: Target<Args, Output: Serialize + DeserializeOwned + 'static>,
        Args: Serialize + DeserializeOwned + 'static,
    {
        let job = self.one(function, args)?;
        let core = self.pool.core();
        core.leave();
        Ok(AsyncResult::new(core.clone(), job, Slot::new(gather_one)))
    }

    /// As [`Pool::submit`].
    ///
    /// # Errors
    ///
    /// As [`Pool::apply_async`].
    pub fn submit<F, Args>(self, function: F, args: Args) -> Result<Future<F::Output>, TaskError>
    where
        F: Target<Args, Output: Serialize + DeserializeOwned + 'static>,
        Args: Serialize + DeserializeOwned + 'static,
    {
        self.apply_async(function, args).map(Future::from)
    }

    /// As [`Pool::apply_async_with`].
    ///
    /// # Errors
    ///
    /// As [`Pool::apply_async_with`].
    pub fn apply_async_with<F, Args, C>(
        self,
        function: F,
        args: Args,
        callback: C,
    ) -> Result<AsyncResult<F::Output>, TaskError>
    where
        F: Target<Args, Output: Serialize + DeserializeOwned + Send + 'static>,
        Args: Serialize + DeserializeOwned + 'static,
        C: FnOnce(Result<&F::Output, &TaskError>) + Send + 'static,
    {
        let entry = entry::name::<F, Args>(function)?;
        let settings = (self.terms, self.meter);
        let batches = vec![Batch::one(args, Split::of::<F>())];
        self.pool.call_back(entry, settings, batches, gather_one, callback)
    }

    /// Submits a job with one task.
    fn one<F, Args>(&self, function: F, args: Args) -> Result<Arc<Job>, TaskError>
    where
        F: Target<Args, Output: Serialize + 'static>,
        Args: Serialize + DeserializeOwned + 'static,
    {
        self.check()?;
        let entry = entry::name::<F, Args>(function)?;
        let batch = Batch::one(args, Split::of::<F>()).map_err(TaskError::encode)?;
        let job = self.job(Order::Finished);
        let unit = unit(&job, entry, Ok(batch));
        self.pool.core().submit(unit, true)?;
        Ok(job)
    }

    fn job(&self, order: Order) -> Arc<Job> {
        Arc::new(Job::with_terms(order, self.terms))
    }

    fn check(&self) -> Result<(), TaskError> {
        self.pool.check()?;
        match (self.chunk, self.window) {
            (Some(0), _) => Err(TaskError::InvalidInput("the chunk size is zero")),
            (_, Some(0)) => Err(TaskError::InvalidInput("the buffer size is zero")),
            _ => Ok(()),
        }
    }

    /// Cuts the input into as many chunks as the settings say; reads it if its length is not known otherwise.
    fn cut<T>(&self, items: impl IntoIterator<Item = T>) -> (usize, impl Iterator<Item = T>) {
        let items = items.into_iter();
        let (low, high) = items.size_hint();
        let chunk = self.terms.chunk(self.chunk);
        let (items, length) = match (chunk, high) {
            (None, Some(high)) if high == low => (Either::Left(items), low),
            (None, _) => {
                let all: Vec<T> = items.collect();
                let length = all.len();
                (Either::Right(all.into_iter()), length)
            }
            (Some(_), _) => (Either::Left(items), low),
        };
        let share = length.div_ceil(4 * self.pool.most_workers());
        let chunk = chunk.unwrap_or_else(|| share.clamp(1, MAX_SHARE));
        (chunk.min(self.pool.most_tasks()).min(MAX_CHUNK), items)
    }

    /// As [`Pool::map`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map`]; also [`TaskError::InvalidInput`] for a chunk size of zero.
    pub fn map<F, A, I>(self, function: F, items: I) -> Result<Vec<F::Output>, TaskError>
    where
        F: Target<(A,), Output: Serialize + DeserializeOwned + 'static>,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.starmap(function, single(items))
    }

    /// As [`Pool::starmap`].
    ///
    /// # Errors
    ///
    /// As [`Options::map`].
    pub fn starmap<F, Args, I>(self, function: F, items: I) -> Result<Vec<F::Output>, TaskError>
    where
        F: Target<Args, Output: Serialize + DeserializeOwned + 'static>,
        Args: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = Args>,
    {
        self.check()?;
        let entry = entry::name::<F, Args>(function)?;
        self.run_all("map", entry, items, Some(Split::of::<F>()), |batch| batch)
    }

    /// As [`Pool::map_with`].
    ///
    /// # Errors
    ///
    /// As [`Options::map`].
    pub fn map_with<S, F, A, R, I>(
        self,
        shared: &S,
        function: F,
        items: I,
    ) -> Result<Vec<R>, TaskError>
    where
        S: Serialize + DeserializeOwned + 'static,
        F: Fn(&S, A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.check()?;
        let entry = state::name_with::<F, S, A, R>(function)?;
        let broadcast = Broadcast::new(shared)?;
        self.run_all("map_with", entry, single(items), None, |batch| broadcast.seal(batch))
    }

    /// As [`Pool::map_state`].
    ///
    /// # Errors
    ///
    /// As [`Options::map`].
    pub fn map_state<S, F, A, R, I>(self, function: F, items: I) -> Result<Vec<R>, TaskError>
    where
        S: 'static,
        F: Fn(&mut S, A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.check()?;
        let entry = state::name_state::<F, S, A, R>(function)?;
        self.run_all("map_state", entry, single(items), None, |batch| batch)
    }

    /// Feeds the workers, and decodes what they have done while they do more.
    fn run_all<Args, R, I>(
        self,
        call: &'static str,
        entry: u64,
        items: I,
        split: Option<Split<Args>>,
        seal: impl Fn(Batch) -> Batch,
    ) -> Result<Vec<R>, TaskError>
    where
        Args: Serialize + 'static,
        R: DeserializeOwned + 'static,
        I: IntoIterator<Item = Args>,
    {
        self.pool.core().admits(true)?;
        let (chunk, items) = self.cut(items);
        let feed = Feed::splitting(items, split);
        trace::call(call, feed.size_hint().0, || self.run_feed(entry, chunk, feed, seal))
    }

    fn run_feed<Args, R, I>(
        &self,
        entry: u64,
        chunk: usize,
        mut feed: Feed<I>,
        seal: impl Fn(Batch) -> Batch,
    ) -> Result<Vec<R>, TaskError>
    where
        Args: Serialize + 'static,
        R: DeserializeOwned + 'static,
        I: Iterator<Item = Args>,
    {
        let core = self.pool.core();
        let _call = core.begin_call();
        let job = self.job(Order::Submitted);
        let length = feed.size_hint().0;
        self.meter.expect(feed.size_hint().1);
        let mut guide = self.guided.then(|| Guide::new(length, self.pool.most_workers()));
        let mut all = Vec::new();
        // Without room, `push` says so.
        let _ = mp_wire::try_reserve(&mut all, length.min(MAX_CHUNK));
        let mut all = Ok(all);
        let mut refused = None;
        let mut first = true;
        let mut units = Vec::new();
        let has_room = |guide: &Option<Guide>, is_heavy: bool, state: &State<_>| {
            let is_fed = state.dispatcher.is_fed() || (is_heavy && state.dispatcher.pending() > 0);
            !is_fed && guide.as_ref().is_none_or(|guide| guide.has_room(&job))
        };
        loop {
            while feed.has_more() && (first || has_room(&guide, feed.is_heavy(), &core.lock())) {
                let together = if guide.is_none() { together(&job, chunk) } else { 1 };
                while feed.has_more() && units.len() < together {
                    let chunk = guide.as_mut().map_or(chunk, |guide| guide.next(&job));
                    let Some(batch) = feed.next(chunk) else { break };
                    if batch.is_err() {
                        feed.stop();
                    }
                    units.extend(unit(&job, entry, batch.map(&seal)));
                }
                let count = units.len();
                if let Err(error) = core.submit(units.drain(..), first) {
                    job.withdraw(count);
                    refused = Some(error);
                    feed.stop();
                }
                first = false;
            }
            while let Some(finished) = job.pop() {
                results(finished, |result| gather_into(&mut all, result));
            }
            let done = job.tasks_done();
            self.meter.show(done);
            if !feed.has_more() && job.is_done() && !job.has_next() {
                break;
            }
            // Where other calls leave no room, nobody says when there is some.
            let is_out = feed.has_more() && job.is_done();
            let deadline = if is_out { Deadline::after(CROWDED) } else { Deadline::NEVER };
            core.wait(&job, deadline, |state| {
                job.has_next()
                    || (job.is_done() && !is_out)
                    || (feed.has_more() && has_room(&guide, feed.is_heavy(), state))
                    || (self.meter.is_on() && job.tasks_done() > done)
            });
        }
        self.meter.finish();
        if let Some(panic) = feed.take_panic() {
            std::panic::resume_unwind(panic);
        }
        refused.map_or(all, Err)
    }

    /// As [`Pool::imap`]. A chunk size or buffer size of zero is its first and only result, an error.
    pub fn imap<F, A, I>(self, function: F, items: I) -> Imap<Single<I::IntoIter>, F::Output>
    where
        F: Target<(A,), Output: Serialize + DeserializeOwned + 'static>,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.iterate(function, items, Order::Submitted)
    }

    /// As [`Pool::imap_unordered`]. A chunk size or buffer size of zero is its first and only result, an error.
    pub fn imap_unordered<F, A, I>(
        self,
        function: F,
        items: I,
    ) -> Imap<Single<I::IntoIter>, F::Output>
    where
        F: Target<(A,), Output: Serialize + DeserializeOwned + 'static>,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.iterate(function, items, Order::Finished)
    }

    fn iterate<F, A, I>(
        self,
        function: F,
        items: I,
        order: Order,
    ) -> Imap<Single<I::IntoIter>, F::Output>
    where
        F: Target<(A,), Output: Serialize + DeserializeOwned + 'static>,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        let entry = self.check().and_then(|()| entry::name::<F, (A,)>(function));
        let chunk = self.terms.chunk(self.chunk).unwrap_or(1);
        let chunk = chunk.min(self.pool.most_tasks()).min(MAX_CHUNK);
        let ahead = chunk.saturating_mul(2 * self.pool.most_workers());
        let window = self.window.unwrap_or(ahead);
        let plan = Plan { entry, order, chunk, window, terms: self.terms, meter: self.meter };
        Imap::new(self.pool.core().clone(), plan, single(items))
    }
}

/// How long a call that has nothing under way waits before it looks again whether others have left room.
const CROWDED: Duration = Duration::from_millis(1);
/// The most tasks in a chunk whose size nobody has set. The bytes of larger ones leave the caches, and to have those of many at a time takes
/// new memory from the system in each call.
const MAX_SHARE: usize = 1 << 15;

/// The most tasks in one chunk.
const MAX_CHUNK: usize = 1 << 24;

fn single<I: IntoIterator>(items: I) -> Single<I::IntoIter> {
    items.into_iter().map(|item| (item,))
}

/// One of two iterators over the same.
enum Either<L, R> {
    Left(L),
    Right(R),
}

impl<L: Iterator, R: Iterator<Item = L::Item>> Iterator for Either<L, R> {
    type Item = L::Item;

    fn next(&mut self) -> Option<L::Item> {
        match self {
            Self::Left(left) => left.next(),
            Self::Right(right) => right.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Left(left) => left.size_hint(),
            Self::Right(right) => right.size_hint(),
        }
    }
}
