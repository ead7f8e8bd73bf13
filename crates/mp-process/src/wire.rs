//! What parent, zygote and child say to each other before a function runs.
//!
//! ```text
//! parent → zygote   First::Zygote, once; then a count in an eventfd, for each child that it has taken: make another one
//! zygote → parent   Loaded, if it has a function to preload; then, by itself and for each count, an Answer: a child that
//!                   waits for its job, or why there is none
//! zygote → parent   a status in the child's pipe, when it has ended
//! parent → child    First::Child, with the arguments if they are small, or as a message of their own behind it
//! child  → parent   Settled, if it has settings; then the outcome
//! ```
//!
//! So a child is there before it is asked for: a start takes it, and the zygote makes the next one while this one runs. One
//! that was not taken ends with the parent, as its socket does, which is then in no process any more.

use mp_wire::{Deadline, Fd, Limits, Message, socket};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::current::Identity;
use crate::settings::Settings;

/// The first message to a process that was executed, or forked by the zygote.
#[derive(Serialize, Deserialize)]
pub(crate) enum First {
    /// Fork children on request.
    Zygote { program: Vec<u8>, preload: Option<u64>, wanted: Fd },
    /// Run a function. Its arguments follow.
    Child(Box<Job>),
}

/// A function to run, and what its process is to be.
#[derive(Serialize, Deserialize)]
pub(crate) struct Job {
    /// What the parent's program is; the child compares before it looks at `entry`.
    pub(crate) program: Vec<u8>,
    /// The place of a [`crate::process::Entry`].
    pub(crate) entry: u64,
    pub(crate) identity: Identity,
    pub(crate) settings: Settings,
    /// For a child of the zygote, what one that is executed has of its parent by itself.
    pub(crate) around: Option<Around>,
    /// The arguments; they follow if they are not here.
    pub(crate) args: Option<Args>,
}

/// What surrounds a process, as far as it is not what surrounds the zygote.
#[derive(Serialize, Deserialize)]
pub(crate) struct Around {
    pub(crate) streams: [Option<Fd>; 3],
    pub(crate) directory: Option<Fd>,
    pub(crate) umask: Option<u32>,
    /// All variables, `name=value` with a zero behind each.
    pub(crate) environment: Option<Vec<u8>>,
}

/// A small message inside another one.
#[derive(Serialize, Deserialize)]
pub(crate) struct Args {
    bytes: Vec<u8>,
    fds: Vec<Fd>,
}

impl Args {
    /// More bytes than this are not copied once more.
    const MOST: usize = 4096;

    pub(crate) fn fit(message: &Message) -> bool {
        message.bytes.len() <= Self::MOST
    }

    pub(crate) fn of(message: &Message) -> Option<Self> {
        let Message { bytes, fds } = message;
        Self::fit(message).then(|| Self { bytes: bytes.clone(), fds: fds.clone() })
    }

    pub(crate) fn into_message(self) -> Message {
        Message { bytes: self.bytes, fds: self.fds }
    }
}

/// What the zygote has to give.
#[derive(Serialize, Deserialize)]
pub(crate) enum Answer {
    Ready(Ready),
    /// It could not fork, with this `errno`.
    NotForked(i32),
}

/// A child that waits for its job.
#[derive(Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) program: Vec<u8>,
    pub(crate) pid: u32,
    pub(crate) process: Fd,
    /// The parent's end of the child's socket.
    pub(crate) life: Option<Fd>,
    /// Where the zygote writes how it ended.
    pub(crate) notes: Fd,
}

pub(crate) fn send<T: Serialize>(socket: &Fd, value: &T) -> Result<(), mp_wire::Error> {
    let message = mp_wire::encode(value)?;
    socket::send(socket, &message.bytes, &message.fds, Deadline::NEVER)
}

pub(crate) fn recv<T: DeserializeOwned>(socket: &Fd) -> Result<T, mp_wire::Error> {
    socket::recv(socket, Limits::default(), Deadline::NEVER)?.decode()
}
