#![doc = include_str!("README.md")]
#![expect(unsafe_code, reason = "a struct of atomics in shared memory")]

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst, compiler_fence};

use bytemuck::Pod;

use crate::object::Object;
use crate::segment::Shared;
use crate::{Error, ErrorKind};

/// The words of a vector.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Extent {
    pub(super) len: AtomicU64,
    pub(super) backed: AtomicU64,
}

// SAFETY: `repr(C)`, made of atomics alone.
unsafe impl Shared for Extent {}

/// The least and the most that is backed beyond what is needed, in bytes.
pub(super) const SPARE: std::ops::RangeInclusive<usize> = 64 << 10..=16 << 20;

/// A vector, for the holder of its lock.
pub(super) struct Rows<'a, T> {
    object: &'a Object,
    extent: &'a Extent,
    element: PhantomData<T>,
}

impl<'a, T: Pod> Rows<'a, T> {
    /// The caller holds the lock as long as it uses this.
    pub(super) fn new(object: &'a Object, extent: &'a Extent) -> Self {
        Self { object, extent, element: PhantomData }
    }

    /// The rest of the page that the head lies in is backed as that is.
    pub(super) fn begin(&self) {
        self.extent.backed.store(self.page(0) as u64, Relaxed);
    }

    /// The number of elements. Whatever another process has written there, they lie in the reserved memory.
    pub(super) fn len(&self) -> Result<usize, Error> {
        let len = self.extent.len.load(Relaxed);
        let len = usize::try_from(len).ok().filter(|&len| len <= self.most());
        len.ok_or_else(|| Error::corrupt("a vector is longer than its memory"))
    }

    /// As many elements as there can be at most.
    fn most(&self) -> usize {
        self.backed().checked_div(size_of::<T>()).unwrap_or(usize::MAX).min(self.object.len())
    }

    /// The length that is left if the one that is written down makes no sense.
    pub(super) fn repair(&self) -> usize {
        self.set_len(0);
        0
    }

    /// The number of bytes that may be touched.
    fn backed(&self) -> usize {
        usize::try_from(self.extent.backed.load(Relaxed)).unwrap_or(usize::MAX).min(self.reserved())
    }

    /// The number of bytes for as many elements as there may ever be. It fits, as the object lies in its segment.
    fn reserved(&self) -> usize {
        self.object.len() * size_of::<T>()
    }

    /// How many elements there is memory for.
    pub(super) fn capacity(&self) -> usize {
        self.most()
    }

    /// Says whether there is memory for so many elements.
    pub(super) fn has_room(&self, len: usize) -> bool {
        len <= self.most()
    }

    /// Writes the length, after all that it depends on and before all that depends on it.
    fn set_len(&self, len: usize) {
        compiler_fence(SeqCst);
        // Sequentially consistent for those who look at it without the lock.
        self.extent.len.store(len as u64, SeqCst);
        compiler_fence(SeqCst);
    }

    /// The length after `more` elements have come.
    pub(super) fn sum(&self, len: usize, more: usize) -> Result<usize, Error> {
        let max = self.object.len();
        len.checked_add(more).filter(|&len| len <= max).ok_or_else(|| {
            let what =
                format!("{more} more elements than {len} do not fit into a vector for {max}");
            Error::new(ErrorKind::Exhausted, what)
        })
    }

    /// Gets memory for `len` elements in all.
    pub(super) fn reserve(&self, len: usize) -> Result<(), Error> {
        let len = self.sum(len, 0)?;
        if self.has_room(len) {
            return Ok(());
        }
        let (backed, needed) = (self.backed(), self.page(len * size_of::<T>()));
        let spare = backed.clamp(*SPARE.start(), *SPARE.end());
        let ample = self.page(backed.saturating_add(spare)).max(needed);
        if self.back(backed, ample).is_err() {
            self.back(backed, needed)?;
        }
        Ok(())
    }

    fn back(&self, from: usize, to: usize) -> Result<(), Error> {
        self.object.commit(from..to).inspect_err(|_| {
            // What was had of it before the rest was refused.
            let _ = self.object.discard(from..to);
        })?;
        compiler_fence(SeqCst);
        self.extent.backed.store(to as u64, Relaxed);
        Ok(())
    }

    /// The end of the page where so many bytes end, or of what is reserved.
    fn page(&self, bytes: usize) -> usize {
        match self.reserved() {
            reserved if bytes < reserved => self.object.end_of_page(bytes).min(reserved),
            reserved => reserved,
        }
    }

    /// Adds elements at the end; there is memory for them. Returns the new length.
    pub(super) fn append(&self, len: usize, elements: &[T]) -> Result<usize, Error> {
        let sum = self.sum(len, elements.len())?;
        if cfg!(mp_bug = "length_first") {
            self.set_len(sum);
        }
        self.object.write(len, elements)?;
        self.set_len(sum);
        Ok(sum)
    }

    /// Makes it as long as wanted, with the same element again and again if it is shorter.
    pub(super) fn resize(&self, before: usize, len: usize, element: T) -> Result<(), Error> {
        if len < before {
            self.cut(len);
            return Ok(());
        }
        self.reserve(len)?;
        // Of elements without bytes there may be more than anybody can count.
        let written = if size_of::<T>() == 0 { before } else { len };
        for index in before..written {
            self.object.store(index, element)?;
        }
        self.set_len(len);
        Ok(())
    }

    /// Makes it shorter, and gives back what it will not need soon.
    pub(super) fn cut(&self, len: usize) {
        if !cfg!(mp_bug = "discard_first") {
            self.set_len(len);
        }
        let (used, backed) = (self.page(len * size_of::<T>()), self.backed());
        let spare = used.clamp(*SPARE.start(), *SPARE.end());
        // So much less that it is not soon needed again.
        if backed - used.min(backed) > 4 * spare {
            // It is no error to have too much.
            let _ = self.give_back(used.saturating_add(spare));
        }
        if cfg!(mp_bug = "discard_first") {
            self.set_len(len);
        }
    }

    /// Gives back what the elements do not need.
    pub(super) fn fit(&self, len: usize) -> Result<(), Error> {
        self.give_back(len * size_of::<T>())
    }

    fn give_back(&self, keep: usize) -> Result<(), Error> {
        let keep = self.page(keep);
        self.extent.backed.store(keep.min(self.backed()) as u64, Relaxed);
        compiler_fence(SeqCst);
        // To the very end: somebody who died may have had more backed than is written down.
        self.object.discard(keep..self.reserved())
    }
}
