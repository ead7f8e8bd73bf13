//! The proof by HMAC-SHA-256. Numbers in comments are those of the steps in the README.

use std::io;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::record::{self, Record, Tag};
use super::{Refusal, Secret, Step};
use crate::key::random;

type Nonce = [u8; 32];
type Proof = [u8; 32];

/// Whose proof it is: neither side's can be given back to it as the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client = 1,
    Listener = 2,
}

#[derive(Debug)]
pub(super) enum State {
    /// The client has said hello.
    Hello { client: Nonce },
    /// The client has proved itself and waits for the listener's proof.
    Proved { client: Nonce, listener: Nonce },
    /// The listener has challenged the client.
    Challenged { client: Nonce, listener: Nonce },
}

/// Computes the proof of one side.
pub(super) fn proof(
    secret: &Secret,
    role: Role,
    client: &Nonce,
    listener: &Nonce,
) -> io::Result<Proof> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.key.as_bytes());
    // There is no length that HMAC does not take.
    let mut mac = mac.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    mac.update(&[role as u8]);
    mac.update(&secret.context());
    mac.update(client);
    mac.update(listener);
    Ok(mac.finalize().into_bytes().into())
}

/// Step 1.
pub(super) fn client() -> io::Result<(State, Vec<u8>)> {
    let client = random()?;
    Ok((State::Hello { client }, record::write(Tag::HmacHello, &client)))
}

/// Step 2.
pub(super) fn listener(_: &Secret, record: &Record<'_>) -> Result<(State, Step), Refusal> {
    let client = *record.body_of(Tag::HmacHello).ok_or_else(|| Refusal::malformed(true))?;
    let listener = random()?;
    let challenge = record::write(Tag::HmacChallenge, &listener);
    Ok((State::Challenged { client, listener }, Step::Send(challenge)))
}

impl State {
    pub(super) fn step(
        self,
        secret: &Secret,
        record: &Record<'_>,
    ) -> Result<(Option<Self>, Step), Refusal> {
        match self {
            // Step 3.
            Self::Hello { client } => {
                let listener = *record
                    .body_of(Tag::HmacChallenge)
                    .filter(|&listener| *listener != client)
                    .ok_or_else(|| Refusal::malformed(false))?;
                let mine = proof(secret, Role::Client, &client, &listener)?;
                let answer = record::write(Tag::HmacAnswer, &mine);
                Ok((Some(Self::Proved { client, listener }), Step::Send(answer)))
            }
            // Step 4.
            Self::Challenged { client, listener } => {
                let theirs: &Proof =
                    record.body_of(Tag::HmacAnswer).ok_or_else(|| Refusal::malformed(true))?;
                let right = proof(secret, Role::Client, &client, &listener)?;
                if !bool::from(theirs.ct_eq(&right)) {
                    return Err(Refusal::wrong_key(true));
                }
                let mine = proof(secret, Role::Listener, &client, &listener)?;
                Ok((None, Step::Done(Some(record::write(Tag::HmacWelcome, &mine)), None)))
            }
            // Step 5.
            Self::Proved { client, listener } => {
                let theirs: &Proof =
                    record.body_of(Tag::HmacWelcome).ok_or_else(|| Refusal::malformed(false))?;
                let right = proof(secret, Role::Listener, &client, &listener)?;
                if !bool::from(theirs.ct_eq(&right)) {
                    return Err(Refusal::wrong_key(false));
                }
                Ok((None, Step::Done(None, None)))
            }
        }
    }
}

/// Makes the 32 bytes that Noise wants of a key of any length.
#[cfg(feature = "noise")]
pub(super) fn derive(secret: &Secret) -> io::Result<[u8; 32]> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.key.as_bytes());
    let mut mac = mac.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    mac.update(b"mp-pipe noise key");
    Ok(mac.finalize().into_bytes().into())
}
