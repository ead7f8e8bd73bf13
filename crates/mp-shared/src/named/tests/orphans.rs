//! What killed processes leave.

use super::{exists, fork, name};
use crate::testing::die;
use crate::{ErrorKind, Event, Orphan, ShareableList, SharedMemory, Value};

fn listed(name: &str) -> Option<Orphan> {
    SharedMemory::orphans().unwrap().into_iter().find(|orphan| orphan.name() == name)
}

/// Whether files here can say who made them, though nothing in them does.
fn is_known() -> bool {
    let memory = SharedMemory::create(&name("known"), 1).unwrap();
    super::file::creator(memory.name()).is_some()
}

#[test]
fn kill_creator_of_names_that_a_user_chose() {
    // SH-22, W-39.
    let names = ["memory", "list", "value\nwith:both", "event"].map(|kind| name(kind) + "-orphan");
    let kept = name("kept-orphan");
    let child = fork(|| {
        let _memory = SharedMemory::create(&names[0], 100).unwrap();
        let _list = ShareableList::create(&names[1], [1.into()]).unwrap();
        let _value = Value::create_named(&names[2], 1u8).unwrap();
        let _event = Event::create_named(&names[3]).unwrap();
        let kept = Event::create_named(&kept).unwrap();
        kept.persist().unwrap();
        die()
    });
    assert!(!child.wait().success());
    let survivor = Value::<u8>::open(&names[2]).unwrap();
    SharedMemory::prune().unwrap();
    assert!(names.iter().all(|name| exists(name)), "only the user knows whether they shall stay");
    for name in &names {
        let Some(orphan) = listed(name) else {
            assert!(*name == names[0] && !is_known(), "{name}");
            SharedMemory::remove(name).unwrap();
            continue;
        };
        orphan.remove().unwrap();
        assert!(!exists(name));
        assert_eq!(orphan.remove().unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert_eq!(survivor.get().unwrap(), 1);
    assert!(listed(&kept).is_none());
    SharedMemory::remove(&kept).unwrap();
}

#[test]
fn prune_removes_lists_and_values_with_generated_names() {
    let board = SharedMemory::new(256).unwrap();
    let child = fork(|| {
        let list = ShareableList::new([1.into()]).unwrap();
        let name = list.name().unwrap();
        board.store(0, name.len() as u8).unwrap();
        board.write_at(1, name.as_bytes()).unwrap();
        die()
    });
    assert!(!child.wait().success());
    let mut name = vec![0; usize::from(board.load::<u8>(0).unwrap())];
    board.read_at(1, &mut name).unwrap();
    let name = String::from_utf8(name).unwrap();
    // Another test may have pruned it already.
    let list = ShareableList::open(&name);
    SharedMemory::prune().unwrap();
    assert!(!exists(&name));
    assert!(list.is_err() || list.unwrap().get(0).unwrap().as_int() == Some(1));
}

#[test]
fn the_living_leave_no_orphans() {
    let name = name("living");
    let _chosen = SharedMemory::create(&name, 1).unwrap();
    let generated = SharedMemory::new(1).unwrap();
    assert!(listed(&name).is_none());
    assert!(listed(generated.name()).is_none());
}

#[test]
fn an_orphan_whose_name_was_taken_is_left_alone() {
    let name = name("taken-orphan");
    let child = fork(|| {
        let _memory = SharedMemory::create(&name, 1).unwrap();
        die()
    });
    assert!(!child.wait().success());
    let Some(orphan) = listed(&name) else {
        assert!(!is_known());
        return SharedMemory::remove(&name).unwrap();
    };
    SharedMemory::remove(&name).unwrap();
    let _other = SharedMemory::create(&name, 1).unwrap();
    assert_eq!(orphan.remove().unwrap_err().kind(), ErrorKind::NotFound);
    assert!(exists(&name));
}
