//! What a user's `Serialize` or `Deserialize` says when it fails, which postcard's errors do not keep.
//!
//! Around postcard's serializer and deserializer are others, whose errors are [`Told`]: postcard's own, and when they are made of a
//! text, that stays behind in the thread. So nothing is larger or slower as long as nothing fails.

use std::cell::RefCell;
use std::fmt;

use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};
use serde::{Serialize, Serializer, de, ser};

thread_local! {
    /// The text of the last error that had one.
    static TEXT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes the text of the error that has just ended a call.
pub(crate) fn take_text() -> Option<String> {
    TEXT.take()
}

#[cold]
fn keep(text: &dyn fmt::Display) {
    // First, for it may be that of an error whose text is here.
    let text = text.to_string();
    TEXT.set(Some(text));
}

/// An error whose text is kept.
#[derive(Debug)]
pub(crate) struct Told<E>(E);

impl<E> Told<E> {
    pub(crate) fn new(error: E) -> Self {
        Self(error)
    }

    pub(crate) fn into_inner(self) -> E {
        self.0
    }
}

impl<E: fmt::Display> fmt::Display for Told<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        TEXT.with_borrow(|text| match text {
            Some(text) => f.write_str(text),
            None => self.0.fmt(f),
        })
    }
}

impl<E: std::error::Error> std::error::Error for Told<E> {}

impl<E: ser::Error> ser::Error for Told<E> {
    fn custom<T: fmt::Display>(text: T) -> Self {
        keep(&text);
        Self(E::custom(""))
    }
}

impl<E: de::Error> de::Error for Told<E> {
    fn custom<T: fmt::Display>(text: T) -> Self {
        keep(&text);
        Self(E::custom(""))
    }
}

/// A serializer, or a part of one, whose errors are [`Told`].
pub(crate) struct Telling<S>(S);

/// A value that is serialized by such a serializer, whatever it is given to.
pub(crate) struct Tell<'v, T: ?Sized>(pub(crate) &'v T);

impl<T: Serialize + ?Sized> Serialize for Tell<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Telling(serializer)).map_err(Told::into_inner)
    }
}

macro_rules! leaves {
    ($($method:ident($($name:ident: $type:ty),*))*) => {
        $(#[inline]
        fn $method(self, $($name: $type),*) -> Result<S::Ok, Self::Error> {
            self.0.$method($($name),*).map_err(Told)
        })*
    };
}

macro_rules! composites {
    ($($method:ident($($name:ident: $type:ty),*) -> $part:ident)*) => {
        $(#[inline]
        fn $method(self, $($name: $type),*) -> Result<Self::$part, Self::Error> {
            self.0.$method($($name),*).map(Telling).map_err(Told)
        })*
    };
}

impl<S: Serializer> Serializer for Telling<S> {
    type Ok = S::Ok;
    type Error = Told<S::Error>;
    type SerializeSeq = Telling<S::SerializeSeq>;
    type SerializeTuple = Telling<S::SerializeTuple>;
    type SerializeTupleStruct = Telling<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Telling<S::SerializeTupleVariant>;
    type SerializeMap = Telling<S::SerializeMap>;
    type SerializeStruct = Telling<S::SerializeStruct>;
    type SerializeStructVariant = Telling<S::SerializeStructVariant>;

    leaves! {
        serialize_bool(value: bool)
        serialize_i8(value: i8) serialize_i16(value: i16) serialize_i32(value: i32)
        serialize_i64(value: i64) serialize_i128(value: i128)
        serialize_u8(value: u8) serialize_u16(value: u16) serialize_u32(value: u32)
        serialize_u64(value: u64) serialize_u128(value: u128)
        serialize_f32(value: f32) serialize_f64(value: f64) serialize_char(value: char)
        serialize_str(value: &str) serialize_bytes(value: &[u8])
        serialize_none() serialize_unit() serialize_unit_struct(name: &'static str)
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str)
    }

    composites! {
        serialize_seq(len: Option<usize>) -> SerializeSeq
        serialize_tuple(len: usize) -> SerializeTuple
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeTupleVariant
        serialize_map(len: Option<usize>) -> SerializeMap
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeStructVariant
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, Self::Error> {
        self.0.serialize_some(&Tell(value)).map_err(Told)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, Self::Error> {
        self.0.serialize_newtype_struct(name, &Tell(value)).map_err(Told)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, Self::Error> {
        self.0.serialize_newtype_variant(name, index, variant, &Tell(value)).map_err(Told)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, Self::Error> {
        self.0.collect_str(value).map_err(Told)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! parts {
    ($($part:ident { $($method:ident($($key:ident: &'static str)?))* })*) => {
        $(impl<S: $part> $part for Telling<S> {
            type Ok = S::Ok;
            type Error = Told<S::Error>;

            $(#[inline]
            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($key: &'static str,)?
                value: &T,
            ) -> Result<(), Self::Error> {
                self.0.$method($($key,)? &Tell(value)).map_err(Told)
            })*

            #[inline]
            fn end(self) -> Result<S::Ok, Self::Error> {
                self.0.end().map_err(Told)
            }
        })*
    };
}

parts! {
    SerializeSeq { serialize_element() }
    SerializeTuple { serialize_element() }
    SerializeTupleStruct { serialize_field() }
    SerializeTupleVariant { serialize_field() }
    SerializeMap { serialize_key() serialize_value() }
    SerializeStruct { serialize_field(key: &'static str) }
    SerializeStructVariant { serialize_field(key: &'static str) }
}
