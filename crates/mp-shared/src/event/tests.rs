//! What users of an event rely on; the ids are those of the list of behaviours.

use std::sync::OnceLock;
use std::thread;
use std::time::Instant;

use super::*;
use crate::testing::{PATIENCE, die, fork, on_signal, raise};

fn word(event: &Event) -> u32 {
    event.0.head().words[0].load(Relaxed)
}

fn until_asleep(event: &Event) {
    while word(event) & ASLEEP == 0 {
        thread::yield_now();
    }
}

#[test]
fn smoke() {
    // CE-08. CE-10: there is no negative timeout; zero does not wait.
    let event = Event::new().unwrap();
    assert!(!event.is_set());
    assert!(!event.wait_timeout(Duration::ZERO));
    let start = Instant::now();
    assert!(!event.wait_timeout(Duration::from_millis(3)));
    assert!(start.elapsed() >= Duration::from_millis(3));
    event.set();
    assert!(event.is_set());
    event.wait();
    assert!(event.wait_timeout(Duration::ZERO) && event.wait_timeout(Duration::MAX));
    event.clear();
    event.clear();
    assert!(!event.is_set() && !event.wait_timeout(Duration::ZERO));
}

#[test]
fn a_child_wakes_its_parent() {
    // CE-08.
    let event = Event::new().unwrap();
    let message = mp_wire::encode(&event).unwrap();
    let child = fork(|| {
        let same: Event = message.decode().unwrap();
        until_asleep(&same);
        same.set();
        true
    });
    assert!(event.wait_timeout(PATIENCE));
    child.succeed();
}

#[test]
fn wakes_all() {
    let event = Event::new().unwrap();
    let children: Vec<_> = (0..4).map(|_| fork(|| event.wait_timeout(PATIENCE))).collect();
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| event.wait_timeout(PATIENCE))).collect();
        until_asleep(&event);
        event.set();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    });
    for child in children {
        child.succeed();
    }
}

#[test]
fn a_wait_that_was_ended_says_so_even_if_cleared() {
    let event = Event::new().unwrap();
    for _ in 0..100 {
        thread::scope(|scope| {
            let waiter = scope.spawn(|| event.wait_timeout(PATIENCE));
            until_asleep(&event);
            event.set();
            event.clear();
            assert!(waiter.join().unwrap());
        });
        assert!(!event.is_set());
    }
}

#[test]
fn kill_waiter() {
    // CE-22: a waiter that was killed jams nobody.
    let event = Event::new().unwrap();
    let children: Vec<_> = (0..3).map(|_| fork(|| event.wait_timeout(PATIENCE))).collect();
    until_asleep(&event);
    for child in children {
        child.kill();
    }
    event.set();
    assert!(event.wait_timeout(Duration::ZERO));
    event.clear();
    assert_eq!(word(&event) & (SET | ASLEEP), 0);
    event.set();
    assert!(event.is_set());
}

#[test]
fn kill_setter() {
    let event = Event::new().unwrap();
    let child = fork(|| {
        event.set();
        die()
    });
    assert!(event.wait_timeout(PATIENCE));
    assert!(!child.wait().success());
}

#[test]
fn a_signal_handler_may_set_it() {
    static EVENT: OnceLock<Event> = OnceLock::new();
    extern "C" fn handler(_signal: i32) {
        if let Some(event) = EVENT.get() {
            event.set();
        }
    }
    let event = EVENT.get_or_init(|| Event::new().unwrap());
    let child = fork(|| {
        on_signal(libc::SIGUSR1, handler);
        until_asleep(event);
        raise(libc::SIGUSR1);
        event.is_set()
    });
    assert!(event.wait_timeout(PATIENCE));
    child.succeed();
}

#[test]
fn stress() {
    // Ping-pong: each wake-up that is lost would be a hang.
    let (ping, pong) = (Event::new().unwrap(), Event::new().unwrap());
    let child = fork(|| {
        (0..1000).all(|_| {
            let woken = ping.wait_timeout(PATIENCE);
            ping.clear();
            pong.set();
            woken
        })
    });
    for _ in 0..1000 {
        ping.set();
        assert!(pong.wait_timeout(PATIENCE));
        pong.clear();
    }
    child.succeed();
}

#[test]
fn debug_and_markers() {
    fn check<T: Send + Sync + Clone + Serialize + serde::de::DeserializeOwned>() {}
    check::<Event>();
    let event = Event::new().unwrap();
    assert_eq!(format!("{event:?}"), "Event { is_set: false }");
    event.set();
    assert_eq!(format!("{event:?}"), "Event { is_set: true }");
    assert!(postcard::to_allocvec(&event).is_err());
}
