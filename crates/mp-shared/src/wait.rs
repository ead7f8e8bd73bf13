//! Waiting for many things of different kinds at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, Builder};
use std::time::Duration;

use mp_wire::{Deadline, Spin, poll};

use crate::sys::{self, Watch};
use crate::word::CommitWord;

/// What can be waited for together with others, by [`wait`].
///
/// All that has a descriptor can: it is ready when it can be read, is at its end, or is in error. Queues in shared memory
/// have a word instead that counts when a message comes.
///
/// # Examples
///
/// ```
/// use mp_shared::{Waitable, ring::Ring, wait};
/// use mp_wire::Deadline;
/// use std::os::unix::net::UnixStream;
///
/// let (ring, (socket, _peer)) = (Ring::new()?, UnixStream::pair()?);
/// let all: [&dyn Waitable; 2] = [&socket, &ring];
/// ring.put(0, &[b"a message"], Deadline::NEVER)?;
/// assert_eq!(wait(&all, None)?, [1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Waitable {
    /// What changes when it may have become ready.
    fn source(&self) -> Source<'_>;

    /// Says whether it is ready for another reason than its descriptor. It is asked before each sleep, and must not wait.
    fn is_ready(&self) -> bool {
        false
    }
}

impl<T: AsFd + ?Sized> Waitable for T {
    fn source(&self) -> Source<'_> {
        Source::fd(self.as_fd())
    }
}

/// What tells that a [`Waitable`] may have become ready: a descriptor, a word in shared memory, or either.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    fd: Option<BorrowedFd<'a>>,
    word: Option<&'a CommitWord>,
}

impl<'a> Source<'a> {
    /// A descriptor: ready when it can be read, is at its end, or is in error.
    #[must_use]
    pub fn fd(fd: BorrowedFd<'a>) -> Self {
        Self { fd: Some(fd), word: None }
    }

    /// A word: when it has changed, [`Waitable::is_ready`] is asked again.
    #[must_use]
    pub fn word(word: &'a CommitWord) -> Self {
        Self { fd: None, word: Some(word) }
    }

    /// This, and a descriptor too.
    #[must_use]
    pub fn or_fd(self, fd: BorrowedFd<'a>) -> Self {
        Self { fd: Some(fd), ..self }
    }
}

/// Waits until at least one of the objects is ready; gives the indices of all that are.
///
/// Objects of different types go together: queues, and whatever has a descriptor, such as connections, sockets, files and
/// the sentinels of processes. The same object may be there twice, and then is reported twice. Others may take a message before the
/// caller does, so receive with a `try_` form afterwards.
///
/// `None` waits for as long as it takes. The result is empty when the time was over first. Without objects it sleeps
/// for that time.
///
/// # Python
///
/// `multiprocessing.connection.wait()`, which does not know queues.
///
/// # Blocking
///
/// It sleeps in the kernel: in `poll` for descriptors, in `futex_waitv` for words. For both at once a thread that lives no longer than
/// the call sleeps on the words. Before Linux 5.16, and for more than 127 words, it looks every 10 ms.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`] if there are no objects and no timeout, for nothing could ever end it, and if
/// there are more objects than this process may have descriptors. What the system says if there is no thread or no pipe to be had
/// for waiting for both kinds.
///
/// # Examples
///
/// ```
/// use mp_shared::{Waitable, ring::Ring, wait};
/// use std::{os::unix::net::UnixStream, time::Duration};
///
/// let (ring, (socket, peer)) = (Ring::new()?, UnixStream::pair()?);
/// let all: [&dyn Waitable; 2] = [&ring, &socket];
/// assert_eq!(wait(&all, Some(Duration::from_millis(1)))?, []);
/// drop(peer);
/// assert_eq!(wait(&all, None)?, [1]);
/// ring.close();
/// assert_eq!(wait(&all, None)?, [0, 1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn wait(objects: &[&dyn Waitable], timeout: Option<Duration>) -> io::Result<Vec<usize>> {
    if objects.is_empty() && timeout.is_none() {
        let what = "there is nothing to wait for and no timeout";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let deadline = Deadline::from_timeout(timeout);
    let sources: Vec<_> = objects.iter().map(|object| object.source()).collect();
    let words: Vec<_> = sources.iter().filter_map(|source| source.word).collect();
    let fds: Vec<_> = sources.iter().filter_map(|source| source.fd).collect();
    if words.is_empty() {
        let ready = poll::readable(&fds, deadline)?;
        return Ok(indices(objects, &sources, ready));
    }
    loop {
        // Before anything is asked, so that no change goes unnoticed.
        let seen: Vec<_> = words.iter().map(|word| word.snapshot()).collect();
        let polled = if fds.is_empty() { Vec::new() } else { poll::readable(&fds, Deadline::NOW)? };
        let ready = indices(objects, &sources, polled);
        if !ready.is_empty() || deadline.is_past() {
            return Ok(ready);
        }
        let changed = || words.iter().zip(&seen).any(|(word, seen)| word.snapshot() != *seen);
        if SPIN.until(changed) {
            continue;
        }
        let watches: Vec<_> =
            words.iter().zip(&seen).map(|(word, &seen)| word.watch(seen)).collect();
        if fds.is_empty() {
            sys::wait_any(&watches, deadline);
        } else {
            sleep_on_both(&fds, &watches, deadline)?;
        }
    }
}

