//! Many processes, some of which die. The ids are those of the acceptance lines.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::thread;
use std::time::Duration;

use mp_manager::{
    Array, Client, Dict, Error, ErrorKind, List, Lock, Manager, Proxy, Queue, Registry, Value,
};
use mp_process::{Process, StartMethod};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

fn kind_of<T>(result: Result<T, Error>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.kind(),
    }
}

struct Counter(u64);

impl Counter {
    fn new() -> Self {
        Self(0)
    }

    fn increment(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

fn setup(registry: &mut Registry) {
    registry.class().constructor(Counter::new).method(Counter::increment);
}

type Shared = (List<u64>, Dict<String, u64>, Value<u64>, Array<u64>, Proxy<Counter>);

fn increment(rounds: u64, (list, dict, value, array, counter): Shared) {
    for _ in 0..rounds {
        list.update(0, |n| *n += 1).unwrap();
        dict.update(&"n".to_owned(), |n| Some(n.unwrap_or(0) + 1)).unwrap();
        value.update(|n| *n += 1).unwrap();
        array.update(0, |n| *n += 1).unwrap();
        counter.call(Counter::increment, ()).unwrap();
    }
}

#[test]
fn no_update_is_lost() {
    // W-51
    const ROUNDS: u64 = 40;
    let manager = Manager::builder().register(setup).start().unwrap();
    let (list, array) = (manager.list_from(&[0]).unwrap(), manager.array(&[0]).unwrap());
    let (dict, value) = (manager.dict().unwrap(), manager.value(&0).unwrap());
    let counter = manager.create(Counter::new, ()).unwrap();
    let shared: Shared = (list, dict, value, array, counter);
    let children: Vec<_> = (0..6)
        .map(|index| {
            let method = StartMethod::ALL[index % 2];
            let process = Process::new(increment, (ROUNDS, shared.clone()));
            process.start_method(method).start().unwrap()
        })
        .collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    let (list, dict, value, array, counter) = shared;
    let total = 6 * ROUNDS;
    assert_eq!(list.get(0).unwrap(), Some(total));
    assert_eq!(dict.get(&"n".to_owned()).unwrap(), Some(total));
    assert_eq!(value.get().unwrap(), total);
    assert_eq!(array.get(0).unwrap(), Some(total));
    assert_eq!(counter.call(Counter::increment, ()).unwrap(), total + 1);
}

fn make_and_fill(client: Client) -> (List<Queue<String>>, Dict<u8, List<u8>>) {
    let queue = client.queue().unwrap();
    queue.put(&"from the child".to_owned()).unwrap();
    let list = client.list_from(&[queue]).unwrap();
    let dict = client.dict().unwrap();
    dict.insert(&1, &client.list_from(&[1, 2]).unwrap()).unwrap();
    (list, dict)
}

#[test]
fn proxies_are_arguments_and_values_and_outlive_their_maker() {
    let manager = Manager::start().unwrap();
    let child = Process::new(make_and_fill, (manager.client(),)).start().unwrap();
    // The proxies are in the value of a process that has ended; nobody else has any.
    child.wait();
    let (list, dict) = child.join().unwrap();
    assert_eq!(list.get(0).unwrap().unwrap().get().unwrap(), "from the child");
    assert_eq!(dict.get(&1).unwrap().unwrap().to_vec().unwrap(), [1, 2]);
    assert_eq!(manager.object_count().unwrap(), 4);
}

fn relay(incoming: Queue<Value<u32>>, outgoing: Queue<Value<u32>>) {
    loop {
        let value = incoming.get().unwrap();
        if value.update(|n| std::mem::replace(n, *n + 1)).unwrap() >= 10 {
            outgoing.put(&value).unwrap();
            break;
        }
        outgoing.put(&value).unwrap();
    }
}

#[test]
fn proxies_travel_through_queues() {
    let manager = Manager::start().unwrap();
    let (there, back) = (manager.queue().unwrap(), manager.queue().unwrap());
    let child = Process::new(relay, (there.clone(), back.clone())).start().unwrap();
    there.put(&manager.value(&0).unwrap()).unwrap();
    let value = loop {
        let value = back.get().unwrap();
        if value.get().unwrap() > 10 {
            break value;
        }
        there.put(&value).unwrap();
    };
    child.join().unwrap();
    assert_eq!(value.get().unwrap(), 11);
}

fn hold(lock: Lock, ready: Queue<()>) {
    let _guard = lock.lock().unwrap();
    ready.put(&()).unwrap();
    loop {
        thread::park();
    }
}

#[test]
fn the_lock_of_a_killed_holder_goes_to_the_next_in_line() {
    // W-54
    let manager = Manager::start().unwrap();
    let lock = manager.lock().unwrap();
    let ready = manager.queue().unwrap();
    for _ in 0..5 {
        let holder = Process::new(hold, (lock.clone(), ready.clone())).start().unwrap();
        ready.get().unwrap();
        assert!(lock.try_lock().unwrap().is_none());
        let clone = lock.clone();
        let waiter = thread::spawn(move || clone.lock().unwrap().owner_died());
        holder.kill().unwrap();
        assert!(waiter.join().unwrap());
        assert!(!lock.lock().unwrap().owner_died());
    }
}

fn stand_in_line(lock: Lock, queue: Queue<u32>, ready: Queue<()>) {
    thread::spawn({
        let (queue, ready) = (queue.clone(), ready.clone());
        move || {
            ready.put(&()).unwrap();
            queue.get()
        }
    });
    ready.put(&()).unwrap();
    let _guard = lock.lock();
    thread::park();
}

#[test]
fn who_is_killed_in_line_takes_nothing() {
    let manager = Manager::start().unwrap();
    let (lock, queue) = (manager.lock().unwrap(), manager.queue::<u32>().unwrap());
    let ready = manager.queue().unwrap();
    let guard = lock.lock().unwrap();
    let args = (lock.clone(), queue.clone(), ready.clone());
    let child = Process::new(stand_in_line, args).start().unwrap();
    ready.get().unwrap();
    ready.get().unwrap();
    thread::sleep(Duration::from_millis(20)); // It should be in both lines by now.
    child.kill().unwrap();
    child.wait();
    queue.put(&7).unwrap();
    assert_eq!(queue.get().unwrap(), 7);
    drop(guard);
    assert!(!lock.lock().unwrap().owner_died());
}

#[test]
fn a_killed_server_ends_every_call() {
    let manager = Manager::start().unwrap();
    let lock = manager.lock().unwrap();
    let queue = manager.queue::<u8>().unwrap();
    let full = manager.queue_bounded::<u8>(1).unwrap();
    full.put(&1).unwrap();
    let guard = lock.lock().unwrap();
    let waiters = [
        thread::spawn({
            let lock = lock.clone();
            move || kind_of(lock.lock())
        }),
        thread::spawn({
            let queue = queue.clone();
            move || kind_of(queue.get())
        }),
        thread::spawn({
            let queue = queue.clone();
            move || kind_of(queue.get_timeout(Duration::from_secs(3600)))
        }),
        thread::spawn(move || kind_of(full.put(&2))),
    ];
    thread::sleep(Duration::from_millis(20)); // Some should be waiting by now.
    signal(manager.pid(), Signal::SIGKILL);
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), ErrorKind::Closed);
    }
    drop(guard);
    assert_eq!(kind_of(lock.lock()), ErrorKind::Closed);
    assert_eq!(kind_of(queue.try_get()), ErrorKind::Closed);
    assert_eq!(kind_of(manager.list::<u8>()), ErrorKind::Closed);
    while manager.is_alive() {
        thread::yield_now();
    }
    assert_eq!(manager.shutdown().unwrap().signal(), Some(9));
}

