//! Connections between processes, beside queues, a bare socket pair, memcpy, and ipc-channel.
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on has nothing to measure")]

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ipc_channel::ipc::{
    IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcSender,
};
use mp_benches::monotonic_nanos;
use mp_wire::Fd;
use multiproc::{Connection, Process, Queue, pipe};

type Item = [u64; 8];

fn echo(connection: Connection<Item>) {
    while let Ok(item) = connection.recv() {
        if connection.send(&item).is_err() {
            break;
        }
    }
}

fn echo_queue(inbox: Queue<Item>, outbox: Queue<Item>) {
    while let Ok(item) = inbox.get() {
        if outbox.put(&item).is_err() {
            break;
        }
    }
}

fn echo_ipc(name: String) {
    let server = IpcSender::connect(name).expect("somebody listens");
    let (there, inbox) = ipc_channel::ipc::channel::<Item>().expect("a channel");
    let (outbox, back) = ipc_channel::ipc::channel::<Item>().expect("a channel");
    server.send((there, back)).expect("it takes them");
    while let Ok(item) = inbox.recv() {
        if outbox.send(item).is_err() {
            break;
        }
    }
}

fn stream_of(fd: Fd) -> UnixStream {
    UnixStream::from(fd.into_owned().expect("a descriptor"))
}

fn echo_stream(fd: Fd) {
    let mut stream = stream_of(fd);
    let mut buffer = [0; 64];
    while stream.read_exact(&mut buffer).is_ok() && stream.write_all(&buffer).is_ok() {}
}

fn socket_pair() -> (UnixStream, Fd) {
    let (here, there) = UnixStream::pair().expect("a pair");
    (here, Fd::from(std::os::fd::OwnedFd::from(there)))
}

/// 64 bytes there and back again, between two processes that are both at it.
fn hot(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipe/hot_round_trip");
    let (here, there) = pipe::<Item>().expect("a pipe");
    let child = Process::new(echo, (there,)).start().expect("a child");
    group.bench_function("connection", |b| {
        b.iter(|| {
            here.send(black_box(&[7; 8])).expect("send");
            here.recv().expect("receive")
        })
    });
    drop(here);
    child.join().expect("the child ends");

    let (there, back) = (Queue::new().expect("a queue"), Queue::new().expect("a queue"));
    let child = Process::new(echo_queue, (there.clone(), back.clone())).start().expect("a child");
    group.bench_function("queue", |b| {
        b.iter(|| {
            there.put(black_box(&[7; 8])).expect("put");
            back.get().expect("get")
        })
    });
    there.close();
    child.join().expect("the child ends");

    type Ends = (IpcSender<Item>, IpcReceiver<Item>);
    let (server, name) = IpcOneShotServer::<Ends>::new().expect("a server");
    let child = Process::new(echo_ipc, (name,)).start().expect("a child");
    let (_, (there, back)) = server.accept().expect("the child connects");
    group.bench_function("peer/ipc_channel", |b| {
        b.iter(|| {
            there.send(black_box([7; 8])).expect("send");
            back.recv().expect("receive")
        })
    });
    drop((there, back));
    child.join().expect("the child ends");

    let (mut here, there) = socket_pair();
    let child = Process::new(echo_stream, (there,)).start().expect("a child");
    let mut buffer = [7; 64];
    group.bench_function("floor/socketpair", |b| {
        b.iter(|| {
            here.write_all(black_box(&buffer)).expect("write");
            here.read_exact(&mut buffer).expect("read");
        })
    });
    drop(here);
    child.join().expect("the child ends");
    group.finish();
}

/// Says when it got each message.
fn note(inbox: Connection<Item>, outbox: Connection<u64>) {
    while inbox.recv().is_ok() {
        if outbox.send(&monotonic_nanos()).is_err() {
            break;
        }
    }
}

fn note_stream(inbox: Fd, outbox: Connection<u64>) {
    let mut stream = stream_of(inbox);
    let mut buffer = [0; 64];
    while stream.read_exact(&mut buffer).is_ok() && outbox.send(&monotonic_nanos()).is_ok() {}
}

fn note_ipc(name: String, outbox: Connection<u64>) {
    let server = IpcSender::connect(name).expect("somebody listens");
    let (there, inbox) = ipc_channel::ipc::channel::<Item>().expect("a channel");
    server.send(there).expect("it takes it");
    while inbox.recv().is_ok() && outbox.send(&monotonic_nanos()).is_ok() {}
}

/// After so long a receiver that has nothing to do is asleep.
const ASLEEP: Duration = Duration::from_micros(600);

/// From before it is sent until it is received, by one who sleeps.
fn to_sleeper(rounds: u64, mut send: impl FnMut(), received: &Connection<u64>) -> Duration {
    let mut total = 0;
    for _ in 0..rounds {
        thread::sleep(ASLEEP);
        let begin = monotonic_nanos();
        send();
        total += received.recv().expect("receive") - begin;
    }
    Duration::from_nanos(total)
}

