//! What users of named memory rely on; the ids are those of the list of behaviours.

mod manager;
mod objects;
mod orphans;
mod program;

use std::{fs, process};

use super::*;
use crate::testing::{die, fork};

fn name(test: &str) -> String {
    format!("mp-shared-{test}-{}", process::id())
}

fn exists(name: &str) -> bool {
    fs::exists(file::path(name)).unwrap()
}

#[test]
fn smoke() {
    // SH-01: name, size, and what is written here is read there.
    let name = name("smoke");
    let memory = SharedMemory::create(&name, 512).unwrap();
    assert_eq!(memory.name(), name);
    assert_eq!(memory.len(), 512);
    assert_eq!(memory.to_vec(), [0; 512]);
    memory.store(0, 42u8).unwrap();
    // SH-02: there is no size to give; it is the creator's.
    let other = SharedMemory::open(&name).unwrap();
    assert_eq!(other.len(), 512);
    assert_eq!(other.load::<u8>(0).unwrap(), 42);
    assert_ne!(other.as_ptr(), memory.as_ptr());
    assert!(memory.owns_name() && !other.owns_name() && !memory.is_empty());
}

#[test]
fn refuses_no_size_and_no_name() {
    // SH-03. A negative size is no `usize`.
    let kind = |result: Result<SharedMemory, Error>| result.unwrap_err().kind();
    assert_eq!(kind(SharedMemory::new(0)), ErrorKind::InvalidInput);
    assert_eq!(kind(SharedMemory::create(&name("zero"), 0)), ErrorKind::InvalidInput);
    assert_eq!(kind(SharedMemory::open("")), ErrorKind::InvalidInput);
    assert!(!exists(&name("zero")));
}

#[test]
fn refuses_what_exists_and_what_does_not() {
    // SH-04.
    let name = name("taken");
    let missing = SharedMemory::open(&name).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.to_string().contains(&name));
    assert_eq!(
        std::error::Error::source(&missing).unwrap().to_string(),
        "No such file or directory (os error 2)"
    );
    let memory = SharedMemory::create(&name, 10).unwrap();
    memory.store(3, 7u8).unwrap();
    let taken = SharedMemory::create(&name, 20).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    assert_eq!(SharedMemory::open(&name).unwrap().load::<u8>(3).unwrap(), 7);
}

#[test]
fn unlinks_once() {
    // SH-06.
    let memory = SharedMemory::new(10).unwrap();
    let other = SharedMemory::open(memory.name()).unwrap();
    memory.unlink().unwrap();
    for error in [memory.unlink(), other.unlink(), SharedMemory::remove(memory.name())] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    }
    other.store(0, 1u8).unwrap();
    assert_eq!(memory.load::<u8>(0).unwrap(), 1);
}

