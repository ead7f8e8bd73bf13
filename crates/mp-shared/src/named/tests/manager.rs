//! The scope that owns names.

use std::{panic, thread};

use super::{exists, fork};
use crate::testing::Trap;
use crate::{Array, ErrorKind, ShareableList, SharedMemory, SharedMemoryManager, Value};

#[test]
fn all_names_go_at_the_end() {
    // SH-13.
    let scope = SharedMemoryManager::new();
    let memory = scope.shared_memory(100).unwrap();
    let list = scope.shareable_list([1.into(), "x".into()]).unwrap();
    let value = scope.value(5u32).unwrap();
    let array = scope.array(&[1u8, 2, 3]).unwrap();
    let names = scope.names();
    assert_eq!(names.len(), 4);
    // Meanwhile others open them by name.
    memory.store(0, 9u8).unwrap();
    assert_eq!(SharedMemory::open(&names[0]).unwrap().load::<u8>(0).unwrap(), 9);
    assert_eq!(ShareableList::open(&names[1]).unwrap().len(), 2);
    assert_eq!(Value::<u32>::open(&names[2]).unwrap().get().unwrap(), 5);
    assert_eq!(Array::<u8>::open(&names[3]).unwrap().len(), 3);
    scope.shutdown().unwrap();
    assert!(!names.iter().any(|name| exists(name)));
    // Who has them keeps them.
    assert_eq!(memory.load::<u8>(0).unwrap(), 9);
    assert_eq!(list.get(0).unwrap().as_int(), Some(1));
    assert_eq!((value.get().unwrap(), array.len()), (5, 3));
}

#[test]
fn names_outlive_their_handles() {
    let scope = SharedMemoryManager::default();
    let name = scope.shared_memory(10).unwrap().name().to_owned();
    let list = scope.shareable_list([]).unwrap().name().unwrap().to_owned();
    assert!(exists(&name) && exists(&list));
    drop(scope);
    assert!(!exists(&name) && !exists(&list));
}

#[test]
fn a_panic_leaves_nothing() {
    let mut names = Vec::new();
    let result = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let scope = SharedMemoryManager::new();
        scope.shared_memory(10).unwrap();
        scope.value(1u8).unwrap();
        names = scope.names();
        panic!("in the scope");
    }));
    assert!(result.is_err());
    assert_eq!(names.len(), 2);
    assert!(!names.iter().any(|name| exists(name)));
}

#[test]
fn what_is_removed_or_kept_is_no_error() {
    let scope = SharedMemoryManager::new();
    let removed = scope.shared_memory(10).unwrap();
    let kept = scope.shared_memory(10).unwrap();
    let last = scope.shared_memory(10).unwrap();
    removed.unlink().unwrap();
    kept.persist().unwrap();
    scope.shutdown().unwrap();
    assert!(exists(kept.name()) && !exists(last.name()));
    kept.unlink().unwrap();
}

#[test]
fn a_name_that_cannot_be_removed_is_an_error() {
    let scope = SharedMemoryManager::new();
    let first = scope.shared_memory(10).unwrap();
    let second = scope.shared_memory(10).unwrap();
    // Somebody has put a directory in its place.
    first.unlink().unwrap();
    let path = super::file::path(first.name());
    super::fs::create_dir(&path).unwrap();
    let error = scope.shutdown().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(!exists(second.name()), "the others are removed");
    super::fs::remove_dir(&path).unwrap();
}

#[test]
fn a_forked_copy_does_nothing() {
    let mut scope = Some(SharedMemoryManager::new());
    let memory = scope.as_ref().unwrap().shared_memory(10).unwrap();
    let list = scope.as_ref().unwrap().shareable_list([1.into()]).unwrap();
    let child = fork(|| {
        let copy = scope.take().unwrap();
        let refused = copy.shared_memory(10).unwrap_err().kind() == ErrorKind::InvalidInput
            && copy.shareable_list([]).unwrap_err().kind() == ErrorKind::InvalidInput;
        list.set(0, 2).unwrap();
        memory.store(0, 7u8).unwrap();
        copy.shutdown().is_ok() && refused
    });
    child.succeed();
    assert!(exists(memory.name()) && exists(list.name().unwrap()));
    assert_eq!((memory.load::<u8>(0).unwrap(), list.get(0).unwrap().as_int()), (7, Some(2)));
    let names = scope.as_ref().unwrap().names();
    drop(scope);
    assert!(!names.iter().any(|name| exists(name)));
}

/// What this process does about signals, as the kernel says.
fn signals() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let about = |line: &&str| line.starts_with("Sig") && !line.starts_with("SigQ");
    status.lines().filter(about).map(str::to_owned).collect()
}

#[test]
fn a_scope_touches_no_signals_and_starts_nothing() {
    // SH-14, SH-27: no handler and no mask is another one. SH-15, SH-24, SH-26, SH-28: there is no tracker process that could be
    // shared, report, or keep a descriptor of ours; a copy of the scope in a child that lives on delays nobody.
    fork(|| {
        let children = || std::fs::read_to_string("/proc/thread-self/children").unwrap();
        let before = signals();
        let scope = SharedMemoryManager::new();
        let memory = scope.shared_memory(100).unwrap();
        let during = signals();
        let alone = children().is_empty();
        let trap = Trap::new();
        let other = fork(|| {
            let _copy = &scope;
            trap.step_in()
        });
        trap.wait();
        scope.shutdown().unwrap();
        other.kill();
        drop(memory);
        alone && during == before && signals() == before
    })
    .succeed();
}

#[test]
fn threads_share_a_scope() {
    let scope = SharedMemoryManager::new();
    thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..10 {
                    scope.shared_memory(1).unwrap();
                }
            });
        }
    });
    let mut names = scope.names();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 40);
    drop(scope);
    assert!(!names.iter().any(|name| exists(name)));
}
