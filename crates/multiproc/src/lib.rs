//! The multiprocessing module of Python, whole, for Rust on Linux
