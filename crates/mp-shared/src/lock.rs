#![doc = include_str!("lock/README.md")]

mod held;
#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::compiler_fence;
use std::time::Duration;
use std::{fmt, fs};

use bytemuck::Pod;
use mp_wire::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub(crate) use self::held::Held;
use crate::Error;
use crate::home::Home;
#[cfg(feature = "named")]
use crate::named::{self, named_object};
use crate::object::{Object, Received, Shape, Tag};
use crate::poison::{LockError, LockResult, PoisonError};
use crate::robust::{self, Acquired, LinkedLock};

/// Among the words of the head: the number of the last session, that of the present one, and how many guards it has.
const LAST_SESSION: usize = 0;
const SESSION: usize = 1;
const COUNT: usize = 2;

/// An object with a lock. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Guarded {
    object: Object,
    lock: LinkedLock,
}

impl Guarded {
    pub(crate) fn create(shape: Shape, len: usize) -> Result<Self, Error> {
        Self::create_at(Home::Anywhere, shape, len)
    }

    pub(crate) fn create_at(home: Home<'_>, shape: Shape, len: usize) -> Result<Self, Error> {
        Self::of(Object::create_at(home, shape, len)?)
    }

    pub(crate) fn of(object: Object) -> Result<Self, Error> {
        let lock = object.lock()?;
        Ok(Self { object, lock })
    }

