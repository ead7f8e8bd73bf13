//! The ways to start a process.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

/// How a process is started.
///
/// | | what it is | time | threads in the parent | captures |
/// |---|---|---|---|---|
/// | [`Forkserver`](Self::Forkserver) | a small process that was executed from the same program forks; it has one child ready | short | safe | no |
/// | [`Spawn`](Self::Spawn) | the same program is executed once more for each child | longer | safe | no |
/// | [`Fork`](Self::Fork) | a copy of the calling process | grows with its memory | refused | yes |
///
/// # Examples
///
/// ```
/// use mp_process::{Process, StartMethod};
///
/// assert_eq!(StartMethod::default(), StartMethod::Forkserver);
/// assert_eq!("spawn".parse::<StartMethod>()?, StartMethod::Spawn);
///
/// let child = Process::new(std::process::id, ()).start_method(StartMethod::Spawn).start()?;
/// let pid = child.pid();
/// assert_eq!(child.join()?, pid);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StartMethod {
    /// Children are forked by a process of one thread, which is executed from the same program on first use. It has one ready
    /// for the next start, and makes another one while that runs.
    #[default]
    Forkserver,
    /// Each child is executed from the same program.
    Spawn,
    /// Each child is a copy of the calling process.
    Fork,
}

impl StartMethod {
    /// All methods, the default first.
    pub const ALL: [Self; 3] = [Self::Forkserver, Self::Spawn, Self::Fork];

    /// The name that Python uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forkserver => "forkserver",
            Self::Spawn => "spawn",
            Self::Fork => "fork",
        }
    }
}

impl fmt::Display for StartMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for StartMethod {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|method| method.as_str() == text).ok_or_else(|| {
            let what = format!("`{text}` is no start method: forkserver, spawn and fork are");
            Error::new(ErrorKind::UnknownMethod, what)
        })
    }
}
