//! A list of mixed values in shared memory with a name.

mod item;
mod slot;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{SharedMemory, claim_of, create, create_new, named_object};
use crate::home::Home;
use crate::lock::{Guarded, Held};
use crate::object::{Shape, Tag};
use crate::{Error, ErrorKind};
pub use item::ListItem;
use slot::Slot;

/// A list of fixed length in shared memory with a name, of values of different kinds, which may change.
///
/// Clones are the same list; so is what [`open`](Self::open) finds under its name, in any program of the same user, and
/// what arrives if it is sent in a message or as an argument of a process. Each value has a slot of its own. A slot may get
/// a value of another kind; texts and bytes have to fit in the room that the slot was made with.
///
/// Setting and getting a value are each one step for all others. Lengths are stored, so that what comes out is what went in:
/// texts of any language, and zero bytes at the end.
///
/// # Python
///
/// `ShareableList`. The memory is laid out in another way than Python's, so that the two cannot open each other's. A
/// slot has as much room as Python gives it, except for a text that is not ASCII, for which Python's is too short. Indices
/// are not negative. `shm` is [`memory`](Self::memory); `shm.unlink` is [`unlink`](Self::unlink), which is seldom needed.
///
/// # If a process dies
///
/// Killed while it sets a value, it leaves the old one or the new one, whole; killed at anything, it keeps nobody from going
/// on. The name goes with the creator's last handle, as with [`SharedMemory`]; if the creator is killed, [`SharedMemory::prune`]
/// removes a name that [`new`](Self::new) made, and [`SharedMemory::orphans`] lists any.
///
/// # Serializing
///
/// It travels as the descriptor of its memory, inside messages only, whatever its length. So it arrives even if its name is gone by
/// then; what arrives does not know the name.
///
/// # Platform
///
/// As with all that has a name: a process of the same user that shrinks the file gives all that touch it `SIGBUS`.
///
/// # Examples
///
/// ```
/// use mp_shared::{ListItem, ShareableList};
///
/// let list = ShareableList::new(["howdy".into(), 42.into(), 2.5.into(), ListItem::None])?;
///
/// let other = ShareableList::open(list.name().unwrap())?; // In any process.
/// other.set(1, "forty")?;
/// other.update(2, |x| (x.as_float().unwrap() * 2.0).into())?;
/// assert_eq!(list.to_vec()?, ["howdy".into(), "forty".into(), 5.0.into(), ListItem::None]);
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[derive(Clone)]
pub struct ShareableList {
    inner: Guarded,
    slots: Arc<[Slot]>,
}

const SHAPE: Shape = Shape::bytes_of(Tag::List);

/// The rooms for some values, each at least of `least` bytes.
fn rooms(items: &[ListItem], least: usize) -> Vec<usize> {
    let least = least.checked_next_multiple_of(8).unwrap_or(usize::MAX);
    items.iter().map(|item| slot::room_of(item).max(least)).collect()
}

impl ShareableList {
    /// Makes a list of these values, under a new name, which tells by whom it was made.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`] if there is not so much memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::ShareableList;
    ///
    /// let list = ShareableList::new([1.into(), "two".into(), b"three\0".into()])?;
    /// assert_eq!(list.get(2)?.as_bytes(), Some(&b"three\0"[..]));
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn new(items: impl IntoIterator<Item = ListItem>) -> Result<Self, Error> {
        Self::with_room(items, 0)
    }

    /// Makes a list of these values, under a new name, in which each slot has room for at least so many bytes.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{ListItem, ShareableList};
    ///
    /// let names = ShareableList::with_room([ListItem::None, ListItem::None], 32)?;
    /// names.set(0, "a text of up to 32 bytes")?;
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn with_room(
        items: impl IntoIterator<Item = ListItem>,
        room: usize,
    ) -> Result<Self, Error> {
        let items: Vec<ListItem> = items.into_iter().collect();
        create_new(|home| Self::make(home, &rooms(&items, room), &items))
    }

