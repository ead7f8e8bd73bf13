//! Every order of events that a small pool can see, up to a number of them: nothing is lost, done twice or left over.
//!
//! The state of the dispatcher cannot be copied, so each order is played from the start. Two workers, two jobs, a chunk among their
//! units; workers take, go on, answer in part or whole, panic, and die at any point; units are cancelled or take too long, workers
//! ended, fewer wanted and more again.

use super::tests::{Fake, LONG, unit_of};
use super::*;
use crate::job::Order;
use crate::model::sync as clock;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A worker takes what is next for it.
    Take(usize),
    /// It goes on to its next task without handing over the last.
    Go(usize),
    /// It hands one result over.
    Part(usize),
    Answer(usize),
    Panic(usize),
    /// It dies, and another stands in.
    Die(usize),
    Collect,
    Cancel(usize, bool),
    Shrink,
    Grow,
    /// More time passes than the tasks of the second job may take.
    Late,
    End,
}

const EVENTS: [Event; 20] = [
    Event::Take(0),
    Event::Go(0),
    Event::Part(0),
    Event::Answer(0),
    Event::Panic(0),
    Event::Die(0),
    Event::Take(1),
    Event::Answer(1),
    Event::Panic(1),
    Event::Part(1),
    Event::Die(1),
    Event::Collect,
    Event::Cancel(0, false),
    Event::Cancel(0, true),
    Event::Cancel(1, false),
    Event::Cancel(1, true),
    Event::Shrink,
    Event::Grow,
    Event::Late,
    Event::End,
];

const LIMIT: Duration = Duration::from_secs(1);

struct Play {
    dispatcher: Dispatcher<Fake>,
    fakes: [Option<(Fake, WorkerId)>; 2],
    jobs: [Arc<Job>; 2],
}

/// The tasks of the jobs: a chunk of three and one alone; two alone, which are retried once.
const TASKS: [usize; 2] = [4, 2];

impl Play {
    fn new() -> Self {
        clock::begin();
        let mut dispatcher = Dispatcher::new(Fleet::fixed(2), None);
        let retry = Some(crate::Retry::times(1).on_panic());
        let retry = Terms { retry, hard: Some(LIMIT), ..Terms::default() };
        let jobs = [Terms::default(), retry]
            .map(|terms| Arc::new(Job::with_terms(Order::Submitted, terms)));
        let mut fakes = [None, None];
        for (slot, fake) in fakes.iter_mut().enumerate() {
            let new = Fake::default().ready();
            *fake = Some((new.clone(), dispatcher.add_worker(slot, new)));
        }
        dispatcher.collect();
        for (job, items) in [(0, 3), (1, 1), (0, 1), (1, 1)] {
            dispatcher.submit(unit_of(&jobs[job], items));
        }
        Self { dispatcher, fakes, jobs }
    }

    /// Plays an event; `false` if it cannot happen now, or changes nothing.
    fn play(&mut self, event: Event) -> bool {
        match event {
            Event::Take(slot) => match &self.fakes[slot] {
                Some((fake, _)) => fake.is_free() && fake.take().is_some(),
                None => false,
            },
            Event::Go(slot) => self.fakes[slot].as_ref().is_some_and(|(fake, _)| fake.go_on()),
            Event::Part(slot) => self.fakes[slot].as_ref().is_some_and(|(fake, _)| fake.part()),
            Event::Answer(slot) => match &self.fakes[slot] {
                Some((fake, _)) if !fake.is_free() => {
                    fake.answer(LONG);
                    true
                }
                _ => false,
            },
            Event::Panic(slot) => match &self.fakes[slot] {
                Some((fake, _)) if !fake.is_free() => {
                    fake.reply(LONG, true);
                    true
                }
                _ => false,
            },
            Event::Die(slot) => match self.fakes[slot].take() {
                Some((_, id)) => {
                    self.dispatcher.bury(id, Death::Killed(9));
                    self.stand_in(slot);
                    true
                }
                None => false,
            },
            Event::Collect => self.dispatcher.collect().any,
            Event::Cancel(job, running) => {
                self.dispatcher.cancel(&self.jobs[job], running) != Cancelled::default()
            }
            Event::Shrink => {
                let before = self.dispatcher.fleet().wanted;
                self.dispatcher.resize(1);
                before != 1
            }
            Event::Grow => {
                let before = self.dispatcher.fleet().wanted;
                self.dispatcher.resize(2);
                (0..2).for_each(|slot| self.stand_in(slot));
                before != 2
            }
            Event::Late => {
                clock::pass(2 * LIMIT);
                self.dispatcher.collect();
                true
            }
            Event::End => {
                let ended = self.dispatcher.ended().is_some();
                self.dispatcher.end(TaskError::Terminated);
                !ended
            }
        }
    }

