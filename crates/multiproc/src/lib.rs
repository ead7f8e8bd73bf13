#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod context;

pub use context::Factories;

pub use mp_manager as manager;
pub use mp_pipe as pipe;
pub use mp_pool as pool;
pub use mp_process as process;
pub use mp_queue as queue;
pub use mp_shared as shared;
pub use mp_wire as wire;

pub use mp_manager::Manager;
pub use mp_pipe::{Client, Connection, Listener, pipe, simplex, wait};
pub use mp_pool::{
    AsyncResult, Future, Pool, ProcessPoolExecutor, TaskError, ThreadPool, as_completed,
};
pub use mp_process::{
    Child, Context, Process, StartMethod, active_children, at_exit, cpu_count, current_process,
    get_all_start_methods, get_context, get_start_method, parent_process, scope, set_start_method,
};
pub use mp_queue::{
    BytesQueue, JoinableQueue, LifoQueue, PlainQueue, PriorityQueue, Queue, Select, SimpleQueue,
    Task,
};
/// As [`wait`](fn@wait), for queues and whatever has a descriptor together.
pub use mp_shared::wait as wait_any;
pub use mp_shared::{
    Array, AtomicValue, Barrier, BoundedSemaphore, ChunkedArray, Condition, Event, Lock, Once,
    RLock, RawArray, RawValue, RwLock, Semaphore, ShareableList, SharedMemory, SharedMemoryManager,
    SharedVec, Value, Waitable,
};
