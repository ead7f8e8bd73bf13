//! Starting a child: what the start methods have in common.

use std::sync::Arc;

use mp_wire::{Deadline, Fd, Message, socket};

use crate::current::{self, Identity, Parent};
use crate::image::Image;
use crate::outcome::Outcome;
use crate::record::{Reaper, Record};
use crate::registry::{self, Pair};
use crate::settings::{self, Leads, Pipes, Settings, Settled, Variable};
use crate::wire::{self, Args, Around, First, Job};
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
    match plan.method() {
        StartMethod::Spawn => spawned(plan, entry, args),
        _ => forked(plan, entry, args),
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

/// A job, as it is sent to a child.
fn job(plan: &Plan, entry: u64, args: &Message, around: Option<Around>) -> Result<Message, Error> {
    let job = Job {
        program: Image::get().program().to_vec(),
        entry,
        identity: plan.identity(),
        settings: plan.settings.clone(),
        around,
        args: Args::of(args),
    };
    mp_wire::encode(&First::Child(Box::new(job)))
        .map_err(|error| Error::from_wire("the process cannot be described", error))
}

/// Sends a job, and the arguments if they are not in it; `false` if the child is gone.
fn send(socket: &Fd, job: &Message, args: &Message) -> Result<bool, Error> {
    let rest = if Args::fit(args) { None } else { Some(args) };
    for message in [Some(job), rest].into_iter().flatten() {
        match socket::send(socket, &message.bytes, &message.fds, Deadline::NEVER) {
            Ok(()) => {}
            Err(error) if error.kind() == mp_wire::ErrorKind::Closed => return Ok(false),
            Err(error) => {
                let what = "the arguments of a process cannot be sent";
                return Err(Error::from_wire(what, error));
            }
        }
    }
    Ok(true)
}

fn spawned(plan: &Plan, entry: u64, args: &Message) -> Result<Arc<Record>, Error> {
    execute::check()?;
    let job = job(plan, entry, args, None)?;
    let pair = Pair::new();
    let (pair, ours, theirs) =
        pair.map_err(|error| Error::from_io("no socket for a new process", error))?;
    let executed = execute::execute(&theirs, &settings::environment(&plan.environment)?)?;
    drop(theirs);
    pair.sent();
    let record = Record::new(pair.serial(), plan, executed.pid, executed.process, Reaper::Here);
    let record = Arc::new(record);
    if let Err(error) = send(&ours, &job, args) {
        // It waited for the first of them, and the end of its socket ends it.
        drop((ours, pair));
        record.wait(Deadline::NEVER);
        return Err(error);
    }
    // If it is dead already, whoever joins it learns how.
    settled(plan, &record, &ours)?;
    registry::enter(pair.serial(), &record, ours);
    Ok(record)
}

fn forked(plan: &Plan, entry: u64, args: &Message) -> Result<Arc<Record>, Error> {
    for _ in 0..ATTEMPTS {
        let zygote = zygote::get()?;
        let around = zygote.around(settings::environment(&plan.environment)?)?;
        let job = job(plan, entry, args, Some(around))?;
        let born = match zygote.take() {
            Ok(born) => born,
            Err(Refusal::Failed(error)) => return Err(error),
            Err(Refusal::Dead) => {
                zygote::bury(&zygote);
                continue;
            }
        };
        let sent = send(&born.life, &job, args);
        zygote.more();
        if !sent? {
            // It was killed just now, and has run nothing.
            continue;
        }
        let serial = born.pair.serial();
        let record = Record::new(serial, plan, born.pid, born.process, born.reaper);
        let record = Arc::new(record);
        settled(plan, &record, &born.life)?;
        registry::enter(serial, &record, born.life);
        return Ok(record);
    }
    let what = "the process that forks, or the one that it forked, ends each time before it has a function to run";
    Err(Error::new(ErrorKind::Program, what))
}
