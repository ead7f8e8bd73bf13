//! The robust lock, as `mp-shared/src/robust/README.md` has it, glibc's, and ours with a mistake in it.
//!
//! Three processes take the lock for some rounds each, may give up while they wait, and some are killed. What the kernel does
//! when a thread dies is a step of its own: it looks at the announced word and at the list, marks what the dead one owned, and wakes one.

use super::Model;

const PROCESSES: usize = 3;

/// Which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The internal lock: announced from before it is taken until after it is released.
    Raw,
    /// The lock that users hold: in the list while it is held, announced while it is taken and released.
    Linked,
    /// glibc's robust mutex.
    Glibc,
    /// Ours, but whoever takes a free lock clears the mark of those who wait.
    NotSticky,
    /// Ours, but never announced: a thread that dies between taking it and having it in its list goes unnoticed.
    NotAnnounced,
    /// Ours, but the release takes the lock out of the list before it is announced.
    UnlinkedFirst,
}

/// A model of some rounds with some kills.
#[derive(Clone, Copy, Debug)]
pub struct Lock {
    /// Which protocol.
    pub protocol: Protocol,
    /// How often each process takes it.
    pub rounds: u8,
    /// How many processes are killed at most.
    pub kills: u8,
}

/// The lock word. An owner of zero is none; processes count from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Word {
    owner: u8,
    died: bool,
    waiters: bool,
}

/// The next step of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Announce,
    TakeFree,
    Look,
    Act,
    Wait,
    Asleep,
    TimedOut,
    GiveUp,
    Link,
    Linked,
    Critical,
    AnnounceAgain,
    Unlink,
    Release,
    ClearClean,
    WakeAll,
    ReleasePlainly,
    ReleaseAndWake,
    SetClean,
    Exchange,
    WakeOne,
    Finish,
    Done,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Process {
    at: At,
    seen: Word,
    rounds: u8,
    announced: bool,
    linked: bool,
    /// glibc: it has slept, so there may be others.
    slept: bool,
}

/// What all know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    word: Word,
    clean: bool,
    processes: [Process; PROCESSES],
    kills: u8,
    /// A holder was killed, and nobody has been told yet.
    news: bool,
    wrong: Option<&'static str>,
}

impl At {
    /// Says whether the process owns the lock there.
    fn holds(self) -> bool {
        use At::*;
        matches!(
            self,
            Link | Linked
                | Critical
                | AnnounceAgain
                | Unlink
                | Release
                | ClearClean
                | WakeAll
                | ReleasePlainly
                | ReleaseAndWake
                | Exchange
        )
    }

    fn is_asleep(self) -> bool {
        // One whose time is up at this moment sleeps no longer.
        self == At::Asleep
    }
}

impl Lock {
    fn links(&self) -> bool {
        self.protocol != Protocol::Raw
    }

    /// One call of the kernel that wakes: every choice of whom, or all.
    fn wake(state: &State, all: bool, add: &mut dyn FnMut(State, bool)) {
        let asleep: Vec<usize> =
            (0..PROCESSES).filter(|&index| state.processes[index].at.is_asleep()).collect();
        if asleep.is_empty() {
            add(state.clone(), false);
        } else if all {
            let mut next = state.clone();
            asleep.iter().for_each(|&index| next.processes[index].at = At::Look);
            add(next, true);
        } else {
            for index in asleep {
                let mut next = state.clone();
                next.processes[index].at = At::Look;
                add(next, true);
            }
        }
    }

    /// A process is killed, and the kernel looks after what it left.
    fn kill(state: &State, index: usize, add: &mut dyn FnMut(State)) {
        let mut next = state.clone();
        let me = index as u8 + 1;
        let Process { at, announced, linked, .. } = state.processes[index];
        next.kills -= 1;
        next.processes[index].at = At::Dead;
        next.news |= at.holds() && state.word.owner == me;
        if announced && state.word.owner == 0 {
            return Self::wake(&next, false, &mut |next, _| add(next));
        }
        if (announced || linked) && state.word.owner == me {
            next.word.owner = 0;
            next.word.died = true;
            if next.word.waiters {
                return Self::wake(&next, false, &mut |next, _| add(next));
            }
        }
        add(next);
    }

    /// The lock has just been taken.
    fn taken(&self, state: &mut State, index: usize, told: bool) {
        if state.processes.iter().any(|process| process.at.holds()) {
            state.wrong = Some("two own the lock");
        }
        if state.news && !told {
            state.wrong = Some("the heir of a dead owner is not told");
        }
        state.news = false;
        state.processes[index].at = if self.links() { At::Link } else { At::Critical };
    }

    /// Tries to take the lock that was seen free, or to mark it as waited for.
    fn act(&self, next: &mut State, index: usize) {
        let Process { seen, slept, .. } = next.processes[index];
        let same = next.word == seen;
        if seen.owner == 0 {
            if !same {
                next.processes[index].at = At::Look;
                return;
            }
            let waiters = match self.protocol {
                Protocol::NotSticky => false,
                Protocol::Glibc => slept || seen.died && seen.waiters,
                _ => seen.waiters,
            };
            next.word = Word { owner: index as u8 + 1, died: false, waiters };
            self.taken(next, index, seen.died);
        } else if seen.waiters {
            next.processes[index].at = At::Wait;
        } else if same {
            next.word.waiters = true;
            next.processes[index].seen.waiters = true;
            next.processes[index].at = At::Wait;
        } else {
            next.processes[index].at = At::Look;
        }
    }

    fn finish_round(&self, process: &mut Process) {
        process.announced = false;
        process.slept = false;
        process.seen = Word::default();
        process.rounds -= 1;
        process.at = if process.rounds == 0 { At::Done } else { At::Announce };
    }

