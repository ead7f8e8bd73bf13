#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod blob;
mod client;
mod dict;
mod error;
mod link;
mod list;
mod lock;
mod manager;
mod method;
mod protocol;
mod proxy;
mod queue;
mod registry;
mod server;
mod value;

pub use client::Client;
pub use dict::{Dict, Namespace};
pub use error::{Error, ErrorKind};
pub use list::{Array, List, ListIter};
pub use lock::{Lock, LockGuard};
pub use manager::{Both, Builder, Manager, Nothing, Setup};
pub use method::{Method, TakesMut, TakesRef};
pub use proxy::Proxy;
pub use queue::Queue;
pub use registry::{Class, Registry};
pub use value::Value;
