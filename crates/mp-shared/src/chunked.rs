#![doc = include_str!("chunked/README.md")]
#![expect(unsafe_code, reason = "a guard refers to the elements in shared memory")]

mod guard;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::compiler_fence;
use std::time::Duration;

use bytemuck::Pod;
use mp_wire::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use self::guard::ChunkedGuard;
use crate::lock::{deadline, is_word, plain};
use crate::object::{Object, Received, Shape, Tag};
use crate::poison::{LockError, LockResult, PoisonError};
use crate::robust::Acquired;
use crate::slots::{Slot, Slots};
use crate::{AtomicNumber, Error, ErrorKind};

/// Among the words of a slot: its elements are in a user's hands, or were when somebody died.
const EXPOSED: usize = 0;
const POISONED: usize = 1;

/// An array in shared memory with a lock for each chunk of it, so that several processes change parts of it at a time.
///
/// [`lock`](Self::lock) takes a range of elements, and the locks of all chunks that it touches; the guard is the slice of
/// just these elements. Guards of ranges that share no chunk are held side by side, by threads, processes, or one thread. Its
/// length is fixed when it is made. Clones are the same array; so is what arrives if it is sent in a message or as an argument of a
/// process. `T` is plain data ([`bytemuck::Pod`]), as with [`Array`](crate::Array).
///
/// Python has no counterpart.
///
/// # If a process dies
///
/// If one is killed or panics while it has a guard, the chunks that the guard locked are poisoned, and no others, until
/// [`clear_poison`](Self::clear_poison).
///
/// # Fork
///
/// A forked child does not hold what its parent holds: it must not use its copy of a guard, which does nothing when dropped.
///
/// # Current implementation
///
/// A guard locks its chunks in the order of their places, so that guards cannot wait for each other in a circle as long as each thread
/// has one at a time. A thread can hold about 1500 chunks.
///
/// # Examples
///
/// ```
/// use mp_shared::ChunkedArray;
///
/// let pixels = ChunkedArray::<u32>::new(1000, 100)?;
/// std::thread::scope(|scope| {
///     for worker in 0..10u32 {
///         let pixels = &pixels; // Or a clone, in another process.
///         scope.spawn(move || {
///             let start = worker as usize * 100;
///             pixels.lock(start..start + 100).unwrap().fill(worker);
///         });
///     }
/// });
/// assert_eq!(pixels.get(999)?, 9);
/// # Ok::<(), mp_shared::Error>(())
/// ```
pub struct ChunkedArray<T: Pod> {
    slots: Slots,
    data: Object,
    chunk_len: usize,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod> ChunkedArray<T> {
    fn shape() -> Shape {
        Shape::of::<T>(Tag::Chunked)
    }

    fn of(slots: Slots, data: Object, chunk_len: usize) -> Self {
        Self { slots, data, chunk_len, element: PhantomData }
    }

    /// Makes an array of `len` elements, all of whose bytes are zero, with a lock for every `chunk_len` of them.
    ///
    /// The last chunk is shorter if they do not come out even.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if chunks were to have no elements; [`ErrorKind::Exhausted`] if there is not so much memory,
    /// or no descriptor is left.
    pub fn new(len: usize, chunk_len: usize) -> Result<Self, Error> {
        if chunk_len == 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "a chunk has at least one element"));
        }
        let data = Object::create(Self::shape(), len)?;
        let slots = Slots::create(Tag::Chunks, len.div_ceil(chunk_len))?;
        Ok(Self::of(slots, data, chunk_len))
    }

    /// Makes an array of these elements, with a lock for every `chunk_len` of them.
    ///
    /// # Errors
    ///
    /// As with [`new`](Self::new).
    pub fn from_slice(elements: &[T], chunk_len: usize) -> Result<Self, Error> {
        let array = Self::new(elements.len(), chunk_len)?;
        array.data.write(0, elements)?;
        Ok(array)
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Says whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of elements that each lock is for, but for the last one.
    #[must_use]
    pub fn chunk_len(&self) -> usize {
        self.chunk_len
    }

    /// The number of chunks.
    #[must_use]
    pub fn chunk_count(&self) -> usize {
        self.slots.len()
    }

    /// The elements of each chunk, in order.
    ///
    /// # Examples
    ///
    /// ```
    /// let array = mp_shared::ChunkedArray::from_slice(&[1, 2, 3, 4, 5], 2)?;
    /// for chunk in array.chunks() {
    ///     array.lock(chunk)?[0] = 0;
    /// }
    /// assert_eq!(array.to_vec()?, [0, 2, 0, 4, 0]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn chunks(&self) -> impl ExactSizeIterator<Item = Range<usize>> + use<T> {
        let (len, chunk_len) = (self.len(), self.chunk_len);
        (0..self.chunk_count()).map(move |chunk| {
            let start = chunk.saturating_mul(chunk_len);
            start..start.saturating_add(chunk_len).min(len)
        })
    }

    /// Takes the locks of a range of elements; the guard is the slice of these.
    ///
    /// # Blocking
    ///
    /// Until whoever holds one of them releases it or dies. Signals do not end it.
    ///
    /// # Errors
    ///
    /// [`LockError::Poisoned`] with the guard in it if somebody died holding one of the chunks; [`LockError::Deadlock`] if this thread
    /// holds one of them; [`LockError::TooMany`] if it would hold too many.
    ///
    /// # Panics
    ///
    /// If the range is not one of the array, as slices do.
    ///
    /// # Examples
    ///
    /// ```
    /// let array = mp_shared::ChunkedArray::from_slice(&[1, 2, 3, 4], 2)?;
    /// let (mut left, mut right) = (array.lock(..2)?, array.lock(2..)?);
    /// left.swap_with_slice(&mut right);
    /// drop((left, right));
    /// assert_eq!(*array.lock(..)?, [3, 4, 1, 2]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn lock(&self, range: impl RangeBounds<usize>) -> LockResult<ChunkedGuard<'_, T>> {
        self.take(self.range(&range), Deadline::NEVER)
    }

    /// Takes the locks of a range of elements if they are free.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`] if somebody holds one of them, this thread or another; otherwise as with [`lock`](Self::lock).
    ///
    /// # Panics
    ///
    /// As with [`lock`](Self::lock).
    pub fn try_lock(&self, range: impl RangeBounds<usize>) -> LockResult<ChunkedGuard<'_, T>> {
        self.take(self.range(&range), Deadline::NOW).map_err(LockError::at_once)
    }

    /// Takes the locks of a range of elements, but waits no longer than this for all of them.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`], or as with [`lock`](Self::lock).
    ///
    /// # Panics
    ///
    /// As with [`lock`](Self::lock).
    pub fn lock_timeout(
        &self,
        range: impl RangeBounds<usize>,
        timeout: Duration,
    ) -> LockResult<ChunkedGuard<'_, T>> {
        self.take(self.range(&range), deadline(timeout))
    }

    /// Reads an element, under the lock of its chunk.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`] beyond the last; [`ErrorKind::Poisoned`] if somebody died holding the lock;
    /// [`ErrorKind::Deadlock`] if this thread holds it: read through the guard then.
    pub fn get(&self, index: usize) -> Result<T, Error> {
        self.fetch(index, |value| value)
    }

    /// Writes an element, under the lock of its chunk.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is written then.
    pub fn set(&self, index: usize, value: T) -> Result<(), Error> {
        self.fetch(index, |_| value).map(drop)
    }

    /// Changes an element from what it was to what `change` makes of it, under the lock of its chunk; returns the new one.
    ///
    /// If `change` panics, the element is what it was, and the lock is free.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); `change` is not called then.
    pub fn update(&self, index: usize, change: impl FnOnce(T) -> T) -> Result<T, Error> {
        let mut new = None;
        let old = self.fetch(index, |value| *new.insert(change(value)))?;
        Ok(new.unwrap_or(old))
    }

    /// Copies all elements out, chunk by chunk, each under its lock.
    ///
    /// For a copy of all at one time, take `lock(..)`.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get).
    pub fn to_vec(&self) -> Result<Vec<T>, Error> {
        let mut elements = vec![T::zeroed(); self.len()];
        for chunk in self.chunks() {
            let _visit = self.visit(chunk.clone())?;
            if let Some(part) = elements.get_mut(chunk.clone()) {
                self.data.read(chunk.start, part)?;
            }
        }
        Ok(elements)
    }

    /// Says whether somebody died holding one of the chunks of these elements, and nobody has cleared that since.
    ///
    /// # Panics
    ///
    /// As with [`lock`](Self::lock).
    #[must_use]
    pub fn is_poisoned(&self, range: impl RangeBounds<usize>) -> bool {
        self.slots_of(&self.range(&range)).any(is_poisoned)
    }

    /// Declares that the elements of the chunks of this range are in order again.
    ///
    /// # Panics
    ///
    /// As with [`lock`](Self::lock).
    pub fn clear_poison(&self, range: impl RangeBounds<usize>) {
        for slot in self.slots_of(&self.range(&range)) {
            slot.words()[POISONED].store(0, Relaxed);
        }
    }

    fn range(&self, range: &impl RangeBounds<usize>) -> Range<usize> {
        let len = self.len();
        let start = match range.start_bound() {
            Bound::Included(&start) => Some(start),
            Bound::Excluded(&before) => before.checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.checked_add(1),
            Bound::Excluded(&end) => Some(end),
            Bound::Unbounded => Some(len),
        };
        match (start, end) {
            (Some(start), Some(end)) if start <= end && end <= len => start..end,
            _ => panic!("the range is not one of an array of {len} elements"),
        }
    }

    /// The chunks that have elements of this range.
    fn chunks_of(&self, elements: &Range<usize>) -> Range<usize> {
        if elements.is_empty() {
            return 0..0;
        }
        elements.start / self.chunk_len..elements.end.div_ceil(self.chunk_len)
    }

    fn slots_of(&self, elements: &Range<usize>) -> impl Iterator<Item = &Slot> {
        self.chunks_of(elements).map_while(|chunk| self.slots.get(chunk))
    }

    fn take(&self, elements: Range<usize>, deadline: Deadline) -> LockResult<ChunkedGuard<'_, T>> {
        let mut guard = self.hold(elements, deadline)?;
        guard.expose();
        let poisoned = self.slots_of(guard.elements()).any(is_poisoned);
        if poisoned { Err(PoisonError::new(guard).into()) } else { Ok(guard) }
    }

    /// Takes the locks, poisoned or not, without getting hold of the elements.
    fn hold(&self, elements: Range<usize>, deadline: Deadline) -> LockResult<ChunkedGuard<'_, T>> {
        let chunks = self.chunks_of(&elements);
        let mut guard = ChunkedGuard::new(self, elements, chunks.start);
        for slot in chunks.map_while(|chunk| self.slots.get(chunk)) {
            let acquired = slot.lock(deadline).map_err(plain)?;
            guard.add();
            if acquired == Acquired::OwnerDied {
                take_over(slot);
            }
        }
        Ok(guard)
    }

    /// Takes the locks for a step that leaves all in order wherever it ends.
    fn visit(&self, elements: Range<usize>) -> Result<ChunkedGuard<'_, T>, Error> {
        let guard = self.hold(elements, Deadline::NEVER)?;
        if self.slots_of(guard.elements()).any(is_poisoned) {
            return Err(LockError::Poisoned(PoisonError::new(())).into());
        }
        Ok(guard)
    }

    /// Changes an element under its lock; returns what it was.
    fn fetch(&self, index: usize, change: impl FnOnce(T) -> T) -> Result<T, Error> {
        let beyond = || self.data.beyond(index, 1);
        if index >= self.len() {
            return Err(beyond());
        }
        let mut guard = self.visit(index..index + 1)?;
        let value = self.data.load(index).ok_or_else(beyond)?;
        let new = change(value);
        if !is_word::<T>() {
            guard.expose();
        }
        self.data.store(index, new)?;
        Ok(value)
    }
}

