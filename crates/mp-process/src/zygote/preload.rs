//! What the process that forks has done before it forks, so that its children have it.

use std::io::Write;
use std::os::fd::AsFd;
use std::panic;
use std::sync::{Mutex, PoisonError};

use mp_wire::Fd;
use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::outcome::Panic;
use crate::{Error, ErrorKind, Target, boot, registry, sys, target, wire};

/// The place of the function in the program.
static FUNCTION: Mutex<Option<u64>> = Mutex::new(None);

/// What became of it, as the zygote tells it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Loaded {
    Done,
    Panicked(Panic),
    /// So many threads are there now.
    Threads(u64),
    /// Not a function of this program.
    Stranger,
}

/// Has a function called in the process that forks children for [`Forkserver`](crate::StartMethod::Forkserver), before
/// it forks any.
///
/// What the function leaves in statics (tables, models, connections that can be shared) each child then has, without loading
/// it, and shares the memory until somebody writes to it. If the process that forks is killed, the function runs again in
/// the one that takes its place.
///
/// The function must leave no thread running, which no child would have. Descriptors that it opened are open in the children too.
///
/// # Python
///
/// `set_forkserver_preload(module_names)`, whose errors are ignored. Here a function that panics makes each start an error
/// ([`ErrorKind::Preload`]).
///
/// # Errors
///
/// [`ErrorKind::AlreadySet`] if there is such a process already, which it is too late for;
/// [`ErrorKind::NotInProgram`] for a function of a shared library.
///
/// # Examples
///
/// ```
/// use mp_process::{Process, set_forkserver_preload};
/// use std::sync::OnceLock;
///
/// static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
///
/// fn table() -> &'static [u64] {
///     TABLE.get_or_init(|| (0..1000).map(|n| n * n).collect())
/// }
///
/// set_forkserver_preload(|| _ = table())?;
/// let child = Process::new(|| (TABLE.get().is_some(), table()[9]), ()).start()?;
/// assert_eq!(child.join()?, (true, 81));
/// assert!(TABLE.get().is_none(), "it was not loaded here");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn set_forkserver_preload<T>(function: T) -> Result<(), Error>
where
    T: Target<(), Output = ()>,
{
    let _ = function;
    let code = Code::<fn()>::new(call::<T>)?;
    let mut place = FUNCTION.lock().unwrap_or_else(PoisonError::into_inner);
    if registry::zygote().is_some() {
        let what = "the process that forks children is there already";
        return Err(Error::new(ErrorKind::AlreadySet, what));
    }
    *place = Some(code.offset());
    Ok(())
}

#[expect(unsafe_code, reason = "makes the function from its type")]
fn call<T: Target<(), Output = ()>>() {
    // SAFETY: `set_forkserver_preload` had a value of this type, and only it names this function.
    let function = unsafe { target::rebuild::<T>() };
    function.call(());
}

/// The place of the function that is to be called.
pub(crate) fn function() -> Option<u64> {
    *FUNCTION.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls it, in the zygote, and tells the parent. Gives the descriptors that it opened, which its children keep.
#[expect(unsafe_code, reason = "calls a function that the parent sent")]
pub(crate) fn run(place: u64, control: &Fd) -> Vec<i32> {
    // A zygote whose user is gone goes too, however long this takes.
    if sys::prepare_to_die_with(control.as_fd()).is_err() {
        sys::exit_now(125);
    }
    boot::live_with_parent(control);
    let loaded = match Code::<fn()>::from_offset(place) {
        None => Loaded::Stranger,
        Some(code) => {
            // SAFETY: it came over the socket that only the parent holds, which runs the same build, and which makes
            // it of a function of this type.
            let function = unsafe { code.get() };
            match panic::catch_unwind(function) {
                Err(payload) => Loaded::Panicked(Panic::from_payload(payload)),
                Ok(()) => match sys::count_threads().unwrap_or(1) {
                    1 => Loaded::Done,
                    count => Loaded::Threads(count as u64),
                },
            }
        }
    };
    // Or each child would write what is in the buffers.
    let _ = std::io::stdout().flush();
    sys::flush_c_streams();
    sys::live_on(control);
    let done = matches!(loaded, Loaded::Done);
    if wire::send(control, &loaded).is_err() || !done {
        sys::exit_now(125);
    }
    sys::open_descriptors().into_iter().filter(|&fd| fd > sys::SOCKET_FD).collect()
}

/// Waits for the zygote to have called it.
pub(crate) fn wait(control: &Fd) -> Result<(), Error> {
    let what = match wire::recv::<Loaded>(control) {
        Ok(Loaded::Done) => return Ok(()),
        Ok(Loaded::Panicked(panic)) => format!("the function to preload {panic}"),
        Ok(Loaded::Threads(count)) => {
            format!(
                "the function to preload has left {count} threads, with its own, where there must be one"
            )
        }
        Ok(Loaded::Stranger) => "the function to preload is not part of the program".to_owned(),
        Err(_) => "the function to preload has ended its process".to_owned(),
    };
    Err(Error::new(ErrorKind::Preload, what))
}