fn sleeping(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipe/to_sleeping_receiver");
    let (here, there) = pipe::<Item>().expect("a pipe");
    let (received, noted) = pipe::<u64>().expect("a pipe");
    let child = Process::new(note, (there, noted)).start().expect("a child");
    group.bench_function("connection", |b| {
        b.iter_custom(|rounds| to_sleeper(rounds, || here.send(&[7; 8]).expect("send"), &received))
    });
    drop(here);
    child.join().expect("the child ends");

    let (mut here, there) = socket_pair();
    let (received, noted) = pipe::<u64>().expect("a pipe");
    let child = Process::new(note_stream, (there, noted)).start().expect("a child");
    group.bench_function("floor/socketpair", |b| {
        b.iter_custom(|rounds| {
            to_sleeper(rounds, || here.write_all(&[7; 64]).expect("write"), &received)
        })
    });
    drop(here);
    child.join().expect("the child ends");

    let (server, name) = IpcOneShotServer::<IpcSender<Item>>::new().expect("a server");
    let (received, noted) = pipe::<u64>().expect("a pipe");
    let child = Process::new(note_ipc, (name, noted)).start().expect("a child");
    let (_, there) = server.accept().expect("the child connects");
    group.bench_function("peer/ipc_channel", |b| {
        b.iter_custom(|rounds| to_sleeper(rounds, || there.send([7; 8]).expect("send"), &received))
    });
    drop(there);
    child.join().expect("the child ends");
    group.finish();
}

/// How a large message is received.
const INTO_BUFFER: u8 = 0;
const IN_PLACE: u8 = 1;

/// Receives until a message is empty, and says so.
fn swallow(connection: Connection<()>, size: usize, way: u8) {
    let mut buffer = vec![0; if way == INTO_BUFFER { size } else { 0 }];
    loop {
        let len = if way == INTO_BUFFER {
            connection.recv_bytes_into(&mut buffer)
        } else {
            connection.recv_payload().map(|payload| black_box(&payload).len())
        };
        match len {
            Ok(0) if connection.send_bytes(b"").is_err() => return,
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

fn swallow_stream(fd: Fd, size: usize) {
    let mut stream = stream_of(fd);
    let mut buffer = vec![0; size];
    while stream.read_exact(&mut buffer).is_ok() {
        if buffer[0] == 1 && stream.write_all(&[1]).is_err() {
            return;
        }
    }
}

fn swallow_ipc(name: String) {
    let server = IpcSender::connect(name).expect("somebody listens");
    let (there, inbox) = ipc_channel::ipc::bytes_channel().expect("a channel");
    let (outbox, back) = ipc_channel::ipc::bytes_channel().expect("a channel");
    server.send((there, back)).expect("it takes them");
    while let Ok(bytes) = inbox.recv() {
        if bytes.is_empty() && outbox.send(b"").is_err() {
            return;
        }
    }
}

/// The time of so many sends, until all have been received.
fn timed(rounds: u64, mut send: impl FnMut(), finish: impl FnOnce()) -> Duration {
    let start = Instant::now();
    for _ in 0..rounds {
        send();
    }
    finish();
    start.elapsed()
}

/// Large messages, one after another, from one process to another.
fn large(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipe/large");
    for size in [64 << 10, 1 << 20, 256 << 20] {
        let huge = size > 16 << 20;
        if huge {
            group.sample_size(10);
        }
        group.throughput(Throughput::Bytes(size as u64));
        let payload = vec![2; size];
        for (name, way) in
            [("connection/into_buffer", INTO_BUFFER), ("connection/in_place", IN_PLACE)]
        {
            let (here, there) = pipe::<()>().expect("a pipe");
            let child = Process::new(swallow, (there, size, way)).start().expect("a child");
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter_custom(|rounds| {
                    timed(
                        rounds,
                        || here.send_bytes(&payload).expect("send"),
                        || {
                            here.send_bytes(b"").expect("send");
                            here.recv_bytes().expect("receive");
                        },
                    )
                })
            });
            drop(here);
            child.join().expect("the child ends");
        }

        let mut copy = vec![0; size];
        group.bench_function(BenchmarkId::new("floor/memcpy", size), |b| {
            b.iter(|| {
                copy.copy_from_slice(black_box(&payload));
                black_box(&mut copy);
            })
        });

        let (mut here, there) = socket_pair();
        let child = Process::new(swallow_stream, (there, size)).start().expect("a child");
        group.bench_function(BenchmarkId::new("floor/socketpair", size), |b| {
            b.iter_custom(|rounds| {
                let mut last = payload.clone();
                last[0] = 1;
                let start = Instant::now();
                for _ in 1..rounds {
                    here.write_all(&payload).expect("write");
                }
                here.write_all(&last).expect("write");
                here.read_exact(&mut [0]).expect("read");
                start.elapsed()
            })
        });
        drop(here);
        child.join().expect("the child ends");

        if huge {
            continue;
        }
        type Ends = (IpcBytesSender, IpcBytesReceiver);
        let (server, name) = IpcOneShotServer::<Ends>::new().expect("a server");
        let child = Process::new(swallow_ipc, (name,)).start().expect("a child");
        let (_, (there, back)) = server.accept().expect("the child connects");
        group.bench_function(BenchmarkId::new("peer/ipc_channel", size), |b| {
            b.iter_custom(|rounds| {
                timed(
                    rounds,
                    || there.send(&payload).expect("send"),
                    || {
                        there.send(b"").expect("send");
                        back.recv().expect("receive");
                    },
                )
            })
        });
        drop((there, back));
        child.join().expect("the child ends");
    }
    group.finish();
}

criterion_group!(benches, hot, sleeping, large);
criterion_main!(benches);
