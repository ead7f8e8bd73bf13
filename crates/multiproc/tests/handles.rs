//! Every handle travels: as an argument by each start method, through a queue, a connection, a pool, and a manager.
//!
//! One bundle holds one handle of each kind. Whoever gets it uses all of them, and the other side looks for the traces.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;

use multiproc::manager::{Dict, List};
use multiproc::pipe::{Receiver, Sender};
use multiproc::wire::Fd;
use multiproc::{
    Array, AtomicValue, Barrier, BoundedSemaphore, ChunkedArray, Condition, Connection, Event,
    JoinableQueue, LifoQueue, Lock, Manager, Once, Pool, PriorityQueue, Process, Queue, RLock,
    RawArray, RawValue, RwLock, Semaphore, ShareableList, SharedMemory, SharedVec, StartMethod,
    Value, pipe, simplex,
};
use serde::{Deserialize, Serialize};

/// What is the same on both sides.
#[derive(Clone, Serialize, Deserialize)]
struct Shared {
    rlock: RLock,
    rwlock: RwLock<u32>,
    semaphore: Semaphore,
    bounded: BoundedSemaphore,
    condition: Condition,
    barrier: Barrier,
    once: Once,
    atomic: AtomicValue<u64>,
    vec: SharedVec<u16>,
    chunked: ChunkedArray<i64>,
    joinable: JoinableQueue<Fd>,
    ordered: PriorityQueue<u8>,
    stack: LifoQueue<u8>,
    shareable: ShareableList,
}

