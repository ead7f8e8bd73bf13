//! Settings of one call, from which the call goes on.

use std::time::Duration;

use crate::{Options, Pool, Retry};

impl Pool {
    /// Sets the chunk size of one call of `map` by how long its tasks take: small chunks at first, then as many as fit into some
    /// milliseconds, smaller ones towards the end.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// assert_eq!(pool.guided().map(|x: u64| x + 1, 0..1000)?.last(), Some(&1000));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn guided(&self) -> Options<'_> {
        self.options().guided()
    }

    /// Shows a bar on the terminal while one call runs.
    ///
    /// With calls whose results come later, such as [`Pool::map_async`], it moves on whether or not anybody waits. That of an
    /// iterator counts the results that were taken.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = mp_pool::Pool::new(2)?;
    /// assert_eq!(pool.progress().map(|x: u32| x + 1, 0..100)?.len(), 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "progress")]
    pub fn progress(&self) -> Options<'_> {
        self.options().progress()
    }

    /// Ends each task of one call that takes longer than this, and its worker with it.
    ///
    /// The task fails with [`TaskError::TimeLimit`](crate::TaskError::TimeLimit), another worker stands in, all else goes on. Time counts from when the
    /// task begins to run. Unless the call says otherwise, its tasks travel one by one.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::{Pool, TaskError};
    /// use std::time::Duration;
    ///
    /// fn nap(ms: u64) -> u64 {
    ///     std::thread::sleep(Duration::from_millis(ms));
    ///     ms
    /// }
    ///
    /// let pool = Pool::new(2)?;
    /// let naps: Vec<_> = pool.timeout(Duration::from_secs(2)).imap(nap, [1, 60_000, 2]).collect();
    /// assert!(matches!(naps[..], [Ok(1), Err(TaskError::TimeLimit), Ok(2)]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn timeout(&self, limit: Duration) -> Options<'_> {
        self.options().timeout(limit)
    }

    /// Asks each task of one call to stop that takes longer than this; it sees that by
    /// [`should_stop`](crate::should_stop), and what it returns is its result.
    pub fn soft_timeout(&self, limit: Duration) -> Options<'_> {
        self.options().soft_timeout(limit)
    }

    /// Ends each task of one call whose worker has more memory resident than this, and its worker with it.
    ///
    /// What counts is memory of its own: neither the program nor what it shares with others, as arrays in shared memory.
    /// The task fails with [`TaskError::MemoryLimit`](crate::TaskError::MemoryLimit). Memory is looked at every 10 ms, so this is not a wall; see
    /// [`Builder::address_space`](crate::Builder::address_space) for one.
    pub fn memory_limit(&self, bytes: u64) -> Options<'_> {
        self.options().memory_limit(bytes)
    }

    /// Ends each task of one call that uses more processor time than this, and its worker with it.
    ///
    /// The task fails with [`TaskError::CpuLimit`](crate::TaskError::CpuLimit). Processor time is looked at every 10 ms.
    pub fn cpu_limit(&self, limit: Duration) -> Options<'_> {
        self.options().cpu_limit(limit)
    }

    /// Runs tasks of one call again that fail.
    pub fn retry(&self, retry: Retry) -> Options<'_> {
        self.options().retry(retry)
    }

    /// Sets how urgent the tasks of one call are; higher ones go before lower ones that have not begun. By default it is zero.
    ///
    /// Of tasks that travel together, all have begun with the first: the chunk is done to its end before others have their turn.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// let pool = Pool::new(1)?;
    /// let later = pool.map_async(|x: u32| x, 0..100)?;
    /// assert_eq!(pool.priority(1).apply(|x: u32| x, (7,))?, 7);
    /// assert_eq!(later.get()?.len(), 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn priority(&self, priority: i32) -> Options<'_> {
        self.options().priority(priority)
    }

    /// Sets how many items travel together, for one call.
    ///
    /// Larger chunks cost less per item; smaller ones spread more evenly, and less is lost with a worker that dies.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// assert_eq!(pool.chunk_size(100).map(|x: u32| x % 7, 0..1000)?.len(), 1000);
    /// assert!(pool.chunk_size(0).map(|x: u32| x, 0..3).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "chunksize")]
    pub fn chunk_size(&self, items: usize) -> Options<'_> {
        self.options().chunk_size(items)
    }

    /// Sets how many items [`Pool::imap`] reads ahead of the results that were taken, for one call.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_pool::Pool;
    /// use std::cell::Cell;
    ///
    /// let pulled = Cell::new(0);
    /// let pool = Pool::new(2)?;
    /// let mut results = pool.buffer_size(5).imap(|x: u32| x, (0..).inspect(|_| pulled.set(pulled.get() + 1)));
    /// assert_eq!(pulled.get(), 5);
    /// assert_eq!(results.next().transpose()?, Some(0));
    /// assert_eq!(pulled.get(), 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "buffersize")]
    pub fn buffer_size(&self, items: usize) -> Options<'_> {
        self.options().buffer_size(items)
    }
}
