//! Accepting clients in a task.

use std::fmt;
use std::io;

use tokio::io::Interest;

use super::Watch;
use crate::{AsyncConnection, Error, ErrorKind, Listener};

/// A [`Listener`] for tasks of `tokio`; [`Listener::into_async`] makes it.
///
/// # Cancel safety
///
/// A future that is dropped has accepted nobody, and what was done of a client's handshake stays done.
///
/// # Examples
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
/// # runtime.block_on(async {
/// use mp_pipe::{Client, Connection, Key, Listener};
///
/// let key = Key::random()?;
/// let listener = Listener::<u32>::builder().key(key.clone()).listen()?.into_async()?;
/// let address = listener.as_sync().address().clone();
/// let client = tokio::task::spawn_blocking(move || -> Result<u32, mp_pipe::RecvError> {
///     let client: Connection<u32> = Client::builder().key(key).connect(address).expect("it listens");
///     client.recv()
/// });
/// listener.accept().await?.send(&7).await?;
/// assert_eq!(client.await??, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AsyncListener<S, R = S> {
    watch: Watch<Listener<S, R>>,
}

impl<S, R> Listener<S, R> {
    /// Makes this a listener for tasks of the runtime that the caller is in.
    ///
    /// # Errors
    ///
    /// The system refuses to watch the descriptor.
    ///
    /// # Panics
    ///
    /// The caller is in no runtime, or in one without IO.
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn into_async(self) -> io::Result<AsyncListener<S, R>> {
        Ok(AsyncListener { watch: Watch::new(self)? })
    }
}

impl<S, R> AsyncListener<S, R> {
    /// Waits for a client, and gives the connection to it once it has proved the key, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Listener::accept`].
    pub async fn accept(&self) -> Result<AsyncConnection<S, R>, Error> {
        let attempt = || match self.watch.of().try_accept() {
            Err(error) if error.kind() == ErrorKind::TimedOut => None,
            other => Some(other),
        };
        let accepted = self.watch.until(|| Interest::READABLE, attempt).await;
        let connection =
            accepted.map_err(|error| Error::from_io("cannot wait for a client", error))??;
        connection.into_async().map_err(|error| Error::from_io("cannot watch a client", error))
    }

    /// The listener itself, for what does not wait.
    #[must_use]
    pub fn as_sync(&self) -> &Listener<S, R> {
        self.watch.of()
    }

    /// Makes this a listener for threads again.
    #[must_use]
    pub fn into_sync(self) -> Listener<S, R> {
        self.watch.into_inner()
    }
}

impl<S, R> fmt::Debug for AsyncListener<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncListener").field(self.watch.of()).finish()
    }
}
