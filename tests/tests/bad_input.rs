//! Bad input, everywhere: a clear error from the call that caused it, and what was in flight is not lost.
#![allow(clippy::unwrap_used, reason = "what goes wrong here must fail the test")]

use std::error::Error;
use std::time::{Duration, Instant};

use mp_tests::guard;
use multiproc::manager::ErrorKind as ManagerError;
use multiproc::pipe::{RecvError, SendError};
use multiproc::pool::TaskError;
use multiproc::process::{ErrorKind as ProcessError, JoinErrorKind};
use multiproc::queue::{ErrorKind as QueueError, GetError, PutError};
use multiproc::shared::ErrorKind as SharedError;
use multiproc::{
    Array, Event, Lock, Manager, Pool, Process, Queue, RawArray, SharedMemory, StartMethod, Value,
    pipe, simplex,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

/// Serializes if it is even, and decodes if the number is not 13.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fussy(u32);

impl Serialize for Fussy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 2 == 1 && self.0 != 13 {
            return Err(ser::Error::custom("odd numbers stay at home"));
        }
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fussy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            13 => Err(de::Error::custom("nobody wants this one")),
            number => Ok(Self(number)),
        }
    }
}

const METHODS: [StartMethod; 2] = [StartMethod::Forkserver, StartMethod::Spawn];

/// All that an error and its causes say.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[test]
fn sizes_of_zero() {
    let _guard = guard::minute();
    let Err(error) = Queue::<u8>::bounded(0) else { panic!("a queue of no capacity") };
    assert_eq!(error.kind(), QueueError::InvalidInput);
    // QU-07, PL-21, PL-16, PL-15, PL-34, SH-03
    assert!(Pool::new(0).is_err());
    assert!(Pool::builder().workers(1).max_tasks_per_child(0).build().is_err());
    assert_eq!(SharedMemory::new(0).unwrap_err().kind(), SharedError::InvalidInput);
    let pool = Pool::new(1).unwrap();
    let result = pool.chunk_size(0).map(|x: u8| x, [1]);
    assert!(matches!(result, Err(TaskError::InvalidInput(_))), "{result:?}");
    let result = pool.buffer_size(0).imap(|x: u8| x, [1]).next().unwrap();
    assert!(matches!(result, Err(TaskError::InvalidInput(_))), "{result:?}");
    assert_eq!(pool.map(|x: u8| x, [1]).unwrap(), [1], "the pool goes on");
    // VA-06: no elements are fine.
    assert!(Array::<u64>::new(0).unwrap().to_vec().unwrap().is_empty());
    assert!(RawArray::<u64>::new(0).unwrap().is_empty());
}

#[test]
fn sizes_beyond_all_memory() {
    let _guard = guard::minute();
    for len in [usize::MAX, usize::MAX / 8, 1 << 50] {
        let error = Array::<u64>::new(len).unwrap_err();
        let kinds = [SharedError::InvalidInput, SharedError::Exhausted];
        assert!(kinds.contains(&error.kind()), "{len}: {error:?}");
        let error = RawArray::<u64>::new(len).unwrap_err();
        assert!(kinds.contains(&error.kind()), "{len}: {error:?}");
        let error = SharedMemory::new(len).unwrap_err();
        assert!(kinds.contains(&error.kind()), "{len}: {error:?}");
        let error = multiproc::shared::segment::Segment::create(1, len).unwrap_err();
        assert!(kinds.contains(&error.kind()), "{len}: {error:?}");
    }
    // What a bound counts need not fit into memory.
    let queue = Queue::bounded(usize::MAX).unwrap();
    queue.put(&1).unwrap();
    assert_eq!(queue.get().unwrap(), 1);
}

