//! What users of vectors rely on; the ids are those of the list of behaviours.

use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::testing::{PATIENCE, Trap, die, fork};
use crate::{Array, Event, Value};

fn same<T: Serialize + serde::de::DeserializeOwned>(object: &T) -> T {
    mp_wire::encode(object).unwrap().decode().unwrap()
}

fn backed<T: Pod>(vector: &SharedVec<T>) -> u64 {
    View::segment(&vector.extent).resident().unwrap()
}

#[test]
fn grows_and_shrinks() {
    let vector = SharedVec::<u32>::new().unwrap();
    assert!(vector.is_empty() && vector.to_vec().unwrap().is_empty());
    for n in 0..100_000 {
        assert_eq!(vector.push(n).unwrap(), n as usize);
    }
    assert_eq!(vector.len(), 100_000);
    assert!(vector.to_vec().unwrap().into_iter().eq(0..100_000));
    assert_eq!(vector.pop().unwrap(), Some(99_999));
    vector.truncate(10).unwrap();
    vector.truncate(20).unwrap();
    assert_eq!(vector.len(), 10);
    vector.resize(12, 7).unwrap();
    vector.resize(11, 0).unwrap();
    vector.extend_from_slice(&[5, 6]).unwrap();
    vector.extend_from_slice(&[]).unwrap();
    vector.set(0, 100).unwrap();
    assert_eq!(vector.update(1, |n| n + 1).unwrap(), 2);
    assert_eq!(vector.to_vec().unwrap(), [100, 2, 2, 3, 4, 5, 6, 7, 8, 9, 7, 5, 6]);
    vector.clear().unwrap();
    assert_eq!((vector.pop().unwrap(), vector.len()), (None, 0));
}

#[test]
fn guards() {
    let vector = SharedVec::from_slice(&[5i64, 3, 4]).unwrap();
    let mut guard = vector.lock().unwrap();
    guard.sort_unstable();
    guard.push(9).unwrap();
    guard.extend_from_slice(&[10, 11]).unwrap();
    assert_eq!(
        (guard.pop(), guard.swap_remove(0), guard.swap_remove(4)),
        (Some(11), Some(3), None)
    );
    assert_eq!(guard[..], [10, 4, 5, 9]);
    guard.reserve(100_000).unwrap();
    assert!(vector.capacity() >= 100_004);
    guard.shrink_to_fit().unwrap();
    assert!(vector.capacity() < 1000);
    guard.resize(6, 1).unwrap();
    guard.truncate(5);
    assert_eq!(format!("{guard:?}"), "[10, 4, 5, 9, 1]");
    assert!(matches!(vector.try_lock(), Err(LockError::WouldBlock)));
    assert_eq!(vector.get(0).unwrap_err().kind(), ErrorKind::Deadlock);
    assert_eq!(vector.push(0).unwrap_err().kind(), ErrorKind::Deadlock);
    drop(guard);
    let mut guard = vector.lock_timeout(PATIENCE).unwrap();
    guard.clear();
    assert!(guard.is_empty() && guard.pop().is_none() && vector.is_empty());
}

#[test]
fn others_see_the_growth() {
    // VA-04, for what grows: the child has mapped it while it was short.
    let vector = SharedVec::from_slice(&[0u64]).unwrap();
    let (grown, seen) = (Event::new().unwrap(), Event::new().unwrap());
    let message = mp_wire::encode(&vector).unwrap();
    let child = fork(|| {
        let vector: SharedVec<u64> = message.decode().unwrap();
        let before = vector.lock().unwrap()[..] == [0];
        seen.set();
        grown.wait();
        let guard = vector.lock().unwrap();
        let after = guard.iter().copied().eq(0..200_000);
        drop(guard);
        vector.truncate(2).unwrap();
        vector.shrink_to_fit().unwrap();
        vector.push(77).unwrap();
        before && after
    });
    assert!(seen.wait_timeout(PATIENCE));
    vector.extend_from_slice(&Vec::from_iter(1..200_000)).unwrap();
    grown.set();
    child.succeed();
    assert_eq!(vector.to_vec().unwrap(), [0, 1, 77]);
}

#[test]
fn pushes_of_many_processes_all_count() {
    let vector = SharedVec::new().unwrap();
    let work = |id: u32| (0..5000).all(|n| vector.push(id << 16 | n).is_ok());
    let children = [fork(|| work(0)), fork(|| work(1)), fork(|| work(2))];
    for child in children {
        child.succeed();
    }
    let all = vector.to_vec().unwrap();
    assert_eq!(all.len(), 15_000);
    for id in 0..3 {
        let of_one = all.iter().filter(|&&n| n >> 16 == id).map(|n| n & 0xffff);
        assert!(of_one.eq(0..5000), "each process's are in order");
    }
}

