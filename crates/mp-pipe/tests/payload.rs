//! Messages that stay where they came in, and many writers of messages of all lengths.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::thread;

use mp_pipe::{RecvError, pipe, simplex};

#[test]
fn a_large_value_is_decoded_where_it_came_in() {
    let (a, b) = pipe::<(String, Vec<u16>)>().unwrap();
    let text = "ä".repeat(3 << 20);
    a.send(&(text.clone(), vec![60_000; 1000])).unwrap();
    let (got, numbers) = b.recv().unwrap();
    assert!(got == text && numbers == [60_000; 1000]);
}

#[test]
fn a_payload_outlives_its_connection() {
    let (a, b) = pipe::<()>().unwrap();
    for len in [10, 100_000, 3 << 20] {
        a.send_bytes(&vec![5; len]).unwrap();
    }
    let payloads: Vec<_> = (0..3).map(|_| b.recv_payload().unwrap()).collect();
    drop((a, b));
    let read = thread::spawn(move || {
        let lens: Vec<usize> = payloads.iter().map(|payload| payload.len()).collect();
        assert!(payloads.iter().all(|payload| payload.iter().all(|&byte| byte == 5)));
        assert_eq!(payloads.into_iter().next().unwrap().into_vec().unwrap(), [5; 10]);
        lens
    });
    assert_eq!(read.join().unwrap(), [10, 100_000, 3 << 20]);
}

#[test]
fn a_hundred_writers_of_all_lengths() {
    const WRITERS: usize = 100;
    const MESSAGES: usize = 12;
    let (sender, receiver) = simplex::<()>().unwrap();
    let len = |writer: usize, number: usize| 8 + (1_usize << (number + writer % 11)).min(3 << 20);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let sender = sender.clone();
            thread::spawn(move || {
                for number in 0..MESSAGES {
                    let mut bytes = vec![writer as u8; len(writer, number)];
                    bytes[0] = number as u8;
                    sender.send_bytes(&bytes).unwrap();
                }
            })
        })
        .collect();
    drop(sender);
    let mut next = [0; WRITERS];
    loop {
        let bytes = match receiver.recv_payload() {
            Ok(bytes) => bytes,
            Err(RecvError::Closed) => break,
            Err(error) => panic!("{error:?}"),
        };
        let (number, writer) = (usize::from(bytes[0]), usize::from(bytes[1]));
        assert_eq!((number, bytes.len()), (next[writer], len(writer, number)));
        assert!(bytes[1..].iter().all(|&byte| usize::from(byte) == writer));
        next[writer] += 1;
    }
    assert_eq!(next, [MESSAGES; WRITERS]);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}
