//! Words in the memory of a connection, from somebody who has it.

use std::net::Shutdown;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mp_pipe::{Connection, pipe};
use mp_shared::segment::Segment;

use super::input::Input;

/// Where the words of both directions lie: for the locks alone anybody could wait for ever.
const LOCKS: [usize; 4] = [64, 128, 256 + 64, 256 + 128];

/// What is written at all: the words, and the records of the first direction.
const REACH: usize = 4032 + 4096;

/// Two ends go on in turn while somebody writes into their memory.
///
/// # Panics
///
/// Somebody hangs, or a message is longer than any that was sent.
pub fn pipe_ring(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (a, b) = pipe::<Vec<u8>>().expect("a pipe");
    let memory = memory(&a);
    for _ in 0..200 {
        if input.is_empty() {
            break;
        }
        let way = input.byte();
        match way % 8 {
            0..4 => poke(&memory, way % 4, &mut input),
            4 => {
                let len = [3, 300, 20_000, 100_000][usize::from(input.byte() % 4)];
                let _ = a.try_send_bytes(&vec![5; len]);
            }
            5 => {
                let _ = b.try_recv();
                let _ = b.recv_bytes_timeout(Duration::from_micros(20));
            }
            6 => {
                let _ = b.poll();
                let _ = b.recv_bytes_into_timeout(&mut [0; 400], Duration::ZERO);
            }
            _ => {
                let _ = b.try_send(&vec![1]);
                let _ = a.try_recv();
                if way > 250 {
                    let _ = b.shutdown(Shutdown::Read);
                }
            }
        }
    }
}

fn memory(end: &Connection<Vec<u8>>) -> Segment {
    let kind = u32::from_le_bytes(*b"pipe");
    let fds = mp_wire::encode(end).expect("an end travels").fds;
    fds.into_iter().find_map(|fd| Segment::attach(fd, kind).ok()).expect("memory")
}

fn poke(memory: &Segment, way: u8, input: &mut Input<'_>) {
    let place = usize::from(input.short()) % REACH / 8 * 8;
    if LOCKS.contains(&place) {
        return;
    }
    let word = memory.atomic_u64(place).expect("a word within the memory");
    match way {
        0 => word.store(input.long(), Relaxed),
        1 => drop(word.fetch_xor(1 << (input.byte() % 64), Relaxed)),
        2 => drop(word.fetch_add(1 << (input.byte() % 64), Relaxed)),
        _ => word.store(0, Relaxed),
    }
}

/// Messages of each length and way, with a word here and there.
#[must_use]
pub fn pipe_ring_seeds() -> Vec<Vec<u8>> {
    let traffic = [4, 0, 4, 1, 5, 4, 2, 4, 3, 5, 5, 6, 7, 6, 5];
    let mut seeds = vec![traffic.to_vec()];
    // The word, what senders and receivers write, and the heads of the first records.
    for place in [0_u16, 72, 80, 88, 96, 104, 136, 144, 152, 160, 256, 4032, 4040, 4064, 4096] {
        let [low, high] = place.to_le_bytes();
        let mut seed = traffic[..5].to_vec();
        seed.extend([1, low, high, 34]);
        seed.extend(traffic);
        seed.extend([0, low, high, 255, 255, 255, 255, 255, 255, 255, 255]);
        seed.extend(traffic);
        seed.extend([3, low, high, 255, 255]);
        seed.extend(traffic);
        seeds.push(seed);
    }
    seeds
}