#[test]
fn timeouts_of_zero_and_of_ages() {
    let _guard = guard::minute();
    let queue = Queue::<u8>::bounded(1).unwrap();
    assert!(matches!(queue.get_timeout(Duration::ZERO), Err(GetError::Empty)));
    queue.put_timeout(&1, Duration::MAX).unwrap();
    assert!(matches!(queue.put_timeout(&2, Duration::ZERO), Err(PutError::Full)));
    assert_eq!(queue.get_timeout(Duration::MAX).unwrap(), 1);

    let (here, there) = pipe::<u8>().unwrap();
    assert!(matches!(here.recv_timeout(Duration::ZERO), Err(RecvError::Empty)));
    assert!(!here.poll_timeout(Duration::ZERO).unwrap());
    there.send_timeout(&1, Duration::MAX).unwrap();
    assert_eq!(here.recv_timeout(Duration::MAX).unwrap(), 1);

    let lock = Lock::new().unwrap();
    let held = lock.lock_timeout(Duration::MAX).unwrap();
    let other = lock.clone();
    std::thread::spawn(move || assert!(other.lock_timeout(Duration::ZERO).is_err()))
        .join()
        .unwrap();
    drop(held);
    let event = Event::new().unwrap();
    assert!(!event.wait_timeout(Duration::ZERO));
    event.set();
    assert!(event.wait_timeout(Duration::MAX));

    let pool = Pool::new(1).unwrap();
    let mut result = pool.apply_async(|go: Queue<u8>| go.get().unwrap(), (queue.clone(),)).unwrap();
    assert!(matches!(result.get_timeout(Duration::ZERO), Err(TaskError::TimedOut)));
    queue.put(&1).unwrap();
    assert!(result.get_timeout(Duration::MAX).is_ok());

    let mut child = Process::new(|| 5, ()).start().unwrap();
    child.wait();
    assert_eq!(child.join_timeout(Duration::MAX).unwrap().unwrap(), 5);
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<u8>().unwrap();
    let kind = queue.get_timeout(Duration::ZERO).unwrap_err().kind();
    assert!(matches!(kind, ManagerError::Empty | ManagerError::TimedOut), "{kind:?}");
}

#[test]
fn a_timeout_is_never_early() {
    let _guard = guard::minute();
    let queue = Queue::<u8>::new().unwrap();
    let (here, _there) = pipe::<u8>().unwrap();
    let event = Event::new().unwrap();
    let manager = Manager::start().unwrap();
    let far = manager.queue::<u8>().unwrap();
    let mut child = Process::new(std::thread::park, ()).daemon(true).start().unwrap();
    for millis in [1, 30, 110] {
        let time = Duration::from_millis(millis);
        let mut waits: [(&str, &mut dyn FnMut()); 5] = [
            ("queue", &mut || assert!(queue.get_timeout(time).is_err())),
            ("pipe", &mut || assert!(here.recv_timeout(time).is_err())),
            ("event", &mut || assert!(!event.wait_timeout(time))),
            ("join", &mut || assert!(child.join_timeout(time).is_none())),
            ("manager", &mut || assert!(far.get_timeout(time).is_err())),
        ];
        for (what, wait) in &mut waits {
            let start = Instant::now();
            wait();
            assert!(start.elapsed() >= time, "{what}: {:?} of {time:?}", start.elapsed());
        }
    }
    child.kill().unwrap();
    child.wait();
}

