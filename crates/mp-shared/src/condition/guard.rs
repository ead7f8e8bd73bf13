//! The guards that a condition can release and take again.

use bytemuck::Pod;

use crate::lock::Held;
use crate::{ArrayGuard, LockGuard, RLockGuard, ValueGuard};

/// A guard of a lock that a [`Condition`](crate::Condition) releases while it waits: that of a [`Lock`](crate::Lock), an
/// [`RLock`](crate::RLock), a [`Value`](crate::Value) or an [`Array`](crate::Array).
///
/// That of an `RLock` is released as often as its thread has it, and taken again as often.
pub trait Guard: Sealed {}

/// Keeps the trait for the guards of this crate.
pub trait Sealed {
    /// The lock that the guard holds.
    #[doc(hidden)]
    fn held(&self) -> &Held<'_>;
}

macro_rules! guards {
    ($($guard:ty, [$($generics:tt)*], $held:tt;)*) => {$(
        impl<$($generics)*> Guard for $guard {}
        impl<$($generics)*> Sealed for $guard {
            fn held(&self) -> &Held<'_> {
                &self.$held
            }
        }
    )*};
}

guards! {
    LockGuard<'_>, [], 0;
    RLockGuard<'_>, [], 0;
    ValueGuard<'_, T>, [T: Pod], held;
    ArrayGuard<'_, T>, [T: Pod], held;
}
