//! Queues through their public interface. Ids such as QU-01 are those of the list of behaviours that users rely on.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::fmt::Debug;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use common::guarded;
use mp_queue::channel::Channel;
use mp_queue::{Error, ErrorKind, GetError, IntoIter, Iter, PutError, Queue, Results};
use mp_wire::{Deadline, Fd, Message};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

const SHORT: Duration = Duration::from_millis(30);

/// Serializes unless it is zero, deserializes unless it is one.
#[derive(Debug, PartialEq)]
struct Picky(u8);

impl Serialize for Picky {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 0 { Err(ser::Error::custom("zero")) } else { serializer.serialize_u8(self.0) }
    }
}

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            1 => Err(de::Error::custom("one")),
            other => Ok(Self(other)),
        }
    }
}

#[test]
fn types_are_send_sync_and_debug() {
    fn check<T: Send + Sync + Debug>() {}
    check::<Queue<String>>();
    // A queue of what is neither is both all the same: it holds no item.
    check::<Queue<std::cell::Cell<u8>>>();
    check::<Iter<'_, u8>>();
    check::<IntoIter<u8>>();
    check::<Results<'_, u8>>();
    check::<Channel>();
    check::<(Error, PutError, GetError)>();
}

#[test]
fn smoke() {
    let queue = Queue::new().unwrap();
    queue.put(&vec![Some("a".to_owned()), None]).unwrap();
    assert_eq!(queue.get().unwrap(), [Some("a".to_owned()), None]);
}

#[test]
fn qu_01_02_04_capacity() {
    guarded(|| {
        let queue = Queue::bounded(6).unwrap();
        assert!(queue.is_empty() && !queue.is_full());
        queue.put(&1).unwrap();
        queue.try_put(&2).unwrap();
        queue.put_timeout(&3, SHORT).unwrap();
        queue.put_timeout(&4, Duration::ZERO).unwrap();
        queue.put(&5).unwrap();
        queue.put(&6).unwrap();
        assert!(!queue.is_empty() && queue.is_full());
        assert!(matches!(queue.try_put(&7), Err(PutError::Full)));
        assert!(queue.put_timeout(&7, Duration::ZERO).unwrap_err().is_timeout());
        let start = Instant::now();
        assert!(queue.put_timeout(&7, SHORT).unwrap_err().is_timeout());
        assert!(start.elapsed() >= SHORT);
        let all: Vec<i32> = (0..6).map(|_| queue.get().unwrap()).collect();
        assert_eq!(all, [1, 2, 3, 4, 5, 6]);
        assert!(queue.is_empty() && !queue.is_full());
    });
}

#[test]
fn get_timeout_is_not_early() {
    guarded(|| {
        let queue = Queue::<u8>::new().unwrap();
        assert!(matches!(queue.try_get(), Err(GetError::Empty)));
        assert!(queue.get_timeout(Duration::ZERO).unwrap_err().is_timeout());
        for timeout in [1, 9, 100] {
            let timeout = Duration::from_millis(timeout);
            let start = Instant::now();
            assert!(queue.get_timeout(timeout).unwrap_err().is_timeout());
            assert!(start.elapsed() >= timeout);
        }
    });
}

#[test]
fn qu_06_17_length() {
    let queue = Queue::new().unwrap();
    let mut lengths = vec![queue.len()];
    for step in [true, true, false, false] {
        if step {
            queue.put(&()).unwrap();
        } else {
            queue.get().unwrap();
        }
        lengths.push(queue.len());
    }
    assert_eq!(lengths, [0, 1, 2, 1, 0]);
    assert!(queue.is_empty() && !queue.is_full() && queue.capacity().is_none());
}

#[test]
fn qu_07_zero_is_no_capacity() {
    let error = Queue::<u8>::bounded(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("Queue::new"));
    assert_eq!(Queue::<u8>::bounded(usize::MAX).unwrap().capacity(), Some(usize::MAX));
}

#[test]
fn qu_10_18_closed() {
    guarded(|| {
        let queue = Queue::new().unwrap();
        queue.put(&1).unwrap();
        queue.put(&2).unwrap();
        let other = queue.clone();
        other.close();
        other.close();
        assert!(queue.is_closed());
        assert!(queue.put(&3).unwrap_err().is_closed());
        assert!(queue.try_put(&3).unwrap_err().is_closed());
        assert_eq!(queue.get().unwrap(), 1);
        assert_eq!(queue.try_get().unwrap(), 2);
        assert!(queue.get().unwrap_err().is_closed());
        assert!(queue.try_get().unwrap_err().is_closed());
        assert!(queue.get_timeout(Duration::MAX).unwrap_err().is_closed());
        assert_eq!((queue.len(), queue.iter().count()), (0, 0));
    });
}

