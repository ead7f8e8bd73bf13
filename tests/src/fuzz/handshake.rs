//! What somebody says who does not know the key, or stands between two who do.

use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

use mp_pipe::{Address, Client, Connection, Listener};
use mp_wire::{Deadline, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, listen, recv,
    socket,
};
use std::os::fd::{AsRawFd, FromRawFd};

use super::input::Input;
use super::raw;

const KEY: &[u8] = b"what only two know";

/// Nobody waits as long: who breaks a handshake off closes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Plays one of three parts: a client, a listener, or a relay between an honest client and an honest listener.
///
/// # Panics
///
/// Somebody who does not know the key got a connection, or what was changed on its way was accepted by both.
pub fn handshake(bytes: &[u8]) {
    let mut input = Input(bytes);
    match input.byte() % 3 {
        0 => as_client(input),
        1 => as_listener(input),
        _ => as_relay(input),
    }
}

thread_local! {
    static HONEST: Listener<u8> = honest_listener();
    static SERVER: (OwnedFd, Address) = strange_listener();
}

fn records<'a>(input: &mut Input<'a>) -> Vec<&'a [u8]> {
    let mut all = Vec::new();
    while !input.is_empty() && all.len() < 8 {
        let len = usize::from(input.short() % 300);
        all.push(input.take(len));
    }
    all
}

fn honest_listener() -> Listener<u8> {
    let listener = Listener::builder().key(KEY).protocol("fuzz").handshake_timeout(PATIENCE);
    listener.listen().expect("it listens")
}

fn as_client(mut input: Input<'_>) {
    HONEST.with(|listener| {
        let stranger: Connection<u8> =
            Client::connect(listener.address().clone()).expect("somebody listens");
        let stranger = OwnedFd::try_from(stranger).expect("a socket");
        for record in records(&mut input) {
            raw::send(&stranger, record, &[]);
            if turned_away(listener.try_accept()) {
                return;
            }
        }
        drop(stranger);
        assert!(turned_away(listener.accept_timeout(PATIENCE)), "who is gone is waited for");
    });
}

/// Says whether a client was turned away; it must not be served.
fn turned_away(accepted: Result<Connection<u8>, mp_pipe::Error>) -> bool {
    accepted.expect_err("who does not know the key is served").is_of_one_peer()
}

/// A socket that listens, of nobody in particular, and its address.
fn strange_listener() -> (OwnedFd, Address) {
    let flags = SockFlag::SOCK_CLOEXEC;
    let server = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).expect("a socket");
    let name = format!("mp-fuzz-{}-{:?}", std::process::id(), thread::current().id());
    let address = UnixAddr::new_abstract(name.as_bytes()).expect("a short name");
    bind(server.as_raw_fd(), &address).expect("a name that is free");
    listen(&server, Backlog::new(8).expect("a small number")).expect("it listens");
    (server, Address::Abstract(name.into_bytes()))
}

fn strange_accept(server: &OwnedFd) -> OwnedFd {
    assert!(
        poll::wait_readable(server.as_fd(), Deadline::after(Duration::from_secs(10)))
            .expect("a socket")
    );
    let fd = accept4(server.as_raw_fd(), SockFlag::SOCK_CLOEXEC).expect("somebody connects");
    #[expect(unsafe_code, reason = "nix gives the number alone")]
    // SAFETY: the descriptor is new, and nobody else's.
    unsafe {
        OwnedFd::from_raw_fd(fd)
    }
}

fn as_listener(mut input: Input<'_>) {
    SERVER.with(|(server, address)| {
        thread::scope(|scope| {
            let records = records(&mut input);
            let client = scope.spawn(|| {
                let client = Client::builder().key(KEY).protocol("fuzz").timeout(PATIENCE);
                client.connect::<u8, u8>(address.clone()).is_ok()
            });
            let stranger = strange_accept(server);
            for record in records {
                raw::send(&stranger, record, &[]);
            }
            drop(stranger);
            assert!(!client.join().expect("it does not panic"), "an impostor is believed");
        });
    });
}

