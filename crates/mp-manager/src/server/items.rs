//! The server's side of `List` and `Array`: a sequence of encoded values.

use crate::blob::Blob;
use crate::registry::Registry;

/// A value with a number that changes whenever it does, so that a client can replace exactly what it has seen.
pub(crate) type Seen = (u64, Blob);

pub(crate) struct Items {
    items: Vec<Seen>,
    version: u64,
}

impl Items {
    pub(crate) fn register(registry: &mut Registry) {
        registry
            .class::<Self>()
            .constructor(Self::new)
            .method(Self::len)
            .method(Self::push)
            .method(Self::extend)
            .method(Self::get)
            .method(Self::set)
            .method(Self::exchange)
            .method(Self::insert)
            .method(Self::remove)
            .method(Self::pop)
            .method(Self::range)
            .method(Self::clear)
            .method(Self::reverse)
            .method(Self::truncate)
            .method(Self::swap)
            .method(Self::position)
            .method(Self::count);
    }

    pub(crate) fn new(values: Vec<Blob>) -> Self {
        let mut items = Self { items: Vec::new(), version: 0 };
        items.extend(values);
        items
    }

    fn seen(&mut self, value: Blob) -> Seen {
        self.version += 1;
        (self.version, value)
    }

    pub(crate) fn len(&self) -> u64 {
        self.items.len() as u64
    }

    pub(crate) fn push(&mut self, value: Blob) {
        let item = self.seen(value);
        self.items.push(item);
    }

    pub(crate) fn extend(&mut self, values: Vec<Blob>) {
        values.into_iter().for_each(|value| self.push(value));
    }

    pub(crate) fn get(&self, index: u64) -> Option<Seen> {
        self.items.get(place(index)).cloned()
    }

    /// The length, if the index is beyond it.
    pub(crate) fn set(&mut self, index: u64, value: Blob) -> Result<(), u64> {
        let item = self.seen(value);
        let len = self.len();
        *self.items.get_mut(place(index)).ok_or(len)? = item;
        Ok(())
    }

    /// Replaces a value if it is the one that the client has seen, or gives the present one.
    pub(crate) fn exchange(
        &mut self,
        index: u64,
        seen: u64,
        value: Blob,
    ) -> Result<(), Option<Seen>> {
        let item = self.seen(value);
        match self.items.get_mut(place(index)) {
            Some(present) if present.0 == seen => *present = item,
            present => return Err(present.cloned()),
        }
        Ok(())
    }

    pub(crate) fn insert(&mut self, index: u64, value: Blob) -> Result<(), u64> {
        if index > self.len() {
            return Err(self.len());
        }
        let item = self.seen(value);
        self.items.insert(place(index), item);
        Ok(())
    }

    pub(crate) fn remove(&mut self, index: u64) -> Result<Blob, u64> {
        if index >= self.len() {
            return Err(self.len());
        }
        Ok(self.items.remove(place(index)).1)
    }

    pub(crate) fn pop(&mut self) -> Option<Blob> {
        self.items.pop().map(|item| item.1)
    }

    /// The part of the range that exists.
    pub(crate) fn range(&self, start: u64, end: u64) -> Vec<Blob> {
        let end = place(end).min(self.items.len());
        let items = self.items.get(place(start)..end).unwrap_or_default();
        items.iter().map(|item| item.1.clone()).collect()
    }

    pub(crate) fn clear(&mut self) {
        self.items.clear();
    }

    pub(crate) fn reverse(&mut self) {
        self.items.reverse();
    }

    pub(crate) fn truncate(&mut self, len: u64) {
        self.items.truncate(place(len));
    }

    pub(crate) fn swap(&mut self, a: u64, b: u64) -> Result<(), u64> {
        if a.max(b) >= self.len() {
            return Err(self.len());
        }
        self.items.swap(place(a), place(b));
        Ok(())
    }

    pub(crate) fn position(&self, value: Blob) -> Option<u64> {
        self.items.iter().position(|item| item.1.is_equal(&value)).map(|index| index as u64)
    }

    pub(crate) fn count(&self, value: Blob) -> u64 {
        self.items.iter().filter(|item| item.1.is_equal(&value)).count() as u64
    }
}

fn place(index: u64) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}
