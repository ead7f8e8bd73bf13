//! Values that the server keeps without knowing their types.

use std::fmt;
use std::sync::Arc;

use mp_wire::{Fd, Message};
use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

/// An encoded value: its bytes and the descriptors of the handles in it. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Blob(Arc<Message>);

impl Blob {
    pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        let message = mp_wire::encode(value);
        message.map(|message| Self(Arc::new(message))).map_err(Error::of_value)
    }

    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.0.decode().map_err(Error::of_value)
    }

    /// Compares the encoded forms. What has handles equals nothing: the same file has other numbers each time.
    pub(crate) fn is_equal(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes && !self.has_handles() && !other.has_handles()
    }

    pub(crate) fn has_handles(&self) -> bool {
        !self.0.fds.is_empty()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut pair = serializer.serialize_tuple(2)?;
        pair.serialize_element(&Bytes(&self.0.bytes))?;
        pair.serialize_element(&self.0.fds)?;
        pair.end()
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (ByteBuf(bytes), fds) = <(ByteBuf, Vec<Fd>)>::deserialize(deserializer)?;
        Ok(Self(Arc::new(Message { bytes, fds })))
    }
}

/// Bytes in one piece; a slice of numbers would go one by one.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

struct ByteBuf(Vec<u8>);

impl<'de> Deserialize<'de> for ByteBuf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Copy;
        impl Visitor<'_> for Copy {
            type Value = ByteBuf;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<ByteBuf, E> {
                let mut copy = Vec::new();
                copy.try_reserve_exact(bytes.len()).map_err(E::custom)?;
                copy.extend_from_slice(bytes);
                Ok(ByteBuf(copy))
            }
        }
        deserializer.deserialize_byte_buf(Copy).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn a_value_within_a_value_keeps_its_handles() {
        let fd = || Fd::from(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let one = Blob::encode(&("one", fd())).unwrap();
        let two = Blob::encode(&("two", fd(), fd())).unwrap();
        let both = mp_wire::encode(&(&one, "between", &two)).unwrap();
        let (one, _, two): (Blob, String, Blob) = both.decode().unwrap();
        assert_eq!(one.decode::<(String, Fd)>().unwrap().0, "one");
        assert_eq!(two.decode::<(String, Fd, Fd)>().unwrap().0, "two");
        assert!(!one.is_equal(&one.clone()));
    }

    #[test]
    fn equality_is_that_of_the_encoded_form() {
        let blob = |text: &str| Blob::encode(text).unwrap();
        assert!(blob("a").is_equal(&blob("a")) && !blob("a").is_equal(&blob("b")));
    }
}
