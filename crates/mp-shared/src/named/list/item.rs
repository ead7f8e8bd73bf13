//! What a list has in its slots, as users see it.

use serde::{Deserialize, Serialize};

/// A value in a [`ShareableList`](crate::ShareableList).
///
/// Everything that there is a `From` for becomes one by `into`. Values of different kinds are not equal, unlike `1`, `1.0` and
/// `True` in Python.
///
/// # Examples
///
/// ```
/// use mp_shared::ListItem;
///
/// let items: [ListItem; 4] = [7.into(), "seven".into(), b"\x07".into(), None::<i64>.into()];
/// assert_eq!(items[0].as_int(), Some(7));
/// assert_eq!(items[1], ListItem::Str("seven".to_owned()));
/// assert_eq!(items[3], ListItem::None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum ListItem {
    /// Nothing; a slot may get another value later.
    #[default]
    None,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A text.
    Str(String),
    /// Any bytes.
    Bytes(Vec<u8>),
}

impl ListItem {
    /// Says whether it is nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// The truth value, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The whole number, if it is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(value) = self { Some(*value) } else { None }
    }

    /// The floating-point number, if it is one.
    #[must_use]
    pub fn as_float(&self) -> Option<f64> {
        if let Self::Float(value) = self { Some(*value) } else { None }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Str(value) = self { Some(value) } else { None }
    }

    /// The bytes, if that is what it is.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(value) = self { Some(value) } else { None }
    }
}

macro_rules! from {
    ($($type:ty => $kind:ident),* $(,)?) => {
        $(
            impl From<$type> for ListItem {
                fn from(value: $type) -> Self {
                    Self::$kind(value.into())
                }
            }
        )*
    };
}

from! {
    bool => Bool,
    i8 => Int, i16 => Int, i32 => Int, i64 => Int, u8 => Int, u16 => Int, u32 => Int,
    f32 => Float, f64 => Float,
    &str => Str, String => Str,
    &[u8] => Bytes, Vec<u8> => Bytes,
}

impl<const N: usize> From<&[u8; N]> for ListItem {
    fn from(value: &[u8; N]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl<T: Into<Self>> From<Option<T>> for ListItem {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, T::into)
    }
}
