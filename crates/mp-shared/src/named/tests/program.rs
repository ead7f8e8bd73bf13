//! A program that has nothing in common with this one but the names: this test binary, started anew.

use std::env;
use std::process::Command;

use super::{exists, name};
use crate::testing::PATIENCE;
use crate::{Array, Event, ListItem, Lock, ShareableList, SharedMemory, Value};

const NAME: &str = "MP_SHARED_TEST_NAME";

/// Runs in the other program, which the test below starts; else it has nothing to do.
#[test]
fn other_program() {
    let Ok(name) = env::var(NAME) else { return };
    let memory = SharedMemory::open(&format!("{name}-memory")).unwrap();
    memory.store(100, 7u32).unwrap();
    let list = ShareableList::open(&format!("{name}-list")).unwrap();
    assert_eq!(list.get(0).unwrap().as_str(), Some("greetings"));
    list.set(1, "from over there").unwrap();
    let value = Value::<u64>::open(&format!("{name}-value")).unwrap();
    value.update(|n| n * 2).unwrap();
    let array = Array::<f32>::open(&format!("{name}-array")).unwrap();
    array.set(2, 0.5).unwrap();
    let lock = Lock::open(&format!("{name}-lock")).unwrap();
    assert!(lock.try_lock().is_err(), "the first program has it");
    Event::open(&format!("{name}-ready")).unwrap().set();
    drop(lock.lock().unwrap());
    // The others are opened only, and stay when this program ends.
    let own = Value::create_named(&format!("{name}-own"), 3u8).unwrap();
    own.persist().unwrap();
}

#[test]
fn shares_with_an_unrelated_program() {
    // SH-09, SH-12, W-35.
    let name = name("program");
    let named = |kind: &str| format!("{name}-{kind}");
    let memory = SharedMemory::create(&named("memory"), 200).unwrap();
    let items = ["greetings".into(), "x".repeat(20).into()];
    let list = ShareableList::create(&named("list"), items).unwrap();
    let value = Value::create_named(&named("value"), 21u64).unwrap();
    let array = Array::create_named(&named("array"), &[0f32; 3]).unwrap();
    let lock = Lock::create_named(&named("lock")).unwrap();
    let ready = Event::create_named(&named("ready")).unwrap();

    let guard = lock.lock().unwrap();
    let mut program = Command::new(env::current_exe().unwrap())
        .args(["--exact", "named::tests::program::other_program"])
        .env(NAME, &name)
        .spawn()
        .unwrap();
    assert!(ready.wait_timeout(PATIENCE));
    drop(guard);
    assert!(program.wait().unwrap().success());

    assert_eq!(memory.load::<u32>(100).unwrap(), 7);
    assert_eq!(list.get(1).unwrap(), ListItem::from("from over there"));
    assert_eq!(value.get().unwrap(), 42);
    assert_eq!(array.get(2).unwrap(), 0.5);
    assert!(!lock.is_locked() && !lock.is_poisoned());
    for kind in ["memory", "list", "value", "array", "lock", "ready"] {
        assert!(exists(&named(kind)), "{kind}");
    }
    let own = Value::<u8>::open(&named("own")).unwrap();
    assert_eq!(own.get().unwrap(), 3);
    own.unlink().unwrap();
}
