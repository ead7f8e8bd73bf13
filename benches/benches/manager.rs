//! One operation on an object of a manager, there and back.
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on has nothing to measure")]

use criterion::{Criterion, criterion_group, criterion_main};
use multiproc::Manager;

fn dict(c: &mut Criterion) {
    let manager = Manager::start().expect("a manager");
    let dict = manager.dict::<u32, u64>().expect("a dict");
    let mut group = c.benchmark_group("manager/dict");
    group.bench_function("insert", |b| b.iter(|| dict.insert(&7, &7).expect("insert")));
    group.bench_function("get", |b| b.iter(|| dict.get(&7).expect("get")));
    group.finish();
}

criterion_group!(benches, dict);
criterion_main!(benches);
