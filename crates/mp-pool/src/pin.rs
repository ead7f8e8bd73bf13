//! On which processors workers run.

use std::thread;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::{Error, ErrorKind};

/// The calling thread, to the kernel.
const THIS: Pid = Pid::from_raw(0);

fn set(cpus: &[usize]) -> nix::Result<CpuSet> {
    let mut set = CpuSet::new();
    cpus.iter().try_for_each(|&cpu| set.set(cpu))?;
    Ok(set)
}

/// Lets this thread run on these processors alone, and those that it will start.
pub(crate) fn pin(cpus: &[usize]) -> Result<(), String> {
    set(cpus)
        .and_then(|set| sched_setaffinity(THIS, &set))
        .map_err(|error| format!("the worker cannot run on the processors {cpus:?}: {error}"))
}

/// Asks the kernel whether all of these processors can be had, by a thread of its own that tries.
pub(crate) fn check(lists: &[Vec<usize>]) -> Result<(), Error> {
    if lists.is_empty() {
        return Ok(());
    }
    let refuse = |cpus: &[usize]| {
        let what = format!("this process cannot run on all of the processors {cpus:?}");
        Err(Error::new(ErrorKind::InvalidInput, what))
    };
    // The kernel is silent about those that it leaves out.
    let can_be_had = |cpus: &[usize]| {
        let set = set(cpus)?;
        sched_setaffinity(THIS, &set)?;
        sched_getaffinity(THIS).map(|got| got == set)
    };
    let tried = thread::scope(|scope| {
        let thread = thread::Builder::new()
            .spawn_scoped(scope, || lists.iter().find(|cpus| !can_be_had(cpus).unwrap_or(false)))?;
        Ok::<_, std::io::Error>(thread.join().unwrap_or_default())
    });
    match tried {
        Ok(None) => Ok(()),
        Ok(Some(cpus)) => refuse(cpus),
        Err(error) => Err(Error::with_source(ErrorKind::Start, "no thread for a pool", error)),
    }
}
