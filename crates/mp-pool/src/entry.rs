//! The function that a worker runs: from the type of the target to a number that travels, and back.
#![expect(unsafe_code, reason = "calls a function that travelled as its place in the program")]

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;

use mp_process::code::Code;
use mp_process::{Panic, Target};
use mp_shared::segment::lingering;
use mp_wire::Fd;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::batch::{Batch, Encoder, Item, read_caught};
use crate::split::Split;
use crate::task::Run;
use crate::{TaskError, loan};

/// Runs the tasks of one unit; what it has not handed over before comes back.
pub(crate) type Thunk = fn(&[u8], &[Fd], &mut Run<'_>) -> Batch;

/// Runs an initializer.
pub(crate) type Initialize = fn(&[u8], &[Fd]) -> Result<(), String>;

/// What an initializer may return: nothing, or a `Result` whose error ends the pool.
pub trait Initialized {
    /// The text of the error, if it is one.
    ///
    /// # Errors
    ///
    /// The initializer failed.
    fn into_result(self) -> Result<(), String>;
}

impl Initialized for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<T, E: Display> Initialized for Result<T, E> {
    fn into_result(self) -> Result<(), String> {
        self.map(drop).map_err(|error| error.to_string())
    }
}

/// Names the thunk of a target, for the workers of this program.
pub(crate) fn name<F, Args>(_target: F) -> Result<u64, TaskError>
where
    F: Target<Args, Output: Serialize + 'static>,
    Args: DeserializeOwned + 'static,
{
    const {
        assert!(
            size_of::<F>() == 0,
            "a closure that captures, or a function pointer, cannot be a task: pass what it needs as arguments, and name the function itself"
        )
    };
    number(run::<F, Args> as Thunk)
}

/// Names the thunk of an initializer.
pub(crate) fn name_initializer<F, Args>(_target: F) -> Result<u64, TaskError>
where
    F: Target<Args, Output: Initialized>,
    Args: DeserializeOwned + 'static,
{
    const {
        assert!(
            size_of::<F>() == 0,
            "a closure that captures, or a function pointer, cannot be a task: pass what it needs as arguments, and name the function itself"
        )
    };
    number(initialize::<F, Args> as Initialize)
}

pub(crate) fn number<S: Copy>(function: S) -> Result<u64, TaskError> {
    let code = Code::new(function).map_err(|error| TaskError::Function(Arc::new(error)))?;
    mp_wire::encode(&code).and_then(|message| message.decode()).map_err(TaskError::encode)
}

/// Finds the function of a name again.
///
/// # Safety
///
/// The name comes from `number` for this same `S`, in the process that started this one, by a way that only those two have.
unsafe fn find<S: Copy>(name: u64) -> Result<S, mp_wire::Error> {
    let code: Code<S> = mp_wire::encode(&name)?.decode()?;
    // SAFETY: the caller's promise; a child runs the same build as the process that started it.
    Ok(unsafe { code.get() })
}

/// Finds the thunk of a name that a worker has from its pool.
pub(crate) fn thunk(name: u64) -> Result<Thunk, mp_wire::Error> {
    // SAFETY: a worker takes names of thunks only from its own ring, where its pool puts those that `name` made.
    unsafe { find(name) }
}

/// Finds the initializer of a name that a worker has from its pool.
pub(crate) fn initializer(name: u64) -> Result<Initialize, mp_wire::Error> {
    // SAFETY: a worker has this name from its own arguments, where its pool puts what `name_initializer` made.
    unsafe { find(name) }
}

fn run<F, Args>(bytes: &[u8], fds: &[Fd], run: &mut Run<'_>) -> Batch
where
    F: Target<Args, Output: Serialize + 'static>,
    Args: DeserializeOwned + 'static,
{
    let split = Some(Split::of::<F>());
    run_each::<Args, F::Output>(bytes, fds, run, split, |args| rebuild::<F>().call(args))
}

/// For how many results room is set aside: they may be handed over long before the last one.
const AHEAD: u32 = 512;

/// Runs a function on each item of a unit that is to be done.
pub(crate) fn run_each<Args, R>(
    bytes: &[u8],
    fds: &[Fd],
    run: &mut Run<'_>,
    split: Option<Split<Args>>,
    mut call: impl FnMut(Args) -> R,
) -> Batch
where
    Args: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    let mut results = Encoder::<R>::new();
    results.expect((run.end - run.from).min(AHEAD) as usize);
    let mut next = run.from;
    let wanted = run.from as usize..run.end as usize;
    let done = catch_unwind(AssertUnwindSafe(|| {
        read_caught::<Args>(bytes, fds, wanted, split, |item| {
            if run.is_over {
                return;
            }
            let this = next;
            match item {
                _ if run.is_given_up(this) => results.push_cancelled(),
                Item::Value(args) => {
                    loan::drop_spare();
                    lingering::turn();
                    let call = || results.push(call(args));
                    match catch_unwind(AssertUnwindSafe(call)) {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => results.push_failure(&chain(&error)),
                        Err(payload) => results.push_panic(&Panic::from_payload(payload)),
                    }
                }
                Item::Malformed(error) => results.push_failure(&chain(&error)),
                Item::Panicked(panic) => results.push_panic(&panic),
                // Arguments are values only.
                Item::Failed(_) | Item::Cancelled => results.push_failure("arguments are missing"),
            }
            next = this + 1;
            if run.done(this) {
                run.hand_over(results.finish().unwrap_or_default());
            }
        })
    }));
    let failed = match done {
        Ok(read) => Err(read.err().map_or_else(String::new, |error| chain(&error))),
        // Decoding the arguments panicked.
        Err(payload) => Ok(Panic::from_payload(payload)),
    };
    let end = if run.is_over { next } else { run.end };
    for _ in next..end {
        match &failed {
            Ok(panic) => results.push_panic(panic),
            Err(message) => results.push_failure(message),
        }
    }
    results.finish().unwrap_or_default()
}

fn initialize<F, Args>(bytes: &[u8], fds: &[Fd]) -> Result<(), String>
where
    F: Target<Args, Output: Initialized>,
    Args: DeserializeOwned + 'static,
{
    caught(|| {
        let args = mp_wire::decode(bytes, fds).map_err(|error| chain(&error))?;
        rebuild::<F>().call(args).into_result()
    })
}

/// Runs user code whose panic is an error like others.
pub(crate) fn caught(run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|payload| Err(Panic::from_payload(payload).to_string()))
}

/// Makes a target from its type; only for entries, whose names are made where a value of the type exists.
///
/// What has bytes of its own is refused when the program is compiled, by every call:
///
/// ```compile_fail,E0080
/// let by = 2;
/// let _ = mp_pool::Pool::new(1).unwrap().map(move |x: u64| x * by, 0..3);
/// ```
///
/// ```compile_fail,E0080
/// let pointer: fn(u64) -> u64 = |x| x + 1;
/// let _ = mp_pool::Pool::new(1).unwrap().imap_unordered(pointer, 0..3);
/// ```
///
/// ```compile_fail,E0080
/// let by = 2;
/// let _ = mp_pool::Pool::new(1).unwrap().map_with(&5, move |x: &u64, y: u64| x * y * by, 0..3);
/// ```
pub(crate) fn rebuild<F: Copy>() -> F {
    const {
        assert!(
            size_of::<F>() == 0,
            "a closure that captures, or a function pointer, cannot be a task: pass what it needs as arguments, and name the function itself"
        )
    };
    // SAFETY: a value without bytes can be read from any aligned place. It is `Copy`, and whoever named the entry had one.
    unsafe { NonNull::<F>::dangling().read() }
}

/// The text of an error and of its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
