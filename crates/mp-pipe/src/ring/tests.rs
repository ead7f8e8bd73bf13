use mp_wire::socket::{self, Parcel};
use mp_wire::stamped::Stamp;
use mp_wire::{Deadline, ErrorKind, Fd, Limits};

use super::*;

struct Ends {
    sender: (Ring, Fd),
    receiver: (Ring, Fd),
}

impl Ends {
    fn new() -> Self {
        let (first, second) = Ring::pair().unwrap();
        let (a, b) = socket::pair().unwrap();
        Self { sender: (first, a.into()), receiver: (second, b.into()) }
    }

    fn send(&self, bytes: &[u8]) {
        self.sender.0.send(&self.sender.1, bytes, &[], Deadline::NOW).unwrap();
    }

    fn recv(&self) -> Option<Vec<u8>> {
        let mut inbox = Inbox::to_give_away();
        let (ring, socket) = &self.receiver;
        match ring.recv(socket, &mut inbox, Limits::default(), Deadline::NOW) {
            Ok(()) => Some(inbox.into_vec().unwrap()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                None
            }
        }
    }

    fn readable(&self) -> bool {
        use std::os::fd::AsFd;
        mp_wire::poll::wait_readable(self.receiver.1.as_fd(), Deadline::NOW).unwrap()
    }
}

#[test]
fn a_packet_can_be_taken_and_looked_for_again_before_it_is_counted() {
    for looks in 0..3 {
        let ends = Ends::new();
        let lane = &ends.sender.0.0.send;
        // A sender that is not on a processor between sending its packet and counting it.
        let stamp = Stamp { sequence: 0, number: 1, elsewhere: false };
        lane.packets.store(1, Relaxed);
        assert!(Parcel::new(b"one", &[]).unwrap().try_send(&ends.sender.1, Some(stamp)).unwrap());
        assert_eq!(ends.recv().unwrap(), b"one");
        for _ in 0..looks {
            assert_eq!(ends.recv(), None);
        }
        lane.update(|word| word.count_packet(1));
        lane.next.store(1, Relaxed);
        assert!(!lane.word().outstanding(), "{looks}");
        ends.send(b"two");
        assert!(ends.readable(), "{looks}");
        assert_eq!(ends.recv().unwrap(), b"two");
        assert!(!ends.readable());
    }
}
