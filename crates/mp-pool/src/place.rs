//! Where code runs: as which worker of its pool, and in how many pools.

use std::cell::Cell;
use std::sync::OnceLock;

use mp_shared::fork;

/// The place of a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Its number in its pool.
    pub(crate) number: usize,
    /// In how many pools it is.
    pub(crate) depth: usize,
}

/// That of this whole process, if it is a worker.
static OF_PROCESS: OnceLock<(u64, Place)> = OnceLock::new();

thread_local! {
    /// That of this thread, if it is a worker in a process with others.
    static OF_THREAD: Cell<Option<Place>> = const { Cell::new(None) };
}

/// Makes this process a worker.
pub(crate) fn settle(place: Place) {
    let _ = OF_PROCESS.set((fork::generation(), place));
}

/// Runs something as a worker, in this thread.
pub(crate) fn within<T>(place: Place, run: impl FnOnce() -> T) -> T {
    /// Puts back what was there before, also after a panic.
    struct Before(Option<Place>);
    impl Drop for Before {
        fn drop(&mut self) {
            OF_THREAD.set(self.0);
        }
    }
    let _before = Before(OF_THREAD.replace(Some(place)));
    run()
}

/// Runs something as the only worker of a pool that has none.
pub(crate) fn inline<T>(run: impl FnOnce() -> T) -> T {
    within(Place { number: 0, depth: depth() + 1 }, run)
}

/// In how many pools this code runs.
pub(crate) fn depth() -> usize {
    let of_process = || OF_PROCESS.get().map(|&(_, place)| place);
    OF_THREAD.get().or_else(of_process).map_or(0, |place| place.depth)
}

/// The number of the worker that runs this; `None` where no worker does.
///
/// The workers of a pool are numbered from zero, and no two that live have the same number: one that stands in for another has that one's
/// number. So it can choose a device, a port or a file of which there is one for each worker. Initializers and exit functions
/// have it too, and the threads that a worker's process starts. Where tasks run in the calling thread, it is zero. A thread that was given
/// up keeps its number beside the one that stands in for it.
///
/// # Python
///
/// As `pass_worker_id` of mpire.
///
/// # Examples
///
/// ```
/// use mp_pool::{Pool, worker_id};
///
/// let pool = Pool::new(2)?;
/// let numbers = pool.chunk_size(1).map(|_: u32| worker_id(), 0..20)?;
/// assert!(numbers.iter().all(|number| matches!(number, Some(0 | 1))));
/// assert_eq!(worker_id(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn worker_id() -> Option<usize> {
    // A forked copy of a worker is none.
    let of_process = || {
        let &(generation, place) = OF_PROCESS.get()?;
        (generation == fork::generation()).then_some(place)
    };
    OF_THREAD.get().or_else(of_process).map(|place| place.number)
}
