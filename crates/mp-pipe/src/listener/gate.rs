//! Those who have connected and have not proved themselves.
//!
//! Nobody here is waited for alone: one epoll descriptor tells of new clients, of records that have come, and of the
//! time when the next of them has been silent for too long. A call takes what steps there are and returns at the first
//! result, so that whatever else there is keeps the descriptor readable.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use mp_wire::Deadline;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::place::Place;
use crate::handshake::wire::Wire;
use crate::handshake::{Handshake, Secret, denial};
use crate::{Error, ErrorKind, Users, sys};

const NEW_CLIENT: u64 = 0;
const TIME: u64 = 1;
/// Clients have the numbers from here.
const FIRST: u64 = 2;

/// Under pressure a client may take this part of the time.
const PRESSURE: u32 = 10;

#[derive(Debug)]
pub(super) struct Gate {
    users: Users,
    /// Without a key there is nothing to prove.
    hall: Option<Hall>,
}

/// An epoll descriptor that outlives the lock.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Epoll>);

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

impl Gate {
    pub(super) fn new(
        place: &Place,
        secret: Option<Secret>,
        users: Users,
        patience: Duration,
        most: usize,
    ) -> Result<Self, Error> {
        let hall = secret.map(|secret| Hall::new(place, secret, patience, most)).transpose();
        Ok(Self { users, hall: hall.map_err(no_hall)? })
    }

    pub(super) fn shared(&self) -> Option<Shared> {
        self.hall.as_ref().map(|hall| Shared(Arc::clone(&hall.epoll)))
    }

    /// Does what there is to do, until there is a client to give or an error to tell.
    pub(super) fn step(&mut self, place: &Place) -> Result<Option<Wire>, Error> {
        match &mut self.hall {
            None => enter(place, &self.users, false),
            Some(hall) => hall.step(place, &self.users),
        }
    }
}

/// Accepts a client whose user is allowed.
fn enter(place: &Place, users: &Users, keyed: bool) -> Result<Option<Wire>, Error> {
    let Some(wire) = place.accept()? else { return Ok(None) };
    let peer = wire.peer().map_err(|error| Error::from_io("a client went away", error))?;
    if users.allow(peer) {
        return Ok(Some(wire));
    }
    if keyed {
        let _ = wire.send(&denial());
    }
    Err(Error::new(ErrorKind::Denied, format!("{peer} may not connect")))
}

/// One who is about to prove the key.
#[derive(Debug)]
struct Guest {
    wire: Wire,
    handshake: Handshake,
    /// Gone when it has not proved itself by then.
    deadline: Deadline,
    /// The same, when there are too many.
    pressed: Deadline,
}

#[derive(Debug)]
struct Hall {
    secret: Secret,
    patience: Duration,
    most: usize,
    epoll: Arc<Epoll>,
    timer: TimerFd,
    guests: BTreeMap<u64, Guest>,
    next: u64,
    /// Whether the epoll descriptor tells of new clients.
    open: bool,
    /// A forked copy has guests, and an epoll descriptor, of its own.
    process: u32,
}

impl Hall {
    fn new(place: &Place, secret: Secret, patience: Duration, most: usize) -> io::Result<Self> {
        let _placeholders = mp_wire::occupy_streams();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIME))?;
        epoll.add(place, EpollEvent::new(EpollFlags::EPOLLIN, NEW_CLIENT))?;
        Ok(Self {
            secret,
            patience,
            most,
            epoll: Arc::new(epoll),
            timer,
            guests: BTreeMap::new(),
            next: FIRST,
            open: true,
            process: std::process::id(),
        })
    }

    fn step(&mut self, place: &Place, users: &Users) -> Result<Option<Wire>, Error> {
        if self.process != std::process::id() {
            // The guests are the other process's, and so is what it polls.
            let fresh = Self::new(place, self.secret.clone(), self.patience, self.most);
            *self = fresh.map_err(no_hall)?;
        }
        let result = self.take_steps(place, users);
        let arranged = self.arrange(place);
        let result = result?;
        arranged.map_err(no_hall)?;
        Ok(result)
    }

    fn take_steps(&mut self, place: &Place, users: &Users) -> Result<Option<Wire>, Error> {
        let mut events = [EpollEvent::empty(); 16];
        let count = sys::retry(|| self.epoll.wait(&mut events, EpollTimeout::ZERO));
        let count = count.map_err(no_hall)?;
        for event in &events[..count] {
            let result = match event.data() {
                NEW_CLIENT => self.enter(place, users),
                TIME => Ok(None),
                guest => self.advance(guest),
            };
            match result {
                Ok(None) => {}
                other => return other,
            }
        }
        // Last, so that whoever has just answered is not too late.
        self.expire()
    }

    fn enter(&mut self, place: &Place, users: &Users) -> Result<Option<Wire>, Error> {
        let Some(wire) = enter(place, users, true)? else { return Ok(None) };
        let number = self.next;
        let interest = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, number);
        self.epoll.add(&wire, interest).map_err(|error| no_hall(error.into()))?;
        self.next += 1;
        let guest = Guest {
            wire,
            handshake: Handshake::listener(self.secret.clone()),
            deadline: Deadline::after(self.patience),
            pressed: Deadline::after(self.patience / PRESSURE),
        };
        self.guests.insert(number, guest);
        // Most have spoken already.
        self.advance(number)
    }

    fn advance(&mut self, number: u64) -> Result<Option<Wire>, Error> {
        let Some(guest) = self.guests.get_mut(&number) else { return Ok(None) };
        match guest.wire.advance(&mut guest.handshake) {
            Ok(false) => Ok(None),
            Ok(true) => Ok(self.leave(number)),
            Err(error) => {
                self.leave(number);
                Err(error)
            }
        }
    }

    fn leave(&mut self, number: u64) -> Option<Wire> {
        let guest = self.guests.remove(&number)?;
        // Closing would not do it while a forked copy has the descriptor too.
        let _ = self.epoll.delete(&guest.wire);
        Some(guest.wire)
    }

    fn is_full(&self) -> bool {
        self.guests.len() >= self.most
    }

    /// Gives up one who was silent for too long.
    fn expire(&mut self) -> Result<Option<Wire>, Error> {
        let full = self.is_full();
        let late = |guest: &Guest| if full { guest.pressed } else { guest.deadline }.is_past();
        // The oldest is the first to be late.
        let Some((&number, _)) = self.guests.first_key_value().filter(|(_, guest)| late(guest))
        else {
            return Ok(None);
        };
        self.leave(number);
        Err(Error::new(ErrorKind::Handshake, "a client did not prove its key in time"))
    }

    /// Lets new clients in if there is room, and sets the time of the next who is late.
    fn arrange(&mut self, place: &Place) -> io::Result<()> {
        let full = self.is_full();
        if self.open == full {
            if full {
                self.epoll.delete(place)?;
            } else {
                self.epoll.add(place, EpollEvent::new(EpollFlags::EPOLLIN, NEW_CLIENT))?;
            }
            self.open = !full;
        }
        let first = self.guests.first_key_value().map(|(_, guest)| guest);
        let next =
            first.and_then(|guest| if full { guest.pressed } else { guest.deadline }.remaining());
        match next {
            Some(left) => {
                // A timer of no time would be none.
                let left = TimeSpec::from_duration(left.max(Duration::from_nanos(1)));
                self.timer.set(Expiration::OneShot(left), TimerSetTimeFlags::empty())?;
            }
            None => self.timer.unset()?,
        }
        Ok(())
    }
}

impl AsFd for Hall {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

fn no_hall(error: io::Error) -> Error {
    Error::from_io("clients cannot be waited for", error)
}
