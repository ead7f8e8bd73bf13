//! What a worker knows of the task that it runs, and what a task can ask.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use mp_shared::Error;
use mp_shared::segment::{Segment, View};

use crate::batch::Batch;
use crate::sys;

/// The line of memory by which a worker and its pool know of the task at hand.
///
/// ```text
/// 0   u64   where the worker is: number of the unit (its lower half), and the place of the task in it
/// 8   u64   the unit that is asked to stop: its number (the lower half) + 1
/// 16  u64   the unit that a signal may reach: its number (the lower half) + 1, or 0
/// 24  u64   1 while the pool sends a signal
/// ```
///
/// The worker writes the first and the third, the pool the others. None is trusted with more than the choice of a task to blame.
///
/// A signal reaches the unit that it is meant for, or none. The pool says that it sends one, then looks whether the worker is at that unit;
/// the worker says that it is not any more, then waits while one is being sent. Both write before they read, in one order for all, so
/// that one of them sees the other.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    at: View<AtomicU64>,
    stop: View<AtomicU64>,
    open: View<AtomicU64>,
    sending: View<AtomicU64>,
}

/// What stands in a line for a unit.
fn mark(id: u64) -> u64 {
    u64::from(id as u32) + 1
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
        })
    }

    /// Forgets the worker that stood here before.
    pub(crate) fn clear(&self) {
        self.at.store(NOWHERE, Ordering::Relaxed);
        self.stop.store(0, Ordering::Relaxed);
        self.open.store(0, Ordering::Relaxed);
        self.sending.store(0, Ordering::Relaxed);
    }

    pub(crate) fn at(&self) -> (u32, u32) {
        let at = self.at.load(Ordering::Acquire);
        ((at >> 32) as u32, at as u32)
    }

    pub(crate) fn ask_to_stop(&self, id: u64) {
        self.stop.store(mark(id), Ordering::Release);
    }

    fn is_asked_to_stop(&self, id: u64) -> bool {
        self.stop.load(Ordering::Acquire) == mark(id)
    }

    /// Sends a signal while the worker is at this unit, or not at all.
    pub(crate) fn signal(&self, id: u64, send: impl FnOnce()) {
        self.sending.store(1, Ordering::SeqCst);
        if self.open.load(Ordering::SeqCst) == mark(id) {
            send();
        }
        self.sending.store(0, Ordering::SeqCst);
    }

    /// Signals may reach this unit from now on.
    pub(crate) fn open(&self, id: u64) {
        self.open.store(mark(id), Ordering::SeqCst);
    }

    /// No signal reaches this unit any more, nor the next one instead.
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
        self.at.store(id << 32 | u64::from(place), Ordering::Release);
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
        id: u64,
        (from, end): (u32, u32),
        since: u64,
        hand_over: &'a mut dyn FnMut(Batch) -> bool,
    ) -> Self {
        let hand_over = Some(hand_over);
        let run =
            Self { line, id, from, end, hand_over, is_over: false, since, stride: 1, left: 1 };
        run.go(from);
        run
    }

    /// Nobody follows.
    pub(crate) fn whole((from, end): (u32, u32)) -> Self {
        let (line, hand_over) = (None, None);
        Self { line, id: 0, from, end, hand_over, is_over: false, since: 0, stride: 1, left: 1 }
    }

    fn go(&self, place: u32) {
        if let Some(line) = self.line {
            line.go(self.id, place);
        }
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
        self.stride = if passed >= HOLD { 1 } else { (2 * self.stride).min(STRIDE) };
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
    fn a_signal_is_sent_within_its_unit_or_not_at_all() {
        let line = Line::bind(&Segment::create(1, LINE).unwrap(), 0).unwrap();
        let (at, sent) = (AtomicU64::new(0), AtomicU32::new(0));
        let astray = AtomicU32::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                while sent.load(Ordering::Relaxed) < 200 {
                    let id = at.fetch_add(1, Ordering::SeqCst) + 1;
                    line.open(id);
                    thread::yield_now();
                    line.shut(id);
                }
            });
            let mut last = 0;
            while sent.load(Ordering::Relaxed) < 200 {
                let id = at.load(Ordering::SeqCst);
                line.signal(id, || {
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
