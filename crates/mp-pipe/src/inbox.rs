//! Where a message goes that is received.

use mp_wire::{Buffer, Delivery, Error, Fd, Payload};

/// A message that has been received, or is to be.
#[derive(Debug)]
pub(crate) struct Inbox<'a> {
    place: Place<'a>,
    /// Bytes that came in a packet, or in memory of their own.
    payload: Option<Payload>,
    pub(crate) fds: Vec<Fd>,
}

/// Where bytes of the ring go.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is made where it is used, on the stack")]
enum Place<'a> {
    /// They are looked at once.
    Buffer(Buffer),
    /// They are given away.
    Vector(Vec<u8>),
    /// They are wanted here, if there is room for all; so many are here, or else they are in the vector.
    Slice(&'a mut [u8], Option<usize>, Vec<u8>),
}

impl<'a> Inbox<'a> {
    fn new(place: Place<'a>) -> Self {
        Self { place, payload: None, fds: Vec::new() }
    }

    /// One for a message that is looked at and dropped.
    #[inline]
    pub(crate) fn to_look_at() -> Self {
        Self::new(Place::Buffer(Buffer::new()))
    }

    /// One for a message whose bytes are given away.
    pub(crate) fn to_give_away() -> Self {
        Self::new(Place::Vector(Vec::new()))
    }

    /// One for a message that is to go into a slice.
    pub(crate) fn over(slice: &'a mut [u8]) -> Self {
        Self::new(Place::Slice(slice, None, Vec::new()))
    }

    /// Takes over a message that came in a packet.
    pub(crate) fn put(&mut self, delivery: Delivery) {
        self.fds = delivery.fds;
        self.payload = Some(delivery.payload);
    }

    /// Takes over bytes, which `read` puts into a slice of that length, or into an empty vector.
    #[inline]
    pub(crate) fn fill<R>(&mut self, len: usize, read: impl FnOnce(Target<'_>) -> R) -> R {
        match &mut self.place {
            Place::Buffer(buffer) => {
                // Twice, for the compiler does not see that the first is over.
                if buffer.room(len).is_none() {
                    return read(Target::Vector(buffer.large(len)));
                }
                read(Target::Slice(buffer.room(len).unwrap_or_default()))
            }
            Place::Vector(vector) => read(Target::Vector(vector)),
            Place::Slice(slice, filled, vector) => match slice.get_mut(..len) {
                Some(slice) => {
                    *filled = Some(len);
                    read(Target::Slice(slice))
                }
                None => read(Target::Vector(vector)),
            },
        }
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        if let Some(payload) = &self.payload {
            return payload;
        }
        match &self.place {
            Place::Buffer(buffer) => buffer.bytes(),
            Place::Vector(vector) => vector,
            Place::Slice(slice, Some(len), _) => slice.get(..*len).unwrap_or_default(),
            Place::Slice(_, None, vector) => vector,
        }
    }

    /// The bytes as this process's own.
    pub(crate) fn into_vec(self) -> Result<Vec<u8>, Error> {
        self.into_payload().into_vec()
    }

    pub(crate) fn into_payload(self) -> Payload {
        match (self.payload, self.place) {
            (Some(payload), _) => payload,
            (None, Place::Vector(vector) | Place::Slice(_, None, vector)) => vector.into(),
            (None, Place::Buffer(buffer)) => buffer.bytes().to_vec().into(),
            (None, Place::Slice(slice, Some(len), _)) => {
                slice.get(..len).unwrap_or_default().to_vec().into()
            }
        }
    }

    /// Sees to it that the bytes are in the slice; gives their number, or all of them if there is no room.
    pub(crate) fn settle(mut self) -> Result<usize, Result<Vec<u8>, Error>> {
        if let Place::Slice(slice, filled, _) = &mut self.place {
            if let (None, Some(len)) = (&self.payload, *filled) {
                return Ok(len);
            }
            if let Some(payload) = &self.payload
                && let Some(slice) = slice.get_mut(..payload.len())
            {
                slice.copy_from_slice(payload);
                return Ok(payload.len());
            }
        }
        Err(self.into_vec())
    }
}

/// Where the bytes of one record are to be written.
pub(crate) enum Target<'a> {
    /// As long as they are.
    Slice(&'a mut [u8]),
    Vector(&'a mut Vec<u8>),
}
