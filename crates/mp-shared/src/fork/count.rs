//! Whether this process has been copied since.
#![expect(unsafe_code, reason = "registers functions that fork calls")]

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

unsafe extern "C" {
    /// `pthread_atfork(3)`; what it registers is called by every `fork` of the C library.
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> i32;
}

static BEGUN: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);
static REGISTERED: AtomicBool = AtomicBool::new(false);

extern "C" fn begin() {
    BEGUN.fetch_add(1, SeqCst);
}

extern "C" fn end() {
    ENDED.fetch_add(1, SeqCst);
}

/// How often this process had been copied by `fork` at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forks(Option<u64>);

impl Forks {
    /// The count now; unknown while a `fork` is under way, or if it cannot be counted.
    pub(crate) fn count() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // SAFETY: the functions live for ever, and do no more than count.
            let result = unsafe { pthread_atfork(Some(begin), Some(end), Some(end)) };
            REGISTERED.store(result == 0, SeqCst);
        });
        let ended = ENDED.load(SeqCst);
        let begun = BEGUN.load(SeqCst);
        Self((REGISTERED.load(SeqCst) && begun == ended).then_some(begun))
    }

    /// Says whether the process has surely not been copied since.
    pub(crate) fn none_since(self) -> bool {
        self.0.is_some() && self == Self::count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fork;

    #[test]
    fn forks_are_noticed() {
        let before = Forks::count();
        fork(|| true).succeed();
        assert!(!before.none_since());
    }
}
