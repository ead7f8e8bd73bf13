//! Where the bytes of an item go that is taken.

use mp_shared::ring::Target;
use mp_shared::segment::Segment;
use mp_wire::Buffer;

/// A buffer that an item is copied into.
pub(crate) struct Copied(Buffer);

impl Default for Copied {
    #[inline]
    fn default() -> Self {
        Self(Buffer::new())
    }
}

impl Copied {
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl Target for Copied {
    #[inline]
    fn fill(&mut self, segment: &Segment, at: usize, len: usize) -> Result<(), mp_shared::Error> {
        match self.0.room(len) {
            Some(room) => segment.copy_out(at, room),
            None => segment.append_to(at, len, self.0.large(0)),
        }
    }
}
