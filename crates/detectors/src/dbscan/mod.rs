//! DBSCAN, and the distance of new rows from its core.

mod cluster;
mod components;
mod knee;

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::bytes::{Reader, Writer};
use crate::error::{Error, FormatError, Result};
use crate::knn::add_shares;
use crate::neighbors::KdTree;
use crate::observer::FitObserver;
use crate::params::Checks;
use crate::sample::sample;
use crate::scaler::{Scaler, Scaling};
use crate::scorer::Scorer;
use crate::scratch::with_zeros;

/// Parameters of DBSCAN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DbscanConfig {
    /// Radius on scaled columns, above 0. Default: where the curve of distances to the
    /// `min_samples`-th nearest row bends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eps: Option<f64>,
    /// Rows within eps that make a row core, itself among them, 1 to 10,000. Default: twice the
    /// columns, at least 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_samples: Option<usize>,
    /// How columns are brought to one scale. Default standard.
    pub scaling: Scaling,
    /// Training rows that are clustered, 2 to 10,000,000; of more, a seeded sample in which
    /// `min_samples`, where eps is given, shrinks with the density. Default 50,000.
    pub max_rows: usize,
}

impl Default for DbscanConfig {
    fn default() -> Self {
        Self {
            eps: None,
            min_samples: None,
            scaling: Scaling::Standard,
            max_rows: 50_000,
        }
    }
}

impl DbscanConfig {
    /// The keys of an experiment file.
    pub const KEYS: &'static [&'static str] = &["eps", "min_samples", "scaling", "max_rows"];

    pub(crate) fn violations(&self) -> Vec<String> {
        let mut checks = Checks::default();
        if let Some(eps) = self.eps {
            checks.above("eps", eps, 0.0, 1e9);
        }
        if let Some(n) = self.min_samples {
            checks.within("min_samples", n, 1..=10_000);
        }
        checks
            .within("max_rows", self.max_rows, 2..=10_000_000)
            .done()
    }
}

/// DBSCAN (Ester, Kriegel, Sander and Xu, KDD 1996) as a detector: the score of a row is its distance
/// to the nearest core row in units of eps. Up to 1 it would belong to a cluster; the score goes on
/// rising without end.
///
/// A row's parts are its squared differences from that core row, over the distance: they sum to the
/// score.
#[derive(Debug, Clone, PartialEq)]
pub struct Dbscan {
    eps: f64,
    min_samples: usize,
    n_clusters: usize,
    n_noise: usize,
    n_sampled: usize,
    scaler: Scaler,
    /// The core rows, scaled.
    core: KdTree,
}

impl Dbscan {
    pub(crate) fn fit(
        config: &DbscanConfig,
        rows: ArrayView2<'_, f64>,
        seed: u64,
        observer: &mut dyn FitObserver,
    ) -> Result<Self> {
        let scaler = Scaler::fit(rows, config.scaling);
        let kept = sample(rows, config.max_rows, seed, 0x6462_7363);
        let share = kept.nrows() as f64 / rows.nrows() as f64;
        let min_samples = config
            .min_samples
            .unwrap_or_else(|| (2 * rows.ncols()).max(5));
        let tree = KdTree::watched(scaler.scale_rows(kept.view()), rows.ncols(), observer)?;
        // An eps that is given is of the density of all rows; the curve's is of the sample's.
        let (eps, min_samples) = match config.eps {
            Some(eps) => (eps, ((min_samples as f64 * share).round() as usize).max(1)),
            None => {
                let eps = knee::eps_from_curve(&tree, min_samples, observer)?.ok_or_else(|| {
                    Error::fit(
                        "dbscan",
                        "the k-distance curve is 0 everywhere, as almost all rows are alike: \
                         give `eps`",
                    )
                })?;
                (eps, min_samples)
            }
        };
        observer.fact("dbscan.eps", eps);
        observer.fact("dbscan.min_samples", min_samples as f64);
        observer.fact("dbscan.sampled_rows", kept.nrows() as f64);
        let clusters = cluster::cluster(&tree, eps, min_samples, observer)?;
        let mut core = Vec::new();
        for (row, is_core) in clusters.is_core.iter().enumerate() {
            if *is_core {
                core.extend_from_slice(tree.row(row));
            }
        }
        let n_noise = clusters.labels.iter().filter(|l| **l < 0).count();
        observer.fact("dbscan.clusters", clusters.n_clusters as f64);
        observer.fact("dbscan.core_rows", (core.len() / rows.ncols()) as f64);
        observer.fact("dbscan.noise_rows", n_noise as f64);
        if core.is_empty() {
            return Err(Error::fit(
                "dbscan",
                format!(
                    "no row of {} has {min_samples} rows within eps = {eps}: all would be noise; \
                     a larger `eps` or a smaller `min_samples` is needed",
                    kept.nrows()
                ),
            ));
        }
        Ok(Self {
            eps,
            min_samples,
            n_clusters: clusters.n_clusters,
            n_noise,
            n_sampled: kept.nrows(),
            scaler,
            core: KdTree::turned_watched(core, rows.ncols(), observer)?,
        })
    }

