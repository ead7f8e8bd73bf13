//! A process that has not been started.

use std::any::type_name;
use std::fmt;

use mp_wire::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::code::Code;
use crate::logging::event;
use crate::outcome::Outcome;
use crate::start::{self, Plan};
use crate::{Child, Error, ErrorKind, StartMethod, Target, context, registry, target};

/// What runs in the child: it makes its target from its own type, decodes the arguments, and calls.
pub(crate) type Entry = fn(Message) -> Outcome;

/// A process to be: what it runs, its name, and how it is started.
///
/// It does nothing until [`start`](Self::start) is called, which gives a [`Child`].
///
/// # Python
///
/// `multiprocessing.Process(target=add, args=(2, 3), name="adder", daemon=True)` is
/// `Process::new(add, (2, 3)).name("adder").daemon(true)`. The value that the function returns comes back from
/// [`Child::join`]. Starting twice, or joining before the start, does not compile.
///
/// # Examples
///
/// ```
/// use mp_process::Process;
///
/// fn add(a: i32, b: i32) -> i32 {
///     a + b
/// }
///
/// let child = Process::new(add, (2, 3)).name("adder").start()?;
/// assert_eq!(child.name(), "adder");
/// assert_eq!(child.join()?, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a process does nothing until it is started"]
pub struct Process<R> {
    work: Work<R>,
    pub(crate) plan: Plan,
}

/// What there is to run.
enum Work<R> {
    /// A function that can go to another image of the program.
    Travels(Box<dyn Travels<R> + Send>),
    /// One that cannot.
    Stays(Box<dyn FnOnce() -> R + Send>),
}

/// A target and its arguments, whatever their types.
trait Travels<R> {
    fn entry(&self) -> Result<u64, Error>;
    fn encode(&self) -> Result<Message, mp_wire::Error>;
    fn call(self: Box<Self>) -> R;
}

struct Call<T, A> {
    target: T,
    args: A,
}

impl<T, A> Travels<T::Output> for Call<T, A>
where
    T: Target<A>,
    T::Output: Serialize,
    A: Serialize + DeserializeOwned,
{
    fn entry(&self) -> Result<u64, Error> {
        Code::<Entry>::new(enter::<T, A>).map(Code::offset).map_err(|error| {
            let target = type_name::<T>();
            let what = format!("`{target}` is part of a shared library, not of the program itself");
            Error::new(error.kind(), what)
        })
    }

    fn encode(&self) -> Result<Message, mp_wire::Error> {
        mp_wire::encode(&self.args)
    }

    fn call(self: Box<Self>) -> T::Output {
        self.target.call(self.args)
    }
}

/// The entry of one type of target, in the child.
fn enter<T, A>(message: Message) -> Outcome
where
    T: Target<A>,
    T::Output: Serialize,
    A: DeserializeOwned,
{
    Outcome::of_call(message, |args: A| make::<T>().call(args))
}

#[expect(unsafe_code, reason = "makes the target from its type")]
fn make<T: Copy>() -> T {
    // SAFETY: a `Call` in the parent held a value of this type, and only `Call::entry` names the caller of this.
    unsafe { target::rebuild() }
}

impl<R> Process<R> {
    /// Makes a process that will call `target` with `args`, a tuple.
    ///
    /// The target is a function, or a closure that captures nothing; one that captures does not compile. The
    /// arguments are serialized when the process starts; handles among them (queues, connections, locks) go along.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::Process;
    ///
    /// let child = Process::new(|a: u64, b: u64| a * b, (6, 7)).start()?;
    /// assert_eq!(child.join()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new<T, A>(target: T, args: A) -> Self
    where
        T: Target<A, Output = R>,
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + 'static,
    {
        Self::with(Work::Travels(Box::new(Call { target, args })), None)
    }

