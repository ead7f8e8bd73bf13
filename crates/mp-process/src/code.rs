//! Functions that travel between the processes of one program.
//!
//! A function pointer means nothing in another process: the program lies elsewhere there. [`Code`] is its place
//! relative to the program's image, which is the same in every process of the same build.
#![expect(unsafe_code, reason = "turns a place in the program back into a function pointer")]

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::mem::{size_of, transmute_copy};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::image::Image;
use crate::{Error, ErrorKind};

pub use crate::target::rebuild;

/// A function pointer of type `S`, as its place in the program.
///
/// It means the same function in every process that runs the same build of the same program: the one that made
/// it, and the children that [`Process`](crate::Process) starts, which prove their build before they start. Nowhere
/// else: it must not be taken from a network, a file, or another program.
///
/// # Examples
///
/// ```
/// use mp_process::code::Code;
///
/// fn double(x: i32) -> i32 {
///     2 * x
/// }
///
/// let code = Code::new(double as fn(i32) -> i32)?;
/// // SAFETY: made of a function of this type in this program.
/// let function = unsafe { code.get() };
/// assert_eq!(function(4), 8);
/// # Ok::<(), mp_process::Error>(())
/// ```
pub struct Code<S> {
    offset: u64,
    signature: PhantomData<fn() -> S>,
}

impl<S: Copy> Code<S> {
    /// Takes the place of a function.
    ///
    /// `S` must be a type of function pointers, such as `fn(u8) -> u8`; one of another size does not compile.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotInProgram`] if the function lies in a shared library, which may be elsewhere in the child.
    pub fn new(function: S) -> Result<Self, Error> {
        const {
            assert!(size_of::<S>() == size_of::<usize>(), "Code is made of a function pointer");
        }
        // SAFETY: as large as a number, by the assertion; a function pointer is initialised bytes.
        let address: usize = unsafe { transmute_copy(&function) };
        match Image::get().offset(address) {
            Some(offset) => Ok(Self { offset: offset as u64, signature: PhantomData }),
            None => Err(Error::new(
                ErrorKind::NotInProgram,
                format!(
                    "a function of type `{}` lies in a shared library, not in the program itself",
                    type_name::<S>()
                ),
            )),
        }
    }

    /// Gives the function back.
    ///
    /// # Safety
    ///
    /// The value must have been made by [`Code::new`] of this same `S`, in a process of this same build, and have
    /// come from there only by ways that nobody else can write to.
    #[must_use]
    pub unsafe fn get(self) -> S {
        // Both ways to a value of this type have checked that the place is code.
        let address = Image::get().address(self.offset as usize);
        // SAFETY: `S` is as large as a number (`new` does not compile otherwise) and the caller promises that the
        // address was one.
        unsafe { transmute_copy(&address) }
    }

    pub(crate) fn offset(self) -> u64 {
        self.offset
    }

    pub(crate) fn from_offset(offset: u64) -> Option<Self> {
        let place = usize::try_from(offset).ok()?;
        Image::get().is_code(place).then_some(Self { offset, signature: PhantomData })
    }
}

impl<S> Clone for Code<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Code<S> {}

impl<S> PartialEq for Code<S> {
    fn eq(&self, other: &Self) -> bool {
        self.offset == other.offset
    }
}

impl<S> Eq for Code<S> {}

impl<S> fmt::Debug for Code<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({:#x})", self.offset)
    }
}

impl<S> Serialize for Code<S> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        self.offset.serialize(serializer)
    }
}

impl<'de, S: Copy> Deserialize<'de> for Code<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let offset = u64::deserialize(deserializer)?;
        Self::from_offset(offset)
            .ok_or_else(|| de::Error::custom("a place outside of the program's code"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_of_a_shared_library_is_refused() {
        let function: unsafe extern "C" fn() -> libc::pid_t = libc::getpid;
        let error = Code::new(function).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotInProgram);
        assert!(error.to_string().contains("shared library"), "{error}");
    }

    #[test]
    fn travels_in_a_message() {
        fn answer() -> i32 {
            42
        }
        let code = Code::new(answer as fn() -> i32).unwrap();
        let message = mp_wire::encode(&code).unwrap();
        let back: Code<fn() -> i32> = message.decode().unwrap();
        assert_eq!(back, code);
        // SAFETY: made of a function of this type in this process.
        assert_eq!(unsafe { back.get() }(), 42);
    }

    #[test]
    fn a_place_outside_of_the_code_does_not_decode() {
        let message = mp_wire::encode(&u64::MAX).unwrap();
        assert!(message.decode::<Code<fn()>>().is_err());
    }
}
