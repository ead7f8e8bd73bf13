//! Which of several queues has a message first.

use std::fmt;
use std::time::Duration;

use mp_shared::{Waitable, wait};

use crate::{Error, ErrorKind};

/// Several queues, and other things that can be waited for, of which one is wanted that is ready.
///
/// Anything [`Waitable`] goes: queues of all kinds, receivers, connections, sockets, sentinels of processes. One that is ready need
/// not be so any more when it is used, if others use it too: receive with a `try_` form, and wait again.
///
/// If several are ready, each has its turn.
///
/// # Python
///
/// There is none for queues; `multiprocessing.connection.wait` is [`wait`].
///
/// # Examples
///
/// ```
/// use mp_queue::{Queue, Select};
///
/// let (words, numbers) = (Queue::<String>::new()?, Queue::<u32>::new()?);
/// let mut select = Select::new();
/// let of_words = select.add(&words);
/// let of_numbers = select.add(&numbers);
/// numbers.put(&7)?;
/// match select.ready()? {
///     index if index == of_words => println!("{}", words.try_get()?),
///     index if index == of_numbers => assert_eq!(numbers.try_get()?, 7),
///     _ => unreachable!("there are two"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Select<'a> {
    /// In the order of their indices.
    objects: Vec<(usize, &'a dyn Waitable)>,
    /// The next index.
    next: usize,
    /// The one that is preferred now.
    turn: usize,
}

impl<'a> Select<'a> {
    /// Makes one of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one, and gives the index by which it is reported: 0 for the first, and so on.
    pub fn add(&mut self, object: &'a dyn Waitable) -> usize {
        let index = self.next;
        self.objects.push((index, object));
        self.next += 1;
        index
    }

    /// Takes one out. The others keep their indices; says whether there was one.
    pub fn remove(&mut self, index: usize) -> bool {
        let before = self.objects.len();
        self.objects.retain(|(known, _)| *known != index);
        self.objects.len() < before
    }

    /// Waits until one is ready, and gives its index.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there is nothing to wait for; [`ErrorKind::Io`] if the system refuses, see [`wait`].
    pub fn ready(&mut self) -> Result<usize, Error> {
        loop {
            if let Some(index) = self.ready_until(None)? {
                return Ok(index);
            }
        }
    }

    /// Gives the index of one that is ready, if there is any.
    ///
    /// # Errors
    ///
    /// As [`ready`](Self::ready).
    pub fn try_ready(&mut self) -> Result<Option<usize>, Error> {
        self.ready_until(Some(Duration::ZERO))
    }

    /// Waits for some time until one is ready, and gives its index.
    ///
    /// # Errors
    ///
    /// As [`ready`](Self::ready).
    pub fn ready_timeout(&mut self, timeout: Duration) -> Result<Option<usize>, Error> {
        self.ready_until(Some(timeout))
    }

    fn ready_until(&mut self, timeout: Option<Duration>) -> Result<Option<usize>, Error> {
        let objects: Vec<_> = self.objects.iter().map(|&(_, object)| object).collect();
        let ready = wait(&objects, timeout).map_err(|error| {
            let nothing = error.kind() == std::io::ErrorKind::InvalidInput;
            let kind = if nothing { ErrorKind::InvalidInput } else { ErrorKind::Io };
            Error::with_source(kind, "cannot wait for all of these", error)
        })?;
        let indices = ready.iter().filter_map(|&place| self.objects.get(place)).map(|it| it.0);
        let turn = self.turn;
        let chosen = indices.clone().find(|&index| index >= turn).or_else(|| indices.min());
        if let Some(index) = chosen {
            self.turn = index + 1;
        }
        Ok(chosen)
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select").field("len", &self.objects.len()).finish_non_exhaustive()
    }
}
