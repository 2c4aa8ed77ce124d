//! Rolling statistics that stay exact.
//!
//! A plain running sum of squares loses all digits when the values are large and close together (price 1e5 with sd 1e-2
//! needs 14 digits for the variance alone), and keeps the rounding error of a spike long after it has left the window.
//! Three means against that, all of them pure functions of what was pushed:
//!
//! 1. Sums are *compensated*: the error of every addition is kept in a second float (Knuth's TwoSum), about 106 bits.
//! 2. Moments are *shifted*: what is summed are differences from a value near the mean.
//! 3. Sums are computed anew from the window once per window length, and the shift is moved to the window's mean then, or
//!    at once when the shifted sums cancel by more than four digits (after a level shift).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::bits;

/// A compensated sum: the unevaluated sum of two floats.
///
/// As long as (number of summands) × (total / smallest summand) stays below 2^53 ≈ 9e15 no bit is lost, so the value does
/// not depend on the order of the summands.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Sum {
    #[serde(with = "bits")]
    high: f64,
    #[serde(with = "bits")]
    low: f64,
}

impl Sum {
    #[inline(always)]
    pub(crate) fn add(&mut self, value: f64) {
        let sum = self.high + value;
        let virtual_value = sum - self.high;
        let error = (self.high - (sum - virtual_value)) + (value - virtual_value);
        self.high = sum;
        self.low += error;
    }

    #[inline(always)]
    pub(crate) fn value(&self) -> f64 {
        self.high + self.low
    }
}

/// Mean and standard deviation of a full window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moments {
    shift: f64,
    mean_offset: f64,
    /// Sample standard deviation (divisor n − 1); exactly 0 if and only if all values of the window are equal.
    pub(crate) sd: f64,
}

impl Moments {
    pub(crate) fn mean(&self) -> f64 {
        self.shift + self.mean_offset
    }

    /// (value − mean) / sd, and 0 where the window is constant.
    pub(crate) fn zscore(&self, value: f64) -> f64 {
        if self.sd == 0.0 {
            0.0
        } else {
            // Not `value - mean()`: the mean rounds to the digits of the price level, the offset does not.
            ((value - self.shift) - self.mean_offset) / self.sd
        }
    }

    /// sd / mean, and 0 where the window is constant.
    pub(crate) fn relative_sd(&self) -> f64 {
        if self.sd == 0.0 {
            0.0
        } else {
            self.sd / self.mean()
        }
    }
}

/// Mean and standard deviation of the last `capacity` values, O(1) amortized.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RollingMoments {
    capacity: usize,
    #[serde(with = "bits::queue")]
    values: VecDeque<f64>,
    #[serde(with = "bits")]
    shift: f64,
    sum: Sum,
    sum_of_squares: Sum,
    /// How many of the last values are equal to each other: constancy is known exactly, without arithmetic.
    run: usize,
    since_exact: usize,
}

/// The share of the shifted sum of squares that must be left after the mean's part is taken off.
const MIN_REMAINDER: f64 = 1e-4;

impl RollingMoments {
    pub(crate) fn new(capacity: usize) -> RollingMoments {
        RollingMoments {
            capacity,
            values: VecDeque::with_capacity(capacity),
            shift: 0.0,
            sum: Sum::default(),
            sum_of_squares: Sum::default(),
            run: 0,
            since_exact: 0,
        }
    }

