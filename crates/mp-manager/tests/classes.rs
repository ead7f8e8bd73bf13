//! Objects of the user's own types. The ids are those of the acceptance lines.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use mp_manager::{Error, ErrorKind, List, Manager, Proxy, Registry};
use serde::{Deserialize, Serialize};

fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.kind(),
    }
}

struct Counter {
    count: i64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum CounterError {
    Negative { by: i64 },
}

impl Counter {
    fn new(count: i64) -> Self {
        assert!(count >= 0, "a counter begins at {count}");
        Self { count }
    }

    fn zero() -> Self {
        Self::new(0)
    }

    fn get(&self) -> i64 {
        self.count
    }

    fn add(&mut self, n: i64) -> i64 {
        self.count += n;
        self.count
    }

    fn take(&mut self, n: i64) -> Result<i64, CounterError> {
        let left = self.count - n;
        if left < 0 {
            return Err(CounterError::Negative { by: -left });
        }
        self.count = left;
        Ok(left)
    }

    fn fail(&mut self, text: String) {
        self.count += 1;
        panic!("failed: {text}");
    }

    fn many(&self, a: u8, b: String, c: Vec<i64>, d: Option<(u8, u8)>, e: f64, f: char) -> String {
        format!("{} {a} {b} {c:?} {d:?} {e} {f}", self.count)
    }

    fn hidden(&mut self) {}
}

impl Drop for Counter {
    fn drop(&mut self) {
        assert_ne!(self.count, 666, "a drop that panics");
    }
}

struct Stack<T>(Vec<T>);

impl<T> Stack<T> {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn push(&mut self, item: T) -> usize {
        self.0.push(item);
        self.0.len()
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }
}

/// Works on an object of its own server.
struct Reporter(List<String>);

impl Reporter {
    fn new(list: List<String>) -> Self {
        Self(list)
    }

