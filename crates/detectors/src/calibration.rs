//! From a raw score to a tail probability: the probability that a normal row scores at least so.
//!
//! Everything is in −log₁₀ p, called *tail* here, so that nothing underflows: 3 is one row in a
//! thousand, 40 is fine too.
//!
//! Three pieces, joined without a gap, each strictly increasing:
//!
//! * **Body**: order statistics of the validation scores at p = #{S ≥ s} / (n + 1), linear between
//!   them. Ties count in full, so a threshold in the body is exceeded by *at most* the fraction p of
//!   the validation rows (where more scores than knots are kept, to within a row in a thousand or so).
//! * **Upper tail**, beyond the tenth largest score: a generalized Pareto distribution over the
//!   exceedances (Pickands 1975; peaks over threshold as in SPOT, Siffer et al., KDD 2017), fitted
//!   by probability-weighted moments (Hosking and Wallis 1987). Deviation: the shape is held within
//!   \[0, 0.9\]. A negative shape would give the tail an end, and a move fifty times larger than any
//!   in training would then rank no higher than one five times larger. Where the shape would be
//!   negative or there are few scores, an exponential tail takes its place. A threshold up here is an
//!   estimate: the rows it was fitted on may exceed it by a few more, or fewer, than p says.
//! * **Below the smallest score**: tail · L / (L + distance), which falls towards 0.

mod gpd;

use serde::{Deserialize, Serialize};

use crate::bytes::{Reader, Writer};
use crate::error::{Error, FormatError, Result};
use crate::max_z::mean_and_sd;
use crate::sort::{ascending_key, sort_by_key};
use gpd::Gpd;

/// Scores above the anchor of the upper tail: fewer than this say too little one by one.
const ANCHOR_RANK: usize = 10;
/// With fewer scores than this no Pareto shape is estimated.
const FEWEST_FOR_SHAPE: usize = 40;
/// Knots kept from the top one by one, and steps of p and of −log₁₀ p among the others.
const TOP_KNOTS: usize = 500;
const STEPS: f64 = 700.0;
/// No calibrator has more knots than this.
const MAX_KNOTS: usize = 2_000;

/// Maps raw scores of one detector on one symbol to −log₁₀ tail probabilities.
///
/// Strictly increasing up to floating-point resolution, finite for every finite score, unbounded
/// above. It keeps at most 2,000 knots whatever the number of scores it was fitted on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Calibrator {
    parts: Parts,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    n_scores: u64,
    scores: Vec<f64>,
    tails: Vec<f64>,
    low_scale: f64,
    high_scale: f64,
    shape: f64,
}

/// What maps scores to tails: knots, the scale below the first, scale and shape of the Pareto tail beyond the
/// last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Curve<'a> {
    pub(crate) scores: &'a [f64],
    pub(crate) tails: &'a [f64],
    pub(crate) low_scale: f64,
    pub(crate) high_scale: f64,
    pub(crate) shape: f64,
}

impl Calibrator {
    /// Fits on the validation scores of one symbol, unlabelled as they are, in any order.
    ///
    /// # Errors
    /// No scores, or one that is not finite.
    pub fn fit(scores: &[f64]) -> Result<Self> {
        if scores.is_empty() {
            return Err(Error::Empty {
                what: "calibration scores",
            });
        }
        if let Some(row) = scores.iter().position(|s| !s.is_finite()) {
            return Err(Error::NonFinite {
                what: "calibration scores",
                row,
                column: 0,
                value: scores[row],
            });
        }
        // Adding 0 makes −0 a 0, so that ties are ties.
        let mut sorted: Vec<f64> = scores.iter().map(|s| s + 0.0).collect();
        sort_by_key(&mut sorted, |score| ascending_key(*score));
        Ok(Self::from_sorted(&sorted))
    }

    fn from_sorted(sorted: &[f64]) -> Self {
        let n = sorted.len();
        let (_, sd) = mean_and_sd(sorted.into());
        let largest = sorted[n - 1].abs().max(sorted[0].abs());
        // Used where the scores themselves show no spread.
        let spread = sd.max(largest * 1e-9);
        let fallback = if spread > 0.0 && spread.is_finite() {
            spread
        } else {
            1e-3
        };
        let fallback = if sd > 0.0 {
            fallback
        } else {
            fallback.max(largest * 1e-3)
        };

        let rank = if n < FEWEST_FOR_SHAPE { 1 } else { ANCHOR_RANK };
        let anchor = sorted[n - rank];
        let upper = upper_tail(sorted, anchor);

        let (mut scores, mut tails) = knots(sorted, anchor);
        if upper.is_none() && anchor == sorted[n - 1] {
            // The largest score is tied: nothing of the n rows lies above it, which by the same
            // plotting rule is p = 1 / (n + 1), reached one unit of spread higher.
            let tail = minus_log10_share(1, n);
            let score = anchor + fallback;
            if tail > tails[tails.len() - 1] && score > anchor && score.is_finite() {
                scores.push(score);
                tails.push(tail);
            }
        }
        let Gpd { scale, shape } = upper.unwrap_or(Gpd {
            scale: fallback,
            shape: 0.0,
        });
        let below = sorted[n / 2] / 2.0 - sorted[0] / 2.0;
        Self {
            parts: Parts {
                n_scores: n as u64,
                scores,
                tails,
                low_scale: if below > 0.0 { below } else { fallback },
                high_scale: scale,
                shape,
            },
        }
    }

