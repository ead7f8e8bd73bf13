//! Many items at a time.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use mp_queue::{ErrorKind, GetError, PutError, Queue};
use mp_wire::Fd;

fn numbers(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

#[test]
fn order() {
    let queue = Queue::new().unwrap();
    queue.put_many(0..10_000_u64).unwrap();
    queue.put_many(numbers(10_000..10_001)).unwrap();
    queue.put_many(Vec::<u64>::new()).unwrap();
    let mut next = 0;
    while next < 10_001 {
        let batch = queue.get_many(7).unwrap();
        let len = batch.len() as u64;
        assert!((1..=7).contains(&len));
        assert_eq!(batch.into_vec().unwrap(), numbers(next..next + len));
        next += len;
    }
    assert!(matches!(queue.try_get_many(7), Err(GetError::Empty)));
    queue.close();
    assert!(matches!(queue.get_many(7), Err(GetError::Closed)));
}

#[test]
fn capacity() {
    let queue = Queue::bounded(10).unwrap();
    let error = queue.try_put_many(0..15_u32).unwrap_err();
    assert_eq!(error.put, 10);
    assert!(matches!(error.cause, PutError::Full));
    let error = queue.put_many_timeout(0..15, Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.put, 0);
    thread::scope(|scope| {
        let putter = scope.spawn(|| queue.put_many(10..1000));
        let mut all = Vec::new();
        while all.len() < 1000 {
            all.extend(queue.get_many(3).unwrap().map(Result::unwrap));
        }
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
        putter.join().unwrap().unwrap();
    });
    queue.close();
    assert!(matches!(queue.put_many([1]).unwrap_err().cause, PutError::Closed));
}

#[test]
fn timeout() {
    let queue = Queue::<u8>::new().unwrap();
    let late = queue.get_many_timeout(3, Duration::from_millis(1));
    assert!(late.unwrap_err().is_timeout());
}

#[test]
fn items_with_descriptors_come_alone() {
    let fd = || Fd::from(OwnedFd::from(File::open("/dev/null").unwrap()));
    let queue = Queue::<(u32, Option<Fd>)>::new().unwrap();
    let items = [(0, None), (1, None), (2, Some(fd())), (3, Some(fd())), (4, None)];
    queue.put_many(&items).unwrap();
    let mut lens = Vec::new();
    let mut next = 0;
    while next < 5 {
        let batch = queue.get_many(10).unwrap();
        lens.push(batch.len());
        for item in batch {
            let (number, fd) = item.unwrap();
            assert_eq!((number, fd.is_some()), (next, next == 2 || next == 3));
            next += 1;
        }
    }
    assert_eq!(lens, [2, 1, 1, 1]);
}

#[test]
fn one_that_does_not_decode_is_an_error_of_its_own() {
    let strings = Queue::<String>::new().unwrap();
    let numbers: Queue<u8> = mp_wire::encode(&strings).unwrap().decode().unwrap();
    strings.put_many(["", "a", ""].map(String::from)).unwrap();
    let batch: Vec<_> = numbers.get_many(10).unwrap().collect();
    let kinds: Vec<_> = batch.iter().map(|item| item.as_ref().map_err(|e| e.kind())).collect();
    assert_eq!(kinds, [Ok(&0), Err(ErrorKind::Decode), Ok(&0)]);
    strings.put_many(["", "a", ""].map(String::from)).unwrap();
    assert_eq!(numbers.drain().filter(Result::is_ok).count(), 2);
    assert!(numbers.is_empty());
}

#[test]
fn one_that_does_not_encode_stops_after_those_before_it() {
    #[derive(Clone, Copy)]
    struct Odd(u32);
    impl serde::Serialize for Odd {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                2 => Err(serde::ser::Error::custom("two")),
                number => serializer.serialize_u32(number),
            }
        }
    }
    let queue = Queue::<Odd>::new().unwrap();
    let error = queue.put_many([0, 1, 2, 3].map(Odd)).unwrap_err();
    assert_eq!((error.put, queue.len()), (2, 2));
}