    fn report(&self, text: String) -> Result<List<String>, String> {
        self.0.push(&text).map_err(|error| error.to_string())?;
        Ok(self.0.clone())
    }
}

fn setup(registry: &mut Registry) {
    registry
        .class::<Counter>()
        .constructor(Counter::new)
        .constructor(Counter::zero)
        .method(Counter::get)
        .method(Counter::add)
        .method(Counter::take)
        .method(Counter::fail)
        .method(Counter::many);
    registry
        .class()
        .constructor(Stack::<u8>::new)
        .method(Stack::<u8>::push)
        .method(Stack::<u8>::pop);
    registry
        .class()
        .constructor(Stack::<String>::new)
        .method(Stack::<String>::push)
        .method(Stack::<String>::pop);
    registry.class().constructor(Reporter::new).method(Reporter::report);
}

fn manager() -> Manager {
    Manager::builder().register(setup).start().unwrap()
}

#[test]
fn registered_methods_are_called_and_others_are_not() {
    // MG-01
    let manager = manager();
    let counter = manager.create(Counter::new, (5,)).unwrap();
    assert_eq!(counter.call(Counter::add, (3,)).unwrap(), 8);
    assert_eq!(counter.call(Counter::get, ()).unwrap(), 8);
    let text = counter.call(Counter::many, (1, "two".to_owned(), vec![3], Some((4, 4)), 5.5, '6'));
    assert_eq!(text.unwrap(), "8 1 two [3] Some((4, 4)) 5.5 6");
    assert_eq!(manager.create(Counter::zero, ()).unwrap().call(Counter::get, ()).unwrap(), 0);

    let error = counter.call(Counter::hidden, ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unregistered);
    assert!(error.to_string().contains("Counter::hidden"), "{error}");
    let bare = Manager::start().unwrap();
    let error = bare.create(Counter::new, (5,)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unregistered);
    assert!(error.to_string().contains("Counter::new"), "{error}");
}

#[test]
fn an_error_that_a_method_returns_has_its_type() {
    // MG-02
    let manager = manager();
    let counter = manager.create(Counter::new, (5,)).unwrap();
    let result = counter.call(Counter::take, (7,)).unwrap();
    assert_eq!(result, Err(CounterError::Negative { by: 2 }));
    assert_eq!(counter.call(Counter::take, (2,)).unwrap(), Ok(3));
}

#[test]
fn a_panic_is_the_error_of_its_call() {
    let manager = manager();
    let counter = manager.create(Counter::new, (5,)).unwrap();
    let error = counter.call(Counter::fail, ("why".to_owned(),)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panicked);
    let panic = error.panic().unwrap();
    assert_eq!(panic.message(), "failed: why");
    assert!(panic.location().unwrap().contains("classes.rs"));
    assert!(error.to_string().contains("Counter::fail"), "{error}");
    // The object goes on as the method has left it.
    assert_eq!(counter.call(Counter::get, ()).unwrap(), 6);

    let error = manager.create(Counter::new, (-1,)).unwrap_err();
    assert_eq!(error.panic().unwrap().message(), "a counter begins at -1");
}

#[test]
fn a_drop_that_panics_harms_nobody() {
    let manager = manager();
    drop(manager.create(Counter::new, (666,)).unwrap());
    while manager.object_count().unwrap() > 0 {
        thread::yield_now();
    }
    assert_eq!(manager.create(Counter::zero, ()).unwrap().call(Counter::get, ()).unwrap(), 0);
}

#[test]
fn generic_types_are_registered_one_by_one() {
    let manager = manager();
    let numbers = manager.create(Stack::<u8>::new, ()).unwrap();
    let texts = manager.create(Stack::<String>::new, ()).unwrap();
    assert_eq!(numbers.call(Stack::push, (1,)).unwrap(), 1);
    assert_eq!(texts.call(Stack::push, ("one".to_owned(),)).unwrap(), 1);
    assert_eq!(numbers.call(Stack::pop, ()).unwrap(), Some(1));
    assert_eq!(texts.call(Stack::pop, ()).unwrap().as_deref(), Some("one"));
    assert_eq!(kind(manager.create(Stack::<f32>::new, ())), ErrorKind::Unregistered);
}

#[test]
fn a_proxy_of_the_wrong_type_does_nothing() {
    let manager = manager();
    let names = manager.namespace().unwrap();
    names.set("counter", &manager.create(Counter::zero, ()).unwrap()).unwrap();
    let stack: Proxy<Stack<u8>> = names.get("counter").unwrap().unwrap();
    assert_eq!(kind(stack.call(Stack::push, (1,))), ErrorKind::Unregistered);
    let counter: Proxy<Counter> = names.get("counter").unwrap().unwrap();
    assert_eq!(counter.call(Counter::get, ()).unwrap(), 0);
}

#[test]
fn methods_take_and_return_proxies() {
    // W-53
    let manager = manager();
    let list = manager.list().unwrap();
    let reporter = manager.create(Reporter::new, (list.clone(),)).unwrap();
    let same = reporter.call(Reporter::report, ("hello".to_owned(),)).unwrap().unwrap();
    same.push(&"again".to_owned()).unwrap();
    assert_eq!(list.to_vec().unwrap(), ["hello", "again"]);
}

#[test]
fn what_has_no_name_cannot_be_registered() {
    let closures = |registry: &mut Registry| {
        registry.class::<Counter>().method(|counter: &mut Counter| counter.count);
    };
    let error = Manager::builder().register(closures).start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Start);
    assert!(error.to_string().contains("closure"), "{error}");
}

#[test]
fn a_set_up_that_panics_is_an_error_of_the_start() {
    let error = Manager::builder().register(|_| panic!("no luck")).start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Start);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("no luck"), "{cause}");
}

#[test]
fn several_set_ups_run_in_turn() {
    // MG-05
    static RAN: AtomicUsize = AtomicUsize::new(0);
    struct Probe(usize);
    impl Probe {
        fn new() -> Self {
            Self(RAN.load(Ordering::Relaxed))
        }
        fn get(&self) -> usize {
            self.0
        }
    }
    fn first(_: &mut Registry) {
        RAN.store(1, Ordering::Relaxed);
    }
    fn second(registry: &mut Registry) {
        RAN.fetch_add(RAN.load(Ordering::Relaxed), Ordering::Relaxed);
        registry.class().constructor(Probe::new).method(Probe::get);
    }
    let manager = Manager::builder().register(first).register(second).start().unwrap();
    assert_eq!(manager.create(Probe::new, ()).unwrap().call(Probe::get, ()).unwrap(), 2);
    assert_eq!(RAN.load(Ordering::Relaxed), 0, "it runs in the server");
}