    /// −log₁₀ of the probability that a normal row scores at least `score`: 0 is entirely
    /// ordinary, 3 is one row in a thousand. Never NaN and never infinite: an infinite score is
    /// taken as the largest finite one, and NaN as no evidence (0).
    #[must_use]
    pub fn neg_log10_tail(&self, score: f64) -> f64 {
        if score.is_nan() {
            return 0.0;
        }
        let score = score.clamp(f64::MIN, f64::MAX);
        let Parts {
            scores,
            tails,
            low_scale,
            ..
        } = &self.parts;
        let last = scores.len() - 1;
        if score >= scores[last] {
            return (tails[last] + self.upper().neg_log10_survival(scores[last], score))
                .min(f64::MAX);
        }
        if score < scores[0] {
            // Halves, because the distance of two finite numbers may overflow.
            let (half, distance) = (low_scale / 2.0, scores[0] / 2.0 - score / 2.0);
            return tails[0] * (half / (half + distance));
        }
        let i = scores.partition_point(|knot| *knot <= score) - 1;
        let (from, to) = (scores[i], scores[i + 1]);
        let share = (score / 2.0 - from / 2.0) / (to / 2.0 - from / 2.0);
        (tails[i] + (tails[i + 1] - tails[i]) * share).clamp(tails[i], tails[i + 1])
    }

    /// [`neg_log10_tail`](Self::neg_log10_tail) of every score, in place.
    pub fn apply(&self, scores: &mut [f64]) {
        for score in scores {
            *score = self.neg_log10_tail(*score);
        }
    }

    /// The probability itself; 0 where it is below the smallest float, at about 10⁻³⁰⁸.
    #[must_use]
    pub fn tail_probability(&self, score: f64) -> f64 {
        10f64.powf(-self.neg_log10_tail(score))
    }

    /// The raw score whose −log₁₀ tail probability is `tail`; cut to the range of finite numbers,
    /// which is also the answer for a `tail` of 0 or less (the lowest) and for NaN.
    #[must_use]
    pub fn score_at(&self, tail: f64) -> f64 {
        let Parts {
            scores,
            tails,
            low_scale,
            ..
        } = &self.parts;
        let last = scores.len() - 1;
        let score = if tail.is_nan() || tail <= 0.0 {
            f64::MIN
        } else if tail >= tails[last] {
            self.upper().quantile(scores[last], tail - tails[last])
        } else if tail < tails[0] {
            scores[0] - low_scale * (tails[0] / tail - 1.0)
        } else {
            let i = tails.partition_point(|knot| *knot <= tail) - 1;
            let share = (tail - tails[i]) / (tails[i + 1] - tails[i]);
            let (from, to) = (scores[i], scores[i + 1]);
            (from * (1.0 - share) + to * share).clamp(from, to)
        };
        score.clamp(f64::MIN, f64::MAX)
    }

    /// Number of validation scores that it was fitted on.
    #[must_use]
    pub fn n_scores(&self) -> u64 {
        self.parts.n_scores
    }

    /// Number of knots kept.
    #[must_use]
    pub fn n_knots(&self) -> usize {
        self.parts.scores.len()
    }

    /// Shape of the upper tail: 0 is exponential, larger is heavier.
    #[must_use]
    pub fn shape(&self) -> f64 {
        self.parts.shape
    }

    /// The curve itself.
    pub(crate) fn curve(&self) -> Curve<'_> {
        Curve {
            scores: &self.parts.scores,
            tails: &self.parts.tails,
            low_scale: self.parts.low_scale,
            high_scale: self.parts.high_scale,
            shape: self.parts.shape,
        }
    }

    /// Whether it maps every score as `other` does.
    pub(crate) fn same_curve(&self, other: &Self) -> bool {
        self.curve() == other.curve()
    }

    fn upper(&self) -> Gpd {
        Gpd {
            scale: self.parts.high_scale,
            shape: self.parts.shape,
        }
    }

    /// Its exact bytes, as they stand in a model.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        self.write(&mut out);
        out.into_bytes()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// Bytes that are cut, too long, or hold what no calibrator can.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut from = Reader::new(bytes);
        let calibrator = Self::read(&mut from)?;
        from.end("calibrator")?;
        Ok(calibrator)
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        let parts = &self.parts;
        out.u64(parts.n_scores);
        out.f64s(&parts.scores);
        out.f64s(&parts.tails);
        out.f64(parts.low_scale);
        out.f64(parts.high_scale);
        out.f64(parts.shape);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        Parts {
            n_scores: from.u64("calibrator")?,
            scores: from.f64s("calibrator scores")?,
            tails: from.f64s("calibrator tails")?,
            low_scale: from.f64("calibrator")?,
            high_scale: from.f64("calibrator")?,
            shape: from.f64("calibrator")?,
        }
        .try_into()
    }
}

