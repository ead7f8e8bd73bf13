//! What a handle has to do with the name of its memory: whether the name goes with it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::context;
use super::file::{self, Identity};
use crate::{Error, fork};

/// The name under which a handle and its clones know their memory. Dropping the owner's removes it.
#[derive(Debug)]
pub(crate) struct Claim {
    name: String,
    identity: Identity,
    /// The generation of the process that owns the name, which no forked copy of it has, in whatever PID namespace. Zero if
    /// these handles only opened it.
    owner: AtomicU64,
    keep: AtomicBool,
}

/// One for all clones of a handle.
pub(crate) type SharedClaim = Option<Arc<Claim>>;

impl Claim {
    /// That of somebody who does not own the name.
    pub(super) fn new(name: &str, identity: Identity) -> Self {
        let (owner, keep) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { name: name.to_owned(), identity, owner, keep }
    }

    /// Makes this process the owner.
    pub(super) fn take(&self) {
        self.owner.store(fork::generation(), Relaxed);
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Says whether dropping it removes the name; never in a forked copy of the owner.
    pub(crate) fn owns(&self) -> bool {
        self.owner.load(Relaxed) == fork::generation() && !self.keep.load(Relaxed)
    }

    /// Removes the name, if it is still that of this memory.
    pub(crate) fn unlink(&self) -> Result<(), Error> {
        file::remove(&self.name, self.identity)
            .map_err(|error| context("unlink", &self.name, error))
    }

    /// Lets the name outlive its owner.
    pub(crate) fn persist(&self) -> Result<(), Error> {
        let marked = file::find(&self.name).and_then(|(found, _)| {
            if found != self.identity {
                return Err(io::ErrorKind::NotFound.into());
            }
            file::keep(&self.name)
        });
        marked.map_err(|error| context("persist", &self.name, error))?;
        self.keep.store(true, Relaxed);
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.owns() {
            // Somebody may have removed it before.
            let _ = file::remove(&self.name, self.identity);
        }
    }
}
