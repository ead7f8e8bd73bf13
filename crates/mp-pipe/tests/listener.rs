//! Listeners and clients through the public interface, the same over each kind of socket. The ids are those of the
//! acceptance lines.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use mp_pipe::{
    Address, Client, ClientBuilder, Connection, ErrorKind, Key, Listener, ListenerBuilder, Peer,
    RecvError, SendError, Users, wait,
};
use mp_wire::Fd;

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(60);

/// A way to connect.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Unix,
    Abstract,
    Tcp,
    Keyed,
    TcpKeyed,
    #[cfg(feature = "noise")]
    Noise,
}

#[cfg(feature = "noise")]
const WAYS: [Way; 6] = [Way::Unix, Way::Abstract, Way::Tcp, Way::Keyed, Way::TcpKeyed, Way::Noise];
#[cfg(not(feature = "noise"))]
const WAYS: [Way; 5] = [Way::Unix, Way::Abstract, Way::Tcp, Way::Keyed, Way::TcpKeyed];

#[cfg(feature = "noise")]
const KEYED: [Way; 3] = [Way::Keyed, Way::TcpKeyed, Way::Noise];
#[cfg(not(feature = "noise"))]
const KEYED: [Way; 2] = [Way::Keyed, Way::TcpKeyed];

impl Way {
    fn is_keyed(self) -> bool {
        KEYED.contains(&self)
    }

    fn is_unix(self) -> bool {
        matches!(self, Self::Unix | Self::Abstract | Self::Keyed)
    }

    fn listener<S, R>(self) -> Listener<S, R> {
        self.listener_with(b"the key", |builder| builder)
    }

    fn listener_with<S, R>(
        self,
        key: &[u8],
        options: impl FnOnce(ListenerBuilder<S, R>) -> ListenerBuilder<S, R>,
    ) -> Listener<S, R> {
        let mut builder = options(Listener::builder());
        if self.is_keyed() {
            builder = builder.key(key);
        }
        #[cfg(feature = "noise")]
        if self == Self::Noise {
            builder = builder.encrypt();
        }
        match self {
            Self::Unix | Self::Keyed => builder.listen(),
            Self::Abstract => builder.bind(Address::Abstract(Vec::new())),
            _ => builder.bind(("127.0.0.1", 0)),
        }
        .unwrap()
    }

    fn client(self, key: &[u8]) -> ClientBuilder {
        let mut builder = Client::builder().timeout(LONG);
        if self.is_keyed() {
            builder = builder.key(key);
        }
        #[cfg(feature = "noise")]
        if self == Self::Noise {
            builder = builder.encrypt();
        }
        builder
    }

    /// A listener and both ends of a connection.
    fn connect<S, R>(self) -> (Listener<S, R>, Connection<S, R>, Connection<R, S>)
    where
        S: Send + 'static,
        R: Send + 'static,
    {
        let listener = self.listener::<S, R>();
        let address = listener.address().clone();
        let client = thread::spawn(move || self.client(b"the key").connect(address).unwrap());
        let accepted = listener.accept().unwrap();
        (listener, accepted, client.join().unwrap())
    }
}

#[test]
fn smoke() {
    for way in WAYS {
        let (_, server, client) = way.connect::<Vec<String>, (u8, f64)>();
        client.send(&(7, 0.5)).unwrap();
        assert_eq!(server.recv().unwrap(), (7, 0.5), "{way:?}");
        let words = vec!["a".to_owned(), "é".repeat(1000), String::new()];
        server.send(&words).unwrap();
        assert_eq!(client.recv().unwrap(), words);
        for bytes in [&b""[..], b"x", &[7; 70_000]] {
            client.send_bytes(bytes).unwrap();
            assert_eq!(server.recv_bytes().unwrap(), bytes);
        }
        drop(client);
        assert!(matches!(server.recv(), Err(RecvError::Closed)), "{way:?}");
        assert!(matches!(server.recv(), Err(RecvError::Closed)), "{way:?}");
    }
}

