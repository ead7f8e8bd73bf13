//! What a context makes beside processes.

use std::io;

use mp_process::{Context, StartMethod};
use mp_shared::bytemuck::Pod;

use crate::{
    Array, Barrier, BoundedSemaphore, Condition, Connection, Event, JoinableQueue, Lock, Manager,
    Pool, Queue, RLock, RawArray, RawValue, Semaphore, SimpleQueue, Value,
};

/// The factories of this library as methods of a [`Context`], as Python has them.
///
/// Only a pool and a manager have processes, whose start method is the context's. All else works with every
/// method; it is here so that code which is given a context need not name anything else.
///
/// # Examples
///
/// ```
/// use multiproc::{Factories, StartMethod, get_context};
///
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// let context = get_context(StartMethod::Spawn);
/// let pool = context.pool(2)?;
/// assert_eq!(pool.map(square, 1..4)?, [1, 4, 9]);
/// assert_eq!(pool.start_method(), context.start_method());
/// let queue = context.queue()?;
/// queue.put(&5)?;
/// # let _: u8 = queue.get()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[expect(
    clippy::missing_errors_doc,
    reason = "they are those of the function that each method calls"
)]
pub trait Factories: Sized {
    /// [`Pool::new`]; by the default method if the context's is `fork`, which a pool cannot have.
    fn pool(self, workers: usize) -> Result<Pool, mp_pool::Error>;
    /// [`Pool::builder`], as [`pool`](Self::pool).
    fn pool_builder(self) -> mp_pool::Builder;
    /// [`Manager::start`].
    fn manager(self) -> Result<Manager, mp_manager::Error>;
    /// [`Manager::builder`].
    fn manager_builder(self) -> mp_manager::Builder;

    /// [`Queue::new`].
    fn queue<T>(self) -> Result<Queue<T>, mp_queue::Error> {
        Queue::new()
    }

    /// [`Queue::bounded`].
    fn bounded_queue<T>(self, items: usize) -> Result<Queue<T>, mp_queue::Error> {
        Queue::bounded(items)
    }

    /// [`JoinableQueue::new`].
    fn joinable_queue<T>(self) -> Result<JoinableQueue<T>, mp_queue::Error> {
        JoinableQueue::new()
    }

    /// [`SimpleQueue::new`].
    fn simple_queue<T>(self) -> Result<SimpleQueue<T>, mp_queue::Error> {
        SimpleQueue::new()
    }

    /// [`pipe`](crate::pipe()).
    fn pipe<T>(self) -> io::Result<(Connection<T>, Connection<T>)> {
        crate::pipe()
    }

    /// [`Lock::new`].
    fn lock(self) -> Result<Lock, mp_shared::Error> {
        Lock::new()
    }

    /// [`RLock::new`].
    fn rlock(self) -> Result<RLock, mp_shared::Error> {
        RLock::new()
    }

    /// [`Condition::new`].
    fn condition(self) -> Result<Condition, mp_shared::Error> {
        Condition::new()
    }

    /// [`Semaphore::new`].
    fn semaphore(self, value: u32) -> Result<Semaphore, mp_shared::Error> {
        Semaphore::new(value)
    }

    /// [`BoundedSemaphore::new`].
    fn bounded_semaphore(self, value: u32) -> Result<BoundedSemaphore, mp_shared::Error> {
        BoundedSemaphore::new(value)
    }

    /// [`Event::new`].
    fn event(self) -> Result<Event, mp_shared::Error> {
        Event::new()
    }

    /// [`Barrier::new`].
    fn barrier(self, parties: usize) -> Result<Barrier, mp_shared::Error> {
        Barrier::new(parties)
    }

    /// [`Value::new`].
    fn value<T: Pod>(self, initial: T) -> Result<Value<T>, mp_shared::Error> {
        Value::new(initial)
    }

    /// [`Array::new`].
    fn array<T: Pod>(self, len: usize) -> Result<Array<T>, mp_shared::Error> {
        Array::new(len)
    }

    /// [`RawValue::new`].
    fn raw_value<T: Pod>(self, initial: T) -> Result<RawValue<T>, mp_shared::Error> {
        RawValue::new(initial)
    }

    /// [`RawArray::new`].
    fn raw_array<T: Pod>(self, len: usize) -> Result<RawArray<T>, mp_shared::Error> {
        RawArray::new(len)
    }
}

impl Factories for Context {
    fn pool(self, workers: usize) -> Result<Pool, mp_pool::Error> {
        self.pool_builder().workers(workers).build()
    }

    fn pool_builder(self) -> mp_pool::Builder {
        match self.start_method() {
            StartMethod::Fork => Pool::builder().start_method(StartMethod::default()),
            method => Pool::builder().start_method(method),
        }
    }

    fn manager(self) -> Result<Manager, mp_manager::Error> {
        self.manager_builder().start()
    }

    fn manager_builder(self) -> mp_manager::Builder {
        Manager::builder().start_method(self.start_method())
    }
}
