//! System calls that neither the standard library nor `mp-wire` has.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd};

use mp_wire::Deadline;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{self, MsgFlags, recv, send, shutdown};
use nix::sys::time::TimeSpec;

/// Waits until a socket can be read or written: `true` if it can be read, `None` when the deadline passed first.
pub(crate) fn wait_either(socket: BorrowedFd<'_>, deadline: Deadline) -> io::Result<Option<bool>> {
    loop {
        let mut entries = [PollFd::new(socket, PollFlags::POLLIN | PollFlags::POLLOUT)];
        match ppoll(&mut entries, deadline.remaining().map(TimeSpec::from_duration), None) {
            Ok(0) if !deadline.is_past() => {}
            Ok(0) => return Ok(None),
            Ok(_) => {
                let events = entries[0].revents().unwrap_or(PollFlags::POLLERR);
                return Ok(Some(events.intersects(!PollFlags::POLLOUT)));
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Says whether nobody has the other end of a socket any more.
pub(crate) fn is_hung_up(socket: BorrowedFd<'_>) -> bool {
    let mut entries = [PollFd::new(socket, PollFlags::empty())];
    let ready = retry(|| ppoll(&mut entries, Some(TimeSpec::new(0, 0)), None));
    ready.is_ok_and(|count| count > 0)
}

/// Sends a packet without waiting.
pub(crate) fn send_packet(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    retry(|| send(socket.as_raw_fd(), bytes, flags)).map(drop)
}

/// Receives a packet without waiting; the kernel closes descriptors that come with it. One that does not fit is cut.
pub(crate) fn recv_packet(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    retry(|| match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
        // Said once, when the other end was closed with packets unread there. What came from it is still here.
        Err(Errno::ECONNRESET) => Err(Errno::EINTR),
        other => other,
    })
}

/// Ends one direction of a socket, or both, for all who have it.
pub(crate) fn shut(socket: BorrowedFd<'_>, how: Shutdown) -> io::Result<()> {
    let how = match how {
        Shutdown::Read => socket::Shutdown::Read,
        Shutdown::Write => socket::Shutdown::Write,
        Shutdown::Both => socket::Shutdown::Both,
    };
    match shutdown(socket.as_raw_fd(), how) {
        // The other side was quicker.
        Ok(()) | Err(Errno::ENOTCONN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Receives all packets that are there, for nobody.
pub(crate) fn throw_away(socket: BorrowedFd<'_>) {
    while recv_packet(socket, &mut [0]).is_ok_and(|count| count > 0) {}
}

/// Repeats a call that a signal interrupts.
pub(crate) fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}
