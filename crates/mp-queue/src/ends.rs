//! The two ends of a queue, which notice that nobody has the other any more.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use mp_shared::ring::{Nudge, Ring};
use mp_shared::{Source, Waitable};
use mp_wire::{Deadline, Fd, poll, socket};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, ErrorKind, GetError, PutError, Queue};

/// How long a sleep goes on before it is looked whether the other side was killed.
const GLANCE: Duration = Duration::from_millis(250);

/// One end of a pair of sockets, through which nothing is sent: it is at its end when nobody has the other one.
struct Life {
    socket: Option<Fd>,
    /// Nudged when this process has the end no more.
    ring: Ring,
    nudges: bool,
}

impl Life {
    fn is_alone(&self) -> bool {
        let Some(socket) = &self.socket else { return false };
        // If the system refuses to tell, it is looked again.
        poll::wait_readable(socket.as_fd(), Deadline::NOW).unwrap_or(false)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // First, so that who is woken sees it.
        self.socket = None;
        if self.nudges {
            self.ring.nudge();
        }
    }
}

/// The end of a queue that puts; see [`Queue::split`].
///
/// Clones count, and so do those that are on their way in a message. When the last one is gone, in all processes,
/// receivers get what is left, and then [`GetError::Disconnected`].
///
/// A forked child has all ends that its parent had. Drop those that it is not to have, in one of them.
///
/// # If a process dies
///
/// Its ends are gone. Whoever sleeps notices within a quarter of a second; where the last one is dropped, at once.
///
/// # Examples
///
/// ```
/// use mp_queue::Queue;
/// use std::thread;
///
/// let (sender, receiver) = Queue::<u32>::new()?.split()?;
/// let workers: Vec<_> = (0..3)
///     .map(|number| {
///         let sender = sender.clone(); // As well an argument of a process.
///         thread::spawn(move || sender.put(&number))
///     })
///     .collect();
/// drop(sender);
/// assert_eq!(receiver.iter().sum::<u32>(), 3);
/// # for worker in workers { worker.join().expect("it does not panic")?; }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Sender<T> {
    queue: Queue<T>,
    life: Arc<Life>,
}

/// The end of a queue that gets; see [`Queue::split`].
///
/// Clones count, and so do those that are on their way in a message. When the last one is gone, in all processes, a put that finds no
/// room gets [`PutError::Disconnected`].
///
/// # If a process dies
///
/// As with [`Sender`].
pub struct Receiver<T> {
    queue: Queue<T>,
    life: Arc<Life>,
}

pub(crate) fn split<T>(queue: Queue<T>) -> Result<(Sender<T>, Receiver<T>), Error> {
    let (sender, receiver) = socket::pair().map_err(|error| {
        Error::with_source(ErrorKind::Exhausted, "cannot make the ends of a queue", error)
    })?;
    let sender = Sender::new(queue.clone(), sender.into());
    Ok((sender, Receiver::new(queue, receiver.into())))
}

/// A part of the time until a deadline, after which it is looked whether the other side is there.
fn glance(deadline: Deadline) -> Deadline {
    if deadline.remaining().is_some_and(|left| left <= GLANCE) {
        deadline
    } else {
        Deadline::after(GLANCE)
    }
}

impl<T> Sender<T> {
    fn new(queue: Queue<T>, socket: Fd) -> Self {
        let ring = queue.channel().ring().clone();
        Self { queue, life: Arc::new(Life { socket: Some(socket), ring, nudges: true }) }
    }

    /// The queue itself. Handles on it do not count as ends.
    #[must_use]
    pub fn queue(&self) -> &Queue<T> {
        &self.queue
    }

    /// Says whether there is no receiver any more.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.life.is_alone()
    }
}

impl<T: Serialize> Sender<T> {
    /// Puts an item; waits for room if the queue is bounded and full.
    ///
    /// # Errors
    ///
    /// [`PutError::Disconnected`] if there is no room and no receiver; as [`Queue::put`] otherwise. As long as there is
    /// room, it is not looked for receivers.
    pub fn put(&self, item: &T) -> Result<(), PutError> {
        self.put_until(item, Deadline::NEVER)
    }