#[test]
fn a_value_that_does_not_serialize() {
    let _guard = guard::minute();
    let odd = Fussy(1);
    // QU-13: with a bound of one, so that nothing may be left of it.
    let queue = Queue::bounded(1).unwrap();
    let Err(PutError::Failed(error)) = queue.put(&odd) else { panic!("it was put") };
    assert_eq!(error.kind(), QueueError::Encode);
    assert!(chain(&error).contains("Fussy"), "{}", chain(&error));
    assert_eq!(queue.len(), 0);
    queue.put(&Fussy(2)).unwrap();
    assert_eq!(queue.get().unwrap(), Fussy(2));

    let (here, there) = pipe::<Fussy>().unwrap();
    let error = here.send(&odd).unwrap_err();
    assert!(matches!(error, SendError::Encode(_)), "{error:?}");
    assert!(chain(&error).contains("Fussy"), "{}", chain(&error));
    here.send(&Fussy(4)).unwrap();
    assert_eq!(there.recv().unwrap(), Fussy(4));

    for method in METHODS {
        let error = Process::new(|_: Fussy| (), (odd,)).start_method(method).start().unwrap_err();
        assert_eq!(error.kind(), ProcessError::Encode, "{error:?}");
        assert!(chain(&error).contains("Fussy"), "{}", chain(&error));
        let child = Process::new(|| Fussy(1), ()).start_method(method).start().unwrap();
        let error = child.join().unwrap_err();
        assert!(matches!(error.kind(), JoinErrorKind::Encode(_)), "{error:?}");
    }

    // PL-06, PL-07: neither argument nor result costs a worker, or another task.
    let pool = Pool::new(1).unwrap();
    let pids = pool.pids();
    for _ in 0..20 {
        let result = pool.apply(|_: Fussy| (), (odd,));
        assert!(matches!(result, Err(TaskError::Encode(_))), "{result:?}");
        let error = pool.apply(Fussy, (1,)).unwrap_err();
        assert!(chain(&error).contains("Fussy"), "{}", chain(&error));
    }
    assert_eq!(pool.map(Fussy, [2, 4]).unwrap(), [Fussy(2), Fussy(4)]);
    assert_eq!(pool.pids(), pids, "no worker was lost");

    let manager = Manager::start().unwrap();
    let list = manager.list().unwrap();
    assert_eq!(list.push(&odd).unwrap_err().kind(), ManagerError::Encode);
    list.push(&Fussy(6)).unwrap();
    assert_eq!(list.to_vec().unwrap(), [Fussy(6)]);
}

#[test]
fn a_message_that_does_not_decode() {
    let _guard = guard::minute();
    let bad = Fussy(13);
    let queue = Queue::new().unwrap();
    for item in [Fussy(2), bad, Fussy(4)] {
        queue.put(&item).unwrap();
    }
    assert_eq!(queue.get().unwrap(), Fussy(2));
    let Err(GetError::Failed(error)) = queue.get() else { panic!("it was got") };
    assert_eq!(error.kind(), QueueError::Decode);
    assert!(chain(&error).contains("Fussy"), "{}", chain(&error));
    assert_eq!(queue.get().unwrap(), Fussy(4), "the next is not lost");

    let (here, there) = pipe::<Fussy>().unwrap();
    for message in [bad, Fussy(4)] {
        here.send(&message).unwrap();
    }
    let error = there.recv().unwrap_err();
    assert!(matches!(error, RecvError::Decode(_)), "{error:?}");
    assert_eq!(there.recv().unwrap(), Fussy(4));

    for method in METHODS {
        let child = Process::new(|_: Fussy| (), (bad,)).start_method(method).start().unwrap();
        let error = child.join().unwrap_err();
        let JoinErrorKind::Arguments(text) = error.kind() else { panic!("{error:?}") };
        assert!(text.contains("Fussy"), "{text}");
        let child = Process::new(|| Fussy(13), ()).start_method(method).start().unwrap();
        let error = child.join().unwrap_err();
        assert!(matches!(error.kind(), JoinErrorKind::Decode(_)), "{error:?}");
    }

    // W-04: the pool goes on, with the same workers.
    let pool = Pool::new(1).unwrap();
    let pids = pool.pids();
    let error = pool.apply(|_: Fussy| (), (bad,)).unwrap_err();
    assert!(chain(&error).contains("Fussy"), "{}", chain(&error));
    let error = pool.apply(Fussy, (13,)).unwrap_err();
    assert!(chain(&error).contains("Fussy"), "{}", chain(&error));
    assert_eq!(pool.apply(Fussy, (8,)).unwrap(), Fussy(8));
    assert_eq!(pool.pids(), pids, "no worker was lost");

    let manager = Manager::start().unwrap();
    let list = manager.list().unwrap();
    list.extend(&[bad, Fussy(4)]).unwrap();
    assert_eq!(list.get(0).unwrap_err().kind(), ManagerError::Decode);
    assert_eq!(list.get(1).unwrap(), Some(Fussy(4)));
}

