//! The last hour against historical limits.

use std::collections::BTreeMap;

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{check_features, columns, json};
use crate::bytes::{Reader, Writer};
use crate::error::{FormatError, Result};
use crate::max_z::mean_and_sd;
use crate::params::Checks;
use crate::scorer::Scorer;
use crate::threshold::quantile_of;

/// Parameters of the sliding-window detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlidingWindowConfig {
    /// Features that are judged. Default: those of `macro_return_std`, `macro_max_range` and
    /// `macro_avg_volume` that the data have: statistics of the last hour, sliding by one candle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<String>>,
    /// The quantile of the training rows that is each feature's limit, above 0.5 and below 1.
    /// Default 0.99.
    pub quantile: f64,
}

impl Default for SlidingWindowConfig {
    fn default() -> Self {
        Self {
            features: None,
            quantile: 0.99,
        }
    }
}

impl SlidingWindowConfig {
    /// The keys of an experiment file.
    pub const KEYS: &'static [&'static str] = &["features", "quantile"];

    const USUAL: [&str; 3] = ["macro_return_std", "macro_max_range", "macro_avg_volume"];

    pub(crate) fn violations(&self) -> Vec<String> {
        let mut checks = Checks::default();
        check_features(&mut checks, self.features.as_deref());
        let inside = self.quantile > 0.5 && self.quantile < 1.0;
        checks
            .that(
                "quantile",
                self.quantile,
                inside,
                "a number above 0.5 and below 1",
            )
            .done()
    }
}

/// What history says of one feature of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowLimits {
    /// The median.
    pub typical: f64,
    /// Beyond it a window is anomalous; above `typical`.
    pub limit: f64,
}

/// The statistics of the sliding-window detector: readable, editable.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowStatistics {
    /// Training rows.
    pub n_rows: u64,
    /// By name of the feature.
    pub features: BTreeMap<String, WindowLimits>,
}

impl WindowStatistics {
    const FORMAT: &'static str = "foreshock-window-statistics";
    const VERSION: u64 = 1;

    /// As JSON; numbers come back exactly.
    #[must_use]
    pub fn to_json(&self) -> String {
        let feature = |f: &WindowLimits| json!({"typical": f.typical, "limit": f.limit});
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
            let typical = feature.number("typical", "a number", |_| true)?;
            let limit = feature.number("limit", "a number above `typical`", |v| v > typical)?;
            Ok(WindowLimits { typical, limit })
        })?;
        object.done()?;
        Ok(Self { n_rows, features })
    }
}

/// Sliding-window detector: a window is anomalous where any of its features exceeds its limit.
///
/// A feature's part is how far it has come from its typical value towards the limit, 1 being the limit
/// and nothing below the typical value counting; the score is the largest part: beyond 1 the window
/// is anomalous.
#[derive(Debug, Clone, PartialEq)]
pub struct SlidingWindow {
    n_features: usize,
    n_rows: u64,
    /// Column, name and limits, by column.
    judged: Vec<(usize, String, WindowLimits)>,
}

impl SlidingWindow {
    pub(crate) fn fit(
        config: &SlidingWindowConfig,
        rows: ArrayView2<'_, f64>,
        names: Option<&[String]>,
    ) -> Result<Self> {
        let wanted = config.features.as_deref();
        let columns = columns(names, rows.ncols(), wanted, &SlidingWindowConfig::USUAL)?;
        let judged = columns.into_iter().map(|(column, name)| {
            let mut values: Vec<f64> = rows.column(column).to_vec();
            let (_, sd) = mean_and_sd(values.as_slice().into());
            let typical = quantile_of(&mut values, 0.5);
            let quantile = quantile_of(&mut values, config.quantile);
            // A feature that hardly changes: one deviation, or a little of its size.
            let limits = [quantile, typical + sd, typical + typical.abs() * 1e-3];
            let limit = limits.into_iter().find(|l| *l > typical && l.is_finite());
            let limit = limit.unwrap_or(typical + 1e-9);
            (column, name, WindowLimits { typical, limit })
        });
        Ok(Self::new(rows.ncols(), rows.nrows() as u64, judged))
    }

