//! What runs in a worker process.

use mp_process::{Panic, ParentProcess, parent_process};
use mp_queue::channel::Channel;
use mp_queue::{ErrorKind, GetError, PutError};
use mp_shared::fork;
use mp_shared::segment::lingering;
use mp_wire::{Deadline, Fd, Message};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::sync::Once;
use std::{panic, thread};

use crate::batch::{Batch, Encoder};
use crate::core::Bell;
use crate::entry::{self, Thunk, chain};
use crate::growth::Growth;
use crate::links::{Answer, Doorbell, Order};
use crate::place::{self, Place};
use crate::recipe::Recipe;
use crate::sys;
use crate::task::{self, Line, Run};
use crate::{loan, trace};

/// What a worker is given when it is started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Post {
    pub(crate) orders: Channel,
    pub(crate) replies: Channel,
    pub(crate) bell: Doorbell,
    /// The place of the worker in its pool.
    pub(crate) slot: usize,
    pub(crate) recipe: Recipe,
}

impl Post {
    /// Where the worker stands.
    pub(crate) fn place(&self) -> Place {
        Place { number: self.slot, depth: self.recipe.depth }
    }
}

/// Buffers that a large task has left are not kept.
const KEEP: usize = 1 << 20;

/// Orders and results up to this size are passed on in no time to speak of. Where a unit follows another, its beginning is
/// the end of that one then: to look at the clock costs as much as a short task.
const SMALL: usize = 1 << 12;

