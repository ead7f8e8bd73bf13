//! Processes that use a queue and die. Children are forked and call nothing but the queue. It is a binary of its own
//! because the count of descriptors is that of the whole process; its tests take turns for that.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::guarded;
use mp_queue::{ErrorKind, GetError, Queue};
use mp_wire::Fd;
use serde::{Deserialize, Serialize};

/// A child that runs this, and then ends without a word.
#[expect(unsafe_code, reason = "forks")]
fn fork(child: impl FnOnce()) -> i32 {
    // SAFETY: the child calls `child`, which uses queues alone, and ends; it never returns.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        child();
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) };
    }
    assert!(pid > 0);
    pid
}

#[expect(unsafe_code, reason = "sends a signal")]
fn kill(pid: i32) {
    // SAFETY: takes no pointers.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

#[expect(unsafe_code, reason = "waits for a child")]
fn wait(pid: i32) -> i32 {
    let mut status = -1;
    // SAFETY: `status` is writable.
    unsafe { libc::waitpid(pid, &mut status, 0) };
    status
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn null() -> Fd {
    Fd::from(OwnedFd::from(File::open("/dev/null").unwrap()))
}

/// Runs tests one at a time, and checks that no descriptor is left behind.
fn alone(test: impl FnOnce() + Send + 'static) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    guarded(move || {
        let before = descriptors();
        test();
        assert_eq!(descriptors(), before, "descriptors are left behind");
    });
}

#[test]
fn qu_05_items_of_parent_and_child_arrive_in_order() {
    alone(|| {
        let queue = Queue::new().unwrap();
        (0..10).for_each(|number| queue.put(&number).unwrap());
        let child = fork(|| (10..20).for_each(|number| queue.put(&number).unwrap_or_default()));
        assert_eq!(wait(child), 0);
        queue.close();
        let all: Vec<i32> = queue.iter().collect();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
    });
}

#[test]
fn qu_16_a_child_ends_with_large_items_unread() {
    alone(|| {
        let queue = Queue::new().unwrap();
        let item = "x".repeat(1 << 20);
        let child = fork(|| (0..8).for_each(|_| queue.put(&item).unwrap_or_default()));
        assert_eq!(wait(child), 0);
        for _ in 0..8 {
            assert_eq!(queue.get().unwrap().len(), 1 << 20);
        }
    });
}

#[test]
fn kill_waiter() {
    alone(|| {
        let queue = Queue::<u32>::new().unwrap();
        let full = Queue::bounded(1).unwrap();
        full.put(&0).unwrap();
        for round in 0..20 {
            // Both the one that sleeps and one that waits for its turn to.
            let waiters: Vec<_> = (0..2).map(|_| fork(|| drop(queue.get()))).collect();
            let putters: Vec<_> = (0..2).map(|_| fork(|| drop(full.put(&1)))).collect();
            std::thread::sleep(Duration::from_millis(round % 5));
            for pid in waiters.into_iter().chain(putters) {
                kill(pid);
                wait(pid);
            }
            queue.put(&7).unwrap();
            assert_eq!(queue.get().unwrap(), 7);
            assert_eq!(full.get().unwrap(), 0);
            full.put(&0).unwrap();
        }
    });
}

#[test]
fn kill_producers_and_consumers_at_random() {
    alone(|| {
        let queue = Queue::<(u32, Vec<u32>, Option<Fd>)>::bounded(64).unwrap();
        let fd = null();
        for round in 0..60 {
            let producer = fork(|| {
                for number in 0_u32.. {
                    let payload = vec![number; (number % 200) as usize];
                    let fd = number.is_multiple_of(2).then(|| fd.clone());
                    if queue.put(&(number, payload, fd)).is_err() {
                        return;
                    }
                }
            });
            let consumer = fork(|| while queue.get().is_ok() {});
            // This process reads along: each item is whole, and a producer's items are in order.
            let mut last = None;
            for _ in 0..round * 3 {
                let (number, payload, fd) = queue.get_timeout(Duration::from_secs(60)).unwrap();
                assert!(
                    payload.len() == (number % 200) as usize
                        && payload.iter().all(|&n| n == number)
                );
                assert_eq!(fd.is_some(), number.is_multiple_of(2));
                assert!(last.is_none_or(|last| last < number));
                last = Some(number);
            }
            for pid in [producer, consumer] {
                kill(pid);
                wait(pid);
            }
            // What the dead have left is whole too, and then the queue is as good as new.
            while let Ok((number, payload, _)) = queue.try_get() {
                assert!(payload.iter().all(|&n| n == number));
            }
            queue.put(&(1, vec![1], Some(fd.clone()))).unwrap();
            assert!(queue.get().unwrap().2.is_some());
        }
    });
}

#[test]
fn a_queue_received_ten_thousand_times_costs_no_descriptors() {
    alone(|| {
        let outer = Queue::new().unwrap();
        let inner = Queue::<u8>::new().unwrap();
        let before = descriptors();
        let mut kept = Vec::new();
        for _ in 0..10_000 {
            outer.put(&inner).unwrap();
            kept.push(outer.get().unwrap());
        }
        assert_eq!(descriptors(), before);
        kept[9_999].put(&5).unwrap();
        assert_eq!(inner.get().unwrap(), 5);
    });
}

/// A queue that is in the queue itself.
#[derive(Serialize, Deserialize)]
struct Knot(Fd, Queue<Knot>);

#[test]
fn drops() {
    alone(|| {
        for _ in 0..1000 {
            let queue = Queue::new().unwrap();
            queue.put(&Knot(null(), queue.clone())).unwrap();
        }
    });
}

#[test]
#[expect(unsafe_code, reason = "limits the descriptors of a child")]
fn an_item_waits_for_a_process_that_may_open_its_descriptors() {
    alone(|| {
        let queue = Queue::new().unwrap();
        queue.put(&vec![null(), null()]).unwrap();
        let child = fork(|| {
            let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: `old` is writable.
            unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut old) };
            let few = libc::rlimit { rlim_cur: 4, ..old };
            // SAFETY: `few` is readable.
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &few) };
            let refused = match queue.get() {
                Err(GetError::Failed(error)) => error.kind() == ErrorKind::Exhausted,
                _ => false,
            };
            // SAFETY: `old` is readable.
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &old) };
            let taken = queue.try_get().is_ok_and(|fds: Vec<Fd>| fds.len() == 2);
            // SAFETY: ends the process.
            unsafe { libc::_exit(i32::from(!(refused && taken))) };
        });
        assert_eq!(wait(child), 0);
    });
}
