//! What stands at the beginning of a segment: written once, read once by whoever attaches.

use std::os::unix::fs::MetadataExt;

use super::incompatible;
use crate::{Error, sys};

/// One cache line, so that what follows is as well aligned as the mapping.
pub(super) const LEN: usize = 64;

const MAGIC: u64 = u64::from_le_bytes(*b"mpshared");
/// Changes with every change of what lies in shared memory.
const VERSION: u32 = 1;

/// The fields, copied out of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u32,
    /// Bytes behind the header.
    pub(super) len: u64,
    pub(super) id: u128,
    /// The inode of the PID namespace: thread ids in lock words mean something there alone. Zero if unknown.
    pid_namespace: u64,
    /// Who made it, if it has a name, so that others can tell when nobody is left to remove that.
    pub(super) maker: Maker,
}

/// A process of the namespace: its id, and when it was started, in clock ticks since the boot. Zeroes if unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Maker {
    pub(crate) pid: u32,
    pub(crate) start: u64,
}

impl Header {
    pub(super) fn new(kind: u32, len: u64) -> Result<Self, Error> {
        let mut id = [0; 16];
        sys::random(&mut id).map_err(|error| Error::from_io("cannot get random bytes", error))?;
        let (id, pid_namespace) = (u128::from_ne_bytes(id), pid_namespace());
        Ok(Self { kind, len, id, pid_namespace, maker: Maker::default() })
    }

    pub(super) fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0..8].copy_from_slice(&MAGIC.to_ne_bytes());
        bytes[8..12].copy_from_slice(&VERSION.to_ne_bytes());
        bytes[12..16].copy_from_slice(&self.kind.to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.len.to_ne_bytes());
        bytes[24..40].copy_from_slice(&self.id.to_ne_bytes());
        bytes[40..48].copy_from_slice(&self.pid_namespace.to_ne_bytes());
        bytes[48..52].copy_from_slice(&self.maker.pid.to_ne_bytes());
        bytes[56..64].copy_from_slice(&self.maker.start.to_ne_bytes());
        bytes
    }

    /// Reads and checks a header of a file of `total` bytes.
    pub(super) fn decode(bytes: &[u8; LEN], total: u64) -> Result<Self, Error> {
        if u64::from_ne_bytes(field(bytes, 0)) != MAGIC {
            return Err(incompatible("is no memory of this library"));
        }
        if u32::from_ne_bytes(field(bytes, 8)) != VERSION {
            return Err(incompatible("comes from another version of this library"));
        }
        let header = Self {
            kind: u32::from_ne_bytes(field(bytes, 12)),
            len: u64::from_ne_bytes(field(bytes, 16)),
            id: u128::from_ne_bytes(field(bytes, 24)),
            pid_namespace: u64::from_ne_bytes(field(bytes, 40)),
            maker: Maker {
                pid: u32::from_ne_bytes(field(bytes, 48)),
                start: u64::from_ne_bytes(field(bytes, 56)),
            },
        };
        if header.len.checked_add(LEN as u64) != Some(total) {
            return Err(incompatible("has not the size that its header says"));
        }
        let here = pid_namespace();
        if header.pid_namespace != here && header.pid_namespace != 0 && here != 0 {
            return Err(incompatible("belongs to another PID namespace"));
        }
        Ok(header)
    }
}

fn field<const N: usize>(bytes: &[u8; LEN], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

fn pid_namespace() -> u64 {
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn every_wrong_field_is_refused() {
        let mut header = Header::new(7, 100).unwrap();
        header.maker = Maker { pid: 8, start: 1 << 40 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes, 164).unwrap(), header);
        assert!(Header::decode(&bytes, 165).is_err());
        for at in [0, 8, 16, 23, 40] {
            let mut wrong = bytes;
            wrong[at] ^= 0x55;
            assert_eq!(Header::decode(&wrong, 164).unwrap_err().kind(), ErrorKind::Incompatible);
        }
    }
}
