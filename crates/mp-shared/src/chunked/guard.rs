//! A range of elements that a thread holds.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::sync::MutexGuard;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::compiler_fence;
use std::{slice, thread};

use bytemuck::Pod;

use super::{ChunkedArray, EXPOSED, POISONED};
use crate::fork;
use crate::slots::Slot;

/// Elements of a [`ChunkedArray`] that this thread holds until the guard is dropped.
#[must_use = "the locks are released when the guard is dropped"]
pub struct ChunkedGuard<'a, T: Pod> {
    array: &'a ChunkedArray<T>,
    elements: Range<usize>,
    /// Those whose locks it has.
    chunks: Range<usize>,
    exposed: bool,
    /// The thread was panicking already when it took the locks.
    panicking: bool,
    /// The process that took them.
    generation: u64,
    /// A guard that other threads may look at, but not release.
    not_send: PhantomData<(MutexGuard<'a, ()>, &'a mut [T])>,
}

impl<'a, T: Pod> ChunkedGuard<'a, T> {
    /// One that has no lock yet.
    pub(super) fn new(array: &'a ChunkedArray<T>, elements: Range<usize>, first: usize) -> Self {
        Self {
            array,
            elements,
            chunks: first..first,
            exposed: false,
            panicking: thread::panicking(),
            generation: fork::generation(),
            not_send: PhantomData,
        }
    }

    /// The lock of the next chunk has been taken.
    pub(super) fn add(&mut self) {
        self.chunks.end += 1;
    }

    pub(super) fn elements(&self) -> &Range<usize> {
        &self.elements
    }

    /// Gets hold of the elements.
    pub(super) fn expose(&mut self) {
        for slot in self.slots() {
            slot.words()[EXPOSED].store(1, Relaxed);
        }
        // Whoever finds the lock of a dead thread finds what that thread had written, in program order.
        compiler_fence(SeqCst);
        self.exposed = true;
    }

    fn slots(&self) -> impl Iterator<Item = &'a Slot> + use<'a, T> {
        let array = self.array;
        self.chunks.clone().map_while(|chunk| array.slots.get(chunk))
    }

    fn first(&self) -> *mut T {
        // In bounds: the range was checked against the length.
        self.array.data.data::<T>().wrapping_add(self.elements.start)
    }
}

impl<T: Pod> Deref for ChunkedGuard<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the object has these elements, aligned, and `T: Pod`, so that any bytes are one. The locks of all their chunks are
        // held: of those that share them, nobody else in this or another process writes them while the guard is borrowed.
        unsafe { slice::from_raw_parts(self.first(), self.elements.len()) }
    }
}

impl<T: Pod> DerefMut for ChunkedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and nobody else reads them either: other guards of this thread have other chunks.
        unsafe { slice::from_raw_parts_mut(self.first(), self.elements.len()) }
    }
}

impl<T: Pod> Drop for ChunkedGuard<'_, T> {
    fn drop(&mut self) {
        // A copy in a forked process has nothing to release, even if that one has taken the locks itself meanwhile.
        if self.generation != fork::generation() {
            return;
        }
        let panicked = self.exposed && thread::panicking() && !self.panicking;
        for slot in self.slots() {
            let _ = slot.unlock_after(|| {
                if panicked {
                    slot.words()[POISONED].store(1, Relaxed);
                }
                if self.exposed {
                    compiler_fence(SeqCst);
                    slot.words()[EXPOSED].store(0, Relaxed);
                }
            });
        }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for ChunkedGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