#[test]
fn order() {
    for way in WAYS {
        let (_, server, client) = way.connect::<u32, u32>();
        thread::scope(|scope| {
            scope.spawn(|| (0..10_000).for_each(|number| client.send(&number).unwrap()));
            for number in 0..10_000 {
                assert_eq!(server.recv().unwrap(), number);
            }
        });
    }
}

#[test]
fn large_messages_arrive_whole() {
    for way in WAYS {
        let (_, server, client) = way.connect::<(), ()>();
        // Around the lengths of records and buffers, and longer than any socket holds.
        for length in [65_510, 65_511, 65_512, 65_519, 131_030, 131_031, 5 << 20] {
            let message: Vec<u8> = (0..length).map(|i: usize| (i % 251) as u8).collect();
            thread::scope(|scope| {
                scope.spawn(|| client.send_bytes(&message).unwrap());
                assert!(server.recv_bytes().unwrap() == message, "{way:?} {length}");
            });
        }
    }
}

#[test]
fn a_second_listener_is_refused() {
    // LC-07
    for way in WAYS {
        let listener = way.listener::<u8, u8>();
        let second = Listener::<u8>::bind(listener.address()).unwrap_err();
        assert_eq!(second.kind(), ErrorKind::AddressInUse, "{way:?}");
        let address = listener.address().clone();
        drop(listener);
        // The first is gone.
        if way != Way::Unix && way != Way::Keyed {
            Listener::<u8>::bind(address).unwrap();
        }
    }
}

#[test]
fn any_key_will_do() {
    // LC-09
    for way in KEYED {
        for key in [&b""[..], b"k", &[0; 64], &[9; 1000]] {
            let listener = way.listener_with::<u8, u8>(key, |builder| builder);
            let address = listener.address().clone();
            let client = thread::spawn({
                let key = key.to_vec();
                move || way.client(&key).connect::<u8, u8>(address).unwrap()
            });
            listener.accept().unwrap().send(&5).unwrap();
            assert_eq!(client.join().unwrap().recv().unwrap(), 5);
        }
    }
}

#[test]
fn abstract_names() {
    // LC-10
    let name = format!("mp-pipe test\0{}", std::process::id());
    let address = Address::Abstract(name.into_bytes());
    let listener = Listener::<u8>::bind(&address).unwrap();
    assert_eq!(*listener.address(), address);
    let client: Connection<u8> = Client::connect(&address).unwrap();
    listener.accept().unwrap().send(&1).unwrap();
    assert_eq!(client.recv().unwrap(), 1);
    let long = Address::Abstract(vec![1; 200]);
    assert_eq!(Listener::<u8>::bind(long).unwrap_err().kind(), ErrorKind::InvalidAddress);
}

#[test]
fn what_was_sent_before_accept_is_received() {
    // LC-11, LC-12
    for way in [Way::Unix, Way::Abstract, Way::Tcp] {
        let listener = way.listener::<u8, String>();
        let client: Connection<String, u8> = Client::connect(listener.address()).unwrap();
        client.send(&"early".to_owned()).unwrap();
        drop(client);
        let client: Connection<String, u8> = Client::connect(listener.address()).unwrap();
        client.send(&"waiting".to_owned()).unwrap();

        let accepted = listener.accept().unwrap();
        assert_eq!(accepted.recv().unwrap(), "early");
        assert!(matches!(accepted.recv(), Err(RecvError::Closed)));
        let accepted = listener.accept().unwrap();
        assert!(accepted.poll_timeout(LONG).unwrap());
        assert_eq!(accepted.recv().unwrap(), "waiting");
    }
}

#[test]
fn a_wrong_key_is_told_to_both_sides() {
    // LC-15
    for way in KEYED {
        for key in [&b"the kez"[..], b"", b"the key\0x"] {
            let listener = way.listener::<u8, u8>();
            let address = listener.address().clone();
            let key = key.to_vec();
            let client =
                thread::spawn(move || way.client(&key).connect::<u8, u8>(address).unwrap_err());
            let error = listener.accept().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{way:?}");
            assert!(error.is_of_one_peer());
            assert_eq!(client.join().unwrap().kind(), ErrorKind::Authentication, "{way:?}");
        }
    }
}

