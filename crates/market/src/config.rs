//! The feature engine's configuration: as written, and as checked.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::engine::ENGINE_VERSION;
use crate::feature::Feature;
use crate::interval::{DAY_US, HOUR_US, Interval, SECOND_US};

/// The feature engine's configuration as written in a file or stored with a model; [`FeatureConfig::check`] makes it
/// usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct FeatureConfig {
    /// The candle's length; the only value without a default.
    pub interval: Interval,
    /// W: the trailing window in candles, 2 to 100,000 (default 60).
    pub window: usize,
    /// k: how many candles back `momentum` looks, 1 to 100,000 (default 10).
    pub momentum: usize,
    /// The longest run of empty intervals, in candles, that is filled with carried-forward candles;
    /// after a longer one the windows start afresh; 0 to 100,000 (default 60).
    pub max_gap: usize,
    /// How far, in µs, a trade may lie behind the latest event time and still enter its candle; 0 to
    /// one day (default 5 s).
    pub allowed_lateness: i64,
    /// The span of the macro features in µs, a multiple of the interval, at least two candles
    /// (default one hour, or twelve candles where that is longer).
    pub macro_window: i64,
    /// The span that `macro_avg_volume` compares with, in µs, a multiple of the interval, at least
    /// the macro window (default one day, or 288 candles where that is longer).
    pub macro_baseline: i64,
}

/// A [`FeatureConfig`] in a file: what is absent has the default of its interval.
#[derive(Deserialize)]
#[serde(rename = "FeatureConfig", deny_unknown_fields)]
struct WrittenConfig {
    interval: Interval,
    window: Option<usize>,
    momentum: Option<usize>,
    max_gap: Option<usize>,
    allowed_lateness: Option<i64>,
    macro_window: Option<i64>,
    macro_baseline: Option<i64>,
}

/// A [`FeatureConfig`] in a binary format, which has no names for what is absent: everything is there.
#[derive(Deserialize)]
struct StoredConfig {
    interval: Interval,
    window: usize,
    momentum: usize,
    max_gap: usize,
    allowed_lateness: i64,
    macro_window: i64,
    macro_baseline: i64,
}

impl<'de> Deserialize<'de> for FeatureConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return WrittenConfig::deserialize(deserializer).map(Into::into);
        }
        let stored = StoredConfig::deserialize(deserializer)?;
        Ok(FeatureConfig {
            interval: stored.interval,
            window: stored.window,
            momentum: stored.momentum,
            max_gap: stored.max_gap,
            allowed_lateness: stored.allowed_lateness,
            macro_window: stored.macro_window,
            macro_baseline: stored.macro_baseline,
        })
    }
}

impl From<WrittenConfig> for FeatureConfig {
    fn from(written: WrittenConfig) -> FeatureConfig {
        let default = FeatureConfig::new(written.interval);
        FeatureConfig {
            interval: written.interval,
            window: written.window.unwrap_or(default.window),
            momentum: written.momentum.unwrap_or(default.momentum),
            max_gap: written.max_gap.unwrap_or(default.max_gap),
            allowed_lateness: written.allowed_lateness.unwrap_or(default.allowed_lateness),
            macro_window: written.macro_window.unwrap_or(default.macro_window),
            macro_baseline: written.macro_baseline.unwrap_or(default.macro_baseline),
        }
    }
}

/// Bounds the memory of an engine.
const MAX_CANDLES: usize = 100_000;

