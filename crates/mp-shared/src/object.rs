//! A thing of this crate at its place in a segment: a head that says what it is, then a lock if it has one, then elements.
//!
//! The head is written before anybody else has the segment. Whoever attaches compares it with what it expects, reading each
//! field once, and from then on uses its own copy. `poisoned`, `exposed` and `words` change later: see the READMEs of `lock`,
//! `event` and their like.
#![expect(unsafe_code, reason = "elements lie in memory that other processes write")]

use std::any::type_name;
use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use bytemuck::Pod;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::heap::{LINE, Place, SEGMENT_KIND, SharedPlace};
use crate::home::{Home, SharedClaim};
#[cfg(feature = "named")]
use crate::named::Claim;
use crate::robust::{LinkedLock, linked::Cell};
#[cfg(feature = "named")]
use crate::segment::NAMED_KIND;
use crate::segment::{HEADER_LEN, Segment, Shared, View};
use crate::{Error, ErrorKind, access, sys};

/// What kind of thing an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Tag {
    Lock = u32::from_le_bytes(*b"lock"),
    Event = u32::from_le_bytes(*b"evnt"),
    Value = u32::from_le_bytes(*b"valu"),
    Array = u32::from_le_bytes(*b"arra"),
    RawValue = u32::from_le_bytes(*b"rval"),
    RawArray = u32::from_le_bytes(*b"rarr"),
    RLock = u32::from_le_bytes(*b"rlck"),
    Semaphore = u32::from_le_bytes(*b"sema"),
    Condition = u32::from_le_bytes(*b"cond"),
    Barrier = u32::from_le_bytes(*b"barr"),
    RwLock = u32::from_le_bytes(*b"rwlk"),
    Once = u32::from_le_bytes(*b"once"),
    Atomic = u32::from_le_bytes(*b"atom"),
    Vec = u32::from_le_bytes(*b"vect"),
    Chunked = u32::from_le_bytes(*b"chnk"),
    Chunks = u32::from_le_bytes(*b"chlk"),
    #[cfg(feature = "named")]
    List = u32::from_le_bytes(*b"list"),
}

/// The beginning of an object.
#[repr(C, align(64))]
pub(crate) struct Head {
    tag: AtomicU32,
    align: AtomicU32,
    size: AtomicU64,
    len: AtomicU64,
    type_hash: AtomicU64,
    /// Somebody died with what the lock protects in hand: not zero if so.
    pub(crate) poisoned: AtomicU32,
    /// What the lock protects is in somebody's hands, so that it may be half changed: not zero if so.
    pub(crate) exposed: AtomicU32,
    /// What an event, a condition and their like are made of.
    pub(crate) words: [AtomicU32; 5],
}

// SAFETY: `repr(C)`, made of atomics alone.
unsafe impl Shared for Head {}

/// Where the lock lies, from the beginning of the object.
const LOCK: usize = size_of::<Head>();

/// Where the elements lie at the earliest.
const DATA: usize = LOCK + LinkedLock::SIZE;

/// What an object is made of; the same in all processes that share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    tag: Tag,
    size: usize,
    align: usize,
    type_hash: u64,
    /// How many elements there are, if that is always the same.
    len: Option<usize>,
}

impl Shape {
    /// The shape of an object without elements.
    pub(crate) const fn plain(tag: Tag) -> Self {
        Self { tag, size: 0, align: 1, type_hash: 0, len: Some(0) }
    }

    /// The shape of an object with any number of elements that are not plain data.
    pub(crate) const fn row<T: Shared>(tag: Tag) -> Self {
        Self { tag, size: size_of::<T>(), align: align_of::<T>(), type_hash: 0, len: None }
    }

    /// The shape of an object with any number of bytes, which begin at a multiple of eight.
    #[cfg(feature = "named")]
    pub(crate) const fn bytes_of(tag: Tag) -> Self {
        Self { tag, size: 1, align: 8, type_hash: 0, len: None }
    }

    /// The shape of an object with one element of type `T`.
    pub(crate) fn one<T: Pod>(tag: Tag) -> Self {
        Self { len: Some(1), ..Self::of::<T>(tag) }
    }

