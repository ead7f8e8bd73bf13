//! What is left behind. A program of its own with one test: it counts the descriptors of the whole process.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use mp_manager::{List, Manager, Queue};
use mp_process::{Process, active_children};

fn entries(path: impl AsRef<Path>) -> usize {
    std::fs::read_dir(path).unwrap().count()
}

/// Processor time of a process, in clock ticks.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Waits until something is so; says whether it came to that.
fn within_a_minute(what: impl Fn() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        if what() {
            return true;
        }
        thread::sleep(Duration::from_millis(1));
    }
    false
}

fn use_proxies(list: List<Queue<u8>>, queue: Queue<u8>) -> List<Queue<u8>> {
    list.push(&queue).unwrap();
    queue.put(&1).unwrap();
    list
}

fn work(manager: &Manager) {
    let queue = manager.queue::<u8>().unwrap();
    let list = manager.list::<Queue<u8>>().unwrap();
    let child = Process::new(use_proxies, (list.clone(), queue.clone())).start().unwrap();
    let same = child.join().unwrap();
    assert_eq!(same.get(0).unwrap().unwrap().get().unwrap(), 1);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (list, queue) = (list.clone(), queue.clone());
            thread::spawn(move || {
                list.push(&queue).unwrap();
                let _ = queue.get_timeout(Duration::from_millis(1));
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn leak() {
    let manager = Manager::start().unwrap();
    let server = format!("/proc/{}", manager.pid());
    let threads = || entries(format!("{server}/task"));
    let settle = || {
        while manager.object_count().unwrap() > 0 {
            thread::yield_now();
        }
    };
    work(&manager);
    settle();
    let before = (entries("/proc/self/fd"), entries(format!("{server}/fd")));
    for _ in 0..30 {
        work(&manager);
    }
    settle();
    // The number of connections that are kept varies with how many calls there were at the same time: at most 16. The server
    // learns of the end of the others a moment later.
    let after = || (entries("/proc/self/fd"), entries(format!("{server}/fd")));
    let few = || after().0 <= before.0 + 16 && after().1 <= before.1 + 16 && threads() <= 20;
    assert!(within_a_minute(few), "{before:?}, {:?}, {} threads", after(), threads());

    // A proxy that is received again and again is one descriptor.
    let list = manager.list_from(&[manager.queue::<u8>().unwrap()]).unwrap();
    let before = entries("/proc/self/fd");
    let all: Vec<_> = (0..1000).map(|_| list.get(0).unwrap().unwrap()).collect();
    assert_eq!(entries("/proc/self/fd"), before + 1);
    drop((all, list));

    // An idle server takes no time, once it is done with what was; what it does at the edges may make a tick full.
    settle();
    let idle = || {
        let time = ticks(manager.pid());
        thread::sleep(Duration::from_millis(200));
        ticks(manager.pid()) <= time + 1
    };
    assert!(within_a_minute(idle), "the server does not come to rest");

    // Servers go, with all connections to them.
    drop(manager);
    let before = entries("/proc/self/fd");
    for _ in 0..10 {
        work(&Manager::start().unwrap());
    }
    assert_eq!(entries("/proc/self/fd"), before);
    assert!(active_children().is_empty());
}
