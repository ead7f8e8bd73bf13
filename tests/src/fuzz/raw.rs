//! Packets and files that no honest process would send.

use std::ffi::CString;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// Sends one packet, with descriptors; one that there is no room for is not sent.
pub(super) fn send(socket: impl AsFd, bytes: &[u8], fds: &[OwnedFd]) {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights[..] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let slices = [IoSlice::new(bytes)];
    let _ = sendmsg::<()>(socket.as_fd().as_raw_fd(), &slices, control, flags, None);
}

/// A file of some kind: of memory that is sealed, partly sealed, not sealed, or not there; a device; one end of a pipe.
pub(super) fn file(kind: u8, len: usize) -> io::Result<OwnedFd> {
    match kind % 6 {
        0 => memory(len, len, SealFlag::all()),
        1 => memory(len, len, SealFlag::empty()),
        2 => memory(len, len, SealFlag::F_SEAL_WRITE),
        3 => memory(len, 0, SealFlag::all()),
        4 => Ok(std::fs::File::open("/dev/null")?.into()),
        _ => Ok(io::pipe()?.0.into()),
    }
}

fn memory(len: usize, filled: usize, seals: SealFlag) -> io::Result<OwnedFd> {
    let name = CString::new("fuzz").unwrap_or_default();
    let fd = memfd_create(&*name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(&vec![7; filled])?;
    file.set_len(len as u64)?;
    // A future seal is not known to each kernel.
    let seals = seals
        & (SealFlag::F_SEAL_SEAL
            | SealFlag::F_SEAL_SHRINK
            | SealFlag::F_SEAL_GROW
            | SealFlag::F_SEAL_WRITE);
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}