#[test]
fn protocol_names_must_agree() {
    for way in KEYED {
        let listener = way.listener_with::<u8, u8>(b"key", |builder| builder.protocol("jobs 1"));
        let address = listener.address().clone();
        let client = thread::spawn(move || {
            let builder = way.client(b"key");
            let wrong = builder.clone().protocol("jobs 2").connect::<u8, u8>(&address);
            assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Authentication);
            builder.protocol("jobs 1").connect::<u8, u8>(&address).unwrap()
        });
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::Authentication);
        listener.accept().unwrap().send(&3).unwrap();
        assert_eq!(client.join().unwrap().recv().unwrap(), 3);
    }
}

#[test]
fn nobody_listens() {
    // LC-19
    let directory = tempfile::tempdir().unwrap();
    let dead = directory.path().join("dead");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let port = Way::Tcp.listener::<u8, u8>().address().clone();
    let none = directory.path().join("none");
    for address in [dead.into(), none.into(), Address::Abstract(b"mp-pipe nobody".to_vec()), port] {
        let error = Client::connect::<u8, u8>(&address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NobodyListens, "{address}");
    }
    let error = Client::connect::<u8, u8>(("no such host", 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidAddress);
}

#[test]
fn timeouts_are_not_early() {
    for way in WAYS {
        let listener = way.listener::<u8, u8>();
        assert_eq!(listener.try_accept().unwrap_err().kind(), ErrorKind::TimedOut);
        let start = Instant::now();
        assert_eq!(listener.accept_timeout(SHORT).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= SHORT);
    }
    // Nobody accepts, and so nobody proves the key.
    for way in KEYED {
        let listener = way.listener::<u8, u8>();
        let start = Instant::now();
        let client = way.client(b"the key").timeout(SHORT);
        let error = client.connect::<u8, u8>(listener.address()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= SHORT);
    }
    // A full backlog.
    let listener = Listener::<u8>::builder().backlog(0).listen().unwrap();
    let _first: Connection<u8> = Client::connect(listener.address()).unwrap();
    let start = Instant::now();
    let second = Client::builder().timeout(SHORT).connect::<u8, u8>(listener.address());
    assert_eq!(second.unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() >= SHORT);
    let none = Client::builder().timeout(Duration::ZERO).connect::<u8, u8>(listener.address());
    assert_eq!(none.unwrap_err().kind(), ErrorKind::TimedOut);
    let third = thread::spawn({
        let address = listener.address().clone();
        move || Client::connect::<u8, u8>(address).unwrap().recv().unwrap()
    });
    listener.accept().unwrap();
    listener.accept().unwrap().send(&3).unwrap();
    assert_eq!(third.join().unwrap(), 3);
}

#[test]
fn a_silent_client_delays_nobody() {
    // W-47
    for way in KEYED {
        let listener = way.listener::<u8, u8>();
        let silent: Vec<_> = (0..20).map(|_| stranger(listener.address())).collect();
        let half = stranger(listener.address());
        half.say(b"mp-au");
        let address = listener.address().clone();
        let client =
            thread::spawn(move || way.client(b"the key").connect::<u8, u8>(address).unwrap());
        let accepted = loop {
            match listener.accept() {
                Ok(accepted) => break accepted,
                Err(error) => assert!(error.is_of_one_peer(), "{error:?}"),
            }
        };
        accepted.send(&1).unwrap();
        assert_eq!(client.join().unwrap().recv().unwrap(), 1);
        drop(silent);
    }
}

#[test]
fn a_silent_client_is_given_up() {
    for way in KEYED {
        let listener = way.listener_with::<u8, u8>(b"", |builder| builder.handshake_timeout(SHORT));
        let silent = stranger(listener.address());
        let start = Instant::now();
        let error = listener.accept().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Handshake);
        assert!(start.elapsed() >= SHORT);
        silent.ends_closed();
    }
}

