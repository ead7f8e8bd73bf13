//! Queues of plain data and of bytes. Ids such as QU-01 are those of the list of behaviours that users rely on.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

use common::guarded;
use mp_queue::{
    BytesQueue, BytesRef, ErrorKind, GetError, PlainQueue, PutError, Queue, Reservation,
};

const SHORT: Duration = Duration::from_millis(30);

#[test]
fn types_are_send_sync_and_debug() {
    fn check<T: Send + Sync + Debug>() {}
    fn shown<T: Debug>() {}
    check::<PlainQueue<u8>>();
    check::<BytesQueue>();
    check::<mp_queue::Builder<PlainQueue<u8>>>();
    shown::<(BytesRef<'_>, Reservation<'_>)>();
}

#[test]
fn qu_01_02_04_capacity() {
    let queue = PlainQueue::bounded(2).unwrap();
    queue.put(&1).unwrap();
    queue.try_put(&2).unwrap();
    assert!(queue.is_full() && !queue.is_empty());
    assert!(matches!(queue.try_put(&3), Err(PutError::Full)));
    let begin = Instant::now();
    assert!(matches!(queue.put_timeout(&3, SHORT), Err(PutError::Full)));
    assert!(begin.elapsed() >= SHORT);
    assert_eq!((queue.get().unwrap(), queue.try_get().unwrap()), (1, 2));
    assert!(!queue.is_full() && queue.is_empty());
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    let begin = Instant::now();
    assert!(matches!(queue.get_timeout(SHORT), Err(GetError::Empty)));
    assert!(begin.elapsed() >= SHORT);
    assert_eq!(PlainQueue::<u8>::bounded(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(BytesQueue::bounded(0).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn w_23_many_items_need_no_reader() {
    let queue = PlainQueue::new().unwrap();
    let items: Vec<[u64; 8]> = (0..100_000).map(|number| [number; 8]).collect();
    queue.put_many(&items).unwrap();
    let mut got = Vec::new();
    while got.len() < items.len() {
        assert!(queue.get_many_into(&mut got, 1000).unwrap() <= 1000);
    }
    assert!(got == items && queue.is_empty());
    assert!(queue.resident().unwrap() < 8 << 20, "the memory follows the backlog");
    queue.close();
    assert!(queue.get_many(1).unwrap_err().is_closed());
    assert!(queue.put_many(&items[..1]).unwrap_err().cause.is_closed());
}

#[test]
fn put_many_says_how_many() {
    let queue = PlainQueue::bounded(3).unwrap();
    let error = queue.try_put_many(&[1, 2, 3, 4]).unwrap_err();
    assert_eq!((error.put, error.cause.is_timeout()), (3, true));
    let error = queue.put_many_timeout(&[4], SHORT).unwrap_err();
    assert_eq!((error.put, error.cause.is_timeout()), (0, true));
    assert_eq!(queue.try_get_many(2).unwrap(), [1, 2]);
    assert_eq!(queue.get_many_timeout(9, SHORT).unwrap(), [3]);
    assert!(queue.try_get_many(2).unwrap_err().is_timeout());
}

#[test]
fn items_of_any_size_and_alignment() {
    let nothing = PlainQueue::new().unwrap();
    nothing.put(&()).unwrap();
    nothing.get().unwrap();
    let odd = PlainQueue::new().unwrap();
    odd.put_many(&[[1_u8; 3], [2; 3]]).unwrap();
    assert_eq!(odd.get_many(2).unwrap(), [[1; 3], [2; 3]]);
    let wide = PlainQueue::new().unwrap();
    wide.put(&u128::MAX).unwrap();
    assert_eq!(wide.get().unwrap(), u128::MAX);
}

#[test]
fn they_travel_in_messages_as_what_they_are() {
    let (plain, bytes) = (PlainQueue::<u32>::new().unwrap(), BytesQueue::new().unwrap());
    let letters = Queue::new().unwrap();
    letters.put(&(plain.clone(), bytes.clone())).unwrap();
    let (same, same_bytes) = letters.get().unwrap();
    same.put(&7).unwrap();
    same_bytes.put(b"seven").unwrap();
    assert_eq!((plain.get().unwrap(), bytes.get().unwrap()), (7, b"seven".to_vec()));
    let message = mp_wire::encode(&plain).unwrap();
    assert!(message.decode::<PlainQueue<i32>>().is_err());
    assert!(message.decode::<PlainQueue<u32>>().is_ok());
}

#[test]
fn several_producers_and_consumers() {
    guarded(|| {
        let queue = PlainQueue::bounded(16).unwrap();
        let total: u64 = thread::scope(|scope| {
            let consumers: Vec<_> = (0..2)
                .map(|_| scope.spawn(|| std::iter::from_fn(|| queue.get().ok()).sum::<u64>()))
                .collect();
            let producers: Vec<_> = (0..2)
                .map(|_| scope.spawn(|| (1..=5000).for_each(|number| queue.put(&number).unwrap())))
                .collect();
            producers.into_iter().for_each(|producer| producer.join().unwrap());
            queue.close();
            consumers.into_iter().map(|consumer| consumer.join().unwrap()).sum()
        });
        assert_eq!(total, 2 * 5000 * 5001 / 2);
    });
}

#[test]
fn bytes_in_place() {
    let queue = BytesQueue::bounded(2).unwrap();
    drop(queue.reserve(10).unwrap());
    assert!(queue.is_empty());
    let mut room = queue.try_reserve(10).unwrap();
    room.copy_from_slice(b"0123456789");
    room.truncate(5);
    room.commit().unwrap();
    queue.put(b"second").unwrap();
    assert!(matches!(queue.try_reserve(1), Err(PutError::Full)));
    assert!(matches!(queue.reserve_timeout(1, SHORT), Err(PutError::Full)));
    queue.try_get_ref().unwrap().leave();
    assert_eq!(&*queue.get_ref().unwrap(), b"01234");
    assert_eq!(&*queue.get_ref_timeout(SHORT).unwrap(), b"second");
    assert!(matches!(queue.try_get_ref(), Err(GetError::Empty)));
    assert!(matches!(queue.get_ref_timeout(SHORT), Err(GetError::Empty)));
    let room = queue.reserve(1).unwrap();
    assert!(matches!(queue.reserve(1), Err(PutError::Failed(_))));
    queue.close();
    assert!(room.commit().unwrap_err().is_closed());
    assert!(queue.get_ref().unwrap_err().is_closed());
}

#[test]
fn bytes_copied() {
    let queue = BytesQueue::new().unwrap();
    queue.put(b"one").unwrap();
    queue.try_put(b"").unwrap();
    queue.put_timeout(b"three", SHORT).unwrap();
    let mut message = vec![1; 100];
    queue.get_into(&mut message).unwrap();
    assert_eq!(message, b"one");
    assert_eq!((queue.try_get().unwrap(), queue.get_timeout(SHORT).unwrap().len()), (vec![], 5));
    assert!(queue.try_get().unwrap_err().is_timeout());
}

#[test]
fn a_bound_on_bytes() {
    guarded(|| {
        let queue = Queue::builder().byte_capacity(100).build().unwrap();
        queue.put(&vec![0_u8; 60]).unwrap();
        assert!(matches!(queue.try_put(&vec![0_u8; 60]), Err(PutError::Full)));
        let error = queue.put(&vec![0_u8; 100]).unwrap_err();
        assert!(matches!(error, PutError::Failed(error) if error.kind() == ErrorKind::TooLarge));
        thread::scope(|scope| {
            let waits = scope.spawn(|| queue.put(&vec![1_u8; 60]));
            assert_eq!(queue.get().unwrap(), [0; 60]);
            waits.join().unwrap().unwrap();
        });
        assert_eq!(queue.get().unwrap(), [1; 60]);
    });
}
