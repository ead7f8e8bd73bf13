//! The robust lock for those who hold it long, and nest it: linked into libc's list of robust mutexes.
#![expect(unsafe_code, reason = "links nodes into the robust list that libc and the kernel walk")]

use std::mem::ManuallyDrop;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, compiler_fence};

use mp_wire::Deadline;

use super::thread::Thread;
use super::{Acquired, LockError, NotHeld, OWNER, RawLock, WAITERS};
use crate::Error;
use crate::segment::{Segment, Shared, View};
use crate::sys::{self, RobustHead, Watch};

/// Where libc's list wants the lock word, seen from the node: glibc on 64-bit machines.
const FUTEX_OFFSET: isize = -32;

/// How far the pointer to the node before lies in front of the pointer to the node after, on which nodes are chained.
const PREV_OFFSET: usize = 8;

/// The lock as it lies in shared memory. From `word` on it is laid out as glibc's `pthread_mutex_t`, whose nodes
/// may be our neighbours in the list.
///
/// While it is held, the memory has to stay mapped, since it is a node of the owner's list: see [`keep`].
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Cell {
    lock: RawLock,
    words: [AtomicU32; 4],
    /// The address of the `next` before, in the owner's address space.
    prev: AtomicUsize,
    /// The address of the `next` after; this field's own address is the node.
    pub(super) next: AtomicUsize,
}

const _: () = assert!(std::mem::offset_of!(Cell, next) as isize == -FUTEX_OFFSET);
const _: () =
    assert!(std::mem::offset_of!(Cell, prev) + PREV_OFFSET == std::mem::offset_of!(Cell, next));

// SAFETY: made of atomics alone.
unsafe impl Shared for Cell {}

impl Cell {
    /// Takes the lock. Twice in one thread is [`LockError::Deadlock`].
    #[inline]
    pub(crate) fn lock(&self, deadline: Deadline) -> Result<Acquired, LockError> {
        let thread = Thread::current()?;
        if !thread.has_room() && self.lock.owner_id() != thread.id() {
            return Err(LockError::TooMany);
        }
        self.lock_anyway(thread, deadline)
    }

    /// As [`lock`](Self::lock), for a gate through which a thread gives back what it holds: it needs it even if it holds very many.
    #[inline]
    pub(crate) fn lock_gate(&self, deadline: Deadline) -> Result<Acquired, LockError> {
        self.lock_anyway(Thread::current()?, deadline)
    }

    #[inline]
    fn lock_anyway(&self, thread: Thread, deadline: Deadline) -> Result<Acquired, LockError> {
        let head = list(&thread)?;
        thread.set_pending(&self.lock.word);
        let result = if self.lock.take_free(thread.id()) {
            Ok(Acquired::Clean)
        } else {
            self.lock.take(thread.id(), deadline)
        };
        if result.is_ok() {
            self.link(head);
            thread.linked();
        }
        thread.clear_pending();
        result
    }

    /// Takes the lock if it is free; a lock that another thread holds counts as timed out.
    pub(crate) fn try_lock(&self) -> Result<Acquired, LockError> {
        self.lock(Deadline::NOW)
    }

    /// Releases the lock and wakes one sleeper, in one step.
    #[inline]
    pub(crate) fn unlock(&self) -> Result<(), NotHeld> {
        self.unlock_after(|| ())
    }

    /// As [`unlock`](Self::unlock), and does one more step before, if the calling thread holds the lock.
    #[inline]
    pub(crate) fn unlock_after(&self, step: impl FnOnce()) -> Result<(), NotHeld> {
        let Ok(thread) = Thread::current() else { return Err(NotHeld) };
        if self.lock.owner_id() != thread.id() {
            return Err(NotHeld);
        }
        step();
        thread.set_pending(&self.lock.word);
        self.unlink();
        thread.unlinked();
        self.lock.release(thread.id());
        thread.clear_pending();
        Ok(())
    }

    /// Takes the lock for one step, which takes no other lock in shared memory and does not panic.
    ///
    /// It is told what became of the owner before. For so short a time the lock is not linked, but pending, as a [`RawLock`].
    #[inline]
    pub(crate) fn briefly<R>(
        &self,
        deadline: Deadline,
        step: impl FnOnce(Acquired) -> R,
    ) -> Result<R, LockError> {
        let thread = Thread::current()?;
        thread.set_pending(&self.lock.word);
        let acquired = if self.lock.take_free(thread.id()) {
            Ok(Acquired::Clean)
        } else {
            self.lock.take(thread.id(), deadline)
        };
        let result = acquired.map(|acquired| {
            let result = step(acquired);
            self.lock.release(thread.id());
            result
        });
        thread.clear_pending();
        result
    }