    /// Whether what was stored can be a window of this capacity.
    pub(crate) fn fits(&self, capacity: usize) -> bool {
        self.capacity == capacity
            && self.values.len() <= capacity
            && self.values.iter().all(|value| value.is_finite())
    }

    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.shift = 0.0;
        self.sum = Sum::default();
        self.sum_of_squares = Sum::default();
        self.run = 0;
        self.since_exact = 0;
    }

    pub(crate) fn push(&mut self, value: f64) {
        if self.values.len() >= self.capacity
            && let Some(oldest) = self.values.pop_front()
        {
            let difference = oldest - self.shift;
            self.sum.add(-difference);
            self.sum_of_squares.add(-(difference * difference));
        }
        self.run = if self.values.back() == Some(&value) {
            self.run + 1
        } else {
            1
        };
        self.values.push_back(value);
        self.since_exact += 1;
        if self.values.len() == 1 || self.since_exact >= self.capacity {
            self.recompute();
        } else {
            let difference = value - self.shift;
            self.sum.add(difference);
            self.sum_of_squares.add(difference * difference);
        }
    }

    /// `None` until the window is full.
    pub(crate) fn moments(&mut self) -> Option<Moments> {
        if self.values.len() < self.capacity {
            return None;
        }
        if self.run >= self.values.len() {
            let value = self.values.back().copied()?;
            return Some(Moments {
                shift: value,
                mean_offset: 0.0,
                sd: 0.0,
            });
        }
        let n_values = self.values.len();
        if self.sums().cancel(n_values) {
            self.recompute();
        }
        Some(self.sums().moments(n_values))
    }

    /// The moments as they would be after `push(value)`, to the last bit.
    pub(crate) fn peek(&self, value: f64) -> Option<Moments> {
        let n_dropped = usize::from(self.values.len() >= self.capacity);
        let n_values = self.values.len() - n_dropped + 1;
        if n_values < self.capacity {
            return None;
        }
        let run = match self.values.back() {
            Some(last) if *last == value => self.run + 1,
            _ => 1,
        };
        if run >= n_values {
            return Some(Moments {
                shift: value,
                mean_offset: 0.0,
                sd: 0.0,
            });
        }
        let values = || {
            let kept = self.values.iter().skip(n_dropped).copied();
            kept.chain(std::iter::once(value))
        };
        let mut sums = if n_values == 1 || self.since_exact + 1 >= self.capacity {
            Sums::exact(values())
        } else {
            let mut sums = Sums {
                shift: self.shift,
                sum: self.sum,
                sum_of_squares: self.sum_of_squares,
            };
            if n_dropped > 0
                && let Some(oldest) = self.values.front()
            {
                let difference = oldest - sums.shift;
                sums.sum.add(-difference);
                sums.sum_of_squares.add(-(difference * difference));
            }
            sums.add(value);
            sums
        };
        if sums.cancel(n_values) {
            sums = Sums::exact(values());
        }
        Some(sums.moments(n_values))
    }

    fn recompute(&mut self) {
        self.since_exact = 0;
        let sums = Sums::exact(self.values.iter().copied());
        self.shift = sums.shift;
        self.sum = sums.sum;
        self.sum_of_squares = sums.sum_of_squares;
    }

    fn sums(&self) -> Sums {
        Sums {
            shift: self.shift,
            sum: self.sum,
            sum_of_squares: self.sum_of_squares,
        }
    }
}

/// The sums behind moments: of differences from a shift, and of their squares.
#[derive(Debug, Clone, Copy)]
struct Sums {
    shift: f64,
    sum: Sum,
    sum_of_squares: Sum,
}

impl Sums {
    /// From the values themselves, with their mean as shift.
    fn exact(values: impl Iterator<Item = f64> + Clone) -> Sums {
        let first = values.clone().next().unwrap_or(0.0);
        let mut offset = Sum::default();
        let mut n_values = 0_usize;
        for value in values.clone() {
            offset.add(value - first);
            n_values += 1;
        }
        let mut sums = Sums {
            shift: first + offset.value() / n_values.max(1) as f64,
            sum: Sum::default(),
            sum_of_squares: Sum::default(),
        };
        values.for_each(|value| sums.add(value));
        sums
    }

    fn add(&mut self, value: f64) {
        let difference = value - self.shift;
        self.sum.add(difference);
        self.sum_of_squares.add(difference * difference);
    }

    fn remainder(&self, n_values: usize) -> f64 {
        let sum = self.sum.value();
        self.sum_of_squares.value() - sum * sum / n_values as f64
    }

    /// Whether too many digits have cancelled.
    fn cancel(&self, n_values: usize) -> bool {
        self.remainder(n_values) <= MIN_REMAINDER * self.sum_of_squares.value()
    }

