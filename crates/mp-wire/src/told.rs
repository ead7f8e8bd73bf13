//! What a user's `Serialize` or `Deserialize` says when it fails, which postcard's errors do not keep.
//!
//! Around postcard's serializer and deserializer are others, whose errors are [`Told`]: postcard's own, and when they are made of a
//! text, that stays behind in the thread. So nothing is larger or slower as long as nothing fails.

use std::cell::RefCell;
use std::fmt;

use serde::{de, ser};

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
