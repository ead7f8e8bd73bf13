//! The pool beside rayon's and CPython's: one task there and back, many small tasks, a million squares, a job that the processor
//! bounds, large arguments and results, and a worker that is replaced; and what an idle pool costs.
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on has nothing to measure")]

use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use multiproc::{Array, Pool, cpu_count};
use rayon::prelude::*;

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
    group.bench_function("rayon_million_squares", |b| {
        b.iter(|| (0..MANY).into_par_iter().map(square).collect::<Vec<_>>())
    });
    group.bench_function("floor/one_process", |b| {
        b.iter(|| (0..MANY).map(square).collect::<Vec<_>>())
    });
    group.finish();
}

/// CPython's own, measured by itself.
const PYTHON: &str = "
import multiprocessing as mp, sys, time
def square(x):
    return x * x
if __name__ == '__main__':
    with mp.Pool(mp.cpu_count()) as pool:
        what = {
            'apply': lambda: pool.apply(square, (3,)),
            'map_chunk_1': lambda: pool.map(square, range(20000), chunksize=1),
            'map_million_squares': lambda: pool.map(square, range(1000000)),
        }[sys.argv[1]]
        what()
        start = time.perf_counter_ns()
        for _ in range(int(sys.argv[2])):
            what()
        print(time.perf_counter_ns() - start)
";

fn python(c: &mut Criterion) {
    let script = std::env::temp_dir().join(format!("mp-bench-pool-{}.py", std::process::id()));
    fs::write(&script, PYTHON).expect("a script");
    let run = |what: &str, times: u64| -> Option<Duration> {
        let mut command = Command::new("python3");
        let output = command.arg(&script).args([what, &times.to_string()]).output().ok()?;
        Some(Duration::from_nanos(String::from_utf8(output.stdout).ok()?.trim().parse().ok()?))
    };
    if run("apply", 1).is_some() {
        let mut group = c.benchmark_group("pool/python");
        group.sample_size(10).warm_up_time(Duration::from_millis(1));
        group.measurement_time(Duration::from_secs(2));
        for (name, tasks) in
            [("apply", 1), ("map_chunk_1", 20_000), ("map_million_squares", 1_000_000)]
        {
            group.throughput(Throughput::Elements(tasks));
            group.bench_function(name, |b| {
                b.iter_custom(|times| run(name, times).expect("it was there just now"))
            });
        }
        group.finish();
    }
    let _ = fs::remove_file(script);
}

/// A job that the processor bounds: some milliseconds of work.
fn churn(seed: u64) -> u64 {
    (0..2_000_000)
        .fold(seed, |x, _| black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1)))
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
        let threads = rayon::ThreadPoolBuilder::new().num_threads(workers).build();
        let threads = threads.expect("threads");
        group.bench_function(format!("rayon/{workers}_threads"), |b| {
            b.iter(|| threads.install(|| (0..32).into_par_iter().map(churn).collect::<Vec<_>>()))
        });
    }
    group.finish();
}

/// Changes the bytes where they are.
fn in_place(data: Array<u8>) {
    let mut data = data.lock().expect("nobody died with it");
    let last = data.len() - 1;
    data.swap(0, last);
}

/// Copies the bytes into another array.
fn mirror(there: Array<u8>, back: Array<u8>) {
    let there = there.lock().expect("nobody died with it");
    back.lock().expect("nobody died with it").copy_from_slice(&there);
}

