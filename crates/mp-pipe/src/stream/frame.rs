//! How a message lies in a stream: its kind in one byte, its length in seven, itself, and one byte at its end.
//!
//! The byte at the end makes every frame longer than its header, also that of an empty message. So all but the last
//! byte can be read to find out whether a message is whole, and the socket still has something to tell of.

/// The length of a header.
pub(super) const HEADER: usize = 8;

/// What comes after each payload.
pub(super) const END: u8 = b'\n';

/// No honest sender has a longer message: what claims to be longer is not a header.
const LONGEST: u64 = 1 << 48;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Message = 0xa5,
    Handshake = 0xa6,
}

pub(super) fn header(kind: Kind, length: usize) -> [u8; HEADER] {
    let mut out = (length as u64).to_le_bytes();
    out[7] = kind as u8;
    out.rotate_right(1);
    out
}

/// The kind and the length, if this is a header.
pub(super) fn parse(header: [u8; HEADER]) -> Option<(Kind, u64)> {
    let mut bytes = header;
    bytes[0] = 0;
    bytes.rotate_left(1);
    let length = u64::from_le_bytes(bytes);
    let kind = match header[0] {
        0xa5 => Kind::Message,
        0xa6 => Kind::Handshake,
        _ => return None,
    };
    (length <= LONGEST).then_some((kind, length))
}
