//! What is told of workers that come and go.

use std::fmt;
use std::sync::Arc;

use crate::job::Notice;
use crate::{Death, WorkerStats};

/// What is told.
type Hook<A> = Arc<dyn Fn(&WorkerStats, A) + Send + Sync>;

/// What is called when workers come and go.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) up: Option<Hook<()>>,
    pub(crate) down: Option<Hook<Death>>,
}

impl Hooks {
    pub(crate) fn are_set(&self) -> bool {
        self.up.is_some() || self.down.is_some()
    }

    /// What is to run because of a worker that was started.
    pub(crate) fn on_up(&self, worker: Option<WorkerStats>) -> Option<Notice> {
        notice(self.up.as_ref(), worker, ())
    }

    /// What is to run because of a worker that has ended.
    pub(crate) fn on_down(&self, worker: Option<WorkerStats>, death: Death) -> Option<Notice> {
        notice(self.down.as_ref(), worker, death)
    }
}

fn notice<A: Send + 'static>(
    hook: Option<&Hook<A>>,
    worker: Option<WorkerStats>,
    how: A,
) -> Option<Notice> {
    let (hook, worker) = (hook?.clone(), worker?);
    Some(Box::new(move || hook(&worker, how)))
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("up", &self.up.is_some())
            .field("down", &self.down.is_some())
            .finish()
    }
}
