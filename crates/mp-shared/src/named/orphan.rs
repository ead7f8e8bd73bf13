//! Names whose creators are dead.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use super::context;
use super::file::{self, Identity};
use super::name::{self, Creator};
use crate::Error;

/// A name that a process left when it was killed; see [`SharedMemory::orphans`](crate::SharedMemory::orphans).
///
/// # Examples
///
/// ```no_run
/// for orphan in mp_shared::SharedMemory::orphans()? {
///     if orphan.name().starts_with("my-service-") {
///         orphan.remove()?;
///     }
/// }
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Orphan {
    name: String,
    identity: Identity,
    creator: u32,
}

impl Orphan {
    /// The name, without a slash.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id that the creator had; by now another process may have it.
    #[must_use]
    pub fn creator(&self) -> u32 {
        self.creator
    }

    /// Removes the name; whoever has the memory open keeps it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if the name is gone, or belongs to another memory by now.
    pub fn remove(&self) -> Result<(), Error> {
        file::remove(&self.name, self.identity)
            .map_err(|error| context("remove", &self.name, error))
    }
}

/// Those of this pid namespace that nobody has told to stay.
pub(super) fn list() -> Result<Vec<Orphan>, Error> {
    let mut orphans = Vec::new();
    let failed = |error| Error::from_io("cannot read /dev/shm", error);
    for entry in fs::read_dir(file::DIRECTORY).map_err(failed)? {
        let entry = entry.map_err(failed)?.file_name();
        // Ours are text.
        let Ok(name) = std::str::from_utf8(entry.as_bytes()) else { continue };
        // First which file it is: if another one takes the name meanwhile, it will not be removed.
        let Ok((identity, _)) = file::find(name) else { continue };
        let written = || file::creator(name).and_then(Creator::dead);
        let Some(creator) = name::dead_maker(name).or_else(written) else { continue };
        if file::is_kept(name).is_ok_and(|kept| !kept) {
            orphans.push(Orphan { name: name.to_owned(), identity, creator });
        }
    }
    orphans.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(orphans)
}
