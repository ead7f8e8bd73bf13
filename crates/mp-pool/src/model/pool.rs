//! A pool whose workers are threads of the model, and what must hold whenever nobody can do anything but wait.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mp_wire::{Deadline, Message};

use super::sync::{self, Condvar, Mutex, Until, after, step, thread};
use crate::core::{Bell, Core, Phase, State};
use crate::dispatcher::{Dispatcher, Fleet, Unit, WorkerId};
use crate::job::{Finished, Job, Order};
use crate::sync::sleep;
use crate::terms::Terms;
use crate::transport::{Broken, Link, Parcel, Reply, Unsent, Usage};
use crate::{Death, TaskError};

/// How often time may pass in a run.
const LONGEST: u32 = 400;

/// What the only task of a unit does, as its argument.
pub(super) const WORK: u8 = 0;
pub(super) const PANIC: u8 = 1;
pub(super) const DIE: u8 = 2;
pub(super) const HANG: u8 = 3;

#[derive(Default)]
struct Papers {
    orders: VecDeque<Parcel>,
    replies: VecDeque<Reply>,
    at: (u32, u32),
    closed: bool,
    killed: bool,
    dead: bool,
}

/// The way to a worker and back.
#[derive(Clone, Default)]
pub(super) struct Desk(Arc<(Mutex<Papers>, Condvar)>);

impl Desk {
    fn change<R>(&self, f: impl FnOnce(&mut Papers) -> R) -> R {
        let result = f(&mut self.0.0.lock());
        self.0.1.notify_all();
        result
    }

    pub(super) fn kill_it(&self) {
        self.change(|papers| papers.killed = true);
    }

    /// Waits for an order; `None` when none will come.
    fn take(&self) -> Option<Parcel> {
        let mut papers = self.0.0.lock();
        loop {
            if papers.killed {
                return None;
            }
            if let Some(parcel) = papers.orders.pop_front() {
                papers.at = (parcel.id as u32, parcel.from);
                return Some(parcel);
            }
            if papers.closed {
                return None;
            }
            self.0.1.wait(&mut papers);
        }
    }

    /// Replies, unless it has been killed.
    fn reply(&self, reply: Reply) -> bool {
        self.change(|papers| {
            if !papers.killed {
                papers.at.1 += 1;
                papers.replies.push_back(reply);
            }
            !papers.killed
        })
    }

    /// What a worker does in its life.
    fn work(&self, bell: &Ring) {
        if self.reply(Reply::Ready { at: 0 }) {
            bell.ring();
        }
        while let Some(parcel) = self.take() {
            step();
            let how = parcel.bytes.first().copied();
            if how == Some(DIE) {
                break;
            }
            if how == Some(HANG) {
                let mut papers = self.0.0.lock();
                while !papers.killed {
                    self.0.1.wait(&mut papers);
                }
                break;
            }
            let Parcel { id, bytes, .. } = parcel;
            let (items, nanos, end) = (1, 1, 1);
            let (panicked, result) = (how == Some(PANIC), Message { bytes, fds: Vec::new() });
            if !self.reply(Reply::Done { id, items, nanos, end, panicked, leaving: false, result })
            {
                break;
            }
            bell.ring();
        }
    }
}

impl Link for Desk {
    fn send(&mut self, parcel: &Parcel) -> Result<(), Unsent> {
        let &Parcel { id, from, end, entry, .. } = parcel;
        let (bytes, fds) = (parcel.bytes.clone(), Vec::new());
        self.change(|papers| papers.orders.push_back(Parcel { id, from, end, entry, bytes, fds }));
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<Reply>, Broken> {
        Ok(self.0.0.lock().replies.pop_front())
    }

    fn take_back(&mut self) -> Result<Option<Parcel>, Broken> {
        Ok(self.0.0.lock().orders.pop_front())
    }

    fn close(&mut self) {
        self.change(|papers| papers.closed = true);
    }

    fn at(&self) -> (u32, u32) {
        self.0.0.lock().at
    }

    fn ask_to_stop(&self, _id: u64) {}

    fn usage(&self) -> Usage {
        Usage::default()
    }

    fn kill(&self) {
        self.kill_it();
    }

    fn pid(&self) -> u32 {
        1
    }
}

/// The bell.
#[derive(Clone, Default)]
pub(super) struct Ring(Arc<(Mutex<u64>, Condvar, AtomicUsize)>);

impl Bell for Ring {
    type Seen = u64;

