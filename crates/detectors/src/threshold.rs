//! When a score becomes an alert.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An expected number of alerts per symbol and day on ordinary data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertBudget {
    /// Flagged rows per symbol and day, greater than 0.
    pub alerts_per_symbol_day: f64,
}

impl AlertBudget {
    /// The tail probability below which a row is flagged, where a symbol has `rows_per_day`
    /// scored rows a day (1,440 for one-minute candles of a market that never closes).
    ///
    /// # Errors
    /// A budget or a rate that is not a positive number, or a budget of every row or more.
    pub fn tail_probability(&self, rows_per_day: f64) -> Result<f64> {
        if !(self.alerts_per_symbol_day > 0.0 && self.alerts_per_symbol_day.is_finite()) {
            return Err(Error::invalid(
                "alerts_per_symbol_day",
                self.alerts_per_symbol_day,
                "a positive number is needed",
            ));
        }
        if !(rows_per_day > 0.0 && rows_per_day.is_finite()) {
            return Err(Error::invalid(
                "rows_per_day",
                rows_per_day,
                "a positive number is needed",
            ));
        }
        let p = self.alerts_per_symbol_day / rows_per_day;
        if !(p < 1.0 && p > 0.0) {
            return Err(Error::invalid(
                "alerts_per_symbol_day",
                self.alerts_per_symbol_day,
                "fewer than the rows of a day are needed",
            ));
        }
        Ok(p)
    }

    /// The threshold that this budget sets.
    ///
    /// # Errors
    /// As [`tail_probability`](Self::tail_probability).
    pub fn threshold(&self, rows_per_day: f64) -> Result<Threshold> {
        let p = self.tail_probability(rows_per_day)?;
        Ok(Threshold {
            neg_log10_tail: -p.log10(),
            rule: ThresholdRule::AlertBudget {
                alerts_per_symbol_day: self.alerts_per_symbol_day,
                rows_per_day,
            },
        })
    }
}

/// How a threshold was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum ThresholdRule {
    /// From an alert budget.
    AlertBudget {
        /// Flagged rows per symbol and day.
        alerts_per_symbol_day: f64,
        /// Scored rows per symbol and day.
        rows_per_day: f64,
    },
    /// A quantile of the calibrated validation scores.
    Quantile {
        /// Between 0 and 1.
        quantile: f64,
    },
}

/// A limit on calibrated scores; rows *strictly* beyond it are flagged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// The limit, as −log₁₀ tail probability.
    pub neg_log10_tail: f64,
    /// How it was chosen.
    pub rule: ThresholdRule,
}

impl Threshold {
    /// The `quantile` of calibrated validation `scores`, linear between order statistics (NumPy's
    /// default).
    ///
    /// # Errors
    /// A quantile outside \[0, 1\], no scores, or a score that is not finite.
    pub fn from_quantile(scores: &[f64], quantile: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&quantile) {
            return Err(Error::invalid(
                "quantile",
                quantile,
                "a number from 0 to 1 is needed",
            ));
        }
        if scores.is_empty() {
            return Err(Error::Empty {
                what: "validation scores",
            });
        }
        if let Some(row) = scores.iter().position(|s| !s.is_finite()) {
            return Err(Error::NonFinite {
                what: "validation scores",
                row,
                column: 0,
                value: scores[row],
            });
        }
        let mut scores = scores.to_vec();
        Ok(Self {
            neg_log10_tail: quantile_of(&mut scores, quantile),
            rule: ThresholdRule::Quantile { quantile },
        })
    }

    /// Whether a row with this calibrated score is flagged: strictly beyond the limit.
    #[must_use]
    pub fn is_flagged(&self, neg_log10_tail: f64) -> bool {
        neg_log10_tail > self.neg_log10_tail
    }

    /// Flags of many calibrated scores.
    #[must_use]
    pub fn flags(&self, neg_log10_tails: &[f64]) -> Vec<bool> {
        neg_log10_tails
            .iter()
            .map(|t| self.is_flagged(*t))
            .collect()
    }

    /// The tail probability at the limit.
    #[must_use]
    pub fn tail_probability(&self) -> f64 {
        10f64.powf(-self.neg_log10_tail)
    }
}

/// Linear-interpolation quantile; reorders `values`, which must not be empty.
pub(crate) fn quantile_of(values: &mut [f64], quantile: f64) -> f64 {
    let at = quantile * (values.len() - 1) as f64;
    let i = (at.floor() as usize).min(values.len() - 1);
    let (_, low, above) = values.select_nth_unstable_by(i, f64::total_cmp);
    let low = *low;
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    let share = at - i as f64;
    if share > 0.0 {
        low * (1.0 - share) + high * share
    } else {
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Calibrator;

    #[test]
    fn quantiles_are_numpys() {
        // numpy.quantile([3, 1, 2, 10], q)
        for (q, expected) in [(0.0, 1.0), (0.5, 2.5), (0.9, 7.9), (1.0, 10.0)] {
            let t = Threshold::from_quantile(&[3.0, 1.0, 2.0, 10.0], q).unwrap();
            assert!((t.neg_log10_tail - expected).abs() < 1e-12, "{q}: {t:?}");
        }
    }

    #[test]
    fn flags_are_strictly_beyond() {
        let t = Threshold::from_quantile(&[1.0, 1.0, 1.0], 0.99).unwrap();
        assert_eq!(t.flags(&[1.0, 1.0 + 1e-12]), [false, true]);
    }

    #[test]
    fn a_budget_holds_on_the_scores_it_was_set_on() {
        let scores: Vec<f64> = (0..14_400).map(|i| f64::from(i % 7_919)).collect();
        let calibrator = Calibrator::fit(&scores).unwrap();
        let budget = AlertBudget {
            alerts_per_symbol_day: 4.0,
        };
        let threshold = budget.threshold(1_440.0).unwrap();
        let flagged = scores
            .iter()
            .filter(|s| threshold.is_flagged(calibrator.neg_log10_tail(**s)))
            .count();
        assert!((38..=40).contains(&flagged), "{flagged} in ten days");
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for alerts_per_symbol_day in [0.0, -1.0, f64::NAN, f64::INFINITY, 1_440.0] {
            let budget = AlertBudget {
                alerts_per_symbol_day,
            };
            assert!(budget.threshold(1_440.0).is_err(), "{budget:?}");
        }
        let budget = AlertBudget {
            alerts_per_symbol_day: 1.0,
        };
        assert!(budget.threshold(0.0).is_err());
        assert!(budget.threshold(f64::NAN).is_err());
        assert!(Threshold::from_quantile(&[1.0], 1.5).is_err());
        assert!(Threshold::from_quantile(&[], 0.5).is_err());
        assert!(Threshold::from_quantile(&[f64::NAN], 0.5).is_err());
    }
}
