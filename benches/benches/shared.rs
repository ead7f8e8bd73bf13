//! Locks, values and arrays in shared memory, beside a lock between threads and a plain copy.
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on has nothing to measure")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use multiproc::{Array, Event, Lock, Value};

fn locks(c: &mut Criterion) {
    let mut group = c.benchmark_group("shared/lock_pair");
    let lock = Lock::new().expect("a lock");
    group.bench_function("lock", |b| b.iter(|| black_box(lock.lock().is_ok())));
    let peer = parking_lot::Mutex::new(());
    group.bench_function("peer/parking_lot", |b| b.iter(|| drop(black_box(peer.lock()))));
    group.finish();
}

fn values(c: &mut Criterion) {
    let mut group = c.benchmark_group("shared/value");
    let value = Value::new(0_u64).expect("a value");
    group.bench_function("update", |b| b.iter(|| value.update(|n| n + 1)));
    group.bench_function("fetch_add", |b| b.iter(|| value.fetch_add(1)));
    group.bench_function("create_drop", |b| b.iter(|| Value::new(black_box(7_u64))));
    let event = Event::new().expect("an event");
    group.bench_function("event_set_clear", |b| {
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
    group.bench_function("write", |b| {
        b.iter(|| array.lock().expect("the lock").copy_from_slice(black_box(&other)))
    });
    group.bench_function("read", |b| {
        b.iter(|| local.copy_from_slice(&array.lock().expect("the lock")))
    });
    group.bench_function("floor/memcpy", |b| b.iter(|| local.copy_from_slice(black_box(&other))));
    group.finish();
}

criterion_group!(benches, locks, values, arrays);
criterion_main!(benches);
