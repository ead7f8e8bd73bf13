use super::*;
use crate::testing::{Trap, die, fork};
use crate::{RawValue, Value};

fn same<T: Serialize + serde::de::DeserializeOwned>(object: &T) -> T {
    mp_wire::encode(object).unwrap().decode().unwrap()
}

#[test]
fn integers() {
    macro_rules! check {
        ($($integer:ty),*) => { $({
            let (min, max) = (<$integer>::MIN, <$integer>::MAX);
            let value = AtomicValue::<$integer>::new(max).unwrap();
            // VA-07: overflow wraps.
            assert_eq!((value.fetch_add(1), value.load()), (max, min));
            assert_eq!((value.fetch_sub(1), value.load()), (min, max));
            assert_eq!((value.swap(5), value.load()), (max, 5));
            assert_eq!((value.fetch_min(3), value.fetch_max(9), value.load()), (5, 3, 9));
            assert_eq!((value.fetch_and(12), value.fetch_or(3), value.fetch_xor(1)), (9, 8, 11));
            assert_eq!(value.compare_exchange(11, 1), Err(10));
            assert_eq!(value.compare_exchange(10, 1), Ok(10));
            assert_eq!(value.fetch_update(|_| None), Err(1));
            assert_eq!(value.fetch_update(|n| n.checked_add(6)), Ok(1));
            assert_eq!(same(&value).load(), 7);
        })* };
    }
    check!(u8, i8, u16, i16, u32, i32, u64, i64, usize, isize);
    let value = AtomicValue::new(-5i64).unwrap();
    assert_eq!((value.fetch_max(-7), value.fetch_min(-9), value.load()), (-5, -5, -9));
}

#[test]
fn floats_are_compared_by_their_bits() {
    let value = AtomicValue::new(0.5f64).unwrap();
    assert_eq!((value.fetch_add(1.5), value.fetch_sub(0.25), value.load()), (0.5, 2.0, 1.75));
    assert_eq!((value.fetch_min(1.0), value.fetch_max(4.0), value.swap(0.0)), (1.75, 1.0, 4.0));
    assert_eq!(value.compare_exchange(-0.0, 1.0), Err(0.0));
    value.store(f64::NAN);
    assert!(value.compare_exchange(f64::NAN, 3.0).unwrap().is_nan());
    value.store(f64::NAN);
    assert!(value.fetch_max(1.0).is_nan());
    assert_eq!(value.load(), 1.0);
    // A NaN that stays one must not make the loop go on for ever.
    value.store(f64::NAN);
    assert!(value.fetch_add(1.0).is_nan());
    let value = AtomicValue::new(f32::MAX).unwrap();
    value.fetch_add(f32::MAX);
    assert_eq!(value.load(), f32::INFINITY);
}

#[test]
fn any_byte_is_a_bool() {
    let flag = AtomicValue::new(false).unwrap();
    assert_eq!((flag.swap(true), flag.fetch_and(true), flag.fetch_xor(true)), (false, true, true));
    assert_eq!((flag.fetch_or(false), flag.compare_exchange(true, false)), (false, Err(false)));
    flag.cell.store(7, std::sync::atomic::Ordering::SeqCst);
    assert!(flag.load());
    assert_eq!(flag.compare_exchange(false, true), Err(true));
    assert_eq!(flag.compare_exchange(true, false), Ok(true));
    flag.cell.store(255, std::sync::atomic::Ordering::SeqCst);
    assert!(flag.fetch_xor(true));
    assert!(!flag.load());
}

#[test]
fn changes_of_many_processes_all_count() {
    // VA-01, and what `v.value += 1` of Python loses.
    let sum = AtomicValue::new(0u64).unwrap();
    let real = AtomicValue::new(0.0f64).unwrap();
    let top = AtomicValue::new(i16::MIN).unwrap();
    let message = mp_wire::encode(&(&sum, &real, &top)).unwrap();
    let work = |id: i16| {
        let (sum, real, top): (AtomicValue<u64>, AtomicValue<f64>, AtomicValue<i16>) =
            message.decode().unwrap();
        for n in 0..1000 {
            sum.fetch_add(n);
            real.fetch_add(0.5);
            top.fetch_max(id);
        }
        true
    };
    let children = [fork(|| work(1)), fork(|| work(3)), fork(|| work(-2))];
    for child in children {
        child.succeed();
    }
    assert_eq!((sum.load(), real.load(), top.load()), (3 * 499_500, 1500.0, 3));
}

#[test]
fn kill_holder() {
    // W-30: nothing is held, so nobody waits for the dead.
    let value = AtomicValue::new(1u32).unwrap();
    let trap = Trap::new();
    let child = fork(|| {
        value.fetch_add(1);
        let _ = value.fetch_update(|_| trap.step_in());
        false
    });
    trap.wait();
    assert_eq!(value.fetch_add(1), 2);
    child.kill();
    assert_eq!(value.load(), 3);
    let child = fork(|| {
        value.store(9);
        die()
    });
    assert!(!child.wait().success());
    assert_eq!(value.load(), 9);
}

#[test]
fn another_type_is_refused() {
    let message = mp_wire::encode(&AtomicValue::new(1u8).unwrap()).unwrap();
    assert_eq!(message.decode::<AtomicValue<u8>>().unwrap().load(), 1);
    assert!(message.decode::<AtomicValue<i8>>().is_err());
    assert!(message.decode::<AtomicValue<bool>>().is_err());
    assert!(message.decode::<AtomicValue<u64>>().is_err());
    assert!(message.decode::<Value<u8>>().is_err());
    assert!(message.decode::<RawValue<u8>>().is_err());
    // VA-10.
    assert!(postcard::to_allocvec(&AtomicValue::new(1u8).unwrap()).is_err());
}

#[test]
fn clones_are_the_same() {
    let value = AtomicValue::new(true).unwrap();
    value.clone().store(false);
    assert_eq!(format!("{value:?}"), "AtomicValue(false)");
    fn shared<T: Send + Sync + Clone + Serialize + serde::de::DeserializeOwned + fmt::Debug>() {}
    shared::<AtomicValue<f64>>();
    shared::<AtomicValue<bool>>();
}
