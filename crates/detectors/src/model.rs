//! A trained model: everything that a scorer needs beside the features themselves.

mod baseline;
mod format;
mod golden;

use std::collections::BTreeMap;

use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::bytes::checksum;
use crate::calibration::Calibrator;
use crate::detector::Detector;
use crate::error::{Error, FormatError, Result};
use crate::threshold::Threshold;
pub use baseline::{Baseline, FeatureBaseline};
pub use golden::{Golden, GoldenError, GoldenRow};

/// One detector for all symbols, one for each, or one that others made.
#[derive(Debug, Clone)]
pub enum DetectorSet {
    /// One detector for all symbols.
    Global(Detector),
    /// One detector a symbol.
    PerSymbol {
        /// The detectors by symbol.
        by_symbol: BTreeMap<String, Detector>,
        /// What scores a symbol without a detector of its own; such a symbol is refused where
        /// this is `None`.
        fallback: Option<Detector>,
    },
    /// A file beside the model gives raw scores; this crate doesn't run it.
    External(External),
}

/// What is known of a file that gives raw scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct External {
    /// Number of columns of a row.
    pub n_features: usize,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
}

impl External {
    /// Of a file with this content.
    #[must_use]
    pub fn of(content: &[u8], n_features: usize) -> Self {
        Self {
            n_features,
            sha256: checksum(content),
        }
    }

    /// Whether a file with this content is the one that is meant.
    #[must_use]
    pub fn is(&self, content: &[u8]) -> bool {
        checksum(content) == self.sha256
    }
}

impl DetectorSet {
    /// The detector that scores `symbol`.
    ///
    /// # Errors
    /// [`Error::UnknownSymbol`] where there is none, [`Error::External`] where no detector of ours is.
    pub fn get(&self, symbol: &str) -> Result<&Detector> {
        match self {
            Self::External(_) => Err(Error::External),
            Self::Global(detector) => Ok(detector),
            Self::PerSymbol {
                by_symbol,
                fallback,
            } => by_symbol
                .get(symbol)
                .or(fallback.as_ref())
                .ok_or_else(|| Error::UnknownSymbol {
                    symbol: symbol.to_owned(),
                }),
        }
    }

    /// All detectors, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = &Detector> {
        let (global, by_symbol) = match self {
            Self::Global(detector) => (Some(detector), None),
            Self::PerSymbol {
                by_symbol,
                fallback,
            } => (fallback.as_ref(), Some(by_symbol)),
            Self::External(_) => (None, None),
        };
        global
            .into_iter()
            .chain(by_symbol.into_iter().flat_map(BTreeMap::values))
    }
}

/// The calibrators of the symbols seen in validation, and one over all of them for any other.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrators {
    /// Fitted on the validation scores of all symbols.
    pub pooled: Calibrator,
    /// Fitted on the validation scores of one symbol.
    pub by_symbol: BTreeMap<String, Calibrator>,
}

impl Calibrators {
    /// Fits one calibrator a symbol and the pooled one on validation scores, `symbols[i]` being
    /// the symbol of `scores[i]` as an index into `names`.
    ///
    /// # Errors
    /// No scores, one that is not finite, an index beyond `names`, slices of different lengths.
    pub fn fit(scores: &[f64], symbols: &[u32], names: &[String]) -> Result<Self> {
        if symbols.len() != scores.len() {
            return Err(Error::Shape {
                what: "symbols",
                expected: scores.len(),
                found: symbols.len(),
            });
        }
        let mut split: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
        for (score, symbol) in scores.iter().zip(symbols) {
            let Some(of_symbol) = split.get_mut(*symbol as usize) else {
                return Err(Error::invalid(
                    "symbol index",
                    symbol,
                    "an index into the symbol names is needed",
                ));
            };
            of_symbol.push(*score);
        }
        let of_symbols = || -> Result<BTreeMap<String, Calibrator>> {
            names
                .par_iter()
                .zip(&split)
                .filter(|(_, scores)| !scores.is_empty())
                .map(|(name, scores)| Ok((name.clone(), Calibrator::fit(scores)?)))
                .collect()
        };
        let (pooled, by_symbol) = rayon::join(|| Calibrator::fit(scores), of_symbols);
        Ok(Self {
            pooled: pooled?,
            by_symbol: by_symbol?,
        })
    }

    /// The calibrator of `symbol`, the pooled one for a symbol that validation did not see.
    #[must_use]
    pub fn get(&self, symbol: &str) -> &Calibrator {
        self.by_symbol.get(symbol).unwrap_or(&self.pooled)
    }
}

/// A row's score, in both scales, with its verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelScore {
    /// As the detector gives it; higher is more anomalous.
    pub raw: f64,
    /// −log₁₀ tail probability for the symbol; comparable across symbols and detectors.
    pub neg_log10_tail: f64,
    /// Whether it is strictly beyond the threshold.
    pub flagged: bool,
}

/// A trained model.
#[derive(Debug, Clone)]
pub struct Model {
    /// Names of the columns, in the order in which rows hold them.
    pub feature_names: Vec<String>,
    /// What scores.
    pub detectors: DetectorSet,
    /// What makes scores tail probabilities.
    pub calibrators: Calibrators,
    /// When a calibrated score is an alert.
    pub threshold: Threshold,
    /// Configuration of the feature engine, JSON that this crate carries and does not read.
    pub engine: serde_json::Value,
    /// What else should be known: seed, data fingerprint, versions. Nothing that differs between
    /// two runs of the same job, such as a time, belongs here: the bytes would differ too.
    pub metadata: BTreeMap<String, String>,
    /// What training data looked like, to notice drift by.
    pub baseline: Baseline,
    /// A few rows and what they scored when the model was made; see [`verify`](Self::verify).
    pub golden: Golden,
}

