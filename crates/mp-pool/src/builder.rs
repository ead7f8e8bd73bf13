//! The settings of a pool.

use std::sync::Arc;
use std::time::Duration;

use mp_process::{StartMethod, Target, cpu_count};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::dispatcher::Fleet;
use crate::live::Live;
use crate::recipe::{Initializer, Recipe};
use crate::supervisor::{Care, Starter};
use crate::terms::Terms;
use crate::{
    Backend, Death, Error, ErrorKind, Initialized, Pool, TaskError, WorkerStats, entry, pin, place,
    state, sys,
};

mod bounds;

/// The settings of a pool before it is started; made by [`Pool::builder`].
///
/// # Examples
///
/// ```
/// use mp_pool::Pool;
/// use std::sync::OnceLock;
///
/// static FACTOR: OnceLock<u32> = OnceLock::new();
///
/// fn set_up(factor: u32) {
///     FACTOR.get_or_init(|| factor);
/// }
///
/// fn scale(x: u32) -> u32 {
///     x * FACTOR.get().copied().unwrap_or_default()
/// }
///
/// let pool = Pool::builder().workers(2).initializer(set_up, (10,)).build()?;
/// assert_eq!(pool.map(scale, [1, 2, 3])?, [10, 20, 30]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    workers: Option<usize>,
    max_tasks: Option<u64>,
    method: StartMethod,
    backend: Backend,
    /// The initializer, and what makes the state.
    initializer: Result<Option<Initializer>, TaskError>,
    state: Result<Option<Initializer>, TaskError>,
    exit: Result<Option<u64>, TaskError>,
    terms: Terms,
    address_space: Option<u64>,
    exit_timeout: Option<Duration>,
    soft_signal: Option<i32>,
    max_memory: Option<u64>,
    least: usize,
    most: Option<usize>,
    idle: Option<Duration>,
    timeline: usize,
    depth: usize,
    cpus: Vec<Vec<usize>>,
    care: Care,
}

/// How many workers a pool can grow to, at least.
const LINES: usize = 255;

/// In how many pools a worker may be, unless it is said.
const DEPTH: usize = 10;

impl Builder {
    pub(crate) fn new() -> Self {
        // A pool has threads, where `fork` is refused.
        let method = match mp_process::get_start_method() {
            StartMethod::Fork => StartMethod::default(),
            method => method,
        };
        Self {
            workers: None,
            max_tasks: None,
            method,
            backend: Backend::default(),
            initializer: Ok(None),
            state: Ok(None),
            exit: Ok(None),
            terms: Terms::default(),
            address_space: None,
            exit_timeout: None,
            soft_signal: None,
            max_memory: None,
            least: 1,
            most: None,
            idle: None,
            timeline: 0,
            depth: DEPTH,
            cpus: Vec::new(),
            care: Care::default(),
        }
    }

    /// Sets the number of workers; by default as many as this process may use processors.
    ///
    /// Without effect with [`Backend::Inline`].
    #[doc(alias = "processes")]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Sets a function that each worker runs before its first task, and its arguments.
    ///
    /// It may return nothing or a `Result`. If it fails or panics, the pool ends, and each of its tasks with
    /// [`TaskError::Initializer`]: a worker that cannot be set up is not started again and again.
    pub fn initializer<F, Args>(mut self, function: F, args: Args) -> Self
    where
        F: Target<Args, Output: Initialized>,
        Args: Serialize + DeserializeOwned + 'static,
    {
        self.initializer = entry::name_initializer::<F, Args>(function).and_then(|entry| {
            let message = mp_wire::encode(&args).map_err(TaskError::encode)?;
            Ok(Some(Initializer { entry, bytes: message.bytes, fds: message.fds }))
        });
        self
    }

    /// Sets a function that makes the state of each worker before its first task, after the initializer.
    ///
    /// Tasks of [`Pool::map_state`] use it. It lives as long as its worker and is never seen by another; a worker that stands in
    /// for a dead one makes its own. If the function panics, the pool ends, as with [`Builder::initializer`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// /// A worker's own cache, which no other can see.
    /// #[derive(Default)]
    /// struct Cache(std::collections::HashMap<u64, u64>);
    ///
    /// fn cube(cache: &mut Cache, x: u64) -> u64 {
    ///     *cache.0.entry(x).or_insert_with(|| x.pow(3))
    /// }
    ///
    /// let pool = Pool::builder().workers(2).state(Cache::default, ()).build()?;
    /// assert_eq!(pool.map_state(cube, [1, 2, 2, 3])?, [1, 8, 8, 27]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "use_worker_state")]
    pub fn state<F, Args>(mut self, make: F, args: Args) -> Self
    where
        F: Target<Args, Output: 'static>,
        Args: Serialize + DeserializeOwned + 'static,
    {
        self.state = state::name_make::<F, Args>(make).and_then(|entry| {
            let message = mp_wire::encode(&args).map_err(TaskError::encode)?;
            Ok(Some(Initializer { entry, bytes: message.bytes, fds: message.fds }))
        });
        self
    }

