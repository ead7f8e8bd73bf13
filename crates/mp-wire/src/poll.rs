//! Waiting for descriptors, with a deadline, indifferent to signals.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{Deadline, sys};

/// Waits until at least one descriptor can be read, is at its end, or is in error; says which.
///
/// With no descriptors it sleeps until the deadline. An empty result of all `false` means that the deadline passed.
///
/// # Errors
///
/// What `poll(2)` refuses, such as more descriptors than the process may have open.
///
/// # Examples
///
/// ```
/// use mp_wire::{Deadline, poll, socket};
/// use std::os::fd::AsFd;
///
/// let (a, b) = socket::pair()?;
/// assert_eq!(poll::readable(&[a.as_fd(), b.as_fd()], Deadline::NOW)?, [false, false]);
/// drop(a);
/// assert_eq!(poll::readable(&[b.as_fd()], Deadline::NEVER)?, [true]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn readable(fds: &[BorrowedFd<'_>], deadline: Deadline) -> io::Result<Vec<bool>> {
    let mut entries: Vec<_> = fds.iter().map(|&fd| entry(fd, libc::POLLIN)).collect();
    sys::poll(&mut entries, deadline)?;
    Ok(entries.iter().map(|entry| entry.revents != 0).collect())
}

/// Waits until one descriptor can be read, is at its end, or is in error; `false` when the deadline passed first.
///
/// # Errors
///
/// As [`readable`].
pub fn wait_readable(fd: BorrowedFd<'_>, deadline: Deadline) -> io::Result<bool> {
    wait_one(fd, libc::POLLIN, deadline)
}

/// Waits until one descriptor can be written or is in error; `false` when the deadline passed first.
///
/// # Errors
///
/// As [`readable`].
pub fn wait_writable(fd: BorrowedFd<'_>, deadline: Deadline) -> io::Result<bool> {
    wait_one(fd, libc::POLLOUT, deadline)
}

fn wait_one(fd: BorrowedFd<'_>, events: i16, deadline: Deadline) -> io::Result<bool> {
    Ok(sys::poll(&mut [entry(fd, events)], deadline)? > 0)
}

fn entry(fd: BorrowedFd<'_>, events: i16) -> libc::pollfd {
    libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 }
}
