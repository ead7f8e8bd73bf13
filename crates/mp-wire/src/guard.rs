//! A deserializer around postcard's that bounds what hostile bytes can cost.
//!
//! Postcard limits memory already: a length that lies ends when the bytes do. Two things cost nothing in bytes and
//! so have no end of their own: nesting, which ends in a stack overflow, and elements of no size, which a length of
//! eight bytes can order 2⁶⁴ of. Every composite goes through here; the leaves pass straight on.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use crate::numbers;
use crate::told::Told;

/// How deep composites may nest.
const MAX_DEPTH: u32 = 256;

/// How many elements a message may have in its sequences and maps beyond one for each of its bytes.
const SPARE_ELEMENTS: u64 = 1 << 20;

/// What is left of the allowances of one message.
pub(crate) struct Budget {
    depth: Cell<u32>,
    elements: Cell<u64>,
    /// How many bytes the message has.
    bytes: usize,
    /// What was too much.
    exceeded: Cell<Option<&'static str>>,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let (depth, elements) = (Cell::new(MAX_DEPTH), Cell::new(bytes as u64 + SPARE_ELEMENTS));
        Self { depth, elements, bytes, exceeded: Cell::new(None) }
    }

    /// Says what was too much of a message that does not decode, if that was why.
    pub(crate) fn exceeded(&self) -> Option<&'static str> {
        self.exceeded.get()
    }

    #[cold]
    fn exceed<E: Error>(&self, what: &'static str) -> E {
        self.exceeded.set(Some(what));
        E::custom(what)
    }

    /// Goes one level down for the time of `inside`.
    fn nest<T, E: Error>(&self, inside: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let depth = self.depth.get();
        self.depth.set(depth.checked_sub(1).ok_or_else(|| self.exceed("is nested too deeply"))?);
        let result = inside();
        self.depth.set(depth);
        result
    }

    fn element<E: Error>(&self) -> Result<(), E> {
        let left = self.elements.get().checked_sub(1);
        self.elements
            .set(left.ok_or_else(|| self.exceed("has more elements than its bytes justify"))?);
        Ok(())
    }
}

/// Anything of serde's, with the budget that it has to keep to.
pub(crate) struct Guarded<'b, T> {
    inner: T,
    budget: &'b Budget,
    /// Each element that is asked for counts against the budget.
    counts: bool,
}

impl<'b, T> Guarded<'b, T> {
    pub(crate) fn new(inner: T, budget: &'b Budget) -> Self {
        Self { inner, budget, counts: false }
    }

    /// The same budget for what this leads to, which inherits whether its elements count.
    fn with<U>(&self, inner: U) -> Guarded<'b, U> {
        Guarded { inner, budget: self.budget, counts: self.counts }
    }

    fn counted<U>(&self, inner: U) -> Guarded<'b, U> {
        Guarded { inner, budget: self.budget, counts: true }
    }

    fn uncounted<U>(&self, inner: U) -> Guarded<'b, U> {
        Guarded { inner, budget: self.budget, counts: false }
    }

    fn element<E: Error>(&self) -> Result<(), E> {
        if self.counts { self.budget.element() } else { Ok(()) }
    }
}

macro_rules! leaves {
    ($($method:ident)*) => {
        $(#[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            let visitor = self.uncounted(visitor);
            self.inner.$method(visitor).map_err(Told::new)
        })*
    };
}

