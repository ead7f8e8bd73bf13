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
    /// The most orders for which there is room.
    most: Option<usize>,
    broken: bool,
}

/// A worker that does what a test tells it to.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

fn done(id: u64, items: u32, nanos: u64, panicked: bool, result: Message) -> Reply {
    Reply::Done { id, items, nanos, end: nanos, panicked, leaving: false, result }
}

impl Fake {
    /// Takes an order, as if to run it.
    pub(super) fn take(&self) -> Option<u64> {
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

    pub(super) fn answer(&self, nanos: u64) {
        self.reply(nanos, false);
    }

    pub(super) fn reply(&self, nanos: u64, panicked: bool) {
        let mut state = self.0.lock();
        if let Some(Parcel { id, from, end, .. }) = state.taken.take() {
            let items = end - from - state.answered;
            state.at.1 = end;
            let result = Message { bytes: id.to_ne_bytes().into(), fds: Vec::new() };
            state.replies.push_back(done(id, items, nanos, panicked, result));
        }
    }

    /// Hands some of the results over.
    fn answer_some(&self, items: u32) {
        let mut state = self.0.lock();
        if let Some(Parcel { id, from, .. }) = state.taken {
            state.answered += items;
            state.at.1 = from + state.answered;
            let (nanos, panicked, result) = (1, false, Message::default());
            state.replies.push_back(done(id, items, nanos, panicked, result));
        }
    }

    /// Runs one order; says whether there was one.
    pub(super) fn run(&self, nanos: u64) -> bool {
        let any = self.take().is_some();
        self.answer(nanos);
        any
    }

    pub(super) fn ready(self) -> Self {
        self.0.lock().replies.push_back(Reply::Ready { at: crate::sys::now() });
        self
    }

    /// It runs nothing.
    pub(super) fn is_free(&self) -> bool {
        self.0.lock().taken.is_none()
    }

    /// It was told to end, and has nothing more to do; or was killed.
    pub(super) fn is_to_end(&self) -> bool {
        let state = self.0.lock();
        state.killed || (state.closed && state.orders.is_empty() && state.taken.is_none())
    }

    /// Does a task without handing the result over; `false` if it has none.
    pub(super) fn go_on(&self) -> bool {
        let mut state = self.0.lock();
        let has = state.taken.as_ref().is_some_and(|parcel| state.at.1 < parcel.end);
        state.at.1 += u32::from(has);
        has
    }

    /// Does a task if it must, and hands what is done over; `false` if it would be the last.
    pub(super) fn part(&self) -> bool {
        let (done, left) = {
            let state = self.0.lock();
            let Some(parcel) = &state.taken else { return false };
            let done = state.at.1 - parcel.from - state.answered;
            (done.max(1), parcel.end - parcel.from - state.answered)
        };
        let has = done < left;
        if has {
            self.answer_some(done);
        }
        has
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
        if state.full || state.most.is_some_and(|most| state.orders.len() >= most) {
            return Err(Unsent::Full);
        }
        let &Parcel { id, from, end, entry, .. } = parcel;
        state.orders.push_back(Parcel {
            id,
            from,
            end,
            entry,
            bytes: parcel.bytes.clone(),
            fds: Vec::new(),
        });
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

pub(super) fn unit_of(job: &Arc<Job>, items: u32) -> Unit {
    let parcel =
        Parcel { id: 0, from: 0, end: items, entry: 0, bytes: vec![0; 8], fds: Vec::new() };
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

pub(super) const LONG: u64 = 1_000_000_000;
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
    assert_eq!(fakes[0].orders() as u128, share::AHEAD.as_nanos() / u128::from(SHORT));
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
fn a_chunk_is_divided_where_the_number_of_tasks_is_reached() {
    let mut dispatcher = Dispatcher::new(Fleet::fixed(1), Some(4));
    let job = Arc::new(Job::new(Order::Submitted));
    dispatcher.submit(unit_of(&job, 10));
    let mut ran = Vec::new();
    while dispatcher.outstanding() > 0 {
        let fake = Fake::default().ready();
        let id = dispatcher.add_worker(0, fake.clone());
        dispatcher.collect();
        ran.extend(fake.0.lock().orders.iter().map(|order| (order.from, order.end)));
        while fake.run(SHORT) {}
        dispatcher.bury(id, Death::Exited(0));
    }
    assert_eq!(ran, [(0, 4), (4, 8), (8, 10)]);
    assert_eq!(outcomes(&job), [true; 10]);
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
fn what_finds_no_room_among_several_goes_later_and_in_order() {
    let (mut dispatcher, fakes, _, job) = pool(1);
    submit(&mut dispatcher, &job, 10);
    assert_eq!((dispatcher.pending(), fakes[0].orders()), (8, 2));
    fakes[0].0.lock().most = Some(4);
    let mut ids: Vec<_> = fakes[0].take().into_iter().collect();
    fakes[0].answer(SHORT);
    dispatcher.collect();
    assert_eq!((dispatcher.pending(), fakes[0].orders()), (5, 4));
    while let Some(id) = fakes[0].take() {
        ids.push(id);
        fakes[0].answer(SHORT);
        dispatcher.collect();
    }
    assert!(ids.is_sorted() && ids.len() == 10, "{ids:?}");
    assert_eq!(outcomes(&job), [true; 10]);
}

#[test]
fn a_worker_that_talks_nonsense_is_ended() {
    let (mut dispatcher, fakes, ids, job) = pool(2);
    submit(&mut dispatcher, &job, 2);
    fakes[0].0.lock().replies.push_back(Reply::Done {
        id: 999,
        items: 1,
        nanos: 1,
        end: 1,
        panicked: false,
        leaving: false,
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

#[test]
fn the_dead_take_one_task_of_a_chunk_with_them() {
    let (mut dispatcher, fakes, ids, job) = pool(1);
    dispatcher.submit(unit_of(&job, 10));
    // It has handed over two, has done two more, and dies in the fifth.
    fakes[0].take();
    fakes[0].answer_some(2);
    fakes[0].go(4);
    let remains = dispatcher.bury(ids[0], Death::Killed(9)).unwrap();
    assert!(remains.task && job.tasks_done() == 3);
    let heir = Fake::default().ready();
    dispatcher.add_worker(0, heir.clone());
    dispatcher.collect();
    let orders: Vec<_> = heir.0.lock().orders.iter().map(|order| (order.from, order.end)).collect();
    assert_eq!(orders, [(2, 4), (5, 10)]);
    while heir.run(LONG) {
        dispatcher.collect();
    }
    let expected: Vec<_> = (0..10).map(|place| place != 4).collect();
    assert_eq!((outcomes(&job), dispatcher.outstanding()), (expected, 0));
}

#[test]
fn what_nobody_can_be_blamed_for_is_not_given_out_for_ever() {
    let (mut dispatcher, fakes, ids, job) = pool(1);
    dispatcher.submit(unit_of(&job, 3));
    fakes[0].take();
    fakes[0].go(3);
    dispatcher.bury(ids[0], Death::Killed(9));
    for _ in 0..3 {
        assert_eq!(dispatcher.outstanding(), 1);
        let heir = Fake::default();
        let id = dispatcher.add_worker(0, heir.clone());
        heir.take();
        heir.go(3);
        dispatcher.bury(id, Death::Killed(9));
    }
    assert_eq!((outcomes(&job), dispatcher.outstanding()), (vec![false; 3], 0));
}

fn limited(terms: Terms) -> Arc<Job> {
    Arc::new(Job::with_terms(Order::Submitted, terms))
}

#[test]
fn a_task_beyond_its_time_is_ended_and_what_is_queued_behind_it_is_not() {
    let (mut dispatcher, fakes, ids, _) = pool(1);
    let terms = Terms { hard: Some(Duration::ZERO), ..Terms::default() };
    let (job, others) = (limited(terms), limited(Terms::default()));
    submit(&mut dispatcher, &job, 1);
    submit(&mut dispatcher, &others, 1);
    fakes[0].take();
    dispatcher.collect();
    assert!(fakes[0].0.lock().killed && fakes[0].orders() == 0);
    assert_eq!((dispatcher.pending(), dispatcher.outstanding()), (1, 2));
    let remains = dispatcher.bury(ids[0], Death::Killed(9)).unwrap();
    assert!(remains.expected, "it counts as nobody's fault");
    let error = job.pop().unwrap().outcome.unwrap_err();
    assert!(matches!(error, TaskError::TimeLimit));
    assert_eq!(dispatcher.outstanding(), 1);
}

#[test]
fn an_answer_counts_that_comes_with_the_end_of_the_time() {
    let (mut dispatcher, fakes, ids, _) = pool(1);
    let job = limited(Terms { hard: Some(Duration::ZERO), ..Terms::default() });
    submit(&mut dispatcher, &job, 1);
    fakes[0].take();
    dispatcher.collect();
    fakes[0].answer(LONG);
    dispatcher.bury(ids[0], Death::Killed(9));
    assert_eq!(outcomes(&job), [true]);
}

#[test]
fn limits_of_memory_and_processor_time() {
    let (mut dispatcher, fakes, ids, _) = pool(2);
    let terms = Terms { memory: Some(100), cpu: Some(Duration::from_secs(1)), ..Terms::default() };
    let (job, other) = (limited(terms), limited(terms));
    submit(&mut dispatcher, &job, 1);
    submit(&mut dispatcher, &other, 1);
    assert!(fakes.iter().all(|fake| fake.take().is_some()));
    let usage =
        |resident, cpu| Usage { resident: Some(resident), cpu: Some(Duration::from_secs(cpu)) };
    fakes.iter().for_each(|fake| fake.0.lock().usage = usage(100, 7));
    assert!(dispatcher.collect().again.is_some());
    fakes[0].0.lock().usage = usage(101, 7);
    fakes[1].0.lock().usage = usage(1, 9);
    dispatcher.collect();
    assert!(fakes.iter().all(|fake| fake.0.lock().killed));
    for id in ids {
        dispatcher.bury(id, Death::Killed(9));
    }
    let error = |job: &Job| job.pop().unwrap().outcome.unwrap_err();
    let errors = [error(&job), error(&other)];
    assert!(errors.iter().any(|error| matches!(error, TaskError::CpuLimit)));
    assert!(errors.iter().any(|error| matches!(error, TaskError::MemoryLimit { resident: 101 })));
}

#[test]
fn a_soft_limit_asks() {
    let (mut dispatcher, fakes, _, _) = pool(1);
    let job = limited(Terms { soft: Some(Duration::ZERO), ..Terms::default() });
    submit(&mut dispatcher, &job, 1);
    let id = fakes[0].take();
    dispatcher.collect();
    assert!(fakes[0].0.lock().stop == id && !fakes[0].0.lock().killed);
    fakes[0].answer(LONG);
    assert!(dispatcher.collect().again.is_none());
    assert_eq!(outcomes(&job), [true]);
}

#[test]
fn what_failed_is_run_again_as_often_as_was_said() {
    let (mut dispatcher, fakes, mut ids, _) = pool(1);
    let retry = crate::Retry::times(2).on_panic();
    let job = limited(Terms { retry: Some(retry), ..Terms::default() });
    submit(&mut dispatcher, &job, 1);
    fakes[0].take();
    fakes[0].reply(1, true);
    dispatcher.collect();
    assert!(fakes[0].take().is_some(), "it has it again");
    dispatcher.bury(ids.remove(0), Death::Killed(9));
    let heir = Fake::default().ready();
    dispatcher.add_worker(0, heir.clone());
    dispatcher.collect();
    heir.take();
    heir.reply(1, true);
    dispatcher.collect();
    assert_eq!(
        (outcomes(&job), dispatcher.outstanding()),
        (vec![true], 0),
        "it has had its chances"
    );
}

#[test]
fn of_a_chunk_only_the_task_that_failed_is_run_again() {
    let (mut dispatcher, fakes, ids, _) = pool(1);
    let job = limited(Terms { retry: Some(crate::Retry::times(1)), ..Terms::default() });
    dispatcher.submit(unit_of(&job, 5));
    fakes[0].take();
    fakes[0].go(2);
    dispatcher.bury(ids[0], Death::Killed(9));
    let heir = Fake::default().ready();
    let id = dispatcher.add_worker(0, heir.clone());
    let taken = |fake: &Fake| {
        fake.take();
        fake.0.lock().taken.as_ref().map(|order| (order.from, order.end))
    };
    assert_eq!(taken(&heir), Some((0, 2)));
    heir.answer(LONG);
    assert_eq!(taken(&heir), Some((2, 3)));
    dispatcher.bury(id, Death::Killed(9));
    assert_eq!(job.tasks_done(), 3, "it has had its chance");
    let last = Fake::default().ready();
    dispatcher.add_worker(0, last.clone());
    while last.run(LONG) {
        dispatcher.collect();
    }
    assert_eq!(outcomes(&job), [true, true, false, true, true]);
}

#[test]
fn what_is_urgent_goes_first() {
    let (mut dispatcher, fakes, _, job) = pool(1);
    submit(&mut dispatcher, &job, 5);
    fakes[0].take();
    let urgent = limited(Terms { priority: 2, ..Terms::default() });
    let more = limited(Terms { priority: 1, ..Terms::default() });
    submit(&mut dispatcher, &more, 2);
    submit(&mut dispatcher, &urgent, 1);
    let mut order = Vec::new();
    for _ in 0..8 {
        fakes[0].answer(LONG);
        dispatcher.collect();
        order.push([&job, &more, &urgent].map(|job| job.tasks_done()));
        fakes[0].take();
    }
    assert_eq!(order[..4], [[1, 0, 0], [1, 0, 1], [1, 1, 1], [1, 2, 1]]);
}

#[test]
fn a_cancelled_job_ends_and_leaves_the_others() {
    let (mut dispatcher, fakes, ids, job) = pool(2);
    let other = limited(Terms::default());
    submit(&mut dispatcher, &job, 6);
    submit(&mut dispatcher, &other, 2);
    fakes[0].take();
    assert!(dispatcher.is_running(&job) && !dispatcher.is_running(&other));
    let cancelled = dispatcher.cancel(&job, false);
    assert_eq!(cancelled, Cancelled { ended: 5, running: 1 });
    assert!(fakes[0].0.lock().stop.is_some() && !fakes[0].0.lock().killed);
    assert_eq!(dispatcher.cancel(&job, true), Cancelled { ended: 1, running: 0 });
    dispatcher.bury(ids[0], Death::Killed(9));
    assert_eq!(outcomes(&job), [false; 6]);
    while fakes[1].run(LONG) {
        dispatcher.collect();
    }
    assert_eq!((outcomes(&other), dispatcher.outstanding()), (vec![true; 2], 0));
}

#[test]
fn a_pool_grows_with_its_work_and_shrinks_without() {
    let fleet = Fleet { wanted: 0, least: 0, most: 2, idle: Some(Duration::ZERO) };
    let mut dispatcher = Dispatcher::<Fake>::new(fleet, None);
    let job = limited(Terms::default());
    submit(&mut dispatcher, &job, 5);
    assert!(dispatcher.demand() && !dispatcher.demand());
    assert_eq!(dispatcher.fleet().wanted, 2);
    let fake = Fake::default().ready();
    let slot = dispatcher.vacancy();
    dispatcher.add_worker(slot, fake.clone());
    assert_eq!((slot, dispatcher.vacancy(), dispatcher.living()), (0, 1, 1));
    dispatcher.collect();
    while fake.run(LONG) {
        assert!(dispatcher.retire().is_some() && !fake.0.lock().closed);
        dispatcher.collect();
    }
    dispatcher.retire();
    assert!(fake.0.lock().closed);
    assert_eq!((dispatcher.living(), dispatcher.fleet().wanted), (1, 1));
}

#[test]
fn a_worker_is_ready_when_it_says_so_and_not_when_that_is_seen() {
    let begun = Instant::now();
    let mut dispatcher = Dispatcher::new(Fleet::fixed(1), None);
    dispatcher.add_worker(0, Fake::default().ready());
    let at_most = begun.elapsed();
    std::thread::sleep(Duration::from_millis(5));
    dispatcher.collect();
    assert!(dispatcher.stats().workers[0].start_up <= at_most);
}
