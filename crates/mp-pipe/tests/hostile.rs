//! A peer that writes anything into the memory of a connection gets errors for others, and never a crash.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mp_pipe::simplex;
use mp_shared::segment::Segment;

/// Random numbers, the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn memory(end: &impl serde::Serialize) -> Segment {
    let kind = u32::from_le_bytes(*b"pipe");
    let fds = mp_wire::encode(end).unwrap().fds;
    fds.into_iter().find_map(|fd| Segment::attach(fd, kind).ok()).unwrap()
}

#[test]
fn random_words_do_no_harm() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // The word, what senders and receivers write but for their locks, and the heads of the first records.
    let places = [0, 0, 80, 88, 96, 136, 144, 152, 4032, 4040, 4064, 4096];
    for _ in 0..50 {
        let (sender, receiver) = simplex::<String>().unwrap();
        let segment = memory(&receiver);
        for _ in 0..20 {
            let place = places[random.next() as usize % places.len()];
            let few = if random.next().is_multiple_of(2) { 1 << (random.next() % 64) } else { 0 };
            let word = segment.atomic_u64(place).unwrap();
            match random.next() % 3 {
                0 => word.store(random.next(), Relaxed),
                1 => drop(word.fetch_xor(few, Relaxed)),
                _ => drop(word.fetch_add(few, Relaxed)),
            }
            let len = [3, 300, 20_000, 100_000][random.next() as usize % 4];
            let _ = sender.try_send(&"x".repeat(len));
            let _ = receiver.try_recv();
            let _ = receiver.recv_timeout(Duration::from_micros(50));
        }
    }
}

#[test]
fn nobody_can_cut_the_memory_off() {
    use std::os::fd::AsFd;
    let (sender, _receiver) = simplex::<u8>().unwrap();
    let segment = memory(&sender);
    let file = std::fs::File::from(segment.fd().as_fd().try_clone_to_owned().unwrap());
    assert!(file.set_len(64).is_err());
}