#[test]
fn many_silent_clients_do_not_keep_others_out() {
    // Each has a tenth of this while there are as many as may be: enough for the one who speaks, even if it stalls.
    let time = Duration::from_secs(15);
    let keeps_nobody_out = |way: Way| {
        let listener = way.listener_with::<u8, u8>(b"the key", |builder| {
            builder.max_pending(2).handshake_timeout(time)
        });
        let silent: Vec<_> = (0..3).map(|_| stranger(listener.address())).collect();
        let address = listener.address().clone();
        let client =
            thread::spawn(move || way.client(b"the key").connect::<u8, u8>(address).unwrap());
        let mut given_up = 0;
        let accepted = loop {
            match listener.accept() {
                Ok(accepted) => break accepted,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Handshake),
            }
            given_up += 1;
        };
        assert!(given_up >= 2, "{given_up}");
        accepted.send(&1).unwrap();
        assert_eq!(client.join().unwrap().recv().unwrap(), 1);
        drop(silent);
    };
    // That takes a while, and so they go all at once.
    thread::scope(|scope| {
        for way in KEYED {
            scope.spawn(move || keeps_nobody_out(way));
        }
    });
}

#[test]
fn kill_peer_in_handshake() {
    for way in KEYED {
        let listener = way.listener::<u8, u8>();
        drop(stranger(listener.address()));
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::Handshake, "{way:?}");
        let gone = stranger(listener.address());
        gone.say(b"mp");
        drop(gone);
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::Handshake, "{way:?}");

        // The listener goes while the client waits for its proof.
        let address = listener.address().clone();
        let client =
            thread::spawn(move || way.client(b"the key").connect::<u8, u8>(address).unwrap_err());
        assert!(!wait(&[&listener], Some(LONG)).unwrap().is_empty());
        drop(listener);
        let kind = client.join().unwrap().kind();
        assert!(matches!(kind, ErrorKind::Handshake | ErrorKind::NobodyListens), "{kind:?}");
    }
}

#[test]
fn a_listener_can_be_polled() {
    for way in WAYS {
        let listener = way.listener::<u8, u8>();
        let (other, _end) = mp_pipe::pipe::<u8>().unwrap();
        let all: [&dyn AsFd; 2] = [&other, &listener];
        assert_eq!(wait(&all, Some(Duration::ZERO)).unwrap(), []);
        let address = listener.address().clone();
        let client = thread::spawn(move || way.client(b"the key").connect::<u8, u8>(address));
        let accepted = loop {
            assert_eq!(wait(&all, None).unwrap(), [1]);
            match listener.try_accept() {
                Ok(accepted) => break accepted,
                Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut),
            }
        };
        accepted.send(&1).unwrap();
        assert_eq!(client.join().unwrap().unwrap().recv().unwrap(), 1);
        assert_eq!(wait(&all, Some(Duration::ZERO)).unwrap(), []);
    }
}

#[test]
fn a_silent_client_makes_the_listener_readable_when_its_time_is_over() {
    let listener =
        Way::Keyed.listener_with::<u8, u8>(b"", |builder| builder.handshake_timeout(SHORT));
    let _silent = stranger(listener.address());
    while listener.try_accept().unwrap_err().kind() == ErrorKind::TimedOut {
        wait(&[&listener], None).unwrap();
    }
}

#[test]
fn a_hundred_clients_at_once() {
    for way in WAYS {
        let listener = way.listener::<usize, usize>();
        let address = listener.address();
        thread::scope(|scope| {
            for number in 0..100 {
                scope.spawn(move || {
                    let client = way.client(b"the key").connect::<usize, usize>(address).unwrap();
                    client.send(&number).unwrap();
                    assert_eq!(client.recv().unwrap(), number + 1);
                });
            }
            // Three threads accept.
            let served: usize = [34, 33, 33]
                .map(|share| {
                    let listener = &listener;
                    scope.spawn(move || {
                        for accepted in listener.incoming().take(share) {
                            let accepted = accepted.unwrap();
                            accepted.send(&(accepted.recv().unwrap() + 1)).unwrap();
                        }
                        share
                    })
                })
                .map(|thread| thread.join().unwrap())
                .iter()
                .sum();
            assert_eq!(served, 100);
        });
    }
}

