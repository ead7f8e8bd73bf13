//! What a worker knows of the task that it runs, and what a task can ask.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use mp_shared::Error;
use mp_shared::segment::{Segment, View};

use crate::batch::Batch;
use crate::links::Order;
use crate::sys;

/// The line of memory by which a worker and its pool know of the task at hand.
///
/// ```text
/// 0   u64   where the worker is: number of the unit (its lower half), and the place of the task in it
/// 8   u64   the unit that is asked to stop: its number (the lower half) + 1
/// 16  u64   the task that a signal may reach: as the first, + 1, or 0
/// 24  u64   1 while the pool sends a signal
/// 32  u64   the task that is asked to stop, alone in its unit: as the first, + 1, or 0
/// ```
///
/// The worker writes the first and the third, the pool the others. None is trusted with more than the choice of a task to blame.
///
/// A signal reaches the task that it is meant for, or none. The pool says that it sends one, then looks whether the worker is at that task;
/// the worker says that it is not any more, then waits while one is being sent. Both write before they read, in one order for all, so
/// that one of them sees the other.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    at: View<AtomicU64>,
    stop: View<AtomicU64>,
    open: View<AtomicU64>,
    sending: View<AtomicU64>,
    late: View<AtomicU64>,
}

/// What stands in a line for a unit.
fn mark(id: u64) -> u64 {
    u64::from(id as u32) + 1
}

/// Where a worker is that is at a task of a unit.
fn spot(id: u64, place: u32) -> u64 {
    id << 32 | u64::from(place)
}

/// The length of a line.
pub(crate) const LINE: usize = 64;

const NOWHERE: u64 = u64::MAX;

impl Line {
    pub(crate) fn bind(segment: &Segment, offset: usize) -> Result<Self, Error> {
        Ok(Self {
            at: segment.bind(offset)?,
            stop: segment.bind(offset + 8)?,
            open: segment.bind(offset + 16)?,
            sending: segment.bind(offset + 24)?,
            late: segment.bind(offset + 32)?,
        })
    }

    /// Forgets the worker that stood here before.
    pub(crate) fn clear(&self) {
        self.at.store(NOWHERE, Ordering::Relaxed);
        self.stop.store(0, Ordering::Relaxed);
        self.open.store(0, Ordering::Relaxed);
        self.sending.store(0, Ordering::Relaxed);
        self.late.store(0, Ordering::Relaxed);
    }

    pub(crate) fn at(&self) -> (u32, u32) {
        let at = self.at.load(Ordering::Acquire);
        ((at >> 32) as u32, at as u32)
    }

    /// Asks a unit to stop: the task that runs, and those of it that have not begun.
    pub(crate) fn ask_to_stop(&self, id: u64) {
        self.stop.store(mark(id), Ordering::Release);
    }

    /// Asks one task to stop.
    pub(crate) fn ask_task_to_stop(&self, id: u64, place: u32) {
        self.late.store(spot(id, place) + 1, Ordering::Release);
    }

    /// Says whether a unit is asked to stop, with all its tasks.
    fn is_given_up(&self, id: u64) -> bool {
        self.stop.load(Ordering::Acquire) == mark(id)
    }

    /// Says whether the task is asked to stop that the worker is at, in this unit.
    fn is_asked_to_stop(&self, id: u64) -> bool {
        let late = self.late.load(Ordering::Acquire);
        let is_late = late != 0 && late == self.at.load(Ordering::Relaxed).wrapping_add(1);
        is_late || self.is_given_up(id)
    }

    /// Sends a signal while the worker is at this task, or not at all.
    pub(crate) fn signal(&self, id: u64, place: u32, send: impl FnOnce()) {
        self.sending.store(1, Ordering::SeqCst);
        if self.open.load(Ordering::SeqCst) == spot(id, place) + 1 {
            send();
        }
        self.sending.store(0, Ordering::SeqCst);
    }

