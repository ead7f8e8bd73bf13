//! The queues of this process, so that receiving one again takes no further descriptors.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use mp_shared::fork;
use parking_lot::Mutex;

/// What is known by a number.
pub(crate) trait Known {
    /// Equal in all handles on the same queue, and different from every other.
    fn id(&self) -> u128;
}

/// Those of one kind.
pub(crate) struct Registry<I>(Mutex<Option<Table<I>>>);

struct Table<I> {
    /// The process that filled it. In a forked copy the handles are as good, but it begins anew all the same.
    generation: u64,
    known: HashMap<u128, Weak<I>>,
    /// How many there may be before the dead ones are swept out.
    sweep_at: usize,
}

impl<I: Known> Registry<I> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The one that this process has already, or this one, known from now on.
    pub(crate) fn insert(&self, inner: I) -> Arc<I> {
        // Not waited for: in a copy that was forked while another thread was here, nobody would ever let go of it. The
        // price is some descriptors more.
        let Some(mut guard) = self.0.try_lock() else { return Arc::new(inner) };
        let generation = fork::generation();
        let new = || Table { generation, known: HashMap::new(), sweep_at: 0 };
        let table = guard.get_or_insert_with(new);
        if table.generation != generation {
            *table = new();
        }
        let id = inner.id();
        if let Some(known) = table.known.get(&id).and_then(Weak::upgrade) {
            drop(guard);
            return known;
        }
        if table.known.len() >= table.sweep_at {
            table.known.retain(|_, one| one.strong_count() > 0);
            table.sweep_at = 2 * table.known.len() + 16;
        }
        let inner = Arc::new(inner);
        table.known.insert(id, Arc::downgrade(&inner));
        inner
    }
}
