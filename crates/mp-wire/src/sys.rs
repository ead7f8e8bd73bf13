//! The system calls of this crate that carry raw pointers, each behind a safe function.
#![expect(unsafe_code, reason = "sendmsg, recvmsg, ppoll and clock_gettime take raw pointers")]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use crate::Deadline;

/// The most descriptors that the kernel takes in one packet (`SCM_MAX_FD`).
pub(crate) const MAX_PACKET_FDS: usize = 253;

/// Room for the control message of a full packet, aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
struct Control([MaybeUninit<u8>; 1040]);

const FD_BYTES: usize = MAX_PACKET_FDS * size_of::<RawFd>();
// SAFETY: `CMSG_SPACE` only computes.
const _: () =
    assert!(unsafe { libc::CMSG_SPACE(FD_BYTES as u32) } as usize <= size_of::<Control>());

/// What came with one packet.
pub(crate) struct Packet {
    /// Payload bytes that were written to the buffers.
    pub(crate) len: usize,
    /// Every descriptor that arrived; owned already, so that no error path can leak one.
    pub(crate) fds: Vec<OwnedFd>,
    /// The payload or the descriptors did not fit (`MSG_TRUNC`, `MSG_CTRUNC`).
    pub(crate) truncated: bool,
}

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Sends one packet made of two slices, with descriptors; never raises `SIGPIPE`.
pub(crate) fn send_packet(
    socket: BorrowedFd<'_>,
    head: &[u8],
    body: &[u8],
    fds: &[RawFd],
    flags: i32,
) -> io::Result<usize> {
    debug_assert!(fds.len() <= MAX_PACKET_FDS);
    let mut slices = [
        libc::iovec { iov_base: head.as_ptr().cast_mut().cast(), iov_len: head.len() },
        libc::iovec { iov_base: body.as_ptr().cast_mut().cast(), iov_len: body.len() },
    ];
    let mut control = MaybeUninit::<Control>::uninit();
    let mut message = empty_message(&mut slices);
    if !fds.is_empty() {
        let bytes = size_of_val(fds) as u32;
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: only computes.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(bytes) } as _;
        // SAFETY: `message` has a control buffer with room for one header (asserted above).
        let header = unsafe { libc::CMSG_FIRSTHDR(&message) };
        // SAFETY: only computes.
        let length = unsafe { libc::CMSG_LEN(bytes) } as _;
        let filled = libc::cmsghdr {
            cmsg_len: length,
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        };
        // SAFETY: `header` points into `control`, which is aligned for it.
        unsafe { header.write(filled) };
        // SAFETY: `header` points into `control`.
        let data = unsafe { libc::CMSG_DATA(header) };
        // SAFETY: `control` has room for `MAX_PACKET_FDS` descriptors behind the header.
        unsafe { ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), data, bytes as usize) };
    }
    // SAFETY: `message` points to live slices and control bytes for the whole call.
    check(unsafe { libc::sendmsg(socket.as_raw_fd(), &message, flags | libc::MSG_NOSIGNAL) })
}

/// Receives one packet into two buffers; descriptors are close-on-exec from birth.
pub(crate) fn recv_packet(
    socket: BorrowedFd<'_>,
    head: &mut [u8],
    body: &mut [u8],
    flags: i32,
) -> io::Result<Packet> {
    let mut slices = [
        libc::iovec { iov_base: head.as_mut_ptr().cast(), iov_len: head.len() },
        libc::iovec { iov_base: body.as_mut_ptr().cast(), iov_len: body.len() },
    ];
    let mut control = MaybeUninit::<Control>::uninit();
    let mut message = empty_message(&mut slices);
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Control>() as _;
    let flags = flags | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `message` points to live, writable buffers for the whole call.
    let len = check(unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, flags) })?;
    Ok(Packet {
        len,
        fds: take_fds(&message),
        truncated: message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
    })
}

/// Copies the beginning of the first packet, and leaves it and its descriptors where they are.
pub(crate) fn peek_bytes(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
    // SAFETY: `bytes` is writable for its length.
    let len =
        unsafe { libc::recv(socket.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), flags) };
    check(len)
}

/// Throws the first packet away; the kernel closes its descriptors.
pub(crate) fn discard_packet(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no bytes are asked for, so none are written.
    let result = unsafe { libc::recv(socket.as_raw_fd(), ptr::null_mut(), 0, libc::MSG_DONTWAIT) };
    check(result).map(drop)
}

fn empty_message(slices: &mut [libc::iovec; 2]) -> libc::msghdr {
    // SAFETY: all zeroes is a valid `msghdr`: null pointers and lengths of zero.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_mut_ptr();
    message.msg_iovlen = slices.len() as _;
    message
}