    #[inline]
    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    /// Takes the lock for a user, who gets hold of what it protects.
    #[inline]
    pub(crate) fn lock(&self, deadline: Deadline) -> LockResult<Held<'_>> {
        self.acquire(deadline, true)
    }

    /// Takes the lock for a user, if it is free.
    pub(crate) fn try_lock(&self) -> LockResult<Held<'_>> {
        self.acquire(Deadline::NOW, true).map_err(LockError::at_once)
    }

    /// Takes the lock, as often as one likes: it is released with the last guard.
    pub(crate) fn lock_again(&self, deadline: Deadline) -> LockResult<Held<'_>> {
        let words = &self.object.head().words;
        if !self.lock.held_by_me() {
            let held = self.acquire(deadline, true);
            return held.map(Held::counted).map_err(|error| error.map(Held::counted));
        }
        let count = words[COUNT].load(Relaxed).checked_add(1).ok_or(LockError::TooMany)?;
        words[COUNT].store(count, Relaxed);
        let held = Held::new(self, words[SESSION].load(Relaxed), true, true);
        if self.is_poisoned() { Err(PoisonError::new(held).into()) } else { Ok(held) }
    }

    /// How many guards its holder has.
    pub(crate) fn count(&self) -> u32 {
        if self.is_locked() { self.object.head().words[COUNT].load(Relaxed) } else { 0 }
    }

    /// Takes the lock for a step that leaves all in order wherever it ends; see [`Held::exposed`] for those that do not.
    #[inline]
    pub(crate) fn visit(&self) -> Result<Held<'_>, Error> {
        Ok(self.acquire(Deadline::NEVER, false)?)
    }

    /// Takes the lock, poisoned or not, without getting hold of what it protects.
    pub(crate) fn hold(&self, deadline: Deadline) -> LockResult<Held<'_>> {
        self.acquire(deadline, false).or_else(LockError::ignore_poison)
    }

    /// Takes the lock for one step that leaves all in order, takes no other lock, and cannot panic.
    #[inline]
    pub(crate) fn briefly<R>(&self, step: impl FnOnce(&Object) -> R) -> Result<R, Error> {
        let mut result = None;
        let locked = self.lock.briefly(Deadline::NEVER, |acquired| {
            self.take_over(acquired);
            if !self.is_poisoned() {
                result = Some(step(&self.object));
            }
        });
        result.ok_or_else(|| self.not_entered(locked))
    }

    #[cold]
    fn not_entered(&self, locked: Result<(), robust::LockError>) -> Error {
        let poisoned = |()| LockError::Poisoned(PoisonError::new(()));
        locked.map_or_else(plain, poisoned).into()
    }

    #[inline(always)]
    fn acquire(&self, deadline: Deadline, expose: bool) -> LockResult<Held<'_>> {
        match self.lock.lock(deadline) {
            Ok(acquired) => self.take_over(acquired),
            Err(error) => return Err(plain(error)),
        }
        let session = self.begin_session();
        if expose {
            self.expose();
        }
        let held = Held::new(self, session, expose, false);
        if self.is_poisoned() { Err(PoisonError::new(held).into()) } else { Ok(held) }
    }

    #[inline]
    fn expose(&self) {
        self.object.head().exposed.store(1, Relaxed);
        // Whoever finds the lock of a dead thread finds what that thread had written, in program order.
        compiler_fence(SeqCst);
    }

    /// Numbers the time for which the lock is held from now on.
    #[inline]
    fn begin_session(&self) -> u32 {
        let words = &self.object.head().words;
        let session = words[LAST_SESSION].load(Relaxed).wrapping_add(1);
        words[LAST_SESSION].store(session, Relaxed);
        words[SESSION].store(session, Relaxed);
        session
    }

    /// Whoever comes after a dead owner writes down what that one may have left.
    #[inline]
    fn take_over(&self, acquired: Acquired) {
        if acquired == Acquired::OwnerDied {
            self.take_over_from_the_dead();
        }
    }

    #[cold]
    fn take_over_from_the_dead(&self) {
        let head = self.object.head();
        if cfg!(mp_bug = "poison_after") {
            let exposed = head.exposed.swap(0, SeqCst);
            head.poisoned.fetch_or(exposed, SeqCst);
            return;
        }
        if head.exposed.load(Relaxed) != 0 && !cfg!(mp_bug = "death_untold") {
            head.poisoned.store(1, Relaxed);
            compiler_fence(SeqCst);
            head.exposed.store(0, Relaxed);
        }
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.lock.owner().is_some()
    }

    #[inline]
    pub(crate) fn is_poisoned(&self) -> bool {
        self.object.head().poisoned.load(Relaxed) != 0
    }

    /// Declares that what the lock protects is in disorder. For the holder.
    pub(crate) fn poison(&self) {
        self.object.head().poisoned.store(1, Relaxed);
    }

    pub(crate) fn clear_poison(&self) {
        self.object.head().poisoned.store(0, Relaxed);
    }

    /// Adds who holds it, and whether it is poisoned.
    pub(crate) fn debug(&self, debug: &mut fmt::DebugStruct<'_, '_>) {
        let owner = self.lock.owner().map(|tid| Owner { pid: process_of(tid), tid });
        debug.field("owner", &owner).field("poisoned", &self.is_poisoned());
    }

    /// Reads an element under the lock.
    pub(crate) fn get<T: Pod>(&self, index: usize) -> Result<T, Error> {
        let load = |object: &Object| object.load(index).ok_or_else(|| object.beyond(index, 1));
        if is_word::<T>() { self.briefly(load)? } else { load(self.visit()?.object()) }
    }

    /// Writes an element under the lock.
    pub(crate) fn set<T: Pod>(&self, index: usize, value: T) -> Result<(), Error> {
        if is_word::<T>() {
            self.briefly(|object| object.store(index, value))?
        } else {
            put(&mut self.visit()?, index, value)
        }
    }

    /// Changes an element under the lock, by what cannot panic and takes no lock; returns what it was.
    #[inline]
    pub(crate) fn fetch<T: Pod>(
        &self,
        index: usize,
        change: impl FnOnce(T) -> T,
    ) -> Result<T, Error> {
        let beyond = || self.object.beyond(index, 1);
        if is_word::<T>() {
            return self.briefly(|object| {
                let value = object.load(index).ok_or_else(beyond)?;
                object.store(index, change(value))?;
                Ok(value)
            })?;
        }
        let mut held = self.visit()?;
        let value = held.object().load(index).ok_or_else(beyond)?;
        put(&mut held, index, change(value))?;
        Ok(value)
    }

    /// The one that a message had, if it is of this shape.
    pub(crate) fn received(received: Received, shape: Shape) -> Result<Self, Error> {
        Self::of(received.object(shape)?)
    }

    pub(crate) fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
        shape: Shape,
    ) -> Result<Self, D::Error> {
        Self::of(Object::deserialize(deserializer, shape)?).map_err(de::Error::custom)
    }
}