    /// Signals may reach this task from now on.
    fn open(&self, id: u64, place: u32) {
        self.open.store(spot(id, place) + 1, Ordering::SeqCst);
    }

    /// No signal reaches a task any more, nor the next one instead.
    pub(crate) fn shut(&self, id: u64) {
        self.open.store(0, Ordering::SeqCst);
        while self.sending.load(Ordering::SeqCst) != 0 {
            std::thread::yield_now();
        }
        if self.is_asked_to_stop(id) {
            // One that was sent is delivered at the end of a system call, at the latest.
            std::thread::yield_now();
        }
    }

    fn go(&self, id: u64, place: u32) {
        self.at.store(spot(id, place), Ordering::Release);
    }
}

/// What was done so long ago is handed over before the next task begins: a worker that dies has so much to do again, at
/// most, besides the task at hand. In nanoseconds.
const HOLD: u64 = 50_000;

/// Looking at the clock costs as much as a short task: it is done after so many, at most.
const STRIDE: u32 = 64;

/// Follows a worker through the tasks of a unit.
pub(crate) struct Run<'a> {
    line: Option<&'a Line>,
    id: u64,
    /// Tasks can be sent signals.
    interrupted: bool,
    /// The pool looks at the time of each task, so it has to know when one is done.
    watched: bool,
    pub(crate) from: u32,
    pub(crate) end: u32,
    /// Says whether it was the last, because the worker leaves; `None` where all is handed over at the end.
    hand_over: Option<&'a mut dyn FnMut(Batch) -> bool>,
    /// No more of its tasks are to be run.
    pub(crate) is_over: bool,
    /// When what is held began, by the clock of [`sys::now`].
    since: u64,
    stride: u32,
    left: u32,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        line: Option<&'a Line>,
        order: &Order,
        interrupted: bool,
        since: u64,
        hand_over: &'a mut dyn FnMut(Batch) -> bool,
    ) -> Self {
        let &Order { id, from, end, watched, .. } = order;
        let hand_over = Some(hand_over);
        let run =
            Self { line, id, interrupted, watched, hand_over, since, ..Self::whole((from, end)) };
        run.go(from);
        run
    }

    /// Nobody follows.
    pub(crate) fn whole((from, end): (u32, u32)) -> Self {
        Self {
            line: None,
            id: 0,
            interrupted: false,
            watched: false,
            from,
            end,
            hand_over: None,
            is_over: false,
            since: 0,
            stride: 1,
            left: 1,
        }
    }

    fn go(&self, place: u32) {
        let Some(line) = self.line else { return };
        if !self.interrupted {
            return line.go(self.id, place);
        }
        line.shut(self.id);
        line.go(self.id, place);
        line.open(self.id, place);
    }

    /// Says whether this task is not to begin any more. The first of a unit has begun when the unit has.
    pub(crate) fn is_given_up(&self, place: u32) -> bool {
        place > self.from && self.line.is_some_and(|line| line.is_given_up(self.id))
    }

    /// The task at this place is done. Says whether what there is should be handed over.
    pub(crate) fn done(&mut self, place: u32) -> bool {
        self.go(place + 1);
        self.left -= 1;
        if self.left > 0 || place + 1 >= self.end || self.hand_over.is_none() {
            self.left = self.left.max(1);
            return false;
        }
        let passed = sys::now().saturating_sub(self.since);
        let short = passed < HOLD && !self.watched;
        self.stride = if short { (2 * self.stride).min(STRIDE) } else { 1 };
        self.left = self.stride;
        passed >= HOLD
    }

    pub(crate) fn hand_over(&mut self, batch: Batch) {
        if let Some(hand_over) = &mut self.hand_over {
            self.is_over = hand_over(batch);
        }
        self.since = sys::now();
    }
}

thread_local! {
    /// The line and the unit of the task that this thread runs.
    static CURRENT: RefCell<Option<(Line, u64)>> = const { RefCell::new(None) };
}

