use mp_wire::{decode, encode};
use serde::de::DeserializeOwned;

use super::*;
use crate::testing::{Trap, die, fork};

fn received<T: DeserializeOwned>(value: &impl Serialize) -> Result<T, mp_wire::Error> {
    let message = encode(value).unwrap();
    decode(&message.bytes, &message.fds)
}

fn array() -> ChunkedArray<u64> {
    ChunkedArray::from_slice(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 4).unwrap()
}

#[test]
fn a_guard_is_the_slice_of_its_range() {
    let array = array();
    assert_eq!((array.len(), array.chunk_len(), array.chunk_count()), (10, 4, 3));
    assert_eq!(array.chunks().collect::<Vec<_>>(), [0..4, 4..8, 8..10]);
    assert_eq!(*array.lock(2..=5).unwrap(), [2, 3, 4, 5]);
    assert_eq!(array.lock(..).unwrap().len(), 10);
    array.lock(9..).unwrap()[0] = 90;
    assert_eq!(array.get(9).unwrap(), 90);
    assert!(array.lock(4..4).unwrap().is_empty());
    assert!(array.lock(10..).unwrap().is_empty());
}

#[test]
fn guards_of_other_chunks_are_held_side_by_side() {
    let array = array();
    let mut left = array.lock(1..3).unwrap();
    let mut right = array.lock(4..5).unwrap();
    (left[0], right[0]) = (right[0], left[0]);
    // In the same chunk, though not the same element.
    assert!(matches!(array.lock(0..1), Err(LockError::Deadlock)));
    assert!(matches!(array.try_lock(3..9), Err(LockError::WouldBlock)));
    // What was taken before the one that is held has been released.
    assert!(matches!(array.lock(5..), Err(LockError::Deadlock)));
    assert_eq!(*array.try_lock(8..).unwrap(), [8, 9]);
    drop((left, right));
    assert_eq!(array.to_vec().unwrap(), [0, 4, 2, 3, 1, 5, 6, 7, 8, 9]);
}

#[test]
fn a_timeout_is_for_all_chunks_and_leaves_none_locked() {
    let array = array();
    let held = array.lock(9..).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let timeout = Duration::from_millis(20);
            let before = std::time::Instant::now();
            assert!(matches!(array.lock_timeout(.., timeout), Err(LockError::TimedOut)));
            assert!(before.elapsed() >= timeout);
            assert!(array.try_lock(..8).is_ok());
        });
    });
    drop(held);
    assert!(array.try_lock(..).is_ok());
}

#[test]
fn elements_change_in_one_call() {
    let array = array();
    array.set(3, 30).unwrap();
    assert_eq!(array.update(3, |value| value + 1).unwrap(), 31);
    assert_eq!(array.get(10).unwrap_err().kind(), ErrorKind::OutOfBounds);
    assert_eq!(array.set(10, 0).unwrap_err().kind(), ErrorKind::OutOfBounds);
    let wide = ChunkedArray::from_slice(&[[1u64; 3]; 2], 1).unwrap();
    wide.update(1, |[a, b, c]| [a + 1, b + 2, c + 3]).unwrap();
    assert_eq!(wide.to_vec().unwrap(), [[1, 1, 1], [2, 3, 4]]);
}

#[test]
fn a_panic_in_an_update_changes_and_poisons_nothing() {
    let array = array();
    let update = || array.update(0, |_| panic!("in the update"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(update)).is_err());
    assert!(!array.is_poisoned(..));
    assert_eq!(array.get(0).unwrap(), 0);
}

#[test]
fn a_death_poisons_the_chunks_that_were_held() {
    let array = array();
    let trap = Trap::new();
    let child = fork(|| {
        let mut guard = array.lock(3..5).unwrap();
        guard[0] = 7;
        trap.step_in()
    });
    trap.wait();
    child.kill();
    assert_eq!(*array.lock(8..).unwrap(), [8, 9]);
    let Err(LockError::Poisoned(poison)) = array.lock(..) else { panic!("not poisoned") };
    assert_eq!(poison.get_ref()[3], 7);
    drop(poison);
    assert!(array.is_poisoned(0..1) && array.is_poisoned(4..8) && !array.is_poisoned(8..));
    assert_eq!(array.get(5).unwrap_err().kind(), ErrorKind::Poisoned);
    array.clear_poison(..4);
    assert!(array.lock(..4).is_ok() && array.lock(4..).is_err());
    array.clear_poison(..);
    assert_eq!(array.to_vec().unwrap(), [0, 1, 2, 7, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_panic_poisons_as_a_death_does() {
    let array = array();
    let panic = || {
        let _guard = array.lock(..1).unwrap();
        panic!("while holding a chunk");
    };
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panic)).is_err());
    assert!(matches!(array.lock(..1), Err(LockError::Poisoned(_))));
    assert!(array.lock(4..).is_ok());
}

#[test]
fn a_forked_copy_of_a_guard_releases_nothing() {
    let array = array();
    let guard = array.lock(..4).unwrap();
    let mut guard = Some(guard);
    fork(|| {
        drop(guard.take());
        array.slots.get(0).is_some_and(|slot| slot.owner().is_some())
    })
    .succeed();
    assert!(matches!(array.try_lock(..1), Err(LockError::WouldBlock)));
    drop(guard);
    // Not poisoned by one that dies without a guard.
    let _ = fork(|| array.get(0).is_ok() && die()).wait();
    assert!(array.try_lock(..).is_ok());
}

#[test]
fn processes_write_their_parts() {
    let array = ChunkedArray::<u32>::new(64, 8).unwrap();
    let children: Vec<_> = (0..4u32)
        .map(|worker| {
            let array = &array;
            fork(move || {
                for chunk in array.chunks().skip(worker as usize).step_by(4) {
                    array.lock(chunk).unwrap().fill(worker);
                }
                true
            })
        })
        .collect();
    children.into_iter().for_each(|child| child.succeed());
    let expected: Vec<u32> = (0..64).map(|index| index / 8 % 4).collect();
    assert_eq!(array.to_vec().unwrap(), expected);
}

#[test]
fn it_travels_and_another_type_is_an_error() {
    let array = array();
    let copy: ChunkedArray<u64> = received(&array).unwrap();
    copy.set(0, 100).unwrap();
    assert_eq!(array.get(0).unwrap(), 100);
    assert!(received::<ChunkedArray<i64>>(&array).is_err());
    let lie = (3usize, array.slots.object(), &array.data);
    assert!(received::<ChunkedArray<u64>>(&lie).is_err());
}

#[test]
fn odd_sizes() {
    assert_eq!(ChunkedArray::<u8>::new(1, 0).unwrap_err().kind(), ErrorKind::InvalidInput);
    let empty = ChunkedArray::<u8>::new(0, 5).unwrap();
    assert!(empty.is_empty() && empty.lock(..).unwrap().is_empty());
    let one = ChunkedArray::<u8>::new(3, usize::MAX).unwrap();
    assert_eq!((one.chunk_count(), one.lock(..).unwrap().len()), (1, 3));
    let many = ChunkedArray::<u8>::new(4000, 1).unwrap();
    assert!(matches!(many.lock(..), Err(LockError::TooMany)));
    assert!(many.try_lock(..1000).is_ok());
}

#[test]
#[should_panic(expected = "not one of an array of 10 elements")]
fn a_range_beyond_the_end_panics() {
    drop(array().lock(5..11));
}
