//! What a process sets about itself.
#![expect(unsafe_code, reason = "limits, priorities and ids that no safe wrapper offers")]

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;
use crate::Resource;

/// Turns off core dumps: that of a worker delays whoever waits for what it held.
pub(crate) fn no_core_dumps() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable for the whole call.
    if unsafe { libc::getrlimit(libc::RLIMIT_CORE, &mut limit) } == 0 {
        limit.rlim_cur = 0;
        // SAFETY: `limit` is readable for the whole call.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &limit) };
    }
}

/// Sets the mask of permissions for new files.
pub(crate) fn set_umask(mask: u32) {
    // SAFETY: takes no pointers and cannot fail.
    unsafe { libc::umask(mask) };
}

/// Changes into a directory.
pub(crate) fn change_directory(directory: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::fchdir(directory.as_raw_fd()) }.into()).map(drop)
}

/// Changes into a directory by its path.
pub(crate) fn change_to(directory: &CStr) -> io::Result<()> {
    // SAFETY: a string that ends in a zero.
    check(unsafe { libc::chdir(directory.as_ptr()) }.into()).map(drop)
}

/// Makes this process the first of a group.
pub(crate) fn lead_group() -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::setpgid(0, 0) }.into()).map(drop)
}

/// Makes this process the first of a session.
pub(crate) fn lead_session() -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::setsid() }.into()).map(drop)
}

/// Kills all processes of the group that this number leads.
pub(crate) fn kill_group(leader: u32) {
    // SAFETY: takes no pointers.
    unsafe { libc::kill(-(leader as libc::pid_t), libc::SIGKILL) };
}

/// The group of a process; `None` if there is no such process.
pub(crate) fn group_of(pid: u32) -> Option<u32> {
    // SAFETY: takes no pointers.
    u32::try_from(unsafe { libc::getpgid(pid as libc::pid_t) }).ok()
}

/// Lets this process run on some processors alone.
pub(crate) fn set_cpus(cpus: &[u32]) -> io::Result<()> {
    const BITS: usize = u64::BITS as usize;
    let last = cpus.iter().max().copied().unwrap_or(0) as usize;
    if last >= 1 << 16 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut mask = vec![0_u64; last / BITS + 1];
    for &cpu in cpus {
        mask[cpu as usize / BITS] |= 1 << (cpu as usize % BITS);
    }
    let (bytes, start) = (mask.len() * size_of::<u64>(), mask.as_ptr().cast());
    // SAFETY: as many readable bytes as it says.
    check(unsafe { libc::sched_setaffinity(0, bytes, start) }.into()).map(drop)
}

/// Changes the priority of this process.
pub(crate) fn add_nice(increment: i32) -> io::Result<()> {
    // SAFETY: takes no pointers.
    let before = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let wanted = before.saturating_add(increment);
    // SAFETY: takes no pointers.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, wanted) }.into()).map(drop)
}

/// Limits a resource of this process, soft and hard.
pub(crate) fn set_limit(resource: Resource, soft: u64) -> io::Result<()> {
    let (number, hard) = match resource {
        Resource::Memory => (libc::RLIMIT_AS, soft),
        // Both at once would kill it without the signal that says why.
        Resource::CpuTime => (libc::RLIMIT_CPU, soft.saturating_add(1)),
        Resource::Core => (libc::RLIMIT_CORE, soft),
        Resource::Stack => (libc::RLIMIT_STACK, soft),
        Resource::FileSize => (libc::RLIMIT_FSIZE, soft),
        Resource::Files => (libc::RLIMIT_NOFILE, soft),
        Resource::Processes => (libc::RLIMIT_NPROC, soft),
    };
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` is readable for the whole call.
    check(unsafe { libc::setrlimit(number, &limit) }.into()).map(drop)
}

/// Sets the supplementary groups.
pub(crate) fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: as many readable numbers as it says.
    check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }.into()).map(drop)
}

/// Sets the group: real, effective and saved.
pub(crate) fn set_group(group: u32) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::setresgid(group, group, group) }.into()).map(drop)
}

/// Sets the user: real, effective and saved.
pub(crate) fn set_user(user: u32) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::setresuid(user, user, user) }.into()).map(drop)
}
