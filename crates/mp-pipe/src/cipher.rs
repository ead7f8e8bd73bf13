//! The encryption of the messages of a connection, once both sides have proved themselves.
//!
//! A message is cut into records of 65,535 bytes or less, as Noise has them. The first holds the length of the
//! message before its bytes, so that none can be cut off at the end of a record. Each record has the next number, one
//! way and the other, so that none can be left out, repeated or moved.

#[cfg(feature = "noise")]
pub(crate) use with::Cipher;
#[cfg(not(feature = "noise"))]
pub(crate) use without::Cipher;

/// What was received was not encrypted by the other side, or not as the next thing.
#[derive(Debug)]
pub(crate) struct Tampered;

#[cfg(feature = "noise")]
mod with {
    use std::fmt;
    use std::sync::Arc;

    use snow::StatelessTransportState;

    use super::Tampered;

    /// The longest record.
    const RECORD: usize = 65535;
    /// What encryption adds to a record.
    const TAG: usize = 16;
    /// What a full record carries.
    const PIECE: usize = RECORD - TAG;
    /// The length before the bytes of a message.
    const LENGTH: usize = 8;

    /// Both directions of one side. The numbers belong to those who write and read, and are theirs to keep.
    #[derive(Clone)]
    pub(crate) struct Cipher {
        state: Arc<StatelessTransportState>,
        initiator: bool,
    }

    impl fmt::Debug for Cipher {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Cipher").finish_non_exhaustive()
        }
    }

    impl Cipher {
        pub(crate) fn new(state: Arc<StatelessTransportState>, initiator: bool) -> Self {
            Self { state, initiator }
        }

        /// The numbers of the first record that this side sends and receives: number 0 of the client confirmed.
        pub(crate) fn first(&self) -> (u64, u64) {
            if self.initiator { (1, 0) } else { (0, 1) }
        }

        /// An empty record with number 0.
        pub(crate) fn seal_confirmation(&self) -> Result<[u8; TAG], snow::Error> {
            let mut out = [0; TAG];
            self.state.write_message(0, &[], &mut out)?;
            Ok(out)
        }

        pub(crate) fn is_confirmation(&self, record: &[u8]) -> bool {
            record.len() == TAG && self.state.read_message(0, record, &mut [0; TAG]).is_ok()
        }

        /// Encrypts a message; the number goes on by as many records.
        pub(crate) fn seal(&self, number: &mut u64, message: &[u8]) -> Result<Vec<u8>, Tampered> {
            let mut out = vec![0; Self::sealed_len(message.len()).ok_or(Tampered)?];
            let first = message.len().min(PIECE - LENGTH);
            let (head, tail) = message.split_at(first);
            let mut start = Vec::with_capacity(LENGTH + first);
            start.extend((message.len() as u64).to_le_bytes());
            start.extend(head);
            let mut at = 0;
            for piece in std::iter::once(start.as_slice()).chain(tail.chunks(PIECE)) {
                let place = out.get_mut(at..).ok_or(Tampered)?;
                at += self.state.write_message(*number, piece, place).map_err(|_| Tampered)?;
                *number += 1;
            }
            Ok(out)
        }

        /// Decrypts what [`Cipher::seal`] made at the other side.
        pub(crate) fn open(&self, number: &mut u64, sealed: &[u8]) -> Result<Vec<u8>, Tampered> {
            let mut out = Vec::new();
            out.try_reserve_exact(sealed.len()).map_err(|_| Tampered)?;
            let mut piece = vec![0; RECORD.min(sealed.len())];
            let mut length = None;
            for record in sealed.chunks(RECORD) {
                let count = self.state.read_message(*number, record, &mut piece);
                let mut plain = piece.get(..count.map_err(|_| Tampered)?).ok_or(Tampered)?;
                *number += 1;
                if length.is_none() {
                    let (head, rest) = plain.split_first_chunk::<LENGTH>().ok_or(Tampered)?;
                    length = Some(u64::from_le_bytes(*head));
                    plain = rest;
                }
                out.extend(plain);
            }
            if length == Some(out.len() as u64) { Ok(out) } else { Err(Tampered) }
        }

        /// How long a message of this length is when it is encrypted.
        pub(crate) fn sealed_len(message: usize) -> Option<usize> {
            let plain = message.checked_add(LENGTH)?;
            plain.checked_add(plain.div_ceil(PIECE).checked_mul(TAG)?)
        }
    }
}

