//! Does on purpose what the guard and the leak check must find: `mishap hang|descriptor|mapping|zombie|thread|none`.
#![expect(clippy::zombie_processes, reason = "that is the mishap")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper program fails loudly")]

use std::fs::File;
use std::process::{Command, ExitCode};
use std::time::Duration;

use mp_tests::guard;
use mp_tests::leak::LeakCheck;

fn main() -> ExitCode {
    let what = std::env::args().nth(1).expect("a mishap is named");
    if what == "hang" {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        println!("{}", child.id());
        let _guard = guard::limit(Duration::from_millis(200));
        loop {
            std::thread::park();
        }
    }
    let check = LeakCheck::new();
    let kept: Box<dyn std::any::Any> = match what.as_str() {
        "none" => Box::new(()),
        "descriptor" => Box::new(File::open("/proc/self/comm").unwrap()),
        "mapping" => Box::new(mapping()),
        "zombie" => Box::new(Command::new("true").spawn().unwrap()),
        "thread" => Box::new(std::thread::spawn(std::thread::park)),
        _ => panic!("no mishap is called {what}"),
    };
    let leaks = check.leaks(Duration::from_millis(200));
    println!("{}", leaks.join("\n"));
    drop(kept);
    if leaks.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn mapping() -> *mut libc::c_void {
    #![expect(unsafe_code, reason = "std maps no memory")]
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh mapping at an address that the kernel chooses touches no other memory.
    unsafe { libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, flags, -1, 0) }
}
