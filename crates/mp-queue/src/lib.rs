#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_os = "linux"))]
compile_error!("mp-queue works on Linux alone: it rests on memfds, futexes and SCM_RIGHTS");

mod batch;
pub mod channel;
mod error;
mod queue;
mod registry;

pub use batch::{Batch, Drain, PutManyError};
pub use error::{Error, ErrorKind, GetError, PutError};
pub use queue::{IntoIter, Iter, Queue, Results};
