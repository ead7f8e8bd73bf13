//! Start and join of a process by each method, beside the bare system calls.
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on has nothing to measure")]

use criterion::{Criterion, criterion_group, criterion_main};
use mp_benches::{fork_exit_wait, spawn_wait};
use multiproc::{Process, StartMethod};

fn nothing() {}

fn start_join(c: &mut Criterion) {
    let mut group = c.benchmark_group("start_join");
    group.sample_size(50);
    group.bench_function("floor/fork_exit_wait", |b| b.iter(fork_exit_wait));
    group.bench_function("floor/posix_spawn_true", |b| b.iter(|| spawn_wait(c"/bin/true")));
    for (name, method) in [("forkserver", StartMethod::Forkserver), ("spawn", StartMethod::Spawn)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let child = Process::new(nothing, ()).start_method(method).start();
                child.expect("a child").join().expect("it ends")
            })
        });
    }
    group.finish();
}

criterion_group!(benches, start_join);
criterion_main!(benches);
