//! What runs in a worker process.

use std::cell::Cell;
use std::panic;
use std::time::{Duration, Instant};

use mp_process::Panic;
use mp_queue::GetError;
use mp_queue::channel::Channel;
use mp_wire::{Deadline, Fd, Message};
use serde::{Deserialize, Serialize};

use crate::batch::{Batch, Encoder};
use crate::core::Bell;
use crate::entry::{self, Thunk, chain};
use crate::links::{Answer, Doorbell, Order};
use crate::sys;
use crate::task::{self, Line, Run};

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

thread_local! {
    /// A panic in this thread is that of a task, which its caller is told of.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

/// The life of a worker. It ends when its orders are closed and done.
pub(crate) fn work(post: Post) {
    sys::ignore_interrupts();
    sys::no_core_file();
    report_only_strangers();
    let Post { orders, replies, bell, slot, initializers, exit, address_space } = post;
    if let Some(bytes) = address_space {
        sys::limit_address_space(bytes);
    }
    let line = bell.line(slot).ok();
    let worker = Worker { replies, bell, line };

    for Initializer { entry, bytes, fds } in initializers {
        let initialize = entry::initializer(entry).map_err(|error| chain(&error));
        let result = initialize.and_then(|initialize| in_task(|| initialize(&bytes, &fds)));
        if let Err(message) = result {
            return worker.say(&Answer::failed(), message.as_bytes());
        }
    }
    worker.say(&Answer::ready(), &[]);
    worker.serve(&orders);
    if let Some(exit) = exit.and_then(|exit| entry::initializer(exit).ok()) {
        // Nobody waits for what becomes of it. If it panics, the report of that is all.
        let _ = exit(&[], &[]);
    }
}

struct Worker {
    replies: Channel,
    bell: Doorbell,
    line: Option<Line>,
}

impl Worker {
    fn serve(&self, orders: &Channel) {
        let mut message = Message::default();
        let mut known: Option<(u64, Thunk)> = None;
        loop {
            let taken = match orders.get(&mut message, Deadline::NEVER) {
                // Its descriptors do not fit into this process. The tasks that look for them fail.
                Err(GetError::Failed(_)) => orders.get_bytes(&mut message, Deadline::NEVER),
                other => other,
            };
            match taken {
                Ok(()) => {}
                Err(GetError::Closed) => return,
                Err(_) => std::process::exit(1),
            }
            let Some(order) = Order::take(&mut message.bytes) else { std::process::exit(1) };
            let thunk = match known {
                Some((name, thunk)) if name == order.entry => thunk,
                _ => match entry::thunk(order.entry) {
                    Ok(thunk) => thunk,
                    Err(_) => std::process::exit(1),
                },
            };
            known = Some((order.entry, thunk));

            let mut start = Instant::now();
            let mut left = order.end - order.from;
            let mut hand_over = |batch: Batch| {
                let now = Instant::now();
                let items = batch.items.min(left);
                left -= items;
                self.answer(order.id, now - std::mem::replace(&mut start, now), &batch, items);
            };
            task::enter(self.line.as_ref(), order.id);
            let range = (order.from, order.end);
            let mut run = Run::new(self.line.as_ref(), order.id, range, &mut hand_over);
            let batch = in_task(|| thunk(&message.bytes, &message.fds, &mut run));
            message.fds.clear();
            message.bytes.clear();
            message.bytes.shrink_to(KEEP);
            self.answer(order.id, start.elapsed(), &batch, left);
        }
    }

    fn answer(&self, id: u64, took: Duration, batch: &Batch, items: u32) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let answer = Answer::done(id, nanos, items, batch.panicked);
        if let Err(error) = self.send(&answer, &batch.bytes, &batch.fds) {
            let mut failures = Encoder::<()>::new();
            for _ in 0..items {
                failures.push_failure(&format!("the result cannot be sent: {error}"));
            }
            let failures = failures.finish().unwrap_or_default();
            self.say(&answer, &failures.bytes);
        }
    }

    /// Sends what must be said; if it cannot be said, it shows in the end of the process.
    fn say(&self, answer: &Answer, bytes: &[u8]) {
        if self.send(answer, bytes, &[]).is_err() {
            std::process::exit(1);
        }
    }

    fn send(&self, answer: &Answer, bytes: &[u8], fds: &[Fd]) -> Result<(), String> {
        let sent = self.replies.put(&[bytes, &answer.to_bytes()], fds, Deadline::NEVER);
        sent.map_err(|error| chain(&error))?;
        self.bell.ring();
        Ok(())
    }
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
