//! Candles into features: every definition of [`Feature`] is computed here, and only here.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::bits;
use crate::candle::Candle;
use crate::config::ValidFeatureConfig;
use crate::feature::{Feature, FeatureMask};
use crate::rolling::{Moments, RollingMax, RollingMoments, RollingSum};

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

/// How a candle moves from the one before it.
#[derive(Debug)]
struct Moves {
    price_range: f64,
    /// close_t / close_{t−1}; `None` for the first candle.
    ratio: Option<f64>,
}

/// The windows that end with a candle.
#[derive(Debug)]
struct Ending {
    close: Option<Moments>,
    volume: Option<Moments>,
    log_return: Option<Moments>,
    macro_return: Option<Moments>,
    macro_range: Option<f64>,
    macro_volume: Option<f64>,
}

impl Values {
    /// What describes the windows that end with the candle.
    fn describe(&mut self, ending: &Ending) {
        let relative_sd = |moments: Option<Moments>| moments.map(|m| m.relative_sd());
        let sd = |moments: Option<Moments>| moments.map(|m| m.sd);
        self.set(Feature::PriceStd, relative_sd(ending.close));
        self.set(Feature::VolumeStd, relative_sd(ending.volume));
        self.set(Feature::Volatility, sd(ending.log_return));
        self.set(Feature::MacroReturnStd, sd(ending.macro_return));
        self.set(Feature::MacroMaxRange, ending.macro_range);
        self.set(Feature::MacroAvgVolume, ending.macro_volume);
    }

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
        let (mut row, moves) = self.judge(candle);
        self.take(candle, &moves);
        row.describe(&Ending {
            close: self.close.moments(),
            volume: self.volume.moments(),
            log_return: self.log_return.moments(),
            macro_return: self.macro_return.moments(),
            macro_range: self.macro_range.value(),
            macro_volume: self
                .macro_avg_volume(self.macro_volume.value(), self.baseline_volume.value()),
        });
        row
    }

    /// What [`push`](Self::push) would give for this candle, to the last bit, without taking it in.
    pub(crate) fn preview(&mut self, candle: &Candle) -> Values {
        let (mut row, moves) = self.judge(candle);
        row.describe(&Ending {
            close: self.close.peek(candle.close),
            volume: self.volume.peek(candle.volume),
            log_return: match moves.ratio {
                Some(ratio) => self.log_return.peek(ratio.ln()),
                None => self.log_return.moments(),
            },
            macro_return: match moves.ratio {
                Some(ratio) => self.macro_return.peek(ratio - 1.0),
                None => self.macro_return.moments(),
            },
            macro_range: self.macro_range.peek(moves.price_range),
            macro_volume: self.macro_avg_volume(
                self.macro_volume.peek(candle.volume),
                self.baseline_volume.peek(candle.volume),
            ),
        });
        row
    }

    /// What judges a candle by the windows before it.
    fn judge(&mut self, candle: &Candle) -> (Values, Moves) {
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
        let ratio = self.closes.back().map(|previous| candle.close / previous);
        if let Some(ratio) = ratio {
            let log_return = ratio.ln();
            row.set(Feature::Return, Some(ratio - 1.0));
            row.set(Feature::LogReturn, Some(log_return));
            row.set(
                Feature::LogReturnZscore,
                zscore(&mut self.log_return, log_return),
            );
        }
        if self.closes.len() >= self.momentum
            && let Some(past) = self.closes.front()
        {
            row.set(Feature::Momentum, Some(candle.close / past - 1.0));
        }
        if let Some(trade_count) = candle.trade_count {
            row.set(
                Feature::TradeCountZscore,
                zscore(&mut self.trade_count, trade_count as f64),
            );
        }
        (row, Moves { price_range, ratio })
    }

    /// Takes a candle into the windows.
    fn take(&mut self, candle: &Candle, moves: &Moves) {
        if let Some(ratio) = moves.ratio {
            self.log_return.push(ratio.ln());
            self.macro_return.push(ratio - 1.0);
        }
        if self.closes.len() >= self.momentum {
            self.closes.pop_front();
        }
        self.closes.push_back(candle.close);
        match candle.trade_count {
            Some(trade_count) => self.trade_count.push(trade_count as f64),
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
        self.macro_range.push(moves.price_range);
        self.macro_volume.push(candle.volume);
        self.baseline_volume.push(candle.volume);
    }

    fn vwap_deviation(&self, close: f64) -> Option<f64> {
        let (quote, base) = (self.vwap_quote.value()?, self.vwap_base.value()?);
        Some(if quote > 0.0 && base > 0.0 {
            close / (quote / base) - 1.0
        } else {
            0.0
        })
    }

    fn macro_avg_volume(&self, recent: Option<f64>, baseline: Option<f64>) -> Option<f64> {
        let (recent, baseline) = (recent?, baseline?);
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
