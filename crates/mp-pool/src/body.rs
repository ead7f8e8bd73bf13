//! What a worker lives in: a process, or a thread of this one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use mp_process::{Child, ExitStatus};
use mp_wire::{Deadline, above_streams, poll};

use crate::Death;
use crate::transport::Usage;

/// Where the workers of a pool live.
///
/// The calls are the same, so that a program can change from one to another by a word. For that, a pool takes every setting
/// of [`Builder`](crate::Builder) whatever its workers are, and checks it; where one is without effect, it says so. The same holds for the settings of a call,
/// as [`Pool::timeout`](crate::Pool::timeout) and [`Builder::timeout`](crate::Builder::timeout).
///
/// A task that panics in this process is reported by the panic hook of the program, which by default prints it; in a worker process it is not.
/// For the place of the panic, the first pool without processes sets a hook that notes it and calls the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// Each in a process of its own.
    #[default]
    Processes,
    /// Each in a thread of this process, see [`ThreadPool`](crate::ThreadPool).
    Threads,
    /// There are none: each task runs in the thread that submits it, before the call returns. For debugging, and where no
    /// processes can be had.
    ///
    /// It is a pool of one worker, which is the thread that calls: where several call at once, one task runs at a time, in order of
    /// priority and then as they came, and [`Pool::join`](crate::Pool::join) waits for those of all threads. A task may use its own pool. What
    /// runs when the pool is terminated goes on to its end, and its result is [`TaskError::Terminated`](crate::TaskError::Terminated) all the same. State
    /// is that of the thread that built the pool.
    Inline,
}

/// A worker's process or thread, to be ended and waited for.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Process(Arc<Child<()>>),
    Thread(Arc<Thread>),
}

/// Two sockets that are connected.
pub(crate) fn stream_pair() -> io::Result<(UnixStream, UnixStream)> {
    let (one, two) = UnixStream::pair()?;
    Ok((above_streams(one.into()).into(), above_streams(two.into()).into()))
}

/// A thread that can be given up, though not ended.
#[derive(Debug)]
pub(crate) struct Thread {
    /// Its other end closes when the thread ends, and is shut when it is given up.
    end: UnixStream,
}

impl Thread {
    pub(crate) fn spawn(run: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (end, its) = stream_pair()?;
        thread::Builder::new().name("PoolThread".to_owned()).spawn(move || {
            run();
            drop(its);
        })?;
        Ok(Self { end })
    }
}

impl Body {
    /// Ends it, or gives it up: it gets no more work, and what it still says is not heard.
    pub(crate) fn kill(&self) {
        match self {
            // It fails only for a worker that has become another user's, and that is beyond us.
            Self::Process(child) => drop(child.kill()),
            Self::Thread(thread) => drop(thread.end.shutdown(std::net::Shutdown::Both)),
        }
    }

    /// Sends it a signal; a thread gets none.
    pub(crate) fn signal(&self, signal: i32) {
        if let Self::Process(child) = self {
            crate::sys::send_signal(child.sentinel(), signal);
        }
    }

    /// Waits for its end, and says how that was.
    pub(crate) fn wait(&self) -> Death {
        match self {
            Self::Process(child) => death(child.wait()),
            Self::Thread(thread) => {
                let _ = poll::wait_readable(thread.end.as_fd(), Deadline::NEVER);
                Death::Exited(0)
            }
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        match self {
            Self::Process(child) => child.is_alive(),
            Self::Thread(thread) => {
                !poll::wait_readable(thread.end.as_fd(), Deadline::NOW).unwrap_or(true)
            }
        }
    }

    /// Readable when it has ended.
    pub(crate) fn sentinel(&self) -> BorrowedFd<'_> {
        match self {
            Self::Process(child) => child.sentinel(),
            Self::Thread(thread) => thread.end.as_fd(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Process(child) => child.pid(),
            Self::Thread(_) => std::process::id(),
        }
    }

    /// What it uses; of a thread, that cannot be told from what the others use.
    pub(crate) fn usage(&self) -> Usage {
        match self {
            Self::Process(child) => crate::sys::usage(child.pid()),
            Self::Thread(_) => Usage::default(),
        }
    }
}

fn death(status: ExitStatus) -> Death {
    match (status.code(), status.signal()) {
        (Some(code), _) => Death::Exited(code),
        (_, Some(signal)) => Death::Killed(signal),
        _ => Death::Unknown,
    }
}
