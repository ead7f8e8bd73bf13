//! What the tests need from the system.
#![expect(unsafe_code, reason = "alarms, signals and raw descriptors")]

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mp_process::{Process, StartMethod, Target};
use mp_wire::{Deadline, Fd, Limits, socket};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn process<T, A>(method: StartMethod, target: T, args: A) -> Process<T::Output>
where
    T: Target<A>,
    T::Output: Serialize + 'static,
    A: Serialize + DeserializeOwned + Send + 'static,
{
    Process::new(target, args).start_method(method)
}

/// Ends this process by `SIGALRM` unless it is done in time; 0 is no limit.
pub(crate) fn limit(seconds: u32) {
    // SAFETY: takes no pointers.
    unsafe { libc::alarm(seconds) };
}

/// What a test must leave as it found it.
pub(crate) struct Traces {
    fds: Vec<String>,
}

impl Traces {
    /// Looks, once the zygote is there, which stays.
    pub(crate) fn here() -> Self {
        process(StartMethod::Forkserver, || (), ()).start().unwrap().join().unwrap();
        Self { fds: descriptors() }
    }

    pub(crate) fn check(&self) {
        // A zygote that took the place of a dead one is reaped with it.
        process(StartMethod::Forkserver, || (), ()).start().unwrap().join().unwrap();
        assert!(mp_process::active_children().is_empty(), "{:?}", mp_process::active_children());
        assert_eq!(descriptors().len(), self.fds.len(), "{:?}\n{:?}", self.fds, descriptors());
        let children: Vec<_> = children().into_iter().map(|pid| (pid, comm(pid))).collect();
        assert!(children.iter().all(|(_, name)| name == "mp-zygote"), "{children:?}");
        assert_eq!(children.len(), 1, "{children:?}");
    }
}

/// The open descriptors of this process, without the one that looks.
fn descriptors() -> Vec<String> {
    let open = numbers();
    let named = |fd: &RawFd| fs::read_link(format!("/proc/self/fd/{fd}"));
    open.iter().filter_map(|fd| Some(format!("{fd} {}", named(fd).ok()?.display()))).collect()
}

/// The numbers of the open descriptors.
pub(crate) fn numbers() -> BTreeSet<RawFd> {
    let listed: Vec<RawFd> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .collect();
    // SAFETY: takes no pointers.
    let open = |fd: &RawFd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0;
    listed.into_iter().filter(open).collect()
}

/// The processes whose parent this one is, dead or alive.
pub(crate) fn children() -> Vec<u32> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let lists =
        tasks.map(|task| fs::read_to_string(task.unwrap().path().join("children")).unwrap());
    lists
        .flat_map(|list| {
            list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()
        })
        .collect()
}

pub(crate) fn comm(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// The zygote of this process.
pub(crate) fn zygote() -> u32 {
    process(StartMethod::Forkserver, || (), ()).start().unwrap().join().unwrap();
    children().into_iter().find(|&pid| comm(pid) == "mp-zygote").expect("a zygote")
}

pub(crate) fn signal(pid: u32, signal: i32) {
    // SAFETY: takes no pointers.
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0);
}

/// Says whether a process exists that has not ended.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Waits until something is so. The test as a whole has a limit.
pub(crate) fn until(what: impl Fn() -> bool) {
    while !what() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How often to try what is a matter of chance.
pub(crate) fn trials(few: u32) -> u32 {
    let said = std::env::var("MP_PROCESS_TRIALS").ok();
    said.and_then(|text| text.parse().ok()).unwrap_or(few)
}

/// The processes that were executed with a variable, and their copies.
pub(crate) fn with_variable(variable: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap();
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|text| text == variable.as_bytes())
        })
        .filter(|&pid| runs(pid))
        .collect()
}

pub(crate) fn idle() {
    loop {
        std::thread::park();
    }
}

/// A socket pair whose one end a child tells something on.
pub(crate) fn pair() -> (Fd, Fd) {
    let (a, b) = socket::pair().unwrap();
    (a.into(), b.into())
}

pub(crate) fn tell(socket: &Fd, text: &str) {
    socket::send(socket, text.as_bytes(), &[], Deadline::NEVER).unwrap();
}

pub(crate) fn hear(socket: &Fd) -> Option<String> {
    let message = socket::recv(socket, Limits::default(), Deadline::NEVER).ok()?;
    Some(String::from_utf8(message.bytes).unwrap())
}

/// This program as a helper, with its output in a pipe.
pub(crate) fn helper(name: &str, method: StartMethod) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--helper", name, method.as_str()]).stdout(Stdio::piped());
    command
}

