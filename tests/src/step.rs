//! Processes that are stepped one instruction at a time and killed between two of them.
//!
//! The program that uses this must have one thread and forks its roles itself: a *victim*, which runs one operation
//! under `ptrace` and is killed by `SIGKILL` at a chosen boundary, and *survivors*, which must then get on
//! without any further traffic. They tell each other where they are on a [`Board`] in shared memory.
#![expect(unsafe_code, reason = "fork, ptrace and a board in shared memory")]

use std::panic::{self, AssertUnwindSafe};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst,
};
use std::time::{Duration, Instant};

use crate::proc;

/// How long a survivor may take: generous, for a loaded machine may stall it for a while.
pub const LIVENESS: Duration = Duration::from_secs(20);

/// How long the others may take once one has not got on in time, which fails the run.
const AFTER_A_HANG: Duration = Duration::from_secs(1);

/// The boundary at which a victim is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// After this many *events*: instructions that changed shared memory or the list of held locks, system calls,
    /// and falling asleep. Between two of them all boundaries look the same to the others.
    AfterEvents(u64),
    /// After this many instructions.
    AfterSteps(u64),
}

/// How a victim ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Why it ended.
    pub end: End,
    /// Instructions that it executed inside the operation.
    pub steps: u64,
    /// Events among them.
    pub events: u64,
}

/// Why a victim ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was killed at the chosen boundary.
    Killed,
    /// It was killed there, asleep in the kernel.
    KilledAsleep,
    /// It finished the operation before the boundary.
    Completed,
    /// It fell asleep, and nobody woke it, before the boundary: there is no later one.
    Stuck,
    /// It slept on although somebody should have woken it.
    NotWoken,
    /// It panicked or exited inside the operation.
    Failed,
}

/// What one process tells the others.
#[derive(Debug, Default)]
pub struct Slot {
    /// 0: not there; 1: at its operation; 2: done.
    pub state: AtomicU32,
    /// What the operation returned.
    pub result: AtomicI64,
    /// How many [`values`](Self::values) it has noted.
    pub count: AtomicU32,
    /// What it has seen.
    pub values: [AtomicU64; 16],
    /// Whether the others want it to go on.
    pub go: AtomicU32,
}

impl Slot {
    /// Notes that the operation comes next.
    pub fn ready(&self) {
        self.state.store(1, SeqCst);
    }

    /// Notes the end of the operation.
    pub fn done(&self, result: i64) {
        self.result.store(result, SeqCst);
        self.state.store(2, SeqCst);
    }

    /// Notes a value.
    pub fn note(&self, value: u64) {
        let at = self.count.load(SeqCst);
        if let Some(place) = self.values.get(at as usize) {
            place.store(value, SeqCst);
        }
        self.count.store(at + 1, SeqCst);
    }

    /// The values noted so far.
    #[must_use]
    pub fn noted(&self) -> Vec<u64> {
        let count = self.count.load(SeqCst) as usize;
        self.values.iter().take(count).map(|value| value.load(SeqCst)).collect()
    }

    /// Whether the operation has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state.load(SeqCst) == 2
    }
}

/// Slots in memory that forked processes share.
#[derive(Debug)]
pub struct Board {
    data: NonNull<Data>,
}

#[derive(Debug, Default)]
struct Data {
    phase: AtomicU32,
    slots: [Slot; 8],
}

const BEFORE: u32 = 0;
const INSIDE: u32 = 1;
const AFTER: u32 = 2;
const FAILED: u32 = 3;

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

impl Board {
    /// Makes an empty one; it is never unmapped, for forked processes may hold references.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: a fresh anonymous mapping at an address that the kernel chooses touches no other memory.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<Data>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert!(address != libc::MAP_FAILED, "no memory for a board");
        // Zero bytes are a valid value: all of it is atomics.
        Self { data: NonNull::new(address.cast()).unwrap() }
    }

    fn data(&self) -> &Data {
        // SAFETY: `new` mapped it with this size; it holds atomics alone and stays mapped.
        unsafe { self.data.as_ref() }
    }

    /// One slot.
    #[must_use]
    pub fn slot(&self, index: usize) -> &Slot {
        &self.data().slots[index]
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // SAFETY: `new` mapped it with this size, and references are bounded by the value's life.
        unsafe { libc::munmap(self.data.as_ptr().cast(), size_of::<Data>()) };
    }
}

/// A forked process; it is killed and reaped when dropped.
#[derive(Debug)]
pub struct Role {
    pid: i32,
    reaped: bool,
}