#[test]
fn close_wakes_waiters() {
    guarded(|| {
        let empty = Queue::<u8>::new().unwrap();
        let full = Queue::bounded(1).unwrap();
        full.put(&0_u8).unwrap();
        thread::scope(|scope| {
            let getters: Vec<_> = (0..3).map(|_| scope.spawn(|| empty.get())).collect();
            let putters: Vec<_> = (0..3).map(|_| scope.spawn(|| full.put(&1))).collect();
            thread::sleep(SHORT);
            empty.close();
            full.close();
            for getter in getters {
                assert!(getter.join().unwrap().unwrap_err().is_closed());
            }
            for putter in putters {
                assert!(putter.join().unwrap().unwrap_err().is_closed());
            }
        });
        assert_eq!(full.iter().count(), 1);
    });
}

#[test]
fn qu_13_an_item_that_fails_concerns_no_other() {
    guarded(|| {
        let queue = Queue::bounded(1).unwrap();
        match queue.put(&Picky(0)) {
            Err(PutError::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Encode),
            other => panic!("{other:?}"),
        }
        assert_eq!(queue.len(), 0);
        queue.put(&Picky(1)).unwrap();
        match queue.get() {
            Err(GetError::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Decode),
            other => panic!("{other:?}"),
        }
        queue.put(&Picky(2)).unwrap();
        assert_eq!(queue.get().unwrap(), Picky(2));
        queue.put(&Picky(1)).unwrap();
        queue.close();
        let all: Vec<_> = queue.results().map(|item| item.map_err(|error| error.kind())).collect();
        assert_eq!(all, [Err(ErrorKind::Decode)]);
    });
}

#[test]
fn iteration_ends_with_the_queue_or_at_what_does_not_decode() {
    guarded(|| {
        let queue = Queue::new().unwrap();
        for number in [2, 1, 3, 1, 4] {
            queue.put(&Picky(number)).unwrap();
        }
        queue.close();
        assert_eq!(queue.iter().collect::<Vec<_>>(), [Picky(2)]);
        let rest: Vec<_> = queue.results().map(|item| item.ok()).collect();
        assert_eq!(rest, [Some(Picky(3)), None, Some(Picky(4))]);
        assert_eq!(queue.into_iter().count(), 0);
    });
}

#[test]
fn order_of_each_producer_with_two_consumers() {
    guarded(|| {
        const COUNT: u32 = 20_000;
        let queue = Queue::bounded(100).unwrap();
        let got: Vec<Vec<(u32, u32)>> = thread::scope(|scope| {
            let producers: Vec<_> = (0..2)
                .map(|producer| {
                    let queue = &queue;
                    scope.spawn(move || {
                        (0..COUNT).for_each(|number| queue.put(&(producer, number)).unwrap());
                    })
                })
                .collect();
            let consumers: Vec<_> =
                (0..2).map(|_| scope.spawn(|| queue.iter().collect())).collect();
            for producer in producers {
                producer.join().unwrap();
            }
            queue.close();
            consumers.into_iter().map(|consumer| consumer.join().unwrap()).collect()
        });
        for producer in 0..2 {
            let mut all = Vec::new();
            for consumer in &got {
                let mine: Vec<u32> =
                    consumer.iter().filter(|item| item.0 == producer).map(|item| item.1).collect();
                assert!(mine.is_sorted(), "a consumer saw a producer's items out of order");
                all.extend(mine);
            }
            all.sort_unstable();
            assert_eq!(all, (0..COUNT).collect::<Vec<_>>());
        }
    });
}

#[test]
fn a_queue_takes_items_of_any_size_and_grows_and_shrinks() {
    guarded(|| {
        let queue = Queue::new().unwrap();
        let sizes = [0, 1, 100, 32 << 10, 1 << 20, 3, 10 << 20];
        for size in sizes {
            queue.put(&"x".repeat(size)).unwrap();
        }
        for size in sizes {
            assert_eq!(queue.get().unwrap().len(), size);
        }
        for number in 0..200_000_u64 {
            queue.put(&number.to_string()).unwrap();
        }
        assert_eq!(queue.len(), 200_000);
        for number in 0..200_000_u64 {
            assert_eq!(queue.get().unwrap(), number.to_string());
        }
    });
}

#[test]
fn a_serializer_may_use_a_queue_itself() {
    struct Nosy(Queue<u8>);
    impl Serialize for Nosy {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.put(&1).map_err(ser::Error::custom)?;
            serializer.serialize_u64(u64::MAX)
        }
    }
    let inner = Queue::new().unwrap();
    let queue = Queue::<Nosy>::new().unwrap();
    queue.put(&Nosy(inner.clone())).unwrap();
    assert_eq!((queue.len(), inner.get().unwrap()), (1, 1));
}

