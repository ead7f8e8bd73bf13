//! Connections in tasks: futures that are dropped at every point where they wait, and nothing is lost or doubled.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a step that fails fails the test")]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use mp_pipe::{
    AsyncConnection, AsyncListener, Client, Connection, ErrorKind, Listener, RecvError, SendError,
    pipe, simplex,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(60);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs a test; one that hangs fails.
fn run(test: impl Future<Output = ()>) {
    runtime().block_on(async { timeout(LONG, test).await.expect("it goes on") });
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

type Ends = (Connection<(u32, Vec<u8>)>, Connection<(u32, Vec<u8>)>);

/// Connections of each kind: with memory beside the socket, without, and over TCP.
fn of_each_kind() -> [Ends; 3] {
    let over = |listener: Listener<(u32, Vec<u8>)>| {
        let client = Client::connect(listener.address().clone()).unwrap();
        (client, listener.accept().unwrap())
    };
    let unix = Listener::new().unwrap();
    let tcp = Listener::bind(("127.0.0.1", 0)).unwrap();
    [pipe().unwrap(), over(unix), over(tcp)]
}

/// Short, longer than a packet, and longer than the ring takes.
fn message(number: u32) -> (u32, Vec<u8>) {
    let len = match number % 29 {
        7 => 100_000,
        13 => 3 << 20,
        other => other as usize * 50,
    };
    (number, vec![number as u8; len])
}

fn check(message: &(u32, Vec<u8>), number: u32) {
    assert!(*message == self::message(number), "{} in place of {number}", message.0);
}

#[test]
fn both_ends_in_tasks() {
    for (a, b) in of_each_kind() {
        run(async {
            let (a, b) = (a.into_async().unwrap(), b.into_async().unwrap());
            let echo = tokio::spawn(async move {
                while let Ok(message) = b.recv().await {
                    b.send(&message).await.unwrap();
                }
            });
            for number in 0..100 {
                a.send(&message(number)).await.unwrap();
                check(&a.recv().await.unwrap(), number);
            }
            drop(a);
            echo.await.unwrap();
        });
    }
}

#[test]
fn receiving_can_be_dropped_anywhere() {
    const MESSAGES: u32 = 300;
    for (a, b) in of_each_kind() {
        let (empty, is_empty) = mpsc::channel();
        let sender = thread::spawn(move || {
            // Once somebody has waited in vain.
            is_empty.recv().unwrap();
            for number in 0..MESSAGES {
                a.send(&message(number)).unwrap();
                if number % 5 == 0 {
                    // So that the other side has to wait.
                    thread::yield_now();
                }
            }
        });
        run(async {
            let b = b.into_async().unwrap();
            let mut next = 0;
            for times in (1..=4).cycle() {
                match polled(b.recv(), times).await {
                    None => {
                        let _ = empty.send(());
                        tokio::task::yield_now().await;
                    }
                    Some(Ok(message)) => {
                        check(&message, next);
                        next += 1;
                    }
                    Some(Err(RecvError::Closed)) => break,
                    Some(Err(error)) => panic!("{error:?}"),
                }
            }
            assert_eq!(next, MESSAGES);
        });
        sender.join().unwrap();
    }
}

#[test]
fn sending_can_be_dropped_anywhere() {
    const MESSAGES: u32 = 2000;
    let [ringed, packets, tcp] = of_each_kind();
    for (kind, (a, b)) in [ringed, packets, tcp].into_iter().enumerate() {
        let (full, is_full) = mpsc::channel();
        let receiver = thread::spawn(move || {
            is_full.recv().unwrap();
            let mut seen = Vec::new();
            while let Ok(message) = b.recv() {
                check(&message, message.0);
                seen.push(message.0);
                if message.0 % 16 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            seen
        });
        run(async {
            let a = a.into_async().unwrap();
            let (mut next, mut dropped) = (0, 0);
            for times in (1..=4).cycle() {
                if next == MESSAGES {
                    break;
                }
                // Nobody is woken before it is read.
                let times = if dropped == 0 { 1 } else { times };
                match polled(a.send(&message(next)), times).await {
                    // Sent again, for it was not.
                    None => {
                        dropped += 1;
                        let _ = full.send(());
                        tokio::task::yield_now().await;
                    }
                    Some(Ok(())) => next += 1,
                    Some(Err(error)) => panic!("{error:?}"),
                }
            }
            assert!(dropped > 0, "nobody ever waited");
            a.flush().await.unwrap();
        });
        let mut seen = receiver.join().unwrap();
        if kind == 2 {
            // Over TCP one that was begun arrives whole, as often as it was begun.
            seen.dedup();
        }
        assert!(seen.into_iter().eq(0..MESSAGES));
    }
}

#[test]
fn the_rest_of_a_message_goes_out_with_whatever_comes_next() {
    let [.., (a, b)] = of_each_kind();
    run(async {
        let (a, b) = (a.into_async().unwrap(), b.into_async().unwrap());
        let large = (1, vec![9; 20 << 20]);
        assert!(polled(a.send(&large), 1).await.is_none());
        // The answer comes when all of it has come: so who waits for it has to send the rest.
        let answer = tokio::spawn(async move { a.recv().await });
        assert!(b.recv().await.unwrap() == large);
        b.send(&message(2)).await.unwrap();
        check(&answer.await.unwrap().unwrap(), 2);
    });
}

#[test]
fn a_full_connection_takes_what_there_is_room_for() {
    let (a, b) = simplex::<Vec<u8>>().unwrap();
    run(async {
        let (a, b) = (a.into_async().unwrap(), b.into_async().unwrap());
        let block = vec![1; 200_000];
        let mut sent = 0;
        while polled(a.send(&block), 1).await.is_some() {
            sent += 1;
        }
        let waits = tokio::spawn({
            let (a, block) = (a.clone(), block.clone());
            async move { a.send(&block).await }
        });
        for _ in 0..=sent {
            assert_eq!(b.recv().await.unwrap().len(), block.len());
        }
        waits.await.unwrap().unwrap();
        assert!(polled(b.recv(), 1).await.is_none());
        drop(a);
        assert!(matches!(b.recv().await, Err(RecvError::Closed)));
    });
}

#[test]
fn clones_are_watched_apart() {
    let (a, b) = pipe::<u32>().unwrap();
    run(async {
        let other = b.clone().into_async().unwrap();
        let b = b.into_async().unwrap();
        let waits: Vec<_> = [b.clone(), b, other.clone(), other]
            .into_iter()
            .map(|end| tokio::spawn(async move { end.recv().await.unwrap() }))
            .collect();
        tokio::task::yield_now().await;
        for number in 0..4 {
            a.send(&number).unwrap();
        }
        let mut seen = Vec::new();
        for task in waits {
            seen.push(task.await.unwrap());
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3]);
    });
}

#[test]
fn tasks_and_threads_share_an_end() {
    const MESSAGES: u32 = 2000;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (sender, receiver) = simplex::<u32>().unwrap();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let receiver = receiver.clone();
            thread::spawn(move || receiver.iter().collect::<Vec<_>>())
        })
        .collect();
    let mut seen = runtime.block_on(async {
        let receiver = receiver.into_async().unwrap();
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let receiver = receiver.clone();
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    while let Ok(number) = receiver.recv().await {
                        seen.push(number);
                    }
                    seen
                })
            })
            .collect();
        let senders: Vec<_> = (0..2)
            .map(|who| {
                let sender = sender.clone().into_async().unwrap();
                tokio::spawn(async move {
                    for number in 0..MESSAGES / 2 {
                        sender.send(&(2 * number + who)).await.unwrap();
                    }
                })
            })
            .collect();
        drop(sender);
        for task in senders {
            timeout(LONG, task).await.expect("it goes on").unwrap();
        }
        let mut seen = Vec::new();
        for task in tasks {
            seen.extend(timeout(LONG, task).await.expect("it goes on").unwrap());
        }
        seen
    });
    seen.extend(threads.into_iter().flat_map(|thread| thread.join().unwrap()));
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..MESSAGES));
}

