//! Which worker gets a unit: the one that would begin it first; and what one has queued goes to another that has nothing to do.

use super::*;

/// How much work, in time, is sent ahead to a worker.
pub(super) const AHEAD: Duration = Duration::from_micros(200);

/// The fewest and the most units that a worker has, the running one included.
pub(super) const DEPTH: (u64, u64) = (2, 512);

/// The most bytes that are sent ahead to a worker, beyond its second unit.
const AHEAD_BYTES: usize = 1 << 20;

/// As how many bytes a descriptor counts there: a socket holds those of a few hundred messages, and a user so many in all.
const FD_BYTES: usize = AHEAD_BYTES / 64;

/// What it takes to give work to an idle worker, rather than to queue it at one that is at work; to wake one that sleeps, about;
/// and how long one looks for work before it does.
const REACHING: Duration = Duration::from_micros(3);
const WAKING: Duration = Duration::from_micros(50);
const AWAKE: Duration = Duration::from_micros(30);

/// What a unit is thought to take before one has been seen: long enough to be worth waking somebody for.
const UNKNOWN: Duration = Duration::from_millis(1);

impl<L: Link> Dispatcher<L> {
    /// Sends what is pending to whoever has room.
    pub(super) fn dispatch(&mut self) {
        loop {
            let mut moment = None;
            while !self.pending.is_empty() {
                let Some(slot) = self.roomiest(&mut moment) else { break };
                let Some(unit) = self.pending.pop_front() else { break };
                self.pending_bytes -= unit.parcel.bytes.len();
                self.assign(slot, unit);
            }
            // What comes back goes to those who still have room.
            if (0..self.workers.len()).all(|slot| self.send(slot)) {
                return;
            }
        }
    }

    /// The worker that would begin a unit first, a ready one and then the one that was active last where they tie.
    fn roomiest(&self, moment: &mut Option<Instant>) -> Option<usize> {
        let mut with_room = self.workers.iter().enumerate().filter_map(|(slot, worker)| {
            worker.as_ref().filter(|worker| worker.has_room()).map(|worker| (slot, worker))
        });
        let first = with_room.next()?;
        let Some(second) = with_room.next() else { return Some(first.0) };
        let now = *moment.get_or_insert_with(now);
        let least = [first, second].into_iter().chain(with_room).min_by_key(|(_, worker)| {
            (worker.start_in(now), !worker.ready, std::cmp::Reverse(worker.since))
        });
        least.map(|(slot, _)| slot)
    }

    /// Gives a unit to a worker; it is under way with the next [`Self::send`].
    fn assign(&mut self, slot: usize, mut unit: Unit) {
        let Some(worker) = &mut self.workers[slot] else { return };
        let may_have = self.max_tasks.map_or(u64::MAX, |most| most.saturating_sub(worker.tasks));
        if let Some(most) = u32::try_from(may_have).ok().filter(|&most| most < unit.parcel.items())
        {
            // The worker is let go after these; the others are for the next one.
            let (middle, end) = (unit.parcel.from + most.max(1), unit.parcel.end);
            let mut rest = unit.section(middle, end);
            rest.parcel.id = self.next_id;
            self.next_id += 1;
            unit.parcel.end = middle;
            self.put(rest, true);
        }
        let Some(worker) = &mut self.workers[slot] else { return };
        let Parcel { from: next, bytes, fds, .. } = &unit.parcel;
        let (next, bytes) = (*next, bytes.len() + fds.len() * FD_BYTES);
        worker.tasks += u64::from(unit.parcel.items());
        worker.bytes += bytes;
        worker.unsent += 1;
        worker.closing = self.max_tasks.is_some_and(|most| worker.tasks >= most);
        self.in_flight += 1;
        self.limited += usize::from(unit.job.terms.are_limited());
        worker.in_flight.push_back(Ticket { unit, bytes, next, nanos: 0 });
    }

    /// Sends a worker what it was given; says whether nothing came back.
    fn send(&mut self, slot: usize) -> bool {
        let Some(worker) = &mut self.workers[slot] else { return true };
        let unsent = std::mem::take(&mut worker.unsent);
        if unsent == 0 {
            return true;
        }
        let first = worker.in_flight.len() - unsent;
        let parcels = worker.in_flight.range(first..).map(|ticket| &ticket.unit.parcel);
        let (sent, refusal) = match worker.link.send_all(parcels) {
            Ok(()) => (unsent, None),
            Err((sent, refusal)) => (sent, Some(refusal)),
        };
        if first == 0 && sent > 0 {
            worker.since = now();
        }
        for ticket in worker.in_flight.range_mut(first..first + sent) {
            if !ticket.unit.is_kept() {
                ticket.unit.parcel.bytes = Vec::new();
                ticket.unit.parcel.fds = Vec::new();
            }
        }
        if let Some(refusal) = refusal {
            let back = worker.in_flight.split_off(first + sent);
            self.take_refused(slot, back, refusal);
            return false;
        }
        if worker.closing {
            worker.link.close();
        }
        true
    }

