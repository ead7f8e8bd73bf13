//! The built-in objects, from one process. The ids are those of the acceptance lines.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use mp_manager::{
    Array, Client, Dict, Error, ErrorKind, List, Lock, LockGuard, Manager, Namespace, Proxy, Queue,
    Value,
};
use mp_wire::Fd;
use serde::{Deserialize, Serialize, Serializer};

const SHORT: Duration = Duration::from_millis(5);

fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.kind(),
    }
}

#[test]
fn list() {
    // MG-08
    let manager = Manager::start().unwrap();
    let list = manager.list_from(&(0..10).collect::<Vec<i32>>()).unwrap();
    assert_eq!(list.range(2..5).unwrap(), [2, 3, 4]);
    assert_eq!(list.range(..=1).unwrap(), [0, 1]);
    assert_eq!(list.range(8..100).unwrap(), [8, 9]);
    assert_eq!(list.range(100..).unwrap(), []);
    #[allow(clippy::reversed_empty_ranges, reason = "what a caller may compute")]
    let backwards = list.range(5..2).unwrap();
    assert_eq!(backwards, []);

    list.extend(&[3, 3]).unwrap();
    assert_eq!((list.len().unwrap(), list.count(&3).unwrap()), (12, 3));
    assert_eq!(list.position(&3).unwrap(), Some(3));
    assert_eq!(list.position(&30).unwrap(), None);
    assert!(list.contains(&9).unwrap() && !list.contains(&-1).unwrap());
    assert_eq!(list.remove(3).unwrap(), 3);
    assert_eq!(list.position(&3).unwrap(), Some(9));
    list.truncate(4).unwrap();
    list.insert(4, &40).unwrap();
    list.insert(0, &-1).unwrap();
    list.swap(0, 5).unwrap();
    list.reverse().unwrap();
    assert_eq!(list.to_vec().unwrap(), [-1, 4, 2, 1, 0, 40]);
    list.set(1, &44).unwrap();
    assert_eq!((list.get(1).unwrap(), list.get(6).unwrap()), (Some(44), None));
    assert_eq!(list.pop().unwrap(), Some(40));
    list.clear().unwrap();
    assert!(list.is_empty().unwrap());
    assert_eq!(list.pop().unwrap(), None);
}

#[test]
fn an_index_that_is_not_there_is_an_error() {
    let manager = Manager::start().unwrap();
    let list = manager.list_from(&[1]).unwrap();
    for result in [
        list.set(1, &1),
        list.insert(2, &1),
        list.remove(1).map(drop),
        list.swap(0, 1),
        list.update(1, |_| ()),
        list.update(usize::MAX, |_| ()),
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfRange);
        assert!(error.to_string().ends_with("among 1"), "{error}");
    }
    assert_eq!(list.to_vec().unwrap(), [1]);
}

#[test]
fn a_nested_list_shows_later_changes() {
    // MG-08
    let manager = Manager::start().unwrap();
    let inner = manager.list_from(&[1]).unwrap();
    let outer = manager.list::<List<i32>>().unwrap();
    outer.push(&inner).unwrap();
    inner.push(&2).unwrap();
    let again = outer.get(0).unwrap().unwrap();
    assert_eq!(again.to_vec().unwrap(), [1, 2]);
    again.push(&3).unwrap();
    assert_eq!(inner.to_vec().unwrap(), [1, 2, 3]);

    // The list in the list keeps the object.
    drop((inner, again));
    assert_eq!(outer.pop().unwrap().unwrap().to_vec().unwrap(), [1, 2, 3]);
}

#[test]
fn iteration_sees_changes_and_ends_for_good() {
    // MG-09
    let manager = Manager::start().unwrap();
    let list = manager.list_from(&[1, 2]).unwrap();
    let mut iter = list.iter();
    assert_eq!(iter.next().unwrap().unwrap(), 1);
    list.set(1, &20).unwrap();
    list.push(&3).unwrap();
    assert_eq!(iter.by_ref().map(Result::unwrap).collect::<Vec<_>>(), [20, 3]);
    list.push(&4).unwrap();
    assert!(iter.next().is_none());
    assert_eq!((&list).into_iter().count(), 4);
}

#[test]
fn a_list_can_contain_itself() {
    // MG-10
    #[derive(Clone, Serialize, Deserialize)]
    struct Node(List<Node>);
    let manager = Manager::start().unwrap();
    let node = Node(manager.list().unwrap());
    node.0.push(&node).unwrap();
    let same = node.0.get(0).unwrap().unwrap().0.get(0).unwrap().unwrap();
    assert_eq!(same.0.len().unwrap(), 1);
}

