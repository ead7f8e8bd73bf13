//! What the dispatcher needs of the way to a worker, whatever lies behind it.

use std::error::Error as StdError;
use std::sync::Arc;

use mp_wire::{Fd, Message};

/// Work for a worker: one task or a chunk of them, as bytes.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// Names the unit in the worker's reply.
    pub(crate) id: u64,
    /// How many tasks there are in it.
    pub(crate) items: u32,
    /// What to run, in a form that the transport's workers understand.
    pub(crate) entry: u64,
    /// The arguments.
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<Fd>,
}

/// What a worker says.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Its initializer has run; it waits for work.
    Ready,
    /// Its initializer failed: the error or the panic.
    Failed(String),
    /// A unit is done.
    Done {
        id: u64,
        /// How long it took, in nanoseconds.
        nanos: u64,
        result: Message,
    },
}

/// Why a parcel was not sent.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// There is no room now; there will be when the worker has taken something.
    Full(Parcel),
    /// It cannot be sent at all, for want of memory or descriptors.
    Refused(Parcel, Arc<dyn StdError + Send + Sync>),
    /// What the worker left in shared memory makes no sense.
    Broken(Parcel),
}

/// What the worker left in shared memory makes no sense: it is not to be talked to any more.
#[derive(Debug)]
pub(crate) struct Broken;

/// The way to one worker and back. Nothing here waits for the worker.
pub(crate) trait Link: Send {
    /// Hands a parcel over, behind those that are under way.
    fn send(&mut self, parcel: Parcel) -> Result<(), Unsent>;

    /// Takes the next reply, if there is one; also after the worker's death.
    fn receive(&mut self) -> Result<Option<Reply>, Broken>;

    /// Takes the oldest parcel back that the worker has not taken yet; also after its death.
    fn take_back(&mut self) -> Result<Option<Parcel>, Broken>;

    /// Says that no parcel follows: the worker ends when it has done those that it has.
    fn close(&mut self);

    /// Ends the worker at once.
    fn kill(&self);

    /// The number of the worker's process.
    fn pid(&self) -> u32;
}
