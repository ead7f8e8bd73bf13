//! What parent, zygote and child say to each other before a function runs.
//!
//! ```text
//! parent → zygote   First::Zygote, once; then a Request for each child, with the child's end of its socket
//! parent → child    First::Child, then the arguments, as a message of their own
//! zygote → parent   Loaded, if it has a function to preload
//! zygote → parent   a Note in the child's pipe: it ended, or it could not be forked
//! child  → parent   Hello, if the zygote forked it, before it reads anything; Settled, if it has settings;
//!                   then the outcome
//! ```
//!
//! The child says hello before it reads what to run. So a parent that sees the socket close without a hello knows that
//! nothing ran, and may try again.

use mp_wire::{Deadline, Fd, Limits, socket};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::current::Identity;
use crate::settings::Settings;

/// The first message to a process that was executed, or forked by the zygote.
#[derive(Serialize, Deserialize)]
pub(crate) enum First {
    /// Fork children on request.
    Zygote { program: Vec<u8>, preload: Option<u64> },
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
}

/// A request to the zygote: fork a child.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request {
    /// The child's end of its socket.
    pub(crate) life: Fd,
    /// Where to write what became of it.
    pub(crate) notes: Fd,
    pub(crate) streams: [Option<Fd>; 3],
    pub(crate) directory: Option<Fd>,
    pub(crate) umask: Option<u32>,
    /// All variables, `name=value` with a zero behind each, if they are not those of the zygote.
    pub(crate) environment: Option<Vec<u8>>,
}

/// What a child of the zygote says first.
#[derive(Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) program: Vec<u8>,
    pub(crate) pid: u32,
    pub(crate) process: Fd,
}

pub(crate) fn send<T: Serialize>(socket: &Fd, value: &T) -> Result<(), mp_wire::Error> {
    let message = mp_wire::encode(value)?;
    socket::send(socket, &message.bytes, &message.fds, Deadline::NEVER)
}

pub(crate) fn recv<T: DeserializeOwned>(socket: &Fd) -> Result<T, mp_wire::Error> {
    socket::recv(socket, Limits::default(), Deadline::NEVER)?.decode()
}
