//! Ends that notice when nobody has the other one, and waiting for several queues. Ids such as W-25 are those of the list of weak
//! spots of Python's queues.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::fmt::Debug;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mp_queue::{
    BytesQueue, ErrorKind, GetError, PlainQueue, PutError, Queue, Receiver, Select, Sender,
    Waitable, wait,
};

const SHORT: Duration = Duration::from_millis(30);

/// Runs tests one at a time: a child that one forks would have the ends of another, too.
fn guarded(test: impl FnOnce() + Send + 'static) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    common::guarded(test);
}

/// A child that runs this, and then waits to be killed.
#[expect(unsafe_code, reason = "forks")]
fn fork(child: impl FnOnce()) -> i32 {
    // SAFETY: the child calls `child`, which uses queues alone, and never returns.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        child();
        loop {
            // SAFETY: takes nothing.
            unsafe { libc::pause() };
        }
    }
    assert!(pid > 0);
    pid
}

#[expect(unsafe_code, reason = "kills a child")]
fn kill(pid: i32) {
    let mut status = -1;
    // SAFETY: takes no pointers.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    // SAFETY: `status` is writable.
    unsafe { libc::waitpid(pid, &mut status, 0) };
}

#[test]
fn types_are_send_sync_and_debug() {
    fn check<T: Send + Sync + Debug>() {}
    check::<(Sender<u8>, Receiver<u8>)>();
    fn shown<T: Debug>() {}
    shown::<Select<'_>>();
}

#[test]
fn w_25_who_reads_is_told_that_nobody_writes_any_more() {
    guarded(|| {
        let (sender, receiver) = Queue::new().unwrap().split().unwrap();
        let again = sender.clone();
        sender.put(&1).unwrap();
        drop(sender);
        assert!(!receiver.is_disconnected());
        again.put(&2).unwrap();
        drop(again);
        assert!(receiver.is_disconnected());
        assert_eq!((receiver.get().unwrap(), receiver.try_get().unwrap()), (1, 2));
        assert!(matches!(receiver.get(), Err(GetError::Disconnected)));
        assert!(receiver.try_get().unwrap_err().is_disconnected());
        assert!(receiver.get_timeout(SHORT).unwrap_err().is_disconnected());
        assert_eq!(receiver.iter().count(), 0);
    });
}

#[test]
fn who_sleeps_is_woken_by_the_last_drop() {
    guarded(|| {
        for _ in 0..20 {
            let (sender, receiver) = Queue::<u8>::new().unwrap().split().unwrap();
            thread::scope(|scope| {
                let sleepers = [(); 3].map(|()| scope.spawn(|| receiver.get()));
                thread::yield_now();
                drop(sender);
                for sleeper in sleepers {
                    assert!(matches!(sleeper.join().unwrap(), Err(GetError::Disconnected)));
                }
            });
        }
    });
}

#[test]
fn who_sleeps_notices_that_the_last_sender_was_killed() {
    guarded(|| {
        let (sender, receiver) = Queue::<u8>::new().unwrap().split().unwrap();
        let child = fork(|| sender.put(&7).unwrap());
        drop(sender);
        assert_eq!(receiver.get().unwrap(), 7);
        assert!(receiver.get_timeout(SHORT).unwrap_err().is_timeout());
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| receiver.get());
            kill(child);
            assert!(matches!(sleeper.join().unwrap(), Err(GetError::Disconnected)));
        });
    });
}

#[test]
fn who_waits_for_room_is_told_that_nobody_reads_any_more() {
    guarded(|| {
        let (sender, receiver) = Queue::bounded(1).unwrap().split().unwrap();
        sender.put(&1).unwrap();
        assert!(matches!(sender.try_put(&2), Err(PutError::Full)));
        assert!(matches!(sender.put_timeout(&2, SHORT), Err(PutError::Full)));
        let child = fork(|| assert!(!receiver.is_disconnected()));
        drop(receiver);
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| sender.put(&2));
            kill(child);
            assert!(matches!(sleeper.join().unwrap(), Err(PutError::Disconnected)));
        });
        assert!(sender.is_disconnected() && sender.queue().is_full());
    });
}

