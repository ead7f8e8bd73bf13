//! What travels: bytes, and descriptors beside them.

use serde::de::DeserializeOwned;

use crate::{Error, Fd, codec};

/// The encoded form of a value: its bytes, and the descriptors that it owns.
///
/// # Examples
///
/// ```
/// let message = mp_wire::encode(&("answer", 42))?;
/// assert!(message.fds.is_empty());
/// assert_eq!(message.decode::<(String, i32)>()?, ("answer".to_owned(), 42));
/// # Ok::<(), mp_wire::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The value in the format of postcard.
    pub bytes: Vec<u8>,
    /// The descriptors; the bytes refer to them by index.
    pub fds: Vec<Fd>,
}

impl Message {
    /// Decodes the value.
    ///
    /// # Errors
    ///
    /// As [`decode`](crate::decode).
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        codec::decode(&self.bytes, &self.fds)
    }
}
