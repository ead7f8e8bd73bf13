#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!(
    "mp-shared works on 64-bit Linux alone, x86_64 and aarch64: it rests on futexes and robust lists"
);

mod access;
mod array;
mod atomic;
mod barrier;
mod chunked;
mod condition;
mod error;
mod event;
pub mod fork;
mod heap;
mod home;
mod lock;
#[cfg(feature = "named")]
mod named;
mod object;
mod once;
mod poison;
mod raw;
pub mod ring;
mod rlock;
pub mod robust;
mod rwlock;
pub mod segment;
mod semaphore;
pub mod shelf;
mod slices;
mod slots;
mod sys;
#[cfg(test)]
mod testing;
mod value;
mod vec;
#[cfg(feature = "ndarray")]
mod views;
mod wait;
pub mod word;

/// Plain data: what a shared value can be made of.
#[doc(no_inline)]
pub use bytemuck;

pub use array::{Array, ArrayGuard};
pub use atomic::{Atomic, AtomicBits, AtomicNumber, AtomicValue};
pub use barrier::{Barrier, BarrierError, Party};
pub use chunked::{ChunkedArray, ChunkedGuard};
pub use condition::{Condition, Guard, WaitTimeoutResult};
pub use error::{Error, ErrorKind};
pub use event::Event;
pub use lock::{Lock, LockGuard};
#[cfg(feature = "named")]
pub use named::{ListItem, Orphan, ShareableList, SharedMemory, SharedMemoryManager};
pub use once::{Once, OnceState};
pub use poison::{LockError, LockResult, PoisonError};
pub use raw::{RawArray, RawValue};
pub use rlock::{RLock, RLockGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{AcquireError, BoundedSemaphore, ReleaseError, Semaphore, SemaphoreGuard};
pub use value::{Value, ValueGuard};
pub use vec::{SharedVec, SharedVecGuard};
pub use wait::{Source, Waitable, wait};
