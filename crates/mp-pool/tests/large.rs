//! Large arguments and results: right whatever their size and type, whoever dies with them, and nothing of them stays.
#![allow(clippy::unwrap_used, reason = "what fails in a test is to panic")]

mod common;

use std::fs;
use std::time::Duration;

use common::guarded;
use mp_pool::{Death, Pool, Retry, TaskError, ThreadPool};

const MIB: usize = 1 << 20;

/// Differs from place to place, and from one seed to another.
fn bytes(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 251) as u8 ^ at as u8 ^ seed).collect()
}

fn floats(seed: u8, len: usize) -> Vec<f64> {
    (0..len).map(|at| at as f64 + f64::from(seed)).collect()
}

fn same<T>(value: T) -> T {
    value
}

fn check(seed: u8, len: usize, value: &[u8]) -> bool {
    value == bytes(seed, len)
}

/// Sizes on both sides of what is large, and beyond what a ring keeps.
const SIZES: [usize; 5] = [MIB / 2 - 1, MIB / 2, MIB, 5 * MIB + 3, 40 * MIB];

#[test]
fn values_of_any_size_come_back() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        for len in SIZES {
            let value = bytes(1, len);
            assert!(pool.apply(same::<Vec<u8>>, (value.clone(),)).unwrap() == value);
            let value = floats(2, len / 8);
            assert!(pool.apply(same::<Vec<f64>>, (value.clone(),)).unwrap() == value);
            // Of no plain type: encoded, and large.
            let value = (String::from("name"), vec![Some(7_u16); len / 4]);
            assert!(
                pool.apply(same::<(String, Vec<Option<u16>>)>, (value.clone(),)).unwrap() == value
            );
            let text = "x".repeat(len);
            assert!(pool.apply(str_len, (text,)).unwrap() == len);
        }
    });
}

fn str_len(text: String) -> usize {
    text.len()
}

#[test]
fn all_backends_do_the_same() {
    guarded(|| {
        let threads = ThreadPool::new(2).unwrap();
        let inline = Pool::builder().backend(mp_pool::Backend::Inline).build().unwrap();
        for len in [MIB, 3 * MIB] {
            let value = bytes(3, len);
            assert!(threads.apply(same::<Vec<u8>>, (value.clone(),)).unwrap() == value);
            assert!(inline.apply(same::<Vec<u8>>, (value.clone(),)).unwrap() == value);
        }
    });
}

type Several = (u64, Vec<f64>, String, Vec<u8>, Vec<Vec<f32>>);

fn several(id: u64, row: Vec<f64>, name: String, data: Vec<u8>, rest: Vec<Vec<f32>>) -> Several {
    (id, row, name, data, rest)
}

#[test]
fn several_arguments_of_any_size_come_back() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        for len in SIZES {
            let rest = vec![vec![1.5; len / 40]; 10];
            let args = (7, floats(1, len / 8), "name".to_owned(), bytes(2, len), rest);
            assert!(pool.apply(several, args.clone()).unwrap() == args);
            let row = pool.apply(|_: u64, row: Vec<f64>| row, (7, args.1.clone())).unwrap();
            assert!(row == args.1);
        }
        let all: Vec<_> = (0..20).map(|seed| (u64::from(seed), bytes(seed, MIB))).collect();
        for chunk in [1, 7] {
            let input = all.clone();
            let back = pool.chunk_size(chunk).starmap(|id: u64, data: Vec<u8>| (id, data), input);
            assert!(back.unwrap() == all);
        }
    });
}

/// More than are lent at a time, all unread until the last is there.
#[test]
fn many_at_once() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        let values: Vec<_> = (0..40).map(|seed| bytes(seed, MIB)).collect();
        for chunk in [1, 7] {
            let results = pool.chunk_size(chunk).map(same::<Vec<u8>>, values.clone()).unwrap();
            assert!(results == values);
        }
        let results = pool.imap_unordered(same::<Vec<u8>>, values.clone());
        let mut seeds: Vec<u8> = results.map(|value| value.unwrap()[0]).collect();
        seeds.sort_unstable();
        assert_eq!(seeds, (0..40).collect::<Vec<u8>>());
    });
}

