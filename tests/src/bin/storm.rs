//! Blocks in every way there is, while a handler interrupts every wait some thousand times a second.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper program fails loudly")]
#![expect(unsafe_code, reason = "installs a signal handler and sends signals")]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use mp_tests::guard;
use mp_tests::step::Role;
use multiproc::{
    Array, Barrier, BoundedSemaphore, ChunkedArray, Condition, Connection, Event, Lock, Manager,
    Once, Pool, Process, Queue, RLock, RwLock, Semaphore, SharedVec, Value, pipe, wait,
};

static CAUGHT: AtomicU64 = AtomicU64::new(0);

extern "C" fn caught(_: libc::c_int) {
    CAUGHT.fetch_add(1, Relaxed);
}

/// Interrupts this process every 100 µs, from another one.
fn storm() -> Role {
    // SAFETY: zero bytes are a valid `sigaction`; without SA_RESTART every wait is interrupted.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = caught as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler adds to an atomic and nothing else.
    let set = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    assert_eq!(set, 0);
    let target = std::process::id().cast_signed();
    Role::fork(|| {
        while mp_tests::proc::entry(target).is_some_and(|entry| entry.state != 'Z') {
            for _ in 0..100 {
                // SAFETY: no memory is involved; the process is our parent.
                unsafe { libc::kill(target, libc::SIGUSR1) };
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    })
}

const PAUSE: Duration = Duration::from_millis(30);

/// The other process of everything below: each step comes late, so that the first one has to wait.
fn slow(queue: Queue<u32>, there: Connection<Vec<u8>>, lock: Lock, event: Event) -> u32 {
    let pause = || std::thread::sleep(PAUSE);
    for number in 0..5 {
        pause();
        queue.put(&number).unwrap();
    }
    // Larger than a socket takes at once: many small ones, then a large one.
    for _ in 0..200 {
        let message = there.recv().unwrap();
        there.send(&message).unwrap();
    }
    pause();
    there.send(&vec![9; 3 << 20]).unwrap();
    let held = lock.lock().unwrap();
    queue.put(&77).unwrap();
    pause();
    drop(held);
    pause();
    event.set();
    pause();
    42
}

fn nap(number: u32) -> u32 {
    std::thread::sleep(Duration::from_millis(5));
    number
}

fn main() {
    // Before there are threads, for it forks.
    let mut storm = storm();
    let _guard = guard::limit(Duration::from_secs(50));
    while CAUGHT.load(Relaxed) < 100 {
        std::thread::yield_now();
    }

    let queue = Queue::new().unwrap();
    let (here, there) = pipe().unwrap();
    let (lock, event) = (Lock::new().unwrap(), Event::new().unwrap());
    let arguments = (queue.clone(), there, lock.clone(), event.clone());
    let mut child = Process::new(slow, arguments).start().unwrap();
    for number in 0..5 {
        assert_eq!(queue.get().unwrap(), number);
    }
    // PI-18
    let message = vec![3_u8; 20_000];
    for _ in 0..200 {
        here.send(&message).unwrap();
        assert_eq!(here.recv().unwrap(), message);
    }
    assert_eq!(here.recv().unwrap().len(), 3 << 20);
    assert_eq!(queue.get_timeout(Duration::from_secs(30)).unwrap(), 77);
    drop(lock.lock().unwrap());
    event.wait();
    // PR-43
    assert!(child.join_timeout(Duration::from_micros(100)).is_none_or(|value| value.is_ok()));
    if child.is_alive() {
        assert_eq!(child.join().unwrap(), 42);
    }

    never_early();
    primitives_are_never_early();

    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.map(nap, 0..50).unwrap(), Vec::from_iter(0..50));
    let manager = Manager::builder().shutdown_timeout(Duration::from_secs(30)).start().unwrap();
    let far = manager.queue::<u32>().unwrap();
    let late = |far: multiproc::manager::Queue<u32>| {
        for number in 0..10 {
            std::thread::sleep(Duration::from_millis(5));
            far.put(&number).unwrap();
        }
    };
    let child = Process::new(late, (far.clone(),)).start().unwrap();
    for number in 0..10 {
        assert_eq!(far.get().unwrap(), number);
    }
    assert_eq!(wait(&[child.sentinel()], None).unwrap(), [0]);
    child.join().unwrap();
    pool.close();
    pool.join().unwrap();
    assert!(manager.shutdown().unwrap().success());

    storm.kill();
    println!("{} signals", CAUGHT.load(Relaxed));
}

/// A wait that is interrupted goes on to its end, and no longer than that by much.
fn never_early() {
    let queue = Queue::<u8>::new().unwrap();
    let (here, _there) = pipe::<u8>().unwrap();
    let (event, value) = (Event::new().unwrap(), Value::new(1).unwrap());
    let held = value.lock().unwrap();
    let other = value.clone();
    let child = Process::new(std::thread::sleep, (Duration::from_secs(3600),)).start().unwrap();
    let time = Duration::from_millis(60);
    let mut waits: [(&str, &mut dyn FnMut()); 5] = [
        ("queue", &mut || assert!(queue.get_timeout(time).is_err())),
        ("pipe", &mut || assert!(here.recv_timeout(time).is_err())),
        ("event", &mut || assert!(!event.wait_timeout(time))),
        ("wait", &mut || assert!(wait(&[&here], Some(time)).unwrap().is_empty())),
        ("child", &mut || assert!(child.wait_timeout(time).is_none())),
    ];
    for (what, wait) in &mut waits {
        let start = Instant::now();
        wait();
        assert!(start.elapsed() >= time, "{what}: {:?} of {time:?}", start.elapsed());
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            assert!(other.lock_timeout(time).is_err());
            assert!(start.elapsed() >= time);
        });
    });
    drop(held);
    child.kill().unwrap();
    child.wait();
}

