//! Values, arrays, locks and events under a name.

use super::{exists, file, fs, name};
use crate::segment::{Maker, NAMED_KIND, Segment};
use crate::testing::fork;
use crate::{
    Array, AtomicValue, Barrier, BoundedSemaphore, Condition, Error, ErrorKind, Event, Lock,
    LockError, Once, RLock, RawArray, RawValue, Semaphore, ShareableList, SharedMemory, Value,
};

#[test]
fn each_kind_is_opened_by_its_name() {
    let name = |kind| name(&format!("each-{kind}"));
    let value = Value::create_named(&name("value"), 5u64).unwrap();
    Value::<u64>::open(&name("value")).unwrap().update(|n| n + 1).unwrap();
    assert_eq!(value.get().unwrap(), 6);

    let array = Array::create_named(&name("array"), &[1u16, 2, 3]).unwrap();
    let other = Array::<u16>::open(&name("array")).unwrap();
    other.lock().unwrap()[1] = 20;
    assert_eq!(array.to_vec().unwrap(), [1, 20, 3]);
    let zeroed = Array::<u8>::create_named_zeroed(&name("zeroed"), 100).unwrap();
    assert_eq!(Array::<u8>::open(&name("zeroed")).unwrap().to_vec().unwrap(), [0; 100]);

    let raw = RawValue::create_named(&name("raw"), 0.5f64).unwrap();
    assert_eq!(RawValue::<f64>::open(&name("raw")).unwrap().load(), 0.5);
    let raws = RawArray::create_named(&name("raws"), &[7u8; 10_000]).unwrap();
    assert_eq!(RawArray::<u8>::open(&name("raws")).unwrap().to_vec(), raws.to_vec());
    let none = RawArray::<u8>::create_named_zeroed(&name("none"), 0).unwrap();
    assert!(RawArray::<u8>::open(&name("none")).unwrap().is_empty());

    let number = AtomicValue::create_named(&name("number"), 5u32).unwrap();
    assert_eq!(AtomicValue::<u32>::open(&name("number")).unwrap().fetch_add(1), 5);
    assert_eq!(
        AtomicValue::<i32>::open(&name("number")).unwrap_err().kind(),
        ErrorKind::Incompatible
    );
    assert_eq!(number.load(), 6);
    drop(number);
    assert!(!exists(&name("number")));

    let lock = Lock::create_named(&name("lock")).unwrap();
    let other = Lock::open(&name("lock")).unwrap();
    let guard = other.lock().unwrap();
    assert!(matches!(lock.try_lock(), Err(LockError::WouldBlock)));
    drop(guard);

    let event = Event::create_named(&name("event")).unwrap();
    Event::open(&name("event")).unwrap().set();
    assert!(event.is_set());

    let permits = Semaphore::create_named(&name("permits"), 2).unwrap();
    let other = Semaphore::open(&name("permits")).unwrap();
    let guard = other.acquire().unwrap();
    assert_eq!(permits.value(), 1);
    assert!(BoundedSemaphore::open(&name("permits")).is_err());
    drop(guard);
    let bounded = BoundedSemaphore::create_named(&name("bounded"), 2).unwrap();
    assert!(BoundedSemaphore::open(&name("bounded")).unwrap().release().is_err());

    drop((value, array, zeroed, raw, raws, none, lock, event, (permits, other, bounded)));
    for kind in
        ["value", "array", "zeroed", "raw", "raws", "none", "lock", "event", "permits", "bounded"]
    {
        assert!(!exists(&name(kind)), "{kind}");
    }
}

#[test]
fn in_one_process_all_is_mapped_once() {
    let name = name("once");
    let value = Value::create_named(&name, 1u32).unwrap();
    let place = |value: &Value<u32>| crate::named::Named::object(value).data::<u32>();
    assert_eq!(place(&Value::open(&name).unwrap()), place(&value));
    // Another memory under the same name is another.
    value.unlink().unwrap();
    let other = Value::create_named(&name, 2u32).unwrap();
    assert_ne!(place(&Value::open(&name).unwrap()), place(&value));
    assert_eq!((value.get().unwrap(), other.get().unwrap()), (1, 2));
}