/// A large argument there and back: as a value, as data that all tasks read, in arrays by handle; and what copying it there and
/// back costs.
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
    let (there, back) = (Array::new(LEN).expect("memory"), Array::new(LEN).expect("memory"));
    let mut result = vec![0; LEN];
    // Twice the data moves in these: there, and back.
    group.throughput(Throughput::Bytes(2 * LEN as u64));
    group.bench_function("in_and_out/array_in_place", |b| {
        b.iter(|| {
            there.lock().expect("nobody died with it").copy_from_slice(&data);
            pool.apply(in_place, (there.clone(),)).expect("a change");
            result.copy_from_slice(&there.lock().expect("nobody died with it"));
        })
    });
    group.bench_function("in_and_out/two_arrays", |b| {
        b.iter(|| {
            there.lock().expect("nobody died with it").copy_from_slice(&data);
            pool.apply(mirror, (there.clone(), back.clone())).expect("a copy");
            result.copy_from_slice(&back.lock().expect("nobody died with it"));
        })
    });
    // What the caller has is moved in, and it gets as much back: making the one and dropping the other is not the pool's.
    group.bench_function("in_and_out/values", |b| {
        let same = |data: Vec<u8>| pool.apply(|data: Vec<u8>| data, (data,)).expect("the same");
        b.iter_batched(|| data.clone(), same, BatchSize::PerIteration)
    });
    group.bench_function("in_and_out/numbers", |b| {
        let data = vec![1.5_f64; LEN / 8];
        let same = |data: Vec<f64>| pool.apply(|data: Vec<f64>| data, (data,)).expect("the same");
        b.iter_batched(|| data.clone(), same, BatchSize::PerIteration)
    });
    // Beside another argument, and within other values.
    group.bench_function("in_and_out/numbers_and_id", |b| {
        let data = vec![1.5_f64; LEN / 8];
        let same = |args: (u64, Vec<f64>)| {
            pool.apply(|_: u64, data: Vec<f64>| data, args).expect("the same")
        };
        b.iter_batched(|| (7, data.clone()), same, BatchSize::PerIteration)
    });
    group.bench_function("in_and_out/option_of_values", |b| {
        let data = Some(data.clone());
        let same = |data: Option<Vec<u8>>| {
            pool.apply(|data: Option<Vec<u8>>| data, (data,)).expect("the same")
        };
        b.iter_batched(|| data.clone(), same, BatchSize::PerIteration)
    });
    group.bench_function("in_and_out/rows_of_numbers", |b| {
        let data = vec![vec![1.5_f32; 1024]; LEN / 4096];
        let same = |rows: Vec<Vec<f32>>| {
            pool.apply(|rows: Vec<Vec<f32>>| rows, (rows,)).expect("the same")
        };
        b.iter_batched(|| data.clone(), same, BatchSize::PerIteration)
    });
    let mut other = vec![0; LEN];
    group.bench_function("floor/memcpy_twice", |b| {
        b.iter(|| {
            other.copy_from_slice(black_box(&data));
            result.copy_from_slice(black_box(&other));
        })
    });
    group.finish();
}

/// From the death of a worker with its task until another has done one.
fn replace(c: &mut Criterion) {
    let pool = Pool::new(1).expect("a pool");
    c.bench_function("pool/replace_a_worker", |b| {
        b.iter(|| {
            let died = pool.apply(|code: i32| -> u64 { std::process::exit(code) }, (1,));
            assert!(died.is_err());
            pool.apply(square, (3,)).expect("a square")
        })
    });
}

/// What is in a line of a file of `/proc`, in its unit.
fn read(path: &str, line: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter(|text| text.starts_with(line));
    lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// Processor time of a process so far, in the kernel's ticks.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Processor time and memory of a pool that has worked and has nothing to do: printed, for there is nothing to time.
fn idle(_: &mut Criterion) {
    let pool = Pool::new(cpu_count()).expect("a pool");
    pool.map(square, 0..1000).expect("squares");
    std::thread::sleep(Duration::from_millis(50));
    let all =
        |pids: &[u32]| pids.iter().copied().chain([std::process::id()]).map(ticks).sum::<u64>();
    let (pids, start) = (pool.pids(), Instant::now());
    let before = all(&pids);
    std::thread::sleep(Duration::from_secs(2));
    let used = all(&pids) - before;
    println!("pool/idle: {used} ticks of processor time in {:.1} s", start.elapsed().as_secs_f64());
    for pid in pids {
        let rollup = format!("/proc/{pid}/smaps_rollup");
        let private = read(&rollup, "Private_Clean:") + read(&rollup, "Private_Dirty:");
        println!("pool/idle: worker {pid} has {private} KiB of its own");
    }
}

criterion_group!(benches, pool, python, scaling, large, replace, idle);
criterion_main!(benches);
