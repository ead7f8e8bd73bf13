//! Room for the bytes of one message, on the stack as long as they are few.

use std::cell::Cell;

/// So many bytes stay on the stack.
const SMALL: usize = 256;

/// So many bytes are written one by one.
const SHORT: usize = 10;

/// A vector that a large message has left is not kept.
const KEEP: usize = 1 << 20;

thread_local! {
    /// What the last message of medium size has left, taken out while it is in use.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The bytes of one message, for as long as it takes to encode or decode it.
///
/// # Examples
///
/// ```
/// let mut buffer = mp_wire::Buffer::new();
/// buffer.push(b"hello, ");
/// buffer.push(&[7; 1000]);
/// assert_eq!(buffer.bytes().len(), 1007);
/// buffer.room(5).expect("it is small").copy_from_slice(b"other");
/// assert_eq!(buffer.bytes(), b"other");
/// ```
#[derive(Debug)]
pub struct Buffer {
    small: [u8; SMALL],
    len: usize,
    /// Instead of the small one, if it has any room.
    large: Vec<u8>,
}

impl Buffer {
    /// Makes one without bytes.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self { small: [0; SMALL], len: 0, large: Vec::new() }
    }

    /// The bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        if self.large.capacity() > 0 {
            return &self.large;
        }
        self.small.get(..self.len).unwrap_or_default()
    }

    /// Adds bytes.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        if self.large.capacity() == 0 && self.len + bytes.len() <= SMALL {
            if bytes.len() > SHORT {
                if let Some(room) = self.small.get_mut(self.len..self.len + bytes.len()) {
                    room.copy_from_slice(bytes);
                    self.len += bytes.len();
                }
                return;
            }
            // A call that copies costs more than the few bytes of a number.
            for &byte in bytes {
                if let Some(place) = self.small.get_mut(self.len) {
                    *place = byte;
                    self.len += 1;
                }
            }
            return;
        }
        self.push_large(bytes);
    }

    #[cold]
    fn push_large(&mut self, bytes: &[u8]) {
        if self.large.capacity() == 0 {
            let small = self.len;
            let large = self.large(small + bytes.len());
            large.clear();
            self.large.extend_from_slice(self.small.get(..small).unwrap_or_default());
        }
        self.large.extend_from_slice(bytes);
    }

    /// Replaces all bytes by so many, which are to be written; `None` if they are too many for the stack.
    #[inline]
    pub fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.large.capacity() > 0 {
            self.large = Vec::new();
        }
        let room = self.small.get_mut(..len)?;
        self.len = len;
        Some(room)
    }

    /// Replaces all bytes by none, and gives the vector that more than a few go into, with room for so many.
    pub fn large(&mut self, len: usize) -> &mut Vec<u8> {
        if self.large.capacity() == 0 {
            self.large = SPARE.take();
        }
        self.large.clear();
        self.large.reserve(len.max(1));
        &mut self.large
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        if self.large.capacity() > 0 && self.large.capacity() <= KEEP {
            // Not where the thread ends: then there is nowhere to keep it.
            let _ = SPARE.try_with(|spare| spare.set(std::mem::take(&mut self.large)));
        }
    }
}
