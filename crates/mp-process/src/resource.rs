//! What a process may use of the machine.

use serde::{Deserialize, Serialize};

/// Something that a process can be given a limit for, with [`Process::limit`](crate::Process::limit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Resource {
    /// Address space, in bytes. Beyond it an allocation fails, which aborts a Rust program (`SIGABRT`).
    Memory,
    /// Time on processors, in seconds. Beyond it comes `SIGXCPU`, and a second later `SIGKILL`.
    CpuTime,
    /// The size of a core file, in bytes: 0 unless said.
    Core,
    /// The stack of the thread that the function runs in, in bytes, as far as there is room beside it.
    Stack,
    /// The length of a file that it writes, in bytes. Beyond it comes `SIGXFSZ`.
    FileSize,
    /// Open descriptors.
    Files,
    /// Processes and threads of the same user.
    Processes,
}
