//! Waiting for many things at once.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use mp_wire::{Deadline, poll};

/// Waits until something can be received from at least one of the objects; gives the indices of all that are ready.
///
/// A connection is ready when a message or the end of the stream can be received, a child process when it has ended,
/// a socket or file when reading would not block. Anything with a descriptor will do. Objects of different types go
/// together as `&dyn AsFd`. The same object may be there twice, and then is reported twice.
///
/// `None` waits for as long as it takes. The result is empty when the time was over first. Without objects it sleeps
/// for that time.
///
/// # Python
///
/// `multiprocessing.connection.wait()`. It gives indices instead of the objects, and does not mind duplicates.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`] if there are no objects and no timeout, for nothing could ever end it, and if
/// there are more objects than this process may have descriptors.
///
/// # Examples
///
/// ```
/// use mp_pipe::{pipe, wait};
/// use std::{os::fd::AsFd, os::unix::net::UnixStream, time::Duration};
///
/// let (a, b) = pipe::<u8>()?;
/// let (socket, peer) = UnixStream::pair()?;
/// let all: [&dyn AsFd; 2] = [&a, &socket];
/// assert_eq!(wait(&all, Some(Duration::ZERO))?, []);
///
/// drop(peer);
/// assert_eq!(wait(&all, None)?, [1]);
/// b.send(&7)?;
/// assert_eq!(wait(&all, None)?, [0, 1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn wait<T: AsFd>(objects: &[T], timeout: Option<Duration>) -> io::Result<Vec<usize>> {
    if objects.is_empty() && timeout.is_none() {
        let what = "there is nothing to wait for and no timeout";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let fds: Vec<_> = objects.iter().map(AsFd::as_fd).collect();
    let ready = poll::readable(&fds, Deadline::from_timeout(timeout))?;
    Ok(ready.into_iter().enumerate().filter_map(|(index, ready)| ready.then_some(index)).collect())
}