fn is_poisoned(slot: &Slot) -> bool {
    slot.words()[POISONED].load(Relaxed) != 0
}

/// Whoever comes after a dead owner writes down what that one may have left.
#[cold]
fn take_over(slot: &Slot) {
    let words = slot.words();
    if words[EXPOSED].load(Relaxed) != 0 {
        words[POISONED].store(1, Relaxed);
        compiler_fence(SeqCst);
        words[EXPOSED].store(0, Relaxed);
    }
}

impl<T: AtomicNumber> ChunkedArray<T> {
    /// Adds to an element, under the lock of its chunk; returns what it was. Integers wrap around.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get); nothing is added then.
    ///
    /// # Examples
    ///
    /// ```
    /// let counts = mp_shared::ChunkedArray::<u32>::new(100, 10)?;
    /// assert_eq!(counts.fetch_add(42, 7)?, 0);
    /// assert_eq!(counts.get(42)?, 7);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn fetch_add(&self, index: usize, number: T) -> Result<T, Error> {
        self.fetch(index, |element| element.plus(number))
    }
}

impl<T: Pod> Clone for ChunkedArray<T> {
    fn clone(&self) -> Self {
        Self::of(self.slots.clone(), self.data.clone(), self.chunk_len)
    }
}

impl<T: Pod> fmt::Debug for ChunkedArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let locked = self.slots.iter().filter(|slot| slot.owner().is_some()).count();
        f.debug_struct("ChunkedArray")
            .field("len", &self.len())
            .field("chunk_len", &self.chunk_len)
            .field("locked_chunks", &locked)
            .field("poisoned", &self.is_poisoned(..))
            .finish_non_exhaustive()
    }
}

impl<T: Pod> Serialize for ChunkedArray<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.chunk_len, self.slots.object(), &self.data).serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for ChunkedArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (chunk_len, slots, data) = <(usize, Received, Received)>::deserialize(deserializer)?;
        let slots = Slots::received(slots, Tag::Chunks).map_err(de::Error::custom)?;
        let data = data.object(Self::shape()).map_err(de::Error::custom)?;
        if chunk_len == 0 || slots.len() != data.len().div_ceil(chunk_len) {
            return Err(de::Error::custom("an array has a wrong number of chunks"));
        }
        Ok(Self::of(slots, data, chunk_len))
    }
}
