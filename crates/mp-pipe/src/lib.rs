#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod address;
#[cfg(feature = "tokio")]
mod aio;
mod bytes;
mod cipher;
mod client;
mod connection;
mod error;
mod half;
mod handshake;
mod inbox;
mod iter;
mod key;
mod link;
mod listen_error;
mod listener;
mod peer;
mod pipe;
mod registry;
mod ring;
mod stream;
mod sys;
mod unix;
mod wait;

pub use address::Address;
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub use aio::{AsyncConnection, AsyncListener, AsyncReceiver, AsyncSender};
pub use client::{Client, ClientBuilder};
pub use connection::Connection;
pub use error::{RecvError, SendError};
pub use half::{Receiver, Sender};
pub use iter::{Iter, Results};
pub use key::Key;
pub use listen_error::{Error, ErrorKind};
pub use listener::{Incoming, Listener, ListenerBuilder};
#[doc(no_inline)]
pub use mp_wire::Payload;
pub use peer::{Peer, Users};
pub use pipe::{pipe, simplex};
pub use wait::wait;
