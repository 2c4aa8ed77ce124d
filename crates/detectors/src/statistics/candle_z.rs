//! Per-candle z-scores.

use std::collections::BTreeMap;

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{check_features, columns, json};
use crate::bytes::{Reader, Writer};
use crate::error::{Error, FormatError, Result};
use crate::max_z::{MaxZ, mean_and_sd};
use crate::params::Checks;
use crate::scorer::Scorer;

/// Parameters of the per-candle z-score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CandleZConfig {
    /// Features that are judged. Default: those of `return`, `log_return` and `price_range` that the
    /// data have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<String>>,
    /// The |z| beyond which a candle is anomalous, above 0. Default 3.
    pub limit: f64,
}

impl Default for CandleZConfig {
    fn default() -> Self {
        Self {
            features: None,
            limit: 3.0,
        }
    }
}

impl CandleZConfig {
    /// The keys of an experiment file.
    pub const KEYS: &'static [&'static str] = &["features", "limit"];

    const USUAL: [&str; 3] = ["return", "log_return", "price_range"];

    pub(crate) fn violations(&self) -> Vec<String> {
        let mut checks = Checks::default();
        check_features(&mut checks, self.features.as_deref());
        checks.above("limit", self.limit, 0.0, 1e9).done()
    }
}

/// What history says of one feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeatureStatistics {
    /// Mean of the training rows.
    pub mean: f64,
    /// Population standard deviation; 0 for a feature that never changed.
    pub sd: f64,
    /// The |z| beyond which a candle is anomalous.
    pub limit: f64,
}

/// The statistics of the per-candle z-score: readable, editable.
#[derive(Debug, Clone, PartialEq)]
pub struct CandleStatistics {
    /// Training rows.
    pub n_rows: u64,
    /// By name of the feature.
    pub features: BTreeMap<String, FeatureStatistics>,
}

impl CandleStatistics {
    const FORMAT: &'static str = "foreshock-candle-statistics";
    const VERSION: u64 = 1;

    /// As JSON; numbers come back exactly.
    #[must_use]
    pub fn to_json(&self) -> String {
        let feature = |f: &FeatureStatistics| json!({"mean": f.mean, "sd": f.sd, "limit": f.limit});
        let features: serde_json::Map<_, _> = self
            .features
            .iter()
            .map(|(name, f)| (name.clone(), feature(f)))
            .collect();
        json::pretty(&json!({
            "format": Self::FORMAT,
            "version": Self::VERSION,
            "n_rows": self.n_rows,
            "features": features,
        }))
    }

    /// Reads what [`to_json`](Self::to_json) wrote and people edited.
    ///
    /// # Errors
    /// Text that isn't JSON, another format or version, and every key that is missing, unknown or
    /// makes no sense, by its path.
    pub fn from_json(text: &str) -> Result<Self, FormatError> {
        let mut object = json::Object::parse(text, Self::FORMAT, Self::VERSION)?;
        let n_rows = object.count("n_rows")?;
        let features = object.objects("features", |feature| {
            Ok(FeatureStatistics {
                mean: feature.number("mean", "a number", |_| true)?,
                sd: feature.number("sd", "a number of at least 0", |v| v >= 0.0)?,
                limit: feature.number("limit", "a number above 0", |v| v > 0.0)?,
            })
        })?;
        object.done()?;
        Ok(Self { n_rows, features })
    }
}

/// Per-candle z-score: a candle is anomalous where any |z| of its features exceeds the feature's limit.
///
/// z = (x − mean) / sd against the training rows, cut at ±[`MaxZ::LIMIT`]. The score is the largest
/// |z| / limit: beyond 1 the candle is anomalous. A feature's part is its |z| / limit.
#[derive(Debug, Clone, PartialEq)]
pub struct CandleZ {
    n_features: usize,
    n_rows: u64,
    /// Column, name and statistics, by column.
    judged: Vec<(usize, String, FeatureStatistics)>,
}

impl CandleZ {
    pub(crate) fn fit(
        config: &CandleZConfig,
        rows: ArrayView2<'_, f64>,
        names: Option<&[String]>,
    ) -> Result<Self> {
        let wanted = config.features.as_deref();
        let columns = columns(names, rows.ncols(), wanted, &CandleZConfig::USUAL)?;
        let features = columns.into_iter().map(|(column, name)| {
            let values: Vec<f64> = rows.column(column).to_vec();
            let (mean, sd) = mean_and_sd(values.as_slice().into());
            let limit = config.limit;
            (column, name, FeatureStatistics { mean, sd, limit })
        });
        Ok(Self::new(rows.ncols(), rows.nrows() as u64, features))
    }

