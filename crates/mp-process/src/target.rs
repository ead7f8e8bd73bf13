//! Functions that can be the target of a process, and how they travel: as their type.
#![expect(unsafe_code, reason = "rebuilds a value without size from its type")]

use std::any::Any;
use std::mem::size_of;
use std::ptr::NonNull;

/// A function that another process can run: a function item, or a closure that captures nothing.
///
/// It is implemented for whatever can be called with the arguments `Args`, a tuple of none to twelve, and is `Copy`,
/// `Send` and `'static`. There is nothing to implement.
///
/// A target has no bytes; its type says all. So it needs no registration: the child, which runs the same program,
/// makes it from its type. One that captures has bytes, and does not compile as the target of
/// [`Process::new`](crate::Process::new): pass what it needs as arguments, or use
/// [`Process::fork`](crate::Process::fork). A plain function pointer has bytes too: name the function itself.
///
/// # Examples
///
/// ```
/// use mp_process::Process;
///
/// fn add(a: i32, b: i32) -> i32 {
///     a + b
/// }
///
/// assert_eq!(Process::new(add, (2, 3)).start()?.join()?, 5);
/// assert_eq!(Process::new(|text: String| text.len(), ("four".to_owned(),)).start()?.join()?, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// ```compile_fail
/// let captured = 5;
/// let _ = mp_process::Process::new(move || captured + 1, ());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be called with the arguments `{Args}` in another process",
    note = "a target is a function or a closure without captures, and its arguments are a tuple of up to twelve, \
            such as `(2, 3)` or `(x,)`"
)]
pub trait Target<Args>: Copy + Send + 'static {
    /// What the function returns.
    type Output;

    /// Calls the function.
    fn call(self, args: Args) -> Self::Output;

    /// Shows the arguments one by one to who knows some of their types.
    #[doc(hidden)]
    fn each(args: &mut Args, see: impl FnMut(&mut dyn Any));
}

macro_rules! targets {
    ($($name:ident)*) => {
        impl<F, Out, $($name),*> Target<($($name,)*)> for F
        where
            F: Fn($($name),*) -> Out + Copy + Send + 'static,
            $($name: 'static,)*
        {
            type Output = Out;

            #[allow(non_snake_case, reason = "one name for a type and its value; the list may be empty")]
            #[allow(clippy::unused_unit, reason = "the list may be empty")]
            fn call(self, ($($name,)*): ($($name,)*)) -> Out {
                self($($name),*)
            }

            #[allow(non_snake_case, reason = "as above")]
            #[allow(unused_mut, unused_variables, reason = "the list may be empty")]
            #[inline]
            fn each(($($name,)*): &mut ($($name,)*), mut see: impl FnMut(&mut dyn Any)) {
                $(see($name);)*
            }
        }
    };
}

targets!();
targets!(A);
targets!(A B);
targets!(A B C);
targets!(A B C D);
targets!(A B C D E);
targets!(A B C D E G);
targets!(A B C D E G H);
targets!(A B C D E G H I);
targets!(A B C D E G H I J);
targets!(A B C D E G H I J K);
targets!(A B C D E G H I J K L);
targets!(A B C D E G H I J K L M);

/// Makes a target from its type. It does not compile for one that captures.
///
/// For a function whose own type parameter is the target, and whose [`Code`](crate::code::Code) travels in its place.
///
/// # Safety
///
/// A value of `T` must exist, in this process or in the one that sent the code of the caller here: there may be
/// types without bytes whose values are proofs of something.
#[must_use]
pub unsafe fn rebuild<T: Copy>() -> T {
    const {
        assert!(
            size_of::<T>() == 0,
            "the target is a closure that captures, or a function pointer: pass what it needs as arguments and \
             name the function itself, or use `Process::fork`, which takes captures along"
        );
    }
    // SAFETY: a value without bytes can be read from any aligned address; the caller vouches for the rest.
    unsafe { NonNull::<T>::dangling().read() }
}
