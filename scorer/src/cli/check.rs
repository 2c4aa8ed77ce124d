//! `scorer check`

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use history::{Storage, write_bytes};
use serde::Serialize;
use terminal::exit::ExitStatus;
use terminal::output::{self, Render};

use super::run::{first_limits, load_once, show};
use super::{CommandResult, OutputArgs};
use crate::config::read;
use crate::model::ModelUri;
use crate::stream::{Names, SnapshotStore, check_topics};

pub(super) const HELP: &str = "\
Nothing is read from topics, and nothing is created but a small file where snapshots go.

Example:
  scorer check scorer.toml";

/// `scorer check`
#[derive(Debug, Clone, Args)]
pub(super) struct CheckArgs {
    /// The configuration.
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    ok: bool,
    found: String,
    milliseconds: u128,
}

#[derive(Debug, Serialize)]
struct Findings {
    ok: bool,
    findings: Vec<Finding>,
}

impl Render for Findings {
    fn render_table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .findings
            .iter()
            .map(|finding| {
                vec![
                    finding.what.clone(),
                    if finding.ok { "ok" } else { "WRONG" }.to_owned(),
                    finding.found.clone(),
                    format!("{} ms", finding.milliseconds),
                ]
            })
            .collect();
        output::table(&["", "", "found", "took"], &rows)
    }
}

pub(super) fn run(args: &CheckArgs) -> CommandResult {
    let config = read(&args.config)?;
    let runtime = tokio::runtime::Runtime::new().context("start the threads")?;
    let mut findings = vec![Finding {
        what: "configuration".to_owned(),
        ok: true,
        found: args.config.display().to_string(),
        milliseconds: 0,
    }];
    let mut find = |what: &str, look: &mut dyn FnMut() -> anyhow::Result<String>| {
        let began = Instant::now();
        let found = look();
        findings.push(Finding {
            what: what.to_owned(),
            ok: found.is_ok(),
            found: found.unwrap_or_else(|error| format!("{error:#}")),
            milliseconds: began.elapsed().as_millis(),
        });
    };
    if config.limits.file.is_some() {
        find("limits", &mut || {
            let limits = first_limits(&config)?.context("no limits")?;
            Ok(limits.digest)
        });
    }
    let mut interval = config.features.map(|features| features.interval);
    find("model", &mut || {
        let uri: ModelUri = config.model.uri.parse().map_err(anyhow::Error::msg)?;
        let loaded = load_once(&runtime, &uri, config.registry.uri.as_deref())?;
        let features = match config.features {
            Some(features) => features.check()?,
            None => loaded.features()?,
        };
        config.settings(features).check()?;
        interval = Some(features.interval());
        let judge = loaded.judge(&features)?;
        let names: Vec<&str> = judge.features().iter().map(|f| f.name()).collect();
        Ok(format!(
            "{}: candles of {}, {}; flags beyond {:.3}",
            show(&*judge),
            features.interval(),
            names.join(", "),
            judge.threshold()
        ))
    });
    if let Some(interval) = interval {
        let names = Names::new(&config, interval);
        find("Kafka", &mut || {
            let topics = check_topics(&config, &names)?;
            let (source, written) = topics.split_first().context("no topics")?;
            anyhow::ensure!(
                source.partitions > 0,
                "there is no topic `{}` to read; start the feed first, which creates it",
                source.name
            );
            let missing: Vec<&str> = written
                .iter()
                .filter(|topic| topic.partitions == 0)
                .map(|topic| topic.name.as_str())
                .collect();
            let rest = match missing.is_empty() {
                true => "all that is written is there".to_owned(),
                false => format!("to be created: {}", missing.join(", ")),
            };
            Ok(format!(
                "`{}` has {} partitions; {rest}",
                source.name, source.partitions
            ))
        });
        find("snapshots", &mut || {
            let group = &config.kafka.group;
            let store = SnapshotStore::new(&config.state.location, group, &names.source());
            store.check()?;
            Ok(format!("`{}` can be written to", config.state.location))
        });
    }
    if let Some(location) = &config.archive.location {
        find("archive", &mut || {
            let uri = format!("{}/.check", location.trim_end_matches('/'));
            write_bytes(&Storage::from_env(), &uri, b"scorer check\n")?;
            Ok(format!("`{location}` can be written to"))
        });
    }
    let ok = findings.iter().all(|finding| finding.ok);
    output::print(&Findings { ok, findings }, args.output.output)?;
    Ok(match ok {
        true => ExitStatus::Done,
        false => ExitStatus::Environment,
    })
}