thread_local! {
    /// A panic in this thread is that of a task, which its caller is told of.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

/// The life of a worker. It ends when its orders are closed and done.
pub(crate) fn work(post: Post) {
    sys::ignore_interrupts();
    sys::no_core_file();
    report_only_strangers();
    lingering::begin();
    if let Some(bytes) = post.recipe.address_space {
        sys::limit_address_space(bytes);
    }
    place::settle(post.place());
    if let Some(signal) = post.recipe.soft_signal {
        sys::be_interrupted_by(signal);
    }
    let line = post.bell.line(post.slot).ok();
    live(post, line, parent_process());
}

/// The life of a worker in whatever it lives. If it has a process of its own, that has a parent.
pub(crate) fn live(post: Post, line: Option<Line>, parent: Option<ParentProcess>) {
    let Post { orders, replies, bell, slot, recipe } = post;
    let growth = RefCell::new(recipe.max_memory.and_then(Growth::new));
    let interrupted = recipe.soft_signal.is_some();
    let generation = fork::generation();
    let worker = Worker { replies, bell, line, slot, growth, interrupted, generation, parent };

    let in_order = match recipe.begin(slot) {
        Err(message) => worker.say(&Answer::failed(), message.as_bytes()),
        Ok(()) => {
            let served = worker.say(&Answer::ready(), &[]) && worker.serve(&orders);
            recipe.finish();
            served
        }
    };
    if !in_order && parent.is_some() {
        // Nothing can be said to the pool any more; that shows in the end of the process. What it has stays as it is: if a task
        // has closed it, the numbers may be somebody else's.
        std::process::exit(1);
    }
}

/// What is to come after an answer.
#[derive(PartialEq)]
enum After {
    GoOn,
    /// The worker has grown too large.
    Leave,
    /// The pool cannot be reached.
    Fail,
}

struct Worker {
    replies: Channel,
    bell: Doorbell,
    line: Option<Line>,
    slot: usize,
    /// Whether it should leave, if it has a bound.
    growth: RefCell<Option<Growth>>,
    /// Units that are asked to stop get a signal.
    interrupted: bool,
    /// The process that it is; a task may have forked another, which is no worker.
    generation: u64,
    /// The end of its parent is to be its own.
    parent: Option<ParentProcess>,
}

impl Worker {
    fn serve(&self, orders: &Channel) -> bool {
        let mut message = Message::default();
        let mut known: Option<(u64, Thunk)> = None;
        // When the unit before was done, if it can count as the time at which the next one begins.
        let mut done = None;
        loop {
            let idle = loan::trim().or_else(|| (!lingering::is_empty()).then_some(loan::KEEP));
            let deadline = idle.map_or(Deadline::NEVER, Deadline::after);
            let at_once = match self.take(orders, &mut message, deadline) {
                Ok(at_once) => at_once,
                Err(GetError::Empty) => {
                    lingering::clear();
                    continue;
                }
                Err(GetError::Closed) => return true,
                // Or a task has closed what its life hangs on: another worker does better than one that may stay for ever.
                Err(_) => return false,
            };
            let Some(order) = Order::take(&mut message.bytes) else { return false };
            let thunk = match known {
                Some((name, thunk)) if name == order.entry => thunk,
                _ => match entry::thunk(order.entry) {
                    Ok(thunk) => thunk,
                    Err(_) => return false,
                },
            };
            known = Some((order.entry, thunk));

            let done_before = done.filter(|_| at_once && message.bytes.len() <= SMALL);
            let since = done_before.unwrap_or_else(sys::now);
            let mut start = since;
            let mut left = order.end - order.from;
            let mut hand_over = |batch: Batch| {
                let now = sys::now();
                let items = batch.items.min(left);
                left -= items;
                // If it fails, so does the last one, after which the worker ends.
                self.answer(order.id, (std::mem::replace(&mut start, now), now), &batch, items)
                    == After::Leave
            };
            task::enter(self.line.as_ref(), order.id);
            let line = self.line.as_ref().filter(|_| self.interrupted);
            if let Some(line) = line {
                line.open(order.id);
            }
            let range = (order.from, order.end);
            let mut run = Run::new(self.line.as_ref(), order.id, range, since, &mut hand_over);
            let batch = trace::tasks(self.slot, order.id, range, || {
                in_task(|| thunk(&message.bytes, &message.fds, &mut run))
            });
            if let Some(line) = line {
                line.shut(order.id);
            }
            message.fds.clear();
            message.bytes.clear();
            message.bytes.shrink_to(KEEP);
            if run.is_over {
                return true;
            }
            let now = sys::now();
            match self.answer(order.id, (start, now), &batch, left) {
                After::GoOn => {}
                After::Leave => return true,
                After::Fail => return false,
            }
            done = (batch.bytes.len() <= SMALL).then_some(now);
        }
    }

    /// Waits for an order; says whether it was there at once, so that it was put before this was called.
    ///
    /// Who is about to wait looks first whether it would end with the pool's process. When that is gone, it could not be told any more.
    fn take(
        &self,
        orders: &Channel,
        message: &mut Message,
        deadline: Deadline,
    ) -> Result<bool, GetError> {
        let (taken, at_once) = match orders.get(message, Deadline::NOW) {
            Err(GetError::Empty) => {
                if self.parent.is_some_and(|parent| !parent.takes_along()) {
                    return Err(GetError::Disconnected);
                }
                (orders.get(message, deadline), false)
            }
            taken => (taken, true),
        };
        match taken {
            // A task has closed what they come by: another worker finds them where they are.
            Err(GetError::Failed(error)) if error.kind() == ErrorKind::Io => {
                return Err(GetError::Failed(error));
            }
            // Its descriptors do not fit into this process. The tasks that look for them fail.
            Err(GetError::Failed(_)) => orders.get_bytes(message, Deadline::NEVER)?,
            taken => taken?,
        }
        Ok(at_once)
    }

    fn answer(&self, id: u64, times: (u64, u64), batch: &Batch, items: u32) -> After {
        if fork::generation() != self.generation {
            // The copy of this process that a task has forked comes out of it, too: the result is not its to give.
            sys::end_at_once();
        }
        let leaving =
            self.growth.borrow_mut().as_mut().is_some_and(|growth| growth.is_beyond(times.1));
        let answer = Answer::done(id, times, items, batch.panicked).leaving(leaving);
        let done = if leaving { After::Leave } else { After::GoOn };
        let Err(error) = self.send(&answer, &batch.bytes, &batch.fds) else { return done };
        let mut failures = Encoder::<()>::new();
        let message = format!("the result cannot be sent: {}", chain(&error));
        for _ in 0..items {
            failures.push_failure(&message);
        }
        let failures = failures.finish().unwrap_or_default();
        let said = self.say(&answer, &failures.bytes);
        // Where the way itself is broken, as by a task that has closed its descriptors, another worker does better.
        let is_broken = matches!(&error, PutError::Failed(error) if error.kind() == ErrorKind::Io);
        if said && !is_broken { done } else { After::Fail }
    }

    /// Sends what must be said; the worker ends if it cannot be said.
    fn say(&self, answer: &Answer, bytes: &[u8]) -> bool {
        self.send(answer, bytes, &[]).is_ok()
    }

    fn send(&self, answer: &Answer, bytes: &[u8], fds: &[Fd]) -> Result<(), PutError> {
        if cfg!(mp_bug = "pool_bell_first") {
            self.bell.ring();
        }
        self.replies.put(&[bytes, &answer.to_bytes()], fds, Deadline::NEVER)?;
        if !cfg!(mp_bug = "pool_bell_first") {
            self.bell.ring();
        }
        Ok(())
    }
}

/// Runs user code whose panic is the caller's to tell of.
pub(crate) fn in_task<T>(run: impl FnOnce() -> T) -> T {
    IN_TASK.set(true);
    let result = run();
    IN_TASK.set(false);
    result
}

/// Panics of tasks go to their callers; those of other threads that a task has started are reported as ever. So are all where a
/// panic aborts: its caller hears of the death of the worker, and nothing of what it said.
fn report_only_strangers() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if cfg!(panic = "abort") || !IN_TASK.get() {
            before(info);
        }
    }));
    Panic::watch();
}

/// Has panics of tasks that run in this process noted with their place. They are reported as ever: whose they are, the hook that the
/// program has set cannot be told.
pub(crate) fn watch_panics() {
    static WATCH: Once = Once::new();
    // Whoever panics may not set a hook.
    if !thread::panicking() {
        WATCH.call_once(Panic::watch);
    }
}
