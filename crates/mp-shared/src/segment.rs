//! A piece of memory that processes share.
//!
//! A segment is a memory file without a name (`memfd`), mapped. Its size is sealed, so that nobody can cut it off under
//! the others, and its pages are reserved before they are touched, so that a lack of memory is an error and not a signal.
//! A header says what it is; who attaches checks it. Other processes may write the bytes at any time, so there is no
//! `&[u8]` to be had: atomics by offset, copies in, copies out.

#[cfg(feature = "named")]
mod file;
mod header;
pub mod lingering;
mod memory;
mod registry;
mod view;

use std::fmt;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use memmap2::{MmapOptions, MmapRaw};
use mp_wire::Fd;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{FileStat, fstat};
use nix::sys::uio::{pread, pwrite};
use nix::unistd::ftruncate;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

#[cfg(feature = "named")]
pub(crate) use self::file::{Maker, NAMED_KIND, maker};
use self::header::Header;
use self::memory::{reserve, retry};
pub use self::view::{Shared, View};
use crate::robust::linked;
use crate::{Error, ErrorKind, sys};

/// How many bytes of the file the header takes; offsets of users begin behind it.
pub(crate) const HEADER_LEN: usize = header::LEN;

/// A handle on shared memory; clones share the mapping and the descriptor.
///
/// It is serialized inside messages only. Receiving one that this process has already, in any number, yields another
/// handle on the same mapping.
///
/// # If a process dies
///
/// The memory lives until the last process that has it is gone; nothing is left behind then.
///
/// # Examples
///
/// ```
/// use mp_shared::segment::Segment;
/// use std::sync::atomic::Ordering;
///
/// const KIND: u32 = u32::from_le_bytes(*b"demo");
/// let segment = Segment::create(KIND, 1000)?;
/// segment.atomic_u64(8)?.store(7, Ordering::Relaxed);
///
/// let message = mp_wire::encode(&segment)?;
/// let same: Segment = message.decode()?;
/// assert_eq!(same.atomic_u64(8)?.load(Ordering::Relaxed), 7);
/// assert_eq!((same.kind(), same.len(), same.id()), (KIND, 1000, segment.id()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Segment(Arc<Inner>);

struct Inner {
    map: MmapRaw,
    fd: Fd,
    key: (u64, u64),
    header: Header,
}

impl Segment {
    /// Makes a segment of `len` bytes, all zero and all backed by memory.
    ///
    /// # Errors
    ///
    /// There is not that much memory left ([`ErrorKind::Exhausted`]), or the system refuses.
    pub fn create(kind: u32, len: usize) -> Result<Self, Error> {
        Self::make(kind, len, len, false)
    }

    /// Makes a segment of `reserved` bytes, of which the first `committed` are backed by memory.
    ///
    /// The rest costs nothing until [`Segment::commit`] backs it, and must not be touched before.
    ///
    /// # Errors
    ///
    /// As with [`Segment::create`]; also if the address space has no room for it.
    pub fn create_sparse(kind: u32, reserved: usize, committed: usize) -> Result<Self, Error> {
        if committed > reserved {
            return Err(out_of_bounds());
        }
        Self::make(kind, reserved, committed, true)
    }