#[test]
fn the_creator_owns_the_name() {
    let name = name("owner");
    let value = Value::create_named(&name, 1u8).unwrap();
    let clone = value.clone();
    let opened = Value::<u8>::open(&name).unwrap();
    assert!(clone.owns_name() && !opened.owns_name());
    assert_eq!(opened.name(), Some(&*name));
    drop(opened.clone());
    drop(value);
    assert!(exists(&name), "a clone owns it");
    drop(clone);
    assert!(!exists(&name));
    assert_eq!(opened.get().unwrap(), 1, "who has it keeps it");
    assert_eq!(opened.unlink().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(opened.persist().unwrap_err().kind(), ErrorKind::NotFound);

    let value = Value::create_named(&name, 2u8).unwrap();
    value.persist().unwrap();
    drop(value);
    let opened = Value::<u8>::open(&name).unwrap();
    assert_eq!(opened.get().unwrap(), 2);
    opened.unlink().unwrap();
    assert!(!exists(&name));
}

#[test]
fn what_has_no_name_says_so() {
    let value = Value::new(1).unwrap();
    assert_eq!((value.name(), value.owns_name()), (None, false));
    for error in [value.unlink(), value.persist()] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn a_forked_child_removes_nothing() {
    // SH-12.
    let name = name("fork");
    let mut value = Some(Value::create_named(&name, 1u32).unwrap());
    let child = fork(|| {
        let copy = value.take().unwrap();
        let opened = Value::<u32>::open(&name).unwrap();
        let ok = !copy.owns_name() && !opened.owns_name();
        opened.set(2).unwrap();
        drop(copy);
        ok
    });
    child.succeed();
    assert_eq!(Value::<u32>::open(&name).unwrap().get().unwrap(), 2);
    drop(value);
    assert!(!exists(&name));
}

#[test]
fn it_travels_as_its_descriptor() {
    let name = name("travel");
    let value = Value::create_named(&name, 1u32).unwrap();
    let message = mp_wire::encode(&value).unwrap();
    let child = fork(|| {
        let received: Value<u32> = message.decode().unwrap();
        received.set(7).unwrap();
        received.name().is_none() && !received.owns_name()
    });
    child.succeed();
    assert_eq!(value.get().unwrap(), 7);
    // Also if the name is gone by the time that it arrives.
    drop(value);
    assert!(!exists(&name));
    assert_eq!(message.decode::<Value<u32>>().unwrap().get().unwrap(), 7);
}

#[test]
fn another_type_is_incompatible() {
    let name = name("type");
    let _value = Value::create_named(&name, 1u32).unwrap();
    let refused = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{error:?}");
        assert!(error.to_string().contains(&name), "{error}");
    };
    refused(Value::<i32>::open(&name).map(drop));
    refused(Value::<u64>::open(&name).map(drop));
    refused(RawValue::<u32>::open(&name).map(drop));
    refused(Array::<u32>::open(&name).map(drop));
    refused(Lock::open(&name).map(drop));
    refused(ShareableList::open(&name).map(drop));
}

#[test]
fn what_is_no_object_is_incompatible() {
    let name = name("nothing");
    let kind = || Lock::open(&name).unwrap_err().kind();
    let path = file::path(&name);
    assert_eq!(kind(), ErrorKind::NotFound);
    // Memory that has no header, or one of something else.
    let memory = SharedMemory::create(&name, 4096).unwrap();
    assert_eq!(kind(), ErrorKind::Incompatible);
    drop(memory);
    fs::write(&path, [0; 10]).unwrap();
    assert_eq!(kind(), ErrorKind::Incompatible);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(kind(), ErrorKind::Incompatible);
    fs::remove_dir(&path).unwrap();
    // A link could lead to what belongs to somebody else.
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert_eq!(kind(), ErrorKind::Incompatible);
    fs::remove_file(&path).unwrap();
}

#[test]
fn what_others_may_open_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let name = name("mode");
    let lock = Lock::create_named(&name).unwrap();
    let message = mp_wire::encode(&lock).unwrap();
    fs::set_permissions(file::path(&name), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(Lock::open(&name).unwrap_err().kind(), ErrorKind::Incompatible);
    assert!(message.decode::<Lock>().is_err());
}

#[test]
fn what_is_cut_off_is_refused() {
    let name = name("cut");
    let array = RawArray::<u8>::create_named_zeroed(&name, 100_000).unwrap();
    let file = fs::OpenOptions::new().write(true).open(file::path(&name)).unwrap();
    let whole = file.metadata().unwrap().len();
    for len in [whole - 1, whole - 50_000, 64, 10, 0, whole + 1] {
        file.set_len(len).unwrap();
        let error = RawArray::<u8>::open(&name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{len}");
    }
    // Of the right size, but not with all its memory: touching it could fail.
    file.set_len(whole).unwrap();
    assert_eq!(RawArray::<u8>::open(&name).unwrap_err().kind(), ErrorKind::Incompatible);
    drop(array);
}

#[test]
fn only_objects_may_be_unsealed() {
    // A file in /dev/shm that says that it is some other segment, such as the ring of a queue.
    let name = name("unsealed");
    let draft = file::Draft::new(4096 + 64).unwrap();
    let fd = draft.file().try_clone().unwrap();
    let segment = Segment::create_in(fd, NAMED_KIND + 1, 4096, Maker::default()).unwrap();
    let fd = segment.fd().clone();
    drop(segment);
    let error = Segment::attach(fd, NAMED_KIND + 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    draft.publish(&name).unwrap();
    assert_eq!(Lock::open(&name).unwrap_err().kind(), ErrorKind::Incompatible);
    SharedMemory::remove(&name).unwrap();
}

#[test]
fn refuses_a_name_that_is_taken_or_bad() {
    // SH-04, SH-07, SH-25.
    let name = name("taken-object");
    let first = Value::create_named(&name, 1u32).unwrap();
    for result in [
        Value::create_named(&name, 2u32).map(drop),
        Lock::create_named(&name).map(drop),
        ShareableList::create(&name, []).map(drop),
        SharedMemory::create(&name, 10).map(drop),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
    assert_eq!(first.get().unwrap(), 1);
    for bad in ["", "/", ".", "..", "a/b", "a\0b", &"x".repeat(256), &"x".repeat(10_000)] {
        let kind = ErrorKind::InvalidInput;
        assert_eq!(Event::create_named(bad).unwrap_err().kind(), kind, "{bad:?}");
        assert_eq!(Event::open(bad).unwrap_err().kind(), kind, "{bad:?}");
    }
}

#[test]
fn colons_and_newlines_in_names_work() {
    // SH-08.
    for tail in [":colon", "\nnew\nline", " space ü", "\"", ".x"] {
        let name = name("object-names") + tail;
        let value = Value::create_named(&format!("/{name}"), 3u8).unwrap();
        assert_eq!(value.name(), Some(&*name));
        assert_eq!(Value::<u8>::open(&name).unwrap().get().unwrap(), 3);
        drop(value);
        assert!(!exists(&name));
    }
    let longest = name("longest") + &"x".repeat(255 - name("longest").len());
    let event = Event::create_named(&longest).unwrap();
    assert!(exists(&longest));
    drop(event);
    assert!(!exists(&longest));
}

#[test]
fn more_than_there_is_leaves_nothing() {
    // W-36.
    for len in [1 << 50, isize::MAX as usize, usize::MAX] {
        let name = name("object-full");
        let error = Array::<u8>::create_named_zeroed(&name, len).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted, "{error:?}");
        assert!(!exists(&name));
    }
}

#[test]
fn a_lock_is_taken_again_by_its_name() {
    let name = name("rlock");
    let lock = RLock::create_named(&name).unwrap();
    let other = RLock::open(&name).unwrap();
    let first = lock.lock().unwrap();
    let second = other.lock().unwrap();
    drop(first);
    assert!(lock.is_locked());
    drop(second);
    assert!(!other.is_locked());
    assert_eq!(Lock::open(&name).unwrap_err().kind(), ErrorKind::Incompatible);
}

#[test]
fn parties_meet_by_a_name() {
    // A name holds the process id, so they are made before the fork.
    let names = ["barrier", "once", "lock", "condition"].map(|kind| name(&format!("meet-{kind}")));
    let barrier = Barrier::create_named(&names[0], 2).unwrap();
    let once = Once::create_named(&names[1]).unwrap();
    let lock = Lock::create_named(&names[2]).unwrap();
    let condition = Condition::create_named(&names[3]).unwrap();
    let child = fork(|| {
        Once::open(&names[1]).unwrap().call_once(|_| ()).unwrap();
        let met = Barrier::open(&names[0]).unwrap().wait().is_ok();
        // The other waits for the condition, or does not have the lock yet.
        let lock = Lock::open(&names[2]).unwrap();
        let condition = Condition::open(&names[3]).unwrap();
        let guard = lock.lock().unwrap();
        condition.notify_all();
        drop(guard);
        met
    });
    let guard = lock.lock().unwrap();
    barrier.wait().unwrap();
    drop(condition.wait(guard).unwrap());
    assert!(once.is_completed());
    child.succeed();
    assert!(Barrier::open(&names[1]).is_err());
}

#[test]
fn permits_of_the_dead_come_back() {
    let name = name("permits-dead");
    let permits = Semaphore::create_named(&name, 1).unwrap();
    let child = fork(|| {
        let opened = Semaphore::open(&name).unwrap();
        let _guard = opened.acquire().unwrap();
        super::die()
    });
    assert!(!child.wait().success());
    drop(permits.acquire().unwrap());
}

#[test]
fn kill_holder() {
    // W-33, W-30: a lock under a name outlives who dies with it, and tells.
    let name = name("holder");
    let value = Value::create_named(&name, 1u32).unwrap();
    let child = fork(|| {
        let opened = Value::<u32>::open(&name).unwrap();
        let mut guard = opened.lock().unwrap();
        *guard = 2;
        super::die()
    });
    assert!(!child.wait().success());
    let Err(LockError::Poisoned(poison)) = value.lock() else { panic!("not told") };
    assert_eq!(*poison.into_inner(), 2);
    assert!(exists(&name), "it had only opened it");
}
