//! What a process is to have that differs from its parent, and how the child takes it on.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use mp_wire::{Fd, above_streams};
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Resource, boot, execute, sys};

/// Changes to the environment, in the order in which they were asked for.
#[derive(Clone, Debug)]
pub(crate) enum Variable {
    Set(OsString, OsString),
    Remove(OsString),
    Clear,
}

/// What the child does to itself before its function runs. It travels with the function.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) streams: [Option<Fd>; 3],
    pub(crate) directory: Option<CString>,
    pub(crate) limits: Vec<(Resource, u64)>,
    pub(crate) nice: Option<i32>,
    pub(crate) cpus: Option<Vec<u32>>,
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
    pub(crate) groups: Option<Vec<u32>>,
    pub(crate) leads: Option<Leads>,
}

/// What a process is the first of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Leads {
    Group,
    Session,
}

/// What the child says when it has tried: nothing, or what failed and with which `errno`.
pub(crate) type Settled = Option<(String, i32)>;

impl Settings {
    /// Says that there is nothing to do, so that nobody need wait for its success.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { streams, directory, limits, nice, cpus, user, group, groups, leads } = self;
        streams.iter().all(Option::is_none)
            && (directory.is_none() && limits.is_empty() && nice.is_none() && cpus.is_none())
            && (user.is_none() && group.is_none() && groups.is_none() && leads.is_none())
    }

    /// Takes all of it on, in this process, which has just begun.
    pub(crate) fn apply(&self) -> Settled {
        self.try_apply()
            .err()
            .map(|(what, error)| (what.to_owned(), error.raw_os_error().unwrap_or(libc::EINVAL)))
    }

    /// Closes what became the streams, in a copy of the process that owns it.
    pub(crate) fn close_raw(&self) {
        for stream in self.streams.iter().flatten().filter(|stream| stream.as_raw_fd() > 2) {
            sys::close_raw(stream.as_raw_fd());
        }
    }

    fn try_apply(&self) -> Result<(), (&'static str, io::Error)> {
        for (number, stream) in self.streams.iter().enumerate() {
            if let Some(stream) = stream {
                sys::duplicate_to(stream.as_fd(), number as i32, 0)
                    .map_err(|error| ("its standard streams cannot be set", error))?;
            }
        }
        match self.leads {
            Some(Leads::Group) => sys::lead_group(),
            Some(Leads::Session) => sys::lead_session(),
            None => Ok(()),
        }
        .map_err(|error| ("it cannot lead a group of processes", error))?;
        if let Some(cpus) = &self.cpus {
            sys::set_cpus(cpus).map_err(|error| ("it may not run on those processors", error))?;
        }
        if let Some(nice) = self.nice {
            sys::add_nice(nice).map_err(|error| ("it cannot have that priority", error))?;
        }
        for &(resource, limit) in &self.limits {
            sys::set_limit(resource, limit)
                .map_err(|error| ("it cannot have that limit", error))?;
        }
        self.become_user().map_err(|error| ("it cannot run as that user or group", error))?;
        // As the user that it is now, who may not be allowed there.
        if let Some(directory) = &self.directory {
            sys::change_to(directory)
                .map_err(|error| ("it cannot change into its directory", error))?;
        }
        Ok(())
    }

    /// The order matters: whoever is not root any more may change nothing.
    fn become_user(&self) -> io::Result<()> {
        match (&self.groups, self.user) {
            (Some(groups), _) => sys::set_groups(groups)?,
            // The supplementary groups of root are not to be those of somebody else.
            (None, Some(_)) if sys::credentials()[1] == 0 => sys::set_groups(&[])?,
            _ => {}
        }
        if let Some(group) = self.group {
            sys::set_group(group)?;
        }
        if let Some(user) = self.user {
            sys::set_user(user)?;
        }
        Ok(())
    }
}

/// The environment of a process to be: that of this process now, with the changes.
pub(crate) fn environment(changes: &[Variable]) -> Result<Vec<u8>, Error> {
    let here = execute::environment();
    if changes.is_empty() {
        return Ok(here);
    }
    let mut variables: Vec<Vec<u8>> =
        here.split(|&byte| byte == 0).filter(|text| !text.is_empty()).map(Vec::from).collect();
    for change in changes {
        match change {
            Variable::Clear => variables.clear(),
            Variable::Remove(name) => variables.retain(|text| !is_of(text, name)),
            Variable::Set(name, value) => {
                check(name, value)?;
                variables.retain(|text| !is_of(text, name));
                let mut text = name.clone().into_vec();
                text.push(b'=');
                text.extend_from_slice(value.as_bytes());
                variables.push(text);
            }
        }
    }
    Ok(variables.into_iter().flat_map(|text| text.into_iter().chain([0])).collect())
}

