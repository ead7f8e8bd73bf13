//! Shows how far a call is, with the feature `progress`.

use std::sync::atomic::{AtomicBool, Ordering};

/// A bar for a call, or nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    #[cfg(feature = "progress")]
    bar: Option<indicatif::ProgressBar>,
}

impl Meter {
    #[cfg(feature = "progress")]
    pub(crate) fn with_bar(bar: indicatif::ProgressBar) -> Self {
        Self { bar: Some(bar) }
    }

    /// Somebody looks at it.
    pub(crate) fn is_on(&self) -> bool {
        #[cfg(feature = "progress")]
        return self.bar.is_some();
        #[cfg(not(feature = "progress"))]
        false
    }

    pub(crate) fn expect(&self, _tasks: Option<usize>) {
        #[cfg(feature = "progress")]
        if let (Some(bar), Some(tasks)) = (&self.bar, _tasks) {
            bar.set_length(tasks as u64);
        }
    }

    pub(crate) fn show(&self, _done: u64) {
        #[cfg(feature = "progress")]
        if let Some(bar) = &self.bar {
            bar.set_position(_done);
        }
    }

    pub(crate) fn finish(&self) {
        #[cfg(feature = "progress")]
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}

/// A bar for a call that nobody waits for: it is moved on in the thread for callbacks.
#[derive(Debug)]
pub(crate) struct Watch {
    meter: Meter,
    /// It is to be moved on, and that thread will.
    due: AtomicBool,
}

impl Watch {
    /// `None` if nobody looks at it.
    pub(crate) fn new(meter: &Meter) -> Option<Self> {
        meter.is_on().then(|| Self { meter: meter.clone(), due: AtomicBool::new(false) })
    }

    /// More is done. Says whether the thread has to be told.
    pub(crate) fn ask(&self) -> bool {
        !self.due.swap(true, Ordering::AcqRel)
    }

    /// Moves it on to what `done` says then.
    pub(crate) fn show(&self, done: impl Fn() -> u64) {
        self.due.swap(false, Ordering::AcqRel);
        self.meter.show(done());
    }
}
