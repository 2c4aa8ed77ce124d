//! What to fit, as an experiment file writes it.

mod checks;
mod forest;

use serde::{Deserialize, Serialize};

use crate::autoencoder::AutoencoderConfig;
use crate::consensus::ConsensusConfig;
use crate::dbscan::DbscanConfig;
use crate::ecod::EcodConfig;
use crate::error::ParamsError;
use crate::half_space::HalfSpaceTreesConfig;
use crate::hbos::HbosConfig;
use crate::knn::KnnConfig;
use crate::mahalanobis::MahalanobisConfig;
use crate::mixture::GaussianMixtureConfig;
use crate::statistics::{CandleZConfig, SlidingWindowConfig};
pub(crate) use checks::Checks;
pub use forest::{ForestForm, IsolationForestConfig};

/// A detector and its parameters; the key `detector` chooses.
///
/// Unknown keys are refused. [`check`](Self::check) lists every value out of range at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "detector", rename_all = "snake_case")]
pub enum DetectorParams {
    /// Isolation Forest (Liu, Ting and Zhou 2008) and the forms that followed it.
    IsolationForest(IsolationForestConfig),
    /// The trivial baseline: the largest |z| over the features.
    MaxZ(MaxZConfig),
    /// Empirical tails, column by column.
    Ecod(EcodConfig),
    /// Histograms, column by column.
    Hbos(HbosConfig),
    /// Distance to the nearest training rows.
    Knn(KnnConfig),
    /// Distance to the nearest core row of DBSCAN.
    Dbscan(DbscanConfig),
    /// Mahalanobis distance.
    Mahalanobis(MahalanobisConfig),
    /// Density of a Gaussian mixture.
    GaussianMixture(GaussianMixtureConfig),
    /// Reconstruction error of an autoencoder.
    Autoencoder(AutoencoderConfig),
    /// Half-space trees, which keep learning.
    HalfSpaceTrees(HalfSpaceTreesConfig),
    /// Per-candle z-scores of named features.
    CandleZ(CandleZConfig),
    /// The last hour against historical limits.
    SlidingWindow(SlidingWindowConfig),
    /// Several of the others.
    Consensus(ConsensusConfig),
}

impl DetectorParams {
    /// Every value that `detector` may take.
    pub const NAMES: &'static [&'static str] = &[
        "isolation_forest",
        "max_z",
        "ecod",
        "hbos",
        "knn",
        "dbscan",
        "mahalanobis",
        "gaussian_mixture",
        "autoencoder",
        "half_space_trees",
        "candle_z",
        "sliding_window",
        "consensus",
    ];

    /// The value of `detector`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::IsolationForest(_) => "isolation_forest",
            Self::MaxZ(_) => "max_z",
            Self::Ecod(_) => "ecod",
            Self::Hbos(_) => "hbos",
            Self::Knn(_) => "knn",
            Self::Dbscan(_) => "dbscan",
            Self::Mahalanobis(_) => "mahalanobis",
            Self::GaussianMixture(_) => "gaussian_mixture",
            Self::Autoencoder(_) => "autoencoder",
            Self::HalfSpaceTrees(_) => "half_space_trees",
            Self::CandleZ(_) => "candle_z",
            Self::SlidingWindow(_) => "sliding_window",
            Self::Consensus(_) => "consensus",
        }
    }

    /// The keys that the detector called `name` takes beside `detector`; `None` for an unknown
    /// name. For messages that suggest the nearest key.
    #[must_use]
    pub fn keys(name: &str) -> Option<&'static [&'static str]> {
        Some(match name {
            "isolation_forest" => IsolationForestConfig::KEYS,
            "max_z" | "ecod" => &[],
            "hbos" => HbosConfig::KEYS,
            "knn" => KnnConfig::KEYS,
            "dbscan" => DbscanConfig::KEYS,
            "mahalanobis" => MahalanobisConfig::KEYS,
            "gaussian_mixture" => GaussianMixtureConfig::KEYS,
            "autoencoder" => AutoencoderConfig::KEYS,
            "half_space_trees" => HalfSpaceTreesConfig::KEYS,
            "candle_z" => CandleZConfig::KEYS,
            "sliding_window" => SlidingWindowConfig::KEYS,
            "consensus" => ConsensusConfig::KEYS,
            _ => return None,
        })
    }

    /// The same, with every value that was left to the detector's own default filled in, as far as it
    /// doesn't depend on the rows: what is fitted, for those who record it. Parameters out of range are
    /// left as they are.
    #[must_use]
    pub fn resolved(self) -> Self {
        match self {
            Self::IsolationForest(config) => Self::IsolationForest(config.resolved()),
            Self::Mahalanobis(config) => Self::Mahalanobis(config.resolved()),
            Self::Consensus(config) => Self::Consensus(config.resolved()),
            other => other,
        }
    }

    /// Checks every parameter and lists all violations.
    pub fn check(&self) -> Result<(), ParamsError> {
        let violations = match self {
            Self::IsolationForest(config) => config.violations(),
            Self::MaxZ(MaxZConfig {}) => Vec::new(),
            Self::Ecod(EcodConfig {}) => Vec::new(),
            Self::Hbos(config) => config.violations(),
            Self::Knn(config) => config.violations(),
            Self::Dbscan(config) => config.violations(),
            Self::Mahalanobis(config) => config.violations(),
            Self::GaussianMixture(config) => config.violations(),
            Self::Autoencoder(config) => config.violations(),
            Self::HalfSpaceTrees(config) => config.violations(),
            Self::CandleZ(config) => config.violations(),
            Self::SlidingWindow(config) => config.violations(),
            Self::Consensus(config) => config.violations(),
        };
        if violations.is_empty() {
            Ok(())
        } else {
            Err(ParamsError {
                detector: self.name(),
                violations,
            })
        }
    }
}

/// The baseline has no parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaxZConfig {}

#[cfg(test)]
mod tests;
