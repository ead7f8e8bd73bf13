#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "mp-pool works on Linux alone: its workers are found dead by pidfds and talk through memfds"
);

mod batch;
mod body;
mod builder;
mod core;
mod dispatcher;
mod entry;
mod error;
mod executor;
mod feed;
mod future;
mod growth;
mod guide;
mod hooks;
mod imap;
mod job;
mod limiter;
mod links;
mod live;
mod loan;
mod meter;
#[cfg(test)]
mod model;
mod options;
mod parts;
mod pin;
mod place;
mod plain;
mod pool;
mod recipe;
mod result;
mod state;
mod stats;
mod supervisor;
mod sync;
mod sys;
mod task;
mod terms;
mod threads;
mod timeline;
mod trace;
mod transport;
mod wait;
mod worker;

pub use body::Backend;
pub use builder::Builder;
pub use entry::Initialized;
pub use error::{Death, Error, ErrorKind, TaskError};
pub use executor::{ProcessPoolExecutor, reusable_executor};
pub use future::{Future, FutureState};
pub use imap::{Imap, Indexed};
pub use mp_process::{Panic, StartMethod};
pub use options::Options;
pub use place::worker_id;
pub use pool::Pool;
pub use result::AsyncResult;
pub use stats::{Span, Stats, WorkerStats};
pub use task::should_stop;
pub use terms::Retry;
pub use threads::ThreadPool;
pub use timeline::Timeline;
pub use wait::{AsCompleted, DoneAndNotDone, ReturnWhen, as_completed, wait};
