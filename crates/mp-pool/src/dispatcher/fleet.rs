//! How many workers there should be: as many as were asked for, or as many as there is work for.

use super::*;

/// How many workers a pool is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fleet {
    /// How many it should have now.
    pub(crate) wanted: usize,
    /// Between what numbers it may choose itself; the same if it may not.
    pub(crate) least: usize,
    pub(crate) most: usize,
    /// A worker with nothing to do for so long is let go.
    pub(crate) idle: Option<Duration>,
}

impl Fleet {
    pub(crate) fn fixed(workers: usize) -> Self {
        Self { wanted: workers, least: workers, most: workers, idle: None }
    }
}

impl<L: Link> Dispatcher<L> {
    pub(crate) fn fleet(&self) -> Fleet {
        self.fleet
    }

    /// Wants more workers if there is more work than they can begin. Says whether it does.
    pub(crate) fn demand(&mut self) -> bool {
        let Fleet { wanted, most, .. } = self.fleet;
        if wanted >= most || self.ended.is_some() {
            return false;
        }
        let busy = self.outstanding().min(most);
        self.fleet.wanted = wanted.max(busy);
        self.fleet.wanted > wanted
    }

    /// Wants so many more workers, or fewer.
    pub(crate) fn resize(&mut self, workers: usize) {
        self.fleet = Fleet { idle: self.fleet.idle, ..Fleet::fixed(workers) };
        let mut working = self.workers.iter().flatten().filter(|worker| !worker.closing).count();
        while working > workers {
            let least = self.workers.iter_mut().flatten().filter(|worker| !worker.closing);
            let Some(worker) = least.min_by_key(|worker| (worker.in_flight.len(), worker.ready))
            else {
                return;
            };
            worker.dismiss();
            working -= 1;
        }
    }

    /// Lets workers go that have had nothing to do for long; gives the time at which to look again.
    pub(crate) fn retire(&mut self) -> Option<Instant> {
        let idle = self.fleet.idle?;
        // Nobody has listened to one that got ready when all was done.
        for slot in 0..self.workers.len() {
            if self.workers[slot].as_ref().is_some_and(|worker| !worker.ready) {
                self.collect_from(slot);
            }
        }
        let now = now();
        let mut again: Option<Instant> = None;
        for worker in self.workers.iter_mut().flatten() {
            if self.fleet.wanted <= self.fleet.least {
                return None;
            }
            if worker.closing || !worker.ready || !worker.in_flight.is_empty() {
                continue;
            }
            let due = after(worker.since, idle);
            if due <= now {
                worker.dismiss();
                self.fleet.wanted -= 1;
            } else {
                again = Some(again.map_or(due, |again| again.min(due)));
            }
        }
        // The busy ones may become idle at any time.
        (self.fleet.wanted > self.fleet.least).then(|| again.unwrap_or_else(|| after(now, idle)))
    }

    /// A worker leaves by itself, between two tasks: what it has is given to others.
    pub(super) fn part(&mut self, slot: usize) {
        let Some(worker) = &mut self.workers[slot] else { return };
        worker.dismiss();
        for unit in self.take_all_back(slot).into_iter().rev() {
            self.put(unit, true);
        }
        // What it has begun goes on with the first task that has no result. Units that are not kept have one task, which is done.
        let Some(worker) = &mut self.workers[slot] else { return };
        let (begun, rest) = worker.in_flight.drain(..).partition(|ticket| ticket.unit.is_kept());
        worker.in_flight = rest;
        let begun: VecDeque<Ticket> = begun;
        for ticket in begun.into_iter().rev() {
            self.release(slot, &ticket);
            let (next, end) = (ticket.next, ticket.unit.parcel.end);
            self.again(ticket, next, end);
        }
    }

    /// The worker of this name, if it was not seen to end.
    pub(super) fn worker(&self, id: WorkerId) -> Option<&Worker<L>> {
        let worker = self.workers.get(id.slot)?.as_ref();
        worker.filter(|worker| worker.generation == id.generation)
    }

    /// Says whether it is there, and its initializer has not run.
    pub(crate) fn is_starting(&self, id: WorkerId) -> bool {
        self.worker(id).is_some_and(|worker| !worker.ready)
    }

    /// An empty slot for a worker, a new one if need be.
    pub(crate) fn vacancy(&mut self) -> usize {
        match self.workers.iter().position(Option::is_none) {
            Some(slot) => slot,
            None => {
                self.workers.push(None);
                self.workers.len() - 1
            }
        }
    }
}

impl<L: Link> Worker<L> {
    /// Lets it go when it has done what it has.
    fn dismiss(&mut self) {
        self.closing = true;
        self.link.close();
    }
}
