//! What client and server say to each other.
//!
//! A client opens a connection by sending one end of a new socket pair through the socket of an object, or of the
//! server itself. On a connection there is one request at a time, and one answer to each. The server has a thread for
//! each connection.
//!
//! | message | bytes | descriptors |
//! |---|---|---|
//! | request | the encoded arguments, the encoded [`Request`], its length in four bytes | of the arguments |
//! | answer | the encoded value, [`VALUE`]; or the encoded [`Fault`], [`FAULT`] | of the value |
//!
//! Only [`Request::Cancel`] has no answer of its own: it says that the client does not want to wait any longer for the
//! answer that it is waiting for. It gets that answer all the same: the value, or the news that it was not waited for.

use std::borrow::Cow;

use mp_wire::{Fd, Message};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::Fault;

/// The object that stands for the server itself.
pub(crate) const ROOT: u64 = 0;

const VALUE: u8 = 0;
const FAULT: u8 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request<'a> {
    /// Asks whether the set-up went well.
    Hello,
    /// Makes an object; the answer is a [`Created`].
    Create {
        constructor: Cow<'a, str>,
    },
    Call {
        object: u64,
        method: Cow<'a, str>,
    },
    /// Withdraws the call that waits.
    Cancel,
    /// Asks how many objects there are.
    Count,
    /// Ends the server.
    Shutdown,
}

/// A new object: its number, and the socket that keeps it alive and opens connections to it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Created {
    pub(crate) object: u64,
    pub(crate) socket: Fd,
}

/// Adds a request to its encoded arguments.
pub(crate) fn seal_request(args: &mut Message, request: &Request<'_>) -> Result<(), Error> {
    let head = mp_wire::encode(request).map_err(Error::of_value)?.bytes;
    args.bytes.extend_from_slice(&head);
    args.bytes.extend_from_slice(&(head.len() as u32).to_le_bytes());
    Ok(())
}

/// Takes the request off its arguments; `None` if it is none.
pub(crate) fn open_request(message: &mut Message) -> Option<Request<'static>> {
    let (rest, len) = message.bytes.split_last_chunk::<4>()?;
    let at = rest.len().checked_sub(u32::from_le_bytes(*len) as usize)?;
    let request = mp_wire::decode(rest.get(at..)?, &[]).ok()?;
    message.bytes.truncate(at);
    Some(request)
}

/// Makes the message of an answer.
pub(crate) fn seal_answer(answer: Result<Message, Error>) -> Message {
    match answer {
        Ok(mut value) => {
            value.bytes.push(VALUE);
            value
        }
        Err(error) => {
            let mut message = mp_wire::encode(&Fault::from(error)).unwrap_or_default();
            message.bytes.push(FAULT);
            message
        }
    }
}

/// Takes an answer apart.
pub(crate) fn open_answer(mut message: Message) -> Result<Message, Error> {
    match message.bytes.pop() {
        Some(VALUE) => Ok(message),
        _ => Err(message.decode::<Fault>().map_or_else(Error::of_value, Error::from)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_with_its_arguments() {
        let mut message = mp_wire::encode(&(1, "two")).unwrap();
        let request = Request::Call { object: 7, method: "push".into() };
        seal_request(&mut message, &request).unwrap();
        let opened = open_request(&mut message).unwrap();
        assert!(matches!(opened, Request::Call { object: 7, method } if method == "push"));
        assert_eq!(message.decode::<(i32, String)>().unwrap(), (1, "two".to_owned()));
    }

    #[test]
    fn what_is_no_request_is_none() {
        for bytes in [&[][..], &[1, 0, 0], &[9, 0, 0, 0], &[0xff; 8], &[77, 1, 0, 0, 0]] {
            let mut message = Message { bytes: bytes.to_vec(), fds: Vec::new() };
            assert!(open_request(&mut message).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn an_error_comes_back_as_it_was() {
        let cause = std::io::Error::other("cause");
        let error = Error::with_source(crate::ErrorKind::Io, "it failed", cause);
        let error = open_answer(seal_answer(Err(error))).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (crate::ErrorKind::Io, "it failed".into()));
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "cause");
    }
}