/// Time enough for a server to end in order, even if it stalls.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn shutdown_is_orderly() {
    // MG-04
    let manager = Manager::builder().shutdown_timeout(LONG).start().unwrap();
    let list = manager.list_from(&[1]).unwrap();
    let queue = manager.queue::<u8>().unwrap();
    let waiter = thread::spawn(move || kind_of(queue.get()));
    assert_eq!(manager.shutdown().unwrap().exit_code(), Some(0));
    assert_eq!(waiter.join().unwrap(), ErrorKind::Closed);
    assert_eq!(kind_of(list.to_vec()), ErrorKind::Closed);
}

#[test]
fn dropping_the_manager_ends_the_server() {
    // MG-04
    let manager = Manager::start().unwrap();
    let client = manager.client();
    let sentinel = manager.sentinel().unwrap().try_clone_to_owned().unwrap();
    drop(manager);
    let ended =
        mp_wire::poll::wait_readable(std::os::fd::AsFd::as_fd(&sentinel), mp_wire::Deadline::NEVER);
    assert!(ended.unwrap());
    assert_eq!(kind_of(client.lock()), ErrorKind::Closed);
}

#[test]
fn ctrl_c_does_not_end_the_server() {
    // MG-22
    let manager = Manager::builder().shutdown_timeout(LONG).start().unwrap();
    let value = manager.value(&1).unwrap();
    for _ in 0..3 {
        signal(manager.pid(), Signal::SIGINT);
        value.update(|n| *n += 1).unwrap();
    }
    assert_eq!(value.get().unwrap(), 4);
    assert!(manager.shutdown().unwrap().success());
}

