//! The products that a dense network is made of, on rows that lie side by side: a *panel* holds one
//! line a neuron, one place a row, a whole number of [`LANES`].
//!
//! Every sum has one order: over a layer's inputs from first to last, starting from the bias, and over
//! rows in [`LANES`] sums that are added in a fixed order. A product is rounded before it is added, so
//! vector instructions of any width give the same bits, and a row alone those of a row among others.

use pulp::Simd;

/// No vector has more.
pub(super) const LANES: usize = 16;

/// The weights of a layer, and the way through them: line by line, or, backwards, column by column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights<'a> {
    pub(super) values: &'a [f32],
    /// From one result to the next, and from one term to the next.
    pub(super) result_step: usize,
    pub(super) term_step: usize,
    pub(super) n_results: usize,
    pub(super) n_terms: usize,
}

/// `out` = `weights` · `panel`, plus a bias for each line.
#[inline(always)]
pub(super) fn multiply<S: Simd>(
    simd: S,
    weights: Weights<'_>,
    bias: Option<&[f32]>,
    panel: &[f32],
    width: usize,
    out: &mut [f32],
) {
    let mut result = 0;
    while result + 8 <= weights.n_results {
        lines::<S, 8>(simd, weights, bias, panel, width, out, result);
        result += 8;
    }
    while result + 2 <= weights.n_results {
        lines::<S, 2>(simd, weights, bias, panel, width, out, result);
        result += 2;
    }
    if result < weights.n_results {
        lines::<S, 1>(simd, weights, bias, panel, width, out, result);
    }
}

#[inline(always)]
fn lines<S: Simd, const N: usize>(
    simd: S,
    weights: Weights<'_>,
    bias: Option<&[f32]>,
    panel: &[f32],
    width: usize,
    out: &mut [f32],
    first: usize,
) {
    let step = width / S::F32_LANES;
    let (panel, _) = S::as_simd_f32s(panel);
    let (out, _) = S::as_mut_simd_f32s(&mut out[first * width..][..N * width]);
    for at in 0..step {
        let mut sums = [simd.splat_f32s(0.0); N];
        if let Some(bias) = bias {
            for (sum, bias) in sums.iter_mut().zip(&bias[first..]) {
                *sum = simd.splat_f32s(*bias);
            }
        }
        let mut place = first * weights.result_step;
        for values in panel[at..].iter().step_by(step).take(weights.n_terms) {
            for (n, sum) in sums.iter_mut().enumerate() {
                let weight = simd.splat_f32s(weights.values[place + n * weights.result_step]);
                // Not fused: a processor without that would give other bits.
                *sum = simd.add_f32s(*sum, simd.mul_f32s(weight, *values));
            }
            place += weights.term_step;
        }
        for (n, sum) in sums.into_iter().enumerate() {
            out[n * step + at] = sum;
        }
    }
}

/// `out`\[i\]\[j\] = Σ over rows of `a`\[i\] · `b`\[j\], line after line.
#[inline(always)]
pub(super) fn products<S: Simd>(
    simd: S,
    a: &[f32],
    b: &[f32],
    width: usize,
    n_b: usize,
    out: &mut [f32],
) {
    for (a, out) in a.chunks_exact(width).zip(out.chunks_exact_mut(n_b)) {
        let mut done = 0;
        while done + 4 <= n_b {
            some_products::<S, 4>(simd, a, &b[done * width..], width, &mut out[done..]);
            done += 4;
        }
        while done < n_b {
            some_products::<S, 1>(simd, a, &b[done * width..], width, &mut out[done..]);
            done += 1;
        }
    }
}

#[inline(always)]
fn some_products<S: Simd, const N: usize>(
    simd: S,
    a: &[f32],
    b: &[f32],
    width: usize,
    out: &mut [f32],
) {
    let step = width / S::F32_LANES;
    // Vectors to a whole of the lanes: each has sums of its own.
    let parts = LANES / S::F32_LANES;
    let (a, _) = S::as_simd_f32s(a);
    let (b, _) = S::as_simd_f32s(b);
    let mut lanes = [[0.0_f32; LANES]; N];
    for part in 0..parts {
        let mut sums = [simd.splat_f32s(0.0); N];
        let mut at = part;
        while at < step {
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = simd.add_f32s(*sum, simd.mul_f32s(a[at], b[n * step + at]));
            }
            at += parts;
        }
        for (lanes, sum) in lanes.iter_mut().zip(sums) {
            S::as_mut_simd_f32s(lanes).0[part] = sum;
        }
    }
    for (out, lanes) in out.iter_mut().zip(lanes) {
        *out = lane_sum(lanes);
    }
}

/// The sum of a line.
#[inline(always)]
pub(super) fn line_sum(line: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    for lanes in line.as_chunks::<LANES>().0 {
        for (sum, value) in sums.iter_mut().zip(lanes) {
            *sum += value;
        }
    }
    lane_sum(sums)
}

