//! The proof by Noise, which leaves both sides with keys to encrypt with.
//!
//! `Noise_NNpsk0_25519_ChaChaPoly_SHA256`: both sides make fresh keys, and the secret is mixed in before the first
//! byte. TLS would want certificates, whose care is more than a program's that has a secret to share already; with a
//! shared secret alone Noise is a tenth of the code, all of it Rust, and each connection has forward secrecy.

use std::io;
use std::sync::Arc;

use snow::{Builder, HandshakeState};

use super::record::{self, MAX_RECORD, Record, Tag};
use super::{Refusal, Secret, Step, hmac};
use crate::cipher::Cipher;

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_SHA256";

/// A public key and the tag of an empty payload.
const MESSAGE: usize = 32 + 16;

pub(super) enum State {
    /// The client has sent the first message.
    First(Box<HandshakeState>),
    /// The listener has sent the second message.
    Second(Cipher),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::First(_) => "First",
            Self::Second(_) => "Second",
        })
    }
}

fn builder<R>(
    secret: &Secret,
    build: impl FnOnce(Builder<'_>) -> Result<R, snow::Error>,
) -> io::Result<R> {
    let context = secret.context();
    let key = hmac::derive(secret)?;
    let pattern = PATTERN.parse().map_err(io::Error::other)?;
    let builder = Builder::new(pattern).prologue(&context).and_then(|builder| builder.psk(0, &key));
    builder.and_then(build).map_err(io::Error::other)
}

fn message(state: &mut HandshakeState) -> io::Result<[u8; MESSAGE]> {
    let mut out = [0; MESSAGE];
    match state.write_message(&[], &mut out) {
        Ok(MESSAGE) => Ok(out),
        Ok(_) => Err(io::ErrorKind::InvalidData.into()),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Step 1.
pub(super) fn client(secret: &Secret) -> io::Result<(State, Vec<u8>)> {
    let mut state = builder(secret, |builder| builder.build_initiator())?;
    let first = record::write(Tag::NoiseFirst, &message(&mut state)?);
    Ok((State::First(Box::new(state)), first))
}

/// Step 2.
pub(super) fn listener(secret: &Secret, record: &Record<'_>) -> Result<(State, Step), Refusal> {
    let first: &[u8; MESSAGE] =
        record.body_of(Tag::NoiseFirst).ok_or_else(|| Refusal::malformed(true))?;
    let mut state = builder(secret, |builder| builder.build_responder())?;
    state.read_message(first, &mut [0; MAX_RECORD]).map_err(|_| Refusal::wrong_key(true))?;
    let second = record::write(Tag::NoiseSecond, &message(&mut state)?);
    Ok((State::Second(cipher(state)?), Step::Send(second)))
}

impl State {
    pub(super) fn step(self, record: &Record<'_>) -> Result<(Option<Self>, Step), Refusal> {
        match self {
            // Step 3.
            Self::First(mut state) => {
                let second: &[u8; MESSAGE] =
                    record.body_of(Tag::NoiseSecond).ok_or_else(|| Refusal::malformed(false))?;
                let read = state.read_message(second, &mut [0; MAX_RECORD]);
                read.map_err(|_| Refusal::wrong_key(false))?;
                let cipher = cipher(*state)?;
                let confirm = cipher.seal_confirmation().map_err(io::Error::other)?;
                let confirm = record::write(Tag::NoiseConfirm, &confirm);
                Ok((None, Step::Done(Some(confirm), Some(cipher))))
            }
            // Step 4.
            Self::Second(cipher) => {
                if record.tag != Tag::NoiseConfirm {
                    return Err(Refusal::malformed(true));
                }
                if !cipher.is_confirmation(record.body) {
                    return Err(Refusal::wrong_key(true));
                }
                Ok((None, Step::Done(None, Some(cipher))))
            }
        }
    }
}

fn cipher(state: HandshakeState) -> io::Result<Cipher> {
    let initiator = state.is_initiator();
    let state = state.into_stateless_transport_mode().map_err(io::Error::other)?;
    Ok(Cipher::new(Arc::new(state), initiator))
}