#[cfg(not(feature = "noise"))]
mod without {
    use super::Tampered;

    /// Nothing makes one without the feature.
    #[derive(Clone, Debug)]
    pub(crate) struct Cipher(Never);

    #[derive(Clone, Debug)]
    enum Never {}

    impl Cipher {
        pub(crate) fn first(&self) -> (u64, u64) {
            match self.0 {}
        }

        pub(crate) fn seal(&self, _: &mut u64, _: &[u8]) -> Result<Vec<u8>, Tampered> {
            match self.0 {}
        }

        pub(crate) fn open(&self, _: &mut u64, _: &[u8]) -> Result<Vec<u8>, Tampered> {
            match self.0 {}
        }

        pub(crate) fn sealed_len(message: usize) -> Option<usize> {
            Some(message)
        }
    }
}

#[cfg(test)]
#[cfg(feature = "noise")]
mod tests {
    use std::sync::Arc;

    use super::Cipher;

    /// Both sides of a connection.
    fn pair() -> (Cipher, Cipher) {
        let builder = || {
            let pattern = "Noise_NNpsk0_25519_ChaChaPoly_SHA256".parse().unwrap();
            snow::Builder::new(pattern).psk(0, &[7; 32]).unwrap()
        };
        let mut one = builder().build_initiator().unwrap();
        let mut two = builder().build_responder().unwrap();
        let (mut wire, mut rest) = ([0; 100], [0; 100]);
        let length = one.write_message(&[], &mut wire).unwrap();
        two.read_message(&wire[..length], &mut rest).unwrap();
        let length = two.write_message(&[], &mut wire).unwrap();
        one.read_message(&wire[..length], &mut rest).unwrap();
        let state =
            |state: snow::HandshakeState| Arc::new(state.into_stateless_transport_mode().unwrap());
        (Cipher::new(state(one), true), Cipher::new(state(two), false))
    }

    #[test]
    fn messages_come_back_as_they_were() {
        let (one, two) = pair();
        let (mut sent, mut received) = (one.first().0, two.first().1);
        for length in [0, 1, 65_510, 65_511, 65_512, 65_519, 131_029, 131_030, 131_031, 300_000] {
            let message: Vec<u8> = (0..length).map(|i| (i % 253) as u8).collect();
            let sealed = one.seal(&mut sent, &message).unwrap();
            assert_eq!(Some(sealed.len()), Cipher::sealed_len(length));
            assert!(two.open(&mut received, &sealed).unwrap() == message, "{length}");
            assert_eq!(sent, received);
        }
    }

    #[test]
    fn what_was_changed_on_its_way_does_not_open() {
        let (one, two) = pair();
        let message = vec![5; 150_000];
        let sealed = one.seal(&mut 1, &message).unwrap();
        assert!(two.open(&mut 1, &sealed).is_ok());
        let refused = |sealed: &[u8]| assert!(two.open(&mut 1, sealed).is_err());
        for at in [0, 8, 65_534, 65_535, 140_000, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            refused(&changed);
        }
        // Cut, also between two records; longer; records swapped and repeated.
        for length in [0, 1, 15, 16, 65_534, 65_535, 131_070, sealed.len() - 1] {
            refused(&sealed[..length]);
        }
        refused(&[&sealed[..], &[0; 16]].concat());
        refused(&[&sealed[65_535..131_070], &sealed[..65_535], &sealed[131_070..]].concat());
        refused(&[&sealed[..65_535], &sealed[..65_535]].concat());
        // Once more, and the other way.
        assert!(two.open(&mut 4, &sealed).is_err());
        assert!(one.open(&mut 1, &sealed).is_err());
    }
}
