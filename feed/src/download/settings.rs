//! What is to be downloaded, and where from.

use std::sync::Arc;
use std::time::Duration;

use crate::binance::RestSettings;

/// REST that doesn't answer for so long is away.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120);
/// Weight of REST requests in a minute.
const WEIGHT: u32 = 4_000;

/// Where days come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Source {
    /// The public dumps: a zip for each day, with its checksum.
    Dumps,
    /// REST, for candles.
    Rest,
}

/// What is to be downloaded.
#[derive(Debug, Clone)]
pub struct DownloadSettings {
    /// Where from.
    pub source: Source,
    /// The symbols, in capitals.
    pub symbols: Vec<Arc<str>>,
    /// The first day's first moment, µs.
    pub from: i64,
    /// The first moment after the last day.
    pub to: i64,
    /// The dumps' address.
    pub dumps_url: String,
    /// REST's address.
    pub rest_url: String,
    /// A certificate authority to trust beside the system's, as PEM.
    pub ca: Option<Vec<u8>>,
    /// Downloads at once.
    pub jobs: usize,
    /// Whether days that are there are compared with the dumps' present checksums.
    pub is_refreshed: bool,
    /// How often a download that fails is tried.
    pub attempts: u32,
}

impl DownloadSettings {
    pub(super) fn rest_settings(&self) -> RestSettings {
        RestSettings {
            trades: self.rest_url.clone(),
            data: self.rest_url.clone(),
            symbols: self.symbols.clone(),
            give_up_after: GIVE_UP_AFTER,
            at_once: self.jobs,
            weight_per_minute: WEIGHT,
            ca: self.ca.clone(),
        }
    }
}
