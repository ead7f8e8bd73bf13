//! Connections between real processes: many writers, many readers, ends that die.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::Duration;

use multiproc::pipe::{Receiver, RecvError, SendError, Sender};
use multiproc::{Connection, Process, Queue, pipe, simplex, wait};

fn send_many(sender: Sender<(u32, u32, Vec<u8>)>, id: u32, count: u32) {
    for number in 0..count {
        sender.send(&(id, number, vec![id as u8; number as usize])).unwrap();
    }
}

/// PI-23, without the lock that it takes in Python: a message is one packet, so writers cannot mix.
#[test]
fn five_processes_write_to_one_end_and_nothing_mixes() {
    const COUNT: u32 = 1000;
    let (sender, receiver) = simplex().unwrap();
    let children: Vec<_> = (0..5)
        .map(|id| Process::new(send_many, (sender.clone(), id, COUNT)).start().unwrap())
        .collect();
    drop(sender);
    let mut next = BTreeMap::new();
    for (id, number, bytes) in &receiver {
        let expected: &mut u32 = next.entry(id).or_default();
        assert_eq!((number, bytes), (*expected, vec![id as u8; number as usize]));
        *expected += 1;
    }
    assert!(next.len() == 5 && next.values().all(|&count| count == COUNT), "{next:?}");
    for child in children {
        child.join().unwrap();
    }
}

/// LC-01: whoever waits for several connections gets all messages of each, and then their ends.
#[test]
fn wait_collects_all_messages_of_all_readers() {
    let mut children = Vec::new();
    let mut readers: Vec<Receiver<_>> = Vec::new();
    for id in 0..4 {
        let (sender, receiver) = simplex().unwrap();
        children.push(Process::new(send_many, (sender, id, 10)).start().unwrap());
        readers.push(receiver);
    }
    let mut count = 0;
    while !readers.is_empty() {
        for index in wait(&readers, None).unwrap().into_iter().rev() {
            match readers[index].try_recv() {
                Ok(_) => count += 1,
                Err(RecvError::Closed) => drop(readers.remove(index)),
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert_eq!(count, 40);
    for child in children {
        child.join().unwrap();
    }
}

fn wait_for_word(connection: Connection<u32>) {
    let word = connection.recv().unwrap();
    connection.send(&(word + 1)).unwrap();
    // Stays until this side is told to go.
    let _ = connection.recv();
}

/// LC-03: connections and the sentinels of processes in one wait.
#[test]
fn wait_mixes_connections_and_sentinels() {
    let (here, there) = pipe().unwrap();
    let child = Process::new(wait_for_word, (there,)).start().unwrap();
    let objects = [here.as_fd(), child.sentinel()];
    assert_eq!(wait(&objects, Some(Duration::ZERO)).unwrap(), []);
    here.send(&1).unwrap();
    assert_eq!(wait(&objects, None).unwrap(), [0]);
    assert_eq!(here.recv().unwrap(), 2);
    here.send(&0).unwrap();
    // The process ends and takes its end of the connection with it: sooner or later both are ready.
    while wait(&objects, None).unwrap() != [0, 1] {}
    child.join().unwrap();
}

fn sit(ready: Queue<()>, connection: Connection<u32>) {
    ready.put(&()).unwrap();
    let _ = connection.recv();
}

#[test]
fn a_killed_process_is_the_end_of_the_stream() {
    let (here, there) = pipe::<u32>().unwrap();
    let ready = Queue::new().unwrap();
    let child = Process::new(sit, (ready.clone(), there)).start().unwrap();
    ready.get().unwrap();
    child.kill().unwrap();
    assert!(matches!(here.recv(), Err(RecvError::Closed)));
    assert!(here.poll().unwrap(), "the end can be read");
    assert!(matches!(here.send(&1), Err(SendError::Closed)));
    assert_eq!(child.wait().signal(), Some(9));
}

fn double(connection: Connection<Vec<u8>>) {
    for mut message in &connection {
        message.extend_from_within(..);
        connection.send(&message).unwrap();
    }
}

#[test]
fn large_messages_there_and_back() {
    let (here, there) = pipe().unwrap();
    let child = Process::new(double, (there,)).start().unwrap();
    for len in [0, 1, 60_000, 70_000, 4 << 20] {
        let message: Vec<u8> = (0..len).map(|index| (index % 255) as u8).collect();
        here.send(&message).unwrap();
        let answer = here.recv().unwrap();
        assert!(answer.len() == 2 * len && answer[..len] == message[..]);
    }
    drop(here);
    child.join().unwrap();
}

/// LC-03: one wait for a connection, a queue, a sentinel, a socket and a listener.
#[test]
fn wait_any_takes_everything() {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    let (here, there) = pipe().unwrap();
    let child = Process::new(wait_for_word, (there,)).start().unwrap();
    let queue = Queue::<u32>::new().unwrap();
    let (socket, mut peer) = UnixStream::pair().unwrap();
    let listener = multiproc::Listener::<u8>::new().unwrap();
    let sentinel = child.sentinel();
    let all: [&dyn multiproc::Waitable; 5] = [&here, &queue, &sentinel, &socket, &listener];
    let ready = |timeout| multiproc::wait_any(&all, timeout).unwrap();
    assert_eq!(ready(Some(Duration::ZERO)), []);
    queue.put(&1).unwrap();
    assert_eq!(ready(None), [1]);
    here.send(&1).unwrap();
    // The child answers in its own time.
    while ready(None) != [0, 1] {}
    peer.write_all(b"x").unwrap();
    let client: Connection<u8> = multiproc::Client::connect(listener.address().clone()).unwrap();
    assert_eq!(ready(None), [0, 1, 3, 4]);
    here.send(&0).unwrap();
    while ready(None) != [0, 1, 2, 3, 4] {}
    child.join().unwrap();
    drop(client);
}
