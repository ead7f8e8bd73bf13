//! A serializer around postcard's that writes vectors of numbers at once, keeps what a user's `Serialize` says when it fails, and
//! refuses what would come out as another value.

use postcard::Serializer as Inner;
use postcard::ser_flavors::Flavor;
use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use crate::numbers;
use crate::told::Told;

type Error = Told<postcard::Error>;
type Result<T> = std::result::Result<T, Error>;

/// Writes a value.
#[inline]
pub(crate) fn write<T: Serialize + ?Sized>(value: &T, output: impl Flavor) -> postcard::Result<()> {
    value.serialize(Eager(&mut Inner { output })).map_err(Told::into_inner)
}

struct Eager<'a, F: Flavor>(&'a mut Inner<F>);

macro_rules! leaves {
    ($($method:ident($($name:ident: $type:ty),*))*) => {
        $(#[inline]
        fn $method(self, $($name: $type),*) -> Result<()> {
            self.0.$method($($name),*).map_err(Told::new)
        })*
    };
}

macro_rules! composites {
    ($($method:ident($($name:ident: $type:ty),*))*) => {
        $(#[inline]
        fn $method(self, $($name: $type),*) -> Result<Self> {
            (&mut *self.0).$method($($name),*).map_err(Told::new)?;
            Ok(self)
        })*
    };
}

impl<F: Flavor> Serializer for Eager<'_, F> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    leaves! {
        serialize_bool(v: bool) serialize_char(v: char) serialize_str(v: &str) serialize_bytes(v: &[u8])
        serialize_i8(v: i8) serialize_i16(v: i16) serialize_i32(v: i32) serialize_i64(v: i64) serialize_i128(v: i128)
        serialize_u8(v: u8) serialize_u16(v: u16) serialize_u32(v: u32) serialize_u64(v: u64) serialize_u128(v: u128)
        serialize_f32(v: f32) serialize_f64(v: f64) serialize_none() serialize_unit()
        serialize_unit_struct(name: &'static str)
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str)
    }

    composites! {
        serialize_seq(len: Option<usize>)
        serialize_tuple(len: usize)
        serialize_tuple_struct(name: &'static str, len: usize)
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
        serialize_map(len: Option<usize>)
        serialize_struct(name: &'static str, len: usize)
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        // In the format, that is a byte that says so, and the value.
        (&mut *self.0).serialize_u8(1).map_err(Told::new)?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        // In the format, that is a variant without anything, and the value.
        (&mut *self.0).serialize_unit_variant(name, index, variant).map_err(Told::new)?;
        value.serialize(self)
    }

    #[inline]
    fn collect_seq<I>(self, sequence: I) -> Result<()>
    where
        I: IntoIterator<Item: Serialize>,
    {
        if let Some((len, bytes)) = numbers::view(&sequence) {
            (&mut *self.0).serialize_seq(Some(len)).map_err(Told::new)?;
            return self.0.output.try_extend(bytes).map_err(Told::new);
        }
        let mut items = sequence.into_iter();
        let (low, high) = items.size_hint();
        let mut seq = self.serialize_seq(high.filter(|&high| high == low))?;
        items.try_for_each(|item| SerializeSeq::serialize_element(&mut seq, &item))?;
        SerializeSeq::end(seq)
    }

    #[inline]
    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<()> {
        self.0.collect_str(value).map_err(Told::new)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}

macro_rules! elements {
    ($($composite:ident { $method:ident($($key:ident: $type:ty)?) $($skip:ident)? })*) => {
        $(impl<F: Flavor> $composite for Eager<'_, F> {
            type Ok = ();
            type Error = Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, $($key: $type,)? value: &T) -> Result<()> {
                value.serialize(Eager(self.0))
            }

            $(fn $skip(&mut self, field: &'static str) -> Result<()> {
                // What is there would be read as the field that is not.
                Err(Error::custom(format!("the field `{field}` is skipped, but fields have no names in a message")))
            })?

            #[inline]
            fn end(self) -> Result<()> {
                Ok(())
            }
        })*
    };
}

elements! {
    SerializeSeq { serialize_element() }
    SerializeTuple { serialize_element() }
    SerializeTupleStruct { serialize_field() }
    SerializeTupleVariant { serialize_field() }
    SerializeStruct { serialize_field(_key: &'static str) skip_field }
    SerializeStructVariant { serialize_field(_key: &'static str) skip_field }
}

impl<F: Flavor> SerializeMap for Eager<'_, F> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        key.serialize(Eager(self.0))
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(Eager(self.0))
    }

    #[inline]
    fn end(self) -> Result<()> {
        Ok(())
    }
}
