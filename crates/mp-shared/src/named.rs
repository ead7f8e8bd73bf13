#![doc = include_str!("named/README.md")]
//!
//! # The crate `shared_memory`
//!
//! The crate `shared_memory` does the mapping. It is only ever asked to open, never to create, so that it never owns a
//! name: it would remove it in a forked child too, and would give out memory that is not reserved.
#![expect(unsafe_code, reason = "the mapping is memory that other processes write")]

mod attribute;
mod claim;
mod file;
mod list;
mod manager;
mod methods;
mod name;
mod orphan;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::{fmt, io};

use bytemuck::Pod;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use shared_memory::{Shmem, ShmemConf, ShmemError};

use crate::{Error, ErrorKind, access};
pub(crate) use claim::{Claim, SharedClaim};
use file::Identity;
pub use list::{ListItem, ShareableList};
pub use manager::SharedMemoryManager;
pub(crate) use methods::{Named, named_object};
pub use orphan::Orphan;
pub(crate) use plan::{Plan, create, create_new, open};

/// A piece of memory with a name, which any program of the same user can open.
///
/// Take it where processes that did not start each other shall meet, or to talk to Python, which sees the same names.
/// Between a program and its children, the other types of this crate need no name and leave nothing behind.
///
/// Whoever created it owns the name: the name goes when the last clone of that handle is dropped in that process. A
/// handle made by [`open`](Self::open), by deserializing, or by copying the process with `fork`, removes nothing when dropped.
/// The memory itself lives on until the last process has dropped its handle.
///
/// All memory is reserved when it is created, and is zero. What is read and written here goes by relaxed atomic
/// accesses: a value of 1, 2, 4 or 8 bytes at a multiple of its size is never torn, larger ones may be, when somebody
/// writes meanwhile. There is no lock in it.
///
/// # Python
///
/// `SharedMemory(name, create=True, size=n)` is [`create`](Self::create), without a name [`new`](Self::new);
/// `SharedMemory(name)` is [`open`](Self::open). `buf` is [`read_at`](Self::read_at), [`write_at`](Self::write_at),
/// [`load`](Self::load) and [`store`](Self::store); `close` is dropping. There is no tracker process that removes what others
/// use. Python has one: a name that it has opened it removes when it ends, unless told `track=False` (since 3.13).
///
/// # If a process dies
///
/// If the creator is killed, the name stays, as a file in `/dev/shm`. [`prune`](Self::prune) removes those whose names
/// were made by [`new`](Self::new); one that you chose yourself waits for [`remove`](Self::remove), and
/// [`orphans`](Self::orphans) lists it.
/// A process that is killed while it creates one leaves nothing.
///
/// # Serializing
///
/// It travels as its name, in any format, and is opened where it arrives: an error if the name is gone by then, or is
/// that of another memory. What arrives does not own the name. So keep the creator's handle until it is there.
///
/// # Platform
///
/// Named memory cannot be sealed. If a process of the same user shrinks the file, all that access it get `SIGBUS`.
///
/// # Examples
///
/// ```
/// use mp_shared::SharedMemory;
///
/// let memory = SharedMemory::new(4096)?;
/// memory.write_at(0, b"hello")?;
///
/// let other = SharedMemory::open(memory.name())?; // In any process.
/// let mut text = [0; 5];
/// other.read_at(0, &mut text)?;
/// assert_eq!(&text, b"hello");
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[derive(Clone)]
pub struct SharedMemory(Arc<Inner>);

struct Inner {
    mapping: Mapping,
    claim: Arc<Claim>,
}

/// The mapping of the crate `shared_memory`, never its owner.
struct Mapping(Shmem);

