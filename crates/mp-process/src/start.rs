//! Starting a child: what the start methods have in common.

use std::sync::Arc;

use mp_wire::{Deadline, Fd, Message, socket};

use crate::current::{self, Identity, Parent};
use crate::image::Image;
use crate::outcome::Outcome;
use crate::record::{Reaper, Record};
use crate::registry::{self, Pair};
use crate::settings::{self, Leads, Pipes, Settings, Settled, Variable};
use crate::wire::{self, First, Job};
use crate::zygote::{self, Refusal};
use crate::{
    Error, ErrorKind, StartMethod, Stdio, context, current_process, execute, exit, fork, logging,
    sys,
};

/// How often another zygote is tried when one was killed just then.
const ATTEMPTS: u32 = 4;

/// What a process is to be, apart from its function.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) number: u32,
    pub(crate) name: Option<String>,
    pub(crate) daemon: Option<bool>,
    pub(crate) detached: bool,
    pub(crate) method: Option<StartMethod>,
    pub(crate) any_threads: bool,
    pub(crate) environment: Vec<Variable>,
    pub(crate) streams: [Option<Stdio>; 3],
    pub(crate) settings: Settings,
    /// The ends of the pipes that stay here.
    pub(crate) pipes: Pipes,
}

impl Plan {
    pub(crate) fn new(number: u32, method: Option<StartMethod>) -> Self {
        Self {
            number,
            name: None,
            daemon: None,
            detached: false,
            method,
            any_threads: false,
            environment: Vec::new(),
            streams: [const { None }; 3],
            settings: Settings::default(),
            pipes: Pipes::default(),
        }
    }

    /// Completes the settings, and opens what the streams are to be.
    pub(crate) fn prepare(&mut self) -> Result<(), Error> {
        if self.detached {
            self.settings.leads.get_or_insert(Leads::Session);
        }
        let streams = std::mem::take(&mut self.streams);
        (self.settings.streams, self.pipes) = settings::open(streams)
            .map_err(|error| Error::from_io("no standard streams for a new process", error))?;
        Ok(())
    }

    /// The name given, or `Process-1:2` for the second child of the first one.
    pub(crate) fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let path: Vec<String> = self.path().iter().map(ToString::to_string).collect();
            format!("Process-{}", path.join(":"))
        })
    }

    pub(crate) fn method(&self) -> StartMethod {
        self.method.unwrap_or_else(context::get_start_method)
    }

    fn path(&self) -> Vec<u32> {
        let mut path = current::path();
        path.push(self.number);
        path
    }

    pub(crate) fn is_daemon(&self) -> bool {
        self.daemon.unwrap_or_else(|| current_process().is_daemon())
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity {
            name: self.name(),
            path: self.path(),
            daemon: self.is_daemon(),
            detached: self.detached,
            method: self.method(),
            chosen: context::chosen(),
            log: logging::setup(),
            parent: Parent { name: current_process().name().to_owned(), pid: sys::pid() },
        }
    }
}

/// Starts a function that travels: its place in the program, and its arguments.
pub(crate) fn function(plan: &Plan, entry: u64, args: &Message) -> Result<Arc<Record>, Error> {
    prepare();
    let program = Image::get().program().to_vec();
    let job = First::Child(Box::new(Job {
        program,
        entry,
        identity: plan.identity(),
        settings: plan.settings.clone(),
    }));
    let job = mp_wire::encode(&job);
    let job = job.map_err(|error| Error::from_wire("the process cannot be described", error))?;
    match plan.method() {
        StartMethod::Spawn => spawned(plan, &job, args),
        _ => forked(plan, &job, args),
    }
}

/// Starts a function that stays where it is, in a copy of this process.
pub(crate) fn copy(
    plan: &Plan,
    function: Box<dyn FnOnce() -> Outcome + '_>,
) -> Result<Arc<Record>, Error> {
    prepare();
    if !plan.any_threads {
        fork::check_threads()?;
    }
    let environment = match plan.environment.is_empty() {
        true => None,
        false => Some(settings::environment(&plan.environment)?),
    };
    let copied = fork::fork(plan, environment, function)?;
    let serial = registry::next_serial();
    let record = Record::new(serial, plan, copied.pid, copied.process, Reaper::Here);
    let record = Arc::new(record);
    settled(plan, &record, &copied.life)?;
    registry::enter(serial, &record, copied.life);
    Ok(record)
}

/// Waits until the child has taken on what it was told to, if there is anything.
fn settled(plan: &Plan, record: &Record, life: &Fd) -> Result<(), Error> {
    if plan.settings.is_empty() {
        return Ok(());
    }
    match wire::recv::<Settled>(life) {
        Ok(Some((what, errno))) => {
            record.wait(Deadline::NEVER);
            let what = format!("process `{}` was not started: {what}", plan.name());
            let source = std::io::Error::from_raw_os_error(errno);
            Err(Error::with_source(ErrorKind::Setting, what, source))
        }
        // Or it is dead already: whoever joins it learns how.
        _ => Ok(()),
    }
}

fn prepare() {
    exit::hook();
    registry::sweep();
}

fn pair() -> Result<(Pair, Fd, Fd), Error> {
    Pair::new().map_err(|error| Error::from_io("no socket for a new process", error))
}

fn send(socket: &Fd, job: &Message, args: &Message) -> Result<(), Error> {
    [job, args].into_iter().try_for_each(|message| {
        socket::send(socket, &message.bytes, &message.fds, Deadline::NEVER)
            .map_err(|error| Error::from_wire("the arguments of a process cannot be sent", error))
    })
}

fn spawned(plan: &Plan, job: &Message, args: &Message) -> Result<Arc<Record>, Error> {
    execute::check()?;
    let (pair, ours, theirs) = pair()?;
    let executed = execute::execute(&theirs, &settings::environment(&plan.environment)?)?;
    drop(theirs);
    pair.sent();
    let record = Record::new(pair.serial(), plan, executed.pid, executed.process, Reaper::Here);
    let record = Arc::new(record);
    match send(&ours, job, args) {
        // It waited for the first of them, and the end of its socket ends it.
        Err(error) if error.kind() != ErrorKind::Io => {
            drop((ours, pair));
            record.wait(Deadline::NEVER);
            Err(error)
        }
        // It is dead already: whoever joins it learns how.
        _ => {
            settled(plan, &record, &ours)?;
            registry::enter(pair.serial(), &record, ours);
            Ok(record)
        }
    }
}

fn forked(plan: &Plan, job: &Message, args: &Message) -> Result<Arc<Record>, Error> {
    for _ in 0..ATTEMPTS {
        let zygote = zygote::get()?;
        let (pair, ours, theirs) = pair()?;
        send(&ours, job, args)?;
        let environment = settings::environment(&plan.environment)?;
        match zygote::fork(&zygote, &pair, &ours, theirs, environment) {
            Ok(born) => {
                let serial = pair.serial();
                let record = Record::new(serial, plan, born.pid, born.process, born.reaper);
                let record = Arc::new(record);
                settled(plan, &record, &ours)?;
                registry::enter(serial, &record, ours);
                return Ok(record);
            }
            Err(Refusal::Failed(error)) => return Err(error),
            Err(Refusal::Dead) => zygote::bury(&zygote),
        }
    }
    let what = "the process that forks ends each time before it has forked";
    Err(Error::new(ErrorKind::Program, what))
}