    /// The radius, on scaled columns.
    #[must_use]
    pub fn eps(&self) -> f64 {
        self.eps
    }

    /// Rows within eps that made a row core, as used on the rows that were clustered.
    #[must_use]
    pub fn min_samples(&self) -> usize {
        self.min_samples
    }

    /// Number of clusters.
    #[must_use]
    pub fn n_clusters(&self) -> usize {
        self.n_clusters
    }

    /// Training rows in no cluster.
    #[must_use]
    pub fn n_noise(&self) -> usize {
        self.n_noise
    }

    /// Training rows that were clustered.
    #[must_use]
    pub fn n_sampled(&self) -> usize {
        self.n_sampled
    }

    /// Core rows, which new rows are compared with.
    #[must_use]
    pub fn n_core(&self) -> usize {
        self.core.len()
    }

    /// The scaler, and the core rows as scaled.
    pub(crate) fn parts(&self) -> (&Scaler, &KdTree) {
        (&self.scaler, &self.core)
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.f64(self.eps);
        for count in [
            self.min_samples,
            self.n_clusters,
            self.n_noise,
            self.n_sampled,
        ] {
            out.u64(count as u64);
        }
        self.scaler.write(out);
        self.core.write(out);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, FormatError> {
        let eps = from.f64("dbscan eps")?;
        let mut count = || from.u64("dbscan").map(|n| n as usize);
        let [min_samples, n_clusters, n_noise, n_sampled] =
            [count()?, count()?, count()?, count()?];
        let scaler = Scaler::read(from)?;
        let core = KdTree::read(from)?;
        if !(eps > 0.0 && eps.is_finite()) {
            return Err(FormatError::content(
                "dbscan",
                "eps is not a positive number",
            ));
        }
        if scaler.n_features() != core.dims() {
            return Err(FormatError::content(
                "dbscan",
                "its scaler is for other columns",
            ));
        }
        Ok(Self {
            eps,
            min_samples,
            n_clusters,
            n_noise,
            n_sampled,
            scaler,
            core,
        })
    }
}

impl Scorer for Dbscan {
    fn n_features(&self) -> usize {
        self.scaler.n_features()
    }

    fn score_row(&self, row: &[f64]) -> f64 {
        with_zeros(row.len(), |scaled| {
            self.scaler.scale_row(row, scaled);
            (self.core.nearest(scaled).0.sqrt() / self.eps).min(f64::MAX)
        })
    }

    fn explain_row(&self, row: &[f64], parts: &mut [f64]) -> f64 {
        parts.fill(0.0);
        with_zeros(row.len(), |scaled| {
            self.scaler.scale_row(row, scaled);
            let (square, position) = self.core.nearest(scaled);
            let distance = square.sqrt();
            if distance > 0.0 {
                let core = self.core.row(self.core.id(position));
                add_shares(scaled, core, distance * self.eps, parts);
            }
            (distance / self.eps).min(f64::MAX)
        })
    }
}

/// Cluster labels of `rows`, (n_samples, n_features), as they are: from 0 in the order of each cluster's
/// first core row, −1 for noise. They are scikit-learn's `DBSCAN(eps, min_samples).fit_predict(rows)`.
///
/// Needs O(n) memory; never all pairs. Runs on rayon's threads, whose number changes nothing.
///
/// # Errors
/// No rows or columns, a value that isn't finite, `eps` that isn't a positive number of at most 10¹⁵⁰, `min_samples` of
/// 0, or more than 2³¹ rows.
pub fn dbscan_labels(rows: ArrayView2<'_, f64>, eps: f64, min_samples: usize) -> Result<Vec<i32>> {
    if rows.is_empty() {
        return Err(Error::Empty { what: "rows" });
    }
    crate::detector::check_finite("rows", rows)?;
    // Its square must be finite.
    if !(eps > 0.0 && eps <= 1e150) {
        return Err(Error::invalid(
            "eps",
            eps,
            "a positive number of at most 1e150 is needed",
        ));
    }
    if min_samples == 0 {
        return Err(Error::invalid("min_samples", 0, "at least 1 is needed"));
    }
    if rows.nrows() > i32::MAX as usize {
        return Err(Error::invalid(
            "rows",
            rows.nrows(),
            "at most 2³¹ are possible",
        ));
    }
    let tree = KdTree::new(rows.iter().copied().collect(), rows.ncols());
    Ok(cluster::cluster(&tree, eps, min_samples, &mut ())?.labels)
}
