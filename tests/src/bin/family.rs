//! A family of three generations, with a pool and a manager in the second: `family METHOD`.
//!
//! It says `ready` and the ids of child and grandchild, and then each one waits for ever.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper program fails loudly")]

use std::io::Write as _;

use multiproc::{Event, Manager, Pool, Process, Queue, StartMethod};

fn main() {
    let method: StartMethod = std::env::args().nth(1).unwrap().parse().unwrap();
    let pids = Queue::new().unwrap();
    let child = Process::new(second, (method, pids.clone())).start_method(method).start().unwrap();
    let (second, third): (u32, u32) = (child.pid(), pids.get().unwrap());
    println!("ready {second} {third}");
    std::io::stdout().flush().unwrap();
    let error = child.join().unwrap_err();
    println!("{error}");
    forever();
}

fn second(method: StartMethod, pids: Queue<u32>) {
    // By fork while there is one thread; a pool has more.
    let begun = Event::new().unwrap();
    let child = Process::new(third, (begun.clone(),)).start_method(method).start().unwrap();
    begun.wait();
    let pool = Pool::new(2).unwrap();
    let _task = pool.apply_async(forever, ()).unwrap();
    let manager = Manager::start().unwrap();
    let _list = manager.list::<u8>().unwrap();
    pids.put(&child.pid()).unwrap();
    forever();
}

fn third(begun: Event) {
    begun.set();
    forever();
}

fn forever() {
    loop {
        std::thread::park();
    }
}
