//! Large vectors of numbers among several arguments, each lent for itself.
//!
//! An argument of its own may be any of the types that [`plain`] knows, but a tuple of arguments is none of them. The function knows
//! their types: so it shows them one by one, what is large is taken out and [lent](crate::loan), and the arguments are encoded
//! with empty vectors in their places, behind a table of which ones these are.

use mp_process::Target;
use mp_wire::{Error, Fd, Message, decode, encode_into};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::batch::malformed;
use crate::plain;

/// An argument that is lent: its place among the others, and how many bytes it has.
type Part = (usize, usize);

type Restore<Args> = fn(&mut Args, &[Part], &[Fd]) -> Result<(), Error>;

/// How the arguments of a function are taken apart, and put together again.
#[derive(Debug)]
pub(crate) struct Split<Args> {
    concerns: fn(&mut Args) -> bool,
    lend: fn(&mut Args) -> Parts,
    restore: Restore<Args>,
}

impl<Args> Clone for Split<Args> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Args> Copy for Split<Args> {}

/// Arguments that are lent, and two descriptors for each.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    table: Vec<Part>,
    fds: Vec<Fd>,
}

impl<Args> Split<Args> {
    /// For the arguments of this function.
    pub(crate) fn of<F: Target<Args>>() -> Self {
        let (concerns, lend) = (concerns::<F, Args>, lend::<F, Args>);
        Self { concerns, lend, restore: restore::<F, Args> }
    }

    /// Says whether any of the arguments can be lent, by their types.
    pub(crate) fn concerns(self, args: &mut Args) -> bool {
        (self.concerns)(args)
    }

    /// Lends what is large, and leaves empty vectors.
    #[inline]
    pub(crate) fn lend(self, args: &mut Args) -> Parts {
        (self.lend)(args)
    }

    /// Decodes what [`Parts::encode_with`] encoded.
    pub(crate) fn decode(self, bytes: &[u8], fds: &[Fd]) -> Result<Args, Error>
    where
        Args: DeserializeOwned,
    {
        let (table, mut args) = decode::<(Vec<Part>, Args)>(bytes, fds)?;
        let lent = fds.len().saturating_sub(table.len().saturating_mul(2));
        (self.restore)(&mut args, &table, fds.get(lent..).unwrap_or_default())?;
        Ok(args)
    }
}

impl Parts {
    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// How many bytes they have together.
    pub(crate) fn weight(&self) -> usize {
        self.table.iter().map(|&(_, len)| len).sum()
    }

    /// Encodes the rest of the arguments along with these, in place of what the message held.
    pub(crate) fn encode_with(
        self,
        args: &impl Serialize,
        into: &mut Message,
    ) -> Result<(), Error> {
        encode_into(&(self.table, args), into)?;
        into.fds.extend(self.fds);
        Ok(())
    }
}

fn concerns<F: Target<Args>, Args>(args: &mut Args) -> bool {
    let mut any = false;
    F::each(args, |arg| any |= plain::is_type_of_vector((*arg).type_id()));
    any
}

fn lend<F: Target<Args>, Args>(args: &mut Args) -> Parts {
    let (mut parts, mut place) = (Parts::default(), 0);
    F::each(args, |arg| {
        if let Some((len, fds)) = plain::lend(arg) {
            parts.table.push((place, len));
            parts.fds.extend(fds);
        }
        place += 1;
    });
    parts
}

/// Puts everything back, or says that it does not fit.
fn restore<F: Target<Args>, Args>(
    args: &mut Args,
    table: &[Part],
    fds: &[Fd],
) -> Result<(), Error> {
    let mut lent = table.iter().zip(fds.chunks(2)).peekable();
    let (mut fits, mut place) = (Ok(true), 0);
    F::each(args, |arg| {
        if let Ok(true) = fits
            && let Some((&(_, len), fds)) = lent.next_if(|((at, _), _)| *at == place)
        {
            fits = plain::restore(arg, fds, len);
        }
        place += 1;
    });
    if fits? && lent.next().is_none() && fds.len() == 2 * table.len() {
        Ok(())
    } else {
        malformed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Args = (u64, Vec<f64>, String, Vec<u8>);

    fn split() -> Split<Args> {
        fn of<F: Target<Args>>(_: F) -> Split<Args> {
            Split::of::<F>()
        }
        of(|_: u64, _: Vec<f64>, _: String, _: Vec<u8>| ())
    }

    fn args() -> Args {
        (7, vec![1.5; 1 << 17], "seven".to_owned(), vec![3; 1 << 20])
    }

    fn message() -> Message {
        let (mut args, mut message) = (args(), Message::default());
        let parts = split().lend(&mut args);
        assert!(args.1.is_empty() && args.3.is_empty() && parts.fds.len() == 4);
        parts.encode_with(&args, &mut message).unwrap();
        message
    }

    #[test]
    fn arguments_come_back_to_their_places() {
        let message = message();
        assert!(message.bytes.len() < 100);
        assert!(split().decode(&message.bytes, &message.fds).unwrap() == args());
    }

    #[test]
    fn small_ones_stay_where_they_are() {
        let mut args = (7, vec![1.5; 100], String::new(), vec![]);
        assert!(split().lend(&mut args).is_empty());
        assert_eq!(args.1.len(), 100);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let Message { bytes, fds } = message();
        for fds in [&[][..], &fds[..2], &fds[..3], &fds[2..]] {
            assert!(split().decode(&bytes, fds).is_err());
        }
        for end in 0..bytes.len() {
            assert!(split().decode(&bytes[..end], &fds).is_err());
        }
        // No such argument, none that can be lent, the same twice, longer than its memory, and no number of numbers.
        for table in [
            vec![(9, 8)],
            vec![(0, 8)],
            vec![(1, 8), (1, 8)],
            vec![(1, 1 << 40)],
            vec![(1, usize::MAX)],
            vec![(1, 7)],
        ] {
            let fds = fds[..2 * table.len()].to_vec();
            let (parts, mut message) = (Parts { table, fds }, Message::default());
            let rest: Args = (7, Vec::new(), String::new(), Vec::new());
            parts.encode_with(&rest, &mut message).unwrap();
            assert!(split().decode(&message.bytes, &message.fds).is_err());
        }
    }
}