    /// The shape of an object with any number of elements of type `T`.
    pub(crate) fn of<T: Pod>(tag: Tag) -> Self {
        const { assert!(align_of::<T>() <= 4096, "an element cannot be aligned to more than a page") };
        let type_hash = hash(type_name::<T>());
        Self { tag, size: size_of::<T>(), align: align_of::<T>(), type_hash, len: None }
    }

    /// The shape of an object with one atomic in it, which stands for a `T`.
    pub(crate) fn cell<T: 'static>(tag: Tag) -> Self {
        let type_hash = hash(type_name::<T>());
        Self { tag, size: size_of::<T>(), align: size_of::<T>(), type_hash, len: Some(1) }
    }

    /// How many bytes `len` elements take; `None` if there are not so many addresses.
    fn bytes(&self, len: usize) -> Option<usize> {
        self.size.checked_mul(len).filter(|&bytes| isize::try_from(bytes).is_ok())
    }

    /// Where in the segment the elements of the object at `offset` begin, so that their addresses are aligned.
    fn data_offset(&self, offset: usize) -> usize {
        // What can grow has words of its own before them.
        let front = if matches!(self.tag, Tag::Vec) { LINE } else { 0 };
        (HEADER_LEN + offset + DATA + front).next_multiple_of(self.align) - HEADER_LEN
    }
}

/// FNV-1a. It tells types apart that were confused, not those of an attacker.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A thing at its place in a segment, which it keeps mapped. Clones are the same thing.
///
/// When the last handle of the process that made it is gone, its place may be used again: see `heap.rs`.
///
/// Invariant: `data` is aligned for the elements, and all `len` of them lie in the segment, which cannot shrink.
#[derive(Clone)]
pub(crate) struct Object {
    head: View<Head>,
    data: NonNull<u8>,
    offset: usize,
    data_offset: usize,
    len: usize,
    place: SharedPlace,
    /// Dropping the last one may remove the name.
    claim: SharedClaim,
}

// SAFETY: `data` points into the segment that `head` keeps, and is used for accesses that may happen in any thread.
unsafe impl Send for Object {}
// SAFETY: as above.
unsafe impl Sync for Object {}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("offset", &self.offset)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // A guard was leaked: a thread has this memory in its list until it ends.
        if self.place.is_some() && self.cell().is_ok_and(Cell::may_outlive_its_handle) {
            self.retire();
        }
    }
}

impl Object {
    /// Creates one with `len` elements, all zero.
    pub(crate) fn create(shape: Shape, len: usize) -> Result<Self, Error> {
        Self::create_at(Home::Anywhere, shape, len)
    }

    /// Creates one with `len` elements, all zero, where it is wanted.
    pub(crate) fn create_at(home: Home<'_>, shape: Shape, len: usize) -> Result<Self, Error> {
        let data = shape.data_offset(0);
        let Some(bytes) = shape.bytes(len).and_then(|bytes| bytes.checked_add(data)) else {
            let size = shape.size;
            let what = format!("{len} elements of {size} bytes are more than a process can have");
            return Err(Error::new(ErrorKind::Exhausted, what));
        };
        if let Home::Named(plan) = home {
            let (segment, claim) = plan.place(bytes)?;
            let mut object = Self::create_in(&segment, 0, shape, len)?;
            object.claim = Some(claim);
            return Ok(object);
        }
        // The data of what is aligned to more than a line is where it shall be if the object begins its segment.
        let place = if shape.align <= LINE { Place::new(bytes)? } else { Place::alone(bytes)? };
        let mut object = Self::create_in(place.segment(), place.offset(), shape, len)?;
        object.place = Some(Arc::new(place));
        Ok(object)
    }

    /// Creates one with `len` elements in a segment of its own, none of which is backed by memory yet.
    pub(crate) fn create_sparse(shape: Shape, len: usize) -> Result<Self, Error> {
        let data = shape.data_offset(0);
        let bytes = shape.bytes(len).and_then(|bytes| bytes.checked_add(data));
        let bytes = bytes.ok_or_else(|| {
            Error::new(ErrorKind::Exhausted, "so many elements are more than a process can have")
        })?;
        let segment = Segment::create_sparse(SEGMENT_KIND, bytes, data)?;
        Self::create_in(&segment, 0, shape, len)
    }

