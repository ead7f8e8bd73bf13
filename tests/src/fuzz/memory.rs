//! Words in the memory of a queue, from somebody who has it: in the header of a ring or a shelf, and behind it.

use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use mp_shared::ring::Ring;
use mp_shared::segment::Segment;
use mp_shared::shelf::{Mode, Order, Orphans, Shelf};
use mp_wire::Deadline;

use super::input::Input;

/// The smallest ring, and the smallest shelf.
const RESERVE: usize = 1 << 20;

/// Where the locks of a ring lie, and those of a shelf: for those alone anybody could wait for ever.
const RING_LOCKS: [Range<usize>; 2] = [192..256, 576..640];
const SHELF_LOCKS: [Range<usize>; 3] = [192..256, 320..384, 448..512];

/// The header of either, as its handles saw it when they were made, begins here.
const HEADER: usize = 64;

/// What is written in front of, and what of each part behind.
const FRONT: usize = 4096 - 64;
const PART: usize = 32 << 10;

/// Writes one word: in the header if the place is there, else at the beginning of one of the first parts.
fn poke(memory: &Segment, locks: &[Range<usize>], way: u8, input: &mut Input<'_>) {
    let place = usize::from(input.short());
    let at = if place < 0xc000 {
        HEADER + place % (FRONT - HEADER)
    } else {
        (1 + place / 512 % 16) * PART - 64 + place % 512
    } / 8
        * 8;
    if locks.iter().any(|lock| lock.contains(&at)) {
        return;
    }
    let word = memory.atomic_u64(at).expect("a word within the memory");
    match way % 4 {
        0 => word.store(input.long(), Relaxed),
        1 => drop(word.fetch_xor(1 << (input.byte() % 64), Relaxed)),
        2 => drop(word.fetch_add(1 << (input.byte() % 64), Relaxed)),
        _ => word.store(0, Relaxed),
    }
}

fn item(input: &mut Input<'_>) -> Vec<u8> {
    vec![7; [0, 8, 300, 20_000][usize::from(input.byte() % 4)]]
}

/// A ring goes on, by an old handle and by new ones, while somebody writes into its memory.
///
/// # Panics
///
/// A record is longer than any that could be put.
pub fn ring(bytes: &[u8]) {
    let mut input = Input(bytes);
    let capacity = usize::from(input.byte() % 4);
    let ring = Ring::builder().capacity(capacity).reserve(RESERVE).build().expect("a ring");
    let mut other = ring.clone();
    let mut taken = Vec::new();
    for _ in 0..200 {
        if input.is_empty() {
            break;
        }
        let way = input.byte();
        match way % 12 {
            0..4 => poke(ring.segment(), &RING_LOCKS, way, &mut input),
            4 | 5 => drop(ring.put(1, &[&item(&mut input)], Deadline::NOW)),
            6 => {
                let many = [(0, &b"one"[..]), (2, b"two"), (0, &[3; 900])];
                let _ = other.put_many(&many, Deadline::NOW);
            }
            7 | 8 => drop(other.get(&mut taken, Deadline::NOW)),
            9 => {
                let _ = other.get_many_if(&mut taken, &mut Vec::new(), 9, Deadline::NOW, |_| true);
            }
            10 => {
                if let Ok(mut room) = ring.reserve(0, 100, Deadline::NOW) {
                    room.fill(1);
                    let _ = room.commit();
                }
                if let Ok(lent) = ring.lend(Deadline::NOW) {
                    taken.clear();
                    taken.extend_from_slice(&lent);
                }
            }
            _ => {
                let _ = (ring.len(), ring.bytes(), ring.is_full(), ring.is_closed());
                // As another process would take it.
                let message = mp_wire::encode(&ring).expect("a ring travels");
                if let Ok(again) = message.decode() {
                    other = again;
                }
                if way > 250 {
                    ring.close();
                }
            }
        }
        assert!(taken.len() <= RESERVE, "a record of {} bytes", taken.len());
    }
}