impl Role {
    /// Forks a process that runs `body` and exits without anything that this process would do at its end.
    ///
    /// The program must have one thread.
    pub fn fork(body: impl FnOnce()) -> Self {
        // SAFETY: the program has one thread, as the module asks for.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "no process for a role");
        if pid == 0 {
            let result = panic::catch_unwind(AssertUnwindSafe(body));
            // SAFETY: ends this process at once; nothing of the parent's is flushed or dropped twice.
            unsafe { libc::_exit(if result.is_ok() { 0 } else { 101 }) }
        }
        Self { pid, reaped: false }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until it has said that it is ready and sleeps in the kernel.
    pub fn await_asleep(&self, slot: &Slot) {
        let end = Instant::now() + Duration::from_secs(20);
        while slot.state.load(SeqCst) == 0 || !matches!(proc::state(self.pid), Some('S')) {
            assert!(
                Instant::now() < end,
                "a role does not fall asleep: {}",
                proc::describe(self.pid)
            );
            pause();
        }
    }

    /// Kills it, wherever it is.
    pub fn kill(&mut self) {
        if !self.reaped {
            // SAFETY: no memory is involved; the process is a child that nobody has reaped.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            self.reap();
        }
    }

    /// Waits for its end and gives the status of `waitpid`.
    pub fn reap(&mut self) -> i32 {
        let mut status = 0;
        while !self.reaped {
            // SAFETY: `status` is writable.
            let got = unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
            self.reaped = got == self.pid && (libc::WIFEXITED(status) || libc::WIFSIGNALED(status));
            assert!(got == self.pid || errno() == libc::EINTR, "a role cannot be waited for");
        }
        status
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until `condition` holds, for at most [`LIVENESS`]; says whether it does and how long it took.
pub fn within_liveness(condition: impl FnMut() -> bool) -> (bool, Duration) {
    static HANGS: AtomicBool = AtomicBool::new(false);
    let limit = if HANGS.load(SeqCst) { AFTER_A_HANG } else { LIVENESS };
    let (holds, took) = within(limit, condition);
    HANGS.fetch_or(!holds, SeqCst);
    (holds, took)
}

/// Waits until `condition` holds, for so long at most; says whether it does and how long it took.
pub fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> (bool, Duration) {
    let start = Instant::now();
    loop {
        if condition() {
            return (true, start.elapsed());
        }
        if start.elapsed() > limit {
            return (false, start.elapsed());
        }
        pause();
    }
}

fn pause() {
    // Long enough to leave the core to whom we wait for.
    std::thread::sleep(Duration::from_micros(20));
}

/// A process that waits, stopped, before an operation that it will run step by step.
#[derive(Debug)]
pub struct Victim<'a> {
    board: &'a Board,
    role: Role,
}

/// Runs `body` in a victim up to the boundary and kills it there; see [`Victim::run`].
pub fn run_victim(
    board: &Board,
    kill: Kill,
    body: impl FnOnce(),
    on_sleep: impl FnMut() -> bool,
) -> Stop {
    Victim::start(board, || (), |()| body()).run(kill, on_sleep)
}

impl<'a> Victim<'a> {
    /// Forks a victim, which runs `prepare` at full speed and then stops before `body`.
    ///
    /// `body` should have run before in this process or in `prepare`, for what happens only once to have happened.
    pub fn start<T>(board: &'a Board, prepare: impl FnOnce() -> T, body: impl FnOnce(T)) -> Self {
        tick();
        board.data().phase.store(BEFORE, SeqCst);
        let role = Role::fork(|| {
            let prepared = prepare();
            // SAFETY: asks to be traced by the parent; the other arguments are ignored.
            unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
            // SAFETY: stops this process, which the parent expects.
            unsafe { libc::raise(libc::SIGSTOP) };
            board.data().phase.store(INSIDE, SeqCst);
            let result = panic::catch_unwind(AssertUnwindSafe(|| body(prepared)));
            board.data().phase.store(if result.is_ok() { AFTER } else { FAILED }, SeqCst);
            loop {
                pause();
            }
        });
        let mut status = 0;
        // SAFETY: `status` is writable.
        while unsafe { libc::waitpid(role.pid, &raw mut status, libc::WUNTRACED) } < 0 {}
        assert!(libc::WIFSTOPPED(status), "the victim did not stop at its start");
        Self { board, role }
    }

    /// Runs the operation up to the boundary and kills the victim there.
    ///
    /// When the victim falls asleep before the boundary, `on_sleep` is called; it makes somebody wake the victim and
    /// returns true, or returns false if nobody will.
    pub fn run(self, kill: Kill, mut on_sleep: impl FnMut() -> bool) -> Stop {
        let Self { board, mut role } = self;
        let head = robust_head();
        let mut regions = Regions::find();
        let mut held = read_held(role.pid, head);
        let mut stop = Stop { end: End::Killed, steps: 0, events: 0 };
        let mut inside = false;
        loop {
            match board.data().phase.load(SeqCst) {
                AFTER => stop.end = End::Completed,
                FAILED => stop.end = End::Failed,
                INSIDE if !inside => {
                    inside = true;
                    regions.changed();
                }
                _ => {}
            }
            let boundary = match kill {
                Kill::AfterEvents(events) => stop.events >= events,
                Kill::AfterSteps(steps) => stop.steps >= steps,
            };
            if stop.end != End::Killed || (inside && boundary) {
                break;
            }
            let call = is_system_call(role.pid);
            match single_step(role.pid) {
                Stepped::Done => {}
                Stepped::Gone => {
                    stop.end = End::Failed;
                    role.reaped = true;
                    break;
                }
                Stepped::Asleep => {
                    stop.events += 1;
                    if kill == Kill::AfterEvents(stop.events) {
                        stop.end = End::KilledAsleep;
                        break;
                    }
                    if !on_sleep() {
                        stop.end = End::Stuck;
                        break;
                    }
                    if !wait_step(role.pid) {
                        stop.end = End::NotWoken;
                        break;
                    }
                }
            }
            if inside {
                stop.steps += 1;
                let now = read_held(role.pid, head);
                let other = now != held;
                held = now;
                stop.events += u64::from(regions.changed() || other || call);
            }
        }
        role.kill();
        stop
    }
}

enum Stepped {
    Done,
    Asleep,
    Gone,
}

fn single_step(pid: i32) -> Stepped {
    // SAFETY: the child is stopped under our trace; address and data are not used.
    let result = unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, pid, 0, 0) };
    assert!(result == 0, "the victim cannot be stepped: {}", errno());
    let mut status = 0;
    let mut asleep = 0;
    loop {
        // SAFETY: `status` is writable. The timer that `tick` started interrupts the call if it lasts.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            return if libc::WIFSTOPPED(status) { Stepped::Done } else { Stepped::Gone };
        }
        // A call that is only slow, or waits for its core, is not asleep twice in a row.
        asleep = if proc::state(pid) == Some('S') { asleep + 1 } else { 0 };
        if asleep == 2 {
            return Stepped::Asleep;
        }
    }
}

