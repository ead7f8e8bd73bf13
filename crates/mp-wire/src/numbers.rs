//! Vectors of numbers inside other values, as the bytes that they are.
//!
//! In the format of postcard a sequence is its length and its elements, and floating-point numbers and bytes lie there as they
//! lie in the memory of a little-endian machine. So a vector of them needs no calls for each element, and the bytes are the
//! same as with those. Serde does not say that a sequence is one; its types do.
#![expect(unsafe_code, reason = "takes a type for the one that it is")]

use std::any::TypeId;
use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::slice;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// A number whose encoded form is its bytes.
///
/// # Safety
///
/// Every one of its bytes has a value.
unsafe trait Number: Copy + for<'de> Deserialize<'de> + 'static {}
// SAFETY: none has padding.
unsafe impl Number for u8 {}
// SAFETY: as above.
unsafe impl Number for i8 {}
// SAFETY: as above.
unsafe impl Number for f32 {}
// SAFETY: as above.
unsafe impl Number for f64 {}

fn bytes<N: Number>(numbers: &[N]) -> &[u8] {
    // SAFETY: the bytes of the slice, which have values, for as long as it is borrowed.
    unsafe { slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

fn numbers<N: Number, I>(sequence: &I) -> Option<&[N]> {
    if typeid::of::<I>() == typeid::of::<&Vec<N>>() {
        // SAFETY: it is a reference to a vector; numbers have no lifetimes, and that of the reference is longer than that of `sequence`.
        return Some(unsafe { &*(&raw const *sequence).cast::<&Vec<N>>() });
    }
    if typeid::of::<I>() == typeid::of::<&[N]>() {
        // SAFETY: as above, to a slice.
        return Some(unsafe { *(&raw const *sequence).cast::<&[N]>() });
    }
    None
}

/// The length and the bytes of what is about to be iterated over, if it is a vector or a slice of such numbers.
#[inline]
pub(crate) fn view<I>(sequence: &I) -> Option<(usize, &[u8])> {
    fn both<N: Number>(numbers: &[N]) -> (usize, &[u8]) {
        (numbers.len(), bytes(numbers))
    }
    if cfg!(target_endian = "big") {
        return None;
    }
    numbers::<u8, I>(sequence)
        .map(both)
        .or_else(|| numbers::<f32, I>(sequence).map(both))
        .or_else(|| numbers::<f64, I>(sequence).map(both))
        .or_else(|| numbers::<i8, I>(sequence).map(both))
}

/// Reads a sequence, out of a message of so many bytes, that is to be a vector of such numbers.
///
/// What is none, or is read by anybody else's visitor, comes back.
#[inline]
pub(crate) fn read<'de, D: Deserializer<'de>, V: Visitor<'de>>(
    from: D,
    visitor: V,
    message: usize,
) -> Result<Result<V::Value, D::Error>, (D, V)> {
    fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        from.deserialize_bytes(Bytes)
    }
    if is_vector_of::<u8, V>() {
        return Ok(bytes(from).map(give));
    }
    if is_vector_of::<i8, V>() {
        let signed = |bytes: Vec<u8>| bytes.into_iter().map(|byte| byte as i8).collect();
        return Ok(bytes(from).map(signed).map(give));
    }
    if is_vector_of::<f32, V>() {
        return Ok(from.deserialize_seq(Numbers::<f32>::within(message)).map(give));
    }
    if is_vector_of::<f64, V>() {
        return Ok(from.deserialize_seq(Numbers::<f64>::within(message)).map(give));
    }
    Err((from, visitor))
}

/// Says whether this is the visitor by which serde itself reads a vector of such numbers.
#[inline]
fn is_vector_of<'de, N: Number, V: Visitor<'de>>() -> bool {
    typeid::of::<V::Value>() == typeid::of::<Vec<N>>()
        && Vec::<N>::deserialize(Asked).is_err_and(|asked| asked.0 == Some(typeid::of::<V>()))
}

/// A vector as one of the type that it is, as [`is_vector_of`] said.
fn give<N: Number, T>(vector: Vec<N>) -> T {
    assert!(typeid::of::<T>() == typeid::of::<Vec<N>>(), "it is not such a vector");
    // SAFETY: the two are one type: it has no lifetimes. The original is not dropped.
    unsafe { mem::transmute_copy(&ManuallyDrop::new(vector)) }
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        let mut vector = Vec::new();
        crate::try_reserve(&mut vector, bytes.len()).map_err(E::custom)?;
        vector.extend_from_slice(bytes);
        Ok(vector)
    }
}

/// Reads numbers one by one, into room that is there.
struct Numbers<N> {
    most: usize,
    number: PhantomData<N>,
}

impl<N> Numbers<N> {
    fn within(message: usize) -> Self {
        Self { most: message / size_of::<N>(), number: PhantomData }
    }
}

