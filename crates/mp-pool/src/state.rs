//! What a worker keeps from one task to the next: data that all tasks of a call read, and state of its own.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mp_process::Target;
use mp_wire::{Fd, Message};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::batch::{Batch, Encoder};
use crate::entry::{Initialize, Thunk, chain, number, rebuild, run_each};
use crate::task::Run;
use crate::{TaskError, loan, plain};

/// How many values a worker keeps that were broadcast; of those before, the memory is given back.
const KEPT: usize = 4;

/// Length of what stands behind all else: the number of the broadcast, bytes and descriptors of its handle.
const FOOT: usize = 16;

thread_local! {
    static BROADCASTS: RefCell<Vec<(u64, Rc<dyn Any>)>> = const { RefCell::new(Vec::new()) };
    static STATE: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// A value in shared memory that each worker decodes once. Units carry a handle to it:
///
/// ```text
/// arguments | handle | number u64 | bytes of the handle u32 | descriptors of the handle u32
/// ```
pub(crate) struct Broadcast {
    tail: Vec<u8>,
    fds: Vec<Fd>,
}

impl Broadcast {
    pub(crate) fn new<S: Serialize + 'static>(value: &S) -> Result<Self, TaskError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut message = Message::default();
        let bytes = match plain::bytes_of(value) {
            Some(bytes) => bytes,
            None => {
                if !plain::write(value, &mut message.bytes) {
                    mp_wire::encode_into(value, &mut message).map_err(TaskError::encode)?;
                }
                &message.bytes
            }
        };
        let lent = loan::lend_always(bytes);
        let lent = lent.map_err(|error| TaskError::Transport(Arc::new(error)))?;
        let handle = mp_wire::encode(&(bytes.len(), lent, message.fds));
        let handle = handle.map_err(TaskError::encode)?;
        let length = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_ne_bytes();
        let mut tail = handle.bytes;
        let (bytes, fds) = (length(tail.len()), length(handle.fds.len()));
        tail.extend(NEXT.fetch_add(1, Ordering::Relaxed).to_ne_bytes());
        tail.extend(bytes);
        tail.extend(fds);
        Ok(Self { tail, fds: handle.fds })
    }

    /// Puts the handle behind the arguments of a unit.
    pub(crate) fn seal(&self, mut batch: Batch) -> Batch {
        batch.bytes.extend(&self.tail);
        batch.fds.extend(self.fds.iter().cloned());
        batch
    }
}

/// The arguments, and what the handle behind them stands for.
type Opened<'u> = (&'u [u8], &'u [Fd], Rc<dyn Any>);

/// Cuts the handle off, and finds what it stands for.
fn open<'u, S: DeserializeOwned + 'static>(
    bytes: &'u [u8],
    fds: &'u [Fd],
) -> Result<Opened<'u>, String> {
    let nonsense = || "the handle to shared data is damaged".to_owned();
    let cut = || {
        let (bytes, foot) = bytes.split_at_checked(bytes.len().checked_sub(FOOT)?)?;
        let word = |at: usize| Some(u32::from_ne_bytes(foot.get(at..at + 4)?.try_into().ok()?));
        let id = u64::from_ne_bytes(foot.get(..8)?.try_into().ok()?);
        let (len, count) = (word(8)? as usize, word(12)? as usize);
        let (bytes, handle) = bytes.split_at_checked(bytes.len().checked_sub(len)?)?;
        let (fds, its) = fds.split_at_checked(fds.len().checked_sub(count)?)?;
        Some((bytes, fds, handle, its, id))
    };
    let (bytes, fds, handle, its, id) = cut().ok_or_else(nonsense)?;
    let known = BROADCASTS.with_borrow(|all| {
        all.iter().find(|(other, _)| *other == id).map(|(_, value)| Rc::clone(value))
    });
    if let Some(value) = known {
        return Ok((bytes, fds, value));
    }
    let value = read_lent::<S>(handle, its).map_err(|error| chain(&error))?;
    let value: Rc<dyn Any> = Rc::new(value);
    BROADCASTS.with_borrow_mut(|all| {
        if all.len() >= KEPT {
            all.remove(0);
        }
        all.push((id, Rc::clone(&value)));
    });
    Ok((bytes, fds, value))
}

