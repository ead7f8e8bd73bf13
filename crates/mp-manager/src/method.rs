//! Functions that can be methods of a shared object.

/// A method of `T`: a function that takes `&T` or `&mut T` and then the arguments `Args`, a tuple of none to six.
///
/// There is nothing to implement. `Takes` is [`TakesRef`] or [`TakesMut`], and the compiler finds it. A method goes
/// by the name of its type: it must be a function itself, such as `Counter::add`, not a pointer to one and not a
/// closure. It returns something that owns what it has, and takes arguments that do.
///
/// # Examples
///
/// ```
/// use mp_manager::{Manager, Registry};
///
/// struct Stack(Vec<String>);
///
/// impl Stack {
///     fn new() -> Self {
///         Self(Vec::new())
///     }
///     fn push(&mut self, text: String) {
///         self.0.push(text);
///     }
///     fn longest(&self) -> Option<String> {
///         self.0.iter().max_by_key(|text| text.len()).cloned()
///     }
/// }
///
/// fn setup(registry: &mut Registry) {
///     registry.class().constructor(Stack::new).method(Stack::push).method(Stack::longest);
/// }
///
/// let manager = Manager::builder().register(setup).start()?;
/// let stack = manager.create(Stack::new, ())?;
/// stack.call(Stack::push, ("one".to_owned(),))?;
/// stack.call(Stack::push, ("three".to_owned(),))?;
/// assert_eq!(stack.call(Stack::longest, ())?.as_deref(), Some("three"));
/// # Ok::<(), mp_manager::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a method of `{T}` that takes the arguments `{Args}`",
    note = "a method is a function item that takes `&{T}` or `&mut {T}` and then what the tuple of arguments has, owned, \
            and returns something owned"
)]
pub trait Method<T, Args, Takes>: Copy + Send + Sync + 'static {
    /// What the method returns.
    type Output;

    /// Calls the method.
    fn call(self, object: &mut T, args: Args) -> Self::Output;
}

/// Says that a [`Method`] takes `&self`.
#[derive(Debug)]
pub enum TakesRef {}

/// Says that a [`Method`] takes `&mut self`.
#[derive(Debug)]
pub enum TakesMut {}

macro_rules! methods {
    ($($name:ident)*) => {
        impl<Fun, T, Out, $($name),*> Method<T, ($($name,)*), TakesMut> for Fun
        where
            Fun: Fn(&mut T, $($name),*) -> Out + Copy + Send + Sync + 'static,
        {
            type Output = Out;

            #[allow(non_snake_case, reason = "one name for a type and its value")]
            #[allow(clippy::unused_unit, reason = "the list may be empty")]
            fn call(self, object: &mut T, ($($name,)*): ($($name,)*)) -> Out {
                self(object, $($name),*)
            }
        }

        impl<Fun, T, Out, $($name),*> Method<T, ($($name,)*), TakesRef> for Fun
        where
            Fun: Fn(&T, $($name),*) -> Out + Copy + Send + Sync + 'static,
        {
            type Output = Out;

            #[allow(non_snake_case, reason = "one name for a type and its value")]
            #[allow(clippy::unused_unit, reason = "the list may be empty")]
            fn call(self, object: &mut T, ($($name,)*): ($($name,)*)) -> Out {
                self(object, $($name),*)
            }
        }
    };
}

methods!();
methods!(A);
methods!(A B);
methods!(A B C);
methods!(A B C D);
methods!(A B C D E);
methods!(A B C D E F);

/// The name by which a function goes between processes of one program.
///
/// # Compile-time check
///
/// A function pointer has the same type as others with its signature, so its type names nothing: it does not compile.
pub(crate) fn name_of<F>() -> &'static str {
    const {
        assert!(
            size_of::<F>() == 0,
            "a method or constructor is named by its type: write the function itself, such as `Counter::add`, not a \
             pointer to it or a closure that captures"
        );
    }
    std::any::type_name::<F>()
}