#[test]
fn out_of_range_is_an_error() {
    // VA-06.
    let vector = SharedVec::from_slice(&[1u8, 2]).unwrap();
    let kind = |error: Error| error.kind();
    assert_eq!(kind(vector.get(2).unwrap_err()), ErrorKind::OutOfBounds);
    assert_eq!(kind(vector.set(usize::MAX, 1).unwrap_err()), ErrorKind::OutOfBounds);
    assert_eq!(kind(vector.update(2, |_| unreachable!()).unwrap_err()), ErrorKind::OutOfBounds);
    vector.truncate(1).unwrap();
    assert_eq!(kind(vector.get(1).unwrap_err()), ErrorKind::OutOfBounds, "though it has memory");
    assert_eq!(vector.get(0).unwrap(), 1);
}

#[test]
fn what_is_too_much_is_an_error() {
    // W-36: an error where it is asked for, and nothing has changed.
    let vector = SharedVec::<u64>::with_max_len(3).unwrap();
    assert_eq!((vector.max_len(), vector.len()), (3, 0));
    vector.extend_from_slice(&[1, 2]).unwrap();
    assert_eq!(vector.extend_from_slice(&[3, 4]).unwrap_err().kind(), ErrorKind::Exhausted);
    assert_eq!(vector.resize(4, 0).unwrap_err().kind(), ErrorKind::Exhausted);
    assert_eq!(vector.reserve(usize::MAX).unwrap_err().kind(), ErrorKind::Exhausted);
    vector.push(3).unwrap();
    assert_eq!(vector.push(4).unwrap_err().kind(), ErrorKind::Exhausted);
    assert_eq!(vector.to_vec().unwrap(), [1, 2, 3]);
    for max in [usize::MAX, isize::MAX as usize, 1 << 60] {
        assert!(SharedVec::<u64>::with_max_len(max).is_err());
    }
    let none = SharedVec::<u64>::with_max_len(0).unwrap();
    assert!(none.push(1).is_err() && none.pop().unwrap().is_none());
}

#[test]
fn more_than_the_machine_has_is_an_error() {
    let vector = SharedVec::<u8>::with_max_len(1 << 45).unwrap();
    vector.extend_from_slice(&[1, 2, 3]).unwrap();
    let before = backed(&vector);
    let error = vector.reserve(1 << 44).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert_eq!(backed(&vector), before, "what was had in vain is given back");
    assert_eq!(vector.lock().unwrap().push(4).map_err(|error| error.kind()), Ok(()));
    assert_eq!(vector.to_vec().unwrap(), [1, 2, 3, 4]);
}

#[test]
fn a_limit_on_file_sizes_reserves_less() {
    fork(|| {
        let limit = libc::rlimit { rlim_cur: 3 << 20, rlim_max: 3 << 20 };
        crate::testing::limit_file_sizes(limit);
        let vector = SharedVec::<u8>::new().unwrap();
        let max = vector.max_len();
        vector.resize(max, 7).unwrap();
        let full = vector.push(8).unwrap_err().kind() == ErrorKind::Exhausted;
        full && (1 << 20..=3 << 20).contains(&max)
            && SharedVec::<u8>::with_max_len(4 << 20).is_err()
    })
    .succeed();
}

#[test]
fn memory_comes_and_goes() {
    let vector = SharedVec::<u8>::new().unwrap();
    assert!(backed(&vector) <= 8 << 10, "reserved is not used");
    vector.resize(32 << 20, 1).unwrap();
    let full = backed(&vector);
    assert!((32 << 20..64 << 20).contains(&full));
    vector.truncate(1000).unwrap();
    assert!(backed(&vector) < 1 << 20, "given back by itself");
    vector.shrink_to_fit().unwrap();
    assert!(backed(&vector) <= 8 << 10);
    vector.resize(5000, 2).unwrap();
    let all = vector.to_vec().unwrap();
    assert!(all[..1000].iter().all(|&n| n == 1) && all[1000..].iter().all(|&n| n == 2));
}

#[test]
fn what_is_covered_is_backed() {
    // A page that has no memory would be a signal where there is none left.
    let vector = SharedVec::<[u64; 3]>::new().unwrap();
    let mut seed = 1u32;
    for _ in 0..2000 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = (seed >> 16) as usize % 20_000;
        match seed % 7 {
            0 => vector.shrink_to_fit().unwrap(),
            1 | 2 => vector.truncate(len).unwrap(),
            3 => vector.reserve(len).unwrap(),
            4 => drop(vector.push([1; 3]).unwrap()),
            _ => vector.resize(len, [1; 3]).unwrap(),
        }
        let used = (vector.len() * 24) as u64;
        let words = vector.extent.backed.load(Relaxed);
        assert!(used <= words && words <= backed(&vector));
    }
    assert!(vector.to_vec().unwrap().iter().all(|&element| element == [1; 3]));
}