#[test]
fn an_end_on_its_way_counts() {
    guarded(|| {
        let (sender, receiver) = Queue::new().unwrap().split().unwrap();
        let letters = Queue::new().unwrap();
        letters.put(&sender).unwrap();
        drop(sender);
        assert!(receiver.try_get().unwrap_err().is_timeout());
        let sender: Sender<u32> = letters.get().unwrap();
        sender.put(&7).unwrap();
        letters.put(&sender).unwrap();
        drop((sender, letters));
        assert_eq!(receiver.get().unwrap(), 7);
        assert!(receiver.get().unwrap_err().is_disconnected());
        assert!(mp_wire::encode(&receiver).unwrap().decode::<Receiver<u32>>().is_ok());
    });
}

#[test]
fn closing_is_not_being_alone() {
    guarded(|| {
        let (sender, receiver) = Queue::new().unwrap().split().unwrap();
        sender.put(&1).unwrap();
        sender.queue().close();
        assert!(sender.put(&2).unwrap_err().is_closed());
        assert_eq!(receiver.iter().collect::<Vec<u8>>(), [1]);
        assert!(receiver.get().unwrap_err().is_closed() && receiver.queue().is_closed());
    });
}

#[test]
fn qu_12_join_thread() {
    let queue = Queue::new().unwrap();
    assert_eq!(queue.join_thread().unwrap_err().kind(), ErrorKind::InvalidInput);
    queue.put(&1).unwrap();
    queue.cancel_join_thread();
    queue.close();
    queue.join_thread().unwrap();
    assert_eq!(queue.get().unwrap(), 1);
}

#[test]
fn w_29_select() {
    guarded(|| {
        let (items, plain) = (Queue::new().unwrap(), PlainQueue::new().unwrap());
        let (bytes, (sender, receiver)) =
            (BytesQueue::new().unwrap(), Queue::<u8>::new().unwrap().split().unwrap());
        let mut select = Select::new();
        assert_eq!(select.ready().unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!([select.add(&items), select.add(&plain), select.add(&bytes)], [0, 1, 2]);
        assert_eq!(select.try_ready().unwrap(), None);
        let begin = Instant::now();
        assert_eq!(select.ready_timeout(SHORT).unwrap(), None);
        assert!(begin.elapsed() >= SHORT);
        plain.put(&1).unwrap();
        assert_eq!(select.ready().unwrap(), 1);
        items.put(&1).unwrap();
        bytes.put(b"1").unwrap();
        // Each has its turn.
        let turns = [(); 4].map(|()| select.try_ready().unwrap().unwrap());
        assert_eq!(turns, [2, 0, 1, 2]);
        assert!(select.remove(1) && !select.remove(1));
        assert_eq!(select.add(&receiver), 3);
        items.get().unwrap();
        bytes.get().unwrap();
        assert_eq!(select.try_ready().unwrap(), None);
        thread::scope(|scope| {
            let producer = scope.spawn(|| items.put(&2).unwrap());
            assert_eq!(select.ready().unwrap(), 0);
            producer.join().unwrap();
        });
        items.get().unwrap();
        let child = fork(|| sender.put(&7).unwrap());
        drop(sender);
        assert_eq!(select.ready().unwrap(), 3);
        assert_eq!(receiver.get().unwrap(), 7);
        thread::scope(|scope| {
            scope.spawn(|| kill(child));
            assert_eq!(select.ready().unwrap(), 3);
        });
        assert!(receiver.get().unwrap_err().is_disconnected());
    });
}

#[test]
fn queues_and_descriptors_together() {
    guarded(|| {
        let (queue, (socket, peer)) = (Queue::new().unwrap(), UnixStream::pair().unwrap());
        let all: [&dyn Waitable; 2] = [&queue, &socket];
        assert_eq!(wait(&all, Some(SHORT)).unwrap(), []);
        thread::scope(|scope| {
            let producer = scope.spawn(|| queue.put(&1).unwrap());
            assert_eq!(wait(&all, None).unwrap(), [0]);
            producer.join().unwrap();
        });
        drop(peer);
        assert_eq!(wait(&all, None).unwrap(), [0, 1]);
        queue.get().unwrap();
        assert_eq!(wait(&all, None).unwrap(), [1]);
    });
}
