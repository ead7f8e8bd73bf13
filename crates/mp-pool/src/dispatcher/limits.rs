//! Ends tasks before their time: at their limits, or because they are cancelled; and runs again what is to be run again.
//!
//! A worker is ended for the sake of one unit only, when it has no other: what it has queued is taken back first. If it
//! has answered in between, its answer counts.

use super::*;

/// How often resident memory and processor time are looked at.
const WATCH: Duration = Duration::from_millis(10);

/// How long after an interrupt comes the next one, at first and at last.
const NUDGES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How often a unit is given out again whose worker died before it had begun a task of it.
const BLAMELESS: u32 = 3;

/// What became of a request to cancel a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cancelled {
    /// Units that ended with it, or will as soon as their workers have.
    pub(crate) ended: usize,
    /// Units that are running and go on.
    pub(crate) running: usize,
}

impl Unit {
    /// After what delay to run it again, if that is to be; counts the attempt.
    pub(super) fn retry(&mut self, failure: Failure<'_>) -> Option<Duration> {
        if self.parcel.items() != 1 {
            return None;
        }
        let delay = self.job.terms.retry?.after(self.attempts, failure)?;
        self.attempts += 1;
        Some(delay)
    }
}

impl<L: Link> Dispatcher<L> {
    /// Keeps a unit until it is to be run again.
    pub(super) fn delay(&mut self, mut unit: Unit, delay: Duration) {
        unit.parcel.id = self.next_id;
        self.next_id += 1;
        if delay.is_zero() {
            self.put(unit, true);
        } else {
            self.delayed.push((after(now(), delay), unit));
        }
    }

    /// Hands out what has been delayed long enough.
    pub(super) fn revive(&mut self) -> bool {
        if self.delayed.is_empty() {
            return false;
        }
        let now = now();
        let mut any = false;
        let mut at = 0;
        while let Some((due, _)) = self.delayed.get(at) {
            if *due <= now {
                let (_, unit) = self.delayed.swap_remove(at);
                self.put(unit, true);
                any = true;
            } else {
                at += 1;
            }
        }
        any
    }

    /// Takes everything back that a worker has not taken, in order.
    pub(super) fn take_all_back(&mut self, slot: usize) -> Vec<Unit> {
        std::iter::from_fn(|| self.take_back(slot)).collect()
    }

    /// Takes everything back that no worker has begun, so that it is given out in a new order.
    pub(super) fn recall(&mut self) {
        for slot in 0..self.workers.len() {
            if self.workers[slot].as_ref().is_some_and(|worker| !worker.in_flight.is_empty()) {
                for unit in self.take_all_back(slot).into_iter().rev() {
                    self.put(unit, true);
                }
            }
        }
    }

    /// Leaves a worker what it has taken and not answered, and nothing else.
    fn settle(&mut self, slot: usize) {
        let untouched = self.take_all_back(slot);
        self.collect_from(slot);
        for unit in untouched.into_iter().rev() {
            self.put(unit, true);
        }
    }

    /// A worker died with this unit: its task at hand fails or is retried, the others are given out again.
    ///
    /// If the worker was ended for the sake of one task of the unit, and had gone on to another meanwhile, none is to blame.
    pub(super) fn blame(
        &mut self,
        mut ticket: Ticket,
        at: Option<(u32, u32)>,
        doomed: Option<u32>,
        error: &TaskError,
    ) {
        let place = at.filter(|&(unit, _)| unit == ticket.id() as u32).map(|(_, place)| place);
        let (next, end) = (ticket.next, ticket.unit.parcel.end);
        if error.is_cancelled() {
            return self.finish(&ticket.unit, next, end - next, Err(error.clone()));
        }
        let is_other = doomed.is_some_and(|doomed| place.is_some_and(|place| place != doomed));
        let culprit = match place {
            Some(place) if (next..end).contains(&place) && !is_other => place,
            // It is the only one, and so it was under way: what the worker says of itself need not be known.
            _ if end - next == 1 && place != Some(end) && !is_other => next,
            // It had not begun, or it was done and on its way back.
            _ => {
                ticket.unit.blameless += 1;
                if ticket.unit.blameless > BLAMELESS || !ticket.unit.is_kept() {
                    return self.finish(&ticket.unit, next, end - next, Err(error.clone()));
                }
                return self.again(ticket, next, end);
            }
        };
        if let Some(delay) = ticket.unit.retry(Failure::Error(error)) {
            return self.delay(ticket.unit, delay);
        }
        if ticket.unit.parcel.items() > 1 {
            ticket.split();
        }
        let retry = ticket.unit.job.terms.retry.filter(|_| ticket.unit.parcel.items() > 1);
        let delay = retry.and_then(|retry| retry.after(0, Failure::Error(error)));
        if delay.is_none() {
            self.finish(&ticket.unit, culprit, 1, Err(error.clone()));
        }
        // What comes first is put in front last.
        if culprit + 1 < end {
            let after = ticket.unit.section(culprit + 1, end);
            self.delay(after, Duration::ZERO);
        }
        if let Some(delay) = delay {
            let mut again = ticket.unit.section(culprit, culprit + 1);
            again.attempts = 1;
            self.delay(again, delay);
        }
        if next < culprit {
            let before = ticket.unit.section(next, culprit);
            self.delay(before, Duration::ZERO);
        }
    }

