use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;

use super::*;

const KIND: u32 = 7;

#[test]
fn smoke() {
    let segment = Segment::create(KIND, 100).unwrap();
    assert_eq!((segment.len(), segment.kind(), segment.is_empty()), (100, KIND, false));
    segment.copy_in(10, b"hello").unwrap();
    let mut bytes = [0; 7];
    segment.copy_out(9, &mut bytes).unwrap();
    assert_eq!(&bytes, b"\0hello\0");
    let mut more = vec![1];
    segment.append_to(10, 5, &mut more).unwrap();
    assert_eq!(more, b"\x01hello");
    let mut pairs = Vec::<u16>::new();
    // Where they lie need not be aligned.
    segment.append_to(11, 2, &mut pairs).unwrap();
    assert_eq!(pairs, [b"el", b"lo"].map(|pair| u16::from_ne_bytes(*pair)));
}

#[test]
fn ranges_are_checked() {
    let segment = Segment::create(KIND, 64).unwrap();
    assert!(segment.atomic_u32(60).is_ok());
    for offset in [61, 64, 1 << 20, usize::MAX, usize::MAX - 3] {
        assert_eq!(segment.atomic_u32(offset).unwrap_err().kind(), ErrorKind::OutOfBounds);
        assert!(segment.copy_in(offset, b"four").is_err());
        assert!(segment.copy_out(offset, &mut [0; 4]).is_err());
        assert!(segment.append_to(offset, 4, &mut Vec::<u8>::new()).is_err());
    }
    assert!(segment.atomic_u64(4).is_err());
    assert!(segment.append_to(0, usize::MAX, &mut Vec::<u8>::new()).is_err());
    assert!(segment.append_to(0, usize::MAX / 4, &mut Vec::<u64>::new()).is_err());
    assert!(segment.commit(60..65).is_err());
    let backwards = Range { start: 5, end: 4 };
    assert!(segment.discard(backwards).is_err());
    assert!(Segment::create(KIND, usize::MAX).is_err());
}

#[test]
fn no_memory_is_an_error() {
    // More than any machine has, and not sparse.
    let error = Segment::create(KIND, 1 << 46).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error:?}");
}

#[test]
fn sealed() {
    let segment = Segment::create(KIND, 100).unwrap();
    assert!(ftruncate(segment.fd(), 0).is_err());
    assert!(ftruncate(segment.fd(), 1 << 20).is_err());
    assert!(fcntl(segment.fd(), FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).is_err());
}

#[test]
fn attach_refuses_what_is_no_segment() {
    let incompatible = |fd: OwnedFd| {
        assert_eq!(Segment::attach(fd, KIND).unwrap_err().kind(), ErrorKind::Incompatible);
    };
    incompatible(std::fs::File::open("/proc/self/exe").unwrap().into());
    incompatible(mp_wire::socket::pair().unwrap().0);
    incompatible(new_memfd().unwrap());

    let sealed = |bytes: &[u8]| {
        let fd = new_memfd().unwrap();
        ftruncate(&fd, 128).unwrap();
        pwrite(&fd, bytes, 0).unwrap();
        fcntl(&fd, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW)).unwrap();
        fd
    };
    incompatible(sealed(&[]));
    let header = Header::new(KIND, 128 - HEADER_LEN as u64).unwrap();
    assert!(Segment::attach(sealed(&header.encode()), KIND).is_ok());
    assert!(Segment::attach(sealed(&header.encode()), KIND + 1).is_err());
    let mut longer = header;
    longer.len += 1;
    incompatible(sealed(&longer.encode()));

    let unsealed = new_memfd().unwrap();
    ftruncate(&unsealed, 128).unwrap();
    pwrite(&unsealed, &header.encode(), 0).unwrap();
    incompatible(unsealed);
}

#[test]
fn receiving_again_maps_nothing() {
    let segment = Segment::create(KIND, 100).unwrap();
    let message = mp_wire::encode(&segment).unwrap();
    let place = segment.place(0, 1).unwrap();
    for _ in 0..10_000 {
        let copy = message.fds[0].clone().into_owned().unwrap();
        let same = Segment::attach(copy, KIND).unwrap();
        assert_eq!(same.place(0, 1).unwrap(), place);
        assert_eq!(same.fd().as_raw_fd(), segment.fd().as_raw_fd());
    }
    let key = segment.0.key;
    drop(segment);
    let header = Segment::attach(message.fds[0].clone(), KIND).unwrap().0.header;
    assert!(registry::find(key, &header).is_none());
}

#[test]
fn sparse_commits_and_discards() {
    let segment = Segment::create_sparse(KIND, 1 << 30, 100).unwrap();
    let before = segment.resident().unwrap();
    assert!(before <= 2 * sys::page_size() as u64);
    segment.commit(1 << 20..2 << 20).unwrap();
    assert!(segment.resident().unwrap() >= before + (1 << 20));
    segment.atomic_u32(1 << 20).unwrap().store(5, Ordering::Relaxed);
    segment.discard(1 << 20..2 << 20).unwrap();
    assert!(segment.resident().unwrap() <= before + 2 * sys::page_size() as u64);
    assert!(Segment::create_sparse(KIND, 10, 11).is_err());
}

#[test]
fn serializing_elsewhere_is_an_error() {
    let bytes: Result<Segment, _> = mp_wire::decode(&[0], &[]);
    assert!(bytes.is_err());
}

#[test]
fn handles_are_send_and_sync() {
    fn check<T: Send + Sync + Clone + fmt::Debug>() {}
    check::<Segment>();
    check::<View<AtomicU32>>();
}