    /// Makes a process that will run a closure with what it captures, as a copy of this process.
    ///
    /// Nothing is serialized on the way in: the copy has the captures already. The value is, on its way back. Such a
    /// process can be started by [`StartMethod::Fork`] alone, so only where this process has one thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::{ErrorKind, Process};
    ///
    /// let words = vec!["copy", "on", "write"];
    /// match Process::fork(move || words.len()).start() {
    ///     Ok(child) => assert_eq!(child.join()?, 3),
    ///     // A test harness has threads.
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Threads),
    /// }
    /// # Ok::<(), mp_process::JoinError>(())
    /// ```
    pub fn fork<F>(function: F) -> Self
    where
        F: FnOnce() -> R + Send + 'static,
        R: Serialize,
    {
        Self::with(Work::Stays(Box::new(function)), Some(StartMethod::Fork))
    }

    fn with(work: Work<R>, method: Option<StartMethod>) -> Self {
        let number = registry::next_name();
        let plan = Plan::new(number, method);
        Self { work, plan }
    }

    /// Gives the process a name, for people: in errors, for itself, and its first 15 bytes in `ps`.
    ///
    /// Without this it is `Process-1`, `Process-2`, and for their children `Process-1:1`.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::Process;
    ///
    /// let child = Process::new(|| (), ()).name("indexer").start()?;
    /// assert_eq!(child.name(), "indexer");
    /// # Ok::<(), mp_process::Error>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.plan.name = Some(name.into());
        self
    }

    /// Says whether the process is a daemon; otherwise it is one if the calling process is.
    ///
    /// When a process ends normally, it ends those of its children that are daemons, and waits for the others.
    ///
    /// # Python
    ///
    /// A daemon may have children here.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::{Process, current_process};
    ///
    /// let child = Process::new(|| current_process().is_daemon(), ()).daemon(true).start()?;
    /// assert!(child.is_daemon());
    /// assert!(child.join()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.plan.daemon = Some(daemon);
        self
    }

    /// Says whether the process may outlive this one; otherwise the kernel ends it with this one, whatever happens.
    ///
    /// A detached process is neither ended nor waited for when this one ends. It leads a session of its own, so that the end of
    /// a terminal is not its end either. While this process lives it is a child like others: it can be joined, and killed.
    /// Its own children end with it.
    ///
    /// # Python
    ///
    /// Every child there outlives a parent that is killed, if nobody sees to it.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::Process;
    ///
    /// let child = Process::new(|| 5, ()).detached(true).start()?;
    /// assert_eq!(child.join()?, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn detached(mut self, detached: bool) -> Self {
        self.plan.detached = detached;
        self
    }

    /// Chooses how the process is started; without this as the program has [chosen](crate::set_start_method), or else by
    /// [`StartMethod::Forkserver`].
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.plan.method = Some(method);
        self
    }

    /// Allows [`StartMethod::Fork`] where this process has several threads.
    ///
    /// # Safety
    ///
    /// The copy has the calling thread alone, and memory as it was in that instant. Whatever another thread held then
    /// is held for ever in the copy: a lock of the user's, of a library, or of `std` (standard output, the environment,
    /// the panic hook), and whatever it was changing is half changed. The caller must know that the function, and all
    /// that it calls, needs nothing of the kind, or that no other thread was near it.
    #[expect(unsafe_code, reason = "the copy of a process with threads breaks what they hold")]
    pub unsafe fn fork_with_threads(mut self) -> Self {
        self.plan.method = Some(StartMethod::Fork);
        self.plan.any_threads = true;
        self
    }

    /// Starts the process.
    ///
    /// # Blocking
    ///
    /// Returns when the process exists. The first start by forkserver also executes the process that forks.
    ///
    /// # If a process dies
    ///
    /// When this process ends, in whatever way, the kernel kills the child. When the process that forks is killed,
    /// another one is executed, and its children go on.
    ///
    /// # Errors
    ///
    /// If there is an error, nothing was started: [`ErrorKind::Encode`] if the arguments do not serialize,
    /// [`ErrorKind::NotInProgram`] if this crate is part of a shared library, [`ErrorKind::Captures`] for a
    /// closure made for `fork` with another method, [`ErrorKind::Threads`] for a fork where there are several,
    /// [`ErrorKind::Program`] if the program cannot be executed once more, [`ErrorKind::Setting`] for something that
    /// the child cannot have, [`ErrorKind::Exhausted`], and [`ErrorKind::Io`].
    pub fn start(self) -> Result<Child<R>, Error>
    where
        R: Serialize + DeserializeOwned,
    {
        let Self { work, mut plan } = self;
        plan.prepare()?;
        let method = plan.method.unwrap_or_else(context::settle);
        plan.method = Some(method);
        let record = match (work, method) {
            (Work::Travels(call), StartMethod::Fork) => {
                start::copy(&plan, Box::new(move || Outcome::of(move || call.call())))?
            }
            (Work::Stays(function), StartMethod::Fork) => {
                start::copy(&plan, Box::new(move || Outcome::of(function)))?
            }
            (Work::Travels(call), _) => {
                let args = call.encode().map_err(|error| {
                    let what =
                        format!("the arguments of process `{}` do not serialize", plan.name());
                    Error::from_wire(what, error)
                })?;
                start::function(&plan, call.entry()?, &args)?
            }
            (Work::Stays(_), method) => {
                let what = format!("a closure made for `fork` cannot be started by `{method}`");
                return Err(Error::new(ErrorKind::Captures, what));
            }
        };
        event!(DEBUG, child = record.name(), child_pid = record.pid(), %method, "process started");
        Ok(Child::new(record, plan.pipes))
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.plan.name())
            .field("daemon", &self.plan.is_daemon())
            .field("start_method", &self.plan.method())
            .finish_non_exhaustive()
    }
}