/// Takes ownership of all descriptors in the control bytes of a received message.
fn take_fds(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel filled `message`; the iteration stays within `msg_controllen`.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: not null, so it points to a header that the kernel wrote.
        let head = unsafe { header.read() };
        if head.cmsg_level == libc::SOL_SOCKET && head.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: only computes.
            let offset = unsafe { libc::CMSG_LEN(0) } as usize;
            // SAFETY: `header` is a header in the control bytes.
            let data = unsafe { libc::CMSG_DATA(header) }.cast::<RawFd>();
            let count = (head.cmsg_len as usize).saturating_sub(offset) / size_of::<RawFd>();
            for index in 0..count {
                // SAFETY: within `cmsg_len`, which the kernel wrote.
                let slot = unsafe { data.add(index) };
                // SAFETY: as above; the data may be unaligned.
                let fd = unsafe { slot.read_unaligned() };
                // SAFETY: the kernel has just installed this descriptor for us alone.
                fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
        // SAFETY: `header` is a header of `message`.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    fds
}

/// Makes a connected pair of `SOCK_SEQPACKET` sockets, close-on-exec.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: `fds` has room for the two descriptors.
    let result = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) };
    check(result as isize)?;
    // SAFETY: the call succeeded, so this descriptor is new and ours.
    let first = unsafe { OwnedFd::from_raw_fd(fds[0]) };
    // SAFETY: as above.
    let second = unsafe { OwnedFd::from_raw_fd(fds[1]) };
    Ok((first, second))
}

/// Creates an anonymous file in memory that can be sealed.
pub(crate) fn memory_file() -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a valid C string.
    let fd = unsafe { libc::memfd_create(c"mp-message".as_ptr(), flags) };
    check(fd as isize)?;
    // SAFETY: the call succeeded, so this descriptor is new and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Reserves `len` bytes for a file, so that a full memory is an error here and not a `SIGBUS` later.
pub(crate) fn reserve(file: BorrowedFd<'_>, len: u64) -> io::Result<()> {
    if len > file_size_limit() {
        // The call would raise a signal that kills.
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    let len = libc::off_t::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
    // SAFETY: takes no pointers.
    check(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) } as isize).map(drop)
}

/// The largest file that this process may make (`RLIMIT_FSIZE`).
fn file_size_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is live and writable.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    if result == 0 { limit.rlim_cur } else { u64::MAX }
}

/// Seals against writing, growing and shrinking.
const SEALS: i32 = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

/// Makes a memory file immutable.
pub(crate) fn seal(file: BorrowedFd<'_>) -> io::Result<()> {
    let seals = SEALS | libc::F_SEAL_SEAL;
    // SAFETY: takes no pointers.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } as isize).map(drop)
}

/// Says whether nobody can change a memory file any more.
pub(crate) fn is_sealed(file: BorrowedFd<'_>) -> bool {
    // SAFETY: takes no pointers; an error is negative, and then nothing is sealed.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0 && seals & SEALS == SEALS
}

/// The number of a socket, which no other one has had or will have.
pub(crate) fn socket_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: `cookie` is writable and as large as `len` says.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    check(result as isize).map(|_| cookie)
}

/// Says whether a file lies in ordinary memory, and not in huge pages of its own.
pub(crate) fn is_tmpfs(file: BorrowedFd<'_>) -> bool {
    let mut data = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `data` is writable and as large as it must be.
    if unsafe { libc::fstatfs(file.as_raw_fd(), data.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the call succeeded, so all of it is written.
    let data = unsafe { data.assume_init() };
    data.f_type == libc::TMPFS_MAGIC
}

/// Time on `CLOCK_MONOTONIC`, in seconds and nanoseconds.
pub(crate) fn now() -> (i64, i64) {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable. The call cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    (time.tv_sec, time.tv_nsec)
}

/// Waits until one of the descriptors has an event, at most until the deadline; restarts when a signal interrupts.
pub(crate) fn poll(fds: &mut [libc::pollfd], deadline: Deadline) -> io::Result<usize> {
    loop {
        let timeout = deadline.remaining().map(|left| libc::timespec {
            tv_sec: libc::time_t::try_from(left.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let pointer = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: `fds` and the timeout live through the call; no signal mask is given.
        let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as _, pointer, ptr::null()) };
        match check(ready as isize) {
            Ok(0) if !deadline.is_past() => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Asks for large pages for memory that is about to be written; a refusal does no harm.
pub(crate) fn prefer_large_pages<T>(room: &mut [MaybeUninit<T>]) {
    const PAGE: usize = 4096;
    let range = room.as_mut_ptr_range();
    let start = range.start.cast::<u8>();
    let start = start.wrapping_add(start.align_offset(PAGE));
    let len = (range.end.addr()).saturating_sub(start.addr());
    // SAFETY: advice on pages that begin within memory of the caller, which changes nothing of their content, nor of what lies on the rest
    // of the last one.
    let _ = unsafe { libc::madvise(start.cast(), len, libc::MADV_HUGEPAGE) };
}
