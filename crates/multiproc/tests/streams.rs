//! A program that has closed its standard streams gets none of ours in their place.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]
#![expect(unsafe_code, reason = "closes the standard streams, as such programs do")]

use std::any::Any;
use std::io::Read;
use std::time::Duration;

use multiproc::pool::Backend;
use multiproc::process::Stdio;
use multiproc::{
    Array, Client, Listener, Lock, Manager, Pool, PriorityQueue, Process, Queue, SharedMemory,
    StartMethod, pipe,
};

const STREAMS: std::ops::RangeInclusive<i32> = 0..=2;

/// Says whether a number is that of an open descriptor.
fn is_open(number: i32) -> bool {
    // SAFETY: takes no pointers.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// Makes one thing after another, and gives those that took the number of a standard stream.
fn program() -> Vec<String> {
    for number in STREAMS {
        // SAFETY: takes no pointers; this process uses none of the three.
        unsafe { libc::close(number) };
    }
    let mut kept: Vec<(&str, Box<dyn Any>)> = Vec::new();
    let mut wrong = Vec::new();
    let mut keep = |what: &'static str, made: Box<dyn Any>| {
        kept.push((what, made));
        wrong.extend(STREAMS.filter(|&at| is_open(at)).map(|at| format!("{at} after {what}")));
    };
    // Children have all three, by each start method.
    let streams = || STREAMS.filter(|&at| is_open(at)).count();
    for method in [StartMethod::Fork, StartMethod::Spawn, StartMethod::Forkserver] {
        let child = Process::new(streams, ()).start_method(method).start().unwrap();
        let count = child.join().unwrap();
        // A copy has what it was copied from, which is nothing.
        assert_eq!(count, if method == StartMethod::Fork { 0 } else { 3 }, "{method:?}");
        keep("a process", Box::new(()));
    }
    let text = || println!("said");
    let child = Process::new(text, ()).stdout(Stdio::piped()).stdin(Stdio::piped());
    let mut child = child.start().unwrap();
    let mut said = String::new();
    child.take_stdout().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "said\n");
    keep("a process on pipes", Box::new(child));
    keep("a queue", Box::new(Queue::<u8>::new().unwrap()));
    keep("an ordered queue", Box::new(PriorityQueue::<u8>::new().unwrap()));
    keep("an array", Box::new(Array::<u8>::new(10).unwrap()));
    keep("a lock", Box::new(Lock::new().unwrap()));
    keep("a named memory", Box::new(SharedMemory::new(100).unwrap()));
    keep("a pipe", Box::new(pipe::<u8>().unwrap()));
    let keyed = Listener::<u8, u8>::builder().key(b"a key").listen().unwrap();
    assert!(keyed.accept_timeout(Duration::ZERO).is_err());
    keep("a listener with a key", Box::new(keyed));
    let listeners = [Listener::<u8, u8>::new(), Listener::bind(("127.0.0.1", 0))];
    for listener in listeners.map(Result::unwrap) {
        keep("a client", Box::new(Client::connect::<u8, u8>(listener.address()).unwrap()));
        keep("an accepted client", Box::new(listener.accept().unwrap()));
        keep("a listener", Box::new(listener));
    }
    keep("a manager", Box::new(Manager::start().unwrap()));
    for backend in [Backend::Processes, Backend::Threads, Backend::Inline] {
        let pool = Pool::builder().workers(2).backend(backend).build().unwrap();
        assert_eq!(pool.map(|x: u32| x + 1, 0..3).unwrap(), [1, 2, 3]);
        keep("a pool", Box::new(pool));
    }
    wrong
}

#[test]
fn closed_standard_streams_stay_closed() {
    let child = Process::new(program, ()).start().unwrap();
    assert_eq!(child.join().unwrap(), [""; 0]);
}
