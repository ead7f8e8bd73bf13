//! Locks in the server.

use std::fmt;
use std::time::Duration;

use mp_wire::Deadline;
use serde::{Deserialize, Serialize};

use crate::link::Connection;
use crate::server::lock::{Granted, IS_LOCKED, LOCK, TRY_LOCK, UNLOCK};
use crate::{Error, ErrorKind, Proxy};

/// A lock in the server of a manager, shared by all who have a clone.
///
/// [`Client::lock`](crate::Client::lock) makes one. Who waits gets it in the order of asking. It is not reentrant:
/// who asks for it while holding it waits for ever.
///
/// # Python
///
/// `Manager().Lock()`. It is released by its guard, so a release of what one does not hold cannot be written.
///
/// # If a process dies
///
/// If it held the lock, the next one gets it, with [`LockGuard::owner_died`] saying so. It leaves the line if it
/// waited. If the server dies, everyone who waits gets [`ErrorKind::Closed`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let manager = mp_manager::Manager::start()?;
/// let lock = manager.lock()?;
/// let guard = lock.lock()?;
/// assert!(!guard.owner_died());
/// assert!(lock.try_lock()?.is_none());
/// assert!(lock.lock_timeout(Duration::from_millis(1)).is_err());
/// drop(guard);
/// assert!(lock.try_lock()?.is_some());
/// # Ok::<(), mp_manager::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct Lock {
    proxy: Proxy<Kind>,
}

/// What the server has methods of its own for.
pub(crate) enum Kind {}

impl Lock {
    pub(crate) fn new(proxy: Proxy<Kind>) -> Self {
        Self { proxy }
    }

    /// Takes the lock.
    ///
    /// # Blocking
    ///
    /// Waits until it is free.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`], also while waiting.
    pub fn lock(&self) -> Result<LockGuard<'_>, Error> {
        self.acquire(LOCK, Deadline::NEVER)?.ok_or_else(timed_out)
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`]
    pub fn try_lock(&self) -> Result<Option<LockGuard<'_>>, Error> {
        self.acquire(TRY_LOCK, Deadline::NEVER)
    }

    /// Takes the lock, and waits for it for so long at most.
    ///
    /// # Blocking
    ///
    /// For the time given, and that of asking the server.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`] and [`ErrorKind::Closed`]
    pub fn lock_timeout(&self, timeout: Duration) -> Result<LockGuard<'_>, Error> {
        self.acquire(LOCK, Deadline::after(timeout))?.ok_or_else(timed_out)
    }

    /// Says whether somebody holds the lock.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`]
    pub fn is_locked(&self) -> Result<bool, Error> {
        self.proxy.handle().call(IS_LOCKED, &())
    }

    fn acquire(&self, method: &str, deadline: Deadline) -> Result<Option<LockGuard<'_>>, Error> {
        let handle = self.proxy.handle();
        let connection = handle.connect(Deadline::NEVER)?;
        let granted: Granted = connection.call(handle.object(), method, &(), deadline)?;
        match granted {
            Some(owner_died) => Ok(Some(LockGuard {
                lock: self,
                connection: Some(connection),
                owner_died,
                pid: std::process::id(),
                panicking: std::thread::panicking(),
            })),
            None => {
                handle.disconnect(connection);
                Ok(None)
            }
        }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lock").field(&self.proxy).finish()
    }
}

/// The right to what a [`Lock`] protects; dropping it releases the lock.
///
/// It has a connection of its own, by which the server sees when its process dies. In a forked copy of the process it
/// holds nothing.
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockGuard<'a> {
    lock: &'a Lock,
    connection: Option<Connection>,
    owner_died: bool,
    pid: u32,
    panicking: bool,
}

impl LockGuard<'_> {
    /// Says whether the one who held the lock before died, or panicked, while holding it: what it protects may be
    /// half changed.
    ///
    /// Only the first to hold it afterwards is told.
    #[must_use]
    pub fn owner_died(&self) -> bool {
        self.owner_died
    }

    /// Releases the lock.
    ///
    /// Dropping the guard does the same, without telling of errors.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`]
    pub fn unlock(mut self) -> Result<(), Error> {
        self.release()
    }

    fn release(&mut self) -> Result<(), Error> {
        let Some(connection) = self.connection.take() else { return Ok(()) };
        if self.pid != std::process::id() {
            return Ok(());
        }
        let handle = self.lock.proxy.handle();
        let panicked = !self.panicking && std::thread::panicking();
        connection.call::<_, ()>(handle.object(), UNLOCK, &panicked, Deadline::NEVER)?;
        handle.disconnect(connection);
        Ok(())
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        // If the server is gone, so is the lock.
        let _ = self.release();
    }
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("lock", &self.lock.proxy)
            .field("owner_died", &self.owner_died)
            .finish_non_exhaustive()
    }
}

fn timed_out() -> Error {
    Error::new(ErrorKind::TimedOut, "the lock was not free in time")
}