/// Runs this program as a helper, which must succeed; gives its output.
pub(crate) fn succeeds(name: &str, method: StartMethod) -> String {
    let output = helper(name, method).output().unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A descriptor that an executed program would inherit, with a high number.
pub(crate) fn inheritable(fd: &OwnedFd, above: RawFd) -> OwnedFd {
    // SAFETY: takes no pointers.
    let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD, above) };
    assert!(copy >= above);
    // SAFETY: the call has just opened it.
    unsafe { OwnedFd::from_raw_fd(copy) }
}

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

/// Counts the signals of a kind from now on; calls are interrupted by them.
pub(crate) fn count_signals(signal: i32) {
    extern "C" fn count(_: i32) {
        SIGNALS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: all zeroes is a valid `sigaction`: no flags, so that calls are interrupted.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = count as extern "C" fn(i32) as usize;
    // SAFETY: the handler only adds to an atomic.
    unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
}

/// How many signals were counted.
pub(crate) fn counted() -> usize {
    SIGNALS.load(Ordering::Relaxed)
}

/// Sets what a signal does back to what it does in a fresh process.
pub(crate) fn default_signal(signal: i32) {
    // SAFETY: runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Interrupts this process by a signal every millisecond while a function runs.
pub(crate) fn interrupted(function: impl FnOnce()) {
    count_signals(libc::SIGUSR1);
    let me = std::process::id();
    // Another process sends them: this one must have one thread.
    let storm = process(
        StartMethod::Spawn,
        |pid: u32| loop {
            signal(pid, libc::SIGUSR1);
            std::thread::sleep(Duration::from_millis(1));
        },
        (me,),
    );
    let storm: mp_process::Child<()> = storm.start().unwrap();
    let before = counted();
    until(|| counted() > before);
    function();
    storm.kill().unwrap();
    storm.wait();
}

/// A terminal: the side of the keyboard, and the side of the program.
pub(crate) fn terminal() -> (std::fs::File, OwnedFd) {
    let (mut keyboard, mut program) = (-1, -1);
    let (name, how, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
    // SAFETY: room for two numbers; null asks for neither a name nor settings.
    let opened = unsafe { libc::openpty(&mut keyboard, &mut program, name, how, size) };
    assert_eq!(opened, 0);
    // SAFETY: the call has just opened both.
    let [keyboard, program] = [keyboard, program].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    // SAFETY: takes no pointers.
    unsafe { libc::fcntl(keyboard.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    (keyboard.into(), program)
}

/// Has a command run in a session of its own, with its standard input as its terminal.
pub(crate) fn on_terminal(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let attach = || {
        // SAFETY: takes no pointers.
        let session = unsafe { libc::setsid() };
        // SAFETY: takes no pointers.
        let attached = unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
        if session < 0 || attached < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: only system calls.
    unsafe { command.pre_exec(attach) };
}

/// Ignores `SIGCHLD` while a function runs.
pub(crate) fn without_sigchld<R>(function: impl FnOnce() -> R) -> R {
    // SAFETY: runs no code of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let result = function();
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    result
}

/// Reaps a child, as a careless library does. Waits for it.
pub(crate) fn steal(pid: u32) {
    // SAFETY: a null pointer for the status is allowed.
    let reaped = unsafe { libc::waitpid(pid as i32, std::ptr::null_mut(), 0) };
    assert_eq!(reaped, pid as i32);
}

/// Has a function called when this process exits.
pub(crate) fn at_exit(function: extern "C" fn()) {
    // SAFETY: a function of this program.
    assert_eq!(unsafe { libc::atexit(function) }, 0);
}

/// A fork that this crate knows nothing of; gives the child's number, and 0 in the child.
pub(crate) fn raw_fork() -> i32 {
    // SAFETY: this program has one thread.
    unsafe { libc::fork() }
}

/// Ends this process at once.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: takes no pointers.
    unsafe { libc::_exit(code) }
}

/// Sets the mask for new files, and gives the one before.
pub(crate) fn umask(mask: u32) -> u32 {
    // SAFETY: takes no pointers.
    unsafe { libc::umask(mask) }
}

/// Writes to an address where nothing is.
pub(crate) fn segfault() {
    // SAFETY: it is not; that is the point.
    unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
}

/// What a signal does in this process: default, ignored, or something else. Also whether any signal is blocked.
pub(crate) fn signal_state(signal: i32) -> (&'static str, bool) {
    // SAFETY: all zeroes is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: null asks for what is set.
    unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) };
    // SAFETY: all zeroes is a valid `sigset_t`.
    let mut mask: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: null asks for what is set.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, std::ptr::null(), &mut mask) };
    // SAFETY: the call has filled the set.
    let blocked = (1..=31).any(|signal| unsafe { libc::sigismember(&mask, signal) } == 1);
    let what = match action.sa_sigaction {
        libc::SIG_DFL => "default",
        libc::SIG_IGN => "ignored",
        _ => "handled",
    };
    (what, blocked)
}

/// Sets what a signal does and blocks it, for a child to inherit or not.
pub(crate) fn disturb_signal(signal: i32, disturb: bool) {
    let handler = if disturb { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: runs no code of ours.
    unsafe { libc::signal(signal, handler) };
    // SAFETY: all zeroes is an empty set.
    let mut mask: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is initialised.
    unsafe { libc::sigaddset(&mut mask, signal) };
    let how = if disturb { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    // SAFETY: the set is initialised.
    unsafe { libc::sigprocmask(how, &mask, std::ptr::null_mut()) };
}

/// Makes a standard stream be something else; gives a copy of what it was.
pub(crate) fn replace_stream(number: RawFd, with: &OwnedFd) -> OwnedFd {
    // SAFETY: takes no pointers.
    let before = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 10) };
    // SAFETY: a standard stream, which no value owns.
    assert_eq!(unsafe { libc::dup2(with.as_raw_fd(), number) }, number);
    // SAFETY: the first call has just opened it.
    unsafe { OwnedFd::from_raw_fd(before) }
}

/// The limit for core dumps.
pub(crate) fn core_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 1, rlim_max: 0 };
    // SAFETY: writable.
    unsafe { libc::getrlimit(libc::RLIMIT_CORE, &mut limit) };
    limit.rlim_cur
}