    fn make(kind: u32, len: usize, committed: usize, sparse: bool) -> Result<Self, Error> {
        let total = len.checked_add(HEADER_LEN).filter(|&total| i64::try_from(total).is_ok());
        let total =
            total.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "no memory is that large"))?;
        if total as u64 > sys::file_size_limit() {
            return Err(Error::new(ErrorKind::Exhausted, "the limit on file sizes is lower"));
        }
        let fd = Fd::from(new_memfd()?);
        ftruncate(&fd, total as i64)
            .map_err(|error| Error::from_io("cannot size the memory", error))?;
        // Before it is mapped: touching a page that cannot be had would be a signal.
        reserve(&fd, 0, committed + HEADER_LEN)?;
        let header = Header::new(kind, len as u64)?;
        pwrite(&fd, &header.encode(), 0)
            .map_err(|error| Error::from_io("cannot write the header", error))?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        if !cfg!(mp_bug = "missing_seal") {
            fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))
                .map_err(|error| Error::from_io("cannot seal the memory", error))?;
        }
        let key = key(&status(&fd)?);
        let segment = Self::map(fd, key, header)?;
        if sparse {
            sys::keep_out_of_core(segment.0.map.as_mut_ptr(), total);
        }
        Ok(registry::insert(segment))
    }

    /// Attaches the memory behind a descriptor, which must be a segment of this kind.
    ///
    /// # Errors
    ///
    /// It is not ([`ErrorKind::Incompatible`]), or the system refuses.
    pub fn attach(fd: impl Into<Fd>, kind: u32) -> Result<Self, Error> {
        let segment = Self::attach_any(fd.into())?;
        if segment.kind() == kind { Ok(segment) } else { Err(incompatible("is of another kind")) }
    }

    fn attach_any(fd: Fd) -> Result<Self, Error> {
        let seals = fcntl(&fd, FcntlArg::F_GET_SEALS);
        let seals = seals.map_err(|_| incompatible("is not a memory file"))?;
        let needed = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
        let sealed = SealFlag::from_bits_retain(seals).contains(needed);
        let status = status(&fd)?;
        // Read and not mapped, so that a header without memory behind it is no signal.
        let mut bytes = [0; HEADER_LEN];
        if pread(&fd, &mut bytes, 0) != Ok(HEADER_LEN) {
            return Err(incompatible("has no header"));
        }
        let header = Header::decode(&bytes, status.st_size as u64)?;
        if !sealed {
            #[cfg(feature = "named")]
            file::check_unsealed(&status, &header)?;
            #[cfg(not(feature = "named"))]
            return Err(incompatible("is not sealed"));
        }
        let segment = match registry::find(key(&status), &header) {
            Some(segment) => segment,
            None => registry::insert(Self::map(fd, key(&status), header)?),
        };
        lingering::note(&segment);
        Ok(segment)
    }

    fn map(fd: Fd, key: (u64, u64), header: Header) -> Result<Self, Error> {
        linked::let_go();
        let map = MmapOptions::new()
            .len(header.len as usize + HEADER_LEN)
            .map_raw(&fd)
            .map_err(|error| Error::from_io("cannot map the memory", error))?;
        Ok(Self(Arc::new(Inner { map, fd, key, header })))
    }

    /// How many bytes it has for its users.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.header.len as usize
    }

    /// Says whether it has no bytes for its users.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it was made as.
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.0.header.kind
    }

    /// The random number that it was given when it was made.
    #[must_use]
    pub fn id(&self) -> u128 {
        self.0.header.id
    }

    /// The descriptor of the memory.
    #[must_use]
    pub fn fd(&self) -> &Fd {
        &self.0.fd
    }

    /// How many bytes of memory it takes at this moment.
    ///
    /// # Errors
    ///
    /// The system refuses to tell.
    pub fn resident(&self) -> Result<u64, Error> {
        status(&self.0.fd).map(|status| status.st_blocks as u64 * 512)
    }

    /// Backs a range with memory, so that it may be touched; zeroes what was not backed.
    ///
    /// # Errors
    ///
    /// There is no memory left ([`ErrorKind::Exhausted`]), or the range lies outside.
    pub fn commit(&self, range: Range<usize>) -> Result<(), Error> {
        self.check(&range)?;
        reserve(&self.0.fd, range.start + HEADER_LEN, range.len())
    }

    /// Gives back the memory of all whole pages in a range; they read as zero if they are backed again.
    ///
    /// # Errors
    ///
    /// The range lies outside, or the system refuses.
    pub fn discard(&self, range: Range<usize>) -> Result<(), Error> {
        self.check(&range)?;
        let page = sys::page_size();
        let start = (range.start + HEADER_LEN).next_multiple_of(page);
        let end = (range.end + HEADER_LEN) / page * page;
        if start >= end {
            return Ok(());
        }
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        retry(|| fallocate(&self.0.fd, flags, start as i64, (end - start) as i64))
            .map_err(|error| Error::from_io("cannot give memory back", error))
    }

    fn check(&self, range: &Range<usize>) -> Result<(), Error> {
        let inside = range.start <= range.end && range.end <= self.len();
        if inside { Ok(()) } else { Err(out_of_bounds()) }
    }

    /// The atomic at `offset`.
    ///
    /// # Errors
    ///
    /// It does not lie within the segment, or is not aligned.
    #[inline]
    pub fn atomic_u32(&self, offset: usize) -> Result<&AtomicU32, Error> {
        self.view(offset)
    }

    /// The atomic at `offset`.
    ///
    /// # Errors
    ///
    /// It does not lie within the segment, or is not aligned.
    #[inline]
    pub fn atomic_u64(&self, offset: usize) -> Result<&AtomicU64, Error> {
        self.view(offset)
    }
}

#[cold]
fn out_of_bounds() -> Error {
    Error::new(ErrorKind::OutOfBounds, "the range lies outside of the memory")
}

fn incompatible(what: &str) -> Error {
    Error::new(ErrorKind::Incompatible, format!("what was received {what}"))
}

fn new_memfd() -> Result<OwnedFd, Error> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let no_exec = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    // Kernels before 6.3 do not know the flag.
    memfd_create(c"multiproc", flags | no_exec)
        .or_else(|_| memfd_create(c"multiproc", flags))
        .map_err(|error| Error::from_io("cannot make shared memory", error))
}

fn status(fd: &Fd) -> Result<FileStat, Error> {
    fstat(fd).map_err(|error| Error::from_io("cannot ask about the memory", error))
}

fn key(status: &FileStat) -> (u64, u64) {
    (status.st_dev, status.st_ino)
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("kind", &self.kind())
            .field("len", &self.len())
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl Serialize for Segment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.fd.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Segment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::attach_any(Fd::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
