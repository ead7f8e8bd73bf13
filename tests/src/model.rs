//! Explores every interleaving of small models of the protocols, with processes killed at any step.
//!
//! A model is a state machine of a few processes whose steps are the single atomic instructions and system calls of the protocol. The
//! search visits every state that can be reached, breadth first, so that what it finds wrong comes with a shortest way there.

pub mod commit;
pub mod lock;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A state machine to explore.
pub trait Model {
    /// What all processes, the shared memory and the kernel know.
    type State: Clone + Eq + Hash;

    /// Where it begins.
    fn initial(&self) -> Self::State;

    /// Adds each step that somebody can take, with its name.
    fn steps(&self, state: &Self::State, add: &mut dyn FnMut(String, Self::State));

    /// What is wrong with a state, if anything is.
    fn wrong(&self, state: &Self::State) -> Option<&'static str>;
}

/// How many states there are, if none is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explored {
    /// States.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
}

/// A way to a wrong state.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// What is wrong.
    pub wrong: &'static str,
    /// The steps that lead there.
    pub trace: Vec<String>,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:", self.wrong)?;
        self.trace.iter().enumerate().try_for_each(|(at, step)| writeln!(f, "{at:4}  {step}"))
    }
}

/// Multiplies and rotates: states are small, and nobody chooses them to collide.
#[derive(Clone, Copy, Debug, Default)]
struct Fast(u64);

impl Hasher for Fast {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }
}

/// Visits every state that can be reached.
///
/// # Errors
///
/// The shortest way to a state that is wrong.
pub fn explore<M: Model>(model: &M) -> Result<Explored, Counterexample> {
    let mut known: HashMap<M::State, (), BuildHasherDefault<Fast>> = HashMap::default();
    // Each with the place of the one before.
    let mut states = vec![(model.initial(), 0)];
    known.insert(model.initial(), ());
    let (mut at, mut steps) = (0, 0);
    while at < states.len() {
        let state = states[at].0.clone();
        if let Some(wrong) = model.wrong(&state) {
            return Err(Counterexample { wrong, trace: trace(model, &states, at) });
        }
        model.steps(&state, &mut |_, next| {
            steps += 1;
            if known.insert(next.clone(), ()).is_none() {
                states.push((next, at));
            }
        });
        at += 1;
    }
    Ok(Explored { states: states.len(), steps })
}

/// The names of the steps to a state, found by taking them again.
fn trace<M: Model>(model: &M, states: &[(M::State, usize)], end: usize) -> Vec<String> {
    let (mut at, mut names) = (end, Vec::new());
    while at != 0 {
        let (state, before) = &states[at];
        let mut found = None;
        model.steps(&states[*before].0, &mut |name, next| {
            if next == *state {
                found = Some(name);
            }
        });
        names.extend(found);
        at = *before;
    }
    names.reverse();
    names
}
