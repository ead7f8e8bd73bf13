//! Guards as what they are: slices.

use std::slice;

use bytemuck::Pod;

use crate::{ArrayGuard, ChunkedGuard, SharedVecGuard};

/// Lets a guard be used where a slice is expected, and in a loop.
macro_rules! slice_of_elements {
    ($($guard:ident),*) => {$(
        impl<T: Pod> AsRef<[T]> for $guard<'_, T> {
            fn as_ref(&self) -> &[T] {
                self
            }
        }

        impl<T: Pod> AsMut<[T]> for $guard<'_, T> {
            fn as_mut(&mut self) -> &mut [T] {
                self
            }
        }

        impl<'a, T: Pod> IntoIterator for &'a $guard<'_, T> {
            type Item = &'a T;
            type IntoIter = slice::Iter<'a, T>;

            fn into_iter(self) -> Self::IntoIter {
                self.iter()
            }
        }

        impl<'a, T: Pod> IntoIterator for &'a mut $guard<'_, T> {
            type Item = &'a mut T;
            type IntoIter = slice::IterMut<'a, T>;

            fn into_iter(self) -> Self::IntoIter {
                self.iter_mut()
            }
        }
    )*};
}

slice_of_elements!(ArrayGuard, ChunkedGuard, SharedVecGuard);

#[cfg(test)]
mod tests {
    use crate::{Array, ChunkedArray, SharedVec};

    fn double<'a>(elements: impl IntoIterator<Item = &'a mut u32>) {
        elements.into_iter().for_each(|element| *element *= 2);
    }

    fn sum(elements: impl AsRef<[u32]>) -> u32 {
        elements.as_ref().iter().sum()
    }

    #[test]
    fn guards_are_iterated_and_passed_as_slices() {
        let array = Array::from_slice(&[1, 2, 3]).unwrap();
        let chunked = ChunkedArray::from_slice(&[1, 2, 3], 2).unwrap();
        let row = SharedVec::from_slice(&[1, 2, 3]).unwrap();
        let (mut first, mut second, mut third) =
            (array.lock().unwrap(), chunked.lock(1..).unwrap(), row.lock().unwrap());
        double(&mut first);
        double(&mut second);
        double(&mut third);
        third.as_mut().reverse();
        assert_eq!((sum(&first), sum(&second), sum(&third)), (12, 10, 12));
        let mut seen = Vec::new();
        for element in &third {
            seen.push(*element);
        }
        assert_eq!(seen, [6, 4, 2]);
    }
}
