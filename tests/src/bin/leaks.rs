//! Does everything that could leave something behind, each case between two counts: `leaks` runs all of them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper program fails loudly")]

use std::process::Command;
use std::time::Duration;

use mp_tests::guard;
use mp_tests::leak::{self, LeakCheck};
use multiproc::pool::{AsyncResult, ThreadPool};
use multiproc::{
    Array, Connection, Event, Lock, Manager, Pool, Process, Queue, SharedMemory, StartMethod, pipe,
};

fn main() {
    // By fork first: the guard, like a pool, has a thread.
    case("processes by fork", || processes(StartMethod::Fork));
    let _guard = guard::limit(Duration::from_secs(300));
    // What is made once: the server that forks, thread-local buffers, the helper thread of pools.
    processes(StartMethod::Forkserver);
    pools();
    managers();

    case("processes by forkserver", || processes(StartMethod::Forkserver));
    case("processes by spawn", || processes(StartMethod::Spawn));
    case("children that end badly", bad_ends);
    case("handles that are dropped", dropped_handles);
    case("descriptors in children", descriptors_in_children);
    case("one handle ten thousand times", one_handle_many_times);
    case("messages that nobody takes", messages_left);
    case("a backlog", backlog);
    case("pools", pools);
    for (how, end) in ENDS {
        case(how, || (0..200).for_each(|_| end()));
    }
    case("managers", managers);
    case("named memory", named_memory);
}

fn case(name: &str, run: impl Fn()) {
    // Once more before, for what the first time makes for good.
    run();
    let check = LeakCheck::new();
    run();
    let leaks = check.leaks(Duration::from_secs(10));
    assert!(leaks.is_empty(), "{name} leave behind:\n  {}", leaks.join("\n  "));
    println!("{name}: nothing left");
}

fn kill(pid: u32) {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

fn use_all(queue: Queue<Lock>, there: Connection<u32>, array: Array<u64>, event: Event) -> u64 {
    let lock = queue.get().unwrap();
    let _held = lock.lock().unwrap();
    there.send(&7).unwrap();
    event.set();
    array.to_vec().unwrap().iter().sum()
}

fn processes(method: StartMethod) {
    for _ in 0..5 {
        let queue = Queue::new().unwrap();
        queue.put(&Lock::new().unwrap()).unwrap();
        let (here, there) = pipe().unwrap();
        let (array, event) = (Array::from_slice(&[1, 2, 3]).unwrap(), Event::new().unwrap());
        let arguments = (queue, there, array, event.clone());
        let child = Process::new(use_all, arguments).start_method(method).start().unwrap();
        assert_eq!(here.recv().unwrap(), 7);
        event.wait();
        assert_eq!(child.join().unwrap(), 6);
    }
}

fn bad_ends() {
    for method in [StartMethod::Forkserver, StartMethod::Spawn] {
        let child = Process::new(|| panic!("on purpose"), ()).start_method(method);
        let child: multiproc::Child<()> = child.start().unwrap();
        child.join().unwrap_err();
        let child = Process::new(|| std::process::exit(3), ()).start_method(method);
        let child: multiproc::Child<()> = child.start().unwrap();
        child.join().unwrap_err();
        let child = Process::new(std::thread::park, ()).start_method(method).start().unwrap();
        child.kill().unwrap();
        child.join().unwrap_err();
        let child = Process::new(std::thread::park, ()).start_method(method).start().unwrap();
        child.terminate().unwrap();
        child.wait();
        // A start that is refused.
        let queue = Queue::<u8>::new().unwrap();
        let refused = Process::new(|_: Queue<u8>, _: Refused| (), (queue, Refused));
        refused.start_method(method).start().unwrap_err();
    }
}

/// Does not serialize, behind a handle that does.
#[derive(serde::Deserialize)]
struct Refused;

impl serde::Serialize for Refused {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("refused"))
    }
}

fn dropped_handles() {
    for method in [StartMethod::Forkserver, StartMethod::Spawn] {
        // Nobody joins; they are reaped all the same.
        for _ in 0..5 {
            drop(Process::new(|| (), ()).start_method(method).start().unwrap());
        }
        // Never started.
        let queue = Queue::<u8>::new().unwrap();
        let process = Process::new(|_: Queue<u8>| (), (queue,)).start_method(method);
        drop(process);
    }
    let mut live = multiproc::active_children();
    while !live.is_empty() {
        live[0].wait();
        live = multiproc::active_children();
    }
}

