//! The bytes of a message, where they came in.
#![expect(unsafe_code, reason = "maps the memory file of a large message")]

use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::slice;

use crate::{Error, ErrorKind, Fd, Message};

/// The bytes of a message that was received.
///
/// A large message lies in a memory file that nobody can change any more. Here it is looked at in place, and not copied
/// out: it has been copied once, by its sender.
///
/// # Examples
///
/// ```
/// use mp_wire::{Deadline, Limits, socket};
///
/// let (a, b) = socket::pair()?;
/// socket::send(&a, &vec![7; 2 << 20], &[], Deadline::NEVER)?;
/// let delivery = socket::recv_delivery(&b, Limits::default(), Deadline::NEVER)?;
/// assert_eq!(delivery.payload.iter().filter(|&&byte| byte == 7).count(), 2 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Payload(Place);

enum Place {
    Own(Vec<u8>),
    Mapped(Mapped),
}

/// A message that was received, whose bytes are where they came in.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Its bytes.
    pub payload: Payload,
    /// Its descriptors.
    pub fds: Vec<Fd>,
}

impl Delivery {
    /// Copies the bytes out, if they are not this process's own already.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`] if there is no memory for them.
    pub fn into_message(self) -> Result<Message, Error> {
        Ok(Message { bytes: self.payload.into_vec()?, fds: self.fds })
    }
}

impl Payload {
    /// Looks at the first `len` bytes of a sealed memory file in place.
    pub(crate) fn map(file: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Mapped::new(file, len).map(|mapped| Self(Place::Mapped(mapped)))
    }

    /// Gives the bytes as this process's own; those of a large message are copied.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`] if there is no memory for them.
    pub fn into_vec(self) -> Result<Vec<u8>, Error> {
        match self.0 {
            Place::Own(bytes) => Ok(bytes),
            Place::Mapped(mapped) => {
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(mapped.len).map_err(|error| {
                    let what = "no memory for the message";
                    Error::with_source(ErrorKind::Exhausted, what, error)
                })?;
                bytes.extend_from_slice(&mapped);
                Ok(bytes)
            }
        }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Place::Own(bytes))
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Own(bytes) => bytes,
            Place::Mapped(mapped) => mapped,
        }
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mapped = matches!(self.0, Place::Mapped(_));
        f.debug_struct("Payload").field("len", &self.len()).field("in_place", &mapped).finish()
    }
}

/// A memory file that is sealed against writing and shrinking: its bytes are there and stay as they are.
struct Mapped {
    start: NonNull<u8>,
    len: usize,
}

impl Mapped {
    fn new(file: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        // All of it will be read; so the pages are mapped in one go.
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a new mapping at a place of the kernel's choice.
        let start = unsafe {
            libc::mmap(ptr::null_mut(), len, libc::PROT_READ, flags, file.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` bytes are mapped until this is dropped. The one caller of `Payload::map` has checked the seals: nobody
        // writes to the file or cuts it, in this process or another, and each of its pages is there.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: our mapping, and no reference to it outlives this.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

// SAFETY: memory that nobody changes, and that is not bound to a thread.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}