/// A shelf goes on while somebody writes into its memory.
///
/// # Panics
///
/// An item is longer than any that could be put.
pub fn shelf(bytes: &[u8]) {
    let mut input = Input(bytes);
    let order = [Order::Fifo, Order::Lifo, Order::Priority][usize::from(input.byte() % 3)];
    let orphans = [Orphans::GiveOutAgain, Orphans::Report][usize::from(input.byte() % 2)];
    let shelf = Shelf::builder(order).orphans(orphans).reserve(RESERVE).build().expect("a shelf");
    let mut other = shelf.clone();
    let (mut taken, mut leases) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        if input.is_empty() {
            break;
        }
        let way = input.byte();
        match way % 12 {
            0..4 => poke(shelf.segment(), &SHELF_LOCKS, way, &mut input),
            4 | 5 => {
                let priority = i64::from(input.byte());
                let _ = shelf.put(priority, &[&item(&mut input)], Deadline::NOW);
            }
            6 | 7 => drop(other.get(&mut taken, Deadline::NOW)),
            8 | 9 => {
                let hook = |_| Ok::<(), std::convert::Infallible>(());
                let mode = if way < 128 { Mode::Lease } else { Mode::LeaseOfAll };
                let got = other.get_around(&mut taken, Deadline::NOW, mode, hook, |()| ());
                leases.extend(got.ok().and_then(|(taken, ())| taken.lease));
            }
            10 => match (way / 12 % 4, leases.pop()) {
                (0, Some(lease)) => drop(shelf.finish(lease)),
                (1, Some(lease)) => drop(shelf.put_back(lease)),
                (2, _) => drop(shelf.finish_any()),
                _ => drop(shelf.take_lost(&mut taken)),
            },
            _ => {
                let _ = (shelf.len(), shelf.bytes(), shelf.unfinished(), shelf.lost());
                let _ = shelf.join(Deadline::NOW);
                let message = mp_wire::encode(&shelf).expect("a shelf travels");
                if let Ok(again) = message.decode() {
                    other = again;
                }
                if way > 250 {
                    shelf.close();
                }
            }
        }
        assert!(taken.len() <= RESERVE, "an item of {} bytes", taken.len());
    }
}

/// Traffic, with a word here and there.
fn seeds(head: &[u8], traffic: &[u8], places: &[u16]) -> Vec<Vec<u8>> {
    let mut seeds = vec![[head, traffic, traffic].concat()];
    for place in places {
        let [low, high] = place.to_le_bytes();
        let mut seed = [head, traffic].concat();
        seed.extend([1, low, high, 34]);
        seed.extend(traffic);
        seed.extend([0, low, high, 255, 255, 255, 255, 255, 255, 255, 255]);
        seed.extend(traffic);
        seed.extend([3, low, high]);
        seed.extend(traffic);
        seeds.push(seed);
    }
    seeds
}

/// The words of both sides, the path, and the heads of the first records.
#[must_use]
pub fn ring_seeds() -> Vec<Vec<u8>> {
    let traffic = [4, 1, 6, 4, 3, 5, 2, 4, 3, 7, 9, 10, 11, 8, 7];
    let of = [0, 24, 256, 264, 384, 400, 440, 640, 648, 768, 776, 800, 896, 0xc000, 0xc010, 0xc200];
    seeds(&[0], &traffic, &of)
}

/// The words, the journal, the state, the heap, the list, and the heads of the first blocks.
#[must_use]
pub fn shelf_seeds() -> Vec<Vec<u8>> {
    let traffic = [4, 5, 1, 4, 3, 2, 5, 4, 3, 8, 6, 11, 9, 10, 22, 34, 7];
    let of = [
        0, 32, 512, 640, 768, 776, 784, 2432, 2440, 2448, 2496, 2700, 2944, 0xc000, 0xc010, 0xc200,
        0xc400, 0xc430,
    ];
    let mut all = seeds(&[0, 0], &traffic, &of);
    all.extend(seeds(&[2, 1], &traffic, &of[..8]));
    all
}
