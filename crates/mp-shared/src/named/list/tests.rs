//! What users of lists rely on; the ids are those of the list of behaviours.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{process, thread};

use super::*;
use crate::testing::{Trap, die, fork};

fn name(test: &str) -> String {
    format!("mp-shared-list-{test}-{}", process::id())
}

/// The seven of Python's test.
fn seven() -> [ListItem; 7] {
    [
        "howdy".into(),
        b"HoWdY".into(),
        (-273.154).into(),
        100.into(),
        ListItem::None,
        true.into(),
        42.into(),
    ]
}

#[test]
fn smoke() {
    // SH-16: mixed values, and their format as Python writes it, before and after changes of kind.
    let list = ShareableList::new(seven()).unwrap();
    assert_eq!(list.len(), 7);
    assert_eq!(list.format().unwrap(), "8s8sdqxxxxxx?xxxxxxxx?q");
    assert_eq!(list.to_vec().unwrap(), seven());
    assert_eq!(list.get(2).unwrap().as_float(), Some(-273.154));
    assert!(list.get(4).unwrap().is_none());
    for index in [7, 8, usize::MAX] {
        assert_eq!(list.get(index).unwrap_err().kind(), ErrorKind::OutOfBounds);
        assert_eq!(list.set(index, 1).unwrap_err().kind(), ErrorKind::OutOfBounds);
        assert_eq!(list.room(index).unwrap_err().kind(), ErrorKind::OutOfBounds);
    }
    list.set(3, 42).unwrap();
    list.set(4, "some").unwrap();
    assert_eq!(list.get(4).unwrap().as_str(), Some("some"));
    assert_eq!(list.format().unwrap(), "8s8sdq8sxxxxxxx?q");
    assert_eq!(list.set(4, "far too many").unwrap_err().kind(), ErrorKind::TooLong);
    assert_eq!(list.get(4).unwrap().as_str(), Some("some"), "nothing was written");
    list.set(0, true).unwrap();
    list.set(1, ListItem::None).unwrap();
    assert_eq!(list.format().unwrap(), "xxxxxxx?xxxxxx?xdq8sxxxxxxx?q");
    list.set(0, "again").unwrap();
    assert_eq!(list.get(0).unwrap().as_str(), Some("again"));
}

#[test]
fn rooms_are_those_of_python() {
    let texts = ["", "1234567", "12345678", "123456789"].map(ListItem::from);
    let list = ShareableList::new(texts).unwrap();
    assert_eq!(list.format().unwrap(), "8s8s16s16s");
    assert_eq!(list.room(2).unwrap(), 16);
    list.set(2, "0123456789abcdef").unwrap();
    let error = list.set(2, "0123456789abcdef!").unwrap_err();
    assert_eq!(error.to_string(), "17 bytes do not fit in a slot that has room for 16");
}

#[test]
fn every_kind_comes_back_from_every_kind_of_slot() {
    let items = || {
        [
            ListItem::None,
            false.into(),
            true.into(),
            i64::MIN.into(),
            i64::MAX.into(),
            f64::MIN_POSITIVE.into(),
            f64::NEG_INFINITY.into(),
            "".into(),
            "text".into(),
            (&[]).into(),
            vec![0u8, 255].into(),
        ]
    };
    let list = ShareableList::new(items()).unwrap();
    for index in 0..list.len() {
        for item in items() {
            list.set(index, item.clone()).unwrap();
            assert_eq!(list.get(index).unwrap(), item);
        }
    }
    list.set(0, f64::NAN).unwrap();
    assert!(list.get(0).unwrap().as_float().unwrap().is_nan());
}

#[test]
fn trailing_nuls_and_any_text_survive() {
    // SH-21, W-37.
    let items =
        || [b"bytes\0\0".into(), "text\0".into(), "ü€😀".into(), b"\0".into(), "\0\0".into()];
    let list = ShareableList::new(items()).unwrap();
    assert_eq!(list.to_vec().unwrap(), items());
    let other = ShareableList::open(list.name().unwrap()).unwrap();
    other.set(0, b"\0\0\0\0\0\0\0\0").unwrap();
    assert_eq!(list.get(0).unwrap().as_bytes(), Some(&[0; 8][..]));
    other.set(0, b"").unwrap();
    assert_eq!(list.get(0).unwrap().as_bytes(), Some(&[][..]));
}

