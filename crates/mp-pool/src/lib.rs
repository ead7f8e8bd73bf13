#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "mp-pool works on Linux alone: its workers are found dead by pidfds and talk through memfds"
);

mod batch;
mod builder;
mod core;
mod dispatcher;
mod entry;
mod error;
mod feed;
mod imap;
mod job;
mod links;
mod live;
mod options;
mod pool;
mod result;
mod supervisor;
mod sys;
mod transport;
mod worker;

pub use builder::Builder;
pub use entry::Initialized;
pub use error::{Death, Error, ErrorKind, TaskError};
pub use imap::Imap;
pub use mp_process::{Panic, StartMethod};
pub use options::Options;
pub use pool::Pool;
pub use result::AsyncResult;
