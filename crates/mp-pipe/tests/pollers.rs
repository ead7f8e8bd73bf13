//! Whoever knows the descriptor alone is told of each message: `poll`, `epoll` by level and by edge, `mio`, and `tokio`.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::Duration;

use mp_pipe::{Receiver, RecvError, Sender, pipe, simplex, wait};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Nobody waits as long for what is there.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until an end can be read.
trait Poller {
    fn new(end: &Receiver<(u32, Vec<u8>)>) -> Self;

    /// Says whether it could be in time.
    fn wait(&mut self, end: &Receiver<(u32, Vec<u8>)>, time: Duration) -> bool;
}

struct Poll;

impl Poller for Poll {
    fn new(_: &Receiver<(u32, Vec<u8>)>) -> Self {
        Self
    }

    fn wait(&mut self, end: &Receiver<(u32, Vec<u8>)>, time: Duration) -> bool {
        let mut entry =
            libc::pollfd { fd: end.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let millis = i32::try_from(time.as_millis()).unwrap();
        #[expect(unsafe_code, reason = "the bare call")]
        // SAFETY: one entry, which lives through the call.
        let count = unsafe { libc::poll(&raw mut entry, 1, millis) };
        count == 1
    }
}

/// By level, or by edge: then it tells once of each thing that happens.
struct Epolled<const EDGE: bool>(Epoll);

impl<const EDGE: bool> Poller for Epolled<EDGE> {
    fn new(end: &Receiver<(u32, Vec<u8>)>) -> Self {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let edge = if EDGE { EpollFlags::EPOLLET } else { EpollFlags::empty() };
        epoll.add(end, EpollEvent::new(EpollFlags::EPOLLIN | edge, 0)).unwrap();
        Self(epoll)
    }

    fn wait(&mut self, _: &Receiver<(u32, Vec<u8>)>, time: Duration) -> bool {
        let timeout = EpollTimeout::try_from(time).unwrap();
        self.0.wait(&mut [EpollEvent::empty()], timeout).unwrap() == 1
    }
}

struct Mio(mio::Poll);

impl Poller for Mio {
    fn new(end: &Receiver<(u32, Vec<u8>)>) -> Self {
        let poll = mio::Poll::new().unwrap();
        let fd = end.as_fd().as_raw_fd();
        let mut source = mio::unix::SourceFd(&fd);
        poll.registry().register(&mut source, mio::Token(0), mio::Interest::READABLE).unwrap();
        Self(poll)
    }

    fn wait(&mut self, _: &Receiver<(u32, Vec<u8>)>, time: Duration) -> bool {
        let mut events = mio::Events::with_capacity(4);
        self.0.poll(&mut events, Some(time)).unwrap();
        events.iter().any(mio::event::Event::is_readable)
    }
}

struct Tokio {
    runtime: tokio::runtime::Runtime,
    fd: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
}

impl Poller for Tokio {
    #[allow(deprecated, reason = "its successor is unsafe, for descriptors that are not owned")]
    fn new(end: &Receiver<(u32, Vec<u8>)>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let copy = end.as_fd().try_clone_to_owned().unwrap();
        let fd = runtime.block_on(async { tokio::io::unix::AsyncFd::new(copy) }).unwrap();
        Self { runtime, fd }
    }

    fn wait(&mut self, _: &Receiver<(u32, Vec<u8>)>, time: Duration) -> bool {
        self.runtime.block_on(async {
            match tokio::time::timeout(time, self.fd.readable()).await {
                Ok(guard) => {
                    // Whoever waits has received all there is.
                    guard.unwrap().clear_ready();
                    true
                }
                Err(_) => false,
            }
        })
    }
}

/// The wait of this crate.
struct Waits;

impl Poller for Waits {
    fn new(_: &Receiver<(u32, Vec<u8>)>) -> Self {
        Self
    }

