#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "mp-process works on Linux alone: it needs pidfds, signal-driven sockets and /proc/self/exe"
);

mod boot;
mod child;
pub mod code;
mod current;
mod error;
mod execute;
mod exit;
mod fork;
mod image;
mod join;
mod method;
mod outcome;
mod process;
mod record;
mod registry;
mod start;
mod status;
mod sys;
mod target;
mod wire;
mod zygote;

pub use child::{ActiveChild, Child, active_children};
pub use current::{CurrentProcess, ParentProcess, cpu_count, current_process, parent_process};
pub use error::{Error, ErrorKind};
pub use join::{JoinError, JoinErrorKind};
pub use method::StartMethod;
pub use outcome::Panic;
pub use process::Process;
pub use status::ExitStatus;
pub use target::Target;
