//! What users of shared values and arrays rely on; the ids are those of the list of behaviours.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use super::*;
use crate::testing::{PATIENCE, Trap, die, fork};
use crate::{Array, ErrorKind, Event, RawArray, RawValue};

fn same<T: Serialize + serde::de::DeserializeOwned>(object: &T) -> T {
    mp_wire::encode(object).unwrap().decode().unwrap()
}

#[test]
fn values_of_all_codes() {
    // VA-01: read back, and written by a child; raw too. VA-07: what does not fit does not compile.
    fn check<T: Pod + PartialEq + fmt::Debug>(before: T, after: T) {
        let value = Value::new(before).unwrap();
        let raw = RawValue::new(before).unwrap();
        assert_eq!((value.get().unwrap(), raw.load()), (before, before));
        let messages = (mp_wire::encode(&value).unwrap(), mp_wire::encode(&raw).unwrap());
        let child = fork(|| {
            let value: Value<T> = messages.0.decode().unwrap();
            let raw: RawValue<T> = messages.1.decode().unwrap();
            let seen = value.get().unwrap() == before && raw.load() == before;
            value.set(after).unwrap();
            raw.store(after);
            seen
        });
        child.succeed();
        assert_eq!((value.get().unwrap(), raw.load()), (after, after));
    }
    check(7i32, -24);
    check(3.25f64, -7.5);
    check(i16::MIN, i16::MAX);
    check(1u64 << 33, u64::MAX);
    check(b'x', b'y');
    check(u128::MAX, 1);
    check([1u8, 2, 3], [9, 8, 7]);
    check([1.5f64; 20], [2.5; 20]);
    check((), ());
}

#[test]
fn structs() {
    // VA-02: a `Value` has its lock in it, a `RawValue` has none, by type. VA-03: what is no plain data does not compile.
    // VA-08.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Zeroable, bytemuck::Pod)]
    struct Point {
        x: f64,
        n: [u32; 2],
    }
    let point = Value::new(Point { x: 1.5, n: [1, 2] }).unwrap();
    let row = Array::from_slice(&[Point { x: 1.0, n: [3, 4] }; 3]).unwrap();
    let child = fork(|| {
        point.update(|point| Point { x: point.x * 2.0, n: point.n.map(|n| n * 2) }).unwrap();
        for point in row.lock().unwrap().iter_mut() {
            point.x *= 2.0;
        }
        true
    });
    child.succeed();
    assert_eq!(point.get().unwrap(), Point { x: 3.0, n: [2, 4] });
    assert_eq!(row.to_vec().unwrap(), [Point { x: 2.0, n: [3, 4] }; 3]);
}

#[test]
fn arrays() {
    // VA-04: a child's prefix sums are seen; slices are read and written.
    let numbers = [1i64, 5, -3, 100];
    let array = Array::from_slice(&numbers).unwrap();
    let raw = RawArray::from_slice(&numbers).unwrap();
    assert_eq!((array.len(), raw.len()), (4, 4));
    let messages = (mp_wire::encode(&array).unwrap(), mp_wire::encode(&raw).unwrap());
    let child = fork(|| {
        let array: Array<i64> = messages.0.decode().unwrap();
        let raw: RawArray<i64> = messages.1.decode().unwrap();
        let mut guard = array.lock().unwrap();
        for index in 1..guard.len() {
            guard[index] += guard[index - 1];
            raw.store(index, raw.load(index).unwrap() + raw.load(index - 1).unwrap()).unwrap();
        }
        true
    });
    child.succeed();
    assert_eq!(array.to_vec().unwrap(), [1, 6, 3, 103]);
    assert_eq!(raw.to_vec(), [1, 6, 3, 103]);

    array.lock().unwrap()[1..3].copy_from_slice(&[0, 0]);
    assert_eq!(array.lock().unwrap()[..], [1, 0, 0, 103]);
    raw.write_at(1, &[0, 0]).unwrap();
    let mut tail = [7; 3];
    raw.read_at(1, &mut tail).unwrap();
    assert_eq!(tail, [0, 0, 103]);
    array.copy_from_slice(&numbers).unwrap();
    assert_eq!(array.update(3, |n| n / 2).unwrap(), 50);
}

