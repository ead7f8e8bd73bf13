//! The settings of a pool.

use mp_process::{StartMethod, Target, cpu_count};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::live::Live;
use crate::supervisor::Starter;
use crate::worker::Initializer;
use crate::{Error, ErrorKind, Initialized, Pool, TaskError, entry};

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
    initializer: Result<Option<Initializer>, TaskError>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        // A pool has threads, where `fork` is refused.
        let method = match mp_process::get_start_method() {
            StartMethod::Fork => StartMethod::default(),
            method => method,
        };
        Self { workers: None, max_tasks: None, method, initializer: Ok(None) }
    }

    /// Sets the number of workers; by default as many as this process may use processors.
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

    /// Has a worker replaced by a fresh one when it has had this many tasks.
    ///
    /// Tasks count one by one also where they travel in chunks; the chunk with which the number is reached is the
    /// worker's last.
    #[doc(alias = "maxtasksperchild")]
    pub fn max_tasks_per_child(mut self, tasks: u64) -> Self {
        self.max_tasks = Some(tasks);
        self
    }

    /// Sets how workers are started; `fork` is not to be had, because a pool has threads.
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.method = method;
        self
    }

    /// Starts the pool.
    ///
    /// It does not wait for the initializers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for zero workers or zero tasks per child, [`ErrorKind::Unsupported`] for the start method
    /// `fork`, [`ErrorKind::Encode`] if the arguments of the initializer do not serialize, [`ErrorKind::Start`] if a worker
    /// cannot be started; those that were are ended.
    pub fn build(self) -> Result<Pool, Error> {
        let workers = self.workers.unwrap_or_else(cpu_count);
        if workers == 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "a pool needs at least one worker"));
        }
        if self.max_tasks == Some(0) {
            let what = "a worker that may have no task at all is of no use";
            return Err(Error::new(ErrorKind::InvalidInput, what));
        }
        if self.method == StartMethod::Fork {
            let what = "a pool has threads, and so its workers cannot be forked from it";
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        let initializer = self.initializer.map_err(|error| {
            let what = "the initializer or its arguments cannot be sent to a worker";
            Error::with_source(ErrorKind::Encode, what, error)
        })?;
        let starter = Starter::new(self.method, initializer)?;
        Live::start(workers, starter, self.max_tasks).map(Pool::from_live)
    }
}