    /// Takes the lock for a short section of our own code, which takes no other lock in shared memory.
    ///
    /// As in [`briefly`](Self::briefly) it is pending instead of linked, until the guard is dropped.
    #[inline]
    pub(crate) fn lock_briefly(&self, deadline: Deadline) -> Result<Brief<'_>, LockError> {
        let thread = Thread::current()?;
        thread.set_pending(&self.lock.word);
        if !self.lock.take_free(thread.id()) {
            let taken = self.lock.take(thread.id(), deadline);
            if let Err(error) = taken {
                // Held already and not linked, it stays announced.
                if error != LockError::Deadlock || self.next.load(Ordering::Relaxed) != 0 {
                    thread.clear_pending();
                }
                return Err(error);
            }
        }
        Ok(Brief { cell: self, thread })
    }

    /// The thread that holds the lock.
    pub(crate) fn owner(&self) -> Option<u32> {
        self.lock.owner()
    }

    /// Says whether the calling thread holds the lock.
    #[inline]
    pub(crate) fn held_by_me(&self) -> bool {
        self.lock.held_by_me()
    }

    /// Says whether a thread of this process holds it, so that it must stay mapped even if its handle goes.
    ///
    /// Guards borrow the handle, so that is a guard that was leaked, or one of another handle.
    pub(crate) fn may_outlive_its_handle(&self) -> bool {
        self.owner().is_some_and(sys::is_thread_of_this_process)
    }

    /// Four words for what the lock is used for. They survive unlocking, and the owner's death.
    pub(crate) fn words(&self) -> &[AtomicU32; 4] {
        &self.words
    }

    /// Marks the lock as waited for, if somebody holds it: its release and its owner's death then wake a sleeper.
    pub(crate) fn watch(&self) -> Option<Watch<'_>> {
        let word = &self.lock.word;
        let mut value = word.load(Ordering::Relaxed);
        while value & OWNER != 0 {
            let marked = value | WAITERS;
            if marked == value {
                return Some(Watch::new(word, marked));
            }
            match word.compare_exchange(value, marked, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => value = marked,
                Err(now) => value = now,
            }
        }
        None
    }

    /// Marks the lock as waited for, held or free.
    ///
    /// Whoever takes it keeps the mark, so that who sleeps on it now is told of the death of those who take it later, too.
    pub(crate) fn watch_always(&self) -> Watch<'_> {
        let word = &self.lock.word;
        let mut value = word.load(Ordering::Relaxed);
        if value & WAITERS == 0 {
            value = word.fetch_or(WAITERS, Ordering::Relaxed) | WAITERS;
        }
        Watch::new(word, value)
    }
}

/// A lock that is held for a short section of our own code, until this is dropped.
pub(crate) struct Brief<'a> {
    cell: &'a Cell,
    thread: Thread,
}

impl Drop for Brief<'_> {
    #[inline]
    fn drop(&mut self) {
        self.cell.lock.release(self.thread.id());
        self.thread.clear_pending();
    }
}

/// A robust lock in shared memory that may be held long, together with others, and released in any order.
///
/// While it is held it is a node of the list of robust mutexes that glibc keeps for the thread, so user code may run
/// under it. The memory stays mapped while this process holds the lock, even if every handle is dropped.
///
/// # If a process dies
///
/// The kernel walks the list, marks each lock and wakes a sleeper of each; the next owners are told
/// [`Acquired::OwnerDied`]. This goes for a thread that ends holding the lock, too.
///
/// # Safety of the memory
///
/// While the lock is held, the shared memory has pointers of the owner in it. Whoever else has the memory can make the
/// owner crash by changing them: share such a lock with processes that you trust as yourself.
///
/// # Examples
///
/// ```
/// use mp_shared::{robust::{Acquired, LinkedLock}, segment::Segment};
/// use mp_wire::Deadline;
///
/// let segment = Segment::create(1, 2 * LinkedLock::SIZE)?;
/// let first = LinkedLock::new(&segment, 0)?;
/// let second = LinkedLock::new(&segment, LinkedLock::SIZE)?;
/// assert_eq!(first.lock(Deadline::NEVER), Ok(Acquired::Clean));
/// assert_eq!(second.lock(Deadline::NEVER), Ok(Acquired::Clean));
/// first.unlock()?;
/// assert!(second.held_by_me() && !first.held_by_me());
/// second.unlock()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LinkedLock(View<Cell>);

impl LinkedLock {
    /// How many bytes of the segment a lock takes; its offset is a multiple of this.
    pub const SIZE: usize = size_of::<Cell>();

    /// Makes the handle of the lock at `offset` of a segment. All zeroes is a free lock.
    ///
    /// # Errors
    ///
    /// It does not lie within the segment, or is not aligned.
    pub fn new(segment: &Segment, offset: usize) -> Result<Self, Error> {
        segment.bind(offset).map(Self)
    }

    /// Takes the lock.
    ///
    /// # Errors
    ///
    /// See [`LockError`]. Taking it twice in one thread is [`LockError::Deadlock`].
    #[inline]
    pub fn lock(&self, deadline: Deadline) -> Result<Acquired, LockError> {
        self.0.lock(deadline)
    }