impl FeatureConfig {
    /// The defaults for candles of this length.
    pub fn new(interval: Interval) -> FeatureConfig {
        let macro_window = HOUR_US.max(12 * interval.micros());
        FeatureConfig {
            interval,
            window: 60,
            momentum: 10,
            max_gap: 60,
            allowed_lateness: 5 * SECOND_US,
            macro_window,
            macro_baseline: 24 * macro_window,
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// All violations, not only the first.
    pub fn check(self) -> Result<ValidFeatureConfig, FeatureConfigError> {
        let mut violations = Vec::new();
        let mut require = |holds: bool, key: &'static str, value: String, allowed: String| {
            if !holds {
                violations.push(Violation {
                    key,
                    value,
                    allowed,
                });
            }
        };
        let interval = self.interval.micros();
        let max_span = interval.saturating_mul(MAX_CANDLES as i64);
        require(
            (2..=MAX_CANDLES).contains(&self.window),
            "window",
            self.window.to_string(),
            format!("2 to {MAX_CANDLES} candles"),
        );
        require(
            (1..=MAX_CANDLES).contains(&self.momentum),
            "momentum",
            self.momentum.to_string(),
            format!("1 to {MAX_CANDLES} candles"),
        );
        require(
            self.max_gap <= MAX_CANDLES,
            "max_gap",
            self.max_gap.to_string(),
            format!("0 to {MAX_CANDLES} candles"),
        );
        require(
            (0..=DAY_US).contains(&self.allowed_lateness),
            "allowed_lateness",
            self.allowed_lateness.to_string(),
            format!("0 to {DAY_US} microseconds"),
        );
        require(
            self.macro_window % interval == 0
                && (interval.saturating_mul(2)..=max_span).contains(&self.macro_window),
            "macro_window",
            self.macro_window.to_string(),
            format!(
                "a multiple of the interval `{}`, 2 to {MAX_CANDLES} candles",
                self.interval
            ),
        );
        require(
            self.macro_baseline % interval == 0
                && (self.macro_window..=max_span).contains(&self.macro_baseline),
            "macro_baseline",
            self.macro_baseline.to_string(),
            format!(
                "a multiple of the interval `{}`, from the macro window to {MAX_CANDLES} candles",
                self.interval
            ),
        );
        if violations.is_empty() {
            Ok(ValidFeatureConfig { config: self })
        } else {
            Err(FeatureConfigError { violations })
        }
    }
}

/// One value of a configuration that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub key: &'static str,
    /// What it was.
    pub value: String,
    /// What it may be.
    pub allowed: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is `{}`, allowed: {}",
            self.key, self.value, self.allowed
        )
    }
}