    /// Takes units back that were not sent; the refusal is about the first of them.
    fn take_refused(&mut self, slot: usize, mut units: VecDeque<Ticket>, refusal: Unsent) {
        for ticket in &units {
            self.release(slot, ticket);
        }
        let Some(worker) = &mut self.workers[slot] else { return };
        worker.tasks -=
            units.iter().map(|ticket| u64::from(ticket.unit.parcel.items())).sum::<u64>();
        worker.closing = false;
        match refusal {
            Unsent::Full => worker.full = true,
            Unsent::Broken => worker.abandon(),
            Unsent::Refused(error) => {
                if let Some(ticket) = units.pop_front() {
                    let items = ticket.unit.parcel.items();
                    self.finish(&ticket.unit, ticket.next, items, Err(TaskError::Transport(error)));
                }
            }
        }
        for ticket in units.into_iter().rev() {
            self.put(ticket.unit, true);
        }
    }

    /// Gives idle workers what others have queued. Says whether there is something to look at again soon.
    pub(super) fn level(&mut self) -> bool {
        loop {
            let idle = self.workers.iter().position(|worker| {
                let worker = worker.as_ref().filter(|worker| worker.ready);
                worker.is_some_and(|worker| worker.in_flight.is_empty() && worker.has_room())
            });
            let Some(idle) = idle else { return false };
            let busiest =
                self.workers.iter().enumerate().filter_map(|(slot, worker)| {
                    worker.as_ref().map(|worker| (worker.spare(), slot))
                });
            let Some((1.., busiest)) = busiest.max() else { return false };
            let Some(worker) = &mut self.workers[busiest] else { return false };
            if !worker.is_behind(now()) {
                return true;
            }
            match self.take_back(busiest) {
                Some(unit) => self.assign(idle, unit),
                None => return true,
            }
            self.send(idle);
            if !self.pending.is_empty() {
                return true;
            }
        }
    }

    /// Takes a unit back that a worker, alive or dead, had not taken.
    pub(super) fn take_back(&mut self, slot: usize) -> Option<Unit> {
        let worker = self.workers.get_mut(slot)?.as_mut()?;
        let parcel = match worker.link.take_back() {
            Ok(parcel) => parcel?,
            Err(Broken) => {
                worker.abandon();
                return None;
            }
        };
        let at = worker.in_flight.iter().position(|ticket| ticket.id() == parcel.id);
        let Some(ticket) = at.and_then(|at| worker.in_flight.remove(at)) else {
            worker.abandon();
            return None;
        };
        worker.tasks -= u64::from(parcel.items());
        self.release(slot, &ticket);
        Some(Unit { parcel, ..ticket.unit })
    }

    /// Says whether a feeder should wait before it submits more.
    pub(crate) fn is_fed(&self) -> bool {
        if self.here.is_some() {
            // Whoever submits works it off.
            return false;
        }
        let workers = self.workers.len();
        self.pending.len() >= 64.max(workers)
            || (self.pending.len() >= workers && self.pending_bytes > 4 * AHEAD_BYTES)
    }
}

impl<L> Worker<L> {
    fn depth(&self) -> u64 {
        let ahead = u64::try_from(AHEAD.as_nanos()).unwrap_or(u64::MAX);
        ahead.checked_div(self.pace).map_or(DEPTH.0, |units| units.clamp(DEPTH.0, DEPTH.1))
    }

    fn has_room(&self) -> bool {
        let count = self.in_flight.len() as u64;
        !self.closing
            && !self.full
            && count < self.depth()
            && (count < DEPTH.0 || self.bytes < AHEAD_BYTES)
    }

    /// In how many nanoseconds it would begin another unit, about.
    ///
    /// A worker that has just been at work looks for more before it sleeps. Short units are better queued there than given to one
    /// that has to be woken.
    fn start_in(&self, now: Instant) -> u128 {
        let queued = self.in_flight.len() as u128;
        let pace = if self.pace == 0 { UNKNOWN.as_nanos() } else { self.pace.into() };
        let first = match queued {
            _ if !self.ready => UNKNOWN.as_nanos(),
            0 if now.duration_since(self.since) > AWAKE => WAKING.as_nanos(),
            0 => REACHING.as_nanos(),
            _ => 0,
        };
        first + queued * pace
    }

    /// How many of its units it cannot be running: they may go to another.
    pub(super) fn spare(&self) -> usize {
        self.in_flight.len().saturating_sub(usize::from(self.ready))
    }

    /// What it has queued looks long enough to be worth giving to another.
    fn is_behind(&self, now: Instant) -> bool {
        let expected = self.pace.saturating_mul(self.in_flight.len() as u64);
        self.spare() > 0
            && (u128::from(expected) > AHEAD.as_nanos() / 2
                || now.duration_since(self.since) >= SLOW)
    }
}