    fn new(
        n_features: usize,
        n_rows: u64,
        judged: impl Iterator<Item = (usize, String, FeatureStatistics)>,
    ) -> Self {
        let mut judged: Vec<_> = judged.collect();
        judged.sort_by_key(|(column, ..)| *column);
        Self {
            n_features,
            n_rows,
            judged,
        }
    }

    /// The detector that judges by `statistics` in rows whose columns are called `names`.
    ///
    /// # Errors
    /// Statistics of a feature that isn't among `names`.
    pub fn from_statistics(statistics: &CandleStatistics, names: &[String]) -> Result<Self> {
        let wanted: Vec<String> = statistics.features.keys().cloned().collect();
        let columns = columns(Some(names), names.len(), Some(&wanted), &[])?;
        let of = statistics.features.values();
        let judged = columns
            .into_iter()
            .zip(of)
            .map(|((i, name), f)| (i, name, *f));
        Ok(Self::new(names.len(), statistics.n_rows, judged))
    }

    /// The statistics that it judges by.
    #[must_use]
    pub fn statistics(&self) -> CandleStatistics {
        let features = self.judged.iter().map(|(_, name, f)| (name.clone(), *f));
        CandleStatistics {
            n_rows: self.n_rows,
            features: features.collect(),
        }
    }

    /// Signed z of every feature that is judged, with its name.
    ///
    /// # Errors
    /// Another number of values than in training.
    pub fn z_scores(&self, row: &[f64]) -> Result<Vec<(&str, f64)>> {
        if row.len() != self.n_features {
            return Err(Error::Shape {
                what: "features of a row",
                expected: self.n_features,
                found: row.len(),
            });
        }
        let scores = self.judged.iter();
        Ok(scores
            .map(|(column, name, of)| (name.as_str(), z(row[*column], of)))
            .collect())
    }

    /// Columns that are judged, ascending, and by what.
    pub(crate) fn judged(&self) -> impl Iterator<Item = (usize, &FeatureStatistics)> {
        self.judged.iter().map(|(column, _, of)| (*column, of))
    }

    /// Columns of a row.
    pub(crate) fn n_columns(&self) -> usize {
        self.n_features
    }

    fn largest(&self, row: &[f64], mut part: impl FnMut(usize, f64)) -> f64 {
        let mut largest = 0.0_f64;
        for (column, _, of) in &self.judged {
            let share = z(row[*column], of).abs() / of.limit;
            let share = share.min(f64::MAX);
            part(*column, share);
            largest = largest.max(share);
        }
        largest
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.u64(self.n_features as u64);
        out.u64(self.n_rows);
        out.u64(self.judged.len() as u64);
        for (column, name, of) in &self.judged {
            out.u64(*column as u64);
            out.text(name);
            out.f64(of.mean);
            out.f64(of.sd);
            out.f64(of.limit);
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        let n_features = from.u64("candle_z columns")? as usize;
        let n_rows = from.u64("candle_z rows")?;
        let n = from.count("candle_z features", 40)?;
        let mut judged: Vec<(usize, String, FeatureStatistics)> = Vec::new();
        for _ in 0..n {
            let column = from.u64("candle_z column")? as usize;
            let name = from.text("candle_z feature")?;
            let of = FeatureStatistics {
                mean: from.f64("candle_z")?,
                sd: from.f64("candle_z")?,
                limit: from.f64("candle_z")?,
            };
            let ascends = judged.last().is_none_or(|(last, ..)| *last < column);
            let sound = of.mean.is_finite()
                && of.sd.is_finite()
                && of.sd >= 0.0
                && of.limit > 0.0
                && of.limit.is_finite();
            if !ascends || column >= n_features || !sound {
                return Err(FormatError::content(
                    "candle_z",
                    "columns must ascend within the row, with finite statistics",
                ));
            }
            judged.push((column, name, of));
        }
        if judged.is_empty() {
            return Err(FormatError::content("candle_z", "it judges no feature"));
        }
        Ok(Self {
            n_features,
            n_rows,
            judged,
        })
    }
}

/// As [`MaxZ`] has it.
fn z(value: f64, of: &FeatureStatistics) -> f64 {
    if of.sd > 0.0 {
        let z = (value / 2.0 - of.mean / 2.0) / of.sd * 2.0;
        z.clamp(-MaxZ::LIMIT, MaxZ::LIMIT)
    } else if value == of.mean {
        0.0
    } else {
        MaxZ::LIMIT.copysign(value - of.mean)
    }
}

impl Scorer for CandleZ {
    fn n_features(&self) -> usize {
        self.n_features
    }