    /// Puts an item if there is room.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put), or [`PutError::Full`].
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, item: &T) -> Result<(), PutError> {
        self.put_until(item, Deadline::NOW)
    }

    /// Puts an item; waits for room for some time.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put), or [`PutError::Full`].
    pub fn put_timeout(&self, item: &T, timeout: Duration) -> Result<(), PutError> {
        self.put_until(item, Deadline::after(timeout))
    }

    fn put_until(&self, item: &T, deadline: Deadline) -> Result<(), PutError> {
        let channel = self.queue.channel();
        mp_wire::encode_with(item, |bytes, fds| {
            loop {
                match channel.put(&[bytes], fds, glance(deadline)) {
                    Err(PutError::Full) if self.life.is_alone() => {
                        return Err(PutError::Disconnected);
                    }
                    Err(PutError::Full) if !deadline.is_past() => {}
                    other => return other,
                }
            }
        })
        .map_err(|error| PutError::Failed(Error::wire("the item cannot be put", error)))?
    }
}

impl<T> Receiver<T> {
    fn new(queue: Queue<T>, socket: Fd) -> Self {
        let ring = queue.channel().ring().clone();
        Self { queue, life: Arc::new(Life { socket: Some(socket), ring, nudges: false }) }
    }

    /// The queue itself. Handles on it do not count as ends.
    #[must_use]
    pub fn queue(&self) -> &Queue<T> {
        &self.queue
    }

    /// Says whether there is no sender any more; there may be items left.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.life.is_alone()
    }
}

impl<T: DeserializeOwned> Receiver<T> {
    /// Takes the first item; waits for one if there is none.
    ///
    /// # Errors
    ///
    /// [`GetError::Disconnected`] if there is none and no sender; as [`Queue::get`] otherwise.
    pub fn get(&self) -> Result<T, GetError> {
        self.get_until(Deadline::NEVER)
    }

    /// Takes the first item if there is one.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), or [`GetError::Empty`].
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_until(Deadline::NOW)
    }

    /// Takes the first item; waits for one for some time.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), or [`GetError::Empty`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_until(Deadline::after(timeout))
    }

    fn get_until(&self, deadline: Deadline) -> Result<T, GetError> {
        loop {
            match self.queue.get_nudged(glance(deadline), Nudge::Return) {
                Err(GetError::Empty) if self.life.is_alone() => {
                    // The last one may have put something before it went.
                    return match self.queue.try_get() {
                        Err(GetError::Empty) => Err(GetError::Disconnected),
                        other => other,
                    };
                }
                Err(GetError::Empty) if !deadline.is_past() => {}
                other => return other,
            }
        }
    }

    /// Takes items until there are none and no sender, or the queue is closed and empty.
    ///
    /// An item that does not decode ends the iteration too.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.get().ok()).fuse()
    }
}

/// Ready when there is an item, the queue is closed, or there is no sender.
impl<T> Waitable for Receiver<T> {
    fn source(&self) -> Source<'_> {
        match &self.life.socket {
            Some(socket) => self.queue.source().or_fd(socket.as_fd()),
            None => self.queue.source(),
        }
    }

    fn is_ready(&self) -> bool {
        self.queue.is_ready()
    }
}

macro_rules! end {
    ($type:ident, $name:literal) => {
        impl<T> Clone for $type<T> {
            fn clone(&self) -> Self {
                Self { queue: self.queue.clone(), life: Arc::clone(&self.life) }
            }
        }

        impl<T> fmt::Debug for $type<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct($name)
                    .field("queue", &self.queue)
                    .field("disconnected", &self.is_disconnected())
                    .finish_non_exhaustive()
            }
        }

        impl<T> Serialize for $type<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                (&self.queue, &self.life.socket).serialize(serializer)
            }
        }

        impl<'de, T> Deserialize<'de> for $type<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let parts = <(Queue<T>, Option<Fd>)>::deserialize(deserializer)?;
                let missing = || serde::de::Error::custom("an end without its socket");
                Ok(Self::new(parts.0, parts.1.ok_or_else(missing)?))
            }
        }
    };
}

end!(Sender, "Sender");
end!(Receiver, "Receiver");
