//! The segments that this process has mapped, so that receiving one again maps nothing.

use std::collections::HashMap;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::header::Header;
use super::{Inner, Segment};
use crate::fork::Own;

type Segments = HashMap<(u64, u64), Weak<Inner>>;

static SEGMENTS: Own<Mutex<Segments>> = Own::new(Mutex::default);

fn segments() -> MutexGuard<'static, Segments> {
    // Whoever panicked with it did so before or after a change of the map, not within.
    SEGMENTS.get().lock().unwrap_or_else(PoisonError::into_inner)
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
