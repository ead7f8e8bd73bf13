use std::collections::VecDeque;
use std::thread;

use super::layout::Place;
use super::*;
use crate::testing::{die, fork};

const SOON: fn() -> Deadline = || Deadline::after(Duration::from_secs(30));

/// A generator of numbers that needs nothing (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn bytes_of(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|index| (seed.wrapping_mul(31) ^ index ^ (index >> 8)) as u8).collect()
}

fn put(ring: &Ring, tag: u64, len: usize) {
    ring.put(tag, &[&bytes_of(tag, len)], SOON()).unwrap();
}

fn get(ring: &Ring, tag: u64, len: usize) {
    let mut bytes = Vec::new();
    assert_eq!(ring.get(&mut bytes, SOON()).unwrap().tag, tag);
    assert!(bytes == bytes_of(tag, len), "item {tag} of {len} bytes is torn");
}

fn tail(ring: &Ring) -> Tail {
    ring.header.tail.load(ring.last_arena).unwrap()
}

/// The backlog's memory, without what an empty ring has.
fn resident(ring: &Ring) -> usize {
    ring.segment.resident().unwrap() as usize
}

#[test]
fn smoke() {
    let ring = Ring::new().unwrap();
    assert!(ring.is_empty().unwrap() && !ring.is_full().unwrap() && ring.capacity().is_none());
    put(&ring, 1, 5);
    put(&ring, 2, 0);
    ring.put(3, &[b"ab", b"", b"cde"], Deadline::NOW).unwrap();
    assert_eq!(ring.len().unwrap(), 3);
    get(&ring, 1, 5);
    get(&ring, 2, 0);
    let mut bytes = vec![9; 100];
    assert_eq!(ring.get(&mut bytes, Deadline::NOW).unwrap(), Item { tag: 3, sequence: 2 });
    assert_eq!(bytes, b"abcde");
    assert!(matches!(ring.get(&mut bytes, Deadline::NOW), Err(GetError::Empty)));
}

#[test]
fn an_empty_ring_is_small() {
    let ring = Ring::new().unwrap();
    assert!(resident(&ring) <= 64 << 10);
}

#[test]
fn order_across_many_wraps() {
    let ring = Ring::new().unwrap();
    for tag in 0..20_000 {
        put(&ring, 2 * tag, (tag % 1000) as usize);
        put(&ring, 2 * tag + 1, 64);
        get(&ring, 2 * tag, (tag % 1000) as usize);
        get(&ring, 2 * tag + 1, 64);
    }
    assert_eq!(tail(&ring).place, Place { epoch: 0, arena: 0 });
}

#[test]
fn grows_with_the_backlog_and_shrinks_after_it() {
    let ring = Ring::new().unwrap();
    let before = resident(&ring);
    for tag in 0..64 {
        put(&ring, tag, 1 << 20);
    }
    let full = resident(&ring);
    assert!(full >= 64 << 20, "{full}");
    assert!(full < 80 << 20, "{full}");
    for tag in 0..64 {
        get(&ring, tag, 1 << 20);
        let left = 63 - tag as usize;
        // An arena of up to 16 MiB is given back as a whole, when it is left.
        assert!(resident(&ring) <= ((left + 18) << 20), "{left}: {}", resident(&ring));
    }
    // The arena that it ended in keeps a step, the ones on the way a page each.
    assert!(resident(&ring) < before + (1 << 20), "{}", resident(&ring));
    // With little on its way, it goes on in a small one.
    for tag in 0..1000 {
        put(&ring, tag, 1000);
        get(&ring, tag, 1000);
    }
    assert_eq!(tail(&ring).place.arena, 0);
    assert!(resident(&ring) < before + (1 << 20), "{}", resident(&ring));
}

#[test]
fn a_steady_backlog_stays_where_it_is() {
    let ring = Ring::new().unwrap();
    for tag in 0..5_000_u64 {
        put(&ring, tag, 1000);
    }
    for tag in 0..20_000 {
        put(&ring, tag + 5_000, 1000);
        get(&ring, tag, 1000);
    }
    assert!(tail(&ring).place.epoch < 12, "{:?}", tail(&ring));
    assert!(resident(&ring) < 12 << 20, "{}", resident(&ring));
}

#[test]
fn large_records() {
    let ring = Ring::new().unwrap();
    put(&ring, 1, 40 << 10);
    put(&ring, 2, 24 << 20);
    put(&ring, 3, 10);
    get(&ring, 1, 40 << 10);
    get(&ring, 2, 24 << 20);
    get(&ring, 3, 10);
    assert!(resident(&ring) < 1 << 20, "{}", resident(&ring));
}

