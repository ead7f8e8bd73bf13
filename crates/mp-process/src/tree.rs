//! Killing a process with all that descend from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use crate::record::Record;
use crate::{Error, sys};

/// Kills a child of this process and its descendants.
///
/// Each is stopped before its children are listed. So a list that shows nobody new is complete: nobody on it can have
/// started another one since.
pub(crate) fn kill(root: &Record) -> Result<(), Error> {
    if root.try_status().is_some() {
        return Ok(());
    }
    let refused = |error| {
        let what = format!("a descendant of process `{}` cannot be killed", root.name());
        Error::from_io(what, error)
    };
    // Asked while the process is there: the number is its own.
    let leads = sys::group_of(root.pid()) == Some(root.pid());
    root.signal(libc::SIGSTOP)?;
    let mut stopped: BTreeMap<u32, Option<OwnedFd>> = BTreeMap::from([(root.pid(), None)]);
    let mut result = Ok(());
    loop {
        let parents: BTreeSet<u32> = stopped.keys().copied().collect();
        let new: Vec<u32> =
            children_of(&parents).into_iter().filter(|pid| !stopped.contains_key(pid)).collect();
        if new.is_empty() {
            break;
        }
        for pid in new {
            let process = sys::pidfd_open(pid).ok();
            // The number may have become another's between the two.
            let process =
                process.filter(|_| parent_of(pid).is_some_and(|of| parents.contains(&of)));
            if let Some(process) = &process {
                result = result.and(sys::pidfd_signal(process.as_fd(), libc::SIGSTOP));
            }
            stopped.insert(pid, process);
        }
    }
    for process in stopped.values().flatten() {
        result = result.and(sys::pidfd_signal(process.as_fd(), libc::SIGKILL));
    }
    if leads && root.try_status().is_none() {
        sys::kill_group(root.pid());
    }
    root.signal(libc::SIGKILL)?;
    result.map_err(refused)
}

/// The processes whose parent is one of these, as far as `/proc` tells.
fn children_of(parents: &BTreeSet<u32>) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid| parent_of(pid).is_some_and(|parent| parents.contains(&parent)))
        .collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    // One that has ended has no children, and may be another's to reap.
    (!matches!(fields.next()?, "Z" | "X")).then_some(())?;
    fields.next()?.parse().ok()
}