#[test]
fn out_of_range_is_an_error_and_nothing_is_something() {
    // VA-06. A negative length is no `usize`.
    let array = Array::<u32>::new(3).unwrap();
    let kind = |error: Error| error.kind();
    assert_eq!(kind(array.get(3).unwrap_err()), ErrorKind::OutOfBounds);
    assert_eq!(kind(array.set(usize::MAX, 1).unwrap_err()), ErrorKind::OutOfBounds);
    assert_eq!(kind(array.update(3, |_| unreachable!()).unwrap_err()), ErrorKind::OutOfBounds);
    assert_eq!(kind(array.copy_from_slice(&[1; 4]).unwrap_err()), ErrorKind::OutOfBounds);
    let raw = RawArray::<u32>::new(3).unwrap();
    assert_eq!(raw.load(3), None);
    assert_eq!(kind(raw.store(3, 1).unwrap_err()), ErrorKind::OutOfBounds);
    assert_eq!(kind(raw.write_at(2, &[1, 1]).unwrap_err()), ErrorKind::OutOfBounds);
    assert_eq!(kind(raw.read_at(usize::MAX, &mut [0]).unwrap_err()), ErrorKind::OutOfBounds);
    assert_eq!(raw.to_vec(), [0; 3]);

    let empty = Array::<f64>::from_slice(&[]).unwrap();
    assert!(empty.is_empty() && empty.to_vec().unwrap().is_empty());
    assert!(empty.lock().unwrap().is_empty());
    assert!(same(&empty).is_empty());
    assert!(RawArray::<u8>::new(0).unwrap().is_empty());
    assert!(array.lock().unwrap().iter().all(|&n| n == 0), "nothing was written");
}

#[test]
fn too_large_is_an_error() {
    for len in [usize::MAX, isize::MAX as usize, 1 << 50] {
        assert!(Array::<u64>::new(len).is_err());
        assert!(RawArray::<u8>::new(len).is_err());
    }
}

#[test]
fn updates_of_many_processes_all_count() {
    let value = Value::new(0u64).unwrap();
    let array = Array::<u8>::new(3).unwrap();
    let work = || {
        (0..250).all(|_| {
            value.update(|n| n + 1).is_ok() && array.update(1, |n| n.wrapping_add(1)).is_ok()
        })
    };
    let children = [fork(work), fork(work), fork(work)];
    thread::scope(|scope| {
        scope.spawn(work);
    });
    for child in children {
        child.succeed();
    }
    assert_eq!(value.get().unwrap(), 1000);
    assert_eq!(array.to_vec().unwrap(), [0, (1000 % 256) as u8, 0]);
}

#[test]
fn raw_elements_are_never_torn() {
    let raw = RawArray::<u64>::new(5).unwrap();
    let stop = Event::new().unwrap();
    let child = fork(|| {
        while !stop.is_set() {
            raw.write_at(0, &[u64::MAX; 5]).unwrap();
            raw.write_at(0, &[0; 5]).unwrap();
        }
        true
    });
    for _ in 0..20_000 {
        assert!(raw.to_vec().iter().all(|&n| n == 0 || n == u64::MAX));
    }
    stop.set();
    child.succeed();
}

#[test]
fn kill_holder() {
    // The next one gets the value as it was left, and the news.
    let value = Value::new(1u64).unwrap();
    let array = Array::from_slice(&[1u8, 2, 3]).unwrap();
    let trap = Trap::new();
    let child = fork(|| {
        let mut value = value.lock().unwrap();
        let mut array = array.lock().unwrap();
        *value = 7;
        array[1] = 9;
        trap.step_in()
    });
    trap.wait();
    assert_eq!(format!("{value:?}").split(',').next(), Some("Value { value: <locked>"));
    child.kill();

    let Err(LockError::Poisoned(mut poison)) = value.lock_timeout(PATIENCE) else { panic!() };
    assert_eq!(**poison.get_ref(), 7);
    **poison.get_mut() += 1;
    drop(poison);
    assert_eq!(value.get().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(value.set(1).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(value.update(|_| unreachable!()).unwrap_err().kind(), ErrorKind::Poisoned);
    assert!(same(&value).is_poisoned());
    value.clear_poison();
    assert_eq!(value.get().unwrap(), 8);

    assert_eq!(array.get(0).unwrap_err().kind(), ErrorKind::Poisoned);
    let guard = array.try_lock().or_else(LockError::ignore_poison).unwrap();
    assert_eq!(guard[..], [1, 9, 3]);
    drop(guard);
    array.clear_poison();
    assert_eq!(array.get(1).unwrap(), 9);
}

#[test]
fn killed_within_an_update_nothing_is_poisoned() {
    let value = Value::new(5u32).unwrap();
    let trap = Trap::new();
    let child = fork(|| {
        let _ = value.update(|_| trap.step_in());
        false
    });
    trap.wait();
    child.kill();
    assert_eq!(value.get().unwrap(), 5);
    assert!(!value.is_poisoned());
}

#[test]
fn killed_within_a_write_of_several_steps_it_is_poisoned() {
    let value = Value::new([1u64; 4]).unwrap();
    let child = fork(|| {
        let mut held = value.inner.visit().unwrap();
        held.exposed(|_| die())
    });
    assert!(!child.wait().success());
    assert_eq!(value.get().unwrap_err().kind(), ErrorKind::Poisoned);
    // Whoever finds it and dies at once does not lose the news.
    let child = fork(|| {
        let _held = value.inner.visit();
        die()
    });
    assert!(!child.wait().success());
    assert!(value.is_poisoned());
}

#[test]
fn a_panic_in_an_update_leaves_the_value() {
    let value = Value::new(5u32).unwrap();
    let result = catch_unwind(AssertUnwindSafe(|| value.update(|_| panic!("on purpose"))));
    assert!(result.is_err());
    assert!(!value.is_locked());
    assert_eq!(value.get().unwrap(), 5);

    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut guard = value.lock().unwrap();
        *guard = 6;
        panic!("on purpose");
    }));
    assert!(result.is_err());
    assert!(value.is_poisoned() && !value.is_locked());
}