// SAFETY: after creation only its address and its length are read, which do not change; unmapping and closing may
// happen in any thread. What lies in the memory is accessed atomically.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl SharedMemory {
    /// Creates one with a new name, which tells by whom it was made; see [`prune`](Self::prune).
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::SharedMemory;
    ///
    /// let first = SharedMemory::new(100)?;
    /// let second = SharedMemory::new(100)?;
    /// assert_ne!(first.name(), second.name());
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn new(size: usize) -> Result<Self, Error> {
        loop {
            match Self::create(&name::generate(), size) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => return other,
            }
        }
    }

    /// Creates one with this name.
    ///
    /// A name is any text of up to 255 bytes without NUL and slash; one slash at its beginning is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`] if the name is taken, [`ErrorKind::Exhausted`] if there is not so much memory (nothing is
    /// left behind then), [`ErrorKind::InvalidInput`] for a size of zero or a bad name.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{ErrorKind, SharedMemory};
    ///
    /// let name = format!("doc:create {}", std::process::id());
    /// let memory = SharedMemory::create(&name, 512)?;
    /// assert_eq!((memory.name(), memory.len()), (name.as_str(), 512));
    /// assert_eq!(SharedMemory::create(&name, 512).unwrap_err().kind(), ErrorKind::AlreadyExists);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn create(name: &str, size: usize) -> Result<Self, Error> {
        let name = name::check(name)?;
        let failed = |error| context("create", name, error);
        if size == 0 {
            let what = "a shared memory cannot have a size of zero";
            return Err(Error::new(ErrorKind::InvalidInput, what));
        }
        let identity = file::create(name, size as u64).map_err(failed)?;
        let memory = attach(name).and_then(|(mapping, found)| {
            if found != identity || mapping.0.len() != size {
                return Err(io::Error::other("somebody else changed it meanwhile"));
            }
            let memory = Self::from_parts(mapping, name, identity);
            memory.claim().take();
            Ok(memory)
        });
        memory.map_err(|error| {
            let _ = file::remove(name, identity);
            failed(error)
        })
    }

    /// Opens the one that has this name. Its size is that with which it was created.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::InvalidInput`] for a bad name, [`ErrorKind::Incompatible`] if what has
    /// the name has no memory, [`ErrorKind::Io`] if it is another user's.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::SharedMemory;
    ///
    /// let error = SharedMemory::open("nobody made this").unwrap_err();
    /// assert_eq!(error.kind(), mp_shared::ErrorKind::NotFound);
    /// ```
    pub fn open(name: &str) -> Result<Self, Error> {
        let name = name::check(name)?;
        let (mapping, identity) = attach(name).map_err(|error| context("open", name, error))?;
        Ok(Self::from_parts(mapping, name, identity))
    }

    fn from_parts(mapping: Mapping, name: &str, identity: Identity) -> Self {
        let claim = Arc::new(Claim::new(name, identity));
        Self(Arc::new(Inner { mapping, claim }))
    }

    fn claim(&self) -> &Arc<Claim> {
        &self.0.claim
    }

    /// Removes a name; whoever has the memory open keeps it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::InvalidInput`] for a bad name.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::SharedMemory;
    ///
    /// let memory = SharedMemory::new(100)?;
    /// SharedMemory::remove(memory.name())?;
    /// assert!(SharedMemory::open(memory.name()).is_err());
    /// assert_eq!(memory.load::<u8>(0)?, 0);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn remove(name: &str) -> Result<(), Error> {
        let name = name::check(name)?;
        file::find(name)
            .and_then(|(identity, _)| file::remove(name, identity))
            .map_err(|error| context("remove", name, error))
    }

    /// Removes the names that processes left when they were killed, and says how many.
    ///
    /// It removes those made by [`new`](Self::new), or for a list or in a scope without a name, in a process of this PID namespace that runs no more, unless
    /// [`persist`](Self::persist) was called. Whoever still has such a memory open keeps it.
    ///
    /// # Errors
    ///
    /// `/dev/shm` cannot be read. Names that cannot be removed, as they are another user's, are passed over.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::SharedMemory;
    ///
    /// let memory = SharedMemory::new(100)?;
    /// SharedMemory::prune()?;
    /// assert!(SharedMemory::open(memory.name()).is_ok(), "its creator lives");
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn prune() -> Result<usize, Error> {
        let orphans = orphan::list()?;
        let made_by_us = |orphan: &&Orphan| name::is_generated(orphan.name());
        Ok(orphans.iter().filter(made_by_us).filter(|orphan| orphan.remove().is_ok()).count())
    }

    /// Lists the names that processes left when they were killed.
    ///
    /// There are those that [`prune`](Self::prune) would remove, and those that a user chose, of memory, lists and other objects:
    /// they may be meant to stay, so that nothing but [`Orphan::remove`] or [`remove`](Self::remove) removes them. Those
    /// for which [`persist`](Self::persist) was called are not in the list.
    ///
    /// # Errors
    ///
    /// `/dev/shm` cannot be read.
    ///
    /// # Platform
    ///
    /// Who created a `SharedMemory` with a name that a user chose is known since Linux 6.6, where files in memory have attributes.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::SharedMemory;
    ///
    /// let memory = SharedMemory::new(100)?;
    /// for orphan in SharedMemory::orphans()? {
    ///     assert_ne!(orphan.name(), memory.name(), "its creator lives");
    ///     println!("process {} left {}", orphan.creator(), orphan.name());
    /// }
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn orphans() -> Result<Vec<Orphan>, Error> {
        orphan::list()
    }

    /// Removes the name of this memory; whoever has it open keeps it.
    ///
    /// Any handle may do this, also one that only opened it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if the name is gone, or belongs to another memory by now.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::SharedMemory;
    ///
    /// let memory = SharedMemory::new(100)?;
    /// memory.unlink()?;
    /// assert_eq!(memory.unlink().unwrap_err().kind(), mp_shared::ErrorKind::NotFound);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn unlink(&self) -> Result<(), Error> {
        self.claim().unlink()
    }

    /// Lets the name outlive this handle and this process, until somebody removes it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if the name is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::SharedMemory;
    ///
    /// let memory = SharedMemory::new(100)?;
    /// let name = memory.name().to_owned();
    /// memory.persist()?;
    /// drop(memory);
    /// SharedMemory::remove(&name)?; // It was still there.
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn persist(&self) -> Result<(), Error> {
        self.claim().persist()
    }

    /// Says whether dropping this handle in this process removes the name.
    #[must_use]
    pub fn owns_name(&self) -> bool {
        self.claim().owns()
    }

    /// The name, without a slash.
    #[must_use]
    pub fn name(&self) -> &str {
        self.claim().name()
    }

    /// The size in bytes.
    #[doc(alias = "size")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.mapping.0.len()
    }

    /// Says whether it has no bytes, which is never so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The address of the first byte in this process, for unsafe code; it is that of a page.
    ///
    /// It is valid for [`len`](Self::len) bytes as long as a clone of this handle lives. Others may write the bytes at any time:
    /// make no reference to them that is not to atomics.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::SharedMemory;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// let memory = SharedMemory::new(4)?;
    /// // SAFETY: four bytes at the beginning of a page, which live as long as `memory`.
    /// let counter = unsafe { AtomicU32::from_ptr(memory.as_ptr().cast()) };
    /// counter.fetch_add(1, Ordering::Relaxed);
    /// assert_eq!(memory.load::<u32>(0)?, 1);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.0.mapping.0.as_ptr()
    }

    /// Copies bytes out, as many as `target` is long.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`] if the range does not lie in the memory; nothing is copied then.
    pub fn read_at(&self, offset: usize, target: &mut [u8]) -> Result<(), Error> {
        let source = self.range(offset, target.len())?;
        // SAFETY: `range` has checked that the bytes lie in the mapping, which `self` keeps.
        unsafe { access::copy_out(source, target) };
        Ok(())
    }

    /// Copies bytes in, all of `source`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`] if the range does not lie in the memory; nothing is copied then.
    pub fn write_at(&self, offset: usize, source: &[u8]) -> Result<(), Error> {
        let target = self.range(offset, source.len())?;
        // SAFETY: `range` has checked that the bytes lie in the mapping, which `self` keeps and which is writable.
        unsafe { access::copy_in(target, source) };
        Ok(())
    }

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`] if it does not lie in the memory.
    pub fn load<T: Pod>(&self, offset: usize) -> Result<T, Error> {
        let source = self.range(offset, size_of::<T>())?;
        // SAFETY: `range` has checked that the bytes lie in the mapping, which `self` keeps.
        Ok(unsafe { access::load(source.cast()) })
    }

    /// Writes a value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfBounds`] if it would not lie in the memory; nothing is written then.
    pub fn store<T: Pod>(&self, offset: usize, value: T) -> Result<(), Error> {
        let target = self.range(offset, size_of::<T>())?;
        // SAFETY: `range` has checked that the bytes lie in the mapping, which `self` keeps and which is writable.
        unsafe { access::store(target.cast(), value) };
        Ok(())
    }

    /// Copies all bytes out.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        // SAFETY: as many bytes as the mapping has, which `self` keeps.
        unsafe { access::copy_out(self.as_ptr(), &mut bytes) };
        bytes
    }

    /// The address of a range, if it lies in the memory.
    fn range(&self, offset: usize, len: usize) -> Result<*mut u8, Error> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len() => Ok(self.as_ptr().wrapping_add(offset)),
            _ => {
                let what = format!(
                    "{len} bytes at {offset} do not lie in a shared memory of {} bytes",
                    self.len()
                );
                Err(Error::new(ErrorKind::OutOfBounds, what))
            }
        }
    }
}

