//! Connections between processes, beside a bare socket pair between threads.
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on has nothing to measure")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use multiproc::{Connection, Process, pipe};

fn echo(connection: Connection<()>) {
    while let Ok(bytes) = connection.recv_bytes() {
        if connection.send_bytes(&bytes).is_err() {
            break;
        }
    }
}

fn round_trip(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipe/round_trip");
    for size in [64, 64 << 10, 1 << 20] {
        let payload = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));

        let (here, there) = pipe::<()>().expect("a pipe");
        let child = Process::new(echo, (there,)).start().expect("a child");
        group.bench_function(BenchmarkId::new("connection", size), |b| {
            b.iter(|| {
                here.send_bytes(&payload).expect("send");
                here.recv_bytes().expect("receive")
            })
        });
        drop(here);
        child.join().expect("the child ends");

        let (mut here, mut there) = UnixStream::pair().expect("a pair");
        let mut buffer = vec![0; size];
        let peer = thread::spawn(move || {
            while there.read_exact(&mut buffer).is_ok() && there.write_all(&buffer).is_ok() {}
        });
        let mut answer = vec![0; size];
        group.bench_function(BenchmarkId::new("floor/socketpair_threads", size), |b| {
            b.iter(|| {
                here.write_all(&payload).expect("write");
                here.read_exact(&mut answer).expect("read");
            })
        });
        drop(here);
        peer.join().expect("the peer ends");
    }
    group.finish();
}

criterion_group!(benches, round_trip);
criterion_main!(benches);
