//! Messages between processes on Linux: bytes and the file descriptors that travel with them