#[test]
fn too_large_is_refused_and_changes_nothing() {
    let ring = Ring::builder().reserve(1 << 20).build().unwrap();
    let limit = ring.record_limit();
    assert_eq!(limit, (256 << 10) - 32);
    let bytes = vec![1; limit + 1];
    assert!(matches!(ring.put(0, &[&bytes], SOON()), Err(PutError::TooLarge)));
    for tag in 0..10 {
        put(&ring, tag, limit - tag as usize);
        get(&ring, tag, limit - tag as usize);
    }
    let small = Ring::builder().record_limit(10).build().unwrap();
    assert!(matches!(small.put(0, &[b"123456", b"78901"], SOON()), Err(PutError::TooLarge)));
    put(&small, 0, 10);
}

#[test]
fn used_up_addresses_are_an_error_and_nothing_is_lost() {
    let ring = Ring::builder().reserve(1 << 20).build().unwrap();
    let mut count = 0;
    let cause = loop {
        match ring.put(count, &[&bytes_of(count, 1000)], SOON()) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&cause, PutError::Failed(error) if error.kind() == ErrorKind::Exhausted));
    assert!(count > 600, "{count}");
    for tag in 0..count {
        get(&ring, tag, 1000);
    }
    put(&ring, 5, 1000);
    get(&ring, 5, 1000);
}

/// QU-01, QU-02, QU-06.
#[test]
fn capacity() {
    let ring = Ring::bounded(6).unwrap();
    for tag in 0..6 {
        assert!(!ring.is_full().unwrap());
        put(&ring, tag, 10);
        assert_eq!(ring.len().unwrap(), tag as usize + 1);
    }
    assert!(ring.is_full().unwrap() && !ring.is_empty().unwrap());
    assert!(matches!(ring.put(6, &[b"x"], Deadline::NOW), Err(PutError::Full)));
    let deadline = Deadline::after(Duration::from_millis(10));
    assert!(matches!(ring.put(6, &[b"x"], deadline), Err(PutError::Full)));
    assert!(deadline.is_past());
    for tag in 0..6 {
        get(&ring, tag, 10);
    }
    assert!(!ring.is_full().unwrap() && ring.is_empty().unwrap());
}

#[test]
fn timeout() {
    let ring = Ring::new().unwrap();
    let deadline = Deadline::after(Duration::from_millis(10));
    assert!(matches!(ring.get(&mut Vec::new(), deadline), Err(GetError::Empty)));
    assert!(deadline.is_past());
}

#[test]
fn put_many_goes_on_where_there_is_room() {
    let ring = Ring::bounded(10).unwrap();
    let data: Vec<_> = (0..1000).map(|tag| bytes_of(tag, tag as usize * 3)).collect();
    let records: Vec<_> = data.iter().zip(0..).map(|(bytes, tag)| (tag, &bytes[..])).collect();
    thread::scope(|scope| {
        scope.spawn(|| ring.put_many(&records, SOON()).unwrap());
        for tag in 0..1000 {
            get(&ring, tag, tag as usize * 3);
        }
    });
    let error = ring.put_many(&records, Deadline::NOW).unwrap_err();
    assert!(error.put == 10 && matches!(error.cause, PutError::Full), "{error:?}");
}

#[test]
fn put_many_is_one_commit() {
    let ring = Ring::new().unwrap();
    let data = bytes_of(1, 1000);
    let records: Vec<_> = (0..5000).map(|_| (1, &data[..])).collect();
    ring.put_many(&records, SOON()).unwrap();
    assert_eq!(ring.header.tail.word().snapshot().count(), 1);
    for _ in 0..5000 {
        get(&ring, 1, 1000);
    }
}

#[test]
fn a_failing_hook_changes_nothing() {
    let ring = Ring::new().unwrap();
    let refused = ring.put_with(1, &[b"no"], SOON(), |_| Err::<(), _>("refused"));
    assert!(matches!(refused, Err(PutError::Hook("refused"))));
    let put = ring.put_with(2, &[b"yes"], SOON(), Ok::<_, Infallible>);
    assert_eq!(put.unwrap(), 0);
    let mut bytes = Vec::new();
    let refused = ring.get_with(&mut bytes, SOON(), |item| Err::<(), _>(item.tag));
    assert!(matches!(refused, Err(GetError::Hook(2))));
    assert_eq!(ring.len().unwrap(), 1);
    let (item, beside) =
        ring.get_with(&mut bytes, SOON(), |item| Ok::<_, Infallible>(item.sequence)).unwrap();
    assert_eq!((item.tag, beside, &bytes[..]), (2, 0, &b"yes"[..]));
}