    /// Makes one at this place, and writes its head.
    fn create_in(
        segment: &Segment,
        offset: usize,
        shape: Shape,
        len: usize,
    ) -> Result<Self, Error> {
        let object = Self::at(segment, offset, shape, len)?;
        let head = &*object.head;
        head.align.store(shape.align as u32, Relaxed);
        head.size.store(shape.size as u64, Relaxed);
        head.len.store(len as u64, Relaxed);
        head.type_hash.store(shape.type_hash, Relaxed);
        head.tag.store(shape.tag as u32, Relaxed);
        Ok(object)
    }

    /// Finds the one in a segment that has a name.
    #[cfg(feature = "named")]
    pub(crate) fn open_in(
        segment: &Segment,
        shape: Shape,
        claim: Arc<Claim>,
    ) -> Result<Self, Error> {
        let mut object = Self::attach(segment, 0, shape)?;
        object.claim = Some(claim);
        Ok(object)
    }

    /// What it has to do with its name, if it has one and did not come in a message.
    #[cfg(feature = "named")]
    pub(crate) fn claim(&self) -> Option<&Claim> {
        self.claim.as_deref()
    }

    /// As [`claim`](Self::claim), to keep it.
    #[cfg(feature = "named")]
    pub(crate) fn shared_claim(&self) -> SharedClaim {
        self.claim.clone()
    }

    /// Establishes the invariant.
    fn at(segment: &Segment, offset: usize, shape: Shape, len: usize) -> Result<Self, Error> {
        let head = segment.bind::<Head>(offset)?;
        let bytes =
            shape.bytes(len).ok_or_else(|| Error::corrupt("an object has too many elements"))?;
        let data_offset = shape.data_offset(offset);
        let data = segment.place(data_offset, bytes)?;
        Ok(Self { head, data, offset, data_offset, len, place: None, claim: None })
    }

    /// Finds the one at `offset`, if it is one of this shape.
    fn attach(segment: &Segment, offset: usize, shape: Shape) -> Result<Self, Error> {
        let incompatible = |what| Err(Error::new(ErrorKind::Incompatible, what));
        #[cfg(feature = "named")]
        let named = segment.kind() == NAMED_KIND;
        #[cfg(not(feature = "named"))]
        let named = false;
        if segment.kind() != SEGMENT_KIND && !named {
            return incompatible("the memory that was received has no objects in it");
        }
        let head = segment.view::<Head>(offset)?;
        if head.tag.load(Relaxed) != shape.tag as u32 {
            return incompatible("the object that was received is of another kind");
        }
        let same = head.size.load(Relaxed) == shape.size as u64
            && head.align.load(Relaxed) == shape.align as u32
            && head.type_hash.load(Relaxed) == shape.type_hash;
        if !same {
            return incompatible("the object that was received has elements of another type");
        }
        let len = usize::try_from(head.len.load(Relaxed)).unwrap_or(usize::MAX);
        if shape.len.is_some_and(|expected| expected != len) {
            return Err(Error::corrupt("an object has a wrong number of elements"));
        }
        Self::at(segment, offset, shape, len)
    }

    fn cell(&self) -> Result<&Cell, Error> {
        View::segment(&self.head).view(self.offset + LOCK)
    }

    /// The lock that belongs to it.
    pub(crate) fn lock(&self) -> Result<LinkedLock, Error> {
        LinkedLock::new(View::segment(&self.head), self.offset + LOCK)
    }

    #[inline]
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// What lies before the elements, if the shape has something there.
    pub(crate) fn bind_front<T: Shared>(&self) -> Result<View<T>, Error> {
        const { assert!(size_of::<T>() <= LINE && align_of::<T>() <= LINE) };
        View::segment(&self.head).bind(self.offset + DATA)
    }

