//! Small symmetric matrices, row after row.

/// The lower Cholesky factor of the `n` × `n` matrix `a`; `None` where it isn't positive definite beyond
/// rounding.
pub(crate) fn cholesky(a: &[f64], n: usize) -> Option<Vec<f64>> {
    let mut l = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| l[i * n + k] * l[j * n + k]).sum();
            let left = a[i * n + j] - dot;
            if i == j {
                if left.is_nan() || left <= a[i * n + i].abs() * 1e-13 || !left.is_finite() {
                    return None;
                }
                l[i * n + i] = left.sqrt();
            } else {
                l[i * n + j] = left / l[j * n + j];
            }
        }
    }
    Some(l)
}

/// The inverse of a lower triangular matrix.
pub(crate) fn invert_lower(l: &[f64], n: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; n * n];
    for j in 0..n {
        inverse[j * n + j] = 1.0 / l[j * n + j];
        for i in j + 1..n {
            let dot: f64 = (j..i).map(|k| l[i * n + k] * inverse[k * n + j]).sum();
            inverse[i * n + j] = -dot / l[i * n + i];
        }
    }
    inverse
}

/// The inverse of `a` by its Cholesky factor, and the logarithm of its determinant.
pub(crate) fn invert(a: &[f64], n: usize) -> Option<(Vec<f64>, f64)> {
    let l = cholesky(a, n)?;
    let half = invert_lower(&l, n);
    let mut inverse = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (i..n).map(|k| half[k * n + i] * half[k * n + j]).sum();
            inverse[i * n + j] = dot;
            inverse[j * n + i] = dot;
        }
    }
    let log_det = 2.0 * (0..n).map(|i| l[i * n + i].ln()).sum::<f64>();
    Some((inverse, log_det))
}

/// As [`invert`], after adding as little as is needed to the diagonal: from 10⁻¹⁰ of its mean on, ten
/// times more each time. `None` where the matrix isn't finite.
pub(crate) fn invert_with_ridge(a: &[f64], n: usize) -> Option<(Vec<f64>, f64)> {
    if a.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let trace: f64 = (0..n).map(|i| a[i * n + i]).sum();
    let mean = (trace / n as f64).max(1e-12);
    let mut ridged = a.to_vec();
    let mut ridge = 0.0;
    loop {
        for i in 0..n {
            ridged[i * n + i] = a[i * n + i] + ridge;
        }
        if let Some(found) = invert(&ridged, n) {
            return Some(found);
        }
        ridge = if ridge == 0.0 {
            mean * 1e-10
        } else {
            ridge * 10.0
        };
        if !ridge.is_finite() {
            return None;
        }
    }
}

/// Means of `rows`, row after row, and their covariance (over n).
pub(crate) fn mean_and_covariance<'a>(
    rows: impl Iterator<Item = &'a [f64]> + Clone,
    dims: usize,
) -> (Vec<f64>, Vec<f64>) {
    let mut mean = vec![0.0; dims];
    let mut n = 0.0;
    for row in rows.clone() {
        n += 1.0;
        for (mean, value) in mean.iter_mut().zip(row) {
            *mean += value;
        }
    }
    mean.iter_mut().for_each(|mean| *mean /= n);
    let mut covariance = vec![0.0; dims * dims];
    let mut from_mean = vec![0.0; dims];
    for row in rows {
        for ((d, value), mean) in from_mean.iter_mut().zip(row).zip(&mean) {
            *d = value - mean;
        }
        for i in 0..dims {
            for j in 0..=i {
                covariance[i * dims + j] += from_mean[i] * from_mean[j];
            }
        }
    }
    for i in 0..dims {
        for j in 0..=i {
            let value = covariance[i * dims + j] / n;
            covariance[i * dims + j] = value;
            covariance[j * dims + i] = value;
        }
    }
    (mean, covariance)
}

