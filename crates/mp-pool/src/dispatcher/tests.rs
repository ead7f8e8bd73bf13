//! The dispatcher with workers that are nothing but two queues in this process.

use std::collections::VecDeque;
use std::sync::Arc;

use mp_wire::Message;
use parking_lot::Mutex;

use super::*;
use crate::job::Order;
use crate::transport::Usage;

#[derive(Default)]
struct State {
    orders: VecDeque<Parcel>,
    replies: VecDeque<Reply>,
    taken: Option<Parcel>,
    /// How many tasks of what is taken are answered.
    answered: u32,
    /// Where the worker says that it is.
    at: (u32, u32),
    stop: Option<u64>,
    usage: Usage,
    closed: bool,
    killed: bool,
    full: bool,
    broken: bool,
}

/// A worker that does what a test tells it to.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

impl Fake {
    /// Takes an order, as if to run it.
    fn take(&self) -> Option<u64> {
        let mut state = self.0.lock();
        let parcel = state.orders.pop_front()?;
        let id = parcel.id;
        (state.at, state.answered) = ((id as u32, parcel.from), 0);
        state.taken = Some(parcel);
        Some(id)
    }

    /// Goes on to the task at this place.
    fn go(&self, place: u32) {
        self.0.lock().at.1 = place;
    }

    fn answer(&self, nanos: u64) {
        self.reply(nanos, false);
    }

    fn reply(&self, nanos: u64, panicked: bool) {
        let mut state = self.0.lock();
        if let Some(Parcel { id, from, end, .. }) = state.taken.take() {
            let items = end - from - state.answered;
            state.at.1 = end;
            let result = Message { bytes: id.to_ne_bytes().into(), fds: Vec::new() };
            state.replies.push_back(Reply::Done { id, items, nanos, panicked, result });
        }
    }

    /// Hands some of the results over.
    fn answer_some(&self, items: u32) {
        let mut state = self.0.lock();
        if let Some(Parcel { id, from, .. }) = state.taken {
            state.answered += items;
            state.at.1 = from + state.answered;
            let (nanos, panicked, result) = (1, false, Message::default());
            state.replies.push_back(Reply::Done { id, items, nanos, panicked, result });
        }
    }

    /// Runs one order; says whether there was one.
    fn run(&self, nanos: u64) -> bool {
        let any = self.take().is_some();
        self.answer(nanos);
        any
    }

    fn ready(self) -> Self {
        self.0.lock().replies.push_back(Reply::Ready);
        self
    }

    fn orders(&self) -> usize {
        self.0.lock().orders.len()
    }
}

