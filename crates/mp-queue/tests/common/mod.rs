//! What the tests share: a guard against hangs, and a count of what must not leak.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Runs a test, and ends the process if it hangs: a hang is a failure.
pub(crate) fn guarded<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let result = test();
        let _ = sender.send(());
        result
    });
    if receiver.recv_timeout(Duration::from_secs(120)) == Err(RecvTimeoutError::Timeout) {
        eprintln!("the test hangs");
        std::process::abort();
    }
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
