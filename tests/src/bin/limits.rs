//! Lives with little: `limits memory|descriptors|addresses`. Every refusal is an error, nothing is lost, and what was
//! refused works again when there is room.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper program fails loudly")]

use std::error::Error;
use std::fs::File;
use std::time::Duration;

use mp_tests::guard;
use multiproc::manager::ErrorKind as ManagerError;
use multiproc::queue::{ErrorKind as QueueError, PutError};
use multiproc::shared::ErrorKind as SharedError;
use multiproc::{Array, Lock, Manager, Pool, Process, Queue, RawArray, Value, pipe};

fn main() {
    let _guard = guard::limit(Duration::from_secs(50));
    match std::env::args().nth(1).as_deref() {
        Some("memory") => memory(),
        Some("descriptors") => descriptors(),
        Some("addresses") => addresses(),
        _ => panic!("limits memory|descriptors|addresses"),
    }
}

/// Limits this process; a child that runs already is not concerned.
fn limit(what: libc::__rlimit_resource_t, value: u64) -> u64 {
    #![expect(unsafe_code, reason = "std sets no limits")]
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `old` is writable.
    assert_eq!(unsafe { libc::getrlimit(what, &raw mut old) }, 0);
    let new = libc::rlimit { rlim_cur: value.min(old.rlim_max), rlim_max: old.rlim_max };
    // SAFETY: `new` is readable.
    assert_eq!(unsafe { libc::setrlimit(what, &raw const new) }, 0);
    old.rlim_cur
}

/// Files of at most 8 MiB, memory files among them: what would go beyond is a signal that kills, unless somebody looks.
fn memory() {
    let large = vec![7_u8; 1 << 20];
    limit(libc::RLIMIT_FSIZE, 8 << 20);

    let error = Array::<u8>::new(16 << 20).unwrap_err();
    assert_eq!(error.kind(), SharedError::Exhausted, "{error:?}");
    let error = RawArray::<u8>::new(16 << 20).unwrap_err();
    assert_eq!(error.kind(), SharedError::Exhausted, "{error:?}");
    assert_eq!(Array::<u8>::new(1 << 20).unwrap().len(), 1 << 20);

    let queue = Queue::new().unwrap();
    // Twice: after the first time there is room again.
    for _ in 0..2 {
        // What fits is kept, what does not is an error and changes nothing.
        let mut put = 0;
        let error = loop {
            match queue.put_timeout(&large, Duration::from_secs(10)) {
                Ok(()) => put += 1,
                Err(PutError::Failed(error)) => break error,
                Err(error) => panic!("{error:?} after {put}"),
            }
            assert!(put < 100, "there is no limit");
        };
        let kinds = [QueueError::Exhausted, QueueError::TooLarge];
        assert!(kinds.contains(&error.kind()), "{error:?}");
        assert!(put > 0, "{error:?}");
        assert_eq!(queue.len(), put);
        for _ in 0..put {
            assert_eq!(queue.get().unwrap(), large);
        }
        assert!(queue.is_empty());
    }

    // A message beside the socket is a memory file, too.
    let (here, there) = pipe::<Vec<u8>>().unwrap();
    let error = here.send(&vec![1; 9 << 20]).unwrap_err();
    assert!(error.source().is_some(), "{error:?}");
    here.send(&large).unwrap();
    assert_eq!(there.recv().unwrap(), large);
}

/// No descriptor left: nothing hangs, nothing panics, and what was there works on.
fn descriptors() {
    let queue = Queue::<u32>::new().unwrap();
    let handles = Queue::<Lock>::new().unwrap();
    let (here, there) = pipe::<u32>().unwrap();
    let value = Value::new(1).unwrap();
    let manager = Manager::start().unwrap();
    let list = manager.list::<u32>().unwrap();
    // The first call of a thread makes a connection.
    list.clear().unwrap();
    let pool = Pool::new(1).unwrap();
    let old = limit(libc::RLIMIT_NOFILE, 256);
    handles.put(&Lock::new().unwrap()).unwrap();
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }

    assert!(Queue::<u32>::new().is_err());
    assert!(pipe::<u32>().is_err());
    // Small objects share segments: so many need another one.
    let locks: Result<Vec<Lock>, _> = (0..10_000).map(|_| Lock::new()).collect();
    assert_eq!(locks.unwrap_err().kind(), SharedError::Exhausted);
    assert_eq!(Array::<u8>::new(1 << 20).unwrap_err().kind(), SharedError::Exhausted);
    assert!(Process::new(|| 1, ()).start().is_err());
    assert!(Pool::new(1).is_err());
    assert!(Manager::start().is_err());
    assert!(manager.list::<u32>().is_err());
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    let refused = handles.get_timeout(Duration::from_secs(5));
    assert!(refused.is_err(), "a handle came without a descriptor");

    queue.put(&1).unwrap();
    assert_eq!(queue.get().unwrap(), 1);
    here.send(&2).unwrap();
    assert_eq!(there.recv().unwrap(), 2);
    value.set(3).unwrap();
    // The call that was refused has cost its connection, and there is no descriptor for another one.
    if let Err(error) = list.push(&4) {
        assert_eq!(error.kind(), ManagerError::Exhausted, "{error:?}");
    }
    assert_eq!(pool.apply(|x: u32| x + 1, (5,)).unwrap(), 6);

    drop(files);
    limit(libc::RLIMIT_NOFILE, old);
    assert!(Queue::<u32>::new().is_ok());
    list.push(&4).unwrap();
    assert_eq!(Process::new(|| 1, ()).start().unwrap().join().unwrap(), 1);
    handles.put(&Lock::new().unwrap()).unwrap();
    assert!(handles.get().unwrap().lock().is_ok(), "the queue of handles goes on");
}

/// Little room for addresses: queues reserve less, and what cannot be had is an error.
fn addresses() {
    limit(libc::RLIMIT_AS, 1 << 30);
    let queue = Queue::<Vec<u8>>::new().unwrap();
    let item = vec![1_u8; 100_000];
    for _ in 0..100 {
        queue.put(&item).unwrap();
    }
    for _ in 0..100 {
        assert_eq!(queue.get().unwrap(), item);
    }
    let error = Array::<u8>::new(2 << 30).unwrap_err();
    assert_eq!(error.kind(), SharedError::Exhausted, "{error:?}");
    assert!(Array::<u8>::new(1 << 20).is_ok());
    let sum = Process::new(|queue: Queue<Vec<u8>>| queue.get().unwrap().len(), (queue.clone(),));
    queue.put(&item).unwrap();
    assert_eq!(sum.start().unwrap().join().unwrap(), 100_000);
}
