//! Memory that a thread keeps mapped between one use and the next.
//!
//! Attaching a segment that nothing in this process holds maps it, and each page costs a trap when it is first touched, which takes
//! longer than to read it. A thread that is given the same memory again and again, and drops it each time, can keep it
//! from one of its rounds to the next. It never keeps more than what it attached in two of them.
//!
//! # Examples
//!
//! ```
//! use mp_shared::Array;
//! use mp_shared::segment::lingering;
//!
//! let message = mp_wire::encode(&Array::from_slice(&[1, 2, 3])?)?;
//! lingering::begin();
//! for _ in 0..100 {
//!     // Mapped in the first round alone.
//!     let array: Array<i32> = message.decode()?;
//!     lingering::turn();
//!     assert_eq!(array.get(2)?, 3);
//! }
//! lingering::clear();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::cell::RefCell;
use std::mem;

use super::Segment;

#[derive(Default)]
struct Kept {
    last_round: Vec<Segment>,
    this_round: Vec<Segment>,
}

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// Begins to keep what this thread attaches.
pub fn begin() {
    KEPT.with_borrow_mut(|kept| _ = kept.get_or_insert_default());
}

/// Ends a round: lets go of what was attached in the round before it.
#[inline]
pub fn turn() {
    let old = KEPT.with_borrow_mut(|kept| {
        let Kept { last_round, this_round } = kept.as_mut()?;
        let empty = last_round.is_empty() && this_round.is_empty();
        (!empty).then(|| mem::replace(last_round, mem::take(this_round)))
    });
    // Dropped when nothing is borrowed: to unmap takes a while.
    drop(old);
}

/// Lets go of everything.
pub fn clear() {
    let old = KEPT.with_borrow_mut(|kept| kept.as_mut().map(mem::take));
    drop(old);
}

/// Says whether this thread keeps nothing.
#[must_use]
pub fn is_empty() -> bool {
    KEPT.with_borrow(|kept| {
        kept.as_ref().is_none_or(|kept| kept.last_round.is_empty() && kept.this_round.is_empty())
    })
}

pub(super) fn note(segment: &Segment) {
    // In a thread that ends there is nothing to be kept any more.
    let _ = KEPT.try_with(|kept| {
        if let Ok(mut kept) = kept.try_borrow_mut()
            && let Some(kept) = kept.as_mut()
        {
            kept.this_round.push(segment.clone());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::registry;

    #[test]
    fn what_is_attached_in_each_round_stays() {
        let segment = Segment::create(1, 100).unwrap();
        let message = mp_wire::encode(&segment).unwrap();
        let (key, header) = (segment.0.key, segment.0.header);
        drop(segment);
        let is_mapped = || registry::find(key, &header).is_some();
        let attach = || drop(message.decode::<Segment>().unwrap());
        attach();
        assert!(!is_mapped() && is_empty(), "nobody asked for it");
        begin();
        for _ in 0..3 {
            attach();
            turn();
            assert!(is_mapped());
        }
        turn();
        assert!(!is_mapped() && is_empty());
        attach();
        clear();
        assert!(!is_mapped() && is_empty());
    }
}