/// The same, for all that lies in shared memory; what can be held is held by another thread.
fn primitives_are_never_early() {
    let (lock, rlock, rwlock) =
        (Lock::new().unwrap(), RLock::new().unwrap(), RwLock::new(0).unwrap());
    let (value, array) = (Value::new(0).unwrap(), Array::<u64>::new(8).unwrap());
    let chunked = ChunkedArray::<u64>::new(8, 2).unwrap();
    let vec = SharedVec::<u64>::new().unwrap();
    let (semaphore, bounded) = (Semaphore::new(0).unwrap(), BoundedSemaphore::new(1).unwrap());
    let (condition, own) = (Condition::new().unwrap(), Lock::new().unwrap());
    let (barrier, once) = (Barrier::new(2).unwrap(), Once::new().unwrap());
    let (held, release) = (Event::new().unwrap(), Event::new().unwrap());
    let time = Duration::from_millis(30);
    let waits: [(&str, &dyn Fn() -> bool); 15] = [
        ("lock", &|| lock.lock_timeout(time).is_ok()),
        ("rlock", &|| rlock.lock_timeout(time).is_ok()),
        ("read", &|| rwlock.read_timeout(time).is_ok()),
        ("write", &|| rwlock.write_timeout(time).is_ok()),
        ("value", &|| value.lock_timeout(time).is_ok()),
        ("array", &|| array.lock_timeout(time).is_ok()),
        ("chunks", &|| chunked.lock_timeout(2..6, time).is_ok()),
        ("vec", &|| vec.lock_timeout(time).is_ok()),
        ("semaphore", &|| semaphore.acquire_timeout(time).is_ok()),
        ("bounded semaphore", &|| bounded.acquire_timeout(time).is_ok()),
        ("condition", &|| {
            let (_guard, late) = condition.wait_timeout(own.lock().unwrap(), time).unwrap();
            !late.timed_out()
        }),
        ("condition with a predicate", &|| {
            condition.wait_for_timeout(own.lock().unwrap(), |_| false, time).unwrap().1
        }),
        ("barrier", &|| barrier.wait_timeout(time).is_ok()),
        ("once", &|| once.call_once_timeout(|_| (), time).is_ok()),
        ("once to be done", &|| once.wait_timeout(time)),
    ];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let guards = (lock.lock(), rlock.lock(), rwlock.write(), value.lock(), array.lock());
            let more = (chunked.lock(4..), vec.lock(), bounded.acquire());
            let action = |_: &_| {
                held.set();
                release.wait();
            };
            once.call_once(action).unwrap();
            drop((guards, more));
        });
        held.wait();
        for (what, wait) in waits {
            let start = Instant::now();
            assert!(!wait(), "{what} comes to an end");
            assert!(start.elapsed() >= time, "{what}: {:?} of {time:?}", start.elapsed());
        }
        release.set();
    });
}