    /// Gives out what remains of a unit again.
    pub(super) fn again(&mut self, mut ticket: Ticket, from: u32, end: u32) {
        if (from, end) != (ticket.unit.parcel.from, ticket.unit.parcel.end) {
            ticket.split();
        }
        ticket.unit.parcel.from = from;
        ticket.unit.parcel.end = end;
        self.delay(ticket.unit, Duration::ZERO);
    }

    /// Ends a worker for the sake of a unit, or of one task of it, if it still has it; says whether it does.
    fn doom(&mut self, slot: usize, id: u64, place: Option<u32>, error: TaskError) -> bool {
        self.settle(slot);
        let Some(worker) = &mut self.workers[slot] else { return false };
        let has_it = worker.in_flight.iter().any(|ticket| ticket.id() == id);
        if has_it {
            worker.doomed = Some(Doom { unit: id, place, error });
            worker.abandon();
        }
        has_it
    }

    /// Ends what has gone beyond its limits; gives the time at which to look again.
    pub(super) fn check_limits(&mut self) -> Option<Instant> {
        let mut again = self.delayed.iter().map(|&(due, _)| due).min();
        if self.limited == 0 {
            return again;
        }
        let now = now();
        let mut doomed = false;
        for slot in 0..self.workers.len() {
            let Some(worker) = &mut self.workers[slot] else { continue };
            // Read first: a task that is done by then has its reply looked at below.
            let at = worker.link.at();
            let since = worker.since;
            let (id, terms) = match worker.in_flight.front() {
                Some(ticket) if worker.ready && worker.doomed.is_none() => {
                    (ticket.id(), ticket.unit.job.terms)
                }
                _ => continue,
            };
            let place = (at.0 == id as u32).then_some(at.1);
            let soft = terms.soft.map(|soft| after(since, soft));
            let next = match worker.beyond(&terms, now) {
                Ok(next) if soft.is_some_and(|soft| soft <= now) => {
                    let soft = self.nudge(slot, (id, place), now);
                    [next, soft].into_iter().flatten().min()
                }
                Ok(next) => [next, soft].into_iter().flatten().min(),
                Err(error) if self.is_still_at(slot, id, since) => {
                    doomed |= self.doom(slot, id, place, error);
                    None
                }
                // Its next task has the whole time before it.
                Err(_) => Some(now),
            };
            again = [again, next].into_iter().flatten().min();
        }
        if doomed {
            self.dispatch();
        }
        again
    }

    /// Says whether a worker has not answered since this time, at which it was at this unit.
    fn is_still_at(&mut self, slot: usize, id: u64, since: Instant) -> bool {
        self.collect_from(slot);
        self.workers[slot].as_ref().is_some_and(|worker| {
            worker.since == since && worker.in_flight.front().is_some_and(|it| it.id() == id)
        })
    }

    /// Asks a task to stop, if it is not done; gives the time at which to ask again.
    ///
    /// Whoever is interrupted just before it begins to wait for something does not notice, so it is done again, ever more rarely.
    fn nudge(
        &mut self,
        slot: usize,
        (id, place): (u64, Option<u32>),
        now: Instant,
    ) -> Option<Instant> {
        let worker = self.workers[slot].as_ref()?;
        // It has not taken the unit yet, or has just done it.
        let Some(place) = place else { return Some(now + NUDGES.0) };
        let before = worker.nudged.filter(|&(task, _, _)| task == (id, place));
        let (next, gap) = match before {
            Some(_) if !worker.link.interrupts() => return None,
            Some((_, next, _)) if now < next => return Some(next),
            Some((_, _, gap)) => (now + gap, (2 * gap).min(NUDGES.1)),
            None => (now + NUDGES.0, 2 * NUDGES.0),
        };
        if !self.is_still_at(slot, id, worker.since) {
            return Some(now);
        }
        let worker = self.workers[slot].as_mut()?;
        worker.link.ask_to_stop(id, Some(place));
        worker.nudged = Some(((id, place), next, gap));
        worker.link.interrupts().then_some(next)
    }