    fn wait(&mut self, end: &Receiver<(u32, Vec<u8>)>, time: Duration) -> bool {
        wait(&[end], Some(time)).unwrap() == [0]
    }
}

fn message(number: u32) -> (u32, Vec<u8>) {
    let len = match number as usize % 31 {
        11 => 3 << 20,
        21 => 200_000,
        other => [0, 10, 3000, 30_000][other % 4],
    };
    (number, vec![1; len])
}

/// Receives in bursts: what comes at once goes through the ring, the first of each burst has to ring.
fn told_of_each_burst<P: Poller>() {
    const BURSTS: u32 = 120;
    let (sender, receiver) = simplex::<(u32, Vec<u8>)>().unwrap();
    let (ready, go) = pipe::<u32>().unwrap();
    let mut poller = P::new(&receiver);
    let work = thread::spawn(move || {
        let mut number = 0;
        while let Ok(burst) = go.recv() {
            for _ in 0..=burst % 7 {
                sender.send(&message(number)).unwrap();
                number += 1;
            }
        }
    });
    let mut next = 0;
    for burst in 0..BURSTS {
        ready.send(&burst).unwrap();
        let end = next + 1 + burst % 7;
        while next < end {
            let told = poller.wait(&receiver, PATIENCE);
            assert!(told, "nobody told of message {next}, and there is {:?}", receiver.try_recv());
            // Those who are told by edge alone must take all there is.
            loop {
                match receiver.try_recv() {
                    Ok(got) => {
                        assert!(got == message(next));
                        next += 1;
                    }
                    Err(RecvError::Empty) => break,
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
        // With nothing there, nothing is told; but for edges that are of what was taken meanwhile.
        while poller.wait(&receiver, Duration::ZERO) {
            assert!(matches!(receiver.try_recv(), Err(RecvError::Empty)));
            assert!(!Poll.wait(&receiver, Duration::ZERO), "readable for nothing");
        }
    }
    drop(ready);
    work.join().unwrap();
    assert!(poller.wait(&receiver, PATIENCE), "nobody told of the end");
    assert!(matches!(receiver.try_recv(), Err(RecvError::Closed)));
}

/// Shares the end with threads that sleep, look, and receive in the same moments.
fn told_beside_others<P: Poller>() {
    const MESSAGES: u32 = 3000;
    let (sender, receiver) = simplex::<(u32, Vec<u8>)>().unwrap();
    let others: Vec<_> = (0..2)
        .map(|_| {
            let receiver = receiver.clone();
            thread::spawn(move || receiver.iter().map(|(number, _)| number).collect::<Vec<_>>())
        })
        .collect();
    let work = thread::spawn(move || send_all(&sender, MESSAGES));
    let mut poller = P::new(&receiver);
    let mut seen = Vec::new();
    loop {
        assert!(poller.wait(&receiver, PATIENCE), "nobody told of anything");
        let end = loop {
            match receiver.try_recv() {
                Ok((number, _)) => seen.push(number),
                Err(error) => break error,
            }
        };
        match end {
            RecvError::Empty => {}
            RecvError::Closed => break,
            error => panic!("{error:?}"),
        }
    }
    work.join().unwrap();
    seen.extend(others.into_iter().flat_map(|other| other.join().unwrap()));
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..MESSAGES));
}

fn send_all(sender: &Sender<(u32, Vec<u8>)>, messages: u32) {
    for number in 0..messages {
        sender.send(&(number, vec![0; number as usize % 500])).unwrap();
        if number.is_multiple_of(64) {
            thread::sleep(Duration::from_micros(100));
        }
    }
}

macro_rules! pollers {
    ($($name:ident: $poller:ty),* $(,)?) => {
        $(
            mod $name {
                use super::*;

                #[test]
                fn is_told_of_each_burst() {
                    told_of_each_burst::<$poller>();
                }

                #[test]
                fn is_told_beside_others() {
                    told_beside_others::<$poller>();
                }
            }
        )*
    };
}

pollers![
    by_poll: Poll,
    by_epoll: Epolled<false>,
    by_epoll_edge: Epolled<true>,
    by_mio: Mio,
    by_tokio: Tokio,
    by_wait: Waits,
];