#[test]
fn strange_bytes_are_no_message() {
    let _guard = guard::minute();
    let (here, there) = pipe::<Vec<String>>().unwrap();
    // A length of 2^63 elements, a half message, and more than a message.
    for bytes in [&[0xff; 9][..], &[3, 1, b'a'], &[0, 0], &[]] {
        here.send_bytes(bytes).unwrap();
    }
    here.send(&vec!["whole".to_owned()]).unwrap();
    for _ in 0..4 {
        assert!(matches!(there.recv(), Err(RecvError::Decode(_))));
    }
    assert_eq!(there.recv().unwrap(), ["whole"]);
}

/// Serializes a handle as a file would.
fn outside<T: Serialize>(handle: &T) {
    let error = postcard::to_allocvec(handle).unwrap_err();
    // Postcard keeps no text of the cause; that it is an error is what counts.
    assert!(matches!(error, postcard::Error::SerdeSerCustom), "{error:?}");
}

#[test]
fn a_handle_outside_a_message() {
    let _guard = guard::minute();
    // QU-19, LK-14, VA-10
    outside(&Queue::<u8>::new().unwrap());
    outside(&Queue::<u8>::bounded(3).unwrap());
    let (here, there) = pipe::<u8>().unwrap();
    outside(&here);
    outside(&there);
    let (sender, receiver) = simplex::<u8>().unwrap();
    outside(&sender);
    outside(&receiver);
    outside(&Value::new(1).unwrap());
    outside(&Array::<u8>::new(1).unwrap());
    outside(&RawArray::<u8>::new(1).unwrap());
    outside(&Lock::new().unwrap());
    outside(&Event::new().unwrap());
    outside(&multiproc::shared::ring::Ring::new().unwrap());
    let manager = Manager::start().unwrap();
    outside(&manager.client());
    outside(&manager.list::<u8>().unwrap());
    outside(&manager.queue::<u8>().unwrap());
    outside(&manager.lock().unwrap());
    // And what was not serialized is as good as before.
    here.send(&1).unwrap();
    assert_eq!(there.recv().unwrap(), 1);
}

#[test]
fn what_is_closed() {
    let _guard = guard::minute();
    // QU-10: what was put before still comes.
    let queue = Queue::new().unwrap();
    queue.put(&1).unwrap();
    queue.close();
    queue.close();
    assert!(matches!(queue.put(&2), Err(PutError::Closed)));
    assert!(matches!(queue.try_put(&2), Err(PutError::Closed)));
    assert_eq!(queue.get().unwrap(), 1);
    assert!(matches!(queue.get(), Err(GetError::Closed)));
    assert!(matches!(queue.try_get(), Err(GetError::Closed)));
    let child = Process::new(|queue: Queue<i32>| queue.get().is_err(), (queue,)).start().unwrap();
    assert!(child.join().unwrap(), "a closed queue can be sent, and stays closed");

    // PI-05
    let (here, there) = pipe().unwrap();
    there.send(&5).unwrap();
    drop(there);
    assert_eq!(here.recv().unwrap(), 5);
    assert!(matches!(here.recv(), Err(RecvError::Closed)));
    assert!(matches!(here.send(&1), Err(SendError::Closed)));
    assert!(here.poll().unwrap());

    // PL-24
    let pool = Pool::new(1).unwrap();
    pool.close();
    assert!(matches!(pool.apply(|| (), ()), Err(TaskError::Closed)));
    pool.join().unwrap();
    let pool = Pool::new(1).unwrap();
    let lost = pool.apply_async(std::thread::park, ()).unwrap();
    pool.terminate();
    // PL-41
    assert!(matches!(lost.get(), Err(TaskError::Terminated)));
    assert!(pool.apply(|| (), ()).is_err());

    let manager = Manager::start().unwrap();
    let list = manager.list::<u8>().unwrap();
    manager.shutdown().unwrap();
    assert_eq!(list.push(&1).unwrap_err().kind(), ManagerError::Closed);
}

