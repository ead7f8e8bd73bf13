//! The file behind a name: created whole or not at all, recognized, removed.

use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, fallocate};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::linkat;

use super::attribute;
use super::name::{self, Creator};
use crate::{segment, sys};

/// Where `shm_open` keeps its files.
pub(super) const DIRECTORY: &str = "/dev/shm";

/// For the creator's user alone, as Python and `shm_open`'s users have it.
const MODE: u32 = 0o600;

/// On a file whose generated name shall outlive its creator: the sticky bit, which on files has no other meaning left.
const KEEP: u32 = 0o1000;

/// The attribute that says who made memory in which nothing else does: see `name.rs`. Linux has them there since 6.6.
const CREATOR: &CStr = c"user.mp.creator";

/// So much is reserved at a time, so that signals, which interrupt a reservation, cannot keep it from ever ending.
const STEP: u64 = 8 << 20;

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
}

pub(super) fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

fn identity_of(metadata: &fs::Metadata) -> Identity {
    Identity { device: metadata.dev(), inode: metadata.ino() }
}

/// The file that has the name now, and its size.
pub(super) fn find(name: &str) -> io::Result<(Identity, u64)> {
    let metadata = fs::symlink_metadata(path(name))?;
    if !metadata.is_file() {
        let what = format!("`{name}` in {DIRECTORY} is not a shared memory");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok((identity_of(&metadata), metadata.len()))
}

/// A file that is being made: all zero at first, with all its memory reserved, and with no name that anybody would open.
///
/// So nobody opens half of it, and a process that is killed meanwhile leaves nothing.
#[derive(Debug)]
pub(super) struct Draft {
    file: File,
    identity: Identity,
    /// Where files cannot be without a name, it has one of those that we make, until it gets the other.
    temporary: Option<String>,
}

impl Draft {
    pub(super) fn new(size: u64) -> io::Result<Self> {
        let nameless = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_TMPFILE)
            .mode(MODE)
            .open(DIRECTORY);
        match nameless {
            // It gets its name by way of /proc.
            Ok(file) if fs::exists(link_of(&file))? => Self::of(file, None, size),
            Ok(_) => Self::with_temporary_name(size),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
                Self::with_temporary_name(size)
            }
            Err(error) => Err(error),
        }
    }

    /// As [`new`](Self::new), where files cannot be made without a name. A kill leaves one, which can be pruned.
    fn with_temporary_name(size: u64) -> io::Result<Self> {
        loop {
            let name = name::generate();
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).mode(MODE);
            match options.open(path(&name)) {
                Ok(file) => return Self::of(file, Some(name), size),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn of(file: File, temporary: Option<String>, size: u64) -> io::Result<Self> {
        let identity = identity_of(&file.metadata()?);
        // First, so that the temporary name is removed if the rest fails.
        let draft = Self { file, identity, temporary };
        reserve(&draft.file, size)?;
        Ok(draft)
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Gives it its name: from now on others find it.
    pub(super) fn publish(self, name: &str) -> io::Result<()> {
        let source = self.temporary.as_deref().map_or_else(|| link_of(&self.file), path);
        // A temporary name is no link, so that following it does nothing.
        linkat(AT_FDCWD, &source, AT_FDCWD, &path(name), AtFlags::AT_SYMLINK_FOLLOW)?;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(name) = &self.temporary {
            let _ = remove(name, self.identity);
        }
    }
}

/// The link that leads to an open file.
fn link_of(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Creates a file of this size with this name.
pub(super) fn create(name: &str, size: u64) -> io::Result<Identity> {
    refuse_taken(name)?;
    let draft = Draft::new(size)?;
    // Where the kernel has no such attributes, nobody will know whose it was.
    if let Some(creator) = Creator::current() {
        let _ = attribute::set(&draft.file, CREATOR, creator.to_string().as_bytes());
    }
    let identity = draft.identity();
    draft.publish(name)?;
    Ok(identity)
}

/// Fails if the name is taken by now, so that no memory is reserved in vain.
pub(super) fn refuse_taken(name: &str) -> io::Result<()> {
    if fs::exists(path(name))? { Err(Errno::EEXIST.into()) } else { Ok(()) }
}

/// Opens the file that has the name, and says which one it is.
pub(super) fn open(name: &str) -> io::Result<(OwnedFd, Identity)> {
    // What is no file is opened without waiting for anybody, and refused by whoever looks at it.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path(name));
    let file = file.map_err(|error| match error.raw_os_error() {
        Some(libc::EISDIR | libc::ELOOP | libc::ENXIO) => {
            io::Error::new(io::ErrorKind::InvalidData, error)
        }
        _ => error,
    })?;
    let identity = identity_of(&file.metadata()?);
    Ok((file.into(), identity))
}

/// Reserves memory for the whole file, so that a full memory is an error here and not a `SIGBUS` later.
fn reserve(file: &File, size: u64) -> io::Result<()> {
    // What cannot fit is not tried, since trying would fill the memory of all others for a while.
    let room = fstatvfs(file)?;
    if room.blocks() > 0 && size > room.blocks_available().saturating_mul(room.fragment_size()) {
        return Err(Errno::ENOSPC.into());
    }
    // Going over this limit would raise a signal.
    if size > sys::file_size_limit() {
        return Err(Errno::EFBIG.into());
    }
    let mut at = 0;
    while at < size {
        let step = STEP.min(size - at);
        let range = (libc::off_t::try_from(at), libc::off_t::try_from(step));
        let (Ok(from), Ok(len)) = range else { return Err(Errno::EFBIG.into()) };
        match fallocate(file, FallocateFlags::empty(), from, len) {
            Ok(()) => at += step,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Removes the name, if it is still that of this file.
pub(super) fn remove(name: &str, identity: Identity) -> io::Result<()> {
    if find(name)?.0 != identity {
        return Err(Errno::ENOENT.into());
    }
    fs::remove_file(path(name))
}

/// Marks the file as one that shall outlive its creator.
pub(super) fn keep(name: &str) -> io::Result<()> {
    fs::set_permissions(path(name), fs::Permissions::from_mode(KEEP | MODE))
}

/// Says whether the file is marked.
pub(super) fn is_kept(name: &str) -> io::Result<bool> {
    Ok(fs::symlink_metadata(path(name))?.mode() & KEEP != 0)
}

/// Who made the file, if that was written down: beside it, or in an object in it.
pub(super) fn creator(name: &str) -> Option<Creator> {
    if let Some(text) = attribute::get(&path(name), CREATOR) {
        return Creator::parse(std::str::from_utf8(&text).ok()?);
    }
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path(name)).ok()?;
    Creator::from_maker(segment::maker(&file)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(test: &str) -> String {
        format!("mp-shared-file-{test}-{}", std::process::id())
    }

    type Make = fn(u64) -> io::Result<Draft>;

    const WAYS: [(&str, Make); 2] = [("tmp", Draft::new), ("place", Draft::with_temporary_name)];

    fn make(draft: Make, name: &str, size: u64) -> io::Result<Identity> {
        let draft = draft(size)?;
        let identity = draft.identity();
        draft.publish(name)?;
        Ok(identity)
    }

    #[test]
    fn both_ways_create_the_same() {
        for (way, draft) in WAYS {
            let name = name(way);
            let size = STEP + 10_000;
            let identity = make(draft, &name, size).unwrap();
            assert_eq!(find(&name).unwrap(), (identity, size));
            let metadata = fs::metadata(path(&name)).unwrap();
            assert_eq!((metadata.mode() & 0o7777, metadata.nlink()), (MODE, 1));
            assert!(metadata.blocks() * 512 >= size, "the memory is reserved");
            let taken = make(draft, &name, 1).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(find(&name).unwrap(), (identity, size));
            remove(&name, identity).unwrap();
            assert_eq!(find(&name).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn no_room_leaves_nothing_behind() {
        for (way, draft) in WAYS {
            let name = name(&format!("full-{way}"));
            for size in [1 << 50, u64::MAX] {
                assert!(make(draft, &name, size).is_err());
                assert!(!fs::exists(path(&name)).unwrap());
            }
        }
    }

    #[test]
    fn a_temporary_name_goes_with_its_draft() {
        let draft = Draft::with_temporary_name(10).unwrap();
        let temporary = draft.temporary.clone().unwrap();
        assert_eq!(find(&temporary).unwrap().0, draft.identity());
        drop(draft);
        assert!(find(&temporary).is_err());
    }

    #[test]
    fn removes_only_its_own_file() {
        let name = name("own");
        let first = create(&name, 1).unwrap();
        remove(&name, first).unwrap();
        let second = create(&name, 1).unwrap();
        assert_eq!(remove(&name, first).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(find(&name).unwrap().0, second);
        remove(&name, second).unwrap();
    }
}