    fn new(
        n_features: usize,
        n_rows: u64,
        judged: impl Iterator<Item = (usize, String, WindowLimits)>,
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
    pub fn from_statistics(statistics: &WindowStatistics, names: &[String]) -> Result<Self> {
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
    pub fn statistics(&self) -> WindowStatistics {
        let features = self.judged.iter().map(|(_, name, f)| (name.clone(), *f));
        WindowStatistics {
            n_rows: self.n_rows,
            features: features.collect(),
        }
    }

    /// Columns that are judged, ascending, and by what.
    pub(crate) fn judged(&self) -> impl Iterator<Item = (usize, &WindowLimits)> {
        self.judged.iter().map(|(column, _, of)| (*column, of))
    }

    /// Columns of a row.
    pub(crate) fn n_columns(&self) -> usize {
        self.n_features
    }

    fn largest(&self, row: &[f64], mut part: impl FnMut(usize, f64)) -> f64 {
        let mut largest = 0.0_f64;
        for (column, _, WindowLimits { typical, limit }) in &self.judged {
            // Halves, because a difference of two values near ±1e308 would overflow.
            let span = (limit / 2.0 - typical / 2.0).max(f64::MIN_POSITIVE);
            let way = (row[*column] / 2.0 - typical / 2.0) / span;
            let way = way.clamp(0.0, f64::MAX);
            part(*column, way);
            largest = largest.max(way);
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
            out.f64(of.typical);
            out.f64(of.limit);
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        let n_features = from.u64("sliding_window columns")? as usize;
        let n_rows = from.u64("sliding_window rows")?;
        let n = from.count("sliding_window features", 32)?;
        let mut judged: Vec<(usize, String, WindowLimits)> = Vec::new();
        for _ in 0..n {
            let column = from.u64("sliding_window column")? as usize;
            let name = from.text("sliding_window feature")?;
            let typical = from.f64("sliding_window")?;
            let limit = from.f64("sliding_window")?;
            let ascends = judged.last().is_none_or(|(last, ..)| *last < column);
            let sound = typical.is_finite() && limit.is_finite() && limit > typical;
            if !ascends || column >= n_features || !sound {
                return Err(FormatError::content(
                    "sliding_window",
                    "columns must ascend within the row, each limit above what is typical",
                ));
            }
            judged.push((column, name, WindowLimits { typical, limit }));
        }
        if judged.is_empty() {
            return Err(FormatError::content(
                "sliding_window",
                "it judges no feature",
            ));
        }
        Ok(Self {
            n_features,
            n_rows,
            judged,
        })
    }
}

impl Scorer for SlidingWindow {
    fn n_features(&self) -> usize {
        self.n_features
    }

    fn score_row(&self, row: &[f64]) -> f64 {
        self.largest(row, |_, _| ())
    }

    fn explain_row(&self, row: &[f64], parts: &mut [f64]) -> f64 {
        parts.fill(0.0);
        self.largest(row, |column, way| parts[column] = way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn a_window_beyond_a_limit_of_history_is_an_anomaly() {
        let rows = Array2::from_shape_fn((101, 2), |(i, j)| i as f64 * (1.0 - j as f64));
        let names = ["macro_max_range".to_owned(), "macro_avg_volume".to_owned()];
        let config = SlidingWindowConfig {
            quantile: 0.9,
            ..SlidingWindowConfig::default()
        };
        let windows = SlidingWindow::fit(&config, rows.view(), Some(&names)).unwrap();
        let of = &windows.statistics().features["macro_max_range"];
        assert_eq!((of.typical, of.limit), (50.0, 90.0));
        assert_eq!(windows.score_row(&[90.0, 0.0]), 1.0);
        assert_eq!(windows.score_row(&[130.0, 0.0]), 2.0);
        assert_eq!(windows.score_row(&[-1e300, 0.0]), 0.0);
        // The volume never changed: any rise is beyond its limit.
        assert!(windows.score_row(&[0.0, 0.1]) > 1.0);

        let text = windows.statistics().to_json();
        let statistics = WindowStatistics::from_json(&text).unwrap();
        assert_eq!(statistics, windows.statistics());
        let again = SlidingWindow::from_statistics(&statistics, &names).unwrap();
        assert_eq!(again, windows);
        let edited = text.replace("90.0", "50.0");
        let error = WindowStatistics::from_json(&edited)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`features.macro_max_range.limit` is 50.0"),
            "{error}"
        );
    }
}
