//! The names of [`crate::sync`] over `shuttle`. Outside of a run of the model conditions can be notified, and the time is the real one.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mp_wire::Deadline;
use shuttle::current::me;
use shuttle::scheduler::TaskId;

/// What a run of the model knows. All of its threads are one thread of the system.
struct Run {
    began: Instant,
    /// The same as deadlines count.
    origin: Duration,
    /// How much time has passed in the model, which is ahead of the system.
    passed: Duration,
    /// Who sleeps, and until when.
    sleeping: HashMap<TaskId, Until>,
    /// No more threads are to be had.
    out_of_threads: bool,
}

/// Until when somebody sleeps who is not woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Until {
    /// The time since the beginning.
    Time(Duration),
    /// For ever.
    Woken,
    /// Until there is nobody who could run, and time is about to pass.
    Quiet,
}

thread_local! {
    static RUN: RefCell<Option<Run>> = const { RefCell::new(None) };
}

fn with<R>(f: impl FnOnce(&mut Run) -> R) -> Option<R> {
    RUN.with_borrow_mut(|run| run.as_mut().map(f))
}

/// Begins a run.
pub(crate) fn begin() {
    RUN.set(Some(Run {
        began: Instant::now(),
        origin: at(Deadline::after(Duration::from_nanos(1))).unwrap_or_default(),
        passed: Duration::from_secs(3600),
        sleeping: HashMap::new(),
        out_of_threads: false,
    }));
}

/// Lets time pass.
pub(crate) fn pass(time: Duration) {
    with(|run| run.passed += time);
}

pub(super) fn run_out_of_threads() {
    with(|run| run.out_of_threads = true);
}

/// Until when this one sleeps, if it does.
pub(super) fn sleeps(task: TaskId) -> Option<Until> {
    with(|run| run.sleeping.get(&task).copied())?
}

/// A step: others may run now.
pub(super) fn step() {
    shuttle::thread::sleep(Duration::ZERO);
}

/// Sleeps; says whether that ended by itself.
pub(super) fn doze(until: Until) -> bool {
    with(|run| run.sleeping.insert(me(), until));
    // To the scheduler it is one of those that could run, which it knows not to choose.
    step();
    with(|run| run.sleeping.remove(&me())).flatten().is_some()
}

pub(crate) fn now() -> Instant {
    with(|run| run.began + run.passed).unwrap_or_else(Instant::now)
}

/// When a deadline is, by the clock of the system.
fn at(deadline: Deadline) -> Option<Duration> {
    let (seconds, nanos) = deadline.monotonic()?;
    Some(Duration::new(seconds as u64, nanos as u32))
}

/// The time until a deadline that [`after`] made, to a millisecond: what the run itself takes is not to be seen.
pub(crate) fn left(deadline: Deadline) -> Option<Duration> {
    let at = at(deadline)?;
    let left = with(|run| {
        let left = (at + Duration::from_micros(500)).saturating_sub(run.origin + run.passed);
        Duration::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    });
    left.or_else(|| deadline.remaining())
}

pub(crate) fn after(time: Duration) -> Deadline {
    Deadline::after(with(|run| run.passed + time - run.began.elapsed()).unwrap_or(time))
}

pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, guard: Some(self.relock()) }
    }

    fn relock(&self) -> shuttle::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    guard: Option<shuttle::sync::MutexGuard<'a, T>>,
}

impl<T> MutexGuard<'_, T> {
    pub(crate) fn unlocked<R>(this: &mut Self, f: impl FnOnce() -> R) -> R {
        this.guard = None;
        let result = f();
        this.guard = Some(this.mutex.relock());
        result
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().unwrap()
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().unwrap()
    }
}

/// Somebody who sleeps on a condition.
struct Sleeper {
    task: TaskId,
    woken: AtomicBool,
}

impl Sleeper {
    fn wake(&self) {
        self.woken.store(true, Ordering::Relaxed);
        with(|run| run.sleeping.remove(&self.task));
    }

    /// Sleeps until it is woken or the time is over.
    fn sleep(&self, time: Option<Duration>) {
        if self.woken.load(Ordering::Relaxed) {
            return;
        }
        let Some(time) = time else {
            assert!(!doze(Until::Woken));
            return;
        };
        let end = with(|run| run.passed.saturating_add(time)).unwrap_or_default();
        if doze(Until::Time(end)) {
            // What has to pass before anything changes passes, too.
            with(|run| run.passed = end.max(run.passed + Duration::from_millis(1)));
        }
    }
}

/// Wakes in the order in which they came, as `parking_lot` does, and nobody without a reason.
#[derive(Default)]
pub(crate) struct Condvar(parking_lot::Mutex<VecDeque<Arc<Sleeper>>>);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn sleep<T>(&self, guard: &mut MutexGuard<'_, T>, time: Option<Duration>) {
        let sleeper = Arc::new(Sleeper { task: me(), woken: AtomicBool::new(false) });
        self.0.lock().push_back(sleeper.clone());
        MutexGuard::unlocked(guard, || {
            sleeper.sleep(time);
            self.0.lock().retain(|other| !Arc::ptr_eq(other, &sleeper));
        });
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.sleep(guard, None);
    }

    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, time: Duration) {
        self.sleep(guard, Some(time));
    }

    fn notify(&self, most: usize) {
        if self.0.lock().is_empty() {
            return;
        }
        step();
        let mut sleepers = self.0.lock();
        let most = most.min(sleepers.len());
        sleepers.drain(..most).for_each(|sleeper| sleeper.wake());
    }

    pub(crate) fn notify_one(&self) {
        self.notify(1);
    }

    pub(crate) fn notify_all(&self) {
        self.notify(usize::MAX);
    }
}

pub(crate) mod thread {
    pub(crate) use shuttle::thread::{JoinHandle, ThreadId, current};
    use std::io;

    pub(crate) struct Builder(shuttle::thread::Builder);

    impl Builder {
        pub(crate) fn new() -> Self {
            Self(shuttle::thread::Builder::new())
        }

        pub(crate) fn name(self, name: String) -> Self {
            Self(self.0.name(name))
        }

        pub(crate) fn spawn(
            self,
            run: impl FnOnce() + Send + 'static,
        ) -> io::Result<JoinHandle<()>> {
            if super::with(|state| state.out_of_threads) == Some(true) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.0.spawn(run)
        }
    }
}
