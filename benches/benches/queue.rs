//! Queues between processes, beside a channel between threads.
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on has nothing to measure")]

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use multiproc::queue::{BytesQueue, PlainQueue};
use multiproc::{JoinableQueue, PriorityQueue, Process, Queue};

type Item = [u64; 8];

/// Puts and gets in one process: the cost of the protocol with nobody else there.
fn alone(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue/put_get_alone");
    let queue = Queue::<Item>::new().expect("a queue");
    group.bench_function("queue", |b| {
        b.iter(|| {
            queue.put(black_box(&[7; 8])).expect("put");
            queue.get().expect("get")
        })
    });
    let queue = PlainQueue::<Item>::new().expect("a queue");
    group.bench_function("plain", |b| {
        b.iter(|| {
            queue.put(black_box(&[7; 8])).expect("put");
            queue.get().expect("get")
        })
    });
    let queue = JoinableQueue::<Item>::new().expect("a queue");
    group.bench_function("joinable", |b| {
        b.iter(|| {
            queue.put(black_box(&[7; 8])).expect("put");
            queue.take().expect("take").done().expect("it is ours")
        })
    });
    let queue = PriorityQueue::<Item>::new().expect("a queue");
    group.bench_function("priority", |b| {
        b.iter(|| {
            queue.put(0, black_box(&[7; 8])).expect("put");
            queue.get().expect("get")
        })
    });
    for number in 0..100_000 {
        queue.put(number % 100 - 50, &[7; 8]).expect("put");
    }
    let mut number = 0;
    group.bench_function("priority_of_100000", |b| {
        b.iter(|| {
            number += 1;
            queue.put(number * 7 % 100 - 50, black_box(&[7; 8])).expect("put");
            queue.get().expect("get")
        })
    });
    let (send, receive) = crossbeam_channel::unbounded::<Item>();
    group.bench_function("peer/crossbeam", |b| {
        b.iter(|| {
            send.send(black_box([7; 8])).expect("send");
            receive.recv().expect("receive")
        })
    });
    group.finish();
}

fn echo(inbox: Queue<Item>, outbox: Queue<Item>) {
    while let Ok(item) = inbox.get() {
        if outbox.put(&item).is_err() {
            break;
        }
    }
}

/// There and back again, between two that are both at it.
fn round_trip(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue/round_trip");
    let (there, back) = (Queue::new().expect("a queue"), Queue::new().expect("a queue"));
    let child = Process::new(echo, (there.clone(), back.clone())).start().expect("a child");
    group.bench_function("queue", |b| {
        b.iter(|| {
            there.put(&[7; 8]).expect("put");
            back.get().expect("get")
        })
    });
    there.close();
    child.join().expect("the child ends");

    let (there, inbox) = crossbeam_channel::unbounded::<Item>();
    let (outbox, back) = crossbeam_channel::unbounded::<Item>();
    let peer = thread::spawn(move || inbox.iter().all(|item| outbox.send(item).is_ok()));
    group.bench_function("peer/crossbeam_threads", |b| {
        b.iter(|| {
            there.send([7; 8]).expect("send");
            back.recv().expect("receive")
        })
    });
    drop(there);
    peer.join().expect("the peer ends");
    group.finish();
}

/// Answers each number with as many items.
fn produce(orders: Queue<u64>, queue: Queue<Item>) {
    while let Ok(count) = orders.get() {
        for number in 0..count {
            if queue.put(&[number; 8]).is_err() {
                return;
            }
        }
    }
}

/// As [`produce`], of plain data.
fn produce_plain(orders: Queue<u64>, queue: PlainQueue<Item>) {
    while let Ok(count) = orders.get() {
        for number in 0..count {
            if queue.put(&[number; 8]).is_err() {
                return;
            }
        }
    }
}

/// As [`produce`], with a mark behind the items.
fn produce_marked(orders: Queue<u64>, queue: Queue<Item>) {
    while let Ok(count) = orders.get() {
        let mut items = (0..count).chain([u64::MAX]);
        if !items.all(|number| queue.put(&[number; 8]).is_ok()) {
            return;
        }
    }
}

/// Takes items until the queue is closed, and says when it sees a mark.
fn consume(queue: Queue<Item>, done: Queue<u64>) {
    while let Ok(item) = queue.get() {
        if item == [u64::MAX; 8] && done.put(&1).is_err() {
            return;
        }
    }
}