impl Shared {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        Ok(Self {
            rlock: RLock::new()?,
            rwlock: RwLock::new(1)?,
            semaphore: Semaphore::new(0)?,
            bounded: BoundedSemaphore::new(1)?,
            condition: Condition::new()?,
            barrier: Barrier::new(1)?,
            once: Once::new()?,
            atomic: AtomicValue::new(1)?,
            vec: SharedVec::new()?,
            chunked: ChunkedArray::new(4, 2)?,
            joinable: JoinableQueue::new()?,
            ordered: PriorityQueue::new()?,
            stack: LifoQueue::new()?,
            shareable: ShareableList::new([1.into(), "two".into()])?,
        })
    }

    /// Leaves a trace in each that can have one.
    fn use_all(&self) {
        let guards = (self.rlock.lock().unwrap(), self.rlock.lock().unwrap());
        self.condition.notify_all();
        drop(guards);
        *self.rwlock.write().unwrap() += 1;
        self.semaphore.release().unwrap();
        drop(self.bounded.acquire().unwrap());
        assert_eq!(self.barrier.wait().unwrap(), 0);
        self.barrier.abort().unwrap();
        self.once.call_once(|_| ()).unwrap();
        self.atomic.fetch_add(1);
        self.vec.push(5).unwrap();
        self.chunked.set(3, -3).unwrap();
        let null = File::open("/dev/null").unwrap();
        self.joinable.put(&Fd::from(OwnedFd::from(null))).unwrap();
        for number in [2, 1] {
            self.ordered.put(number.into(), &number).unwrap();
            self.stack.put(&number).unwrap();
        }
        self.shareable.set(0, 10).unwrap();
    }

    fn check(&self) {
        assert!(!self.rlock.is_locked() && !self.rlock.is_poisoned());
        assert_eq!(*self.rwlock.read().unwrap(), 2);
        assert_eq!((self.semaphore.value(), self.bounded.value()), (1, 1));
        assert!(self.barrier.is_broken());
        self.once.wait();
        assert_eq!(self.atomic.load(), 2);
        assert_eq!(self.vec.to_vec().unwrap(), [5]);
        assert_eq!(self.chunked.to_vec().unwrap(), [0, 0, 0, -3]);
        assert_eq!(
            self.joinable
                .take()
                .unwrap()
                .done()
                .unwrap()
                .into_owned()
                .map(|fd| File::from(fd).read(&mut [0]).unwrap())
                .unwrap(),
            0
        );
        self.joinable.join().unwrap();
        assert_eq!(self.ordered.drain().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(self.stack.drain().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(self.shareable.get(0).unwrap(), 10.into());
    }
}

#[derive(Serialize, Deserialize)]
struct Bundle {
    shared: Shared,
    queue: Queue<String>,
    queues: Queue<Queue<String>>,
    connection: Connection<u32>,
    sender: Sender<Vec<u8>>,
    value: Value<u64>,
    raw_value: RawValue<i32>,
    array: Array<f64>,
    raw_array: RawArray<u8>,
    lock: Lock,
    event: Event,
    named: SharedMemory,
    file: Fd,
    list: List<String>,
    dict: Dict<String, u32>,
}

/// What stays here of a bundle that was given away.
struct Traces {
    shared: Shared,
    queue: Queue<String>,
    connection: Connection<u32>,
    receiver: Receiver<Vec<u8>>,
    value: Value<u64>,
    raw_value: RawValue<i32>,
    array: Array<f64>,
    raw_array: RawArray<u8>,
    lock: Lock,
    event: Event,
    named: SharedMemory,
    file: File,
    list: List<String>,
    dict: Dict<String, u32>,
}

fn bundle(manager: &Manager) -> (Bundle, Traces) {
    let (connection, there) = pipe().unwrap();
    let (sender, receiver) = simplex().unwrap();
    let queues = Queue::new().unwrap();
    let queue = Queue::new().unwrap();
    queues.put(&queue).unwrap();
    // A name that this process alone could open is not needed: the handle finds it by itself.
    let named = SharedMemory::new(64).unwrap();
    let path = format!("/tmp/multiproc-handles-{}", std::process::id());
    let file = File::options().create(true).truncate(true).write(true).read(true).open(&path);
    let file = file.unwrap();
    std::fs::remove_file(path).unwrap();
    let traces = Traces {
        shared: Shared::new().unwrap(),
        queue,
        connection,
        receiver,
        value: Value::new(1).unwrap(),
        raw_value: RawValue::new(1).unwrap(),
        array: Array::new(3).unwrap(),
        raw_array: RawArray::new(3).unwrap(),
        lock: Lock::new().unwrap(),
        event: Event::new().unwrap(),
        named,
        file,
        list: manager.list().unwrap(),
        dict: manager.dict().unwrap(),
    };
    let bundle = Bundle {
        shared: traces.shared.clone(),
        queue: traces.queue.clone(),
        queues,
        connection: there,
        sender,
        value: traces.value.clone(),
        raw_value: traces.raw_value.clone(),
        array: traces.array.clone(),
        raw_array: traces.raw_array.clone(),
        lock: traces.lock.clone(),
        event: traces.event.clone(),
        named: SharedMemory::open(traces.named.name()).unwrap(),
        file: Fd::from(OwnedFd::from(traces.file.try_clone().unwrap())),
        list: traces.list.clone(),
        dict: traces.dict.clone(),
    };
    (bundle, traces)
}

/// Runs in another process: leaves a trace in each.
fn use_all(bundle: Bundle) -> u32 {
    bundle.shared.use_all();
    bundle.queue.put(&"from there".to_owned()).unwrap();
    bundle.queues.get().unwrap().put(&"through a queue of queues".to_owned()).unwrap();
    bundle.connection.send(&7).unwrap();
    bundle.sender.send(&vec![1, 2, 3]).unwrap();
    bundle.value.update(|value| value + 1).unwrap();
    bundle.raw_value.store(-5);
    bundle.array.set(2, 2.5).unwrap();
    bundle.raw_array.store(1, 9).unwrap();
    drop(bundle.lock.lock().unwrap());
    bundle.named.store(8, 77_u64).unwrap();
    File::from(bundle.file.into_owned().unwrap()).write_all(b"written there").unwrap();
    bundle.list.push(&"item".to_owned()).unwrap();
    bundle.dict.insert(&"key".to_owned(), &5).unwrap();
    bundle.event.set();
    std::process::id()
}

fn use_next(bundles: Queue<Bundle>) -> u32 {
    use_all(bundles.get().unwrap())
}

fn use_sent(bundles: Receiver<Bundle>) -> u32 {
    use_all(bundles.recv().unwrap())
}

fn use_listed(bundles: List<Bundle>) -> u32 {
    use_all(bundles.pop().unwrap().unwrap())
}

impl Traces {
    fn check(mut self, pid: u32) {
        assert_ne!(pid, std::process::id(), "another process did it");
        self.event.wait();
        self.shared.check();
        assert_eq!(self.queue.get().unwrap(), "from there");
        assert_eq!(self.queue.get().unwrap(), "through a queue of queues");
        assert_eq!(self.connection.recv().unwrap(), 7);
        assert_eq!(self.receiver.recv().unwrap(), [1, 2, 3]);
        assert!(self.receiver.recv().is_err(), "the other end is closed with its process");
        assert_eq!(self.value.get().unwrap(), 2);
        assert_eq!(self.raw_value.load(), -5);
        assert_eq!(self.array.to_vec().unwrap(), [0.0, 0.0, 2.5]);
        assert_eq!(self.raw_array.to_vec(), [0, 9, 0]);
        assert!(!self.lock.is_locked() && !self.lock.is_poisoned());
        assert_eq!(self.named.load::<u64>(8).unwrap(), 77);
        let mut text = String::new();
        self.file.rewind().unwrap();
        self.file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "written there");
        assert_eq!(self.list.to_vec().unwrap(), ["item"]);
        assert_eq!(self.dict.get(&"key".to_owned()).unwrap(), Some(5));
    }
}

