//! The commit word, as `mp-shared/src/word/README.md` has it, and with a mistake in it.
//!
//! Some count, under a lock (which is taken to be right here) or without, and others sleep until a count that they need; any is killed.

use super::Model;

/// How those who count do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// One at a time, under a lock that a dead one leaves free.
    Commit,
    /// Whoever likes, at any time.
    Bump,
    /// As commit, but the wake is a call of its own.
    SplitCommit,
    /// As bump, but a mark that nobody waits behind is cleared without a wake.
    BumpThatForgets,
}

/// Two who count and two who sleep.
#[derive(Clone, Copy, Debug)]
pub struct Commit {
    /// How they count.
    pub counting: Counting,
    /// How many are killed at most.
    pub kills: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Word {
    count: u8,
    asleep: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    // Who counts.
    Lock,
    Look,
    Count,
    Wake,
    ClearMark,
    Unlock,
    // Who sleeps.
    Check,
    Mark,
    Sleep,
    Asleep,
    // Both.
    Done,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Process {
    at: At,
    seen: Word,
}

/// What all know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    word: Word,
    /// Who holds the lock, if there is one.
    holder: Option<usize>,
    processes: [Process; 4],
    kills: u8,
}

/// The first two count; the others sleep until so many were counted.
const NEEDED: [u8; 4] = [0, 0, 1, 2];

impl Commit {
    fn locked(&self) -> bool {
        matches!(self.counting, Counting::Commit | Counting::SplitCommit)
    }

    /// Wakes all; says how many.
    fn wake(state: &mut State) -> usize {
        let asleep = state.processes.iter_mut().filter(|process| process.at == At::Asleep);
        asleep.map(|process| process.at = At::Check).count()
    }

    fn step(&self, state: &State, index: usize) -> Option<(&'static str, State)> {
        let mut next = state.clone();
        let Process { at, seen } = state.processes[index];
        let same = state.word == seen;
        let after_count = if self.locked() { At::Unlock } else { At::Done };
        let (name, to) = match at {
            At::Lock if state.holder.is_some() => return None,
            At::Lock => {
                next.holder = Some(index);
                ("takes the lock", At::Look)
            }
            At::Look => {
                next.processes[index].seen = state.word;
                ("looks", At::Count)
            }
            At::Count if !seen.asleep && !same => ("has looked in vain", At::Look),
            At::Count if !seen.asleep => {
                next.word.count += 1;
                ("counts", after_count)
            }
            At::Count => {
                next.word.count += 1;
                match self.counting {
                    Counting::Commit => {
                        next.word.asleep = false;
                        Self::wake(&mut next);
                        ("counts, clears the mark and wakes, in one step", after_count)
                    }
                    Counting::SplitCommit => {
                        next.word.asleep = false;
                        ("counts and clears the mark", At::Wake)
                    }
                    Counting::Bump | Counting::BumpThatForgets => {
                        let to = if Self::wake(&mut next) == 0 { At::ClearMark } else { At::Done };
                        ("counts and wakes, in one step", to)
                    }
                }
            }
            At::Wake => {
                Self::wake(&mut next);
                ("wakes", after_count)
            }
            At::ClearMark => {
                next.word.asleep = false;
                if self.counting == Counting::Bump {
                    Self::wake(&mut next);
                }
                ("clears the mark", At::Done)
            }
            At::Unlock => {
                next.holder = None;
                ("releases the lock", At::Done)
            }
            At::Check => {
                next.processes[index].seen = state.word;
                let enough = state.word.count >= NEEDED[index];
                ("looks", if enough { At::Done } else { At::Mark })
            }
            At::Mark if seen.asleep => ("finds the mark", At::Sleep),
            At::Mark if same => {
                next.word.asleep = true;
                next.processes[index].seen.asleep = true;
                ("marks the word", At::Sleep)
            }
            At::Mark => ("has looked in vain", At::Check),
            At::Sleep if same => ("falls asleep", At::Asleep),
            At::Sleep => ("does not sleep: the word has changed", At::Check),
            At::Asleep | At::Done | At::Dead => return None,
        };
        next.processes[index].at = to;
        Some((name, next))
    }
}

impl Model for Commit {
    type State = State;

    fn initial(&self) -> State {
        let first = if self.locked() { At::Lock } else { At::Look };
        let at = [first, first, At::Check, At::Check];
        let processes = at.map(|at| Process { at, seen: Word::default() });
        State { word: Word::default(), holder: None, processes, kills: self.kills }
    }

    fn steps(&self, state: &State, add: &mut dyn FnMut(String, State)) {
        for index in 0..state.processes.len() {
            if let Some((name, next)) = self.step(state, index) {
                add(format!("{index} {name}"), next);
            }
            if state.kills > 0 && !matches!(state.processes[index].at, At::Done | At::Dead) {
                let mut next = state.clone();
                next.kills -= 1;
                next.processes[index].at = At::Dead;
                next.holder = state.holder.filter(|&holder| holder != index);
                add(format!("{index} is killed"), next);
            }
        }
    }

    fn wrong(&self, state: &State) -> Option<&'static str> {
        let moves = (0..state.processes.len()).any(|index| self.step(state, index).is_some());
        let stranded = state
            .processes
            .iter()
            .zip(NEEDED)
            .any(|(process, needed)| process.at == At::Asleep && state.word.count >= needed);
        (!moves && stranded).then_some("one sleeps, though there is what it waits for")
    }
}