#[test]
fn a_panic_in_a_hook_releases_the_lock() {
    let ring = Ring::new().unwrap();
    let panicking = std::panic::AssertUnwindSafe(|| {
        let _ =
            ring.put_with(1, &[b"no"], SOON(), |_| -> Result<(), Infallible> { panic!("hook") });
    });
    assert!(std::panic::catch_unwind(panicking).is_err());
    put(&ring, 2, 10);
    get(&ring, 2, 10);
}

#[test]
fn using_the_ring_in_its_hook_is_an_error() {
    let ring = Ring::new().unwrap();
    let nested = ring.put_with(1, &[b"outer"], SOON(), |_| ring.put(2, &[b"inner"], SOON()));
    let Err(PutError::Hook(PutError::Failed(error))) = nested else { panic!("{nested:?}") };
    assert_eq!(error.kind(), ErrorKind::Deadlock);
    put(&ring, 3, 10);
    get(&ring, 3, 10);
}

/// QU-10.
#[test]
fn closed() {
    let ring = Ring::new().unwrap();
    put(&ring, 1, 10);
    ring.close();
    ring.close();
    assert!(ring.is_closed());
    assert!(matches!(ring.put(2, &[b"x"], SOON()), Err(PutError::Closed)));
    assert!(matches!(ring.put_many(&[(2, b"x")], SOON()).unwrap_err().cause, PutError::Closed));
    get(&ring, 1, 10);
    assert!(matches!(ring.get(&mut Vec::new(), SOON()), Err(GetError::Closed)));
}

#[test]
fn close_wakes_waiters() {
    let empty = Ring::new().unwrap();
    let full = Ring::bounded(1).unwrap();
    put(&full, 1, 1);
    thread::scope(|scope| {
        let getters = [(); 2].map(|()| scope.spawn(|| empty.get(&mut Vec::new(), SOON())));
        let putters = [(); 2].map(|()| scope.spawn(|| full.put(2, &[b"x"], SOON())));
        while !empty.header.tail.word().has_sleepers() || !full.header.head.word().has_sleepers() {
            thread::yield_now();
        }
        empty.close();
        full.close();
        for getter in getters {
            assert!(matches!(getter.join().unwrap(), Err(GetError::Closed)));
        }
        for putter in putters {
            assert!(matches!(putter.join().unwrap(), Err(PutError::Closed)));
        }
    });
}

#[test]
fn a_closer_that_died_half_way_is_helped() {
    let ring = Ring::bounded(1).unwrap();
    put(&ring, 1, 1);
    ring.header.head.word().close();
    assert!(matches!(ring.put(2, &[b"x"], SOON()), Err(PutError::Closed)));
    assert!(ring.is_closed());
}

#[test]
fn nothing_waits_with_the_deadline_past() {
    // A consumer asleep holds the lock of the head, a producer asleep that of the tail.
    let ring = Ring::bounded(1).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| get(&ring, 1, 10));
        while !ring.header.tail.word().has_sleepers() {
            thread::yield_now();
        }
        assert!(matches!(ring.get(&mut Vec::new(), Deadline::NOW), Err(GetError::Empty)));
        put(&ring, 1, 10);
    });
    put(&ring, 2, 10);
    thread::scope(|scope| {
        scope.spawn(|| put(&ring, 3, 10));
        while !ring.header.head.word().has_sleepers() {
            thread::yield_now();
        }
        assert!(matches!(ring.put(4, &[b"x"], Deadline::NOW), Err(PutError::Full)));
        get(&ring, 2, 10);
    });
    get(&ring, 3, 10);
}

