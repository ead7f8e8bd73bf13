//! Attributes of files: short texts that the file system keeps beside them.
#![expect(unsafe_code, reason = "fsetxattr and lgetxattr take raw pointers")]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Longer ones are none of ours.
const MAX_LEN: usize = 256;

pub(super) fn set(file: &File, name: &CStr, value: &[u8]) -> io::Result<()> {
    let (fd, len) = (file.as_raw_fd(), value.len());
    // SAFETY: the name ends with NUL, and the value is readable for its length.
    let result = unsafe { libc::fsetxattr(fd, name.as_ptr(), value.as_ptr().cast(), len, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads one; `None` if the file has none of that name.
pub(super) fn get(path: &Path, name: &CStr) -> Option<Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut value = vec![0_u8; MAX_LEN];
    let (place, len) = (value.as_mut_ptr().cast(), value.len());
    // SAFETY: path and name end with NUL, and the value is writable for its length.
    let got = unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), place, len) };
    value.truncate(usize::try_from(got).ok()?);
    Some(value)
}
