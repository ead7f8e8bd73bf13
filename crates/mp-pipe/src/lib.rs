#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod connection;
mod error;
mod half;
mod iter;
mod link;
mod pipe;
mod wait;

pub use connection::Connection;
pub use error::{RecvError, SendError};
pub use half::{Receiver, Sender};
pub use iter::{Iter, Results};
pub use pipe::{pipe, simplex};
pub use wait::wait;
