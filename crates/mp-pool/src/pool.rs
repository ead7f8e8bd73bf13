//! The front: what a caller asks of a pool.

use std::fmt;
use std::sync::Arc;

use mp_process::{StartMethod, Target};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::batch::Batch;
use crate::builder::Builder;
use crate::feed::unit;
use crate::imap::Imap;
use crate::job::{Job, Order};
use crate::live::{Live, PoolCore};
use crate::meter::Meter;
use crate::options::{Options, Single};
use crate::result::Slot;
use crate::terms::Terms;
use crate::{AsyncResult, Error, Future, Stats, TaskError, Timeline};

mod settings;

/// A pool of worker processes.
///
/// A task is a function and its arguments. The function is a function item or a closure that captures nothing; one that captures is
/// refused when the program is built, by `cargo build` though not by `cargo check`. A closure that never returns needs a type to
/// return: `|| -> () { panic!() }`. Arguments and results are anything with serde's `Serialize` and `Deserialize`, handles of this
/// library included (queues, locks, arrays in shared memory).
///
/// Results are decoded in the thread that takes them. If their `Deserialize` panics, the panic goes on there.
///
/// A pool can be used by several threads at once, and inside a task, where it is a pool of the worker's own.
///
/// # Python
///
/// `multiprocessing.Pool`. Dropping it ends the workers at once, also after [`Pool::close`], like leaving Python's `with` block, and
/// what is outstanding then ends with [`TaskError::Terminated`] instead of never: [`Pool::join`] waits for it. Workers ignore Ctrl-C: what it means is up to this process.
///
/// # Blocking
///
/// Whoever waits for a result does the pool's dispatching meanwhile. Two threads of the pool sleep: one stands
/// in when nobody waits, one starts workers and notices their end; a third runs callbacks, if there are any. Dropping the pool
/// waits for a callback that is running, though not for more than some seconds.
///
/// # If a process dies
///
/// If a worker dies, by a signal, an abort or an exit, the task that it was running fails with
/// [`TaskError::Died`]. Tasks that it only had queued, and the rest of a chunk, go to others, results that it had handed over
/// are kept, a new worker stands in, and all else goes on. If the process with the pool dies, the kernel ends
/// its workers. It does not see the one whose task has closed all descriptors of its process: such a worker ends itself when it has no
/// task, and so outlives the pool only for as long as its last task runs.
///
/// # Examples
///
/// ```
/// use mp_pool::Pool;
///
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// let pool = Pool::new(2)?;
/// assert_eq!(pool.map(square, 0..5)?, [0, 1, 4, 9, 16]);
/// assert_eq!(pool.apply(square, (7,))?, 49);
/// pool.close();
/// pool.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pool {
    live: Live,
}

impl Pool {
    /// Starts a pool with this many workers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for zero,
    /// [`ErrorKind::Start`](crate::ErrorKind::Start) if a worker cannot be started; those that were are ended.
    pub fn new(workers: usize) -> Result<Self, Error> {
        Self::builder().workers(workers).build()
    }

