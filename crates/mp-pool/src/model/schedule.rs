//! Who runs next.

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

use super::sync::{Until, sleeps};

/// Lets a scheduler choose among those that are awake, and time pass when there is nobody: then who waits for the least of it
/// is next.
///
/// Before, who waits for quiet has a look around. With `early` time passes at one choice in so many as well.
pub(super) struct Patient<S> {
    inner: S,
    early: Option<u64>,
    random: u64,
    /// It is quiet, and that has been looked at.
    watched: bool,
}

impl<S: Scheduler> Patient<S> {
    pub(super) fn new(inner: S, early: Option<u64>) -> Self {
        Self { inner, early, random: 0, watched: false }
    }

    fn is_early(&mut self) -> bool {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.early.is_some_and(|early| (z ^ (z >> 31)).is_multiple_of(early))
    }
}

impl<S: Scheduler> Scheduler for Patient<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        let schedule = self.inner.new_execution()?;
        (self.random, self.watched) = (schedule.seed, false);
        Some(schedule)
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let which = |are: &dyn Fn(Option<Until>) -> bool| -> Vec<&Task> {
            runnable.iter().copied().filter(|task| are(sleeps(task.id()))).collect()
        };
        let mut choice = which(&|until| until.is_none());
        if choice.is_empty() {
            let first = runnable.iter().filter_map(|task| sleeps(task.id())).min();
            choice = which(&|until| until == first && matches!(until, Some(Until::Time(_))));
            if !self.watched || choice.is_empty() {
                choice = which(&|until| until == Some(Until::Quiet));
            }
            self.watched = !self.watched;
        } else if !self.watched && self.is_early() {
            choice = which(&|until| matches!(until, None | Some(Until::Time(_))));
        }
        if choice.is_empty() { None } else { self.inner.next_task(&choice, current, is_yielding) }
    }

    fn next_u64(&mut self) -> u64 {
        self.inner.next_u64()
    }
}

/// Goes through all schedules that differ in up to so many places from a plain one.
///
/// In the plain one a thread runs until it sleeps, and then the next one does. A place where another one is taken instead counts as
/// often as there are threads between the two.
pub(super) struct Bounded {
    most: usize,
    spent: usize,
    /// What was chosen at each step of this run, and the number of choices.
    path: Vec<(usize, usize)>,
    at: usize,
    runs: usize,
}

impl Bounded {
    pub(super) fn new(most: usize) -> Self {
        Self { most, spent: 0, path: Vec::new(), at: 0, runs: 0 }
    }
}

impl Scheduler for Bounded {
    fn new_execution(&mut self) -> Option<Schedule> {
        if self.runs > 0 {
            while self.path.pop_if(|(chosen, choices)| *chosen + 1 == *choices).is_some() {}
            self.path.last_mut()?.0 += 1;
        }
        self.runs += 1;
        (self.at, self.spent) = (0, 0);
        Some(Schedule::new(0))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        _is_yielding: bool,
    ) -> Option<TaskId> {
        let choices = runnable.len().min(self.most - self.spent + 1);
        if self.at == self.path.len() {
            self.path.push((0, choices));
        }
        let (chosen, _) = self.path[self.at];
        assert!(chosen < choices, "a run went another way than the one before");
        self.at += 1;
        self.spent += chosen;
        let first = runnable.iter().position(|task| Some(task.id()) >= current).unwrap_or(0);
        Some(runnable[(first + chosen) % runnable.len()].id())
    }

    fn next_u64(&mut self) -> u64 {
        0
    }
}
