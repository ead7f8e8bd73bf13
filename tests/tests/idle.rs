//! Who waits sleeps: it does not get a processor until it is woken, whatever it waits for.
#![allow(clippy::unwrap_used, reason = "what goes wrong here must fail the test")]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use mp_tests::{guard, proc};
use multiproc::{
    Array, Barrier, BoundedSemaphore, ChunkedArray, Condition, Connection, Event, Lock, Once,
    Process, Queue, RLock, RwLock, Semaphore, SharedVec, Value, pipe,
};
use serde::{Deserialize, Serialize};

/// How long nothing may happen. What looked again every 100 ms would have done so by then.
const WATCHED: Duration = Duration::from_millis(350);

/// How long it may take until they all sleep.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the children wait for; the parent has what can be held.
#[derive(Serialize, Deserialize)]
struct Things {
    lock: Lock,
    rlock: RLock,
    rwlock: RwLock<u64>,
    value: Value<u64>,
    array: Array<u64>,
    chunked: ChunkedArray<u64>,
    vec: SharedVec<u64>,
    semaphore: Semaphore,
    bounded: BoundedSemaphore,
    condition: Condition,
    event: Event,
    barrier: Barrier,
    once: Once,
    queue: Queue<u64>,
    pipe: Connection<u64>,
}

const KINDS: [&str; 17] = [
    "lock",
    "rlock",
    "read",
    "write",
    "value",
    "array",
    "chunks",
    "vec",
    "semaphore",
    "bounded semaphore",
    "condition",
    "event",
    "barrier",
    "once to be done",
    "once",
    "queue",
    "pipe",
];

fn wait_for(things: Things, kind: usize, ready: Queue<usize>) {
    ready.put(&kind).unwrap();
    match KINDS[kind] {
        "lock" => drop(things.lock.lock()),
        "rlock" => drop(things.rlock.lock()),
        "read" => drop(things.rwlock.read()),
        "write" => drop(things.rwlock.write()),
        "value" => drop(things.value.update(|value| value + 1)),
        "array" => drop(things.array.fill(1)),
        "chunks" => drop(things.chunked.lock(2..6)),
        "vec" => drop(things.vec.push(1)),
        "semaphore" => drop(things.semaphore.acquire()),
        "bounded semaphore" => drop(things.bounded.acquire()),
        "condition" => {
            let own = Lock::new().unwrap();
            drop(things.condition.wait(own.lock().unwrap()));
        }
        "event" => things.event.wait(),
        "barrier" => drop(things.barrier.wait()),
        "once to be done" => things.once.wait(),
        "once" => drop(things.once.call_once(|_| ())),
        "queue" => drop(things.queue.get()),
        "pipe" => drop(things.pipe.recv()),
        other => panic!("nobody waits for {other}"),
    }
    panic!("nobody has woken it");
}

/// How long the threads of a process have had a processor, and how often.
fn turns(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut turns: Vec<String> = tasks
        .map(|task| {
            let file = task.unwrap().path().join("schedstat");
            // Time on a processor, time before it, turns. The second is not the process's doing.
            let line = fs::read_to_string(&file).unwrap();
            let fields: Vec<&str> = line.split_whitespace().collect();
            format!("{}: {} ns in {} turns", file.display(), fields[0], fields[2])
        })
        .collect();
    turns.sort();
    turns
}

/// Linux before 6.2 may swallow the news of a death, so that who waits for a lock looks every 100 ms.
fn may_look_now_and_then() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    (next(), next()) < (6, 2)
}

#[test]
fn who_waits_uses_no_processor() {
    if may_look_now_and_then() {
        return;
    }
    let _guard = guard::limit(Duration::from_secs(100));
    let (_here, there) = pipe().unwrap();
    let things = Things {
        lock: Lock::new().unwrap(),
        rlock: RLock::new().unwrap(),
        rwlock: RwLock::new(0).unwrap(),
        value: Value::new(0).unwrap(),
        array: Array::new(8).unwrap(),
        chunked: ChunkedArray::new(8, 2).unwrap(),
        vec: SharedVec::new().unwrap(),
        semaphore: Semaphore::new(0).unwrap(),
        bounded: BoundedSemaphore::new(1).unwrap(),
        condition: Condition::new().unwrap(),
        event: Event::new().unwrap(),
        barrier: Barrier::new(2).unwrap(),
        once: Once::new().unwrap(),
        queue: Queue::new().unwrap(),
        pipe: there,
    };
    let message = multiproc::wire::encode(&things).unwrap();
    let again = || message.decode::<Things>().unwrap();
    let _held = (
        things.lock.lock().unwrap(),
        things.rlock.lock().unwrap(),
        things.rwlock.write().unwrap(),
        things.value.lock().unwrap(),
        things.array.lock().unwrap(),
        things.chunked.lock(4..).unwrap(),
        things.vec.lock().unwrap(),
        things.bounded.acquire().unwrap(),
    );
    let ready = Queue::new().unwrap();
    let start = |kind| Process::new(wait_for, (again(), kind, ready.clone())).start().unwrap();
    // One at a time is under way to do it, whose place another one waits for.
    let mut children = Vec::new();
    things
        .once
        .call_once(|_| {
            children.extend((0..KINDS.len()).map(start));
            children.iter().for_each(|_| _ = ready.get().unwrap());
            // Each has yet to come from there to its wait, and may be stalled on the way.
            let end = Instant::now() + PATIENCE;
            loop {
                let before: Vec<_> = children.iter().map(|child| turns(child.pid())).collect();
                thread::sleep(WATCHED);
                let mut awake = Vec::new();
                for ((kind, child), before) in KINDS.iter().zip(&children).zip(before) {
                    assert!(child.is_alive(), "who waits for {kind} does not");
                    if proc::state(child.pid().cast_signed()) != Some('S')
                        || turns(child.pid()) != before
                    {
                        awake.push(kind);
                    }
                }
                if awake.is_empty() {
                    break;
                }
                assert!(Instant::now() < end, "who waits for {awake:?} does not sleep");
            }
        })
        .unwrap();
    for child in children {
        child.kill().unwrap();
        assert!(child.join().is_err());
    }
}
