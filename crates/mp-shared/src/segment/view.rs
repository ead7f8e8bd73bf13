//! What may be seen of shared memory by reference, and how plain bytes go in and out.
#![expect(unsafe_code, reason = "makes references and copies out of raw pointers into the mapping")]

use std::fmt;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32,
    AtomicU64, AtomicUsize,
};

use bytemuck::AnyBitPattern;

use super::{HEADER_LEN, Inner, Segment, out_of_bounds, registry};
use crate::Error;
use crate::robust::RawLock;
use crate::word::CommitWord;

/// A type that may be seen by reference while other processes change it.
///
/// # Safety
///
/// It is `repr(C)` or `repr(transparent)` and made of atomics alone: every pattern of bits is a value, nothing in it is a
/// pointer that is followed, nothing needs dropping, and it means the same at every address in every process.
pub unsafe trait Shared: Sync + 'static {}

// SAFETY: an atomic.
unsafe impl Shared for AtomicU8 {}
// SAFETY: an atomic.
unsafe impl Shared for AtomicI8 {}
// SAFETY: an atomic.
unsafe impl Shared for AtomicU16 {}
// SAFETY: an atomic.
unsafe impl Shared for AtomicI16 {}
// SAFETY: an atomic.
unsafe impl Shared for AtomicU32 {}
// SAFETY: an atomic.
unsafe impl Shared for AtomicI32 {}
// SAFETY: an atomic.
unsafe impl Shared for AtomicU64 {}
// SAFETY: an atomic.
unsafe impl Shared for AtomicI64 {}
// SAFETY: an atomic, of one size among processes that share memory through this library.
unsafe impl Shared for AtomicUsize {}
// SAFETY: as above.
unsafe impl Shared for AtomicIsize {}
// SAFETY: made of two atomics.
unsafe impl Shared for RawLock {}
// SAFETY: made of one atomic.
unsafe impl Shared for CommitWord {}
// SAFETY: an array of what may be shared has nothing else in it.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {}

impl Segment {
    /// Sees what lies at `offset` as a `T`.
    ///
    /// # Errors
    ///
    /// It does not lie within the segment, or is not aligned.
    #[inline]
    pub fn view<T: Shared>(&self, offset: usize) -> Result<&T, Error> {
        let place = self.place(offset, size_of::<T>())?.cast::<T>();
        if !place.is_aligned() {
            return Err(out_of_bounds());
        }
        // SAFETY: within the mapping, which lives as long as `self`, and aligned. `T: Shared`, so any bits are a value
        // and other processes may change them.
        Ok(unsafe { place.as_ref() })
    }

    /// Sees what lies at `offset` as a `T`, by a handle that keeps the segment.
    ///
    /// # Errors
    ///
    /// It does not lie within the segment, or is not aligned.
    pub fn bind<T: Shared>(&self, offset: usize) -> Result<View<T>, Error> {
        let place = NonNull::from(self.view::<T>(offset)?);
        Ok(View { place, segment: self.clone() })
    }

    /// Copies bytes into the memory. What others read there meanwhile is undetermined.
    ///
    /// # Errors
    ///
    /// The range lies outside of the segment. Nothing was copied.
    #[inline]
    pub fn copy_in(&self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        let place = self.place(offset, bytes.len())?;
        // SAFETY: `place` is valid for that many bytes, and no reference to them exists in this process: `Shared` types are
        // atomics, which the protocols keep apart from plain bytes.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), place.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Copies bytes out of the memory. If others write there meanwhile, any mixture may come.
    ///
    /// # Errors
    ///
    /// The range lies outside of the segment. Nothing was copied.
    #[inline]
    pub fn copy_out(&self, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        let place = self.place(offset, bytes.len())?;
        // SAFETY: as in `copy_in`; any bits are a `u8`.
        unsafe { ptr::copy_nonoverlapping(place.as_ptr(), bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    /// Copies `len` values out of the memory to the end of a vector, without zeroing the room for them first.
    ///
    /// # Errors
    ///
    /// The range lies outside of the segment, or there is no memory for the copy. Nothing was copied.
    #[inline]
    pub fn append_to<T: AnyBitPattern>(
        &self,
        offset: usize,
        len: usize,
        values: &mut Vec<T>,
    ) -> Result<(), Error> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or_else(out_of_bounds)?;
        let place = self.place(offset, bytes)?;
        mp_wire::try_reserve(values, len).map_err(|error| {
            Error::with_source(crate::ErrorKind::Exhausted, "no memory for a copy", error)
        })?;
        let spare = values.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: `place` is valid for so many bytes, the spare capacity too, which was just reserved.
        unsafe { ptr::copy_nonoverlapping(place.as_ptr(), spare, bytes) };
        // SAFETY: the bytes of `len` values behind the old end have just been written, and any bits are a `T`.
        unsafe { values.set_len(values.len() + len) };
        Ok(())
    }

    /// Asks the processor to fetch the line at `offset` for writing, where it can be asked.
    #[inline]
    pub(crate) fn prefetch_for_writing(&self, offset: usize) {
        // The intrinsic of that name fetches for reading unless the whole program is built for newer processors; those that do not
        // know the instruction skip it.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if let Ok(place) = self.place(offset, 1) {
            // SAFETY: a hint: nothing is read or written that a program could see, whatever lies there.
            unsafe {
                std::arch::asm!("prefetchw [{}]", in(reg) place.as_ptr(), options(nostack, preserves_flags, readonly));
            }
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = offset;
    }

    /// The address of `len` bytes at `offset`, which lie within the segment.
    ///
    /// It has the provenance of the whole mapping and stays valid while a handle of the segment lives.
    ///
    /// # Errors
    ///
    /// They do not.
    #[inline]
    pub fn place(&self, offset: usize, len: usize) -> Result<NonNull<u8>, Error> {
        if offset.checked_add(len).is_none_or(|end| end > self.len()) {
            return Err(out_of_bounds());
        }
        let start = self.0.map.as_mut_ptr();
        // SAFETY: the mapping has `HEADER_LEN + self.len()` bytes, and `offset` was checked against that.
        let place = unsafe { start.add(HEADER_LEN + offset) };
        NonNull::new(place).ok_or_else(out_of_bounds)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        registry::remove(self.key, self);
    }
}

/// A `T` in shared memory, with a handle that keeps it mapped.
///
/// # Examples
///
/// ```
/// use mp_shared::segment::{Segment, View};
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// let count: View<AtomicU64> = Segment::create(1, 8)?.bind(0)?;
/// count.fetch_add(1, Ordering::Relaxed);
/// assert_eq!(View::segment(&count).atomic_u64(0)?.load(Ordering::Relaxed), 1);
/// # Ok::<(), mp_shared::Error>(())
/// ```
pub struct View<T: Shared> {
    place: NonNull<T>,
    segment: Segment,
}

// SAFETY: a shared reference to a `T: Sync`, and an `Arc`.
unsafe impl<T: Shared> Send for View<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for View<T> {}

impl<T: Shared> View<T> {
    /// The segment that it lies in. (Not a method, so that it hides none of `T`.)
    #[must_use]
    pub fn segment(this: &Self) -> &Segment {
        &this.segment
    }
}

impl<T: Shared> Deref for View<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `bind` checked it, and `segment` keeps it mapped.
        unsafe { self.place.as_ref() }
    }
}

impl<T: Shared> Clone for View<T> {
    fn clone(&self) -> Self {
        Self { place: self.place, segment: self.segment.clone() }
    }
}

impl<T: Shared + fmt::Debug> fmt::Debug for View<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
