//! A descriptor that clones cheaply and travels in messages.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Weak};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::codec;

/// An open file descriptor, shared by its clones, that can be part of a message.
///
/// Inside [`encode`](crate::encode) it puts itself into the message and writes its index; inside
/// [`decode`](crate::decode) it takes itself out. Clones in one message travel once. Everything that owns a
/// descriptor and should travel holds one of these and derives `Serialize` and `Deserialize`.
///
/// # Errors
///
/// Serializing one anywhere else (JSON, a file) is an error: a number means nothing in another process.
///
/// # Examples
///
/// ```
/// use mp_wire::Fd;
/// use std::{fs::File, io::Read, os::fd::OwnedFd};
///
/// let file = Fd::from(OwnedFd::from(File::open("/proc/self/comm")?));
/// let message = mp_wire::encode(&("a file", file))?;
/// assert_eq!(message.fds.len(), 1);
///
/// let (name, file): (String, Fd) = message.decode()?;
/// let mut text = String::new();
/// File::from(file.into_owned()?).read_to_string(&mut text)?;
/// assert_eq!(name, "a file");
/// assert!(!text.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Fd(Arc<OwnedFd>);

impl Fd {
    /// Takes the descriptor out; duplicates it if clones still share it.
    ///
    /// # Errors
    ///
    /// The process has as many descriptors open as it may have.
    pub fn into_owned(self) -> io::Result<OwnedFd> {
        Arc::try_unwrap(self.0).or_else(|shared| shared.try_clone())
    }

    /// Makes a handle that does not keep it open.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_wire::Fd;
    /// use std::{fs::File, os::fd::OwnedFd};
    ///
    /// let file = Fd::from(OwnedFd::from(File::open("/dev/null")?));
    /// let weak = file.downgrade();
    /// assert!(weak.upgrade().is_some_and(|same| same.is_same(&file)));
    /// drop(file);
    /// assert!(weak.upgrade().is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn downgrade(&self) -> WeakFd {
        WeakFd(Arc::downgrade(&self.0))
    }

    /// Says whether both are clones of one, so that they travel as one.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A descriptor that is closed all the same when all its [`Fd`]s are gone.
#[derive(Clone, Debug)]
pub struct WeakFd(Weak<OwnedFd>);

impl WeakFd {
    /// Gives the descriptor, if it is still open.
    #[must_use]
    pub fn upgrade(&self) -> Option<Fd> {
        self.0.upgrade().map(Fd)
    }
}

impl From<OwnedFd> for Fd {
    /// Takes it over, out of the way of the standard streams; see [`above_streams`].
    fn from(fd: OwnedFd) -> Self {
        Self(Arc::new(above_streams(fd)))
    }
}

/// Moves a descriptor out of the way of the standard streams, if it has one of their numbers.
///
/// The kernel gives the lowest number that is free. In a program that has closed a standard stream, what is opened next becomes
/// that stream: `println!` would write into it, and whoever opens the stream again would close it. Where no descriptor is left to move
/// to, it stays.
///
/// # Examples
///
/// ```
/// use std::{fs::File, os::fd::AsRawFd};
///
/// let file = mp_wire::above_streams(File::open("/dev/null")?.into());
/// assert!(file.as_raw_fd() > 2);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn above_streams(fd: OwnedFd) -> OwnedFd {
    // A copy is never one of them.
    if fd.as_raw_fd() > 2 { fd } else { fd.try_clone().unwrap_or(fd) }
}

/// Keeps the numbers of standard streams that are closed from being given away, until what it gives is dropped.
///
/// It is for what opens descriptors and does not hand them out, so that [`above_streams`] could not move them.
///
/// # Examples
///
/// ```
/// let placeholders = mp_wire::occupy_streams();
/// assert!(placeholders.is_empty(), "this program has all three");
/// ```
#[must_use]
pub fn occupy_streams() -> Vec<OwnedFd> {
    let nothing = || File::open("/dev/null").map(OwnedFd::from).ok();
    std::iter::repeat_with(nothing).map_while(|fd| fd.filter(|fd| fd.as_raw_fd() <= 2)).collect()
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Serialize for Fd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match codec::attach(self) {
            Some(index) if !serializer.is_human_readable() => serializer.serialize_u32(index),
            _ => Err(ser::Error::custom(
                "a handle can be serialized only inside a message to another process",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Fd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = u32::deserialize(deserializer)?;
        codec::detach(index).ok_or_else(|| de::Error::custom("the message has no such descriptor"))
    }
}
