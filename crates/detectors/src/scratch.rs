//! Room for one row's intermediate values, without an allocation where the row isn't wide.

/// Values that fit on the stack.
const ON_STACK: usize = 256;

/// Calls `work` with `n` zeros.
#[inline]
pub(crate) fn with_zeros<R>(n: usize, work: impl FnOnce(&mut [f64]) -> R) -> R {
    if n <= 32 {
        work(&mut [0.0; 32][..n])
    } else if n <= ON_STACK {
        work(&mut [0.0; ON_STACK][..n])
    } else {
        work(&mut vec![0.0; n])
    }
}