#[test]
fn shared_data_of_any_size() {
    guarded(|| {
        let pool = Pool::new(2).unwrap();
        for len in [0, 1, 5000, MIB, 20 * MIB] {
            let data = floats(1, len / 8);
            let sums =
                pool.map_with(&data, |data: &Vec<f64>, at: usize| data.get(at).copied(), 0..3);
            assert_eq!(sums.unwrap(), (0..3).map(|at| data.get(at).copied()).collect::<Vec<_>>());
            let text = "y".repeat(len);
            let lens = pool.map_with(&text, |text: &String, _: u8| text.len(), [0, 0]).unwrap();
            assert_eq!(lens, [len, len]);
        }
    });
}

fn die_once(flag: mp_shared::AtomicValue<bool>, value: Vec<u8>) -> Vec<u8> {
    if !flag.swap(true) {
        std::process::abort();
    }
    value
}

/// What a worker died with is whole for the next one, and its memory is not given to others before.
#[test]
fn a_worker_that_dies_leaves_the_value_to_the_next() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        for len in [MIB, 10 * MIB] {
            let value = bytes(4, len);
            let flag = mp_shared::AtomicValue::new(false).unwrap();
            let retried =
                pool.retry(Retry::times(2)).apply_async(die_once, (flag, value.clone())).unwrap();
            let others: Vec<_> = (10..14).map(|seed| (seed, MIB, bytes(seed, MIB))).collect();
            let checked =
                pool.starmap(|seed, len, value: Vec<u8>| check(seed, len, &value), others);
            assert_eq!(checked.unwrap(), [true; 4]);
            assert!(retried.get().unwrap() == value);
            let dead = pool.apply(|_: Vec<u8>| -> u8 { std::process::exit(3) }, (value,));
            assert!(matches!(dead, Err(TaskError::Died { death: Death::Exited(3), .. })));
        }
    });
}

fn mappings() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    // Those of rings and the like are either much smaller or much larger.
    let size = |line: &str| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        number(end) - number(start)
    };
    maps.lines()
        .filter(|line| line.contains("memfd"))
        .filter(|line| (7 * MIB..9 * MIB).contains(&size(line)))
        .count()
}

fn worker_mappings(_: u8) -> usize {
    mappings()
}

/// Results that are dropped unread, and all else: after a while without work neither side has any of their memory.
#[test]
fn the_memory_is_given_back() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        for seed in 0..10 {
            drop(pool.apply_async(same::<Vec<u8>>, (bytes(seed, 7 * MIB),)).unwrap());
        }
        assert!(pool.apply(same::<Vec<u8>>, (bytes(9, 7 * MIB),)).unwrap() == bytes(9, 7 * MIB));
        while mappings() > 0 || pool.apply(worker_mappings, (0,)).unwrap() > 0 {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(pool.apply(same::<Vec<u8>>, (bytes(9, 7 * MIB),)).unwrap() == bytes(9, 7 * MIB));
    });
}

fn touch(array: mp_shared::Array<u8>) -> u8 {
    array.lock().unwrap()[5]
}

/// What a worker keeps mapped for its next task is gone after the one after that.
#[test]
fn arrays_stay_for_one_task_more() {
    guarded(|| {
        let pool = Pool::new(1).unwrap();
        let array = mp_shared::Array::<u8>::new(8 * MIB).unwrap();
        for _ in 0..3 {
            assert_eq!(pool.apply(touch, (array.clone(),)).unwrap(), 0);
        }
        pool.apply(worker_mappings, (0,)).unwrap();
        assert_eq!(pool.apply(worker_mappings, (0,)).unwrap(), 0);
    });
}