fn is_of(text: &[u8], name: &OsStr) -> bool {
    text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='))
}

fn check(name: &OsStr, value: &OsStr) -> Result<(), Error> {
    let (name, value) = (name.as_bytes(), value.as_bytes());
    if name.is_empty() || name.contains(&b'=') || name.contains(&0) || value.contains(&0) {
        let what = format!("`{}` cannot be set in an environment", name.escape_ascii());
        return Err(Error::new(ErrorKind::Setting, what));
    }
    Ok(())
}

/// Makes an environment that of this process, which has one thread.
pub(crate) fn take_environment(block: &[u8]) {
    boot::set_environment(block);
}

/// Where a standard stream of a process goes, or comes from.
///
/// # Python
///
/// `multiprocessing` has nothing of the kind; `subprocess.Popen` has.
///
/// # Examples
///
/// ```
/// use mp_process::{Process, Stdio};
/// use std::io::Read;
///
/// let mut child = Process::new(|| println!("on a pipe"), ()).stdout(Stdio::piped()).start()?;
/// let mut text = String::new();
/// child.take_stdout().expect("a pipe").read_to_string(&mut text)?;
/// assert_eq!(text, "on a pipe\n");
/// child.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Stdio(pub(crate) Place);

#[derive(Debug)]
pub(crate) enum Place {
    Inherit,
    Null,
    Piped,
    Fd(Fd),
}

impl Stdio {
    /// The stream that this process has; what a process gets that is told nothing.
    #[must_use]
    pub fn inherit() -> Self {
        Self(Place::Inherit)
    }

    /// Nothing: reads are at the end at once, and what is written is gone.
    #[must_use]
    pub fn null() -> Self {
        Self(Place::Null)
    }

    /// A pipe, whose other end the [`Child`](crate::Child) has.
    ///
    /// Somebody has to read it: a child that writes more than a pipe holds (64 KiB) waits.
    #[must_use]
    pub fn piped() -> Self {
        Self(Place::Piped)
    }
}

impl<T: Into<OwnedFd>> From<T> for Stdio {
    /// A file, a socket, a pipe, or whatever else is an open descriptor.
    fn from(file: T) -> Self {
        Self(Place::Fd(Fd::from(file.into())))
    }
}

/// The parent's ends of the pipes.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    pub(crate) stdin: Option<io::PipeWriter>,
    pub(crate) stdout: Option<io::PipeReader>,
    pub(crate) stderr: Option<io::PipeReader>,
}

impl Pipes {
    /// Closes them by their numbers, in a copy of the process that owns them.
    pub(crate) fn close_raw(&self) {
        let Self { stdin, stdout, stderr } = self;
        let numbers = [
            stdin.as_ref().map(AsRawFd::as_raw_fd),
            stdout.as_ref().map(AsRawFd::as_raw_fd),
            stderr.as_ref().map(AsRawFd::as_raw_fd),
        ];
        numbers.into_iter().flatten().for_each(sys::close_raw);
    }
}

/// Opens what the streams of a process to be are to be.
pub(crate) fn open(places: [Option<Stdio>; 3]) -> io::Result<([Option<Fd>; 3], Pipes)> {
    let mut pipes = Pipes::default();
    let mut streams = [const { None }; 3];
    for (number, (place, stream)) in places.into_iter().zip(&mut streams).enumerate() {
        *stream = match place.map_or(Place::Inherit, |stdio| stdio.0) {
            Place::Inherit => None,
            Place::Null => {
                let file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
                Some(Fd::from(OwnedFd::from(file)))
            }
            Place::Piped => {
                let (reader, writer) = io::pipe()?;
                let (reader, writer) = (above_streams(reader.into()), above_streams(writer.into()));
                Some(match number {
                    0 => {
                        pipes.stdin = Some(writer.into());
                        Fd::from(reader)
                    }
                    1 => {
                        pipes.stdout = Some(reader.into());
                        Fd::from(writer)
                    }
                    _ => {
                        pipes.stderr = Some(reader.into());
                        Fd::from(writer)
                    }
                })
            }
            Place::Fd(fd) => Some(fd),
        };
    }
    Ok((streams, pipes))
}