macro_rules! composites {
    ($($with:ident $method:ident($($name:ident: $type:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, Self::Error> {
            let visitor = self.$with(visitor);
            self.budget.nest(|| self.inner.$method($($name,)* visitor).map_err(Told::new))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Guarded<'_, D> {
    type Error = Told<D::Error>;

    leaves! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_identifier
        deserialize_ignored_any deserialize_any
    }

    // The bytes say how many elements a sequence or a map has; the type says it of all others.
    composites! {
        uncounted deserialize_option()
        uncounted deserialize_newtype_struct(name: &'static str)
        uncounted deserialize_tuple(len: usize)
        uncounted deserialize_tuple_struct(name: &'static str, len: usize)
        counted deserialize_map()
        uncounted deserialize_struct(name: &'static str, fields: &'static [&'static str])
        uncounted deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let budget = self.budget;
        // The elements of a vector of numbers have bytes, each its own: they need not be counted.
        budget.nest(|| {
            numbers::read(self.inner, visitor, budget.bytes)
                .unwrap_or_else(|(inner, visitor)| {
                    inner.deserialize_seq(Guarded { inner: visitor, budget, counts: true })
                })
                .map_err(Told::new)
        })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let visitor = self.uncounted(visitor);
        self.inner.deserialize_unit_struct(name, visitor).map_err(Told::new)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visits {
    ($($method:ident($type:ty))*) => {
        $(#[inline]
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method::<Told<E>>(value).map_err(Told::into_inner)
        })*
    };
}

/// Visitors: only the forms that postcard calls.
impl<'de, V: Visitor<'de>> Visitor<'de> for Guarded<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visits! {
        visit_bool(bool) visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64) visit_i128(i128)
        visit_u8(u8) visit_u16(u16) visit_u32(u32) visit_u64(u64) visit_u128(u128)
        visit_f32(f32) visit_f64(f64) visit_char(char)
        visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
        visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit::<Told<E>>().map_err(Told::into_inner)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none::<Told<E>>().map_err(Told::into_inner)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.with(deserializer);
        self.inner.visit_some(deserializer).map_err(Told::into_inner)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<V::Value, D::Error> {
        let deserializer = self.with(deserializer);
        self.inner.visit_newtype_struct(deserializer).map_err(Told::into_inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.with(access);
        self.inner.visit_seq(access).map_err(Told::into_inner)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.with(access);
        self.inner.visit_map(access).map_err(Told::into_inner)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.with(access);
        self.inner.visit_enum(access).map_err(Told::into_inner)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Guarded<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let deserializer = self.with(deserializer);
        self.inner.deserialize(deserializer).map_err(Told::into_inner)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Guarded<'_, A> {
    type Error = Told<A::Error>;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Self::Error> {
        self.element()?;
        let seed = self.with(seed);
        self.inner.next_element_seed(seed).map_err(Told::new)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Guarded<'_, A> {
    type Error = Told<A::Error>;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Self::Error> {
        self.element()?;
        let seed = self.with(seed);
        self.inner.next_key_seed(seed).map_err(Told::new)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, Self::Error> {
        let seed = self.with(seed);
        self.inner.next_value_seed(seed).map_err(Told::new)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'b, A: EnumAccess<'de>> EnumAccess<'de> for Guarded<'b, A> {
    type Error = Told<A::Error>;
    type Variant = Guarded<'b, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), Self::Error> {
        let seed = self.with(seed);
        let (value, variant) = self.inner.variant_seed(seed).map_err(Told::new)?;
        Ok((value, Guarded::new(variant, self.budget)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Guarded<'_, A> {
    type Error = Told<A::Error>;

    fn unit_variant(self) -> Result<(), Self::Error> {
        self.inner.unit_variant().map_err(Told::new)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, Self::Error> {
        let seed = self.with(seed);
        self.inner.newtype_variant_seed(seed).map_err(Told::new)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let visitor = self.with(visitor);
        self.inner.tuple_variant(len, visitor).map_err(Told::new)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let visitor = self.with(visitor);
        self.inner.struct_variant(fields, visitor).map_err(Told::new)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use crate::{ErrorKind, decode, encode};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Tree {
        Leaf,
        Node(Box<Tree>),
        Pair { left: Box<Tree>, right: Box<Tree> },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Unit;

    fn nested(depth: u32) -> Tree {
        (0..depth).fold(Tree::Leaf, |inside, _| Tree::Node(Box::new(inside)))
    }

    #[test]
    fn nesting_is_bounded() {
        let tree = nested(100);
        assert_eq!(encode(&tree).unwrap().decode::<Tree>().unwrap(), tree);
        let bytes = vec![1; 1_000_000];
        let error = decode::<Tree>(&bytes, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.to_string().ends_with("is nested too deeply"), "{error}");
    }

    #[test]
    fn every_form_passes_through() {
        let pair = Tree::Pair { left: Box::new(Tree::Leaf), right: Box::new(nested(2)) };
        assert_eq!(encode(&pair).unwrap().decode::<Tree>().unwrap(), pair);
        let map = std::collections::BTreeMap::from([(1_u8, Some("a".to_owned())), (2, None)]);
        assert_eq!(
            encode(&map).unwrap().decode::<std::collections::BTreeMap<_, _>>().unwrap(),
            map
        );
        let many = vec![(1_u8, (2_u8,), [3_u8; 2]); 2_000_000];
        assert!(encode(&many).unwrap().decode::<Vec<(u8, (u8,), [u8; 2])>>().unwrap() == many);
    }

    #[test]
    fn elements_of_no_size_are_bounded() {
        let some = vec![Unit, Unit];
        assert_eq!(encode(&some).unwrap().decode::<Vec<Unit>>().unwrap(), some);
        let bomb = encode(&u64::MAX).unwrap().bytes;
        let error = decode::<Vec<Unit>>(&bomb, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.to_string().ends_with("more elements than its bytes justify"), "{error}");
        assert_eq!(decode::<Vec<()>>(&bomb, &[]).unwrap_err().kind(), ErrorKind::Decode);
    }
}
