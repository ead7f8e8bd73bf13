//! What tasks and workers may take, and how long they may live.

use std::time::Duration;

use crate::{Builder, Retry};

impl Builder {
    /// Has a worker replaced by a fresh one when it has had this many tasks.
    ///
    /// Tasks count one by one also where they travel in chunks; a chunk with more tasks than the worker may still have is divided.
    ///
    /// Without effect with [`Backend::Inline`](crate::Backend::Inline).
    #[doc(alias = "maxtasksperchild")]
    pub fn max_tasks_per_child(mut self, tasks: u64) -> Self {
        self.max_tasks = Some(tasks);
        self
    }

    /// Has a worker replaced by a fresh one after a task that leaves it with more memory than this, in bytes.
    ///
    /// The task keeps its result, and what the worker had queued goes to others, the rest of a chunk too. What
    /// counts is resident memory of its own: neither the program nor what it shares with others, as arrays in shared memory. It is
    /// looked at once in a millisecond at most, so among short tasks it may be a few later.
    ///
    /// What ends a task that takes too much is [`Builder::memory_limit`].
    ///
    /// Without effect with [`Backend::Threads`](crate::Backend::Threads) and [`Backend::Inline`](crate::Backend::Inline).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// fn leak(bytes: usize) -> u32 {
    ///     std::hint::black_box(vec![1_u8; bytes].leak());
    ///     std::process::id()
    /// }
    ///
    /// let pool = Pool::builder().workers(1).max_memory_per_child(64 << 20).build()?;
    /// assert_ne!(pool.apply(leak, (100 << 20,))?, pool.apply(leak, (1,))?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "worker_max_memory_per_child")]
    pub fn max_memory_per_child(mut self, bytes: u64) -> Self {
        self.max_memory = Some(bytes);
        self
    }

    /// Kills a worker that was let go and has not ended after this time, because its [exit function](Builder::exit) takes longer.
    ///
    /// By default [`Pool::join`](crate::Pool::join) waits for it. Whether it is set or not, [`Pool::terminate`](crate::Pool::terminate) and dropping the pool end workers
    /// in the midst of it. A thread cannot be ended, and so is waited for.
    ///
    /// Without effect with [`Backend::Threads`](crate::Backend::Threads) and [`Backend::Inline`](crate::Backend::Inline).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    /// use std::time::Duration;
    ///
    /// let hang = |(): ()| std::thread::sleep(Duration::from_secs(3600));
    /// let limit = Duration::from_millis(50);
    /// let pool = Pool::builder().workers(2).state(|| (), ()).exit(hang).exit_timeout(limit).build()?;
    /// assert_eq!(pool.map(|x: u32| x + 1, 0..3)?, [1, 2, 3]);
    /// pool.close();
    /// pool.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "worker_exit_timeout")]
    pub fn exit_timeout(mut self, limit: Duration) -> Self {
        self.exit_timeout = Some(limit);
        self
    }

