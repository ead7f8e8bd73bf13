//! What a pool does, as `tracing` spans. It is alone in its process, for there is one subscriber. W-56.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use common::guarded;
use mp_pool::{Backend, Pool};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// A span as it was seen.
#[derive(Clone, Debug, Default)]
struct Seen {
    name: String,
    parent: Option<u64>,
    fields: BTreeMap<String, String>,
    entered: u64,
    closed: bool,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

/// Notes all spans and events of the pool.
struct Notebook;

static SPANS: Mutex<BTreeMap<u64, Seen>> = Mutex::new(BTreeMap::new());
static EVENTS: Mutex<Vec<Seen>> = Mutex::new(Vec::new());

fn note(span: &Id, change: impl FnOnce(&mut Seen)) {
    if let Some(seen) = SPANS.lock().unwrap().get_mut(&span.into_u64()) {
        change(seen);
    }
}

impl Subscriber for Notebook {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "mp_pool"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let parent = span.parent().map(Id::into_u64);
        let mut seen = Seen { name: span.metadata().name().to_owned(), parent, ..Seen::default() };
        span.record(&mut seen);
        SPANS.lock().unwrap().insert(id, seen);
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        note(span, |seen| values.record(seen));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut seen = Seen { parent: event.parent().map(Id::into_u64), ..Seen::default() };
        event.record(&mut seen);
        EVENTS.lock().unwrap().push(seen);
    }

    fn enter(&self, span: &Id) {
        note(span, |seen| seen.entered += 1);
    }

    fn exit(&self, _: &Id) {}

    fn clone_span(&self, id: &Id) -> Id {
        id.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        note(&span, |seen| seen.closed = true);
        true
    }
}

fn take(name: &str) -> Vec<(u64, Seen)> {
    let spans = SPANS.lock().unwrap();
    spans
        .iter()
        .filter(|(_, seen)| seen.name == name)
        .map(|(&id, seen)| (id, seen.clone()))
        .collect()
}

fn number(seen: &Seen, field: &str) -> u64 {
    seen.fields[field].parse().unwrap()
}

#[test]
fn a_pool_its_workers_and_their_tasks_are_spans() {
    tracing::subscriber::set_global_default(Notebook).unwrap();
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        assert_eq!(pool.chunk_size(5).map(|x: u64| x + 1, 0..100).unwrap().len(), 100);
        let died: Result<(), _> = pool.apply(|code: i32| std::process::exit(code), (3,));
        assert!(died.is_err());
        pool.close();
        pool.join().unwrap();
        drop(pool);

        let [(id, pool)] = &take("pool")[..] else { panic!("one pool") };
        assert!(pool.closed && number(pool, "workers") == 2);
        assert_eq!(number(pool, "tasks"), 100);
        let workers = take("worker");
        assert!(workers.iter().all(|(_, worker)| worker.parent == Some(*id) && worker.closed));
        assert_eq!(workers.iter().map(|(_, worker)| number(worker, "tasks")).sum::<u64>(), 100);
        let lost: Vec<_> =
            workers.iter().filter(|(_, worker)| worker.fields["end"].contains("code 3")).collect();
        assert_eq!(lost.len(), 1);
        let events = EVENTS.lock().unwrap().clone();
        assert!(events.len() == 1 && events[0].parent == Some(lost[0].0), "{events:?}");
        for (_, worker) in &workers {
            assert!(worker.fields.contains_key("start_up_us"), "{worker:?}");
            assert!(number(worker, "working_us") + number(worker, "waiting_us") < 120_000_000);
        }
        let [(_, call)] = &take("map")[..] else { panic!("one call") };
        assert!(call.closed && call.entered == 1 && number(call, "tasks") == 100);
        assert!(take("tasks").is_empty(), "those are in the workers' processes");

        // Where the workers are threads, what they run is seen here.
        for (backend, units) in [(Backend::Threads, 10), (Backend::Inline, 20)] {
            let pool = Pool::builder().workers(2).backend(backend).build().unwrap();
            assert_eq!(pool.chunk_size(10).map(|x: u64| x + 1, 0..100).unwrap().len(), 100);
            drop(pool);
            let tasks = take("tasks");
            assert_eq!(tasks.len(), units);
            assert!(tasks.iter().all(|(_, unit)| unit.closed && number(unit, "tasks") == 10));
        }
    });
}