#[test]
fn handles_travel_over_unix_sockets_alone() {
    for way in WAYS {
        let (_, server, client) = way.connect::<(Fd, Connection<u8>), u8>();
        let file = Fd::from(OwnedFd::from(tempfile::tempfile().unwrap()));
        let (near, far) = mp_pipe::pipe().unwrap();
        let sent = server.send(&(file, far));
        if way.is_unix() {
            sent.unwrap();
            let (_, far) = client.recv().unwrap();
            far.send(&9).unwrap();
            assert_eq!(near.recv().unwrap(), 9);
        } else {
            let Err(SendError::Encode(error)) = sent else { panic!("{sent:?}") };
            assert!(error.to_string().contains("TCP"), "{error}");
            client.send(&1).unwrap();
            assert_eq!(server.recv().unwrap(), 1);
        }
    }
}

#[test]
fn a_connection_travels_if_it_is_a_descriptor() {
    for way in WAYS {
        let (_, server, client) = way.connect::<u8, u8>();
        let (here, there) = mp_pipe::pipe::<Connection<u8, u8>>().unwrap();
        let sent = here.send(&client);
        if way.is_unix() {
            sent.unwrap();
            drop(client);
            let client = there.recv().unwrap();
            server.send(&4).unwrap();
            assert_eq!(client.recv().unwrap(), 4);
            OwnedFd::try_from(client).unwrap();
        } else {
            assert!(matches!(sent, Err(SendError::Encode(_))));
            assert!(OwnedFd::try_from(client).is_err());
        }
    }
}

#[test]
fn peers_are_known() {
    for way in WAYS {
        let (listener, server, client) = way.connect::<u8, u8>();
        match (server.peer().unwrap(), client.peer().unwrap()) {
            (Peer::Process { pid, uid, .. }, Peer::Process { pid: other, .. }) => {
                assert!(way.is_unix());
                assert_eq!((pid, other), (std::process::id(), std::process::id()));
                assert_eq!(
                    uid,
                    fs::metadata("/proc/self")
                        .map(|data| { std::os::unix::fs::MetadataExt::uid(&data) })
                        .unwrap()
                );
            }
            (Peer::Tcp(near), Peer::Tcp(far)) => {
                assert!(near.ip().is_loopback());
                assert_eq!(Address::from(far), *listener.address());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn users_who_are_not_allowed_are_turned_away() {
    let nobody = Users::These(vec![4_000_000_000]);
    let listener = Listener::<u8>::builder().users(nobody.clone()).listen().unwrap();
    let client: Connection<u8> = Client::connect(listener.address()).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::Denied);
    assert!(matches!(client.recv(), Err(RecvError::Closed)));

    let listener = Listener::<u8>::builder().users(nobody.clone()).key(b"k").listen().unwrap();
    let address = listener.address().clone();
    let client =
        thread::spawn(move || Client::builder().key(b"k").connect::<u8, u8>(address).unwrap_err());
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(client.join().unwrap().kind(), ErrorKind::Denied);

    let listener = Listener::<u8>::builder().users(Users::Any).listen().unwrap();
    let client = Client::builder().users(nobody).connect::<u8, u8>(listener.address());
    assert_eq!(client.unwrap_err().kind(), ErrorKind::Denied);
}

#[test]
fn a_fresh_socket_is_private_and_goes_with_its_listener() {
    let listener = Listener::<u8>::new().unwrap();
    let Address::Unix(path) = listener.address().clone() else { panic!() };
    let directory = path.parent().unwrap().to_owned();
    let mode = |path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&directory), 0o700);
    drop(listener);
    assert!(!directory.exists());

    let listener = Listener::<u8>::builder().users(Users::Any).listen().unwrap();
    let Address::Unix(path) = listener.address().clone() else { panic!() };
    assert_eq!(mode(&path), 0o666);
    // Somebody else's socket in its place stays.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "").unwrap();
    drop(listener);
    assert!(path.exists());
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[test]
fn a_dead_listeners_socket_can_be_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let plain = Listener::<u8>::bind(path.clone()).unwrap_err();
    assert_eq!(plain.kind(), ErrorKind::AddressInUse);
    let listener = Listener::<u8>::builder().replace_dead().bind(path.clone()).unwrap();
    let second = Listener::<u8>::builder().replace_dead().bind(path.clone()).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::AddressInUse);
    drop(listener);
    assert!(!path.exists());
    fs::write(&path, "precious").unwrap();
    let file = Listener::<u8>::builder().replace_dead().bind(path.clone()).unwrap_err();
    assert_eq!(file.kind(), ErrorKind::AddressInUse);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn paths_may_be_long() {
    // W-45
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("d".repeat(100)).join("e".repeat(200));
    fs::create_dir_all(&deep).unwrap();
    let listener = Listener::<u8>::bind(deep.join("socket")).unwrap();
    let client: Connection<u8> = Client::connect(listener.address()).unwrap();
    listener.accept().unwrap().send(&1).unwrap();
    assert_eq!(client.recv().unwrap(), 1);
    drop(listener);
    assert!(!deep.join("socket").exists());

    let long = Listener::<u8>::bind(deep.join("s".repeat(200))).unwrap_err();
    assert_eq!(long.kind(), ErrorKind::InvalidAddress);
    let none = Listener::<u8>::bind(deep.join("none/socket")).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::InvalidAddress);
}

