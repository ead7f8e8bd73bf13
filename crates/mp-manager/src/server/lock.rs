//! The server's side of `Lock`: who holds it, and who waits.
//!
//! The holder is a connection. When it is closed, because its process has ended or was killed, the lock goes to the
//! next one in line, who is told.

use std::collections::VecDeque;
use std::sync::Arc;

use mp_wire::Message;
use parking_lot::Mutex;

use crate::registry::Registry;
use crate::server::object::{Object, unknown};
use crate::server::session::Reply;
use crate::{Error, ErrorKind};

pub(crate) const NEW: &str = "Lock";
pub(crate) const LOCK: &str = "lock";
pub(crate) const TRY_LOCK: &str = "try_lock";
pub(crate) const UNLOCK: &str = "unlock";
pub(crate) const IS_LOCKED: &str = "is_locked";

/// What one who gets the lock is told: that the last holder died with it. One who does not get it is told nothing.
pub(crate) type Granted = Option<bool>;

pub(crate) fn register(registry: &mut Registry) {
    registry.special(
        NEW,
        Box::new(|_, _| -> Result<Arc<dyn Object>, Error> { Ok(Arc::new(Lock::default())) }),
    );
}

#[derive(Default)]
struct Lock {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    holder: Option<u64>,
    /// A holder died or panicked, and nobody has been told so far.
    died: bool,
    waiting: VecDeque<Reply>,
}

impl Lock {
    /// Gives the lock, which is free, to one client; `false` if that client is gone.
    fn grant(self: &Arc<Self>, state: &mut State, reply: &Reply) -> bool {
        let object: Arc<dyn Object> = self.clone();
        // Before the client can know: once it does, its death must be noticed.
        if !reply.hold(object.clone()) {
            return false;
        }
        state.holder = Some(reply.client());
        if reply.send_value(&Granted::Some(state.died)) {
            state.died = false;
            return true;
        }
        state.holder = None;
        reply.let_go(&object);
        false
    }

    /// Gives the lock, which its holder no longer has, to the first in line who is there.
    fn pass_on(self: &Arc<Self>, state: &mut State) {
        state.holder = None;
        while let Some(reply) = state.waiting.pop_front() {
            if self.grant(state, &reply) {
                break;
            }
        }
    }

    fn unlock(self: &Arc<Self>, args: &Message, reply: &Reply) -> Result<(), Error> {
        let panicked: bool = args.decode().map_err(Error::of_value)?;
        let mut state = self.state.lock();
        if state.holder != Some(reply.client()) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the lock is not held by the one who releases it",
            ));
        }
        let object: Arc<dyn Object> = self.clone();
        reply.let_go(&object);
        state.died |= panicked;
        self.pass_on(&mut state);
        Ok(())
    }
}

impl Object for Lock {
    fn call(self: Arc<Self>, method: &str, args: Message, reply: Reply) {
        match method {
            LOCK | TRY_LOCK => {
                let mut state = self.state.lock();
                if state.holder.is_none() {
                    self.grant(&mut state, &reply);
                } else if method == TRY_LOCK {
                    reply.send_value(&Granted::None);
                } else {
                    let object: Arc<dyn Object> = self.clone();
                    reply.wait_on(&object);
                    state.waiting.push_back(reply);
                }
            }
            UNLOCK => {
                let result = self.unlock(&args, &reply).and_then(|()| super::value(&()));
                reply.send(result);
            }
            IS_LOCKED => {
                let locked = self.state.lock().holder.is_some();
                reply.send_value(&locked);
            }
            _ => {
                reply.send(Err(unknown(method, NEW)));
            }
        }
    }

    fn cancel(self: Arc<Self>, client: u64) {
        let mut state = self.state.lock();
        let place = state.waiting.iter().position(|reply| reply.client() == client);
        if let Some(reply) = place.and_then(|index| state.waiting.remove(index)) {
            reply.send_value(&Granted::None);
        }
    }

    fn gone(self: Arc<Self>, client: u64) {
        let mut state = self.state.lock();
        state.waiting.retain(|reply| reply.client() != client);
        if state.holder == Some(client) {
            state.died = true;
            self.pass_on(&mut state);
        }
    }
}