#[test]
fn reading_under_its_own_guard_is_an_error() {
    let value = Value::new(1u8).unwrap();
    let guard = value.lock().unwrap();
    assert_eq!(value.get().unwrap_err().kind(), ErrorKind::Deadlock);
    assert!(matches!(value.try_lock(), Err(LockError::WouldBlock)));
    let nested = value.update(|n| n + 1).unwrap_err();
    assert_eq!(nested.to_string(), "this thread holds the lock already");
    drop(guard);
    let array = Array::<u8>::new(1).unwrap();
    let inner = array.update(0, |n| n + u8::from(array.get(0).is_err()));
    assert_eq!(inner.unwrap(), 1);
}

#[test]
fn another_type_is_refused() {
    let array = Array::<u32>::new(4).unwrap();
    let message = mp_wire::encode(&array).unwrap();
    assert_eq!(message.decode::<Array<u32>>().unwrap().len(), 4);
    assert!(message.decode::<Array<u64>>().is_err());
    assert!(message.decode::<Array<i32>>().is_err());
    assert!(message.decode::<Array<[u16; 2]>>().is_err());
    assert!(message.decode::<RawArray<u32>>().is_err());
    assert!(message.decode::<Value<u32>>().is_err());
    assert!(message.decode::<crate::Lock>().is_err());
    // VA-10.
    assert!(postcard::to_allocvec(&array).is_err());
    assert!(postcard::to_allocvec(&Value::new(1u8).unwrap()).is_err());
    assert!(postcard::to_allocvec(&RawValue::new(1u8).unwrap()).is_err());
}

#[test]
fn clones_are_the_same_and_copies_are_not() {
    // VA-09.
    let value = Value::new(1).unwrap();
    let (clone, copy) = (value.clone(), Value::new(value.get().unwrap()).unwrap());
    value.set(2).unwrap();
    assert_eq!((clone.get().unwrap(), same(&value).get().unwrap(), copy.get().unwrap()), (2, 2, 1));
}

#[test]
fn debug() {
    let value = Value::new(1.5).unwrap();
    assert_eq!(format!("{value:?}"), "Value { value: 1.5, owner: None, poisoned: false }");
    let guard = value.lock().unwrap();
    assert_eq!(format!("{guard:?} {guard}"), "1.5 1.5");
    assert!(format!("{value:?}").starts_with("Value { value: <locked>, owner: Some(Owner"));
    let array = Array::from_slice(&[1, 2]).unwrap();
    assert_eq!(format!("{array:?}"), "Array { elements: [1, 2], owner: None, poisoned: false }");
    assert_eq!(format!("{:?}", RawValue::new(3u8).unwrap()), "RawValue(3)");
    assert_eq!(format!("{:?}", RawArray::from_slice(&[3u8]).unwrap()), "RawArray([3])");
}

#[test]
fn markers() {
    fn shared<T: Send + Sync + Clone + Serialize + serde::de::DeserializeOwned + fmt::Debug>() {}
    shared::<Value<f32>>();
    shared::<Array<f32>>();
    shared::<RawValue<f32>>();
    shared::<RawArray<f32>>();
}

