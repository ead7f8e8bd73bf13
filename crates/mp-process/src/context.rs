//! Which start method is used where nothing else is said.

use std::sync::atomic::{AtomicU8, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, ErrorKind, Process, StartMethod, Target};

/// The method of this program plus one; 0 while nobody has said or used any.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

fn number(method: StartMethod) -> u8 {
    match method {
        StartMethod::Forkserver => 1,
        StartMethod::Spawn => 2,
        StartMethod::Fork => 3,
    }
}

/// The method that was set or has been used as the default; `None` before.
pub(crate) fn chosen() -> Option<StartMethod> {
    let chosen = CHOSEN.load(Ordering::Acquire);
    StartMethod::ALL.into_iter().find(|&method| number(method) == chosen)
}

/// The method for a process that was told nothing: from now on the one of this program.
pub(crate) fn settle() -> StartMethod {
    let default = number(StartMethod::default());
    let _ = CHOSEN.compare_exchange(0, default, Ordering::AcqRel, Ordering::Acquire);
    chosen().unwrap_or_default()
}

/// In a child: what its parent's is.
pub(crate) fn inherit(method: Option<StartMethod>) {
    CHOSEN.store(method.map_or(0, number), Ordering::Release);
}

/// The method by which processes start that are not told another one.
///
/// # Python
///
/// `get_start_method(allow_none=True)` is `None` where nothing was set or used; here it is the default, and asking
/// fixes nothing.
///
/// # Examples
///
/// ```
/// use mp_process::{StartMethod, get_start_method};
///
/// assert_eq!(get_start_method(), StartMethod::Forkserver);
/// ```
#[must_use]
pub fn get_start_method() -> StartMethod {
    chosen().unwrap_or_default()
}

/// Sets the method by which processes start that are not told another one, once in a program.
///
/// The children of this process have the same, and theirs. Libraries should use a [`Context`] and leave this to the program.
///
/// # Errors
///
/// [`ErrorKind::AlreadySet`] if it was set before, or if a process was started by the default already: it would have been
/// another one. [`force_start_method`] does it all the same.
///
/// # Examples
///
/// ```
/// use mp_process::{ErrorKind, Process, StartMethod, current_process, set_start_method};
///
/// set_start_method(StartMethod::Spawn)?;
/// let child = Process::new(|| current_process().start_method(), ()).start()?;
/// assert_eq!(child.join()?, Some(StartMethod::Spawn));
///
/// let error = set_start_method(StartMethod::Forkserver).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::AlreadySet);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn set_start_method(method: StartMethod) -> Result<(), Error> {
    match CHOSEN.compare_exchange(0, number(method), Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(()),
        Err(_) => {
            let what = format!("the start method is `{}` already", get_start_method());
            Err(Error::new(ErrorKind::AlreadySet, what))
        }
    }
}

/// Sets the method by which processes start that are not told another one, whatever it was before.
///
/// # Python
///
/// `set_start_method(method, force=True)`.
pub fn force_start_method(method: StartMethod) {
    CHOSEN.store(number(method), Ordering::Release);
}

/// All start methods, the default first.
///
/// # Examples
///
/// ```
/// use mp_process::{StartMethod, get_all_start_methods};
///
/// assert_eq!(get_all_start_methods()[0], StartMethod::default());
/// ```
#[must_use]
pub fn get_all_start_methods() -> [StartMethod; 3] {
    StartMethod::ALL
}

/// Gives a context of one start method; without one, of the one that this program has by then.
///
/// # Examples
///
/// ```
/// use mp_process::{StartMethod, current_process, get_context};
///
/// let context = get_context(StartMethod::Spawn);
/// let child = context.process(|| current_process().start_method(), ()).start()?;
/// assert_eq!(child.join()?, Some(context.start_method()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn get_context(method: impl Into<Option<StartMethod>>) -> Context {
    Context { method: method.into() }
}

/// Makes processes that start by one method, and leaves what the program has chosen alone.
///
/// It is a value: copy it, keep it in a struct, pass it to a library. The facade `multiproc` adds the factories of its other
/// crates to it.
///
/// # Python
///
/// A context has no `set_start_method`: it is of its method for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Context {
    method: Option<StartMethod>,
}

impl Context {
    /// The method of the processes that it makes.
    #[must_use]
    pub fn start_method(self) -> StartMethod {
        self.method.unwrap_or_else(get_start_method)
    }

    /// Makes a process, as [`Process::new`] does.
    pub fn process<T, A>(self, target: T, args: A) -> Process<T::Output>
    where
        T: Target<A>,
        T::Output: Serialize + 'static,
        A: Serialize + DeserializeOwned + Send + 'static,
    {
        let process = Process::new(target, args);
        match self.method {
            Some(method) => process.start_method(method),
            None => process,
        }
    }
}

impl From<StartMethod> for Context {
    fn from(method: StartMethod) -> Self {
        get_context(method)
    }
}