/// Reads the value that a handle stands for.
fn read_lent<S: DeserializeOwned + 'static>(
    handle: &[u8],
    fds: &[Fd],
) -> Result<S, mp_wire::Error> {
    let (len, lent, fds) = mp_wire::decode::<(usize, [Fd; 2], Vec<Fd>)>(handle, fds)?;
    if plain::is_vector::<S>() {
        return loan::read(&lent, len);
    }
    let encoded = loan::read::<Vec<u8>>(&lent, len)?;
    plain::read::<S>(&encoded).map_or_else(|| mp_wire::decode(&encoded, &fds), Ok)
}

/// What is the matter is said of each task.
fn all_failed(run: &mut Run<'_>, message: &str) -> Batch {
    let mut failures = Encoder::<()>::new();
    for _ in run.from..run.end {
        failures.push_failure(message);
    }
    failures.finish().unwrap_or_default()
}

macro_rules! must_be_empty {
    ($type:ty) => {
        const {
            assert!(
                size_of::<$type>() == 0,
                "a closure that captures, or a function pointer, cannot be a task: pass what it needs as arguments, and name the function itself"
            )
        }
    };
}

/// Names the thunk of a function that reads shared data.
pub(crate) fn name_with<F, S, A, R>(_function: F) -> Result<u64, TaskError>
where
    F: Fn(&S, A) -> R + Copy + Send + 'static,
    S: DeserializeOwned + 'static,
    A: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    must_be_empty!(F);
    number(run_with::<F, S, A, R> as Thunk)
}

fn run_with<F, S, A, R>(bytes: &[u8], fds: &[Fd], run: &mut Run<'_>) -> Batch
where
    F: Fn(&S, A) -> R + Copy + Send + 'static,
    S: DeserializeOwned + 'static,
    A: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    match open::<S>(bytes, fds) {
        Ok((bytes, fds, shared)) => match shared.downcast_ref::<S>() {
            Some(shared) => {
                run_each::<(A,), R>(bytes, fds, run, None, |(item,)| rebuild::<F>()(shared, item))
            }
            None => all_failed(run, "the shared data is of another type"),
        },
        Err(message) => all_failed(run, &message),
    }
}

/// Names the thunk of a function that uses the state of its worker.
pub(crate) fn name_state<F, S, A, R>(_function: F) -> Result<u64, TaskError>
where
    F: Fn(&mut S, A) -> R + Copy + Send + 'static,
    S: 'static,
    A: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    must_be_empty!(F);
    number(run_state::<F, S, A, R> as Thunk)
}

fn run_state<F, S, A, R>(bytes: &[u8], fds: &[Fd], run: &mut Run<'_>) -> Batch
where
    F: Fn(&mut S, A) -> R + Copy + Send + 'static,
    S: 'static,
    A: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    let mut state = STATE.take();
    let batch = match state.as_mut().and_then(|state| state.downcast_mut::<S>()) {
        Some(state) => {
            run_each::<(A,), R>(bytes, fds, run, None, |(item,)| rebuild::<F>()(state, item))
        }
        None => all_failed(run, "the workers of this pool have no state of this type"),
    };
    STATE.set(state);
    batch
}

/// Names the function that makes the state of a worker.
pub(crate) fn name_make<F, Args>(_function: F) -> Result<u64, TaskError>
where
    F: Target<Args, Output: 'static>,
    Args: DeserializeOwned + 'static,
{
    must_be_empty!(F);
    number(make::<F, Args> as Initialize)
}

fn make<F, Args>(bytes: &[u8], fds: &[Fd]) -> Result<(), String>
where
    F: Target<Args, Output: 'static>,
    Args: DeserializeOwned + 'static,
{
    crate::entry::caught(|| {
        let args = mp_wire::decode(bytes, fds).map_err(|error| chain(&error))?;
        let state = rebuild::<F>().call(args);
        STATE.set(Some(Box::new(state)));
        Ok(())
    })
}

/// Names the function that is given the state when its worker is let go.
pub(crate) fn name_exit<F, S>(_function: F) -> Result<u64, TaskError>
where
    F: Fn(S) + Copy + Send + 'static,
    S: 'static,
{
    must_be_empty!(F);
    number(exit::<F, S> as Initialize)
}

fn exit<F, S>(_: &[u8], _: &[Fd]) -> Result<(), String>
where
    F: Fn(S) + Copy + Send + 'static,
    S: 'static,
{
    crate::entry::caught(|| {
        if let Some(state) = STATE.take().and_then(|state| state.downcast::<S>().ok()) {
            rebuild::<F>()(*state);
        }
        Ok(())
    })
}
