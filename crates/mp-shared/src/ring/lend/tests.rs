use super::*;
use crate::testing::{Trap, fork};

fn put(ring: &Ring, bytes: &[u8]) {
    ring.put(0, &[bytes], Deadline::NOW).unwrap();
}

fn get(ring: &Ring) -> Vec<u8> {
    let mut bytes = Vec::new();
    ring.get(&mut bytes, Deadline::NOW).unwrap();
    bytes
}

#[test]
fn what_is_not_committed_is_not_there() {
    let ring = Ring::new().unwrap();
    let mut room = ring.reserve(1, 4, Deadline::NOW).unwrap();
    room.copy_from_slice(b"none");
    drop(room);
    assert!(ring.is_empty().unwrap());
    let mut room = ring.reserve(2, 1000, Deadline::NOW).unwrap();
    room[..4].copy_from_slice(b"some");
    room.truncate(4);
    room.commit().unwrap();
    put(&ring, b"more");
    let lent = ring.lend(Deadline::NOW).unwrap();
    assert_eq!((&*lent, lent.item()), (&b"some"[..], Item { tag: 2, sequence: 0 }));
    drop(lent);
    assert_eq!((get(&ring), ring.bytes().unwrap()), (b"more".to_vec(), 0));
}

#[test]
fn what_is_left_stays() {
    let ring = Ring::new().unwrap();
    put(&ring, b"first");
    put(&ring, b"second");
    ring.lend(Deadline::NOW).unwrap().leave();
    assert_eq!(ring.len().unwrap(), 2);
    assert_eq!(get(&ring), b"first");
    drop(ring.lend(Deadline::NOW).unwrap());
    assert!(matches!(ring.lend(Deadline::NOW), Err(GetError::Empty)));
}

#[test]
fn others_wait_and_the_same_thread_is_told() {
    let ring = Ring::new().unwrap();
    put(&ring, b"lent");
    let lent = ring.lend(Deadline::NOW).unwrap();
    let room = ring.reserve(0, 1, Deadline::NOW).unwrap();
    let deadlock = |error: &Error| error.kind() == ErrorKind::Deadlock;
    let put = ring.put(0, &[b"x"], Deadline::NEVER);
    assert!(matches!(put, Err(PutError::Failed(error)) if deadlock(&error)));
    let got = ring.get(&mut Vec::new(), Deadline::NEVER);
    assert!(matches!(got, Err(GetError::Failed(error)) if deadlock(&error)));
    let again = ring.lend(Deadline::NEVER);
    assert!(matches!(again, Err(GetError::Failed(error)) if deadlock(&error)));
    let ring = &ring;
    std::thread::scope(|scope| {
        let soon = Deadline::after(std::time::Duration::from_millis(5));
        let put = scope.spawn(move || ring.put(0, &[b"x"], soon)).join().unwrap();
        assert!(matches!(put, Err(PutError::Full)));
        let got = scope.spawn(|| ring.get(&mut Vec::new(), Deadline::NOW)).join().unwrap();
        assert!(matches!(got, Err(GetError::Empty)));
    });
    room.commit().unwrap();
    drop(lent);
    assert_eq!(get(ring).len(), 1);
}

#[test]
fn records_of_every_size_in_place() {
    let ring = Ring::new().unwrap();
    // Across arenas: each is larger than what there was before.
    for size in (0..24).map(|bits| (1_usize << bits) - 1) {
        let mut room = ring.reserve(0, size, Deadline::NOW).unwrap();
        room.fill(size as u8);
        room.commit().unwrap();
    }
    for size in (0..24).map(|bits| (1_usize << bits) - 1) {
        let lent = ring.lend(Deadline::NOW).unwrap();
        assert!(lent.len() == size && lent.iter().all(|&byte| byte == size as u8));
    }
    assert_eq!((ring.len().unwrap(), ring.bytes().unwrap()), (0, 0));
}

#[test]
fn who_dies_with_them_leaves_all_as_it_was() {
    let ring = Ring::new().unwrap();
    put(&ring, b"first");
    let trap = Trap::new();
    let victim = fork(|| {
        let mut room = ring.reserve(0, 100, Deadline::NEVER).unwrap();
        room.fill(7);
        let _lent = ring.lend(Deadline::NEVER).unwrap();
        trap.step_in()
    });
    trap.wait();
    victim.kill();
    put(&ring, b"second");
    assert_eq!((get(&ring), get(&ring)), (b"first".to_vec(), b"second".to_vec()));
}

