#![doc = include_str!("shelf/README.md")]

mod alive;
mod heap;
mod held;
mod journal;
mod layout;
mod lease;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mp_wire::{Deadline, Fd, Spin};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use self::heap::Entry;
use self::held::Held;
use self::journal::{By, Change};
use self::layout::{
    BACKED, BLOCK_HEAD, BYTES, HEADER_AT, Header, ITEMS, PARTS, PUTS, Parts, damaged, head,
};
pub use self::lease::Lease;
use crate::ring::{GetError, Item, PutError, Target};
use crate::robust::LockError;
use crate::robust::linked::Cell;
use crate::segment::{HEADER_LEN, Segment, View};
use crate::wait::{Source, Waitable};
use crate::{Error, ErrorKind};

const KIND: u32 = u32::from_le_bytes(*b"shlf");

/// Addresses that a shelf takes by default, and the least that is tried.
const RESERVE: usize = 64 << 30;
const LEAST_RESERVE: usize = PARTS << 15;

/// How long a call that does not wait waits for another one that is in the middle of something: who has the lock waits for nobody, so
/// it takes longer only if its process was stopped.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a sleep goes on, while items are out, before it is looked whether those live who have them.
const GLANCE: Duration = Duration::from_millis(250);

/// In which order items come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Order {
    /// The oldest first.
    Fifo = 1,
    /// The newest first.
    Lifo = 2,
    /// The lowest priority first, and of those that are equal the oldest.
    Priority = 3,
}

/// What becomes of an item whose consumer died before it was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Orphans {
    /// It is on the shelf again, where it was.
    #[default]
    GiveOutAgain = 0,
    /// It counts as done, and is kept for whoever asks for it.
    Report = 1,
}

/// Keeps byte records in shared memory, for any number of processes that put and take, in one of several orders.
///
/// Cloning makes another handle on the same shelf, and so does sending it in a message. See the [module](self) for how it
/// works.
///
/// # If a process dies
///
/// Killed at any instruction, it leaves the shelf with its item put or not put, taken or not taken. What it has taken on
/// lease is given out again, or reported.
///
/// # Examples
///
/// ```
/// use mp_shared::shelf::{Order, Shelf};
/// use mp_wire::Deadline;
///
/// let shelf = Shelf::builder(Order::Priority).build()?;
/// shelf.put(5, &[b"later"], Deadline::NEVER)?;
/// shelf.put(-5, &[b"sooner"], Deadline::NEVER)?;
/// let mut bytes = Vec::new();
/// assert_eq!(shelf.get(&mut bytes, Deadline::NOW)?, -5);
/// assert_eq!(bytes, b"sooner");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Shelf {
    header: View<Header>,
    segment: Segment,
    parts: Parts,
    order: Order,
    orphans: Orphans,
    capacity: u64,
    byte_capacity: u64,
    record_limit: u64,
    local: Arc<Local>,
}

/// What this process has learned about waiting here.
#[derive(Debug, Default)]
struct Local {
    put: Spin,
    get: Spin,
    join: Spin,
    /// When it was last looked for the dead, in milliseconds of the monotonic clock.
    looked: AtomicU64,
}

/// How a shelf is made.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Builder {
    order: Order,
    orphans: Orphans,
    capacity: u64,
    byte_capacity: u64,
    reserve: usize,
}

impl Builder {
    /// Lets it have at most so many items at a time; zero stands for no bound.
    pub fn capacity(mut self, items: usize) -> Self {
        self.capacity = items as u64;
        self
    }

    /// Lets the items on it have at most so many bytes together; zero stands for no bound.
    pub fn byte_capacity(mut self, bytes: usize) -> Self {
        self.byte_capacity = bytes as u64;
        self
    }

    /// Says what becomes of items whose consumer died.
    pub fn orphans(mut self, orphans: Orphans) -> Self {
        self.orphans = orphans;
        self
    }

    /// Lets it take at most so many addresses, rounded down to a power of two.
    pub fn reserve(mut self, bytes: usize) -> Self {
        self.reserve = bytes.clamp(LEAST_RESERVE, RESERVE);
        self
    }

