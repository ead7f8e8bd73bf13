#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_os = "linux"))]
compile_error!("mp-queue works on Linux alone: it rests on memfds, futexes and SCM_RIGHTS");

#[cfg(feature = "tokio")]
mod aio;
mod batch;
mod beside;
mod builder;
mod bytes;
pub mod channel;
mod copied;
mod ends;
mod error;
mod handle;
mod joinable;
mod ordered;
mod plain;
mod queue;
mod registry;
mod select;
mod task;

pub use batch::{Batch, Drain, PutManyError};
pub use builder::Builder;
pub use bytes::{BytesQueue, BytesRef, Reservation};
pub use ends::{Receiver, Sender};
pub use error::{Error, ErrorKind, GetError, PutError};
pub use joinable::{JoinError, JoinableQueue};
#[doc(no_inline)]
pub use mp_shared::shelf::Orphans;
#[doc(no_inline)]
pub use mp_shared::{Source, Waitable, wait};
pub use ordered::{LifoQueue, PriorityQueue};
pub use plain::PlainQueue;
pub use queue::{IntoIter, Iter, Queue, Results, SimpleQueue};
pub use select::Select;
pub use task::Task;
