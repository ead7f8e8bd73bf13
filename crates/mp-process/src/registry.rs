//! The children of this process, whoever holds their handles.
//!
//! The registry keeps one end of each child's socket. It is what keeps the child alive: when the last copy of that end
//! is closed, because this process is gone in whatever way, the kernel kills the child. So a copy of this process
//! must not keep it: in each child of a fork, whoever forks, [`forked`] empties the registry.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use mp_wire::{Fd, socket};

use crate::finalize::{First, Last};
use crate::record::Record;
use crate::sys;
use crate::zygote::Zygote;

/// So many children may have ended without anybody having looked.
const CROWD: usize = 16;

static STATE: Mutex<State> = Mutex::new(State::new());

struct State {
    children: BTreeMap<u64, Entry>,
    /// Sockets of children that are being started.
    pending: BTreeMap<u64, (Fd, Option<Fd>)>,
    zygote: Option<Arc<Zygote>>,
    /// Never starts again, so that a number means one child.
    serial: u64,
    /// How many children have got a default name.
    named: u32,
    /// What runs at the end of this process.
    last: BTreeMap<u64, Last>,
    /// What runs at the beginning of its copies.
    first: Vec<First>,
    /// From so many children on it is worth its time to look for those that have ended.
    crowd: usize,
}

struct Entry {
    record: Arc<Record>,
    life: Fd,
    /// Nobody will join it any more.
    dropped: bool,
}

impl State {
    const fn new() -> Self {
        Self {
            children: BTreeMap::new(),
            pending: BTreeMap::new(),
            zygote: None,
            serial: 0,
            named: 0,
            last: BTreeMap::new(),
            first: Vec::new(),
            crowd: CROWD,
        }
    }
}

fn state() -> MutexGuard<'static, State> {
    hook();
    lock()
}

/// Has the registry emptied in copies of this process.
pub(crate) fn hook() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| sys::at_fork(before_fork, parent_forked, forked));
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The socket pair of a child to be.
#[derive(Debug)]
pub(crate) struct Pair(u64);

impl Pair {
    /// Makes a pair that a fork meanwhile does not copy: the end that stays here, and the child's.
    pub(crate) fn new() -> io::Result<(Self, Fd, Fd)> {
        let mut state = state();
        let (ours, theirs) = socket::pair()?;
        let (ours, theirs) = (Fd::from(ours), Fd::from(theirs));
        state.serial += 1;
        let serial = state.serial;
        state.pending.insert(serial, (ours.clone(), Some(theirs.clone())));
        Ok((Self(serial), ours, theirs))
    }

    /// Receives the end of a pair that somebody else has made, so that a fork meanwhile does not copy it.
    ///
    /// `receive` must not block.
    pub(crate) fn adopt<T>(
        receive: impl FnOnce() -> Result<(T, Option<Fd>), mp_wire::Error>,
    ) -> Result<(T, Option<(Self, Fd)>), mp_wire::Error> {
        let mut state = state();
        let (value, ours) = receive()?;
        let Some(ours) = ours else { return Ok((value, None)) };
        state.serial += 1;
        let serial = state.serial;
        state.pending.insert(serial, (ours.clone(), None));
        Ok((value, Some((Self(serial), ours))))
    }

    /// Forgets the child's end, once the child has it.
    pub(crate) fn sent(&self) {
        if let Some((_, theirs)) = state().pending.get_mut(&self.0) {
            *theirs = None;
        }
    }

    pub(crate) fn serial(&self) -> u64 {
        self.0
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // A child that was entered is not pending any more.
        let pair = lock().pending.remove(&self.0);
        drop(pair);
    }
}

/// A number for a child whose pair is not [`Pair`].
pub(crate) fn next_serial() -> u64 {
    let mut state = state();
    state.serial += 1;
    state.serial
}

/// Enters a child that is alive.
pub(crate) fn enter(serial: u64, record: &Arc<Record>, life: Fd) {
    let record = Arc::clone(record);
    let mut state = state();
    state.children.insert(serial, Entry { record, life, dropped: false });
    state.pending.remove(&serial);
}

/// Takes a child's socket out when it is joined; `None` the second time.
pub(crate) fn take(serial: u64) -> Option<Fd> {
    lock().children.remove(&serial).map(|entry| entry.life)
}

/// Notes that nobody will join a child.
pub(crate) fn drop_handle(record: &Record) {
    let ended = record.try_status().is_some();
    let mut state = lock();
    if ended {
        let entry = state.children.remove(&record.serial());
        drop(state);
        drop(entry);
    } else if let Some(entry) = state.children.get_mut(&record.serial()) {
        entry.dropped = true;
    }
}

