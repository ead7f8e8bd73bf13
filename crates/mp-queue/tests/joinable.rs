//! Queues whose items are done when somebody says so, and those in another order. Children are forked, and call nothing but the
//! queue.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::guarded;
use mp_queue::{
    ErrorKind, GetError, JoinError, JoinableQueue, LifoQueue, Orphans, PriorityQueue, PutError,
    Queue, Select, SimpleQueue, wait,
};
use mp_wire::Fd;

/// Runs this in a child that ends without a word, and waits for its end.
#[expect(unsafe_code, reason = "forks")]
fn in_child(child: impl FnOnce()) {
    // SAFETY: the child calls `child`, which uses queues alone, and ends; it never returns.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        child();
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) };
    }
    assert!(pid > 0);
    let mut status = -1;
    // SAFETY: `status` is writable.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0, "the child failed");
}

#[test]
fn qu_08_join_returns_when_every_task_is_done() {
    static DONE: AtomicU32 = AtomicU32::new(0);
    guarded(|| {
        let queue = JoinableQueue::new().unwrap();
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || {
                    for item in queue.iter() {
                        let _: u32 = item;
                        DONE.fetch_add(1, Ordering::Relaxed);
                        queue.task_done().unwrap();
                    }
                })
            })
            .collect();
        (0..10).for_each(|item| queue.put(&item).unwrap());
        queue.join().unwrap();
        assert_eq!((DONE.load(Ordering::Relaxed), queue.unfinished()), (10, 0));
        queue.close();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

#[test]
fn task_done_too_often_is_an_error() {
    guarded(|| {
        let queue = JoinableQueue::new().unwrap();
        queue.put(&1).unwrap();
        assert_eq!(queue.task_done().unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!((queue.get().unwrap(), queue.len(), queue.unfinished()), (1, 0, 1));
        assert!(matches!(queue.join_timeout(Duration::ZERO), Err(JoinError::TimedOut)));
        queue.task_done().unwrap();
        assert_eq!(queue.task_done().unwrap_err().kind(), ErrorKind::InvalidInput);
        queue.join().unwrap();
    });
}

#[test]
fn join_timeout_is_not_early() {
    guarded(|| {
        let queue = JoinableQueue::new().unwrap();
        queue.put(&1).unwrap();
        let (start, time) = (Instant::now(), Duration::from_millis(30));
        assert!(matches!(queue.join_timeout(time), Err(JoinError::TimedOut)));
        assert!(start.elapsed() >= time);
    });
}

#[test]
fn what_a_dead_consumer_had_is_given_out_again() {
    guarded(|| {
        let queue = JoinableQueue::new().unwrap();
        (0..4).for_each(|item| queue.put(&item).unwrap());
        in_child(|| {
            // One is done, one is not, and one is a task that nobody drops.
            let done = queue.get().is_ok_and(|item| item == 0) && queue.task_done().is_ok();
            let task = queue.take();
            assert!(done && queue.get().is_ok() && task.is_ok());
            // Ends without dropping it.
            let _ = std::mem::ManuallyDrop::new(task);
        });
        assert_eq!((queue.len(), queue.unfinished()), (1, 3));
        let mut seen: Vec<i32> = (0..3).map(|_| queue.take().unwrap().done().unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3]);
        queue.join().unwrap();
    });
}

#[test]
fn what_a_dead_consumer_had_is_reported() {
    guarded(|| {
        let queue = JoinableQueue::builder().orphans(Orphans::Report).build().unwrap();
        queue.put(&"lost".to_owned()).unwrap();
        queue.put(&"found".to_owned()).unwrap();
        in_child(|| drop(queue.get()));
        assert_eq!(queue.get().unwrap(), "found");
        queue.task_done().unwrap();
        assert!(matches!(queue.join(), Err(JoinError::Lost(1))));
        assert_eq!(queue.take_lost().unwrap(), "lost");
        assert!(queue.take_lost().unwrap_err().is_timeout());
        queue.join().unwrap();
    });
}

#[test]
fn a_task_that_is_dropped_comes_again_where_it_was() {
    guarded(|| {
        let queue = JoinableQueue::new().unwrap();
        (0..3).for_each(|item| queue.put(&item).unwrap());
        let (first, second) = (queue.take().unwrap(), queue.take().unwrap());
        let other = thread::spawn(move || drop(first));
        other.join().unwrap();
        second.give_back().unwrap();
        let again = queue.take().unwrap();
        assert_eq!((*again, again.attempt()), (0, 2));
        // A copy of it in a forked child is none.
        let copy = &again;
        in_child(|| {
            assert_eq!(**copy, 0);
            assert!(queue.task_done().is_err());
        });
        again.done().unwrap();
        assert_eq!(queue.drain().collect::<Vec<_>>(), [1, 2]);
    });
}