#[test]
fn dict() {
    // MG-11, MG-13
    let manager = Manager::start().unwrap();
    let dict = manager.dict::<String, Vec<u8>>().unwrap();
    let key = |text: &str| text.to_owned();
    assert_eq!(dict.insert(&key("b"), &vec![1]).unwrap(), None);
    assert_eq!(dict.insert(&key("a"), &vec![2]).unwrap(), None);
    assert_eq!(dict.insert(&key("b"), &vec![3]).unwrap(), Some(vec![1]));
    assert_eq!(dict.items().unwrap(), [(key("b"), vec![3]), (key("a"), vec![2])]);
    assert_eq!(dict.keys().unwrap(), ["b", "a"]);
    assert_eq!(dict.values().unwrap(), [[3], [2]]);
    assert!(dict.contains_key(&key("a")).unwrap() && !dict.contains_key(&key("c")).unwrap());

    // A value that came out is a copy.
    dict.get(&key("a")).unwrap().unwrap().push(9);
    assert_eq!(dict.get(&key("a")).unwrap(), Some(vec![2]));
    assert_eq!(dict.get_or_insert(&key("a"), vec![7]).unwrap(), [2]);
    assert_eq!(dict.get_or_insert(&key("c"), vec![7]).unwrap(), [7]);
    assert_eq!(dict.remove(&key("b")).unwrap(), Some(vec![3]));
    assert_eq!(dict.remove(&key("b")).unwrap(), None);

    let change = |value: Option<Vec<u8>>| value.filter(|value| value[0] != 7);
    assert_eq!(dict.update(&key("c"), change).unwrap(), None);
    assert_eq!(dict.update(&key("a"), change).unwrap(), Some(vec![2]));
    let more = BTreeMap::from([(key("x"), vec![1]), (key("a"), vec![5])]);
    dict.extend(&more).unwrap();
    assert_eq!(dict.items().unwrap(), [(key("a"), vec![5]), (key("x"), vec![1])]);
    assert_eq!(dict.len().unwrap(), 2);
    dict.clear().unwrap();
    assert!(dict.is_empty().unwrap() && dict.items().unwrap().is_empty());
}

#[test]
fn namespace() {
    // MG-15
    let manager = Manager::start().unwrap();
    let names = manager.namespace().unwrap();
    names.set("number", &1).unwrap();
    names.set("list", &manager.list_from(&[1]).unwrap()).unwrap();
    names.set("number", &2.5).unwrap();
    assert_eq!(names.names().unwrap(), ["list", "number"]);
    assert_eq!(names.get("number").unwrap(), Some(2.5));
    assert_eq!(kind(names.get::<Vec<String>>("number")), ErrorKind::Decode);
    names.get::<List<i32>>("list").unwrap().unwrap().push(&2).unwrap();
    assert_eq!(names.get::<List<i32>>("list").unwrap().unwrap().to_vec().unwrap(), [1, 2]);
    assert!(names.remove("number").unwrap() && !names.remove("number").unwrap());
    assert_eq!(names.get::<f64>("number").unwrap(), None);
}

#[test]
fn value_and_array() {
    let manager = Manager::start().unwrap();
    let value = manager.value(&"one".to_owned()).unwrap();
    value.set(&"two".to_owned()).unwrap();
    assert_eq!(value.replace(&"three".to_owned()).unwrap(), "two");
    let other = value.compare_exchange(&"two".to_owned(), &"four".to_owned()).unwrap();
    assert_eq!(other, Err("three".to_owned()));
    assert_eq!(value.get().unwrap(), "three");

    let array = manager.array(&[1, 2, 3]).unwrap();
    array.swap(0, 2).unwrap();
    array.set(1, &20).unwrap();
    assert_eq!(kind(array.set(3, &1)), ErrorKind::OutOfRange);
    assert_eq!(array.range(1..).unwrap(), [20, 1]);
    assert_eq!(array.get(0).unwrap(), Some(3));
    assert!(!array.is_empty().unwrap() && manager.array::<u8>(&[]).unwrap().is_empty().unwrap());
}

