//! A static of which a forked copy of the process has one of its own.
#![expect(unsafe_code, reason = "reads a static through a pointer that a forked copy replaces")]

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::generation;

/// A value that is made when a process first asks for it.
///
/// A forked copy may have been made while another thread was changing the value, or held a mutex in it, which nobody will
/// ever release there. So it does not touch the value that it came with, and makes its own.
pub(crate) struct Own<T: 'static> {
    /// The latest; never freed, as a thread may be reading it.
    current: AtomicPtr<Made<T>>,
    make: fn() -> T,
}

struct Made<T> {
    generation: u64,
    value: T,
}

impl<T: Send + Sync> Own<T> {
    pub(crate) const fn new(make: fn() -> T) -> Self {
        Self { current: AtomicPtr::new(ptr::null_mut()), make }
    }

    /// The value of this process.
    pub(crate) fn get(&'static self) -> &'static T {
        let generation = generation();
        let mut found = self.current.load(Ordering::Acquire);
        loop {
            if !found.is_null() {
                // SAFETY: not null, so it came from the box below, which is never freed.
                let made = unsafe { &*found };
                if made.generation == generation {
                    return &made.value;
                }
            }
            let fresh = Box::into_raw(Box::new(Made { generation, value: (self.make)() }));
            match self.current.compare_exchange(found, fresh, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => found = fresh,
                Err(other) => {
                    // SAFETY: made above, and nobody else has seen it.
                    drop(unsafe { Box::from_raw(fresh) });
                    found = other;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::testing::fork;

    static LIST: Own<Mutex<Vec<u32>>> = Own::new(Mutex::default);

    #[test]
    fn a_forked_copy_has_its_own() {
        let mut list = LIST.get().lock().unwrap();
        list.push(1);
        // The mutex is held, and stays so in the copy.
        fork(|| {
            let mut list = LIST.get().lock().unwrap();
            list.push(2);
            *list == [2]
        })
        .succeed();
        assert_eq!(*list, [1]);
    }
}
