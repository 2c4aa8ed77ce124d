//! The public dumps: a zip for each day, with its checksum.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures::StreamExt;
use history::{Location, ReadOptions, Storage, read_candles, read_trades};
use market::DAY_US;
use reqwest::StatusCode;
use sha2::{Digest, Sha256};

use super::days::{Fetched, Fetcher, Job};
use super::manifest::{Kind, Origin};
use super::settings::{DownloadSettings, Source};
use super::store::{Rows, date_of};
use crate::binance::{Rest, http_client};
use crate::telemetry::Telemetry;

/// Looks for the first day of each symbol: what was looked at, and what was found.
pub async fn probe_source(
    kind: Kind,
    settings: &DownloadSettings,
) -> Vec<(String, Result<String>)> {
    if settings.source == Source::Rest {
        let telemetry = Arc::new(Telemetry::default());
        let symbols = async {
            let rest = Rest::new(&settings.rest_settings(), telemetry)?;
            rest.check_symbols(false).await?;
            Ok("knows every symbol".to_owned())
        };
        return vec![(format!("REST at `{}`", settings.rest_url), symbols.await)];
    }
    let mut found = Vec::new();
    for symbol in &settings.symbols {
        let (url, _) = dump_url(settings, kind, symbol, &date_of(settings.from));
        let look = async {
            let client = http_client(settings.ca.as_deref(), None)?;
            match get(&client, &format!("{url}.CHECKSUM")).await? {
                Some(_) => Ok("is there".to_owned()),
                None => Err(anyhow!("is not there: was `{symbol}` traded then?")),
            }
        };
        let looked = look.await;
        found.push((format!("`{url}`"), looked));
    }
    found
}

/// The address and the name of a day's dump.
fn dump_url(settings: &DownloadSettings, kind: Kind, symbol: &str, date: &str) -> (String, String) {
    let (folder, middle) = match kind {
        Kind::Klines(interval) => (format!("klines/{symbol}/{interval}"), interval.to_string()),
        kind => (
            format!("{}/{symbol}", kind.as_str()),
            kind.as_str().to_owned(),
        ),
    };
    let name = format!("{symbol}-{middle}-{date}.zip");
    let base = settings.dumps_url.trim_end_matches('/');
    (format!("{base}/data/spot/daily/{folder}/{name}"), name)
}

/// `None` where there is no such file.
async fn get(client: &reqwest::Client, url: &str) -> Result<Option<reqwest::Response>> {
    let answer = client.get(url).send().await.map_err(Again::new)?;
    match answer.status() {
        StatusCode::NOT_FOUND => Ok(None),
        status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
            bail!("`{url}` is refused: status {status}")
        }
        _ => Ok(Some(answer.error_for_status().map_err(Again::new)?)),
    }
}

impl Fetcher {
    /// Makes sure that there are dumps of each symbol that nothing is known of: at the first day, or
    /// at the last.
    pub(super) async fn check_dumps(&self, known: &[&Arc<str>]) -> Result<()> {
        let (first, last) = (self.settings.from, self.settings.to - DAY_US);
        let mut missing = Vec::new();
        for symbol in &self.settings.symbols {
            if known.contains(&symbol) {
                continue;
            }
            let mut is_there = false;
            for day in [first, last] {
                let (url, _) = dump_url(&self.settings, self.kind, symbol, &date_of(day));
                let looked = get(&self.client, &format!("{url}.CHECKSUM")).await;
                // Who doesn't answer is asked again for the dump itself.
                is_there |= !matches!(looked, Ok(None));
            }
            if !is_there {
                missing.push(symbol);
            }
        }
        if !missing.is_empty() {
            bail!(
                "there are no dumps of {}, neither of {} nor of {}: is it traded under this name, and \
                 was it then?",
                terminal::progress::list(&missing),
                date_of(first),
                date_of(last)
            );
        }
        Ok(())
    }

