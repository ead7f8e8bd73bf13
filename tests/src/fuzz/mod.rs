//! What may come from a process that wishes us ill, made out of bytes: one function for each place where it comes in.
//!
//! `tests/tests/fuzz.rs` calls each with its seeds and what a fixed sequence of numbers makes of them; the package in `fuzz/`
//! gives the same functions to libFuzzer. A function that panics, hangs or crashes has found something.

mod handshake;
mod input;
mod memory;
mod packet;
mod pipe_ring;
mod raw;
mod stream;

pub use handshake::{handshake, handshake_seeds};
pub use memory::{ring, ring_seeds, shelf, shelf_seeds};
pub use packet::{packet, packet_seeds};
pub use pipe_ring::{pipe_ring, pipe_ring_seeds};
pub use stream::{stream, stream_seeds};

use crate::random::Random;

/// One place where bytes come in.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its seeds' folder and of its program in `fuzz/`.
    pub name: &'static str,
    /// Takes bytes in.
    pub run: fn(&[u8]),
    /// What an honest process could send, and some of what it would not.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "packet", run: packet, seeds: packet_seeds },
    Target { name: "stream", run: stream, seeds: stream_seeds },
    Target { name: "handshake", run: handshake, seeds: handshake_seeds },
    Target { name: "pipe_ring", run: pipe_ring, seeds: pipe_ring_seeds },
    Target { name: "ring", run: ring, seeds: ring_seeds },
    Target { name: "shelf", run: shelf, seeds: shelf_seeds },
];

/// Changes bytes a little: what a fuzzer does that knows nothing of the code.
#[must_use]
pub fn mutate(seed: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    const TELLING: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xa5, 0xfe, 0xff];
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        match random.below(8) {
            0 => bytes.insert(at, random.draw() as u8),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.truncate(at.max(1)),
            3 => {
                let from = random.below(other.len() as u64 + 1) as usize;
                let piece: Vec<u8> = other[from..].iter().take(40).copied().collect();
                bytes.splice(at..at, piece);
            }
            4 => {
                for byte in bytes.iter_mut().skip(at).take(8) {
                    *byte = TELLING[random.below(8) as usize];
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
        bytes.truncate(4096);
    }
    bytes
}
