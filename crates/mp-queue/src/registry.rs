//! The channels of this process, so that receiving one again takes no further descriptors.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use mp_shared::fork;
use parking_lot::Mutex;

use crate::channel::Inner;

#[derive(Default)]
struct Registry {
    /// The process that filled it. In a forked copy the handles are as good, but it begins anew all the same.
    generation: u64,
    channels: HashMap<u128, Weak<Inner>>,
    /// How many there may be before the dead ones are swept out.
    sweep_at: usize,
}

static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

/// The channel that this process has already, or this one, known from now on.
pub(crate) fn insert(inner: Inner) -> Arc<Inner> {
    // Not waited for: in a copy that was forked while another thread was here, nobody would ever let go of it. The
    // price is some descriptors more.
    let Some(mut guard) = REGISTRY.try_lock() else { return Arc::new(inner) };
    let generation = fork::generation();
    let registry = guard.get_or_insert_default();
    if registry.generation != generation {
        *registry = Registry { generation, ..Registry::default() };
    }
    let id = inner.id();
    if let Some(known) = registry.channels.get(&id).and_then(Weak::upgrade) {
        drop(guard);
        return known;
    }
    if registry.channels.len() >= registry.sweep_at {
        registry.channels.retain(|_, channel| channel.strong_count() > 0);
        registry.sweep_at = 2 * registry.channels.len() + 16;
    }
    let inner = Arc::new(inner);
    registry.channels.insert(id, Arc::downgrade(&inner));
    inner
}
