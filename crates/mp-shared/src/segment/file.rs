//! Segments in files with names. They cannot be sealed, as the file systems of names know no seals.
//!
//! So whoever can write such a file can cut it off, and all that touch it then get `SIGBUS`. It is accepted only if
//! that is nobody but the user whom this process works for, who can kill it anyway: the file belongs to that user, nobody
//! else may open it, it is in `/dev/shm`, so that no disk is behind it, and it has all its memory.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::{FileStat, SFlag};
use nix::sys::uio::pwrite;
use nix::unistd::geteuid;

pub(crate) use super::header::Maker;
use super::{Fd, HEADER_LEN, Header, Segment, incompatible, key, registry, status};
use crate::{Error, ErrorKind};

/// The kind of those that hold an object which has a name.
pub(crate) const NAMED_KIND: u32 = u32::from_le_bytes(*b"nobj");

impl Segment {
    /// Makes one of `len` bytes in a file that has that much memory, all zero, and room for the header before it.
    pub(crate) fn create_in(
        file: impl Into<OwnedFd>,
        kind: u32,
        len: usize,
        maker: Maker,
    ) -> Result<Self, Error> {
        let fd = Fd::from(file.into());
        let mut header = Header::new(kind, len as u64)?;
        header.maker = maker;
        pwrite(&fd, &header.encode(), 0)
            .map_err(|error| Error::from_io("cannot write the header", error))?;
        let status = status(&fd)?;
        // Else nobody could open what is made here.
        if fcntl(&fd, FcntlArg::F_GET_SEALS).is_err() || !is_own(&status) {
            let what = "/dev/shm is not a file system in memory";
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        Ok(registry::insert(Self::map(fd, key(&status), header)?))
    }
}

/// Who made the object in a file with a name; `None` if there is none, or no telling.
pub(crate) fn maker(file: &File) -> Option<Maker> {
    let mut bytes = [0; HEADER_LEN];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let header = Header::decode(&bytes, file.metadata().ok()?.len()).ok()?;
    (header.kind == NAMED_KIND && header.maker.pid != 0).then_some(header.maker)
}

/// Says whether nobody but this user can do anything to the file.
fn is_own(status: &FileStat) -> bool {
    let regular = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
    let private = status.st_mode & 0o777 == 0o600 && status.st_uid == geteuid().as_raw();
    // A memory file, which its maker could have sealed, is on another device.
    let shm = fs::metadata("/dev/shm").is_ok_and(|directory| directory.dev() == status.st_dev);
    let backed = status.st_blocks.saturating_mul(512) >= status.st_size;
    regular && private && shm && backed
}

/// Refuses what is not sealed, unless it is one with a name.
pub(super) fn check_unsealed(status: &FileStat, header: &Header) -> Result<(), Error> {
    if header.kind == NAMED_KIND && is_own(status) {
        Ok(())
    } else {
        Err(incompatible("is not sealed"))
    }
}
