//! The server's side of `Queue`: items, and the clients that wait for one or for room.
//!
//! No thread waits. A client that has to is put in line with its request, and the one that makes it possible for it
//! to go on gives it its answer.

use std::collections::VecDeque;
use std::sync::Arc;

use mp_wire::Message;
use parking_lot::Mutex;

use crate::blob::Blob;
use crate::registry::Registry;
use crate::server::object::{Object, unknown};
use crate::server::session::Reply;
use crate::{Error, ErrorKind};

pub(crate) const NEW: &str = "Queue";
pub(crate) const PUT: &str = "put";
pub(crate) const TRY_PUT: &str = "try_put";
pub(crate) const GET: &str = "get";
pub(crate) const TRY_GET: &str = "try_get";
pub(crate) const LEN: &str = "len";

/// What a put comes to: whether the item is in the queue.
pub(crate) type Put = bool;

/// What a get comes to.
pub(crate) type Got = Option<Blob>;

pub(crate) fn register(registry: &mut Registry) {
    registry.special(
        NEW,
        Box::new(|_, args| -> Result<Arc<dyn Object>, Error> {
            let bound: Option<u64> = args.decode().map_err(Error::of_value)?;
            if bound == Some(0) {
                let what = "a queue with room for nothing would never take an item";
                return Err(Error::new(ErrorKind::InvalidInput, what));
            }
            let bound =
                bound.map_or(usize::MAX, |bound| usize::try_from(bound).unwrap_or(usize::MAX));
            Ok(Arc::new(Queue { bound, state: Mutex::default() }))
        }),
    );
}

struct Queue {
    bound: usize,
    state: Mutex<State>,
}

/// Never both: items and clients that wait for one; room and clients that wait for it.
#[derive(Default)]
struct State {
    items: VecDeque<Blob>,
    getting: VecDeque<Reply>,
    putting: VecDeque<(Blob, Reply)>,
}

impl Queue {
    /// Gives an item to the first in line who is there, or keeps it.
    fn add(state: &mut State, item: Blob) {
        while let Some(reply) = state.getting.pop_front() {
            if reply.send_value(&Got::Some(item.clone())) {
                return;
            }
        }
        state.items.push_back(item);
    }

    fn put(self: &Arc<Self>, method: &str, args: &Message, reply: Reply) {
        let item: Blob = match args.decode() {
            Ok(item) => item,
            Err(error) => {
                reply.send(Err(Error::of_value(error)));
                return;
            }
        };
        let mut state = self.state.lock();
        if state.items.len() < self.bound {
            Self::add(&mut state, item);
            reply.send_value(&Put::from(true));
        } else if method == TRY_PUT {
            reply.send_value(&Put::from(false));
        } else {
            let object: Arc<dyn Object> = self.clone();
            reply.wait_on(&object);
            state.putting.push_back((item, reply));
        }
    }

    fn get(self: &Arc<Self>, method: &str, reply: Reply) {
        let mut state = self.state.lock();
        if let Some(item) = state.items.pop_front() {
            if reply.send_value(&Got::Some(item.clone())) {
                Self::let_in(&mut state);
            } else {
                // The client is gone. The item stays the first.
                state.items.push_front(item);
            }
        } else if method == TRY_GET {
            reply.send_value(&Got::None);
        } else {
            let object: Arc<dyn Object> = self.clone();
            reply.wait_on(&object);
            state.getting.push_back(reply);
        }
    }

    /// Fills the room that there is now from those who wait for it.
    fn let_in(state: &mut State) {
        if let Some((item, reply)) = state.putting.pop_front() {
            state.items.push_back(item);
            reply.send_value(&Put::from(true));
        }
    }
}

impl Object for Queue {
    fn call(self: Arc<Self>, method: &str, args: Message, reply: Reply) {
        match method {
            PUT | TRY_PUT => self.put(method, &args, reply),
            GET | TRY_GET => self.get(method, reply),
            LEN => {
                let len = self.state.lock().items.len();
                reply.send_value(&(len as u64, len >= self.bound));
            }
            _ => {
                reply.send(Err(unknown(method, NEW)));
            }
        }
    }

    fn cancel(self: Arc<Self>, client: u64) {
        let mut state = self.state.lock();
        let place = state.getting.iter().position(|reply| reply.client() == client);
        if let Some(reply) = place.and_then(|index| state.getting.remove(index)) {
            reply.send_value(&Got::None);
        }
        let place = state.putting.iter().position(|(_, reply)| reply.client() == client);
        if let Some((_, reply)) = place.and_then(|index| state.putting.remove(index)) {
            reply.send_value(&Put::from(false));
        }
    }

    fn gone(self: Arc<Self>, client: u64) {
        let mut state = self.state.lock();
        state.getting.retain(|reply| reply.client() != client);
        state.putting.retain(|(_, reply)| reply.client() != client);
    }
}