/// Closes a number.
pub(crate) fn close(number: RawFd) {
    // SAFETY: a standard stream, which no value owns.
    unsafe { libc::close(number) };
}

/// Waits for a child that was forked by [`raw_fork`].
pub(crate) fn expect_exit(pid: i32, code: i32) {
    let mut status = 0;
    // SAFETY: writable.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, code));
}

/// Blocks a signal in this thread; the function that comes back waits for it.
pub(crate) fn blocked(signal: i32) -> impl FnOnce() {
    // SAFETY: all zeroes is an empty set.
    let mut mask: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is initialised.
    unsafe { libc::sigaddset(&mut mask, signal) };
    // SAFETY: the set is initialised.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &mask, std::ptr::null_mut()) };
    move || {
        let mut which = 0;
        // SAFETY: the set is initialised, and the number writable.
        assert_eq!(unsafe { libc::sigwait(&mask, &mut which) }, 0);
    }
}

/// The hard limit for core dumps.
pub(crate) fn hard_core_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writable.
    unsafe { libc::getrlimit(libc::RLIMIT_CORE, &mut limit) };
    limit.rlim_max
}

/// The priority of this process.
pub(crate) fn nice() -> i32 {
    // SAFETY: takes no pointers.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

/// The user, the group, and the other groups of this process.
pub(crate) fn ids() -> (u32, u32, Vec<u32>) {
    let mut groups = [0; 64];
    // SAFETY: as many writable numbers as it says.
    let count = unsafe { libc::getgroups(64, groups.as_mut_ptr()) };
    // SAFETY: takes no pointers.
    let user = unsafe { libc::geteuid() };
    // SAFETY: takes no pointers.
    let group = unsafe { libc::getegid() };
    (user, group, groups[..count.max(0) as usize].to_vec())
}

/// The process group of this process.
pub(crate) fn group() -> u32 {
    // SAFETY: takes no pointers.
    unsafe { libc::getpgid(0) as u32 }
}

/// The session of this process.
pub(crate) fn session() -> u32 {
    // SAFETY: takes no pointers.
    unsafe { libc::getsid(0) as u32 }
}

/// An epoll that watches one descriptor.
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn of(fd: std::os::fd::BorrowedFd<'_>) -> Self {
        // SAFETY: takes no pointers.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(epoll >= 0);
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        // SAFETY: `event` is readable for the whole call.
        let added =
            unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &mut event) };
        assert_eq!(added, 0);
        // SAFETY: the first call has just opened it.
        Self(unsafe { OwnedFd::from_raw_fd(epoll) })
    }

    /// Says whether it is ready, after so many milliseconds at most; -1 is for ever.
    pub(crate) fn wait(&self, timeout: i32) -> bool {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: room for one event.
        unsafe { libc::epoll_wait(self.0.as_raw_fd(), &mut event, 1, timeout) == 1 }
    }
}
