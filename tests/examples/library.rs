//! A shared library that starts processes, for a program that loads it: `loads`.
#![expect(unsafe_code, reason = "a name that the program can look for")]

use multiproc::process::ErrorKind;
use multiproc::{Process, StartMethod};

fn answer() -> i32 {
    42
}

/// Starts a function of this library by each method; gives how many gave the right answer or the right error.
#[unsafe(no_mangle)]
pub extern "C" fn start_inside() -> i32 {
    let start = |method| Process::new(answer, ()).start_method(method).start();
    let refused = [StartMethod::Forkserver, StartMethod::Spawn].map(|method| match start(method) {
        Err(error) => {
            eprintln!("{method}: {error}");
            error.kind() == ErrorKind::NotInProgram && error.to_string().contains("answer")
        }
        Ok(_) => false,
    });
    // A copy of the process has the library, too.
    let copied = start(StartMethod::Fork).is_ok_and(|child| child.join().is_ok_and(|n| n == 42));
    refused.into_iter().chain([copied]).map(i32::from).sum()
}