    /// Makes a list of these values under a name that you choose.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`] if the name is taken, [`ErrorKind::InvalidInput`] for a bad name, or as with
    /// [`new`](Self::new).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::ShareableList;
    ///
    /// let name = format!("doc list {}", std::process::id());
    /// let list = ShareableList::create(&name, [true.into(), 1.5.into()])?;
    /// assert_eq!(ShareableList::open(&name)?.len(), 2);
    /// assert_eq!(list.name(), Some(&*name));
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn create(name: &str, items: impl IntoIterator<Item = ListItem>) -> Result<Self, Error> {
        Self::create_with_room(name, items, 0)
    }

    /// Makes a list of these values under a name that you choose, in which each slot has room for at least so many bytes.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn create_with_room(
        name: &str,
        items: impl IntoIterator<Item = ListItem>,
        room: usize,
    ) -> Result<Self, Error> {
        let items: Vec<ListItem> = items.into_iter().collect();
        create(name, |home| Self::make(home, &rooms(&items, room), &items))
    }

    fn make(home: Home<'_>, rooms: &[usize], items: &[ListItem]) -> Result<Self, Error> {
        let too_long = || Error::new(ErrorKind::Exhausted, "no memory is that large");
        let (slots, len) = slot::lay(rooms).ok_or_else(too_long)?;
        let inner = Guarded::create_at(home, SHAPE, len)?;
        slot::write_rooms(inner.object(), rooms)?;
        for (slot, item) in slots.iter().zip(items) {
            slot.write(inner.object(), item)?;
        }
        Ok(Self { inner, slots: slots.into() })
    }

    fn attach(inner: Guarded) -> Result<Self, Error> {
        let slots = slot::find(inner.object())?.into();
        Ok(Self { inner, slots })
    }

    /// The number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Says whether it has no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many bytes of text the slot has room for.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`] beyond the last.
    pub fn room(&self, index: usize) -> Result<usize, Error> {
        self.slot(index).map(|slot| slot.room)
    }

    fn slot(&self, index: usize) -> Result<Slot, Error> {
        self.slots.get(index).copied().ok_or_else(|| {
            let what = format!("there is no value at {index} in a list of {}", self.len());
            Error::new(ErrorKind::OutOfBounds, what)
        })
    }

    /// Takes the lock; whatever happens under it, the list is in order.
    fn visit(&self) -> Result<Held<'_>, Error> {
        self.inner.visit()
    }

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`] beyond the last, [`ErrorKind::Corrupt`] if another process has written what makes no sense.
    /// [`ErrorKind::Deadlock`] in a function that [`update`](Self::update) calls.
    pub fn get(&self, index: usize) -> Result<ListItem, Error> {
        let slot = self.slot(index)?;
        let raw = slot.read(self.visit()?.object())?;
        raw.into_item()
    }

    /// Writes a value, of the same kind or another.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLong`] if it is a text, or bytes, longer than the [`room`](Self::room) of the slot; else as with
    /// [`get`](Self::get). Nothing is written then.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{ErrorKind, ShareableList};
    ///
    /// let list = ShareableList::new(["short".into()])?;
    /// list.set(0, "eight by")?;
    /// assert_eq!(list.set(0, "nine byte").unwrap_err().kind(), ErrorKind::TooLong);
    /// list.set(0, 1)?;
    /// assert_eq!(list.get(0)?.as_int(), Some(1));
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn set(&self, index: usize, value: impl Into<ListItem>) -> Result<(), Error> {
        let (slot, value) = (self.slot(index)?, value.into());
        slot.write(self.visit()?.object(), &value)
    }

    /// Changes a value from what it was to what `change` makes of it, in one step for all others; returns what it was.
    ///
    /// If `change` panics, or the process is killed in it, the value is what it was.
    ///
    /// # Errors
    ///
    /// As with [`set`](Self::set).
    ///
    /// # Examples
    ///
    /// ```
    /// let list = mp_shared::ShareableList::new([41.into()])?;
    /// list.update(0, |n| (n.as_int().unwrap_or(0) + 1).into())?;
    /// assert_eq!(list.get(0)?.as_int(), Some(42));
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn update(
        &self,
        index: usize,
        change: impl FnOnce(&ListItem) -> ListItem,
    ) -> Result<ListItem, Error> {
        let slot = self.slot(index)?;
        let held = self.visit()?;
        let before = slot.read(held.object())?.into_item()?;
        slot.write(held.object(), &change(&before))?;
        Ok(before)
    }

    /// Reads one value after the other; each is what it is when its turn comes.
    ///
    /// # Examples
    ///
    /// ```
    /// let list = mp_shared::ShareableList::new([1.into(), 2.into(), 3.into()])?;
    /// let mut sum = 0;
    /// for item in list.iter() {
    ///     sum += item?.as_int().unwrap_or(0);
    /// }
    /// assert_eq!(sum, 6);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn iter(
        &self,
    ) -> impl ExactSizeIterator<Item = Result<ListItem, Error>> + DoubleEndedIterator + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Copies all values out, as they are at one moment.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get).
    pub fn to_vec(&self) -> Result<Vec<ListItem>, Error> {
        let held = self.visit()?;
        self.slots.iter().map(|slot| slot.read(held.object())?.into_item()).collect()
    }

    /// Says how often a value is in the list.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get).
    pub fn count(&self, value: impl Into<ListItem>) -> Result<usize, Error> {
        let value = value.into();
        Ok(self.to_vec()?.iter().filter(|&item| *item == value).count())
    }

    /// Finds the first place where a value is; `None` if it is not in the list.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get).
    ///
    /// # Examples
    ///
    /// ```
    /// let list = mp_shared::ShareableList::new(["a".into(), "b".into(), "b".into()])?;
    /// assert_eq!((list.index("b")?, list.index("c")?, list.count("b")?), (Some(1), None, 2));
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn index(&self, value: impl Into<ListItem>) -> Result<Option<usize>, Error> {
        let value = value.into();
        Ok(self.to_vec()?.iter().position(|item| *item == value))
    }

    /// Says what Python's `struct` would call the values that are stored.
    ///
    /// # Errors
    ///
    /// As with [`get`](Self::get).
    ///
    /// # Examples
    ///
    /// ```
    /// let list = mp_shared::ShareableList::new(["howdy".into(), 1.5.into(), 100.into(), true.into()])?;
    /// assert_eq!(list.format()?, "8sdqxxxxxxx?");
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn format(&self) -> Result<String, Error> {
        let held = self.visit()?;
        self.slots.iter().map(|slot| slot.format(held.object())).collect()
    }

    /// Opens the memory that the list lies in: its name, its size, its bytes.
    ///
    /// It is there to be looked at. Whoever writes there by other means than the list's methods may make it
    /// [`ErrorKind::Corrupt`], or break its lock, which lies there, too.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if this handle knows no name, or the name is gone, or belongs to another memory by now.
    #[doc(alias = "shm")]
    pub fn memory(&self) -> Result<SharedMemory, Error> {
        let claim = claim_of(self)?;
        let memory = SharedMemory::open(claim.name())?;
        if memory.claim().identity() == claim.identity() {
            return Ok(memory);
        }
        let what = "the name of the list is that of another memory by now";
        Err(Error::new(ErrorKind::NotFound, what))
    }

    /// Makes another list under a name that you choose, with the same values, and the same rooms.
    ///
    /// # Errors
    ///
    /// As with [`create`](Self::create) and [`get`](Self::get).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::ShareableList;
    ///
    /// let list = ShareableList::new([1.into()])?;
    /// let copy = list.copy(&format!("doc copy {}", std::process::id()))?;
    /// copy.set(0, 2)?;
    /// assert_eq!(list.get(0)?.as_int(), Some(1));
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn copy(&self, name: &str) -> Result<Self, Error> {
        let items = self.to_vec()?;
        let rooms: Vec<usize> = self.slots.iter().map(|slot| slot.room).collect();
        create(name, |home| Self::make(home, &rooms, &items))
    }
}

named_object!(
    [] ShareableList,
    SHAPE,
    |object| Self::attach(Guarded::of(object)?),
    |this| this.inner.object(),
    "ShareableList",
    "ShareableList::create(&name, [1.into()])",
);

impl fmt::Debug for ShareableList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ShareableList");
        debug.field("name", &self.name());
        match self.to_vec() {
            Ok(items) => debug.field("items", &items),
            Err(error) => debug.field("items", &format_args!("<{error}>")),
        };
        debug.finish()
    }
}

impl Serialize for ShareableList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ShareableList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::attach(Guarded::deserialize(deserializer, SHAPE)?).map_err(de::Error::custom)
    }
}
