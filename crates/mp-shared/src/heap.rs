#![doc = include_str!("heap/README.md")]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{array, mem};

use crate::Error;
use crate::fork::{self, Forks, Own};
use crate::segment::Segment;

/// The kind of the segments that hold objects.
pub(crate) const SEGMENT_KIND: u32 = u32::from_le_bytes(*b"objs");

/// What is larger has a segment of its own.
const SMALL: usize = 2048;

/// How much memory small objects share.
const SEGMENT_LEN: usize = 64 << 10;

/// Places begin at multiples of this, and so have cache lines of their own.
pub(crate) const LINE: usize = 64;

/// What one object has of a segment.
#[derive(Debug)]
pub(crate) struct Place {
    segment: Segment,
    offset: usize,
    len: usize,
    generation: u64,
    forks: Forks,
    /// Somebody else may have seen it, or will yet use it.
    retired: AtomicBool,
}

struct Heap {
    /// The segment that is being filled, and how far it is.
    open: Option<(Segment, usize)>,
    /// Places to be used again, by length in lines.
    free: [Vec<(Segment, usize)>; SMALL / LINE + 1],
}

static HEAP: Own<Mutex<Heap>> =
    Own::new(|| Mutex::new(Heap { open: None, free: array::from_fn(|_| Vec::new()) }));

fn heap() -> MutexGuard<'static, Heap> {
    // Whoever panicked with it did so before or after a change, not within.
    HEAP.get().lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    /// Finds a place of `len` bytes, all zero: in a segment that it shares, or has alone if it is large.
    pub(crate) fn new(len: usize) -> Result<Self, Error> {
        let of = |segment, offset, len| Self::of(segment, offset, len, Forks::count());
        if len > SMALL {
            return Self::alone(len);
        }
        let len = len.next_multiple_of(LINE);
        let mut heap = heap();
        if let Some((segment, offset)) = heap.free[len / LINE].pop() {
            drop(heap);
            segment.copy_in(offset, &[0; SMALL][..len])?;
            return Ok(of(segment, offset, len));
        }
        if let Some((segment, used)) = &mut heap.open
            && *used + len <= SEGMENT_LEN
        {
            let offset = mem::replace(used, *used + len);
            return Ok(of(segment.clone(), offset, len));
        }
        let segment = Segment::create(SEGMENT_KIND, SEGMENT_LEN)?;
        let full = heap.open.replace((segment.clone(), len));
        drop(heap);
        drop(full);
        Ok(of(segment, 0, len))
    }

    /// A segment of its own.
    pub(crate) fn alone(len: usize) -> Result<Self, Error> {
        let place = Self::of(Segment::create(SEGMENT_KIND, len)?, 0, len, Forks::count());
        place.retire();
        Ok(place)
    }

    fn of(segment: Segment, offset: usize, len: usize, forks: Forks) -> Self {
        let (generation, retired) = (fork::generation(), AtomicBool::new(false));
        Self { segment, offset, len, generation, forks, retired }
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Declares that it must not be used again.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let ours = !self.retired.load(Relaxed)
            && self.generation == fork::generation()
            && self.forks.none_since();
        if ours {
            heap().free[self.len / LINE].push((self.segment.clone(), self.offset));
        }
    }
}

/// Of objects that were received there is no place, since it is not theirs to give back.
pub(crate) type SharedPlace = Option<Arc<Place>>;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::testing::fork;
    use crate::{Lock, Value};

    /// Lengths that no object of other tests has.
    const LEN: usize = 1920;

    #[test]
    fn many_share_a_segment() {
        let places: Vec<Place> = (0..1000).map(|_| Place::new(100).unwrap()).collect();
        let mut segments: Vec<u128> = places.iter().map(|place| place.segment.id()).collect();
        segments.sort_unstable();
        segments.dedup();
        assert!(segments.len() <= 4, "{}", segments.len());
        let mut at: Vec<_> =
            places.iter().map(|place| (place.segment.id(), place.offset)).collect();
        at.sort_unstable();
        at.dedup();
        assert_eq!(at.len(), 1000);
    }

    #[test]
    fn a_thousand_values_do_not_cost_a_thousand_descriptors() {
        // In a process of its own, as other tests open files.
        fork(|| {
            let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
            let before = open();
            let values: Vec<Value<u64>> = (0..1000).map(|n| Value::new(n).unwrap()).collect();
            let locks: Vec<Lock> = (0..1000).map(|_| Lock::new().unwrap()).collect();
            let held = open() - before;
            // 192 bytes each, in segments of 64 KiB.
            let few = held <= 8;
            let whole =
                values.iter().enumerate().all(|(n, value)| value.get().unwrap() == n as u64);
            drop((values, locks));
            few && whole
        })
        .succeed();
    }

    /// VA-12: what gives memory back is called at any time, also by a thread that ends, or while another value is being made.
    #[test]
    fn dropping_in_a_destructor_does_not_deadlock() {
        struct Last(Vec<Value<u64>>);

        impl Drop for Last {
            fn drop(&mut self) {
                let another = Value::new(self.0.len() as u64).unwrap();
                self.0.push(another);
                self.0.clear();
            }
        }

        thread_local! {
            static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
        }

        let threads = [(); 4].map(|()| {
            std::thread::spawn(|| {
                let values = (0..100).map(|n| Value::new(n).unwrap()).collect();
                LAST.set(Some(Last(values)));
                // One goes in the middle of the initial value of another one.
                Value::new(*Value::new(7_u64).unwrap().lock().unwrap()).unwrap().get().unwrap()
            })
        });
        for thread in threads {
            assert_eq!(thread.join().unwrap(), 7);
        }
    }

    #[test]
    fn what_nobody_saw_is_used_again_and_zero() {
        loop {
            let place = Place::new(LEN).unwrap();
            place.segment.copy_in(place.offset, &[7; LEN]).unwrap();
            let (id, offset, forks) = (place.segment.id(), place.offset, place.forks);
            drop(place);
            let again = Place::new(LEN).unwrap();
            // Other tests fork meanwhile.
            if !forks.none_since() {
                continue;
            }
            assert_eq!((again.segment.id(), again.offset), (id, offset));
            let mut bytes = [1; LEN];
            again.segment.copy_out(again.offset, &mut bytes).unwrap();
            assert_eq!(bytes, [0; LEN]);
            return;
        }
    }

    #[test]
    fn what_was_seen_is_not() {
        let place = Place::new(LEN - 64).unwrap();
        let at = (place.segment.id(), place.offset);
        fork(|| {
            // The copy has a heap of its own.
            let other = Place::new(LEN - 64).unwrap();
            other.segment.id() != at.0
        })
        .succeed();
        drop(place);
        let retired = Place::new(LEN - 64).unwrap();
        let second = (retired.segment.id(), retired.offset);
        assert_ne!(second, at);
        retired.retire();
        drop(retired);
        let third = Place::new(LEN - 64).unwrap();
        assert_ne!((third.segment.id(), third.offset), second);
    }

    #[test]
    fn a_segment_goes_with_its_last_place() {
        // More than a segment holds, so that the first is full.
        let places: Vec<Place> = (0..SEGMENT_LEN / SMALL + 1)
            .map(|_| Place::new(SMALL).unwrap())
            .inspect(Place::retire)
            .collect();
        let first = places[0].segment.fd().clone();
        let key = |place: &Place| place.segment.id();
        assert!(places.iter().any(|place| key(place) != key(&places[0])));
        drop(places);
        assert!(first.into_owned().is_ok());
    }
}
