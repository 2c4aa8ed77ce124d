//! The features: their names, their definitions, what they need.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::ValidFeatureConfig;

/// A feature of a closed candle `t`.
///
/// `W` is the window, `k` the momentum lag, both in candles. A statistic that *judges* `t` (the z-scores and
/// `vwap_deviation`) looks at the `W` candles before `t`; one that *describes* the market (`price_std`, `volume_std`,
/// `volatility`, the macro features) looks at the last candles including `t`. `sd` is the sample standard deviation
/// (divisor n − 1), as in pandas and Polars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Feature {
    /// close_t / close_{t-1} − 1
    Return,
    /// ln(close_t / close_{t-1})
    LogReturn,
    /// (high_t − low_t) / low_t
    PriceRange,
    /// (close_t − mean_W) / sd_W
    PriceZscore,
    /// (log_return_t − mean_W) / sd_W
    LogReturnZscore,
    /// (volume_t − mean_W) / sd_W
    VolumeZscore,
    /// (trade_count_t − mean_W) / sd_W
    TradeCountZscore,
    /// sd_W / mean_W of close
    PriceStd,
    /// sd_W / mean_W of volume
    VolumeStd,
    /// sd_W of log_return
    Volatility,
    /// close_t / vwap_W − 1
    VwapDeviation,
    /// (buy − sell) / (buy + sell)
    VolumeImbalance,
    /// close_t / close_{t-k} − 1
    Momentum,
    /// sd of return over the macro window
    MacroReturnStd,
    /// largest price_range of the macro window
    MacroMaxRange,
    /// mean volume of the macro window / mean volume of the baseline
    MacroAvgVolume,
}

/// A field of [`crate::Candle`] that not every source has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CandleField {
    /// [`crate::Candle::quote_volume`].
    QuoteVolume,
    /// [`crate::Candle::buy_volume`].
    BuyVolume,
    /// [`crate::Candle::trade_count`].
    TradeCount,
}

impl CandleField {
    /// The field's name: `quote_volume`, `buy_volume` or `trade_count`.
    pub fn as_str(self) -> &'static str {
        match self {
            CandleField::QuoteVolume => "quote_volume",
            CandleField::BuyVolume => "buy_volume",
            CandleField::TradeCount => "trade_count",
        }
    }
}

impl fmt::Display for CandleField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Feature {
    /// The number of features, and the length of [`crate::FeatureRow::values`].
    pub const COUNT: usize = 16;

    /// Every feature, in the order of [`crate::FeatureRow::values`].
    pub const ALL: [Feature; Feature::COUNT] = [
        Feature::Return,
        Feature::LogReturn,
        Feature::PriceRange,
        Feature::PriceZscore,
        Feature::LogReturnZscore,
        Feature::VolumeZscore,
        Feature::TradeCountZscore,
        Feature::PriceStd,
        Feature::VolumeStd,
        Feature::Volatility,
        Feature::VwapDeviation,
        Feature::VolumeImbalance,
        Feature::Momentum,
        Feature::MacroReturnStd,
        Feature::MacroMaxRange,
        Feature::MacroAvgVolume,
    ];