    /// Makes the shelf.
    ///
    /// # Errors
    ///
    /// There is no memory, no descriptor or no room in the address space for it ([`ErrorKind::Exhausted`]).
    pub fn build(self) -> Result<Shelf, Error> {
        let mut reserve = 1_usize << self.reserve.ilog2();
        let segment = loop {
            match Segment::create_sparse(KIND, reserve - HEADER_LEN, BACKED) {
                Err(error) if error.kind() == ErrorKind::Exhausted && reserve > LEAST_RESERVE => {
                    reserve /= 2;
                }
                result => break result?,
            }
        };
        let header = segment.bind::<Header>(HEADER_AT)?;
        header.part_bits.store((reserve / PARTS).ilog2(), Ordering::Relaxed);
        header.capacity.store(self.capacity, Ordering::Relaxed);
        header.byte_capacity.store(self.byte_capacity, Ordering::Relaxed);
        header.record_limit.store(u64::MAX, Ordering::Relaxed);
        header.order.store(self.order as u32, Ordering::Relaxed);
        header.orphans.store(self.orphans as u32, Ordering::Relaxed);
        Shelf::open(segment)
    }
}

/// What was taken.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Its priority, where there are any.
    pub priority: i64,
    /// What it carries beside its bytes.
    pub item: Item,
    /// What to give back, or to say that it is done, if it was taken on lease.
    pub lease: Option<Lease>,
}

/// How an item is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is the caller's, and gone with it.
    Away,
    /// It is out until the caller says that it is done.
    Lease,
    /// The same; and of a closed shelf it is the end only if nothing is out elsewhere that might come back.
    LeaseOfAll,
}

impl Shelf {
    /// Starts to make a shelf.
    pub fn builder(order: Order) -> Builder {
        let (capacity, byte_capacity, reserve) = (0, 0, RESERVE);
        Builder { order, orphans: Orphans::default(), capacity, byte_capacity, reserve }
    }

    fn open(segment: Segment) -> Result<Self, Error> {
        let header = segment.bind::<Header>(HEADER_AT)?;
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let parts = Parts::of(header.part_bits.load(Ordering::Relaxed), segment.len());
        let parts = parts.ok_or_else(damaged)?;
        let order = match header.order.load(Ordering::Relaxed) {
            1 => Order::Fifo,
            2 => Order::Lifo,
            3 => Order::Priority,
            _ => return Err(damaged()),
        };
        let orphans = match header.orphans.load(Ordering::Relaxed) {
            0 => Orphans::GiveOutAgain,
            1 => Orphans::Report,
            _ => return Err(damaged()),
        };
        let (capacity, byte_capacity) = (load(&header.capacity), load(&header.byte_capacity));
        let mut record_limit = load(&header.record_limit).min(parts.record_limit());
        if byte_capacity > 0 {
            record_limit = record_limit.min(byte_capacity);
        }
        let local = Arc::default();
        Ok(Self {
            header,
            segment,
            parts,
            order,
            orphans,
            capacity,
            byte_capacity,
            record_limit,
            local,
        })
    }

