//! The handshake as a function of records: honest runs, and what an attacker could try.

use proptest::prelude::*;

use super::record::{Tag, write};
use super::*;

fn secret(key: &[u8]) -> Secret {
    Secret {
        key: key.into(),
        protocol: "test".to_owned(),
        carrier: Carrier::Packets,
        encrypt: false,
    }
}

/// With each kind of proof.
fn secrets() -> Vec<Secret> {
    let plain = secret(b"the key");
    let mut all = vec![plain.clone()];
    if cfg!(feature = "noise") {
        all.push(Secret { encrypt: true, carrier: Carrier::Stream, ..plain });
    }
    all
}

fn client(secret: &Secret) -> (Handshake, Vec<u8>) {
    Handshake::client(secret.clone()).unwrap()
}

/// What came of two sides that were left to talk.
#[derive(Debug, Default)]
struct Run {
    client: Option<Result<(), ErrorKind>>,
    listener: Option<Result<(), ErrorKind>>,
    /// All records, those of the client at even places.
    records: Vec<Vec<u8>>,
}

/// Lets two sides talk; `change` may change the record with a number on its way.
fn run(one: &Secret, other: &Secret, mut change: impl FnMut(usize, &mut Vec<u8>)) -> Run {
    let (mut client, first) = client(one);
    let mut listener = Handshake::listener(other.clone());
    let mut run = Run::default();
    let mut next = Some(first);
    while let Some(mut record) = next.take() {
        let number = run.records.len();
        change(number, &mut record);
        run.records.push(record.clone());
        let (side, result) = if number % 2 == 0 {
            (&mut listener, &mut run.listener)
        } else {
            (&mut client, &mut run.client)
        };
        match side.step(&record) {
            Ok(Step::Send(reply)) => next = Some(reply),
            Ok(Step::Done(reply, _)) => {
                *result = Some(Ok(()));
                next = reply;
            }
            Err(refusal) => {
                *result = Some(Err(refusal.error.kind()));
                next = refusal.reply;
            }
        }
    }
    run
}

fn honest(secret: &Secret) -> Vec<Vec<u8>> {
    let run = run(secret, secret, |_, _| {});
    assert_eq!((run.client, run.listener), (Some(Ok(())), Some(Ok(()))));
    run.records
}

// LC-17, LC-18: there is one digest, SHA-256, and a key is bytes by its type.

#[test]
fn both_sides_prove_the_same_key() {
    for secret in secrets() {
        let records = honest(&secret);
        assert!(records.iter().all(|record| record.len() <= MAX_RECORD));
        assert_ne!(records, honest(&secret), "nonces are fresh");
    }
}

#[test]
fn the_proofs_are_what_the_readme_says() {
    // Computed by another implementation of HMAC-SHA-256.
    let client = std::array::from_fn(|i| i as u8);
    let listener = std::array::from_fn(|i| i as u8 + 32);
    for (role, right) in [
        (hmac::Role::Client, "ce55ef3c068c807a6523fa8c96d6e473170b05a8a42bfebb1f8d891d3906278b"),
        (hmac::Role::Listener, "04447548a4646d96a23d00918461565428dc71b43c10b47e9eab0a5eaf1b9091"),
    ] {
        let proof = hmac::proof(&secret(b"the key"), role, &client, &listener).unwrap();
        let text: String = proof.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, right);
    }
}

#[test]
fn another_secret_is_refused_by_both_sides() {
    // LC-15
    for secret in secrets() {
        let mut others = vec![
            Secret { key: b"the kez".into(), ..secret.clone() },
            Secret { key: b"".into(), ..secret.clone() },
            Secret { protocol: "tes".to_owned(), ..secret.clone() },
            Secret { protocol: String::new(), ..secret.clone() },
        ];
        let carrier = match secret.carrier {
            Carrier::Packets => Carrier::Stream,
            Carrier::Stream => Carrier::Packets,
        };
        others.push(Secret { carrier, ..secret.clone() });
        for other in others {
            for (one, two) in [(&secret, &other), (&other, &secret)] {
                let run = run(one, two, |_, _| {});
                assert_eq!(run.client, Some(Err(ErrorKind::Authentication)), "{other:?}");
                assert_eq!(run.listener, Some(Err(ErrorKind::Authentication)), "{other:?}");
            }
        }
    }
}

#[cfg(feature = "noise")]
#[test]
fn nobody_is_talked_out_of_encryption() {
    let all = secrets();
    for (one, two) in [(&all[0], &all[1]), (&all[1], &all[0])] {
        let run = run(one, two, |_, _| {});
        assert_eq!(run.client, Some(Err(ErrorKind::Unencrypted)));
        assert_eq!(run.listener, Some(Err(ErrorKind::Unencrypted)));
    }
}

