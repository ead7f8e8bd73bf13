//! A walk through multiprocessing in Rust: processes, a pool, queues, pipes, shared memory, a manager.
//!
//! Run it with `cargo run --release --example tour`.

use std::error::Error;
use std::thread::sleep;
use std::time::{Duration, Instant};

use multiproc::{
    Array, Connection, Event, Manager, Pool, Process, Queue, RawValue, Value, cpu_count,
    current_process, pipe,
};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result {
    processes()?;
    concurrency()?;
    pool()?;
    queues()?;
    pipes()?;
    shared_memory()?;
    manager()
}

fn heading(title: &str) {
    println!("\n-- {title}");
}

// 1. A process runs a function. What it returns comes back from `join`.

fn add(a: i32, b: i32) -> i32 {
    a + b
}

fn sleep_for_ever() {
    loop {
        sleep(Duration::from_secs(3600));
    }
}

fn fail(code: i32) {
    std::process::exit(code);
}

fn processes() -> Result {
    heading("Process: start, join, terminate, exit code");
    let child = Process::new(add, (2, 3)).name("adder").start()?;
    println!("{} has pid {}, we have {}", child.name(), child.pid(), current_process().pid());
    println!("it returned {}", child.join()?);

    let child = Process::new(sleep_for_ever, ()).start()?;
    println!("alive: {}", child.is_alive());
    child.terminate()?;
    println!("terminated: {}", child.wait());

    let child = Process::new(fail, (3,)).start()?;
    println!("exit code: {:?}", child.wait().code());
    Ok(())
}

// 2. Processes run side by side if they are started before any is joined.

fn nap() {
    sleep(Duration::from_millis(200));
}

fn concurrency() -> Result {
    heading("Concurrent, and by mistake sequential");
    let begin = Instant::now();
    let first = Process::new(nap, ()).start()?;
    let second = Process::new(nap, ()).start()?;
    first.join()?;
    second.join()?;
    println!("start, start, join, join: {:.2?} for two naps of 0.2 s", begin.elapsed());

    let begin = Instant::now();
    Process::new(nap, ()).start()?.join()?;
    Process::new(nap, ()).start()?.join()?;
    println!("start, join, start, join: {:.2?}, they did not overlap", begin.elapsed());
    Ok(())
}

// 3. A pool keeps workers and gives them tasks.

fn square(x: u64) -> u64 {
    x * x
}

fn power(base: u64, exponent: u32) -> u64 {
    base.pow(exponent)
}

fn checked_root(x: i64) -> i64 {
    assert!(x >= 0, "{x} has no root");
    x.isqrt()
}

fn pool() -> Result {
    heading("Pool: map, starmap, imap, imap_unordered, apply_async, close, join");
    let pool = Pool::new(cpu_count())?;
    println!("map:            {:?}", pool.map(square, 0..8)?);
    println!("starmap:        {:?}", pool.starmap(power, [(2, 10), (3, 4), (10, 3)])?);

    // Results come while the input is still being read, even from an input without an end.
    let first: Vec<u64> = pool.imap(square, 1..).take(5).collect::<Result<_, _>>()?;
    println!("imap:           {first:?} of an endless input");
    let mut any: Vec<u64> = pool.imap_unordered(square, 0..5).collect::<Result<_, _>>()?;
    any.sort_unstable();
    println!("imap_unordered: {any:?} once sorted");

    let later = pool.apply_async(power, (2, 20))?;
    println!("apply_async:    {}", later.get()?);
    let error = pool.apply(checked_root, (-4,)).err();
    println!("a panic is that task's error: {}", error.map_or_else(String::new, |e| e.to_string()));

    pool.close();
    pool.join()?;
    Ok(())
}

// 4. A queue is for any number of producers and consumers.