    /// Sets a function that is given the state of each worker that is let go: when the pool is closed and joined, shrinks, or the
    /// worker has had its number of tasks. A worker that is ended or dies does not run it.
    ///
    /// Without effect with [`Backend::Inline`].
    #[doc(alias = "worker_exit")]
    pub fn exit<F, S>(mut self, function: F) -> Self
    where
        F: Fn(S) + Copy + Send + 'static,
        S: 'static,
    {
        self.exit = state::name_exit::<F, S>(function).map(Some);
        self
    }

    /// Sets where the workers live.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::{Backend, Pool};
    ///
    /// let pool = Pool::builder().backend(Backend::Inline).build()?;
    /// let here = std::thread::current().name().map(str::to_owned);
    /// let there = pool.apply(|| std::thread::current().name().map(str::to_owned), ())?;
    /// assert_eq!(here, there);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// Sets how workers are started; `fork` is not to be had, because a pool has threads.
    ///
    /// Without effect with [`Backend::Threads`] and [`Backend::Inline`].
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = method;
        self
    }

    /// Lets the pool grow up to this many workers while there is more work than its workers can begin.
    ///
    /// Without effect with [`Backend::Inline`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    /// use std::time::Duration;
    ///
    /// let pool = Pool::builder()
    ///     .workers(1)
    ///     .max_workers(3)
    ///     .idle_timeout(Duration::from_secs(10))
    ///     .build()?;
    /// assert_eq!(pool.map(|x: u32| x + 1, 0..100)?.len(), 100);
    /// assert!((1..=3).contains(&pool.workers()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.most = Some(workers);
        self
    }

    /// Lets a worker go that has had nothing to do for this long, down to [`Builder::min_workers`]; others are started
    /// when there is work again.
    ///
    /// Without effect with [`Backend::Inline`].
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle = Some(timeout);
        self
    }

    /// Sets how many workers stay when there is nothing to do; by default one, and it may be zero. Without
    /// [`Builder::idle_timeout`] all stay.
    ///
    /// Without effect with [`Backend::Inline`].
    pub fn min_workers(mut self, workers: usize) -> Self {
        self.least = workers;
        self
    }

    /// Keeps what the workers did when, of the latest this many chunks, for [`Pool::timeline`].
    pub fn timeline(mut self, chunks: usize) -> Self {
        self.timeline = chunks;
        self
    }

    /// Lets the workers run on these processors alone, counted from 0, and the threads that they start.
    ///
    /// The number of workers stays what it is otherwise.
    ///
    /// Without effect with [`Backend::Inline`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::{ErrorKind, Pool};
    ///
    /// let pool = Pool::builder().workers(2).cpus([0]).build()?;
    /// assert_eq!(pool.apply(mp_process::cpu_count, ())?, 1);
    /// let error = Pool::builder().cpus([1 << 20]).build().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidInput);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "cpu_ids")]
    #[doc(alias = "cpu_affinity")]
    pub fn cpus(self, processors: impl IntoIterator<Item = usize>) -> Self {
        self.pin([processors])
    }

    /// Lets each worker run on processors of its own: the one with number 0, see [`worker_id`](crate::worker_id), on those
    /// of the first list, and so on; where there are more workers than lists, from the first one again.
    ///
    /// Without effect with [`Backend::Inline`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// let pool = Pool::builder().workers(2).pin([[0], [0]]).build()?;
    /// assert_eq!(pool.map(|x: u32| x + 1, 0..3)?, [1, 2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pin<L>(mut self, processors: impl IntoIterator<Item = L>) -> Self
    where
        L: IntoIterator<Item = usize>,
    {
        self.cpus = processors.into_iter().map(|list| list.into_iter().collect()).collect();
        self
    }

    /// Calls a function with each worker that was started, before its initializer has run.
    ///
    /// It is called in this process, in the thread for callbacks, see [`Pool::apply_async_with`]: a slow one delays other
    /// callbacks, but no workers, and a panic in it is caught. [`Pool::join`] waits for those that are due.
    ///
    /// Without effect with [`Backend::Inline`].
    #[doc(alias = "on_process_up")]
    pub fn on_worker_up(mut self, hook: impl Fn(&WorkerStats) + Send + Sync + 'static) -> Self {
        self.care.hooks.up = Some(Arc::new(move |worker, ()| hook(worker)));
        self
    }

    /// Calls a function with each worker that has ended, what it has done, and how it ended; otherwise as
    /// [`Builder::on_worker_up`].
    ///
    /// One that was let go has exited with code 0; one whose task was ended at a limit was killed.
    ///
    /// Without effect with [`Backend::Inline`].
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::{Death, Pool};
    /// use std::sync::mpsc::channel;
    ///
    /// let (sender, receiver) = channel();
    /// let pool = Pool::builder()
    ///     .workers(1)
    ///     .on_worker_down(move |worker, death| _ = sender.send((worker.slot, worker.tasks, death)))
    ///     .build()?;
    /// assert_eq!(pool.map(|x: u32| x + 1, 0..3)?, [1, 2, 3]);
    /// let crash = || -> u32 { std::process::exit(7) };
    /// assert!(pool.apply(crash, ()).is_err());
    /// assert_eq!(receiver.recv()?, (0, 3, Death::Exited(7)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "on_process_down")]
    #[doc(alias = "on_process_exit")]
    pub fn on_worker_down(
        mut self,
        hook: impl Fn(&WorkerStats, Death) + Send + Sync + 'static,
    ) -> Self {
        self.care.hooks.down = Some(Arc::new(hook));
        self
    }

    /// Starts the pool.
    ///
    /// It does not wait for the initializers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for zero workers or zero tasks per child, or processors that there are not, [`ErrorKind::Unsupported`] for the start method
    /// `fork`, [`ErrorKind::TooDeep`] beyond [`Builder::max_depth`], [`ErrorKind::Encode`] if the arguments of the initializer do not serialize, [`ErrorKind::Start`] if a worker
    /// cannot be started; those that were are ended.
    pub fn build(self) -> Result<Pool, Error> {
        let workers = self.workers.unwrap_or_else(cpu_count);
        let most = self.most.unwrap_or(workers);
        if most < workers {
            let what = "a pool cannot begin with more workers than it may have";
            return Err(Error::new(ErrorKind::InvalidInput, what));
        }
        if workers == 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "a pool needs at least one worker"));
        }
        if self.max_tasks == Some(0) || self.max_memory == Some(0) {
            let what = "a worker that may have no task or no memory at all is of no use";
            return Err(Error::new(ErrorKind::InvalidInput, what));
        }
        if let Some(signal) = self.soft_signal.filter(|&signal| !sys::can_be_handled(signal)) {
            let what = format!("a worker cannot be interrupted by signal {signal}");
            return Err(Error::new(ErrorKind::InvalidInput, what));
        }
        if place::depth() >= self.depth {
            let what =
                format!("the pool would be inside of {} others, which is too deep", place::depth());
            return Err(Error::new(ErrorKind::TooDeep, what));
        }
        if self.method == StartMethod::Fork {
            let what = "a pool has threads, and so its workers cannot be forked from it";
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        let unsent = |error| {
            let what = "the initializer or its arguments cannot be sent to a worker";
            Error::with_source(ErrorKind::Encode, what, error)
        };
        let initializer = self.initializer.map_err(unsent)?;
        let state = self.state.map_err(unsent)?;
        let exit = self.exit.map_err(unsent)?;
        let initializers = initializer.into_iter().chain(state).collect();
        pin::check(&self.cpus)?;
        let recipe = Recipe {
            initializers,
            exit,
            exit_timeout: self.exit_timeout,
            soft_signal: self.soft_signal,
            address_space: self.address_space,
            max_memory: self.max_memory,
            depth: place::depth() + 1,
            cpus: self.cpus,
        };
        let least = if self.idle.is_some() { self.least.min(workers) } else { workers };
        let mut fleet = Fleet { wanted: workers, least, most, idle: self.idle };
        if self.backend == Backend::Inline {
            fleet = Fleet::fixed(0);
        }
        let lines = most.max(LINES);
        let starter = Starter::new(self.method, recipe, lines, self.backend)?;
        let live = Live::start(fleet, starter, self.max_tasks, self.terms, self.care)?;
        live.keep_timeline(self.timeline);
        Ok(Pool::from_live(live))
    }
}
