//! Locks, values, arrays and what processes wait for, beside a lock between threads, a plain copy, and a bare futex.
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on has nothing to measure")]

use std::cell::Cell;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::thread;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use mp_benches::{futex_wait, futex_wake};
use mp_shared::robust::RawLock;
use mp_shared::segment::{Segment, View};
use mp_wire::Deadline;
use multiproc::{
    Array, AtomicValue, Barrier, ChunkedArray, Condition, Event, Lock, Once, Process, RLock,
    RwLock, Semaphore, SharedVec, Value,
};

/// Taking and releasing a lock that nobody else wants.
fn locks(c: &mut Criterion) {
    let mut group = c.benchmark_group("shared/lock_pair");
    let peer = parking_lot::Mutex::new(());
    group.bench_function("peer/parking_lot", |b| b.iter(|| drop(black_box(peer.lock()))));
    let segment = Segment::create(1, 64).expect("a segment");
    let raw: View<RawLock> = segment.bind(0).expect("a lock");
    group.bench_function("internal", |b| {
        b.iter(|| (raw.lock(Deadline::NEVER).is_ok(), raw.unlock().is_ok()))
    });
    let lock = Lock::new().expect("a lock");
    group.bench_function("lock", |b| b.iter(|| black_box(lock.lock().is_ok())));
    group.finish();
}

/// What one thread pays for each primitive when nobody else is there.
fn primitives(c: &mut Criterion) {
    let mut group = c.benchmark_group("shared/alone");
    let rlock = RLock::new().expect("a lock");
    group.bench_function("rlock", |b| b.iter(|| black_box(rlock.lock().is_ok())));
    {
        let _held = rlock.lock();
        group.bench_function("rlock_again", |b| b.iter(|| black_box(rlock.lock().is_ok())));
    }
    let rwlock = RwLock::new(0_u64).expect("a lock");
    group.bench_function("rwlock_read", |b| b.iter(|| black_box(rwlock.read().is_ok())));
    group.bench_function("rwlock_write", |b| b.iter(|| black_box(rwlock.write().is_ok())));
    let semaphore = Semaphore::new(1).expect("a semaphore");
    group.bench_function("semaphore", |b| b.iter(|| black_box(semaphore.acquire().is_ok())));
    let condition = Condition::new().expect("a condition");
    group.bench_function("condition_notify", |b| b.iter(|| condition.notify_one()));
    let once = Once::new().expect("a once");
    once.call_once(|_| ()).expect("the first call");
    group.bench_function("once_done", |b| b.iter(|| once.call_once(|_| ())));
    let atomic = AtomicValue::new(0_u64).expect("a value");
    group.bench_function("atomic_fetch_add", |b| b.iter(|| atomic.fetch_add(black_box(1))));
    let vec = SharedVec::<u64>::new().expect("a vector");
    group.bench_function("vec_push_pop", |b| b.iter(|| (vec.push(1).is_ok(), vec.pop().is_ok())));
    let chunked = ChunkedArray::<u64>::new(64, 8).expect("an array");
    group.bench_function("chunk_lock", |b| b.iter(|| black_box(chunked.lock(8..16).is_ok())));
    group.finish();
}

/// Passes a barrier as often as it is told to.
fn pass(segment: Segment, barrier: Barrier) {
    let meeting = Meeting { segment };
    let Ok(mut party) = barrier.register() else { return };
    let mut total = 0;
    loop {
        let order = Meeting::look(meeting.order(), total);
        if order == END {
            return;
        }
        for _ in total..order {
            let _ = party.wait();
        }
        total = order;
    }
}

/// Two processes meet again and again, which costs at least two transfers of a cache line.
fn barriers(c: &mut Criterion) {
    let mut group = c.benchmark_group("shared/barrier_of_two_processes");
    let (meeting, barrier) = (Meeting::new(), Barrier::new(2).expect("a barrier"));
    let child =
        Process::new(pass, (meeting.segment.clone(), barrier.clone())).start().expect("a child");
    let mut party = barrier.register().expect("a place");
    let mut total = 0;
    group.bench_function("wait", |b| {
        b.iter_custom(|count| {
            total += count;
            meeting.order().store(total, Release);
            let start = Instant::now();
            for _ in 0..count {
                party.wait().expect("the other comes");
            }
            start.elapsed()
        })
    });
    meeting.order().store(END, Release);
    child.join().expect("the child ends");
    group.finish();
}

