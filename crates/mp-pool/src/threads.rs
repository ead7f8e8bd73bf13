//! A pool of threads with the interface of the pool of processes.

use std::ops::Deref;

use crate::{Backend, Error, Pool};

/// A [`Pool`] whose workers are threads of this process; it has all of its methods.
///
/// Starting it is cheap, and tasks see the statics of this process. Arguments and results are encoded all the same, so that a program can
/// change from one to the other by a word.
///
/// # Python
///
/// `multiprocessing.pool.ThreadPool`, which `multiprocessing.dummy.Pool` makes.
///
/// # If a process dies
///
/// A task that aborts or exits takes this process with it. A thread cannot be ended: at a limit of time, a cancel or the end of the pool
/// its task fails at once, and another thread stands in, but the code runs on to its end. Limits of memory and processor time
/// do not apply. A panic is an error of its task, as ever, and is reported by the program's panic hook too.
///
/// # Examples
///
/// ```
/// use mp_pool::ThreadPool;
///
/// let pool = ThreadPool::new(2)?;
/// let here = std::process::id();
/// assert_eq!(pool.map(|x: u32| x * x, 0..4)?, [0, 1, 4, 9]);
/// assert_eq!(pool.apply(std::process::id, ())?, here);
/// pool.close();
/// pool.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ThreadPool(Pool);

impl ThreadPool {
    /// Starts a pool with this many threads.
    ///
    /// # Errors
    ///
    /// As [`Pool::new`].
    pub fn new(workers: usize) -> Result<Self, Error> {
        Pool::builder().workers(workers).backend(Backend::Threads).build().map(Self)
    }
}

impl Deref for ThreadPool {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.0
    }
}

impl From<ThreadPool> for Pool {
    fn from(pool: ThreadPool) -> Self {
        pool.0
    }
}
