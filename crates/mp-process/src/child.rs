//! A process that was started.

use std::fmt;
use std::io::{PipeReader, PipeWriter};
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use mp_wire::{Deadline, Message};
use serde::de::DeserializeOwned;

use crate::outcome::{self, Failure, Outcome};
use crate::record::Record;
use crate::settings::Pipes;
use crate::{Error, ExitStatus, JoinError, JoinErrorKind, memory, registry, tree};

/// A process that was started, whose function returns `R`.
///
/// # Dropping
///
/// A handle that is dropped neither waits nor kills: the process goes on, is among [`active_children`] until it ends,
/// and is reaped. When this process ends normally, it waits for the children that are not daemons.
///
/// # Examples
///
/// ```
/// use mp_process::Process;
/// use std::time::Duration;
///
/// let child = Process::new(|| std::thread::sleep(Duration::from_secs(3600)), ()).start()?;
/// assert!(child.is_alive());
/// child.terminate()?;
/// assert_eq!(child.wait().signal(), Some(15));
/// # Ok::<(), mp_process::Error>(())
/// ```
pub struct Child<R> {
    record: Arc<Record>,
    pipes: Pipes,
    /// Another handle has taken the place of this one.
    handed_on: bool,
    value: PhantomData<fn() -> R>,
}

impl<R> Child<R> {
    pub(crate) fn new(record: Arc<Record>, pipes: Pipes) -> Self {
        Self { record, pipes, handed_on: false, value: PhantomData }
    }

    /// The number of the process.
    #[must_use]
    #[doc(alias = "ident")]
    pub fn pid(&self) -> u32 {
        self.record.pid()
    }

    /// The name of the process.
    #[must_use]
    pub fn name(&self) -> &str {
        self.record.name()
    }