impl Model {
    /// Number of columns of a row.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.feature_names.len()
    }

    /// Scores `rows`, (n_samples, n_features) of `symbol`, as raw scores into `out`.
    ///
    /// # Errors
    /// A symbol without a detector, and all that [`Detector::score_into`] refuses.
    pub fn raw_into(&self, symbol: &str, rows: ArrayView2<'_, f64>, out: &mut [f64]) -> Result<()> {
        self.detectors.get(symbol)?.score_into(rows, out)
    }

    /// Scores `rows`, (n_samples, n_features) of `symbol`, as −log₁₀ tail probabilities into `out`.
    ///
    /// # Errors
    /// As [`raw_into`](Self::raw_into).
    pub fn score_into(
        &self,
        symbol: &str,
        rows: ArrayView2<'_, f64>,
        out: &mut [f64],
    ) -> Result<()> {
        self.raw_into(symbol, rows, out)?;
        self.calibrators.get(symbol).apply(out);
        Ok(())
    }

    /// Scores one row of `symbol`; the same numbers as in a batch, bit for bit.
    ///
    /// # Errors
    /// As [`raw_into`](Self::raw_into).
    pub fn score_one(&self, symbol: &str, row: &[f64]) -> Result<ModelScore> {
        let raw = self.detectors.get(symbol)?.score_one(row)?;
        Ok(self.verdict(symbol, raw))
    }

    /// What a raw score means for `symbol`.
    #[must_use]
    pub fn verdict(&self, symbol: &str, raw: f64) -> ModelScore {
        let neg_log10_tail = self.calibrators.get(symbol).neg_log10_tail(raw);
        ModelScore {
            raw,
            neg_log10_tail,
            flagged: self.threshold.is_flagged(neg_log10_tail),
        }
    }

    /// Checks that the parts fit together: every detector and the baseline have a column for each
    /// feature, names are unique, the threshold is a number.
    ///
    /// # Errors
    /// The first part that does not fit.
    pub fn check(&self) -> Result<()> {
        let n = self.feature_names.len();
        if n == 0 {
            return Err(Error::Empty {
                what: "feature names",
            });
        }
        let mut seen = std::collections::BTreeSet::new();
        if let Some(name) = self.feature_names.iter().find(|name| !seen.insert(*name)) {
            return Err(Error::invalid("feature name", name, "names must be unique"));
        }
        let mut n_detectors = 0;
        for detector in self.detectors.iter() {
            n_detectors += 1;
            if detector.n_features() != n {
                return Err(Error::Shape {
                    what: "features of a detector",
                    expected: n,
                    found: detector.n_features(),
                });
            }
        }
        match self.detectors {
            DetectorSet::External(External { n_features, .. }) if n_features != n => {
                return Err(Error::Shape {
                    what: "features of the file that scores",
                    expected: n,
                    found: n_features,
                });
            }
            DetectorSet::External(_) => {}
            _ if n_detectors == 0 => return Err(Error::Empty { what: "detectors" }),
            _ => {}
        }
        if self.baseline.features.len() != n {
            return Err(Error::Shape {
                what: "features of the baseline",
                expected: n,
                found: self.baseline.features.len(),
            });
        }
        let drift = self.baseline.drift.as_ref();
        if drift.is_some_and(|drift| !drift.fits(&self.feature_names)) {
            return Err(Error::invalid(
                "drift baseline",
                "other features",
                "the model's features in its order are needed",
            ));
        }
        if let Some(golden) = self
            .golden
            .rows()
            .iter()
            .find(|row| row.features.len() != n)
        {
            return Err(Error::Shape {
                what: "features of a golden row",
                expected: n,
                found: golden.features.len(),
            });
        }
        if !self.threshold.neg_log10_tail.is_finite() {
            return Err(Error::invalid(
                "threshold",
                self.threshold.neg_log10_tail,
                "a finite number is needed",
            ));
        }
        Ok(())
    }

    /// Checks that its golden rows score as they did when it was made: before a model serves. On
    /// the platform that made it (architecture, system, C library) the bits must be the same; on
    /// another a score may be off by a billionth of its size.
    ///
    /// # Errors
    /// The first row that scores otherwise, with what was expected and found; a model without
    /// golden rows.
    pub fn verify(&self) -> Result<(), GoldenError> {
        self.golden.verify(self)
    }

    /// As [`verify`](Self::verify), where something else gives raw scores: `raw(symbol, row)`. They may be off by
    /// a hundred-thousandth of their size: who runs graphs adds up in an order of its own on each processor.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_external(
        &self,
        raw: impl FnMut(&str, &[f64]) -> std::result::Result<f64, String>,
    ) -> Result<(), GoldenError> {
        self.golden.verify_external(raw)
    }

    /// Its native bytes: magic, version, section table, little-endian sections, SHA-256. The same
    /// model gives the same bytes.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.check()?;
        format::write(self)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote. Bytes from anywhere may be passed: what is
    /// damaged, cut, of another version or inconsistent is refused.
    ///
    /// # Errors
    /// [`FormatError`] with what was expected and found.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        format::read(bytes)
    }
}
