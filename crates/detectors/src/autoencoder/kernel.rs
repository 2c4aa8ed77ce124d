//! The products that a dense network is made of, on rows that lie side by side: a *panel* holds one
//! line a neuron, one place a row, a whole number of [`LANES`].
//!
//! Every sum has one order: over a layer's inputs from first to last, starting from the bias, and over
//! rows in [`LANES`] sums that are added in a fixed order. A product is rounded before it is added, so
//! vector instructions of any width give the same bits, and a row alone those of a row among others.

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
pub(super) fn multiply(
    weights: Weights<'_>,
    bias: Option<&[f32]>,
    panel: &[f32],
    width: usize,
    out: &mut [f32],
) {
    let mut result = 0;
    while result + 4 <= weights.n_results {
        lines::<4>(weights, bias, panel, width, out, result);
        result += 4;
    }
    while result < weights.n_results {
        lines::<1>(weights, bias, panel, width, out, result);
        result += 1;
    }
}

#[inline(always)]
fn lines<const N: usize>(
    weights: Weights<'_>,
    bias: Option<&[f32]>,
    panel: &[f32],
    width: usize,
    out: &mut [f32],
    first: usize,
) {
    for at in (0..width).step_by(LANES) {
        let mut sums = [[0.0_f32; LANES]; N];
        if let Some(bias) = bias {
            for (sums, bias) in sums.iter_mut().zip(&bias[first..]) {
                *sums = [*bias; LANES];
            }
        }
        for term in 0..weights.n_terms {
            let values = &panel[term * width + at..][..LANES];
            for (n, sums) in sums.iter_mut().enumerate() {
                let place = (first + n) * weights.result_step + term * weights.term_step;
                let weight = weights.values[place];
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += weight * value;
                }
            }
        }
        for (n, sums) in sums.iter().enumerate() {
            out[(first + n) * width + at..][..LANES].copy_from_slice(sums);
        }
    }
}

/// `out`\[i\]\[j\] = Σ over rows of `a`\[i\] · `b`\[j\], line after line.
#[inline(always)]
pub(super) fn products(a: &[f32], b: &[f32], width: usize, n_b: usize, out: &mut [f32]) {
    for (a, out) in a.chunks_exact(width).zip(out.chunks_exact_mut(n_b)) {
        let (b_four, out_four) = (b.chunks_exact(4 * width), out.chunks_exact_mut(4));
        for (b, out) in b_four.zip(out_four) {
            some_products::<4>(a, b, width, out);
        }
        let done = n_b / 4 * 4;
        let rest = b[done * width..].chunks_exact(width);
        for (b, out) in rest.zip(out[done..].chunks_exact_mut(1)) {
            some_products::<1>(a, b, width, out);
        }
    }
}

#[inline(always)]
fn some_products<const N: usize>(a: &[f32], b: &[f32], width: usize, out: &mut [f32]) {
    let mut sums = [[0.0_f32; LANES]; N];
    for at in (0..width).step_by(LANES) {
        let a = &a[at..][..LANES];
        for (n, sums) in sums.iter_mut().enumerate() {
            let b = &b[n * width + at..][..LANES];
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                *sum += a * b;
            }
        }
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        *out = lane_sum(sums);
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
    let x = x.clamp(-7.905_311, 7.905_311);
    let square = x * x;
    let mut top = -2.760_768_5e-16;
    for coefficient in [
        2.000_188e-13,
        -8.604_672e-11,
        5.122_297_3e-8,
        1.485_722_4e-5,
        6.372_619e-4,
        4.893_524_6e-3,
    ] {
        top = top * square + coefficient;
    }
    let mut bottom = 1.198_258_4e-6;
    for coefficient in [1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3] {
        bottom = bottom * square + coefficient;
    }
    (x * top) / bottom
}

#[cfg(test)]
mod tests {
    use super::*;

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
        multiply(forwards, Some(&bias), &panel, width, &mut out);
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
        multiply(backwards, None, &out, width, &mut back);
        let dot: f32 = (0..n_results)
            .map(|r| weights[r * n_terms + 5] * out[r * width + 9])
            .sum();
        assert!((back[5 * width + 9] - dot).abs() < 1e-3);
        let mut gradient = vec![0.0; n_results * n_terms];
        products(&out, &panel, width, n_terms, &mut gradient);
        let dot: f32 = (0..width)
            .map(|row| out[4 * width + row] * panel[6 * width + row])
            .sum();
        assert!((gradient[4 * n_terms + 6] - dot).abs() < 1e-2);
        assert_eq!(line_sum(&[0.5; 64]), 32.0);
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
