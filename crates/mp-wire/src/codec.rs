//! Values to messages and back, and the side channel by which descriptors join them.
//!
//! While a value is being encoded, a thread-local list collects the descriptors that its handles attach; while
//! one is being decoded, another list hands them out. Both are put back as they were when the call ends, by
//! return, error or panic, so that a `Serialize` that encodes something else inside works.

use std::any::type_name;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::thread::LocalKey;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::buffer::Buffer;
use crate::guard::{Budget, Guarded};
use crate::told::{self, Told};
use crate::{Error, ErrorKind, Fd, Message, eager};

/// The descriptors of the message that is being encoded or decoded in this thread, if one is.
struct Slot {
    active: Cell<bool>,
    /// Something may be in the list. If not, it need not be looked at.
    used: Cell<bool>,
    /// Empty between messages, so nothing is lost by never dropping it; and what has no destructor is quicker to reach.
    list: Cell<ManuallyDrop<Vec<Fd>>>,
}

impl Slot {
    const fn new() -> Self {
        let (active, used) = (Cell::new(false), Cell::new(false));
        Self { active, used, list: Cell::new(ManuallyDrop::new(Vec::new())) }
    }

    #[inline]
    fn replace(&self, list: Vec<Fd>) -> Vec<Fd> {
        self.used.set(list.capacity() > 0);
        ManuallyDrop::into_inner(self.list.replace(ManuallyDrop::new(list)))
    }
}

thread_local! {
    static ENCODING: Slot = const { Slot::new() };
    static DECODING: Slot = const { Slot::new() };
}

/// Puts a list into its slot for the time of a call, and what was there before back afterwards.
struct Scope {
    slot: &'static LocalKey<Slot>,
    /// The list of the call around this one, if it has used one. Lists without anything in them are not moved.
    outer: Option<Vec<Fd>>,
    was_active: bool,
}

impl Scope {
    /// Begins with an empty list.
    #[inline]
    fn enter(slot: &'static LocalKey<Slot>) -> Self {
        slot.with(|it| {
            let was_active = it.active.replace(true);
            let outer = if it.used.get() { Some(it.replace(Vec::new())) } else { None };
            Self { slot, outer, was_active }
        })
    }

    #[inline]
    fn enter_with(slot: &'static LocalKey<Slot>, list: &[Fd]) -> Self {
        let scope = Self::enter(slot);
        if !list.is_empty() {
            slot.with(|it| it.replace(list.to_vec()));
        }
        scope
    }

    /// Ends with what the list has then.
    #[inline]
    fn leave(self) -> Vec<Fd> {
        self.slot.with(|it| if it.used.get() { it.replace(Vec::new()) } else { Vec::new() })
    }
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        self.slot.with(|it| {
            it.active.set(self.was_active);
            // What is left of a call that failed is closed here.
            if it.used.get() || self.outer.is_some() {
                drop(it.replace(self.outer.take().unwrap_or_default()));
            }
        });
    }
}

/// Adds a descriptor to the message that is being encoded, and gives its index; `None` outside a message.
pub(crate) fn attach(fd: &Fd) -> Option<u32> {
    ENCODING.with(|slot| {
        if !slot.active.get() {
            return None;
        }
        let mut list = slot.replace(Vec::new());
        let index = list.iter().position(|known| known.is_same(fd)).unwrap_or_else(|| {
            list.push(fd.clone());
            list.len() - 1
        });
        slot.replace(list);
        u32::try_from(index).ok()
    })
}

/// A descriptor of the message that is being decoded; `None` outside a message or beyond its last one.
pub(crate) fn detach(index: u32) -> Option<Fd> {
    DECODING.with(|slot| {
        let list = slot.replace(Vec::new());
        let fd = list.get(index as usize).cloned();
        slot.replace(list);
        fd
    })
}

/// Encodes a value into a message: bytes, and the descriptors of the handles in it.
///
/// # Errors
///
/// [`ErrorKind::Encode`] if the value does not serialize: its own `Serialize` says so, a sequence does not
/// know its length, or it skips a field now and then (`#[serde(skip_serializing_if)]`).
///
/// # Examples
///
/// ```
/// let message = mp_wire::encode("text")?;
/// assert_eq!(message.decode::<String>()?, "text");
/// # Ok::<(), mp_wire::Error>(())
/// ```
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Message, Error> {
    let mut message = Message::default();
    encode_into(value, &mut message)?;
    Ok(message)
}

/// Encodes a value into a message that exists, in place of what it held, and reuses its memory.
///
/// # Errors
///
/// As [`encode`]; the message is empty then.
///
/// # Examples
///
/// ```
/// let mut message = mp_wire::Message::default();
/// for number in 0..3 {
///     mp_wire::encode_into(&number, &mut message)?;
///     assert_eq!(message.decode::<i32>()?, number);
/// }
/// # Ok::<(), mp_wire::Error>(())
/// ```
pub fn encode_into<T: Serialize + ?Sized>(value: &T, message: &mut Message) -> Result<(), Error> {
    message.fds.clear();
    message.bytes.clear();
    let scope = Scope::enter(&ENCODING);
    let result = eager::write(value, Growing(&mut message.bytes));
    message.fds = scope.leave();
    result.map_err(|error| {
        message.bytes.clear();
        message.fds.clear();
        not_encoded::<T>(error)
    })
}

