//! Candles into features: every definition of [`Feature`] is computed here, and only here.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::bits;
use crate::candle::Candle;
use crate::config::ValidFeatureConfig;
use crate::feature::{Feature, FeatureMask};
use crate::rolling::{RollingMax, RollingMoments, RollingSum};

/// The trailing windows of one symbol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Windows {
    momentum: usize,
    macro_candles: usize,
    baseline_candles: usize,
    /// The last closes, `momentum` of them at most.
    #[serde(with = "bits::queue")]
    closes: VecDeque<f64>,
    close: RollingMoments,
    log_return: RollingMoments,
    volume: RollingMoments,
    trade_count: RollingMoments,
    vwap_quote: RollingSum,
    vwap_base: RollingSum,
    macro_return: RollingMoments,
    macro_range: RollingMax,
    macro_volume: RollingSum,
    baseline_volume: RollingSum,
}

/// The features of one candle and which of them are warm.
#[derive(Debug)]
pub(crate) struct Values {
    pub(crate) values: [f64; Feature::COUNT],
    pub(crate) warm: FeatureMask,
}

impl Values {
    fn set(&mut self, feature: Feature, value: Option<f64>) {
        if let Some(value) = value {
            self.values[feature.index()] = value;
            self.warm.insert(feature);
        }
    }
}

impl Windows {
    pub(crate) fn new(config: &ValidFeatureConfig) -> Windows {
        let window = config.window();
        let macro_candles = config.macro_candles();
        Windows {
            momentum: config.momentum(),
            macro_candles,
            baseline_candles: config.baseline_candles(),
            closes: VecDeque::with_capacity(config.momentum()),
            close: RollingMoments::new(window),
            log_return: RollingMoments::new(window),
            volume: RollingMoments::new(window),
            trade_count: RollingMoments::new(window),
            vwap_quote: RollingSum::new(window),
            vwap_base: RollingSum::new(window),
            macro_return: RollingMoments::new(macro_candles),
            macro_range: RollingMax::new(macro_candles),
            macro_volume: RollingSum::new(macro_candles),
            baseline_volume: RollingSum::new(config.baseline_candles()),
        }
    }

    /// Whether what was stored can have been made with this configuration.
    pub(crate) fn fits(&self, config: &ValidFeatureConfig) -> bool {
        let (window, macro_candles) = (config.window(), config.macro_candles());
        let by_window = [
            &self.close,
            &self.log_return,
            &self.volume,
            &self.trade_count,
        ];
        self.momentum == config.momentum()
            && self.closes.len() <= self.momentum
            && self.macro_candles == macro_candles
            && self.baseline_candles == config.baseline_candles()
            && by_window.into_iter().all(|moments| moments.fits(window))
            && self.vwap_quote.fits(window)
            && self.vwap_base.fits(window)
            && self.macro_return.fits(macro_candles)
            && self.macro_range.fits(macro_candles)
            && self.macro_volume.fits(macro_candles)
            && self.baseline_volume.fits(config.baseline_candles())
    }

    pub(crate) fn clear(&mut self) {
        self.closes.clear();
        self.close.clear();
        self.log_return.clear();
        self.volume.clear();
        self.trade_count.clear();
        self.vwap_quote.clear();
        self.vwap_base.clear();
        self.macro_return.clear();
        self.macro_range.clear();
        self.macro_volume.clear();
        self.baseline_volume.clear();
    }

    /// The features of the next candle. First what judges it by the windows before it, then the windows take it in, then
    /// what describes the windows that end with it.
    pub(crate) fn push(&mut self, candle: &Candle) -> Values {
        let mut row = Values {
            values: [f64::NAN; Feature::COUNT],
            warm: FeatureMask::default(),
        };
        let price_range = (candle.high - candle.low) / candle.low;
        row.set(Feature::PriceRange, Some(price_range));
        row.set(Feature::VolumeImbalance, volume_imbalance(candle));

        let zscore = |window: &mut RollingMoments, value: f64| {
            window.moments().map(|moments| moments.zscore(value))
        };
        row.set(Feature::PriceZscore, zscore(&mut self.close, candle.close));
        row.set(
            Feature::VolumeZscore,
            zscore(&mut self.volume, candle.volume),
        );
        row.set(Feature::VwapDeviation, self.vwap_deviation(candle.close));
        if let Some(previous) = self.closes.back() {
            let ratio = candle.close / previous;
            let log_return = ratio.ln();
            row.set(Feature::Return, Some(ratio - 1.0));
            row.set(Feature::LogReturn, Some(log_return));
            row.set(
                Feature::LogReturnZscore,
                zscore(&mut self.log_return, log_return),
            );
            self.log_return.push(log_return);
            self.macro_return.push(ratio - 1.0);
        }
        if self.closes.len() >= self.momentum
            && let Some(past) = self.closes.pop_front()
        {
            row.set(Feature::Momentum, Some(candle.close / past - 1.0));
        }
        self.closes.push_back(candle.close);

        match candle.trade_count {
            Some(trade_count) => {
                let trade_count = trade_count as f64;
                row.set(
                    Feature::TradeCountZscore,
                    zscore(&mut self.trade_count, trade_count),
                );
                self.trade_count.push(trade_count);
            }
            // A window with holes would be a different statistic: it starts afresh.
            None => self.trade_count.clear(),
        }
        match candle.quote_volume {
            Some(quote_volume) => {
                self.vwap_quote.push(quote_volume);
                self.vwap_base.push(candle.volume);
            }
            None => {
                self.vwap_quote.clear();
                self.vwap_base.clear();
            }
        }

        self.close.push(candle.close);
        self.volume.push(candle.volume);
        self.macro_range.push(price_range);
        self.macro_volume.push(candle.volume);
        self.baseline_volume.push(candle.volume);

        row.set(
            Feature::PriceStd,
            self.close.moments().map(|moments| moments.relative_sd()),
        );
        row.set(
            Feature::VolumeStd,
            self.volume.moments().map(|moments| moments.relative_sd()),
        );
        row.set(
            Feature::Volatility,
            self.log_return.moments().map(|moments| moments.sd),
        );
        row.set(
            Feature::MacroReturnStd,
            self.macro_return.moments().map(|moments| moments.sd),
        );
        row.set(Feature::MacroMaxRange, self.macro_range.value());
        row.set(Feature::MacroAvgVolume, self.macro_avg_volume());
        row
    }

    fn vwap_deviation(&self, close: f64) -> Option<f64> {
        let (quote, base) = (self.vwap_quote.value()?, self.vwap_base.value()?);
        Some(if quote > 0.0 && base > 0.0 {
            close / (quote / base) - 1.0
        } else {
            0.0
        })
    }

    fn macro_avg_volume(&self) -> Option<f64> {
        let (recent, baseline) = (self.macro_volume.value()?, self.baseline_volume.value()?);
        let (n_recent, n_baseline) = (self.macro_candles as f64, self.baseline_candles as f64);
        Some(if baseline > 0.0 {
            (recent / n_recent) / (baseline / n_baseline)
        } else {
            1.0
        })
    }
}

fn volume_imbalance(candle: &Candle) -> Option<f64> {
    let buy_volume = candle.buy_volume?;
    let sell_volume = (candle.volume - buy_volume).max(0.0);
    let total = buy_volume + sell_volume;
    Some(if total > 0.0 {
        (buy_volume - sell_volume) / total
    } else {
        0.0
    })
}