/// Waits for the end of a step whose victim was asleep; false if it does not wake.
fn wait_step(pid: i32) -> bool {
    let mut status = 0;
    within_liveness(|| {
        // SAFETY: `status` is writable.
        (unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) }) == pid
    })
    .0
}

/// Whether the next instruction of a stopped child is a system call. Its code is at the same place here.
fn is_system_call(pid: i32) -> bool {
    let offset = std::mem::offset_of!(libc::user_regs_struct, rip);
    // SAFETY: reads one register of a child that is stopped under our trace.
    let rip = unsafe { libc::ptrace(libc::PTRACE_PEEKUSER, pid, offset, 0) };
    let at = ptr::with_exposed_provenance::<[u8; 2]>(rip.cast_unsigned() as usize);
    // SAFETY: the child was forked from this process, so that the same code is mapped at this address.
    let code = unsafe { at.read_unaligned() };
    code == [0x0f, 0x05]
}

/// Address of this thread's list of robust locks; it is the same in a forked child.
fn robust_head() -> usize {
    let mut head = 0_usize;
    let mut len = 0_usize;
    // SAFETY: both places are writable and of the size that the call writes.
    let result =
        unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) };
    assert_eq!(result, 0, "no list of robust locks");
    head
}

/// The list of robust locks of a stopped child: first entry, offset, pending entry.
pub(crate) fn read_held(pid: i32, head: usize) -> [usize; 3] {
    read_words(pid, head)
}

/// Reads words of a process; zeroes where it has no memory.
fn read_words<const N: usize>(pid: i32, at: usize) -> [usize; N] {
    let mut words = [0; N];
    let len = size_of_val(&words);
    let local = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: len };
    let remote = libc::iovec { iov_base: ptr::with_exposed_provenance_mut(at), iov_len: len };
    // SAFETY: writes to `words` alone, within their size.
    unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    words
}