#[test]
fn qu_19_a_queue_serializes_only_in_a_message() {
    let queue = Queue::<u8>::new().unwrap();
    assert!(postcard::to_allocvec(&queue).is_err());
    assert!(postcard::from_bytes::<Queue<u8>>(&[0, 1, 2]).is_err());
}

fn file(text: &str) -> Fd {
    let (read, mut write) = std::io::pipe().unwrap();
    write.write_all(text.as_bytes()).unwrap();
    Fd::from(OwnedFd::from(read))
}

fn text(fd: Fd) -> String {
    let mut text = String::new();
    File::from(fd.into_owned().unwrap()).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn descriptors_travel_with_their_items() {
    guarded(|| {
        let queue = Queue::<(u32, Option<Fd>)>::new().unwrap();
        for number in 0..100 {
            let fd = (number % 3 == 0).then(|| file(&number.to_string()));
            queue.put(&(number, fd)).unwrap();
        }
        for expected in 0..100 {
            let (number, fd) = queue.get().unwrap();
            assert_eq!((number, fd.is_some()), (expected, expected % 3 == 0));
            if let Some(fd) = fd {
                assert_eq!(text(fd), expected.to_string());
            }
        }
    });
}

/// A queue, and the queue that it travels through.
#[derive(Serialize, Deserialize)]
struct Pair(Queue<String>, Queue<Pair>);

#[test]
fn a_queue_travels_through_a_queue() {
    guarded(|| {
        let outer = Queue::new().unwrap();
        let inner = Queue::bounded(3).unwrap();
        inner.put(&"before".to_owned()).unwrap();
        outer.put(&Pair(inner.clone(), outer.clone())).unwrap();
        let Pair(same, itself) = outer.get().unwrap();
        assert_eq!((same.capacity(), same.get().unwrap()), (Some(3), "before".to_owned()));
        same.put(&"after".to_owned()).unwrap();
        assert_eq!(inner.get().unwrap(), "after");
        itself.close();
        assert!(outer.is_closed());
    });
}

#[test]
fn many_descriptors_in_one_item() {
    guarded(|| {
        let queue = Queue::<Vec<Fd>>::new().unwrap();
        let null = || Fd::from(OwnedFd::from(File::open("/dev/null").unwrap()));
        queue.put(&(0..300).map(|_| null()).collect()).unwrap();
        assert_eq!(queue.get().unwrap().len(), 300);
    });
}

#[test]
fn no_room_for_descriptors_is_full() {
    guarded(|| {
        let queue = Queue::<Option<Fd>>::new().unwrap();
        let fd = file("x");
        let mut count = 0;
        while queue.try_put(&Some(fd.clone())).is_ok() {
            count += 1;
        }
        assert!(count > 100, "room for {count} only");
        let start = Instant::now();
        assert!(queue.put_timeout(&Some(fd.clone()), SHORT).unwrap_err().is_timeout());
        assert!(start.elapsed() >= SHORT);
        queue.put(&None).unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| queue.put(&Some(fd.clone())));
            assert!(queue.get().unwrap().is_some());
            waiter.join().unwrap().unwrap();
        });
        assert_eq!(queue.len(), count + 1);
        while queue.try_put(&Some(fd.clone())).is_ok() {}
        thread::scope(|scope| {
            let waiter = scope.spawn(|| queue.put(&Some(fd.clone())));
            thread::sleep(SHORT);
            queue.close();
            assert!(waiter.join().unwrap().unwrap_err().is_closed());
        });
    });
}

#[test]
fn bytes_without_their_descriptors() {
    let channel = Channel::new().unwrap();
    for number in 0..2 {
        channel.put(&[&[number]], &[file("x")], Deadline::NEVER).unwrap();
    }
    let mut message = Message::default();
    channel.get_bytes(&mut message, Deadline::NOW).unwrap();
    assert_eq!((&message.bytes[..], message.fds.len()), (&[0][..], 0));
    channel.get(&mut message, Deadline::NOW).unwrap();
    assert_eq!((&message.bytes[..], message.fds.len()), (&[1][..], 1));
}

#[test]
fn a_file_keeps_its_position() {
    let queue = Queue::<Fd>::new().unwrap();
    let mut exe = File::open("/proc/self/exe").unwrap();
    exe.seek(std::io::SeekFrom::Start(1)).unwrap();
    queue.put(&Fd::from(OwnedFd::from(exe))).unwrap();
    let mut elf = [0; 3];
    File::from(queue.get().unwrap().into_owned().unwrap()).read_exact(&mut elf).unwrap();
    assert_eq!(&elf, b"ELF");
}
