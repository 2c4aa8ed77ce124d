//! `registry audit`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args as ClapArgs;
use registry::store::AuditSearch;
use serde_json::json;

use super::show::{Report, time};
use super::user::done;
use super::{Database, Failure, Output, duration};

/// Show who changed what, the newest last.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    database: Database,
    /// How far back: a duration (`7d`) or a time (`2026-01-31T12:00:00Z`).
    #[arg(long, default_value = "24h", value_parser = moment)]
    since: i64,
    /// Up to when, likewise.
    #[arg(long, value_parser = moment)]
    until: Option<i64>,
    /// Of this user only.
    #[arg(long)]
    user: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 1000)]
    limit: u32,
    /// Forget what is older than that (`90d`) instead of showing anything.
    #[arg(long, value_parser = duration, conflicts_with_all = ["since", "until", "user", "limit"])]
    forget_older_than: Option<Duration>,
}

/// A moment, in ms since the epoch.
fn moment(text: &str) -> Result<i64, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let age = duration(text)
        .map_err(|_| format!("`{text}` is neither a duration (7d) nor a time (RFC 3339)"))?;
    let then = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .saturating_sub(age);
    Ok(i64::try_from(then.as_millis()).unwrap_or(i64::MAX))
}

pub(super) async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let store = args.database.open().await?;
    let result = async {
        if let Some(age) = args.forget_older_than {
            let forgotten = store.forget_audit(age).await?;
            return Ok((None, forgotten));
        }
        let search = AuditSearch {
            since: Some(args.since),
            until: args.until,
            user: args.user,
            limit: args.limit.into(),
        };
        Ok((Some(store.audit(&search).await?), 0))
    }
    .await;
    store.close().await;
    let (records, forgotten) = result
        .map_err(|error: registry::store::StoreError| error)
        .context("can't read the audit log")
        .map_err(Failure::Work)?;
    let Some(records) = records else {
        return done(output, &format!("{forgotten} records are forgotten"));
    };
    let rows = records.into_iter().map(|record| {
        vec![
            time(record.time),
            json!(record.user_name),
            json!(record.client),
            json!(record.action),
            json!(record.resource),
            json!(record.outcome),
            json!(record.request_id),
        ]
    });
    let report = Report {
        columns: &[
            "time", "user", "client", "action", "resource", "outcome", "request",
        ],
        rows: rows.collect(),
    };
    report.print(output)
}
