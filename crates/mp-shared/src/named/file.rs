//! The file behind a name: created whole or not at all, recognized, removed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, fallocate};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::linkat;

use crate::sys;

/// Where `shm_open` keeps its files.
pub(super) const DIRECTORY: &str = "/dev/shm";

/// For the creator's user alone, as Python and `shm_open`'s users have it.
const MODE: u32 = 0o600;

/// On a file whose generated name shall outlive its creator: the sticky bit, which on files has no other meaning left.
const KEEP: u32 = 0o1000;

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

/// Creates a file of this size, all zero, with all its memory reserved.
///
/// It has no name until it is complete. So nobody opens half of it, and a process that is killed in here leaves nothing.
pub(super) fn create(name: &str, size: u64) -> io::Result<Identity> {
    let nameless = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .mode(MODE)
        .open(DIRECTORY);
    let file = match nameless {
        Ok(file) => file,
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
            return create_in_place(name, size);
        }
        Err(error) => return Err(error),
    };
    if fs::exists(path(name))? {
        return Err(Errno::EEXIST.into());
    }
    reserve(&file, size)?;
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = AtFlags::AT_SYMLINK_FOLLOW;
    match linkat(AT_FDCWD, source.as_str(), AT_FDCWD, &path(name), flags) {
        Ok(()) => Ok(identity_of(&file.metadata()?)),
        // No /proc.
        Err(Errno::ENOENT) => create_in_place(name, size),
        Err(error) => Err(error.into()),
    }
}

/// As [`create`], where files cannot be made without a name. What is killed in here leaves the name.
fn create_in_place(name: &str, size: u64) -> io::Result<Identity> {
    let path = path(name);
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(MODE).open(&path)?;
    let identity = identity_of(&file.metadata()?);
    match reserve(&file, size) {
        Ok(()) => Ok(identity),
        Err(error) => {
            let _ = remove(name, identity);
            Err(error)
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn name(test: &str) -> String {
        format!("mp-shared-file-{test}-{}", std::process::id())
    }

    #[test]
    fn both_ways_create_the_same() {
        for (way, make) in [("tmp", create as fn(&str, u64) -> _), ("place", create_in_place)] {
            let name = name(way);
            let size = STEP + 10_000;
            let identity = make(&name, size).unwrap();
            assert_eq!(find(&name).unwrap(), (identity, size));
            let metadata = fs::metadata(path(&name)).unwrap();
            assert_eq!(metadata.mode() & 0o7777, MODE);
            assert!(metadata.blocks() * 512 >= size, "the memory is reserved");
            assert_eq!(make(&name, 1).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            remove(&name, identity).unwrap();
            assert_eq!(find(&name).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn no_room_leaves_nothing_behind() {
        for (way, make) in [("tmp", create as fn(&str, u64) -> _), ("place", create_in_place)] {
            let name = name(&format!("full-{way}"));
            for size in [1 << 50, u64::MAX] {
                assert!(make(&name, size).is_err());
                assert!(!fs::exists(path(&name)).unwrap());
            }
        }
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