    #[expect(clippy::too_many_lines, reason = "the protocol, one step after the other")]
    fn step(&self, state: &State, index: usize, add: &mut dyn FnMut(&'static str, State)) {
        let mut next = state.clone();
        let me = index as u8 + 1;
        let announces = self.protocol != Protocol::NotAnnounced;
        let mine = Word { owner: me, died: false, waiters: false };
        let process = &mut next.processes[index];
        let mut go = |mut next: State, at: At, name| {
            next.processes[index].at = at;
            add(name, next);
        };
        match process.at {
            At::Announce => {
                process.announced = announces;
                go(next, At::TakeFree, "announces the word");
            }
            At::TakeFree if state.word == Word::default() => {
                next.word = mine;
                self.taken(&mut next, index, false);
                let at = next.processes[index].at;
                go(next, at, "takes the free lock");
            }
            At::TakeFree => go(next, At::Look, "finds it not plainly free"),
            At::Look => {
                process.seen = state.word;
                go(next, At::Act, "looks");
            }
            At::Act => {
                self.act(&mut next, index);
                let at = next.processes[index].at;
                let name =
                    if at.holds() { "takes what it saw free" } else { "marks it, or looks again" };
                go(next, at, name);
            }
            At::Wait if state.word == process.seen => {
                process.slept = self.protocol == Protocol::Glibc;
                go(next, At::Asleep, "falls asleep");
            }
            At::Wait => go(next, At::Look, "does not sleep: the word has changed"),
            At::TimedOut if state.word.owner == 0 => go(next, At::Look, "finds it free in time"),
            At::TimedOut => go(next, At::GiveUp, "finds it held"),
            At::GiveUp | At::Finish => {
                self.finish_round(process);
                let at = process.at;
                go(next, at, "is done, and announces nothing");
            }
            At::Link => {
                process.linked = true;
                go(next, At::Linked, "puts it into its list");
            }
            At::Linked => {
                process.announced = false;
                go(next, At::Critical, "announces nothing");
            }
            At::Critical => {
                let at = match self.protocol {
                    Protocol::Raw => At::Release,
                    Protocol::UnlinkedFirst => At::Unlink,
                    _ => At::AnnounceAgain,
                };
                go(next, at, "leaves the critical section");
            }
            At::AnnounceAgain => {
                process.announced = announces;
                let at = match self.protocol {
                    Protocol::UnlinkedFirst => At::Release,
                    _ => At::Unlink,
                };
                go(next, at, "announces the word");
            }
            At::Unlink => {
                process.linked = false;
                let at = match self.protocol {
                    Protocol::Glibc | Protocol::NotSticky => At::Exchange,
                    Protocol::UnlinkedFirst => At::AnnounceAgain,
                    _ => At::Release,
                };
                go(next, at, "takes it out of its list");
            }
            At::Release | At::ReleasePlainly if state.word == mine => {
                next.word = Word::default();
                go(next, At::Finish, "releases it");
            }
            At::Release if state.clean => go(next, At::ClearClean, "finds it waited for, perhaps"),
            At::Release => go(next, At::ReleaseAndWake, "finds it waited for"),
            At::ReleasePlainly => go(next, At::ReleaseAndWake, "finds it waited for again"),
            At::ClearClean => {
                next.clean = false;
                go(next, At::WakeAll, "wipes `clean`");
            }
            At::WakeAll => {
                next.word.waiters = false;
                Self::wake(&next, true, &mut |next, _| {
                    go(next, At::ReleasePlainly, "wakes all, in the step that clears the mark");
                });
            }
            At::ReleaseAndWake => {
                next.word = Word { waiters: true, ..Word::default() };
                Self::wake(&next, false, &mut |next, woken| {
                    let at = if woken { At::Finish } else { At::SetClean };
                    go(next, at, "wakes one, in the step that releases it");
                });
            }
            At::SetClean => {
                next.clean = true;
                go(next, At::Finish, "writes `clean`");
            }
            At::Exchange => {
                let waiters = state.word.waiters;
                next.word = Word::default();
                go(next, if waiters { At::WakeOne } else { At::Finish }, "releases it");
            }
            At::WakeOne => {
                Self::wake(&next, false, &mut |next, _| go(next, At::Finish, "wakes one"));
            }
            At::Asleep | At::Done | At::Dead => {}
        }
    }
}

impl Model for Lock {
    type State = State;

    fn initial(&self) -> State {
        let process = Process {
            at: At::Announce,
            seen: Word::default(),
            rounds: self.rounds,
            announced: false,
            linked: false,
            slept: false,
        };
        State {
            word: Word::default(),
            clean: false,
            processes: [process; PROCESSES],
            kills: self.kills,
            news: false,
            wrong: None,
        }
    }

    fn steps(&self, state: &State, add: &mut dyn FnMut(String, State)) {
        for index in 0..PROCESSES {
            let at = state.processes[index].at;
            self.step(state, index, &mut |name, next| add(format!("{index} {name}"), next));
            if at == At::Asleep {
                let mut next = state.clone();
                next.processes[index].at = At::TimedOut;
                add(format!("{index} has slept long enough"), next);
            }
            if state.kills > 0 && !matches!(at, At::Done | At::Dead) {
                Self::kill(state, index, &mut |next| add(format!("{index} is killed"), next));
            }
        }
    }

    fn wrong(&self, state: &State) -> Option<&'static str> {
        if state.wrong.is_some() {
            return state.wrong;
        }
        // Nobody moves any more, unless a time is up, which not everybody has.
        let still = |process: &Process| matches!(process.at, At::Asleep | At::Done | At::Dead);
        let asleep = state.processes.iter().any(|process| process.at == At::Asleep);
        (asleep && state.processes.iter().all(still)).then_some("one sleeps, and nobody wakes it")
    }
}
