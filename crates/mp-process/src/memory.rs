//! Whether the kernel has killed processes for want of memory.
//!
//! It does so by `SIGKILL`, and tells nobody which ones; but it counts them.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

/// The count before the first child was started.
static BEFORE: AtomicU64 = AtomicU64::new(u64::MAX);

/// For how many of the kills since a child was found that nobody here has killed.
static FOUND: AtomicU64 = AtomicU64::new(0);

/// Notes the count, once, before the first child.
pub(crate) fn note() {
    BEFORE.store(kills().unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Says whether a child that was killed by nobody here may be one of those that the kernel has killed.
pub(crate) fn explains() -> bool {
    let since = kills().and_then(|kills| kills.checked_sub(BEFORE.load(Ordering::Relaxed)));
    let more = |found| (since? > found).then_some(found + 1);
    FOUND.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

fn kills() -> Option<u64> {
    count(&fs::read_to_string("/proc/vmstat").ok()?)
}

fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_count() {
        assert_eq!(count("pgfault 7\noom_kill 23\noom_kill_other 5\n"), Some(23));
        assert_eq!(count("pgfault 7\n"), None);
        // Older than 4.13, or hidden.
        assert_eq!(count(""), None);
    }

    #[test]
    fn explains_as_many_children_as_were_killed() {
        let Some(kills) = kills().filter(|kills| *kills >= 2) else { return };
        BEFORE.store(kills - 2, Ordering::Relaxed);
        assert!(explains() && explains());
    }
}