    fn value(&self) -> u64 {
        *self.0.0.lock()
    }

    fn wait(&self, seen: u64, deadline: Deadline, _hurry: bool) {
        assert_eq!(self.0.2.fetch_add(1, Ordering::Relaxed), 0, "two pump at a time");
        let mut rung = self.0.0.lock();
        if *rung == seen {
            sleep(&self.0.1, &mut rung, deadline);
        }
        self.0.2.fetch_sub(1, Ordering::Relaxed);
    }

    fn ring(&self) {
        *self.0.0.lock() += 1;
        self.0.1.notify_all();
    }
}

pub(super) type Toy = Core<Desk, Ring>;
type Ready = dyn Fn(&State<Desk>) -> bool + Send + Sync;

/// What is to be looked at while nobody can run.
#[derive(Default)]
struct Ledger {
    /// What callers wait for.
    waits: Mutex<Vec<Arc<Ready>>>,
    /// How many callbacks are running.
    calling: AtomicUsize,
    over: AtomicUsize,
    /// The workers that live, and a condition for those that look after them.
    alive: Mutex<Vec<(WorkerId, Desk)>>,
    death: Condvar,
}

/// A pool of the model.
#[derive(Clone)]
pub(super) struct Pool {
    pub(super) core: Arc<Toy>,
    ledger: Arc<Ledger>,
}

impl Pool {
    /// Runs a scenario with a pool, and looks at the end of both.
    pub(super) fn run(workers: usize, scenario: impl FnOnce(&Pool)) {
        sync::begin();
        let (control, other) = UnixStream::pair().unwrap();
        let fleet = Fleet::fixed(workers);
        let core = Arc::new(Core::new(Dispatcher::new(fleet, None), Ring::default(), control));
        let pool = Pool { core, ledger: Arc::default() };
        let watch = pool.spawn(Pool::watch);
        let helper = pool.spawn(|pool| pool.core.help());
        let supervisor = pool.spawn(Pool::supervise);
        pool.core.lock().threads.extend([helper, supervisor]);
        scenario(&pool);
        pool.ledger.over.store(1, Ordering::Relaxed);
        watch.join().unwrap();
        drop(other);
    }

    pub(super) fn spawn(&self, run: impl FnOnce(&Pool) + Send + 'static) -> thread::JoinHandle<()> {
        let pool = self.clone();
        shuttle::thread::spawn(move || run(&pool))
    }

    /// Starts workers and notices their end, as the thread does that the pool has for this.
    fn supervise(&self) {
        loop {
            {
                let state = self.core.lock();
                if state.stop && self.ledger.alive.lock().is_empty() {
                    return;
                }
            }
            while self.start_one() {}
            let mut alive = self.ledger.alive.lock();
            if alive.iter().all(|(_, desk)| !desk.0.0.lock().dead) {
                sleep(&self.ledger.death, &mut alive, after(Duration::from_secs(1)));
            }
            let (dead, living): (Vec<_>, Vec<_>) =
                alive.drain(..).partition(|(_, desk)| desk.0.0.lock().dead);
            *alive = living;
            drop(alive);
            for (id, desk) in &dead {
                let killed = desk.0.0.lock().killed;
                let death = if killed { Death::Killed(9) } else { Death::Exited(0) };
                self.core.lock().dispatcher.bury(*id, death);
            }
            if !dead.is_empty() {
                self.core.disturb();
            }
        }
    }

    fn start_one(&self) -> bool {
        let mut state = self.core.lock();
        let State { dispatcher, phase, .. } = &mut *state;
        if dispatcher.ended().is_some()
            || *phase == Phase::Joined
            || dispatcher.living() >= dispatcher.fleet().wanted
        {
            return false;
        }
        let slot = dispatcher.vacancy();
        let desk = Desk::default();
        let id = dispatcher.add_worker(slot, desk.clone());
        drop(state);
        self.core.bell.ring();
        self.ledger.alive.lock().push((id, desk.clone()));
        self.spawn(move |pool| {
            desk.work(&pool.core.bell);
            desk.0.0.lock().dead = true;
            let _alive = pool.ledger.alive.lock();
            pool.ledger.death.notify_all();
        });
        true
    }

    /// Kills one of the workers, if there is one.
    pub(super) fn kill_one(&self) {
        let alive = self.ledger.alive.lock();
        if let Some((_, desk)) = alive.first() {
            desk.kill_it();
        }
    }

