//! The server's side of `Dict` and `Namespace`: encoded values by encoded keys, in the order of insertion.

use std::collections::{BTreeMap, HashMap};

use crate::blob::Blob;
use crate::registry::Registry;
use crate::server::items::Seen;

#[derive(Default)]
pub(crate) struct Map {
    /// Where the entry of a key is: at the number of its insertion.
    places: HashMap<Vec<u8>, u64>,
    entries: BTreeMap<u64, (Blob, Seen)>,
    version: u64,
}

impl Map {
    pub(crate) fn register(registry: &mut Registry) {
        registry
            .class::<Self>()
            .constructor(Self::new)
            .method(Self::len)
            .method(Self::get)
            .method(Self::contains)
            .method(Self::insert)
            .method(Self::insert_new)
            .method(Self::extend)
            .method(Self::remove)
            .method(Self::exchange)
            .method(Self::keys)
            .method(Self::values)
            .method(Self::items)
            .method(Self::clear);
    }

    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(crate) fn get(&self, key: Blob) -> Option<Seen> {
        let place = self.places.get(key.bytes())?;
        self.entries.get(place).map(|entry| entry.1.clone())
    }

    pub(crate) fn contains(&self, key: Blob) -> bool {
        self.places.contains_key(key.bytes())
    }

    pub(crate) fn insert(&mut self, key: Blob, value: Blob) -> Option<Blob> {
        self.version += 1;
        let seen = (self.version, value);
        match self.places.get(key.bytes()).and_then(|place| self.entries.get_mut(place)) {
            Some(entry) => Some(std::mem::replace(&mut entry.1, seen).1),
            None => {
                // The number of a version is that of an insertion, too: both only have to grow.
                self.places.insert(key.bytes().to_vec(), self.version);
                self.entries.insert(self.version, (key, seen));
                None
            }
        }
    }

    /// Inserts unless the key is there, and gives what is there.
    pub(crate) fn insert_new(&mut self, key: Blob, value: Blob) -> Option<Blob> {
        let present = self.get(key.clone()).map(|seen| seen.1);
        if present.is_none() {
            self.insert(key, value);
        }
        present
    }

    pub(crate) fn extend(&mut self, entries: Vec<(Blob, Blob)>) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }

    pub(crate) fn remove(&mut self, key: Blob) -> Option<Blob> {
        let place = self.places.remove(key.bytes())?;
        self.entries.remove(&place).map(|entry| entry.1.1)
    }

    /// Makes the value of a key what the client wants, if it is still what the client has seen; or gives the present
    /// one.
    pub(crate) fn exchange(
        &mut self,
        key: Blob,
        seen: Option<u64>,
        value: Option<Blob>,
    ) -> Result<(), Option<Seen>> {
        let present = self.get(key.clone());
        if present.as_ref().map(|present| present.0) != seen {
            return Err(present);
        }
        match value {
            Some(value) => drop(self.insert(key, value)),
            None => drop(self.remove(key)),
        }
        Ok(())
    }

    pub(crate) fn keys(&self) -> Vec<Blob> {
        self.entries.values().map(|entry| entry.0.clone()).collect()
    }

    pub(crate) fn values(&self) -> Vec<Blob> {
        self.entries.values().map(|entry| entry.1.1.clone()).collect()
    }

    pub(crate) fn items(&self) -> Vec<(Blob, Blob)> {
        self.entries.values().map(|entry| (entry.0.clone(), entry.1.1.clone())).collect()
    }

    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order_of_insertion() {
        let blob = |n: u32| Blob::encode(&n).unwrap();
        let mut map = Map::new();
        for (key, value) in [(3, 1), (1, 2), (2, 3), (3, 4)] {
            map.insert(blob(key), blob(value));
        }
        map.remove(blob(1));
        map.insert(blob(1), blob(5));
        let items = map.items().into_iter();
        let items: Vec<(u32, u32)> =
            items.map(|(key, value)| (key.decode().unwrap(), value.decode().unwrap())).collect();
        assert_eq!(items, [(3, 4), (2, 3), (1, 5)]);
    }

    #[test]
    fn exchanges_only_what_was_seen() {
        let blob = |n: u32| Blob::encode(&n).unwrap();
        let mut map = Map::new();
        assert!(map.exchange(blob(1), Some(1), Some(blob(2))).unwrap_err().is_none());
        map.exchange(blob(1), None, Some(blob(2))).unwrap();
        let (seen, _) = map.exchange(blob(1), None, Some(blob(3))).unwrap_err().unwrap();
        map.exchange(blob(1), Some(seen), None).unwrap();
        assert_eq!(map.len(), 0);
    }
}
