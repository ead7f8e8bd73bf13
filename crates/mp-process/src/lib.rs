#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
compile_error!(
    "mp-process works on Linux with glibc: it needs pidfds, signal-driven sockets, and arguments in `.init_array`"
);

mod boot;
mod builder;
mod child;
pub mod code;
mod context;
mod current;
mod error;
mod execute;
mod exit;
mod finalize;
mod fork;
mod image;
mod join;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub mod logging;
#[cfg(not(feature = "tracing"))]
mod logging;
mod memory;
mod method;
mod outcome;
mod process;
mod record;
mod registry;
mod resource;
mod scope;
mod settings;
mod start;
mod status;
mod sys;
mod target;
mod tree;
mod wire;
mod zygote;

pub use child::{ActiveChild, Child, active_children};
pub use context::{
    Context, force_start_method, get_all_start_methods, get_context, get_start_method,
    set_start_method,
};
pub use current::{CurrentProcess, ParentProcess, cpu_count, current_process, parent_process};
pub use error::{Error, ErrorKind};
pub use finalize::{Finalizer, at_exit, register_after_fork};
pub use join::{JoinError, JoinErrorKind};
pub use method::StartMethod;
pub use outcome::Panic;
pub use process::Process;
pub use resource::Resource;
pub use scope::{Scope, ScopedChild, scope};
pub use settings::Stdio;
pub use status::ExitStatus;
pub use target::Target;
pub use zygote::set_forkserver_preload;
