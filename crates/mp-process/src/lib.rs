//! Processes that run a Rust function: forkserver, spawn and fork, join, terminate, sentinel