/// Says whether the mapping is memory that a pool lends for a large value. That is unmapped at any time, and what is in it is the
/// business of who has the message alone.
fn is_lent(start: usize) -> bool {
    let pid = std::process::id().cast_signed();
    let [_, version_and_kind] = read_words::<2>(pid, start);
    version_and_kind.to_ne_bytes().ends_with(b"loan")
}

/// The shared mappings whose changes count as events, with what was last seen in them.
pub(crate) struct Regions(Vec<(usize, Vec<u8>)>);

/// The beginning of each mapping is watched: all of a segment that small objects share, or headers, positions, and the first
/// records.
static WATCHED: AtomicUsize = AtomicUsize::new(68 * 1024);

/// Watches no more than so many bytes at the beginning of each mapping from now on, for operations that write much after them.
pub fn watch_first(len: usize) {
    WATCHED.store(len, SeqCst);
}

impl Regions {
    pub(crate) fn find() -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let starts = maps.lines().filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (start, end) = fields.next()?.split_once('-')?;
            let shared = fields.next()?.starts_with("rw-s");
            let toy = fields.nth(3)? == "/dev/zero";
            let start = usize::from_str_radix(start, 16).ok()?;
            let end = usize::from_str_radix(end, 16).ok()?;
            let file = line.contains("/memfd:") || line.contains("/dev/shm/");
            let len = WATCHED.load(SeqCst).min(end.checked_sub(start)?);
            let watched = shared && (file || toy) && !is_lent(start);
            watched.then(|| (start, vec![0; len]))
        });
        let mut regions = Self(starts.collect());
        regions.changed();
        regions
    }

    /// Says whether anything has changed since the last call.
    pub(crate) fn changed(&mut self) -> bool {
        let mut changed = false;
        for (start, copy) in &mut self.0 {
            let from = ptr::with_exposed_provenance::<libc::c_void>(*start);
            let (to, len) = (copy.as_mut_ptr().cast(), copy.len());
            // SAFETY: a readable mapping of at least that length, which this process keeps during the trial.
            if unsafe { libc::memcmp(from, to, len) } != 0 {
                changed = true;
                // SAFETY: as above; the copy is private and of that length.
                unsafe { libc::memcpy(to, from, len) };
            }
        }
        changed
    }
}

/// Keeps this process, and those that it forks, on one core.
///
/// There a victim and the one who steps it take turns without waking another core for each step, which is several
/// times faster, and whoever waits sleeps at once instead of looking thousands of times first.
pub fn stay_on_one_core() {
    // SAFETY: zero bytes are a valid, empty set.
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: reads a number.
    let core = unsafe { libc::sched_getcpu() };
    // SAFETY: the number is that of a core, and so within the set.
    unsafe { libc::CPU_SET(usize::try_from(core).unwrap_or(0), &mut one) };
    // SAFETY: the set is readable and of the size given. Where it is refused, all is slower and nothing else.
    unsafe { libc::sched_setaffinity(0, size_of_val(&one), &raw const one) };
}

/// Keeps this process on one core, from 0 on.
pub fn go_to_core(number: usize) {
    // SAFETY: zero bytes are a valid, empty set.
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: a set has room for so many cores, and more.
    unsafe { libc::CPU_SET(number % libc::CPU_SETSIZE as usize, &mut one) };
    // SAFETY: the set is readable and of the size given. Where it is refused, less happens at the same time.
    unsafe { libc::sched_setaffinity(0, size_of_val(&one), &raw const one) };
}

/// Starts, once, the timer that interrupts a wait for a victim that sleeps.
pub(crate) fn tick() {
    static STARTED: OnceLock<()> = OnceLock::new();
    extern "C" fn nothing(_: libc::c_int) {}
    STARTED.get_or_init(|| {
        // SAFETY: zero bytes are a valid `sigaction`: no flags, empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        // SAFETY: the handler does nothing, at any point; both pointers are valid or null.
        unsafe { libc::sigaction(libc::SIGALRM, &raw const action, ptr::null_mut()) };
        let interval = libc::timeval { tv_sec: 0, tv_usec: 5000 };
        let timer = libc::itimerval { it_interval: interval, it_value: interval };
        // SAFETY: sets the timer of this process alone; forked children do not inherit it.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, ptr::null_mut()) };
    });
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