    /// Looks, whenever nobody can run, whether somebody should.
    fn watch(&self) {
        for _ in 0..LONGEST {
            sync::doze(Until::Quiet);
            if self.ledger.over.load(Ordering::Relaxed) == 1 {
                return;
            }
            self.check();
        }
        panic!("it has no end");
    }

    fn check(&self) {
        let state = self.core.lock();
        assert!(!state.is_stranded(), "callers sleep, and nobody pumps");
        for ready in &*self.ledger.waits.lock() {
            assert!(!ready(&state), "a caller sleeps, and what it waits for is there");
        }
        if state.dispatcher.has_callbacks() {
            let calling = self.ledger.calling.load(Ordering::Relaxed);
            assert!(calling > 0, "a callback is due, and nobody runs it");
        }
        if state.is_pumped() {
            for (_, desk) in &*self.ledger.alive.lock() {
                let replies = desk.0.0.lock().replies.len();
                assert_eq!(replies, 0, "the pump sleeps, and there are replies");
            }
        }
    }

    /// Waits, and has it watched.
    pub(super) fn wait(
        &self,
        job: &Arc<Job>,
        deadline: Deadline,
        ready: impl Fn(&State<Desk>) -> bool + Send + Sync + 'static,
    ) -> bool {
        let ready: Arc<Ready> = Arc::new(ready);
        self.ledger.waits.lock().push(ready.clone());
        let result = self.core.wait(job, deadline, |state| ready(state));
        self.ledger.waits.lock().retain(|other| !Arc::ptr_eq(other, &ready));
        result
    }

    /// Waits until a job is done.
    pub(super) fn wait_done(&self, job: &Arc<Job>, deadline: Deadline) -> bool {
        let this = job.clone();
        self.wait(job, deadline, move |_| this.is_done())
    }

    /// Submits tasks, each a unit, that do these things.
    pub(super) fn submit(&self, terms: Terms, tasks: &[u8]) -> Result<Arc<Job>, TaskError> {
        let job = Arc::new(Job::with_terms(Order::Submitted, terms));
        self.core.submit(tasks.iter().map(|&how| unit(&job, how)), true)?;
        Ok(job)
    }

    /// Submits tasks with a callback.
    pub(super) fn submit_with(
        &self,
        tasks: &[u8],
        callback: impl FnOnce(&Pool, &Job) + Send + 'static,
    ) -> Result<Arc<Job>, TaskError> {
        self.core.prepare_callbacks();
        let pool = self.clone();
        let callback = Box::new(move |job: &Job| pool.call(|pool| callback(pool, job)));
        let job = Arc::new(Job::with_callback(Order::Submitted, Terms::default(), callback));
        let units = tasks.iter().map(|&how| unit(&job, how)).collect();
        self.core.submit_with_callback(&job, units)?;
        Ok(job)
    }

    /// Runs what a callback does.
    pub(super) fn call(&self, run: impl FnOnce(&Pool)) {
        self.ledger.calling.fetch_add(1, Ordering::Relaxed);
        step();
        run(self);
        self.ledger.calling.fetch_sub(1, Ordering::Relaxed);
    }

    /// Closes it, and waits for its end.
    pub(super) fn close_and_join(&self) {
        self.core.close();
        self.core.finish();
        self.core.dismiss(Deadline::NEVER);
    }
}

impl Pool {
    /// Has something run when a job is done.
    pub(super) fn notify(&self, job: &Arc<Job>, run: impl FnOnce(&Pool) + Send + 'static) {
        let pool = self.clone();
        self.core.notify(job, Box::new(move || pool.call(run)));
    }

    /// Ends it, and waits for its end as long as dropping it does.
    pub(super) fn drop_it(&self) {
        self.core.end(TaskError::Terminated);
        self.core.dismiss(after(Duration::from_secs(5)));
    }
}

fn unit(job: &Arc<Job>, how: u8) -> Unit {
    let (bytes, fds) = (vec![how], Vec::new());
    let parcel = Parcel { id: 0, from: 0, end: 1, entry: 0, bytes, fds };
    Unit::new(job.clone(), job.add(), parcel)
}

/// The outcomes of a job that is done, in order.
pub(super) fn outcomes(job: &Job) -> Vec<Result<u8, TaskError>> {
    assert!(job.is_done());
    let all: Vec<Finished> = std::iter::from_fn(|| job.pop()).collect();
    assert_eq!(all.len() as u64, job.tasks_done(), "each task has one outcome");
    all.into_iter().map(|one| one.outcome.map(|message| message.bytes[0])).collect()
}