    fn score_row(&self, row: &[f64]) -> f64 {
        self.largest(row, |_, _| ())
    }

    fn explain_row(&self, row: &[f64], parts: &mut [f64]) -> f64 {
        parts.fill(0.0);
        self.largest(row, |column, share| parts[column] = share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn fitted() -> CandleZ {
        let rows = array![[9.0, 1.0, 0.0], [9.0, 3.0, 2.0]];
        let names = names(&["volume", "price_range", "return"]);
        CandleZ::fit(&CandleZConfig::default(), rows.view(), Some(&names)).unwrap()
    }

    #[test]
    fn any_z_beyond_its_limit_is_an_anomaly() {
        let z = fitted();
        // Means 2 and 1, deviations 1; the volume isn't judged.
        assert_eq!(z.score_row(&[1e9, 5.0, 1.0]), 1.0);
        assert_eq!(z.score_row(&[0.0, 2.0, -5.0]), 2.0);
        assert_eq!(
            z.z_scores(&[0.0, 2.0, -5.0]).unwrap(),
            [("price_range", 0.0), ("return", -6.0)]
        );
        let mut parts = [9.0; 3];
        z.explain_row(&[0.0, 3.5, -5.0], &mut parts);
        assert_eq!(parts, [0.0, 0.5, 2.0]);
    }

    #[test]
    fn the_statistics_are_edited_and_read_again() {
        let z = fitted();
        let text = z.statistics().to_json();
        assert_eq!(CandleStatistics::from_json(&text).unwrap(), z.statistics());
        let mut edited = z.statistics();
        edited.features.get_mut("return").unwrap().limit = 6.0;
        let edited = CandleStatistics::from_json(&edited.to_json()).unwrap();
        let order = names(&["return", "volume", "price_range"]);
        let again = CandleZ::from_statistics(&edited, &order).unwrap();
        assert_eq!(again.score_row(&[-5.0, 0.0, 2.0]), 1.0);
        let error = CandleZ::from_statistics(&edited, &names(&["return"])).unwrap_err();
        assert!(error.to_string().contains("`price_range`"), "{error}");
    }

    #[test]
    fn nonsense_is_refused_by_its_key() {
        let text = fitted().statistics().to_json();
        for (from, to, key) in [
            (
                "\"sd\": 1.0",
                "\"sd\": -1.0",
                "`features.price_range.sd` is -1.0",
            ),
            ("\"sd\": 1.0", "\"sd\": \"x\"", "`features.price_range.sd`"),
            (
                "\"limit\": 3.0",
                "\"limit\": 0",
                "`features.price_range.limit` is 0",
            ),
            (
                "\"mean\": 2.0",
                "\"meen\": 2.0",
                "`features.price_range.mean` is missing",
            ),
            (
                "\"mean\"",
                "\"more\": 1, \"mean\"",
                "`features.price_range.more` is not known",
            ),
            ("\"version\": 1", "\"version\": 2", "`version` is 2"),
            ("\"n_rows\": 2", "\"n_rows\": -2", "`n_rows` is -2"),
            ("candle-statistics", "something", "`format`"),
            (
                "\"features\": {",
                "\"features\": 3, \"x\": {",
                "`features` is a number",
            ),
        ] {
            let edited = text.replacen(from, to, 1);
            assert_ne!(edited, text);
            let error = CandleStatistics::from_json(&edited)
                .unwrap_err()
                .to_string();
            assert!(error.contains(key), "{key}: {error}");
        }
        assert!(CandleStatistics::from_json("{").is_err());
        assert!(CandleStatistics::from_json("[]").is_err());
    }

    #[test]
    fn features_are_chosen_by_name() {
        let rows = array![[1.0, 2.0], [3.0, 5.0]];
        let config = |features: Option<&[&str]>| CandleZConfig {
            features: features.map(names),
            ..CandleZConfig::default()
        };
        let both = names(&["a", "b"]);
        let b = CandleZ::fit(&config(Some(&["b"])), rows.view(), Some(&both)).unwrap();
        assert_eq!(b.judged[0].0, 1);
        for (config, names) in [
            (config(None), Some(&both)),
            (config(Some(&["c"])), Some(&both)),
            (config(Some(&["a"])), None),
        ] {
            let names = names.map(Vec::as_slice);
            assert!(CandleZ::fit(&config, rows.view(), names).is_err());
        }
        assert_eq!(config(Some(&["a", "a"])).violations().len(), 1);
        assert_eq!(config(Some(&[])).violations().len(), 1);
    }
}