fn by_start_method(manager: &Manager, method: StartMethod) {
    let (bundle, traces) = bundle(manager);
    let child = Process::new(use_all, (bundle,)).start_method(method).start().unwrap();
    traces.check(child.join().unwrap());
}

fn through_a_queue(manager: &Manager, method: StartMethod) {
    let (bundle, traces) = bundle(manager);
    let bundles = Queue::new().unwrap();
    bundles.put(&bundle).unwrap();
    drop(bundle);
    let child = Process::new(use_next, (bundles,)).start_method(method).start().unwrap();
    traces.check(child.join().unwrap());
}

fn through_a_connection(manager: &Manager, method: StartMethod) {
    let (bundle, traces) = bundle(manager);
    let (sender, receiver) = simplex().unwrap();
    let child = Process::new(use_sent, (receiver,)).start_method(method).start().unwrap();
    sender.send(&bundle).unwrap();
    drop(bundle);
    traces.check(child.join().unwrap());
}

fn through_a_manager(manager: &Manager, method: StartMethod) {
    let (bundle, traces) = bundle(manager);
    let bundles = manager.list().unwrap();
    bundles.push(&bundle).unwrap();
    drop(bundle);
    let child = Process::new(use_listed, (bundles,)).start_method(method).start().unwrap();
    traces.check(child.join().unwrap());
}

fn through_a_pool(manager: &Manager, method: StartMethod) {
    let pool = Pool::builder().workers(1).start_method(method).build().unwrap();
    let (bundle, traces) = bundle(manager);
    let pid = pool.apply(use_all, (bundle,)).unwrap();
    drop(pool);
    traces.check(pid);
}

/// One way to travel.
type Case = fn(&Manager, StartMethod);

fn main() {
    let cases: [(&str, Case); 5] = [
        ("by_start_method", by_start_method),
        ("through_a_queue", through_a_queue),
        ("through_a_connection", through_a_connection),
        ("through_a_manager", through_a_manager),
        ("through_a_pool", through_a_pool),
    ];
    // What `cargo test` and other runners ask of a test program.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let filters: Vec<&String> = arguments.iter().filter(|name| !name.starts_with('-')).collect();
    let wanted = |name: &String| {
        let fits = |filter: &&String| {
            if flag("--exact") { *filter == name } else { name.contains(filter.as_str()) }
        };
        filters.is_empty() || filters.iter().any(fits)
    };
    let mut count = 0;
    let mut manager = None;
    // Fork first: a pool has threads, which a process that forks must not have.
    for method in [StartMethod::Fork, StartMethod::Forkserver, StartMethod::Spawn] {
        for (case_name, case) in cases {
            let name = format!("{method}::{case_name}");
            let impossible = case_name == "through_a_pool" && method == StartMethod::Fork;
            if impossible || flag("--ignored") || !wanted(&name) {
                continue;
            }
            if flag("--list") {
                println!("{name}: test");
                continue;
            }
            case(manager.get_or_insert_with(|| Manager::start().unwrap()), method);
            println!("test {name} ... ok");
            count += 1;
        }
    }
    if !flag("--list") {
        println!("\ntest result: ok. {count} passed; 0 failed");
    }
}
