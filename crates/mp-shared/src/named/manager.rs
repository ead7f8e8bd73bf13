//! A scope that owns named memory.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytemuck::Pod;

use super::{Claim, ListItem, Named, ShareableList, SharedMemory, create_new};
use crate::{Array, Error, ErrorKind, Value, fork};

/// A scope that owns the named memory that is created in it, and removes all the names at its end.
///
/// The end is [`shutdown`](Self::shutdown) or drop, so that a panic or an early return leaves nothing behind. Until then the names
/// stay, even if all handles are dropped. Whoever has such a memory open then keeps it, without a name.
///
/// Children get what was created as arguments, in messages, or by name. They own nothing, and remove nothing.
///
/// # Python
///
/// `SharedMemoryManager`. There is no server process, so nothing to start, and nothing that a signal could hit.
///
/// # If a process dies
///
/// If the process of the scope is killed, or ends by [`std::process::exit`], the names stay until
/// [`SharedMemory::prune`] removes them. If a child dies, that is nothing to the scope.
///
/// # Fork
///
/// A forked copy of the scope removes nothing, and cannot create anything.
///
/// # Examples
///
/// ```
/// use mp_shared::{SharedMemory, SharedMemoryManager};
///
/// let scope = SharedMemoryManager::new();
/// let name = scope.shared_memory(1000)?.name().to_owned();
/// let list = scope.shareable_list([1.into(), "two".into()])?;
/// assert!(SharedMemory::open(&name).is_ok());
/// scope.shutdown()?;
/// assert!(SharedMemory::open(&name).is_err());
/// assert_eq!(list.len(), 2, "who has it keeps it");
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "what is created in it is removed when it is dropped"]
pub struct SharedMemoryManager {
    /// The generation of the process that it was made in, which no forked copy has.
    process: u64,
    claims: Mutex<Vec<Arc<Claim>>>,
}

impl Default for SharedMemoryManager {
    fn default() -> Self {
        Self::new()
    }
}

impl SharedMemoryManager {
    /// Makes a scope that owns nothing yet.
    pub fn new() -> Self {
        Self { process: fork::generation(), claims: Mutex::default() }
    }

    fn claims(&self) -> MutexGuard<'_, Vec<Arc<Claim>>> {
        // Whoever panicked with it did so before or after a change, not within.
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_copy(&self) -> bool {
        self.process != fork::generation()
    }

    /// Creates something and keeps its name.
    fn own<T>(
        &self,
        create: impl FnOnce() -> Result<T, Error>,
        claim: impl FnOnce(&T) -> Option<Arc<Claim>>,
    ) -> Result<T, Error> {
        if self.is_copy() {
            let what = "this is the forked copy of a scope that belongs to another process";
            return Err(Error::new(ErrorKind::InvalidInput, what));
        }
        let created = create()?;
        self.claims().extend(claim(&created));
        Ok(created)
    }

    fn own_object<T: Named>(&self, create: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        self.own(create, |created| created.object().shared_claim())
    }

    /// Creates a memory with a new name; see [`SharedMemory::new`].
    ///
    /// # Errors
    ///
    /// As there; [`ErrorKind::InvalidInput`] in a forked copy of the scope.
    pub fn shared_memory(&self, size: usize) -> Result<SharedMemory, Error> {
        self.own(|| SharedMemory::new(size), |memory| Some(Arc::clone(memory.claim())))
    }

    /// Creates a list with a new name; see [`ShareableList::new`].
    ///
    /// # Errors
    ///
    /// As there; [`ErrorKind::InvalidInput`] in a forked copy of the scope.
    pub fn shareable_list(
        &self,
        items: impl IntoIterator<Item = ListItem>,
    ) -> Result<ShareableList, Error> {
        self.own_object(|| ShareableList::new(items))
    }

    /// Creates a value with a new name.
    ///
    /// # Errors
    ///
    /// As with [`Value::create_named`]; [`ErrorKind::InvalidInput`] in a forked copy of the scope.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{SharedMemoryManager, Value};
    ///
    /// let scope = SharedMemoryManager::new();
    /// let total = scope.value(1u64)?;
    /// let other = Value::<u64>::open(total.name().unwrap())?; // In any program.
    /// other.set(2)?;
    /// assert_eq!(total.get()?, 2);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn value<T: Pod>(&self, initial: T) -> Result<Value<T>, Error> {
        self.own_object(|| create_new(|home| Value::make(home, initial)))
    }

    /// Creates an array of these elements with a new name.
    ///
    /// # Errors
    ///
    /// As with [`Array::create_named`]; [`ErrorKind::InvalidInput`] in a forked copy of the scope.
    pub fn array<T: Pod>(&self, elements: &[T]) -> Result<Array<T>, Error> {
        self.own_object(|| create_new(|home| Array::make_of(home, elements)))
    }

    /// The names of all that was created in the scope.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.claims().iter().map(|claim| claim.name().to_owned()).collect()
    }

    /// Removes all names, and says so if one cannot be removed.
    ///
    /// Names that somebody has removed before are no error; those that shall stay ([`SharedMemory::persist`]) do.
    ///
    /// # Errors
    ///
    /// The first one that came; all the others have been removed.
    pub fn shutdown(self) -> Result<(), Error> {
        self.unlink_all()
    }

    fn unlink_all(&self) -> Result<(), Error> {
        if self.is_copy() {
            // Nor does it wait for a mutex that another thread may have had when this process was copied.
            return Ok(());
        }
        let mut result = Ok(());
        for claim in mem::take(&mut *self.claims()).iter().filter(|claim| claim.owns()) {
            match claim.unlink() {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    result = result.and(Err(error))
                }
                _ => {}
            }
        }
        result
    }
}

impl Drop for SharedMemoryManager {
    fn drop(&mut self) {
        // Who wants to know calls `shutdown`.
        let _ = self.unlink_all();
    }
}