#[test]
fn tcp_beyond_the_machine_is_refused_without_encryption() {
    for host in ["0.0.0.0", "::", "192.0.2.1"] {
        let error = Listener::<u8>::bind((host, 0)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unencrypted, "{host}");
    }
    let error = Client::connect::<u8, u8>(("192.0.2.1", 9)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unencrypted);
    if cfg!(not(feature = "noise")) {
        let error = Client::builder().key(b"k").connect::<u8, u8>(("192.0.2.1", 9)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unencrypted);
        let error = Listener::<u8>::builder().key(b"k").bind(("0.0.0.0", 0)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unencrypted);
    }
}

#[cfg(feature = "noise")]
#[test]
fn one_side_alone_does_not_encrypt() {
    // A listener that listens beyond the machine encrypts for all.
    let listener = Listener::<u8>::builder().key(b"k").bind(("0.0.0.0", 0)).unwrap();
    let Address::Tcp { port, .. } = *listener.address() else { panic!() };
    let client = thread::spawn(move || {
        let builder = Client::builder().key(b"k");
        let plain = builder.connect::<u8, u8>(("127.0.0.1", port)).unwrap_err();
        assert_eq!(plain.kind(), ErrorKind::Unencrypted);
        builder.encrypt().connect::<u8, u8>(("127.0.0.1", port)).unwrap().recv().unwrap()
    });
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::Unencrypted);
    listener.accept().unwrap().send(&8).unwrap();
    assert_eq!(client.join().unwrap(), 8);

    let listener = Way::TcpKeyed.listener::<u8, u8>();
    let address = listener.address().clone();
    let client = thread::spawn(move || {
        Way::Noise.client(b"the key").connect::<u8, u8>(address).unwrap_err()
    });
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::Unencrypted);
    assert_eq!(client.join().unwrap().kind(), ErrorKind::Unencrypted);
    let error =
        Client::builder().encrypt().connect::<u8, u8>(Way::Tcp.listener::<u8, u8>().address());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unencrypted);
}