#[test]
fn a_forked_copy_of_a_guard_does_nothing() {
    let ring = Ring::new().unwrap();
    put(&ring, b"first");
    let room = ring.reserve(0, 1, Deadline::NOW).unwrap();
    let lent = ring.lend(Deadline::NOW).unwrap();
    let mut guards = Some((room, lent));
    fork(|| {
        let (room, lent) = guards.take().unwrap();
        drop(lent);
        matches!(room.commit(), Err(PutError::Failed(error)) if error.kind() == ErrorKind::Deadlock)
    })
    .succeed();
    let (room, lent) = guards.take().unwrap();
    assert_eq!((&*lent, ring.len().unwrap()), (&b"first"[..], 1));
    drop((room, lent));
    assert!(ring.is_empty().unwrap());
}

#[test]
fn a_leaked_guard_keeps_the_memory() {
    let ring = Ring::new().unwrap();
    let again = ring.clone();
    let _leaked = std::mem::ManuallyDrop::new(ring.reserve(0, 1, Deadline::NOW).unwrap());
    drop(again);
    let other = Ring::new().unwrap();
    other.reserve(0, 1, Deadline::NOW).unwrap().commit().unwrap();
    assert_eq!(get(&other).len(), 1);
}

#[test]
fn closed_meanwhile() {
    let ring = Ring::new().unwrap();
    let room = ring.reserve(0, 1, Deadline::NOW).unwrap();
    std::thread::scope(|scope| scope.spawn(|| ring.close()).join().unwrap());
    assert!(matches!(room.commit(), Err(PutError::Closed)));
    assert!(matches!(ring.lend(Deadline::NEVER), Err(GetError::Closed)));
}

#[test]
fn a_bound_on_bytes() {
    let ring = Ring::builder().byte_capacity(10).build().unwrap();
    assert_eq!((ring.byte_capacity(), ring.record_limit()), (Some(10), 10));
    put(&ring, b"123456");
    assert!(matches!(ring.put(0, &[b"12345"], Deadline::NOW), Err(PutError::Full)));
    assert!(matches!(ring.put(0, &[b"12345678901"], Deadline::NOW), Err(PutError::TooLarge)));
    put(&ring, b"1234");
    assert!(matches!(ring.reserve(0, 1, Deadline::NOW), Err(PutError::Full)));
    assert_eq!(ring.bytes().unwrap(), 10);
    let put_many =
        |ring: &Ring| ring.put_many(&[(0, b"1234"), (0, b"12"), (0, b"1")], Deadline::NOW);
    assert_eq!(put_many(&ring).unwrap_err().put, 0);
    get(&ring);
    assert_eq!(put_many(&ring).unwrap_err().put, 2);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| ring.put(0, &[b"1234567"], Deadline::NEVER));
        assert_eq!((get(&ring), get(&ring)), (b"1234".to_vec(), b"1234".to_vec()));
        get(&ring);
        waits.join().unwrap().unwrap();
    });
    assert_eq!(ring.bytes().unwrap(), 7);
}

#[test]
fn a_nudge_wakes_who_goes_by_it() {
    let ring = Ring::new().unwrap();
    let get = |nudge| {
        let hook = |_| Ok::<(), std::convert::Infallible>(());
        let mut bytes = Vec::new();
        ring.get_around(&mut bytes, Deadline::NEVER, nudge, hook, |()| ()).map(|_| bytes.len())
    };
    let asleep = || ring.header.tail.word().has_sleepers();
    std::thread::scope(|scope| {
        let nudged = scope.spawn(|| get(Nudge::Return));
        while !asleep() {
            std::thread::yield_now();
        }
        ring.nudge();
        assert!(matches!(nudged.join().unwrap(), Err(GetError::Empty)));
        let patient = scope.spawn(|| get(Nudge::Ignore));
        while !asleep() {
            std::thread::yield_now();
        }
        ring.nudge();
        put(&ring, b"x");
        assert_eq!(patient.join().unwrap().unwrap(), 1);
    });
    assert!(ring.is_empty().unwrap());
    // In the middle of a put it does nothing.
    let room = ring.reserve(0, 1, Deadline::NOW).unwrap();
    let before = ring.header.tail.word().snapshot();
    ring.nudge();
    assert_eq!(ring.header.tail.word().snapshot(), before);
    drop(room);
}