#[test]
fn a_closed_queue_ends_when_no_task_can_come_back() {
    guarded(|| {
        let queue = JoinableQueue::new().unwrap();
        queue.put(&7).unwrap();
        let task = queue.take().unwrap();
        queue.close();
        assert!(queue.get().unwrap_err().is_closed());
        assert!(queue.put(&8).unwrap_err().is_closed());
        let other = {
            let queue = queue.clone();
            thread::spawn(move || {
                let again = queue.take().unwrap();
                let attempt = again.attempt();
                again.done().unwrap();
                (attempt, queue.take().unwrap_err().is_closed())
            })
        };
        drop(task);
        assert_eq!(other.join().unwrap(), (2, true));
    });
}

fn null() -> Fd {
    Fd::from(OwnedFd::from(File::open("/dev/null").unwrap()))
}

#[test]
fn descriptors_travel_but_not_twice() {
    guarded(|| {
        let queue = JoinableQueue::new().unwrap();
        for number in 0..3 {
            queue.put(&(number, Some(null()))).unwrap();
        }
        queue.put(&(3, None)).unwrap();
        let task = queue.take().unwrap();
        assert!(task.0 == 0 && task.1.as_ref().is_some());
        drop(task);
        match queue.get() {
            Err(GetError::Failed(error)) => assert_eq!(error.kind(), ErrorKind::DescriptorsLost),
            other => panic!("{other:?}"),
        }
        let rest: Vec<_> = queue.drain().map(|(number, fd)| (number, fd.is_some())).collect();
        assert_eq!(rest, [(1, true), (2, true), (3, false)]);
        assert_eq!(queue.unfinished(), 3);
        (0..3).for_each(|_| queue.task_done().unwrap());
        queue.join().unwrap();
        // A queue in a queue.
        let inner = JoinableQueue::<u8>::new().unwrap();
        let outer = JoinableQueue::new().unwrap();
        outer.put(&inner).unwrap();
        outer.get().unwrap().put(&5).unwrap();
        assert_eq!(inner.get().unwrap(), 5);
    });
}

#[test]
fn an_item_that_does_not_decode_is_done() {
    guarded(|| {
        let queue = JoinableQueue::<u8>::new().unwrap();
        let message = mp_wire::encode(&queue).unwrap();
        let wrong: JoinableQueue<String> = message.decode().unwrap();
        wrong.put(&"a text".to_owned()).unwrap();
        wrong.put(&String::new()).unwrap();
        assert!(matches!(queue.get(), Err(GetError::Failed(_))));
        assert_eq!((queue.get().unwrap(), queue.unfinished()), (0, 1));
    });
}

#[test]
fn qu_17_18_a_simple_queue() {
    guarded(|| {
        let queue = SimpleQueue::new().unwrap();
        assert!(queue.is_empty());
        queue.put(&true).unwrap();
        queue.put(&false).unwrap();
        assert!(!queue.is_empty());
        assert_eq!((queue.get().unwrap(), queue.get().unwrap()), (true, false));
        assert!(queue.is_empty());
        queue.close();
        queue.close();
        assert!(queue.get().unwrap_err().is_closed() && queue.put(&true).unwrap_err().is_closed());
    });
}

#[test]
fn order() {
    guarded(|| {
        let queue = PriorityQueue::new().unwrap();
        let stack = LifoQueue::new().unwrap();
        for (number, priority) in [5, -5, 0, 5, -5].into_iter().enumerate() {
            queue.put(priority, &number).unwrap();
            stack.put(&number).unwrap();
        }
        assert_eq!(queue.get_with_priority().unwrap(), (-5, 1));
        queue.close();
        stack.close();
        assert_eq!(queue.iter().collect::<Vec<_>>(), [4, 2, 0, 3]);
        assert_eq!(stack.iter().collect::<Vec<_>>(), [4, 3, 2, 1, 0]);
        assert!(queue.get().unwrap_err().is_closed() && stack.get().unwrap_err().is_closed());
    });
}