    /// Cancels what has not begun of a job, and ends what has, if that is wanted.
    pub(crate) fn cancel(&mut self, job: &Arc<Job>, running: bool) -> Cancelled {
        let mut cancelled = Cancelled::default();
        for slot in 0..self.workers.len() {
            let has_it = self.workers[slot].as_ref().is_some_and(|worker| {
                worker.in_flight.iter().any(|ticket| Arc::ptr_eq(&ticket.unit.job, job))
            });
            if !has_it {
                continue;
            }
            self.settle(slot);
            let Some(worker) = &self.workers[slot] else { continue };
            let ticket = worker.in_flight.iter().find(|ticket| Arc::ptr_eq(&ticket.unit.job, job));
            let Some(id) = ticket.map(Ticket::id) else { continue };
            if !running {
                worker.link.ask_to_stop(id, None);
                cancelled.running += 1;
            } else if self.doom(slot, id, None, TaskError::Cancelled) {
                cancelled.ended += 1;
            }
        }
        let pending = std::mem::take(&mut self.pending);
        let (mine, others) = pending.into_iter().partition(|unit| Arc::ptr_eq(&unit.job, job));
        self.pending = others;
        let delayed = std::mem::take(&mut self.delayed);
        let (late, others): (Vec<_>, Vec<_>) =
            delayed.into_iter().partition(|(_, unit)| Arc::ptr_eq(&unit.job, job));
        self.delayed = others;
        let mine: VecDeque<Unit> = mine;
        for unit in &mine {
            self.pending_bytes -= unit.parcel.bytes.len();
        }
        for unit in mine.into_iter().chain(late.into_iter().map(|(_, unit)| unit)) {
            cancelled.ended += 1;
            let items = unit.parcel.items();
            self.finish(&unit, unit.parcel.from, items, Err(TaskError::Cancelled));
        }
        self.dispatch();
        cancelled
    }

    /// Cancels all that no worker has begun; gives the number of tasks.
    pub(crate) fn cancel_pending(&mut self) -> usize {
        self.recall();
        let pending = std::mem::take(&mut self.pending);
        let delayed = std::mem::take(&mut self.delayed).into_iter().map(|(_, unit)| unit);
        self.pending_bytes = 0;
        let mut tasks = 0;
        for unit in pending.into_iter().chain(delayed) {
            let items = unit.parcel.items();
            tasks += items as usize;
            self.finish(&unit, unit.parcel.from, items, Err(TaskError::Cancelled));
        }
        tasks
    }

    /// Says whether a worker has begun a unit of the job.
    pub(crate) fn is_running(&self, job: &Arc<Job>) -> bool {
        self.workers.iter().flatten().any(|worker| {
            let ticket = worker.in_flight.iter().find(|ticket| Arc::ptr_eq(&ticket.unit.job, job));
            ticket.is_some_and(|ticket| worker.link.at().0 == ticket.id() as u32)
        })
    }

    /// Somebody has to look at the clock, even if no worker says anything.
    pub(crate) fn is_timed(&self) -> bool {
        self.limited > 0 || !self.delayed.is_empty()
    }
}

impl<L: Link> Worker<L> {
    /// Says whether the unit that it runs has gone beyond its limits, or when that may be.
    ///
    /// Its task is thought to have begun when the worker last replied or got work, which is never before it did.
    fn beyond(&mut self, terms: &Terms, now: Instant) -> Result<Option<Instant>, TaskError> {
        let mut again = None;
        let mut look_at =
            |time: Instant| again = Some(again.map_or(time, |again: Instant| again.min(time)));
        if let Some(hard) = terms.hard {
            let end = after(self.since, hard);
            if now >= end {
                return Err(TaskError::TimeLimit);
            }
            look_at(end);
        }
        if terms.memory.is_none() && terms.cpu.is_none() {
            return Ok(again);
        }
        look_at(now + WATCH);
        let usage = self.link.usage();
        if let (Some(most), Some(resident)) = (terms.memory, usage.resident)
            && resident > most
        {
            return Err(TaskError::MemoryLimit { resident });
        }
        if let (Some(most), Some(cpu)) = (terms.cpu, usage.cpu) {
            match self.cpu {
                Some((since, before)) if since == self.since => {
                    if cpu.saturating_sub(before) > most {
                        return Err(TaskError::CpuLimit);
                    }
                }
                _ => self.cpu = Some((self.since, cpu)),
            }
        }
        Ok(again)
    }
}
