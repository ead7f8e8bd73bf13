//! Guards as views of the crate `ndarray`: the elements where they lie, in any shape.

use bytemuck::Pod;
use ndarray::{ArrayView, ArrayViewMut, Dimension, ShapeError, StrideShape};

use crate::{ArrayGuard, Error, ErrorKind, SharedVecGuard};

fn view<T, D: Dimension>(
    elements: &[T],
    shape: impl Into<StrideShape<D>>,
) -> Result<ArrayView<'_, T, D>, Error> {
    ArrayView::from_shape(shape, elements).map_err(refused)
}

fn view_mut<T, D: Dimension>(
    elements: &mut [T],
    shape: impl Into<StrideShape<D>>,
) -> Result<ArrayViewMut<'_, T, D>, Error> {
    ArrayViewMut::from_shape(shape, elements).map_err(refused)
}

fn refused(error: ShapeError) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("the elements do not have this shape: {error}"))
}

impl<T: Pod> ArrayGuard<'_, T> {
    /// Views the elements, in this shape, without copying; the guard stays taken as long as the view is used.
    ///
    /// The shape may have fewer elements than the array, which then are the first ones. In row-major order, unless the shape
    /// says `.f()` or has strides.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the shape has more elements than the array.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::array;
    ///
    /// let array = mp_shared::Array::from_slice(&[1, 2, 3, 4, 5, 6])?;
    /// let guard = array.lock()?;
    /// let matrix = guard.view((2, 3))?;
    /// assert_eq!(matrix, array![[1, 2, 3], [4, 5, 6]]);
    /// assert_eq!(matrix.t().row(2), array![3, 6]);
    /// assert!(guard.view((2, 4)).is_err());
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn view<D: Dimension>(
        &self,
        shape: impl Into<StrideShape<D>>,
    ) -> Result<ArrayView<'_, T, D>, Error> {
        view(self, shape)
    }

    /// Views the elements, in this shape, to change them where they are.
    ///
    /// # If a process dies
    ///
    /// As with the guard: what was written stays written, and the array is poisoned.
    ///
    /// # Errors
    ///
    /// As with [`view`](Self::view).
    ///
    /// # Examples
    ///
    /// ```
    /// let array = mp_shared::Array::<f64>::new(6)?;
    /// array.lock()?.view_mut((2, 3))?.column_mut(1).fill(0.5);
    /// assert_eq!(array.to_vec()?, [0.0, 0.5, 0.0, 0.0, 0.5, 0.0]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn view_mut<D: Dimension>(
        &mut self,
        shape: impl Into<StrideShape<D>>,
    ) -> Result<ArrayViewMut<'_, T, D>, Error> {
        view_mut(self, shape)
    }
}

impl<T: Pod> SharedVecGuard<'_, T> {
    /// Views the elements, in this shape, without copying; the guard stays taken as long as the view is used.
    ///
    /// The shape may have fewer elements than the vector, which then are the first ones. In row-major order, unless the shape
    /// says `.f()` or has strides.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the shape has more elements than the vector.
    ///
    /// # Examples
    ///
    /// ```
    /// let rows = mp_shared::SharedVec::<u32>::new()?;
    /// rows.extend_from_slice(&[1, 2])?;
    /// rows.extend_from_slice(&[3, 4])?;
    /// let guard = rows.lock()?;
    /// assert_eq!(guard.view((guard.len() / 2, 2))?, ndarray::array![[1, 2], [3, 4]]);
    /// # Ok::<(), mp_shared::Error>(())
    /// ```
    pub fn view<D: Dimension>(
        &self,
        shape: impl Into<StrideShape<D>>,
    ) -> Result<ArrayView<'_, T, D>, Error> {
        view(self, shape)
    }

    /// Views the elements, in this shape, to change them where they are.
    ///
    /// # If a process dies
    ///
    /// As with the guard: what was written stays written, and the vector is poisoned.
    ///
    /// # Errors
    ///
    /// As with [`view`](Self::view).
    pub fn view_mut<D: Dimension>(
        &mut self,
        shape: impl Into<StrideShape<D>>,
    ) -> Result<ArrayViewMut<'_, T, D>, Error> {
        view_mut(self, shape)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Axis, Ix2, IxDyn, ShapeBuilder as _, array};

    use crate::testing::fork;
    use crate::{Array, ErrorKind, SharedVec};

    #[test]
    fn views_are_the_elements_themselves() {
        let array = Array::<i64>::new(12).unwrap();
        fork(|| {
            let mut guard = array.lock().unwrap();
            let mut cube = guard.view_mut((2, 2, 3)).unwrap();
            cube[(1, 0, 2)] = 7;
            cube.index_axis_mut(Axis(0), 0).fill(1);
            true
        })
        .succeed();
        let guard = array.lock().unwrap();
        assert_eq!(guard[..], [1, 1, 1, 1, 1, 1, 0, 0, 7, 0, 0, 0]);
        let view = guard.view((4, 3)).unwrap();
        assert_eq!(view.as_ptr(), guard.as_ptr(), "nothing is copied");
        assert_eq!(view.sum(), 13);
        let dynamic = guard.view(IxDyn(&[3, 4])).unwrap();
        assert_eq!(dynamic.into_dimensionality::<Ix2>().unwrap()[(2, 0)], 7);
    }

    #[test]
    fn orders_strides_and_fewer_elements() {
        let vector = SharedVec::from_slice(&[1, 2, 3, 4, 5, 6]).unwrap();
        let mut guard = vector.lock().unwrap();
        assert_eq!(guard.view((2, 3).f()).unwrap(), array![[1, 3, 5], [2, 4, 6]]);
        assert_eq!(guard.view(2).unwrap(), array![1, 2]);
        assert_eq!(guard.view((2, 2).strides((3, 1))).unwrap(), array![[1, 2], [4, 5]]);
        guard.view_mut((3, 2)).unwrap().swap((0, 0), (2, 1));
        assert_eq!(guard[..], [6, 2, 3, 4, 5, 1]);
        // Two indices for one element cannot both be changed.
        let overlap = guard.view_mut((3, 2).strides((1, 1))).map(drop);
        assert_eq!(overlap.unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let array = Array::<u8>::new(6).unwrap();
        let mut guard = array.lock().unwrap();
        for shape in [(2, 4), (7, 1), (usize::MAX, 2), (usize::MAX, usize::MAX)] {
            assert_eq!(guard.view(shape).unwrap_err().kind(), ErrorKind::InvalidInput);
            assert!(guard.view_mut(shape).is_err());
        }
        assert!(guard.view((0, 5)).unwrap().is_empty());
        let empty = SharedVec::<f32>::new().unwrap();
        assert!(empty.lock().unwrap().view((0, 3)).unwrap().is_empty());
        assert!(empty.lock().unwrap().view((1, 1)).is_err());
    }
}