impl Link for Fake {
    fn send(&mut self, parcel: &Parcel) -> Result<(), Unsent> {
        let mut state = self.0.lock();
        if state.broken {
            return Err(Unsent::Broken);
        }
        if state.full {
            return Err(Unsent::Full);
        }
        let &Parcel { id, from, end, entry, .. } = parcel;
        state.orders.push_back(Parcel { id, from, end, entry, bytes: parcel.bytes.clone(), fds: Vec::new() });
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<Reply>, Broken> {
        let mut state = self.0.lock();
        if state.broken { Err(Broken) } else { Ok(state.replies.pop_front()) }
    }

    fn take_back(&mut self) -> Result<Option<Parcel>, Broken> {
        Ok(self.0.lock().orders.pop_front())
    }

    fn close(&mut self) {
        self.0.lock().closed = true;
    }

    fn at(&self) -> (u32, u32) {
        self.0.lock().at
    }

    fn ask_to_stop(&self, id: u64) {
        self.0.lock().stop = Some(id);
    }

    fn usage(&self) -> Usage {
        self.0.lock().usage
    }

    fn kill(&self) {
        self.0.lock().killed = true;
    }

    fn pid(&self) -> u32 {
        1
    }
}

fn unit_of(job: &Arc<Job>, items: u32) -> Unit {
    let parcel = Parcel { id: 0, from: 0, end: items, entry: 0, bytes: vec![0; 8], fds: Vec::new() };
    Unit::new(job.clone(), job.add(), parcel)
}

fn submit(dispatcher: &mut Dispatcher<Fake>, job: &Arc<Job>, count: usize) {
    for _ in 0..count {
        dispatcher.submit(unit_of(job, 1));
    }
}

fn pool(workers: usize) -> (Dispatcher<Fake>, Vec<Fake>, Vec<WorkerId>, Arc<Job>) {
    let mut dispatcher = Dispatcher::new(Fleet::fixed(workers), None);
    let fakes: Vec<_> = (0..workers).map(|_| Fake::default().ready()).collect();
    let ids =
        fakes.iter().enumerate().map(|(slot, fake)| dispatcher.add_worker(slot, fake.clone()));
    let ids = ids.collect();
    dispatcher.collect();
    (dispatcher, fakes, ids, Arc::new(Job::new(Order::Submitted)))
}

/// The outcomes so far: `true` for a result.
fn outcomes(job: &Job) -> Vec<bool> {
    let mut all = Vec::new();
    let mut note = |part: &Finished| {
        all.extend(std::iter::repeat_n(part.outcome.is_ok(), part.items as usize));
    };
    while let Some(finished) = job.pop() {
        note(&finished);
        finished.more.iter().for_each(&mut note);
    }
    all
}

const LONG: u64 = 1_000_000_000;
const SHORT: u64 = 1_000;

#[test]
fn work_is_spread_before_it_is_queued() {
    let (mut dispatcher, fakes, _, job) = pool(3);
    submit(&mut dispatcher, &job, 3);
    assert_eq!(fakes.iter().map(Fake::orders).collect::<Vec<_>>(), [1, 1, 1]);
    submit(&mut dispatcher, &job, 5);
    assert_eq!(fakes.iter().map(Fake::orders).collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!((dispatcher.pending(), dispatcher.outstanding()), (2, 8));
}

#[test]
fn everything_is_done_once_and_in_order() {
    let (mut dispatcher, fakes, _, job) = pool(2);
    submit(&mut dispatcher, &job, 100);
    while dispatcher.outstanding() > 0 {
        for fake in &fakes {
            fake.run(LONG);
        }
        dispatcher.collect();
    }
    assert_eq!(outcomes(&job), [true; 100]);
}

#[test]
fn short_units_are_sent_further_ahead_than_long_ones() {
    let (mut dispatcher, fakes, _, job) = pool(1);
    submit(&mut dispatcher, &job, 300);
    assert_eq!(fakes[0].orders(), 2);
    fakes[0].run(SHORT);
    dispatcher.collect();
    assert_eq!(fakes[0].orders() as u64, DEPTH.1);
    while fakes[0].run(LONG) {
        dispatcher.collect();
    }
    submit(&mut dispatcher, &job, 10);
    assert_eq!(fakes[0].orders(), 2);
}

#[test]
fn the_dead_take_only_what_they_were_running_with_them() {
    let (mut dispatcher, fakes, ids, job) = pool(2);
    submit(&mut dispatcher, &job, 4);
    // The first one has answered one unit, and is killed while it runs the next.
    fakes[0].run(LONG);
    fakes[0].take();
    let remains = dispatcher.bury(ids[0], Death::Killed(9)).unwrap();
    assert_eq!(remains, Remains { expected: false, ready: true, task: true });
    while fakes[1].run(LONG) {}
    dispatcher.collect();
    let all: Vec<_> = std::iter::from_fn(|| job.pop()).collect();
    let died = |unit: &&Finished| {
        matches!(unit.outcome, Err(TaskError::Died { death: Death::Killed(9), .. }))
    };
    assert_eq!((all.len(), all.iter().filter(died).count()), (4, 1));
    assert!(dispatcher.bury(ids[0], Death::Killed(9)).is_none(), "buried twice");
}

#[test]
fn what_the_dead_had_not_taken_goes_to_others_in_order() {
    let (mut dispatcher, fakes, ids, job) = pool(1);
    submit(&mut dispatcher, &job, 5);
    let remains = dispatcher.bury(ids[0], Death::Exited(3)).unwrap();
    assert!(!remains.task && dispatcher.outstanding() == 5 && fakes[0].orders() == 0);
    let heir = Fake::default();
    dispatcher.add_worker(0, heir.clone());
    while heir.run(LONG) {
        dispatcher.collect();
    }
    assert_eq!(outcomes(&job), [true; 5]);
}

#[test]
fn an_idle_worker_gets_what_a_slow_one_has_queued() {
    let (mut dispatcher, fakes, _, job) = pool(2);
    submit(&mut dispatcher, &job, 4);
    // The first one is busy for long; the second one is done with its own.
    fakes[0].run(LONG);
    fakes[0].take();
    fakes[1].run(LONG);
    fakes[1].run(LONG);
    dispatcher.collect();
    submit(&mut dispatcher, &job, 3);
    fakes[1].run(LONG);
    fakes[1].run(LONG);
    dispatcher.collect();
    assert_eq!(fakes[0].orders() + fakes[1].orders(), 1);
    fakes[1].run(LONG);
    dispatcher.collect();
    fakes[0].answer(LONG);
    dispatcher.collect();
    assert_eq!((outcomes(&job), dispatcher.outstanding()), (vec![true; 7], 0));
}

#[test]
fn nothing_waits_for_a_slow_initializer_while_another_worker_is_idle() {
    let (mut dispatcher, fakes, ids, job) = pool(2);
    submit(&mut dispatcher, &job, 2);
    fakes[0].run(LONG);
    dispatcher.bury(ids[0], Death::Killed(9));
    // The heir does not get ready, but there is nobody else with nothing to do.
    let heir = Fake::default();
    dispatcher.add_worker(0, heir.clone());
    submit(&mut dispatcher, &job, 2);
    assert_eq!((heir.orders(), fakes[1].orders()), (1, 2));
    while fakes[1].run(LONG) {}
    std::thread::sleep(SLOW);
    dispatcher.collect();
    assert_eq!((heir.orders(), fakes[1].orders()), (0, 1));
    fakes[1].run(LONG);
    dispatcher.collect();
    assert_eq!((outcomes(&job), dispatcher.outstanding()), (vec![true; 4], 0));
}

#[test]
fn a_worker_is_let_go_when_it_has_had_its_number_of_tasks() {
    let mut dispatcher = Dispatcher::new(Fleet::fixed(1), Some(3));
    let fake = Fake::default().ready();
    let id = dispatcher.add_worker(0, fake.clone());
    let job = Arc::new(Job::new(Order::Submitted));
    submit(&mut dispatcher, &job, 8);
    while fake.run(SHORT) {
        dispatcher.collect();
    }
    assert!(fake.0.lock().closed);
    assert_eq!(dispatcher.outstanding(), 5);
    let remains = dispatcher.bury(id, Death::Exited(0)).unwrap();
    assert!(remains.expected);
}

#[test]
fn the_end_of_the_pool_is_an_error_of_all_that_is_outstanding() {
    let (mut dispatcher, fakes, ids, job) = pool(2);
    submit(&mut dispatcher, &job, 10);
    fakes[0].take();
    dispatcher.end(TaskError::Terminated);
    assert_eq!((outcomes(&job), dispatcher.outstanding()), (vec![false; 10], 0));
    assert!(fakes.iter().all(|fake| fake.0.lock().killed));
    submit(&mut dispatcher, &job, 1);
    assert_eq!(outcomes(&job), [false]);
    // What the dead say afterwards changes nothing.
    fakes[0].answer(LONG);
    dispatcher.collect();
    for id in ids {
        dispatcher.bury(id, Death::Killed(9));
    }
    assert_eq!((dispatcher.outstanding(), dispatcher.living()), (0, 0));
}

#[test]
fn a_failed_initializer_ends_the_pool() {
    let (mut dispatcher, fakes, _, job) = pool(2);
    submit(&mut dispatcher, &job, 2);
    let heir = Fake::default();
    heir.0.lock().replies.push_back(Reply::Failed("no".to_owned()));
    dispatcher.add_worker(0, heir);
    dispatcher.collect();
    assert!(fakes[1].0.lock().killed);
    assert!(
        matches!(dispatcher.ended(), Some(TaskError::Initializer { message }) if message == "no")
    );
}

#[test]
fn a_worker_without_room_is_asked_again_after_its_next_reply() {
    let (mut dispatcher, fakes, _, job) = pool(1);
    submit(&mut dispatcher, &job, 1);
    fakes[0].0.lock().full = true;
    submit(&mut dispatcher, &job, 2);
    assert_eq!(dispatcher.pending(), 2);
    fakes[0].0.lock().full = false;
    dispatcher.collect();
    assert_eq!(dispatcher.pending(), 2, "nothing has changed for it");
    fakes[0].run(LONG);
    dispatcher.collect();
    assert_eq!((dispatcher.pending(), fakes[0].orders()), (0, 2));
}

#[test]
fn a_worker_that_talks_nonsense_is_ended() {
    let (mut dispatcher, fakes, ids, job) = pool(2);
    submit(&mut dispatcher, &job, 2);
    fakes[0].0.lock().replies.push_back(Reply::Done {
        id: 999,
        items: 1,
        nanos: 1,
        panicked: false,
        result: Message::default(),
    });
    dispatcher.collect();
    assert!(fakes[0].0.lock().killed);
    fakes[1].0.lock().broken = true;
    dispatcher.collect();
    assert!(fakes[1].0.lock().killed);
    submit(&mut dispatcher, &job, 1);
    assert_eq!(dispatcher.pending(), 1, "nobody gets work who is not to be talked to");
    for id in ids {
        dispatcher.bury(id, Death::Killed(9));
    }
    assert_eq!(dispatcher.outstanding(), 3, "neither had taken a unit");
}
