//! Rows whose scores are known: whoever loads a model to serve it checks that it still gives them.

use super::{Model, ModelScore};
use crate::bytes::{Reader, Writer};
use crate::error::{Error, FormatError, Result};

/// Where scores were computed. Bits may differ elsewhere: exponentials and logarithms are those of
/// the platform's C library. (Which vector instructions there are changes no bit.)
const PLATFORM: [&str; 3] = [
    std::env::consts::ARCH,
    std::env::consts::OS,
    if cfg!(target_env = "musl") {
        "musl"
    } else {
        ""
    },
];
/// How far a score from another platform may be off, relative to its size (at least 1).
const TOLERANCE: f64 = 1e-9;
/// The same of a score that something else computes, in single precision maybe.
const OUTSIDE_TOLERANCE: f64 = 1e-5;

/// Rows with the scores that training gave them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Golden {
    platform: String,
    rows: Vec<GoldenRow>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenRow {
    /// Its symbol.
    pub symbol: String,
    /// Its features.
    pub features: Vec<f64>,
    /// What it scored.
    pub score: ModelScore,
}

/// A golden row that scores otherwise than at training.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GoldenError {
    /// The model has no golden rows; one of format version 1 never has.
    #[error("the model holds no golden rows, so that its scores can't be checked")]
    None,
    /// A row can't be scored.
    #[error("golden row {row} (`{symbol}`) can't be scored")]
    Refused {
        /// Which row, from 0.
        row: usize,
        /// Its symbol.
        symbol: String,
        /// Why.
        #[source]
        source: Error,
    },
    /// What gives raw scores refuses a row.
    #[error("golden row {row} (`{symbol}`) can't be scored: {reason}")]
    RefusedOutside {
        /// Which row, from 0.
        row: usize,
        /// Its symbol.
        symbol: String,
        /// Why.
        reason: String,
    },
    /// A row scores otherwise.
    #[error(
        "golden row {row} (`{symbol}`): `{what}` was {expected} at training and is {found} ({allowed})"
    )]
    Differs {
        /// Which row, from 0.
        row: usize,
        /// Its symbol.
        symbol: String,
        /// What of its score.
        what: &'static str,
        /// What training found.
        expected: String,
        /// What is found now.
        found: String,
        /// How far they may differ.
        allowed: &'static str,
    },
}

impl Golden {
    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &[GoldenRow] {
        &self.rows
    }

    /// Scores `rows` by `model`.
    ///
    /// # Errors
    /// What [`Model::score_one`] refuses.
    pub fn of<'a>(
        model: &Model,
        rows: impl IntoIterator<Item = (&'a str, &'a [f64])>,
    ) -> Result<Self> {
        let scored = rows.into_iter().map(|(symbol, features)| {
            Ok(GoldenRow {
                symbol: symbol.to_owned(),
                features: features.to_vec(),
                score: model.score_one(symbol, features)?,
            })
        });
        Ok(Self {
            platform: PLATFORM.join("-"),
            rows: scored.collect::<Result<_>>()?,
        })
    }

    /// Rows with the raw scores that something else gave them.
    #[must_use]
    pub fn of_scored(
        model: &Model,
        rows: impl IntoIterator<Item = (String, Vec<f64>, f64)>,
    ) -> Self {
        let rows = rows.into_iter().map(|(symbol, features, raw)| GoldenRow {
            score: model.verdict(&symbol, raw),
            symbol,
            features,
        });
        Self {
            platform: PLATFORM.join("-"),
            rows: rows.collect(),
        }
    }

    pub(super) fn verify_external(
        &self,
        mut raw: impl FnMut(&str, &[f64]) -> std::result::Result<f64, String>,
    ) -> Result<(), GoldenError> {
        if self.rows.is_empty() {
            return Err(GoldenError::None);
        }
        for (row, golden) in self.rows.iter().enumerate() {
            let found = raw(&golden.symbol, &golden.features).map_err(|reason| {
                GoldenError::RefusedOutside {
                    row,
                    symbol: golden.symbol.clone(),
                    reason,
                }
            })?;
            let expected = golden.score.raw;
            let is_near = (expected - found).abs() <= OUTSIDE_TOLERANCE * expected.abs().max(1.0);
            if !is_near {
                return Err(GoldenError::Differs {
                    row,
                    symbol: golden.symbol.clone(),
                    what: "raw score",
                    expected: expected.to_string(),
                    found: found.to_string(),
                    allowed: "a hundred-thousandth of it is allowed",
                });
            }
        }
        Ok(())
    }

    pub(super) fn verify(&self, model: &Model) -> Result<(), GoldenError> {
        if self.rows.is_empty() {
            return Err(GoldenError::None);
        }
        let is_exact = self.platform == PLATFORM.join("-");
        let same = |expected: f64, found: f64| {
            if is_exact {
                expected.to_bits() == found.to_bits()
            } else {
                (expected - found).abs() <= TOLERANCE * expected.abs().max(1.0)
            }
        };
        for (row, golden) in self.rows.iter().enumerate() {
            let GoldenRow {
                symbol,
                features,
                score: expected,
            } = golden;
            let found =
                model
                    .score_one(symbol, features)
                    .map_err(|source| GoldenError::Refused {
                        row,
                        symbol: symbol.clone(),
                        source,
                    })?;
            let differs = |what, expected: String, found: String| GoldenError::Differs {
                row,
                symbol: symbol.clone(),
                what,
                expected,
                found,
                allowed: if is_exact {
                    "the same bits are needed on the same platform"
                } else {
                    "a billionth of it is allowed on another platform"
                },
            };
            for (what, expected, found) in [
                ("raw score", expected.raw, found.raw),
                (
                    "neg_log10_tail",
                    expected.neg_log10_tail,
                    found.neg_log10_tail,
                ),
            ] {
                if !same(expected, found) {
                    return Err(differs(what, expected.to_string(), found.to_string()));
                }
            }
            // At the very threshold another platform may decide otherwise.
            let is_at_threshold =
                !is_exact && same(model.threshold.neg_log10_tail, found.neg_log10_tail);
            if expected.flagged != found.flagged && !is_at_threshold {
                return Err(differs(
                    "flag",
                    expected.flagged.to_string(),
                    found.flagged.to_string(),
                ));
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.text(&self.platform);
        out.u64(self.rows.len() as u64);
        for row in &self.rows {
            out.text(&row.symbol);
            out.f64s(&row.features);
            out.f64(row.score.raw);
            out.f64(row.score.neg_log10_tail);
            out.u8(u8::from(row.score.flagged));
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        const WHAT: &str = "golden rows";
        let platform = from.text(WHAT)?;
        let n = from.count(WHAT, 33)?;
        let rows = (0..n)
            .map(|_| {
                Ok(GoldenRow {
                    symbol: from.text(WHAT)?,
                    features: from.f64s(WHAT)?,
                    score: ModelScore {
                        raw: from.f64(WHAT)?,
                        neg_log10_tail: from.f64(WHAT)?,
                        flagged: match from.u8(WHAT)? {
                            0 => false,
                            1 => true,
                            other => {
                                return Err(FormatError::content(
                                    WHAT,
                                    format!("flag `{other}` is neither 0 nor 1"),
                                ));
                            }
                        },
                    },
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { platform, rows })
    }
}
