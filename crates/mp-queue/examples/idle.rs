//! What a hundred idle queues cost, each with a thread that waits on it: processor time, memory and descriptors.
//!
//! `cargo run --release -p mp-queue --example idle`
#![allow(clippy::unwrap_used, reason = "an example that fails is to say so")]

use std::fs;
use std::thread;
use std::time::Duration;

use mp_queue::Queue;

/// The processor time of this process so far, in ticks of 10 ms.
fn ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn main() {
    let before = descriptors();
    let queues: Vec<_> = (0..100).map(|_| Queue::<u64>::new().unwrap()).collect();
    let descriptors = descriptors() - before;
    thread::scope(|scope| {
        for queue in &queues {
            scope.spawn(move || queue.iter().count());
        }
        // Until all are asleep.
        thread::sleep(Duration::from_millis(200));
        let begin = ticks();
        thread::sleep(Duration::from_secs(2));
        let used = ticks() - begin;
        let memory: u64 = queues.iter().map(|queue| queue.resident().unwrap()).sum();
        println!("{} ms of processor time in 2 s", 10 * used);
        println!("{} KiB of memory and {descriptors} descriptors", memory >> 10);

        // A backlog, and what is left of it when it has been read.
        for number in 0..100_000 {
            queues[0].put(&number).unwrap();
        }
        for queue in &queues {
            queue.close();
        }
    });
    let queue = Queue::<[u64; 8]>::new().unwrap();
    for number in 0..1_000_000 {
        queue.put(&[number; 8]).unwrap();
    }
    println!("{} MiB with a million items", queue.resident().unwrap() >> 20);
    queue.drain().for_each(drop);
    println!("{} MiB when they have been read", queue.resident().unwrap() >> 20);
    for number in 0..1_000_000 {
        queue.put(&[number; 8]).unwrap();
        queue.get().unwrap();
    }
    println!("{} KiB after some more, one at a time", queue.resident().unwrap() >> 10);
}
