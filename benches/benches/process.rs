//! Start and join of a process by each method, beside the bare system calls, procspawn and CPython; a thousand children; a large parent.
//!
//! `MP_BENCH_LARGE=4` adds the group of a parent of so many GiB, which needs as much memory.
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on has nothing to measure")]

use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group};
use mp_benches::{fork_exit_wait, spawn_wait};
use multiproc::{Child, Process, StartMethod};

/// What this program is told to end at once: the floor of executing it.
const NOTHING: &str = "--nothing";

const METHODS: [(&str, StartMethod); 3] = [
    ("forkserver", StartMethod::Forkserver),
    ("spawn", StartMethod::Spawn),
    ("fork", StartMethod::Fork),
];

fn nothing() {}

fn idle() {
    loop {
        std::thread::park();
    }
}

fn ours(group: &mut BenchmarkGroup<'_, WallTime>, methods: &[(&str, StartMethod)]) {
    for &(name, method) in methods {
        group.bench_function(name, |b| {
            b.iter(|| {
                let child = Process::new(nothing, ()).start_method(method).start();
                child.expect("a child").join().expect("it ends")
            })
        });
    }
}

fn start_join(c: &mut Criterion) {
    let mut group = c.benchmark_group("start_join");
    group.sample_size(50);
    group.bench_function("floor/fork_exit_wait", |b| b.iter(fork_exit_wait));
    group.bench_function("floor/posix_spawn_same_program", |b| {
        b.iter(|| spawn_wait(c"/proc/self/exe", NOTHING))
    });
    ours(&mut group, &METHODS);
    // It executes the program for each child, and has to be called at the top of `main`.
    group.bench_function("procspawn", |b| {
        b.iter(|| procspawn::spawn((), |()| ()).join().expect("it ends"))
    });
    group.finish();
}

/// CPython's own, measured by itself: what it takes to start the interpreter is left out.
const PYTHON: &str = "
import multiprocessing as mp, sys, time
if __name__ == '__main__':
    context = mp.get_context(sys.argv[1])
    def once():
        process = context.Process(target=int)
        process.start()
        process.join()
    once()
    start = time.perf_counter_ns()
    for _ in range(int(sys.argv[2])):
        once()
    print(time.perf_counter_ns() - start)
";

fn python(c: &mut Criterion) {
    let script = std::env::temp_dir().join(format!("mp-bench-{}.py", std::process::id()));
    fs::write(&script, PYTHON).expect("a script");
    let run = |method: &str, times: u64| -> Option<Duration> {
        let mut command = Command::new("python3");
        let output = command.arg(&script).args([method, &times.to_string()]).output().ok()?;
        Some(Duration::from_nanos(String::from_utf8(output.stdout).ok()?.trim().parse().ok()?))
    };
    if run("fork", 1).is_some() {
        let mut group = c.benchmark_group("start_join/python");
        group.sample_size(10).warm_up_time(Duration::from_millis(1));
        group.measurement_time(Duration::from_secs(2));
        for (name, _) in METHODS {
            group.bench_function(name, |b| {
                b.iter_custom(|times| run(name, times).expect("it was there just now"))
            });
        }
        group.finish();
    }
    let _ = fs::remove_file(script);
}

/// The private memory of a process, in KiB.
fn private(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("Private_"));
    lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

fn thousand(c: &mut Criterion) {
    const COUNT: usize = 1000;
    let mut group = c.benchmark_group("thousand_alive");
    group.sample_size(10).warm_up_time(Duration::from_millis(1));
    group.throughput(criterion::Throughput::Elements(COUNT as u64));
    for (name, method) in METHODS {
        let mut memory = 0;
        group.bench_function(name, |b| {
            b.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    let start = Instant::now();
                    let start_one = |_| Process::new(idle, ()).start_method(method).start();
                    let children: Vec<Child<()>> =
                        (0..COUNT).map(|i| start_one(i).expect("a child")).collect();
                    total += start.elapsed();
                    memory = children.iter().map(|child| private(child.pid())).sum();
                    for child in &children {
                        child.kill().expect("it is ours");
                    }
                    for child in children {
                        child.wait();
                    }
                }
                total
            })
        });
        println!("thousand_alive/{name}: {} KiB of its own for each child", memory / COUNT as u64);
    }
    group.finish();
}

fn large(c: &mut Criterion) {
    let size = std::env::var("MP_BENCH_LARGE").ok().and_then(|text| text.parse::<usize>().ok());
    let Some(size) = size else { return };
    let memory = vec![1_u8; size << 30];
    let mut group = c.benchmark_group(format!("start_join_from_{size}_GiB"));
    group.sample_size(20);
    group.bench_function("floor/fork_exit_wait", |b| b.iter(fork_exit_wait));
    ours(&mut group, &METHODS);
    group.finish();
    black_box(memory);
}

criterion_group!(benches, start_join, python, thousand, large);

fn main() {
    procspawn::init();
    if std::env::args().any(|arg| arg == NOTHING) {
        return;
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