    fn moments(&self, n_values: usize) -> Moments {
        let n = n_values as f64;
        Moments {
            shift: self.shift,
            mean_offset: self.sum.value() / n,
            sd: (self.remainder(n_values) / (n - 1.0)).sqrt(),
        }
    }
}

/// The sum of the last `capacity` values, none of them negative, O(1) amortized.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RollingSum {
    capacity: usize,
    #[serde(with = "bits::queue")]
    values: VecDeque<f64>,
    sum: Sum,
    n_positive: usize,
    since_exact: usize,
}

/// A sum that shrinks by more than this has used up its spare digits.
const MIN_SHRINK: f64 = 1e-12;

impl RollingSum {
    pub(crate) fn new(capacity: usize) -> RollingSum {
        RollingSum {
            capacity,
            values: VecDeque::with_capacity(capacity),
            sum: Sum::default(),
            n_positive: 0,
            since_exact: 0,
        }
    }

    /// Whether what was stored can be a window of this capacity.
    pub(crate) fn fits(&self, capacity: usize) -> bool {
        self.capacity == capacity
            && self.values.len() <= capacity
            && self
                .values
                .iter()
                .all(|value| (0.0..f64::INFINITY).contains(value))
            && self.n_positive == self.values.iter().filter(|value| **value > 0.0).count()
    }

    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.sum = Sum::default();
        self.n_positive = 0;
        self.since_exact = 0;
    }

    pub(crate) fn push(&mut self, value: f64) {
        let before = self.sum.value();
        if self.values.len() >= self.capacity
            && let Some(oldest) = self.values.pop_front()
        {
            self.sum.add(-oldest);
            self.n_positive -= usize::from(oldest > 0.0);
        }
        self.values.push_back(value);
        self.sum.add(value);
        self.n_positive += usize::from(value > 0.0);
        self.since_exact += 1;
        if self.since_exact >= self.capacity || self.sum.value() <= MIN_SHRINK * before {
            self.since_exact = 0;
            self.sum = Sum::default();
            for value in &self.values {
                self.sum.add(*value);
            }
        }
    }

    /// The sum as it would be after `push(value)`, to the last bit.
    pub(crate) fn peek(&self, value: f64) -> Option<f64> {
        let n_dropped = usize::from(self.values.len() >= self.capacity);
        if self.values.len() - n_dropped + 1 < self.capacity {
            return None;
        }
        let oldest = self.values.front().copied().filter(|_| n_dropped > 0);
        let n_positive = self.n_positive + usize::from(value > 0.0)
            - usize::from(oldest.is_some_and(|oldest| oldest > 0.0));
        if n_positive == 0 {
            return Some(0.0);
        }
        let mut sum = self.sum;
        if let Some(oldest) = oldest {
            sum.add(-oldest);
        }
        sum.add(value);
        if self.since_exact + 1 >= self.capacity || sum.value() <= MIN_SHRINK * self.sum.value() {
            sum = Sum::default();
            let kept = self.values.iter().skip(n_dropped).copied();
            kept.chain(std::iter::once(value)).for_each(|v| sum.add(v));
        }
        Some(sum.value())
    }

    /// `None` until the window is full; exactly 0 if and only if all values are.
    pub(crate) fn value(&self) -> Option<f64> {
        if self.values.len() < self.capacity {
            None
        } else if self.n_positive == 0 {
            Some(0.0)
        } else {
            Some(self.sum.value())
        }
    }
}

/// The largest of the last `capacity` values, O(1) amortized: a queue of the values that can still become the largest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RollingMax {
    capacity: usize,
    n_pushed: u64,
    positions: VecDeque<u64>,
    #[serde(with = "bits::queue")]
    values: VecDeque<f64>,
}

impl RollingMax {
    pub(crate) fn new(capacity: usize) -> RollingMax {
        RollingMax {
            capacity,
            n_pushed: 0,
            positions: VecDeque::new(),
            values: VecDeque::new(),
        }
    }

    /// Whether what was stored can be a window of this capacity.
    pub(crate) fn fits(&self, capacity: usize) -> bool {
        self.capacity == capacity
            && self.values.len() <= capacity
            && self.values.len() == self.positions.len()
            && self
                .positions
                .iter()
                .all(|position| *position < self.n_pushed)
    }