#[test]
fn a_client_without_the_key_gets_nothing() {
    for way in KEYED {
        let listener = way.listener::<u8, u8>();
        let client: Connection<u8> = Client::connect(listener.address()).unwrap();
        client.send(&1).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::Handshake, "{way:?}");
        loop {
            match client.recv() {
                Err(RecvError::Closed) => break,
                Err(RecvError::Decode(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_client_with_a_key_does_not_trust_a_listener_without() {
    for way in KEYED {
        let plain = if way.is_unix() { Way::Unix } else { Way::Tcp };
        let listener = plain.listener::<u8, u8>();
        let address = listener.address().clone();
        let client =
            thread::spawn(move || way.client(b"the key").connect::<u8, u8>(address).unwrap_err());
        let accepted = listener.accept().unwrap();
        // Neither the client's record nor what is sent to it passes for a message.
        assert!(matches!(accepted.recv(), Err(RecvError::Decode(_))), "{way:?}");
        let _ = accepted.send(&1);
        drop(accepted);
        assert_eq!(client.join().unwrap().kind(), ErrorKind::Handshake, "{way:?}");
    }
}

#[test]
fn timeouts_lose_no_part_of_a_message() {
    for way in [Way::Tcp, WAYS[WAYS.len() - 1]] {
        let (_, server, client) = way.connect::<Vec<u8>, Vec<u8>>();
        // More than both sockets have room for.
        let large = vec![3; 24 << 20];
        let mut sent = 0;
        // As much as there is room for, the last of it in part.
        loop {
            match client.try_send(&large) {
                Ok(()) => sent += 1,
                Err(SendError::Unfinished) => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(client.try_send(&vec![9]), Err(SendError::Full)));
        assert!(matches!(client.flush_timeout(Duration::from_millis(1)), Err(SendError::Full)));
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut received = Vec::new();
                while received.len() <= sent + 1 {
                    match server.recv_timeout(Duration::from_micros(50)) {
                        Ok(message) => received.push(message),
                        Err(RecvError::Empty) => {}
                        other => panic!("{other:?}"),
                    }
                }
                received
            });
            client.flush().unwrap();
            client.send(&vec![9]).unwrap();
            let received = reader.join().unwrap();
            assert!(received[..=sent].iter().all(|message| *message == large));
            assert_eq!(received[sent + 1], [9]);
        });
    }
}

#[test]
fn a_waiting_receiver_sends_what_is_left() {
    let (_, server, client) = Way::Tcp.connect::<Vec<u8>, Vec<u8>>();
    let large = vec![3; 3 << 20];
    while client.try_send(&large).is_ok() {}
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(server.recv().unwrap(), large);
            server.send(&vec![1]).unwrap();
        });
        assert_eq!(client.recv().unwrap(), [1]);
    });
}

#[test]
fn many_threads_share_an_end() {
    for way in WAYS {
        let (_, server, client) = way.connect::<Vec<u8>, Vec<u8>>();
        thread::scope(|scope| {
            for writer in 0..4_u8 {
                let client = client.clone();
                scope.spawn(move || {
                    for number in 0..50 {
                        client.send(&vec![writer; number * 1000]).unwrap();
                    }
                });
            }
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    let server = server.clone();
                    scope.spawn(move || {
                        let mut count = 0;
                        for message in &server {
                            assert!(message.iter().all(|byte| *byte == message[0]));
                            count += 1;
                        }
                        count
                    })
                })
                .collect();
            drop(client);
            let count: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
            assert_eq!(count, 200, "{way:?}");
        });
    }
}

#[test]
fn poll_waits_for_a_whole_message() {
    let listener = Way::Tcp.listener::<(), ()>();
    let mut stranger = TcpStream::connect(socket_address(listener.address())).unwrap();
    let accepted = listener.accept().unwrap();
    let mut frame = vec![0xa5, 3, 0, 0, 0, 0, 0, 0];
    frame.extend(b"abc\n");
    for byte in &frame[..frame.len() - 1] {
        stranger.write_all(&[*byte]).unwrap();
        assert!(!accepted.poll_timeout(Duration::from_millis(2)).unwrap());
        if *byte % 2 == 0 {
            assert!(matches!(accepted.try_recv(), Err(RecvError::Empty)));
        }
    }
    stranger.write_all(b"\n").unwrap();
    assert!(accepted.poll_timeout(LONG).unwrap());
    assert_eq!(wait(&[&accepted], None).unwrap(), [0]);
    assert_eq!(accepted.recv_bytes().unwrap(), b"abc");
    assert!(!accepted.poll().unwrap());
    // Half a frame, then the end.
    stranger.write_all(&frame[..10]).unwrap();
    drop(stranger);
    assert!(accepted.poll_timeout(LONG).unwrap());
    assert!(matches!(accepted.recv(), Err(RecvError::Closed)));
}