pub(crate) fn join(violations: &[Violation]) -> String {
    violations
        .iter()
        .map(Violation::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Everything that is wrong with a [`FeatureConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid feature configuration: {}", join(violations))]
pub struct FeatureConfigError {
    /// Every violation, in the order of the fields.
    pub violations: Vec<Violation>,
}

/// A [`FeatureConfig`] whose values are all allowed; the only kind that an engine takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "FeatureConfig", into = "FeatureConfig")]
pub struct ValidFeatureConfig {
    config: FeatureConfig,
}

impl ValidFeatureConfig {
    /// The values as written.
    pub fn config(&self) -> &FeatureConfig {
        &self.config
    }

    /// 16 hexadecimal digits that tell features that are computed like this from others: of every value, and of the
    /// engine's version.
    pub fn digest(&self) -> String {
        let FeatureConfig {
            interval,
            window,
            momentum,
            max_gap,
            allowed_lateness,
            macro_window,
            macro_baseline,
        } = self.config;
        let mut hash = Sha256::new();
        hash.update(ENGINE_VERSION.to_le_bytes());
        for count in [window, momentum, max_gap] {
            hash.update((count as u64).to_le_bytes());
        }
        let spans = [
            interval.micros(),
            allowed_lateness,
            macro_window,
            macro_baseline,
        ];
        for span in spans {
            hash.update(span.to_le_bytes());
        }
        let digest = hash.finalize();
        digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The candle's length.
    pub fn interval(&self) -> Interval {
        self.config.interval
    }

    /// W, in candles.
    pub fn window(&self) -> usize {
        self.config.window
    }

    /// k, in candles.
    pub fn momentum(&self) -> usize {
        self.config.momentum
    }

    /// The longest gap that is filled, in candles.
    pub fn max_gap(&self) -> usize {
        self.config.max_gap
    }

    /// The allowed lateness, in µs.
    pub fn allowed_lateness(&self) -> i64 {
        self.config.allowed_lateness
    }

    /// How many candles at the start of history, and again after every restart, have rows that are
    /// not ready for these features: the largest [`Feature::warm_up`] of them.
    pub fn warm_up(&self, features: &[Feature]) -> usize {
        features
            .iter()
            .map(|feature| feature.warm_up(self))
            .max()
            .unwrap_or(0)
    }

    /// The macro window, in candles, at least 2.
    pub fn macro_candles(&self) -> usize {
        (self.config.macro_window / self.config.interval.micros()) as usize
    }

    /// The macro baseline, in candles, at least the macro window.
    pub fn baseline_candles(&self) -> usize {
        (self.config.macro_baseline / self.config.interval.micros()) as usize
    }
}

impl TryFrom<FeatureConfig> for ValidFeatureConfig {
    type Error = FeatureConfigError;

    fn try_from(config: FeatureConfig) -> Result<Self, Self::Error> {
        config.check()
    }
}

impl From<ValidFeatureConfig> for FeatureConfig {
    fn from(config: ValidFeatureConfig) -> FeatureConfig {
        config.config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_for_every_interval() {
        for text in ["100ms", "1s", "10s", "1m", "5m", "1h", "4h", "1d"] {
            let interval: Interval = text.parse().unwrap();
            let checked = FeatureConfig::new(interval).check();
            // A day of 100 ms candles does not fit into the memory bound.
            assert_eq!(checked.is_ok(), text != "100ms", "{text}: {checked:?}");
        }
    }

    #[test]
    fn the_digest_tells_every_value_apart() {
        type Change = fn(&mut FeatureConfig);
        let changes: [Change; 8] = [
            |_| (),
            |config| config.interval = Interval::TEN_SECONDS,
            |config| config.window += 1,
            |config| config.momentum += 1,
            |config| config.max_gap += 1,
            |config| config.allowed_lateness += 1,
            |config| config.macro_window *= 2,
            |config| config.macro_baseline *= 2,
        ];
        let digests = changes.map(|change| {
            let mut config = FeatureConfig::new(Interval::MINUTE);
            change(&mut config);
            config.check().unwrap().digest()
        });
        assert_eq!(digests[0].len(), 16);
        let others: std::collections::BTreeSet<&String> = digests.iter().collect();
        assert_eq!(others.len(), digests.len());
    }

    #[test]
    fn reports_every_violation_at_once() {
        let error = FeatureConfig {
            interval: Interval::MINUTE,
            window: 1,
            momentum: 0,
            max_gap: usize::MAX,
            allowed_lateness: -1,
            macro_window: 90 * SECOND_US,
            macro_baseline: 0,
        }
        .check()
        .unwrap_err();
        let keys: Vec<_> = error
            .violations
            .iter()
            .map(|violation| violation.key)
            .collect();
        assert_eq!(
            keys,
            [
                "window",
                "momentum",
                "max_gap",
                "allowed_lateness",
                "macro_window",
                "macro_baseline"
            ]
        );
        assert!(error.to_string().contains("`window` is `1`"));
    }

    #[test]
    fn serde_fills_defaults_and_refuses_what_it_does_not_know() {
        let config: FeatureConfig = serde_json::from_str(r#"{"interval":"1m"}"#).unwrap();
        assert_eq!(config, FeatureConfig::new(Interval::MINUTE));
        for interval in ["5m", "1h", "1d"] {
            let text = format!(r#"{{"interval":"{interval}"}}"#);
            assert!(
                serde_json::from_str::<ValidFeatureConfig>(&text).is_ok(),
                "{interval}"
            );
        }
        let checked = config.check().unwrap();
        let text = serde_json::to_string(&checked).unwrap();
        assert_eq!(
            serde_json::from_str::<ValidFeatureConfig>(&text).unwrap(),
            checked
        );
        assert!(serde_json::from_str::<FeatureConfig>(r#"{"interval":"1m","windwo":3}"#).is_err());
        assert!(
            serde_json::from_str::<ValidFeatureConfig>(r#"{"interval":"1m","window":1}"#).is_err()
        );
        assert!(serde_json::from_str::<FeatureConfig>(r#"{"interval":"7m"}"#).is_err());
    }
}