    /// Prepares a pool with more settings than the number of its workers.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn from_live(live: Live) -> Self {
        Self { live }
    }

    /// Refuses to work in a process that was forked from the pool's.
    pub(crate) fn check(&self) -> Result<(), TaskError> {
        self.live.check()
    }

    pub(crate) fn terms(&self) -> Terms {
        self.live.terms()
    }

    pub(crate) fn core(&self) -> &Arc<PoolCore> {
        self.live.core()
    }

    /// The number of workers that there are to be now; one that is being replaced counts.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(mp_pool::Pool::new(3)?.workers(), 3);
    /// # Ok::<(), mp_pool::Error>(())
    /// ```
    #[must_use]
    pub fn workers(&self) -> usize {
        self.live.workers()
    }

    pub(crate) fn most_tasks(&self) -> usize {
        self.live.most_tasks()
    }

    pub(crate) fn most_workers(&self) -> usize {
        self.live.most_workers()
    }

    /// Starts this many more workers. The pool has a fixed size then.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) beyond 255 workers and beyond
    /// [`Builder::max_workers`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// let pool = Pool::new(1)?;
    /// pool.grow(2)?;
    /// assert_eq!(pool.workers(), 3);
    /// pool.shrink(2)?;
    /// assert_eq!(pool.workers(), 1);
    /// assert!(pool.shrink(1).is_err());
    /// # Ok::<(), mp_pool::Error>(())
    /// ```
    pub fn grow(&self, workers: usize) -> Result<(), Error> {
        self.live.resize(|now| now.saturating_add(workers))
    }

    /// Lets this many workers go, the least busy first, when they have done what they have. The pool has a fixed size then.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if none would be left.
    pub fn shrink(&self, workers: usize) -> Result<(), Error> {
        self.live.resize(|now| now.saturating_sub(workers))
    }

    /// What the pool has done so far: tasks, start-up, waiting and working of each worker, the slowest tasks.
    #[must_use]
    #[doc(alias = "get_insights")]
    pub fn stats(&self) -> Stats {
        self.live.stats()
    }

    /// What the workers did when, as far as [`Builder::timeline`] has it kept.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.live.timeline()
    }

    /// The pids of the workers that live now, those that are just starting included.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.live.pids()
    }

    /// The start method of the workers.
    #[must_use]
    pub fn start_method(&self) -> StartMethod {
        self.live.start_method()
    }

    /// Runs a task and waits for its result.
    ///
    /// # Errors
    ///
    /// What became of the task instead of a result.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// let pool = Pool::new(1)?;
    /// assert_eq!(pool.apply(|a: u32, b: u32| a + b, (2, 3))?, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn apply<F, Args>(&self, function: F, args: Args) -> Result<F::Output, TaskError>
    where
        F: Target<Args, Output: Serialize + DeserializeOwned + 'static>,
        Args: Serialize + DeserializeOwned + 'static,
    {
        self.options().apply(function, args)
    }

    /// Starts a task, and gives its result later.
    ///
    /// # Errors
    ///
    /// The arguments do not serialize, or the pool is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let later = pool.apply_async(|a: u32, b: u32| a + b, (2, 3))?;
    /// assert_eq!(later.get()?, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn apply_async<F, Args>(
        &self,
        function: F,
        args: Args,
    ) -> Result<AsyncResult<F::Output>, TaskError>
    where
        F: Target<Args, Output: Serialize + DeserializeOwned + 'static>,
        Args: Serialize + DeserializeOwned + 'static,
    {
        self.options().apply_async(function, args)
    }

    /// Starts a task, and calls `callback` with its result or its error.
    ///
    /// The callback runs in a thread of the pool, once; the result is ready when it has returned. If it panics, its
    /// panic becomes the result, as [`TaskError::Callback`], and the pool goes on. Callbacks run one at a time: a slow
    /// one delays others, but neither tasks nor limits. It may use the pool, except for `join`.
    ///
    /// # Errors
    ///
    /// As [`Pool::apply_async`]; the callback is not called then.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    /// use std::sync::mpsc::channel;
    ///
    /// let pool = Pool::new(1)?;
    /// let (sender, receiver) = channel();
    /// let later = pool.apply_async_with(|x: u32| x + 1, (1,), move |result| {
    ///     let _ = sender.send(result.ok().copied());
    /// })?;
    /// assert_eq!(later.get()?, 2);
    /// assert_eq!(receiver.recv()?, Some(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "callback")]
    #[doc(alias = "error_callback")]
    pub fn apply_async_with<F, Args, C>(
        &self,
        function: F,
        args: Args,
        callback: C,
    ) -> Result<AsyncResult<F::Output>, TaskError>
    where
        F: Target<Args, Output: Serialize + DeserializeOwned + Send + 'static>,
        Args: Serialize + DeserializeOwned + 'static,
        C: FnOnce(Result<&F::Output, &TaskError>) + Send + 'static,
    {
        self.options().apply_async_with(function, args, callback)
    }

    /// Submits a job with a callback.
    pub(crate) fn call_back<T: Send + 'static>(
        &self,
        entry: u64,
        (terms, meter): (Terms, Meter),
        batches: Vec<Result<Batch, mp_wire::Error>>,
        gather: fn(&Job) -> Result<T, TaskError>,
        callback: impl FnOnce(Result<&T, &TaskError>) + Send + 'static,
    ) -> Result<AsyncResult<T>, TaskError> {
        self.check()?;
        let batches = batches.into_iter().collect::<Result<Vec<_>, _>>();
        let batches = batches.map_err(TaskError::encode)?;
        self.core().admits(true)?;
        let slot = Slot::new(gather);
        let core = self.core().clone();
        core.prepare_callbacks();
        meter.expect(Some(batches.iter().map(|batch| batch.items as usize).sum()));
        let job = Job::with_callback(Order::Submitted, terms, {
            let (slot, meter) = (slot.clone(), meter.clone());
            Box::new(move |job| {
                meter.finish();
                slot.settle_with(job, callback);
            })
        });
        let job = Arc::new(job.watched_by(&meter));
        let units: Vec<_> =
            batches.into_iter().filter_map(|batch| unit(&job, entry, Ok(batch))).collect();
        core.submit_with_callback(&job, units)?;
        Ok(AsyncResult::new(core, job, slot))
    }

    /// Runs a function on each item and gives the results in order.
    ///
    /// Items travel in chunks, by default so that each worker gets about four; [`Pool::chunk_size`] sets another
    /// number. All tasks run to their end, also when one fails.
    ///
    /// # Errors
    ///
    /// The first error in the order of the items; not which item it is of. [`Pool::imap`] with [`Imap::indexed`] tells of each
    /// what became of it. An item that does not serialize ends the input there.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let lengths = pool.map(|word: String| word.len(), ["a", "bc"].map(str::to_owned))?;
    /// assert_eq!(lengths, [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map<F, A, I>(&self, function: F, items: I) -> Result<Vec<F::Output>, TaskError>
    where
        F: Target<(A,), Output: Serialize + DeserializeOwned + 'static>,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.options().map(function, items)
    }

    /// Runs a function on each tuple of arguments and gives the results in order.
    ///
    /// # Errors
    ///
    /// As [`Pool::map`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// assert_eq!(pool.starmap(u64::pow, [(2, 10), (3, 4)])?, [1024, 81]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn starmap<F, Args, I>(&self, function: F, items: I) -> Result<Vec<F::Output>, TaskError>
    where
        F: Target<Args, Output: Serialize + DeserializeOwned + 'static>,
        Args: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = Args>,
    {
        self.options().starmap(function, items)
    }

    /// Runs a function on each item, with data that all of them read and that goes to each worker once.
    ///
    /// The data travels in shared memory and is decoded once in each worker, not with each task. A worker keeps the data of the last
    /// few calls.
    ///
    /// # Errors
    ///
    /// As [`Pool::map`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// fn count(words: &Vec<String>, letter: char) -> usize {
    ///     words.iter().filter(|word| word.contains(letter)).count()
    /// }
    ///
    /// let words = ["one", "two", "three"].map(str::to_owned).to_vec();
    /// let pool = Pool::new(2)?;
    /// assert_eq!(pool.map_with(&words, count, ['e', 'w', 'x'])?, [2, 1, 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "shared_objects")]
    pub fn map_with<S, F, A, R, I>(
        &self,
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
        self.options().map_with(shared, function, items)
    }

    /// Runs a function on each item, with the state of the worker that runs it; see [`Builder::state`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map`]; [`TaskError::Remote`] if the workers have no state of this type.
    pub fn map_state<S, F, A, R, I>(&self, function: F, items: I) -> Result<Vec<R>, TaskError>
    where
        S: 'static,
        F: Fn(&mut S, A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.options().map_state(function, items)
    }

    /// Starts [`Pool::map`], and gives its results later. The items are read and encoded at once.
    ///
    /// # Errors
    ///
    /// An item does not serialize, or the pool is closed. What becomes of the tasks is told by the result.
    pub fn map_async<F, A, I>(
        &self,
        function: F,
        items: I,
    ) -> Result<AsyncResult<Vec<F::Output>>, TaskError>
    where
        F: Target<(A,), Output: Serialize + DeserializeOwned + 'static>,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.options().map_async(function, items)
    }

    /// Starts [`Pool::starmap`], and gives its results later. The items are read and encoded at once.
    ///
    /// # Errors
    ///
    /// As [`Pool::map_async`].
    pub fn starmap_async<F, Args, I>(
        &self,
        function: F,
        items: I,
    ) -> Result<AsyncResult<Vec<F::Output>>, TaskError>
    where
        F: Target<Args, Output: Serialize + DeserializeOwned + 'static>,
        Args: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = Args>,
    {
        self.options().starmap_async(function, items)
    }

    /// Runs a function on each item and gives the results in order, one by one, while the input is still being read.
    ///
    /// It reads at most twice as many items ahead as there are workers; [`Pool::buffer_size`] sets another number. Items travel one
    /// by one; [`Pool::chunk_size`] sets another number. An error is that of one item, and the iteration goes on.
    ///
    /// # Blocking
    ///
    /// The input is read in the thread that calls, here and each time that a result is taken. An input that waits for
    /// something keeps results waiting too, and must not wait for them.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let first: Vec<u32> = pool.imap(|x: u32| x * x, 1..).take(3).collect::<Result<_, _>>()?;
    /// assert_eq!(first, [1, 4, 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn imap<F, A, I>(&self, function: F, items: I) -> Imap<Single<I::IntoIter>, F::Output>
    where
        F: Target<(A,), Output: Serialize + DeserializeOwned + 'static>,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.options().imap(function, items)
    }

    /// Runs a function on each item and gives the results as they come; otherwise as [`Pool::imap`]. Of which item each is, an error
    /// included, is told by [`Imap::indexed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let sum: u32 = pool.imap_unordered(|x: u32| x * x, 0..4).sum::<Result<_, _>>()?;
    /// assert_eq!(sum, 14);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn imap_unordered<F, A, I>(
        &self,
        function: F,
        items: I,
    ) -> Imap<Single<I::IntoIter>, F::Output>
    where
        F: Target<(A,), Output: Serialize + DeserializeOwned + 'static>,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        self.options().imap_unordered(function, items)
    }

    fn options(&self) -> Options<'_> {
        Options::new(self)
    }

    /// Starts a task, and gives a [`Future`] for it: [`Pool::apply_async`] with the names of `concurrent.futures`.
    ///
    /// # Errors
    ///
    /// As [`Pool::apply_async`].
    pub fn submit<F, Args>(&self, function: F, args: Args) -> Result<Future<F::Output>, TaskError>
    where
        F: Target<Args, Output: Serialize + DeserializeOwned + 'static>,
        Args: Serialize + DeserializeOwned + 'static,
    {
        self.options().submit(function, args)
    }

    /// Cancels all tasks that no worker has begun, and gives their number. Each ends with [`TaskError::Cancelled`].
    pub fn cancel_pending(&self) -> usize {
        self.live.cancel_pending()
    }

    /// Says whether the pool takes tasks: it is not closed, not terminated, not broken, and this process's own.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.live.state() == "open"
    }

    /// Takes no new tasks any more. Those that were taken run to their end, iterators that were begun go on: unless the pool is dropped
    /// before, which ends them. [`Pool::join`] waits for them.
    pub fn close(&self) {
        self.live.close();
    }

    /// Ends the workers at once. What has no result yet ends with [`TaskError::Terminated`].
    ///
    /// # Blocking
    ///
    /// It does not wait for the workers; [`Pool::join`] does.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::{Pool, TaskError};
    /// use std::time::Duration;
    ///
    /// let pool = Pool::new(1)?;
    /// let never = pool.apply_async(|| std::thread::sleep(Duration::from_secs(3600)), ())?;
    /// pool.terminate();
    /// assert!(matches!(never.get(), Err(TaskError::Terminated)));
    /// pool.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn terminate(&self) {
        self.live.terminate();
    }

    /// Waits until all tasks are done and the workers have ended.
    ///
    /// An iterator of [`Pool::imap`] whose input has not been read to its end gives what was begun, and then an
    /// error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Open`](crate::ErrorKind::Open) if neither [`Pool::close`] nor [`Pool::terminate`] was called,
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) in a callback, which would wait for itself, and in a task
    /// of a pool without workers, likewise.
    pub fn join(&self) -> Result<(), Error> {
        self.live.join()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("workers", &self.workers())
            .field("state", &self.live.state())
            .finish_non_exhaustive()
    }
}
