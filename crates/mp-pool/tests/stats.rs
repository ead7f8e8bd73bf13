//! What a pool says of itself. W-56.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::guarded;
use mp_pool::{Pool, Span, TaskError};
use serde_json::Value;

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
        // Each task was long enough to be handed over by itself.
        let is_one = |span: &Span| span.tasks == 1 && span.took >= Duration::from_millis(1);
        assert!(timeline.spans().iter().all(is_one));
        assert!(Pool::new(1).unwrap().timeline().spans().is_empty());
    });
}

#[test]
fn short_tasks_of_a_chunk_are_one_span() {
    guarded(|| {
        let pool = Pool::builder().workers(1).timeline(100).build().unwrap();
        assert_eq!(pool.chunk_size(50).map(|x: u64| x + 1, 0..100).unwrap().len(), 100);
        let spans: Vec<_> = pool.timeline().spans().to_vec();
        assert_eq!(spans.iter().map(|span| span.tasks).sum::<u32>(), 100);
        // Whatever comes together, the places are those of the tasks.
        let mut next = [0; 2];
        for span in spans {
            let next = &mut next[span.chunk as usize];
            assert_eq!(span.first, *next);
            *next += span.tasks;
        }
        assert_eq!(next, [50, 50]);
    });
}

/// A worker does one thing at a time, and each thing when it was done, also where its replies were taken together.
#[test]
fn spans_of_a_worker_do_not_overlap() {
    guarded(|| {
        let pool = Pool::builder().workers(2).timeline(10_000).build().unwrap();
        let later = pool.chunk_size(1).map_async(nap, (0..400).map(|x| x % 2)).unwrap();
        later.wait();
        let mut spans = pool.timeline().spans().to_vec();
        assert_eq!(spans.len(), 400);
        spans.sort_by_key(|span| (span.pid, span.begin));
        for pair in spans.windows(2) {
            assert!(
                pair[0].pid != pair[1].pid || pair[0].begin + pair[0].took <= pair[1].begin,
                "{pair:?}"
            );
        }
    });
}

#[test]
fn the_trace_is_json_and_the_picture_is_xml() {
    guarded(|| {
        let pool = Pool::builder().workers(2).timeline(1000).build().unwrap();
        assert_eq!(pool.chunk_size(3).map(nap, (0..30).map(|x| x % 3)).unwrap().len(), 30);
        let timeline = pool.timeline();
        let mut trace = Vec::new();
        timeline.write_trace(&mut trace).unwrap();
        let trace: Value = serde_json::from_slice(&trace).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        let boxes: Vec<_> = events.iter().filter(|event| event["ph"] == "X").collect();
        assert_eq!(boxes.len(), timeline.spans().len());
        for (event, span) in boxes.iter().zip(timeline.spans()) {
            assert_eq!(event["tid"], u64::from(span.pid));
            assert_eq!(event["args"]["tasks"], u64::from(span.tasks));
            let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
            assert!((event["dur"].as_f64().unwrap() - micros(span.took)).abs() < 1e-3);
            assert!((event["ts"].as_f64().unwrap() - micros(span.begin)).abs() < 1e-3);
        }
        // A name for each worker, which viewers show.
        let workers: BTreeSet<_> = timeline.spans().iter().map(|span| span.pid).collect();
        let names = events.iter().filter(|event| event["name"] == "thread_name");
        assert_eq!(names.count(), workers.len());

        let mut picture = Vec::new();
        timeline.write_svg(&mut picture).unwrap();
        let picture = String::from_utf8(picture).unwrap();
        assert_eq!(picture.matches("<rect class").count(), timeline.spans().len());
        balanced(&picture);
        // So are those with nothing in them.
        let (mut trace, mut picture) = (Vec::new(), Vec::new());
        let nothing = Pool::new(1).unwrap().timeline();
        nothing.write_trace(&mut trace).unwrap();
        nothing.write_svg(&mut picture).unwrap();
        assert!(serde_json::from_slice::<Value>(&trace).is_ok());
        balanced(&String::from_utf8(picture).unwrap());
    });
}

/// Each tag is closed in turn, and its attributes have quotes.
fn balanced(xml: &str) {
    let mut open = Vec::new();
    for tag in xml.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name)),
            (_, true) => {}
            _ => open.push(name),
        }
    }
    assert!(open.is_empty() && xml.starts_with("<svg "), "{open:?}");
}

#[test]
fn a_worker_is_seen_to_be_ready_by_whoever_asks() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        while pool.stats().workers[0].waiting.is_zero() {
            std::thread::yield_now();
        }
        assert!(!pool.stats().workers[0].start_up.is_zero());
    });
}