#[test]
fn a_dead_peer() {
    let _guard = guard::minute();
    // A connection whose other end was in a process that was killed.
    let (here, there) = pipe::<u8>().unwrap();
    let child = Process::new(
        |there: multiproc::Connection<u8>| {
            there.send(&1).unwrap();
            std::thread::park();
        },
        (there,),
    );
    let child = child.start().unwrap();
    assert_eq!(here.recv().unwrap(), 1);
    child.kill().unwrap();
    assert!(matches!(here.recv(), Err(RecvError::Closed)));
    assert!(matches!(here.send(&1), Err(SendError::Closed)));
    let error = child.join().unwrap_err();
    assert!(matches!(error.kind(), JoinErrorKind::Killed { signal: 9 }), "{error:?}");

    // LK-09: a lock and a value whose holder was killed.
    let (lock, value, event) =
        (Lock::new().unwrap(), Value::new(1).unwrap(), Event::new().unwrap());
    let hold = |lock: Lock, value: Value<i32>, event: Event| {
        let _lock = lock.lock().unwrap();
        let mut value = value.lock().unwrap();
        *value = 2;
        event.set();
        std::thread::park();
    };
    let arguments = (lock.clone(), value.clone(), event.clone());
    let child = Process::new(hold, arguments).start().unwrap();
    event.wait();
    child.kill().unwrap();
    assert!(lock.lock_timeout(Duration::from_secs(30)).is_err(), "poisoned");
    assert!(lock.is_poisoned() && !lock.is_locked());
    lock.clear_poison();
    assert!(lock.lock().is_ok());
    assert!(value.lock().is_err(), "poisoned");
    value.clear_poison();
    assert_eq!(value.get().unwrap(), 2);

    // PL-40
    let pool = Pool::new(1).unwrap();
    let running = Event::new().unwrap();
    let forever = |running: Event| {
        running.set();
        std::thread::park();
    };
    let result = pool.apply_async(forever, (running.clone(),)).unwrap();
    running.wait();
    let pid = pool.pids()[0].to_string();
    std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
    let error = result.get().unwrap_err();
    assert!(matches!(error, TaskError::Died { .. }), "{error:?}");
    assert_eq!(pool.apply(|| 3, ()).unwrap(), 3, "another worker stands in");

    let manager = Manager::start().unwrap();
    let queue = manager.queue::<u8>().unwrap();
    let waiting = queue.clone();
    let waiter = std::thread::spawn(move || waiting.get().unwrap_err().kind());
    let pid = manager.pid().to_string();
    std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
    assert_eq!(waiter.join().unwrap(), ManagerError::Closed);
    assert_eq!(queue.put(&1).unwrap_err().kind(), ManagerError::Closed);
}

#[test]
fn a_function_of_a_shared_library() {
    let _guard = guard::minute();
    let far: extern "C" fn() -> libc::pid_t = {
        extern "C" fn near() -> libc::pid_t {
            0
        }
        assert!(multiproc::process::code::Code::new(near as extern "C" fn() -> _).is_ok());
        libc_function()
    };
    let error = multiproc::process::code::Code::new(far).unwrap_err();
    assert_eq!(error.kind(), ProcessError::NotInProgram, "{error:?}");
}

/// A function that lies in the C library.
fn libc_function() -> extern "C" fn() -> libc::pid_t {
    #![expect(
        unsafe_code,
        reason = "asks the loader for an address, so that no stub of ours is in between"
    )]
    // SAFETY: the name is a string with an end, and the C library is loaded.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"getppid".as_ptr()) };
    assert!(!address.is_null());
    // SAFETY: `getppid` takes nothing, returns a process id and is safe to call.
    unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> libc::pid_t>(address) }
}