    /// Says whether the process was started as a daemon.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.record.is_daemon()
    }

    /// Says whether the process has not ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.record.try_status().is_none()
    }

    /// How the process ended; `None` while it runs.
    ///
    /// # Python
    ///
    /// `p.exitcode` is `child.exit_status().and_then(|status| status.exit_code())`.
    #[must_use]
    #[doc(alias = "exitcode")]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.record.try_status()
    }

    /// Waits for the process to end. Can be called again.
    ///
    /// The value of the function stays for [`join`](Self::join).
    pub fn wait(&self) -> ExitStatus {
        self.record.wait(Deadline::NEVER).unwrap_or(ExitStatus::UNKNOWN)
    }

    /// Waits for the process to end, for `timeout` at most; `None` if it still runs then.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::Process;
    /// use std::time::Duration;
    ///
    /// let child = Process::new(std::thread::sleep, (Duration::from_secs(3600),)).start()?;
    /// assert_eq!(child.wait_timeout(Duration::from_millis(1)), None);
    /// child.interrupt()?;
    /// assert_eq!(child.wait_timeout(Duration::MAX).and_then(|status| status.exit_code()), Some(-2));
    /// # Ok::<(), mp_process::Error>(())
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Option<ExitStatus> {
        self.record.wait(Deadline::after(timeout))
    }

    /// Asks the process to end (`SIGTERM`); no error if it has.
    ///
    /// Its own children end with it.
    ///
    /// # Errors
    ///
    /// The process belongs to another user by now.
    pub fn terminate(&self) -> Result<(), Error> {
        self.record.signal(libc::SIGTERM)
    }

    /// Kills the process (`SIGKILL`); no error if it has ended.
    ///
    /// Its own children end with it.
    ///
    /// # Errors
    ///
    /// The process belongs to another user by now.
    pub fn kill(&self) -> Result<(), Error> {
        self.record.signal(libc::SIGKILL)
    }

    /// Interrupts the process (`SIGINT`), as Ctrl-C does; no error if it has ended.
    ///
    /// # Errors
    ///
    /// The process belongs to another user by now.
    pub fn interrupt(&self) -> Result<(), Error> {
        self.record.interrupt()
    }

    /// Asks the process to end (`SIGTERM`), gives it so much time, then kills it (`SIGKILL`).
    ///
    /// # Blocking
    ///
    /// Until the process has ended: `grace`, and then as long as the kernel takes.
    ///
    /// # Errors
    ///
    /// The process belongs to another user by now.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::Process;
    /// use std::time::Duration;
    ///
    /// let child = Process::new(std::thread::sleep, (Duration::from_secs(3600),)).start()?;
    /// let status = child.terminate_within(Duration::from_secs(5))?;
    /// assert_eq!(status.signal(), Some(15));
    /// # Ok::<(), mp_process::Error>(())
    /// ```
    pub fn terminate_within(&self, grace: Duration) -> Result<ExitStatus, Error> {
        self.record.terminate_within(grace)
    }

    /// Kills the process and all its descendants (`SIGKILL`), also those that this library did not start.
    ///
    /// Each is stopped before its children are looked for, so that none starts another unseen. A descendant whose own
    /// parent has ended is found if the process leads a [group](crate::Process::process_group) that it is still in.
    ///
    /// # Python
    ///
    /// `kill` there leaves grandchildren behind. Here [`kill`](Self::kill) is enough for those that were started by
    /// this library; what a child started with `std::process::Command` takes this.
    ///
    /// # Errors
    ///
    /// One of them belongs to another user by now.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::Process;
    ///
    /// fn shell() {
    ///     let _ = std::process::Command::new("sleep").arg("3600").status();
    /// }
    ///
    /// let child = Process::new(shell, ()).start()?;
    /// child.kill_tree()?;
    /// assert_eq!(child.wait().signal(), Some(9));
    /// # Ok::<(), mp_process::Error>(())
    /// ```
    pub fn kill_tree(&self) -> Result<(), Error> {
        tree::kill(&self.record)
    }

    /// Lets go of a process that has ended; gives the handle back if it runs.
    ///
    /// # Python
    ///
    /// `Process.close` raises `ValueError` for one that runs. After it nothing can be called, by type.
    ///
    /// # Errors
    ///
    /// The handle, if the process has not ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::Process;
    ///
    /// let child = Process::new(|| -> () { loop { std::thread::park() } }, ()).start()?;
    /// let child = child.close().expect_err("it runs");
    /// child.kill()?;
    /// child.wait();
    /// assert!(child.close().is_ok());
    /// # Ok::<(), mp_process::Error>(())
    /// ```
    pub fn close(self) -> Result<(), Self> {
        if self.is_alive() { Err(self) } else { Ok(()) }
    }

    /// Takes the end of the pipe to the process's standard input, if it was [piped](crate::Stdio::piped).
    pub fn take_stdin(&mut self) -> Option<PipeWriter> {
        self.pipes.stdin.take()
    }

    /// Takes the end of the pipe from the process's standard output, if it was [piped](crate::Stdio::piped).
    pub fn take_stdout(&mut self) -> Option<PipeReader> {
        self.pipes.stdout.take()
    }

    /// Takes the end of the pipe from the process's standard error, if it was [piped](crate::Stdio::piped).
    pub fn take_stderr(&mut self) -> Option<PipeReader> {
        self.pipes.stderr.take()
    }

    /// A descriptor (a pidfd) that can be read, as `poll` and `epoll` say, once the process has ended.
    ///
    /// [`exit_status`](Self::exit_status) may need a moment more.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::Process;
    /// use mp_wire::{Deadline, poll};
    ///
    /// let children = [1, 2].map(|n: u8| Process::new(|n: u8| n, (n,)).start());
    /// let [one, two] = children;
    /// let (one, two) = (one?, two?);
    /// let ended = poll::readable(&[one.sentinel(), two.sentinel()], Deadline::NEVER)?;
    /// assert!(ended.contains(&true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.record.sentinel()
    }

    /// Waits for the process to end, and gives what its function returned.
    ///
    /// # Blocking
    ///
    /// For as long as the process runs. A value that is large does not keep it from ending.
    ///
    /// # Errors
    ///
    /// There is no value: the function panicked, the process exited or was killed before it returned, or the value or
    /// the arguments did not travel. See [`JoinErrorKind`].
    pub fn join(mut self) -> Result<R, JoinError>
    where
        R: DeserializeOwned,
    {
        let status = self.wait();
        self.take(status)
    }

    /// As [`join`](Self::join), for `timeout` at most; `None` if the process still runs then.
    ///
    /// Nothing is lost by a timeout: join again. The value is given once.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join); [`JoinErrorKind::AlreadyJoined`] after a call that gave the value.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::Process;
    /// use std::time::Duration;
    ///
    /// fn slow() -> u8 {
    ///     std::thread::sleep(Duration::from_millis(50));
    ///     7
    /// }
    ///
    /// let mut child = Process::new(slow, ()).start()?;
    /// let value = loop {
    ///     match child.join_timeout(Duration::from_millis(20)) {
    ///         Some(result) => break result?,
    ///         None => println!("still at it"),
    ///     }
    /// };
    /// assert_eq!(value, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn join_timeout(&mut self, timeout: Duration) -> Option<Result<R, JoinError>>
    where
        R: DeserializeOwned,
    {
        let status = self.wait_timeout(timeout)?;
        Some(self.take(status))
    }

    /// Takes the outcome out of the socket of the child, which has ended.
    fn take(&mut self, status: ExitStatus) -> Result<R, JoinError>
    where
        R: DeserializeOwned,
    {
        let message = self.take_message(status)?;
        let name = self.name();
        message.decode().map_err(|cause| JoinError::new(name, JoinErrorKind::Decode(cause), status))
    }

    /// The value as it came.
    fn take_message(&mut self, status: ExitStatus) -> Result<Message, JoinError> {
        let error = |kind| JoinError::new(self.name(), kind, status);
        if !self.record.is_ours() {
            return Err(error(JoinErrorKind::NotParent));
        }
        let Some(life) = registry::take(self.record.serial()) else {
            return Err(error(JoinErrorKind::AlreadyJoined));
        };
        match outcome::receive(&life) {
            Ok(Some(Outcome::Returned(message))) => Ok(message),
            Ok(Some(Outcome::Failed(failure))) => Err(error(match failure {
                Failure::Panicked(panic) => JoinErrorKind::Panicked(panic),
                Failure::Arguments(why) => JoinErrorKind::Arguments(why),
                Failure::Value(why) => JoinErrorKind::Encode(why),
                Failure::Overflow => JoinErrorKind::StackOverflow,
                Failure::Stranger => JoinErrorKind::Stranger,
            })),
            Ok(None) => {
                let memory = status.signal() == Some(libc::SIGKILL)
                    && !self.record.was_killed()
                    && memory::explains();
                Err(JoinError::silent(self.name(), status, memory))
            }
            Err(cause) => Err(error(JoinErrorKind::Decode(cause))),
        }
    }

    /// As [`join`](Self::join), without the value.
    pub(crate) fn finish(mut self) -> Result<(), JoinError> {
        let status = self.wait();
        self.take_message(status).map(drop)
    }

    /// The same child, whatever it returns.
    pub(crate) fn untyped(mut self) -> Child<()> {
        let pipes = std::mem::take(&mut self.pipes);
        self.handed_on = true;
        Child::new(Arc::clone(&self.record), pipes)
    }
}