/// PR-41, PR-42: children that start at once have the same few descriptors.
fn descriptors_in_children() {
    let count = || leak::descriptors().len();
    let _files: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
    for method in [StartMethod::Forkserver, StartMethod::Spawn] {
        let counts: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..5)
                .map(|_| {
                    scope.spawn(|| Process::new(count, ()).start_method(method).start().unwrap())
                })
                .collect();
            let children = threads.into_iter().map(|thread| thread.join().unwrap());
            let children: Vec<_> = children.collect();
            children.into_iter().map(|child| child.join().unwrap()).collect()
        });
        assert!(counts.iter().all(|&count| count == counts[0]), "{method}: {counts:?}");
        assert!(counts[0] < 10, "{method}: {counts:?}");
    }
}

/// Receiving one handle over and over costs one descriptor and one mapping.
fn one_handle_many_times() {
    let lock = Lock::new().unwrap();
    let queue = Queue::new().unwrap();
    let (here, there) = pipe().unwrap();
    let mut kept = Vec::new();
    let before = (leak::descriptors().len(), leak::mappings().len());
    for _ in 0..5_000 {
        queue.put(&lock).unwrap();
        kept.push(queue.get().unwrap());
        here.send(&lock).unwrap();
        kept.push(there.recv().unwrap());
    }
    let after = (leak::descriptors().len(), leak::mappings().len());
    assert!(after.0 <= before.0 + 1 && after.1 <= before.1 + 1, "{before:?}, then {after:?}");
    let held = kept[9_999].lock().unwrap();
    assert!(lock.is_locked());
    drop(held);
}

/// Handles in messages that are never received go with the queue or the connection.
fn messages_left() {
    let queue = Queue::new().unwrap();
    let (here, there) = pipe().unwrap();
    for _ in 0..20 {
        queue.put(&(Lock::new().unwrap(), Queue::<u8>::new().unwrap())).unwrap();
        here.send(&Event::new().unwrap()).unwrap();
    }
    // An end of a pipe in a queue that is dropped with it.
    let ends = Queue::new().unwrap();
    ends.put(&here).unwrap();
    ends.put(&here).unwrap();
    drop(ends.get().unwrap());
    drop((queue, here, there));
}

/// What a backlog took is given back.
fn backlog() {
    let queue = Queue::new().unwrap();
    let item = vec![1_u8; 10_000];
    for _ in 0..3_000 {
        queue.put(&item).unwrap();
    }
    for _ in 0..3_000 {
        assert_eq!(queue.get().unwrap().len(), 10_000);
    }
}

fn pools() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.map(|x: u32| x + 1, 0..10).unwrap().len(), 10);
    pool.close();
    pool.join().unwrap();
    // Dropped with work, and with a worker that was killed.
    let pool = Pool::new(2).unwrap();
    let begun = Event::new().unwrap();
    let forever = |begun: Event| {
        begun.set();
        std::thread::park();
    };
    let lost = pool.apply_async(forever, (begun.clone(),)).unwrap();
    begun.wait();
    for pid in pool.pids() {
        kill(pid);
    }
    assert!(lost.get().is_err());
    assert_eq!(pool.apply(|| 1, ()).unwrap(), 1);
    let _unfinished = pool.apply_async(std::thread::park, ()).unwrap();
    drop(pool);
    let pool = Pool::new(2).unwrap();
    pool.terminate();
    drop(pool);
}