#[test]
fn differs_in_nothing_from_a_queue_in_memory() {
    for seed in 1..=9 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ seed << 17);
        let capacity = [0, 5, 300][seed as usize % 3];
        let ring = Ring::bounded(capacity).unwrap();
        let mut model = VecDeque::new();
        let mut tag = 0;
        for _ in 0..300 {
            // Phases of growing and of shrinking, of small records and of large ones.
            let (puts, largest) = (random.below(100), 1 << random.below(18));
            for _ in 0..random.below(40) {
                if random.below(100) < puts {
                    let len = random.below(largest) as usize;
                    let fits = capacity == 0 || model.len() < capacity;
                    match ring.put(tag, &[&bytes_of(tag, len)], Deadline::NOW) {
                        Ok(()) if fits => model.push_back((tag, len)),
                        Err(PutError::Full) if !fits => {}
                        other => panic!("{other:?}"),
                    }
                    tag += 1;
                } else if let Some((tag, len)) = model.pop_front() {
                    get(&ring, tag, len);
                } else {
                    let nothing = ring.get(&mut Vec::new(), Deadline::NOW);
                    assert!(matches!(nothing, Err(GetError::Empty)));
                }
                assert_eq!(ring.len().unwrap(), model.len());
            }
        }
        for (tag, len) in model {
            get(&ring, tag, len);
        }
        assert!(ring.is_empty().unwrap());
        assert!(resident(&ring) < 8 << 20, "{}", resident(&ring));
    }
}

#[test]
fn a_little_on_its_way_goes_back_to_a_small_arena_in_the_end() {
    let ring = Ring::new().unwrap();
    for tag in 0..100 {
        put(&ring, tag, 10_000);
    }
    for tag in 0..100 {
        get(&ring, tag, 10_000);
    }
    let large = tail(&ring).place;
    assert!(large.arena > 3, "{large:?}");
    for tag in 0..16 * large.size() / 10_000 {
        put(&ring, tag, 10_000);
        get(&ring, tag, 10_000);
        if tag < 100 {
            assert_eq!(tail(&ring).place, large);
        }
    }
    assert_eq!(tail(&ring).place.arena, 0);
    assert!(resident(&ring) < 128 << 10, "{}", resident(&ring));
}