fn produce(queue: Queue<(u32, u32)>, producer: u32) -> Result<(), String> {
    for number in 0..20_000 {
        queue.put(&(producer, number)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Takes items until the queue is closed and empty; counts them, and those that came before an earlier one.
fn consume(queue: Queue<(u32, u32)>) -> (u32, u32) {
    let (mut count, mut disorder, mut next) = (0, 0, [0; 2]);
    while let Ok((producer, number)) = queue.get() {
        count += 1;
        disorder += u32::from(number < next[producer as usize]);
        next[producer as usize] = number;
    }
    (count, disorder)
}

fn queues() -> Result {
    heading("Queue: two producers, two consumers");
    let queue = Queue::new()?;
    let consumers = [(); 2].map(|()| Process::new(consume, (queue.clone(),)).start());
    let producers = [0, 1].map(|id| Process::new(produce, (queue.clone(), id)).start());
    for producer in producers {
        producer?.join()??;
    }
    queue.close();
    for consumer in consumers {
        let (count, disorder) = consumer?.join()?;
        println!("a consumer took {count} items, {disorder} out of their producer's order");
    }
    Ok(())
}

// 5. A pipe has two ends, and messages go both ways.

fn shout(connection: Connection<String>) {
    while let Ok(text) = connection.recv() {
        if connection.send(&text.to_uppercase()).is_err() {
            break;
        }
    }
}

fn pipes() -> Result {
    heading("Pipe: both ways");
    let (here, there) = pipe::<String>()?;
    let child = Process::new(shout, (there,)).start()?;
    for text in ["hello", "from the parent"] {
        here.send(&text.to_owned())?;
        println!("sent {text:?}, received {:?}", here.recv()?);
    }
    drop(here); // The child sees the end of the stream.
    child.join()?;
    Ok(())
}

// 6. Values and arrays lie in shared memory. With their lock nothing is lost.

const ROUNDS: u64 = 1_000_000;

fn count_locked(counter: Value<u64>, go: Event) {
    go.wait();
    for _ in 0..ROUNDS {
        counter.update(|n| n + 1).ok();
    }
}

fn count_unlocked(counter: RawValue<u64>, go: Event) {
    go.wait();
    for _ in 0..ROUNDS {
        counter.store(counter.load() + 1);
    }
}

fn fill(array: Array<f64>, from: usize, to: usize) {
    if let Ok(mut array) = array.lock() {
        for (index, place) in array.iter_mut().enumerate().take(to).skip(from) {
            *place = (index as f64).sqrt();
        }
    }
}

fn shared_memory() -> Result {
    heading("Value and Array: with the lock, and without");
    let (counter, go) = (Value::new(0)?, Event::new()?);
    let arguments = || (counter.clone(), go.clone());
    let children = [(); 2].map(|()| Process::new(count_locked, arguments()).start());
    go.set();
    for child in children {
        child?.join()?;
    }
    println!("with the lock:    {} of {}", counter.get()?, 2 * ROUNDS);

    let (counter, go) = (RawValue::new(0)?, Event::new()?);
    let arguments = || (counter.clone(), go.clone());
    let children = [(); 2].map(|()| Process::new(count_unlocked, arguments()).start());
    go.set();
    for child in children {
        child?.join()?;
    }
    let lost = 2 * ROUNDS - counter.load();
    println!("without the lock: {} of {}, {lost} updates lost", counter.load(), 2 * ROUNDS);

    let roots = Array::<f64>::new(1000)?;
    let halves = [(0, 500), (500, 1000)];
    let children = halves.map(|(from, to)| Process::new(fill, (roots.clone(), from, to)).start());
    for child in children {
        child?.join()?;
    }
    println!("an array that two children filled: … {:.3?}", &roots.to_vec()?[997..]);
    Ok(())
}

// 7. A manager keeps objects in a process of its own; everyone has proxies to them.

fn manager() -> Result {
    heading("Manager: a list and a dict");
    let manager = Manager::start()?;
    let list = manager.list::<String>()?;
    let dict = manager.dict::<String, usize>()?;
    let words = ["one", "two", "three"];
    let children = words.map(|word| {
        let args = (word.to_owned(), list.clone(), dict.clone());
        Process::new(note, args).start()
    });
    for child in children {
        child?.join()??;
    }
    let mut seen = list.to_vec()?;
    seen.sort_unstable();
    println!("list: {seen:?}");
    println!("dict: three has {:?} letters", dict.get(&"three".to_owned())?);
    Ok(())
}

fn note(
    word: String,
    list: multiproc::manager::List<String>,
    dict: multiproc::manager::Dict<String, usize>,
) -> Result<(), String> {
    list.push(&word).map_err(|error| error.to_string())?;
    dict.insert(&word, &word.len()).map_err(|error| error.to_string())?;
    Ok(())
}
