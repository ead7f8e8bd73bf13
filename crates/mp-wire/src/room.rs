//! Room for large buffers.

use std::collections::TryReserveError;

use crate::sys;

/// From this many bytes on, large pages are asked for.
const LARGE: usize = 4 << 20;

/// Reserves room for `additional` more elements, as [`Vec::try_reserve`], in large pages where that is much.
///
/// New memory costs a trap for each page that is written first: for pages of 4 KiB that is longer than writing them takes. Where the system
/// gives large pages to who asks, it is asked to; where not, nothing is different.
///
/// # Errors
///
/// There is no such memory. The vector is as it was.
///
/// # Examples
///
/// ```
/// let mut bytes = Vec::new();
/// mp_wire::try_reserve(&mut bytes, 8 << 20)?;
/// assert!(bytes.capacity() >= 8 << 20);
/// bytes.resize(8 << 20, 7_u8);
/// # Ok::<(), std::collections::TryReserveError>(())
/// ```
pub fn try_reserve<T>(vector: &mut Vec<T>, additional: usize) -> Result<(), TryReserveError> {
    let before = vector.capacity();
    vector.try_reserve(additional)?;
    let grown = vector.capacity() > before;
    let spare = vector.spare_capacity_mut();
    if grown && size_of_val(spare) >= LARGE {
        sys::prefer_large_pages(spare);
    }
    Ok(())
}
