//! Packets on the socket of a connection, from somebody who has its other end.

use std::io::Read;
use std::os::fd::OwnedFd;

use mp_pipe::{Connection, RecvError};
use mp_wire::{Deadline, Fd, socket};
use serde::{Deserialize, Serialize};

use super::input::Input;
use super::raw;

/// Something of everything that a message can have.
#[derive(Debug, Serialize, Deserialize)]
enum Value {
    Unit,
    Text(String),
    Many(Vec<(u32, Option<f64>)>),
    Nested(Box<Value>),
    File(Fd),
    End(Connection<u8>),
}

/// Receives packets: of each, two bytes say how long it is, one how many files come with it, and so on.
pub fn packet(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (stranger, ours) = socket::pair().expect("a pair of sockets");
    let max = 1 << (input.byte() % 32);
    let end =
        Connection::<Value>::try_from(ours).expect("a socket of the right kind").max_message(max);
    let mut buffer = [0; 64];
    while !input.is_empty() {
        let way = input.byte();
        let files = usize::from(input.byte() % 8);
        let files: Vec<OwnedFd> = (0..files)
            .filter_map(|_| {
                let (kind, len) = (input.byte(), usize::from(input.short()) << (input.byte() % 8));
                raw::file(kind, len).ok()
            })
            .collect();
        let len = usize::from(input.short() % 2048);
        raw::send(&stranger, input.take(len), &files);
        let result = match way % 5 {
            0 => end.try_recv().map(drop),
            1 => end.try_recv_bytes().map(drop),
            2 => end.recv_bytes_into_timeout(&mut buffer, std::time::Duration::ZERO).map(drop),
            3 => end.recv_payload_timeout(std::time::Duration::ZERO).map(drop),
            _ => end.poll().map(drop).map_err(|_| RecvError::Empty),
        };
        // An empty packet cannot be told from the end of the stream.
        drop(result);
        let _ = end.try_send(&Value::Unit);
    }
    drop(stranger);
    // What is left, and then the end, which stays.
    for _ in 0..100_000 {
        if matches!(end.try_recv(), Err(RecvError::Closed)) {
            return;
        }
    }
    panic!("the stream has no end");
}

/// What an honest sender puts on the socket.
fn honest(value: &Value) -> Vec<u8> {
    let (a, b) = socket::pair().expect("a pair of sockets");
    let message = mp_wire::encode(value).expect("it is encoded");
    socket::send(&a, &message.bytes, &message.fds, Deadline::NOW).expect("it is sent");
    let mut packet = vec![0; 4096];
    let len = std::fs::File::from(b).read(&mut packet).expect("it is there");
    packet.truncate(len);
    packet
}

/// Honest packets of all kinds.
#[must_use]
pub fn packet_seeds() -> Vec<Vec<u8>> {
    let nothing = || raw::file(4, 0).expect("there is /dev/null").into();
    let pipe = mp_pipe::pipe().expect("a pipe").0;
    let values = [
        Value::Unit,
        Value::Text("some text".to_owned()),
        Value::Many(vec![(1, None), (2, Some(0.5))]),
        Value::Nested(Box::new(Value::Nested(Box::new(Value::Unit)))),
        Value::File(nothing()),
        Value::End(pipe),
    ];
    let mut seeds = Vec::new();
    let mut all = vec![31];
    for (number, value) in values.iter().enumerate() {
        let packet = honest(value);
        let files = packet.get(8).copied().unwrap_or(0);
        let mut frame = vec![number as u8, files];
        for _ in 0..files {
            frame.extend([0, 0, 16, 0]);
        }
        frame.extend((packet.len() as u16).to_le_bytes());
        frame.extend(packet);
        seeds.push([&[31][..], &frame].concat());
        all.extend(frame);
    }
    seeds.push(all);
    // One whose bytes are in a file: a header, a length that the file has, and a sealed file.
    let mut header = honest(&Value::Unit);
    header.truncate(40);
    header[4] = 1;
    header[16..24].copy_from_slice(&(0x1000_u64 << 7).to_ne_bytes());
    for way in 0..4 {
        let mut frame = vec![31, way, 1, 0, 0, 16, 7, 40, 0];
        frame.extend(&header);
        seeds.push(frame);
    }
    // Over a mebibyte, so that it is mapped.
    header[16..24].copy_from_slice(&(0xf000_u64 << 7).to_ne_bytes());
    let mut frame = vec![31, 3, 1, 0, 0, 0xf0, 7, 40, 0];
    frame.extend(&header);
    seeds.push(frame);
    seeds
}