/// Every way in which a pool comes to its end.
const ENDS: [(&str, fn()); 14] = [
    ("pools that were never used", || drop(Pool::new(2).unwrap())),
    ("pools that are dropped", || drop(used())),
    ("pools that are closed and joined", || {
        let pool = used();
        pool.close();
        pool.join().unwrap();
    }),
    ("pools that are closed alone", || used().close()),
    ("pools that are terminated at work", || {
        let (pool, never) = at_work();
        pool.terminate();
        assert!(never.get().is_err());
    }),
    ("pools that are dropped at work, and results that outlive them", || {
        let (pool, never) = at_work();
        let mut results = pool.imap(|x: u32| x, 0..);
        drop(pool);
        assert!(never.get().is_err() && results.by_ref().last().unwrap().is_err());
    }),
    ("pools whose owner panics", || {
        let owner = std::thread::Builder::new().spawn(|| {
            let _at_work = at_work();
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        owner.unwrap().join().unwrap_err();
    }),
    ("pools whose worker is killed at rest", || {
        let pool = used();
        kill_at_once(pool.pids()[0]);
        assert_eq!(pool.map(|x: u32| x, 0..10).map_or(10, |all| all.len()), 10);
    }),
    ("pools whose worker is killed at work", || {
        let (pool, never) = at_work();
        pool.pids().into_iter().for_each(kill_at_once);
        assert!(never.get().is_err());
        assert_eq!(pool.apply(|| 1, ()).unwrap(), 1);
    }),
    ("pools whose task is killed", || {
        let (_pool, never) = at_work();
        assert!(never.kill() && never.get().is_err());
    }),
    ("pools whose initializer fails", || {
        let fail = || Err::<(), _>("on purpose");
        let pool = Pool::builder().workers(2).initializer(fail, ()).build().unwrap();
        assert!(pool.apply(|| 1, ()).is_err());
    }),
    ("pools that grow, shrink, and replace their workers", || {
        let pool = Pool::builder().workers(1).max_tasks_per_child(2).build().unwrap();
        pool.grow(1).unwrap();
        assert_eq!(pool.map(|x: u32| x, 0..6).unwrap().len(), 6);
        pool.shrink(1).unwrap();
    }),
    ("pools with callbacks", || {
        let pool = Pool::new(1).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let call = move |_: Result<&u32, &_>| sender.send(()).unwrap();
        drop(pool.apply_async_with(|| 1, (), call).unwrap());
        receiver.recv().unwrap();
    }),
    ("pools of threads", || {
        let pool = ThreadPool::new(2).unwrap();
        assert_eq!(pool.map(|x: u32| x, 0..10).unwrap().len(), 10);
    }),
];

/// A pool that has worked.
fn used() -> Pool {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.map(|x: u32| x + 1, 0..10).unwrap().len(), 10);
    drop(pool.apply_async(|| 1, ()).unwrap());
    pool
}

/// A pool with a task that has begun and does not end.
fn at_work() -> (Pool, AsyncResult<()>) {
    let pool = Pool::new(2).unwrap();
    let begun = Event::new().unwrap();
    let forever = |begun: Event| {
        begun.set();
        std::thread::sleep(Duration::from_secs(3600));
    };
    let never = pool.apply_async(forever, (begun.clone(),)).unwrap();
    begun.wait();
    (pool, never)
}

#[expect(unsafe_code, reason = "sends a signal")]
fn kill_at_once(pid: u32) {
    // SAFETY: takes no pointers.
    unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
}

fn managers() {
    let manager = Manager::start().unwrap();
    let list = manager.list().unwrap();
    list.push(&Lock::new().unwrap()).unwrap();
    let count = |list: multiproc::manager::List<Lock>| list.len().unwrap();
    assert_eq!(Process::new(count, (list.clone(),)).start().unwrap().join().unwrap(), 1);
    drop(list);
    manager.shutdown().unwrap();
    // Killed, with a proxy that lives on.
    let manager = Manager::start().unwrap();
    let dict = manager.dict::<u8, u8>().unwrap();
    dict.insert(&1, &2).unwrap();
    kill(manager.pid());
    assert!(dict.len().is_err());
    // Dropped.
    drop(Manager::start().unwrap());
}

fn named_memory() {
    let memory = SharedMemory::new(4096).unwrap();
    let name = memory.name().to_owned();
    let there = |name: String| {
        let memory = SharedMemory::open(&name).unwrap();
        memory.store(0, 5_u32).unwrap();
        // The owner is another process: this end leaves the name alone, even when it is killed.
        kill(std::process::id());
    };
    let child = Process::new(there, (name.clone(),)).start().unwrap();
    child.join().unwrap_err();
    assert_eq!(memory.load::<u32>(0).unwrap(), 5);
    drop(memory);
    assert!(SharedMemory::open(&name).is_err());
}
