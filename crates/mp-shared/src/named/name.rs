//! Names: which are allowed, how we make one, and whose creator is dead.
//!
//! A name that we make says who made it: `mp-<pid namespace>-<pid>-<start time>-<number>`. The start time tells the
//! creator from a later process with the same pid, the namespace from one in another container.

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::{fmt, fs, io};

use crate::fork::Own;
use crate::segment::Maker;
use crate::{Error, ErrorKind};

/// What a file name may have at most.
const MAX_LEN: usize = 255;

const PREFIX: &str = "mp-";

/// Gives the name as it stands in `/dev/shm`, without the slash that POSIX writes before it.
pub(super) fn check(name: &str) -> Result<&str, Error> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let fault = match bare {
        "" => "the name of a shared memory is empty",
        "." | ".." => "the name of a shared memory is that of a directory",
        _ if bare.contains('\0') => "the name of a shared memory contains a NUL",
        _ if bare.contains('/') => "the name of a shared memory contains a slash",
        _ if bare.len() > MAX_LEN => "the name of a shared memory is longer than 255 bytes",
        _ => return Ok(bare),
    };
    Err(Error::new(ErrorKind::InvalidInput, fault))
}

/// A process, so named that no other one is ever mistaken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Creator {
    namespace: u64,
    pid: u32,
    start: u64,
}

impl Creator {
    /// This process; `None` if there is no telling.
    pub(super) fn current() -> Option<Self> {
        static CURRENT: Own<Option<Creator>> = Own::new(|| Creator::find().ok());
        *CURRENT.get()
    }

    fn find() -> io::Result<Self> {
        let pid = std::process::id();
        let start = running_since(pid)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { namespace: namespace()?, pid, start })
    }

    /// Reads who made a name; `None` for one that we did not make.
    fn of(name: &str) -> Option<Self> {
        let (creator, number) = name.strip_prefix(PREFIX)?.rsplit_once('-')?;
        let _: u32 = number.parse().ok()?;
        Self::parse(creator)
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let namespace = u64::from_str_radix(parts.next()?, 16).ok()?;
        let pid = parts.next()?.parse().ok()?;
        let start = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self { namespace, pid, start })
    }

    /// The one that is written in an object of this pid namespace.
    pub(super) fn from_maker(Maker { pid, start }: Maker) -> Option<Self> {
        Some(Self { namespace: namespace().ok()?, pid, start })
    }

    /// Its pid, if it was in this pid namespace, and runs no more.
    pub(super) fn dead(self) -> Option<u32> {
        self.is_dead().then_some(self.pid)
    }

    fn is_dead(self) -> bool {
        namespace().is_ok_and(|namespace| namespace == self.namespace)
            && running_since(self.pid).is_ok_and(|start| start != Some(self.start))
    }
}

impl fmt::Display for Creator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, pid, start } = self;
        write!(f, "{namespace:x}-{pid}-{start}")
    }
}

/// The inode of this process' pid namespace.
fn namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

/// When a process was started, in clock ticks since the boot; `None` if there is none with this pid, or a zombie.
fn running_since(pid: u32) -> io::Result<Option<u64>> {
    let text = match fs::read(format!("/proc/{pid}/stat")) {
        Ok(text) => text,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {
            // Without /proc nothing is known of anybody.
            return if fs::exists("/proc/self/stat")? { Ok(None) } else { Err(error) };
        }
        Err(error) => return Err(error),
    };
    // The command's name comes in parentheses and may contain any byte; the state, field 3, follows the last one.
    let fields = text.rsplit(|&byte| byte == b')').next().unwrap_or_default();
    let mut fields = std::str::from_utf8(fields).unwrap_or_default().split_ascii_whitespace();
    if matches!(fields.next(), Some("Z" | "X")) {
        return Ok(None);
    }
    let start = fields.nth(18).and_then(|field| field.parse().ok());
    start.map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Makes a name that no other process makes.
pub(super) fn generate() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Relaxed);
    // Without /proc the name says less, and nobody will take it for a dead one's.
    let unknown = Creator { namespace: 0, pid: std::process::id(), start: 0 };
    let creator = Creator::current().unwrap_or(unknown);
    format!("{PREFIX}{creator}-{number}")
}

/// This process, as it is written in the objects that it makes.
pub(super) fn maker() -> Maker {
    Creator::current()
        .map_or_else(Maker::default, |Creator { pid, start, .. }| Maker { pid, start })
}

/// The pid of the one who made the name, if we made it, in a process of this pid namespace that is dead.
pub(super) fn dead_maker(name: &str) -> Option<u32> {
    Creator::of(name).and_then(Creator::dead)
}

/// Says whether the name is one of those that we make.
pub(super) fn is_generated(name: &str) -> bool {
    Creator::of(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_tell_their_creator_and_differ() {
        let (first, second) = (generate(), generate());
        assert_ne!(first, second);
        assert_eq!(check(&first).unwrap(), first);
        assert_eq!(Creator::of(&first), Creator::current());
        assert_eq!(Creator::current(), Creator::find().ok());
        assert_eq!(dead_maker(&first), None);
        let current = Creator::current().unwrap();
        assert_eq!(current.dead(), None);
        assert_eq!(Creator::parse(&current.to_string()), Some(current));
        assert_eq!(Creator::from_maker(maker()), Some(current));
    }

    #[test]
    fn a_name_of_an_earlier_process_with_the_same_pid_is_an_orphan() {
        let Creator { namespace, pid, start } = Creator::current().unwrap();
        let dead = format!("{namespace:x}-{pid}-{}", start + 1);
        assert_eq!(dead_maker(&format!("mp-{dead}-0")), Some(pid));
        assert_eq!(Creator::parse(&dead).and_then(Creator::dead), Some(pid));
        assert_eq!(dead_maker(&format!("mp-{namespace:x}-{pid}-{start}-0")), None);
        assert_eq!(dead_maker(&format!("mp-{:x}-{pid}-{}-0", namespace + 1, start + 1)), None);
    }

    #[test]
    fn names_of_others_are_no_orphans() {
        for name in ["", "mp", "mp-1-2-3", "mp-1-2-3-4-5", "mp-x-2-3-4", "psm_1234", "mp-1-2-3-x"] {
            assert_eq!(dead_maker(name), None, "{name:?}");
            assert!(!is_generated(name), "{name:?}");
        }
    }

    #[test]
    fn refuses_what_is_no_file_name() {
        for name in ["", "/", ".", "..", "a/b", "//a", "a\0b", "\0", &"x".repeat(256)] {
            assert_eq!(check(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
        }
        assert_eq!(check("/a").unwrap(), "a");
        assert_eq!(check("a:b\nc ü").unwrap(), "a:b\nc ü");
    }
}
