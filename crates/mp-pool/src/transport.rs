//! What the dispatcher needs of the way to a worker, whatever lies behind it.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use mp_wire::{Fd, Message};

/// Work for a worker: one task or a chunk of them, as bytes.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// Names the unit in the worker's reply.
    pub(crate) id: u64,
    /// Which of the tasks in it are to run: from the first of these, up to the second.
    pub(crate) from: u32,
    pub(crate) end: u32,
    /// What to run, in a form that the transport's workers understand.
    pub(crate) entry: u64,
    /// The arguments.
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<Fd>,
}

impl Parcel {
    /// How many tasks are to run.
    pub(crate) fn items(&self) -> u32 {
        self.end - self.from
    }
}

/// What a worker says.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Its initializer has run; it waits for work.
    Ready {
        /// Since when, by the clock of [`sys::now`](crate::sys::now).
        at: u64,
    },
    /// Its initializer failed: the error or the panic.
    Failed(String),
    /// Tasks of a unit are done, those after the ones that it named before.
    Done {
        id: u64,
        /// How many tasks; a unit is done with its last one.
        items: u32,
        /// How long they took, in nanoseconds.
        nanos: u64,
        /// When the last of them was done, by the clock of [`sys::now`](crate::sys::now).
        end: u64,
        /// At least one of them panicked.
        panicked: bool,
        /// The worker ends after this, in order: what it has not done is for others.
        leaving: bool,
        result: Message,
    },
}

/// Why a parcel was not sent.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// There is no room now; there will be when the worker has taken something.
    Full,
    /// It cannot be sent at all, for want of memory or descriptors.
    Refused(Arc<dyn StdError + Send + Sync>),
    /// What the worker left in shared memory makes no sense.
    Broken,
}

/// What a process uses, as far as it can be told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Bytes of memory of its own that are resident.
    pub(crate) resident: Option<u64>,
    pub(crate) cpu: Option<Duration>,
}

/// What the worker left in shared memory makes no sense: it is not to be talked to any more.
#[derive(Debug)]
pub(crate) struct Broken;

/// The way to one worker and back. Nothing here waits for the worker.
pub(crate) trait Link: Send {
    /// Hands a parcel over, behind those that are under way.
    fn send(&mut self, parcel: &Parcel) -> Result<(), Unsent>;

    /// Hands parcels over, in this order. If not all: how many, and why not the next one.
    fn send_all<'p>(
        &mut self,
        parcels: impl Iterator<Item = &'p Parcel>,
    ) -> Result<(), (usize, Unsent)> {
        for (sent, parcel) in parcels.enumerate() {
            self.send(parcel).map_err(|error| (sent, error))?;
        }
        Ok(())
    }

    /// Takes the next reply, if there is one; also after the worker's death.
    fn receive(&mut self) -> Result<Option<Reply>, Broken>;

    /// Takes the oldest parcel back that the worker has not taken yet; also after its death.
    fn take_back(&mut self) -> Result<Option<Parcel>, Broken>;

    /// Says that no parcel follows: the worker ends when it has done those that it has.
    fn close(&mut self);

    /// Which task it has begun last, or would begin next: the unit's number, of which half is enough, and the place in it.
    fn at(&self) -> (u32, u32);

    /// Asks the unit with this number to stop.
    fn ask_to_stop(&self, id: u64);

    /// Asking a unit to stop also interrupts it, for which the time may be wrong: it has to be asked again.
    fn interrupts(&self) -> bool {
        false
    }

    /// What the worker's process uses.
    fn usage(&self) -> Usage;

    /// Ends the worker at once.
    fn kill(&self);

    /// The number of the worker's process.
    fn pid(&self) -> u32;
}
