//! Numbers, and vectors of them, as their bytes: nothing is encoded one by one.
//!
//! Both ends are the same program on the same machine, and know the type; so nothing is said of it in the bytes.

use std::any::{Any, TypeId};
use std::mem;

use mp_shared::segment::Segment;
use mp_shared::{Error, bytemuck};
use mp_wire::Fd;

use crate::loan;

macro_rules! for_each_number {
    ($do:ident $($args:tt)*) => {
        $do!($($args)* u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64)
    };
}

macro_rules! is_any {
    ($this:expr, $wrap:ident; $($number:ty)*) => {
        false $(|| $this == TypeId::of::<$wrap<$number>>() || $this == TypeId::of::<($wrap<$number>,)>())*
    };
}

/// A type by itself.
type Just<T> = T;

/// Says whether it is a number, or a tuple of one.
pub(crate) fn is_number<T: 'static>() -> bool {
    let this = TypeId::of::<T>();
    for_each_number!(is_any this, Just;)
}

/// Says whether it is a vector of numbers, or a tuple of one.
pub(crate) fn is_vector<T: 'static>() -> bool {
    is_type_of_vector(TypeId::of::<T>())
}

/// The same for a type that is known by its identity.
pub(crate) fn is_type_of_vector(this: TypeId) -> bool {
    for_each_number!(is_any this, Vec;)
}

macro_rules! view {
    ($any:expr, $($number:ty)*) => {
        $(
            if let Some(values) = $any.downcast_ref::<Vec<$number>>() {
                return Some(bytemuck::cast_slice(values));
            }
            if let Some(values) = $any.downcast_ref::<(Vec<$number>,)>() {
                return Some(bytemuck::cast_slice(&values.0));
            }
        )*
    };
}

/// The bytes of a vector of numbers, or of a tuple of one, where they are.
pub(crate) fn bytes_of<T: 'static>(vector: &T) -> Option<&[u8]> {
    let any: &dyn Any = vector;
    for_each_number!(view any,);
    None
}

/// Writes these to the end of some bytes, each as long as the others.
fn append<T, const N: usize>(values: &[T], out: &mut Vec<u8>, to_bytes: impl Fn(&T) -> [u8; N]) {
    let start = out.len();
    out.resize(start + values.len() * N, 0);
    let (places, _) = out[start..].as_chunks_mut::<N>();
    for (place, value) in places.iter_mut().zip(values) {
        *place = to_bytes(value);
    }
}

macro_rules! write {
    ($any:expr, $out:expr, $($number:ty)*) => {
        $(
            if let Some(values) = $any.downcast_ref::<Vec<($number,)>>() {
                append(values, $out, |value| value.0.to_ne_bytes());
                return true;
            }
        )*
    };
}

/// Writes a vector of numbers, or of tuples of one; `false` if it is no such thing.
pub(crate) fn write<T: 'static>(vector: &T, out: &mut Vec<u8>) -> bool {
    if let Some(bytes) = bytes_of(vector) {
        // Without room, `extend_from_slice` says so.
        let _ = mp_wire::try_reserve(out, bytes.len());
        out.extend_from_slice(bytes);
        return true;
    }
    let any: &dyn Any = vector;
    for_each_number!(write any, out,);
    false
}

macro_rules! keep {
    ($any:expr, $($number:ty)*) => {
        $(
            let single = $any.downcast_mut::<(Vec<$number>,)>().map(|single| mem::take(&mut single.0));
            if let Some(mut values) = single.or_else(|| $any.downcast_mut().map(mem::take)) {
                values.clear();
                return loan::spare::<$number>(values);
            }
        )*
    };
}

/// Keeps the room of a vector of numbers, or of a tuple of one, for the next large value.
pub(crate) fn keep<T: 'static>(mut vector: T) {
    let any: &mut dyn Any = &mut vector;
    for_each_number!(keep any,);
}

macro_rules! lend {
    ($any:expr, $($number:ty)*) => {
        $(
            if let Some(values) = $any.downcast_mut::<Vec<$number>>() {
                let bytes: &[u8] = bytemuck::cast_slice(values);
                let lent = (bytes.len(), loan::lend(bytes)?);
                keep(mem::take(values));
                return Some(lent);
            }
        )*
    };
}

/// Lends the bytes of a vector of numbers, if it is one and large, and leaves an empty one.
#[inline]
pub(crate) fn lend(any: &mut dyn Any) -> Option<(usize, [Fd; 2])> {
    for_each_number!(lend any,);
    None
}

macro_rules! restore {
    ($any:expr, $fds:expr, $len:expr, $($number:ty)*) => {
        $(
            if let Some(values) = $any.downcast_mut::<Vec<$number>>() {
                *values = loan::read($fds, $len)?;
                return Ok(true);
            }
        )*
    };
}

/// Puts a vector that [`lend`] has lent back in its place; `false` if that is no such vector.
pub(crate) fn restore(any: &mut dyn Any, fds: &[Fd], len: usize) -> Result<bool, mp_wire::Error> {
    for_each_number!(restore any, fds, len,);
    Ok(false)
}

macro_rules! push {
    ($any:expr, $out:expr, $($number:ty)*) => {
        $(
            if let Some(number) = $any.downcast_ref::<$number>() {
                $out.extend_from_slice(&number.to_ne_bytes());
                return true;
            }
            if let Some((number,)) = $any.downcast_ref::<($number,)>() {
                $out.extend_from_slice(&number.to_ne_bytes());
                return true;
            }
        )*
    };
}

/// Writes a number, or a tuple of one, to the end of some bytes; `false` if it is no such thing.
#[inline]
pub(crate) fn push<T: 'static>(value: &T, out: &mut Vec<u8>) -> bool {
    let any: &dyn Any = value;
    for_each_number!(push any, out,);
    false
}