#[cold]
pub(crate) fn plain<G>(error: robust::LockError) -> LockError<G> {
    match error {
        robust::LockError::TimedOut => LockError::TimedOut,
        robust::LockError::Deadlock => LockError::Deadlock,
        robust::LockError::TooMany => LockError::TooMany,
        robust::LockError::Unsupported => LockError::Unsupported,
    }
}

/// Who holds a lock, for `Debug`.
#[derive(Debug)]
#[expect(dead_code, reason = "read by Debug")]
struct Owner {
    pid: Option<u32>,
    tid: u32,
}

/// The process that a thread belongs to, if it lives.
fn process_of(tid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

impl Serialize for Guarded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

/// Says whether elements of this type are written in one step, since they are aligned to their size.
pub(crate) const fn is_word<T: Pod>() -> bool {
    matches!(size_of::<T>(), 1 | 2 | 4 | 8)
}

/// Writes an element so that it is the old or the new one, or poisoned, if this process is killed meanwhile.
pub(crate) fn put<T: Pod>(held: &mut Held<'_>, index: usize, value: T) -> Result<(), Error> {
    if is_word::<T>() {
        held.object().store(index, value)
    } else {
        held.exposed(|object| object.store(index, value))
    }
}

/// Makes `Duration::ZERO` mean "do not wait", without asking the clock.
pub(crate) fn deadline(timeout: Duration) -> Deadline {
    if timeout.is_zero() { Deadline::NOW } else { Deadline::after(timeout) }
}

const SHAPE: Shape = Shape::plain(Tag::Lock);

/// A lock between processes and threads, whose holder may be killed without harm to the others.
///
/// Clones are the same lock; so is what arrives if it is sent in a message or as an argument of a process.
/// The guard releases it, in the thread that took it. Locks may be held together and released in any order.
///
/// To protect a number or an array, take a [`Value`](crate::Value) or an [`Array`](crate::Array): they have the lock in them.
///
/// # Python
///
/// `Lock`. `with lock:` is `let guard = lock.lock()?;`. A Python lock may be released by another process than the one
/// that took it; this one has an owner. To take it twice in one thread is an error, not a hang.
///
/// # If a process dies
///
/// If the holder is killed, ends, or panics, the next one gets the lock at once, and [`LockError::Poisoned`] with the guard in it, as
/// with [`std::sync::Mutex`]: what the lock protects may be half changed. It stays poisoned until
/// [`clear_poison`](Self::clear_poison). A process that is killed while it waits is no hindrance.
///
/// # Fork
///
/// A forked child does not hold what its parent holds; dropping its copy of a guard does nothing.
///
/// # Examples
///
/// ```
/// use mp_shared::Lock;
///
/// let lock = Lock::new()?;
/// let guard = lock.lock()?;
/// assert!(lock.is_locked());
/// drop(guard);
/// assert!(!lock.is_locked());
/// # Ok::<(), mp_shared::Error>(())
/// ```
#[derive(Clone)]
pub struct Lock(Guarded);

impl Lock {
    /// Makes a lock that nobody holds.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) if no memory or no descriptor is left.
    pub fn new() -> Result<Self, Error> {
        Self::make(Home::Anywhere)
    }

    /// Makes a lock under a name, by which any program of the same user can [`open`](Self::open) it.
    ///
    /// Nobody holds it. The name goes when the last clone of this handle is dropped in this process.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) if the name is taken, or as with
    /// [`SharedMemory::create`](crate::SharedMemory::create).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::Lock;
    ///
    /// let name = format!("doc-Lock-{}", std::process::id());
    /// let lock = Lock::create_named(&name)?;
    /// let same = Lock::open(&name)?; // In any program.
    /// let guard = lock.lock()?;
    /// assert!(same.is_locked());
    /// # drop(guard);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[cfg(feature = "named")]
    pub fn create_named(name: &str) -> Result<Self, Error> {
        named::create(name, Self::make)
    }

    fn make(home: Home<'_>) -> Result<Self, Error> {
        Guarded::create_at(home, SHAPE, 0).map(Self)
    }

    /// Takes the lock.
    ///
    /// # Blocking
    ///
    /// Until whoever holds it releases it or dies. Signals do not end it.
    ///
    /// # Errors
    ///
    /// [`LockError::Poisoned`] with the guard in it if somebody died holding the lock; [`LockError::Deadlock`] if this thread
    /// holds it.
    #[inline]
    pub fn lock(&self) -> LockResult<LockGuard<'_>> {
        wrap(self.0.lock(Deadline::NEVER))
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`] if somebody holds it, this thread or another; [`LockError::Poisoned`] as with
    /// [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{Lock, LockError};
    ///
    /// let lock = Lock::new()?;
    /// let guard = lock.try_lock()?;
    /// assert!(matches!(lock.try_lock(), Err(LockError::WouldBlock)));
    /// # drop(guard);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    #[inline]
    pub fn try_lock(&self) -> LockResult<LockGuard<'_>> {
        wrap(self.0.try_lock())
    }

    /// Takes the lock, but waits no longer than this.
    ///
    /// # Blocking
    ///
    /// Gives up when the time is up, never before.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`], or as with [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_shared::{Lock, LockError};
    /// use std::{thread, time::Duration};
    ///
    /// let lock = Lock::new()?;
    /// let guard = lock.lock()?;
    /// thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         let late = lock.lock_timeout(Duration::from_millis(1));
    ///         assert!(matches!(late, Err(LockError::TimedOut)));
    ///     });
    /// });
    /// # drop(guard);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<LockGuard<'_>> {
        wrap(self.0.lock(deadline(timeout)))
    }

    /// Says whether any thread of any process holds it.
    #[doc(alias = "locked")]
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.0.is_locked()
    }

    /// Says whether somebody died holding it, and nobody has cleared that since.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.0.is_poisoned()
    }

    /// Declares that what the lock protects is in order again.
    pub fn clear_poison(&self) {
        self.0.clear_poison();
    }
}

#[inline]
fn wrap<'a>(held: LockResult<Held<'a>>) -> LockResult<LockGuard<'a>> {
    held.map(LockGuard).map_err(|error| error.map(LockGuard))
}

/// A [`Lock`] that this thread holds until the guard is dropped.
///
/// It cannot be sent to another thread:
///
/// ```compile_fail,E0277
/// let lock = mp_shared::Lock::new().unwrap();
/// let guard = lock.lock().unwrap();
/// std::thread::scope(|scope| { scope.spawn(move || drop(guard)); });
/// ```
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockGuard<'a>(pub(crate) Held<'a>);

#[cfg(feature = "named")]
named_object!(
    [] Lock,
    SHAPE,
    |object| Guarded::of(object).map(Self),
    |this| this.0.object(),
    "Lock",
    "Lock::create_named(&name)",
);

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Lock");
        self.0.debug(&mut debug);
        debug.finish()
    }
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("LockGuard");
        self.0.debug(&mut debug);
        debug.finish()
    }
}

impl Serialize for Lock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Lock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Guarded::deserialize(deserializer, SHAPE).map(Self)
    }
}