/// Orthonormal axes, one after the other, of which each is that of the largest variance among what the ones before it
/// leave: the eigenvectors of a symmetric `a`, n×n, by Jacobi's rotations (Golub and Van Loan, section 8.5). `None` where
/// they don't come to an end.
pub(crate) fn principal_axes(mut a: Vec<f64>, n: usize) -> Option<Vec<f64>> {
    const SWEEPS: usize = 30;
    let mut axes = vec![0.0; n * n];
    (0..n).for_each(|i| axes[i * n + i] = 1.0);
    let size: f64 = a.iter().map(|value| value * value).sum();
    for _ in 0..SWEEPS {
        let pairs = || (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q)));
        let off: f64 = pairs().map(|(p, q)| a[p * n + q] * a[p * n + q]).sum();
        if !off.is_finite() {
            return None;
        }
        if off <= size * 1e-24 {
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|i, j| a[j * n + j].total_cmp(&a[i * n + i]).then(i.cmp(j)));
            let axis = |i: &usize| axes[i * n..][..n].iter().copied();
            return Some(order.iter().flat_map(axis).collect());
        }
        for (p, q) in pairs() {
            let between = a[p * n + q];
            if between == 0.0 {
                continue;
            }
            let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * between);
            let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
            let c = 1.0 / t.hypot(1.0);
            let s = t * c;
            for k in 0..n {
                let (kp, kq) = (a[k * n + p], a[k * n + q]);
                (a[k * n + p], a[k * n + q]) = (c * kp - s * kq, s * kp + c * kq);
            }
            for k in 0..n {
                let (pk, qk) = (a[p * n + k], a[q * n + k]);
                (a[p * n + k], a[q * n + k]) = (c * pk - s * qk, s * pk + c * qk);
                let (pk, qk) = (axes[p * n + k], axes[q * n + k]);
                (axes[p * n + k], axes[q * n + k]) = (c * pk - s * qk, s * pk + c * qk);
            }
        }
    }
    None
}

/// `row` − `mean` into `out`, then its squared Mahalanobis distance with the inverse covariance.
#[inline]
pub(crate) fn squared_distance(
    row: &[f64],
    mean: &[f64],
    precision: &[f64],
    out: &mut [f64],
) -> f64 {
    for ((out, value), mean) in out.iter_mut().zip(row).zip(mean) {
        *out = value - mean;
    }
    let mut sum = 0.0;
    for (line, z) in precision.chunks_exact(row.len()).zip(&*out) {
        sum += z * dot(line, out);
    }
    sum.max(0.0)
}

/// In four sums side by side: a fixed order that vector instructions can follow.
#[inline]
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (a_four, a_rest) = a.as_chunks::<4>();
    let (b_four, b_rest) = b.as_chunks::<4>();
    for (a, b) in a_four.iter().zip(b_four) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    (sums[0] + sums[2]) + (sums[1] + sums[3]) + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inverse_inverts_and_knows_the_determinant() {
        let a = [4.0, 2.0, 0.4, 2.0, 5.0, 1.0, 0.4, 1.0, 3.0];
        let (inverse, log_det) = invert(&a, 3).unwrap();
        for i in 0..3 {
            for j in 0..3 {
                let cell: f64 = (0..3).map(|k| a[i * 3 + k] * inverse[k * 3 + j]).sum();
                assert!((cell - f64::from(u8::from(i == j))).abs() < 1e-14);
            }
        }
        let det = 4.0 * (15.0 - 1.0) - 2.0 * (6.0 - 0.4) + 0.4 * (2.0 - 2.0);
        assert!((log_det - f64::ln(det)).abs() < 1e-14);
        assert!(invert(&[1.0, 1.0, 1.0, 1.0], 2).is_none());
        assert!(invert_with_ridge(&[1.0, 1.0, 1.0, 1.0], 2).is_some());
        assert!(invert_with_ridge(&[0.0; 4], 2).is_some());
        assert!(invert_with_ridge(&[f64::NAN; 4], 2).is_none());
    }

    #[test]
    fn principal_axes_are_orthonormal_and_diagonalize() {
        let a = [4.0, 1.0, -2.0, 1.0, 2.0, 0.0, -2.0, 0.0, 3.0];
        let n = 3;
        let axes = principal_axes(a.to_vec(), n).unwrap();
        let axis = |i: usize| &axes[i * n..][..n];
        let mut variances = Vec::new();
        for i in 0..n {
            let turned: Vec<f64> = a.chunks_exact(n).map(|line| dot(line, axis(i))).collect();
            variances.push(dot(axis(i), &turned));
            for j in 0..n {
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((dot(axis(i), axis(j)) - expected).abs() < 1e-14);
                let expected = if i == j { variances[i] } else { 0.0 };
                assert!((dot(axis(j), &turned) - expected).abs() < 1e-13);
            }
        }
        assert!(variances.is_sorted_by(|a, b| a >= b), "{variances:?}");
        assert!((variances.iter().sum::<f64>() - 9.0).abs() < 1e-13);
        assert_eq!(principal_axes(vec![f64::NAN; 4], 2), None);
    }

    #[test]
    fn a_distance_is_the_quadratic_form() {
        let mut out = [0.0; 5];
        let precision: Vec<f64> = (0..25)
            .map(|i| if i % 6 == 0 { 2.0 } else { 0.5 })
            .collect();
        let row = [1.0, 2.0, 3.0, 4.0, 6.0];
        let square = squared_distance(&row, &[1.0; 5], &precision, &mut out);
        assert_eq!(out, [0.0, 1.0, 2.0, 3.0, 5.0]);
        assert!((square - (0.5 * 121.0 + 1.5 * 39.0)).abs() < 1e-12);
    }
}