macro_rules! pull {
    ($bytes:expr, $type:ty, $each:expr, $($number:ty)*) => {
        $({
            const N: usize = size_of::<$number>();
            let this = TypeId::of::<$type>();
            if this == TypeId::of::<$number>() || this == TypeId::of::<($number,)>() {
                let (pieces, rest) = $bytes.as_chunks::<N>();
                let number = |piece: &[u8; N]| {
                    let number = <$number>::from_ne_bytes(*piece);
                    as_type::<$type>(number).or_else(|| as_type::<$type>((number,)))
                };
                return rest.is_empty().then(|| pieces.iter().filter_map(number).for_each($each));
            }
        })*
    };
}

/// Gives out the numbers that [`push`] wrote; `None` if they are no such numbers.
pub(crate) fn pull<T: 'static>(bytes: &[u8], each: impl FnMut(T)) -> Option<()> {
    for_each_number!(pull bytes, T, each,);
    None
}

/// The bytes of a vector of bytes, or of a tuple of one, which need not be copied; the value back if it is no such thing.
pub(crate) fn take_bytes<T: 'static>(value: T) -> Result<Vec<u8>, T> {
    let mut value = Some(value);
    let any: &mut dyn Any = &mut value;
    if let Some(bytes) = any.downcast_mut::<Option<Vec<u8>>>() {
        return Ok(bytes.take().unwrap_or_default());
    }
    if let Some(bytes) = any.downcast_mut::<Option<(Vec<u8>,)>>() {
        return Ok(bytes.take().unwrap_or_default().0);
    }
    match value {
        Some(value) => Err(value),
        None => Ok(Vec::new()),
    }
}

/// A value as one of the type that it is.
fn as_type<T: 'static>(value: impl Any) -> Option<T> {
    let mut value = Some(value);
    let any: &mut dyn Any = &mut value;
    any.downcast_mut::<Option<T>>()?.take()
}

/// Collects what tells how much it is.
fn gather<T>(values: impl ExactSizeIterator<Item = T>) -> Vec<T> {
    let mut vector = Vec::new();
    // Without room, `extend` says so.
    let _ = mp_wire::try_reserve(&mut vector, values.len());
    vector.extend(values);
    vector
}

macro_rules! read {
    ($bytes:expr, $type:ty, $($number:ty)*) => {
        $({
            const N: usize = size_of::<$number>();
            let this = TypeId::of::<$type>();
            let (pieces, rest) = $bytes.as_chunks::<N>();
            let numbers = pieces.iter().map(|piece| <$number>::from_ne_bytes(*piece));
            if this == TypeId::of::<Vec<$number>>() {
                return rest.is_empty().then(|| as_type(gather(numbers)))?;
            }
            if this == TypeId::of::<Vec<($number,)>>() {
                return rest.is_empty().then(|| as_type(gather(numbers.map(|number| (number,)))))?;
            }
            if this == TypeId::of::<(Vec<$number>,)>() {
                return rest.is_empty().then(|| as_type((gather(numbers),)))?;
            }
        })*
    };
}

/// Reads what [`write`] wrote of the same type; `None` if that cannot be.
pub(crate) fn read<T: 'static>(bytes: &[u8]) -> Option<T> {
    for_each_number!(read bytes, T,);
    None
}

macro_rules! copy {
    ($segment:expr, $len:expr, $type:ty, $($number:ty)*) => {
        $({
            const N: usize = size_of::<$number>();
            let this = TypeId::of::<$type>();
            let single = this == TypeId::of::<(Vec<$number>,)>();
            if single || this == TypeId::of::<Vec<$number>>() {
                if !$len.is_multiple_of(N) {
                    return Ok(None);
                }
                let mut values = loan::vector::<$number>($len / N);
                $segment.append_to(0, $len / N, &mut values)?;
                return Ok(if single { as_type((values,)) } else { as_type(values) });
            }
        })*
    };
}

/// Copies a vector of numbers, or a tuple of one, out of the first bytes of shared memory; `None` if it is no such thing.
pub(crate) fn copy_out<T: 'static>(segment: &Segment, len: usize) -> Result<Option<T>, Error> {
    for_each_number!(copy segment, len, T,);
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Clone + PartialEq + std::fmt::Debug + 'static>(vector: T) {
        let mut bytes = Vec::new();
        assert!(write(&vector, &mut bytes));
        assert_eq!(read::<T>(&bytes), Some(vector));
    }

    #[test]
    fn numbers_come_back() {
        round_trip(vec![1_u8, 2, 255]);
        round_trip(vec![(1_i16,), (-2,)]);
        round_trip((vec![1.5_f64, f64::INFINITY],));
        round_trip(vec![u128::MAX, 0]);
        round_trip(Vec::<usize>::new());
    }

    #[test]
    fn others_are_left_alone() {
        assert!(is_number::<u8>() && is_number::<(f32,)>() && !is_number::<(u8, u8)>());
        assert!(
            is_vector::<Vec<u8>>() && is_vector::<(Vec<i64>,)>() && !is_vector::<Vec<String>>()
        );
        let mut bytes = Vec::new();
        assert!(!write(&vec![true], &mut bytes) && !write(&7_u8, &mut bytes) && bytes.is_empty());
        assert_eq!(read::<Vec<String>>(&[]), None);
        assert_eq!(read::<Vec<u16>>(&[1, 2, 3]), None, "half a number");
        assert_eq!(take_bytes((vec![1_u8, 2],)), Ok(vec![1, 2]));
        assert_eq!(take_bytes("text"), Err("text"));
    }
}