static SPIN: Spin = Spin::new();

/// The objects that are ready, given which of the descriptors are.
fn indices(objects: &[&dyn Waitable], sources: &[Source<'_>], polled: Vec<bool>) -> Vec<usize> {
    let mut polled = polled.into_iter();
    let mut ready = Vec::new();
    for (index, (object, source)) in objects.iter().zip(sources).enumerate() {
        let readable = source.fd.is_some() && polled.next() == Some(true);
        if readable || object.is_ready() {
            ready.push(index);
        }
    }
    ready
}

/// Sleeps until a descriptor is ready or a word has changed.
///
/// Another thread sleeps on the words, and closes a pipe when one changes. A word of our own ends it.
fn sleep_on_both(
    fds: &[BorrowedFd<'_>],
    watches: &[Watch<'_>],
    deadline: Deadline,
) -> io::Result<()> {
    let (reader, writer) = io::pipe()?;
    let over = AtomicU32::new(0);
    let watches: Vec<_> = [Watch::new(&over, 0)].iter().chain(watches).copied().collect();
    let fds: Vec<_> = fds.iter().copied().chain([reader.as_fd()]).collect();
    thread::scope(|scope| {
        Builder::new().name("wait".to_owned()).spawn_scoped(scope, move || {
            while !watches.iter().any(Watch::has_changed) {
                sys::wait_any(&watches, Deadline::NEVER);
            }
            drop(writer);
        })?;
        let polled = poll::readable(&fds, deadline);
        over.store(1, Ordering::Relaxed);
        sys::wake(&over, 1);
        polled.map(|_| ())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::ring::Ring;
    use crate::testing::fork;

    const SHORT: Duration = Duration::from_millis(20);

    fn put(ring: &Ring) {
        ring.put(0, &[b"x"], Deadline::NEVER).unwrap();
    }

    fn take(ring: &Ring) {
        ring.get(&mut Vec::new(), Deadline::NOW).unwrap();
    }

    #[test]
    fn words_alone() {
        let rings = [Ring::new().unwrap(), Ring::new().unwrap(), Ring::new().unwrap()];
        let all: Vec<&dyn Waitable> = rings.iter().map(|ring| ring as &dyn Waitable).collect();
        let begin = std::time::Instant::now();
        assert_eq!(wait(&all, Some(SHORT)).unwrap(), []);
        assert!(begin.elapsed() >= SHORT);
        let child = fork(|| {
            put(&rings[2]);
            true
        });
        assert_eq!(wait(&all, None).unwrap(), [2]);
        child.succeed();
        put(&rings[0]);
        assert_eq!(wait(&all, None).unwrap(), [0, 2]);
        take(&rings[2]);
        take(&rings[0]);
        rings[1].close();
        assert_eq!(wait(&all, None).unwrap(), [1]);
    }

    #[test]
    fn both_kinds() {
        let (ring, (socket, peer)) = (Ring::new().unwrap(), UnixStream::pair().unwrap());
        let all: [&dyn Waitable; 3] = [&ring, &socket, &ring];
        for _ in 0..20 {
            let begin = std::time::Instant::now();
            assert_eq!(wait(&all, Some(SHORT / 10)).unwrap(), []);
            assert!(begin.elapsed() >= SHORT / 10);
        }
        for _ in 0..20 {
            let child = fork(|| {
                std::thread::yield_now();
                put(&ring);
                true
            });
            assert_eq!(wait(&all, None).unwrap(), [0, 2]);
            take(&ring);
            child.succeed();
        }
        thread::scope(|scope| {
            let waits = scope.spawn(|| wait(&[&ring, &socket], None).unwrap());
            drop(peer);
            assert_eq!(waits.join().unwrap(), [1]);
        });
        assert_eq!(wait(&[], Some(SHORT)).unwrap(), []);
        assert!(wait(&[], None).is_err());
    }

    #[test]
    fn more_words_than_the_kernel_watches() {
        let rings: Vec<_> =
            (0..130).map(|_| Ring::builder().reserve(1 << 20).build().unwrap()).collect();
        thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let all: Vec<_> = rings.iter().map(|ring| ring as &dyn Waitable).collect();
                wait(&all, None).unwrap()
            });
            put(&rings[129]);
            assert_eq!(waits.join().unwrap(), [129]);
        });
    }
}
