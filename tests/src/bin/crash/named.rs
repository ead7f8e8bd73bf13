//! Memory with a name: a list that is written, and names that come and go.

use std::sync::atomic::Ordering::SeqCst;

use mp_shared::{ErrorKind, ListItem, ShareableList, SharedMemory, SharedMemoryManager, Value};
use mp_tests::step::{Board, End, Kill, Role, Slot, Victim, within_liveness};
use mp_tests::sweep::Verdict;

/// What a slot has in a scenario: each kind of value takes another way.
fn value(number: u64) -> ListItem {
    match number {
        0 => ListItem::Int(-1),
        // Longer than what a copy might do in one step.
        1 => "new".repeat(30).into(),
        number => vec![number as u8; 80 + number as usize].into(),
    }
}

fn list() -> ShareableList {
    ShareableList::with_room([value(0), 7.into()], 96).expect("a list")
}

fn warm_up() {
    let list = list();
    list.set(0, value(1)).expect("the value is written");
    list.get(0).expect("the value is read");
}

/// Reads what is there now, which is one of these, and writes and reads another.
fn look(list: &ShareableList, verdict: &mut Verdict, expected: &[u64]) {
    let found = list.get(0).ok();
    verdict.torn |= !expected.iter().any(|&number| found == Some(value(number)));
    let written = list.set(0, value(5)).is_ok();
    verdict.lost |= !written || list.get(0).ok() != Some(value(5));
    verdict.torn |= list.get(1).ok() != Some(7.into());
}

/// The old value is there or the new one, for those who have the list and those who open it.
pub(crate) fn list_set_alone(kill: Kill) -> Verdict {
    let (board, list) = (Board::new(), list());
    let operate = |()| list.set(0, value(1)).expect("the value is written");
    let stop = Victim::start(&board, warm_up, operate).run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let reader = board.slot(0);
    let role = Role::fork(|| {
        let list = ShareableList::open(list.name().unwrap()).expect("the list is opened");
        let known = [value(0), value(1)];
        let found = list.get(0).expect("the value is read");
        reader.note(known.iter().position(|item| *item == found).map_or(9, |at| at as u64));
        reader.done(0);
    });
    verdict.progress(within_liveness(|| reader.is_done()), "who opens the list");
    drop(role);
    let noted = reader.noted();
    verdict.torn |= noted == [9];
    verdict.lost |= stop.end == End::Completed && noted == [0];
    look(&list, &mut verdict, &noted);
    verdict
}

/// Holds the list's lock until it is told to let go.
fn holder(list: &ShareableList, slot: &Slot) -> Role {
    let role = Role::fork(|| {
        let hold = |before: &ListItem| {
            slot.ready();
            while slot.go.load(SeqCst) == 0 {
                std::thread::sleep(std::time::Duration::from_micros(20));
            }
            before.clone()
        };
        list.update(0, hold).expect("the value is changed");
        slot.done(0);
    });
    let (ready, _) = within_liveness(|| slot.state.load(SeqCst) == 1);
    assert!(ready, "a holder does not get the lock");
    role
}

fn setter(list: &ShareableList, slot: &Slot, number: u64) -> Role {
    let role = Role::fork(|| {
        slot.ready();
        list.set(0, value(number)).expect("the value is written");
        slot.done(0);
    });
    role.await_asleep(slot);
    role
}

/// The victim waits to write, behind one who does and before another.
pub(crate) fn list_set_contended(kill: Kill) -> Verdict {
    let (board, list) = (Board::new(), list());
    let [owner, first, second] = [0, 1, 2].map(|index| board.slot(index));
    let _owner = holder(&list, owner);
    let _first = setter(&list, first, 2);
    let mut roles = Vec::new();
    let operate = |()| list.set(0, value(1)).expect("the value is written");
    let stop = Victim::start(&board, warm_up, operate).run(kill, || {
        if roles.is_empty() {
            roles.push(setter(&list, second, 3));
        }
        owner.go.store(1, SeqCst);
        true
    });
    owner.go.store(1, SeqCst);
    let mut slots = vec![owner, first];
    if !roles.is_empty() {
        slots.push(second);
    }
    let mut verdict = Verdict::new(stop);
    let all = || slots.iter().all(|slot| slot.is_done());
    verdict.progress(within_liveness(all), "who slept before the list");
    look(&list, &mut verdict, &[1, 2, 3]);
    verdict
}

/// The value is there as a whole, or its name is not.
pub(crate) fn create(kill: Kill) -> Verdict {
    let name = format!("crash-create-{}", std::process::id());
    let board = Board::new();
    let warm_up = || drop(Value::create_named(&format!("{name}-before"), 1u64));
    let operate = |()| {
        let value = Value::create_named(&name, 42u64).expect("the value is created");
        value.persist().expect("the value stays");
    };
    let stop = Victim::start(&board, warm_up, operate).run(kill, || false);
    let mut verdict = Verdict::new(stop);
    match Value::<u64>::open(&name) {
        Ok(value) => {
            verdict.torn |= value.get().ok() != Some(42);
            verdict.lost |= value.unlink().is_err();
        }
        Err(error) => {
            verdict.torn |= error.kind() != ErrorKind::NotFound;
            verdict.lost |= stop.end == End::Completed;
        }
    }
    // Nothing is left of what was never finished.
    SharedMemory::prune().expect("the names are read");
    let left = std::fs::read_dir("/dev/shm").expect("the names are read").filter_map(Result::ok);
    let mut left = left.filter_map(|entry| entry.file_name().into_string().ok());
    verdict.doubled |= left.any(|left| left.starts_with(&name));
    verdict
}

/// What a scope has not removed when it is killed, the next one to prune removes.
pub(crate) fn scope_shutdown(kill: Kill) -> Verdict {
    const ITEMS: usize = 3;
    let board = Board::new();
    let names = SharedMemory::new(4096).expect("a memory for the names");
    let prepare = || {
        drop(SharedMemoryManager::new().shared_memory(1));
        let scope = SharedMemoryManager::new();
        for index in 0..ITEMS {
            let memory = scope.shared_memory(1).expect("a memory");
            names.store(index * 256, memory.name().len() as u64).expect("a place");
            names.write_at(index * 256 + 8, memory.name().as_bytes()).expect("a place");
        }
        scope
    };
    let operate = |scope: SharedMemoryManager| scope.shutdown().expect("the names are removed");
    let stop = Victim::start(&board, prepare, operate).run(kill, || false);
    let mut verdict = Verdict::new(stop);
    let left = || {
        (0..ITEMS).any(|index| {
            let len: u64 = names.load(index * 256).expect("a place");
            let mut name = vec![0; len as usize];
            names.read_at(index * 256 + 8, &mut name).expect("a place");
            SharedMemory::open(std::str::from_utf8(&name).expect("a name")).is_ok()
        })
    };
    verdict.lost |= stop.end == End::Completed && left();
    SharedMemory::prune().expect("the names are read");
    verdict.doubled |= left();
    verdict
}
