//! The segments that this process has mapped, so that receiving one again maps nothing.
#![expect(
    unsafe_code,
    reason = "reads a registry through a pointer that a forked copy can replace"
)]

use std::collections::HashMap;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::header::Header;
use super::{Inner, Segment};
use crate::fork;

type Segments = HashMap<(u64, u64), Weak<Inner>>;

/// The registry of one process.
///
/// A forked copy may have been made while another thread had the mutex, which nobody will ever release there. So it does
/// not touch the registry it came with, and makes its own.
struct Registry {
    generation: u64,
    segments: Mutex<Segments>,
}

/// The latest registry; never freed, as a thread may be reading it.
static CURRENT: AtomicPtr<Registry> = AtomicPtr::new(ptr::null_mut());

fn segments() -> MutexGuard<'static, Segments> {
    let generation = fork::generation();
    let mut found = CURRENT.load(Ordering::Acquire);
    loop {
        if !found.is_null() {
            // SAFETY: not null, so it came from the box below, which is never freed.
            let registry = unsafe { &*found };
            if registry.generation == generation {
                // Whoever panicked with it did so before or after a change of the map, not within.
                return registry.segments.lock().unwrap_or_else(PoisonError::into_inner);
            }
        }
        let fresh = Registry { generation, segments: Mutex::default() };
        let fresh = Box::into_raw(Box::new(fresh));
        match CURRENT.compare_exchange(found, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => found = fresh,
            Err(other) => {
                // SAFETY: made above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(fresh) });
                found = other;
            }
        }
    }
}

/// The segment with this device, inode and header, if this process has it mapped.
///
/// Inode numbers come again; the random id in the header does not.
pub(super) fn find(key: (u64, u64), header: &Header) -> Option<Segment> {
    let found = segments().get(&key).and_then(Weak::upgrade)?;
    (found.header == *header).then(|| Segment(found))
}

/// Registers a segment; returns the one to use, which is another if a thread was faster with the same memory.
pub(super) fn insert(segment: Segment) -> Segment {
    let (known, previous);
    {
        let mut segments = segments();
        previous = segments.get(&segment.0.key).and_then(Weak::upgrade);
        known = previous.as_ref().filter(|known| known.header == segment.0.header).cloned();
        if known.is_none() {
            segments.insert(segment.0.key, Arc::downgrade(&segment.0));
        }
    }
    // Handles are dropped here, after the guard: dropping the last one takes the mutex again.
    drop(previous);
    known.map_or(segment, Segment)
}

/// Forgets a segment whose last handle is going.
pub(super) fn remove(key: (u64, u64), inner: *const Inner) {
    let mut segments = segments();
    if segments.get(&key).is_some_and(|known| ptr::eq(known.as_ptr(), inner)) {
        segments.remove(&key);
    }
}
