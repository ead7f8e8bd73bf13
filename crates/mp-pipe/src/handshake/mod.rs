//! How two sides prove to each other that they know the key; the [README](README.md) has the protocol.
//!
//! Nothing here does input or output: a side is a state that takes the record of the other side and gives the next
//! one. What carries records is in [`wire`].

mod hmac;
#[cfg(feature = "noise")]
mod noise;
mod record;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::io;

pub(crate) use record::MAX_RECORD;
use record::{Reason, Record, Tag};

use crate::cipher::Cipher;
use crate::{Error, ErrorKind, Key};

/// What carries the records. The proofs are bound to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Packets = 1,
    Stream = 2,
}

/// What both sides must have alike.
#[derive(Clone, Debug)]
pub(crate) struct Secret {
    pub(crate) key: Key,
    /// The name that the program gave to what it speaks.
    pub(crate) protocol: String,
    pub(crate) carrier: Carrier,
    /// All that follows is encrypted.
    pub(crate) encrypt: bool,
}

impl Secret {
    /// What the proofs speak of besides the nonces.
    fn context(&self) -> Vec<u8> {
        let mut out = b"mp-pipe handshake".to_vec();
        out.push(record::VERSION);
        out.push(self.carrier as u8);
        // The length makes it impossible to move bytes between the name and what follows.
        out.extend((self.protocol.len() as u64).to_le_bytes());
        out.extend(self.protocol.as_bytes());
        out
    }
}

/// What a side does next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Sends this and waits for the answer.
    Send(Vec<u8>),
    /// Has seen the other side's proof. Sends this, if there is anything left to say, and is done.
    Done(Option<Vec<u8>>, Option<Cipher>),
}

/// Why a side does not go on.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What it tells the other side, if that may still learn from it.
    pub(crate) reply: Option<Vec<u8>>,
    pub(crate) error: Error,
}

impl Refusal {
    fn silent(error: Error) -> Self {
        Self { reply: None, error }
    }

    fn told(reason: Reason, error: Error) -> Self {
        Self { reply: Some(record::reject(reason)), error }
    }

    fn wrong_key(tell: bool) -> Self {
        let what = "the other side has another key or protocol name";
        let error = Error::new(ErrorKind::Authentication, what);
        if tell { Self::told(Reason::Key, error) } else { Self::silent(error) }
    }

    fn malformed(tell: bool) -> Self {
        let what = "the other side did not answer as this protocol has it";
        let error = Error::new(ErrorKind::Handshake, what);
        if tell { Self::told(Reason::Malformed, error) } else { Self::silent(error) }
    }

    /// The other side said that it does not go on.
    fn heard(body: &[u8]) -> Self {
        let (kind, what) = match Reason::from_body(body) {
            Some(Reason::Key) => (
                ErrorKind::Authentication,
                "the other side says that this is not its key or protocol name",
            ),
            Some(Reason::Encryption) => {
                (ErrorKind::Unencrypted, "one side wants encryption and the other does not")
            }
            Some(Reason::User) => (ErrorKind::Denied, "the listener does not serve this user"),
            _ => (ErrorKind::Handshake, "the other side broke the handshake off"),
        };
        Self::silent(Error::new(kind, what))
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::silent(Error::from_io("there are no random numbers for a handshake", error))
    }
}

/// Tells a peer that its user is not served.
pub(crate) fn denial() -> Vec<u8> {
    record::reject(Reason::User)
}

/// One side of a handshake.
#[derive(Debug)]
pub(crate) struct Handshake {
    secret: Secret,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The listener's side: the client speaks first.
    Start,
    Hmac(hmac::State),
    #[cfg(feature = "noise")]
    Noise(noise::State),
    Over,
}

impl Handshake {
    /// The client's side, and what it says first.
    pub(crate) fn client(secret: Secret) -> Result<(Self, Vec<u8>), Refusal> {
        let (state, first) = if secret.encrypt {
            encrypted::client(&secret)?
        } else {
            let (state, first) = hmac::client()?;
            (State::Hmac(state), first)
        };
        Ok((Self { secret, state }, first))
    }

    /// The listener's side.
    pub(crate) fn listener(secret: Secret) -> Self {
        Self { secret, state: State::Start }
    }

    /// Takes a record of the other side. After `Done` or an error it takes no more.
    pub(crate) fn step(&mut self, record: &[u8]) -> Result<Step, Refusal> {
        let state = std::mem::replace(&mut self.state, State::Over);
        // A client is not told: it is the listener that has something to hide, and it has gone on.
        let tell = matches!(state, State::Start);
        let record = Record::parse(record).ok_or_else(|| Refusal::malformed(tell))?;
        if record.tag == Tag::Reject {
            return Err(Refusal::heard(record.body));
        }
        let (state, step) = match state {
            State::Start => self.start(&record)?,
            State::Hmac(state) => {
                let (state, step) = state.step(&self.secret, &record)?;
                (state.map_or(State::Over, State::Hmac), step)
            }
            #[cfg(feature = "noise")]
            State::Noise(state) => {
                let (state, step) = state.step(&record)?;
                (state.map_or(State::Over, State::Noise), step)
            }
            State::Over => return Err(Refusal::malformed(false)),
        };
        self.state = state;
        Ok(step)
    }

    fn start(&self, record: &Record<'_>) -> Result<(State, Step), Refusal> {
        match (record.tag, self.secret.encrypt) {
            (Tag::HmacHello, false) => {
                let (state, step) = hmac::listener(&self.secret, record)?;
                Ok((State::Hmac(state), step))
            }
            (Tag::NoiseFirst, true) => encrypted::listener(&self.secret, record),
            (Tag::HmacHello | Tag::NoiseFirst, _) => {
                let what = "one side wants encryption and the other does not";
                let error = Error::new(ErrorKind::Unencrypted, what);
                Err(Refusal::told(Reason::Encryption, error))
            }
            _ => Err(Refusal::malformed(true)),
        }
    }
}

#[cfg(feature = "noise")]
mod encrypted {
    use super::{Record, Refusal, Secret, State, Step, noise};

    pub(super) fn client(secret: &Secret) -> Result<(State, Vec<u8>), Refusal> {
        let (state, first) = noise::client(secret)?;
        Ok((State::Noise(state), first))
    }

    pub(super) fn listener(secret: &Secret, record: &Record<'_>) -> Result<(State, Step), Refusal> {
        let (state, step) = noise::listener(secret, record)?;
        Ok((State::Noise(state), step))
    }
}

#[cfg(not(feature = "noise"))]
mod encrypted {
    use super::{Error, ErrorKind, Record, Refusal, Secret, State, Step};

    fn absent() -> Refusal {
        let what = "this program is built without encryption, the feature noise";
        Refusal::silent(Error::new(ErrorKind::Unencrypted, what))
    }

    pub(super) fn client(_: &Secret) -> Result<(State, Vec<u8>), Refusal> {
        Err(absent())
    }

    pub(super) fn listener(_: &Secret, _: &Record<'_>) -> Result<(State, Step), Refusal> {
        Err(absent())
    }
}