fn values(c: &mut Criterion) {
    let mut group = c.benchmark_group("shared/value");
    group.throughput(Throughput::Elements(1));
    let value = Value::new(0_u64).expect("a value");
    group.bench_function("fetch_add", |b| b.iter(|| value.fetch_add(black_box(1))));
    group.bench_function("update", |b| b.iter(|| value.update(|n| n + black_box(1))));
    group.bench_function("get", |b| b.iter(|| value.get()));
    group.bench_function("create_drop", |b| b.iter(|| Value::new(black_box(7_u64))));
    let mut values = Vec::with_capacity(1000);
    group.throughput(Throughput::Elements(1000));
    group.bench_function("create_drop_of_a_thousand", |b| {
        b.iter(|| {
            values.extend((0..1000).map(|_| Value::new(black_box(7_u64)).expect("a value")));
            values.clear();
        })
    });
    group.bench_function("create_send_drop_of_a_thousand", |b| {
        b.iter(|| {
            for _ in 0..1000 {
                let value = Value::new(black_box(7_u64)).expect("a value");
                black_box(multiproc::wire::encode(&value).expect("a message"));
            }
        })
    });
    group.finish();
    two_processes(c);
}

/// Where two processes meet.
#[derive(Clone)]
struct Meeting {
    segment: Segment,
}

impl Meeting {
    fn new() -> Self {
        Self { segment: Segment::create(1, 256).expect("a segment") }
    }

    /// What the parent asks for; all ones is the end.
    fn order(&self) -> &AtomicU64 {
        self.segment.atomic_u64(0).expect("a word")
    }

    /// How much of it is done.
    fn done(&self) -> &AtomicU64 {
        self.segment.atomic_u64(64).expect("a word")
    }

    fn futex(&self) -> &AtomicU32 {
        self.segment.atomic_u32(128).expect("a word")
    }

    /// Looks until the word is another one; returns it.
    fn look(word: &AtomicU64, old: u64) -> u64 {
        loop {
            let new = word.load(Acquire);
            if new != old {
                return new;
            }
            spin_loop();
        }
    }
}

const END: u64 = u64::MAX;

/// Adds as often as it is told to.
fn add(segment: Segment, value: Value<u64>) {
    let meeting = Meeting { segment };
    let mut total = 0;
    loop {
        let order = Meeting::look(meeting.order(), total);
        if order == END {
            return;
        }
        for _ in total..order {
            let _ = value.fetch_add(1);
        }
        total = order;
        meeting.done().store(total, Release);
    }
}

/// Two processes add to one value at the same time, each as often: time for two additions.
fn two_processes(c: &mut Criterion) {
    let mut group = c.benchmark_group("shared/value_of_two_processes");
    group.throughput(Throughput::Elements(2));
    let (meeting, value) = (Meeting::new(), Value::new(0_u64).expect("a value"));
    let child =
        Process::new(add, (meeting.segment.clone(), value.clone())).start().expect("a child");
    let mut total = 0;
    group.bench_function("fetch_add", |b| {
        b.iter_custom(|count| {
            let start = Instant::now();
            meeting.order().store(total + count, Release);
            for _ in 0..count {
                value.fetch_add(1).expect("the lock");
            }
            while meeting.done().load(Acquire) != total + count {
                spin_loop();
            }
            total += count;
            start.elapsed()
        })
    });
    meeting.order().store(END, Release);
    child.join().expect("the child ends");
    assert_eq!(value.get().expect("the lock"), 2 * total);
    group.finish();
}

/// Answers each time that the event is set.
fn answer_event(segment: Segment, event: Event) {
    let meeting = Meeting { segment };
    let mut count = 0;
    while meeting.order().load(Acquire) != END {
        event.wait();
        event.clear();
        count += 1;
        meeting.done().store(count, Release);
    }
}

/// Answers each time that the word is changed.
fn answer_futex(segment: Segment) {
    let meeting = Meeting { segment };
    let mut count = 0_u32;
    while meeting.order().load(Acquire) != END {
        while meeting.futex().load(Acquire) == count {
            futex_wait(meeting.futex(), count);
        }
        count += 1;
        meeting.done().store(u64::from(count), Release);
    }
}

