//! What every object that can have a name has in common.

use crate::Error;
use crate::object::{Object, Shape};

/// A type whose handles are those of one object.
pub(crate) trait Named: Sized {
    fn shape() -> Shape;
    /// The handle of an object of this shape, which another program has made.
    fn from_object(object: Object) -> Result<Self, Error>;
    fn object(&self) -> &Object;
}

/// Gives a type whose handles are those of one object the public methods of things with a name.
///
/// It is told the type, its shape, how to make a handle of an object of that shape, how to get the object of a handle, how
/// an example names the type, and how it makes one under `name`.
macro_rules! named_object {
    (
        [$($generics:tt)*] $type:ty, $shape:expr, $from:expr, $object:expr,
        $path:literal, $example:literal $(,)?
    ) => {
        impl<$($generics)*> crate::named::Named for $type {
            fn shape() -> crate::object::Shape {
                $shape
            }

            fn from_object(object: crate::object::Object) -> Result<Self, crate::Error> {
                let from: fn(crate::object::Object) -> Result<Self, crate::Error> = $from;
                from(object)
            }

            fn object(&self) -> &crate::object::Object {
                let object: fn(&Self) -> &crate::object::Object = $object;
                object(self)
            }
        }

        #[cfg_attr(docsrs, doc(cfg(feature = "named")))]
        impl<$($generics)*> $type {
            /// Opens the one that has this name, which any program of the same user may have made.
            ///
            /// Names are those of `/dev/shm`; see [`SharedMemory`](crate::SharedMemory). This handle does not own the name. Types of
            /// elements are told apart by size, alignment and full name: a struct comes from a crate that both programs use.
            ///
            /// # If a process dies
            ///
            /// What a process that was killed meant to create is there as a whole or not at all. If a creator is killed later, the
            /// name stays until somebody removes it; see [`SharedMemory::orphans`](crate::SharedMemory::orphans).
            ///
            /// # Errors
            ///
            /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is none,
            /// [`ErrorKind::Incompatible`](crate::ErrorKind::Incompatible) if what has the name is something else, has elements of
            /// another type, belongs to another user or PID namespace, or comes from another version of this library,
            /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a bad name.
            ///
            /// # Platform
            ///
            /// What has a name cannot be sealed. If a process of the same user shrinks the file, all that touch it get `SIGBUS`.
            ///
            /// # Examples
            ///
            /// ```
            /// use mp_shared::*;
            ///
            /// let name = format!("doc-open-{}-{}", std::process::id(), line!());
            #[doc = concat!("let made = ", $example, "?;")]
            #[doc = concat!("let same = ", $path, "::open(&name)?; // In any program.")]
            /// assert_eq!(same.name(), made.name());
            /// assert!(made.owns_name() && !same.owns_name());
            /// # Ok::<(), mp_shared::Error>(())
            /// ```
            pub fn open(name: &str) -> Result<Self, crate::Error> {
                let shape = <Self as crate::named::Named>::shape();
                crate::named::open(name, shape).and_then(crate::named::Named::from_object)
            }

            /// The name, if it was created or opened under one; one that came in a message does not know it.
            #[must_use]
            pub fn name(&self) -> Option<&str> {
                crate::named::Named::object(self).claim().map(crate::named::Claim::name)
            }

            /// Says whether dropping this handle and its clones in this process removes the name.
            ///
            /// So it is for the creator's, unless it was told to [`persist`](Self::persist); not for a forked copy of it.
            #[must_use]
            pub fn owns_name(&self) -> bool {
                crate::named::Named::object(self).claim().is_some_and(crate::named::Claim::owns)
            }

            /// Removes the name; whoever has it open keeps it.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if it has no name, or none any more.
            pub fn unlink(&self) -> Result<(), crate::Error> {
                crate::named::claim_of(self)?.unlink()
            }

            /// Lets the name outlive this handle and this process, until somebody removes it.
            ///
            /// # Errors
            ///
            /// As [`unlink`](Self::unlink).
            pub fn persist(&self) -> Result<(), crate::Error> {
                crate::named::claim_of(self)?.persist()
            }
        }
    };
}

pub(crate) use named_object;
