//! What a preloaded table costs each child, in time and memory, beside children that load it themselves.
//!
//! ```text
//! cargo run --release --example preload
//! ```

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use multiproc::process::set_forkserver_preload;
use multiproc::{Process, StartMethod};

const ENTRIES: u64 = 16 << 20;

static TABLE: OnceLock<Vec<u64>> = OnceLock::new();

/// Stands for a model, a dictionary, or whatever else takes long to load: 128 MiB.
fn table() -> &'static [u64] {
    TABLE.get_or_init(|| (0..ENTRIES).map(|n| n.wrapping_mul(n) ^ (n >> 7)).collect())
}

/// Reads all of the table; gives the memory that is this process's alone, in KiB.
fn use_table() -> u64 {
    black_box(table().iter().fold(0, |sum: u64, n| sum.wrapping_add(*n)));
    private_memory().unwrap_or(0)
}

/// The private part of what is in memory, in KiB.
fn private_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let numbers = text.lines().filter(|line| line.starts_with("Private_"));
    Some(numbers.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum())
}

/// Starts one child and joins it.
fn measure(method: StartMethod) -> Result<(Duration, u64), Box<dyn Error>> {
    let start = Instant::now();
    let memory = Process::new(use_table, ()).start_method(method).start()?.join()?;
    Ok((start.elapsed(), memory))
}

fn main() -> Result<(), Box<dyn Error>> {
    set_forkserver_preload(|| _ = table())?;
    let (first, _) = measure(StartMethod::Forkserver)?;
    println!("the first start, which loads the table: {first:.1?}");
    for (method, word) in [(StartMethod::Forkserver, "shares"), (StartMethod::Spawn, "loads")] {
        for _ in 0..3 {
            let (time, memory) = measure(method)?;
            println!(
                "a child that {word} it: {time:.1?}, {:.1} MiB its own",
                memory as f64 / 1024.0
            );
        }
    }
    assert!(TABLE.get().is_none(), "this process has no table");
    Ok(())
}
