//! What a pool says of itself. W-56.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::time::Duration;

use common::guarded;
use mp_pool::{Pool, TaskError};

fn nap(ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    ms
}

#[test]
fn statistics_add_up() {
    guarded(|| {
        let pool = Pool::builder().workers(2).max_tasks_per_child(30).build().unwrap();
        assert_eq!(pool.chunk_size(5).map(nap, vec![0; 100]).unwrap().len(), 100);
        assert_eq!(pool.apply(nap, (20,)).unwrap(), 20);
        let died = pool.apply(|code: i32| std::process::exit(code), (3,));
        let died: Result<(), _> = died;
        assert!(matches!(died, Err(TaskError::Died { .. })));
        let stats = pool.stats();
        assert_eq!((stats.tasks(), stats.pending, stats.in_flight), (101, 0, 0));
        assert!(stats.restarts >= 3);
        assert!(stats.slowest[0].took >= Duration::from_millis(20));
        let worked: Duration = stats.workers.iter().map(|worker| worker.working).sum();
        assert!(worked >= Duration::from_millis(20));
        assert!(stats.utilization() > 0.0 && stats.utilization() <= 1.0);
        let table = stats.to_string();
        assert!(table.contains("101 tasks") && table.contains("slow: "));
    });
}

#[test]
fn the_timeline_keeps_the_latest_chunks() {
    guarded(|| {
        let pool = Pool::builder().workers(2).timeline(8).build().unwrap();
        assert_eq!(pool.chunk_size(2).map(nap, vec![1; 40]).unwrap().len(), 40);
        let timeline = pool.timeline();
        assert_eq!(timeline.spans().len(), 8);
        assert!(
            timeline
                .spans()
                .iter()
                .all(|span| span.tasks == 2 && span.took >= Duration::from_millis(2))
        );
        let mut trace = Vec::new();
        timeline.write_trace(&mut trace).unwrap();
        let trace = String::from_utf8(trace).unwrap();
        assert_eq!(trace.matches("\"ph\":\"X\"").count(), 8);
        let mut picture = Vec::new();
        timeline.write_svg(&mut picture).unwrap();
        let picture = String::from_utf8(picture).unwrap();
        assert_eq!(picture.matches("<rect ").count(), 8);
        assert!(Pool::new(1).unwrap().timeline().spans().is_empty());
    });
}