#[test]
fn changes_in_one_call() {
    // VA-07: overflow wraps here, and is seen in debug builds in `update`.
    let value = Value::new(250u8).unwrap();
    assert_eq!((value.fetch_add(10).unwrap(), value.fetch_sub(5).unwrap()), (250, 4));
    assert_eq!((value.fetch_min(7).unwrap(), value.fetch_max(9).unwrap()), (255, 7));
    assert_eq!((value.fetch_and(8).unwrap(), value.fetch_or(3).unwrap()), (9, 8));
    assert_eq!((value.fetch_xor(1).unwrap(), value.replace(1).unwrap()), (11, 10));
    let real = Value::new(0.5).unwrap();
    assert_eq!((real.fetch_add(1.0).unwrap(), real.fetch_max(9.0).unwrap()), (0.5, 1.5));
    let triple = Value::new([1u64, 2, 3]).unwrap();
    assert_eq!(triple.replace([4; 3]).unwrap(), [1, 2, 3]);
    let guard = value.lock().unwrap();
    assert_eq!(value.fetch_add(1).unwrap_err().kind(), ErrorKind::Deadlock);
    assert_eq!(value.replace(1).unwrap_err().kind(), ErrorKind::Deadlock);
    assert_eq!(*guard, 1);
    drop(guard);

    let array = Array::from_slice(&[1i32, 2, 3, 4]).unwrap();
    assert_eq!((array.fetch_add(0, 5).unwrap(), array.fetch_sub(0, 1).unwrap()), (1, 6));
    assert_eq!((array.replace(1, 9).unwrap(), array.get(1).unwrap()), (2, 9));
    array.swap(0, 3).unwrap();
    array.swap(1, 1).unwrap();
    array.write_at(1, &[7, 8]).unwrap();
    assert!(array.iter().unwrap().eq([4, 7, 8, 5]));
    let (mut all, mut two) = ([0; 4], [0; 2]);
    array.copy_to_slice(&mut all).unwrap();
    array.read_at(2, &mut two).unwrap();
    assert_eq!((all, two), ([4, 7, 8, 5], [8, 5]));
    array.fill(-1).unwrap();
    assert_eq!(array.to_vec().unwrap(), [-1; 4]);
    let raw = RawArray::from_slice(&all).unwrap();
    assert!(raw.iter().rev().eq([5, 8, 7, 4]));
    raw.fill(2);
    assert_eq!((raw.to_vec(), raw.iter().len()), (vec![2; 4], 4));

    // VA-06.
    let kind = |error: Error| error.kind();
    assert_eq!(kind(array.swap(0, 4).unwrap_err()), ErrorKind::OutOfBounds);
    assert_eq!(kind(array.swap(4, 0).unwrap_err()), ErrorKind::OutOfBounds);
    assert_eq!(kind(array.fetch_add(4, 1).unwrap_err()), ErrorKind::OutOfBounds);
    assert_eq!(kind(array.replace(9, 1).unwrap_err()), ErrorKind::OutOfBounds);
    assert_eq!(kind(array.write_at(3, &[1, 1]).unwrap_err()), ErrorKind::OutOfBounds);
    assert_eq!(kind(array.read_at(usize::MAX, &mut two).unwrap_err()), ErrorKind::OutOfBounds);
    assert_eq!(kind(array.copy_to_slice(&mut two).unwrap_err()), ErrorKind::OutOfBounds);
    assert_eq!(array.to_vec().unwrap(), [-1; 4], "nothing is written");
    assert!(!array.is_poisoned());
    let empty = Array::<u8>::new(0).unwrap();
    empty.fill(1).unwrap();
    assert_eq!((empty.iter().unwrap().count(), empty.copy().unwrap().len()), (0, 0));
    assert!(empty.swap(0, 0).is_err());
}

#[test]
fn copies_have_a_life_of_their_own() {
    // VA-09.
    let (value, raw) = (Value::new(1).unwrap(), RawValue::new(1).unwrap());
    let (array, row) = (Array::from_slice(&[1]).unwrap(), RawArray::from_slice(&[1]).unwrap());
    let copies =
        (value.copy().unwrap(), raw.copy().unwrap(), array.copy().unwrap(), row.copy().unwrap());
    let guard = value.lock().unwrap();
    copies.0.set(2).unwrap();
    copies.1.store(2);
    copies.2.set(0, 2).unwrap();
    copies.3.store(0, 2).unwrap();
    assert_eq!((*guard, raw.load(), array.get(0).unwrap(), row.load(0)), (1, 1, 1, Some(1)));
}
