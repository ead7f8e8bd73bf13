//! The queue of `mp-queue`, as the scenarios take it: each item has a descriptor with it.

use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use mp_wire::Fd;
use multiproc::Queue;
use multiproc::queue::{GetError, PutError};

use crate::channel::{Channel, Outcome, TORN};

/// A queue whose items show whether they are whole, and have their own descriptor.
pub(crate) struct TestQueue {
    queue: Queue<(u64, Fd, [u64; 8])>,
    /// The file of the victim's item, so that no victim is stepped through making one.
    seventh: Fd,
}

/// A file that holds the id of an item.
fn file(id: u64) -> Fd {
    #![expect(unsafe_code, reason = "std makes no memory files")]
    // SAFETY: the name is a string with an end; the call makes a new descriptor.
    let fd = unsafe { libc::memfd_create(c"item".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0, "no descriptor for an item");
    // SAFETY: the descriptor is new and nobody else's.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.write_all_at(&id.to_ne_bytes(), 0).expect("a file of 8 bytes");
    Fd::from(OwnedFd::from(file))
}

impl Channel for TestQueue {
    fn make(bound: Option<usize>) -> Self {
        let queue = bound.map_or_else(Queue::new, Queue::bounded);
        Self { queue: queue.expect("a queue"), seventh: file(7) }
    }

    fn put(&self, id: u64, timeout: Option<Duration>) -> Outcome {
        let file = if id == 7 { self.seventh.clone() } else { file(id) };
        let item = (id, file, [id; 8]);
        let result = match timeout {
            None => self.queue.put(&item),
            Some(Duration::ZERO) => self.queue.try_put(&item),
            Some(timeout) => self.queue.put_timeout(&item, timeout),
        };
        match result {
            Ok(()) => Outcome::Done(id),
            Err(PutError::Full) => Outcome::TimedOut,
            Err(PutError::Closed) => Outcome::Closed,
            Err(PutError::Failed(_)) => Outcome::Failed,
        }
    }

    fn get(&self, timeout: Option<Duration>) -> Outcome {
        let result = match timeout {
            None => self.queue.get(),
            Some(Duration::ZERO) => self.queue.try_get(),
            Some(timeout) => self.queue.get_timeout(timeout),
        };
        match result {
            Ok((id, fd, copies)) => {
                let mut bytes = [0; 8];
                let file = fd.into_owned().map(File::from);
                let read = file.and_then(|file| file.read_exact_at(&mut bytes, 0));
                let own = read.is_ok() && u64::from_ne_bytes(bytes) == id && copies == [id; 8];
                Outcome::Done(if own { id } else { TORN })
            }
            Err(GetError::Empty) => Outcome::TimedOut,
            Err(GetError::Closed) => Outcome::Closed,
            Err(GetError::Failed(_)) => Outcome::Failed,
        }
    }

    fn len(&self) -> usize {
        self.queue.len()
    }

    fn close(&self) {
        self.queue.close();
    }

    fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    fn sequence(&self) -> Option<u64> {
        None
    }
}
