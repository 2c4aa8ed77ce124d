//! Where what comes out of a partition goes.

use std::sync::Arc;

use market::{Candle, FeatureRow, Interval};

use crate::record::{Reason, Record};

/// Where what comes out of a partition goes.
pub(crate) trait Sink {
    /// A candle of one of the published lengths was closed.
    fn candle(&mut self, symbol: &Arc<str>, interval: Interval, candle: &Candle);
    /// A candle of the features' length was closed (or, where `is_open`, isn't yet).
    fn row(&mut self, symbol: &Arc<str>, row: &FeatureRow, label: Option<&str>, is_open: bool);
    /// A record came too late.
    fn late(&mut self, record: &Record<'_>);
    /// A record can't be taken.
    fn refuse(&mut self, record: &Record<'_>, reason: &Reason);
}

/// Takes nothing: for records whose consequences are out already.
#[derive(Debug)]
pub(crate) struct Silence;

impl Sink for Silence {
    fn candle(&mut self, _: &Arc<str>, _: Interval, _: &Candle) {}
    fn row(&mut self, _: &Arc<str>, _: &FeatureRow, _: Option<&str>, _: bool) {}
    fn late(&mut self, _: &Record<'_>) {}
    fn refuse(&mut self, _: &Record<'_>, _: &Reason) {}
}
