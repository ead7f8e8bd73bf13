//! Reserving memory for pages of the file, or saying that there is none.

use mp_wire::Fd;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::{Error, ErrorKind};

/// What is reserved in one call. A signal undoes what the call that it interrupts has done, so calls are short.
const STEP: usize = 16 << 20;

/// What is left to others when much is reserved.
const MARGIN: u64 = 64 << 20;

/// Backs `len` bytes of the file from `start` on with memory.
///
/// Where Linux promises more memory than there is (the usual setting), it would not refuse, but kill some process.
/// So whoever asks for much, or crosses a multiple of the step, is refused here if that much is not available.
pub(super) fn reserve(fd: &Fd, start: usize, len: usize) -> Result<(), Error> {
    let end = start + len;
    if start / STEP != end / STEP && available().is_some_and(|left| left < len as u64 + MARGIN) {
        return Err(Error::new(ErrorKind::Exhausted, "there is not that much memory available"));
    }
    for start in (start..end).step_by(STEP) {
        let len = STEP.min(end - start);
        retry(|| fallocate(fd, FallocateFlags::empty(), start as i64, len as i64))
            .map_err(|error| Error::from_io("cannot reserve memory", error))?;
    }
    Ok(())
}

/// Calls again what a signal has interrupted.
pub(super) fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(nix::Error::EINTR) => {}
            result => return result,
        }
    }
}

/// How many bytes can be had without harm to others: of the machine, and of the control group of this process.
fn available() -> Option<u64> {
    let machine = machine_available();
    let group = group_available();
    machine.into_iter().chain(group).min()
}

fn machine_available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((field("MemAvailable:")? + field("SwapFree:").unwrap_or(0)).saturating_mul(1024))
}

/// Control groups of version 2, where a group has a limit of its own.
fn group_available() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/sys/fs/cgroup/{path}/{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    // Pages of the page cache that nobody needs count as used, so the limit may still have room at "used".
    let used = read("memory.current")?;
    let file = std::fs::read_to_string(format!("/sys/fs/cgroup/{path}/memory.stat")).ok()?;
    let reclaimable: u64 = file
        .lines()
        .filter_map(|line| {
            line.strip_prefix("inactive_file ").or_else(|| line.strip_prefix("active_file "))
        })
        .filter_map(|count| count.trim().parse::<u64>().ok())
        .sum();
    Some(read("memory.max")?.saturating_sub(used.saturating_sub(reclaimable)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells() {
        assert!(machine_available().unwrap() > 0);
        assert!(available().is_some());
    }
}