/// Marks the unit that this thread runs from now on.
pub(crate) fn enter(line: Option<&Line>, id: u64) {
    CURRENT.with_borrow_mut(|current| match (current, line) {
        (Some((_, unit)), Some(_)) => *unit = id,
        (current, line) => *current = line.map(|line| (line.clone(), id)),
    });
}

/// Says whether the task that calls this is asked to stop: its soft time limit has passed, or it was cancelled.
///
/// Of a chunk, a soft limit asks each task by itself; whoever cancels asks the one that is running, and the others do not begin.
///
/// A long task looks at it now and then, and returns what it has. It costs about as much as reading an atomic. Outside of a task, and
/// in threads that a task has started, it is `false`.
///
/// # Examples
///
/// ```
/// use mp_pool::{Pool, should_stop};
/// use std::time::Duration;
///
/// fn count() -> u64 {
///     let mut counted = 0;
///     while !should_stop() {
///         counted += 1;
///     }
///     counted
/// }
///
/// let pool = Pool::new(1)?;
/// let counted = pool.soft_timeout(Duration::from_millis(5)).apply(count, ())?;
/// assert!(counted > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn should_stop() -> bool {
    CURRENT.with_borrow(|current| {
        current.as_ref().is_some_and(|(line, id)| line.is_asked_to_stop(*id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::thread;

    #[test]
    fn one_task_is_asked_to_stop_or_all_of_a_unit() {
        let line = Line::bind(&Segment::create(1, LINE).unwrap(), 0).unwrap();
        line.clear();
        line.go(0, 0);
        assert!(!line.is_asked_to_stop(0));
        line.go(7, 2);
        line.ask_task_to_stop(7, 2);
        assert!(line.is_asked_to_stop(7) && !line.is_given_up(7));
        line.go(7, 3);
        assert!(!line.is_asked_to_stop(7));
        line.ask_to_stop(7);
        assert!(line.is_asked_to_stop(7) && line.is_given_up(7));
        line.go(8, 3);
        assert!(!line.is_asked_to_stop(8) && !line.is_given_up(8));
    }

    /// After many short tasks the clock is looked at seldom, but for those that are watched.
    #[test]
    fn a_watched_task_is_handed_over_when_it_is_done_whatever_was_before_it() {
        let order = Order { id: 0, entry: 0, from: 0, end: 1000, watched: true };
        let mut hand_over = |_| false;
        let mut run = Run::new(None, &order, false, sys::now(), &mut hand_over);
        for place in 0..500 {
            if run.done(place) {
                run.hand_over(Batch::default());
            }
        }
        thread::sleep(std::time::Duration::from_nanos(HOLD));
        assert!(run.done(500));
    }

    #[test]
    fn a_signal_is_sent_within_its_task_or_not_at_all() {
        let line = Line::bind(&Segment::create(1, LINE).unwrap(), 0).unwrap();
        let (at, sent) = (AtomicU64::new(0), AtomicU32::new(0));
        let astray = AtomicU32::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                while sent.load(Ordering::Relaxed) < 200 {
                    let id = at.fetch_add(1, Ordering::SeqCst) + 1;
                    line.open(id / 3, id as u32 % 3);
                    thread::yield_now();
                    line.shut(id / 3);
                }
            });
            let mut last = 0;
            while sent.load(Ordering::Relaxed) < 200 {
                let id = at.load(Ordering::SeqCst);
                line.signal(id / 3, id as u32 % 3, || {
                    // As long as the other stays where it is, nothing is learned.
                    sent.fetch_add(u32::from(id != last), Ordering::Relaxed);
                    last = id;
                    thread::yield_now();
                    let is_there = at.load(Ordering::SeqCst) == id;
                    astray.fetch_add(u32::from(!is_there), Ordering::Relaxed);
                });
            }
        });
        assert_eq!(astray.into_inner(), 0, "of two hundred");
    }
}