#[test]
fn elements_of_no_size_and_of_a_page() {
    let units = SharedVec::<()>::new().unwrap();
    units.extend_from_slice(&[(); 1000]).unwrap();
    assert_eq!((units.pop().unwrap(), units.len()), (Some(()), 999));
    units.resize(usize::MAX, ()).unwrap();
    assert_eq!(units.push(()).unwrap_err().kind(), ErrorKind::Exhausted);
    #[repr(C, align(4096))]
    #[derive(Clone, Copy, PartialEq, Debug, bytemuck::Zeroable, bytemuck::Pod)]
    struct Page([u64; 512]);
    let pages = SharedVec::from_slice(&[Page([7; 512]); 3]).unwrap();
    pages.push(Page([8; 512])).unwrap();
    let guard = pages.lock().unwrap();
    assert!(guard.as_ptr().is_aligned());
    assert_eq!((guard[2], guard[3]), (Page([7; 512]), Page([8; 512])));
}

#[test]
fn kill_holder() {
    // W-30.
    let vector = SharedVec::from_slice(&[1u8, 2, 3]).unwrap();
    let trap = Trap::new();
    let child = fork(|| {
        let mut guard = vector.lock().unwrap();
        guard.push(4).unwrap();
        guard[0] = 9;
        trap.step_in()
    });
    trap.wait();
    assert!(format!("{vector:?}").starts_with("SharedVec { elements: <locked>, owner: Some(Owner"));
    child.kill();
    let Err(LockError::Poisoned(mut poison)) = vector.lock_timeout(PATIENCE) else { panic!() };
    assert_eq!(poison.get_ref()[..], [9, 2, 3, 4]);
    poison.get_mut()[0] = 1;
    drop(poison);
    assert_eq!(vector.get(0).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(vector.push(0).unwrap_err().kind(), ErrorKind::Poisoned);
    assert!(same(&vector).is_poisoned());
    vector.clear_poison();
    assert_eq!(vector.to_vec().unwrap(), [1, 2, 3, 4]);
}

#[test]
fn killed_between_two_steps_nothing_is_poisoned() {
    let vector = SharedVec::from_slice(&[1u64; 10_000]).unwrap();
    // The elements are there, and the length does not cover them.
    let child = fork(|| {
        vector
            .visit(|rows, len| -> Result<(), Error> {
                rows.reserve(len + 100_000)?;
                vector.inner.object().write(len, &[2u64; 50_000])?;
                die()
            })
            .is_ok()
    });
    assert!(!child.wait().success());
    assert_eq!(vector.len(), 10_000);
    assert!(vector.to_vec().unwrap().iter().all(|&n| n == 1));
    // More has memory than is written down; all of it is given back.
    let child = fork(|| {
        vector
            .visit(|_, _| -> Result<(), Error> {
                vector.inner.object().commit(0..8 << 20)?;
                die()
            })
            .is_ok()
    });
    assert!(!child.wait().success());
    assert!(backed(&vector) >= 8 << 20);
    vector.shrink_to_fit().unwrap();
    assert!(backed(&vector) < 100 << 10);
    assert!(vector.to_vec().unwrap().iter().all(|&n| n == 1));
    // The length covers less than has memory.
    let child = fork(|| {
        vector.extent.len.store(5, Relaxed);
        vector.visit(|_, _| -> Result<(), Error> { die() }).is_ok()
    });
    assert!(!child.wait().success());
    vector.push(3).unwrap();
    assert_eq!(vector.to_vec().unwrap(), [1, 1, 1, 1, 1, 3]);
    assert!(!vector.is_poisoned());
}

#[test]
fn a_panic_leaves_the_vector() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let vector = SharedVec::from_slice(&[1u8]).unwrap();
    let result = catch_unwind(AssertUnwindSafe(|| vector.update(0, |_| panic!("on purpose"))));
    assert!(result.is_err() && !vector.is_locked());
    assert_eq!(vector.get(0).unwrap(), 1);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut guard = vector.lock().unwrap();
        guard.push(2).unwrap();
        panic!("on purpose");
    }));
    assert!(result.is_err() && vector.is_poisoned() && !vector.is_locked());
    vector.clear_poison();
    assert_eq!(vector.to_vec().unwrap(), [1, 2]);
}

