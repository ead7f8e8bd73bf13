//! Queues in tasks: futures that are dropped at every point where they wait, and nothing is lost or doubled.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a step that fails fails the test")]

use std::fs::File;
use std::future::{Future, poll_fn};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use mp_queue::{GetError, PutError, Queue};
use mp_wire::Fd;
use tokio::runtime::Builder;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(60);

/// Runs a test; one that hangs fails.
fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { timeout(LONG, test).await.expect("it goes on") });
}

/// Polls a future so many times at most, each time when it is woken, and drops it.
async fn polled<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[test]
fn smoke() {
    let queue = Queue::<(u32, String)>::new().unwrap();
    run(async {
        queue.put_async(&(1, "one".to_owned())).await.unwrap();
        assert_eq!(queue.get_async().await.unwrap(), (1, "one".to_owned()));
        let getter = tokio::spawn({
            let queue = queue.clone();
            async move { queue.get_async().await }
        });
        tokio::task::yield_now().await;
        queue.put(&(2, "two".to_owned())).unwrap();
        assert_eq!(getter.await.unwrap().unwrap().0, 2);
    });
}

#[test]
fn getting_can_be_dropped_anywhere() {
    const ITEMS: u32 = 3000;
    let queue = Queue::<u32>::new().unwrap();
    let producer = queue.clone();
    let (empty, is_empty) = mpsc::channel();
    let work = thread::spawn(move || {
        // Once somebody has waited in vain.
        is_empty.recv().unwrap();
        for number in 0..ITEMS {
            producer.put(&number).unwrap();
            if number % 100 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
        }
        producer.close();
    });
    run(async {
        let mut next = 0;
        for times in (1..=3).cycle() {
            match polled(queue.get_async(), times).await {
                None => {
                    let _ = empty.send(());
                    tokio::task::yield_now().await;
                }
                Some(Ok(number)) => {
                    assert_eq!(number, next);
                    next += 1;
                }
                Some(Err(GetError::Closed)) => break,
                Some(Err(error)) => panic!("{error:?}"),
            }
        }
        assert_eq!(next, ITEMS);
    });
    work.join().unwrap();
}

#[test]
fn putting_can_be_dropped_anywhere() {
    const ITEMS: u32 = 3000;
    let queue = Queue::<u32>::bounded(4).unwrap();
    let consumer = queue.clone();
    let (full, is_full) = mpsc::channel();
    let work = thread::spawn(move || {
        is_full.recv().unwrap();
        let mut seen = Vec::new();
        for number in &consumer {
            seen.push(number);
            if number % 100 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
        }
        seen
    });
    run(async {
        let (mut next, mut dropped) = (0, 0);
        for times in (1..=3).cycle() {
            if next == ITEMS {
                break;
            }
            // Nobody is woken before it is read.
            let times = if dropped == 0 { 1 } else { times };
            match polled(queue.put_async(&next), times).await {
                None => {
                    dropped += 1;
                    let _ = full.send(());
                    tokio::task::yield_now().await;
                }
                Some(Ok(())) => next += 1,
                Some(Err(error)) => panic!("{error:?}"),
            }
        }
        queue.close();
    });
    assert!(work.join().unwrap().into_iter().eq(0..ITEMS));
}

#[test]
fn many_tasks_and_threads_at_many_queues() {
    const ITEMS: u32 = 400;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    // More than the kernel sleeps on at once.
    let queues: Vec<Queue<u32>> = (0..140).map(|_| Queue::bounded(2).unwrap()).collect();
    let results = Queue::<u32>::new().unwrap();
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for queue in &queues {
            let (queue, results) = (queue.clone(), results.clone());
            tasks.push(tokio::spawn(async move {
                while let Ok(number) = queue.get_async().await {
                    results.put_async(&number).await.unwrap();
                }
            }));
        }
        for number in 0..ITEMS {
            queues[number as usize % queues.len()].put_async(&number).await.unwrap();
        }
        queues.iter().for_each(Queue::close);
        for task in tasks {
            timeout(LONG, task).await.expect("it goes on").unwrap();
        }
    });
    results.close();
    let mut seen: Vec<u32> = results.iter().collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..ITEMS));
}

#[test]
fn tasks_of_one_queue_are_each_told() {
    let queue = Queue::<u32>::new().unwrap();
    run(async {
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.get_async().await.unwrap() })
            })
            .collect();
        tokio::task::yield_now().await;
        for number in 0..20 {
            queue.put(&number).unwrap();
        }
        let mut seen = Vec::new();
        for task in tasks {
            seen.push(task.await.unwrap());
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..20));
        // And of the end.
        let waits = tokio::spawn({
            let queue = queue.clone();
            async move { queue.get_async().await }
        });
        tokio::task::yield_now().await;
        queue.close();
        assert!(matches!(waits.await.unwrap(), Err(GetError::Closed)));
        assert!(matches!(queue.put_async(&1).await, Err(PutError::Closed)));
    });
}

#[test]
fn ends_notice_that_the_other_is_gone() {
    run(async {
        let (sender, receiver) = Queue::<u32>::bounded(1).unwrap().split().unwrap();
        sender.put_async(&1).await.unwrap();
        let waits = tokio::spawn(async move {
            let first = receiver.get_async().await;
            (first, receiver.get_async().await)
        });
        tokio::task::yield_now().await;
        drop(sender);
        let (first, second) = waits.await.unwrap();
        assert_eq!(first.unwrap(), 1);
        assert!(matches!(second, Err(GetError::Disconnected)));

        let (sender, receiver) = Queue::<u32>::bounded(1).unwrap().split().unwrap();
        sender.put_async(&1).await.unwrap();
        let waits = tokio::spawn(async move { sender.put_async(&2).await });
        tokio::task::yield_now().await;
        drop(receiver);
        assert!(matches!(waits.await.unwrap(), Err(PutError::Disconnected)));
    });
}

#[test]
fn descriptors_wait_for_room_too() {
    let queue = Queue::<Fd>::new().unwrap();
    let file = Fd::from(OwnedFd::from(File::open("/dev/null").unwrap()));
    run(async {
        let mut put = 0;
        while queue.try_put(&file).is_ok() {
            put += 1;
        }
        let waits = tokio::spawn({
            let (queue, file) = (queue.clone(), file.clone());
            async move { queue.put_async(&file).await }
        });
        tokio::task::yield_now().await;
        for _ in 0..=put {
            queue.get_async().await.unwrap();
        }
        waits.await.unwrap().unwrap();
    });
}

#[test]
fn a_timeout_is_not_early_and_takes_nothing() {
    let queue = Queue::<u32>::new().unwrap();
    run(async {
        let start = Instant::now();
        let time = Duration::from_millis(20);
        assert!(timeout(time, queue.get_async()).await.is_err());
        assert!(start.elapsed() >= time);
        queue.put(&1).unwrap();
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.get_async().await.unwrap(), 1);
    });
}

#[test]
fn futures_can_go_to_other_threads() {
    fn can<T: Send>(_: &T) {}
    let queue = Queue::<Vec<u8>>::new().unwrap();
    can(&queue.put_async(&vec![1]));
    can(&queue.get_async());
}