    /// Limits the time of each task, as [`Pool::timeout`](crate::Pool::timeout) does for one call.
    ///
    /// Without effect with [`Backend::Inline`](crate::Backend::Inline).
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.terms.hard = Some(limit);
        self
    }

    /// Asks each task to stop that takes longer than this, as [`Pool::soft_timeout`](crate::Pool::soft_timeout) does for one call.
    ///
    /// Without effect with [`Backend::Inline`](crate::Backend::Inline).
    pub fn soft_timeout(mut self, limit: Duration) -> Self {
        self.terms.soft = Some(limit);
        self
    }

    /// Has this signal sent to the worker of a task that is asked to stop, by its soft limit of time or
    /// [`AsyncResult::cancel`](crate::AsyncResult::cancel), so that it notices while it waits in a system call or runs code in C.
    ///
    /// By default [`should_stop`](crate::should_stop) alone says so, and it does here too. A worker that has no handler for the signal is given
    /// one that does nothing: system calls that wait fail with [`Interrupted`](std::io::ErrorKind::Interrupted). An
    /// [initializer](Builder::initializer) can set another.
    ///
    /// A signal comes while the task is running or not at all: never to the one after it. What is only just about to wait misses it, so
    /// from its soft limit on it comes again, after 10 ms and then ever more rarely, until the task is done. Much of
    /// the standard library goes on after an interrupt, such as `read_exact` and `sleep`; `read` does not. All threads of the worker are one
    /// process: if the one that runs tasks blocks the signal, another may get it.
    ///
    /// Without effect with [`Backend::Threads`](crate::Backend::Threads) and [`Backend::Inline`](crate::Backend::Inline).
    ///
    /// # Python
    ///
    /// As the soft time limit of billiard, which sends `SIGUSR1` and raises `SoftTimeLimitExceeded` in the task.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::{Pool, should_stop};
    /// use std::io::{ErrorKind, Read};
    /// use std::time::Duration;
    ///
    /// /// Waits for what never comes.
    /// fn wait() -> bool {
    ///     let Ok((mut reader, _writer)) = std::io::pipe() else { return false };
    ///     let error = loop {
    ///         match reader.read(&mut [0]) {
    ///             Err(error) if error.kind() == ErrorKind::Interrupted && !should_stop() => {}
    ///             other => break other,
    ///         }
    ///     };
    ///     error.is_err() && should_stop()
    /// }
    ///
    /// const SIGUSR1: i32 = 10;
    /// let pool = Pool::builder().workers(1).soft_signal(SIGUSR1).build()?;
    /// assert!(pool.soft_timeout(Duration::from_millis(20)).apply(wait, ())?);
    /// assert!(Pool::builder().soft_signal(9).build().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "SoftTimeLimitExceeded")]
    pub fn soft_signal(mut self, signal: i32) -> Self {
        self.soft_signal = Some(signal);
        self
    }

    /// Limits the resident memory of each task, as [`Pool::memory_limit`](crate::Pool::memory_limit) does for one call.
    ///
    /// Without effect with [`Backend::Threads`](crate::Backend::Threads) and [`Backend::Inline`](crate::Backend::Inline).
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.terms.memory = Some(bytes);
        self
    }

    /// Limits the processor time of each task, as [`Pool::cpu_limit`](crate::Pool::cpu_limit) does for one call.
    ///
    /// Without effect with [`Backend::Threads`](crate::Backend::Threads) and [`Backend::Inline`](crate::Backend::Inline).
    pub fn cpu_limit(mut self, limit: Duration) -> Self {
        self.terms.cpu = Some(limit);
        self
    }

    /// Has tasks that fail run again, as [`Pool::retry`](crate::Pool::retry) does for one call.
    ///
    /// Without effect with [`Backend::Inline`](crate::Backend::Inline).
    pub fn retry(mut self, retry: Retry) -> Self {
        self.terms.retry = Some(retry);
        self
    }

    /// Limits the memory that a worker can map beyond what it begins with, by the kernel's `RLIMIT_AS`: what is too much is refused when it is
    /// asked for.
    ///
    /// A Rust program aborts then, and the task fails with [`TaskError::Died`](crate::TaskError::Died). What counts is room for
    /// addresses, used or not: a thread takes some 10 MiB of it, and a queue that comes as an argument up to 64 GiB.
    ///
    /// Without effect with [`Backend::Threads`](crate::Backend::Threads) and [`Backend::Inline`](crate::Backend::Inline).
    pub fn address_space(mut self, bytes: u64) -> Self {
        self.address_space = Some(bytes);
        self
    }

    /// Ends the pool if a worker is not ready in this time, counted from its start, because its initializer or what makes its state
    /// takes longer; each task ends with [`TaskError::Initializer`](crate::TaskError::Initializer) then.
    ///
    /// Without effect with [`Backend::Inline`](crate::Backend::Inline).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::{Pool, TaskError};
    /// use std::time::Duration;
    ///
    /// let hang = || std::thread::sleep(Duration::from_secs(3600));
    /// let limit = Duration::from_millis(50);
    /// let pool = Pool::builder().workers(1).initializer(hang, ()).initializer_timeout(limit).build()?;
    /// assert!(matches!(pool.apply(|| 1, ()), Err(TaskError::Initializer { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "worker_init_timeout")]
    pub fn initializer_timeout(mut self, limit: Duration) -> Self {
        self.care.initializer_timeout = Some(limit);
        self
    }

    /// Ends the pool when more than this many workers are lost within this time; each task ends with [`TaskError::Start`](crate::TaskError::Start) then.
    ///
    /// A worker is lost that dies, with a task or without, and that nobody told to end: it was not let go, and its task was
    /// neither cancelled nor beyond a limit. By default a pool does not end of that, if its workers are ready to work at all. Those that
    /// die with a task are replaced at once, because each uses up its task; others ever more slowly if there are many.
    ///
    /// Without effect with [`Backend::Threads`](crate::Backend::Threads) and [`Backend::Inline`](crate::Backend::Inline).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::{Pool, TaskError};
    /// use std::time::Duration;
    ///
    /// let pool = Pool::builder().workers(1).max_restarts(1, Duration::from_secs(3600)).build()?;
    /// let crash = || -> u32 { std::process::abort() };
    /// assert!(matches!(pool.apply(crash, ()), Err(TaskError::Died { .. })));
    /// assert_eq!(pool.apply(|| 1, ())?, 1);
    /// assert!(pool.apply(crash, ()).is_err());
    /// assert!(matches!(pool.apply(|| 1, ()), Err(TaskError::Start(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "max_restart_freq")]
    pub fn max_restarts(mut self, workers: u32, within: Duration) -> Self {
        self.care.max_restarts = Some((workers, within));
        self
    }

    /// Sets how deep pools may be nested for this one to be started; by default 10, where the first counts as one.
    ///
    /// A task may have a pool of its own, whose tasks have pools. A function that does so without end would fill the machine
    /// with processes; it gets an error instead. A process that a worker starts in another way counts from the beginning.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::{ErrorKind, Pool};
    ///
    /// fn nest(depth: u32) -> u32 {
    ///     let pool = Pool::builder().workers(1).max_depth(3).build();
    ///     match pool.map_err(|error| error.kind()) {
    ///         Ok(pool) => pool.apply(nest, (depth + 1,)).unwrap_or_default(),
    ///         Err(ErrorKind::TooDeep) => depth,
    ///         Err(_) => 0,
    ///     }
    /// }
    ///
    /// assert_eq!(nest(0), 3);
    /// ```
    #[doc(alias = "LOKY_MAX_DEPTH")]
    pub fn max_depth(mut self, pools: usize) -> Self {
        self.depth = pools;
        self
    }
}
