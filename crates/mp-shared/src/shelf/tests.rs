use std::collections::BTreeSet;

use super::*;
use crate::testing::fork;

fn shelf(order: Order) -> Shelf {
    Shelf::builder(order).build().unwrap()
}

fn put(shelf: &Shelf, priority: i64, id: u64) {
    shelf.put(priority, &[&id.to_ne_bytes()], Deadline::NOW).unwrap();
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes.try_into().unwrap())
}

fn get(shelf: &Shelf) -> Option<u64> {
    let mut bytes = Vec::new();
    match shelf.get(&mut bytes, Deadline::NOW) {
        Ok(_) => Some(number(&bytes)),
        Err(GetError::Empty | GetError::Closed) => None,
        Err(error) => panic!("{error:?}"),
    }
}

fn lease(shelf: &Shelf) -> Option<(u64, Lease)> {
    let mut bytes = Vec::new();
    let hook = |_| Ok::<(), Infallible>(());
    let taken = shelf.get_around(&mut bytes, Deadline::NOW, Mode::Lease, hook, |()| ());
    taken.ok().map(|(taken, ())| (number(&bytes), taken.lease.unwrap()))
}

#[test]
fn order() {
    let orders = [Order::Fifo, Order::Lifo, Order::Priority].map(|order| {
        let shelf = shelf(order);
        for (priority, id) in [(3, 0), (1, 1), (2, 2), (1, 3), (i64::MIN, 4), (i64::MAX, 5)] {
            put(&shelf, priority, id);
        }
        std::iter::from_fn(|| get(&shelf)).collect::<Vec<_>>()
    });
    assert_eq!(orders, [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [4, 1, 3, 2, 0, 5]]);
}

/// Against a model: puts and gets of many sizes and priorities, with what is out given back or done.
#[test]
fn it_does_what_an_ordered_set_does() {
    let shelf = shelf(Order::Priority);
    let (mut model, mut out) = (BTreeSet::new(), Vec::new());
    let mut random = 1_u64;
    let mut next = |below: u64| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut bytes = Vec::new();
    let hook = |_| Ok::<(), Infallible>(());
    for sequence in 0..20_000_u64 {
        let priority = next(50) as i64 - 25;
        let mut item = sequence.to_ne_bytes().to_vec();
        item.resize(8 + next(300) as usize, 7);
        shelf.put(priority, &[&item], Deadline::NOW).unwrap();
        model.insert((priority, sequence));
        for _ in 0..next(3) {
            let Some((priority, sequence)) = model.pop_first() else { break };
            let mode = if next(2) == 0 { Mode::Away } else { Mode::Lease };
            let (taken, ()) =
                shelf.get_around(&mut bytes, Deadline::NOW, mode, hook, |()| ()).unwrap();
            assert_eq!((taken.priority, taken.item.sequence), (priority, sequence));
            assert_eq!(number(&bytes[..8]), sequence);
            out.extend(taken.lease.map(|lease| (priority, sequence, lease)));
        }
        if !out.is_empty() && next(2) == 0 {
            let (priority, sequence, lease) = out.swap_remove(next(out.len() as u64) as usize);
            if next(2) == 0 {
                shelf.put_back(lease).unwrap();
                model.insert((priority, sequence));
            } else {
                shelf.finish(lease).unwrap();
            }
            assert!(shelf.finish(lease).is_err() && shelf.put_back(lease).is_err());
        }
        assert_eq!(shelf.len().unwrap(), model.len());
        assert_eq!(shelf.unfinished().unwrap(), model.len() + out.len());
    }
}

#[test]
fn what_has_begun_is_finished_by_the_next_one() {
    let shelf = shelf(Order::Fifo);
    put(&shelf, 0, 1);
    // As if killed right after the commit: the word has counted, nothing has been done.
    let held = shelf.lock(Deadline::NOW).unwrap();
    let mut change = Change::new(&shelf);
    held.pop(&mut change, 1).unwrap();
    change.state(ITEMS, 0).unwrap();
    // (Dropped, it is as if it had not been.)
    shelf.header.journal.set_len_for_test(1);
    shelf.header.items.0.commit();
    drop(held);
    assert!(shelf.header.journal.is_pending(&shelf));
    assert!(shelf.is_empty().unwrap() && get(&shelf).is_none());
    assert!(!shelf.header.journal.is_pending(&shelf));
}

#[test]
fn what_the_dead_had_is_given_out_again_in_order() {
    let shelf = shelf(Order::Fifo);
    for id in 1..=4 {
        put(&shelf, 0, id);
    }
    let child = shelf.clone();
    fork(|| {
        lease(&child).is_some() && lease(&child).is_some() && {
            let (third, lease) = lease(&child).unwrap();
            child.finish(lease).unwrap();
            third == 3
        }
    })
    .succeed();
    assert_eq!((shelf.len().unwrap(), shelf.unfinished().unwrap()), (1, 3));
    assert_eq!(get(&shelf), Some(4));
    let (first, again) = lease(&shelf).unwrap();
    assert_eq!((first, again.attempt()), (1, 2));
    shelf.finish(again).unwrap();
    assert_eq!(lease(&shelf).map(|(id, _)| id), Some(2));
    shelf.finish_any().unwrap();
    assert!(shelf.finish_any().is_err());
    assert!(shelf.join(Deadline::NOW).unwrap());
}

