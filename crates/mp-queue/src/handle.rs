//! What all handles that are a ring and no more have in common.

/// Methods and traits of a queue with a field `ring`.
macro_rules! ring_handle {
    ([$($generics:tt)*] $type:ty, $name:literal) => {
        impl<$($generics)*> $type {
            /// The number of messages, at one moment; others may change it in the next.
            #[must_use]
            #[doc(alias = "qsize")]
            pub fn len(&self) -> usize {
                self.ring.len().unwrap_or(0)
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
                self.ring.is_full().unwrap_or(false)
            }

            /// The most messages that it holds; `None` without a bound.
            #[must_use]
            pub fn capacity(&self) -> Option<usize> {
                self.ring.capacity()
            }

            /// The most bytes that its messages have together; `None` without a bound.
            #[must_use]
            pub fn byte_capacity(&self) -> Option<usize> {
                self.ring.byte_capacity()
            }

            /// Closes the queue, for everyone and for good, as [`Queue::close`](crate::Queue::close).
            pub fn close(&self) {
                self.ring.close();
            }

            /// Says whether the queue is closed; there may be messages left.
            #[must_use]
            pub fn is_closed(&self) -> bool {
                self.ring.is_closed()
            }

            /// How many bytes of memory the queue takes at this moment.
            ///
            /// # Errors
            ///
            /// The system refuses to tell.
            pub fn resident(&self) -> Result<u64, crate::Error> {
                let what = "cannot ask about the memory of the queue";
                let resident = self.ring.segment().resident();
                resident.map_err(|error| crate::Error::shared(what, error))
            }
        }

        /// Ready when there is a message, or the queue is closed.
        impl<$($generics)*> mp_shared::Waitable for $type {
            fn source(&self) -> mp_shared::Source<'_> {
                self.ring.source()
            }

            fn is_ready(&self) -> bool {
                self.ring.is_ready()
            }
        }

        impl<$($generics)*> Clone for $type {
            fn clone(&self) -> Self {
                Self::over(self.ring.clone())
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

        impl<$($generics)*> serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.ring.serialize(serializer)
            }
        }
    };
}

pub(crate) use ring_handle;