#[test]
fn payloads_bytes_and_readiness() {
    let (a, b) = pipe::<()>().unwrap();
    run(async {
        let (a, b) = (a.into_async().unwrap(), b.into_async().unwrap());
        assert!(polled(b.readable(), 1).await.is_none());
        a.send_bytes(b"one").await.unwrap();
        b.readable().await.unwrap();
        assert_eq!(b.recv_bytes().await.unwrap(), b"one");
        a.send_bytes(&vec![2; 4 << 20]).await.unwrap();
        assert_eq!(b.recv_payload().await.unwrap().len(), 4 << 20);
        a.as_sync().shutdown(std::net::Shutdown::Write).unwrap();
        assert!(matches!(a.send_bytes(b"x").await, Err(SendError::Closed)));
        b.readable().await.unwrap();
        assert!(matches!(b.recv_bytes().await, Err(RecvError::Closed)));
        // And back to threads.
        let (a, b) = (a.into_sync(), b.into_sync());
        b.send_bytes(b"back").unwrap();
        assert_eq!(a.recv_bytes().unwrap(), b"back");
    });
}

#[test]
fn accepting_can_be_dropped_anywhere() {
    const CLIENTS: usize = 20;
    let listener = Listener::<usize>::builder().key(b"key").listen().unwrap();
    let address = listener.address().clone();
    // One that says nothing delays nobody.
    let silent: Connection<u8> = Client::connect(address.clone()).unwrap();
    run(async {
        let listener: AsyncListener<usize> = listener.into_async().unwrap();
        let clients = thread::spawn(move || {
            (0..CLIENTS).for_each(|number| {
                let client: Connection<usize> =
                    Client::builder().key(b"key").connect(address.clone()).unwrap();
                client.send(&number).unwrap();
            });
        });
        let mut next = 0;
        for times in (1..=4).cycle() {
            if next == CLIENTS {
                break;
            }
            if let Some(accepted) = polled(listener.accept(), times).await {
                let connection: AsyncConnection<usize> = accepted.unwrap();
                assert_eq!(connection.recv().await.unwrap(), next);
                next += 1;
            } else {
                tokio::task::yield_now().await;
            }
        }
        clients.join().unwrap();
        drop(silent);
        let error = listener.accept().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Handshake);
    });
}

#[test]
fn futures_can_go_to_other_threads() {
    fn can<T: Send>(_: &T) {}
    // What is sent and received need not.
    type Local = std::rc::Rc<u8>;
    run(async {
        let (a, b) = pipe::<Vec<u32>>().unwrap();
        let (a, b) = (a.into_async().unwrap(), b.into_async().unwrap());
        can(&a.send(&vec![1]));
        can(&b.recv());
        can(&b.readable());
        let (local, _) = pipe::<Local>().unwrap();
        can(&local.into_async().unwrap());
    });
}