    /// Takes the lock, and finishes what the one before has begun.
    fn lock(&self, deadline: Deadline) -> Result<Held<'_>, LockError> {
        let cell = &self.header.lock.0;
        let mut lock = cell.lock_briefly(deadline);
        if matches!(lock, Err(LockError::TimedOut)) && deadline == Deadline::NOW {
            // Nobody waits while holding it.
            lock = cell.lock_briefly(Deadline::after(PATIENCE));
        }
        let held = Held { shelf: self, _lock: lock?, turn: None };
        // Seeded mistake: what a dead process has begun stays half done.
        if self.header.journal.is_pending(self) && !cfg!(mp_bug = "shelf_no_replay") {
            // What cannot be done is damaged; whatever is read then is checked.
            let _ = self.header.journal.apply(self);
        }
        Ok(held)
    }

    /// Puts an item, made of several pieces.
    ///
    /// # Blocking
    ///
    /// Waits while the shelf is full.
    ///
    /// # If a process dies
    ///
    /// The item is on the shelf once this has returned, whatever becomes of the caller.
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    pub fn put(&self, priority: i64, parts: &[&[u8]], deadline: Deadline) -> Result<(), PutError> {
        self.put_with(priority, 0, parts, deadline, |_| Ok::<(), Infallible>(()))
    }

    /// Puts an item, if `hook` succeeds, which is called with its sequence number when everything is ready for it.
    ///
    /// The hook runs under the lock: it must not wait for anybody, nor use this shelf or another lock.
    ///
    /// # If a process dies
    ///
    /// Between the hook and the commit, the hook has run and the item is not there; the next one has its number.
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    pub fn put_with<X, E>(
        &self,
        priority: i64,
        tag: u64,
        parts: &[&[u8]],
        deadline: Deadline,
        hook: impl FnOnce(u64) -> Result<X, E>,
    ) -> Result<X, PutError<E>> {
        let len = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.len() as u64));
        if len > self.record_limit {
            return Err(PutError::TooLarge);
        }
        let held = self.lock_with_room(len, deadline)?;
        let sequence = held.state(PUTS);
        let mut change = Change::new(self);
        let block = held.allocate(&mut change, len)?;
        let (hi, lo) = match self.order {
            Order::Fifo => (0, sequence),
            Order::Lifo => (0, !sequence),
            // In order as numbers without a sign.
            Order::Priority => (priority as u64 ^ 1 << 63, sequence),
        };
        self.write(block, [len, tag, hi, lo], parts)?;
        held.push(&mut change, held.items(), Entry { hi, lo, block })?;
        change.state(ITEMS, held.items() + 1)?;
        change.state(PUTS, sequence + 1)?;
        change.state(BYTES, held.state(BYTES).saturating_add(len))?;
        let beside = hook(sequence).map_err(PutError::Hook)?;
        change.commit(By::Items)?;
        Ok(beside)
    }

    /// Fills a free block. What says which one is free behind it, the last word, is left alone.
    fn write(&self, block: u64, words: [u64; 4], parts: &[&[u8]]) -> Result<(), Error> {
        let mut at = usize::try_from(block).map_err(|_| damaged())?;
        let all = self.segment.view::<[AtomicU64; head::NEXT]>(at)?;
        let rest = [0; head::NEXT - 4];
        for (word, value) in all.iter().zip(words.into_iter().chain(rest)) {
            word.store(value, Ordering::Relaxed);
        }
        at += BLOCK_HEAD;
        for part in parts {
            self.segment.copy_in(at, part)?;
            at += part.len();
        }
        Ok(())
    }

    /// Takes the lock when there is room for an item of so many bytes.
    fn lock_with_room<E>(&self, len: u64, deadline: Deadline) -> Result<Held<'_>, PutError<E>> {
        let mut turn = None;
        loop {
            let mut held = self.lock(deadline).map_err(|error| match error {
                LockError::TimedOut => PutError::Full,
                error => PutError::Failed(lock_failed(error)),
            })?;
            let seen = self.header.items.0.snapshot();
            if seen.is_closed() {
                return Err(PutError::Closed);
            }
            if held.has_room(len) {
                held.keep_turn(turn);
                return Ok(held);
            }
            drop(held);
            if deadline == Deadline::NOW {
                return Err(PutError::Full);
            }
            if turn.is_none() {
                // One at a time waits for room; the others wait for the turn, which the kernel hands on.
                let taken = Turn::take(&self.header.put_turn.0, deadline);
                turn = Some(taken.map_err(|error| match error {
                    LockError::TimedOut => PutError::Full,
                    error => PutError::Failed(lock_failed(error)),
                })?);
                continue;
            }
            let waited = self.header.items.0.wait_change(seen, deadline, &self.local.put);
            waited.map_err(|_| PutError::Full)?;
        }
    }

    /// Takes the first item; its bytes replace what is in the target. Returns its priority.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get(&self, target: &mut impl Target, deadline: Deadline) -> Result<i64, GetError> {
        let before = |_| Ok::<(), Infallible>(());
        self.get_around(target, deadline, Mode::Away, before, |()| ()).map(|(it, ())| it.priority)
    }

    /// Takes the first item, if `before` succeeds, which is called when its bytes have been copied; and calls `after` when it is the
    /// caller's, before anybody else can take one.
    ///
    /// Both run under the lock: they must not wait for anybody, nor use this shelf or another lock.
    ///
    /// # Blocking
    ///
    /// Waits while there is no item; while some are out, it looks four times a second whether those live who have them.
    ///
    /// # If a process dies
    ///
    /// Between `before` and the commit, the item is still there; between that and `after`, it is gone or out.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get_around<X, E>(
        &self,
        target: &mut (impl Target + ?Sized),
        deadline: Deadline,
        mode: Mode,
        before: impl FnOnce(Item) -> Result<X, E>,
        after: impl FnOnce(&X),
    ) -> Result<(Taken, X), GetError<E>> {
        let held = self.lock_with_item(deadline, mode).map_err(|error| match error {
            GetError::Empty => GetError::Empty,
            GetError::Closed => GetError::Closed,
            GetError::Hook(never) => match never {},
            GetError::Failed(error) => GetError::Failed(error),
        })?;
        let Entry { hi, lo, block } = held.entry(0)?;
        let len = held.len_of(block)?;
        target.fill(&self.segment, block as usize + BLOCK_HEAD, len as usize)?;
        let sequence = if self.order == Order::Lifo { !lo } else { lo };
        let item = Item { tag: held.word(block, head::TAG)?, sequence };
        let beside = before(item).map_err(GetError::Hook)?;
        let mut change = Change::new(self);
        held.pop(&mut change, held.items())?;
        change.state(ITEMS, held.items() - 1)?;
        change.state(BYTES, held.state(BYTES).saturating_sub(len))?;
        let lease = match mode {
            Mode::Away => {
                held.free(&mut change, block)?;
                None
            }
            Mode::Lease | Mode::LeaseOfAll => Some(held.lease(&mut change, block)?),
        };
        change.commit(By::Items)?;
        after(&beside);
        if lease.is_none() {
            held.give_back(block);
        }
        let priority = (hi ^ 1 << 63) as i64;
        Ok((Taken { priority, item, lease }, beside))
    }

    /// Takes the lock when there is an item.
    fn lock_with_item(&self, deadline: Deadline, mode: Mode) -> Result<Held<'_>, GetError> {
        let mut turn = None;
        loop {
            let mut held = self.lock(deadline).map_err(untaken)?;
            if held.items() > 0 {
                held.keep_turn(turn);
                return Ok(held);
            }
            let seen = self.header.items.0.snapshot();
            let out = held.out() > 0;
            let may_return = out && mode == Mode::LeaseOfAll && held.out_elsewhere()? > 0;
            drop(held);
            let looks = out && (seen.is_closed() || self.is_time_to_look());
            if looks && self.look_for_the_dead()? {
                continue;
            }
            if seen.is_closed() && !may_return {
                return Err(GetError::Closed);
            }
            if deadline == Deadline::NOW {
                return Err(GetError::Empty);
            }
            if turn.is_none() {
                // As in `lock_with_room`.
                turn = Some(Turn::take(&self.header.get_turn.0, deadline).map_err(untaken)?);
                continue;
            }
            let until = if out { self.glance(deadline) } else { deadline };
            let waited = self.header.items.0.wait_change(seen, until, &self.local.get);
            if waited.is_err() && deadline.is_past() {
                return Err(GetError::Empty);
            }
        }
    }

    /// Says whether it was last looked for the dead long enough ago, and that it is looked now.
    fn is_time_to_look(&self) -> bool {
        let (seconds, nanos) = Deadline::after(Duration::ZERO).monotonic().unwrap_or_default();
        let now = (seconds as u64).wrapping_mul(1000).wrapping_add(nanos as u64 / 1_000_000);
        let last = self.local.looked.load(Ordering::Relaxed);
        let due = last == 0 || now.wrapping_sub(last) >= GLANCE.as_millis() as u64 - 10;
        if due {
            self.local.looked.store(now.max(1), Ordering::Relaxed);
        }
        due
    }

    /// Reads words of the state when nobody is in the middle of changing them.
    fn read(&self, read: impl Fn(&dyn Fn(usize) -> u64) -> u64) -> Result<usize, Error> {
        let value = match self.lock(Deadline::NOW) {
            Ok(held) => read(&|word| held.state(word)),
            Err(error) => return Err(lock_failed(error)),
        };
        Ok(usize::try_from(value).unwrap_or(usize::MAX))
    }

    /// How many items are on the shelf; those that are out are not.
    ///
    /// # Errors
    ///
    /// Somebody has the lock and does not go on.
    pub fn len(&self) -> Result<usize, Error> {
        self.read(|state| state(ITEMS))
    }

    /// Says whether there is no item on the shelf.
    ///
    /// # Errors
    ///
    /// As [`Shelf::len`].
    pub fn is_empty(&self) -> Result<bool, Error> {
        self.len().map(|len| len == 0)
    }

    /// Says whether it has as many items as it may have.
    ///
    /// # Errors
    ///
    /// As [`Shelf::len`].
    pub fn is_full(&self) -> Result<bool, Error> {
        let Some(capacity) = self.capacity() else { return Ok(false) };
        self.len().map(|len| len >= capacity)
    }

    /// How many bytes the items on it have together.
    ///
    /// # Errors
    ///
    /// As [`Shelf::len`].
    pub fn bytes(&self) -> Result<usize, Error> {
        self.read(|state| state(BYTES))
    }

    /// How many items it may have; none if it is not bounded.
    #[must_use]
    pub fn capacity(&self) -> Option<usize> {
        Some(usize::try_from(self.capacity).unwrap_or(usize::MAX)).filter(|&items| items > 0)
    }

    /// How many bytes its items may have together; none if that is not bounded.
    #[must_use]
    pub fn byte_capacity(&self) -> Option<usize> {
        Some(usize::try_from(self.byte_capacity).unwrap_or(usize::MAX)).filter(|&bytes| bytes > 0)
    }

    /// The most bytes that an item may have.
    #[must_use]
    pub fn record_limit(&self) -> usize {
        usize::try_from(self.record_limit).unwrap_or(usize::MAX)
    }

    /// In which order items come.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order
    }

    /// What becomes of items whose consumer died.
    #[must_use]
    pub fn orphans(&self) -> Orphans {
        self.orphans
    }

    /// Closes it for everybody: puts fail from now on, gets take what is left. Whoever waits is woken.
    ///
    /// Closing it again does nothing.
    pub fn close(&self) {
        // Nobody need have the lock: who puts looks under it, as does who sees the end.
        if !self.is_closed() {
            self.header.items.0.close();
        }
    }

    /// Says whether it is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.header.items.0.is_closed()
    }

    /// The memory that it lies in.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.segment
    }
}

