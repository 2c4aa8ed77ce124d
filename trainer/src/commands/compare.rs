//! `trainer compare RUN RUN`

use std::collections::BTreeMap;
use std::sync::Arc;

use mlflow_api::types::Run;
use serde::Serialize;

use crate::cli::CompareArgs;
use crate::exit::{CommandResult, ExitStatus};
use crate::interrupt::Interrupt;
use crate::output::{self, Render};
use crate::tracking::Tracking;

/// Two runs side by side.
#[derive(Debug, Serialize)]
struct Comparison {
    first: Side,
    second: Side,
    /// Parameters that differ, by name: (first, second).
    params: BTreeMap<String, (Option<String>, Option<String>)>,
    /// Metrics of either run, by name.
    metrics: BTreeMap<String, MetricPair>,
    /// Tags that say on what both stand, where they differ.
    provenance: BTreeMap<String, (Option<String>, Option<String>)>,
}

#[derive(Debug, Serialize)]
struct Side {
    run_id: String,
    run_name: String,
    status: String,
}

#[derive(Debug, Serialize)]
struct MetricPair {
    first: Option<f64>,
    second: Option<f64>,
    delta: Option<f64>,
}

/// Runs the command.
///
/// # Errors
/// When the registry can't be asked or doesn't know a run.
pub fn compare(args: &CompareArgs) -> CommandResult {
    let runtime = Arc::new(tokio::runtime::Runtime::new()?);
    let tracking = Tracking::connect_to_existing(
        runtime,
        args.tracking.tracking_uri.as_deref(),
        Interrupt::default(),
    )?;
    let get = |id: &str| {
        let id = id.to_owned();
        tracking.call(|client| async move { client.get_run(&id).await })
    };
    let comparison = of_runs(&get(&args.first)?, &get(&args.second)?);
    output::print(&comparison, args.output.output)?;
    Ok(ExitStatus::Done)
}

fn of_runs(first: &Run, second: &Run) -> Comparison {
    let side = |run: &Run| Side {
        run_id: run.info.run_id.clone(),
        run_name: run.info.run_name.clone().unwrap_or_default(),
        status: run
            .info
            .status
            .map(|status| format!("{status:?}").to_uppercase())
            .unwrap_or_default(),
    };
    let params = |run: &Run| {
        run.data
            .params
            .iter()
            .map(|pair| (pair.key.clone(), pair.value.clone()))
            .collect()
    };
    let provenance = |run: &Run| {
        let tags = run.data.tags.iter();
        tags.filter(|tag| {
            tag.key == "mlflow.source.git.commit" || tag.key.starts_with("foreshock.")
        })
        .map(|tag| (tag.key.clone(), tag.value.clone()))
        .collect()
    };
    let metrics = |run: &Run| -> BTreeMap<String, f64> {
        run.data
            .metrics
            .iter()
            .map(|metric| (metric.key.clone(), metric.value))
            .collect()
    };
    let (one, two) = (metrics(first), metrics(second));
    let names: std::collections::BTreeSet<&String> = one.keys().chain(two.keys()).collect();
    let pair = |name: &String| {
        let (first, second) = (one.get(name).copied(), two.get(name).copied());
        MetricPair {
            first,
            second,
            delta: first.zip(second).map(|(first, second)| second - first),
        }
    };
    Comparison {
        first: side(first),
        second: side(second),
        params: differences(params(first), params(second)),
        metrics: names
            .into_iter()
            .map(|name| (name.clone(), pair(name)))
            .collect(),
        provenance: differences(provenance(first), provenance(second)),
    }
}

fn differences(
    first: BTreeMap<String, String>,
    mut second: BTreeMap<String, String>,
) -> BTreeMap<String, (Option<String>, Option<String>)> {
    let mut all: BTreeMap<String, (Option<String>, Option<String>)> = first
        .into_iter()
        .map(|(key, value)| {
            let other = second.remove(&key);
            (key, (Some(value), other))
        })
        .collect();
    all.extend(
        second
            .into_iter()
            .map(|(key, value)| (key, (None, Some(value)))),
    );
    all.retain(|_, (one, two)| one != two);
    all
}

impl Render for Comparison {
    fn render_table(&self) -> String {
        let header = ["", &self.first.run_name, &self.second.run_name];
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let number = |value: Option<f64>| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"))
        };
        let runs = vec![
            vec![
                "run".to_owned(),
                self.first.run_id.clone(),
                self.second.run_id.clone(),
            ],
            vec![
                "status".to_owned(),
                self.first.status.clone(),
                self.second.status.clone(),
            ],
        ];
        let mut text = output::table(&header, &runs);
        for (title, pairs) in [
            ("Parameters that differ", &self.params),
            ("Provenance that differs", &self.provenance),
        ] {
            if !pairs.is_empty() {
                let rows: Vec<Vec<String>> = pairs
                    .iter()
                    .map(|(key, (one, two))| vec![key.clone(), show(one), show(two)])
                    .collect();
                text.push_str(&format!("\n\n{title}\n{}", output::table(&header, &rows)));
            }
        }
        let rows: Vec<Vec<String>> = self
            .metrics
            .iter()
            .map(|(key, pair)| {
                let delta = pair
                    .delta
                    .map_or_else(|| "-".to_owned(), |delta| format!("{delta:+.4}"));
                vec![key.clone(), number(pair.first), number(pair.second), delta]
            })
            .collect();
        let header = [header[0], header[1], header[2], "change"];
        text.push_str(&format!("\n\nMetrics\n{}", output::table(&header, &rows)));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_listed() {
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let found = differences(
            map(&[("a", "1"), ("b", "2"), ("c", "3")]),
            map(&[("a", "1"), ("b", "5"), ("d", "4")]),
        );
        let keys: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(keys, ["b", "c", "d"]);
        assert_eq!(found["b"], (Some("2".to_owned()), Some("5".to_owned())));
        assert_eq!(found["d"], (None, Some("4".to_owned())));
    }
}
