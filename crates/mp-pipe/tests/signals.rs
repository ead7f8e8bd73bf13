//! Signals during every kind of waiting. A program of its own: the handler is the whole process's.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]
#![allow(unsafe_code, reason = "installs a signal handler and signals a thread")]

use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mp_pipe::{RecvError, SendError, pipe, simplex, wait};

static SEEN: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note(_: libc::c_int) {
    SEEN.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn a_storm_of_signals_disturbs_nothing() {
    // PI-18
    // SAFETY: all zeroes is a valid action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = note as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler does nothing but count; without SA_RESTART every call is interrupted.
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) }, 0);

    let (a, b) = pipe::<Vec<u8>>().unwrap();
    let (full, is_full) = simplex::<()>().unwrap();
    let worker = thread::spawn(move || {
        while SEEN.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        let time = Duration::from_millis(30);
        let start = Instant::now();
        assert!(matches!(a.recv_timeout(time), Err(RecvError::Empty)));
        assert!(start.elapsed() >= time);
        let start = Instant::now();
        assert_eq!(wait(&[&a], Some(time)).unwrap(), []);
        assert!(!a.poll_timeout(time).unwrap());
        assert!(start.elapsed() >= 2 * time);

        let block = vec![7; 60_000];
        let mut sent = 0;
        while a.try_send(&block).is_ok() {
            sent += 1;
        }
        assert!(matches!(a.send_timeout(&block, time), Err(SendError::Full)));
        full.send(&()).unwrap();
        a.send(&block).unwrap(); // Waits until the other side receives.
        a.send(&vec![7; 8 << 20]).unwrap();
        assert_eq!(a.recv().unwrap().len(), 1 << 20);
        sent + 2
    });
    let received = thread::scope(|scope| {
        let storm = scope.spawn(|| {
            while !worker.is_finished() {
                // SAFETY: the thread has not been joined, so its handle is valid.
                unsafe { libc::pthread_kill(worker.as_pthread_t(), libc::SIGUSR1) };
                thread::sleep(Duration::from_micros(200));
            }
        });
        is_full.recv().unwrap();
        let mut received = 0;
        loop {
            let message = b.recv().unwrap();
            assert!(message.iter().all(|&byte| byte == 7));
            received += 1;
            if message.len() == 8 << 20 {
                break;
            }
        }
        b.send(&vec![1; 1 << 20]).unwrap();
        storm.join().unwrap();
        received
    });
    assert_eq!(worker.join().unwrap(), received);
}
