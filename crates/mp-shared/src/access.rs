//! Reads and writes of memory that others may write at the same time.
//!
//! Each access is a relaxed atomic one, of the size of the element where that is 1, 2, 4 or 8 bytes and the address
//! allows it, else of the largest naturally aligned pieces. So an element of such a size is never torn, and
//! nothing here makes a reference into the memory.
#![expect(unsafe_code, reason = "atomic access through pointers into shared memory")]

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

use bytemuck::Pod;

/// Reads one element.
///
/// # Safety
///
/// `source` points to `size_of::<T>()` mapped bytes, which stay mapped during the call. Any alignment will do. Whoever
/// else writes them meanwhile does so atomically or from another process.
#[inline]
pub(crate) unsafe fn load<T: Pod>(source: *const T) -> T {
    let source = source.cast_mut();
    macro_rules! whole {
        ($atomic:ty) => {{
            // SAFETY: mapped, as the caller says; aligned, as was checked before; a valid integer, as all bytes are.
            let atomic = unsafe { <$atomic>::from_ptr(source.cast()) };
            bytemuck::cast(atomic.load(Relaxed))
        }};
    }
    match size_of::<T>() {
        1 => whole!(AtomicU8),
        2 if is_aligned(source, 2) => whole!(AtomicU16),
        4 if is_aligned(source, 4) => whole!(AtomicU32),
        8 if is_aligned(source, 8) => whole!(AtomicU64),
        _ => {
            let mut value = T::zeroed();
            // SAFETY: as the caller says.
            unsafe { copy_out(source.cast(), bytemuck::bytes_of_mut(&mut value)) };
            value
        }
    }
}

/// Writes one element.
///
/// # Safety
///
/// As for [`load`], and the memory is writable.
#[inline]
pub(crate) unsafe fn store<T: Pod>(target: *mut T, value: T) {
    macro_rules! whole {
        ($atomic:ty) => {{
            // SAFETY: mapped, as the caller says; aligned, as was checked before; a valid integer, as all bytes are.
            let atomic = unsafe { <$atomic>::from_ptr(target.cast()) };
            atomic.store(bytemuck::cast(value), Relaxed);
        }};
    }
    match size_of::<T>() {
        1 => whole!(AtomicU8),
        2 if is_aligned(target, 2) => whole!(AtomicU16),
        4 if is_aligned(target, 4) => whole!(AtomicU32),
        8 if is_aligned(target, 8) => whole!(AtomicU64),
        // SAFETY: as the caller says.
        _ => unsafe { copy_in(target.cast(), bytemuck::bytes_of(&value)) },
    }
}

#[inline]
fn is_aligned<T>(pointer: *const T, to: usize) -> bool {
    pointer.addr().is_multiple_of(to)
}

/// The next piece of a copy: the largest of 4, 2, 1 bytes that `address` is aligned to and `left` has room for.
#[inline]
fn piece(address: usize, left: usize) -> usize {
    let aligned = 1 << (address | 4).trailing_zeros();
    let fits = 1 << left.min(4).ilog2();
    usize::min(aligned, fits)
}

/// How many bytes to copy before the address is aligned to 8; all, if there are not so many.
#[inline]
fn until_aligned(address: usize, len: usize) -> usize {
    (address.wrapping_neg() % WORD).min(len)
}

const WORD: usize = size_of::<u64>();

/// Copies bytes out of shared memory.
///
/// # Safety
///
/// As for [`load`], with `target.len()` bytes.
pub(crate) unsafe fn copy_out(source: *const u8, target: &mut [u8]) {
    let (head, rest) = target.split_at_mut(until_aligned(source.addr(), target.len()));
    // SAFETY: the first of the bytes that the caller vouches for.
    unsafe { copy_out_pieces(source, head) };
    let mut source = source.wrapping_add(head.len()).cast_mut();
    let (words, tail) = rest.as_chunks_mut::<WORD>();
    for word in words {
        // SAFETY: within the bytes that the caller vouches for; `head` has seen to the alignment.
        let atomic = unsafe { AtomicU64::from_ptr(source.cast()) };
        *word = atomic.load(Relaxed).to_ne_bytes();
        source = source.wrapping_add(WORD);
    }
    // SAFETY: the last of the bytes that the caller vouches for.
    unsafe { copy_out_pieces(source, tail) };
}