#[test]
fn capacity_and_timeouts() {
    guarded(|| {
        let queue = PriorityQueue::bounded(1).unwrap();
        let time = Duration::from_millis(20);
        assert!(queue.try_get().unwrap_err().is_timeout());
        assert!(queue.get_with_priority_timeout(time).unwrap_err().is_timeout());
        queue.put(0, &1).unwrap();
        assert!(queue.is_full());
        let start = Instant::now();
        assert!(matches!(queue.try_put(0, &2), Err(PutError::Full)));
        assert!(matches!(queue.put_timeout(0, &2, time), Err(PutError::Full)));
        assert!(start.elapsed() >= time);
        assert_eq!(LifoQueue::<u8>::bounded(0).unwrap_err().kind(), ErrorKind::InvalidInput);
        // Each of several sleepers gets on, on either side.
        let putters: Vec<_> = (0..3)
            .map(|number| {
                let queue = queue.clone();
                thread::spawn(move || queue.put(1, &number))
            })
            .collect();
        let mut seen: Vec<_> = (0..4).map(|_| queue.get().unwrap()).collect();
        putters.into_iter().for_each(|putter| putter.join().unwrap().unwrap());
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 1, 2]);
    });
}

#[test]
fn close_wakes_waiters() {
    guarded(|| {
        let (stack, full) = (LifoQueue::<u8>::new().unwrap(), JoinableQueue::bounded(1).unwrap());
        full.put(&1).unwrap();
        let getters: Vec<_> = (0..2)
            .map(|_| {
                let (stack, full) = (stack.clone(), full.clone());
                thread::spawn(move || {
                    stack.get().unwrap_err().is_closed() && full.put(&2).unwrap_err().is_closed()
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(5));
        stack.close();
        thread::sleep(Duration::from_millis(5));
        full.close();
        assert!(getters.into_iter().all(|getter| getter.join().unwrap()));
    });
}

#[test]
fn several_kinds_are_waited_for_together() {
    guarded(|| {
        let (stack, tasks) = (LifoQueue::new().unwrap(), JoinableQueue::<u8>::new().unwrap());
        let mut select = Select::new();
        let (of_stack, _) = (select.add(&stack), select.add(&tasks));
        assert_eq!(select.try_ready().unwrap(), None);
        let putter = {
            let stack = stack.clone();
            thread::spawn(move || stack.put(&1))
        };
        assert_eq!(select.ready().unwrap(), of_stack);
        putter.join().unwrap().unwrap();
        tasks.put(&1).unwrap();
        assert_eq!(wait(&[&stack, &tasks], None).unwrap(), [0, 1]);
    });
}

#[test]
fn qu_13_19_what_does_not_travel() {
    guarded(|| {
        let queue = PriorityQueue::new().unwrap();
        match queue.put(0, &Some(null())) {
            Err(PutError::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Encode),
            other => panic!("{other:?}"),
        }
        queue.put(0, &None).unwrap();
        assert!(queue.get().unwrap().is_none());
        assert!(postcard::to_stdvec(&queue).is_err());
        assert!(postcard::to_stdvec(&JoinableQueue::<u8>::new().unwrap()).is_err());
        // And what comes as something else.
        let stack = mp_wire::encode(&LifoQueue::<u8>::new().unwrap()).unwrap();
        assert!(stack.decode::<PriorityQueue<u8>>().is_err());
        assert!(stack.decode::<LifoQueue<u8>>().is_ok());
        let ring = mp_wire::encode(&Queue::<u8>::new().unwrap()).unwrap();
        assert!(ring.decode::<JoinableQueue<u8>>().is_err());
    });
}

#[test]
fn stress() {
    guarded(|| {
        const EACH: u64 = 3000;
        let queue = JoinableQueue::bounded(16).unwrap();
        let consume = |queue: JoinableQueue<u64>| {
            let mut sum = 0;
            while let Ok(task) = queue.take() {
                // Now and then somebody fails.
                if task.attempt() > 1 || *task % 7 != 0 {
                    sum += task.done().unwrap();
                }
            }
            sum
        };
        let consumers: Vec<_> = (0..3).map(|_| queue.clone()).collect();
        let consumers: Vec<_> =
            consumers.into_iter().map(|queue| thread::spawn(move || consume(queue))).collect();
        let producers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || (0..EACH).for_each(|number| queue.put(&number).unwrap()))
            })
            .collect();
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        queue.join().unwrap();
        queue.close();
        let sum: u64 = consumers.into_iter().map(|consumer| consumer.join().unwrap()).sum();
        assert_eq!(sum, 3 * EACH * (EACH - 1) / 2);
    });
}
