//! Processes at work, of which some are killed at random, and the memory that they share with whoever watches.

use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use mp_tests::proc;
use mp_tests::random::Random;
use mp_tests::step::Role;

/// A worker that does nothing for so long, and sleeps, hangs. On a loaded machine one may have to wait for a core.
const PATIENCE: Duration = Duration::from_secs(10);

/// A value of atomics, all zero at first, in memory that forked processes share.
pub(crate) struct Mapped<T>(NonNull<T>);

/// What zero bytes are one of, and any process may change at any time.
pub(crate) trait Atomics {}

impl<T: Atomics> Mapped<T> {
    pub(crate) fn new() -> Self {
        #![expect(unsafe_code, reason = "memory that forked processes share")]
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a fresh anonymous mapping at an address that the kernel chooses touches no other memory.
        let address =
            unsafe { libc::mmap(ptr::null_mut(), size_of::<T>(), protection, flags, -1, 0) };
        assert!(address != libc::MAP_FAILED, "no memory for the ledger");
        Self(NonNull::new(address.cast()).unwrap())
    }
}

impl<T> std::ops::Deref for Mapped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        #![expect(unsafe_code, reason = "memory that forked processes share")]
        // SAFETY: mapped by `new` until `drop`; zero bytes are one, which is made of atomics, as `Atomics` says.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        #![expect(unsafe_code, reason = "memory that forked processes share")]
        // SAFETY: `new` mapped it with this size.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<T>()) };
    }
}

struct Worker {
    role: Role,
    life: usize,
    work: u64,
    seen: Instant,
}

/// So many processes at a time; each that is killed is followed by another.
pub(crate) struct Crew<'a> {
    workers: Vec<Worker>,
    lives: usize,
    start: &'a dyn Fn(usize) -> Role,
    /// How much a life has done.
    work: &'a dyn Fn(usize) -> u64,
}

impl<'a> Crew<'a> {
    pub(crate) fn new(
        size: usize,
        start: &'a dyn Fn(usize) -> Role,
        work: &'a dyn Fn(usize) -> u64,
    ) -> Self {
        let mut crew = Self { workers: Vec::new(), lives: 0, start, work };
        for _ in 0..size {
            let worker = crew.next();
            crew.workers.push(worker);
        }
        crew
    }

    fn next(&mut self) -> Worker {
        let life = self.lives;
        self.lives += 1;
        Worker { role: (self.start)(life), life, work: 0, seen: Instant::now() }
    }

    /// How many have lived.
    pub(crate) fn lives(&self) -> usize {
        self.lives
    }

    /// Kills one, and starts another; returns which life has ended.
    pub(crate) fn kill_one(&mut self, random: &mut Random) -> usize {
        let index = random.below(self.workers.len() as u64) as usize;
        self.workers[index].role.kill();
        let next = self.next();
        std::mem::replace(&mut self.workers[index], next).life
    }

    /// Says who has done nothing for long.
    pub(crate) fn idle(&mut self) -> Vec<String> {
        let mut faults = Vec::new();
        for worker in &mut self.workers {
            let work = (self.work)(worker.life);
            if work != worker.work {
                worker.work = work;
                worker.seen = Instant::now();
            }
            let asleep = || proc::state(worker.role.pid()) == Some('S');
            if worker.seen.elapsed() > PATIENCE && asleep() {
                faults.push(format!("does nothing: {}", proc::describe(worker.role.pid())));
            }
        }
        faults
    }

    /// Waits until all have ended by themselves; says who does not.
    pub(crate) fn finish(mut self) -> Vec<String> {
        let mut faults = Vec::new();
        for worker in &mut self.workers {
            let end = Instant::now() + PATIENCE;
            let ended = || proc::state(worker.role.pid()).is_none_or(|state| state == 'Z');
            while !ended() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !ended() {
                faults.push(format!("does not end: {}", proc::describe(worker.role.pid())));
            }
            worker.role.kill();
        }
        faults
    }
}
