//! Queues between processes, beside a channel between threads.
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on has nothing to measure")]

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use multiproc::{Process, Queue};

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

criterion_group!(benches, alone, round_trip, stream);
criterion_main!(benches);