/// Halves are added to halves.
#[inline(always)]
fn lane_sum(lanes: [f32; LANES]) -> f32 {
    let mut lanes = lanes;
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// The hyperbolic tangent to within 4·10⁻⁷, as a quotient of polynomials (the one of the Eigen
/// library): the platform's own differs from one to the next, and takes one value at a time.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let x = x.clamp(-TANH_LIMIT, TANH_LIMIT);
    let square = x * x;
    let mut top = TANH_TOP[0];
    for coefficient in &TANH_TOP[1..] {
        top = top * square + coefficient;
    }
    let mut bottom = TANH_BOTTOM[0];
    for coefficient in &TANH_BOTTOM[1..] {
        bottom = bottom * square + coefficient;
    }
    (x * top) / bottom
}

/// Where the quotient of [`tanh`] is 1 in `f32`.
pub(super) const TANH_LIMIT: f32 = 7.905_311;
/// Coefficients of its polynomials in x², the highest power first; the upper one is times x.
pub(super) const TANH_TOP: [f32; 7] = [
    -2.760_768_5e-16,
    2.000_188e-13,
    -8.604_672e-11,
    5.122_297_3e-8,
    1.485_722_4e-5,
    6.372_619e-4,
    4.893_524_6e-3,
];
pub(super) const TANH_BOTTOM: [f32; 4] =
    [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];

#[cfg(test)]
mod tests {
    use pulp::Scalar;

    use super::*;
    use crate::vectors::vectorized;

    #[test]
    fn products_are_those_of_the_definition() {
        let (width, n_terms, n_results) = (32, 7, 6);
        let value = |i: usize| ((i * 7919) % 64) as f32 / 16.0 - 2.0;
        let weights: Vec<f32> = (0..n_terms * n_results).map(value).collect();
        let panel: Vec<f32> = (0..n_terms * width).map(|i| value(i + 3)).collect();
        let bias: Vec<f32> = (0..n_results).map(value).collect();
        let forwards = Weights {
            values: &weights,
            result_step: n_terms,
            term_step: 1,
            n_results,
            n_terms,
        };
        let mut out = vec![0.0; n_results * width];
        multiply(Scalar, forwards, Some(&bias), &panel, width, &mut out);
        for result in 0..n_results {
            for row in 0..width {
                let dot: f32 = (0..n_terms)
                    .map(|t| weights[result * n_terms + t] * panel[t * width + row])
                    .sum();
                assert_eq!(out[result * width + row], bias[result] + dot);
            }
        }
        let backwards = Weights {
            values: &weights,
            result_step: 1,
            term_step: n_terms,
            n_results: n_terms,
            n_terms: n_results,
        };
        let mut back = vec![0.0; n_terms * width];
        multiply(Scalar, backwards, None, &out, width, &mut back);
        let dot: f32 = (0..n_results)
            .map(|r| weights[r * n_terms + 5] * out[r * width + 9])
            .sum();
        assert!((back[5 * width + 9] - dot).abs() < 1e-3);
        let mut gradient = vec![0.0; n_results * n_terms];
        products(Scalar, &out, &panel, width, n_terms, &mut gradient);
        let dot: f32 = (0..width)
            .map(|row| out[4 * width + row] * panel[6 * width + row])
            .sum();
        assert!((gradient[4 * n_terms + 6] - dot).abs() < 1e-2);
        assert_eq!(line_sum(&[0.5; 64]), 32.0);
    }

    #[test]
    fn vector_instructions_change_no_bit() {
        let (width, n_terms, n_results) = (48, 13, 11);
        let value = |i: usize| ((i * 7919) % 1_013) as f32 / 377.0 - 1.3;
        let weights: Vec<f32> = (0..n_terms * n_results).map(value).collect();
        let panel: Vec<f32> = (0..n_terms * width).map(|i| value(i + 5)).collect();
        let forwards = Weights {
            values: &weights,
            result_step: n_terms,
            term_step: 1,
            n_results,
            n_terms,
        };
        let mut plain = (vec![0.0; n_results * width], vec![0.0; n_results * n_terms]);
        multiply(Scalar, forwards, None, &panel, width, &mut plain.0);
        products(Scalar, &plain.0, &panel, width, n_terms, &mut plain.1);
        let mut found = (vec![0.0; n_results * width], vec![0.0; n_results * n_terms]);
        vectorized!(
            pulp::Arch::new(),
            simd,
            <'a> (
                forwards: Weights<'a> = forwards,
                panel: &'a [f32] = &panel,
                width: usize = width,
                n_terms: usize = n_terms,
                found: &'a mut (Vec<f32>, Vec<f32>) = &mut found,
            ) -> () {
                multiply(simd, forwards, None, panel, width, &mut found.0);
                products(simd, &found.0, panel, width, n_terms, &mut found.1);
            }
        );
        assert_eq!(found, plain);
    }

    #[test]
    fn tanh_is_the_hyperbolic_tangent() {
        for i in -2_000..2_000 {
            let x = i as f32 / 100.0;
            assert!((tanh(x) - x.tanh()).abs() < 4e-7, "{x}: {}", tanh(x));
        }
        assert!(tanh(f32::NAN).is_nan());
        assert_eq!(tanh(f32::MAX), -tanh(f32::MIN));
    }
}