/// A process that sleeps, what wakes it, and how often it has answered.
struct Sleeper<'a> {
    meeting: &'a Meeting,
    wake: &'a dyn Fn(),
    answers: Cell<u64>,
}

impl<'a> Sleeper<'a> {
    fn new(meeting: &'a Meeting, wake: &'a dyn Fn()) -> Self {
        Self { meeting, wake, answers: Cell::new(0) }
    }

    /// From the call that wakes it to its answer, at which the caller looks.
    fn wake(&self) -> Duration {
        // By then it sleeps.
        thread::sleep(Duration::from_micros(300));
        let start = Instant::now();
        (self.wake)();
        self.answers.update(|answers| answers + 1);
        while self.meeting.done().load(Acquire) != self.answers.get() {
            spin_loop();
        }
        start.elapsed()
    }
}

/// Wakes one and the other in turn, so that whatever disturbs the machine disturbs both; counts the time of the first.
fn wake(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, first: &Sleeper, second: &Sleeper) {
    group.bench_function(name, |b| {
        b.iter_custom(|rounds| {
            let mut time = Duration::ZERO;
            for _ in 0..rounds {
                time += first.wake();
                second.wake();
            }
            time
        })
    });
}

/// The same in so many turns: the median, which the worst of the times do not move, and the mean.
fn in_turn(first: &Sleeper, second: &Sleeper) -> [[Duration; 2]; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        times[0].push(first.wake());
        times[1].push(second.wake());
    }
    times.map(|mut times| {
        times.sort_unstable();
        [times[times.len() / 2], times.iter().sum::<Duration>() / TURNS]
    })
}

const TURNS: u32 = 10_000;

fn events(c: &mut Criterion) {
    let meetings = [Meeting::new(), Meeting::new()];
    let event = Event::new().expect("an event");
    let child = Process::new(answer_futex, (meetings[0].segment.clone(),)).start();
    let arguments = (meetings[1].segment.clone(), event.clone());
    let children = [child, Process::new(answer_event, arguments).start()];
    let poke = || {
        meetings[0].futex().fetch_add(1, Release);
        futex_wake(meetings[0].futex());
    };
    let set = || event.set();
    let (floor, ours) = (Sleeper::new(&meetings[0], &poke), Sleeper::new(&meetings[1], &set));
    let mut group = c.benchmark_group("shared/wake_a_sleeper");
    group.measurement_time(Duration::from_secs(8));
    wake(&mut group, "floor/futex", &floor, &ours);
    wake(&mut group, "event", &ours, &floor);
    group.finish();
    // Not if the group is filtered out, or only tried.
    if ours.answers.get() > 10 {
        let [futex, event] = in_turn(&floor, &ours);
        for (what, futex, event) in [("median", futex[0], event[0]), ("mean", futex[1], event[1])] {
            let times = event.as_secs_f64() / futex.as_secs_f64();
            println!(
                "shared/wake_a_sleeper, {what}: futex {futex:?}, event {event:?}, {times:.2} times"
            );
        }
    }
    for meeting in &meetings {
        meeting.order().store(END, Release);
    }
    (floor.wake)();
    (ours.wake)();
    for child in children {
        child.expect("a child").join().expect("the child ends");
    }

    let mut group = c.benchmark_group("shared/event_alone");
    group.bench_function("set_clear", |b| {
        b.iter(|| {
            event.set();
            event.clear();
        })
    });
    group.finish();
}

fn arrays(c: &mut Criterion) {
    const LEN: usize = 8 << 20;
    let mut group = c.benchmark_group("shared/array_64MiB");
    group.sample_size(20).throughput(Throughput::Bytes(8 * LEN as u64));
    let array = Array::<u64>::new(LEN).expect("an array");
    let (mut local, other) = (vec![0_u64; LEN], vec![1_u64; LEN]);
    group.bench_function("floor/memcpy", |b| b.iter(|| local.copy_from_slice(black_box(&other))));
    group.bench_function("write", |b| {
        b.iter(|| array.lock().expect("the lock").copy_from_slice(black_box(&other)))
    });
    group.bench_function("read", |b| {
        b.iter(|| local.copy_from_slice(&array.lock().expect("the lock")))
    });
    group.finish();
}

criterion_group!(benches, locks, values, primitives, barriers, events, arrays);
criterion_main!(benches);
