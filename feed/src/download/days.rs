//! Every day that isn't there yet, from wherever it comes.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use market::DAY_US;
use terminal::interrupt::Interrupt;
use terminal::progress::Phase;

use super::manifest::{Kind, Origin, Partition};
use super::settings::{DownloadSettings, Source};
use super::store::{Rows, Store, Target, date_of};
use crate::binance::{Rest, http_client};
use crate::telemetry::Telemetry;

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Partitions that were written.
    pub n_written: u64,
    /// Partitions that were there already.
    pub n_there: u64,
    /// Rows written.
    pub n_rows: u64,
    /// Bytes written.
    pub n_bytes: u64,
    /// Days that the exchange doesn't have: symbol and date.
    pub missing: Vec<(String, String)>,
    /// Whether somebody asked to stop before the end.
    pub is_stopped: bool,
}

/// One symbol's day.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) symbol: Arc<str>,
    pub(super) day: i64,
    pub(super) date: String,
    pub(super) target: Target,
    /// The checksum that what is there was made of, where it is looked at again.
    pub(super) known: Option<String>,
}

pub(super) enum Fetched {
    Partition(Partition),
    Unchanged,
    Missing,
}

pub(super) struct Fetcher {
    pub(super) settings: DownloadSettings,
    pub(super) kind: Kind,
    pub(super) client: reqwest::Client,
    pub(super) rest: Rest,
}

/// Downloads every day that isn't there yet.
///
/// # Errors
/// What can't be had, read or written; what is finished by then stays.
pub async fn download(
    store: &mut Store,
    settings: &DownloadSettings,
    telemetry: &Arc<Telemetry>,
    interrupt: &Interrupt,
    phase: &Phase,
) -> Result<Outcome> {
    let kind = store.manifest().kind;
    let rest = Rest::new(&settings.rest_settings(), Arc::clone(telemetry))?;
    if settings.source == Source::Rest {
        rest.check_symbols(false).await?;
    }
    let fetcher = Fetcher {
        settings: settings.clone(),
        kind,
        client: http_client(settings.ca.as_deref(), None)?,
        rest,
    };
    let mut outcome = Outcome::default();
    let mut jobs = Vec::new();
    for symbol in &settings.symbols {
        let days = (settings.from..settings.to).step_by(DAY_US as usize);
        for day in days {
            let date = date_of(day);
            let there = store.has(symbol, &date);
            if there.is_some() && !settings.is_refreshed {
                outcome.n_there += 1;
                phase.advance(1);
                continue;
            }
            jobs.push(Job {
                known: there.and_then(|partition| partition.origin.sha256.clone()),
                target: store.target(symbol, &date),
                symbol: Arc::clone(symbol),
                day,
                date,
            });
        }
    }
    if settings.source == Source::Dumps {
        let begun: Vec<&Arc<str>> = settings
            .symbols
            .iter()
            .filter(|symbol| store.manifest().partitions().any(|p| p.symbol == ***symbol))
            .collect();
        fetcher.check_dumps(&begun).await?;
    }
    let mut results = futures::stream::iter(jobs)
        .take_while(|_| std::future::ready(!interrupt.is_asked()))
        .map(|job| async {
            let name = format!("{} of {}", job.symbol, job.date);
            let (symbol, date) = (job.symbol.to_string(), job.date.clone());
            let fetched = fetcher.fetch(job).await.with_context(|| name);
            (symbol, date, fetched)
        })
        .buffer_unordered(settings.jobs.max(1));
    let mut failure = None;
    while let Some((symbol, date, fetched)) = results.next().await {
        match fetched {
            Ok(Fetched::Partition(partition)) => {
                outcome.n_written += 1;
                outcome.n_rows += partition.rows;
                outcome.n_bytes += partition.bytes;
                store.add(partition)?;
            }
            Ok(Fetched::Unchanged) => outcome.n_there += 1,
            Ok(Fetched::Missing) => outcome.missing.push((symbol, date)),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
        phase.advance(1);
    }
    drop(results);
    outcome.missing.sort();
    outcome.is_stopped = interrupt.is_asked();
    match failure {
        Some(error) => {
            store.save()?;
            Err(error)
        }
        None => Ok(outcome),
    }
}

impl Fetcher {
    async fn fetch(&self, job: Job) -> Result<Fetched> {
        match self.settings.source {
            Source::Dumps => self.by_dump(job).await,
            Source::Rest => self.by_rest(job).await,
        }
    }

    async fn by_rest(&self, job: Job) -> Result<Fetched> {
        let Kind::Klines(interval) = self.kind else {
            bail!("REST has candles only; trades come from the dumps");
        };
        let candles = self
            .rest
            .day_of_klines(&job.symbol, interval, job.day)
            .await?;
        if candles.is_empty() {
            return Ok(Fetched::Missing);
        }
        let origin = Origin {
            uri: format!(
                "{}/api/v3/klines",
                self.settings.rest_url.trim_end_matches('/')
            ),
            sha256: None,
        };
        let write = move || job.target.write(Rows::Candles(candles), origin);
        Ok(Fetched::Partition(
            tokio::task::spawn_blocking(write).await??,
        ))
    }
}
