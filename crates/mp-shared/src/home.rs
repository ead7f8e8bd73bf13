//! Where an object shall lie.

#[cfg(feature = "named")]
pub(crate) use crate::named::{Plan, SharedClaim};

/// Where whoever makes an object wants it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Home<'a> {
    /// In memory without a name, perhaps together with others.
    Anywhere,
    /// In a file of its own, which will have a name.
    #[cfg_attr(not(feature = "named"), expect(dead_code, reason = "nothing has a name"))]
    Named(&'a Plan<'a>),
}

#[cfg(not(feature = "named"))]
mod nothing_has_a_name {
    use std::convert::Infallible;
    use std::marker::PhantomData;

    use crate::Error;
    use crate::segment::Segment;

    #[derive(Debug)]
    pub(crate) struct Plan<'a>(Infallible, PhantomData<&'a ()>);

    impl Plan<'_> {
        pub(crate) fn place(&self, _bytes: usize) -> Result<(Segment, Infallible), Error> {
            match self.0 {}
        }
    }

    pub(crate) type SharedClaim = Option<Infallible>;
}

#[cfg(not(feature = "named"))]
pub(crate) use nothing_has_a_name::{Plan, SharedClaim};
