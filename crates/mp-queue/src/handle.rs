//! What handles have in common that are a ring, or a shelf, and little more.

/// Methods and traits of a queue with a ring or a shelf at `self.$field`.
macro_rules! handle {
    ([$($generics:tt)*] $type:ty, $name:literal, $($field:tt).+) => {
        impl<$($generics)*> $type {
            /// The number of messages, at one moment; others may change it in the next.
            #[must_use]
            #[doc(alias = "qsize")]
            pub fn len(&self) -> usize {
                self.$($field).+.len().unwrap_or(0)
            }

            /// Says whether there was no message, at one moment.
            #[must_use]
            #[doc(alias = "empty")]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Says whether there was no room, at one moment; never for a queue without a bound.
            #[must_use]
            #[doc(alias = "full")]
            pub fn is_full(&self) -> bool {
                self.$($field).+.is_full().unwrap_or(false)
            }

            /// The most messages that it holds; `None` without a bound.
            #[must_use]
            pub fn capacity(&self) -> Option<usize> {
                self.$($field).+.capacity()
            }

            /// The most bytes that its messages have together; `None` without a bound.
            #[must_use]
            pub fn byte_capacity(&self) -> Option<usize> {
                self.$($field).+.byte_capacity()
            }

            /// Closes the queue, for everyone and for good, as [`Queue::close`](crate::Queue::close).
            pub fn close(&self) {
                self.$($field).+.close();
            }

            /// Says whether the queue is closed; there may be messages left.
            #[must_use]
            pub fn is_closed(&self) -> bool {
                self.$($field).+.is_closed()
            }

            /// How many bytes of memory the queue takes at this moment.
            ///
            /// # Errors
            ///
            /// The system refuses to tell.
            pub fn resident(&self) -> Result<u64, crate::Error> {
                let what = "cannot ask about the memory of the queue";
                let resident = self.$($field).+.segment().resident();
                resident.map_err(|error| crate::Error::shared(what, error))
            }
        }

        /// Ready when there is a message, or the queue is closed.
        impl<$($generics)*> mp_shared::Waitable for $type {
            fn source(&self) -> mp_shared::Source<'_> {
                self.$($field).+.source()
            }

            fn is_ready(&self) -> bool {
                self.$($field).+.is_ready()
            }
        }

        impl<$($generics)*> std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct($name)
                    .field("len", &self.len())
                    .field("capacity", &self.capacity())
                    .field("closed", &self.is_closed())
                    .finish_non_exhaustive()
            }
        }
    };
}

/// How a handle that is a ring or a shelf, in the field named, is cloned and sent.
macro_rules! travels {
    ([$($generics:tt)*] $type:ty, $field:ident) => {
        impl<$($generics)*> Clone for $type {
            fn clone(&self) -> Self {
                Self::over(self.$field.clone())
            }
        }

        impl<$($generics)*> serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.$field.serialize(serializer)
            }
        }
    };
}

/// The forms of getting, for a queue with `get_until`.
macro_rules! takes {
    ($type:ident) => {
        impl<T: serde::de::DeserializeOwned> $type<T> {
            /// Takes the first item; waits for one if there is none.
            ///
            /// # Errors
            ///
            /// [`GetError::Closed`] when the queue is closed and empty, or [`GetError::Failed`] if the item is not a `T`: that
            /// item is gone, and the next one can be taken.
            pub fn get(&self) -> Result<T, GetError> {
                self.get_until(Deadline::NEVER)
            }

            /// Takes the first item if there is one.
            ///
            /// # Errors
            ///
            /// [`GetError::Empty`] if there is none; as [`get`](Self::get) otherwise.
            #[doc(alias = "get_nowait")]
            pub fn try_get(&self) -> Result<T, GetError> {
                self.get_until(Deadline::NOW)
            }

            /// Takes the first item; waits for one for some time.
            ///
            /// # Errors
            ///
            /// [`GetError::Empty`] if none came in time; as [`get`](Self::get) otherwise.
            pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
                self.get_until(Deadline::after(timeout))
            }

            /// Takes items until the queue is closed and empty. An item that does not decode is the end, too.
            pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
                std::iter::from_fn(|| self.get().ok()).fuse()
            }

            /// Takes items as long as there are any.
            pub fn drain(&self) -> impl Iterator<Item = T> + '_ {
                std::iter::from_fn(|| self.try_get().ok()).fuse()
            }
        }
    };
}

pub(crate) use {handle, takes, travels};
