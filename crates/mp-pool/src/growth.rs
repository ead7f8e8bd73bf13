//! How much memory a worker has come to hold.

use std::fs::File;
use std::os::unix::fs::FileExt;

use mp_wire::above_streams;

use crate::sys;

/// How long, in nanoseconds, until it is looked at again: that costs two microseconds.
const GAP: u64 = 1_000_000;

/// Looks now and then whether this process holds too much memory.
pub(crate) struct Growth {
    most: u64,
    /// Counts of pages, as text; stays open, for a task may leave no descriptor for it.
    statm: File,
    looked: Option<u64>,
}

impl Growth {
    /// `None` if that cannot be told here.
    pub(crate) fn new(most: u64) -> Option<Self> {
        let statm = above_streams(File::open("/proc/self/statm").ok()?.into()).into();
        Some(Self { most, statm, looked: None })
    }

    /// Says whether it is beyond the bound; may be silent if it was asked just before.
    pub(crate) fn is_beyond(&mut self, now: u64) -> bool {
        if self.looked.is_some_and(|looked| now.saturating_sub(looked) < GAP) {
            return false;
        }
        self.looked = Some(now);
        self.own().is_some_and(|bytes| bytes > self.most)
    }

    fn own(&self) -> Option<u64> {
        let mut text = [0; 128];
        let len = self.statm.read_at(&mut text, 0).ok()?;
        sys::own_memory(std::str::from_utf8(text.get(..len)?).ok()?)
    }
}