#[test]
fn a_length_that_cannot_be_is_noticed_at_each_lock() {
    let vector = SharedVec::from_slice(&[1u32, 2, 3]).unwrap();
    for hostile in [u64::MAX, 1 << 62, vector.capacity() as u64 + 1, vector.max_len() as u64 + 1] {
        vector.extent.len.store(hostile, Relaxed);
        assert!(vector.len() <= vector.max_len());
        assert_eq!(vector.get(0).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(vector.push(0).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(vector.to_vec().unwrap_err().kind(), ErrorKind::Corrupt);
        let Err(LockError::Poisoned(poison)) = vector.lock() else { panic!() };
        assert!(poison.get_ref().is_empty());
        drop(poison);
        assert_eq!(vector.push(0).unwrap_err().kind(), ErrorKind::Poisoned);
        vector.clear_poison();
        vector.extend_from_slice(&[4, 5]).unwrap();
        assert_eq!(vector.to_vec().unwrap(), [4, 5]);
    }
    // A length that changes while somebody has the guard changes nothing for that one.
    let guard = vector.lock().unwrap();
    vector.extent.len.store(u64::MAX, Relaxed);
    assert_eq!(guard[..], [4, 5]);
    drop(guard);
    vector.extent.len.store(2, Relaxed);
    // So much is not reserved, whatever it says.
    vector.extent.backed.store(u64::MAX, Relaxed);
    assert_eq!(vector.capacity(), vector.max_len());
    assert_eq!(vector.to_vec().unwrap(), [4, 5]);
    vector.extent.backed.store(0, Relaxed);
    assert_eq!(vector.get(0).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_head_that_cannot_be_is_refused() {
    let vector = SharedVec::from_slice(&[1u32, 2, 3]).unwrap();
    let message = mp_wire::encode(&vector).unwrap();
    // Behind the tag, the alignment and the size of an element.
    let most = View::segment(&vector.extent).atomic_u64(16).unwrap();
    let max = most.load(Relaxed);
    assert_eq!(max, vector.max_len() as u64);
    for hostile in [max + 1, u64::MAX, u64::MAX / 4, 1 << 62] {
        most.store(hostile, Relaxed);
        assert!(message.decode::<SharedVec<u32>>().is_err());
    }
    // Shorter than it was made, it is one that has too many elements.
    most.store(2, Relaxed);
    let received: SharedVec<u32> = message.decode().unwrap();
    assert_eq!((received.len(), received.max_len()), (2, 2));
    assert_eq!(received.get(0).unwrap_err().kind(), ErrorKind::Corrupt);
    most.store(max, Relaxed);
    assert_eq!(message.decode::<SharedVec<u32>>().unwrap().iter().unwrap().sum::<u32>(), 6);
}

#[test]
fn elements_of_several_words_are_poisoned_if_half_written() {
    let vector = SharedVec::from_slice(&[[1u64; 3]; 2]).unwrap();
    let child = fork(|| {
        let mut held = vector.inner.visit().unwrap();
        held.exposed(|_| die())
    });
    assert!(!child.wait().success());
    assert_eq!(vector.get(0).unwrap_err().kind(), ErrorKind::Poisoned);
    vector.clear_poison();
    vector.set(1, [2; 3]).unwrap();
    assert_eq!(vector.to_vec().unwrap(), [[1; 3], [2; 3]]);
}

#[test]
fn another_type_is_refused() {
    let vector = SharedVec::from_slice(&[1u32]).unwrap();
    let message = mp_wire::encode(&vector).unwrap();
    assert_eq!(message.decode::<SharedVec<u32>>().unwrap().max_len(), vector.max_len());
    assert!(message.decode::<SharedVec<i32>>().is_err());
    assert!(message.decode::<SharedVec<u64>>().is_err());
    assert!(message.decode::<Array<u32>>().is_err());
    assert!(message.decode::<Value<u32>>().is_err());
    let message = mp_wire::encode(&Array::<u32>::new(1).unwrap()).unwrap();
    assert!(message.decode::<SharedVec<u32>>().is_err());
    // VA-10.
    assert!(postcard::to_allocvec(&vector).is_err());
}

#[test]
fn clones_are_the_same_and_copies_are_not() {
    // VA-09.
    let vector = SharedVec::from_slice(&[1, 2]).unwrap();
    let (clone, copy) = (vector.clone(), vector.copy().unwrap());
    vector.push(3).unwrap();
    assert_eq!((clone.len(), same(&vector).len(), copy.to_vec().unwrap()), (3, 3, vec![1, 2]));
    assert_eq!(
        format!("{vector:?}"),
        "SharedVec { elements: [1, 2, 3], owner: None, poisoned: false }"
    );
    fn shared<T: Send + Sync + Clone + Serialize + serde::de::DeserializeOwned + fmt::Debug>() {}
    shared::<SharedVec<f32>>();
}

#[test]
fn a_guard_outlives_its_owner_in_a_forked_child() {
    let vector = SharedVec::from_slice(&[1u8]).unwrap();
    let guard = vector.lock().unwrap();
    let guard = std::cell::Cell::new(Some(guard));
    fork(|| {
        drop(guard.take());
        vector.is_locked() && matches!(vector.try_lock(), Err(LockError::WouldBlock))
    })
    .succeed();
    drop(guard);
    assert!(!vector.is_locked());
}