/// Maps the file that has the name, and says which one it is.
fn attach(name: &str) -> io::Result<(Mapping, Identity)> {
    loop {
        let (before, size) = file::find(name)?;
        if size == 0 || isize::try_from(size).is_err() {
            let what = "it has no memory: it is not complete, or not one of ours";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let _placeholders = mp_wire::occupy_streams();
        let opened = ShmemConf::new().os_id(format!("/{name}")).open();
        let mapping = Mapping(opened.map_err(into_io)?);
        // The crate does not say which file it opened. If the name is still that of the same file, it was that one.
        if file::find(name)?.0 == before {
            return Ok((mapping, before));
        }
    }
}

fn into_io(error: ShmemError) -> io::Error {
    match error {
        ShmemError::MapOpenFailed(errno) | ShmemError::MapCreateFailed(errno) => {
            io::Error::from_raw_os_error(errno.cast_signed())
        }
        other => io::Error::other(other.to_string()),
    }
}

/// Says what was done with which name when the error came.
fn context(operation: &str, name: &str, error: io::Error) -> Error {
    let kind = match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::NotFound, _) => ErrorKind::NotFound,
        (io::ErrorKind::AlreadyExists, _) => ErrorKind::AlreadyExists,
        (io::ErrorKind::InvalidData, _) => ErrorKind::Incompatible,
        (_, Some(libc::ENOMEM | libc::ENOSPC | libc::EFBIG | libc::EDQUOT)) => ErrorKind::Exhausted,
        (_, Some(libc::EMFILE | libc::ENFILE)) => ErrorKind::Exhausted,
        _ => ErrorKind::Io,
    };
    Error::with_source(kind, format!("cannot {operation} the shared memory {name:?}"), error)
}

/// The claim of an object that has a name.
pub(crate) fn claim_of(named: &impl Named) -> Result<&Claim, Error> {
    let nameless = || Error::new(ErrorKind::NotFound, "this handle knows no name of its memory");
    named.object().claim().ok_or_else(nameless)
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory")
            .field("name", &self.name())
            .field("len", &self.len())
            .field("owns_name", &self.owns_name())
            .finish()
    }
}

impl Serialize for SharedMemory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Identity { device, inode } = self.claim().identity();
        (self.name(), device, inode).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (name, device, inode) = <(String, u64, u64)>::deserialize(deserializer)?;
        let memory = Self::open(&name).map_err(|error| {
            let cause = std::error::Error::source(&error);
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            de::Error::custom(format_args!("{error}{cause}"))
        })?;
        if memory.claim().identity() != (Identity { device, inode }) {
            let what = format!("the name {name:?} is that of another shared memory by now");
            return Err(de::Error::custom(what));
        }
        Ok(memory)
    }
}
