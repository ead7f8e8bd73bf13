//! The same ends for tasks of `tokio`.
//!
//! A task waits where a thread would sleep, for the descriptor that tells of the connection anyway. Whatever a call has done
//! of its work lies in the connection and not in its future: dropped at any point, a future has done all of its work or nothing of
//! it. The one thing that is done in pieces is a message over TCP, whose rest stays in the connection as it does when the time
//! of a thread is over.

mod connection;
mod half;
mod listener;

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use mp_wire::{Deadline, Message, Payload, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task;

pub use self::connection::AsyncConnection;
pub use self::half::{AsyncReceiver, AsyncSender};
pub use self::listener::AsyncListener;
use crate::link::Link;
use crate::{RecvError, SendError};

/// A descriptor that a runtime watches for us.
struct Watched<T> {
    of: T,
    /// In its place where the runtime watches the same one already, for a clone.
    copy: Option<OwnedFd>,
}

impl<T: AsFd> AsRawFd for Watched<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.copy.as_ref().map_or_else(|| self.of.as_fd(), AsFd::as_fd).as_raw_fd()
    }
}

/// Something with a descriptor, and the runtime's watch over it. The watch ends before the descriptor is closed.
struct Watch<T: AsFd> {
    fd: AsyncFd<Watched<T>>,
}

impl<T: AsFd> Watch<T> {
    fn new(of: T) -> io::Result<Self> {
        let watched = match register(Watched { of, copy: None }) {
            Ok(fd) => return Ok(Self { fd }),
            Err((watched, error)) if error.kind() == io::ErrorKind::AlreadyExists => watched,
            Err((_, error)) => return Err(error),
        };
        let copy = watched.of.as_fd().try_clone_to_owned()?;
        let fd = register(Watched { copy: Some(copy), ..watched });
        Ok(Self { fd: fd.map_err(|(_, error)| error)? })
    }

    fn of(&self) -> &T {
        &self.fd.get_ref().of
    }

    fn into_inner(self) -> T {
        self.fd.into_inner().of
    }

    /// Tries until there is a result, and waits in between for what `interest` says then.
    async fn until<R>(
        &self,
        mut interest: impl FnMut() -> Interest,
        mut attempt: impl FnMut() -> Option<R>,
    ) -> io::Result<R> {
        // One that never has to wait lets others run all the same.
        task::consume_budget().await;
        loop {
            if let Some(result) = attempt() {
                return Ok(result);
            }
            let interest = interest();
            let mut guard = self.fd.ready(interest).await?;
            if let Some(result) = attempt() {
                return Ok(result);
            }
            if is_ready(self.of().as_fd(), interest)? {
                // Somebody else is about to do what makes it so. There need not be another event for us when that is done.
                drop(guard);
                task::yield_now().await;
            } else {
                // Not what has come since the guard was given.
                let ready = guard.ready();
                guard.clear_ready_matching(ready);
            }
        }
    }
}

/// Asks the runtime to watch a descriptor, which is owned by what is given and stays open as long as that.
#[allow(
    deprecated,
    reason = "its successor is unsafe for the sake of others, whose descriptors may be closed meanwhile"
)]
fn register<T: AsFd>(watched: Watched<T>) -> Result<AsyncFd<Watched<T>>, (Watched<T>, io::Error)> {
    let interest = Interest::READABLE | Interest::WRITABLE;
    AsyncFd::try_with_interest(watched, interest).map_err(|refused| refused.into_parts())
}

fn is_ready(fd: BorrowedFd<'_>, interest: Interest) -> io::Result<bool> {
    if interest.is_readable() {
        poll::wait_readable(fd, Deadline::NOW)
    } else {
        poll::wait_writable(fd, Deadline::NOW)
    }
}

/// One end of a connection, for tasks.
#[derive(Clone)]
struct AsyncLink {
    watch: Arc<Watch<Link>>,
}

impl AsyncLink {
    fn new(link: Link) -> io::Result<Self> {
        Ok(Self { watch: Arc::new(Watch::new(link)?) })
    }

    fn link(&self) -> &Link {
        self.watch.of()
    }

    /// The end; watched no more, if this was the last.
    fn into_link(self) -> Link {
        match Arc::try_unwrap(self.watch) {
            Ok(watch) => watch.into_inner(),
            Err(shared) => shared.of().clone(),
        }
    }

    /// Encodes now, so that the future does not need the value.
    fn send<'a, T: Serialize>(
        &'a self,
        value: &T,
    ) -> impl Future<Output = Result<(), SendError>> + Send + use<'a, T> {
        let message = mp_wire::encode(value).map_err(SendError::from_wire);
        async move { self.send_message(message?).await }
    }

    async fn send_bytes(&self, bytes: &[u8]) -> Result<(), SendError> {
        self.send_with(|| self.link().send_bytes(bytes, Deadline::NOW)).await
    }

    async fn send_message(&self, message: Message) -> Result<(), SendError> {
        self.send_with(|| self.link().send_parts(&message.bytes, &message.fds, Deadline::NOW)).await
    }

    async fn send_with(
        &self,
        mut send: impl FnMut() -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        let mut begun = false;
        let attempt = || {
            let result = if begun { self.link().flush(Deadline::NOW) } else { send() };
            match result {
                Err(SendError::Unfinished) => {
                    begun = true;
                    None
                }
                Err(SendError::Full) => None,
                other => Some(other),
            }
        };
        self.watch.until(|| Interest::WRITABLE, attempt).await.map_err(cannot_wait_to_send)?
    }

    async fn flush(&self) -> Result<(), SendError> {
        let attempt = || match self.link().flush(Deadline::NOW) {
            Err(SendError::Full) => None,
            other => Some(other),
        };
        self.watch.until(|| Interest::WRITABLE, attempt).await.map_err(cannot_wait_to_send)?
    }

    async fn recv<T: DeserializeOwned>(&self) -> Result<T, RecvError> {
        self.recv_with(|| self.link().recv(Deadline::NOW)).await
    }

    async fn recv_payload(&self) -> Result<Payload, RecvError> {
        self.recv_with(|| self.link().recv_payload(Deadline::NOW)).await
    }

    async fn recv_bytes(&self) -> Result<Vec<u8>, RecvError> {
        self.recv_with(|| self.link().recv_bytes(Deadline::NOW)).await
    }

    async fn recv_with<T>(
        &self,
        mut recv: impl FnMut() -> Result<T, RecvError>,
    ) -> Result<T, RecvError> {
        // The other side may be waiting for the rest of a message before it answers.
        let interest = || {
            if self.link().has_rest() {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            }
        };
        let attempt = || match recv() {
            Err(RecvError::Empty) => None,
            other => Some(other),
        };
        self.watch.until(interest, attempt).await.map_err(|error| {
            RecvError::from_wire(mp_wire::Error::from_io("cannot wait for a message", error))
        })?
    }

    async fn readable(&self) -> io::Result<()> {
        let attempt = || match self.link().poll(Deadline::NOW) {
            Ok(false) => None,
            other => Some(other.map(drop)),
        };
        self.watch.until(|| Interest::READABLE, attempt).await?
    }
}

fn cannot_wait_to_send(error: io::Error) -> SendError {
    SendError::from_wire(mp_wire::Error::from_io("cannot wait for room", error))
}