#[test]
fn count_and_index() {
    // SH-18.
    let items = [1.into(), "a".into(), "a".into(), 1.0.into(), ListItem::None];
    let list = ShareableList::new(items).unwrap();
    assert_eq!((list.count("a").unwrap(), list.index("a").unwrap()), (2, Some(1)));
    assert_eq!((list.count(1).unwrap(), list.index(1.0).unwrap()), (1, Some(3)));
    assert_eq!((list.count("b").unwrap(), list.index("b").unwrap()), (0, None));
    assert_eq!(list.index(ListItem::None).unwrap(), Some(4));

    let empty = ShareableList::new([]).unwrap();
    assert!(empty.is_empty() && empty.to_vec().unwrap().is_empty());
    assert_eq!((empty.count(1).unwrap(), empty.index(1).unwrap()), (0, None));
    assert_eq!(empty.format().unwrap(), "");
    assert_eq!(ShareableList::open(empty.name().unwrap()).unwrap().len(), 0);
}

#[test]
fn iterates() {
    let list = ShareableList::new((0..10).map(ListItem::from)).unwrap();
    let back: Vec<_> = list.iter().rev().map(|item| item.unwrap().as_int().unwrap()).collect();
    assert_eq!(back, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(list.iter().len(), 10);
}

#[test]
fn a_copy_is_independent() {
    // SH-19.
    let list = ShareableList::with_room(seven(), 20).unwrap();
    let name = name("copy");
    let copy = list.copy(&name).unwrap();
    assert_eq!(copy.memory().unwrap().name(), name);
    assert_eq!(list.format().unwrap(), copy.format().unwrap());
    copy.set(0, "only in the copy").unwrap();
    assert_eq!(list.get(0).unwrap().as_str(), Some("howdy"));
    let tethered = ShareableList::open(&name).unwrap();
    tethered.set(3, -1).unwrap();
    assert_eq!(copy.get(3).unwrap().as_int(), Some(-1));
    assert_eq!(list.copy(&name).unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[test]
fn memory_is_that_of_the_list() {
    let list = ShareableList::new(seven()).unwrap();
    let memory = list.memory().unwrap();
    assert_eq!(Some(memory.name()), list.name());
    assert!(!memory.owns_name() && memory.len() > 7 * 24);
    list.unlink().unwrap();
    assert_eq!(list.memory().unwrap_err().kind(), ErrorKind::NotFound);
    // Another one has the name by now.
    let name = memory.name().to_owned();
    let _other = SharedMemory::create(&name, 10).unwrap();
    assert_eq!(list.memory().unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_message_is_as_long_for_any_list() {
    // SH-20, but that what arrives does not need the name.
    let short = ShareableList::new([1.into()]).unwrap();
    let long = ShareableList::new(vec![ListItem::from(2); 10_000]).unwrap();
    let (first, second) = (mp_wire::encode(&short).unwrap(), mp_wire::encode(&long).unwrap());
    assert_eq!((first.bytes.len(), first.fds.len()), (second.bytes.len(), second.fds.len()));
    let child = fork(|| {
        let list: ShareableList = second.decode().unwrap();
        list.set(9_999, "there").unwrap();
        !list.owns_name()
    });
    child.succeed();
    assert_eq!(long.get(9_999).unwrap().as_str(), Some("there"));
    drop(long);
    assert_eq!(second.decode::<ShareableList>().unwrap().get(0).unwrap().as_int(), Some(2));
}

#[test]
fn clones_and_forks_are_one_list() {
    let list = ShareableList::create(&name("fork"), [0.into()]).unwrap();
    let children: Vec<_> = (0..3)
        .map(|_| {
            fork(|| {
                for _ in 0..200 {
                    list.update(0, |n| (n.as_int().unwrap() + 1).into()).unwrap();
                }
                true
            })
        })
        .collect();
    thread::scope(|scope| {
        for _ in 0..2 {
            let clone = list.clone();
            scope.spawn(move || {
                for _ in 0..200 {
                    clone.update(0, |n| (n.as_int().unwrap() + 1).into()).unwrap();
                }
            });
        }
    });
    children.into_iter().for_each(|child| child.succeed());
    assert_eq!(list.get(0).unwrap().as_int(), Some(1000));
}

#[test]
fn values_are_never_torn() {
    // Texts of one letter each, written by some and read by others.
    let list = ShareableList::with_room(["a".repeat(300).into()], 0).unwrap();
    let writer = fork(|| {
        for round in 0..2000 {
            let letter = char::from(b'a' + (round % 26) as u8).to_string();
            list.set(0, letter.repeat(1 + round % 300)).unwrap();
        }
        true
    });
    for _ in 0..2000 {
        let item = list.get(0).unwrap();
        let text = item.as_str().unwrap();
        assert!(!text.is_empty() && text.bytes().all(|byte| byte == text.as_bytes()[0]));
    }
    writer.succeed();
}

#[test]
fn an_update_that_fails_changes_nothing() {
    let list = ShareableList::new([1.into(), 2.into()]).unwrap();
    let error = list.update(0, |_| "longer than eight".into()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLong);
    let panicked = thread::scope(|scope| {
        scope.spawn(|| list.update(0, |_| panic!("in the change"))).join().is_err()
    });
    assert!(panicked);
    assert_eq!(list.get(0).unwrap().as_int(), Some(1), "nor is the list poisoned");
    let within = list.update(0, |before| {
        assert_eq!(list.get(1).unwrap_err().kind(), ErrorKind::Deadlock);
        before.clone()
    });
    assert_eq!(within.unwrap().as_int(), Some(1));
}

#[test]
fn kill_in_update() {
    let list = ShareableList::new([1.into()]).unwrap();
    let trap = Trap::new();
    let child = fork(|| {
        list.update(0, |_| trap.step_in()).unwrap();
        true
    });
    trap.wait();
    child.kill();
    list.set(0, 2).unwrap();
    assert_eq!(list.get(0).unwrap().as_int(), Some(2));
}

#[test]
fn kill_creator() {
    let name = name("killed");
    let child = fork(|| {
        let _list = ShareableList::create(&name, seven()).unwrap();
        die()
    });
    assert!(!child.wait().success());
    let list = ShareableList::open(&name).unwrap();
    assert_eq!(list.to_vec().unwrap(), seven());
    list.unlink().unwrap();
}

#[test]
fn absurd_rooms_are_errors() {
    let name = name("absurd");
    for room in [1 << 50, usize::MAX / 2, usize::MAX - 7, usize::MAX] {
        let error = ShareableList::create_with_room(&name, seven(), room).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted, "{room}: {error:?}");
        assert_eq!(ShareableList::open(&name).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

/// A list whose words somebody else has overwritten.
fn word(list: &ShareableList, at: usize) -> &AtomicU64 {
    list.inner.object().view(at).unwrap()
}

#[test]
fn hostile_rooms_are_errors() {
    let list = ShareableList::new(seven()).unwrap();
    let opens = || ShareableList::open(list.name().unwrap());
    for at in 0..8 {
        let word = word(&list, at * 8);
        let right = word.load(Relaxed);
        for wrong in [right ^ 8, right + 1, 0, 1 << 20, u64::MAX / 16, u64::MAX - 7, u64::MAX] {
            word.store(wrong, Relaxed);
            assert_eq!(opens().unwrap_err().kind(), ErrorKind::Corrupt, "{at}: {wrong}");
            assert_eq!(list.to_vec().unwrap(), seven(), "who has attached knows the rooms");
        }
        word.store(right, Relaxed);
    }
    assert!(opens().is_ok());
}

#[test]
fn hostile_values_are_errors() {
    let list = ShareableList::new(["text".into(), 1.into()]).unwrap();
    let state = word(&list, 3 * 8);
    let right = state.load(Relaxed);
    for wrong in [6, 7, 4 | 9 << 4, 5 | 1 << 40, 4 | u64::MAX << 4, 2, 3 | 7 << 4, 1 | 2 << 4] {
        state.store(wrong, Relaxed);
        assert_eq!(list.get(0).unwrap_err().kind(), ErrorKind::Corrupt, "{wrong}");
        assert!(list.to_vec().is_err() && list.count(1).is_err());
        assert!(format!("{list:?}").contains("does not make sense"));
        assert_eq!(list.get(1).unwrap().as_int(), Some(1), "the other slots are in order");
    }
    list.set(0, "new").unwrap();
    assert_eq!(list.get(0).unwrap().as_str(), Some("new"), "a new value puts it right");
    state.store(right, Relaxed);
    // Bytes that are no text. They are in the first room or the second.
    for room in [4, 5] {
        word(&list, room * 8).store(u64::MAX, Relaxed);
    }
    assert_eq!(list.get(0).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn debug_and_markers() {
    fn check<T: Send + Sync + Clone + Serialize + de::DeserializeOwned>() {}
    check::<ShareableList>();
    let name = name("debug");
    let list = ShareableList::create(&name, [1.into(), "x".into()]).unwrap();
    let expected = format!("ShareableList {{ name: Some({name:?}), items: [Int(1), Str(\"x\")] }}");
    assert_eq!(format!("{list:?}"), expected);
    let items = postcard::to_stdvec(&list.to_vec().unwrap()).unwrap();
    assert_eq!(postcard::from_bytes::<Vec<ListItem>>(&items).unwrap(), list.to_vec().unwrap());
}