impl From<Calibrator> for Parts {
    fn from(calibrator: Calibrator) -> Self {
        calibrator.parts
    }
}

impl TryFrom<Parts> for Calibrator {
    type Error = FormatError;

    fn try_from(parts: Parts) -> Result<Self, FormatError> {
        let refuse = |reason: &str| Err(FormatError::content("calibrator", reason));
        let n = parts.scores.len();
        if n == 0 || n > MAX_KNOTS || n != parts.tails.len() || parts.n_scores == 0 {
            return refuse("it needs 1 to 2000 knots, and as many tails as scores");
        }
        let rises = |values: &[f64]| {
            values.iter().all(|v| v.is_finite()) && values.windows(2).all(|w| w[0] < w[1])
        };
        if !rises(&parts.scores) || !rises(&parts.tails) || parts.tails[0] <= 0.0 {
            return refuse("its knots are not finite and strictly increasing");
        }
        let scale = |v: f64| v > 0.0 && v.is_finite();
        if !scale(parts.low_scale) || !scale(parts.high_scale) {
            return refuse("a scale is not a positive finite number");
        }
        if !(0.0..=gpd::MAX_SHAPE).contains(&parts.shape) {
            return refuse("the shape is outside [0, 0.9]");
        }
        Ok(Self { parts })
    }
}

/// −log₁₀(rank / (n + 1)), exact near 1.
fn minus_log10_share(rank: usize, n: usize) -> f64 {
    let all = n as f64 + 1.0;
    let missing = (all - rank as f64) / all;
    -(-missing).ln_1p() / std::f64::consts::LN_10
}

/// The upper tail from `anchor` on; `None` where no score lies above it.
fn upper_tail(sorted: &[f64], anchor: f64) -> Option<Gpd> {
    let n = sorted.len();
    let above = sorted.partition_point(|s| *s <= anchor);
    let local = gpd::mean_excess(&sorted[above..], anchor).filter(|m| *m > 0.0);
    let exponential = |scale| Gpd { scale, shape: 0.0 };
    if n < FEWEST_FOR_SHAPE {
        // The anchor is the largest score: the spread of the upper half stands for what is above.
        let median = sorted[n / 2];
        let upper_half = &sorted[sorted.partition_point(|s| *s <= median)..];
        return gpd::mean_excess(upper_half, median)
            .filter(|m| *m > 0.0)
            .map(exponential);
    }
    let local = local?;
    let n_exceedances = ((2.0 * (n as f64).sqrt()) as usize).clamp(20, n / 2);
    let threshold = sorted[n - 1 - n_exceedances];
    match gpd::fit(&sorted[n - n_exceedances..], threshold) {
        Some(fit) if fit.shape > 0.0 => Some(fit.beyond(anchor - threshold)),
        _ => Some(exponential(local)),
    }
}

/// Distinct scores up to `anchor` with their tails, ascending, thinned to what the accuracy of the
/// interpolation needs.
fn knots(sorted: &[f64], anchor: f64) -> (Vec<f64>, Vec<f64>) {
    let n = sorted.len();
    let body = &sorted[..sorted.partition_point(|s| *s <= anchor)];
    let distinct = 1 + body.windows(2).filter(|w| w[0] != w[1]).count();
    let keep_all = distinct < MAX_KNOTS;
    let tail_step = minus_log10_share(n - body.len() + 1, n) / STEPS;
    let (mut scores, mut tails) = (Vec::new(), Vec::<f64>::new());
    let (mut last_tail, mut last_rank) = (f64::INFINITY, 0);
    let mut end = body.len();
    while end > 0 {
        let score = body[end - 1];
        let tied = body[..end].iter().rev().take_while(|s| **s == score);
        let start = end - tied.count();
        let rank = n - start;
        let tail = minus_log10_share(rank, n);
        if keep_all
            || scores.len() < TOP_KNOTS
            || start == 0
            || last_tail - tail >= tail_step
            || (rank - last_rank) as f64 / n as f64 >= 1.0 / STEPS
        {
            scores.push(score);
            tails.push(tail);
            last_tail = tail;
            last_rank = rank;
        }
        end = start;
    }
    scores.reverse();
    tails.reverse();
    (scores, tails)
}