#[test]
fn an_update_that_was_overtaken_starts_again() {
    // W-51
    let manager = Manager::start().unwrap();
    let list = manager.list_from(&[0]).unwrap();
    let dict = manager.dict::<u8, i32>().unwrap();
    let value = manager.value(&0).unwrap();
    let mut calls = 0;
    list.update(0, |n| {
        calls += 1;
        if calls == 1 {
            list.set(0, &10).unwrap();
        }
        *n += 1;
    })
    .unwrap();
    let mut interfere = true;
    dict.update(&1, |n| {
        if std::mem::take(&mut interfere) {
            dict.insert(&1, &10).unwrap();
        }
        Some(n.unwrap_or(0) + 1)
    })
    .unwrap();
    interfere = true;
    value
        .update(|n| {
            if std::mem::take(&mut interfere) {
                value.set(&10).unwrap();
            }
            *n += 1;
        })
        .unwrap();
    assert_eq!(calls, 2);
    assert_eq!(list.get(0).unwrap(), Some(11));
    assert_eq!(dict.get(&1).unwrap(), Some(11));
    assert_eq!(value.get().unwrap(), 11);
}

#[test]
fn queue() {
    let manager = Manager::start().unwrap();
    let queue = manager.queue_bounded::<u32>(2).unwrap();
    queue.put(&1).unwrap();
    queue.try_put(&2).unwrap();
    assert!(queue.is_full().unwrap());
    assert_eq!(kind(queue.try_put(&3)), ErrorKind::Full);
    let start = Instant::now();
    assert_eq!(kind(queue.put_timeout(&3, SHORT)), ErrorKind::Full);
    assert!(start.elapsed() >= SHORT);
    assert_eq!((queue.get().unwrap(), queue.len().unwrap()), (1, 1));
    assert_eq!(queue.get_timeout(SHORT).unwrap(), 2);
    assert_eq!(kind(queue.try_get()), ErrorKind::Empty);
    let start = Instant::now();
    assert_eq!(kind(queue.get_timeout(SHORT)), ErrorKind::Empty);
    assert!(start.elapsed() >= SHORT);
    assert!(queue.is_empty().unwrap());
    // What was withdrawn does not come back.
    queue.put(&4).unwrap();
    assert_eq!((queue.try_get().unwrap(), queue.len().unwrap()), (4, 0));
    assert_eq!(kind(manager.queue_bounded::<u8>(0)), ErrorKind::InvalidInput);
}

#[test]
fn a_blocked_get_does_not_block_other_threads() {
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<u32>().unwrap();
    let getters: Vec<_> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            thread::spawn(move || queue.get().unwrap())
        })
        .collect();
    for number in 0..3 {
        assert!(manager.list_from(&[number]).unwrap().contains(&number).unwrap());
        queue.put(&number).unwrap();
    }
    let mut got: Vec<u32> = getters.into_iter().map(|getter| getter.join().unwrap()).collect();
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2]);
}

#[test]
fn a_full_queue_lets_writers_in_one_by_one() {
    let manager = Manager::start().unwrap();
    let queue = manager.queue_bounded::<u32>(1).unwrap();
    let writers: Vec<_> = (0..4)
        .map(|number| {
            let queue = queue.clone();
            thread::spawn(move || (0..50).for_each(|_| queue.put(&number).unwrap()))
        })
        .collect();
    let mut counts = [0; 4];
    for _ in 0..200 {
        assert!(queue.len().unwrap() <= 1);
        counts[queue.get().unwrap() as usize] += 1;
    }
    assert_eq!(counts, [50; 4]);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert!(queue.is_empty().unwrap());
}

#[test]
fn handles_are_elements() {
    // MG-14, W-52
    let manager = Manager::start().unwrap();
    let list = manager.list::<Queue<u8>>().unwrap();
    list.push(&manager.queue().unwrap()).unwrap();
    list.get(0).unwrap().unwrap().put(&1).unwrap();
    assert_eq!(list.get(0).unwrap().unwrap().get().unwrap(), 1);

    let dict = manager.dict::<u8, (Lock, Fd)>().unwrap();
    let file = Fd::from(OwnedFd::from(File::open("/proc/self/comm").unwrap()));
    dict.insert(&1, &(manager.lock().unwrap(), file.clone())).unwrap();
    let (lock, file) = dict.get(&1).unwrap().unwrap();
    drop(lock.lock().unwrap());
    let text = std::io::read_to_string(File::from(file.into_owned().unwrap())).unwrap();
    assert!(!text.is_empty());

    let files = manager.dict::<Fd, u8>().unwrap();
    let key = Fd::from(OwnedFd::from(File::open("/dev/null").unwrap()));
    assert_eq!(kind(files.insert(&key, &1)), ErrorKind::InvalidInput);
}

