//! What must come out the same however the program was built: `builds`.
#![allow(clippy::unwrap_used, reason = "a helper program fails loudly")]

use multiproc::{Pool, Process, StartMethod};

fn check(n: u32) -> u32 {
    assert!(n < 3, "number {n}");
    n
}

fn refuse() {
    panic!("a task refuses");
}

fn deep(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 512]);
    if n == u64::MAX { 0 } else { deep(n + 1) + frame[7] }
}

fn main() {
    for method in StartMethod::ALL {
        let run = |n: u32| Process::new(check, (n,)).start_method(method).start().unwrap().join();
        println!("{method}: {}", run(2).unwrap());
        let error = run(7).unwrap_err();
        let panic = error.panic().unwrap();
        println!("{method}: {}", panic.message());
        println!("{method}: at {}", panic.location().unwrap());
        let too_deep = Process::new(deep, (0,)).name("deep").start_method(method).start().unwrap();
        println!("{method}: {}", too_deep.join().unwrap_err());
    }
    eprintln!("pool: {}", Pool::new(1).unwrap().apply(refuse, ()).unwrap_err());
}
