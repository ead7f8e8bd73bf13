//! The lives of workers: how many there are, when they leave, what is told of them.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::time::Duration;

use common::guarded;
use mp_pool::Pool;
use mp_shared::Lock;

/// A worker that has had its tasks counts until it has ended, so that the pool never does more at once than it may.
#[test]
fn a_stand_in_does_not_begin_before_the_other_has_ended() {
    guarded(|| {
        let alone = |lock: Lock| {
            let alone = lock.try_lock().is_ok_and(|guard| {
                std::thread::sleep(Duration::from_millis(2));
                drop(guard);
                true
            });
            (std::process::id(), alone)
        };
        let lock = Lock::new().unwrap();
        let pool = Pool::builder().workers(1).max_tasks_per_child(1).build().unwrap();
        let results = pool.chunk_size(1).map(alone, vec![lock; 20]).unwrap();
        assert!(results.iter().all(|&(_, alone)| alone));
        let pids: std::collections::BTreeSet<_> = results.iter().map(|&(pid, _)| pid).collect();
        assert_eq!(pids.len(), 20);
    });
}
