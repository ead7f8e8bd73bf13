//! The types that fit into one atomic word, and what each does there.
//!
//! All operations are sequentially consistent. Where the machine has an instruction for one, it is that; else it is a loop
//! of compare-exchange.

use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32,
    AtomicU64, AtomicUsize, Ordering::SeqCst,
};

use bytemuck::Pod;

use crate::segment::Shared;

/// A type that fits into one atomic word: an integer of 8 to 64 bits, `usize`, `isize`, `f32`, `f64`, `bool`.
///
/// It cannot be implemented elsewhere.
pub trait Atomic: Cell {}

/// A type of [`AtomicValue`](crate::AtomicValue) that can be added to: all but `bool`.
///
/// It cannot be implemented elsewhere.
pub trait AtomicNumber: Atomic + Arithmetic + Pod {}

/// A type of [`AtomicValue`](crate::AtomicValue) that has bits to set and clear: integers and `bool`.
///
/// It cannot be implemented elsewhere.
pub trait AtomicBits: Atomic + Logic {}

/// How a type lies in its word.
pub trait Cell: Copy + 'static {
    type Cell: Shared;

    fn load(cell: &Self::Cell) -> Self;
    fn store(cell: &Self::Cell, value: Self);
    fn swap(cell: &Self::Cell, value: Self) -> Self;
    fn compare_exchange(cell: &Self::Cell, current: Self, new: Self) -> Result<Self, Self>;

    fn fetch_update(
        cell: &Self::Cell,
        mut change: impl FnMut(Self) -> Option<Self>,
    ) -> Result<Self, Self> {
        let mut current = Self::load(cell);
        loop {
            let new = change(current).ok_or(current)?;
            match Self::compare_exchange(cell, current, new) {
                Ok(old) => return Ok(old),
                Err(now) => current = now,
            }
        }
    }

    fn fetch(cell: &Self::Cell, mut change: impl FnMut(Self) -> Self) -> Self {
        let (Ok(old) | Err(old)) = Self::fetch_update(cell, |value| Some(change(value)));
        old
    }
}

/// Arithmetic, in private memory and in a word.
pub trait Arithmetic: Cell {
    fn plus(self, number: Self) -> Self;
    fn minus(self, number: Self) -> Self;
    fn least(self, number: Self) -> Self;
    fn most(self, number: Self) -> Self;

    fn fetch_add(cell: &Self::Cell, number: Self) -> Self {
        Self::fetch(cell, |value| value.plus(number))
    }

    fn fetch_sub(cell: &Self::Cell, number: Self) -> Self {
        Self::fetch(cell, |value| value.minus(number))
    }

    fn fetch_min(cell: &Self::Cell, number: Self) -> Self {
        Self::fetch(cell, |value| value.least(number))
    }

    fn fetch_max(cell: &Self::Cell, number: Self) -> Self {
        Self::fetch(cell, |value| value.most(number))
    }
}

/// Operations on bits, in private memory and in a word.
pub trait Logic: Cell {
    fn and(self, bits: Self) -> Self;
    fn or(self, bits: Self) -> Self;
    fn xor(self, bits: Self) -> Self;
    fn fetch_and(cell: &Self::Cell, bits: Self) -> Self;
    fn fetch_or(cell: &Self::Cell, bits: Self) -> Self;
    fn fetch_xor(cell: &Self::Cell, bits: Self) -> Self;
}

macro_rules! integers {
    ($($integer:ty: $atomic:ty),* $(,)?) => { $(
        impl Cell for $integer {
            type Cell = $atomic;

            #[inline]
            fn load(cell: &$atomic) -> Self {
                cell.load(SeqCst)
            }

            #[inline]
            fn store(cell: &$atomic, value: Self) {
                cell.store(value, SeqCst);
            }

            #[inline]
            fn swap(cell: &$atomic, value: Self) -> Self {
                cell.swap(value, SeqCst)
            }

            #[inline]
            fn compare_exchange(cell: &$atomic, current: Self, new: Self) -> Result<Self, Self> {
                cell.compare_exchange(current, new, SeqCst, SeqCst)
            }
        }

        impl Arithmetic for $integer {
            #[inline]
            fn plus(self, number: Self) -> Self {
                self.wrapping_add(number)
            }

            #[inline]
            fn minus(self, number: Self) -> Self {
                self.wrapping_sub(number)
            }

            #[inline]
            fn least(self, number: Self) -> Self {
                self.min(number)
            }

            #[inline]
            fn most(self, number: Self) -> Self {
                self.max(number)
            }

            #[inline]
            fn fetch_add(cell: &$atomic, number: Self) -> Self {
                cell.fetch_add(number, SeqCst)
            }

            #[inline]
            fn fetch_sub(cell: &$atomic, number: Self) -> Self {
                cell.fetch_sub(number, SeqCst)
            }

            #[inline]
            fn fetch_min(cell: &$atomic, number: Self) -> Self {
                cell.fetch_min(number, SeqCst)
            }

            #[inline]
            fn fetch_max(cell: &$atomic, number: Self) -> Self {
                cell.fetch_max(number, SeqCst)
            }
        }

        impl Logic for $integer {
            #[inline]
            fn and(self, bits: Self) -> Self {
                self & bits
            }

            #[inline]
            fn or(self, bits: Self) -> Self {
                self | bits
            }

            #[inline]
            fn xor(self, bits: Self) -> Self {
                self ^ bits
            }

            #[inline]
            fn fetch_and(cell: &$atomic, bits: Self) -> Self {
                cell.fetch_and(bits, SeqCst)
            }

            #[inline]
            fn fetch_or(cell: &$atomic, bits: Self) -> Self {
                cell.fetch_or(bits, SeqCst)
            }

            #[inline]
            fn fetch_xor(cell: &$atomic, bits: Self) -> Self {
                cell.fetch_xor(bits, SeqCst)
            }
        }

        impl Atomic for $integer {}
        impl AtomicNumber for $integer {}
        impl AtomicBits for $integer {}
    )* };
}

