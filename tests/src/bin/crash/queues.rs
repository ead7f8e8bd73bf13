//! The queues of `mp-queue`, as the scenarios take them. Each item of a `Queue` has a descriptor with it.

use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use mp_tests::step::{Board, End, Kill, LIVENESS, Victim};
use mp_tests::sweep::Verdict;
use mp_wire::Fd;
use multiproc::Queue;
use multiproc::queue::{BytesQueue, GetError, JoinableQueue, PlainQueue, PutError};

use crate::channel::{self, Channel, Outcome, TORN};

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

fn refused(error: &PutError) -> Outcome {
    match error {
        PutError::Full => Outcome::TimedOut,
        PutError::Closed => Outcome::Closed,
        PutError::Failed(_) | PutError::Disconnected => Outcome::Failed,
    }
}

fn untaken(error: &GetError) -> Outcome {
    match error {
        GetError::Empty => Outcome::TimedOut,
        GetError::Closed => Outcome::Closed,
        GetError::Failed(_) | GetError::Disconnected => Outcome::Failed,
    }
}

/// One whose items have to be done; each has its own descriptor.
pub(crate) struct TestJoinable {
    queue: JoinableQueue<(u64, Fd, [u64; 8])>,
    seventh: Fd,
}

fn whole((id, fd, copies): (u64, Fd, [u64; 8])) -> Outcome {
    let mut bytes = [0; 8];
    let file = fd.into_owned().map(File::from);
    let read = file.and_then(|file| file.read_exact_at(&mut bytes, 0));
    let own = read.is_ok() && u64::from_ne_bytes(bytes) == id && copies == [id; 8];
    Outcome::Done(if own { id } else { TORN })
}

impl Channel for TestJoinable {
    fn make(bound: Option<usize>) -> Self {
        let queue = bound.map_or_else(JoinableQueue::new, JoinableQueue::bounded);
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
        result.map_or_else(|error| refused(&error), |()| Outcome::Done(id))
    }

    fn get(&self, timeout: Option<Duration>) -> Outcome {
        let result = match timeout {
            None => self.queue.get(),
            Some(Duration::ZERO) => self.queue.try_get(),
            Some(timeout) => self.queue.get_timeout(timeout),
        };
        match result {
            Ok(item) if self.queue.task_done().is_ok() => whole(item),
            Ok(_) => Outcome::Failed,
            Err(error) => untaken(&error),
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
            Err(error) => refused(&error),
        }
    }

    fn get(&self, timeout: Option<Duration>) -> Outcome {
        let result = match timeout {
            None => self.queue.get(),
            Some(Duration::ZERO) => self.queue.try_get(),
            Some(timeout) => self.queue.get_timeout(timeout),
        };
        match result {
            Ok(item) => whole(item),
            Err(error) => untaken(&error),
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

/// A queue of plain data.
pub(crate) struct TestPlain(PlainQueue<[u64; 9]>);

impl Channel for TestPlain {
    fn make(bound: Option<usize>) -> Self {
        Self(bound.map_or_else(PlainQueue::new, PlainQueue::bounded).expect("a queue"))
    }

    fn put(&self, id: u64, timeout: Option<Duration>) -> Outcome {
        let result = match timeout {
            None => self.0.put(&[id; 9]),
            Some(Duration::ZERO) => self.0.try_put(&[id; 9]),
            Some(timeout) => self.0.put_timeout(&[id; 9], timeout),
        };
        result.map_or_else(|error| refused(&error), |()| Outcome::Done(id))
    }

    fn get(&self, timeout: Option<Duration>) -> Outcome {
        let result = match timeout {
            None => self.0.get(),
            Some(Duration::ZERO) => self.0.try_get(),
            Some(timeout) => self.0.get_timeout(timeout),
        };
        match result {
            Ok(item) => Outcome::Done(if item == [item[0]; 9] { item[0] } else { TORN }),
            Err(error) => untaken(&error),
        }
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn close(&self) {
        self.0.close();
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn sequence(&self) -> Option<u64> {
        None
    }
}

/// A queue of bytes, written and read in place.
pub(crate) struct TestBytes(BytesQueue);

impl Channel for TestBytes {
    fn make(bound: Option<usize>) -> Self {
        Self(bound.map_or_else(BytesQueue::new, BytesQueue::bounded).expect("a queue"))
    }

    fn put(&self, id: u64, timeout: Option<Duration>) -> Outcome {
        let room = match timeout {
            None => self.0.reserve(72),
            Some(Duration::ZERO) => self.0.try_reserve(72),
            Some(timeout) => self.0.reserve_timeout(72, timeout),
        };
        let put = room.and_then(|mut room| {
            room.as_chunks_mut().0.fill(id.to_ne_bytes());
            room.commit()
        });
        put.map_or_else(|error| refused(&error), |()| Outcome::Done(id))
    }

    fn get(&self, timeout: Option<Duration>) -> Outcome {
        let result = match timeout {
            None => self.0.get_ref(),
            Some(Duration::ZERO) => self.0.try_get_ref(),
            Some(timeout) => self.0.get_ref_timeout(timeout),
        };
        result.map_or_else(|error| untaken(&error), |item| Outcome::Done(crate::rings::id(&item)))
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn close(&self) {
        self.0.close();
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn sequence(&self) -> Option<u64> {
        None
    }
}

/// Items that are put together and find room are there together, or not at all.
pub(crate) fn plain_put_many(kill: Kill) -> Verdict {
    let (board, channel) = (Board::new(), TestPlain::make(None));
    let items = [7, 8, 9].map(|id| [id; 9]);
    let stop = Victim::start(&board, channel::warm_up::<TestPlain>, |()| {
        channel.0.put_many(&items).expect("there is room");
    })
    .run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let whole = channel.len() == 3;
    verdict.lost |= !whole && (channel.len() != 0 || stop.end == End::Completed);
    let mut must = if whole { vec![7, 8, 9] } else { vec![] };
    verdict.hang |= channel.put(100, Some(LIVENESS)) != Outcome::Done(100);
    must.push(100);
    let seen = channel::drain(&channel, &mut verdict);
    channel::account(&mut verdict, &seen, &must, &[]);
    verdict.lost |= seen != must;
    verdict
}
