//! The process that forks children: its own side. One thread, one loop, no code of the user's but what is to be
//! preloaded.
//!
//! It has one child ready at any time, which waits for its job. Whenever the parent says that it took one, it makes the
//! next. So a start takes no longer than waking a process, unless starts follow each other faster than this one forks.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::time::Duration;

use mp_wire::{Deadline, Fd, poll, socket};

use super::preload;
use crate::image::Image;
use crate::record::Note;
use crate::sys::{self, Forked, On};
use crate::wire::{self, Answer, Ready};
use crate::{boot, registry};

/// How long a child that was not taken has to end, so that it is reaped before its parent ends.
const LAST: Duration = Duration::from_millis(100);

/// Forks children, until the parent is gone.
pub(crate) fn serve(control: Fd, wanted: Fd, function: Option<u64>) -> ! {
    sys::set_short_name("mp-zygote");
    // Keys that the terminal turns into signals are the parent's affair.
    sys::on_signal(libc::SIGINT, On::Ignore);
    sys::on_signal(libc::SIGQUIT, On::Ignore);
    // What each child would do for itself.
    boot::watch();
    registry::hook();
    let _ = io::stdout();
    let kept = function.map(|place| preload::run(place, &control)).unwrap_or_default();
    sys::silence_streams();
    let Ok(events) = sys::child_events() else { sys::exit_now(1) };
    let events = Fd::from(events);
    let mut server = Server { control, kept, children: HashMap::new(), ready: None };
    server.make_ready();
    loop {
        let waits = [events.as_fd(), wanted.as_fd(), server.control.as_fd()];
        let Ok(ready) = poll::readable(&waits, Deadline::NEVER) else { sys::exit_now(1) };
        let [ended, want, end] = ready[..] else { sys::exit_now(1) };
        // Somebody waits for the end of a child, and perhaps for a new one.
        if ended {
            let mut buffer = [0; 1024];
            let _ = sys::read(events.as_fd(), &mut buffer);
            server.reap();
        }
        if want {
            for _ in 0..sys::take_count(wanted.as_fd()) {
                server.make_ready();
            }
        }
        // The parent is gone. Its children are not ours to end: the kernel does that.
        if end {
            server.leave();
        }
    }
}

struct Server {
    control: Fd,
    /// Descriptors of what was preloaded, which children keep.
    kept: Vec<RawFd>,
    /// Where to write how each child ended.
    children: HashMap<u32, OwnedFd>,
    /// The child that the parent has not taken yet, as far as it has said.
    ready: Option<u32>,
}

impl Server {
    fn make_ready(&mut self) {
        let answer = self.fork().unwrap_or_else(|error| {
            self.ready = None;
            Answer::NotForked(error.raw_os_error().unwrap_or(libc::EAGAIN))
        });
        // Only if the parent is gone, as the next look will show: there is one answer for each question.
        let _ = wire::send(&self.control, &answer);
    }

    fn fork(&mut self) -> io::Result<Answer> {
        let (life, childs) = socket::pair()?;
        let (notes, ours) = sys::pipe()?;
        let childs = Fd::from(childs);
        match sys::fork()? {
            Forked::Child => boot::stand_by(&childs, &self.kept),
            Forked::Parent(pid) => {
                self.children.insert(pid, ours);
                self.ready = Some(pid);
                // Without it the child ends: this is the last of the other end of its socket.
                let process = sys::pidfd_open(pid)?.into();
                let program = Image::get().program().to_vec();
                let (life, notes) = (Some(life.into()), notes.into());
                Ok(Answer::Ready(Ready { program, pid, process, life, notes }))
            }
        }
    }

    /// Tells how children ended. Not of processes that what was preloaded has started: these are its own to reap.
    fn reap(&mut self) {
        while let Some(pid) = sys::next_ended() {
            if !self.reap_one(pid) {
                // It hides those behind it.
                let all: Vec<u32> = self.children.keys().copied().collect();
                for pid in all {
                    self.reap_one(pid);
                }
                break;
            }
        }
    }

    fn reap_one(&mut self, pid: u32) -> bool {
        let Some(notes) = self.children.get(&pid) else { return false };
        let Some(status) = sys::reap_number(pid) else { return false };
        Note(status).write(notes.as_fd());
        self.children.remove(&pid);
        true
    }

    /// The end. A child that nobody has taken ends by itself, and is to be nobody else's to reap.
    fn leave(self) -> ! {
        let process = self.ready.and_then(|pid| sys::pidfd_open(pid).ok());
        if let (Some(pid), Some(process)) = (self.ready, process)
            && poll::wait_readable(process.as_fd(), Deadline::after(LAST)).unwrap_or_default()
        {
            sys::reap_number(pid);
        }
        sys::exit_now(0)
    }
}
