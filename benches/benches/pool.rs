//! The pool: one task there and back, many small tasks, and a million squares.
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on has nothing to measure")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use multiproc::{Pool, cpu_count};

fn square(x: u64) -> u64 {
    x * x
}

fn pool(c: &mut Criterion) {
    let pool = Pool::new(cpu_count()).expect("a pool");
    let mut group = c.benchmark_group("pool");
    group.sample_size(20);
    group.bench_function("apply", |b| b.iter(|| pool.apply(square, (3,)).expect("a square")));

    const SMALL: u64 = 20_000;
    group.throughput(Throughput::Elements(SMALL));
    group.bench_function("map_chunk_1", |b| {
        b.iter(|| pool.chunk_size(1).map(square, 0..SMALL).expect("squares"))
    });

    const MANY: u64 = 1_000_000;
    group.throughput(Throughput::Elements(MANY));
    group.bench_function("map_million_squares", |b| {
        b.iter(|| pool.map(square, 0..MANY).expect("squares"))
    });
    group.bench_function("floor/one_process", |b| {
        b.iter(|| (0..MANY).map(square).collect::<Vec<_>>())
    });
    group.finish();
}

criterion_group!(benches, pool);
criterion_main!(benches);
