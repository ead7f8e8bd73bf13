//! The ends that this process has received, so that receiving one again takes no further descriptors.

use std::collections::HashMap;
use std::sync::Mutex;

use mp_shared::fork;
use mp_wire::{Fd, WeakFd, socket};

use crate::ring::{Ring, WeakRing};

#[derive(Default)]
struct Registry {
    /// The process that filled it. In a forked copy the handles are as good, but it begins anew all the same.
    generation: u64,
    ends: HashMap<u64, (WeakFd, Option<WeakRing>)>,
    /// How many there may be before the dead ones are swept out.
    sweep_at: usize,
}

static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

/// The end that this process has already, or this one, known from now on.
pub(crate) fn intern(end: (Fd, Option<Ring>)) -> (Fd, Option<Ring>) {
    let Ok(id) = socket::id(&end.0) else { return end };
    // Not waited for: in a copy that was forked while another thread was here, nobody would ever let go of it. The
    // price is some descriptors more.
    let Ok(mut guard) = REGISTRY.try_lock() else { return end };
    let generation = fork::generation();
    let registry = guard.get_or_insert_default();
    if registry.generation != generation {
        *registry = Registry { generation, ..Registry::default() };
    }
    if let Some((fd, ring)) = registry.ends.get(&id)
        && let Some(fd) = fd.upgrade()
        && ring.is_some() == end.1.is_some()
    {
        match ring.as_ref().map(WeakRing::upgrade) {
            None => return (fd, None),
            Some(Some(ring)) => return (fd, Some(ring)),
            // The end was taken apart.
            Some(None) => {}
        }
    }
    if registry.ends.len() >= registry.sweep_at {
        registry.ends.retain(|_, (fd, _)| fd.upgrade().is_some());
        registry.sweep_at = 2 * registry.ends.len() + 16;
    }
    registry.ends.insert(id, (end.0.downgrade(), end.1.as_ref().map(Ring::downgrade)));
    end
}
