//! The process that forks children: its own side. One thread, one loop, no code of the user's but what is to be
//! preloaded.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;

use mp_wire::{Deadline, Fd, Limits, poll, socket};

use super::preload;
use crate::boot;
use crate::outcome;
use crate::record::Note;
use crate::registry;
use crate::sys::{self, Forked, On};
use crate::wire::Request;

/// Forks children on request, until the parent is gone.
pub(crate) fn serve(control: Fd, function: Option<u64>) -> ! {
    sys::set_short_name("mp-zygote");
    // Keys that the terminal turns into signals are the parent's affair.
    sys::on_signal(libc::SIGINT, On::Ignore);
    sys::on_signal(libc::SIGQUIT, On::Ignore);
    let kept = function.map(|place| preload::run(place, &control)).unwrap_or_default();
    sys::silence_streams();
    warm();
    let Ok(events) = sys::child_events() else { sys::exit_now(1) };
    let events = Fd::from(events);
    let mut children: HashMap<u32, Fd> = HashMap::new();
    loop {
        let ready = poll::readable(&[control.as_fd(), events.as_fd()], Deadline::NEVER);
        let Ok(ready) = ready else { sys::exit_now(1) };
        if ready.get(1) == Some(&true) {
            let mut buffer = [0; 1024];
            let _ = sys::read(events.as_fd(), &mut buffer);
            while let Some((pid, status)) = sys::reap_any() {
                if let Some(notes) = children.remove(&pid) {
                    Note::Ended(status).write(notes.as_fd());
                }
            }
        }
        if ready.first() == Some(&true) {
            let request = match socket::recv(&control, Limits::default(), Deadline::NOW) {
                Ok(message) => message.decode::<Request>(),
                Err(error) => Err(error),
            };
            match request {
                Ok(request) => match sys::fork() {
                    Ok(Forked::Child) => boot::forked(request, &kept),
                    Ok(Forked::Parent(pid)) => {
                        children.insert(pid, request.notes);
                    }
                    Err(error) => note(&request, &error),
                },
                // The parent is gone. Its children are not ours to end: the kernel does that.
                Err(error) if error.kind() == mp_wire::ErrorKind::Closed => sys::exit_now(0),
                // This one request is lost, and its parent sees its descriptors close.
                Err(_) => {}
            }
        }
    }
}

/// Does once what each child would do for itself.
fn warm() {
    registry::hook();
    let _ = std::io::stdout();
    sys::keep_overflow_message(outcome::overflow);
}

fn note(request: &Request, error: &io::Error) {
    Note::NotForked(error.raw_os_error().unwrap_or(libc::EAGAIN)).write(request.notes.as_fd());
}