#[test]
fn a_message_over_the_limit_is_skipped() {
    for way in WAYS {
        let listener = way.listener_with::<(), ()>(b"the key", |builder| builder.max_message(1000));
        let address = listener.address().clone();
        let client = thread::spawn(move || {
            let client = way.client(b"the key").connect::<(), ()>(address).unwrap();
            client.send_bytes(&[1; 1000]).unwrap();
            client.send_bytes(&vec![2; 3 << 20]).unwrap();
            // Encrypted, what is not read cannot be trusted, and the connection ends.
            let _ = client.send_bytes(&[3; 10]);
            client
        });
        let accepted = listener.accept().unwrap();
        assert_eq!(accepted.recv_bytes().unwrap(), [1; 1000]);
        assert!(matches!(accepted.recv_bytes(), Err(RecvError::TooLarge(_))), "{way:?}");
        let next = accepted.recv_bytes();
        if way == WAYS[WAYS.len() - 1] && WAYS.len() == 6 {
            assert!(matches!(next, Err(RecvError::Closed)));
            drop(accepted);
        } else {
            assert_eq!(next.unwrap(), [3; 10]);
        }
        let _ = client.join();
    }
}

#[test]
fn what_is_no_message_ends_the_stream() {
    for noise in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 64],
        &[0xff; 64],
        &[0xa5, 255, 255, 255, 255, 255, 255, 255],
    ] {
        let listener = Way::Tcp.listener::<u8, u8>();
        let mut stranger = TcpStream::connect(socket_address(listener.address())).unwrap();
        let accepted = listener.accept().unwrap();
        stranger.write_all(noise).unwrap();
        assert!(matches!(accepted.recv(), Err(RecvError::Decode(_))), "{noise:?}");
        assert!(matches!(accepted.recv(), Err(RecvError::Closed)));
    }
    // A length that lies costs no memory, and does not keep the end from being seen.
    let listener = Way::Tcp.listener::<u8, u8>();
    let mut stranger = TcpStream::connect(socket_address(listener.address())).unwrap();
    let accepted = listener.accept().unwrap();
    stranger.write_all(&[0xa5, 0, 0, 0, 0, 15, 0, 0, 1, 2, 3]).unwrap();
    assert!(matches!(accepted.recv_timeout(SHORT), Err(RecvError::Empty)));
    drop(stranger);
    assert!(matches!(accepted.recv(), Err(RecvError::Closed)));
}

#[test]
fn keys_are_not_shown() {
    let key = Key::random().unwrap();
    assert_eq!(key.as_bytes().len(), 32);
    assert_eq!(format!("{key:?}"), "Key(..)");
    assert_ne!(key.as_bytes(), Key::random().unwrap().as_bytes());
}

#[test]
fn types_are_send_and_sync() {
    fn check<T: Send + Sync + std::fmt::Debug>() {}
    check::<Listener<std::cell::Cell<u8>, *const u8>>();
    check::<ListenerBuilder<u8>>();
    check::<ClientBuilder>();
    check::<Address>();
    check::<mp_pipe::Error>();
    check::<Connection<std::cell::Cell<u8>>>();
}

fn socket_address(address: &Address) -> std::net::SocketAddr {
    let Address::Tcp { host, port } = address else { panic!() };
    (host.parse::<std::net::IpAddr>().unwrap(), *port).into()
}

/// Somebody who connects without this library.
enum Stranger {
    Unix(OwnedFd),
    Tcp(TcpStream),
}

fn stranger(address: &Address) -> Stranger {
    if let Address::Tcp { .. } = address {
        return Stranger::Tcp(TcpStream::connect(socket_address(address)).unwrap());
    }
    Stranger::Unix(Client::connect::<u8, u8>(address).unwrap().try_into().unwrap())
}

impl Stranger {
    fn say(&self, bytes: &[u8]) {
        match self {
            Self::Unix(socket) => {
                std::os::unix::net::UnixStream::from(socket.try_clone().unwrap()).write_all(bytes)
            }
            Self::Tcp(socket) => (&mut &*socket).write_all(bytes),
        }
        .unwrap();
    }

    /// Reads until the end.
    fn ends_closed(self) {
        let mut rest = Vec::new();
        let _ = match self {
            Self::Unix(socket) => {
                std::os::unix::net::UnixStream::from(socket).read_to_end(&mut rest)
            }
            Self::Tcp(mut socket) => socket.read_to_end(&mut rest),
        };
    }
}
