//! What decides, beside the records and the model, what comes out of a partition.

use detectors::drift::DriftPolicy;
use market::{HOUR_US, Interval, MINUTE_US, SECOND_US, ValidFeatureConfig};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// What the records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Trades, from `raw-trades`.
    #[default]
    Trades,
    /// Closed candles of the features' length, from `kline-…`.
    Candles,
}

/// Settings of the core. Two scorers with the same ones, the same records and the same model say the same, bit for bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The feature engine's configuration.
    pub features: ValidFeatureConfig,
    /// What the records are.
    pub source: Source,
    /// The lengths of the candles that are published; none for records that are candles.
    pub candles: Vec<Interval>,
    /// Where trades are the records: also judge the candle that is still open, at trades at least this far apart (µs of
    /// the symbol's event time; 0 for every trade). `None`: closed candles only.
    pub early: Option<i64>,
    /// A symbol without a record for this long, in µs of the partition's event time, is silent: its candles that ended
    /// that long ago are closed.
    pub idle: i64,
    /// A trade further ahead of the partition's event time than this, µs, is believed only once another one agrees.
    pub max_jump: i64,
    /// Flagged candles of one symbol that begin at most this far apart, µs, are one incident.
    pub quiet: i64,
    /// Symbols of one partition at most; records of further ones are refused.
    pub max_symbols: usize,
    /// How often drift may ask for a new training. `None`: drift isn't watched.
    pub drift: Option<DriftPolicy>,
}

/// Settings that make no sense.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{key}`: {reason}")]
pub struct SettingsError {
    /// Which one.
    pub key: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl Settings {
    /// The usual settings for trades.
    #[must_use]
    pub fn new(features: ValidFeatureConfig) -> Self {
        let interval = features.interval().micros();
        Self {
            features,
            source: Source::Trades,
            candles: vec![Interval::TEN_SECONDS, Interval::MINUTE],
            early: None,
            idle: 30 * SECOND_US,
            max_jump: 24 * HOUR_US,
            quiet: (5 * MINUTE_US).max(3 * interval),
            max_symbols: 100_000,
            drift: Some(DriftPolicy::default()),
        }
    }

    /// Checks what can be wrong by itself.
    ///
    /// # Errors
    /// The first setting that makes no sense.
    pub fn check(&self) -> Result<(), SettingsError> {
        let refuse = |key, reason: &str| {
            Err(SettingsError {
                key,
                reason: reason.to_owned(),
            })
        };
        let interval = self.features.interval().micros();
        let mut lengths: Vec<i64> = self.candles.iter().map(|i| i.micros()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        if lengths.len() != self.candles.len() {
            return refuse("candles", "a length stands there twice");
        }
        if self.source == Source::Candles && self.early.is_some() {
            return refuse(
                "early",
                "candles that are closed already can't be judged before",
            );
        }
        if self.early.is_some_and(|every| every < 0) {
            return refuse("early", "a time that isn't negative is needed");
        }
        if self.idle <= 0 {
            return refuse("idle", "a positive time is needed");
        }
        if self.max_jump < interval.max(self.idle) {
            return refuse(
                "max_jump",
                "it can't be shorter than a candle or than the time after which a symbol is silent",
            );
        }
        if self.quiet < 0 {
            return refuse("quiet", "a time that isn't negative is needed");
        }
        if self.max_symbols == 0 {
            return refuse("max_symbols", "at least one symbol is needed");
        }
        Ok(())
    }

    /// A digest of all that the state of a partition depends on: a snapshot made under other settings is none.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        // Incidents are not in the snapshot, and a watch for drift is of its model.
        let of_state = (
            market::ENGINE_VERSION,
            &self.features,
            self.source,
            &self.candles,
            self.early,
            self.idle,
            self.max_jump,
            self.max_symbols,
        );
        // Plain data with string keys: there is nothing in it that JSON can't write.
        let json = serde_json::to_vec(&of_state).unwrap_or_default();
        Sha256::digest(json).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use market::FeatureConfig;

    fn usual() -> Settings {
        Settings::new(FeatureConfig::new(Interval::MINUTE).check().unwrap())
    }

    #[test]
    fn the_usual_settings_are_sound_and_nonsense_is_named() {
        usual().check().unwrap();
        type Change = fn(&mut Settings);
        let changes: [(&str, Change); 7] = [
            ("candles", |s| s.candles = vec![Interval::MINUTE; 2]),
            ("early", |s| {
                s.source = Source::Candles;
                s.early = Some(0);
            }),
            ("early", |s| s.early = Some(-1)),
            ("idle", |s| s.idle = 0),
            ("max_jump", |s| s.max_jump = SECOND_US),
            ("quiet", |s| s.quiet = -1),
            ("max_symbols", |s| s.max_symbols = 0),
        ];
        for (key, change) in changes {
            let mut settings = usual();
            change(&mut settings);
            assert_eq!(settings.check().unwrap_err().key, key);
        }
    }

    #[test]
    fn the_fingerprint_tells_settings_of_the_state_apart() {
        let of = |change: fn(&mut Settings)| {
            let mut settings = usual();
            change(&mut settings);
            settings.fingerprint()
        };
        assert_eq!(of(|_| ()), of(|s| s.quiet = 7));
        assert_ne!(of(|_| ()), of(|s| s.idle = 7));
        assert_ne!(of(|_| ()), of(|s| s.candles = Vec::new()));
        assert_ne!(of(|_| ()), of(|s| s.early = Some(0)));
    }
}