    pub(crate) fn clear(&mut self) {
        self.n_pushed = 0;
        self.positions.clear();
        self.values.clear();
    }

    pub(crate) fn push(&mut self, value: f64) {
        while self.values.back().is_some_and(|last| *last <= value) {
            self.values.pop_back();
            self.positions.pop_back();
        }
        self.values.push_back(value);
        self.positions.push_back(self.n_pushed);
        self.n_pushed += 1;
        let capacity = self.capacity as u64;
        while self
            .positions
            .front()
            .is_some_and(|position| position + capacity < self.n_pushed)
        {
            self.values.pop_front();
            self.positions.pop_front();
        }
    }

    /// The largest as it would be after `push(value)`.
    pub(crate) fn peek(&self, value: f64) -> Option<f64> {
        let n_pushed = self.n_pushed + 1;
        if n_pushed < self.capacity as u64 {
            return None;
        }
        let is_kept = |position: &u64| position + self.capacity as u64 >= n_pushed;
        let first = self.positions.iter().position(is_kept);
        let kept = first.and_then(|place| self.values.get(place));
        Some(kept.map_or(value, |kept| kept.max(value)))
    }

    /// `None` until the window is full.
    pub(crate) fn value(&self) -> Option<f64> {
        if self.n_pushed < self.capacity as u64 {
            None
        } else {
            self.values.front().copied()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const WINDOW: usize = 60;
    const N_UPDATES: usize = 10_000_000;

    /// Mean and sd by two passes, from differences to the first value.
    fn two_pass(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
        let n = values.clone().count() as f64;
        let first = values.clone().next().unwrap();
        let mean = values.clone().map(|value| value - first).sum::<f64>() / n;
        let squares: f64 = values.map(|value| (value - first - mean).powi(2)).sum();
        (first + mean, (squares / (n - 1.0)).sqrt())
    }

    fn check(name: &str, n_updates: usize, mut next: impl FnMut(usize) -> f64) {
        let mut moments = RollingMoments::new(WINDOW);
        let mut sum = RollingSum::new(WINDOW);
        for idx in 0..n_updates {
            let value = next(idx);
            moments.push(value);
            sum.push(value);
            // At every update near the end, and now and then before.
            if idx < WINDOW || (idx % 9973 != 0 && idx + 1000 < n_updates) {
                continue;
            }
            let (mean, sd) = two_pass(moments.values.iter().copied());
            let got = moments.moments().unwrap();
            assert!(
                (got.sd - sd).abs() <= 1e-9 * sd,
                "{name} at {idx}: sd {} but {sd}",
                got.sd
            );
            assert!(
                (got.mean() - mean).abs() <= 1e-9 * mean.abs(),
                "{name} at {idx}: mean {} but {mean}",
                got.mean()
            );
            let total: f64 = sum.values.iter().sum();
            let got = sum.value().unwrap();
            assert!(
                (got - total).abs() <= 1e-9 * total.abs(),
                "{name} at {idx}: sum {got} but {total}"
            );
        }
    }

    #[test]
    fn agrees_with_two_passes_after_ten_million_updates() {
        let mut random = Random::new(1, "rolling", "offset");
        check("large offset", N_UPDATES, |_| {
            1e5 + 1e-2 * (random.uniform() - 0.5)
        });
    }

    #[test]
    fn forgets_spikes_wholly() {
        let mut random = Random::new(2, "rolling", "spikes");
        let spiky = |idx: usize, value: f64| {
            if idx.is_multiple_of(2_000) {
                value * 1e6
            } else {
                value
            }
        };
        check("spikes", N_UPDATES / 5, |idx| {
            spiky(idx, 100.0 + random.uniform())
        });
        // The last thousand updates are checked one by one, while a gross spike leaves the window.
        for at in [900, 500, 100] {
            check("last spike", 5_000, |idx| {
                if idx == 5_000 - at {
                    1e14
                } else {
                    1.0 + random.uniform() * 1e-3
                }
            });
        }
    }

    #[test]
    fn follows_level_shifts_and_trends() {
        let mut random = Random::new(3, "rolling", "levels");
        check("level shift", 4_000, |idx| {
            (if idx < 3_500 { 1e-3 } else { 1e8 }) * (1.0 + 1e-9 * random.uniform())
        });
        check("trend", 100_000, |idx| 1e5 + idx as f64);
        let mut price = 100.0;
        check("random walk", N_UPDATES / 5, |_| {
            price *= (1e-3 * (random.uniform() - 0.5)).exp();
            price
        });
    }

    #[test]
    fn a_peek_is_the_push_to_the_last_bit() {
        let mut random = Random::new(6, "rolling", "peek");
        for capacity in [1, 2, 3, 7, 60] {
            let mut moments = RollingMoments::new(capacity);
            let mut sum = RollingSum::new(capacity);
            let mut max = RollingMax::new(capacity);
            for idx in 0..20_000_usize {
                // Constant stretches, zeros, spikes and level shifts.
                let value = match (idx / 50) % 5 {
                    0 => 3.25,
                    1 => 0.0,
                    2 => 1e9 + random.uniform(),
                    _ if random.below(40) == 0 => 1e12,
                    _ => random.uniform(),
                };
                let (peeked, peeked_sum, peeked_max) =
                    (moments.peek(value), sum.peek(value), max.peek(value));
                moments.push(value);
                sum.push(value);
                max.push(value);
                let bits = |moments: Option<Moments>| {
                    moments.map(|m| [m.shift, m.mean_offset, m.sd].map(f64::to_bits))
                };
                assert_eq!(bits(peeked), bits(moments.moments()), "{capacity} at {idx}");
                assert_eq!(peeked_sum.map(f64::to_bits), sum.value().map(f64::to_bits));
                assert_eq!(peeked_max, max.value());
            }
        }
    }

    #[test]
    fn knows_constancy_and_emptiness_exactly() {
        let mut moments = RollingMoments::new(WINDOW);
        let mut sum = RollingSum::new(WINDOW);
        for value in [1e16, 3.3, 1e-9] {
            moments.push(value);
            sum.push(value);
        }
        for idx in 0..WINDOW {
            assert!(moments.moments().is_none_or(|moments| moments.sd > 0.0));
            assert!(sum.value() != Some(0.0));
            moments.push(0.1);
            sum.push(0.0);
            assert_eq!(moments.moments().is_some(), idx + 4 >= WINDOW);
        }
        assert_eq!(moments.moments().unwrap().sd, 0.0);
        assert_eq!(moments.moments().unwrap().zscore(1e9), 0.0);
        assert_eq!(sum.value(), Some(0.0));
        // One last bit is enough not to be constant.
        moments.push(0.1_f64.next_up());
        assert!(moments.moments().unwrap().sd > 0.0);
    }

    #[test]
    fn the_largest_is_the_largest() {
        let mut random = Random::new(4, "rolling", "max");
        let mut max = RollingMax::new(7);
        let mut values = Vec::new();
        for idx in 0..10_000_usize {
            let value = random.below(50) as f64;
            values.push(value);
            max.push(value);
            let expected = values[idx.saturating_sub(6)..]
                .iter()
                .copied()
                .fold(0.0, f64::max);
            assert_eq!(max.value(), (idx >= 6).then_some(expected));
        }
    }

    #[test]
    fn sums_do_not_depend_on_order() {
        let mut random = Random::new(5, "rolling", "sum");
        for _ in 0..200 {
            let mut values: Vec<f64> = (0..500)
                .map(|_| {
                    (random.uniform() * 1e8).round() / 1e8 * 10_f64.powi(random.below(6) as i32)
                })
                .collect();
            let total = |values: &[f64]| {
                let mut sum = Sum::default();
                values.iter().for_each(|value| sum.add(*value));
                sum.value()
            };
            let expected = total(&values);
            for idx in (1..values.len()).rev() {
                values.swap(idx, random.below(idx + 1));
            }
            assert_eq!(total(&values), expected);
            values.sort_unstable_by(f64::total_cmp);
            assert_eq!(total(&values), expected);
        }
    }
}
