//! What a process can be told to have, or to be, before it starts.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::settings::{Leads, Variable};
use crate::{Process, Resource, Stdio};

/// # What the process has
///
/// Whatever is not said is as it is in this process. All start methods do the same. If the child cannot take something on
/// (another user without the right to, a directory that is not there), the start fails with
/// [`ErrorKind::Setting`](crate::ErrorKind::Setting).
impl<R> Process<R> {
    /// Sets a variable of the environment.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::Process;
    ///
    /// let child = Process::new(|| std::env::var("DEPTH").ok(), ()).env("DEPTH", "3").start()?;
    /// assert_eq!(child.join()?.as_deref(), Some("3"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let (name, value) = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.plan.environment.push(Variable::Set(name, value));
        self
    }

    /// Sets several variables of the environment.
    pub fn envs<K, V>(self, variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        variables.into_iter().fold(self, |process, (name, value)| process.env(name, value))
    }

    /// Removes a variable from the environment.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.plan.environment.push(Variable::Remove(name.as_ref().to_owned()));
        self
    }

    /// Removes all variables from the environment that were not set after this.
    pub fn env_clear(mut self) -> Self {
        self.plan.environment.push(Variable::Clear);
        self
    }

    /// Sets the working directory; one that is not absolute starts at that of this process.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::Process;
    ///
    /// let child = Process::new(|| std::env::current_dir().ok(), ()).current_dir("/").start()?;
    /// assert_eq!(child.join()?.as_deref(), Some("/".as_ref()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        let bytes = directory.as_ref().as_os_str().as_bytes();
        // The part before a zero is not there, or not what was meant: an empty path is always refused.
        self.plan.settings.directory = Some(CString::new(bytes).unwrap_or_default());
        self
    }

    /// Says where the standard input comes from.
    pub fn stdin(mut self, from: impl Into<Stdio>) -> Self {
        self.plan.streams[0] = Some(from.into());
        self
    }

    /// Says where the standard output goes.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::{Process, Stdio};
    ///
    /// let child = Process::new(|| println!("nobody reads this"), ()).stdout(Stdio::null()).start()?;
    /// child.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stdout(mut self, to: impl Into<Stdio>) -> Self {
        self.plan.streams[1] = Some(to.into());
        self
    }

    /// Says where the standard error goes.
    pub fn stderr(mut self, to: impl Into<Stdio>) -> Self {
        self.plan.streams[2] = Some(to.into());
        self
    }

    /// Limits what the process may use, soft and hard, so that it cannot raise the limit itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::{Process, Resource};
    ///
    /// fn open_all() -> bool {
    ///     (0..100).map(|_| std::fs::File::open("/dev/null")).collect::<Result<Vec<_>, _>>().is_ok()
    /// }
    ///
    /// let child = Process::new(open_all, ()).limit(Resource::Files, 50).start()?;
    /// assert!(!child.join()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn limit(mut self, resource: Resource, limit: u64) -> Self {
        self.plan.settings.limits.push((resource, limit));
        self
    }

    /// Makes the process nicer to others by so much (`nice(2)`); less than nothing takes a right.
    pub fn nice(mut self, increment: i32) -> Self {
        self.plan.settings.nice = Some(increment);
        self
    }

    /// Lets the process run on these processors alone, counted from 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::{Process, cpu_count};
    ///
    /// let child = Process::new(cpu_count, ()).cpus([0]).start()?;
    /// assert_eq!(child.join()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cpus(mut self, processors: impl IntoIterator<Item = u32>) -> Self {
        self.plan.settings.cpus = Some(processors.into_iter().collect());
        self
    }

    /// Runs the process as another user. Of root's other groups it keeps none unless [`groups`](Self::groups) says so.
    pub fn uid(mut self, user: u32) -> Self {
        self.plan.settings.user = Some(user);
        self
    }

    /// Runs the process in another group.
    pub fn gid(mut self, group: u32) -> Self {
        self.plan.settings.group = Some(group);
        self
    }

    /// Sets the supplementary groups.
    pub fn groups(mut self, groups: impl IntoIterator<Item = u32>) -> Self {
        self.plan.settings.groups = Some(groups.into_iter().collect());
        self
    }

    /// Makes the process the first of a process group of its own.
    ///
    /// The terminal's keys (Ctrl-C, Ctrl-Z) do not reach it then, and [`Child::kill_tree`](crate::Child::kill_tree)
    /// also finds those of its descendants that lost their parents.
    ///
    /// # Examples
    ///
    /// ```
    /// use mp_process::Process;
    ///
    /// fn group() -> Option<String> {
    ///     // The fifth field.
    ///     let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    ///     stat.rsplit_once(')')?.1.split_whitespace().nth(2).map(str::to_owned)
    /// }
    ///
    /// let child = Process::new(group, ()).process_group().start()?;
    /// let pid = child.pid();
    /// assert_eq!(child.join()?, Some(pid.to_string()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn process_group(mut self) -> Self {
        self.plan.settings.leads = Some(Leads::Group);
        self
    }

    /// Makes the process the first of a session of its own, without a terminal.
    pub fn session(mut self) -> Self {
        self.plan.settings.leads = Some(Leads::Session);
        self
    }
}
