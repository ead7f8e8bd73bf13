//! The secret that both sides of a connection know.

use std::fmt;
use std::io;
use std::sync::Arc;

/// A secret with which listener and client prove themselves to each other; it is never sent.
///
/// Any bytes will do, also none. Whoever listens in can try guesses against what is sent: take a key that nobody can
/// guess, such as one of [`Key::random`], and no password. Its `Debug` form does not show it.
///
/// # Python
///
/// `authkey`.
///
/// # Examples
///
/// ```
/// use mp_pipe::{Client, Connection, Key, Listener};
/// use std::thread;
///
/// let key = Key::random()?;
/// let listener = Listener::<u32>::builder().key(key.clone()).listen()?;
/// let address = listener.address().clone();
/// let client = thread::spawn(move || -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
///     let connection: Connection<u32> = Client::builder().key(key).connect(address)?;
///     Ok(connection.recv()?)
/// });
/// listener.accept()?.send(&7)?;
/// assert_eq!(client.join().unwrap().unwrap(), 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// Makes a key of 32 random bytes.
    ///
    /// # Errors
    ///
    /// The system has no random numbers for this process.
    pub fn random() -> io::Result<Self> {
        Ok(Self(Arc::new(random::<32>()?)))
    }

    /// The bytes of the key, to hand to those who may know it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Numbers of the kernel: a generator of this process would be doubled by a fork.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").finish_non_exhaustive()
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl<const N: usize> From<&[u8; N]> for Key {
    fn from(bytes: &[u8; N]) -> Self {
        Self(bytes.as_slice().into())
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}
