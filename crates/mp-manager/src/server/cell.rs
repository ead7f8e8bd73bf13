//! The server's side of `Value`: one encoded value.

use crate::blob::Blob;
use crate::registry::Registry;
use crate::server::items::Seen;

pub(crate) struct Cell(Seen);

impl Cell {
    pub(crate) fn register(registry: &mut Registry) {
        registry
            .class::<Self>()
            .constructor(Self::new)
            .method(Self::get)
            .method(Self::set)
            .method(Self::replace)
            .method(Self::exchange)
            .method(Self::compare_exchange);
    }

    pub(crate) fn new(value: Blob) -> Self {
        Self((0, value))
    }

    pub(crate) fn get(&self) -> Seen {
        self.0.clone()
    }

    pub(crate) fn set(&mut self, value: Blob) {
        self.replace(value);
    }

    pub(crate) fn replace(&mut self, value: Blob) -> Blob {
        let version = self.0.0 + 1;
        std::mem::replace(&mut self.0, (version, value)).1
    }

    /// Replaces the value if it is the one that the client has seen, or gives the present one.
    pub(crate) fn exchange(&mut self, seen: u64, value: Blob) -> Result<(), Seen> {
        if self.0.0 != seen {
            return Err(self.get());
        }
        self.set(value);
        Ok(())
    }

    /// Replaces the value if it equals another, or gives the present one.
    pub(crate) fn compare_exchange(&mut self, current: Blob, new: Blob) -> Result<(), Blob> {
        if !self.0.1.is_equal(&current) {
            return Err(self.0.1.clone());
        }
        self.set(new);
        Ok(())
    }
}
