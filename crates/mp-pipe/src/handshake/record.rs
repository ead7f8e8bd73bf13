//! The records that two sides exchange before they trust each other.

/// What each record begins with: it tells them from messages and from other protocols.
const MAGIC: &[u8; 7] = b"mp-auth";

/// Both sides must speak the same version; there is no other, and no negotiation.
pub(super) const VERSION: u8 = 1;

/// Magic, version, tag.
const HEADER: usize = MAGIC.len() + 2;

/// The longest record.
pub(crate) const MAX_RECORD: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// Client: its nonce.
    HmacHello = 1,
    /// Listener: its nonce.
    HmacChallenge = 2,
    /// Client: its proof.
    HmacAnswer = 3,
    /// Listener: its proof.
    HmacWelcome = 4,
    /// Client: the first message of Noise.
    NoiseFirst = 5,
    /// Listener: the second.
    NoiseSecond = 6,
    /// Client: an empty message under the keys that only the two have.
    NoiseConfirm = 7,
    /// Either: does not go on.
    Reject = 8,
}

/// Why a side does not go on. It helps the user of the other side, and nobody relies on it: anybody can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Key = 1,
    Encryption = 2,
    User = 3,
    Malformed = 4,
}

impl Reason {
    pub(super) fn from_body(body: &[u8]) -> Option<Self> {
        Some(match body {
            [1] => Self::Key,
            [2] => Self::Encryption,
            [3] => Self::User,
            [4] => Self::Malformed,
            _ => return None,
        })
    }
}

#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) tag: Tag,
    pub(super) body: &'a [u8],
}

impl<'a> Record<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?.strip_prefix(&[VERSION])?;
        let (&tag, body) = rest.split_first()?;
        let tag = match tag {
            1 => Tag::HmacHello,
            2 => Tag::HmacChallenge,
            3 => Tag::HmacAnswer,
            4 => Tag::HmacWelcome,
            5 => Tag::NoiseFirst,
            6 => Tag::NoiseSecond,
            7 => Tag::NoiseConfirm,
            8 => Tag::Reject,
            _ => return None,
        };
        (bytes.len() <= MAX_RECORD).then_some(Self { tag, body })
    }

    /// The body, if it is of this record and as long as that must be.
    pub(super) fn body_of<const N: usize>(&self, tag: Tag) -> Option<&'a [u8; N]> {
        self.body.try_into().ok().filter(|_| self.tag == tag)
    }
}

pub(super) fn write(tag: Tag, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + body.len());
    out.extend(MAGIC);
    out.push(VERSION);
    out.push(tag as u8);
    out.extend(body);
    out
}

pub(super) fn reject(reason: Reason) -> Vec<u8> {
    write(Tag::Reject, &[reason as u8])
}