#[test]
fn large_values_and_many_elements() {
    let manager = Manager::start().unwrap();
    let large = vec![0x5a_u32; 4 << 20];
    let value = manager.value(&large).unwrap();
    assert!(value.get().unwrap() == large);
    let many: Vec<u32> = (0..100_000).collect();
    assert!(manager.list_from(&many).unwrap().to_vec().unwrap() == many);
}

#[test]
fn lock() {
    // MG-19: what one does not hold cannot be released.
    let manager = Manager::start().unwrap();
    let lock = manager.lock().unwrap();
    let guard = lock.lock().unwrap();
    assert!(lock.is_locked().unwrap());
    assert!(lock.try_lock().unwrap().is_none());
    let start = Instant::now();
    assert_eq!(kind(lock.lock_timeout(SHORT)), ErrorKind::TimedOut);
    assert!(start.elapsed() >= SHORT);
    guard.unlock().unwrap();
    assert!(!lock.is_locked().unwrap());
    // Whoever did not wait to the end is not in line any more.
    drop(lock.lock_timeout(SHORT).unwrap());
    assert!(!lock.is_locked().unwrap());
}

#[test]
fn a_lock_keeps_others_out() {
    let manager = Manager::start().unwrap();
    let lock = manager.lock().unwrap();
    let value = manager.value(&0).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (lock, value) = (lock.clone(), value.clone());
            thread::spawn(move || {
                for _ in 0..50 {
                    let _guard = lock.lock().unwrap();
                    value.set(&(value.get().unwrap() + 1)).unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(value.get().unwrap(), 200);
}

#[test]
fn a_holder_that_panicked_is_told_of() {
    let manager = Manager::start().unwrap();
    let lock = manager.lock().unwrap();
    let clone = lock.clone();
    let thread = thread::spawn(move || {
        let _guard = clone.lock().unwrap();
        panic!("expected");
    });
    assert!(thread.join().is_err());
    assert!(lock.lock().unwrap().owner_died());
    assert!(!lock.lock().unwrap().owner_died());
}

#[test]
fn a_value_that_does_not_travel_is_the_error_of_its_call() {
    // W-24
    #[derive(Debug, Deserialize)]
    struct Bad;
    impl Serialize for Bad {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }
    let manager = Manager::start().unwrap();
    let list = manager.list::<Result<u8, Bad>>().unwrap();
    assert_eq!(kind(list.push(&Err(Bad))), ErrorKind::Encode);
    assert_eq!(kind(manager.list_from(&[Bad])), ErrorKind::Encode);
    list.push(&Ok(1)).unwrap();
    assert_eq!(list.len().unwrap(), 1);

    // A value of another type, through a namespace that both are kept in.
    let names = manager.namespace().unwrap();
    names.set("list", &manager.list_from(&["text".to_owned()]).unwrap()).unwrap();
    let numbers: List<(u64, u64)> = names.get("list").unwrap().unwrap();
    let error = numbers.get(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("u64"));
    // And an object of another kind.
    let dict: Dict<u8, u8> = names.get("list").unwrap().unwrap();
    assert_eq!(kind(dict.len()), ErrorKind::Unregistered);
    let lock: Lock = names.get("list").unwrap().unwrap();
    assert_eq!(kind(lock.lock()), ErrorKind::Unregistered);
}

#[test]
fn objects_go_with_their_last_proxy() {
    // W-53
    let manager = Manager::start().unwrap();
    let list = manager.list::<Queue<u8>>().unwrap();
    for _ in 0..10 {
        list.push(&manager.queue().unwrap()).unwrap();
    }
    assert_eq!(manager.object_count().unwrap(), 11);
    let last = list.pop().unwrap().unwrap();
    list.clear().unwrap();
    wait_for_objects(&manager, 2);
    drop(last);
    wait_for_objects(&manager, 1);
    drop(list);
    wait_for_objects(&manager, 0);
}

/// The server learns of a dropped proxy a moment later.
fn wait_for_objects(manager: &Manager, count: usize) {
    while manager.object_count().unwrap() != count {
        thread::yield_now();
    }
}

#[test]
fn types_cross_threads() {
    fn both<T: Send + Sync + 'static>() {}
    type Local = std::rc::Rc<u8>;
    both::<Manager>();
    both::<Client>();
    both::<Error>();
    both::<List<Local>>();
    both::<Dict<Local, Local>>();
    both::<Value<Local>>();
    both::<Array<Local>>();
    both::<Queue<Local>>();
    both::<Proxy<Local>>();
    both::<Namespace>();
    both::<Lock>();
    both::<LockGuard<'static>>();
}
