//! Children that borrow from the stack of their parent.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mp_wire::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::outcome::Outcome;
use crate::record::Record;
use crate::start::{self, Plan};
use crate::{Child, Error, JoinError, StartMethod, registry};

/// Runs a function that can start children which borrow what is around it, and joins them all before it returns.
///
/// The children are forked: each is a copy of this process, in which the closure finds what it borrows, as it was at
/// the start. Nothing is serialized but the value on its way back. What a child writes to is its own copy: let it return
/// its results, or give it shared values.
///
/// # Blocking
///
/// Until all children have ended. Those that were not joined inside are waited for, also if the function panics.
///
/// # Errors
///
/// The first of those that were not joined inside did not return: it panicked, exited or was killed.
///
/// # Python
///
/// There is none; as [`std::thread::scope`], with processes.
///
/// # Examples
///
/// ```
/// use mp_process::{ErrorKind, scope};
///
/// let words = vec!["borrowed", "from", "the", "stack"];
/// let count = |part: &[&str]| part.iter().map(|word| word.len()).sum::<usize>();
/// let total = scope(|s| {
///     let (left, right) = words.split_at(2);
///     let left = match s.spawn(|| count(left)) {
///         // A test harness has threads, where `fork` is refused.
///         Err(error) if error.kind() == ErrorKind::Threads => return count(&words),
///         child => child.expect("it starts"),
///     };
///     count(right) + left.join().expect("it returns")
/// })?;
/// assert_eq!(total, 20);
/// # Ok::<(), mp_process::JoinError>(())
/// ```
pub fn scope<'env, F, T>(function: F) -> Result<T, JoinError>
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope { state: Mutex::default(), scope: PhantomData, env: PhantomData };
    let result = panic::catch_unwind(AssertUnwindSafe(|| function(&scope)));
    let State { records, left } = std::mem::take(&mut *scope.lock());
    for record in records {
        record.wait(Deadline::NEVER);
    }
    let failed = left.into_iter().filter_map(|child| child.finish().err()).next();
    match (result, failed) {
        (Err(payload), _) => panic::resume_unwind(payload),
        (Ok(_), Some(error)) => Err(error),
        (Ok(value), None) => Ok(value),
    }
}

/// Where [`scope`] starts children.
pub struct Scope<'scope, 'env: 'scope> {
    state: Mutex<State>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

#[derive(Default)]
struct State {
    /// All that were started.
    records: Vec<Arc<Record>>,
    /// Those whose handles were dropped.
    left: Vec<Child<()>>,
}

impl<'scope> Scope<'scope, '_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a copy of this process that runs a closure with all that it borrows.
    ///
    /// # Errors
    ///
    /// As [`Process::start`](crate::Process::start); [`ErrorKind::Threads`](crate::ErrorKind::Threads) if this process
    /// has several.
    pub fn spawn<F, R>(&'scope self, function: F) -> Result<ScopedChild<'scope, R>, Error>
    where
        F: FnOnce() -> R + 'scope,
        R: Serialize + DeserializeOwned,
    {
        self.start(None, function)
    }

    /// As [`spawn`](Self::spawn), with a name.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    pub fn spawn_named<F, R>(
        &'scope self,
        name: impl Into<String>,
        function: F,
    ) -> Result<ScopedChild<'scope, R>, Error>
    where
        F: FnOnce() -> R + 'scope,
        R: Serialize + DeserializeOwned,
    {
        self.start(Some(name.into()), function)
    }

    fn start<F, R>(
        &'scope self,
        name: Option<String>,
        function: F,
    ) -> Result<ScopedChild<'scope, R>, Error>
    where
        F: FnOnce() -> R + 'scope,
        R: Serialize,
    {
        let mut plan = Plan::new(registry::next_name(), Some(StartMethod::Fork));
        plan.name = name;
        let record = start::copy(&plan, Box::new(move || Outcome::of(function)))?;
        self.lock().records.push(Arc::clone(&record));
        Ok(ScopedChild { child: Some(Child::new(record, plan.pipes)), scope: &self.state })
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("children", &self.lock().records.len())
            .finish_non_exhaustive()
    }
}

/// A child of a [`scope`].
///
/// It has what a [`Child`] has. Dropped, the scope joins it at its end.
pub struct ScopedChild<'scope, R> {
    child: Option<Child<R>>,
    scope: &'scope Mutex<State>,
}

impl<R> ScopedChild<'_, R> {
    /// Waits for the process to end, and gives what its closure returned.
    ///
    /// # Errors
    ///
    /// As [`Child::join`].
    pub fn join(mut self) -> Result<R, JoinError>
    where
        R: DeserializeOwned,
    {
        match self.child.take() {
            Some(child) => child.join(),
            None => unreachable!("only `join` and `drop` take it"),
        }
    }
}

impl<R> Deref for ScopedChild<'_, R> {
    type Target = Child<R>;

    fn deref(&self) -> &Child<R> {
        match &self.child {
            Some(child) => child,
            None => unreachable!("only `join` and `drop` take it"),
        }
    }
}

impl<R> Drop for ScopedChild<'_, R> {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            let mut state = self.scope.lock().unwrap_or_else(PoisonError::into_inner);
            state.left.push(child.untyped());
        }
    }
}

impl<R> fmt::Debug for ScopedChild<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.child.fmt(f)
    }
}