/// What the relay does to one record.
fn change(input: &mut Input<'_>, record: &mut Vec<u8>) -> bool {
    let before = record.clone();
    let way = input.byte();
    let at = usize::from(input.byte()) % record.len().max(1);
    match way % 5 {
        0 | 1 => {}
        2 => {
            if let Some(byte) = record.get_mut(at) {
                *byte ^= input.byte();
            }
        }
        3 => record.truncate(at),
        _ => *record = input.take(at).to_vec(),
    }
    *record != before
}

fn as_relay(mut input: Input<'_>) {
    let mut changed = false;
    let (client, listener) = SERVER.with(|(server, address)| {
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                let client = Client::builder().key(KEY).protocol("fuzz").timeout(PATIENCE);
                client.connect::<u8, u8>(address.clone()).ok()
            });
            let to_client = strange_accept(server);
            let listener = HONEST.with(|listener| {
                let inner: Connection<u8> =
                    Client::connect(listener.address().clone()).expect("it listens");
                let to_listener = OwnedFd::try_from(inner).expect("a socket");
                let mut outcome = None;
                let mut step = || {
                    if outcome.is_none() {
                        match listener.try_accept() {
                            Ok(connection) => outcome = Some(Some(connection)),
                            Err(error) if error.is_of_one_peer() => outcome = Some(None),
                            Err(_) => {}
                        }
                    }
                };
                // Client and listener speak in turn, four times in all.
                for turn in 0..4 {
                    let (from, to) = if turn % 2 == 0 {
                        (&to_client, &to_listener)
                    } else {
                        (&to_listener, &to_client)
                    };
                    step();
                    let ready = poll::wait_readable(from.as_fd(), Deadline::after(PATIENCE));
                    assert!(ready.expect("a socket"), "somebody waits for nothing");
                    let mut record = vec![0; 512];
                    let received = recv(from.as_raw_fd(), &mut record, MsgFlags::MSG_DONTWAIT);
                    record.truncate(received.unwrap_or(0));
                    if record.is_empty() {
                        break;
                    }
                    changed |= change(&mut input, &mut record);
                    raw::send(to, &record, &[]);
                }
                step();
                drop((to_client, to_listener));
                outcome.unwrap_or_else(|| listener.accept_timeout(PATIENCE).ok())
            });
            (client.join().expect("it does not panic"), listener)
        })
    });
    if changed {
        assert!(client.is_none() || listener.is_none(), "both believe what was changed on its way");
    } else {
        assert!(client.is_some() && listener.is_some(), "an honest handshake fails");
    }
}

/// Records of the right form for each part.
#[must_use]
pub fn handshake_seeds() -> Vec<Vec<u8>> {
    let record = |tag: u8, len: usize| [&b"mp-auth\x01"[..], &[tag], &vec![9; len]].concat();
    let part = |part: u8, records: &[Vec<u8>]| {
        let mut out = vec![part];
        for record in records {
            out.extend((record.len() as u16).to_le_bytes());
            out.extend(record);
        }
        out
    };
    let mut seeds = vec![
        part(0, &[record(1, 32), record(3, 32)]),
        part(0, &[record(5, 48), record(7, 16)]),
        part(0, &[record(8, 1)]),
        part(0, &[record(1, 247), record(1, 248), record(3, 0)]),
        part(0, &[Vec::new()]),
        part(1, &[record(2, 32), record(4, 32)]),
        part(1, &[record(2, 64), record(4, 32)]),
        part(1, &[record(6, 48)]),
        part(1, &[record(8, 1), record(4, 32)]),
    ];
    // As a relay: nothing changed, and something in each record.
    seeds.push(vec![2]);
    for turn in 0..4 {
        let mut relay = vec![2];
        relay.extend([0, 0].repeat(turn));
        relay.extend([2, 20, 1]);
        seeds.push(relay.clone());
        relay[2 * turn + 1] = 3;
        seeds.push(relay);
    }
    seeds
}