#[test]
fn stress_between_threads() {
    const EACH: u64 = 10_000;
    for capacity in [0, 1, 50] {
        let ring = Ring::bounded(capacity).unwrap();
        let sum = std::sync::atomic::AtomicU64::new(0);
        thread::scope(|scope| {
            for producer in 0..2 {
                let ring = &ring;
                scope.spawn(move || {
                    for index in 0..EACH {
                        put(ring, index * 2 + producer, (index % 300) as usize);
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut bytes = Vec::new();
                    let mut last = [None, None];
                    for _ in 0..EACH {
                        let tag = ring.get(&mut bytes, SOON()).unwrap().tag;
                        assert!(bytes == bytes_of(tag, (tag / 2 % 300) as usize));
                        // In the order of each producer.
                        assert!(last[(tag % 2) as usize] < Some(tag));
                        last[(tag % 2) as usize] = Some(tag);
                        sum.fetch_add(tag, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(sum.load(Ordering::Relaxed), (0..2 * EACH).sum::<u64>());
        assert!(ring.is_empty().unwrap());
    }
}

#[test]
fn stress_between_processes() {
    const EACH: u64 = 5_000;
    let ring = Ring::bounded(20).unwrap();
    let results = Ring::new().unwrap();
    let children: Vec<_> = (0..4)
        .map(|index| {
            fork(|| {
                if index % 2 == 0 {
                    (0..EACH).for_each(|tag| put(&ring, tag, (tag % 500) as usize));
                    return true;
                }
                let mut bytes = Vec::with_capacity(1000);
                let mut sum = 0;
                for _ in 0..EACH {
                    let tag = ring.get(&mut bytes, SOON()).unwrap().tag;
                    assert!(bytes == bytes_of(tag, (tag % 500) as usize));
                    sum += tag;
                }
                results.put(sum, &[], SOON()).unwrap();
                true
            })
        })
        .collect();
    children.into_iter().for_each(|child| child.succeed());
    let mut sum = 0;
    for _ in 0..2 {
        sum += results.get(&mut Vec::new(), SOON()).unwrap().tag;
    }
    assert_eq!(sum, 2 * (0..EACH).sum::<u64>());
}

/// A producer dies with the record written and nothing committed, a consumer with the record copied.
#[test]
fn kill_holder() {
    let ring = Ring::new().unwrap();
    put(&ring, 1, 10);
    let child = fork(|| {
        ring.put_with(2, &[b"lost"], SOON(), |_| -> Result<bool, Infallible> { die() }).unwrap()
    });
    child.wait();
    let child = fork(|| {
        ring.get_with(&mut Vec::new(), SOON(), |_| -> Result<bool, Infallible> { die() }).unwrap().1
    });
    child.wait();
    put(&ring, 3, 10);
    get(&ring, 1, 10);
    get(&ring, 3, 10);
}

#[test]
fn kill_waiter() {
    let ring = Ring::new().unwrap();
    let first = fork(|| {
        get(&ring, 0, 10);
        true
    });
    while !ring.header.tail.word().has_sleepers() {
        thread::yield_now();
    }
    // It sleeps behind the first, which has the lock.
    let second = fork(|| {
        get(&ring, 1, 10);
        true
    });
    first.kill();
    put(&ring, 1, 10);
    second.succeed();
}

#[test]
fn corrupt_bytes_are_errors() {
    let mut random = Random(7);
    for _ in 0..600 {
        let ring = Ring::builder().reserve(1 << 20).build().unwrap();
        (0..5).for_each(|tag| put(&ring, tag, 20_000));
        for _ in 0..1 + random.below(3) {
            // Not the locks: their owners would be awaited; nor the words' sleeping bits.
            let places =
                [0, 8, 16, 128 + 256, 128 + 320, 512 + 256, 512 + 320, 896, (32 << 10) - 128];
            let at = places[random.below(9) as usize] + random.below(48) as usize + HEADER_AT;
            let byte = random.below(256) as u8;
            ring.segment.copy_in(at, &[byte]).unwrap();
        }
        let Ok(other) = Ring::open(ring.segment.clone()) else { continue };
        let mut bytes = Vec::new();
        for tag in 0..8 {
            let _ = other.len();
            let _ = other.put(tag, &[&[1; 3000]], Deadline::NOW);
            let _ = other.get(&mut bytes, Deadline::NOW);
        }
    }
}

#[test]
fn travels_in_a_message() {
    let ring = Ring::bounded(3).unwrap();
    put(&ring, 1, 10);
    let message = mp_wire::encode(&ring).unwrap();
    let same: Ring = message.decode().unwrap();
    assert_eq!(same.capacity(), Some(3));
    get(&same, 1, 10);
    let other = mp_wire::encode(&Segment::create(1, 64).unwrap()).unwrap();
    assert!(other.decode::<Ring>().is_err());
}

#[test]
fn handles_are_send_and_sync() {
    fn check<T: Send + Sync + Clone + std::fmt::Debug>() {}
    check::<Ring>();
    fn errors<T: std::error::Error + Send + Sync>() {}
    errors::<PutError>();
    errors::<GetError>();
    errors::<PutManyError>();
}

#[test]
fn many_are_taken_together() {
    let ring = Ring::new().unwrap();
    let (mut bytes, mut records) = (Vec::new(), Vec::new());
    let any = |_| true;
    let empty = ring.get_many_if(&mut bytes, &mut records, 10, Deadline::NOW, any);
    assert!(matches!(empty, Err(GetError::Empty)));
    // Through several arenas, around their ends, and back to the first.
    let mut next = 0;
    for round in 0..200_u64 {
        for number in 0..round {
            put(&ring, round * 1000 + number, (number * 7 % 300) as usize);
        }
        let mut left = round;
        while left > 0 {
            let most = 1 + (round % 50) as usize;
            let taken =
                ring.get_many_if(&mut bytes, &mut records, most, Deadline::NOW, any).unwrap();
            assert!(taken >= 1 && taken <= most && taken == records.len());
            let mut start = 0;
            for record in &records {
                let number = round - left;
                assert_eq!(record.item, Item { tag: round * 1000 + number, sequence: next });
                let expected = bytes_of(record.item.tag, (number * 7 % 300) as usize);
                assert_eq!(bytes[start..record.end], expected[..]);
                start = record.end;
                left -= 1;
                next += 1;
            }
            assert_eq!(start, bytes.len());
        }
        assert!(ring.is_empty().unwrap());
    }
}

#[test]
fn many_are_taken_up_to_one_that_is_not_wanted() {
    let ring = Ring::new().unwrap();
    for tag in [1, 2, 9, 9, 3] {
        put(&ring, tag, 10);
    }
    let (mut bytes, mut records) = (Vec::new(), Vec::new());
    let mut take = |most| {
        ring.get_many_if(&mut bytes, &mut records, most, Deadline::NOW, |tag| tag < 9).unwrap();
        records.iter().map(|record| record.item.tag).collect::<Vec<_>>()
    };
    assert_eq!([take(10), take(10)], [vec![1, 2], vec![]]);
    let mut one = Vec::new();
    assert_eq!(ring.get(&mut one, Deadline::NOW).unwrap().tag, 9);
    assert_eq!(ring.get(&mut one, Deadline::NOW).unwrap().tag, 9);
    assert_eq!(take(10), [3]);
}
