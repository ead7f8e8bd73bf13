#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_os = "linux"))]
compile_error!("mp-wire works on Linux alone: it needs SCM_RIGHTS, memfd_create and seals");

mod buffer;
mod codec;
mod deadline;
mod eager;
mod error;
mod fd;
mod guard;
mod message;
mod numbers;
mod payload;
pub mod peek;
pub mod poll;
mod room;
pub mod socket;
mod spin;
pub mod stamped;
mod sys;
mod told;

pub use buffer::Buffer;
pub use codec::{decode, encode, encode_into, encode_with};
pub use deadline::Deadline;
pub use error::{Error, ErrorKind};
pub use fd::{Fd, WeakFd, above_streams, occupy_streams};
pub use message::Message;
pub use payload::{Delivery, Payload};
pub use room::try_reserve;
pub use socket::Limits;
pub use spin::Spin;