/// A turn to wait, which ends when this is dropped.
struct Turn<'a>(&'a Cell);

impl<'a> Turn<'a> {
    fn take(cell: &'a Cell, deadline: Deadline) -> Result<Self, LockError> {
        cell.lock(deadline).map(|_| Self(cell))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Held by this thread, which has not forked meanwhile.
        let _ = self.0.unlock();
    }
}

/// Ready when there is an item, or it is closed.
impl Waitable for Shelf {
    fn source(&self) -> Source<'_> {
        Source::word(&self.header.items.0)
    }

    fn is_ready(&self) -> bool {
        // Of one that makes no sense, a get tells.
        self.is_closed() || !self.is_empty().unwrap_or(false)
    }
}

fn lock_failed(error: LockError) -> Error {
    let kind = match error {
        LockError::Deadlock => ErrorKind::Deadlock,
        LockError::TooMany => ErrorKind::Exhausted,
        LockError::TimedOut => ErrorKind::TimedOut,
        _ => ErrorKind::Unsupported,
    };
    Error::with_source(kind, "cannot take the lock of the shelf", error)
}

fn untaken(error: LockError) -> GetError {
    match error {
        LockError::TimedOut => GetError::Empty,
        error => GetError::Failed(lock_failed(error)),
    }
}

impl Serialize for Shelf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.segment.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Shelf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fd = Fd::deserialize(deserializer)?;
        Segment::attach(fd, KIND).and_then(Self::open).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
