//! A row of robust locks, each held by whoever takes part in something, so that the kernel tells of its death.

use serde::{Deserializer, Serialize, Serializer};

use crate::Error;
use crate::home::Home;
use crate::object::{Object, Received, Shape, Tag};
pub(crate) use crate::robust::linked::Cell as Slot;
use crate::robust::linked::keep;

/// An object whose elements are locks that threads hold for as long as they take part. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Slots(Object);

impl Slots {
    /// Creates a row of free slots.
    pub(crate) fn create(tag: Tag, count: usize) -> Result<Self, Error> {
        Self::create_at(Home::Anywhere, tag, count)
    }

    /// Creates a row of free slots where it is wanted.
    pub(crate) fn create_at(home: Home<'_>, tag: Tag, count: usize) -> Result<Self, Error> {
        Object::create_at(home, Shape::row::<Slot>(tag), count).map(Self)
    }

    /// The row that an object of this shape is.
    #[cfg(feature = "named")]
    #[cfg(feature = "named")]
    pub(crate) fn of(object: Object) -> Self {
        Self(object)
    }

    pub(crate) const fn shape(tag: Tag) -> Shape {
        Shape::row::<Slot>(tag)
    }

    /// The row that a message had, if it is one of this kind.
    pub(crate) fn received(received: Received, tag: Tag) -> Result<Self, Error> {
        received.object(Self::shape(tag)).map(Self)
    }

    pub(crate) fn object(&self) -> &Object {
        &self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&Slot> {
        if index < self.len() { self.0.view(index * size_of::<Slot>()).ok() } else { None }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        (0..self.len()).map_while(|index| self.get(index))
    }

    pub(crate) fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
        tag: Tag,
    ) -> Result<Self, D::Error> {
        Object::deserialize(deserializer, Shape::row::<Slot>(tag)).map(Self)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        for index in 0..self.len() {
            let held = self.get(index).is_some_and(Slot::may_outlive_its_handle);
            if held && let Ok(slot) = self.0.bind(index * size_of::<Slot>()) {
                self.0.retire();
                keep(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use mp_wire::Deadline;

    use super::*;
    use crate::robust::{Acquired, LockError};
    use crate::sys::{Waited, wait_any};
    use crate::testing::{Trap, fork};

    fn slots(count: usize) -> Slots {
        Slots::create(Tag::Semaphore, count).unwrap()
    }

    #[test]
    fn each_is_a_lock_of_its_own() {
        let slots = slots(3);
        let first = slots.get(0).unwrap();
        assert_eq!(first.try_lock(), Ok(Acquired::Clean));
        assert_eq!(slots.get(2).unwrap().try_lock(), Ok(Acquired::Clean));
        assert!(slots.get(3).is_none());
        assert_eq!(slots.iter().filter(|slot| slot.held_by_me()).count(), 2);
        first.words()[3].store(7, Relaxed);
        assert_eq!(first.unlock(), Ok(()));
        assert_eq!(first.words()[3].load(Relaxed), 7);
        assert!(first.watch().is_none());
        assert_eq!(slots.get(2).unwrap().unlock(), Ok(()));
    }

    #[test]
    fn a_death_wakes_who_watches_many() {
        let slots = slots(100);
        let trap = Trap::new();
        let owner = fork(|| {
            assert_eq!(slots.get(42).unwrap().try_lock(), Ok(Acquired::Clean));
            trap.step_in()
        });
        trap.wait();
        assert_eq!(slots.get(0).unwrap().try_lock(), Ok(Acquired::Clean));
        let watcher = fork(|| {
            while slots.get(42).unwrap().owner().is_some() {
                let watches: Vec<_> = slots.iter().filter_map(Slot::watch).collect();
                if slots.get(42).unwrap().owner().is_some() {
                    assert_eq!(wait_any(&watches, Deadline::NEVER), Waited::Look);
                }
            }
            slots.get(42).unwrap().try_lock() == Ok(Acquired::OwnerDied)
        });
        owner.kill();
        watcher.succeed();
        assert_eq!(slots.get(0).unwrap().unlock(), Ok(()));
    }

    #[test]
    fn a_leaked_lock_keeps_its_memory() {
        let row = slots(2);
        let again = row.clone();
        assert_eq!(row.get(1).unwrap().try_lock(), Ok(Acquired::Clean));
        drop(row);
        let same = again.get(1).unwrap();
        assert_eq!(same.try_lock(), Err(LockError::Deadlock));
        drop(again);
        // The list of this thread leads through the memory of the leaked one.
        let other = slots(1);
        assert_eq!(other.get(0).unwrap().try_lock(), Ok(Acquired::Clean));
        assert_eq!(other.get(0).unwrap().unlock(), Ok(()));
    }
}