#[test]
fn what_the_dead_had_is_reported() {
    let shelf = Shelf::builder(Order::Fifo).orphans(Orphans::Report).build().unwrap();
    put(&shelf, 0, 1);
    put(&shelf, 0, 2);
    let child = shelf.clone();
    fork(|| lease(&child).is_some()).succeed();
    let (second, mine) = lease(&shelf).unwrap();
    assert_eq!(second, 2);
    assert!(!shelf.join(Deadline::after(Duration::from_millis(1))).unwrap());
    shelf.finish(mine).unwrap();
    assert!(shelf.join(Deadline::NEVER).unwrap());
    assert_eq!(shelf.lost().unwrap(), 1);
    let mut bytes = Vec::new();
    shelf.take_lost(&mut bytes).unwrap();
    assert_eq!(number(&bytes), 1);
    assert!(matches!(shelf.take_lost(&mut bytes), Err(GetError::Empty)));
}

#[test]
fn a_closed_shelf_ends_when_nothing_can_come_back() {
    let shelf = shelf(Order::Fifo);
    put(&shelf, 0, 1);
    shelf.close();
    let hook = |_| Ok::<(), Infallible>(());
    let get = move |shelf: &Shelf, bytes: &mut Vec<u8>| {
        shelf.get_around(bytes, Deadline::NEVER, Mode::LeaseOfAll, hook, |()| ()).map(|it| it.0)
    };
    let mut bytes = Vec::new();
    let mine = get(&shelf, &mut bytes).unwrap().lease.unwrap();
    let other = {
        let shelf = shelf.clone();
        std::thread::spawn(move || get(&shelf, &mut Vec::new()).map(|taken| taken.lease.unwrap()))
    };
    while !shelf.header.items.0.has_sleepers() {
        std::thread::yield_now();
    }
    shelf.put_back(mine).unwrap();
    let again = other.join().unwrap().unwrap();
    // Any thread of the process may say so.
    shelf.finish(again).unwrap();
    assert!(matches!(get(&shelf, &mut bytes), Err(GetError::Closed)));
}

#[test]
fn memory_follows_the_backlog() {
    let shelf = shelf(Order::Priority);
    let idle = shelf.segment().resident().unwrap();
    assert!(idle <= 8 << 10, "{idle}");
    let large = vec![7_u8; 1 << 20];
    let mut bytes = Vec::new();
    for _ in 0..2 {
        for id in 0..40_000 {
            shelf.put(0, &[&[id as u8; 500]], Deadline::NOW).unwrap();
        }
        for _ in 0..20 {
            shelf.put(-1, &[&large], Deadline::NOW).unwrap();
        }
        assert!(shelf.segment().resident().unwrap() > 60 << 20);
        for _ in 0..20 {
            shelf.get(&mut bytes, Deadline::NOW).unwrap();
            assert!(bytes == large);
        }
        assert!(shelf.segment().resident().unwrap() < 50 << 20);
        for id in 0..40_000 {
            shelf.get(&mut bytes, Deadline::NOW).unwrap();
            assert_eq!(bytes, [id as u8; 500]);
        }
        let resident = shelf.segment().resident().unwrap();
        assert!(resident < 1 << 20, "{resident}");
    }
}

#[test]
fn capacity() {
    let shelf = Shelf::builder(Order::Lifo).capacity(2).byte_capacity(20).build().unwrap();
    put(&shelf, 0, 1);
    assert!(!shelf.is_full().unwrap());
    assert!(matches!(shelf.put(0, &[&[0; 13]], Deadline::NOW), Err(PutError::Full)));
    assert!(matches!(shelf.put(0, &[&[0; 21]], Deadline::NOW), Err(PutError::TooLarge)));
    put(&shelf, 0, 2);
    assert!(shelf.is_full().unwrap());
    assert!(matches!(shelf.put(0, &[], Deadline::NOW), Err(PutError::Full)));
    assert_eq!((shelf.bytes().unwrap(), get(&shelf)), (16, Some(2)));
}

#[test]
fn a_small_shelf_uses_larger_blocks_and_then_says_that_it_is_full() {
    let shelf = Shelf::builder(Order::Fifo).reserve(0).build().unwrap();
    let mut count = 0;
    let error = loop {
        match shelf.put(0, &[&[count as u8; 64]], Deadline::NOW) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, PutError::Failed(error) if error.kind() == ErrorKind::Exhausted));
    assert!(count > 256, "{count}");
    let mut bytes = Vec::new();
    for id in 0..count {
        shelf.get(&mut bytes, Deadline::NOW).unwrap();
        assert_eq!(bytes, [id as u8; 64]);
    }
    put(&shelf, 0, 5);
    assert_eq!(get(&shelf), Some(5));
}

/// A peer that writes anything anywhere makes errors, and wrong bytes, and no more.
#[test]
fn hostile_bytes() {
    let mut random = 7_u64;
    let mut next = move || {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 20
    };
    for round in 0..2_000 {
        let shelf = Shelf::builder(Order::Priority).reserve(0).build().unwrap();
        for id in 0..8 {
            put(&shelf, next() as i64, id);
        }
        let _ = lease(&shelf);
        for _ in 0..1 + round % 20 {
            // Not the locks: whoever breaks those makes others wait, which deadlines bound.
            let places = [shelf.header.journal.words_for_test(), &shelf.header.state.0[..]];
            let words = places[next() as usize % 2];
            words[next() as usize % words.len()].store(next() << (next() % 40), Ordering::Relaxed);
            let at = shelf.parts.start(1 + next() as usize % 5) + (next() as usize % 64) * 8;
            shelf.segment.atomic_u64(at).unwrap().store(next(), Ordering::Relaxed);
        }
        if next() % 2 == 0 {
            shelf.header.items.0.commit();
        }
        let mut bytes = Vec::new();
        for _ in 0..20 {
            let _ = shelf.get(&mut bytes, Deadline::NOW);
            let _ = shelf.put(0, &[&[1; 30]], Deadline::NOW);
            // A number of leases that lies takes long to look through, so ask for nothing of those here.
            let _ = (shelf.len(), shelf.bytes());
        }
    }
}
