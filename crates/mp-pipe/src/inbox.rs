//! Where a message goes that is received.

use std::mem;

use mp_wire::{Delivery, Error, Message, Payload};

/// A message that has been received, or is to be.
#[derive(Debug, Default)]
pub(crate) struct Inbox<'a> {
    /// Its bytes, unless they are elsewhere, and its descriptors.
    pub(crate) message: Message,
    /// Bytes that came in memory of their own.
    large: Option<Payload>,
    /// Where bytes go straight, if there is room for all.
    buffer: Option<&'a mut [u8]>,
    /// So many went there.
    filled: Option<usize>,
}

impl<'a> Inbox<'a> {
    pub(crate) fn new(message: Message) -> Self {
        Self { message, ..Self::default() }
    }

    /// One for a message that is to go into a buffer.
    pub(crate) fn over(message: Message, buffer: &'a mut [u8]) -> Self {
        Self { message, buffer: Some(buffer), ..Self::default() }
    }

    pub(crate) fn clear(&mut self) {
        self.message.fds.clear();
        self.large = None;
        self.filled = None;
    }

    /// Takes over a message that came in a packet.
    pub(crate) fn put(&mut self, delivery: Delivery) {
        self.message.fds = delivery.fds;
        self.large = Some(delivery.payload);
    }

    /// The place for a message of this length in the buffer, if it fits there.
    #[inline]
    pub(crate) fn place(&mut self, len: usize) -> Option<&mut [u8]> {
        let place = self.buffer.as_deref_mut()?.get_mut(..len)?;
        self.filled = Some(len);
        Some(place)
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.filled.unwrap_or_else(|| self.bytes().len())
    }

    /// The bytes, unless they went into the buffer.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.large.as_deref().unwrap_or(&self.message.bytes)
    }

    /// The bytes as this process's own.
    pub(crate) fn into_vec(self) -> Result<Vec<u8>, Error> {
        self.into_payload().into_vec()
    }

    pub(crate) fn into_payload(self) -> Payload {
        self.large.unwrap_or_else(|| self.message.bytes.into())
    }

    /// Sees to it that the bytes are in the buffer; gives their number, or all of them if there is no room.
    pub(crate) fn fill(&mut self) -> Result<usize, Result<Vec<u8>, Error>> {
        if let Some(len) = self.filled {
            return Ok(len);
        }
        let bytes = self.large.as_deref().unwrap_or(&self.message.bytes);
        if let Some(place) = self.buffer.as_deref_mut().and_then(|all| all.get_mut(..bytes.len())) {
            place.copy_from_slice(bytes);
            return Ok(bytes.len());
        }
        Err(match self.large.take() {
            Some(payload) => payload.into_vec(),
            None => Ok(mem::take(&mut self.message.bytes)),
        })
    }
}