    /// Backs bytes of the elements with memory.
    pub(crate) fn commit(&self, bytes: Range<usize>) -> Result<(), Error> {
        View::segment(&self.head).commit(self.in_segment(bytes))
    }

    /// Gives back the memory of the whole pages among bytes of the elements.
    pub(crate) fn discard(&self, bytes: Range<usize>) -> Result<(), Error> {
        View::segment(&self.head).discard(self.in_segment(bytes))
    }

    fn in_segment(&self, bytes: Range<usize>) -> Range<usize> {
        let at = |byte: usize| self.data_offset.saturating_add(byte);
        at(bytes.start)..at(bytes.end)
    }

    /// The first end of a page at or behind the end of so many bytes of the elements, counted as those are.
    pub(crate) fn end_of_page(&self, bytes: usize) -> usize {
        let data = HEADER_LEN + self.data_offset;
        (data + bytes).next_multiple_of(sys::page_size()) - data
    }

    /// The `T` that begins `at` bytes behind the beginning of the elements.
    pub(crate) fn view<T: Shared>(&self, at: usize) -> Result<&T, Error> {
        let offset = self.data_offset.checked_add(at).ok_or_else(|| self.beyond(at, 1))?;
        View::segment(&self.head).view(offset)
    }

    /// As [`view`](Self::view), with a handle that keeps it mapped.
    pub(crate) fn bind<T: Shared>(&self, at: usize) -> Result<View<T>, Error> {
        let offset = self.data_offset.checked_add(at).ok_or_else(|| self.beyond(at, 1))?;
        View::segment(&self.head).bind(offset)
    }

    /// The number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Where the elements begin in this process; aligned for them.
    pub(crate) fn data<T: Pod>(&self) -> *mut T {
        self.data.as_ptr().cast()
    }

    /// Reads an element, atomically if it has the size for it; `None` beyond the last.
    pub(crate) fn load<T: Pod>(&self, index: usize) -> Option<T> {
        let element = self.element(index)?;
        // SAFETY: by the invariant it lies in the mapping, which `self` keeps.
        Some(unsafe { access::load(element) })
    }

    /// Writes an element, atomically if it has the size for it.
    pub(crate) fn store<T: Pod>(&self, index: usize, value: T) -> Result<(), Error> {
        let element = self.element(index).ok_or_else(|| self.beyond(index, 1))?;
        // SAFETY: by the invariant it lies in the mapping, which `self` keeps and which is writable.
        unsafe { access::store(element, value) };
        Ok(())
    }

    /// Copies elements out, from `start`; none if there are not so many.
    pub(crate) fn read<T: Pod>(&self, start: usize, target: &mut [T]) -> Result<(), Error> {
        let source = self.elements::<T>(start, target.len())?;
        // SAFETY: by the invariant all lies in the mapping, which `self` keeps.
        unsafe { access::copy_out(source.cast(), bytemuck::cast_slice_mut(target)) };
        Ok(())
    }

    /// Copies elements in, from `start`; none if there are not so many.
    pub(crate) fn write<T: Pod>(&self, start: usize, source: &[T]) -> Result<(), Error> {
        let target = self.elements::<T>(start, source.len())?;
        // SAFETY: by the invariant all lies in the mapping, which `self` keeps and which is writable.
        unsafe { access::copy_in(target.cast(), bytemuck::cast_slice(source)) };
        Ok(())
    }

    fn element<T: Pod>(&self, index: usize) -> Option<*mut T> {
        (index < self.len).then(|| self.data::<T>().wrapping_add(index))
    }

    fn elements<T: Pod>(&self, start: usize, count: usize) -> Result<*mut T, Error> {
        match start.checked_add(count) {
            Some(end) if end <= self.len => Ok(self.data::<T>().wrapping_add(start)),
            _ => Err(self.beyond(start, count)),
        }
    }

    /// The error of asking for elements that there are not.
    pub(crate) fn beyond(&self, start: usize, count: usize) -> Error {
        let len = self.len;
        let what = format!("{count} elements at {start} do not lie in an array of {len}");
        Error::new(ErrorKind::OutOfBounds, what)
    }