impl<R> Drop for Child<R> {
    fn drop(&mut self) {
        if self.record.is_ours() && !self.handed_on {
            registry::drop_handle(&self.record);
        }
    }
}

impl<R> AsFd for Child<R> {
    /// The [`sentinel`](Child::sentinel).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sentinel()
    }
}

impl<R> fmt::Debug for Child<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(&self.record, f, "Child")
    }
}

fn debug(record: &Record, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    f.debug_struct(name)
        .field("name", &record.name())
        .field("pid", &record.pid())
        .field("daemon", &record.is_daemon())
        .field("exit_status", &record.try_status())
        .finish_non_exhaustive()
}

/// The children of this process that have not ended, in the order in which they were started.
///
/// Children that have ended and whose handles were dropped are reaped.
///
/// # Examples
///
/// ```
/// use mp_process::{Process, active_children};
///
/// let child = Process::new(|| -> () { loop { std::thread::park() } }, ()).daemon(true).start()?;
/// let pid = child.pid();
/// drop(child);
/// let child = active_children().into_iter().find(|child| child.pid() == pid).expect("it runs");
/// child.kill()?;
/// child.wait();
/// assert!(active_children().iter().all(|child| child.pid() != pid));
/// # Ok::<(), mp_process::Error>(())
/// ```
#[must_use]
pub fn active_children() -> Vec<ActiveChild> {
    registry::alive().into_iter().map(ActiveChild).collect()
}

/// A child of this process, whatever its function returns, as [`active_children`] lists them.
#[derive(Clone)]
pub struct ActiveChild(Arc<Record>);

impl ActiveChild {
    /// The number of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// The name of the process.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Says whether the process was started as a daemon.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.0.is_daemon()
    }

    /// Says whether the process has not ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.0.try_status().is_none()
    }

    /// How the process ended; `None` while it runs.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.0.try_status()
    }

    /// Waits for the process to end.
    pub fn wait(&self) -> ExitStatus {
        self.0.wait(Deadline::NEVER).unwrap_or(ExitStatus::UNKNOWN)
    }

    /// Waits for the process to end, for `timeout` at most; `None` if it still runs then.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<ExitStatus> {
        self.0.wait(Deadline::after(timeout))
    }

    /// Asks the process to end (`SIGTERM`); no error if it has.
    ///
    /// # Errors
    ///
    /// The process belongs to another user by now.
    pub fn terminate(&self) -> Result<(), Error> {
        self.0.signal(libc::SIGTERM)
    }

    /// Kills the process (`SIGKILL`); no error if it has ended.
    ///
    /// # Errors
    ///
    /// The process belongs to another user by now.
    pub fn kill(&self) -> Result<(), Error> {
        self.0.signal(libc::SIGKILL)
    }

    /// Asks the process to end (`SIGTERM`), gives it so much time, then kills it (`SIGKILL`).
    ///
    /// # Errors
    ///
    /// The process belongs to another user by now.
    pub fn terminate_within(&self, grace: Duration) -> Result<ExitStatus, Error> {
        self.0.terminate_within(grace)
    }

    /// Kills the process and all its descendants, as [`Child::kill_tree`] does.
    ///
    /// # Errors
    ///
    /// One of them belongs to another user by now.
    pub fn kill_tree(&self) -> Result<(), Error> {
        tree::kill(&self.0)
    }

    /// Interrupts the process (`SIGINT`), as Ctrl-C does; no error if it has ended.
    ///
    /// # Errors
    ///
    /// The process belongs to another user by now.
    pub fn interrupt(&self) -> Result<(), Error> {
        self.0.interrupt()
    }

    /// A descriptor (a pidfd) that can be read, as `poll` and `epoll` say, once the process has ended.
    #[must_use]
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.0.sentinel()
    }
}

impl AsFd for ActiveChild {
    /// The [`sentinel`](ActiveChild::sentinel).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sentinel()
    }
}

impl fmt::Debug for ActiveChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(&self.0, f, "ActiveChild")
    }
}
