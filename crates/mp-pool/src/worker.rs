//! What runs in a worker process.

use mp_process::Panic;
use mp_queue::GetError;
use mp_queue::channel::Channel;
use mp_wire::{Deadline, Fd, Message};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::panic;

use crate::batch::{Batch, Encoder};
use crate::core::Bell;
use crate::entry::{self, Thunk, chain};
use crate::links::{Answer, Doorbell, Order};
use crate::sys;
use crate::task::{self, Line, Run};
use crate::trace;

/// What a worker is given when it is started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Post {
    pub(crate) orders: Channel,
    pub(crate) replies: Channel,
    pub(crate) bell: Doorbell,
    /// The place of the worker in its pool.
    pub(crate) slot: usize,
    /// What runs before the first task, in this order.
    pub(crate) initializers: Vec<Initializer>,
    /// What runs when the worker is let go.
    pub(crate) exit: Option<u64>,
    pub(crate) address_space: Option<u64>,
}

/// A function to run before the first task, and its arguments.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Initializer {
    pub(crate) entry: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<Fd>,
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
    if let Some(bytes) = post.address_space {
        sys::limit_address_space(bytes);
    }
    let line = post.bell.line(post.slot).ok();
    if !live(post, line) {
        // Nothing can be said to the pool any more; that shows in the end of the process.
        std::process::exit(1);
    }
}

/// The life of a worker in whatever it lives; says whether it ended in order.
pub(crate) fn live(post: Post, line: Option<Line>) -> bool {
    let Post { orders, replies, bell, slot, initializers, exit, .. } = post;
    let worker = Worker { replies, bell, line, slot };

    if let Err(message) = initialize(&initializers) {
        return worker.say(&Answer::failed(), message.as_bytes());
    }
    let served = worker.say(&Answer::ready(), &[]) && worker.serve(&orders);
    if let Some(exit) = exit.and_then(|exit| entry::initializer(exit).ok()) {
        // Nobody waits for what becomes of it. If it panics, the report of that is all.
        let _ = exit(&[], &[]);
    }
    served
}

/// Does what comes before the first task.
pub(crate) fn initialize(initializers: &[Initializer]) -> Result<(), String> {
    for Initializer { entry, bytes, fds } in initializers {
        let initialize = entry::initializer(*entry).map_err(|error| chain(&error))?;
        in_task(|| initialize(bytes, fds))?;
    }
    Ok(())
}

struct Worker {
    replies: Channel,
    bell: Doorbell,
    line: Option<Line>,
    slot: usize,
}

impl Worker {
    fn serve(&self, orders: &Channel) -> bool {
        let mut message = Message::default();
        let mut known: Option<(u64, Thunk)> = None;
        // When the unit before was done, if it can count as the time at which the next one begins.
        let mut done = None;
        loop {
            let at_once = match take(orders, &mut message) {
                Ok(at_once) => at_once,
                Err(GetError::Closed) => return true,
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
                self.answer(order.id, (std::mem::replace(&mut start, now), now), &batch, items);
            };
            task::enter(self.line.as_ref(), order.id);
            let range = (order.from, order.end);
            let mut run = Run::new(self.line.as_ref(), order.id, range, since, &mut hand_over);
            let batch = trace::tasks(self.slot, order.id, range, || {
                in_task(|| thunk(&message.bytes, &message.fds, &mut run))
            });
            message.fds.clear();
            message.bytes.clear();
            message.bytes.shrink_to(KEEP);
            let now = sys::now();
            if !self.answer(order.id, (start, now), &batch, left) {
                return false;
            }
            done = (batch.bytes.len() <= SMALL).then_some(now);
        }
    }

    fn answer(&self, id: u64, times: (u64, u64), batch: &Batch, items: u32) -> bool {
        let answer = Answer::done(id, times, items, batch.panicked);
        if let Err(error) = self.send(&answer, &batch.bytes, &batch.fds) {
            let mut failures = Encoder::<()>::new();
            for _ in 0..items {
                failures.push_failure(&format!("the result cannot be sent: {error}"));
            }
            let failures = failures.finish().unwrap_or_default();
            return self.say(&answer, &failures.bytes);
        }
        true
    }

    /// Sends what must be said; the worker ends if it cannot be said.
    fn say(&self, answer: &Answer, bytes: &[u8]) -> bool {
        self.send(answer, bytes, &[]).is_ok()
    }

    fn send(&self, answer: &Answer, bytes: &[u8], fds: &[Fd]) -> Result<(), String> {
        if cfg!(mp_bug = "pool_bell_first") {
            self.bell.ring();
        }
        let sent = self.replies.put(&[bytes, &answer.to_bytes()], fds, Deadline::NEVER);
        sent.map_err(|error| chain(&error))?;
        if !cfg!(mp_bug = "pool_bell_first") {
            self.bell.ring();
        }
        Ok(())
    }
}

/// Waits for an order; says whether it was there at once, so that it was put before this was called.
fn take(orders: &Channel, message: &mut Message) -> Result<bool, GetError> {
    let (taken, at_once) = match orders.get(message, Deadline::NOW) {
        Err(GetError::Empty) => (orders.get(message, Deadline::NEVER), false),
        taken => (taken, true),
    };
    match taken {
        // Its descriptors do not fit into this process. The tasks that look for them fail.
        Err(GetError::Failed(_)) => orders.get_bytes(message, Deadline::NEVER)?,
        taken => taken?,
    }
    Ok(at_once)
}

fn in_task<T>(run: impl FnOnce() -> T) -> T {
    IN_TASK.set(true);
    let result = run();
    IN_TASK.set(false);
    result
}

/// Panics of tasks go to their callers; those of other threads that a task has started are reported as ever.
fn report_only_strangers() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !IN_TASK.get() {
            before(info);
        }
    }));
    Panic::watch();
}