/// One producer, one consumer, 64-byte items: time for an item.
fn stream(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue/stream_64B");
    group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(3));
    let (orders, queue) = (Queue::new().expect("a queue"), Queue::new().expect("a queue"));
    let child = Process::new(produce, (orders.clone(), queue.clone())).start().expect("a child");
    group.bench_function("queue", |b| {
        b.iter_custom(|count| {
            let begin = Instant::now();
            orders.put(&count).expect("put");
            for _ in 0..count {
                black_box(queue.get().expect("get"));
            }
            begin.elapsed()
        })
    });
    orders.close();
    child.join().expect("the child ends");

    let (orders, queue) = (Queue::new().expect("a queue"), PlainQueue::new().expect("a queue"));
    let arguments = (orders.clone(), queue.clone());
    let child = Process::new(produce_plain, arguments).start().expect("a child");
    group.bench_function("plain", |b| {
        b.iter_custom(|count| {
            let begin = Instant::now();
            orders.put(&count).expect("put");
            for _ in 0..count {
                black_box(queue.get().expect("get"));
            }
            begin.elapsed()
        })
    });
    group.bench_function("plain_get_many", |b| {
        b.iter_custom(|count| {
            let begin = Instant::now();
            orders.put(&count).expect("put");
            let (mut items, mut left) = (Vec::new(), count as usize);
            while left > 0 {
                items.clear();
                left -= queue.get_many_into(&mut items, left.min(64)).expect("get");
                black_box(&items);
            }
            begin.elapsed()
        })
    });
    orders.close();
    child.join().expect("the child ends");

    let (orders, inbox) = crossbeam_channel::unbounded::<u64>();
    let (send, receive) = crossbeam_channel::unbounded::<Item>();
    let peer = thread::spawn(move || {
        inbox.iter().all(|count| (0..count).all(|number| send.send([number; 8]).is_ok()))
    });
    group.bench_function("peer/crossbeam_threads", |b| {
        b.iter_custom(|count| {
            let begin = Instant::now();
            orders.send(count).expect("send");
            for _ in 0..count {
                black_box(receive.recv().expect("receive"));
            }
            begin.elapsed()
        })
    });
    drop(orders);
    peer.join().expect("the peer ends");
    group.finish();
}

/// Two producers and two consumers: time for an item, beside that of one and one.
fn two_and_two(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue/2P2C_64B");
    group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(3));
    for (name, pairs) in [("one_and_one", 1), ("two_and_two", 2)] {
        let new = || Queue::new().expect("a queue");
        let (orders, queue, done) = (new(), Queue::<Item>::new().expect("a queue"), new());
        let mut children = Vec::new();
        for _ in 0..pairs {
            let arguments = (orders.clone(), queue.clone());
            children.push(Process::new(produce_marked, arguments).start().expect("a child"));
            let arguments = (queue.clone(), done.clone());
            children.push(Process::new(consume, arguments).start().expect("a child"));
        }
        group.bench_function(name, |b| {
            b.iter_custom(|count| {
                let begin = Instant::now();
                for _ in 0..pairs {
                    orders.put(&count.div_ceil(pairs)).expect("put");
                }
                for _ in 0..pairs {
                    done.get().expect("get");
                }
                begin.elapsed()
            })
        });
        orders.close();
        queue.close();
        for child in children {
            child.join().expect("the child ends");
        }
    }
    group.finish();
}

const LARGE: usize = 1 << 20;

/// Answers each number with as many large messages, which are copied.
fn produce_copied(orders: Queue<u64>, queue: BytesQueue) {
    let message = vec![7; LARGE];
    while let Ok(count) = orders.get() {
        for _ in 0..count {
            if queue.put(&message).is_err() {
                return;
            }
        }
    }
}

/// As [`produce_copied`], written in place.
fn produce_lent(orders: Queue<u64>, queue: BytesQueue) {
    while let Ok(count) = orders.get() {
        for number in 0..count {
            let Ok(mut room) = queue.reserve(LARGE) else { return };
            room.fill(number as u8);
            if room.commit().is_err() {
                return;
            }
        }
    }
}

/// Messages of 1 MiB: copied in and out, lent on both sides, and what one copy costs.
fn large(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue/1MiB");
    group.throughput(Throughput::Bytes(LARGE as u64)).sample_size(20);
    group.measurement_time(Duration::from_secs(3));
    let new = || {
        let orders = Queue::<u64>::new().expect("a queue");
        (orders, BytesQueue::bounded(4).expect("a queue"))
    };
    let (orders, queue) = new();
    let arguments = (orders.clone(), queue.clone());
    let child = Process::new(produce_copied, arguments).start().expect("a child");
    group.bench_function("copied", |b| {
        let mut message = Vec::new();
        b.iter_custom(|count| {
            let begin = Instant::now();
            orders.put(&count).expect("put");
            for _ in 0..count {
                queue.get_into(&mut message).expect("get");
                black_box(&message);
            }
            begin.elapsed()
        })
    });
    orders.close();
    child.join().expect("the child ends");

    let (orders, queue) = new();
    let child = Process::new(produce_lent, (orders.clone(), queue.clone())).start();
    let child = child.expect("a child");
    group.bench_function("lent", |b| {
        b.iter_custom(|count| {
            let begin = Instant::now();
            orders.put(&count).expect("put");
            for _ in 0..count {
                let message = queue.get_ref().expect("get");
                black_box(message.iter().step_by(64).map(|&byte| u64::from(byte)).sum::<u64>());
            }
            begin.elapsed()
        })
    });
    orders.close();
    child.join().expect("the child ends");

    let (source, mut target) = (vec![7_u8; LARGE], vec![0_u8; LARGE]);
    group.bench_function("floor/memcpy", |b| {
        b.iter(|| target.copy_from_slice(black_box(&source)));
    });
    group.finish();
}

criterion_group!(benches, alone, round_trip, stream, two_and_two, large);
criterion_main!(benches);