/// Encodes a value and calls `use_it` with its bytes and its descriptors; the bytes of a small one never leave the stack.
///
/// # Errors
///
/// As [`encode`]; `use_it` is not called then.
///
/// # Examples
///
/// ```
/// let len = mp_wire::encode_with("four", |bytes, fds| bytes.len() + fds.len())?;
/// assert_eq!(len, 5);
/// # Ok::<(), mp_wire::Error>(())
/// ```
#[inline]
pub fn encode_with<T: Serialize + ?Sized, R>(
    value: &T,
    use_it: impl FnOnce(&[u8], &[Fd]) -> R,
) -> Result<R, Error> {
    let mut buffer = Buffer::new();
    let scope = Scope::enter(&ENCODING);
    let result = eager::write(value, Spilling(&mut buffer));
    let fds = scope.leave();
    match result {
        Ok(()) => Ok(use_it(buffer.bytes(), &fds)),
        Err(error) => Err(not_encoded::<T>(error)),
    }
}

#[cold]
fn not_encoded<T: ?Sized>(error: postcard::Error) -> Error {
    let what = format!("a value of type `{}` does not serialize", type_name::<T>());
    with_text(ErrorKind::Encode, what, error)
}

/// An error because of one of postcard's, or what a user's code has said in its place.
fn with_text(kind: ErrorKind, what: String, error: postcard::Error) -> Error {
    match (error, told::take_text()) {
        (postcard::Error::SerdeSerCustom | postcard::Error::SerdeDeCustom, Some(text)) => {
            Error::with_source(kind, what, text)
        }
        (postcard::Error::WontImplement, _) => Error::with_source(kind, what, NOT_DESCRIBED),
        (error, _) => Error::with_source(kind, what, error),
    }
}

/// What is wrong with a type that asks what comes next.
const NOT_DESCRIBED: &str = "messages do not say what is in them, which the type relies on, as by \
    `#[serde(flatten)]`, `#[serde(untagged)]` or `#[serde(tag)]`";

/// For so many bytes together, room is made beforehand.
const MUCH: usize = 1 << 20;

/// Writes into a vector.
struct Growing<'a>(&'a mut Vec<u8>);

impl Flavor for Growing<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if bytes.len() > MUCH {
            crate::try_reserve(self.0, bytes.len())
                .map_err(|_| postcard::Error::SerializeBufferFull)?;
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Writes into a buffer.
struct Spilling<'a>(&'a mut Buffer);

impl Flavor for Spilling<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(&[byte]);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.push(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Decodes a value from bytes and the descriptors that came with them.
///
/// Descriptors that the value does not take are closed with the message.
///
/// # Errors
///
/// [`ErrorKind::Decode`] if the bytes are not a value of this type: too few, too many, a length that lies, nesting
/// deeper than 256 levels, or a great many elements without a byte behind them. It costs no memory beyond what
/// the bytes justify.
///
/// # Examples
///
/// ```
/// assert_eq!(mp_wire::decode::<u8>(&[7], &[])?, 7);
/// assert!(mp_wire::decode::<u8>(&[7, 7], &[]).is_err());
/// # Ok::<(), mp_wire::Error>(())
/// ```
pub fn decode<T: DeserializeOwned>(bytes: &[u8], fds: &[Fd]) -> Result<T, Error> {
    let scope = Scope::enter_with(&DECODING, fds);
    let budget = Budget::new(bytes.len());
    let mut inner = postcard::Deserializer::from_bytes(bytes);
    let result = T::deserialize(Guarded::new(&mut inner, &budget)).map_err(Told::into_inner);
    let result = result.and_then(|value| Ok((value, inner.finalize()?)));
    drop(scope);
    match result {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(not_decoded::<T>(Ok(rest.len()))),
        Err(error) => Err(match budget.exceeded() {
            Some(what) => {
                told::take_text();
                let what = format!("a message with a value of type `{}` {what}", type_name::<T>());
                Error::new(ErrorKind::Decode, what)
            }
            None => not_decoded::<T>(Err(error)),
        }),
    }
}

/// So many bytes were left over, or decoding failed.
#[cold]
fn not_decoded<T>(why: Result<usize, postcard::Error>) -> Error {
    let failed = |what: &str| format!("{what} a value of type `{}`", type_name::<T>());
    match why {
        Ok(rest) => {
            let what = format!("{rest} bytes are left over behind");
            Error::new(ErrorKind::Decode, failed(&what))
        }
        Err(error) => with_text(ErrorKind::Decode, failed("the message is not"), error),
    }
}
