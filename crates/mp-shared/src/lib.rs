#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("mp-shared works on 64-bit Linux alone, x86_64 and aarch64: it rests on futexes and robust lists");

mod error;
pub mod fork;
pub mod ring;
pub mod robust;
pub mod segment;
pub mod spin;
mod sys;
#[cfg(test)]
mod testing;
pub mod word;

pub use error::{Error, ErrorKind};