    /// Declares that its place must not be used again when the last handle is gone.
    pub(crate) fn retire(&self) {
        if let Some(place) = &self.place {
            place.retire();
        }
    }

    /// Takes it out of a message, if it is one of this shape.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
        shape: Shape,
    ) -> Result<Self, D::Error> {
        Received::deserialize(deserializer)?.object(shape).map_err(de::Error::custom)
    }
}

impl Serialize for Object {
    /// Writes it into a message: its segment, and where it lies there.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.retire();
        (View::segment(&self.head), self.offset as u64).serialize(serializer)
    }
}

/// What a message says of an object: where it is.
#[derive(Deserialize)]
pub(crate) struct Received(Segment, u64);

impl Received {
    /// The object, if it is one of this shape.
    pub(crate) fn object(self, shape: Shape) -> Result<Object, Error> {
        let offset = usize::try_from(self.1).unwrap_or(usize::MAX);
        Object::attach(&self.0, offset, shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C, align(4096))]
    #[derive(Clone, Copy)]
    struct Wide([u64; 512]);

    // SAFETY: an array of numbers that fills the struct.
    unsafe impl bytemuck::Zeroable for Wide {}
    // SAFETY: as above; there is no padding.
    unsafe impl Pod for Wide {}

    #[test]
    fn elements_are_aligned() {
        let object = Object::create(Shape::of::<Wide>(Tag::Array), 2).unwrap();
        assert!(object.data::<Wide>().is_aligned());
        object.store(1, Wide([7; 512])).unwrap();
        assert_eq!(object.load::<Wide>(1).unwrap().0, [7; 512]);
        let object = Object::create(Shape::of::<u128>(Tag::Array), 1).unwrap();
        assert!(object.data::<u128>().is_aligned());
    }

    #[test]
    fn too_many_elements_are_an_error() {
        let shape = Shape::of::<u64>(Tag::Array);
        for len in [usize::MAX, usize::MAX / 8, isize::MAX as usize / 8, 1 << 55] {
            let error = Object::create(shape, len).err().unwrap();
            assert!(
                matches!(error.kind(), ErrorKind::Exhausted | ErrorKind::InvalidInput),
                "{len}: {error:?}"
            );
        }
        assert_eq!(
            Object::create(Shape::of::<()>(Tag::Array), usize::MAX).unwrap().len(),
            usize::MAX
        );
    }

    #[test]
    fn attaching_checks_what_it_is() {
        let shape = Shape::of::<u32>(Tag::Array);
        let object = Object::create(shape, 10).unwrap();
        let (segment, at) = (View::segment(&object.head).clone(), object.offset);
        assert_eq!(Object::attach(&segment, at, shape).unwrap().len(), 10);
        let kind = |offset, shape| Object::attach(&segment, offset, shape).err().unwrap().kind();
        assert_eq!(kind(at, Shape::of::<u32>(Tag::Value)), ErrorKind::Incompatible);
        for other in [Shape::of::<u64>(Tag::Array), Shape::of::<i32>(Tag::Array)] {
            assert_eq!(kind(at, other), ErrorKind::Incompatible);
        }
        for offset in [at + 1, at + 32, 1 << 20, usize::MAX - 63, usize::MAX] {
            assert_eq!(kind(offset, shape), ErrorKind::OutOfBounds);
        }
        let stranger = Segment::create(1, 1000).unwrap();
        let error = Object::attach(&stranger, 0, shape).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Incompatible);
    }

    #[test]
    fn a_length_that_lies_is_an_error() {
        let shape = Shape::of::<u32>(Tag::Array);
        let object = Object::create(shape, 10).unwrap();
        // A length that ends in the segment is as good as any other for a peer who writes what it likes.
        for len in [1 << 20, u64::MAX / 4, u64::MAX] {
            object.head.len.store(len, Relaxed);
            assert!(Object::attach(View::segment(&object.head), object.offset, shape).is_err());
        }
        assert_eq!(object.len(), 10, "who has attached goes on with what it read then");
    }
}