impl<'de, N: Number> Visitor<'de> for Numbers<N> {
    type Value = Vec<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers")
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Vec<N>, A::Error> {
        let mut numbers = Vec::new();
        // A length that lies orders no more than the message has.
        let expected = access.size_hint().unwrap_or(0).min(self.most);
        crate::try_reserve(&mut numbers, expected).map_err(A::Error::custom)?;
        while let Some(number) = access.next_element()? {
            numbers.push(number);
        }
        Ok(numbers)
    }
}

/// A deserializer that only learns which visitor it is asked to show a sequence to.
struct Asked;

/// That visitor.
#[derive(Debug)]
struct Visited(Option<TypeId>);

impl<'de> Deserializer<'de> for Asked {
    type Error = Visited;

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Visited> {
        Err(Visited(Some(typeid::of::<V>())))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Visited> {
        Err(Visited(None))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl Display for Visited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing is there to be read")
    }
}

impl std::error::Error for Visited {}

impl Error for Visited {
    fn custom<T: Display>(_: T) -> Self {
        Self(None)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use serde::{Deserialize, Deserializer, Serialize};

    use crate::{decode, encode};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Unit;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Wrapped(Vec<f64>);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Any {
        None,
        One(Vec<i8>),
        Two(Vec<u8>, Option<Vec<f32>>),
        Named { pixels: Box<[u8]>, unit: Unit },
    }

    /// The bytes are those of postcard, and each type reads what another has written.
    fn check<T: Serialize + for<'de> Deserialize<'de> + PartialEq + Debug>(value: T) {
        let bytes = encode(&value).unwrap().bytes;
        assert_eq!(bytes, postcard::to_stdvec(&value).unwrap());
        assert_eq!(decode::<T>(&bytes, &[]).unwrap(), value);
        for end in 0..bytes.len() {
            assert!(decode::<T>(&bytes[..end], &[]).is_err());
        }
    }

    #[test]
    fn vectors_of_numbers_are_what_postcard_makes_of_them() {
        check((7_u64, vec![1.5_f64, f64::MAX, -0.0]));
        check((vec![0_u8, 255, 128], 'x', vec![-1_i8, 127], vec![1.5_f32]));
        check([Some(vec![vec![1.0_f32; 200], vec![]]), None]);
        check(Wrapped(vec![0.0; 300]));
        check(BTreeMap::from([("a".to_owned(), vec![1_u8; 130]), (String::new(), vec![])]));
        check(vec![Any::None, Any::One(vec![-1]), Any::Two(vec![9], Some(vec![2.0]))]);
        check(Any::Named { pixels: [1, 2].into(), unit: Unit });
        check((vec![300_u16, 1], vec![u64::MAX], vec![true], vec![-5_i32], ((), 1_i128)));
    }

    #[test]
    fn slices_are_vectors() {
        let message = encode(&(&[1.5_f64, 2.5][..], &[1_u8, 2][..])).unwrap();
        assert_eq!(message.decode::<(Vec<f64>, Vec<u8>)>().unwrap(), (vec![1.5, 2.5], vec![1, 2]));
    }

    #[test]
    fn lengths_that_lie_cost_nothing() {
        for mut bytes in [encode(&u64::MAX).unwrap().bytes, encode(&(1_u64 << 40)).unwrap().bytes] {
            bytes.extend([0; 100]);
            assert!(decode::<Vec<u8>>(&bytes, &[]).is_err());
            assert!(decode::<Vec<i8>>(&bytes, &[]).is_err());
            assert!(decode::<Vec<f32>>(&bytes, &[]).is_err());
            assert!(decode::<(Vec<f64>, u8)>(&bytes, &[]).is_err());
        }
        // A length that the bytes would do for, if they were smaller.
        let bytes = [vec![100], vec![0; 100]].concat();
        assert!(decode::<Vec<f64>>(&bytes, &[]).is_err());
        assert_eq!(decode::<Vec<u8>>(&bytes, &[]).unwrap().len(), 100);
    }

    /// A vector that others would read otherwise.
    #[derive(Debug, PartialEq, Serialize)]
    struct Halved(Vec<f64>);

    impl<'de> Deserialize<'de> for Halved {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Halves;
            impl<'de> serde::de::Visitor<'de> for Halves {
                type Value = Vec<f64>;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("numbers")
                }
                fn visit_seq<A: serde::de::SeqAccess<'de>>(
                    self,
                    mut access: A,
                ) -> Result<Vec<f64>, A::Error> {
                    let mut halves = Vec::new();
                    while let Some(number) = access.next_element::<f64>()? {
                        halves.push(number / 2.0);
                    }
                    Ok(halves)
                }
            }
            deserializer.deserialize_seq(Halves).map(Self)
        }
    }

    #[test]
    fn the_visitors_of_others_are_asked() {
        let message = encode(&Halved(vec![2.0, 4.0])).unwrap();
        assert_eq!(message.decode::<Halved>().unwrap(), Halved(vec![1.0, 2.0]));
        assert_eq!(message.decode::<Wrapped>().unwrap(), Wrapped(vec![2.0, 4.0]));
    }
}