integers! {
    u8: AtomicU8,
    i8: AtomicI8,
    u16: AtomicU16,
    i16: AtomicI16,
    u32: AtomicU32,
    i32: AtomicI32,
    u64: AtomicU64,
    i64: AtomicI64,
    usize: AtomicUsize,
    isize: AtomicIsize,
}

macro_rules! floats {
    ($($float:ty: $atomic:ty),* $(,)?) => { $(
        impl Cell for $float {
            type Cell = $atomic;

            #[inline]
            fn load(cell: &$atomic) -> Self {
                Self::from_bits(cell.load(SeqCst))
            }

            #[inline]
            fn store(cell: &$atomic, value: Self) {
                cell.store(value.to_bits(), SeqCst);
            }

            #[inline]
            fn swap(cell: &$atomic, value: Self) -> Self {
                Self::from_bits(cell.swap(value.to_bits(), SeqCst))
            }

            #[inline]
            fn compare_exchange(cell: &$atomic, current: Self, new: Self) -> Result<Self, Self> {
                cell.compare_exchange(current.to_bits(), new.to_bits(), SeqCst, SeqCst)
                    .map(Self::from_bits)
                    .map_err(Self::from_bits)
            }
        }

        impl Arithmetic for $float {
            #[inline]
            fn plus(self, number: Self) -> Self {
                self + number
            }

            #[inline]
            fn minus(self, number: Self) -> Self {
                self - number
            }

            #[inline]
            fn least(self, number: Self) -> Self {
                self.min(number)
            }

            #[inline]
            fn most(self, number: Self) -> Self {
                self.max(number)
            }
        }

        impl Atomic for $float {}
        impl AtomicNumber for $float {}
    )* };
}

floats! {
    f32: AtomicU32,
    f64: AtomicU64,
}

/// A byte: not every byte is a `bool`, and another process may write any. What is not 0 is true.
impl Cell for bool {
    type Cell = AtomicU8;

    #[inline]
    fn load(cell: &AtomicU8) -> Self {
        cell.load(SeqCst) != 0
    }

    #[inline]
    fn store(cell: &AtomicU8, value: Self) {
        cell.store(value.into(), SeqCst);
    }

    #[inline]
    fn swap(cell: &AtomicU8, value: Self) -> Self {
        cell.swap(value.into(), SeqCst) != 0
    }

    #[inline]
    fn compare_exchange(cell: &AtomicU8, current: Self, new: Self) -> Result<Self, Self> {
        let mut byte = current.into();
        loop {
            match cell.compare_exchange(byte, new.into(), SeqCst, SeqCst) {
                Ok(old) => return Ok(old != 0),
                // Another byte that means the same.
                Err(now) if (now != 0) == current => byte = now,
                Err(now) => return Err(now != 0),
            }
        }
    }
}

impl Logic for bool {
    #[inline]
    fn and(self, bits: Self) -> Self {
        self & bits
    }

    #[inline]
    fn or(self, bits: Self) -> Self {
        self | bits
    }

    #[inline]
    fn xor(self, bits: Self) -> Self {
        self ^ bits
    }

    #[inline]
    fn fetch_and(cell: &AtomicU8, bits: Self) -> Self {
        Self::fetch(cell, |value| value & bits)
    }

    #[inline]
    fn fetch_or(cell: &AtomicU8, bits: Self) -> Self {
        Self::fetch(cell, |value| value | bits)
    }

    #[inline]
    fn fetch_xor(cell: &AtomicU8, bits: Self) -> Self {
        Self::fetch(cell, |value| value ^ bits)
    }
}

impl Atomic for bool {}
impl AtomicBits for bool {}