/// The children that have not ended, in the order in which they were started. Reaps those that have.
pub(crate) fn alive() -> Vec<Arc<Record>> {
    let records: Vec<_> = {
        let state = state();
        state.children.values().map(|entry| Arc::clone(&entry.record)).collect()
    };
    let (ended, alive): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|record| record.try_status().is_some());
    let mut state = state();
    let mut gone = Vec::new();
    for record in ended {
        if state.children.get(&record.serial()).is_some_and(|entry| entry.dropped) {
            gone.extend(state.children.remove(&record.serial()));
        }
    }
    state.crowd = CROWD.max(2 * state.children.len());
    drop(state);
    drop(gone);
    alive
}

/// Before another child is started: reaps those that have ended, now and then, so that a start takes the same time
/// however many there are.
pub(crate) fn sweep() {
    let due = {
        let state = state();
        state.children.len() >= state.crowd
    };
    if due {
        drop(alive());
    }
}

/// The next number for a default name.
pub(crate) fn next_name() -> u32 {
    let mut state = state();
    state.named = state.named.wrapping_add(1);
    state.named
}

pub(crate) fn add_last(last: Last) -> u64 {
    let mut state = state();
    state.serial += 1;
    let serial = state.serial;
    state.last.insert(serial, last);
    serial
}

pub(crate) fn take_last(serial: u64) -> Option<Last> {
    state().last.remove(&serial)
}

pub(crate) fn has_last(serial: u64) -> bool {
    state().last.contains_key(&serial)
}

/// Takes what runs next of what has at least this priority: the highest, of these the latest.
pub(crate) fn next_last(least: i32) -> Option<Last> {
    let mut state = state();
    let due = state.last.iter().filter(|(_, last)| last.priority >= least);
    let serial = due.max_by_key(|(serial, last)| (last.priority, **serial)).map(|(&at, _)| at)?;
    state.last.remove(&serial)
}

pub(crate) fn add_first(first: First) {
    state().first.push(first);
}

pub(crate) fn firsts() -> Vec<First> {
    state().first.clone()
}

/// The process that forks children, if there is one.
pub(crate) fn zygote() -> Option<Arc<Zygote>> {
    state().zygote.clone()
}

/// Puts another one in its place, or none; gives the one before.
pub(crate) fn set_zygote(zygote: Option<Arc<Zygote>>) -> Option<Arc<Zygote>> {
    std::mem::replace(&mut state().zygote, zygote)
}

/// Takes one that is dead out of its place, if it is there still.
pub(crate) fn remove_zygote(dead: &Arc<Zygote>) -> Option<Arc<Zygote>> {
    let mut state = state();
    state.zygote.take_if(|zygote| Arc::ptr_eq(zygote, dead))
}

/// The lock across a fork: taken before, let go of in both processes after.
struct Held(Cell<Option<MutexGuard<'static, State>>>);

#[expect(unsafe_code, reason = "a cell that is only touched by whoever holds the lock in it")]
// SAFETY: `before_fork` fills it when it has the lock, and the two functions behind the fork empty it before they
// let go of the lock. All three run in the thread that forks.
unsafe impl Sync for Held {}

static HELD: Held = Held(Cell::new(None));

extern "C" fn before_fork() {
    let guard = lock();
    HELD.0.set(Some(guard));
}

extern "C" fn parent_forked() {
    drop(HELD.0.take());
}

/// In the child of a fork: lets go of what keeps the parent's children and its zygote alive.
extern "C" fn forked() {
    let Some(mut guard) = HELD.0.take() else { return };
    let serial = guard.serial;
    let before = std::mem::replace(&mut *guard, State::new());
    guard.serial = serial;
    guard.first = before.first;
    // They belong to the parent, and so does what they captured.
    if !before.last.is_empty() {
        Box::leak(Box::new(before.last));
    }
    // What a thread of the parent was about to start. That thread does not exist here, and will not close it.
    for (ours, theirs) in before.pending.values() {
        sys::close_raw(ours.as_raw_fd());
        if let Some(theirs) = theirs {
            sys::close_raw(theirs.as_raw_fd());
        }
    }
    if !before.pending.is_empty() {
        Box::leak(Box::new(before.pending));
    }
    if let Some(zygote) = before.zygote {
        zygote.close_raw();
        Box::leak(Box::new(zygote));
    }
    drop(guard);
    drop(before.children);
}