    /// See [`Cell::lock_gate`].
    #[inline]
    pub(crate) fn lock_gate(&self, deadline: Deadline) -> Result<Acquired, LockError> {
        self.0.lock_gate(deadline)
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    ///
    /// See [`LockError`]; a lock that another thread holds counts as timed out at once.
    pub fn try_lock(&self) -> Result<Acquired, LockError> {
        self.lock(Deadline::NOW)
    }

    /// Releases the lock and wakes one sleeper, in one step.
    ///
    /// # Errors
    ///
    /// The calling thread does not hold it. Nothing has changed.
    #[inline]
    pub fn unlock(&self) -> Result<(), NotHeld> {
        self.0.unlock()
    }

    /// See [`Cell::unlock_after`].
    #[inline]
    pub(crate) fn unlock_after(&self, step: impl FnOnce()) -> Result<(), NotHeld> {
        self.0.unlock_after(step)
    }

    /// See [`Cell::briefly`].
    #[inline]
    pub(crate) fn briefly<R>(
        &self,
        deadline: Deadline,
        step: impl FnOnce(Acquired) -> R,
    ) -> Result<R, LockError> {
        self.0.briefly(deadline, step)
    }

    /// The thread that holds the lock.
    #[must_use]
    pub fn owner(&self) -> Option<u32> {
        self.0.owner()
    }

    /// Says whether the calling thread holds the lock.
    #[inline]
    #[must_use]
    pub fn held_by_me(&self) -> bool {
        self.0.held_by_me()
    }

    /// The segment that the lock lies in.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        View::segment(&self.0)
    }
}

impl Drop for LinkedLock {
    fn drop(&mut self) {
        if self.0.may_outlive_its_handle() {
            keep(self.0.clone());
        }
    }
}

/// Locks whose handles are gone, though threads of this process hold them: their memory stays mapped.
static KEPT: Mutex<Vec<View<Cell>>> = Mutex::new(Vec::new());

/// Whether there are any.
static ANY_KEPT: AtomicBool = AtomicBool::new(false);

/// Keeps the memory of a lock mapped as long as a thread of this process holds it, whose list it is in.
pub(crate) fn keep(lock: View<Cell>) {
    if let Ok(mut kept) = KEPT.try_lock() {
        kept.push(lock);
        ANY_KEPT.store(true, Ordering::Relaxed);
    } else {
        // Somebody else is at it, perhaps in the process that this one was copied from: then nobody ever finishes.
        let _ = ManuallyDrop::new(lock);
    }
    let_go();
}

/// Lets go of the memory of locks that have been released, or whose threads have ended.
pub(crate) fn let_go() {
    if !ANY_KEPT.load(Ordering::Relaxed) {
        return;
    }
    let Ok(mut kept) = KEPT.try_lock() else { return };
    let (held, released) = kept.drain(..).partition(|lock| lock.may_outlive_its_handle());
    *kept = held;
    ANY_KEPT.store(!kept.is_empty(), Ordering::Relaxed);
    drop(kept);
    // Outside of the mutex: the last handle of a segment takes others.
    drop::<Vec<_>>(released);
}

/// The thread's list, if its nodes are laid out as ours.
fn list(thread: &Thread) -> Result<&RobustHead, LockError> {
    thread.head().filter(|head| head.futex_offset == FUTEX_OFFSET).ok_or(LockError::Unsupported)
}

/// Bit 0 of a link says "priority inheritance" of the mutex that it leads to, and is not part of the address.
fn address(link: usize) -> usize {
    link & !1
}

impl Cell {
    pub(super) fn node(&self) -> usize {
        self.next.as_ptr().expose_provenance()
    }

    /// Inserts this lock as the first of the list, as glibc's `ENQUEUE_MUTEX` does.
    fn link(&self, head: &RobustHead) {
        // Neighbours write both links of this node by the address of one.
        std::ptr::from_ref(self).expose_provenance();
        let first = head.list.load(Ordering::Relaxed);
        self.next.store(first, Ordering::Relaxed);
        self.prev.store(head.list.as_ptr().expose_provenance(), Ordering::Relaxed);
        store(address(first).wrapping_sub(PREV_OFFSET), self.node());
        // The kernel may walk the list at any instruction: the node is complete before it is in the list.
        compiler_fence(Ordering::SeqCst);
        head.list.store(self.node(), Ordering::Relaxed);
    }

    /// Takes this lock out of the list, as glibc's `DEQUEUE_MUTEX` does.
    fn unlink(&self) {
        let next = self.next.load(Ordering::Relaxed);
        let prev = self.prev.load(Ordering::Relaxed);
        store(address(next).wrapping_sub(PREV_OFFSET), prev);
        store(address(prev), next);
        // Out of the list before the fields change that the kernel reads of a node in it.
        compiler_fence(Ordering::SeqCst);
        self.prev.store(0, Ordering::Relaxed);
        self.next.store(0, Ordering::Relaxed);
    }
}

/// Writes a link of a neighbour: another node of the list, or its head.
fn store(place: usize, link: usize) {
    // SAFETY: `place` is a link of a node in this thread's list, or of its head, which only this thread changes. Nodes of
    // ours stay mapped while they are in the list (`keep`); glibc asks the same of its own. glibc has a
    // `prev` in front of the head, too. Another process could have changed it in shared memory: it is trusted not to.
    let place = unsafe { AtomicUsize::from_ptr(std::ptr::with_exposed_provenance_mut(place)) };
    place.store(link, Ordering::Relaxed);
}