#[test]
fn shutdown_ends_also_a_server_that_does_not_answer() {
    // MG-22: asked, terminated, killed.
    let timeout = Duration::from_millis(20);
    let manager = Manager::builder().shutdown_timeout(timeout).start().unwrap();
    signal(manager.pid(), Signal::SIGSTOP);
    assert_eq!(manager.shutdown().unwrap().signal(), Some(9));
}

struct Stubborn;

impl Stubborn {
    fn new() -> Self {
        Self
    }

    fn work(&self) {
        loop {
            thread::park();
        }
    }
}

#[test]
fn shutdown_does_not_wait_for_a_method_that_does_not_end() {
    let register = |registry: &mut Registry| {
        registry.class().constructor(Stubborn::new).method(Stubborn::work);
    };
    let builder = Manager::builder().register(register).shutdown_timeout(LONG);
    let manager = builder.start().unwrap();
    let object = manager.create(Stubborn::new, ()).unwrap();
    let caller = thread::spawn(move || kind_of(object.call(Stubborn::work, ())));
    thread::sleep(Duration::from_millis(20)); // The method should be running by now.
    assert!(manager.shutdown().unwrap().success());
    assert_eq!(caller.join().unwrap(), ErrorKind::Closed);
}

fn have_manager(report: List<u32>) {
    let manager = Manager::start().unwrap();
    report.push(&manager.pid()).unwrap();
    loop {
        thread::park();
    }
}

#[test]
fn the_server_ends_with_a_killed_owner() {
    let manager = Manager::start().unwrap();
    let report = manager.list::<u32>().unwrap();
    let owner = Process::new(have_manager, (report.clone(),)).start().unwrap();
    let pid = loop {
        if let Some(pid) = report.get(0).unwrap() {
            break Pid::from_raw(pid.cast_signed());
        }
        thread::sleep(Duration::from_millis(1));
    };
    assert!(kill(pid, None).is_ok());
    owner.kill().unwrap();
    owner.wait();
    // Whoever reaps it may take a moment.
    let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    while state().is_some_and(|stat| !stat.contains(") Z ")) {
        thread::sleep(Duration::from_millis(1));
    }
}

fn leave_proxies(list: List<Value<u8>>, client: Client) {
    let _kept = client.list_from(&[1]).unwrap();
    list.push(&client.value(&1).unwrap()).unwrap();
    std::process::abort();
}

#[test]
fn a_dead_process_keeps_no_objects() {
    // W-53
    let manager = Manager::start().unwrap();
    let list = manager.list().unwrap();
    let child = Process::new(leave_proxies, (list.clone(), manager.client())).start().unwrap();
    child.wait();
    // The list itself, and the value that is in it.
    while manager.object_count().unwrap() != 2 {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(list.pop().unwrap().unwrap().get().unwrap(), 1);
}

#[test]
fn managers_start_by_every_method_that_threads_allow() {
    for method in [StartMethod::Forkserver, StartMethod::Spawn] {
        let manager = Manager::builder().start_method(method).name("objects").start().unwrap();
        assert_eq!(manager.list_from(&[1]).unwrap().to_vec().unwrap(), [1]);
    }
    let forked = Manager::builder().start_method(StartMethod::Fork).start();
    assert_eq!(kind_of(forked), ErrorKind::Start, "a test harness has threads");
}