/// Copies bytes into shared memory.
///
/// # Safety
///
/// As for [`store`], with `source.len()` bytes.
pub(crate) unsafe fn copy_in(target: *mut u8, source: &[u8]) {
    let (head, rest) = source.split_at(until_aligned(target.addr(), source.len()));
    // SAFETY: the first of the bytes that the caller vouches for.
    unsafe { copy_in_pieces(target, head) };
    let mut target = target.wrapping_add(head.len());
    let (words, tail) = rest.as_chunks::<WORD>();
    for word in words {
        // SAFETY: within the bytes that the caller vouches for; `head` has seen to the alignment.
        let atomic = unsafe { AtomicU64::from_ptr(target.cast()) };
        atomic.store(u64::from_ne_bytes(*word), Relaxed);
        target = target.wrapping_add(WORD);
    }
    // SAFETY: the last of the bytes that the caller vouches for.
    unsafe { copy_in_pieces(target, tail) };
}

/// Copies bytes out of shared memory, in pieces of up to 4 at multiples of their size.
///
/// # Safety
///
/// As for [`copy_out`].
unsafe fn copy_out_pieces(source: *const u8, target: &mut [u8]) {
    let mut source = source.cast_mut();
    let mut rest = target;
    while !rest.is_empty() {
        let size = piece(source.addr(), rest.len());
        let (part, next) = rest.split_at_mut(size);
        macro_rules! piece {
            ($atomic:ty) => {{
                // SAFETY: mapped, as the caller says; `piece` has seen to the alignment.
                let atomic = unsafe { <$atomic>::from_ptr(source.cast()) };
                part.copy_from_slice(&atomic.load(Relaxed).to_ne_bytes());
            }};
        }
        match size {
            4 => piece!(AtomicU32),
            2 => piece!(AtomicU16),
            _ => piece!(AtomicU8),
        }
        source = source.wrapping_add(size);
        rest = next;
    }
}

/// Copies bytes into shared memory, in pieces of up to 4 at multiples of their size.
///
/// # Safety
///
/// As for [`copy_in`].
unsafe fn copy_in_pieces(mut target: *mut u8, source: &[u8]) {
    let mut rest = source;
    while !rest.is_empty() {
        let size = piece(target.addr(), rest.len());
        let (part, next) = rest.split_at(size);
        macro_rules! piece {
            ($atomic:ty) => {{
                // SAFETY: mapped, as the caller says; `piece` has seen to the alignment.
                let atomic = unsafe { <$atomic>::from_ptr(target.cast()) };
                atomic.store(bytemuck::pod_read_unaligned(part), Relaxed);
            }};
        }
        match size {
            4 => piece!(AtomicU32),
            2 => piece!(AtomicU16),
            _ => piece!(AtomicU8),
        }
        target = target.wrapping_add(size);
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_aligned_elements_whole() {
        assert_eq!(piece(4, 100), 4);
        assert_eq!(piece(6, 100), 2);
        assert_eq!(piece(7, 100), 1);
        assert_eq!(piece(16, 7), 4);
        assert_eq!(piece(16, 3), 2);
        assert_eq!(piece(16, 1), 1);
    }

    #[test]
    fn copies_at_every_offset_and_length() {
        let pattern: Vec<u8> = (1..=40).collect();
        for offset in 0..9 {
            for length in 0..30 {
                let mut memory = [0u64; 8];
                let base = memory.as_mut_ptr().cast::<u8>();
                // SAFETY: 9 + 30 bytes fit in 64.
                let at = unsafe { base.add(offset) };
                // SAFETY: as above; `memory` is ours alone.
                unsafe { copy_in(at, &pattern[..length]) };
                let mut back = vec![0; length];
                // SAFETY: as above.
                unsafe { copy_out(at, &mut back) };
                assert_eq!(back, pattern[..length]);
                let bytes: &[u8] = bytemuck::cast_slice(&memory);
                assert_eq!(&bytes[offset..offset + length], &pattern[..length]);
                assert!(bytes[..offset].iter().chain(&bytes[offset + length..]).all(|&b| b == 0));
            }
        }
    }

    #[test]
    fn elements_of_every_size_come_back() {
        fn check<T: Pod + PartialEq + std::fmt::Debug>(value: T) {
            let mut memory = [0u64; 8];
            for offset in [0, 1, 2, 3, 4, 8] {
                // SAFETY: every `T` below has at most 24 bytes.
                let at = unsafe { memory.as_mut_ptr().cast::<u8>().add(offset) }.cast::<T>();
                // SAFETY: within `memory`, which is ours alone.
                unsafe { store(at, value) };
                // SAFETY: as above.
                assert_eq!(unsafe { load(at) }, value);
            }
        }
        check(());
        check(7u8);
        check(-7i16);
        check(1.5f32);
        check(f64::MAX);
        check([1u8, 2, 3]);
        check(u128::MAX - 1);
        check([1u64, 2, 3]);
    }
}