    /// Its place in [`crate::FeatureRow::values`].
    #[inline]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name in files, such as `log_return_zscore`.
    pub fn name(self) -> &'static str {
        match self {
            Feature::Return => "return",
            Feature::LogReturn => "log_return",
            Feature::PriceRange => "price_range",
            Feature::PriceZscore => "price_zscore",
            Feature::LogReturnZscore => "log_return_zscore",
            Feature::VolumeZscore => "volume_zscore",
            Feature::TradeCountZscore => "trade_count_zscore",
            Feature::PriceStd => "price_std",
            Feature::VolumeStd => "volume_std",
            Feature::Volatility => "volatility",
            Feature::VwapDeviation => "vwap_deviation",
            Feature::VolumeImbalance => "volume_imbalance",
            Feature::Momentum => "momentum",
            Feature::MacroReturnStd => "macro_return_std",
            Feature::MacroMaxRange => "macro_max_range",
            Feature::MacroAvgVolume => "macro_avg_volume",
        }
    }

    /// The definition in one line, for reports and for `--help`.
    pub fn definition(self) -> &'static str {
        match self {
            Feature::Return => "close_t / close_{t-1} - 1",
            Feature::LogReturn => "ln(close_t / close_{t-1})",
            Feature::PriceRange => "(high - low) / low",
            Feature::PriceZscore => {
                "(close_t - mean) / sd, both over the window before t; 0 where that window is constant"
            }
            Feature::LogReturnZscore => {
                "(log_return_t - mean) / sd, both over the window before t; 0 where that window is constant"
            }
            Feature::VolumeZscore => {
                "(volume_t - mean) / sd, both over the window before t; 0 where that window is constant"
            }
            Feature::TradeCountZscore => {
                "(trade_count_t - mean) / sd, both over the window before t; 0 where that window is constant"
            }
            Feature::PriceStd => "sd / mean of close over the window that ends with t",
            Feature::VolumeStd => {
                "sd / mean of volume over the window that ends with t; 0 without any volume"
            }
            Feature::Volatility => "sd of log_return over the window that ends with t",
            Feature::VwapDeviation => {
                "close_t / vwap of the window before t - 1; 0 where that window has no volume"
            }
            Feature::VolumeImbalance => {
                "(buy - sell) / (buy + sell) of the candle; 0 without volume"
            }
            Feature::Momentum => "close_t / close_{t-k} - 1",
            Feature::MacroReturnStd => "sd of return over the macro window that ends with t",
            Feature::MacroMaxRange => "largest price_range of the macro window that ends with t",
            Feature::MacroAvgVolume => {
                "mean volume of the macro window / mean volume of the baseline, both ending with t; 1 without any volume"
            }
        }
    }

    /// The optional candle fields that it is computed from. On candles without them it is never ready.
    pub fn needs(self) -> &'static [CandleField] {
        match self {
            Feature::TradeCountZscore => &[CandleField::TradeCount],
            Feature::VwapDeviation => &[CandleField::QuoteVolume],
            Feature::VolumeImbalance => &[CandleField::BuyVolume],
            _ => &[],
        }
    }

    /// How many candles at the start of history, and again after every restart, have this feature not ready.
    ///
    /// ```
    /// use market::{Feature, FeatureConfig, Interval};
    /// let config = FeatureConfig::new(Interval::MINUTE).check()?;
    /// assert_eq!(Feature::PriceRange.warm_up(&config), 0);
    /// assert_eq!(Feature::Return.warm_up(&config), 1);
    /// assert_eq!(Feature::PriceZscore.warm_up(&config), 60);
    /// assert_eq!(Feature::LogReturnZscore.warm_up(&config), 61);
    /// # Ok::<(), market::FeatureConfigError>(())
    /// ```
    pub fn warm_up(self, config: &ValidFeatureConfig) -> usize {
        let window = config.window();
        match self {
            Feature::PriceRange | Feature::VolumeImbalance => 0,
            Feature::Return | Feature::LogReturn => 1,
            Feature::PriceZscore
            | Feature::VolumeZscore
            | Feature::TradeCountZscore
            | Feature::VwapDeviation => window,
            Feature::LogReturnZscore => window + 1,
            Feature::PriceStd | Feature::VolumeStd => window - 1,
            Feature::Volatility => window,
            Feature::Momentum => config.momentum(),
            Feature::MacroReturnStd => config.macro_candles(),
            Feature::MacroMaxRange => config.macro_candles() - 1,
            Feature::MacroAvgVolume => config.baseline_candles() - 1,
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no [`Feature`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown feature `{0}`")]
pub struct ParseFeatureError(pub String);

impl FromStr for Feature {
    type Err = ParseFeatureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Feature::ALL
            .into_iter()
            .find(|feature| feature.name() == text)
            .ok_or_else(|| ParseFeatureError(text.to_owned()))
    }
}

/// A set of features, as a bit mask by [`Feature::index`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FeatureMask(pub u32);

impl FeatureMask {
    /// Adds a feature.
    #[inline]
    pub fn insert(&mut self, feature: Feature) {
        self.0 |= 1 << feature.index();
    }

    /// Whether the feature is in the set.
    #[inline]
    pub fn contains(self, feature: Feature) -> bool {
        self.0 & (1 << feature.index()) != 0
    }

    /// Whether every feature of the other set is in this one.
    #[inline]
    pub fn contains_all(self, other: FeatureMask) -> bool {
        self.0 & other.0 == other.0
    }
}

impl FromIterator<Feature> for FeatureMask {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        let mut mask = FeatureMask::default();
        for feature in features {
            mask.insert(feature);
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_indices_and_parsing_agree() {
        for (idx, feature) in Feature::ALL.into_iter().enumerate() {
            assert_eq!(feature.index(), idx);
            assert_eq!(feature.name().parse::<Feature>().unwrap(), feature);
            assert_eq!(
                serde_json::to_string(&feature).unwrap(),
                format!("\"{feature}\"")
            );
            assert!(!feature.definition().is_empty());
        }
        assert_eq!(
            "retrun".parse::<Feature>().unwrap_err().to_string(),
            "unknown feature `retrun`"
        );
    }

    #[test]
    fn mask_holds_what_was_inserted() {
        let mask: FeatureMask = [Feature::Return, Feature::MacroAvgVolume]
            .into_iter()
            .collect();
        for feature in Feature::ALL {
            assert_eq!(
                mask.contains(feature),
                matches!(feature, Feature::Return | Feature::MacroAvgVolume)
            );
        }
        assert!(mask.contains_all(FeatureMask::default()));
        assert!(!FeatureMask::default().contains_all(mask));
    }
}
