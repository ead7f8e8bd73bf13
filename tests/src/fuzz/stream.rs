//! Bytes on the socket of a connection over TCP, from whoever connected.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use mp_pipe::{Client, Connection, RecvError};
use nix::sys::socket::{setsockopt, sockopt};

use super::input::Input;

/// Receives a stream that comes in pieces: of each, one byte says how long it is, one what the receiver does then.
pub fn stream(bytes: &[u8]) {
    thread_local! {
        static LISTENER: TcpListener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    }
    let mut input = Input(bytes);
    let (end, mut stranger) = LISTENER.with(connect);
    let end = end.max_message(1 << (input.byte() % 32));
    let mut buffer = [0; 64];
    while !input.is_empty() {
        let len = usize::from(input.byte());
        let way = input.byte();
        stranger.write_all(input.take(len)).expect("a socket has room for so little");
        let result = match way % 5 {
            0 => end.try_recv().map(drop),
            1 => end.try_recv_bytes().map(drop),
            2 => end.recv_bytes_into_timeout(&mut buffer, Duration::ZERO).map(drop),
            3 => end.poll().map(drop).map_err(|_| RecvError::Empty),
            _ => Ok(()),
        };
        drop(result);
    }
    stranger.shutdown(std::net::Shutdown::Write).expect("a socket that is open");
    // What is left, and then the end, which stays.
    let mut ended = false;
    for _ in 0..10_000 {
        ended = matches!(end.recv_bytes(), Err(RecvError::Closed));
        if ended {
            break;
        }
    }
    assert!(ended, "the stream has no end");
    // Else each run would keep a port for a minute.
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stranger, sockopt::Linger, &linger).expect("an option that each socket has");
}

fn connect(listener: &TcpListener) -> (Connection<Vec<String>>, TcpStream) {
    let port = listener.local_addr().expect("an address").port();
    let end = Client::connect(("127.0.0.1", port)).expect("somebody listens");
    (end, listener.accept().expect("it has connected").0)
}

/// Frames as they are sent, in one piece and in several, and some that lie.
#[must_use]
pub fn stream_seeds() -> Vec<Vec<u8>> {
    let frame = |kind: u8, length: u64, payload: &[u8]| {
        let mut out = vec![kind];
        out.extend(&length.to_le_bytes()[..7]);
        out.extend(payload);
        out.push(b'\n');
        out
    };
    let message = frame(0xa5, 5, b"\x02\x01a\x01b");
    let pieces = |frames: &[u8], len: usize, way: u8| {
        let mut out = vec![31];
        for piece in frames.chunks(len) {
            out.extend([piece.len() as u8, way]);
            out.extend(piece);
        }
        out
    };
    let several = [&message[..], &frame(0xa5, 0, b""), &message].concat();
    let long = frame(0xa5, 200, &[1; 200]);
    vec![
        pieces(&message, 255, 0),
        pieces(&several, 255, 1),
        pieces(&several, 3, 3),
        pieces(&several, 1, 0),
        pieces(&several, 9, 2),
        pieces(&frame(0xa6, 5, b"hello"), 255, 0),
        pieces(&frame(0xa5, 1 << 47, b"hello"), 255, 0),
        pieces(&frame(0xa5, (1 << 48) + 1, b"hello"), 4, 0),
        pieces(&frame(0xa5, 4, b"hello"), 255, 3),
        // Over the limit of 32 bytes, and one behind it.
        [&[5][..], &pieces(&[&long[..], &message].concat(), 100, 0)[1..]].concat(),
    ]
}
