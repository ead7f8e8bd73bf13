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
    group.bench_function("guided_million_squares", |b| {
        b.iter(|| pool.guided().map(square, 0..MANY).expect("squares"))
    });
    group.bench_function("floor/one_process", |b| {
        b.iter(|| (0..MANY).map(square).collect::<Vec<_>>())
    });
    group.finish();
    scaling(c);
    large(c);
}

/// A job that the processor bounds: some milliseconds of work.
fn churn(seed: u64) -> u64 {
    (0..500_000).fold(seed, |x, _| x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1))
}

/// One worker and two with the same work: the ratio is what the second one brings.
fn scaling(c: &mut Criterion) {
    let mut group = c.benchmark_group("pool/cpu_bound");
    group.sample_size(10);
    for workers in [1, 2] {
        let pool = Pool::new(workers).expect("a pool");
        group.bench_function(format!("{workers}_workers"), |b| {
            b.iter(|| pool.chunk_size(1).map(churn, 0..32).expect("numbers"))
        });
    }
    group.finish();
}

/// A large argument there and back, and what copying it once costs.
fn large(c: &mut Criterion) {
    const LEN: usize = 64 << 20;
    let pool = Pool::new(1).expect("a pool");
    let data = vec![7_u8; LEN];
    let mut group = c.benchmark_group("pool/64_mib");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(LEN as u64));
    group.bench_function("map_with", |b| {
        b.iter(|| pool.map_with(&data, |data: &Vec<u8>, _: u8| data.len(), [0]).expect("a length"))
    });
    group.bench_function("floor/memcpy", |b| b.iter(|| data.clone()));
    group.finish();
}

criterion_group!(benches, pool);
criterion_main!(benches);