    fn stand_in(&mut self, slot: usize) {
        let dispatcher = &mut self.dispatcher;
        if self.fakes[slot].is_none()
            && dispatcher.ended().is_none()
            && dispatcher.living() < dispatcher.fleet().wanted
        {
            let new = Fake::default().ready();
            self.fakes[slot] = Some((new.clone(), dispatcher.add_worker(slot, new)));
        }
    }

    /// What holds at any time: what is counted is there.
    fn check(&self) {
        let in_flight =
            self.dispatcher.workers.iter().flatten().map(|worker| worker.in_flight.len());
        assert_eq!(self.dispatcher.in_flight, in_flight.sum::<usize>());
        let bytes = self.dispatcher.pending.iter().map(|unit| unit.parcel.bytes.len());
        assert_eq!(self.dispatcher.pending_bytes, bytes.sum::<usize>());
        for worker in self.dispatcher.workers.iter().flatten() {
            let bytes = worker.in_flight.iter().map(|ticket| ticket.bytes);
            assert_eq!(worker.bytes, bytes.sum::<usize>());
        }
        for (job, tasks) in self.jobs.iter().zip(TASKS) {
            let (left, done) = (self.left(job), job.tasks_done());
            assert_eq!(left + done, tasks as u64, "a task is in two places, or in none");
        }
    }

    /// How many tasks of a job are somewhere.
    fn left(&self, job: &Arc<Job>) -> u64 {
        let Dispatcher { workers, pending, delayed, .. } = &self.dispatcher;
        let in_flight = workers.iter().flatten().flat_map(|worker| &worker.in_flight);
        let in_flight = in_flight.map(|ticket| (&ticket.unit, ticket.left()));
        let others = pending.iter().chain(delayed.iter().map(|(_, unit)| unit));
        let all = in_flight.chain(others.map(|unit| (unit, unit.parcel.items())));
        all.filter(|(unit, _)| Arc::ptr_eq(&unit.job, job)).map(|(_, tasks)| u64::from(tasks)).sum()
    }

    /// Lets everyone do what there is to do, and looks whether each task has one outcome.
    fn finish(mut self) {
        for _ in 0..100 {
            if self.dispatcher.outstanding() == 0 {
                break;
            }
            for slot in 0..2 {
                if let Some((fake, id)) = self.fakes[slot].clone() {
                    fake.answer(LONG);
                    while fake.run(LONG) {}
                    self.dispatcher.collect();
                    if fake.is_to_end() {
                        self.dispatcher.bury(id, Death::Killed(9));
                        self.fakes[slot] = None;
                    }
                }
                if self.fakes[slot].is_none() {
                    self.stand_in(slot);
                }
            }
            self.dispatcher.collect();
        }
        assert_eq!(self.dispatcher.outstanding(), 0, "something is never done");
        for (job, tasks) in self.jobs.iter().zip(TASKS) {
            assert!(job.is_done());
            let mut outcomes = 0;
            while let Some(finished) = job.pop() {
                let more = finished.more.iter().map(|part| part.items);
                outcomes += finished.items + more.sum::<u32>();
            }
            assert_eq!((outcomes as usize, job.tasks_done() as usize), (tasks, tasks));
        }
    }
}

/// Plays all orders of so many events that begin with these, and what follows from each. Gives their number.
fn explore(begin: &mut Vec<Event>, depth: usize) -> u64 {
    let mut orders = 1;
    for event in EVENTS {
        let mut play = Play::new();
        for &event in &*begin {
            play.play(event);
        }
        if !play.play(event) {
            continue;
        }
        play.check();
        begin.push(event);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play.finish()));
        assert!(result.is_ok(), "after {begin:?}");
        if depth > 1 {
            orders += explore(begin, depth - 1);
        }
        begin.pop();
    }
    orders
}

#[test]
fn every_task_has_one_outcome_in_every_order_of_events() {
    let depth = std::env::var("MP_DEPTH").ok().and_then(|depth| depth.parse().ok()).unwrap_or(5);
    let orders = explore(&mut Vec::new(), depth);
    assert!(orders > 1000, "{orders} orders are too few");
}