#[test]
fn a_record_that_is_changed_is_refused() {
    // LC-16
    for secret in secrets() {
        let records = honest(&secret);
        for (number, honest) in records.iter().enumerate() {
            // Whoever gets it, or whoever sees the next proof, refuses.
            let refused = |change: &dyn Fn(&mut Vec<u8>)| {
                let run = run(&secret, &secret, |at, record| {
                    if at == number {
                        change(record);
                    }
                });
                let results = [run.client, run.listener];
                assert!(results.iter().any(|result| matches!(result, Some(Err(_)))), "{run:?}");
            };
            for byte in 0..honest.len() {
                refused(&|record| record[byte] ^= 1);
                refused(&|record| record[byte] ^= 0x80);
            }
            refused(&|record| {
                record.pop();
            });
            refused(&|record| record.push(0));
            refused(&Vec::clear);
        }
    }
}

#[test]
fn what_the_client_said_is_not_the_listeners_proof() {
    // Reflection: the listener's side, played with the client's own records.
    let secret = secret(b"the key");
    let (mut victim, hello) = client(&secret);
    let mut same = hello.clone();
    same[8] = Tag::HmacChallenge as u8;
    assert_eq!(victim.step(&same).unwrap_err().error.kind(), ErrorKind::Handshake);

    let (mut victim, hello) = client(&secret);
    assert_eq!(victim.step(&hello).unwrap_err().error.kind(), ErrorKind::Handshake);

    let (mut victim, _) = client(&secret);
    let Step::Send(mut answer) = victim.step(&write(Tag::HmacChallenge, &[7; 32])).unwrap() else {
        panic!()
    };
    answer[8] = Tag::HmacWelcome as u8;
    assert_eq!(victim.step(&answer).unwrap_err().error.kind(), ErrorKind::Authentication);
}

#[cfg(feature = "noise")]
#[test]
fn what_the_client_said_is_not_the_listeners_proof_encrypted() {
    let secret = &secrets()[1];
    let (mut victim, mut first) = client(secret);
    first[8] = Tag::NoiseSecond as u8;
    assert_eq!(victim.step(&first).unwrap_err().error.kind(), ErrorKind::Authentication);
}

#[test]
fn what_was_said_before_proves_nothing() {
    // Replay, of each side.
    for secret in secrets() {
        let records = honest(&secret);
        let mut listener = Handshake::listener(secret.clone());
        let mut refused = false;
        for record in records.iter().step_by(2) {
            match listener.step(record) {
                Ok(Step::Send(_)) => {}
                Ok(Step::Done(..)) => panic!("a recording was let in"),
                Err(refusal) => {
                    refused = true;
                    assert_eq!(refusal.error.kind(), ErrorKind::Authentication);
                }
            }
        }
        assert!(refused);

        let (mut client, _) = client(&secret);
        let mut refused = false;
        for record in records.iter().skip(1).step_by(2) {
            match client.step(record) {
                Ok(Step::Send(_)) => {}
                Ok(Step::Done(..)) => panic!("a recording was believed"),
                Err(refusal) => {
                    refused = true;
                    assert_eq!(refusal.error.kind(), ErrorKind::Authentication);
                }
            }
        }
        assert!(refused);
    }
}

#[test]
fn a_side_that_refused_goes_no_further() {
    for secret in secrets() {
        let records = honest(&secret);
        let mut listener = Handshake::listener(secret.clone());
        listener.step(b"noise").unwrap_err();
        for record in &records {
            listener.step(record).unwrap_err();
        }
    }
}

#[test]
fn the_order_of_records_is_fixed() {
    for secret in secrets() {
        let records = honest(&secret);
        for (number, record) in records.iter().enumerate().skip(1) {
            let mut listener = Handshake::listener(secret.clone());
            assert!(listener.step(record).is_err(), "record {number} came first");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_records_prove_nothing(
        listens: bool,
        encrypt: bool,
        records in prop::collection::vec((prop::option::weighted(0.8, 1..9_u8), prop::collection::vec(any::<u8>(), 0..70)), 1..6),
    ) {
        let encrypt = encrypt && cfg!(feature = "noise");
        let secret = Secret { encrypt, ..secret(b"k") };
        let mut side = if listens { Handshake::listener(secret) } else { client(&secret).0 };
        for (tag, mut body) in records {
            if let Some(tag) = tag {
                body.splice(..0, *b"mp-auth\x01");
                body.insert(8, tag);
                // Half of them as long as they must be.
                if body.len() % 2 == 0 {
                    body.resize(9 + if encrypt { 48 } else { 32 }, 5);
                }
            }
            if let Ok(Step::Done(..)) = side.step(&body) {
                panic!("{body:?}");
            }
        }
    }
}