    pub(super) async fn by_dump(&self, job: Job) -> Result<Fetched> {
        let (url, name) = dump_url(&self.settings, self.kind, &job.symbol, &job.date);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match self.try_dump(&job, &url, &name).await {
                Ok(fetched) => return Ok(fetched),
                Err(error) => error,
            };
            // What can't be read now can't be read later either.
            if attempt >= self.settings.attempts || !is_worth_another_try(&error) {
                return Err(error);
            }
            tracing::warn!(error = format!("{error:#}"), url, "trying again");
            tokio::time::sleep(Duration::from_millis(250 << attempt.min(6))).await;
        }
    }

    async fn try_dump(&self, job: &Job, url: &str, name: &str) -> Result<Fetched> {
        let Some(answer) = get(&self.client, &format!("{url}.CHECKSUM")).await? else {
            return Ok(Fetched::Missing);
        };
        let text = answer.text().await.map_err(Again::new)?;
        let expected = text
            .split_whitespace()
            .next()
            .filter(|sum| sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .with_context(|| format!("`{url}.CHECKSUM` is no SHA-256 checksum"))?
            .to_ascii_lowercase();
        if job.known.as_ref() == Some(&expected) {
            return Ok(Fetched::Unchanged);
        }
        let Some(answer) = get(&self.client, url).await? else {
            return Ok(Fetched::Missing);
        };
        let folder = tempfile::tempdir().context("make a folder to download to")?;
        let path = folder.path().join(name);
        let mut file = std::fs::File::create(&path).context("keep a download")?;
        let mut hash = Sha256::new();
        let mut pieces = answer.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(Again::new)?;
            hash.update(&piece);
            file.write_all(&piece).context("keep a download")?;
        }
        drop(file);
        let found: String = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if found != expected {
            let error = anyhow!("the checksum of `{url}` is {found}, but it should be {expected}");
            return Err(Again::new(error).into());
        }
        let origin = Origin {
            uri: url.to_owned(),
            sha256: Some(expected),
        };
        let (job, kind, url) = (job.clone(), self.kind, url.to_owned());
        let work = move || {
            let rows = read_day(&path, kind, &job).with_context(|| format!("`{url}`"))?;
            drop(folder);
            job.target.write(rows, origin)
        };
        Ok(Fetched::Partition(
            tokio::task::spawn_blocking(work).await??,
        ))
    }
}

/// A failure of the network: it may work the next time.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct Again(anyhow::Error);

impl Again {
    fn new(error: impl Into<anyhow::Error>) -> Self {
        Self(error.into())
    }
}

fn is_worth_another_try(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<Again>())
}

fn read_day(path: &Path, kind: Kind, job: &Job) -> Result<Rows> {
    let storage = Storage::from_env();
    let text = path.to_string_lossy();
    let objects = Location::parse(&text, Path::new("."))?.resolve(&storage)?;
    let options = ReadOptions {
        default_symbol: Some(job.symbol.to_string()),
        ..ReadOptions::default()
    };
    let (rows, first, last) = match kind {
        Kind::Klines(interval) => {
            let symbols = read_candles(&objects, interval, &options)?;
            let candles = symbols.into_iter().flat_map(|symbol| symbol.candles);
            let candles: Vec<_> = candles.collect();
            let times = (
                candles.first().map(|c| c.open_time),
                candles.last().map(|c| c.open_time),
            );
            (Rows::Candles(candles), times.0, times.1)
        }
        Kind::Trades | Kind::AggTrades => {
            let symbols = read_trades(&objects, &options)?;
            let trades = symbols.into_iter().flat_map(|symbol| symbol.trades);
            let trades: Vec<_> = trades.collect();
            let times = (
                trades.first().map(|t| t.event_time),
                trades.last().map(|t| t.event_time),
            );
            (Rows::Trades(trades, None), times.0, times.1)
        }
    };
    let (Some(first), Some(last)) = (first, last) else {
        bail!("it holds no row");
    };
    ensure!(
        first >= job.day && last < job.day + DAY_US,
        "its rows are from {} to {}, not of {}",
        crate::time::show_time(first),
        crate::time::show_time(last),
        job.date
    );
    Ok(rows)
}