#[test]
fn refuses_a_nul_in_a_name() {
    // SH-07.
    assert_eq!(SharedMemory::open("a\0b").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(SharedMemory::create("a\0b", 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(SharedMemory::remove("a\0b").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(!exists("a"));
}

#[test]
fn colons_and_newlines_in_names_work() {
    // SH-08.
    for tail in [":colon", "\nnew\nline", " space ü", "-", ".x"] {
        let name = name("names") + tail;
        let memory = SharedMemory::create(&name, 8).unwrap();
        assert_eq!(SharedMemory::open(&name).unwrap().len(), 8);
        assert_eq!(SharedMemory::open(&format!("/{name}")).unwrap().name(), name);
        drop(memory);
        assert!(!exists(&name));
    }
}

#[test]
fn shares_with_another_process() {
    // SH-09.
    let memory = SharedMemory::new(64).unwrap();
    let message = mp_wire::encode(&memory).unwrap();
    let child = fork(|| {
        let by_name = SharedMemory::open(memory.name()).unwrap();
        let by_message: SharedMemory = message.decode().unwrap();
        by_name.write_at(1, b"by name").unwrap();
        by_message.write_at(20, b"by message").unwrap();
        true
    });
    child.succeed();
    assert_eq!(&memory.to_vec()[1..8], b"by name");
    assert_eq!(&memory.to_vec()[20..30], b"by message");
}

#[test]
fn serializes_by_name() {
    // SH-10.
    let memory = SharedMemory::new(64).unwrap();
    memory.store(0, 5u64).unwrap();
    let message = mp_wire::encode(&memory).unwrap();
    assert!(message.fds.is_empty());
    let other: SharedMemory = message.decode().unwrap();
    assert_eq!(other.load::<u64>(0).unwrap(), 5);
    drop(other);
    assert!(exists(memory.name()), "what arrived does not own the name");

    let name = memory.name().to_owned();
    drop(memory);
    let dead = message.decode::<SharedMemory>().unwrap_err();
    assert_eq!(dead.kind(), mp_wire::ErrorKind::Decode);
    let _stranger = SharedMemory::create(&name, 64).unwrap();
    assert!(message.decode::<SharedMemory>().is_err(), "another memory has the name by now");
}

#[test]
fn the_creator_owns_the_name() {
    let memory = SharedMemory::new(8).unwrap();
    let name = memory.name().to_owned();
    drop(SharedMemory::open(&name).unwrap());
    let clone = memory.clone();
    drop(memory);
    assert!(exists(&name), "a clone still owns it");
    drop(clone);
    assert!(!exists(&name));

    let kept = SharedMemory::new(8).unwrap();
    let name = kept.name().to_owned();
    kept.persist().unwrap();
    assert!(!kept.owns_name());
    drop(kept);
    SharedMemory::remove(&name).unwrap();
}

#[test]
fn a_forked_child_removes_nothing() {
    // SH-12.
    let mut memory = Some(SharedMemory::new(8).unwrap());
    let name = memory.as_ref().unwrap().name().to_owned();
    let child = fork(|| {
        let copy = memory.take().unwrap();
        !copy.owns_name()
    });
    child.succeed();
    assert!(exists(&name));
    drop(memory);
    assert!(!exists(&name));
}

#[test]
fn does_not_remove_what_took_its_name() {
    let name = name("again");
    let first = SharedMemory::create(&name, 8).unwrap();
    first.unlink().unwrap();
    let second = SharedMemory::create(&name, 8).unwrap();
    assert_eq!(first.unlink().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(first.persist().unwrap_err().kind(), ErrorKind::NotFound);
    drop(first);
    assert!(exists(second.name()));
}

#[test]
fn more_than_there_is_leaves_nothing() {
    for size in [1 << 50, isize::MAX as usize, usize::MAX] {
        let name = name("full");
        let error = SharedMemory::create(&name, size).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted, "{error:?}");
        assert!(!exists(&name));
    }
}

#[test]
fn a_file_that_is_none_is_refused() {
    let name = name("none");
    fs::write(file::path(&name), b"").unwrap();
    assert_eq!(SharedMemory::open(&name).unwrap_err().kind(), ErrorKind::Incompatible);
    SharedMemory::remove(&name).unwrap();
    fs::create_dir(file::path(&name)).unwrap();
    assert_eq!(SharedMemory::open(&name).unwrap_err().kind(), ErrorKind::Incompatible);
    assert!(SharedMemory::remove(&name).is_err());
    fs::remove_dir(file::path(&name)).unwrap();
}

#[test]
fn kill_creator() {
    // What a killed creator leaves is removed by `prune`, unless it shall stay.
    let board = SharedMemory::new(256).unwrap();
    let publish = |at, memory: &SharedMemory| {
        board.store(at, memory.name().len() as u8).unwrap();
        board.write_at(at + 1, memory.name().as_bytes()).unwrap();
    };
    let child = fork(|| {
        let left = SharedMemory::new(100).unwrap();
        let kept = SharedMemory::new(100).unwrap();
        kept.persist().unwrap();
        publish(0, &left);
        publish(128, &kept);
        die()
    });
    assert!(!child.wait().success());
    let read = |at| {
        let mut name = vec![0; usize::from(board.load::<u8>(at).unwrap())];
        board.read_at(at + 1, &mut name).unwrap();
        String::from_utf8(name).unwrap()
    };
    let survivor = SharedMemory::open(&read(128)).unwrap();
    SharedMemory::prune().unwrap();
    assert!(!exists(&read(0)));
    assert!(exists(&read(128)));
    survivor.unlink().unwrap();
    assert!(exists(board.name()), "the creator of this one lives");
}

#[test]
fn out_of_range_is_an_error() {
    let memory = SharedMemory::new(16).unwrap();
    let kind = ErrorKind::OutOfBounds;
    assert_eq!(memory.write_at(10, &[1; 7]).unwrap_err().kind(), kind);
    assert_eq!(memory.read_at(17, &mut []).unwrap_err().kind(), kind);
    assert_eq!(memory.load::<u64>(9).unwrap_err().kind(), kind);
    assert_eq!(memory.store(usize::MAX, 1u16).unwrap_err().kind(), kind);
    memory.read_at(16, &mut []).unwrap();
    assert_eq!(memory.to_vec(), [0; 16], "nothing was written");
    memory.store(3, 0x0102_0304_0506_0708u64).unwrap();
    assert_eq!(memory.load::<u64>(3).unwrap(), 0x0102_0304_0506_0708);
}

#[test]
fn debug_and_markers() {
    fn check<T: Send + Sync + Clone + Serialize + de::DeserializeOwned>() {}
    check::<SharedMemory>();
    let memory = SharedMemory::create(&name("debug"), 5).unwrap();
    let expected = format!("SharedMemory {{ name: {:?}, len: 5, owns_name: true }}", memory.name());
    assert_eq!(format!("{memory:?}"), expected);
}
